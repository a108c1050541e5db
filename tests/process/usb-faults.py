# SPDX-License-Identifier: MIT
"""The part of usb-faults.sh that runs among the readers.

Each fault strikes one command. Answers have lengths that no other command asks for, so an answer that belongs to
another cannot pass. Readers work at the same time, because many faults are over only when time is.
"""
import itertools
import queue

from process import *

# What may come of the command that is struck.
WORKS, FAILS, EITHER = "works", "fails", "works or fails"
ERRORS = ("E_NOT_TRANSACTED", "W_RESET_CARD", "W_REMOVED_CARD", "W_UNRESPONSIVE_CARD", "E_READER_UNAVAILABLE",
          "W_UNPOWERED_CARD", "E_UNSUPPORTED_FEATURE")
LIMIT = 12.0  # of the command that is struck: the card's time, and what the reader's recovery takes
RECOVERY = 12.0  # until the reader works again

APDU_FAULTS = [
    ("seq", EITHER), ("seq=0", EITHER), ("slot", EITHER), ("type", EITHER), ("type=81", EITHER), ("status", EITHER),
    ("status=40", EITHER), ("status=41", EITHER), ("status=01", EITHER), ("error", EITHER),
    ("chain", EITHER), ("chain=3", EITHER), ("chain=ff", EITHER), ("length", EITHER), ("length=10", EITHER), ("length=0", EITHER), ("stale", EITHER), ("stale=5", EITHER),
    ("stale=20", EITHER), ("refuse=e0", EITHER), ("refuse=f2", EITHER), ("refuse=fe", EITHER), ("refuse=fb", EITHER),("refuse=00", EITHER), ("refuse=07", EITHER),
    ("drop", EITHER), ("deaf", EITHER), ("late=1000", EITHER), ("extend", EITHER), ("extend=20", EITHER),
    ("cut=9", EITHER), ("cut=10", EITHER), ("cut=11", EITHER), ("cut=0", EITHER), ("empty", EITHER), ("pad=4", EITHER),
    ("surplus=4", EITHER), ("surplus=64", EITHER), ("twin", EITHER), ("glue", EITHER), ("split=5:50", EITHER), ("split=64:50", EITHER), ("split=10:2000", EITHER),
    ("garbage=1", EITHER), ("garbage=32", EITHER), ("garbage=600", EITHER), ("zlp", EITHER), ("zlp=3", EITHER), ("zlp-after", EITHER),
    ("stall-in", EITHER), ("stall-out", EITHER), ("nak-out", EITHER), ("error-in", EITHER), ("overflow", EITHER),
]
TPDU_FAULTS = [
    ("t1-edc", EITHER), ("t1-edc times=3", EITHER), ("t1-edc times=9", EITHER), ("t1-ns", EITHER), ("t1-nad", EITHER), ("t1-pcb=c4", EITHER), ("t1-pcb=82", EITHER), ("t1-len", EITHER), ("t1-short", EITHER),
    ("t1-garbage=7", EITHER), ("t1-garbage=300", EITHER), ("t1-lose", EITHER), ("t1-deaf", EITHER), ("t1-parity", EITHER), ("t1-reject", EITHER), ("t1-wtx=2", EITHER),
    ("t1-wtx=0", EITHER), ("t1-ifs=10", EITHER), ("t1-ifs=0", EITHER), ("t1-ifs=254", EITHER), ("t1-abort", EITHER),
    ("seq", EITHER), ("drop", EITHER), ("deaf", EITHER), ("cut=11", EITHER), ("length=10", EITHER), ("empty", EITHER), ("stall-in", EITHER), ("stall-out", EITHER), ("garbage=32", EITHER),
    ("surplus=4", EITHER), ("twin", EITHER), ("refuse=fe", EITHER), ("refuse=fd", EITHER), ("chain=1", EITHER),
]
SETUP_FAULTS = [f"{kind} on={on}" for on in ("62", "63", "65") for kind in ("drop", "garbage=32", "stall-in", "refuse=fe", "length", "seq", "empty", "cut=11")]
SETUP_TPDU_FAULTS = [f"{kind} on={on}" for on in ("61", ) for kind in ("drop", "garbage=32", "stall-in", "refuse=fe", "refuse=07", "length", "seq", "empty", "cut=11")]

