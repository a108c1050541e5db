#!/bin/sh
# SPDX-License-Identifier: MIT
# A thousand virtual readers: listing them, watching them all, starting them, what one at rest costs; and the same when
# their handlers have exited and only sockets and descriptions are left.
. "$(dirname "$0")/process-lib"
# As /run is: listing must not be measured against a disk.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
run
