# SPDX-License-Identifier: MIT
"""The part of usb-traffic.sh that runs among the readers."""
import glob

from process import *

EXT, SHORT, T0_CARD, T1_CARD, BOTH, POLLED, EIGHT = range(7)
REST_S = 10


def counted(reader, calls, function):
    """What each of so many calls cost: messages out, messages in, URBs, control requests."""
    model("count", reader, "reset")
    good = all(function(i) for i in range(calls))
    now = count(reader)
    return good, tuple(now[key] / calls for key in ("bulk_out", "bulk_in", "submits", "control", "discards"))


def one_each(reader, what, commands, protocols=T0 | T1):
    card = context.connect(handlers[reader].name, SHARED, protocols)
    card.transmit(commands[0][0])  # at TPDU level the first block of a card may come with others
    for command, want in commands:
        good, cost = counted(reader, 10, lambda i: call(card.transmit, command).value == want)
        # two URBs: no transfer is opened that is not used, and none is cancelled
        same((good, cost), (True, (1, 1, 2, 0, 0)), f"{what}: {len(command)} bytes out, {len(want)} back: one message "
             "out and one in")
    return card


def nothing(reader, what, function):
    model("count", reader, "reset")
    outcome = call(function)
    now = count(reader)
    same((outcome.code, now["bulk_out"], now["bulk_in"], now["control"]), ("success", 0, 0, 0),
         f"{what} costs the reader nothing", outcome)


def switches(pid):
    """How often the process has slept and woken, over all its threads."""
    n = []
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path, encoding="ascii", errors="replace") as file:
            n += [int(line.split()[1]) for line in file if "ctxt_switches" in line]
    return sum(n) if n else float("nan")  # one that has ended is not at rest


WATCHER = """
from process import *
readers = sys.argv[1:]
c = Context()
states = [(reader, event & ~CHANGED) for reader, (event, _) in zip(readers, c.change(0, *((r, 0) for r in readers)))]
print([hex(state) for _, state in states], flush=True)
print([hex(event) for event, _ in c.change(60000, *states)])
"""


def at_rest():
    """All that hold still for REST_S, at the same time. A card that is in is asked for after 30 s, if somebody watches."""
    card = context.connect(handlers[EXT].name)
    card.transmit(give(4))
    model("card", SHORT, 0, "out")
    empty = child(WATCHER, handlers[SHORT].name)
    empty.stdout.readline()
    watcher = child(WATCHER, handlers[EXT].name, handlers[T1_CARD].name)
    was = watcher.stdout.readline()
    # cards that nobody uses lose their power after 5 s, and a timer for that command's answer runs out 3 s later
    wait_for(lambda: all(count(reader)["power_off"] for reader in (POLLED, T0_CARD, T1_CARD)))
    time.sleep(4)
    still = [("a handler with a card in use and a client that waits", handlers[EXT].process.pid),
             ("a handler with a card and a client that waits", handlers[T1_CARD].process.pid),
             ("a handler that nobody uses", handlers[T0_CARD].process.pid),
             ("a handler of a reader without interrupts that nobody watches", handlers[POLLED].process.pid),
             ("a program that waits for a change", watcher.pid)]
    before = [switches(pid) for _, pid in still]
    for reader in range(len(handlers)):
        model("count", reader, "reset")
    time.sleep(REST_S)
    now = count(SHORT)
    ok(now["slot_status"] in (1, 2) and now["bulk_out"] == now["slot_status"], f"CCID 87: at rest for {REST_S} s: an empty slot "
       "is asked every 5 s while somebody watches it", now)
    for (what, pid), then in zip(still, before):
        same(switches(pid) - then, 0, f"at rest for {REST_S} s: {what} does not wake up once")
    for reader in (EXT, T1_CARD, T0_CARD, POLLED):
        now = count(reader)
        same((now["submits"], now["bulk_out"], now["control"]), (0, 0, 0), f"CCID 87: at rest: reader {reader} is left alone")
    ok(watcher.poll() is None, "at rest: the program still waits", lambda: was + watcher.stdout.read())
    model("card", T1_CARD, 0, "out")
    ok(wait_for(lambda: watcher.poll() is not None, 5), "and is woken by a card")
    card.disconnect()


handlers = [usb_handler(node) for node in nodes()]
context = Context()
short = [(give(4), pattern(4)), (give(256), pattern(256)), (echo(bytes(100)), bytes(100) + b"\x90\x00")]
one_each(EXT, "extended APDU level", short + [(echo(bytes(5000), True), bytes(5000) + b"\x90\x00")]).disconnect()
one_each(SHORT, "short APDU level", short).disconnect()
t0 = [(give(4), pattern(4)), (give(255), pattern(255)), (bytes((0, 0xA4, 4, 0, 8)) + bytes(8), b"\x90\x00"),
      (bytes((0, 0xE6, 0x6A, 0x82)), b"\x6a\x82")]
one_each(T0_CARD, "TPDU level, T=0", t0).disconnect()
one_each(BOTH, "TPDU level, T=0 chosen", t0, T0).disconnect()
one_each(T1_CARD, "TPDU level, T=1", [(give(4), pattern(4)), (echo(bytes(20)), bytes(20) + b"\x90\x00")]).disconnect()
card = one_each(EIGHT, "eight slots", short[:1])

name = handlers[EXT].name
card = context.connect(name)
nothing(EXT, "SCardConnect to a card with power", lambda: context.connect(name).disconnect())
nothing(EXT, "another program's SCardConnect", lambda: Context().connect(name).disconnect())
nothing(EXT, "SCardStatus", card.status)
nothing(EXT, "SCardGetStatusChange", lambda: context.state(name))
nothing(EXT, "SCardListReaders", context.list)
nothing(EXT, "a transaction", lambda: (card.begin(), card.end()))
nothing(EXT, "SCardDisconnect", card.disconnect)
at_rest()
for reader in range(len(handlers)):
    same(model("violations", reader), [], f"reader {reader}: no rule was broken")
finish()
