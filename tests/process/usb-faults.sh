#!/bin/sh
# SPDX-License-Identifier: MIT
# A reader that answers wrong, late, twice, in parts or not at all: every call ends with its own answer or an error, and
# after that the reader works again.
. "$(dirname "$0")/process-lib"
# T=1 with the shortest times (BWI 1, CWI 0): 3 s, the least that handlers wait for any card
CARD=t1,atr=3B901381211033
READERS=
for _ in 1 2 3 4 5 6 7 8; do READERS="$READERS generic-ext-apdu"; done
for _ in 1 2 3 4; do READERS="$READERS generic-tpdu-autopps"; done
READERS="$READERS ext-apdu-64 ext-apdu-64 tpdu-no-interrupt"
export READERS
options=
for reader in $READERS; do options="$options -m $reader -c $CARD"; done
# slots beside each other; a reader that is asked for its speeds
emulated $options -m two-slots -c $CARD -c $CARD -m lying-descriptor -c $CARD
