#!/bin/sh
# SPDX-License-Identifier: MIT
# Each of the 150 rules for CCID drivers has a test that names it: a unit test ccid_N_...(...) that is run, or a check of a
# whole handler or machine "CCID N: ..." (or "CCID N, M: ..."). With -l: each rule and the tests that name it.
cd "$(dirname "$0")/../.." || exit 1
RULES=150
unit=$(grep -ohE '(cmocka_unit_test[a-z_]*\(|CASE\()ccid_[0-9][a-z0-9_]*' tests/*/*.c | sed 's/.*(//' | sort -u)
whole=$(grep -ohE 'CCID [0-9]+(, [0-9]+)*: ' tests/process/*.py tests/process/*.sh tests/system/*.py tests/model/*.c \
	tests/model/check.sh | sort -u)
# NUMBER TEST, one a line
named=$(
	for name in $unit; do
		rest=${name#ccid_}
		while [ "${rest%%_*}" -eq "${rest%%_*}" ] 2>/dev/null; do
			echo "${rest%%_*} $name"
			case $rest in *_*) rest=${rest#*_} ;; *) break ;; esac
		done
	done
	echo "$whole" | while IFS= read -r name; do
		for number in $(echo "$name" | tr -cd '0-9 '); do echo "$number whole handler or machine"; done
	done
)
[ "${1:-}" != -l ] || {
	echo "$named" | sort -n
	exit 0
}
missing= beyond=
for number in $(seq "$RULES"); do
	echo "$named" | grep -q "^$number " || missing="$missing $number"
done
for number in $(echo "$named" | cut -d' ' -f1 | sort -nu); do
	[ "$number" -ge 1 ] && [ "$number" -le "$RULES" ] || beyond="$beyond $number"
done
n=0 failed=0
say() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else
		echo "not ok $n - $1:$2"
		failed=1
	fi
}
say "every rule for CCID drivers has a test that names it" "$missing"
say "no test names a rule that is none" "$beyond"
exit $failed
