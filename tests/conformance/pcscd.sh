#!/bin/sh
# SPDX-License-Identifier: MIT
# pcscd.sh [-n READERS] [-d KIND] [-p OPTIONS] DRIVER.so COMMAND...: runs COMMAND beside a pcscd of its own, the distribution's, in a
# mount namespace of their own with an empty /run, so that no other pcscd meets them; ends both. Its status is COMMAND's; 77, and why on
# stderr, where this cannot be had here. The readers are "Peer NN 00", of reader.conf, device names KIND:0, KIND:1 …; DRIVER.so is an
# IFDHandler: build/tests/ifd-instant.so for `make bench` (-d t1: cards with T=1).
# In COMMAND's environment: PCSCD_PID, PCSCD_LIBRARY (the distribution's libpcsclite.so.1).
set -u

readers=1 kind=instant options=
while getopts n:d:p: option; do
	case $option in
	n) readers=$OPTARG ;;
	d) kind=$OPTARG ;;
	p) options=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

unavailable() {
	echo "pcscd.sh: $1" >&2
	exit 77
}

PATH=$PATH:/usr/sbin
if [ -z "${PCSCD_NAMESPACE:-}" ]; then
	command -v pcscd >/dev/null || unavailable "pcscd is not installed"
	PCSCD_LIBRARY=$(ldconfig -p | sed -n 's/.*libpcsclite\.so\.1 (.*x86-64.*=> *\(.*\)/\1/p' | grep -v /ifdhandler/ | head -n 1)
	export PCSCD_LIBRARY
	[ -n "$PCSCD_LIBRARY" ] || unavailable "the distribution's libpcsclite.so.1 is not installed"
	[ -e "$1" ] || unavailable "$1 is not built: that needs libpcsclite-dev"
	how=-m
	unshare $how true 2>/dev/null || how=-rm
	unshare $how true 2>/dev/null || unavailable "no mount namespace is permitted here"
	driver=$(realpath "$1")
	shift
	PCSCD_NAMESPACE=1 exec unshare $how "$0" -n "$readers" -d "$kind" -p "$options" "$driver" "$@"
fi
unset PCSCD_NAMESPACE

mount -t tmpfs -o mode=755 pcscd /run || unavailable "/run cannot be replaced"
mkdir /run/pcscd /run/reader.conf.d
driver=$1
shift
i=0
while [ "$i" -lt "$readers" ]; do
	printf 'FRIENDLYNAME "Peer"\nDEVICENAME %s:%d\nLIBPATH %s\n' "$kind" "$i" "$driver"
	i=$((i + 1))
done >/run/reader.conf.d/readers

# Its log is for people who look for what went wrong.
# shellcheck disable=SC2086 # words
pcscd --foreground --config /run/reader.conf.d $options >"${PCSCD_LOG:-/dev/null}" 2>&1 &
PCSCD_PID=$!
export PCSCD_PID
trap 'kill $PCSCD_PID 2>/dev/null; wait $PCSCD_PID 2>/dev/null' EXIT
for _ in $(seq 100); do
	[ ! -S /run/pcscd/pcscd.comm ] || break
	kill -0 $PCSCD_PID 2>/dev/null || unavailable "pcscd does not start"
	sleep 0.1
done
"$@"
