#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the payload (this directory) in the VM or the container: the tree of `make install` as it is, then what a
# package's scripts would do.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p /usr/local/lib/ifdhandler-tests
cp -a "$here"/. /usr/local/lib/ifdhandler-tests
rm -rf /usr/local/lib/ifdhandler-tests/tree
if [ -d "$here/tree" ]; then
	cp -a --no-preserve=ownership "$here/tree/." /
	ldconfig
	systemd-sysusers
	systemd-tmpfiles --create
	if [ -d /usr/lib/udev/hwdb.d ]; then
		systemd-hwdb update
	fi
	udevadm control --reload
	systemctl daemon-reload
	usermod -a -G smartcard member
	reader-ctl init
	udevadm settle
fi
rm -rf "$here/tree"
