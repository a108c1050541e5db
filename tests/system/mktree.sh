#!/bin/sh
# SPDX-License-Identifier: MIT
# mktree.sh TREE OBJECTS: installs our build below TREE as a distribution's package would lay it out, with our library
# as the system's. Compiled into OBJECTS, since some paths are compiled in. Run from the top directory.
set -eu
tree=${1:?usage: mktree.sh TREE OBJECTS}
objects=${2:?usage: mktree.sh TREE OBJECTS}
rm -rf "$tree"
make --no-print-directory B="$objects" DESTDIR="$tree" prefix=/usr exec_prefix=/usr bindir=/usr/bin sbindir=/usr/sbin \
	libdir="/usr/lib/$(${CC:-cc} -print-multiarch)" includedir=/usr/include datarootdir=/usr/share \
	mandir=/usr/share/man sysconfdir=/etc systemdsystemunitdir=/usr/lib/systemd/system udevdir=/usr/lib/udev \
	system_library=yes install
