#!/bin/sh
# SPDX-License-Identifier: MIT
# A reader that answers wrong, late, twice, in parts or not at all: every call ends with its own answer or an error, and
# after that the reader works again.
. "$(dirname "$0")/process-lib"
# T=1 with the shortest times (BWI 1, CWI 0): handlers wait 3 s for it, the least they wait for any card
CARD=t1,atr=3B901381211033
APDU_READERS=10 TPDU_READERS=6
export APDU_READERS TPDU_READERS
set --
for _ in $(seq $APDU_READERS); do set -- "$@" -m generic-ext-apdu -c $CARD; done
for _ in $(seq $TPDU_READERS); do set -- "$@" -m generic-tpdu-autopps -c $CARD; done
emulated "$@" -m tpdu-no-interrupt -m two-slots -m ext-apdu-64
