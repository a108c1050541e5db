#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that has not looked for long, while others were busy, sees what is and not what was.
. "$(dirname "$0")/process-lib"
run
