#!/bin/sh
# SPDX-License-Identifier: MIT
# Many threads on readers that come and go (client-threads.c).
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
exec "$B/tests/client-threads" "$B/libpcsclite.so.1" "$B/ifdhandler" 4
