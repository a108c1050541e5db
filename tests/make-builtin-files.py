#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes ifdhandler/virtual/builtin_files.c: the file system of the builtin card.

    tests/make-builtin-files.py [--new-certificate] > ifdhandler/virtual/builtin_files.c

The structures are PKCS #15 v1.1 (ISO/IEC 7816-15). The certificate is read from
tests/fixtures/builtin-card.der. --new-certificate makes that file anew with openssl: an RSA key,
a self-signed certificate, and the private key is gone with its temporary directory: the card has
no private key, and nobody has. The output goes through clang-format with the tree's style.
"""
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent
CERTIFICATE = TOP / "tests/fixtures/builtin-card.der"
AID = bytes.fromhex("A000000063504B43532D3135")
SERIAL = b"IFDH000001"
TREE = {"mf": "3F00", "p15": "3F005015"}


def tlv(tag, *parts):
    """One DER object; `tag` may have two bytes."""
    value = b"".join(parts)
    n = len(value)
    size = b"" if n < 128 else b"\x81" if n < 256 else b"\x82"
    size += n.to_bytes(2 if n > 255 else 1, "big")
    return tag.to_bytes(2 if tag > 255 else 1, "big") + size + value


def seq(*parts):
    return tlv(0x30, *parts)


def octets(value):
    return tlv(0x04, value)


def utf8(text):
    return tlv(0x0C, text.encode())


def integer(value, tag=0x02):
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bits(*numbers):
    """A BIT STRING of named bits, without trailing zero bits (X.690 11.2.2)."""
    top = max(numbers)
    value = sum(1 << (top - n) for n in numbers)
    unused = -(top + 1) % 8
    return tlv(0x03, bytes([unused]), (value << unused).to_bytes((top + 8) // 8, "big"))


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = bytearray([first * 40 + second])
    for n in rest:
        chunk = [n & 0x7F]
        while n := n >> 7:
            chunk.insert(0, n & 0x7F | 0x80)
        out += bytes(chunk)
    return tlv(0x06, bytes(out))


def path(fid):
    return seq(octets(bytes.fromhex(TREE["p15"] + fid)))


def children(data):
    """The objects in the value `data`, each with its header."""
    out = []
    while data:
        n, head = data[1], 2
        if n & 0x80:
            head = 2 + (n & 0x7F)
            n = int.from_bytes(data[2:head], "big")
        out.append((data[: head + n], data[head : head + n]))
        data = data[head + n :]
    return out


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def new_certificate():
    algorithm = seq(oid("1.2.840.113549.1.1.11"), tlv(0x05))
    name = seq(
        tlv(0x31, seq(oid("2.5.4.10"), utf8("ifdhandler"))),
        tlv(0x31, seq(oid("2.5.4.3"), utf8("Builtin Test Card"))),
    )
    with tempfile.TemporaryDirectory() as scratch:
        key = scratch + "/key.pem"
        openssl("genrsa", "-out", key, "2048")
        public = openssl("rsa", "-in", key, "-pubout", "-outform", "DER")
        extensions = seq(
            seq(oid("2.5.29.19"), tlv(0x01, b"\xff"), octets(seq())),
            seq(oid("2.5.29.15"), tlv(0x01, b"\xff"), octets(bits(0))),
        )
        # RFC 5280 4.1.2.5: 99991231235959Z is "no well-defined end".
        validity = seq(tlv(0x17, b"240101000000Z"), tlv(0x18, b"99991231235959Z"))
        body = seq(tlv(0xA0, integer(2)), integer(1), algorithm, name, validity, name, public,
                   tlv(0xA3, extensions))
        signature = openssl("dgst", "-sha256", "-sign", key, data=body)
        CERTIFICATE.write_bytes(seq(body, algorithm, tlv(0x03, b"\0", signature)))


def public_key(certificate):
    """The RSAPublicKey inside a certificate: the BIT STRING in its subjectPublicKeyInfo."""
    body = children(children(certificate)[0][1])[0][1]
    info = children(body)[6][1]
    return children(info)[1][1][1:]


def pin(label, auth_id, reference, flags):
    return seq(
        seq(utf8(label), bits(1)),
        seq(octets(auth_id)),
        tlv(0xA1, seq(
            bits(*flags),
            integer(1, 0x0A),  # ascii-numeric
            integer(4), integer(8), integer(8),  # shortest, stored, longest
            integer(reference, 0x80),
            octets(b"\xff"),
            seq(octets(bytes.fromhex(TREE["p15"]))),
        )),
    )


def files():
    certificate = CERTIFICATE.read_bytes()
    key_id = b"\x01"
    initialized, padding, unblocking, so = 4, 5, 6, 7
    public_text = (b"This card is made of software: it is built into the reader's handler.\n"
                   b"It has no private key. PIN 123456, PUK 12345678.\n")
    private_text = b"You have verified the PIN, or you could not read this.\n"
    # parent, what, FID, SFI, read, update, data (None: a DF, a number: the scratch file)
    return [
        (0, "MF", "3F00", 0, "ALWAYS", "NEVER", None),
        (0, "EF.DIR", "2F00", 30, "ALWAYS", "NEVER",
         tlv(0x61, tlv(0x4F, AID), tlv(0x50, b"Builtin Test Card"),
             tlv(0x51, bytes.fromhex(TREE["p15"])))),
        # ISO/IEC 7816-4:2013 12.7.1: longest command and longest answer, with header and status.
        (0, "EF.ATR/INFO", "2F01", 1, "ALWAYS", "NEVER",
         tlv(0x7F66, integer(65535), integer(65535))),
        (0, "PKCS #15 application", "5015", 0, "ALWAYS", "NEVER", None),
        (3, "EF.ODF", "5031", 17, "ALWAYS", "NEVER",
         tlv(0xA8, path("4401")) + tlv(0xA1, path("4402")) + tlv(0xA4, path("4403"))
         + tlv(0xA7, path("4404"))),
        (3, "EF.TokenInfo", "5032", 18, "ALWAYS", "NEVER",
         seq(integer(0), octets(SERIAL), utf8("ifdhandler"),
             tlv(0x80, b"Builtin Test Card"),
             bits(0, 1, 2))),  # readonly, loginRequired, prnGeneration
        (3, "EF.AODF", "4401", 0, "ALWAYS", "NEVER",
         pin("PIN", b"\x01", 1, (initialized, padding))
         + pin("PUK", b"\x02", 2, (initialized, padding, unblocking, so))),
        (3, "EF.PuKDF", "4402", 0, "ALWAYS", "NEVER",
         seq(seq(utf8("Public key")),
             seq(octets(key_id), bits(6), tlv(0x01, b"\0")),  # verify; not native
             tlv(0xA1, seq(path("4332"), integer(2048))))),
        (3, "EF.CDF", "4403", 0, "ALWAYS", "NEVER",
         seq(seq(utf8("Certificate")), seq(octets(key_id)), tlv(0xA1, seq(path("4331"))))),
        (3, "EF.DODF", "4404", 0, "ALWAYS", "NEVER",
         seq(seq(utf8("About this card")), seq(utf8("ifdhandler")), tlv(0xA1, path("4333")))
         + seq(seq(utf8("Secret note"), bits(0), octets(b"\x01")), seq(utf8("ifdhandler")),
               tlv(0xA1, path("4334")))),
        (3, "Certificate", "4331", 0, "ALWAYS", "NEVER", certificate),
        (3, "Public key", "4332", 0, "ALWAYS", "NEVER", public_key(certificate)),
        (3, "About this card", "4333", 0, "ALWAYS", "NEVER", public_text),
        (3, "Secret note", "4334", 0, "PIN", "NEVER", private_text),
        # Needs extended length to be written or read at once.
        (3, "Scratch", "4340", 0, "ALWAYS", "PIN", 1),
    ]


def array(what, name, data):
    body = ",".join(f" 0x{b:02x}" for b in data)
    return f"/* {what} */\nstatic const uint8_t {name}[] = {{{body} }};\n\n"


def source():
    out = """/* SPDX-License-Identifier: MIT */
