#!/bin/sh
# SPDX-License-Identifier: MIT
# One reader's handler is stopped and answers nothing: lists, contexts and other readers do not notice; calls on that
# reader end after the documented times, and go on when it does.
. "$(dirname "$0")/process-lib"
run
