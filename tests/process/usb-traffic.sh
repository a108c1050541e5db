#!/bin/sh
# SPDX-License-Identifier: MIT
# What goes over the cable: one message out and one in for a command, nothing for what is known, and nothing at rest.
. "$(dirname "$0")/process-lib"
# T=1 with the shortest times (BWI 1, CWI 0): a timer that an exchange leaves behind has run out after 3 s
CARD=t1,atr=3B901381211033
emulated -m generic-ext-apdu -c $CARD -m generic-short-apdu -c $CARD -m generic-tpdu -c A -m generic-tpdu-autopps -c $CARD \
	-m scr3310 -c B -m tpdu-no-interrupt -c $CARD -m eight-slots
