# SPDX-License-Identifier: MIT
"""The part of usb-protocol.sh that runs among the readers.

What is sent is compared as text, with 05 for each sequence number: `6f 05 00 00 00 00 05 00 00 00 ...`.
"""
from process import *

TPDU, AUTO_PPS, AUTO, SHORT, EXT, EXT_64, CHARACTER = range(7)
SUCCESS = b"\x90\x00"
SELECT_MF = bytes.fromhex("00a40000023f00")


def sent(reader, kind=None):
    """The messages to the reader since the last look, of that type."""
    lines = [line[2:].split() for line in model("trace", reader) if line[0] == ">"]
    return [" ".join(words[:6] + ["05"] + words[7:]) for words in lines if kind in (None, words[0])]


def blocks(reader):
    """What the XfrBlocks carried, without their headers."""
    return [message[30:] for message in sent(reader, "6f")]


def card_is(reader, card):
    """Puts in another card: known once its ATR is."""
    name = handlers[reader].name
    model("card", reader, 0, "out")
    context.await_state(name, EMPTY)
    model("trace", reader)
    model("count", reader, "reset")
    model("card", reader, 0, "in", card)
    return context.await_state(name, PRESENT | MUTE)


def connect(reader, protocols=T0 | T1):
    return call(context.connect, handlers[reader].name, SHARED, protocols)


def use(reader, protocols=T0 | T1, n=20):
    """Connects and has n bytes: (protocol, or the error's name)."""
    outcome = connect(reader, protocols)
    if not outcome.value:
        return outcome.code
    card = outcome.value
    got = call(card.transmit, give(n))
    call(card.disconnect, UNPOWER)
    return card.protocol if got.value == pattern(n) else str(got)


def counts(reader, *keys):
    now = count(reader)
    return tuple(now[key] for key in keys)


# ---- power-up and ATR ----


def power():
    card_is(TPDU, "X")
    state, atr = context.state(handlers[TPDU].name)
    same((state & (PRESENT | MUTE | EMPTY), atr), (PRESENT | MUTE, b""),
         "CCID 91: a card that never answers is there, and mute")
    same(sent(TPDU, "62"), [f"62 00 00 00 00 00 05 {v:02x} 00 00" for v in (1, 2, 3)], "CCID 91: 5 V, 3 V and 1.8 V were tried")
    ok(use(TPDU) in ("W_UNRESPONSIVE_CARD", "W_UNPOWERED_CARD"), "CCID 91: connecting says that it does not answer")
    card_is(TPDU, "A,volts=1.8")
    same(use(TPDU), T0, "CCID 91: a card for 1.8 V works in the end")
    card_is(AUTO_PPS, "X")
    same(sent(AUTO_PPS, "62"), ["62 00 00 00 00 00 05 00 00 00"], "CCID 92: a reader that chooses the voltage is asked once")
    for n in (1, 34, 255, 65000):
        card_is(TPDU, f"A,atrlen={n}")
        state, atr = context.state(handlers[TPDU].name)
        same((state & MUTE, atr), (MUTE, b""), f"CCID {95 if n == 1 else 94}: an ATR of {n} bytes is none")
    card_is(TPDU, "A,atrlen=33")
    same((use(TPDU), len(context.state(handlers[TPDU].name)[1])), (T0, 33), "CCID 94: one of 33 bytes is")
    card_is(TPDU, "atr:3bff11")
    state, atr = context.state(handlers[TPDU].name)
    same((state & (PRESENT | MUTE), atr.hex()), (PRESENT, "3bff11"), "CCID 96: an ATR that ends too soon is shown")
    same((use(TPDU), counts(TPDU, "set_parameters", "xfr")), ("E_PROTO_MISMATCH", (0, 0)), "CCID 96: no protocol goes with it")
    card_is(TPDU, "atr:3b80018201")
    same(use(TPDU), T1, "CCID 98: a wrong check byte is no obstacle")
    ok("wrong check byte" in handlers[TPDU].said(), "CCID 98: it is told", handlers[TPDU].said)


def resets():
    card_is(TPDU, "t1")
    card = context.connect(handlers[TPDU].name)
    model("count", TPDU, "reset")
    card.reconnect(SHARED, T1, RESET)
    same(counts(TPDU, "power_on", "power_off", "card.0.warm"), (1, 0, 1),
         "CCID 102: a reset is a power-on of a card with power")
    same(call(card.transmit, give(9)).value, pattern(9), "CCID 102: and the card works")
    model("fault", TPDU, "refuse=fe", "on=62")
    model("count", TPDU, "reset")
    card.reconnect(SHARED, T1, RESET)
    same(counts(TPDU, "power_on", "power_off", "card.0.cold"), (2, 1, 1), "CCID 102: one that fails is followed by a cold one")
    card.disconnect()