lengths = itertools.count(20)
T=time.monotonic()


def recover(context, name, card):
    """Until a command is answered: (seconds, None) or (seconds, what is wrong)."""
    start = time.monotonic()
    said = "nothing"
    while time.monotonic() < start + RECOVERY:
        n = 20 + next(lengths) % 200
        outcome = call(card.transmit, give(n)) if card else None
        if outcome and outcome.value is not None:
            took = time.monotonic() - start
            return took, card, None if outcome.value == pattern(n) else f"foreign data: {outcome}"
        if outcome and outcome.hangs:
            break
        said = outcome
        how = RESET if outcome and outcome.code == "W_UNRESPONSIVE_CARD" else LEAVE
        outcome = call(card.reconnect, SHARED, T0 | T1, how) if card else call(context.connect, name)
        if outcome.error and outcome.error.name != "W_RESET_CARD":
            said = outcome
            time.sleep(0.1)
            card = None
        elif not card:
            card = outcome.value
    return time.monotonic() - start, card, f"last: {said}"


def strike(reader, name, handler, fault, expected):
    context = Context()
    connected = call(context.connect, name)
    card = connected.value
    n = 20 + next(lengths) % 200
    outcome = call(card.transmit, give(n)) if card else connected
    if outcome.value != pattern(n):
        ok(False, f"{fault}: a command before the fault works", outcome)
        return
    on = "" if "on=" in fault or fault.startswith(("t1-", "control", "interrupt")) else " on=6f"
    model("fault", reader, fault + on)
    n = 20 + next(lengths) % 200
    outcome = call(card.transmit, give(n), limit=LIMIT)
    model("faults", reader, "clear")
    came = WORKS if outcome.value == pattern(n) else FAILS if outcome.code in ERRORS else "what must not be"
    took, card, wrong = recover(context, name, card)
    ok(expected in (came, EITHER) and came != "what must not be" and not wrong and handler.is_alive(),
       f"{fault}: {expected}, and then the reader works again",
       f"the command: {came}: {outcome}", f"recovery took {took:.1f} s: {wrong}", handler.said)
    print(f"# {T and time.monotonic() - T:.1f} {reader} {fault}: {outcome!s:.60}; recovery {took:.2f}",flush=True)
    call(context.release)


def strike_setup(reader, name, handler, fault, _):
    """A fault in what a connect or a reset needs."""
    context = Context()
    card = call(context.connect, name).value
    if card:
        card.disconnect(UNPOWER)
    model("fault", reader, fault)
    outcome = call(context.connect, name, limit=LIMIT)
    n = 20 + next(lengths) % 200
    model("faults", reader, "clear")
    proper = outcome.value or outcome.code in ERRORS
    took, card, wrong = recover(context, name, outcome.value)
    ok(proper and not wrong and handler.is_alive(), f"{fault}: connecting works or fails, and then the reader works again",
       f"connecting: {outcome}", f"recovery took {took:.1f} s: {wrong}", handler.said)
    print(f"# {T and time.monotonic() - T:.1f} {reader} {fault}: {outcome!s:.60}; recovery {took:.2f}",flush=True)
    call(context.release)


def worker(reader, handler, work):
    while True:
        try:
            function, fault, expected = work.get_nowait()
        except queue.Empty:
            return
        if not handler.is_alive():
            ok(False, f"{handler.instance} lives", handler.said)
            return
        function(reader, handler.name, handler, fault, expected)


readers = [(i, usb_handler(node)) for i, node in enumerate(nodes())]
n_apdu, n_tpdu = int(os.environ["APDU_READERS"]), int(os.environ["TPDU_READERS"])
library()
apdu, tpdu = queue.Queue(), queue.Queue()
for fault, expected in APDU_FAULTS:
    apdu.put((strike, fault, expected))
for fault in SETUP_FAULTS:
    apdu.put((strike_setup, fault, None))
for fault, expected in TPDU_FAULTS:
    tpdu.put((strike, fault, expected))
for fault in SETUP_TPDU_FAULTS:
    tpdu.put((strike_setup, fault, None))
threads = [threading.Thread(target=worker, args=(i, handler, apdu if i < n_apdu else tpdu))
           for i, handler in readers[:n_apdu + n_tpdu]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
finish()
