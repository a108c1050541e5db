#!/bin/sh
# SPDX-License-Identifier: MIT
# A USB reader whose interface is named after its serial number.
. "$(dirname "$0")/process-lib"
need python3
emulated -m serial-in-name
