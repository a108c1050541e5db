#!/bin/sh
# SPDX-License-Identifier: MIT
# The table of devices as systemd compiles and matches it: no complaint, an administrator's row adds to ours whatever its
# file is called, and the rules ask for every property that the manual names. (What it says of each device: test-quirk.)
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
n=0
failed=0

# check NAME FOUND WANTED
check() {
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
		return
	fi
	failed=1
	echo "not ok $n - $1"
	printf '%s\n' "found: $2" "wanted: $3" | sed 's/^/# /'
}

if ! command -v systemd-hwdb >/dev/null; then
	echo "ok 1 - hwdb # SKIP systemd-hwdb is not installed"
	echo "1..1"
	exit 0
fi

# Distributions have /usr/lib or /lib; the compiled table goes to /etc.
mkdir -p "$dir/etc/udev/hwdb.d" "$dir/usr/lib/udev" "$dir/lib/udev"
cp -r udev "$dir/usr/lib/udev/hwdb.d"
cp -r udev "$dir/lib/udev/hwdb.d"

# query PRODUCT
query() {
	systemd-hwdb --root="$dir" query "ifdhandler:usb:$1" | tr '\n' ' ' | sed 's/ $//'
}

said=$(systemd-hwdb update --strict --root="$dir" 2>&1)
check "systemd-hwdb compiles the table" "$? $said" "0 "
check "a row of a version" "$(query 4e6/e003/503)" "IFDHANDLER_DRIVER=ccid IFDHANDLER_KNOWN=$(
	sed -n '\,^ifdhandler:usb:4e6/e003/50\[0-3\],,/^$/s/^ IFDHANDLER_KNOWN=//p' udev/71-ifdhandler.hwdb)"
check "the last of several rows counts" "$(query 8e6/3480/100)" "IFDHANDLER_KNOWN=gemalto absent-if-mute slow-slots"
check "… and the vendor's for others" "$(query 8e6/3480/200)" "IFDHANDLER_KNOWN=gemalto"
check "a device without a row" "$(query 1/2/3)" ""

# One that sorts before ours and one behind.
for name in 10-first 99-last; do
	rm -f "$dir"/etc/udev/hwdb.d/*
	printf 'ifdhandler:usb:8e6/3480/*\n IFDHANDLER_QUIRKS=escape\n\nifdhandler:usb:1/2/*\n IFDHANDLER_DRIVER=ccid\n' \
		>"$dir/etc/udev/hwdb.d/$name.hwdb"
	systemd-hwdb update --strict --root="$dir"
	check "$name.hwdb adds to our row" "$(query 8e6/3480/100)" \
		"IFDHANDLER_KNOWN=gemalto absent-if-mute slow-slots IFDHANDLER_QUIRKS=escape"
	check "$name.hwdb has one of its own" "$(query 1/2/9)" "IFDHANDLER_DRIVER=ccid"
done

# SYSTEMD_WANTS and the like are not asked for.
check "the rules ask for every property that administrators set" \
	"$(sed -n 's/.*hwdb --filter=\(IFDHANDLER_[A-Z]*\) ifdhandler:usb:\$env{PRODUCT}"$/\1/p' udev/71-ifdhandler.rules | sort)" \
	"$(sed -n '/^\.SH PROPERTIES$/,/^\.SH QUIRKS/p' man/ifdhandler-properties.5 |
		grep -A1 '^\.TP' | grep -oE 'IFDHANDLER_[A-Z]+' | sort)"
check "… where no rule has said otherwise" \
	"$(grep 'hwdb --filter=' udev/71-ifdhandler.rules | grep -v KNOWN |
		grep -cvE '^ENV\{(IFDHANDLER_[A-Z]+)\}=="", IMPORT\{builtin\}="hwdb --filter=\1 ')" "0"

echo "1..$n"
exit $failed
