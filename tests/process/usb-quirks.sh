#!/bin/sh
# SPDX-License-Identifier: MIT
# What a device's row and an administrator say of it, from udev's properties to what reader-ctl and the journal show.
. "$(dirname "$0")/process-lib"
emulated \
	-m generic-tpdu -c t1 -p "IFDHANDLER_KNOWN=max-rate=9600 ifsd=48 escape" \
	-p "IFDHANDLER_QUIRKS=-escape, ifsd=100 no-such-word min-firmware=9999" \
	-m generic-tpdu -c t1 -p IFDHANDLER_KNOWN=no-pps \
	-m generic-tpdu -c t1 -p IFDHANDLER_QUIRKS=escape \
	-m generic-tpdu -c t1
