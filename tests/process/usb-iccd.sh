#!/bin/sh
# SPDX-License-Identifier: MIT
# Tokens without bulk endpoints (ICCD 1.0, versions A and B): opening, APDUs of all cases, chaining, trouble, unplugging.
. "$(dirname "$0")/process-lib"
# One of each kind; a product that is known by a word. Then those that get into trouble, whose cards have the shortest times
# (T=0: WI 1; T=1: BWI 1, CWI 0).
SHORT_A=A,atr=3B804001
SHORT_B=t1,atr=3B901381211033
emulated -m iccd-a -m iccd-b-short -m iccd-b-ext -m iccd-b-interrupt \
	-m iccd-a-egate -p IFDHANDLER_QUIRKS=vendor-class -m "$HERE/../model/models/field/04cc-5072-0100.model" \
	-m iccd-a -c $SHORT_A -m iccd-a -c $SHORT_A -m iccd-a -c $SHORT_A \
	-m iccd-b-ext -c $SHORT_B -m iccd-b-ext -c $SHORT_B -m iccd-b-short -c $SHORT_B \
	-m iccd-b-short -c $SHORT_B -m iccd-a -m iccd-b-short
