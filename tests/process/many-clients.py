# SPDX-License-Identifier: MIT
"""The part of many-clients.sh that counts."""
import resource

from process import *

N = 50 if SANITIZED else 500
SELECT_MF = bytes.fromhex("00A40000023F00")
USER, GROUP = (int(os.environ.get(name, "0")) for name in ("CLIENT_USER", "CLIENT_GROUP"))
WHO = "an ordinary user" if USER else "its own user"

# ---- many clients of one reader ----

CLIENTS = """
from process import *
n, user, group = (int(word) for word in sys.argv[1:4])
name = sys.argv[4]
library()
if user:
    os.setgroups([group])
    os.setgid(user)
    os.setuid(user)
said, say = os.pipe()
end, ended = os.pipe()


def client():
    os.close(ended)
    context = Context()
    card = context.connect(name)
    card.transmit(b"\\0\\xcb\\0\\x04\\x04")
    state = context.state(name)[0]
    os.write(say, b"i")
    event = context.change(60000, (name, state))[0][0]
    os.write(say, b"e" if event & EMPTY else b"?")
    os.read(end, 1)


for i in range(n):
    if os.fork() == 0:
        try:
            client()
        except Error as error:
            os.write(say, b"!")
            os.write(2, (str(error) + "\\n").encode())
        os._exit(0)
for what in range(2):
    letters = b""
    while len(letters) < n:
        letters += os.read(said, n - len(letters))
    print(letters.decode(), flush=True)
sys.stdin.readline()
"""

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if hard != resource.RLIM_INFINITY and hard < 4 * N + 100:
    skip(f"{N} clients", f"only {hard} open files are allowed here")
    finish()
resource.setrlimit(resource.RLIMIT_NOFILE, (4 * N + 100, hard))
handler = Handler("crowd", "--driver", "virtual", "--card", "unix:" + os.path.join(DIR, "crowd.card"))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
card = VirtualCard(os.path.join(DIR, "crowd.card"))
other = Context()
ok(other.await_state(handler.name, PRESENT), "a card is in")


def descriptors():
    return len(os.listdir(f"/proc/{handler.process.pid}/fd"))


before = descriptors()
clients = child(CLIENTS, str(N), str(USER), str(GROUP), handler.name, stdin=subprocess.PIPE)
said = Call(clients.stdout.readline).join(60).value or "nothing"
same(said.strip().replace("i", ""), "", f"{N} programs of {WHO} have a card and a wait each", handler.said)
ok(descriptors() >= before + 2 * N, f"which are {2 * N} connections", descriptors)
outcome = call(other.connect, handler.name)
ok(outcome.value and outcome.took < 2, "another user's connect is not delayed", outcome)
mine = outcome.value
outcome = call(mine.transmit, SELECT_MF)
ok(outcome.took < 2 and not outcome.hangs, "nor his commands", outcome)
mine.disconnect()
start = time.monotonic()
card.close()
said = Call(clients.stdout.readline).join(60).value or "nothing"
took = time.monotonic() - start
same(said.strip().replace("e", ""), "", f"all {N} hear that the card has gone")
ok(took < 2, f"within 2 s ({took:.2f} s)")
clients.stdin.close()
ok(Call(clients.wait).join().value == 0, "they end")
ok(wait_for(lambda: descriptors() <= before + 2), "no descriptor is left of them", before, descriptors)

# ---- a program without descriptors ----

POOR = """
import resource
from process import *
names = sys.argv[1:]


def codes(context):
    def code(function, *arguments):
        try:
            function(*arguments)
            return "success"
        except Error as error:
            return error.name
    return [code(context.list), code(context.connect, names[0]), code(context.change, 0, *((name, 0) for name in names))]


def count():
    return len(os.listdir("/proc/self/fd"))


def fill(left):
    got = []
    try:
        while True:
            got.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(left):
        os.close(got.pop())
    return got


library()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
first = count()
context = Context()
files = fill(0)
print(*codes(context), flush=True)
os.close(files.pop())
os.close(files.pop())
os.close(files.pop())
print(*codes(context), flush=True)
for file in files:
    os.close(file)
print(*codes(context), flush=True)
files = fill(0)
print(*codes(context), flush=True)
for file in files:
    os.close(file)
context.release()
print(count() - first, flush=True)
"""

names = [handler.name] + [Handler(f"poor{i}", "--driver", "virtual", "--card", "builtin").name for i in range(6)]
card = VirtualCard(os.path.join(DIR, "crowd.card"))
other.await_state(handler.name, PRESENT)
poor = child(POOR, *names, stderr=subprocess.PIPE)
lines = [line.split() for line in Call(poor.communicate).join().value[0].splitlines()]
want = [["E_NO_MEMORY"] * 3, None, ["success"] * 3, None, ["0"]]
while len(lines) < len(want):
    lines.append("nothing")
same(lines[0], want[0], "a program without descriptors is told: no memory")
ok(set(lines[1]) <= {"success", "E_NO_MEMORY"} and "E_NO_MEMORY" in lines[1], "one with a few: what does not fit", lines)
same(lines[2], want[2], "when there are some, all works", lines)
ok(lines[3][0] == "success", "without them what is there already works on", lines)
same(lines[4], want[4], "none is lost", lines)
finish()
