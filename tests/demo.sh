#!/bin/sh
# SPDX-License-Identifier: MIT
# make demo: a virtual reader with the builtin card, used by programs that know nothing of us. Ends by itself and leaves nothing.
set -eu
B=$(realpath "${1:-build}")
DIR=$(mktemp -d)
chmod 755 "$DIR"
export IFDHANDLER_PATH="$DIR" LD_LIBRARY_PATH="$B"
PIN=$(sed -n 's/.*PIN is \([0-9]*\).*/\1/p' "$(dirname "$0")/../README.md" | head -n 1)

show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

"$B/ifdhandler" --driver virtual --card builtin --socket "$DIR/demo.sock" &
handler=$!
trap 'kill $handler 2>/dev/null; wait $handler 2>/dev/null; rm -rf "$DIR"' EXIT
trap 'exit 1' INT TERM
# The description appears when the reader can be used.
for _ in $(seq 100); do
	[ ! -e "$DIR/demo.reader" ] || break
	sleep 0.1
done

show "$B/reader-ctl" list
show "$B/reader-ctl" status
show pcsc_scan -r
show timeout 10 pcsc_scan -c
show opensc-tool --list-readers
show opensc-tool --atr --name
show pkcs15-tool --dump
show pkcs15-tool --read-certificate 01
show pkcs15-tool --verify-pin --pin "$PIN"
echo
echo "demo: done"
