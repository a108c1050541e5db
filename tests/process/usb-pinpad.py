# SPDX-License-Identifier: MIT
"""The part of usb-pinpad.sh that runs among the readers."""
from process import *

TPDU, TPDU_T0, SHORT, EXT, KEYBOARD, GEMALTO, NONE, SPARE, PULLED, MCT_READER, ABORTED = range(11)
NAMES = ("TPDU, T=1", "TPDU, T=0", "short APDUs", "extended APDUs", "keyboard", "Gemalto")
GET_FEATURES, GET_FEATURES_WINDOWS, ESCAPE = 0x42000D48, 0x00313520, 0x42000001
VERIFY, MODIFY, MCT, PROPERTIES, TLV, PACE = (0x42330000 + tag for tag in (6, 7, 8, 10, 0x12, 0x20))
PIN, OTHER = "12345678", "87654321"
FILLED = b"\xff" * 8
OK, CANCELLED, LATE = b"\x90\x00", b"\x64\x01", b"\x64\x00"


def verify(timeout=30, number=1, validation=2, template=bytes((0, 0x20, 0, 0x82, 8)) + FILLED, order="<", length=None):
    """PIN_VERIFY_STRUCTURE: ASCII digits at the begin of a block of 8 bytes, 4 to 8 of them."""
    length = len(template) if length is None else length
    return struct.pack(order + "BBBBBHBBHB3sI", timeout, 0, 0x82, 8, 0, 4 << 8 | 8, validation, number, 0x0409, 0,
                       b"\0\0\0", length) + template


def modify(timeout=30, number=3, validation=2, template=bytes((0, 0x24, 0, 0x82, 16)) + FILLED * 2, order="<"):
    """PIN_MODIFY_STRUCTURE: the old PIN, and the new one twice behind it."""
    return struct.pack(order + "BBBBBBBHBBBHBBB3sI", timeout, 0, 0x82, 8, 0, 0, 8, 4 << 8 | 8, 3, validation, number, 0x0409,
                       0, 1, 2, b"\0\0\0", len(template)) + template


def keys(reader, *pins, ms=5):
    model("pin", reader, f"ms={ms}", *(word for pin in pins for word in (pin, "ok")))


def outcome(card, code, data, limit=20.0):
    """What the program gets: bytes or the name of an error."""
    got = call(card.control, code, data, limit=limit)
    return got.code if got.hangs or got.error else got.value


def plain(card):
    """An ordinary command, as a sign that reader and card are in step."""
    return call(card.transmit, give(30)).value == pattern(30)


def features(card, code=GET_FEATURES):
    data = card.control(code)
    return [(data[i], int.from_bytes(data[i + 2:i + 6], "big")) for i in range(0, len(data), 6)
            if data[i + 1] == 4]


def sent(reader):
    """Secure messages since the last look, data only."""
    return [bytes.fromhex(line[2:])[10:] for line in model("trace", reader) if line.startswith("> 69")]


def check_features():
    want = {0x06: VERIFY, 0x07: MODIFY, 0x0A: PROPERTIES, 0x12: TLV}
    for reader in (TPDU, TPDU_T0, SHORT, GEMALTO):
        same(features(cards[reader]), sorted(want.items(), key=lambda f: (f[0] == 0x12, f[0])),
             f"CCID 144: features of a PIN pad ({NAMES[reader]})")
    same(features(cards[KEYBOARD]), [(6, VERIFY), (10, PROPERTIES), (0x12, TLV)], "CCID 144: a pad that verifies only")
    for reader, card in cards.items():
        data = card.control(GET_FEATURES)
        same((card.control(GET_FEATURES_WINDOWS), len(data) % 6), (data, 0), f"CCID 144: both codes say the same (reader {reader})")
    same(features(cards[NONE]), [(0x12, TLV)], "CCID 144: no features of a pad that does not deserve its name")
    model("count", NONE, "reset")
    got = [outcome(cards[NONE], code, data) for code, data in ((VERIFY, verify()), (MODIFY, modify()), (PROPERTIES, b""))]
    same((got, count(NONE)["commands"]), (["E_UNSUPPORTED_FEATURE"] * 3, 0), "CCID 144: and its codes are refused")
    same(outcome(cards[KEYBOARD], MODIFY, modify()), "E_UNSUPPORTED_FEATURE", "CCID 144: so is what only verifies")


