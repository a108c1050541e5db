#!/bin/sh
# SPDX-License-Identifier: MIT
# Every emulated model of a reader with its handler: those that can work do, with short and extended APDUs, and break no
# rule of CCID towards the device; those that cannot say why.
. "$(dirname "$0")/process-lib"
models=
MODELS=
for file in "$HERE"/../model/models/*.model; do
	name=$(basename "$file" .model)
	models="$models -m $name"
	MODELS="$MODELS $name"
	# the hardware database says so of the product that it stands for
	[ "$name" != iccd-a-egate ] || models="$models -p IFDHANDLER_QUIRKS=vendor-class"
done
export MODELS
emulated $models