# ---- protocol and parameters ----

REFUSALS = "refuse silent longer wrongt wrongpck empty"
T1_DEFAULT = "61 07 00 00 00 00 05 01 00 00 11 10 00 4d 00 20 00"
T0_DEFAULT = "61 05 00 00 00 00 05 00 00 00 11 00 00 0a 00"


def parameters():
    for card, protocol, want in (("C", T1, T1_DEFAULT), ("A", T0, T0_DEFAULT)):
        card_is(TPDU, card)
        same((use(TPDU), sent(TPDU, "61")), (protocol, [want]), f"CCID 117: parameters of card {card}")
    for card, pps, ta1 in (("atr:3b1096", "ff 10 96 79", "96"), ("atr:3b90960107", "ff 11 96 78", "96"),
                           ("atr:3b90180189", "ff 11 18 f6", "18"), ("atr:3b1097", "ff 10 96 79", "96"),
                           ("B", "ff 01 fe", "11"), ("atr:3b10d1", None, "11"), ("s0", None, "13"), ("s1", None, "13")):
        card_is(TPDU, card)
        protocol = use(TPDU)
        messages = sent(TPDU)
        request = [m[30:] for m in messages if m.startswith("6f") and m[30:33] == "ff "]
        speed = [m[30:32] for m in messages if m.startswith("61")]
        same((protocol in (T0, T1), request, speed), (True, [pps] if pps else [], [ta1]),
             f"CCID 106, 107, 112: card {card}: PPS {pps or 'none'}, parameters {ta1}")
        if pps:
            same(len(messages) and messages[2 if messages[0].startswith("65") else 1][:2], "6f",
                 f"CCID 112: card {card}: the PPS is the first that it gets", messages)
    for card, other in (("s0", T1), ("s1", T0)):
        card_is(TPDU, card)
        same((use(TPDU, other), counts(TPDU, "xfr", "set_parameters")), ("E_PROTO_MISMATCH", (0, 0)),
             f"CCID 115: card {card} in specific mode does not speak the other protocol")
    for card in "DE":
        card_is(TPDU, card)
        same((use(TPDU), counts(TPDU, "xfr", "set_parameters")), ("E_NOT_TRANSACTED", (0, 0)),
             f"CCID 115: card {card} with a speed that only insiders know is not used")


def pps_goes_wrong():
    card_is(TPDU, "t1,pps=nopps1")
    protocol = use(TPDU)
    same((protocol, [m[30:32] for m in sent(TPDU, "61")], counts(TPDU, "power_on")), (T1, ["11"], (1,)),
         "CCID 113: PPS without PPS1: default speed, no reset")
    for how in REFUSALS.split():
        card_is(TPDU, f"t1,pps={how}")
        got = use(TPDU)
        same((got, [m[30:32] for m in sent(TPDU, "61")], counts(TPDU, "card.0.cold", "card.0.pps")), (T1, ["11"], (2, 1)),
             f"CCID 114: PPS answered with '{how}': a cold reset, and default speed")
    card_is(TPDU, "B,pps=silent")
    same((use(TPDU, T1), use(TPDU, T0)), ("E_PROTO_MISMATCH", T0),
         "CCID 114: a protocol that needs it is not to be had, the first one is")
    card_is(TPDU, "B,pps=silent")
    same(use(TPDU), T0, "CCID 114: who takes both gets the first")
    # the reader's own PPS
    card_is(AUTO_PPS, "t1")
    same((use(AUTO_PPS), counts(AUTO_PPS, "set_parameters", "card.0.cold", "card.0.pps")), (T1, (1, 1, 1)),
         "CCID 111: a reader with a PPS of its own gets the parameters")
    same([b for b in blocks(AUTO_PPS) if b.startswith("ff")], [], "CCID 111: and no PPS")
    card_is(AUTO_PPS, "t1,pps=refuse")
    same((use(AUTO_PPS), counts(AUTO_PPS, "set_parameters", "card.0.cold")), (T1, (2, 2)),
         "CCID 114: the reader's PPS is refused: a cold reset, and default speed")


def refused():
    for error, card, want in (("0a", "B", T1), ("00", "C", T1), ("00", "B", T0), ("f6", "C", "E_PROTO_MISMATCH"),
                              ("fb", "C", "E_NOT_TRANSACTED")):
        card_is(TPDU, card)
        model("fault", TPDU, f"refuse={error}", "on=61")
        outcome = connect(TPDU)
        same(outcome.value.protocol if outcome.value else outcome.code, want,
             f"CCID 116: SetParameters refused with {error}, card {card}")
        if outcome.value:
            call(outcome.value.disconnect, UNPOWER)
        model("faults", TPDU, "clear")
        ok(use(TPDU) in (T0, T1), f"CCID 116: {error}, card {card}: and then the card works")


