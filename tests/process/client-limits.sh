#!/bin/sh
# SPDX-License-Identifier: MIT
# A user whose inotify instances or watches are used up: his programs hear of readers all the same, only later. In a user
# namespace of its own, whose limits are nobody else's.
. "$(dirname "$0")/process-lib"
need python3 unshare
unshare -Ur true 2>/dev/null || skip_all "no user namespace may be made here"
[ -z "$preload" ] || export LD_PRELOAD="$preload"
exec unshare -Ur python3 "$PART"
