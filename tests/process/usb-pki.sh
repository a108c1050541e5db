#!/bin/sh
# SPDX-License-Identifier: MIT
# OpenSC and a PKI card with real keys (libcacard) in emulated readers: list, log in, sign; openssl verifies.
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
# T=0 TPDUs, all by the handler; libcacard can be one card only
emulated -m generic-tpdu -c "cacard:$CARD_DIR/card/db"
