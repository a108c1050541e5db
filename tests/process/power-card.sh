#!/bin/sh
# SPDX-License-Identifier: MIT
# When a card has power: for its ATR, while somebody is connected, for the grace time of its reader, or always.
. "$(dirname "$0")/process-lib"
emulated -m generic-ext-apdu -c C -m generic-tpdu -c C -p IFDHANDLER_GRACE=1 -m generic-short-apdu -p IFDHANDLER_GRACE=0 \
	-m scr3310 -p "IFDHANDLER_GRACE=-1 or so$(printf '\033[2J')" -m generic-tpdu -p IFDHANDLER_GRACE=2 \
	-m tpdu-no-interrupt -c C -p IFDHANDLER_GRACE=1
