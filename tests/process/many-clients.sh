#!/bin/sh
# SPDX-License-Identifier: MIT
# 500 programs of one ordinary user on one reader, each with a card and a wait; and programs that are out of descriptors.
. "$(dirname "$0")/process-lib"
# Root gives an ordinary user a group that may use readers, in a mount namespace of its own.
if [ "$(id -u)" = 0 ] && [ "${1:-}" != inside ] && unshare -m true 2>/dev/null; then
	exec unshare -m "$0" inside
fi
if [ "${1:-}" = inside ]; then
	groups=$(mktemp) || exit 1
	{
		grep -v '^smartcard:' /etc/group
		echo "smartcard:x:64999:"
	} >"$groups"
	chmod 644 "$groups"
	mount --bind "$groups" /etc/group || exit 1
	rm -f "$groups"
	export CLIENT_USER=65534 CLIENT_GROUP=64999
fi
run
