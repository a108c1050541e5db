#!/bin/sh
# SPDX-License-Identifier: MIT
# Names as registration makes them, for many readers of one name, and as the environment wants them; what the library
# and reader-ctl make of that. In a mount namespace, because registration writes into /run/ifdhandler.
. "$(dirname "$0")/process-lib"
need python3 unshare
if [ "${1:-}" != inside ]; then
	unshare -rm sh -c 'mount -t tmpfs tmpfs /run' 2>/dev/null || skip_all "no namespaces for users here (unshare -rm)"
	exec unshare -rm "$0" inside
fi
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/ifdhandler || exit 1
export READERS_IN=/run/ifdhandler
run
