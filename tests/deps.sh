#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what the build, the demo and the tests need (Debian: apt, with sudo where not root); elsewhere says what it is.
# deps.sh [demo]: only what `make demo` needs.
set -eu

BUILD="build-essential pkg-config autoconf libusb-1.0-0-dev libsystemd-dev libudev-dev"
DEMO="opensc pcsc-tools"
TESTS="python3 python3-pyscard libcmocka-dev umockdev libumockdev-dev libcacard-dev pcscd libpcsclite-dev clang libclang-rt-dev clang-format
	gcc-multilib valgrind strace openssl groff-base mandoc procps $(sed "s/#.*//" "$(dirname "$0")/system/packages")"

want="$BUILD $DEMO"
[ "${1:-}" = demo ] || want="$want $TESTS"

if ! command -v apt-get >/dev/null; then
	echo "This is no Debian. Please install what these Debian packages hold:" $want >&2
	exit 0
fi
missing=
for package in $want; do
	dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -q update >/dev/null
$sudo apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >/dev/null
