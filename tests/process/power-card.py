# SPDX-License-Identifier: MIT
"""The part of power-card.sh that runs among the readers."""
import json

from process import *

USUAL, SHORT, KEPT, WRONG, LATE, POLLED = range(6)
GRACE_S = 5
MARK, MARKED = bytes.fromhex("00DA1234"), bytes.fromhex("00CA000002")


def powered(reader):
    """(power-ups, power-downs) that the reader was asked for."""
    now = count(reader)
    return now["power_on"], now["power_off"]


def falls(reader, since, limit=15.0):
    """Until the power has been taken away since: how long, or None."""
    start = time.monotonic()
    return time.monotonic() - start if wait_for(lambda: powered(reader)[1] > since[1], limit) else None


def connect(reader, share=SHARED, protocols=T0 | T1):
    outcome = call(context.connect, handlers[reader].name, share, protocols)
    if not outcome.value:
        ok(False, f"reader {reader}: connecting", outcome, handlers[reader].said)
    return outcome.value


def status(reader, key):
    said = output(os.path.join(B, "reader-ctl"), "status", "--json", handlers[reader].instance)[1]
    return json.loads(said)[0]["slots"][0].get(key)


def usual():
    name = handlers[USUAL].name
    context.state(name)
    took = falls(USUAL, (0, 0))
    # from its start on: no earlier than the grace time
    ok(took is not None and time.monotonic() - started > GRACE_S, "PCSC-220 a card that nobody uses is powered down after 5 s",
       took, powered(USUAL))
    before = context.state(name)
    same((before[0] & 0xFFFF & ~CHANGED, before[1].hex()), (PRESENT, "3b800181"), "PCSC-220 state and ATR remain")
    state, events = powered(USUAL), before[0] >> 16
    card = connect(USUAL)
    same((powered(USUAL)[0], card.status()[2].hex()), (state[0] + 1, "3b800181"), "PCSC-72 the next connect powers it up again")
    same(call(card.transmit, give(8)).value, pattern(8), "PCSC-72 and it works")
    same(context.state(name)[0] >> 16, events, "no event is counted for that")
    call(card.transmit, MARK)
    state = powered(USUAL)
    card.disconnect()
    card = connect(USUAL)
    same((powered(USUAL), call(card.transmit, MARKED).value), (state, bytes.fromhex("12349000")),
         "PCSC-73 a connect within the grace time finds the card as it was left")
    card.disconnect()
    released = time.monotonic()
    took = falls(USUAL, state)
    ok(took is not None and time.monotonic() - released > GRACE_S, "and 5 s after the last use it is down", took)


def short(reader, kind):
    name = handlers[reader].name
    ok(wait_for(lambda: powered(reader)[1] == 1), f"{kind}: a grace time of 1 s: down", powered(reader))
    state = powered(reader)
    same(call(context.connect, name, SHARED, T0).code, "E_PROTO_MISMATCH", f"PCSC-74 {kind}: a protocol that cannot be had")
    ok(powered(reader)[0] > state[0], f"{kind}: the card was powered for that")
    ok(falls(reader, state) is not None, f"PCSC-74 {kind}: and is powered down again", powered(reader))
    card = connect(reader)
    state = powered(reader)
    direct = connect(reader, DIRECT, 0)
    time.sleep(2.5)
    same(powered(reader), state, f"PCSC-221 {kind}: a connection that asks nothing keeps the power")
    card.disconnect()
    time.sleep(2.5)
    same(powered(reader), state, f"PCSC-223 {kind}: so does a direct one")
    direct.disconnect()
    ok(falls(reader, state) is not None, f"PCSC-223 {kind}: until it is given back", powered(reader))
    state = powered(reader)
    direct = connect(reader, DIRECT, 0)
    same(powered(reader)[0], state[0], f"{kind}: a direct connection powers nothing")
    direct.disconnect()


