#!/bin/sh
# SPDX-License-Identifier: MIT
# clang-format is law.
cd "$(dirname "$0")/../.." || exit 1
if ! command -v clang-format >/dev/null; then
	echo "ok 1 - clang-format changes nothing # SKIP clang-format is not installed"
	exit 0
fi
bad=$(for f in wire/*.[ch] ifdhandler/*.[ch] ifdhandler/*/*.[ch] client/*.[ch] ctl/*.[ch] tests/*/*.[ch]; do
	[ -e "$f" ] || continue
	clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || echo "$f"
done)
if [ -z "$bad" ]; then
	echo "ok 1 - clang-format changes nothing"
else
	echo "not ok 1 - clang-format changes:" $bad
	exit 1
fi
