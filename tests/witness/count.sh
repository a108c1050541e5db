#!/bin/sh
# SPDX-License-Identifier: MIT
# How many transfers the same work takes in our stack and in the distribution's; README.
. "$(dirname "$0")/../process/process-lib"
HERE=$(cd "$HERE/../process" && pwd)
PART=$(cd "$(dirname "$0")" && pwd)/count-part.py
. "$(dirname "$0")/witness-lib"
PYTHONPATH=$HERE
export PYTHONPATH

# The other driver knows products by a list: here with ours in it.
list=$(mktemp) || exit 1
trap 'rm -f "$list"' EXIT
python3 - "$list" <<-'END' || exit 1
	import os, plistlib, sys
	with open(os.environ["CCID_LIST"], "rb") as file:
	    words = plistlib.load(file)
	for product in range(0x60):
	    words["ifdVendorID"].append("0x1209")
	    words["ifdProductID"].append(f"{product:#06x}")
	    words["ifdFriendlyName"].append("Model")
	with open(sys.argv[1], "wb") as file:
	    plistlib.dump(words, file)
END
chmod 644 "$list"
apart sh -c 'mount --bind "$0" "$CCID_LIST" && exec "$@"' "$list" "$B/model/umock-reader" -m generic-tpdu -c big -u -m ext-apdu-chaining -u \
	-m generic-short-apdu -u -m generic-tpdu-autopps -u -m two-slots -u -m tpdu-no-interrupt -u -- python3 "$PART"
