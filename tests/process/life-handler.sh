#!/bin/sh
# SPDX-License-Identifier: MIT
# A handler's life by hand (--socket): killed in the middle of a command, started twice, stopped, idle; and what its
# clients see of that.
. "$(dirname "$0")/process-lib"
run
