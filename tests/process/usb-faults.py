# SPDX-License-Identifier: MIT
"""The part of usb-faults.sh that runs among the readers.

Each fault strikes one command. Answers have lengths that the commands around them do not ask for, so an answer that
belongs to another cannot pass. Readers work at the same time, because many faults are over only when time is.
"""
import itertools
import queue

from faults import ERRORS, judge, recover
from process import *

LIMIT = 15.0  # of the command that is struck: the card's time, and what the reader's recovery takes

# The reader does something odd or recoverable: the command works in spite of it.
WORKS = """
error chain=ff stale stale=5 refuse=e0 refuse=f2 refuse=f2,times=2 late=1000 extend extend=20 pad=4 surplus=4 surplus=64 twin glue
split=5:50 split=64:50 split=10:2000 zlp zlp=3 zlp-after
"""
# Otherwise it must end, with its own answer or an error.
ENDS = """
seq seq=0 slot type type=81 status status=40 status=41 status=42 status=01 status=02 chain chain=3 length length=0
stale=20 refuse=fe refuse=fb refuse=00 refuse=07 drop deaf cut=9 cut=10 cut=11 length=1+cut=11 refuse=e0,times=0 cut=0 empty garbage=1 garbage=32
garbage=600 stall-in stall-out nak-out error-in overflow
"""
TPDU_WORKS = """
t1-edc t1-ns t1-nad t1-pcb=c4 t1-pcb=82 t1-len t1-short t1-garbage=7 t1-garbage=300 t1-lose t1-parity t1-reject
t1-wtx=2 t1-ifs=10 t1-ifs=254 chain=1 surplus=4 twin length=10 empty
"""
TPDU_ENDS = """
t1-edc,times=3 t1-edc,times=9 t1-deaf t1-wtx=0 t1-ifs=0 t1-abort
seq drop deaf cut=11 stall-in stall-out garbage=32 refuse=fe refuse=fd status=42
"""
# In the middle of an APDU of many messages.
CHAIN_WORKS = "stale late=500 extend split=5:50 zlp twin surplus=4"
CHAIN_ENDS = "chain=0 chain=1 chain=2 chain=10 drop seq refuse=fb cut=11 empty stall-in garbage=32 length"
# What a connect, a disconnect or a moved card needs. A power-up that is not answered has 60 s: too long for here.
POWER_ON = "stall-in refuse=fe refuse=fb length empty"
POWER_OFF = "drop garbage=32 stall-in refuse=fe length seq empty cut=11"
STATUS = "drop garbage=32 stall-in refuse=fe length seq empty cut=11 status=c0"
PARAMETERS = "drop garbage=32 stall-in refuse=fe refuse=07 length seq empty cut=11"

# Rules for CCID drivers that a fault of an exchange is the proof of.
RULES = {
    "garbage=1": "43", "cut=9": "43", "cut=11": "44", "length": "45, 46", "overflow": "49", "stall-in": "50", "stall-out": "50",
    "nak-out": "51", "type": "52", "type=81": "53", "stale": "54", "seq": "55", "slot": "56", "twin": "61", "zlp": "40",
    "zlp-after": "37", "split=64:50": "39", "split=5:50": "42", "pad=4": "47", "surplus=64": "48", "extend": "64",
    "refuse=f2,times=2": "71", "refuse=e0,times=0": "72", "status=40": "58", "status=42": "74", "status=02": "74", "status=01": "75", "error": "76", "empty": "77",
    "length=1+cut=11": "78", "stale=20": "29",
}

lengths = itertools.count()


def length():
    return 20 + next(lengths) % 200


def verdict(reader, handler, text, good, context, card, *details):
    if judge(reader, handler, text, good, context, card, T1, length, *details):  # the faults that are left for this reader are to be judged by themselves
        model("card", reader, 0, "out")
        time.sleep(0.2)
        model("card", reader, 0, "in")


