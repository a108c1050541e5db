#!/bin/sh
# SPDX-License-Identifier: MIT
# What the library's calls ask of the kernel: one send and one receive for what the reader has to do, and nothing sent
# for what is known.
. "$(dirname "$0")/process-lib"
need strace "${CC:-gcc}"
strace -o /dev/null true 2>/dev/null || skip_all "strace may not trace here"
run
