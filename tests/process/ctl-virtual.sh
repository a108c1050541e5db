#!/bin/sh
# SPDX-License-Identifier: MIT
# reader-ctl from attach to detach, with virtual readers: every verb as people and as scripts use it.
. "$(dirname "$0")/ctl-lib"

NAME="Virtual PCD (demo) 00 00"
ATR="3B F5 18 00 00 81 31 FE 45 4D 79 45 49 44 9A"

ctl 0 "an empty list is no failure" list
same "" "an empty list has no lines"
err "no readers" "an empty list is explained"
ctl 0 "an empty JSON list" list --json
json "j == []" "is a list"
ctl 0 "status without readers" status

ctl 0 "attach virtual" attach virtual demo
same "$NAME" "attach says what applications will see"
ctl 0 "attach virtual again" attach virtual demo
ctl 1 "another card for a reader that is there" attach virtual demo --card builtin
err "detach demo first" "names the remedy"
ctl 0 "list" list
same "$NAME" "one line for one reader"
ctl 0 "list -v" list -v
out "demo     virtual  present  $ATR" "instance, driver, card, ATR"
ctl 0 "--json before the verb" --json list
json "[r['reader'] for r in j] == ['$NAME'] and 'card' not in j[0]" "nobody was asked"
ctl 0 "list -v --json" list -v --json
json "j[0]['card'] == 'present' and j[0]['atr'] == '$ATR'" "card and ATR"

ctl 0 "status by instance" status demo
out "$ATR" "status shows the ATR"
out "direct convention, offers T=1" "and explains it"
out '"MyEID"' "historical bytes as text"
ctl 0 "status by a part of the name in any case" status "pcd (DEMO"
ctl 0 "status --json" status --json
json "j[0]['slots'][0]['atr-explained']['protocols'] == [1] and j[0]['slots'][0]['clients'] == []" "in JSON"

# who holds my card?
client() {
	: >"$W/client"
	python3 "$HERE/ctl-peer.py" "$1" "$RUN/demo.sock" >"$W/client" &
	holder=$!
	jobs_started="$jobs_started $holder"
	wait_for grep -q ready "$W/client"
}
client share
ctl 7 "an exclusive connect beside another client" apdu demo 00A40000 --exclusive
err "reader-ctl status shows by whom" "says how to find out"
kill $holder
wait $holder 2>/dev/null
client hold
ctl 0 "status with a client" status demo
out "python3 (pid $holder, $(id -un)" "names program, pid and user"
out "shared for" "and the share mode"
out "in a transaction for" "and the transaction"
ctl 0 "the same in JSON" status demo --json
json "[(c['client'], c['program'], c['user'], c['transactions']) for c in j[0]['slots'][0]['clients']] == [('$holder', 'python3', '$(id -un)', '1')]" "one client"
ctl 6 "a connect waits for the transaction, for its time" apdu demo 00A40000023F00 --timeout 0.5
err "reader-ctl status shows whose" "and says how to find out"
kill $holder
wait $holder 2>/dev/null

ctl 0 "apdu" apdu demo 00A40000023F00 00A4000002FFFF
same "9000
6A82" "one line for each answer"
ctl 0 "apdu --json with blanks and protocol" apdu demo "00 a4 00 00 02 3f 00" --json --protocol t1
json "j == [{'sw': '9000', 'data': ''}]" "status word and data apart"
printf '# a comment\n\n00A40000023F00\r\n' | timeout 20 reader-ctl apdu demo - >"$W/out" 2>"$W/err"
ok $? "commands from standard input"
same "9000" "are answered"
ctl 7 "a protocol that the card does not offer" apdu demo 00A40000 --protocol t0

ctl 2 "an odd number of digits" apdu demo 00A4000
err "00A4000" "the wrong command is named"
ctl 2 "no hexadecimal digits" apdu demo 00zz
ctl 2 "too short for a command" apdu demo 00A4
printf '00A40000\n3132secret\n' | timeout 20 reader-ctl apdu demo - >"$W/out" 2>"$W/err"
[ $? = 2 ]
ok $? "a wrong line on standard input is wrong usage"
err "line 2: character 5" "and named by its number"
! grep -q secret "$W/err"
ok $? "but not repeated: it may be a PIN"
same "" "and nothing was sent before"
ctl 3 "no such reader" apdu nowhere 00A40000
err 'no reader matches "nowhere"; reader-ctl list shows them' "the error names the thing and the remedy"

