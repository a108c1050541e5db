# SPDX-License-Identifier: MIT
"""The part of usb-iccd.sh that runs among the tokens."""
import itertools
import queue

from faults import ERRORS, judge, recover
from process import *

KINDS = ["iccd-a", "iccd-b-short", "iccd-b-ext", "iccd-b-interrupt", "iccd-a-egate", "character level"]
T0_KINDS = ("iccd-a", "iccd-a-egate", "character level")
EXTENDED = ("iccd-b-ext", "iccd-b-interrupt")
A_ATR, B_ATR = "3b021450", "3b951381018073ff01000b"
# Requests of the class: what goes out when a token is opened (ICCD 1.0 5.2, 6.2).
OFF, ON_A, ON_B, STATUS_A, STATUS_B, DATA = "21 63", "a1 62", "21 62", "a1 a0", "a1 81", "a1 6f"
LIMIT = 15.0

# Faults of the next request of that kind (tests/model/README), and what comes of the command. Version A's shortest time for
# a card is 26 s, and a power-up that is not answered has 60 s: too long for here.
A_WORKS = """
late=2000 status=40,on=a0 status=40,on=a0,times=50 status=50,on=a0
"""
A_ENDS = """
stall-out stall-in empty empty,skip=1 cut=1,skip=1 status=81,on=a0 status=0,on=a0 status=30,on=a0 status=80,on=a0
empty,on=a0 stall-in,on=a0 error-in overflow control-hang=65
"""
B_WORKS = """
late=500 extend=2 stall-in stall-in,times=3 pad=0
"""
B_ENDS = """
stall-out stall-in,times=4 empty cut=1 type=77 type=40 type=80+cut=2 type=1 type=10 error=fe error=fb garbage=2 garbage=600
error-in overflow drop extend=0 deaf refuse=fe refuse=0 control-hang=6f control-hang=65
"""
# … of power-on, and of the status afterwards.
A_POWER = "stall-in,on=62 empty,on=62 cut=1,on=62 stall-out,on=63 status=80,on=a0 empty,on=a0"
B_POWER = "refuse=fe,on=62 stall-out,on=62 stall-in,times=9,on=6f empty,on=6f type=1,on=6f error=f8,on=6f stall-out,on=63 " \
          "empty,on=81 status=2,on=81"

lengths = itertools.count()


def length():
    return 20 + next(lengths) % 180


def requests(reader):
    """Class requests since the last look: type and number."""
    return [line[2:7] for line in model("trace", reader) if line.startswith("c ")]


# ---- in order ----


def apdus(kind, card):
    """Each case of ISO/IEC 7816-3 12.1, at the lengths where parts end."""
    sent = [("no data", bytes((0, 0xE6, 0x90, 0x00)), b"\x90\x00")]
    sent += [(f"{n} bytes from the card", give(n), pattern(n)) for n in (1, 16, 250, 251, 252, 255, 256)]
    sent += [(f"{n} bytes there", bytes((0, 0xA4, 4, 0, n)) + bytes(n), b"\x90\x00") for n in (1, 16, 245, 246, 247, 255)]
    if card.protocol == T1:
        sent += [(f"{n} bytes there and back", echo(pattern(n)[:n]), pattern(n)) for n in (1, 245, 246, 255)]
    else:  # Le stays here; the response is fetched by a command of its own
        for n in (1, 200, 255):
            sent += [(f"{n} bytes there", echo(pattern(n)[:n]), bytes((0x61, n))),
                     (f"{n} bytes back", bytes((0, 0xC0, 0, 0, n)), pattern(n))]
    if kind in EXTENDED:
        longest = () if kind == "iccd-b-ext" else (65535,)  # it takes 20 ms for each part
        sent += [(f"{n} bytes from the card", give(n, True), pattern(n)) for n in (257, 5000, *longest)]
        sent += [(f"{n} bytes there and back", echo(pattern(n)[:n], True), pattern(n)) for n in (256, 4086, 4087, 5000)]
    wrong = []
    for what, command, want in sent:
        outcome = call(card.transmit, command)
        if outcome.value != want:
            wrong.append(f"{what}: {outcome!s:.200}")
    ok(not wrong, f"CCID 149: {kind}: APDUs of all cases and lengths come back right", *wrong)