def check_verify(reader):
    name, card = NAMES[reader], cards[reader]
    number = 0 if reader == KEYBOARD else 1
    card.begin()
    keys(reader, PIN)
    same(outcome(card, VERIFY, verify()), OK, f"CCID 145: the right PIN ({name})")
    body = struct.pack("<BBBBBHBBHB3s", 0, 30, 0x82, 8, 0, 4 << 8 | 8, 2, number, 0x0409, 0, b"\0\0\0")
    got = [m[:12] + b"\0\0\0" + m[15:] for m in sent(reader)]
    same(got, [body + bytes((0, 0x20, 0, 0x82, 8)) + FILLED], f"CCID 145: its message ({name})")
    keys(reader, "1234")
    same(outcome(card, VERIFY, verify()), b"\x63\xc2", f"a wrong PIN ({name})")
    model("pin", reader, "12", "cancel")
    same(outcome(card, VERIFY, verify()), CANCELLED, f"CCID 146: cancelled ({name})")
    model("pin", reader, "timeout")
    same(outcome(card, VERIFY, verify(timeout=1)), LATE, f"CCID 146: not typed in time ({name})")
    ok(plain(card), f"CCID 146: the card goes on after that ({name})")
    keys(reader, PIN)
    same(outcome(card, VERIFY, verify()), OK, f"CCID 146: and so does the pad ({name})")
    ok(plain(card), f"commands after it ({name})")
    card.end()


def check_modify(reader):
    name, card = NAMES[reader], cards[reader]
    card.begin()
    old, new = PIN, "2468"
    for number in (0, 1, 2, 3, 0xFF):
        keys(reader, old, new, new)
        same(outcome(card, MODIFY, modify(number=number)), OK, f"CCID 147: a new PIN, bNumberMessage {number:02X} ({name})")
        old, new = new, old
    model("count", reader, "reset")
    got = [outcome(card, MODIFY, modify(number=number)) for number in (4, 0x80, 0xFE)]
    same((got, count(reader)["commands"]), (["E_INVALID_VALUE"] * 3, 0), f"CCID 147: others are refused ({name})")
    keys(reader, old, "1111", "2222")
    same(outcome(card, MODIFY, modify()), b"\x64\x02", f"CCID 146: two new PINs that differ ({name})")
    keys(reader, old, PIN, PIN)
    same(outcome(card, MODIFY, modify()), OK, f"the first PIN again ({name})")
    ok(plain(card), f"commands after it ({name})")
    card.end()


def check_structures():
    card = cards[SHORT]
    model("count", SHORT, "reset")
    wrong = [b"", verify()[:-1], verify(length=12), verify(length=0), verify(length=1 << 31), b"\0" * 19, b"\0" * 23,
             verify(template=b"\0\x20\0"), struct.pack("<B", 30) * 300]
    same([outcome(card, VERIFY, data) for data in wrong], ["E_INVALID_VALUE"] * len(wrong),
         "CCID 145: structures that make no sense are refused")
    other = [outcome(card, VERIFY, verify(template=bytes((0, ins, 0, 0, 8)) + FILLED)) for ins in (0xA4, 0xDA, 0x2A, 0x88, 0xEC)]
    same(other, ["E_UNSUPPORTED_FEATURE"] * len(other), "CCID 145: commands that take no PIN are refused")
    same(count(SHORT)["commands"], 0, "CCID 145: without a word to the reader")
    keys(SHORT, PIN)
    same(outcome(card, VERIFY, verify(order=">")), OK, "CCID 145: a structure in big-endian order")
    body = struct.pack("<BBBBBHBBHB3s", 0, 30, 0x82, 8, 0, 4 << 8 | 8, 2, 1, 0x0409, 0, b"\0\0\0")
    same(sent(SHORT)[-1], body + bytes((0, 0x20, 0, 0x82, 8)) + FILLED, "CCID 145: becomes the same message")
    for validation in (0, 8, 0xFF):
        keys(SHORT, PIN)
        outcome(card, VERIFY, verify(validation=validation))
        same(sent(SHORT)[-1][7], 2, f"CCID 145: validation {validation:02X} becomes 02")


def check_waiting_time():
    """The card asks for more time before it answers, twice; and a damaged block."""
    card = cards[TPDU]
    for code, data, pins in ((VERIFY, verify(), (PIN,)), (MODIFY, modify(), (PIN, PIN, PIN))):
        for fault in ("t1-wtx=5", "t1-edc", "t1-parity", "t1-reject"):
            if fault == "t1-reject" and code == MODIFY:
                continue
            model("fault", TPDU, fault)
            keys(TPDU, *pins)
            got = outcome(card, code, data)
            ok(got == OK or (fault == "t1-reject" and isinstance(got, str)), f"CCID 146: {fault} while a PIN is checked ({code:x})", got)
            model("faults", TPDU, "clear")
            ok(plain(card) or (fault == "t1-reject" and call(card.reconnect).code == "success"),
               f"CCID 146: and commands after it ({fault})")


