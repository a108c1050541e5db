#!/bin/sh
# SPDX-License-Identifier: MIT
# Every emulated model of a reader with its handler: those that can work do, with short and extended APDUs, and break no
# rule of CCID towards the device; those that cannot say why.
. "$(dirname "$0")/process-lib"
models=
for file in "$HERE"/../model/models/*.model; do
	models="$models -m $(basename "$file" .model)"
done
MODELS=$(echo "$models" | sed 's/ -m / /g')
export MODELS
emulated $models
