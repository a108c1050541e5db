# SPDX-License-Identifier: MIT
"""The part of usb-lines.sh that runs among the readers. Each has a thread of its own: most of this is waiting."""
from process import *

EXT, TPDU, POLLED, TWO, PAIR, SILENT, DYING, LYING, WAITING, CLOSING, EIGHT = range(11)
LOST = ("E_READER_UNAVAILABLE", "E_UNKNOWN_READER", "E_INVALID_VALUE")
# How a device that stays loses its transfers: with the claims and the cards' power, and also with the handle.
# A reader that is only asked now and then has no transfer to lose: that its card lost power is all that is seen.
ANOTHER = ("W_RESET_CARD", "W_REMOVED_CARD")
ASLEEP = {"resume": "a suspend", "nodev": "a suspend that ends the handle"}


def works(context, name, what, limit=10.0):
    """Connects and exchanges, as soon as the reader is there. The card."""
    end = time.monotonic() + limit
    while True:
        outcome = call(context.connect, name)
        if outcome.value or outcome.hangs or time.monotonic() > end:
            break
        time.sleep(0.05)
    card = outcome.value
    outcome = call(card.transmit, give(21)) if card else outcome
    same(outcome.value, pattern(21), what, outcome)
    return card


# ---- suspend ----


def asleep_idle(reader, how):
    what = f"CCID 150: reader {reader}, {ASLEEP[how]}"
    handler = handlers[reader]
    name = handler.name
    context = Context()
    card = works(context, name, f"{what}: a card is in use")
    before = context.state(name)[0]
    watch = Call(Context().change, 10000, (name, before & ~CHANGED))
    time.sleep(0.3)
    same(watch.outcome.value, None, f"{what}: somebody waits")
    model(how, reader)
    outcome = watch.join(5)
    ok(outcome.value and outcome.value[0][0] & CHANGED, f"{what}: who waits is told", outcome, hex(before),
       outcome.value and hex(outcome.value[0][0]), handler.said)
    ok(wait_for(lambda: context.state(name)[0] & PRESENT and context.state(name)[0] >> 16 != before >> 16),
       f"{what}: the card is there again, as another one", hex(before), lambda: hex(context.state(name)[0]))
    outcome = call(card.transmit, give(22))
    ok(outcome.code in ANOTHER, f"{what}: its handle says that it was reset", outcome)
    same(call(card.reconnect).code, "success", f"{what}: it can be reconnected", handler.said)
    same(call(card.transmit, give(23)).value, pattern(23), f"{what}: and works")
    card.disconnect()
    ok(handler.is_alive(), f"{what}: the handler has stayed", handler.said)


def asleep_busy(reader, how):
    what = f"CCID 150: reader {reader}, {ASLEEP[how]} in the middle of a command"
    handler = handlers[reader]
    context = Context()
    card = works(context, handler.name, f"{what}: a card is in use")
    before = count(reader)["xfr"]
    transmit = Call(card.transmit, slow(20000))
    model("wait", reader, "xfr", before + 1)
    time.sleep(0.2)
    start = time.monotonic()
    model(how, reader)
    outcome = transmit.join(10)
    ok(outcome.error and outcome.code not in LOST and time.monotonic() - start < 2, f"{what}: it fails, and the reader is "
       "not lost", outcome)
    ok(context.await_state(handler.name, PRESENT), f"{what}: the card is there again", handler.said)
    outcome = call(card.transmit, give(24))
    ok(outcome.code in ANOTHER, f"{what}: its handle says that it was reset", outcome)
    same(call(card.reconnect).code, "success", f"{what}: it can be reconnected", handler.said)
    same(call(card.transmit, give(25)).value, pattern(25), f"{what}: and works")
    card.disconnect()


def asleep_alone(reader, how):
    """Nobody uses the reader."""
    time.sleep(0.3)
    model(how, reader)
    time.sleep(0.3)
    works(Context(), handlers[reader].name, f"CCID 150: reader {reader}, {ASLEEP[how]} while nobody uses it").disconnect()


def asleep(reader):
    for how in ASLEEP:
        asleep_idle(reader, how)
        asleep_busy(reader, how)
        asleep_alone(reader, how)
    if reader != POLLED:
        same(handlers[reader].said().count("works again"), 6, f"CCID 150: reader {reader}: the log tells of each, once",
             handlers[reader].said)


# ---- unplug ----


def follow(handler, what):
    same(handler.wait(), 0, f"{what}: the handler ends", handler.said)
    ok(not os.path.exists(handler.path) and not os.path.exists(handler.description), f"{what}: nothing of it is left")


def replug(reader, what):
    node = model("plug", reader)[0].split("=")[1]
    handlers[reader] = usb_handler(node)
    works(Context(), handlers[reader].name, f"{what}: a replug works").disconnect()


