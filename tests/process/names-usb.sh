#!/bin/sh
# SPDX-License-Identifier: MIT
# Names of USB readers: interfaces and slots, equal devices that are replugged in another order, own names, and readers that
# are left out of the list. In a mount namespace, because registration writes into /run/ifdhandler.
. "$(dirname "$0")/process-lib"
need python3 unshare
if [ "${1:-}" != inside ]; then
	unshare -rm sh -c 'mount -t tmpfs tmpfs /run' 2>/dev/null || skip_all "no namespaces for users here (unshare -rm)"
	exec unshare -rm "$0" inside
fi
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/ifdhandler || exit 1
export READERS_IN=/run/ifdhandler
emulated -m two-interfaces -m two-interfaces -p IFDHANDLER_NAME=Desk -m two-slots -p IFDHANDLER_NAME=Desk \
	-m gempc-twin -m gempc-twin -m gempc-twin -m scr3310 -p "IFDHANDLER_NAME=  " \
	-m scr3310 -p "IFDHANDLER_NAME=a=\"b\" [c] $(printf 'M\303\274ller')" \
	-m eight-slots -p "IFDHANDLER_NAME=$(printf '%0200d' 0)"
