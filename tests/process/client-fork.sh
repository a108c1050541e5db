#!/bin/sh
# SPDX-License-Identifier: MIT
# Programs that fork: the child has nothing of its parent's, and keeps nothing from others when the parent dies.
. "$(dirname "$0")/process-lib"
run