def check_slow_fingers():
    """Longer than any card may take; the reader asks for time with each key."""
    model("pin", KEYBOARD, "ms=150", PIN, "ok")
    start = time.monotonic()
    same(outcome(cards[KEYBOARD], VERIFY, verify(number=0)), OK, "a time extension for each key")
    ok(1.2 < time.monotonic() - start < 12, "took as long as the typing", time.monotonic() - start)


def check_others():
    """What other programs do while somebody looks for his PIN."""
    model("pin", SHORT, "ms=2000", "1", "ms=5", PIN[1:], "ok")
    model("count", SHORT, "reset")
    waiting = Call(cards[SHORT].control, VERIFY, verify())
    model("wait", SHORT, "secure", 1)
    second = Context()
    other = second.connect(handlers[SHORT].name)
    told = features(other) and second.state(handlers[SHORT].name)[0] & PRESENT and other.status()[2]
    ok(told and waiting.outcome.hangs, "features, state and status are told while a PIN is entered")
    before = waiting.outcome.hangs
    got = call(other.transmit, give(9))
    ok(before and got.value == pattern(9), "a command of another program waits its turn", got)
    same(waiting.join().value, OK, "and the PIN gets its own")
    other.disconnect()
    second.release()


def check_locked():
    """Who holds the lock has the keys."""
    second = Context()
    other = second.connect(handlers[SHORT].name)
    cards[SHORT].begin()
    model("count", SHORT, "reset")
    same((outcome(other, VERIFY, verify()), count(SHORT)["secure"]), ("E_SHARING_VIOLATION", 0),
         "no PIN entry while another program holds the lock")
    cards[SHORT].end()
    second.release()


CLIENT = """
from process import *
card = Context().connect(sys.argv[1])
print("in", flush=True)
card.control(0x42330006, bytes.fromhex(sys.argv[2]))
"""


def check_runaway(reader=SPARE):
    """The program dies while its pad waits: the next one need not wait for people that are not there."""
    card = context.connect(handlers[reader].name)
    model("pin", reader)  # nobody types
    program = child(CLIENT, handlers[reader].name, verify(timeout=60).hex())
    program.stdout.readline()
    model("wait", reader, "secure", 1)
    program.kill()
    program.wait()
    start = time.monotonic()
    recovered = wait_for(lambda: call(card.reconnect).code == "success" and plain(card), limit=15)
    ok(recovered and time.monotonic() - start < 10, "a program that dies leaves the pad to others", time.monotonic() - start)
    same(count(reader)["abort"] > 0, reader == ABORTED, "a reader that takes ABORT, and no other, is told to stop")
    keys(reader, PIN)
    same(outcome(card, VERIFY, verify()), OK, "the next PIN is the next program's")
    card.disconnect()


def check_aborted():
    check_runaway(ABORTED)


def check_removal():
    """The card is pulled out while the pad waits, and then the reader."""
    reader = PULLED
    name = handlers[reader].name
    card = context.connect(name)
    model("pin", reader)
    waiting = Call(card.control, VERIFY, verify(timeout=60))
    model("wait", reader, "secure", 1)
    model("card", reader, 0, "out")
    got = waiting.join(10)
    ok(got.error and got.took < 6, "the card goes while the pad waits", got)
    ok(context.await_state(name, EMPTY), "and everybody knows")
    model("card", reader, 0, "in")
    context.await_state(name, PRESENT)
    got = wait_for(lambda: call(card.reconnect).code == "success", limit=15)
    keys(reader, PIN)
    same(outcome(card, VERIFY, verify()), OK, "the next card works")
    model("pin", reader)
    model("count", reader, "reset")
    waiting = Call(card.control, VERIFY, verify(timeout=60))
    model("wait", reader, "secure", 1)
    model("unplug", reader)
    got = waiting.join(5)
    same((got.code, got.took < 3), ("E_READER_UNAVAILABLE", True), "CCID 150: the reader goes while the pad waits", got)
    same(handlers[reader].wait(5), 0, "and its handler ends")
    forget(handlers[reader])
    del handlers[reader]


