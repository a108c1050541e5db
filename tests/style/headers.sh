#!/bin/sh
# SPDX-License-Identifier: MIT
# Each header compiles alone, in C; the public ones in C++ too, as their users see them.
cd "$(dirname "$0")/../.." || exit 1
failed=0 bad=
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
flags="-std=gnu17 -D_GNU_SOURCE -I. -Iclient -Ibuild -Wall -Wextra -Werror -fsyntax-only"
for h in wire/*.h ifdhandler/*.h ifdhandler/*/*.h client/*.h ctl/*.h; do
	[ "$h" = client/reader.h ] && continue # needs ULONG from its user, as programs know it
	echo "#include \"$h\"" >"$tmp/h.c"
	${CC:-cc} $flags $(pkg-config --cflags libusb-1.0) "$tmp/h.c" >"$tmp/said" 2>&1 || bad="$bad $h"
done
if [ -z "$bad" ]; then echo "ok 1 - each header compiles alone"; else
	echo "not ok 1 - these headers do not compile alone:$bad"
	failed=1
fi
printf '#include <winscard.h>\n#include <reader.h>\nint main() { return g_rgSCardT0Pci.dwProtocol != 1; }\n' >"$tmp/p.cc"
if ${CXX:-c++} -Wall -Wextra -Werror -Iclient -fsyntax-only "$tmp/p.cc" >"$tmp/said" 2>&1; then
	echo "ok 2 - public headers compile as C++"
else
	echo "not ok 2 - public headers compile as C++"
	sed 's/^/# /' "$tmp/said"
	failed=1
fi
exit $failed