def replugged_card():
    name = handlers[SHORT].name
    card = connect(SHORT)
    for how, bit in (("out", EMPTY), ("in", PRESENT)):
        model("card", SHORT, 0, how)
        ok(context.await_state(name, bit), f"the card goes {how}")
    same(call(card.reconnect).code, "success", "it is connected again")
    state = powered(SHORT)
    time.sleep(2.5)
    same(powered(SHORT), state, "PCSC-222 removed, inserted, reconnected, and idle: the power stays")
    card.disconnect()
    ok(falls(SHORT, state) is not None, "and goes after the last use")


def does_not_answer_any_more():
    name = handlers[SHORT].name
    model("fault", SHORT, "refuse=fe", "on=62", "times=0")
    outcome = call(context.connect, name)
    same(outcome.code, "W_UNPOWERED_CARD", "PCSC-65 a card that answered when it came and does not now", outcome)
    ok(context.state(name)[0] & MUTE, "PCSC-65 is mute", hex(context.state(name)[0]))
    model("faults", SHORT, "clear")
    connect(SHORT).disconnect()


def kept():
    """By now the others' times are over many times."""
    same(powered(KEPT)[1], 0, "IFDHANDLER_GRACE=0: a card that nobody used keeps its power", count(KEPT))
    card = connect(KEPT)
    same(powered(KEPT)[0], first_power, "a connect finds it powered")
    call(card.transmit, MARK)
    card.disconnect()
    same(status(KEPT, "grace"), "0", "reader-ctl status tells it")
    said = output(os.path.join(B, "reader-ctl"), "status", handlers[KEPT].instance)[1]
    ok("kept, however long nobody uses the card" in said, "in words, too", said)


def kept_in_spite_of_idleness():
    """Last: --idle 1 has been over for long."""
    ok(handlers[KEPT].is_alive(), "and its handler has not ended in spite of --idle 1", handlers[KEPT].said)
    card = connect(KEPT)
    same((powered(KEPT)[1], call(card.transmit, MARKED).value), (0, bytes.fromhex("12349000")),
         "what the card has verified is there yet")
    card.disconnect()


def late():
    handler = usb_handler(nodes()[LATE], "--idle", "1")
    begin = time.monotonic()
    same(handler.wait(15), 0, "--idle 1 with IFDHANDLER_GRACE=2: the handler ends", handler.said)
    ok(time.monotonic() - begin > 1.5, "but not before the card's time is over", time.monotonic() - begin)
    handlers[LATE] = usb_handler(nodes()[LATE], "--grace", "3600")
    same(status(LATE, "grace"), "3600", "the option --grace wins over the property")
    said = output(os.path.join(B, "reader-ctl"), "status", handlers[LATE].instance)[1]
    ok("off 3600 s after the last use" in said, "reader-ctl status tells it", said)


def wrong():
    said = handlers[WRONG].said()
    ok("IFDHANDLER_GRACE=-1 or so?[2J is not used: it is no number of seconds from 0 to 86400" in said,
       "a property that is no number is named in the journal", said)
    same(said.count("IFDHANDLER_GRACE"), 1, "once", said)
    same(status(WRONG, "grace"), "5", "and the usual time counts")
    for value in ("", "-1", "+1", " 1", "1 ", "0x1", "1.5", "86401", "99999999999999999999"):
        code, text = output(os.path.join(B, "ifdhandler"), "--grace", value, "--socket", os.path.join(RUN, "x.sock"))
        if code != 2 or "86400" not in text:
            ok(False, f"--grace {value!r} is refused", code, text)
    ok(True, "options that are no numbers of seconds are wrong usage")


started = time.monotonic()
handlers = {reader: usb_handler(nodes()[reader], *(["--idle", "1"] if reader == KEPT else []))
            for reader in (USUAL, SHORT, KEPT, WRONG, POLLED)}
context = Context()
context.state(handlers[KEPT].name)
first_power = powered(KEPT)[0]
usual()
kept()
short(SHORT, "interrupt")
replugged_card()
does_not_answer_any_more()
short(POLLED, "polled")
late()
wrong()
kept_in_spite_of_idleness()
finish()
