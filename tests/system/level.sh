#!/bin/sh
# SPDX-License-Identifier: MIT
# level.sh NAME SUMMARY ARGUMENT...: runs run.py with the arguments and adds its counts to SUMMARY.
set -u
name=$1 summary=$2
shift 2
start=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "== $name"
python3 "$(dirname "$0")/run.py" "$@" 2>&1 | tee "$log"
passed=$(grep -c '^ok ' "$log")
failed=$(grep -c '^FAIL ' "$log")
# A run that ends without its last line did not get to its tests.
grep -q '^system: [0-9]* passed' "$log" || failed=$((failed + 1))
printf '%s\t%d\t%d\t0\t%d\n' "$name" "$passed" "$failed" "$(($(date +%s) - start))" >>"$summary"
[ "$failed" -eq 0 ]
