#!/bin/sh
# SPDX-License-Identifier: MIT
# Clients of a handler's socket that send nonsense, too much, too little or too slowly, and never read: they are told
# and closed, and the reader stays usable for others.
. "$(dirname "$0")/process-lib"
run