def raw_control(card, code, data, room):
    """(code, bytes returned, what is in the room and 16 bytes behind it)"""
    buffer = ctypes.create_string_buffer(b"\xee" * (room + 16), room + 16)
    n = DWORD(77)
    rv = card.lib.SCardControl(card.handle, code, data, len(data), buffer, room, ctypes.byref(n))
    return CODES.get(rv & 0xFFFFFFFF, "success" if rv == 0 else hex(rv)), n.value, buffer.raw


def raw_attribute(card, tag, room):
    buffer = ctypes.create_string_buffer(b"\xee" * (room + 16), room + 16)
    n = DWORD(room)
    rv = card.lib.SCardGetAttrib(card.handle, tag, buffer, ctypes.byref(n))
    return CODES.get(rv & 0xFFFFFFFF, "success" if rv == 0 else hex(rv)), n.value, buffer.raw


def check_rooms():
    """Answers and buffers of any size."""
    card = cards[SHORT]
    for what, code in (("TLV", TLV), ("features", GET_FEATURES), ("PIN properties", PROPERTIES)):
        whole = card.control(code)
        got = [raw_control(card, code, b"", room) for room in range(len(whole))]
        ok(all(rv == "E_INSUFFICIENT_BUFFER" and n == len(whole) and set(raw) == {0xEE} for rv, n, raw in got),
           f"CCID 148: {what}: nothing is written into a buffer that is too small")
        rv, n, raw = raw_control(card, code, b"", len(whole))
        same((rv, n, raw), ("success", len(whole), whole + b"\xee" * 16), f"CCID 148: {what}: exactly enough is enough")
    for tag, size in ((0x00010100, 6), (0x00010103, 5), (0x0007A007, 4), (0x00090300, 1)):
        got = [raw_attribute(card, tag, room) for room in range(1, size)]
        ok(all(rv == "E_INSUFFICIENT_BUFFER" and n >= size and set(raw[room:]) == {0xEE} for room, (rv, n, raw) in enumerate(got, 1)),
           f"CCID 148: attribute {tag:08x}: nothing is written behind a buffer that is too small", got)
        rv, n, raw = raw_attribute(card, tag, 100)
        ok(rv == "success" and n >= size and set(raw[n:]) == {0xEE}, f"attribute {tag:08x}", rv, n)
    same(outcome(card, TLV, b"")[:8], bytes((1, 2, 16, 2, 4, 2, 16, 0)), "a display of 2 lines of 16")
    # dwMaxCCIDMessageLength 271
    model("count", SHORT, "reset")
    same([outcome(cards[SHORT], ESCAPE, bytes(n)) for n in (0, 1, 261, 65548)], ["E_UNSUPPORTED_FEATURE"] * 4,
         "CCID 148: vendor commands are refused by default")
    same([outcome(cards[TPDU], code, bytes(65549)) for code in (VERIFY, ESCAPE)], ["E_INSUFFICIENT_BUFFER"] * 2,
         "nothing longer than the interface allows")
    same(count(SHORT)["commands"], 0, "CCID 148: and never reach the reader")


def check_escape():
    """A reader that says back what it is told, and takes messages of 65556 bytes."""
    card = cards[EXT]
    same(dict(features(card)).get(0x13), ESCAPE, "CCID 148: allowed vendor commands are a feature")
    same(dict(features(card)).get(0x20), PACE, "PACE is a feature where it is known")
    got = outcome(card, PACE, b"\1\0\0")
    ok(got[:4] == bytes(4) and got[4:6] == struct.pack("<H", len(got) - 6) and got.endswith(b"\xf0"), "what it can do of PACE", got)
    same([outcome(card, PACE, data) for data in (b"", b"\1\1\0", b"\2\3\0\2\1\0", b"\3\0\0")],
         ["E_INVALID_VALUE"] * 3 + ["E_UNSUPPORTED_FEATURE"], "PACE with lengths that are wrong")
    good = []
    for n in (0, 1, 53, 54, 117, 118, 255, 256, 261, 262, 4096, 32758, 65535, 65536, 65546):
        data = pattern(n)[:n]
        got = outcome(card, ESCAPE, data)
        good.append((n, got == data))
    same([n for n, right in good if not right], [], "CCID 148: vendor commands and their answers up to 65546 bytes")
    same([outcome(card, ESCAPE, bytes(n)) for n in (65547, 65548)], ["E_NOT_TRANSACTED"] * 2,
         "CCID 148: and none that the reader cannot take")
    rv, n, raw = raw_control(card, ESCAPE, pattern(298), 100)
    same((rv, n, set(raw)), ("E_INSUFFICIENT_BUFFER", 300, {0xEE}), "CCID 148: 300 bytes for a buffer of 100")
    model("fault", EXT, "refuse=00", "on=6b")
    same(outcome(card, ESCAPE, b"\1\2"), "E_UNSUPPORTED_FEATURE", "CCID 148: a vendor command that the reader does not know")
    model("fault", EXT, "extend=2", "on=6b")
    same(outcome(card, ESCAPE, b"\1\2"), b"\1\2", "CCID 148: a vendor command that takes its time")
    model("card", EXT, 0, "out")
    context.await_state(handlers[EXT].name, EMPTY)
    same(outcome(card, ESCAPE, b"\1\2\3"), b"\1\2\3", "CCID 148: without a card")
    same(outcome(card, VERIFY, verify()), "W_REMOVED_CARD", "a PIN after the card was taken out")
    model("card", EXT, 0, "in")
    context.await_state(handlers[EXT].name, PRESENT)
    card.reconnect()


