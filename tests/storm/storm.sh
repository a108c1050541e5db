#!/bin/sh
# SPDX-License-Identifier: MIT
# The fault storm against real handlers and the real library, by the wall clock: some hundred seeded sequences over emulated
# readers of many kinds at once. STORM_SEED=N: that sequence alone; STORM_SECONDS=N: how long (tests/storm/README).
. "$(dirname "$0")/../process/process-lib"
export PYTHONPATH="$HERE/../process"
# T=1 with the shortest times (BWI 1, CWI 0): 3 s, the least that handlers wait for any card
CARD=t1,atr=3B901381211033
STORM_MODELS="generic-ext-apdu generic-short-apdu generic-tpdu generic-tpdu-autopps tpdu-auto-parameters tpdu-no-interrupt \
character ext-apdu-chaining ext-apdu-64 two-slots eight-slots two-interfaces zlp-always zlp-never low-packets \
behind-endpoints gempc-twin gempc-433 scr3310 lying-descriptor"
export STORM_MODELS CARD
options=
for model in $STORM_MODELS; do
	case $model in
	two-slots | two-interfaces) options="$options -m $model -c $CARD -c $CARD" ;;
	*) options="$options -m $model -c $CARD" ;;
	esac
done
emulated $options
