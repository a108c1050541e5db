#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that lists readers again and again, one that waits for readers to come and go, and one that follows them all, while
# the last one is unplugged and replugged, its handler killed, and the handler's program replaced. In a mount namespace,
# because systemd's sockets are in /run/ifdhandler.
. "$(dirname "$0")/process-lib"
run_with_own_run "$@"
