# SPDX-License-Identifier: MIT
"""The part of many-readers.sh that counts and measures. Times are the best of several tries: what the library needs, not
what a busy machine adds."""
import resource
import select

from process import *

N = 100 if SANITIZED else 1000
BATCH = 20  # handlers that start at the same time
MOVES = 9

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if hard != resource.RLIM_INFINITY and hard < 2 * N + 100:
    skip(f"{N} readers", f"only {hard} open files are allowed here")
    finish()
resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * N), hard) if hard == resource.RLIM_INFINITY else (hard, hard))


def path(i, suffix):
    return os.path.join(RUN, f"v{i:04}.{suffix}")


def timed(good, text, *details):
    """A time is judged where no sanitizer has its part in it."""
    if SANITIZED:
        skip(text, "a sanitizer takes its time")
    else:
        ok(good, text, *details)


# ---- a process that lists ----

LISTS = """
from process import *
lib, handle, n = library(), LONG(), DWORD(1 << 20)
buffer = ctypes.create_string_buffer(1 << 20)
lib.SCardEstablishContext(2, None, None, ctypes.byref(handle))
took = []
for _ in range(21):
    n.value = 1 << 20
    start = time.monotonic()
    code = lib.SCardListReaders(handle, None, buffer, ctypes.byref(n))
    took.append((time.monotonic() - start) * 1000)
print(took[0], sorted(took[1:])[10], buffer.raw[:n.value].count(b"\\0") - 1 if code == 0 else hex(code & 0xffffffff))
"""


def listing(what):
    """First and later lists of new processes: a few, and more of them while the machine is too busy."""
    runs = []
    while len(runs) < 5 or (len(runs) < 20 and min(float(run[0]) for run in runs) >= 30):
        runs.append(child(LISTS).communicate()[0].split())
    same({run[2] for run in runs}, {str(N)}, f"{what}: all {N} are listed")
    first, later = min(float(run[0]) for run in runs), min(float(run[1]) for run in runs)
    timed(first < 30, f"{what}: the first list of a process takes less than 30 ms", runs)
    timed(later < 1, f"{what}: later ones less than 1 ms", runs)
    print(f"# {what}: first list {first:.1f} ms, later ones {later:.3f} ms")


# ---- a process that waits ----

WAITS = """
from process import *
names = sys.stdin.readline().rstrip("\\n").split("|")
context = Context()
states = [(name, context_state[0]) for name, context_state in zip(names, context.change(0, *((name, 0) for name in names)))]
while True:
    print("ready", flush=True)
    if not sys.stdin.readline():
        break
    array = (ReaderState * len(states))()
    for at, (reader, current) in zip(array, states):
        at.reader, at.current = reader.encode(), current
    print("waiting", flush=True)
    code = context.lib.SCardGetStatusChange(context.handle, 30000, array, len(states))
    now = time.monotonic()
    changed = [i for i, at in enumerate(array) if at.event & CHANGED]
    print(code & 0xffffffff, now, *changed, flush=True)
    states = [(reader, at.event) for at, (reader, current) in zip(array, states)]
"""


class Waiter:
    def __init__(self, names):
        self.process = child(WAITS, stdin=subprocess.PIPE)
        self.say("|".join(names))
        self.hear()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().split()


