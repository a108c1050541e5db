#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes point one way: towards the device, and to wire/. Libraries have one user each.
cd "$(dirname "$0")/../.." || exit 1
n=0 failed=0
say() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "$2" | sed 's/^/# /'
		failed=1
	fi
}
# forbid TEXT PATTERN FILE...: no file includes what matches
forbid() {
	text=$1 pattern=$2
	shift 2
	say "$text" "$(grep -nE "#include [<\"]($pattern)" "$@" /dev/null)"
}
but() {
	ls ifdhandler/*.[ch] | grep -vE "^ifdhandler/($1)\.[ch]$"
}
forbid "wire/ needs nobody" "ifdhandler/|client/|ctl/|systemd/|libusb|libudev" wire/*
forbid "the library needs wire/ only" "ifdhandler/|ctl/|systemd/|libusb|libudev" client/*
forbid "the handler does not know the library" "client/|ctl/|winscard|PCSC" ifdhandler/*
forbid "only usb.c includes libusb" "libusb" $(but usb)
forbid "only device.c includes libudev" "libudev" $(but device)
# rooms in the order a byte travels; a room includes none before it (main and reader are the roots)
order="socket connection session command connect inspect service lease slot"
before=""
for room in $order; do
	files=$(ls ifdhandler/"$room".[ch])
	[ -z "$before" ] || case $room in
	service | lease | slot) forbid "$room does not look back" "ifdhandler/(socket|connection|command|connect|inspect|reader)\.h" $files ;;
	*) forbid "$room does not look back" "ifdhandler/(socket|reader)\.h" $files ;;
	esac
	before="$before $room"
done
drivers=$(but "main|reader|socket|connection|session|command|connect|inspect|service|lease|slot|registration|identity|device|name|log|access")
forbid "nothing below slot knows that clients exist" \
	"ifdhandler/(socket|connection|session|command|connect|inspect|service|lease|slot|reader|registration)\.h" $drivers
forbid "protocol cores do no I/O" "sys/(socket|epoll|ioctl)|unistd|systemd|fcntl|ifdhandler/usb" \
	$(ls ifdhandler/atr.[ch] ifdhandler/pps.[ch] ifdhandler/apdu.[ch] ifdhandler/t0.[ch] ifdhandler/t1.[ch] \
	ifdhandler/ccid_msg.[ch] ifdhandler/ccid_desc.[ch] ifdhandler/name.[ch])
say "nobody outside client/ knows a SCARD_ name but the table of outcomes" \
	"$(grep -nE '\bSCARD_[EFWS]_' ifdhandler/*.[ch] ctl/*.[ch] wire/*.[ch] | grep -v '^wire/status')"
say "no sleeps" "$(grep -nE '\b(u|nano)?sleep\(' wire/*.c ifdhandler/*.c client/*.c ctl/*.c)"
say "no set-id bits, no system()" "$(grep -nE '\b(system|popen)\(' wire/*.c ifdhandler/*.c client/*.c ctl/*.c)"
exit $failed
