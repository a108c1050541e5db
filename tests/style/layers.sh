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
handler="ifdhandler/*.[ch] ifdhandler/*/*.[ch]"
but() {
	ls $handler | grep -vE "^ifdhandler/($1)\.[ch]$"
}
forbid "wire/ needs nobody" "ifdhandler/|client/|ctl/|systemd/|libusb|libudev" wire/*
forbid "the library needs wire/ only" "ifdhandler/|ctl/|systemd/|libusb|libudev" client/*
forbid "the handler does not know the library" "client/|ctl/|winscard|PCSC" $handler
forbid "only usb.c includes libusb" "libusb" $(but usb/usb)
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
forbid "nothing below slot knows that clients exist: a driver includes driver.h and log.h of the handler's own" \
	"ifdhandler/[a-ce-km-z_][a-z_]*\.h" ifdhandler/*/*.[ch]
forbid "the ISO/IEC 7816 cores need nobody but wire/bytes.h" "ifdhandler/[^i]|wire/[^b]" ifdhandler/iso7816/*
forbid "USB needs no driver" "ifdhandler/(ccid|virtual|iso7816)/" ifdhandler/usb/*
forbid "the virtual reader needs no other driver" "ifdhandler/(ccid|usb)/" ifdhandler/virtual/*
forbid "protocol cores do no I/O" "sys/(socket|epoll|ioctl)|unistd|systemd|fcntl|ifdhandler/usb/" \
	ifdhandler/iso7816/* ifdhandler/ccid/ccid_msg.[ch] ifdhandler/ccid/ccid_desc.[ch] ifdhandler/name.[ch]
say "nobody outside client/ knows a SCARD_ name but the table of outcomes" \
	"$(grep -nE '\bSCARD_[EFWS]_' $handler ctl/*.[ch] wire/*.[ch] | grep -v '^wire/status')"
say "no sleeps" "$(grep -nE '\b(u|nano)?sleep\(' wire/*.c ifdhandler/*.c ifdhandler/*/*.c client/*.c ctl/*.c)"
say "no set-id bits, no system()" "$(grep -nE '\b(system|popen)\(' wire/*.c ifdhandler/*.c ifdhandler/*/*.c client/*.c ctl/*.c)"
exit $failed
