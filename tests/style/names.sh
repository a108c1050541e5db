#!/bin/sh
# SPDX-License-Identifier: MIT
# Files that README and CONTRIBUTING name exist; every message and outcome is in the protocol's text; man pages parse.
cd "$(dirname "$0")/../.." || exit 1
n=0 failed=0
say() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else
		echo "not ok $n - $1:" $2
		failed=1
	fi
}
missing=
for f in $(grep -ohP '(?<![\w/])(wire|ifdhandler|client|ctl|udev|units|man|tests)/[A-Za-z0-9_@./-]+[A-Za-z0-9]' README.md CONTRIBUTING.md | sort -u); do
	ls $f* >/dev/null 2>&1 || missing="$missing $f"
done
say "files named in the documents exist" "$missing"
missing=
for m in $(sed -n 's/^MESSAGE(\([A-Z_]*\),.*/\1/p' wire/messages.def); do
	grep -q "\b$m\b" wire/PROTOCOL.md || missing="$missing $m"
done
say "the protocol's text names every message" "$missing"
duplicate=$(sed -n 's/^STATUS([A-Z_]*, \([0-9]*\),.*/\1/p' wire/status.def | sort | uniq -d)
say "no two outcomes have one number" "$duplicate"
bad=
for page in man/*.[1-8]; do
	[ -e "$page" ] || continue
	if command -v mandoc >/dev/null; then mandoc -T lint -W error "$page" >/dev/null 2>&1 || bad="$bad $page"; fi
	if command -v groff >/dev/null; then
		[ -z "$(groff -man -Tutf8 -ww -z "$page" 2>&1)" ] || bad="$bad $page"
	fi
done
say "man pages have no errors" "$bad"
exit $failed
