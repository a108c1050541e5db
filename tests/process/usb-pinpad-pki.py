# SPDX-License-Identifier: MIT
"""The part of usb-pinpad-pki.sh that runs beside the reader."""
from process import *

PIN = "123456"
PUBLIC = os.path.join(os.environ["CARD_DIR"], "card", "id.pub")


def pkcs11(*words):
    return output("pkcs11-tool", *words, limit=30, env=foreign())


handler = Handler("001-002", "--device", os.environ["MODEL_NODES"].split()[0])
status, said = output("opensc-tool", "-l", limit=20, env=foreign())
ok(status == 0 and "PIN pad" in said and handler.name in said, "opensc-tool sees a PIN pad", said)
status, said = pkcs11("--list-slots")
ok(status == 0 and "PIN pad present" in said, "pkcs11-tool, too", said)
status, said = pkcs11("--list-objects", "--type", "cert")
key = next((line.split()[1] for line in said.splitlines() if line.strip().startswith("ID:")), "")
message, signature = os.path.join(DIR, "message"), os.path.join(DIR, "signature")
with open(message, "wb") as file:
    file.write(os.urandom(5000))
model("pin", 0, "ms=5", PIN, "ok", PIN, "ok")
status, said = pkcs11("--login", "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", key, "--input-file", message,
                      "--output-file", signature)
_, verdict = output("openssl", "dgst", "-sha256", "-verify", PUBLIC, "-signature", signature, message)
ok(status == 0 and "Verified OK" in verdict, "a key signs, with the PIN typed at the reader", said, verdict)
same(count(0)["secure"] > 0, True, "by way of the pad")
seen = " ".join(line for line in model("trace", 0) if line.startswith(">"))
ok(PIN.encode().hex(" ") not in seen, "the PIN does not cross the bus")
model("pin", 0, "9", "cancel")
status, said = pkcs11("--login", "--list-objects", "--type", "privkey")
ok(status == 1 and "CKR_FUNCTION_CANCELED" in said, "a cancelled entry is told as that", said)
same(model("violations", 0), [], "no rule was broken towards the reader")
finish()