def unplug_waiting(reader):
    """The reader asks for time again and again."""
    what = "CCID 150: unplugged while it asks for time"
    card = works(Context(), handlers[reader].name, f"{what}: a card is in use")
    model("fault", reader, "extend=0", "on=6f")
    transmit = Call(card.transmit, give(30))
    time.sleep(1)
    same(transmit.outcome.hangs, True, "CCID 67: an exchange whose reader asks for time goes on", transmit.outcome)
    start = time.monotonic()
    model("unplug", reader)
    outcome = transmit.join(10)
    ok(outcome.code in LOST and time.monotonic() - start < 2, f"{what}: the command ends", outcome)
    follow(handlers[reader], what)
    model("faults", reader, "clear")
    replug(reader, what)


def unplug_closing(reader):
    """At the same moment as its handler is told to end."""
    what = "CCID 150: unplugged while it is closed"
    for i in range(3):
        handler = handlers[reader]
        context = Context()
        card = works(context, handler.name, f"{what}: a card is in use")
        model("fault", reader, "deaf", "on=63")  # the power-off that belongs to the end is not answered
        handler.process.terminate()
        time.sleep(0.02 * i)
        start = time.monotonic()
        model("unplug", reader)
        same(handler.wait(), 0, f"{what}: the handler ends", handler.said)
        ok(time.monotonic() - start < 2.5, f"{what}: within 2 s", time.monotonic() - start)
        outcome = call(card.transmit, give(5))
        ok(outcome.error and not outcome.hangs, f"{what}: its client is told", outcome)
        model("faults", reader, "clear")
        replug(reader, what)


def unplug_asking(reader, node):
    """In the control request with which its speeds are asked for."""
    what = "CCID 150: unplugged in a control request"
    model("fault", reader, "control-hang=3")
    handler = usb_handler(node)
    connect = Call(Context().connect, handler.name)
    time.sleep(0.3)
    start = time.monotonic()
    model("unplug", reader)
    outcome = connect.join(10)
    ok(outcome.code in LOST and time.monotonic() - start < 2, f"{what}: the connect ends", outcome)
    follow(handler, what)
    model("faults", reader, "clear")
    node = model("plug", reader)[0].split("=")[1]
    model("fault", reader, "control-hang=3")
    handler = handlers[reader] = usb_handler(node)
    works(Context(), handler.name, "CCID 31: speeds that are never told are no obstacle").disconnect()


def two_interfaces(reader):
    handler = handlers[reader]
    contexts = Context(), Context()
    cards = [works(context, name, f"CCID 23: {name} works") for context, name in zip(contexts, handler.names)]
    model("count", reader, "reset")
    calls = [Call(lambda card=card: [card.transmit(give(9)) for _ in range(20)]) for card in cards]
    outcomes = [c.join(10) for c in calls]
    ok(all(o.value == [pattern(9)] * 20 for o in outcomes), "CCID 23: both work beside each other", *outcomes)
    watches = [Call(context.change, 10000, (name, context.state(name)[0] & ~CHANGED))
               for context, name in zip(contexts, handler.names)]
    time.sleep(0.3)
    model("unplug", reader)
    outcomes = [watch.join(5) for watch in watches]
    ok(all(o.value and o.value[0][0] & UNKNOWN and o.took < 2.5 for o in outcomes), "CCID 150: both interfaces of a device "
       "vanish together", *outcomes)
    outcomes = [call(card.transmit, give(3)) for card in cards]
    ok(all(o.code in LOST for o in outcomes), "CCID 150: and both cards", *outcomes)
    follow(handler, "CCID 150: a device with two interfaces is unplugged")
    node = model("plug", reader)[0].split("=")[1]
    handlers[reader] = usb_handler(node)


# ---- clients that die ----

CLIENT = """
from process import *
card = Context().connect(sys.argv[1])
print("in", flush=True)
card.transmit(bytes.fromhex(sys.argv[2]))
"""


def client_dies(reader, what, command, limit):
    handler = handlers[reader]
    before = count(reader)["xfr"]
    client = child(CLIENT, handler.name, command.hex())
    same(client.stdout.readline(), "in\n", f"{what}: a client has a card")
    model("wait", reader, "xfr", before + 1)
    time.sleep(0.2)
    client.kill()
    start = time.monotonic()
    card = call(Context().connect, handler.name, limit=30).value
    outcome = call(card.transmit, give(21), limit=30)
    if outcome.code in ANOTHER:  # it had joined before the card was lost
        outcome = call(card.reconnect)
        outcome = call(card.transmit, give(21)) if not outcome.error else outcome
    took = time.monotonic() - start
    same(outcome.value, pattern(21), f"{what}: another client is served, with its own answer", outcome)
    ok(took < limit, f"{what}: and soon", f"{took:.1f} s")
    card.disconnect()
    model("faults", reader, "clear")