def settled_readers():
    for reader in (AUTO, EXT):
        for card, protocol in (("A", T0), ("B", T0), ("C", T1), ("t1", T1)):
            card_is(reader, card)
            got = use(reader)
            same((got, counts(reader, "get_parameters", "set_parameters")), (protocol, (1, 0)),
                 f"CCID 110: reader {reader}, card {card}: the protocol is the reader's")
            same([b for b in blocks(reader) if b.startswith("ff")], [], f"CCID 110: reader {reader}, card {card}: no PPS")


# ---- TPDUs, APDUs, chains ----


def t0():
    card_is(TPDU, "A")
    card = context.connect(handlers[TPDU].name)
    model("trace", TPDU)
    outcomes = [call(card.transmit, bytes.fromhex(c)).value.hex() for c in ("00e70014", "00e8001405", "00e8001414")]
    same(outcomes, ["6114", "6c14", pattern(20).hex()], "CCID 122: 61xx and 6Cxx come through")
    same(blocks(TPDU), ["00 e7 00 14", "00 e8 00 14 05", "00 e8 00 14 14"],
         "CCID 122, 124: nothing else is sent, 4 bytes are 4 bytes")
    same(call(card.transmit, SELECT_MF + b"\0").value, b"\x90\0", "CCID 123: a command with data and Le works")
    same(sent(TPDU, "6f"), ["6f 07 00 00 00 00 05 00 00 00 00 a4 00 00 02 3f 00"], "CCID 123: its Le stays at home")
    card.disconnect()
    card_is(SHORT, "t1")
    card = context.connect(handlers[SHORT].name)
    model("trace", SHORT)
    same(call(card.transmit, bytes((0, 0xEC, 0, 0, 255)) + bytes(257)).code, "E_NOT_TRANSACTED",
         "CCID 125: 262 bytes are too many for short APDUs")
    same(sent(SHORT), [], "CCID 125: and nothing is sent")
    same(len(call(card.transmit, echo(bytes(255))).value or b""), 257, "CCID 125: 261 are not")
    card.disconnect()


def chains():
    card = context.connect(handlers[EXT_64].name)
    model("trace", EXT_64)
    data = pattern(254)[:254]
    same(call(card.transmit, bytes((0, 0xEC, 0, 0, 0, 0, 254)) + data).value, data + SUCCESS,
         "CCID 126: 261 bytes through messages of 64")
    heads = [m[:29] for m in sent(EXT_64, "6f")]
    same(heads[:5], [f"6f {n:02x} 00 00 00 00 05 00 {level:02x} 00" for n, level in ((54, 1), (54, 3), (54, 3), (54, 3), (45, 2))],
         "CCID 126: in parts of 54, 54, 54, 54 and 45")
    same(heads[5:], ["6f 00 00 00 00 00 05 00 10 00"] * 4, "CCID 128: and the answer is asked for part by part")
    same(call(card.transmit, give(5000, True)).value, pattern(5000), "CCID 128: 93 parts of an answer")
    same(call(card.transmit, give(5000, True), 100).code, "E_INSUFFICIENT_BUFFER",
         "CCID 130: it is too long for a small buffer")
    same(call(card.transmit, give(10)).value, pattern(10), "CCID 130: and the next command works")
    model("trace", EXT_64)
    model("fault", EXT_64, "refuse=fb", "on=6f", "skip=1")
    same((call(card.transmit, echo(bytes(200), True)).code, len(sent(EXT_64, "6f"))), ("E_NOT_TRANSACTED", 2),
         "CCID 127: after a part that fails no other is sent")
    same(call(card.transmit, give(10)).value, pattern(10), "CCID 127: and the next command works")
    card.disconnect()


def character():
    for card, protocol in (("A", T0), ("C", T1), ("crc", T1), ("small", T1), ("big", T1)):
        card_is(CHARACTER, card)
        outcome = connect(CHARACTER)
        if not ok(outcome.value, f"CCID 131: character level, card {card}", outcome):
            continue
        model("trace", CHARACTER)
        good = [n for n in (1, 100, 255) if call(outcome.value.transmit, give(n)).value != pattern(n)]
        same((outcome.value.protocol, good), (protocol, []), f"CCID 131: character level, card {card}: answers of all lengths")
        if card == "A":
            same(sent(CHARACTER, "6f")[:2], ["6f 05 00 00 00 00 05 00 01 00 00 cb 00 01 01", "6f 00 00 00 00 00 05 00 03 00"],
                 "CCID 131: one procedure byte is asked for, then data and status")
        call(outcome.value.disconnect)


# ---- T=1 ----


