# SPDX-License-Identifier: MIT
"""The part of usb-models.sh that runs among the readers."""
import shutil

from process import *

T1_ATR = "3b951381018073ff01000b"
# What is special about a model; the others have one slot with that card, and take any APDU.
SLOTS = {"two-slots": 2, "eight-slots": 8, "two-interfaces": 2}
ATRS = {"two-interfaces": [T1_ATR, "3b80800101"], "character": ["3b021450"], "iccd-a": ["3b021450"],
        "iccd-a-egate": ["3b021450"]}
SHORT_ONLY = ("generic-short-apdu", "gempc-433", "pinpad-short", "iccd-b-short")
T0_ONLY = ("character", "iccd-a", "iccd-a-egate")
# One of each kind gets the longest APDUs, which take their time.
LONGEST = ("generic-ext-apdu", "ext-apdu-chaining", "generic-tpdu")
# It announces messages of any length, and really takes 271 bytes: what is longer fails, and no more.
LYING = ("lying-descriptor",)
# Models that cannot be used: what the description and reader-ctl say.
BROKEN = {
    "not-a-reader": "no smart card interface",
    "vendor-54": "no smart card interface",
    "cut-descriptor": "descriptor",
    "short-class-descriptor": "descriptor",
    "no-bulk-in": "endpoint",
}
# Rules for CCID drivers that these prove.
RULES = {"short-class-descriptor": "8", "no-bulk-in": "12", "vendor-54": "7"}


def check_apdus(name, slot, card):
    """Each case of ISO/IEC 7816-3 12.1, at the lengths where messages and blocks end."""
    sent = [("no data", bytes((0, 0xE6, 0x90, 0x00)), b"\x90\x00")]
    sent += [(f"{n} bytes from the card", give(n), pattern(n)) for n in (1, 16, 54, 118, 252, 254, 255, 256)]
    if card.protocol == T1:
        sent += [(f"{n} bytes there and back", echo(pattern(n)[:n]), pattern(n)) for n in (1, 52, 64, 249, 255)]
    else:
        sent += [(f"{n} bytes there", bytes((0, 0xA4, 4, 0, n)) + bytes(n), b"\x90\x00") for n in (1, 52, 64, 255)]
    if slot == 0 and name not in SHORT_ONLY + T0_ONLY:
        longest = (65535,) if name in LONGEST else ()
        sent += [(f"{n} bytes from the card", give(n, True), pattern(n)) for n in (257, 4096, *longest)]
        if name not in LYING:
            sent += [(f"{n} bytes there and back", echo(pattern(n)[:n], True), pattern(n)) for n in (256, 3000, *longest)]
    wrong = []
    for what, command, want in sent:
        outcome = call(card.transmit, command)
        if outcome.value != want:
            wrong.append(f"{what}: {outcome!s:.200}")
    ok(not wrong, f"{name} slot {slot}: APDUs of all cases and lengths come back right", *wrong)
    if name in SHORT_ONLY + LYING:
        outcome = call(card.transmit, echo(bytes(300), True))
        same(outcome.code, "E_NOT_TRANSACTED", f"{name} slot {slot}: a longer command is refused", outcome)
        same(call(card.transmit, give(4)).value, pattern(4), f"{name} slot {slot}: the next command works")


def check_slot(model_name, context, slot, name):
    atrs = ATRS.get(model_name, [T1_ATR] * 8)
    outcome = call(context.connect, name)
    if not ok(outcome.value, f"{model_name} slot {slot}: a card is connected", outcome):
        return
    card = outcome.value
    state, protocol, atr = card.status()
    same(atr.hex(), atrs[slot], f"{model_name} slot {slot}: its ATR is told")
    check_apdus(model_name, slot, card)
    card.disconnect(RESET)


def check_opensc(model_name, name):
    if not shutil.which("opensc-tool"):
        skip(f"{model_name}: opensc-tool sends an APDU", "opensc is not installed")
        return
    # opensc lists at most 16 readers: this one alone
    one = os.path.join(DIR, model_name)
    os.mkdir(one, 0o755)
    for handler in handlers.values():
        if name in handler.names:
            for path in (handler.path, handler.description):
                os.link(path, os.path.join(one, os.path.basename(path)))
    status, said = output("opensc-tool", "-r", name, "-s", "00CB000404",
                          env=foreign(IFDHANDLER_PATH=one))
    ok(status == 0 and "SW1=0x90, SW2=0x00" in said and "00 01 02 03" in said,
       f"{model_name}: opensc-tool sends an APDU", f"status {status}", said)


def check_broken(model_name, context, handler):
    error = handler.lines("error")
    ok(len(error) == 1 and BROKEN[model_name] in error[0], f"{model_name}: the description says why it cannot be used",
       error)
    ok(handler.name in context.list(), f"{model_name}: it is listed all the same")
    outcome = call(context.connect, handler.name)
    ok(outcome.code == "E_READER_UNAVAILABLE" and outcome.took < 2, f"{model_name}: connecting fails at once", outcome)
    outcome = call(context.state, handler.name)
    ok(outcome.value and outcome.value[0] & UNAVAILABLE, f"{model_name}: its state is: unavailable", outcome)
    status, said = output(os.path.join(B, "reader-ctl"), "status", handler.instance)
    ok(error and error[0] in said, f"{model_name}: reader-ctl status says the same", f"status {status}", said)
    ok(handler.is_alive(), f"{model_name}: its handler stays")
    rule = RULES.get(model_name)
    if rule:
        same(handler.said().count(BROKEN[model_name]), 1, f"CCID {rule}: {model_name}: that is logged once", handler.said)



handlers = {}
for model_name, node in zip(os.environ["MODELS"].split(), nodes()):
    handlers[model_name] = usb_handler(node)
context = Context()
listed = context.list()
same(listed, [name for handler in handlers.values() for name in handler.names],
     f"all {len(handlers)} readers are listed, in the order of registration")
same(len(set(listed)), len(listed), "no two have one name")
for i, (model_name, handler) in enumerate(handlers.items()):
    if model_name in BROKEN:
        check_broken(model_name, context, handler)
        continue
    same(len(handler.names), SLOTS.get(model_name, 1), f"{model_name}: has a name for each slot", handler.names)
    for slot, name in enumerate(handler.names):
        check_slot(model_name, context, slot, name)
    check_opensc(model_name, handler.name)
    broken = [line for line in model("violations", i) if model_name not in LYING or "message of" not in line]
    same(broken, [], f"{model_name}: no rule was broken")
    ok(count(i)["overlaps"] == 0, f"{model_name}: no slot got a command before it had answered")
finish()
