#!/bin/sh
# SPDX-License-Identifier: MIT
# mkcard.sh DIR PIN: the certificates and keys of QEMU's emulated PKI card, as an NSS database in DIR/db, and the public
# key that its signatures are verified with in DIR/id.pub. The password of the database is the PIN of the card.
# Needs certutil (libnss3-tools) and openssl.
set -eu
dir=${1:?usage: mkcard.sh DIR PIN}
pin=${2:?usage: mkcard.sh DIR PIN}
rm -rf "$dir"
mkdir -p "$dir/db"
printf '%s\n' "$pin" > "$dir/db/pin"
head -c 64 /dev/urandom > "$dir/db/noise"

cert() { # NAME NUMBER OPTIONS...
	name=$1 number=$2
	shift 2
	certutil -S -d "sql:$dir/db" -f "$dir/db/pin" -z "$dir/db/noise" -s "CN=Test $name" -n "$name" -m "$number" \
		-v 120 -g 2048 "$@" > "$dir/certutil.log" 2>&1 || {
		cat "$dir/certutil.log" >&2
		exit 1
	}
}
certutil -N -d "sql:$dir/db" -f "$dir/db/pin"
cert test-ca 1 -x -t TC,TC,TC
cert id-cert 2 -t ,, -c test-ca
cert signing-cert 3 -t ,, -c test-ca
cert encryption-cert 4 -t ,, -c test-ca
certutil -L -d "sql:$dir/db" -n id-cert -a | openssl x509 -noout -pubkey > "$dir/id.pub.new"
mv "$dir/id.pub.new" "$dir/id.pub"
