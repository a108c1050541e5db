#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that has no descriptors left: connections that are kept for later are given up first.
. "$(dirname "$0")/process-lib"
run
