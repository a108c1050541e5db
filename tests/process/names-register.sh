#!/bin/sh
# SPDX-License-Identifier: MIT
# Names as registration makes them, for many readers of one name, and as the environment wants them; what the library
# and reader-ctl make of that. In a mount namespace, because registration writes into /run/ifdhandler.
. "$(dirname "$0")/process-lib"
run_with_own_run "$@"
