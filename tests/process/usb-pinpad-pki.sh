#!/bin/sh
# SPDX-License-Identifier: MIT
# OpenSC and a PKI card (libcacard) in an emulated PIN pad: log in and sign with a PIN that only reader and card see.
. "$(dirname "$0")/process-lib"
need python3 pkcs11-tool openssl
command -v certutil >/dev/null || skip_all "certutil (libnss3-tools) is not installed"
[ -x "$B/model/umock-reader" ] || skip_all "umockdev is not here"
if [ -z "${CARD_DIR:-}" ]; then
	CARD_DIR=$(mktemp -d "${TMPDIR:-/tmp}/pki.XXXXXX")
	export CARD_DIR
	trap 'rm -rf "$CARD_DIR"' EXIT
	trap 'exit 1' INT TERM
	"$HERE/../system/mkcard.sh" "$CARD_DIR/card" 123456 || { echo "not ok 1 - the card's keys are made"; exit 1; }
	"$0"
	exit
fi
emulated -m pinpad-tpdu -c "cacard:$CARD_DIR/card/db"