def opening(kind, handler, reader):
    a = kind.startswith("iccd-a")
    want = [OFF, STATUS_A, ON_A, STATUS_A, OFF, STATUS_A] if a else [OFF, STATUS_B, ON_B, DATA, OFF, STATUS_B]
    seen = [request for request, _ in itertools.groupby(requests(reader))]  # it may be busy for a while
    same(seen[:len(want)], want, f"CCID 149: {kind}: a token is opened by off, on, off", handler.said)


def in_order(kind, reader, handler):
    context = Context()
    ok(context.await_state(handler.name, PRESENT), f"{kind}: its card is there", handler.said)
    opening(kind, handler, reader)
    outcome = call(context.connect, handler.name)
    if not ok(outcome.value, f"CCID 149: {kind}: its card is connected", outcome, handler.said):
        return
    card = outcome.value
    same(card.status()[2].hex(), A_ATR if kind in T0_KINDS else B_ATR, f"CCID 149: {kind}: its ATR is told")
    apdus(kind, card)
    same(call(card.reconnect, SHARED, T0 | T1, RESET).error, None, f"{kind}: reconnecting with a reset works")
    same(call(card.transmit, give(9)).value, pattern(9), f"{kind}: and then a command")
    outcome = call(card.control, 0x42000001, b"\x01")
    same(outcome.code, "E_UNSUPPORTED_FEATURE", f"{kind}: a vendor command is refused", outcome)
    card.disconnect(UNPOWER)
    status, said = output(os.path.join(B, "reader-ctl"), "status", handler.instance)
    ok(f"ICCD version {'A' if kind.startswith('iccd-a') else 'B'}" in said, f"{kind}: reader-ctl status says how it is driven",
       f"status {status}", said)
    same(model("violations", reader), [], f"CCID 149: {kind}: no rule was broken")
    ok(count(reader)["bulk_out"] == 0, f"{kind}: nothing goes to an endpoint that is not there")


def with_opensc(kind, handler):
    if not shutil.which("opensc-tool"):
        skip(f"CCID 149: {kind}: opensc-tool sends an APDU", "opensc is not installed")
        return
    one = os.path.join(DIR, kind)
    os.mkdir(one, 0o755)
    for path in (handler.path, handler.description):
        os.link(path, os.path.join(one, os.path.basename(path)))
    status, said = output("opensc-tool", "-r", handler.name, "-s", "00CB000404", env=foreign(IFDHANDLER_PATH=one))
    ok(status == 0 and "SW1=0x90, SW2=0x00" in said and "00 01 02 03" in said,
       f"CCID 149: {kind}: opensc-tool sends an APDU", f"status {status}", said)


def at_rest(kind, reader, handler):
    """Nobody looks: nothing is asked, but once in 5 s while the card still has power."""
    before = count(reader)["slot_status"]
    time.sleep(0.6)
    ok(count(reader)["slot_status"] - before <= 1, f"{kind}: is not asked for its status while nobody looks", handler.said)


def abandoned(kind, reader, handler):
    """A program dies while its token wants to be asked again and again."""
    order(reader, "extend=0,on=65")
    polls = count(reader)["polls"]
    program = child(f"from process import *\nContext().connect({handler.name!r}).transmit(give(20))")
    ok(wait_for(lambda: count(reader)["polls"] > polls + 5), f"{kind}: a program waits for its token")
    program.kill()
    program.wait()
    context = Context()
    start = time.monotonic()
    took, wrong = recover(context, handler.name, None, T0 | T1, length)
    ok(not wrong and time.monotonic() - start < 6, f"CCID 149: {kind}: when it has died, the next one gets the token soon",
       f"{took:.1f} s: {wrong}", handler.said)
    context.release()


# ---- trouble ----


def order(reader, fault):
    for one in fault.split("+"):
        model("fault", reader, *one.split(","))


def prepare(reader, handler, fault):
    context = Context()
    took, wrong = recover(context, handler.name, None, T0 | T1, length)
    card = call(context.connect, handler.name).value
    if wrong or not card:
        ok(False, f"{fault}: a command before the fault works", wrong, handler.said)
        card = None
    return context, card


