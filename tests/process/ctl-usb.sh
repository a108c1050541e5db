#!/bin/sh
# SPDX-License-Identifier: MIT
# reader-ctl with emulated USB readers and without systemd: init finds and starts them, attach and detach
# by name, instance, node and id, shutdown ends them.
BUILD=$(cd "${B:-build}" && pwd)
if [ "${1:-}" != inside ]; then
	if [ ! -x "$BUILD/model/umock-reader" ]; then
		echo "ok 1 - emulated USB readers # skip umockdev is not here"
		echo "1..1"
		exit 0
	fi
	preload=
	if [ -n "${SANITIZE:-}" ]; then
		# it comes into the shell and Python, too: their leaks are not ours
		preload="-P $(${CC:-gcc} -print-file-name=libasan.so)"
		export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
	fi
	exec "$BUILD/model/umock-reader" $preload -m generic-tpdu -c B -m two-slots -m not-a-reader -- "$0" inside
fi
. "$(dirname "$0")/ctl-lib"

set -- $MODEL_NODES
first=$1
second=$2
other=$3
instance=$(echo "$first" | sed 's,.*/\([0-9]*\)/\([0-9]*\)$,\1-\2,')

ctl 0 "init" init
ctl 0 "list" list --json
json "sorted(r['device'] for r in j) == ['$first', '$second', '$second']" "two readers, three slots; what is no reader is none"
name=$(reader-ctl list | head -n 1)
ctl 0 "list -v" list -v
out "$instance  ccid     present  3B 80 80 01 01" "the card is seen"
ctl 0 "init again" init
ctl 0 "apdu" apdu "$instance" 00CB000400
same "000102039000" "goes to the card and back"
ctl 0 "status by node" status "$first"
out "$name" "finds it"
out "exchange-level" "and shows what the driver knows of it"
ctl 3 "one slot of two needs the whole name" apdu "$second" 00A40000
err "Two Slot Reader [CCID Interface] (EMU001) 00 01" "both are listed"
ctl 0 "with it" apdu "Model Two Slot Reader [CCID Interface] (EMU001) 00 01" 00A40000

kill -9 "$(pid_of "$instance")"
wait_for model-ctl claim 0 on
ctl 0 "init after a handler has died" init
ctl 5 "status while another program has the reader" status "$instance"
out "claimed by another program" "says so"
ctl 5 "apdu then" apdu "$instance" 00A40000
err "reader-ctl status shows by whom" "names the remedy"
model-ctl claim 0 off >/dev/null

ctl 0 "detach by name" detach "$name"
[ -z "$(find "$RUN" -maxdepth 1 -name "*$instance*")" ]
ok $? "socket and description are gone"
ctl 0 "detach again" detach "$name"
err "detached already" "says so"
ctl 0 "init leaves it detached" init
ctl 0 "list" list
! grep -qF "$name" "$W/out"
ok $? "it stays away"
ctl 0 "status shows what is detached" status
out "reader-ctl attach $instance brings it back" "and how to get it back"
ctl 0 "attach by a part of its former name" attach tpdu
ctl 0 "apdu after attach" apdu "$instance" 00CB000400
ctl 0 "attach again" attach "$first"
ctl 0 "attach by name" attach "$name"
err "attached already" "says so"
ctl 0 "detach by instance" detach "$instance"
ctl 3 "the older form with the wrong id" attach usb:1234/5678/100 usb "$first"
id=$(reader-ctl status --json "$second" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
ctl 0 "detach the other" detach "$id"
ctl 0 "the older form" attach "usb:$(echo "$id" | tr : /)/100" usb "$second"
ctl 0 "the other is back" apdu "Model Two Slot Reader [CCID Interface] (EMU001) 00 00" 00A40000
ctl 0 "attach by instance" attach "$instance"

ACTION=add DEVPATH=/devices/x SEQNUM=1 ctl 0 "attach from within a udev event" attach "$other"
wait_for test -e "$RUN/$(basename "$(dirname "$other")")-$(basename "$other").reader"
ok $? "returns at once, and the reader comes later"
ctl 5 "a device that is no reader" status "$other"
out "no smart card interface" "is one in trouble"

ctl 0 "shutdown" shutdown
[ -z "$(find "$RUN" -maxdepth 1 -name '*.sock' -o -maxdepth 1 -name '*.reader')" ]
ok $? "nothing is left"
ctl 5 "attach while shut down" attach "$instance"
finish
