# SPDX-License-Identifier: MIT
"""The part of life-activation.sh that plays systemd."""
import random
import shutil

from process import *

STARTS = 200
CLIENTS = 3  # at the same time
IDLERS, ROUNDS = 20, 8
SELECT_MF = bytes.fromhex("00A40000023F00")


def use(context, name):
    """The outcome of a connect and a command; the card is given back."""
    outcome = call(context.connect, name)
    if not outcome.value:
        return f"connect: {outcome}"
    card = outcome.value
    outcome = call(card.transmit, SELECT_MF)
    if not outcome.value:
        return f"transmit: {outcome}"
    call(card.disconnect)
    return None


def first_instant():
    """Every client comes while the handler before is ending or the next is starting."""
    unit = Unit("first")
    contexts = [Context() for _ in range(CLIENTS)]
    wrong = []
    start = time.monotonic()
    for i in range(STARTS):
        users = [Call(use, Context() if i % 2 else context, unit.name) for context in contexts]
        wrong += [f"{i}: {user.join().value or user.outcome}" for user in users if user.join().value or user.outcome.hangs]
        unit.terminate()
    unit.close()
    ok(not wrong, f"{STARTS} starts with {CLIENTS} clients in the first instant of each: no error", *wrong[:10], unit.said)
    ok(len(unit.statuses) >= STARTS // 2, f"there were as many starts ({len(unit.statuses)})")
    same(sorted(set(unit.statuses)), [0], "all handlers ended with status 0", unit.said)
    ok(os.path.exists(os.path.join(RUN, "first.reader")), "the description is the socket unit's: it stays")


def idler(unit, seed, wrong):
    chance = random.Random(seed)
    context = Context()
    for i in range(ROUNDS):
        if i % 2:
            context.release()
            context = Context()
        said = use(context, unit.name)
        if said:
            wrong.append(f"{unit.instance} round {i}: {said}")
        if i % 2:
            context.release()
            context = Context()
        # the handler goes 1 s after the last use, or up to 0.1 s later
        time.sleep(chance.uniform(0.98, 1.15))


def idle_exit():
    units = [Unit(f"idle{i}") for i in range(IDLERS)]
    wrong = []
    threads = [threading.Thread(target=idler, args=(unit, i, wrong), daemon=True) for i, unit in enumerate(units)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    ok(not any(thread.is_alive() for thread in threads), "clients that come while handlers end for idleness: all come back")
    ok(not wrong, f"{IDLERS * ROUNDS} clients that come while handlers end for idleness: no error", *wrong[:10],
       *(unit.said() for unit in units if any(unit.statuses)))
    for unit in units:
        unit.close()
    statuses = [status for unit in units for status in unit.statuses]
    ok(len(statuses) > 2 * IDLERS, f"handlers did end and start again ({len(statuses)} times)")
    same(sorted(set(statuses)), [0], "each with status 0")


def systemd_socket_activate():
    what = "started by systemd-socket-activate, it serves"
    if not shutil.which("systemd-socket-activate"):
        skip(what, "it is not installed")
        return
    path = os.path.join(RUN, "real.sock")
    unit = start("systemd-socket-activate", "-l", path, os.path.join(B, "ifdhandler"), "--driver", "virtual", "--card",
                 "builtin", "--idle", "1", "real", stderr=subprocess.DEVNULL)
    if not wait_for(lambda: os.path.exists(path)):
        bail("systemd-socket-activate does not listen")
    output(os.path.join(B, "ifdhandler"), "--driver", "virtual", "--register", "real")
    context = Context()
    same(use(context, "Virtual PCD (real) 00 00"), None, what)
    try:
        status = unit.wait(5)
    except subprocess.TimeoutExpired:
        status = None
    same(status, 0, "and ends after a second without use")


first_instant()
idle_exit()
systemd_socket_activate()
finish()
