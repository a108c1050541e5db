#!/bin/sh
# SPDX-License-Identifier: MIT
# Every device of models/field, as its record has it: found and described right, exchanges APDUs of all cases with each
# kind of card that fits, and no rule of CCID is broken towards it.
. "$(dirname "$0")/process-lib"
need python3
[ -x "$B/model/umock-reader" ] || skip_all "umockdev is not here"
in_memory python3 "$HERE/field.py" "$B/model/umock-reader" ${preload:+-P "$preload"} -- python3 "$PART"