def check_mct():
    card = cards[MCT_READER]
    same(dict(features(card)).get(8), MCT, "MCT is a feature where it is known")
    model("count", MCT_READER, "reset")
    got = [outcome(card, MCT, data) for data in (b"", b"\x20\x70\0", bytes((0x20, 0x75, 0, 0, 0)), bytes((0, 0x70, 0, 0, 0)))]
    same((got, count(MCT_READER)["commands"]), (["E_INVALID_VALUE"] * 4, 0), "CCID 148: other commands are refused there")
    same(outcome(card, MCT, bytes((0x20, 0x70, 0, 0, 0))), bytes((0x20, 0x70, 0, 0, 0)), "and those of MCT are sent")


def check_cards():
    """Cards with two check bytes, and with a small buffer."""
    reader = MCT_READER
    card = cards[reader]
    for kind in ("crc", "small"):
        model("card", reader, 0, "swap", kind)
        context.await_state(handlers[reader].name, PRESENT)
        wait_for(lambda: call(card.reconnect).code == "success")
        model("fault", reader, "t1-wtx=3")
        keys(reader, PIN, "1111", PIN)
        same([outcome(card, VERIFY, verify()) for _ in range(3)], [OK, b"\x63\xc2", OK], f"CCID 146: T=1 with a card `{kind}`")
        ok(plain(card), f"CCID 146: and commands after it (`{kind}`)")
    keys(reader, PIN, PIN, PIN)
    same(outcome(card, MODIFY, modify()), "E_NOT_TRANSACTED", "a command that is too long for one block of the card")
    model("pin", reader)
    ok(plain(card), "and commands after it")


def check_gemalto():
    card = cards[GEMALTO]
    tlv = card.control(TLV)
    ok(b"\x08\x0cGemPC Pinpad\x06\x01\x01\x07\x01\x10\x02\x01" in tlv, "firmware and limits as the reader tells them", tlv.hex())
    same(outcome(card, ESCAPE, b"\x02"), b"GemPC Pinpad", "CCID 148: its firmware may be asked for by anybody")
    same(outcome(card, ESCAPE, b"\x6a"), "E_UNSUPPORTED_FEATURE", "CCID 148: and nothing else")
    status, said = output(os.path.join(B, "reader-ctl"), "status", handlers[GEMALTO].name)
    ok(status == 0 and "GemPC Pinpad" in said and "2 lines of 16" in said and "verify and modify" in said,
       "reader-ctl status tells of keys, display and firmware", said)


context = Context()
nodes = os.environ["MODEL_NODES"].split()
handlers = {i: Handler(f"001-{i + 2:03}", "--device", node) for i, node in enumerate(nodes)}
cards = {i: context.connect(handlers[i].name) for i in range(MCT_READER + 1) if i not in (SPARE, PULLED, ABORTED)}
same([cards[i].protocol for i in range(6)], [T1, T0, T1, T1, T1, T1], "protocols of the cards")
threads = [threading.Thread(target=check) for check in (check_runaway, check_aborted, check_removal)]
for thread in threads:
    thread.start()
check_features()
for pad in range(6):
    check_verify(pad)
    if pad != KEYBOARD:
        check_modify(pad)
for check in (check_structures, check_waiting_time, check_slow_fingers, check_others, check_locked, check_rooms, check_escape,
              check_mct, check_cards, check_gemalto):
    check()
for thread in threads:
    thread.join()
for reader in range(len(nodes)):
    if reader in handlers:
        same(model("violations", reader), [], f"reader {reader} has nothing to complain of")
finish()
