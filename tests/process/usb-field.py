# SPDX-License-Identifier: MIT
"""The part of usb-field.sh that runs among the devices."""
import concurrent.futures
import json

import field
from process import *

# So many handlers at once, so many clients.
BATCH = 31
N_CLIENTS = 4
# Sanitized handlers take longer to start: every second device.
EVERY = 2 if SANITIZED else 1
PROTOCOLS = {"t0": T0, "A": T0, "B": T0 | T1, "t1": T1, "C": T1, "crc": T1, "small": T1, "big": T1}
# Readers at an APDU level that negotiate nothing and take no PPS: they and the card have to agree from the start.
PLAIN_CARDS = {0: "A", 1: "C"}


def other_card(interface):
    """A card of the other protocol, or nothing where the reader has only one."""
    if len(interface.protocols) == 1:
        return None
    wanted = 1 if PROTOCOLS[interface.card] & T0 else 0
    if interface.level in ("short", "extended") and not interface.features & 0xC0:
        return PLAIN_CARDS[wanted]
    return ("t0", "t1")[wanted]


def exchange(name, interface):
    """What went wrong with the card that is in there."""
    outcome = call(context_of().connect, name)
    if not outcome.value:
        return [f"connect: {outcome}"]
    card, wrong = outcome.value, []
    for what, command, want in field.commands(interface, card.protocol):
        outcome = call(card.transmit, command)
        if outcome.value != want:
            wrong.append(f"{what}: {outcome!s:.200}")
    card.disconnect(RESET)
    return [f"T={card.protocol >> 1} {text}" for text in wrong]


_contexts = threading.local()


def context_of():
    if not hasattr(_contexts, "context"):
        _contexts.context = Context()
    return _contexts.context


def swap(number, slot, name, card):
    """Another card: what went wrong."""
    model("card", number, slot, "swap", card)
    seen = wait_for(lambda: context_of().state(name)[1].hex() == field.ATRS[card], 5)
    return [] if seen else [f"a card {card} is not seen: {context_of().state(name)}"]


def check_slots(number, device, handler):
    wrong, before = [], None
    for slot, (interface, name) in enumerate(zip(device.slots, handler.names)):
        wrong += [f"slot {slot} {text}" for text in exchange(name, interface)]
        second = other_card(interface) if interface is not before else None
        if second:
            wrong += [f"slot {slot} {text}" for text in swap(number, slot, name, second) or exchange(name, interface)]
        before = interface
    ok(not wrong, f"{device.name}: {len(device.slots)} slot(s) exchange APDUs of all cases", *wrong)


def check_described(device, handler, status):
    """What reader-ctl says of each slot."""
    want = [{"interface": str(i.number), "exchange-level": field.LEVELS[i.level], "features": f"{i.features:08x}",
             "message-length": str(i.message_length), "max-ifsd": str(i.ifsd)} for i in device.slots]
    slots = status.get("slots", [])
    got = [{key: slot.get(key) for key in want[0]} for slot in slots]
    same(got, want, f"CCID 1: {device.name}: interface, level, features, message length and IFSD are those of its record",
         lambda: json.dumps(status))
    polled = [slot.get("presence") == "polled" for slot in slots]
    same(polled, [i.n_endpoints in (0, 2) or "poll" in device.quirks for i in device.slots],
         f"{device.name}: its slots are asked where nothing tells of movements")


def check_features(device, handler):
    """PC/SC part 10 2.3: tags of PIN verification, modification and properties; none where there is no PIN pad."""
    card = call(context_of().connect, handler.name, DIRECT, 0).value
    told = call(card.control, 0x42000D48).value if card else b""
    pin = device.slots[0].pin
    same({tag for tag in told[::6] if tag in (6, 7, 10)}, {tag for tag, bits in ((6, 1), (7, 2), (10, 3)) if pin & bits},
         f"{device.name}: tells of PIN entry what its record has", told.hex())
    if card:
        card.disconnect()


def check(number, device, handler, status):
    same(handler.lines("error"), [], f"{device.name}: it is usable")
    same(len(handler.names), len(device.slots), f"{device.name}: a name for each slot", handler.names)
    check_described(device, handler, status)
    check_features(device, handler)
    check_slots(number, device, handler)
    same(model("violations", number), [], f"{device.name}: no rule was broken")
    same(count(number)["overlaps"], 0, f"{device.name}: no slot got a command before it had answered")


def status_of_all():
    _, said = output(os.path.join(B, "reader-ctl"), "status", "--json")
    try:
        return {reader["instance"]: reader for reader in json.loads(said)}
    except ValueError:
        return {}


PYSCARD = """
from smartcard.System import readers
for reader in readers():
    connection = reader.createConnection()
    try:
        connection.connect()
        data, sw1, sw2 = connection.transmit([0, 0xcb, 0, 4, 4])
        print(f"{reader}: {bytes(data + [sw1, sw2]).hex()}")
    except Exception as error:
        print(f"{reader}: {error}")
"""


def check_pyscard(at, handlers):
    """A program that knows nothing of us (Debian's pyscard) finds all slots, and each card answers."""
    text = f"pyscard lists devices {at} to {at + len(handlers) - 1} and exchanges an APDU with each card"
    if output("/usr/bin/python3", "-c", "import smartcard", env=foreign())[0] != 0:
        skip(text, "python3-pyscard is not installed")
        return
    _, said = output("/usr/bin/python3", "-c", PYSCARD, env=foreign())
    names = {name for handler in handlers for name in handler.names}
    answers = dict(line.rsplit(": ", 1) for line in said.splitlines() if ": " in line)
    same(set(answers), names, f"{text}: all are listed", said)
    wrong = {name: answer for name, answer in answers.items() if answer != "000102039000"}
    same(wrong, {}, f"{text}: all answer")


def run(at, batch):
    handlers = [usb_handler(model("plug", number)[0].removeprefix("node="), wait=False) for number, _ in batch]
    for (_, device), handler in zip(batch, handlers):
        if not wait_for(lambda: os.path.exists(handler.description), 30):
            bail(f"{device.name}: no description: {handler.said()}")
    status = status_of_all()
    with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as pool:
        for done in [pool.submit(check, number, device, handler, status.get(handler.instance, {}))
                     for (number, device), handler in zip(batch, handlers)]:
            done.result()
    check_pyscard(at, handlers)
    for handler in handlers:
        handler.process.send_signal(signal.SIGTERM)
    for handler in handlers:
        same(handler.wait(), 0, f"handler {handler.instance} ends with status 0", handler.said)
        ok(not handler.complaints(), f"handler {handler.instance} has not crashed", handler.said)
        forget(handler)
    for number, _ in batch:
        model("unplug", number)


by_name = {device.name: device for device in field.devices()}
every = [(number, by_name[name]) for number, name in enumerate(os.environ["FIELD"].split())]
every = [entry for entry in every if not entry[1].is_left_alone][::EVERY]
for at in range(0, len(every), BATCH):
    run(at, every[at:at + BATCH])
finish()
