#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance programs (abi, pcsc-*) against our library and handler: one TAP stream, each line named by its program.
# B: the build. The programs take the path of any libpcsclite.so.1 and run against a peer, too.
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
failed=0
programs="pcsc-core pcsc-exchange pcsc-share pcsc-change pcsc-loss pcsc-restart"
if [ -n "${SANITIZE:-}" ]; then
	echo "ok - abi # SKIP is of the library as it is shipped, not of one with a sanitizer's runtime"
else
	programs="abi $programs"
fi
for program in $programs; do
	out=$(timeout 120 "$B/tests/$program" "$(realpath "$B/libpcsclite.so.1")" "$(realpath "$B/ifdhandler")" 2>&1)
	status=$?
	printf '%s\n' "$out" | sed -E "s/^((not )?ok)[ 0-9]*-? */\1 - $program: /; /^1\.\./d"
	if [ $status -ne 0 ] && ! printf '%s\n' "$out" | grep -q '^not ok'; then
		echo "not ok - $program: exit status $status"
	fi
	[ $status -eq 0 ] || failed=1
done
exit $failed
