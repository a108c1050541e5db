#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that lists readers again and again, one that waits for readers to come and go, and one that follows them all, while
# the last one is unplugged and replugged, its handler killed, and the handler's program replaced. In a mount namespace,
# because systemd's sockets are in /run/ifdhandler.
. "$(dirname "$0")/process-lib"
need python3 unshare
if [ "${1:-}" != inside ]; then
	unshare -rm sh -c 'mount -t tmpfs tmpfs /run' 2>/dev/null || skip_all "no namespaces for users here (unshare -rm)"
	exec unshare -rm "$0" inside
fi
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/ifdhandler || exit 1
export READERS_IN=/run/ifdhandler
run
