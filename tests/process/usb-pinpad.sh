#!/bin/sh
# SPDX-License-Identifier: MIT
# PIN pads as programs use them (PC/SC part 10): every exchange level, people who type, cancel, wait or run away with the card.
. "$(dirname "$0")/process-lib"
emulated -m pinpad-tpdu -m pinpad-tpdu -c t0 -m pinpad-short -m pinpad-ext -p "IFDHANDLER_QUIRKS=escape pace" \
	-m pinpad-keyboard -p "IFDHANDLER_QUIRKS=pin-no-message pin-delay=250" \
	-m pinpad-gemalto -p "IFDHANDLER_QUIRKS=gemalto pin-one-message" \
	-m pinpad-tpdu -p IFDHANDLER_QUIRKS=no-pinpad -m pinpad-short -m pinpad-tpdu -m pinpad-tpdu -p IFDHANDLER_QUIRKS=mct \
	-m pinpad-tpdu -p IFDHANDLER_QUIRKS=abort