def events(waiters, move):
    """What each waiter tells of move(): (code, time, indexes of changed readers)."""
    for waiter in waiters:
        waiter.say("wait")
        waiter.hear()
    for waiter in waiters:  # inside the call: asleep in poll
        wait_for(lambda: open(f"/proc/{waiter.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "S")
    move()
    told = [waiter.hear() for waiter in waiters]
    for waiter in waiters:
        waiter.hear()
    return [(int(line[0]), float(line[1]), [int(word) for word in line[2:]]) for line in told]


# ---- the handlers ----

MOVED = N * 2 // 3  # its card comes and goes
MUTE = N // 3       # its card never answers
SLOW = range(1, 9)  # theirs take half a second
handlers = []
began = time.monotonic()
for i in range(N):
    card = "unix:" + path(i, "card") if i in (MOVED, MUTE, *SLOW) else "builtin"
    handlers.append(start(os.path.join(B, "ifdhandler"), "--socket", path(i, "sock"), "--driver", "virtual", "--card", card,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    if i >= BATCH and not wait_for(lambda: os.path.exists(path(i - BATCH, "reader")), 30):
        bail(f"reader {i - BATCH} has no description after 30 s")
if not wait_for(lambda: os.path.exists(path(N - 1, "reader")) and len([f for f in os.listdir(RUN) if f.endswith(".reader")]) == N, 60):
    bail("not all readers have a description")
ok(True, f"{N} handlers are started")
print(f"# in {time.monotonic() - began:.1f} s")

mute = socket.socket(socket.AF_UNIX)
mute.connect(path(MUTE, "card"))

listing("running")
context = Context()
names = context.list()
same(len(names), N, f"{N} readers have {N} names")
same(len(set(names)), N, "and no two have the same")


def name_of(i):
    return next(name for name in names if f"(v{i:04})" in name)


moved, muted, slow = name_of(MOVED), name_of(MUTE), [name_of(i) for i in SLOW]

# ---- what one at rest costs ----


def private(process):
    with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


most = [private(handlers[i]) for i in range(0, N, N // 20)] + [private(handlers[N - 1])]
timed(max(most) < 400, "a reader at rest costs less than 400 KiB of memory of its own", most)
print(f"# {min(most)} to {max(most)} KiB")

# ---- watching all ----

states = call(context.change, 0, *((name, 0) for name in names if name != muted)).value
ok(states and len(states) == N - 1, "one call asks for the state of all; a mute card in another reader does not hold it up")
if states:
    others = [name for name in names if name != muted]
    same({event & 0xFF for (event, _), name in zip(states, others) if name not in (moved, *slow)}, {PRESENT | CHANGED}, "all have a card")

one, every = Waiter([moved]), Waiter(others)
index = others.index(moved)
late = []
for _ in range(MOVES):
    program = []
    for move in (lambda: program.append(VirtualCard(path(MOVED, "card"))), lambda: program[0].close()):
        a, b = events([one, every], move)
        if (a[0], b[0]) != (0, 0) or a[2] != [0] or b[2] != [index]:
            ok(False, "a card that moves is told", a, b)
        late.append((b[1] - a[1]) * 1000)
ok(len(late) == 2 * MOVES, f"a card that moves {2 * MOVES} times is told to one who watches one and to one who watches {N - 1}")
late.sort()
timed(late[len(late) // 2] < 5, "who watches all hears of it less than 5 ms after who watches one", late)
print(f"# median {late[len(late) // 2]:.2f} ms, worst {late[-1]:.2f} ms")


def cost(some):
    """Best time of a look at these, in microseconds for each."""
    array = (ReaderState * len(some))()
    for at, name in zip(array, some):
        at.reader = name.encode()
    best = 1e9
    for _ in range(25):
        begin = time.monotonic()
        context.lib.SCardGetStatusChange(context.handle, 0, array, len(some))
        best = min(best, time.monotonic() - begin)
        for at in array:
            at.current = at.event
    return best / len(some) * 1e6


few, many = cost(others[::10]), cost(others)
timed(many < 3 * few, f"a look at ten times as many costs no more for each ({few:.2f} and {many:.2f} us)")
begin = time.monotonic()
for _ in range(100):
    context.state(moved)
each = (time.monotonic() - begin) * 10
timed(each < 1, "a look at one of them takes less than 1 ms", each)

# ---- cards that take their time ----


class SlowCard(VirtualCard):
    def _answer(self, command):
        if command == b"\x04":
            time.sleep(0.5)
        return super()._answer(command)


begin = time.monotonic()
cards = [SlowCard(path(i, "card")) for i in SLOW]
seen = [context.await_state(name, PRESENT) for name in slow]
took = time.monotonic() - begin
ok(all(seen) and 0.4 < took < 0.5 * len(SLOW) - 1, f"{len(SLOW)} cards that take half a second each are all there after {took:.1f} s")
for card in cards:
    card.close()

# ---- one that hangs ----

hung, hung_name = handlers[0], name_of(0)
hung.send_signal(signal.SIGSTOP)
listing("one of them stopped")
begin = time.monotonic()
states = call(Context().change, 0, *((name, 0) for name in others if name != hung_name))
ok(states.value and states.took < 4, "a first look at all others does not wait for it", states.took)
hung.send_signal(signal.SIGCONT)

# ---- handlers that have exited ----

for waiter in (one, every):
    waiter.process.kill()
for handler in handlers:
    handler.kill()
for handler in handlers:
    handler.wait()
# What systemd keeps: the socket listens, nobody runs.
listeners = []
for i in range(N):
    listener = socket.socket(socket.AF_UNIX)
    os.unlink(path(i, "sock"))
    listener.bind(path(i, "sock"))
    listener.listen()
    listeners.append(listener)
listing("exited")
poller = select.poll()
for listener in listeners:
    poller.register(listener, select.POLLIN)
same(poller.poll(0), [], "listing connects to none of them: no handler is started")
finish()
