#!/bin/sh
# SPDX-License-Identifier: MIT
# Handlers that hang, die or talk nonsense, directories and descriptions of others: every command ends, in
# time, and says what is wrong.
. "$(dirname "$0")/ctl-lib"

# peer WHAT INSTANCE: a peer of ctl-peer.py under that name, with a description beside its socket.
peer() {
	python3 "$HERE/ctl-peer.py" "$1" "$RUN/$2.sock" >"$W/$2" &
	jobs_started="$jobs_started $!"
	wait_for grep -q ready "$W/$2"
	printf 'version=1\ninstance=%s\nseq=%s\nregistered=1\nreader=0 Fake %s 00 00\n' "$2" "${3:-90}" "$2" >"$RUN/$2.reader"
}

reader-ctl attach virtual good >/dev/null
peer silent silent 91
peer garbage garbage 92
peer mute mute 93
peer bye bye 94

ctl 0 "list waits for nobody" list
[ "$(wc -l <"$W/out")" = 5 ]
ok $? "and shows all five"
start=$(date +%s)
ctl 0 "list -v with three that do not answer" list -v
[ $(($(date +%s) - start)) -le 7 ]
ok $? "takes as long as one of them"
out "good     virtual  present" "the good one is there"
out "silent   -        no answer" "a silent one has no answer"
out "access refused" "a refusal is told"
ctl 6 "status of a silent one" status silent
err "does not answer in time" "says so"
ctl 1 "status of one that talks nonsense" status garbage
err "nonsense" "says so"
ctl 4 "apdu where access is refused" apdu bye 00A40000
err "go ?[31maway?" "the handler's sentence is shown and cannot steer the terminal"
ctl 6 "apdu to a mute one" apdu mute 00A40000 --timeout 0.5
ctl 6 "detach of one that cannot be stopped" detach silent --timeout 3
[ -e "$RUN/silent.sock" ]
ok $? "a listener that is not our handler is not killed"
ctl 3 "the first that fails decides the exit code of status" status good nowhere garbage
out "Virtual PCD (good)" "the others are shown"
for instance in silent garbage mute bye; do
	rm -f "$RUN/$instance.sock" "$RUN/$instance.reader"
done

# a handler that hangs
hung=$(pid_of good)
kill -STOP "$hung"
jobs_started="$jobs_started $hung"
ctl 6 "status of a handler that hangs" status good
ctl 0 "shutdown ends a handler that hangs" shutdown
[ ! -e "/proc/$hung/stat" ] || grep -q ") Z " "/proc/$hung/stat"
ok $? "it was killed"
[ -z "$(ls "$RUN" | grep good)" ]
ok $? "and its files are gone"
ctl 0 "init" init

# a handler that died
reader-ctl attach virtual dead >/dev/null
kill -9 "$(pid_of dead)"
ctl 0 "list still has a reader whose handler died" list
out "Virtual PCD (dead)" "its description is there"
ctl 5 "apdu to it" apdu dead 00A40000
err "has died" "says so"
ctl 0 "attach again" attach virtual dead
ctl 0 "works" apdu dead 00A40000023F00
kill -9 "$(pid_of dead)"
ctl 0 "detach takes away what it left" detach dead
[ -z "$(ls "$RUN" | grep dead)" ]
ok $? "all of it"

# one that does not start
ctl 1 "a card's socket that cannot be made" attach virtual nocard --card unix:/nonexistent/card
err "nocard does not start" "says so, with the handler's words"
err "No such file or directory" "that name the cause"
[ -z "$(ls -A "$RUN" | grep nocard)" ]
ok $? "nothing is left of it"

# names that want to steer the terminal, or break JSON
printf 'version=1\nseq=5\nreader=0 Evil "\\ \302\233 \342\200\256 \377 \177 end\n' >"$RUN/evil.reader"
ctl 0 "list with a hostile name" list
same 'Evil "\ ? ? ? ? end' "is safe to show"
ctl 0 "as JSON" list --json
json "j[0]['reader'] == 'Evil ' + chr(34) + chr(92) + ' ' + chr(0x9b) + ' ' + chr(0x202e) + ' ' + chr(0xfffd) + ' ' + chr(0x7f) + ' end'" \
	"is valid JSON"
printf 'version=1\nreader=0 \033[2J\n' >"$RUN/evil.reader"
ctl 0 "a description with control characters" list
same "" "is none"
err "cannot be used" "and that is said"
head -c 100000 /dev/zero >"$RUN/evil.reader"
ctl 0 "a huge one" list
same "" "is none"
rm "$RUN/evil.reader"
mkfifo "$RUN/pipe.reader"
ctl 0 "a pipe in the place of a description" list
rm "$RUN/pipe.reader"

# who may put readers there
ctl 0 "a reader" attach virtual demo
chmod 777 "$RUN"
ctl 0 "a directory that others may write to" list
same "" "is not used"
err "others may write to it" "and that is said"
chmod 755 "$RUN"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 711 "$W"
	# the build may lie where only root may look
	mkdir -m 755 "$W/bin"
	cp "$B/reader-ctl" "$B/ifdhandler" "$W/bin/"
	plain="setpriv --reuid=65534 --regid=65534 --clear-groups"
	timeout 20 $plain "$W/bin/reader-ctl" status demo >"$W/out" 2>"$W/err"
	[ $? = 4 ]
	ok $? "another user is refused"
	err "usermod -aG" "and told what would allow it"
	timeout 20 $plain "$W/bin/reader-ctl" detach demo >"$W/out" 2>"$W/err"
	[ $? = 4 ]
	ok $? "nor may detach"
	env -u IFDHANDLER_PATH timeout 20 $plain "$W/bin/reader-ctl" shutdown >"$W/out" 2>"$W/err"
	[ $? = 1 ] && grep -q XDG_RUNTIME_DIR "$W/err"
	ok $? "without a directory of one's own, what to set is said"
	mkdir -m 700 "$W/user"
	chown 65534:65534 "$W/user"
	own="env -u IFDHANDLER_PATH XDG_RUNTIME_DIR=$W/user timeout 20 $plain $W/bin/reader-ctl"
	$own attach virtual mine >"$W/out" 2>"$W/err"
	ok $? "a user without privileges has a virtual reader"
	same "Virtual PCD (mine) 00 00" "of the usual name"
	[ "$(stat -c %a:%u "$W/user/ifdhandler")" = 700:65534 ]
	ok $? "in a directory that is closed to others"
	$own apdu mine 00A40000023F00 >"$W/out" 2>"$W/err"
	ok $? "it can be used"
	$own shutdown >"$W/out" 2>"$W/err"
	ok $? "and shut down"
	$own detach 001-012 >"$W/out" 2>"$W/err"
	[ $? = 3 ]
	ok $? "USB devices are not the user's"
fi

# a forwarded socket: no description beside it
ln "$RUN/demo.sock" "$RUN/far.sock"
sleep 2.1 # younger ones are left alone: their description may be on its way
ctl 0 "list does not ask a forwarded socket" list
out "far" "but shows that it is there"
ctl 0 "list -v asks it for its name" list -v
out "Virtual PCD (demo) 00 00  far" "and shows it"
ctl 1 "it cannot be detached" detach far
err "forward" "and why not is said"
finish