/*
 * The file system of the builtin card: a PKCS #15 application (ISO/IEC 7816-15) with a certificate,
 * its public key, two data objects and a PIN. Made by tests/make-builtin-files.py: change that.
 * The certificate is self-signed, and its private key exists nowhere.
 */
#include "ifdhandler/virtual/builtin_files.h"

"""
    rows = ""
    out += array("The application's identifier (PKCS #15 v1.1, 5.6)", "aid", AID)
    for parent, what, fid, sfi, read, update, data in files():
        row = f".id = 0x{fid}, .parent = {parent}"
        row += f", .read = BUILTIN_{read}, .update = BUILTIN_{update}"
        if sfi:
            row += f", .sfi = {sfi}"
        if isinstance(data, bytes):
            name = "file_" + fid.lower()
            out += array(what, name, data)
            row += f", .size = sizeof({name}), .data = {name}"
        elif data:
            row += ", .size = BUILTIN_SCRATCH_SIZE"
        else:
            row += ", .is_df = 1"
        if fid == "5015":
            row += ", .aid = aid, .aid_len = sizeof(aid)"
        rows += f"/* {what} */\n{{ {row} }},\n"
    out += "const struct builtin_file builtin_files[BUILTIN_N_FILES] = {\n" + rows + "};\n"
    return subprocess.run(["clang-format", "--assume-filename=" + str(TOP / "ifdhandler/x.c")],
                          input=out.encode(), check=True, stdout=subprocess.PIPE).stdout.decode()


if __name__ == "__main__":
    if sys.argv[1:] == ["--new-certificate"]:
        new_certificate()
    elif len(sys.argv) > 1:
        sys.exit(__doc__)
    sys.stdout.write(source())
