#!/bin/sh
# SPDX-License-Identifier: MIT
# The recorded devices (tests/model/models/field) through our stack and the distribution's, and what comes of it compared; README.
. "$(dirname "$0")/../process/process-lib"
HERE=$(cd "$HERE/../process" && pwd)
PART=$(cd "$(dirname "$0")" && pwd)/field-part.py
. "$(dirname "$0")/witness-lib"
PYTHONPATH=$HERE
export PYTHONPATH

# They mostly wait: several at once.
LANES=3
export LANES
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
lane=0
while [ $lane -lt $LANES ]; do
	LANE=$lane apart python3 "$HERE/field.py" "$B/model/umock-reader" -- python3 "$PART" "$@" >"$out/$lane" 2>&1 &
	lane=$((lane + 1))
done
wait
cat "$out"/*
! grep -q -e '^not ok' -e '^Bail' "$out"/*