def prepare(reader, handler, fault, on):
    context = Context()
    card = call(context.connect, handler.name).value
    n = length()
    outcome = call(card.transmit, give(n)) if card else None
    ready = outcome and outcome.value == pattern(n)
    if not ready:
        ok(False, f"{fault}: a command before the fault works", outcome, handler.said)
    for each in fault.split("+"):
        model("fault", reader, *each.split(","), *([] if fault.startswith("t1-") else [f"on={on}"]))
    return context, card if ready else None


def strike(reader, handler, fault, works):
    context, card = prepare(reader, handler, fault, "6f")
    if not card:
        return
    n = length()
    outcome = call(card.transmit, give(n), limit=LIMIT)
    worked = outcome.value == pattern(n)
    rule = RULES.get(fault, "") if kinds[reader] == "generic-ext-apdu" else ""
    verdict(reader, handler, f"{rule and f'CCID {rule}: '}{fault}: the command {'works' if works else 'ends'}, and so does "
            "the next",
            worked or not works and outcome.code in ERRORS, context, card, f"the command: {outcome}")


def cut_short(reader, handler, fault, _):
    """The reader says itself that its answer is shorter: nothing can tell, but nothing else gets in."""
    context, card = prepare(reader, handler, fault, "6f")
    if not card:
        return
    outcome = call(card.transmit, give(100), limit=LIMIT)
    verdict(reader, handler, f"{fault}: the command's own answer is cut, and the next is not",
            outcome.value == pattern(100)[:16], context, card, f"the command: {outcome}")


def strike_chain(reader, handler, fault, works):
    context, card = prepare(reader, handler, f"{fault},skip=5", "6f")
    if not card:
        return
    data = pattern(600)[:600]
    outcome = call(card.transmit, echo(data, True), limit=LIMIT)
    worked = outcome.value == pattern(600)
    verdict(reader, handler, f"{fault} within an APDU of many messages: it {'works' if works else 'ends'}, and so does "
            "the next", worked or not works and outcome.code in ERRORS, context, card, f"the command: {outcome!s:.100}")


def strike_connect(reader, handler, fault, on):
    context = Context()
    outcome = call(context.connect, handler.name)
    if outcome.value:
        outcome.value.disconnect(UNPOWER)
    model("fault", reader, fault, f"on={on}")
    outcome = call(context.connect, handler.name, limit=LIMIT)
    struck = on == "61" or model("faults", reader, "clear") is not None
    verdict(reader, handler, f"{fault} on={on}: connecting works or fails, and then the reader works",
            struck and (outcome.value or outcome.code in ERRORS), context, outcome.value, f"connecting: {outcome}")


def strike_disconnect(reader, handler, fault, on):
    context, card = prepare(reader, handler, fault, on)
    if not card:
        return
    outcome = call(card.disconnect, UNPOWER, limit=LIMIT)
    verdict(reader, handler, f"{fault} on={on}: disconnecting ends, and then the reader works", not outcome.hangs, context,
            None, f"disconnecting: {outcome}")


def strike_status(reader, handler, fault, on):
    context, card = prepare(reader, handler, fault, on)
    if not card:
        return
    card.disconnect()
    model("card", reader, 0, "out")
    time.sleep(0.2)
    model("card", reader, 0, "in")
    verdict(reader, handler, f"{fault} on={on}: a card that went and came is found", True, context, None)


def strike_polled(reader, handler, fault, on):
    """Without an interrupt endpoint the status is asked every 0.4 s: while a card has power."""
    context, card = prepare(reader, handler, fault, on)
    if not card:
        return
    model("wait", reader, "slot_status", count(reader)["slot_status"] + 3)
    verdict(reader, handler, f"{fault} on={on}: a reader without interrupts goes on", True, context, card)


def worker(reader, handler, work):
    while True:
        try:
            function, fault, argument = work.get_nowait()
        except queue.Empty:
            return
        if not handler.is_alive():
            ok(False, f"{handler.instance} lives when {fault} is to strike", handler.said)
            return
        function(reader, handler, fault, argument)


