#!/bin/sh
# SPDX-License-Identifier: MIT
# The bench works: each measurement once, with few rounds. Nothing is said about times.
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
if ! command -v python3 >/dev/null; then
	echo "ok 1 - bench # SKIP python3 is not installed"
	echo "1..1"
	exit 0
fi
out=$(timeout 120 tests/bench/bench.py --no-pcscd --rounds 2 --batch 2 --seconds 0.1 --rest 1 --lists 1,16 --many 8 \
	"$B" 2>&1)
status=$?
n=0 failed=0
check() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2"
	fi
}
shows() {
	printf '%s\n' "$out" | grep -qE "^  $1 +[0-9,.]+"
	check $? "the bench measures: $2"
}

check $status "the bench ends well"
shows "Transmit 4 -> 2 bytes" "calls"
shows "transaction, End to Begin" "hand-over"
shows "insertion to event" "insertion"
shows "16 clients, 4 readers" "many clients"
shows "16" "listing"
shows "a reader, after all this" "memory"
shows "handler or daemon" "wake-ups"
shows "private dirty memory of one, KiB: was watched" "many readers"
[ $failed = 0 ] || printf '%s\n' "$out" | sed 's/^/# /'
echo "1..$n"
exit $failed