def strike(reader, handler, fault, works):
    context, card = prepare(reader, handler, fault)
    if not card:
        return
    order(reader, fault)
    n = length()
    outcome = call(card.transmit, give(n), limit=LIMIT)
    worked = outcome.value == pattern(n)
    took = fault.startswith("late=") and outcome.took < int(fault[5:]) / 1000
    judge(reader, handler, f"CCID 149: {fault}: the command {'works' if works else 'ends with an error'}, and then the "
            "next works", (worked if works else outcome.code in ERRORS) and not took, context, card, T0 | T1, length,
            f"the command: {outcome!s:.200}")


def strike_power(reader, handler, fault, _):
    context, card = prepare(reader, handler, fault)
    if not card:
        return
    card.disconnect(UNPOWER)
    order(reader, fault)
    outcome = call(context.connect, handler.name, limit=LIMIT)
    judge(reader, handler, f"CCID 149: {fault}: connecting works or fails, and then the token works",
            outcome.value or outcome.code in ERRORS, context, outcome.value, T0 | T1, length, f"connecting: {outcome}")


def worker(reader, handler, work):
    while True:
        try:
            function, fault, works = work.get_nowait()
        except queue.Empty:
            return
        if not handler.is_alive():
            ok(False, f"{handler.instance} lives when {fault} is to strike", handler.said)
            return
        function(reader, handler, fault, works)


def work_of(*jobs):
    work = queue.Queue()
    for function, faults, works in jobs:
        for fault in faults.split():
            work.put((function, fault, works))
    return work


def unplugged(reader, node, kind):
    """While a request hangs, and while the token is waited for: every call ends at once, and the next life works."""
    for fault in ("control-hang=a0" if kind == "iccd-a" else "control-hang=6f", "extend=0"):
        handler = usb_handler(node)
        context = Context()
        card = call(context.connect, handler.name).value
        if not ok(card, f"{kind}: is connected before {fault}", handler.said):
            return
        model("fault", reader, fault)
        struck = Call(card.transmit, give(20))
        time.sleep(0.3)
        ok(struck.outcome.hangs, f"{kind} {fault}: the command waits")
        start = time.monotonic()
        model("unplug", reader)
        outcome = struck.join(5)
        took = time.monotonic() - start
        ok(outcome.code == "E_READER_UNAVAILABLE" and took < 2, f"CCID 149, 150: {kind} unplugged during {fault}: the command "
           "ends at once", outcome, f"{took:.2f} s", handler.said)
        same(handler.wait(5), 0, f"CCID 149, 150: {kind} unplugged during {fault}: the handler ends", handler.said)
        context.release()
        model("faults", reader, "clear")
        node = model("plug", reader)[0].removeprefix("node=")
    handler = usb_handler(node)
    context = Context()
    outcome = call(context.connect, handler.name)
    ok(outcome.value and call(outcome.value.transmit, give(20)).value == pattern(20), f"CCID 149, 150: {kind} plugged in "
       "again works", outcome, handler.said)
    # Stopped in the midst of a wait.
    model("fault", reader, "extend=0")
    struck = Call(outcome.value.transmit, give(20))
    time.sleep(0.3)
    start = time.monotonic()
    same(handler.stop(), 0, f"CCID 149: {kind}: a handler that waits for its token can be stopped", handler.said)
    ok(time.monotonic() - start < 3 and not struck.join(5).hangs, f"CCID 149: {kind}: soon", struck.outcome)


all_nodes = nodes()
troubled = {6: work_of((strike, A_WORKS, True), (strike_power, A_POWER, None)),
            9: work_of((strike, B_ENDS, False)),
            11: work_of((strike, B_WORKS, True), (strike_power, B_POWER, None))}
troubled[7] = troubled[8] = work_of((strike, A_ENDS, False))
troubled[10] = troubled[12] = troubled[9]
handlers = {i: usb_handler(all_nodes[i]) for i in (*range(len(KINDS)), *troubled)}
library()
threads = [threading.Thread(target=worker, args=(i, handlers[i], work)) for i, work in troubled.items()]
threads += [threading.Thread(target=unplugged, args=(i, all_nodes[i], kind)) for i, kind in ((13, "iccd-a"), (14, "iccd-b-short"))]
for thread in threads:
    thread.start()
for i, kind in enumerate(KINDS):
    in_order(kind, i, handlers[i])
    with_opensc(kind, handlers[i])
for i in (0, 1):
    at_rest(KINDS[i], i, handlers[i])
    abandoned(KINDS[i], i, handlers[i])
for thread in threads:
    thread.join()
finish()
