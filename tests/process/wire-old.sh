#!/bin/sh
# SPDX-License-Identifier: MIT
# Old and new: a client of protocol version 1 at today's handler, and today's library at a handler of version 1.
. "$(dirname "$0")/process-lib"
run
