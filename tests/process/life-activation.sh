#!/bin/sh
# SPDX-License-Identifier: MIT
# Handlers that are started by their first client, as systemd does it, and end when nobody uses them: no client ever
# sees an error of that, whenever it comes. In a mount namespace, because systemd's sockets are in /run/ifdhandler.
. "$(dirname "$0")/process-lib"
run_with_own_run "$@"
