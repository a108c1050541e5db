#!/bin/sh
# SPDX-License-Identifier: MIT
# reader-ctl monitor: readers and cards as they come and go, and how it ends.
. "$(dirname "$0")/ctl-lib"

# The directory is made later: monitor waits for it, too.
rmdir "$RUN"

# monitor OPTION...: in the background, its lines in $W/out. One that is too slow to end is killed.
monitor() {
	: >"$W/out"
	timeout 30 reader-ctl monitor "$@" >"$W/out" 2>"$W/err" &
	monitor=$!
	jobs_started="$jobs_started $monitor"
}
started() {
	wait_for grep -q "$1" "$W/out"
}
events() {
	json "[e['event'] for e in j] == $1" "$2"
}

monitor --json --count 5
# the watch is there when the process sleeps in poll
wait_for grep -q S "/proc/$monitor/stat"
sleep 0.3
reader-ctl attach virtual slot --card "unix:$W/card" >/dev/null
ok $? "a reader whose card is a program"
started reader-added
ok $? "the directory and the reader are seen"
python3 "$HERE/ctl-peer.py" card "$W/card" >/dev/null &
card=$!
jobs_started="$jobs_started $card"
started card-inserted
ok $? "a card is seen"
kill $card
started card-removed
ok $? "its removal is seen"
kill -9 "$(pid_of slot)"
reader-ctl attach virtual slot --card "unix:$W/card" >/dev/null
ok $? "a reader whose handler has died is attached again"
python3 "$HERE/ctl-peer.py" card "$W/card" >/dev/null &
card=$!
jobs_started="$jobs_started $card"
wait_for sh -c "[ \$(grep -c card-inserted '$W/out') = 2 ]"
ok $? "monitor follows to the next handler"
reader-ctl detach slot
wait $monitor
ok $? "--count ends it with exit code 0"
events "['reader-added', 'card-inserted', 'card-removed', 'card-inserted', 'reader-removed']" "five events"
json "j[0]['reader'] == 'Virtual PCD (slot) 00 00' and j[0]['instance'] == 'slot'" "reader and instance are named"
json "j[1]['atr'] == '3B 80 80 01 01' and j[1]['slot'] == 0" "the ATR is told"
json "all(j[i]['time'] <= j[i + 1]['time'] for i in range(len(j) - 1))" "times rise"

reader-ctl attach virtual demo >/dev/null
monitor --json --initial --count 2
wait $monitor
ok $? "--initial begins with what is there"
events "['reader-added', 'card-inserted']" "reader and card"
ctl 0 "a time without events is no failure" monitor --timeout 0.2
same "" "and what is there already is no event"
ctl 6 "fewer events than asked for are not in time" monitor --timeout 0.2 --count 1
for signal in INT TERM; do
	# a background process of a shell ignores SIGINT from the start: python3 starts it as a terminal would
	python3 -c '
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
p = subprocess.Popen(["reader-ctl", "monitor"])
time.sleep(0.5)
p.send_signal(getattr(signal, "SIG" + sys.argv[1]))
sys.exit(p.wait(5))' $signal
	ok $? "SIG$signal ends it with exit code 0"
done

monitor --count 2
sleep 0.3
reader-ctl attach virtual other >/dev/null
wait $monitor
out "Virtual PCD (other) 00 00: reader added" "text for people"
out "Virtual PCD (other) 00 00: card inserted 3B F5" "with the ATR"
finish
