#!/bin/sh
# SPDX-License-Identifier: MIT
# The library as other programs meet it: what it exports and needs, linked in several ways, 32 bits with a 64-bit handler,
# loaded and unloaded, and what is left in memory.
. "$(dirname "$0")/process-lib"
need "${CC:-gcc}"
run
