#!/bin/sh
# SPDX-License-Identifier: MIT
# Rules for CCID drivers that need a whole handler and its clients: suspend, unplugs in odd moments, clients that die, missed
# notifications, several slots and interfaces.
. "$(dirname "$0")/process-lib"
# T=1 with the shortest times (BWI 1, CWI 0): 3 s, the least that handlers wait for any card
CARD=t1,atr=3B901381211033
emulated -m generic-ext-apdu -c $CARD -m generic-tpdu -c $CARD -m tpdu-no-interrupt -c $CARD -m two-slots -c $CARD -c $CARD \
	-m two-interfaces -m generic-ext-apdu -c $CARD -m generic-ext-apdu -c $CARD -m lying-descriptor -c $CARD \
	-m generic-ext-apdu -c $CARD -m generic-ext-apdu -c $CARD -m eight-slots
