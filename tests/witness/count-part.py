# SPDX-License-Identifier: MIT
"""The part of count.sh that runs among the readers: the same steps with each stack, what the reader counts at each, and the time."""
from stacks import *

MODELS = ("generic-tpdu", "ext-apdu-chaining", "generic-short-apdu", "generic-tpdu-autopps", "two-slots", "tpdu-no-interrupt")
COUNTED = ("bulk_out", "bulk_in", "submits", "control", "interrupt")
ASKED_EVERY_S = 0.4
# Asked for movements of its card by both stacks, at moments of their own: all in one step.
POLLED = "tpdu-no-interrupt"


def one(card):
    return call(card.transmit, give(10)).value == pattern(10)


def thousand(card):
    data = pattern(250)[:250]
    return all(call(card.transmit, echo(data)).value == pattern(250) for _ in range(1000))


def long(card):
    return call(card.transmit, echo(pattern(10240)[:10240], True)).value == pattern(10240)


def steps(name):
    """(what, function of the connected card)"""
    if name != POLLED:
        yield "one short APDU", one
    if name == "generic-tpdu":
        yield "1000 APDUs of 250 bytes there and back", thousand
    if name in ("generic-tpdu", "ext-apdu-chaining"):
        yield "10 KiB there and back", long


def counted(reader, work):
    """({counter: how many more}, seconds) of `work`; without what the clock has both stacks ask in between, GetSlotStatus."""
    before, began = count(reader), time.monotonic()
    if not work():
        return None, 0
    took, after = time.monotonic() - began, count(reader)
    counters = {key: after[key] - before[key] for key in COUNTED}
    n_asked = after["slot_status"] - before["slot_status"]
    if n_asked <= took / ASKED_EVERY_S:
        for key, each in (("bulk_out", 1), ("bulk_in", 1), ("submits", 2)):
            counters[key] -= n_asked * each
    return counters, took


class Start:
    """From the start of a stack to a connected card."""

    def __init__(self, make, node):
        self.make, self.node, self.stack, self.card = make, node, None, None

    def __call__(self):
        self.stack = self.make(self.node)
        names = self.stack.names()[self.node]
        if wait_for(lambda: self.stack.context.state(names[0])[1], 5):
            self.card = call(self.stack.context.connect, names[0]).value
        return self.card

    def answer(self):
        return self() and one(self.card)


def run(make, reader, name):
    """[(step, counters, seconds)] of one stack."""
    start_of = Start(make, model("plug", reader)[0].removeprefix("node="))
    if name == POLLED:
        results = [("plug to the answer to an APDU", *counted(reader, start_of.answer))]
    else:
        results = [("plug to connected card", *counted(reader, start_of))]
    results += [(what, *counted(reader, lambda: work(start_of.card))) for what, work in steps(name)]
    start_of.stack.end()
    model("unplug", reader)
    return results


def row(*words):
    print("# %-22s %-40s" % words[:2] + "".join("%14s" % word for word in words[2:]))


def main():
    row("reader", "step: ours / libccid", *COUNTED, "time")
    for reader, name in enumerate(MODELS):
        theirs = run(lambda _: Theirs(), reader, name)
        ours = run(lambda node: Ours([node]), reader, name)
        for (what, our, our_s), (_, their, their_s) in zip(ours, theirs):
            if not ok(our and their, f"{name}: {what}: both do it", f"ours {our}, theirs {their}"):
                continue
            row(name, what, *(f"{our[key]} / {their[key]}" for key in COUNTED), f"{our_s / their_s:.2f}")
            more = {key: (our[key], their[key]) for key in COUNTED if our[key] > their[key]}
            same(more, {}, f"{name}: {what}: no more transfers than libccid")
    finish()


main()