def interrupts(reader, handler):
    """Trouble at the interrupt endpoint: a card is seen to go and to come all the same."""
    context = Context()
    for fault in ("interrupt-error", "interrupt-error=3", "interrupt-stall"):
        model("fault", reader, fault)
        for how, bit in (("out", EMPTY), ("in", PRESENT)):
            model("card", reader, 0, how)
            ok(context.await_state(handler.name, bit), f"{fault}: the card is seen going {how}", handler.said)
    context.release()
    context = Context()
    card = context.connect(handler.name)
    model("fault", reader, "interrupt-silent")
    model("card", reader, 0, "out")
    same(call(card.transmit, give(34), limit=LIMIT).code, "W_REMOVED_CARD", "interrupt-silent: the next command tells that "
         "the card is gone", handler.said)
    model("faults", reader, "clear")
    model("card", reader, 0, "in")
    ok(context.await_state(handler.name, PRESENT), "interrupt-silent: when it is over, cards are seen", handler.said)
    card.disconnect()
    for bytes_ in ("ff", "50", "50 00", "50 ff", "51 00 00 00", "00 03", "50 03 03 03 03", "aa " * 8):
        model("interrupt", reader, 0, *bytes_.split())
    card = context.connect(handler.name)
    same(call(card.transmit, give(33)).value, pattern(33), "senseless notifications do no harm", handler.said)


def neighbours(reader, handler):
    """What happens in one slot is not seen in the other."""
    context = Context()
    first, second = (context.connect(name) for name in handler.names)
    model("fault", reader, "drop", "on=6f", "slot=1")
    struck = Call(second.transmit, give(30))
    time.sleep(0.2)
    outcome = call(first.transmit, give(31))
    same(outcome.value, pattern(31), "a slot works while another does not answer", outcome)
    ok(struck.join(LIMIT).code in ERRORS, "the other one's command fails", struck.outcome)
    took, wrong = recover(context, handler.names[1], second, T1, length)
    ok(not wrong, "and then works", wrong, handler.said)
    same(call(first.transmit, give(32)).value, pattern(32), "the first one was not reset")
    context.release()


def speeds(reader, node):
    """GET_DATA_RATES that fails is no table, and no obstacle."""
    for fault in ("control-stall=3", "control-short=3", "control-short=0"):
        model("fault", reader, fault)
        handler = usb_handler(node)
        outcome = call(Context().connect, handler.name)
        ok(outcome.value, f"{fault}: the reader works", outcome, handler.said)
        same(handler.stop(), 0, f"{fault}: its handler ends")
        model("faults", reader, "clear")


def work_of(*jobs):
    work = queue.Queue()
    for function, faults, argument in jobs:
        for fault in faults.split():
            work.put((function, fault, argument))
    return work


kinds = os.environ["READERS"].split()
work = {
    "generic-ext-apdu": work_of((strike, ENDS, False), (strike, WORKS, True), (cut_short, "length=10", None),
                                (strike_connect, POWER_ON, "62"), (strike_disconnect, POWER_OFF, "63"),
                                (strike_status, STATUS, "65")),
    "generic-tpdu-autopps": work_of((strike_connect, PARAMETERS, "61"), (strike, TPDU_ENDS, False),
                                    (strike, TPDU_WORKS, True)),
    "ext-apdu-64": work_of((strike_chain, CHAIN_ENDS, False), (strike_chain, CHAIN_WORKS, True)),
    "tpdu-no-interrupt": work_of((strike_polled, STATUS, "65")),
}
handlers = [usb_handler(node) for node in nodes()[:-1]]
library()
threads = [threading.Thread(target=worker, args=(i, handler, work[kind]))
           for i, (kind, handler) in enumerate(zip(kinds, handlers))]
for thread in threads:
    thread.start()
neighbours(len(kinds), handlers[len(kinds)])
speeds(len(kinds) + 1, nodes()[-1])
for thread in threads:
    thread.join()
interrupts(0, handlers[0])
finish()
