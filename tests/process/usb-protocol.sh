#!/bin/sh
# SPDX-License-Identifier: MIT
# Power-up, protocol, speed, blocks and chains, as the reader sees them: each message byte for byte.
. "$(dirname "$0")/process-lib"
emulated -m generic-tpdu -m generic-tpdu-autopps -m tpdu-auto-parameters -m generic-short-apdu -m generic-ext-apdu -m ext-apdu-64 \
	-m character
