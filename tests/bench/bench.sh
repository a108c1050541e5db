#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh BUILD: calls of the library over a virtual reader whose builtin card answers at once, as multiples of the
# round trip of a bare unix socket between two processes, measured in the same run; pinned to one CPU and free.
set -eu
B=$(realpath "$1")
DIR=$(mktemp -d)
chmod 755 "$DIR"
export IFDHANDLER_PATH="$DIR"
"$B/ifdhandler" --driver virtual --card builtin --socket "$DIR/bench.sock" 2>/dev/null &
handler=$!
trap 'kill $handler 2>/dev/null; wait $handler 2>/dev/null; rm -rf "$DIR"' EXIT
for _ in $(seq 100); do
	[ ! -e "$DIR/bench.reader" ] || break
	sleep 0.1
done
echo "free:"
"$B/tests/bench" "$B/libpcsclite.so.1"
if command -v taskset >/dev/null; then
	echo "all on one CPU:"
	taskset -cp 0 $handler >/dev/null
	taskset -c 0 "$B/tests/bench" "$B/libpcsclite.so.1"
fi