def clients_die(reader):
    # the model's reader obeys a new command, as most do, and forgets the old one
    client_dies(reader, "CCID 62: a client dies in the middle of a command", slow(30000), 6)
    model("fault", reader, "extend=0", "on=6f")
    client_dies(reader, "CCID 66, 67: a client dies while the reader asks for time without end", give(40), 3)
    model("fault", reader, "late=2300", "on=6f")
    client_dies(reader, "CCID 59, 62: a client dies, and the answer comes when nobody waits any more", give(41), 6)


# ---- card movements ----


def missed(reader):
    """A notification that never comes."""
    name = handlers[reader].name
    context = Context()
    model("card", reader, 0, "out")
    ok(context.await_state(name, EMPTY), "a card goes, with notice")
    state = context.state(name)[0] & ~CHANGED
    watch = Call(context.change, 10000, (name, state))
    time.sleep(0.5)
    model("fault", reader, "interrupt-silent")
    model("card", reader, 0, "in")
    outcome = watch.join(12)
    ok(outcome.value and outcome.value[0][0] & PRESENT and outcome.took < 6, "CCID 87: a card whose coming is not notified is "
       "seen within 5 s", outcome)
    model("faults", reader, "clear")
    works(context, name, "CCID 87: and works").disconnect(UNPOWER)


def polled(reader):
    name = handlers[reader].name
    context = Context()
    state = context.await_state(name, PRESENT) & ~CHANGED
    for how in ("out", "in"):
        watch = Call(context.change, 5000, (name, state))
        time.sleep(0.5)
        model("card", reader, 0, how)
        start = time.monotonic()
        outcome = watch.join(6)
        took = time.monotonic() - start
        # a card that comes is powered up before it is shown
        ok(outcome.value and took < 0.8, f"CCID 13: without interrupts a card is seen going {how} in 0.4 s", outcome, took)
        state = outcome.value[0][0] & ~CHANGED if outcome.value else 0
    same(count(reader)["interrupt"], 0, "CCID 13: and no interrupt transfer is made")


def several_slots(reader, n, what):
    """Clients in all slots at once: each has its answers, and nothing is sent to a busy reader."""
    names = handlers[reader].names
    same(len(names), n, f"{what}: all slots are there", names)
    cards = [works(Context(), name, f"{what}: {name} works") for name in names]
    calls = [Call(lambda card=card, k=k: [card.transmit(give(10 + k)) for _ in range(25)]) for k, card in enumerate(cards)]
    outcomes = [c.join(20) for c in calls]
    ok(all(o.value == [pattern(10 + k)] * 25 for k, o in enumerate(outcomes)), f"{what}: each client has its own answers",
       *outcomes)
    same(count(reader)["overlaps"], 0, f"{what}: no slot got a command before it had answered")
    same(model("violations", reader), [], f"{what}: no more were busy than the reader allows")
    for card in cards:
        card.disconnect()


def reader_job(*steps):
    def run():
        try:
            for step in steps:
                step()
        except Exception as e:  # a thread's end would not be seen
            import traceback
            ok(False, f"{steps[0]}: {e}", traceback.format_exc())
    thread = threading.Thread(target=run)
    thread.start()
    return thread


all_nodes = nodes()
handlers = [usb_handler(node) if i != LYING else None for i, node in enumerate(all_nodes)]
library()
jobs = [
    reader_job(lambda: asleep(EXT)),
    reader_job(lambda: asleep(TPDU)),
    reader_job(lambda: polled(POLLED), lambda: asleep(POLLED)),
    reader_job(lambda: several_slots(TWO, 2, "CCID 89: two slots, one busy")),
    reader_job(lambda: several_slots(EIGHT, 8, "CCID 18, 88: eight slots at once")),
    reader_job(lambda: two_interfaces(PAIR)),
    reader_job(lambda: missed(SILENT)),
    reader_job(lambda: clients_die(DYING)),
    reader_job(lambda: unplug_asking(LYING, all_nodes[LYING])),
    reader_job(lambda: unplug_waiting(WAITING)),
    reader_job(lambda: unplug_closing(CLOSING)),
]
for job in jobs:
    job.join()
for reader in range(len(handlers)):
    broken = [line for line in model("violations", reader) if reader != LYING or "message of" not in line]
    same(broken, [], f"reader {reader}: no rule was broken")
    same(count(reader)["set_configuration"] + count(reader)["reset_device"], 0,
         f"CCID 24, 25: reader {reader} was neither configured nor reset")
finish()
