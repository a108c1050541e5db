# SPDX-License-Identifier: MIT
"""The part of client-fork.sh in Python."""
from process import *

SELECT_MF = bytes.fromhex("00A40000023F00")

# Holds the card, and forks a child that keeps all descriptors and lives on.
HOLDER = """
context = Context()
card = context.connect(context.list()[0])
card.begin()
pid = os.fork()
if pid == 0:
    time.sleep(100)
    os._exit(0)
print(pid, flush=True)
time.sleep(100)
"""

# In its transaction: a child that ends, one that calls, one that execs and one of vfork. Then the transaction goes on.
PARENT = """
SELECT_MF = bytes.fromhex("00A40000023F00")
def in_child(function):
    pid = os.fork()
    if pid == 0:
        os._exit(function())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def call_inherited():
    codes = [call(context.list).code, call(card.transmit, SELECT_MF).code, call(card.disconnect, RESET).code,
             call(context.cancel).code, call(context.release).code]
    return 0 if set(codes) == {"E_INVALID_HANDLE"} else 1
def use_own():
    own = Context()
    return 0 if own.list() == [name] and call(own.state, name).value else 1
context = Context()
name = context.list()[0]
context.state(name)
card = context.connect(name)
card.begin()
print(in_child(lambda: 0), in_child(call_inherited), in_child(use_own), flush=True)
print(subprocess.run(["sh", "-c", "ls -l /proc/self/fd | grep -c -e socket: -e inotify -e eventfd"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                     text=True, close_fds=False).stdout.strip(), flush=True)
sys.stdin.readline()
print(str(call(card.transmit, SELECT_MF)).split()[1], call(card.end).code, call(context.state, name).code, flush=True)
"""


def child_outlives_holder():
    victim, next_one = context.connect(handler.name), Context().connect(handler.name)
    holder = child("from process import *\n" + HOLDER)
    sleeper = int(holder.stdout.readline())
    blocked = Call(victim.transmit, SELECT_MF)
    taker = Call(next_one.begin)
    time.sleep(0.3)
    ok(blocked.outcome.hangs and taker.outcome.hangs, "others wait while a program holds the card")
    holder.kill()
    start = time.monotonic()
    outcome = taker.join(5)
    took = time.monotonic() - start
    ok(os.path.exists(f"/proc/{sleeper}"), "its child lives on, with the descriptor")
    ok(not outcome.hangs and took < 2, "killed: another has the lock at once, though a child has the descriptor", outcome, took)
    same(outcome.code, "W_RESET_CARD" if outcome.error else "success", "and the lock or the news of the reset")
    same(blocked.join(5).code, "W_RESET_CARD", "who was blocked is told that the card was reset")
    os.kill(sleeper, signal.SIGKILL)
    call(next_one.disconnect)
    same(call(victim.reconnect).code, "success", "and goes on after a reconnect")
    same(call(victim.disconnect).code, "success", "to the end")


def parent_lives_on():
    parent = child("from process import *\n" + PARENT, stdin=subprocess.PIPE)
    same(parent.stdout.readline().split(), ["0", "0", "0"],
         "children that end, that call with inherited handles, that use their own: as they should")
    same(parent.stdout.readline().split(), ["0"], "a program that is started inherits no descriptor of the library")
    blocked = Call(context.connect, handler.name)
    time.sleep(0.3)
    ok(blocked.outcome.hangs, "the parent's transaction has outlived its children")
    parent.stdin.write("go\n")
    parent.stdin.close()
    said = parent.stdout.readline().split()
    ok(len(said) == 3 and len(said[0]) >= 4, "it can use the card", said)
    same(said[1:], ["success", "success"], "end its transaction, and look")
    same(blocked.join(5).code, "success", "then it is another's turn")
    if blocked.outcome.value:
        call(blocked.outcome.value.disconnect)


handler = Handler("fork", "--driver", "virtual", "--card", "builtin")
context = Context()
ok(context.await_state(handler.name, PRESENT), "a reader with a card")
child_outlives_holder()
parent_lives_on()
finish()
