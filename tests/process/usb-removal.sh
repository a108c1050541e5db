#!/bin/sh
# SPDX-License-Identifier: MIT
# Readers and cards that go and come, in every moment, and a reader that another program holds.
. "$(dirname "$0")/process-lib"
emulated -m generic-ext-apdu -m generic-tpdu -m tpdu-no-interrupt -m two-slots -m generic-short-apdu
