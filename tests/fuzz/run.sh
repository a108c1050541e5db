#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh SECONDS SUMMARY TARGET...: each fuzz target so long, from its corpus; new inputs go to build/fuzz/new. TAP and counts.
set -u
seconds=$1 summary=$2
shift 2
start=$(date +%s)
passed=0 failed=0
one() {
	name=${1##*/fuzz-}
	mkdir -p "build/fuzz/new/$name" "tests/fuzz/corpus/$name"
	"$1" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -artifact_prefix="build/fuzz/$name-" \
		"build/fuzz/new/$name" "tests/fuzz/corpus/$name" >"build/fuzz/$name.log" 2>&1
}
while [ $# -gt 0 ]; do
	one "$1" & first=$!
	second= target=
	if [ $# -gt 1 ]; then
		target=$2
		one "$2" & second=$!
	fi
	for pair in "$first:$1" ${second:+"$second:$target"}; do
		name=${pair##*/fuzz-}
		if wait "${pair%%:*}"; then
			passed=$((passed + 1))
			echo "ok - fuzz $name: $(grep -o 'Done [0-9]* runs' "build/fuzz/$name.log")"
		else
			failed=$((failed + 1))
			echo "not ok - fuzz $name"
			tail -n 30 "build/fuzz/$name.log"
		fi
	done
	shift
	[ $# -eq 0 ] || shift
done
mkdir -p "$(dirname "$summary")"
printf 'fuzz (%s s each)\t%d\t%d\t0\t%d\n' "$seconds" "$passed" "$failed" "$(($(date +%s) - start))" >>"$summary"
[ "$failed" -eq 0 ]