ctl 0 "a second reader" attach virtual second
ctl 3 "a part that fits two readers" status "virtual pcd"
err "Virtual PCD (second) 00 00 (second)" "they are listed"
ctl 0 "list keeps the order of registration" list
same "$NAME
Virtual PCD (second) 00 00" "first come, first listed"

ctl 0 "run" run -- sh -c 'echo "$LD_LIBRARY_PATH"'
same "$B" "our library comes first"
LD_LIBRARY_PATH=/before ctl 0 "run with a path before" run sh -c 'echo "$LD_LIBRARY_PATH"'
same "$B:/before" "keeps what was there"
ctl 9 "run gives the command's exit code" run sh -c 'exit 9'
ctl 127 "run without such a command" run /nonexistent/command
ctl 126 "run what cannot be run" run "$RUN"
if [ -z "$SANITIZE" ] && command -v opensc-tool >/dev/null; then
	ctl 0 "run opensc-tool" run opensc-tool -l
	out "$NAME" "sees the reader through our library"
fi

python3 "$HERE/ctl-peer.py" share "$RUN/second.sock" >"$W/client" &
jobs_started="$jobs_started $!"
wait_for grep -q ready "$W/client"
ctl 0 "detach" detach second
wait_for grep -q "bye 38" "$W/client"
ok $? "its client is told that the reader was detached"
ctl 3 "detach what is gone" detach second
ctl 0 "list after detach" list
same "$NAME" "one reader less"
[ -z "$(ls -A "$RUN" | grep second)" ]
ok $? "nothing of it is left"

ctl 2 "no verb" --
ctl 2 "an unknown verb" frobnicate
err "frobnicate" "is named"
ctl 2 "an unknown option" list --frobnicate
err "there is no such option" "is named"
ctl 2 "an option without its value" monitor --count
ctl 2 "an option of another verb" list --count 1
err "list takes no option --count" "is named"
ctl 2 "too few words" apdu demo
ctl 2 "too many words" init now
ctl 2 "a bad name" attach virtual ../../etc
ctl 2 "a name that looks like a device" attach virtual 001-012
ctl 2 "a bad card" attach virtual x --card 'unix:/tmp/$(id)'
ctl 2 "a bad port" attach virtual x --card tcp:70000
ctl 2 "a bad driver" attach 001-012 --driver 'x"y'
ctl 1 "a tty" attach ttyUSB0
err "not supported yet" "is said to be not supported"
ctl 3 "no such device" attach /dev/bus/usb/099/099
err "/dev/bus/usb/099/099" "is named as it was given"
ctl 3 "the older form, no such device" attach usb:529/514/100 usb /dev/bus/usb/099/099
ctl 2 "the older form, no id" attach usb:xyz usb /dev/bus/usb/001/001
ctl 1 "the older form, another type" attach ccid serial /dev/ttyS0
ctl 0 "help" --help
out "monitor" "names the verbs"
for verb in init shutdown list status attach detach monitor apdu run; do
	ctl 0 "$verb --help" "$verb" --help
	out "Usage: reader-ctl $verb" "$verb is explained"
done
ctl 0 "version" --version
out "reader-ctl " "is said"

ctl 0 "init with readers there" init
ctl 0 "list after init" list
same "$NAME" "what is up stays up"
client share
ctl 0 "shutdown" shutdown
wait_for grep -q "bye 53" "$W/client"
ok $? "clients are told that it was stopped"
ctl 0 "shutdown again" shutdown
ctl 0 "list after shutdown" list
same "" "nothing is left"
err "reader-ctl init brings them back" "and that is explained"
ctl 5 "attach while shut down" attach virtual demo
ctl 0 "init" init
ctl 0 "init again" init
ctl 0 "attach after init" attach virtual demo
if [ -c /dev/full ]; then
	timeout 20 reader-ctl list >/dev/full 2>"$W/err"
	[ $? = 1 ]
	ok $? "a full disk is a failure"
fi
finish
