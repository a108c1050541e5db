# SPDX-License-Identifier: MIT
"""The part of client-pnp.sh in Python."""
import json

from process import *

NAME = "Virtual PCD (pnp) 00 00"
SELECT_MF = bytes.fromhex("00A40000023F00")

# Says what it sees whenever that changes: codes, or names.
LISTER = """
context = Context()
last = None
n = DWORD(0)
while True:
    buffer = ctypes.create_string_buffer(4096)
    n.value = 4096
    rv = context.lib.SCardListReaders(context.handle, None, buffer, ctypes.byref(n))
    code = CODES.get(rv & 0xFFFFFFFF, hex(rv & 0xFFFFFFFF)) if rv else "success"
    now = (code, [name.decode() for name in buffer.raw[:n.value].split(b"\\0") if name] if rv == 0 else [])
    if now != last:
        print(json.dumps(now), flush=True)
        last = now
    time.sleep(0.5)
"""

# Waits without end for the next event, fed with the last one; then lists.
WAITER = """
context = Context()
array = (ReaderState * 1)()
array[0].reader = PNP.encode()
while True:
    rv = context.lib.SCardGetStatusChange(context.handle, 0xFFFFFFFF if array[0].current else 0, array, 1)
    code = CODES.get(rv & 0xFFFFFFFF, hex(rv & 0xFFFFFFFF)) if rv else "success"
    array[0].current = array[0].event
    print(json.dumps((code, context.list(), array[0].event >> 16)), flush=True)
    if rv and code != "E_TIMEOUT":
        time.sleep(0.2)
"""

# The classic kind: the pseudo reader and all readers in one call, restarted after each event.
FOLLOWER = """
context = Context()
states = {PNP: 0}
code, events = "success", []
while True:
    names = context.list()
    print(json.dumps((code, names, events)), flush=True)
    states = {name: states.get(name, 0) for name in [PNP] + names}
    array = (ReaderState * len(states))()
    for at, (name, state) in zip(array, states.items()):
        at.reader, at.current = name.encode(), state
    rv = context.lib.SCardGetStatusChange(context.handle, 0xFFFFFFFF if states[PNP] else 100, array, len(array))
    code = CODES.get(rv & 0xFFFFFFFF, hex(rv & 0xFFFFFFFF)) if rv else "success"
    states = {at.reader.decode(): at.event for at in array}
    events = [at.event for at in array if at.event & PRESENT]
    if rv and code != "E_TIMEOUT":
        time.sleep(0.2)
"""


class Program:
    """One of them, and the lines that it has said."""

    def __init__(self, text):
        self.process = child("import json\nfrom process import *\n" + text)
        self.lines = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line) if line[0] == "[" else [line])

    @property
    def last(self):
        return self.lines[-1] if self.lines else [None, None]

    def codes(self):
        return {line[0] for line in self.lines}

    def sees(self, names):
        return wait_for(lambda: self.last[1] == names, 5)


def all_see(names, what):
    for program, who in ((lister, "who lists"), (waiter, "who waits"), (follower, "who follows")):
        ok(program.sees(names), f"{what}: {who} sees {len(names)}", program.lines[-5:])


def works():
    context = Context()
    outcome = call(context.connect, NAME)
    if not outcome.value:
        return outcome
    card, outcome = outcome.value, call(outcome.value.transmit, SELECT_MF)
    call(card.disconnect)
    context.release()
    return None if outcome.value else outcome


def unplug(unit):
    os.unlink(os.path.join(RUN, "pnp.reader"))
    pid = unit.pid
    unit.ended = True
    if pid:
        os.kill(pid, signal.SIGTERM)
    unit.close()
    unit.socket.close()
    os.unlink(os.path.join(RUN, "pnp.sock"))


def same_list(what, numbers):
    same(waiter.last[2], numbers, f"{what}: no reader has come or gone", waiter.lines[-3:])
    same(lister.last, ["success", [NAME]], f"{what}: nor for who lists")


program = os.path.join(DIR, "ifdhandler")
shutil.copy(os.path.join(B, "ifdhandler"), program)
lister, waiter, follower = Program(LISTER), Program(WAITER), Program(FOLLOWER)
all_see([], "no reader yet")
unit = Unit("pnp", program, 30)
all_see([NAME], "plugged")
same(works(), None, "plugged: it works", unit.said)
number = waiter.last[2]
for round in range(3):
    unplug(unit)
    all_see([], f"the last one unplugged ({round})")
    ok(waiter.last[2] == number + 1, f"unplugged ({round}): one event", number, waiter.lines[-3:])
    if round == 0:
        time.sleep(3)  # nothing at all happens
        same((lister.last[1], waiter.last[1:]), ([], [[], number + 1]), "for a while nothing happens, and nothing is said")
    unit = Unit("pnp", program, 30)
    all_see([NAME], f"replugged ({round})")
    ok(waiter.last[2] == number + 2, f"replugged ({round}): one event", number, waiter.lines[-3:])
    same(works(), None, f"replugged ({round}): it works", unit.said)
    number = waiter.last[2]

ok(wait_for(lambda: len(follower.last) > 2 and follower.last[2]), "who follows sees its card", follower.lines[-3:])
before = len(unit.statuses)
os.kill(unit.pid, signal.SIGKILL)
ok(wait_for(lambda: len(unit.statuses) > before and unit.pid), "killed: who follows has the next one started", unit.said)
same(works(), None, "killed: it works", unit.said)
ok(wait_for(lambda: len(follower.last) > 2 and follower.last[2]), "killed: who follows sees its card again",
   follower.lines[-3:])
same_list("killed", number)

shutil.copy(program, program + ".new")
os.rename(program + ".new", program)
before, pid = len(unit.statuses), unit.pid
unit.terminate()
ok(wait_for(lambda: len(unit.statuses) > before and unit.pid), "upgraded: the new program runs", unit.said)
same(os.readlink(f"/proc/{unit.pid}/exe"), program, "upgraded: it is that one")
same(works(), None, "upgraded: it works", unit.said)
ok(wait_for(lambda: len(follower.last) > 2 and follower.last[2]), "upgraded: who follows sees its card again",
   follower.lines[-3:])
same_list("upgraded", number)
same(set(unit.statuses), {-signal.SIGKILL, 0}, "the handlers ended as they were told", unit.statuses, unit.said)

unplug(unit)
all_see([], "unplugged at last")
ok(lister.codes() <= {"success", "E_NO_READERS_AVAILABLE"}, "who lists never had another code", lister.lines)
ok(waiter.codes() <= {"success", "E_TIMEOUT"}, "nor who waits", waiter.lines)
# a name that has gone between list and wait is unknown: all programs of this kind know that
ok(follower.codes() <= {"success", "E_TIMEOUT", "E_UNKNOWN_READER"}, "nor who follows", follower.lines)
same([line[1] for line in lister.lines], [[], [NAME]] * 4 + [[]], "who lists has reported each change once", lister.lines)
finish()
