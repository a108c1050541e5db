# SPDX-License-Identifier: MIT
"""The part of field.sh that runs among the devices: one lane of them.

What each stack makes of a device, in this order: `listed` (a name for each slot), `connects` (ATR of the card, each slot), `short`
and `extended` (APDUs of all cases that reader and card can exchange, first slot). The first that is not so is the result, or
`all`. DIFFERENCES.md has the rows where the results differ; a device with which ours does less is never allowed.
"""
import concurrent.futures
import re

import field
from stacks import *

STEPS = ("listed", "connects", "short", "extended", "all")
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "DIFFERENCES.md")
ROW = re.compile(r"\|\s*([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}(?:-[ab])?)\s*\|\s*(\w+)\s*\|\s*(\w+)\s*\|")
LIMIT_S = 10  # for one call
LANE, LANES = int(os.environ["LANE"]), int(os.environ["LANES"])


def documented():
    """{device: (theirs, ours)}"""
    with open(DOCUMENT, encoding="utf-8") as file:
        rows = [ROW.match(line) for line in file]
    return {row[1]: (row[2], row[3]) for row in rows if row}


_threads = threading.local()


def exchange(stack, name, interface):
    """The first step that goes wrong in this slot, with what came of it, or `all`."""
    outcome = call(_threads.context.connect, name, limit=LIMIT_S)
    if not outcome.value:
        return "connects", f"connect: {outcome}"
    card = outcome.value
    atr = card.status()[2].hex()
    if atr != field.ATRS[interface.card]:
        return "connects", f"ATR {atr}"
    commands = field.commands(interface, card.protocol)
    for step, extended in (("short", False), ("extended", True)):
        for what, command, want in commands:
            if ("extended" in what) != extended:
                continue
            outcome = call(card.transmit, command, limit=LIMIT_S)
            if outcome.value != want:
                return step, f"T={card.protocol >> 1} {what}: {outcome!s:.120}"
    call(card.disconnect, UNPOWER, limit=LIMIT_S)
    return "all", ""


def judge(stack, device, names, all_names):
    """(result, why) for one device."""
    _threads.context = getattr(_threads, "context", None) if getattr(_threads, "stack", None) is stack else None
    if not _threads.context:
        with _lock:
            _threads.context, _threads.stack = stack.new_context(), stack
    slots = sorted(device.slots, key=lambda i: i.number) if isinstance(stack, Theirs) else device.slots
    if len(names) < len(slots):
        return "listed", f"{len(names)} of {len(slots)}: {all_names}"
    worst = "all", ""
    for slot, (name, interface) in enumerate(zip(names, slots)):
        result, why = exchange(stack, name, interface)
        if STEPS.index(result) < STEPS.index(worst[0]):
            worst = result, f"slot {slot}: {why}"
    return worst


_lock = threading.Lock()


def run(stack, batch):
    """{device name: (result, why)}"""
    names = stack.names()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        futures = {device.name: pool.submit(judge, stack, device, names.get(node, []), names) for node, device in batch}
        results = {name: future.result() for name, future in futures.items()}
    stack.end()
    return results


def compare(device, theirs, ours, rows):
    (their_result, their_why), (our_result, our_why) = theirs, ours
    text = f"{device.name}: libccid {their_result}, ours {our_result}"
    if STEPS.index(our_result) < STEPS.index(their_result):
        ok(False, f"{text}: we do less", f"ours: {our_why}")
    elif their_result == our_result:
        ok(rows.get(device.name, ("all", "all")) == (their_result, our_result), text, f"DIFFERENCES.md: {rows.get(device.name)}",
           our_why)
    else:
        same(rows.get(device.name), (their_result, our_result), f"{text}, as DIFFERENCES.md has it", f"theirs: {their_why}",
             f"ours: {our_why}")


def batches(some):
    """As many devices as a pcscd has readers for."""
    batch, n = [], 0
    for entry in some:
        size = sum(i.n_slots for i in entry[1].recorded)
        if n + size > MOST_READERS:
            yield batch
            batch, n = [], 0
        batch.append(entry)
        n += size
    yield batch


def main():
    rows, known = documented(), known_ids()
    every = {device.name: device for device in field.devices()}
    some = [(number, every[name]) for number, name in enumerate(os.environ["FIELD"].split())][LANE::LANES]
    for number, device in some:
        if device.ids[:2] not in known:
            skip(f"{device.name}: compared", "libccid does not know its id")
    some = [entry for entry in some if entry[1].ids[:2] in known]
    same(rows.keys() - {name for name, device in every.items() if device.ids[:2] in known}, set(),
         "DIFFERENCES.md names devices that are compared")
    for batch in batches(some):
        plugged = [(model("plug", number)[0].removeprefix("node="), device) for number, device in batch]
        began = time.monotonic()
        theirs = run(Theirs(), plugged)
        between = time.monotonic()
        ours = run(Ours([node for node, _ in plugged]), plugged)
        print(f"# {len(batch)} devices: theirs {between - began:.1f} s, ours {time.monotonic() - between:.1f} s")
        for number, device in batch:
            compare(device, theirs[device.name], ours[device.name], rows)
            model("unplug", number)
    finish()


main()