def t1():
    card_is(TPDU, "C")
    card = context.connect(handlers[TPDU].name)
    same(blocks(TPDU), ["00 c1 01 fe 3e"], "CCID 134: the block size is negotiated first")
    model("fault", TPDU, "t1-wtx=9")
    same(call(card.transmit, give(4)).value, pattern(4), "CCID 135: a waiting time extension")
    same(call(card.transmit, give(4)).value, pattern(4), "CCID 135: and the next command")
    messages = sent(TPDU, "6f")
    same([(m[21:23], m[33:35]) for m in messages], [("00", "00"), ("09", "e3"), ("00", "40")],
         "CCID 135: bBWI is 9 for one block")
    same(messages[1][30:], "00 e3 01 09 eb", "CCID 135: the answer")
    model("fault", TPDU, "t1-ifs=10")
    same(call(card.transmit, echo(bytes(60))).value, bytes(60) + SUCCESS, "CCID 136: a card that wants blocks of 16 bytes")
    model("trace", TPDU)
    call(card.transmit, echo(bytes(60)))
    ok(all(int(b[6:8], 16) <= 16 for b in blocks(TPDU)), "CCID 136: gets them")
    for fault, text in (("t1-edc", "CCID 137: a wrong check byte"), ("t1-nad", "CCID 139: a wrong NAD"), ("t1-len",
                        "CCID 139: LEN 255"),
                        ("t1-ns", "CCID 141: a wrong number"), ("t1-parity", "CCID 142: a parity error"), ("t1-pcb=c4",
                         "CCID 139: a reserved PCB")):
        model("fault", TPDU, fault)
        model("trace", TPDU)
        same(call(card.transmit, give(7)).value, pattern(7), f"{text} is mended")
        want = 1 if fault in ("t1-edc", "t1-parity") else 2
        got = blocks(TPDU)
        same([int(b[3:5], 16) & 0xEF for b in got[1:]], [0x80 | want], f"{text}: by an R-block with error {want}", got)
    same(call(card.transmit, give(6400, True)).value, pattern(6400), "CCID 140: a long response in blocks")
    same(call(card.transmit, give(6400, True), 50).code, "E_INSUFFICIENT_BUFFER", "CCID 140: too long for a small buffer")
    same(call(card.transmit, give(7)).value, pattern(7), "CCID 140: and the next command works")
    card.disconnect()
    card_is(TPDU, "crc")
    card = context.connect(handlers[TPDU].name)
    model("fault", TPDU, "t1-edc", "times=2")
    model("trace", TPDU)
    same(call(card.transmit, give(7)).value, pattern(7), "CCID 138: two bad blocks of a card with CRC")
    same(blocks(TPDU)[1:], ["00 81 00 ac 27"] * 2, "CCID 138: the same R-block twice, with both check bytes")
    card.disconnect()


def dead():
    card_is(TPDU, "t1")
    card = context.connect(handlers[TPDU].name)
    call(card.transmit, give(4))
    model("fault", TPDU, "t1-edc", "times=0")
    model("trace", TPDU)
    same(call(card.transmit, give(4)).code, "W_UNRESPONSIVE_CARD",
         "CCID 137: a card that sends nothing but bad blocks is given up")
    same([b[3:5] for b in blocks(TPDU)], ["40", "91", "91", "c0", "c0", "c0"],
         "CCID 137: after three blocks and three S(RESYNCH)")
    model("faults", TPDU, "clear")
    same(call(card.transmit, give(4)).code, "W_UNRESPONSIVE_CARD", "CCID 137: until it is reset")
    ok(wait_for(lambda: count(TPDU)["power_off"], 3), "a card that is given up twice is reset")
    same(call(card.transmit, give(4)).code, "W_RESET_CARD", "and who used it hears that it was reset")
    same(use(TPDU), T1, "it works again for whoever connects")
    call(card.disconnect)


def stop():
    for reader, fault in ((EXT, None), (EXT_64, "drop"), (TPDU, None)):
        if reader == TPDU:
            card_is(TPDU, "A")  # T=0, whose answers may take 232 s
        connect(reader)
        model("count", reader, "reset")
        if fault:
            model("fault", reader, fault, "on=63")
        start = time.monotonic()
        status = handlers[reader].stop()
        took = time.monotonic() - start
        same((status, counts(reader, "power_off")), (0, (1,)),
             f"CCID 103: reader {reader}: at the end the card loses its power")
        ok(took < 3, f"CCID 103: reader {reader}: within 3 s", took)


handlers = [usb_handler(node) for node in nodes()]
context = Context()
for part in (power, resets, parameters, pps_goes_wrong, refused, settled_readers, t0, chains, character, t1, dead, stop):
    part()
for i in range(len(handlers)):
    same(model("violations", i), [], f"reader {i}: no rule was broken")
finish()
