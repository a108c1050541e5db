# SPDX-License-Identifier: MIT
"""The part of life-handler.sh in Python."""
from process import *

LOST = ("E_READER_UNAVAILABLE", "E_NOT_TRANSACTED", "W_RESET_CARD", "W_REMOVED_CARD", "E_INVALID_VALUE",
        "E_UNKNOWN_READER", "E_NO_READERS_AVAILABLE")

# A client that a signal would kill, as it would most programs. It goes on when a line comes in.
CLIENT = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
def say(*words):
    print(*words, flush=True)
context = Context()
name = context.list()[0]
card, other = context.connect(name), context.connect(name)
say("ready")
outcome = call(card.transmit, slow(20000))
say(outcome.code, time.monotonic())
say(*(call(card.transmit, give(4)).code for _ in range(3)), call(other.transmit, give(4)).code, call(other.status).code)
sys.stdin.readline()
outcome = call(context.connect, name)
say(outcome.code, call(outcome.value.transmit, give(9)).value == pattern(9) if outcome.value else "")
say(call(card.reconnect).code, call(card.transmit, give(11)).value == pattern(11))
"""


def program(instance, *options):
    """A handler with a card program; (handler, path of the card's socket)."""
    path = os.path.join(DIR, instance + ".card")
    return Handler(instance, "--driver", "virtual", "--card", "unix:" + path, *options), path


def left_over():
    return [name for name in os.listdir(RUN) if not name.startswith(".")]


def works(context, name, what):
    outcome = call(context.connect, name)
    card = outcome.value
    outcome = call(card.transmit, give(10)) if card else outcome
    same(outcome.value, pattern(10), what, outcome)
    return card


def killed():
    handler, path = program("killed")
    name = handler.name
    card = VirtualCard(path)
    context = Context()
    ok(context.await_state(name, PRESENT), "a card program's card is seen")
    client = child("from process import *\n" + CLIENT, stdin=subprocess.PIPE)
    same(client.stdout.readline(), "ready\n", "kill -9: a program is connected")
    wait = Call(context.change, 20000, (name, context.state(name)[0] & ~CHANGED))
    if not wait_for(lambda: card.n_commands == 1):
        bail("the command does not come")
    handler.stop(signal.SIGKILL)
    start = time.monotonic()
    said = client.stdout.readline().split()
    ok(len(said) == 2 and said[0] in LOST and float(said[1]) - start < 1,
       "kill -9: the command under way fails within a second", said, start)
    said = client.stdout.readline().split()
    ok(len(said) == 5 and all(code in LOST for code in said), "kill -9: later ones, too, and no signal comes", said,
       client.poll())
    same(context.list(), [name], "kill -9: the reader stays in the list")
    outcome = call(context.connect, name)
    ok(outcome.code == "E_READER_UNAVAILABLE" and outcome.took < 1, "kill -9: connecting fails at once", outcome)
    outcome = call(context.state, name)
    ok(outcome.value and outcome.value[0] & UNAVAILABLE, "kill -9: its state is: unavailable", outcome)
    outcome = wait.join(3)
    ok(outcome.value and outcome.value[0][0] & (UNAVAILABLE | UNKNOWN), "kill -9: who waits for its state is told", outcome)
    wait = Call(Context().await_state, name, PRESENT)
    time.sleep(0.2)
    handler.start()
    same(handler.name, name, "started again on the same path: it has its name")
    card = VirtualCard(path)
    ok(wait.join().value, "started again: who waits sees the card", wait.outcome)
    client.stdin.write("go\n")
    client.stdin.close()
    same(client.stdout.readline(), "success True\n", "started again: the program's context works")
    said = client.stdout.readline().split()
    ok(len(said) == 2 and said in (["success", "True"], ["W_RESET_CARD", "False"]), "started again: so does its handle, once "
       "reconnected", said)
    same(client.wait(10), 0, "the program ends well")
    works(context, name, "started again: another context from before works, too").disconnect()
    return handler, path, card, context


def started_twice(handler, path, context):
    before = os.stat(handler.path).st_ino, os.stat(handler.description).st_ino
    for i in range(3):
        status, said = output(os.path.join(B, "ifdhandler"), "--socket", handler.path, "--driver", "virtual", "--card",
                              "builtin")
        if status in (0, None) or "in use" not in said:
            break
    ok(status not in (0, None) and "in use" in said, "a second start on the same path is refused and says why", status,
       said)
    same((os.stat(handler.path).st_ino, os.stat(handler.description).st_ino), before,
         "a second start on the same path touches nothing")
    works(context, handler.name, "a second start on the same path: the first goes on").disconnect()


def stopped(handler, path, context):
    card = works(context, handler.name, "SIGTERM: a card is in use")
    transmit = Call(card.transmit, slow(5000))
    time.sleep(0.3)
    start = time.monotonic()
    handler.process.terminate()
    outcome = transmit.join()
    ok(outcome.code in LOST and time.monotonic() - start < 1, "SIGTERM: the command under way fails at once", outcome)
    same(handler.wait(), 0, "SIGTERM: ends with status 0", handler.said)
    same(left_over(), [], "SIGTERM: leaves no file")
    ok(not os.path.exists(path), "SIGTERM: nor the card's socket")
    same(call(context.connect, "Virtual PCD").code, "E_UNKNOWN_READER", "SIGTERM: the reader is gone")
    same(context.list(), [], "SIGTERM: the list is empty, and that is no failure of a service")
    handler = Handler("other", "--driver", "virtual", "--card", "builtin")
    same(handler.stop(signal.SIGINT), 0, "SIGINT: the same")
    same(left_over(), [], "SIGINT: leaves no file")


def stale():
    handler = Handler("stale", "--driver", "virtual", "--card", "builtin")
    handler.stop(signal.SIGKILL)
    same(sorted(left_over()), ["stale.reader", "stale.sock"], "kill -9 leaves socket and description")
    handler.start()
    card = call(Context().connect, handler.name)
    ok(card.value, "a socket that nobody listens on is replaced", card, handler.said)
    same(handler.stop(), 0, "and taken away in the end")
    same(left_over(), [], "with the description")
    # two starts in the same moment: one wins, and nothing of the other is left
    wrong = []
    for i in range(20):
        handlers = [Handler("race", "--driver", "virtual", "--card", "builtin", wait=False) for _ in range(3)]
        wait_for(lambda: os.path.exists(handlers[0].description) and sum(h.is_alive() for h in handlers) == 1)
        alive = [h for h in handlers if h.is_alive()]
        outcome = call(Context().list)
        if len(alive) != 1 or outcome.value != ["Virtual PCD (race) 00 00"] or left_over() and len(left_over()) != 2:
            wrong.append(f"{i}: {len(alive)} alive, {outcome}, {left_over()}")
        for h in handlers:
            h.stop()
            forget(h)
        if left_over():
            wrong.append(f"{i}: left over: {left_over()}")
            break
    ok(not wrong, "of three starts in the same moment one serves", *wrong)


def hung():
    """A handler that does not run at all: nobody waits for it but those who want it, and they not for ever."""
    handler = Handler("hung", "--driver", "virtual", "--card", "builtin")
    other, path = program("beside")
    VirtualCard(path)
    context = Context()
    context.await_state(other.name, PRESENT)
    handler.process.send_signal(signal.SIGSTOP)
    for _ in range(2):
        outcome = call(Context().list)
        ok(outcome.value == [handler.name, other.name] and outcome.took < 0.5, "hung: listing does not wait for it", outcome)
    state = Call(Context().state, handler.name)
    connect = Call(Context().connect, handler.name)
    works(context, other.name, "hung: the other reader works").disconnect()
    outcome = state.join()
    ok(outcome.value and outcome.value[0] & UNAVAILABLE and outcome.took < 7,
       "hung: its state is: unavailable, after some seconds", outcome)
    status, said = output(os.path.join(B, "reader-ctl"), "list")
    ok(status == 0 and handler.name in said, "hung: reader-ctl list shows it", status, said)
    outcome = connect.join()
    ok(outcome.code == "E_READER_UNAVAILABLE" and outcome.took < 13, "hung: connecting ends", outcome)
    handler.process.send_signal(signal.SIGCONT)
    outcome = call(Context().connect, handler.name)
    ok(outcome.value, "it goes on: so does the reader", outcome)
    other.stop()
    handler.stop()


def idle():
    handler = Handler("idle", "--driver", "virtual", "--card", "builtin", "--idle", "1")
    start = time.monotonic()
    same(handler.wait(5), 0, "--idle 1: a handler that nobody ever uses ends", handler.said)
    ok(0.9 < time.monotonic() - start < 3, "--idle 1: after a second", time.monotonic() - start)
    same(left_over(), [], "--idle 1: leaves no file")
    handler.start()
    name = handler.name
    context = Context()
    card = context.connect(name)
    time.sleep(2.5)
    ok(handler.is_alive(), "--idle 1: a client that is connected keeps it up", handler.said)
    same(call(card.transmit, bytes.fromhex("00A40000023F00")).code, "success", "--idle 1: and works")
    watcher = Context()
    wait = Call(watcher.change, 20000, (name, watcher.state(name)[0] & ~CHANGED))
    card.disconnect()
    # what is parked is no use; whoever watches is
    outcome = wait.join(1)
    watch = Call(watcher.change, 3000, (name, watcher.state(name)[0] & ~CHANGED))
    time.sleep(2.2)
    ok(handler.is_alive(), "--idle 1: a client that watches keeps it up", handler.said)
    watch.join()
    watcher.release()
    start = time.monotonic()
    same(handler.wait(5), 0, "--idle 1: ends when the last has gone, in spite of a parked connection", handler.said)
    same(left_over(), [], "--idle 1: leaves no file again")
    same(call(context.list).value, [], "--idle 1: a context from before sees that")


handler, path, card, context = killed()
started_twice(handler, path, context)
stopped(handler, path, context)
stale()
hung()
idle()
finish()
