#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance tests against the distribution's pcscd, and DIFFERENCES.md held to what they say.
. "$(dirname "$0")/../process/process-lib"
[ -z "${SANITIZE:-}" ] || skip_all "looks at another stack: once is enough"
need python3 unshare
PATH=$PATH:/usr/sbin
need pcscd
[ -e "$B/tests/ifd-script.so" ] || skip_all "the driver for pcscd was not built: libpcsclite-dev is not installed"
[ -x "$B/tests/pcscd-host" ] || skip_all "umockdev is not here"
version=$(pcscd --version | sed -n 's/^pcsc-lite version \([0-9.]*[0-9]\).*/\1/p')
[ "$version" = 1.9.9 ] || skip_all "the document is about pcscd 1.9.9, and here is $version"
PCSCD_LIBRARY=$(ldconfig -p | sed -n 's/.*libpcsclite\.so\.1 (.*=> *\(.*\)/\1/p' | grep -v /ifdhandler/ | head -n 1)
export PCSCD_LIBRARY
[ -n "$PCSCD_LIBRARY" ] || skip_all "the distribution's libpcsclite.so.1 is not installed"
for how in -m -rm; do
	unshare $how true 2>/dev/null || continue
	exec unshare $how python3 "$PART" "$@"
done
skip_all "no mount namespace is permitted here"
