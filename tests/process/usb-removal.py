# SPDX-License-Identifier: MIT
"""The part of usb-removal.sh that runs among the readers."""
from process import *

EXT, TPDU, POLLED, TWO, HELD = range(5)
LOST = ("E_READER_UNAVAILABLE", "E_INVALID_VALUE", "E_UNKNOWN_READER", "W_REMOVED_CARD", "W_RESET_CARD",
        "E_NOT_TRANSACTED")


def plug(reader):
    """In again, and a handler as systemd would start one."""
    node = model("plug", reader)[0].split("=")[1]
    return usb_handler(node)


def follow(handler, what):
    """After an unplug: the handler ends and takes its files along."""
    same(handler.wait(), 0, f"{what}: the handler ends", handler.said)
    ok(not os.path.exists(handler.path) and not os.path.exists(handler.description), f"{what}: nothing of it is left")


def works(context, name, what):
    outcome = call(context.connect, name)
    card = outcome.value
    outcome = call(card.transmit, give(21)) if card else outcome
    same(outcome.value, pattern(21), what, outcome)
    return card


def unplug_idle(reader):
    handler = handlers[reader]
    name = handler.name
    card = works(context, name, "idle: a card is in use")
    pnp = Call(Context().change, 10000, (PNP, len(context.list()) << 16))
    watch = Call(Context().change, 10000, (name, context.state(name)[0] & ~CHANGED))
    time.sleep(0.2)
    model("unplug", reader)
    follow(handler, "idle")
    outcome = watch.join(5)
    ok(outcome.value and outcome.value[0][0] & UNKNOWN and outcome.took < 3, "CCID 150: idle: who waits for its state is told",
       outcome)
    ok(pnp.join(5).value and pnp.outcome.took < 3, "idle: who waits for readers is told", pnp.outcome)
    ok(name not in context.list(), "idle: it is listed no more")
    outcome = call(card.transmit, give(5))
    ok(outcome.code in LOST and outcome.took < 1, "CCID 150: idle: the handle's next command fails at once", outcome)
    same(call(context.connect, name).code, "E_UNKNOWN_READER", "idle: connecting to it fails")
    pnp = Call(Context().change, 10000, (PNP, len(context.list()) << 16))
    time.sleep(0.2)
    handlers[reader] = plug(reader)
    ok(pnp.join(5).value, "replug: who waits for readers is told", pnp.outcome)
    same(handlers[reader].name, name, "replug: it has its name again")
    ok(name in context.list(), "replug: the same context lists it")
    outcome = call(card.transmit, give(5))
    ok(outcome.code in LOST, "replug: the old handle stays lost until it is reconnected", outcome)
    outcome = call(card.reconnect)
    ok(not outcome.hangs and (outcome.code == "success" or outcome.code in LOST), "replug: reconnecting ends", outcome)
    works(context, name, "CCID 150: replug: the same context works").disconnect()


def unplug_power_up(reader):
    handler = handlers[reader]
    name = handler.name
    works(context, name, "power-up: a card is in use").disconnect(UNPOWER)
    model("fault", reader, "deaf", "on=62")
    before = count(reader)["power_on"]
    connect = Call(context.connect, name)
    model("wait", reader, "power_on", before + 1)
    start = time.monotonic()
    model("unplug", reader)
    outcome = connect.join(10)
    ok(outcome.code in LOST and time.monotonic() - start < 2, "CCID 150: power-up: an unplug ends the connect", outcome)
    follow(handler, "power-up")
    model("faults", reader, "clear")
    handlers[reader] = plug(reader)
    works(context, name, "power-up: after a replug the same context works").disconnect()


def unplug_transfer(reader, fault):
    handler = handlers[reader]
    name = handler.name
    what = fault or "in the middle of a command"
    card = works(context, name, f"{what}: a card is in use")
    if fault:
        model("fault", reader, fault, "on=6f")
    before = count(reader)["xfr"]
    transmit = Call(card.transmit, slow(20000))
    if not fault:
        model("wait", reader, "xfr", before + 1)
        model("unplug", reader)
    start = time.monotonic()
    outcome = transmit.join(10)
    ok(outcome.code in LOST and time.monotonic() - start < 2, f"CCID 150: {what}: an unplug ends the command", outcome)
    follow(handler, what)
    handlers[reader] = plug(reader)
    works(context, name, f"{what}: after a replug the same context works").disconnect()


def replug_often(reader):
    name = handlers[reader].name
    wrong = []
    for i in range(10):
        card = call(context.connect, name).value
        model("unplug", reader)
        status = handlers[reader].wait()
        if status != 0:
            wrong.append(f"{i}: handler {status}: {handlers[reader].said()}")
        handlers[reader] = plug(reader)
        outcome = call(context.connect, name)
        outcome = call(outcome.value.transmit, give(40 + i)) if outcome.value else outcome
        if outcome.value != pattern(40 + i):
            wrong.append(f"{i}: {outcome}")
        if card:
            call(card.disconnect)
    ok(not wrong, "plugged out and in ten times: the same context works each time", *wrong)


