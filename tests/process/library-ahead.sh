#!/bin/sh
# SPDX-License-Identifier: MIT
# The end of a transaction is sent and not waited for; nobody can tell.
. "$(dirname "$0")/process-lib"
run
