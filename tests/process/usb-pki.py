# SPDX-License-Identifier: MIT
"""The part of usb-pki.sh that runs beside the reader."""
from process import *

PIN = "123456"
PUBLIC = os.path.join(os.environ["CARD_DIR"], "card", "id.pub")


def pkcs11(*words, want=0):
    status, said = output("pkcs11-tool", *words, limit=30, env=foreign())
    return status == want, said


handler = usb_handler(nodes()[0])
good, said = pkcs11("--list-slots")
ok(good and handler.name in said, "pkcs11-tool lists the reader", said)
good, said = pkcs11("--list-objects", "--type", "cert")
ok(good and said.count("Certificate Object") >= 1, "pkcs11-tool lists the certificates", said)
good, said = pkcs11("--login", "--pin", PIN, "--list-objects", "--type", "privkey")
ok(good and "Private Key Object" in said, "pkcs11-tool logs in and lists the keys", said)
ids = [line.split()[1] for line in said.splitlines() if line.strip().startswith("ID:")]
message = os.path.join(DIR, "message")
signature = os.path.join(DIR, "signature")
with open(message, "wb") as file:
    file.write(os.urandom(5000))
verified = []
for key in ids:
    if os.path.exists(signature):
        os.unlink(signature)
    good, said = pkcs11("--login", "--pin", PIN, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", key, "--input-file",
                        message, "--output-file", signature)
    status, answer = output("openssl", "dgst", "-sha256", "-verify", PUBLIC, "-signature", signature, message)
    verified.append((key, good, answer.strip()))
ok(ids and all(good for _, good, _ in verified), "each key signs", verified, said)
ok(any("Verified OK" in answer for _, _, answer in verified), "openssl verifies the signature with the certificate's key",
   verified)
good, said = pkcs11("--login", "--pin", "654321", "--list-objects", "--type", "privkey", want=1)
ok(good and "C_Login failed" in said, "a wrong PIN is refused", said)
good, said = pkcs11("--login", "--pin", PIN, "--list-objects", "--type", "privkey")
ok(good, "and the right one works after that", said)
same(model("violations", 0), [], "no rule was broken towards the reader")
finish()
