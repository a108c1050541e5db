#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh DIRECTORY: the emulation itself, with the programs built in DIRECTORY. Exits 77 where umockdev is missing.
set -u
bin=$(cd "${1:?directory of the programs}" && pwd)
export PATH="$bin:$PATH"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# bed NAME OPTIONS... -- SCRIPT: runs the shell script inside and says how it went
bed() {
	name=$1
	shift
	if timeout 30 umock-reader "$@" >"$work/said" 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name (status $?)"
		sed 's/^/# /' "$work/said"
		failed=1
	fi
}
counts() {
	printf 'value() { model-ctl count "$1" | sed -n "s/^$2=//p"; }\n'
}
prelude="set -eu; cd $work; $(counts)"

umock-reader -m generic-ext-apdu -- true >"$work/said" 2>&1 || { cat "$work/said"; exit 77; }

bed "libusb opens the node without discovery" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on xfr=200 big=65000
	[ \$(value 0 xfr) = 201 ]
	[ \$(value 0 claims) = 1 ]
	[ \$(value 0 violations) = 0 ]"

bed "libusb finds a reader by itself" -m not-a-reader -m generic-short-apdu -- sh -c "$prelude
	[ \"\$MODEL_NODES\" = '/dev/bus/usb/001/002 /dev/bus/usb/001/003' ]
	usb-client any on xfr=5
	[ \$(value 1 xfr) = 5 ]"

bed "exit status is the program's" -m generic-tpdu -- sh -c "
	umock-reader -m generic-tpdu -- sh -c 'exit 7' && exit 1; [ \$? = 7 ]"

bed "card out and in are notified" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 notify notify notify >log & pid=\$!
	model-ctl wait 0 interrupt 1
	model-ctl card 0 0 out
	model-ctl wait 0 interrupt 2
	model-ctl card 0 0 in A
	wait \$pid
	[ \"\$(grep -c notification log)\" = 3 ]
	grep -q ': 50 02' log"

bed "unplugged in mid-transfer, and back" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on hang >log & pid=\$!
	model-ctl wait 0 xfr 1
	model-ctl unplug 0
	wait \$pid
	[ ! -e /dev/bus/usb/001/002 ]
	[ ! -e /sys/bus/usb/devices/1-1 ]
	[ \"\$(model-ctl plug 0)\" = node=/dev/bus/usb/001/003 ]
	usb-client /dev/bus/usb/001/003 on xfr=1"

bed "vanishes when a command comes" -m generic-tpdu -- sh -c "$prelude
	model-ctl fault 0 vanish on=6f
	usb-client /dev/bus/usb/001/002 hang
	[ \"\$(model-ctl node 0)\" = node=- ]"

bed "the system sleeps: the node has to be opened anew" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on hang >log & pid=\$!
	model-ctl wait 0 xfr 1
	model-ctl nodev 0
	wait \$pid
	[ \$(model-ctl node 0) = node=/dev/bus/usb/001/002 ]
	usb-client /dev/bus/usb/001/002 on xfr=1"

bed "the system sleeps: claims and power are lost" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on sleep on xfr=1 >log & pid=\$!
	model-ctl wait 0 submits 6
	model-ctl resume 0
	wait \$pid
	[ \$(value 0 claims) = 2 ]
	[ \$(value 0 card.0.cold) = 2 ]"

bed "tokens over control transfers" -m iccd-a -m iccd-b-short -m iccd-b-ext -m iccd-b-interrupt -- sh -c "$prelude
	i=0; for n in \$MODEL_NODES; do
		usb-client \$n token token
		[ \$(value \$i violations) = 0 ]
		i=\$((i + 1))
	done
	model-ctl fault 1 control-hang=81
	usb-client /dev/bus/usb/001/003 token-hang & pid=\$!
	model-ctl wait 1 submits 1 >log
	until model-ctl trace 1 | grep -q '^c a1 81'; do sleep 0.01; done
	model-ctl unplug 1
	wait \$pid"

bed "a PIN is seen by the card alone" -m pinpad-ext -- sh -c "$prelude
	model-ctl seen 0 0 | grep -q '^apdu=-'
	model-ctl pin 0 ms=5 12345678 ok
	model-ctl pin 0 enter && exit 1
	usb-client /dev/bus/usb/001/002 on pin
	model-ctl seen 0 0 | grep -q '^apdu=00200001083132333435363738'
	model-ctl trace 0 | grep '31 32 33 34' && exit 1
	[ \$(value 0 secure) = 1 ]
	[ \$(value 0 violations) = 0 ]"

bed "twenty plugs" -m two-interfaces -- sh -c "$prelude
	i=0; while [ \$i -lt 20 ]; do
		usb-client \$(model-ctl node 0 | sed s/node=//)
		model-ctl unplug 0
		model-ctl plug 0 >node
		i=\$((i + 1))
	done
	grep -q /dev/bus/usb/001/022 node"

bed "one owner at a time, and none after the last" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on hang >log & pid=\$!
	model-ctl wait 0 xfr 1
	usb-client /dev/bus/usb/001/002 >log2 && exit 1
	grep -q 'cannot start: -6' log2
	kill \$pid; wait \$pid || true
	usb-client /dev/bus/usb/001/002
	model-ctl claim 0 on
	usb-client /dev/bus/usb/001/002 && exit 1
	model-ctl claim 0 off
	usb-client /dev/bus/usb/001/002"

bed "an idle client sleeps" -m generic-ext-apdu -- sh -c "$prelude
	usb-client /dev/bus/usb/001/002 on hang >log & pid=\$!
	model-ctl wait 0 xfr 1
	before=\$(value 0 empty_reaps)
	sleep 0.5
	[ \$((\$(value 0 empty_reaps) - before)) -le 1 ]
	kill \$pid"

bed "faults, trace and violations" -m generic-ext-apdu -- sh -c "$prelude
	model-ctl fault 0 seq=77 on=62
	usb-client /dev/bus/usb/001/002 on >log && exit 1
	model-ctl trace 0 >trace
	grep -q '^< 80 .* 77 00' trace
	grep -q '^> 62 00 00 00 00 00 01' trace
	model-ctl fault 0 nonsense && exit 1
	model-ctl wait 0 xfr 99 50 && exit 1
	model-ctl violations 0 | grep -q bPowerSelect
	model-ctl count 0 reset >log
	[ \$(value 0 violations) = 0 ]"

bed "every process gets every uevent" -m generic-ext-apdu -u -- sh -c "$prelude
	for i in 1 2 3; do udev-watch 2 >watch\$i & done
	for i in 1 2 3; do
		while ! grep -q listening watch\$i; do sleep 0.01; done
	done
	model-ctl plug 0; model-ctl unplug 0
	wait
	for i in 1 2 3; do
		grep -q '^add /dev/bus/usb/001/002 :0b0000:' watch\$i
		grep -q '^remove /dev/bus/usb/001/002' watch\$i
	done"

bed "properties and attributes" -m gempc-twin -p IFDHANDLER_NAME=Front -- sh -c "$prelude
	cd /sys/bus/usb/devices/1-1
	[ \$(cat idVendor):\$(cat idProduct) = 08e6:3437 ]
	[ \$(cat busnum)-\$(cat devnum) = 1-2 ]
	[ \$(wc -c <descriptors) = 111 ]
	grep -q IFDHANDLER_NAME=Front uevent
	grep -q ID_SMARTCARD_READER=1 uevent
	grep -q ID_PATH_TAG=pci-0000_00_14_0-usb-0_1 uevent"

bed "sixteen readers" -m two-slots -m two-slots -m two-slots -m two-slots -m two-slots -m two-slots \
	-m two-slots -m two-slots -m two-slots -m two-slots -m two-slots -m two-slots -m two-slots \
	-m two-slots -m two-slots -m two-slots -- sh -c "$prelude
	for n in \$MODEL_NODES; do usb-client \$n on xfr=1 >>log; done
	[ \$(grep -c ATR log) = 16 ]"

if timeout 20 usbip-test "$bin/usbip-reader" >"$work/said" 2>&1; then
	echo "ok USB/IP"
else
	echo "not ok USB/IP"
	cat "$work/said"
	failed=1
fi
exit $failed
