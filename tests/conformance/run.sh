#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance tests against our library and handler (tests/conformance/README). B: the build.
cd "$(dirname "$0")/../.." || exit 1
exec "${B:-build}/tests/conformance"