def card_moves(reader, kind):
    handler = handlers[reader]
    name = handler.name
    works(context, name, f"{kind}: a card is in use").disconnect()
    state, atr = context.state(name)
    for how, bit in (("out", EMPTY), ("in", PRESENT)):
        wait = Call(context.change, 5000, (name, state & ~CHANGED))
        time.sleep(0.3)
        model("card", reader, 0, how)
        outcome = wait.join()
        event, atr = outcome.value[0] if outcome.value else (0, b"")
        ok(event & bit and event & CHANGED and outcome.took < 3, f"{kind}: a wait ends when the card goes {how}", outcome)
        ok((event >> 16) == (state >> 16) + 1 & 0xFFFF, f"{kind}: that counts as one event", hex(state), hex(event))
        same(len(atr) > 0, how == "in", f"{kind}: the ATR is told for a card that is in")
        state = event
    card = works(context, name, f"{kind}: the card works again")
    wait = Call(context.change, 5000, (name, context.state(name)[0] & ~CHANGED))
    time.sleep(0.3)
    model("card", reader, 0, "out")
    event = wait.join().value
    ok(event and event[0][0] & EMPTY, f"{kind}: a card in use is seen to go", wait.outcome)
    same(call(card.transmit, give(7)).code, "W_REMOVED_CARD", f"{kind}: its handle says so")
    same(call(card.reconnect).code, "E_NO_SMARTCARD", f"{kind}: and cannot be reconnected")
    model("card", reader, 0, "in")
    ok(context.await_state(name, PRESENT), f"{kind}: the card is seen to come back")
    same(call(card.transmit, give(7)).code, "W_REMOVED_CARD", f"{kind}: the handle still says that it was gone")
    same(call(card.reconnect).code, "success", f"{kind}: now it can be reconnected")
    same(call(card.transmit, give(7)).value, pattern(7), f"{kind}: and works")
    before = context.state(name)[0]
    if reader != POLLED:  # who asks now and then cannot see a swap that the reader does not tell of
        model("card", reader, 0, "swap", "t1")
        ok(wait_for(lambda: context.state(name)[0] >> 16 != before >> 16), f"{kind}: a swap counts as an event")
        outcome = call(card.transmit, give(8))
        ok(outcome.code in ("W_REMOVED_CARD", "W_RESET_CARD"), f"{kind}: the handle knows of the swap", outcome)
    card.disconnect()


def card_moves_busy(reader):
    """The card goes while a command is under way."""
    name = handlers[reader].name
    card = works(context, name, "in a command: a card is in use")
    before = count(reader)["xfr"]
    transmit = Call(card.transmit, slow(20000))
    model("wait", reader, "xfr", before + 1)
    model("card", reader, 0, "out")
    outcome = transmit.join(10)
    ok(outcome.code in LOST and outcome.took < 4, "in a command: it ends when the card is taken out", outcome)
    model("card", reader, 0, "in")
    ok(context.await_state(name, PRESENT), "in a command: the card is seen to come back")
    card.disconnect()
    works(context, name, "in a command: and works").disconnect()


def two_slots(reader):
    first, second = handlers[reader].names
    card = works(context, second, "two slots: the second's card is in use")
    model("card", reader, 0, "out")
    ok(context.await_state(first, EMPTY), "two slots: the first one's card goes")
    same(call(card.transmit, give(9)).value, pattern(9), "two slots: the other's handle does not mind")
    model("card", reader, 0, "in")
    ok(context.await_state(first, PRESENT), "two slots: and comes")
    same(call(card.transmit, give(9)).value, pattern(9), "two slots: the other's handle still does not mind")
    card.disconnect()


def claimed(reader, node):
    model("claim", reader, "on")
    handler = usb_handler(node)
    ok(handler.name in context.list(), "claimed: it is listed")
    outcome = call(context.connect, handler.name)
    ok(outcome.code == "E_READER_UNAVAILABLE" and outcome.took < 1, "CCID 25: claimed: connecting fails within a second", outcome)
    outcome = call(context.state, handler.name)
    ok(outcome.value and outcome.value[0] & UNAVAILABLE, "claimed: its state is: unavailable", outcome)
    status, said = output(os.path.join(B, "reader-ctl"), "status", handler.instance)
    ok("claimed by another program" in said, "claimed: reader-ctl status says so", f"status {status}", said)
    opens = count(reader)["opens"]
    ok(wait_for(lambda: count(reader)["opens"] >= opens + 2), "CCID 25: claimed: it is tried again", count(reader))
    same(count(reader)["reset_device"], 0, "CCID 25: claimed: and not reset")
    lines = [line for line in handler.said().splitlines() if "claimed by another program" in line]
    same(len(lines), 1, "claimed: the log says so in one line", handler.said)
    wait = Call(context.change, 15000, (handler.name, context.state(handler.name)[0] & ~CHANGED))
    model("claim", reader, "off")
    outcome = wait.join()
    ok(outcome.value and outcome.value[0][0] & PRESENT, "claimed: who waits is told when it was given back", outcome)
    works(context, handler.name, "CCID 25: claimed: and it works, in the same context").disconnect()
    return handler


handlers = [usb_handler(node) for node in nodes()[:HELD]]
context = Context()
unplug_idle(EXT)
unplug_power_up(TPDU)
unplug_transfer(EXT, None)
unplug_transfer(TPDU, None)
unplug_transfer(TPDU, "vanish")
unplug_transfer(EXT, "vanish=300")
unplug_transfer(POLLED, None)
replug_often(EXT)
card_moves(EXT, "APDU level")
card_moves(TPDU, "TPDU level")
card_moves(POLLED, "no interrupts")
card_moves_busy(EXT)
card_moves_busy(TPDU)
two_slots(TWO)
handlers.append(claimed(HELD, nodes()[HELD]))
for reader in range(HELD + 1):
    same(model("violations", reader), [], f"reader {reader}: no rule was broken")
finish()
