# SPDX-License-Identifier: MIT
"""The part of wire-hostile.sh that speaks the protocol (wire/PROTOCOL.md)."""
import random
import resource
import select

from process import *

MAGIC = 0x48444649
(HELLO, CONNECT, RECONNECT, DISCONNECT, BEGIN, END, TRANSMIT, CONTROL, GET_ATTRIB, SET_ATTRIB, SYNC, WATCH, INSPECT,
 STOP) = range(1, 15)
WELCOME, REPLY, STATE, BYE = 0x81, 0x82, 0x83, 0x84
OK, LIMIT, PROTOCOL, VERSION = 0, 49, 50, 51
SELECT_MF = bytes.fromhex("00A40000023F00")
MAX_CONNECTIONS = 2048
MAX_BODY = 65600


def frame(kind, serial=1, body=b""):
    return struct.pack("<IHH", len(body), kind, serial) + body


def hello(version=1, flags=0, magic=MAGIC):
    return frame(HELLO, 1, struct.pack("<IHH", magic, version, flags))


def connect(slot=0, share=2, protocols=3, serial=2, reserved=0):
    return frame(CONNECT, serial, struct.pack("<BBHI", slot, share, reserved, protocols))


def transmit(data, serial=3, protocol=0x1000):
    return frame(TRANSMIT, serial, struct.pack("<I", protocol) + data)


class Peer:
    """A connection that says what it is told to."""

    def __init__(self, *frames, path=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(15)
        self.socket.connect(path or handler.path)
        self.buffer = b""
        self.send(*frames)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames):
        try:
            self.socket.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed already: what it said is still to be read

    def next(self):
        """(type, serial, body); None at the end."""
        while True:
            if len(self.buffer) >= 8:
                n, kind, serial = struct.unpack_from("<IHH", self.buffer)
                if len(self.buffer) >= 8 + n:
                    body = self.buffer[8:8 + n]
                    self.buffer = self.buffer[8 + n:]
                    return kind, serial, body
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.buffer += more

    def reply(self, serial):
        """(status, value, tail) of the answer to that request."""
        while True:
            got = self.next()
            if not got or got[0] == BYE:
                return got
            if got[0] == REPLY and got[1] == serial:
                status, _, value = struct.unpack_from("<HHI", got[2])
                return status, value, got[2][8:]

    def end(self):
        """The status of its BYE; "closed" where there is none. A connection that stays open is a timeout."""
        while True:
            try:
                got = self.next()
            except TimeoutError:
                return "still open"
            if not got:
                return "closed"
            if got[0] == BYE:
                status = struct.unpack_from("<H", got[2])[0]
                return status if self.next() is None and got[2][2:].decode() else "no text"


def usable(what):
    """Another program's connect and command, at once."""
    outcome = call(others.connect, handler.name)
    card = outcome.value
    if card:
        outcome = call(card.transmit, SELECT_MF)
        call(card.disconnect)
    ok(outcome.value and outcome.took < 2 and handler.is_alive(), f"{what}: the reader stays usable for others", outcome,
       handler.said)


def memory():
    """kB that the handler has in memory."""
    with open(f"/proc/{handler.process.pid}/status", encoding="ascii") as file:
        return [int(line.split()[1]) for line in file if line.startswith("VmRSS")][0]


def frugal(good, text, *details):
    if SANITIZED:
        skip(text, "a sanitizer keeps what was freed")
    else:
        ok(good, text, *details)


def descriptors():
    return len(os.listdir(f"/proc/{handler.process.pid}/fd"))


def garbage():
    chance = random.Random(1)
    ends = {}
    for i in range(300):
        with Peer() as peer:
            if i % 3 == 1:
                peer.send(hello())
            elif i % 3 == 2:
                peer.send(hello(), connect())
            peer.send(chance.randbytes(chance.choice((9, 40, 600, 70000))))
            peer.socket.shutdown(socket.SHUT_WR)
            end = peer.end()
            ends[end] = ends.get(end, 0) + 1
    # what looks like the begin of a frame just ends
    ok(set(ends) <= {PROTOCOL, VERSION, "closed"} and ends.get(PROTOCOL, 0) > 100, "garbage: told so and closed", ends)
    usable("garbage")


def malformed():
    welcome = hello()
    cases = {
        "a body of 4 GiB": (struct.pack("<IHH", 0xFFFFFFFF, HELLO, 1),),
        "a body longer than any": (welcome, struct.pack("<IHH", MAX_BODY + 1, TRANSMIT, 3)),
        "an unknown type": (welcome, frame(0x33, 2)),
        "type 0": (welcome, frame(0, 2)),
        "the handler's own type": (welcome, frame(WELCOME, 2, bytes(4))),
        "another magic number": (hello(magic=0x12345678),),
        "a short HELLO": (frame(HELLO, 1, bytes(7)),),
        "a long HELLO": (frame(HELLO, 1, struct.pack("<IHHB", MAGIC, 1, 0, 0)),),
        "no HELLO": (connect(),),
        "two HELLOs": (welcome, hello()),
        "a short CONNECT": (welcome, frame(CONNECT, 2, bytes(7))),
        "a tail behind CONNECT": (welcome, frame(CONNECT, 2, bytes(9))),
        "a command without CONNECT": (welcome, transmit(SELECT_MF)),
        "a lock without CONNECT": (welcome, frame(BEGIN, 2)),
        "SYNC without CONNECT": (welcome, frame(SYNC, 2)),
        "two CONNECTs": (welcome, connect(), connect(serial=3)),
        "WATCH after CONNECT": (welcome, connect(), frame(WATCH, 3)),
        "CONNECT after WATCH": (welcome, frame(WATCH, 2), connect(serial=3)),
        "STOP with a tail": (welcome, frame(STOP, 2, bytes(3))),
        "an attribute longer than any": (welcome, connect(), frame(SET_ATTRIB, 3, bytes(5000))),
        "a command longer than any": (welcome, connect(), transmit(bytes(65549))),
    }
    wrong = []
    for what, frames in cases.items():
        with Peer(*frames) as peer:
            peer.socket.settimeout(3)
            end = peer.end()
            if end != PROTOCOL:
                wrong.append(f"{what}: {end}")
    ok(not wrong, f"{len(cases)} kinds of malformed or illegal frames: each is answered by BYE PROTOCOL and a sentence", *wrong)
    with Peer(hello(version=0)) as peer:
        same(peer.end(), VERSION, "version 0 is answered by BYE VERSION")
    usable("malformed frames")


def tolerated():
    """What must not matter."""
    with Peer(hello(version=99, flags=0xFF0C)) as peer:
        got = peer.next()
        ok(got and got[0] == WELCOME and struct.unpack_from("<HH", got[2]) == (2, 1), "a newer client gets version 2", got)
        peer.send(connect(reserved=0xFFFF))
        same(peer.reply(2)[0], OK, "reserved fields and unknown flags are not looked at")
    for what, request in (("slot 7", connect(slot=7)), ("share mode 9", connect(share=9)), ("no protocol", connect(protocols=0))):
        with Peer(hello(), request) as peer:
            got = peer.reply(2)
            ok(got and len(got) == 3 and isinstance(got[0], int) and got[0] not in (OK, BYE),
               f"CONNECT with {what} is refused, and the connection stays", got)
            peer.send(connect(serial=9))
            same(peer.reply(9)[0], OK, f"after {what}: a right one works")
    with Peer(hello(), connect()) as peer:
        peer.reply(2)
        for n in (0, 1):
            peer.send(transmit(bytes(n), serial=10 + n))
            got = peer.reply(10 + n)
            ok(got and got[0] not in (OK, BYE), f"a command of {n} bytes is refused, and the connection stays", got)
        peer.send(transmit(SELECT_MF, serial=20, protocol=8))
        ok(peer.reply(20)[0] != OK, "a protocol that does not exist is refused")
        peer.send(transmit(SELECT_MF, serial=0xFFFF))
        same(peer.reply(0xFFFF)[0], OK, "a right one works after that")


def slowly():
    data = hello() + connect() + transmit(SELECT_MF)
    with Peer() as peer:
        for byte in data:
            peer.send(bytes((byte,)))
            time.sleep(0.002)
        same(peer.reply(3)[:1], (OK,), "frames of one byte at a time are frames")
    with Peer() as peer:
        for at in range(0, len(data), 7):
            peer.send(data[at:at + 7])
            time.sleep(0.002)
        same(peer.reply(3)[:1], (OK,), "so are frames cut anywhere")
    usable("a slow client")


def ahead():
    """Requests that do not wait for answers are answered in order."""
    with Peer(hello(), connect(), *(transmit(SELECT_MF, serial=100 + i) for i in range(500))) as peer:
        serials = []
        while len(serials) < 501 and (got := peer.next()) is not None:
            if got[0] == REPLY:
                serials.append((got[1], struct.unpack_from("<H", got[2])[0]))
        want = [(2, OK)] + [(100 + i, OK) for i in range(500)]
        ok(serials == want, "500 requests sent ahead are answered in order", len(serials), serials[-5:])
    with Peer(hello(), frame(WATCH, 2), frame(INSPECT, 3)) as peer:
        got = peer.reply(2)
        same(got[:2], (OK, 1), "WATCH behind HELLO tells the slots")
        ok(peer.reply(3)[2].decode(), "INSPECT is legal for a watch")
    usable("requests sent ahead")


def never_read():
    before = memory()
    peers = [Peer(hello(), connect()) for _ in range(20)]
    command = bytes.fromhex("00B00000") + b"\x00"
    sent = 0
    for peer in peers:
        peer.reply(2)
        peer.socket.setblocking(False)
        try:
            while True:
                sent += peer.socket.send(transmit(command) * 50)
        except BlockingIOError:
            pass
    time.sleep(0.5)
    usable("20 clients that send all they can and never read")
    grown = memory() - before
    frugal(grown < 20 * 400, f"they cost the handler less than 400 kB each ({grown} kB for {sent} bytes)")
    for peer in peers:
        peer.socket.close()
    usable("clients that are gone with answers under way")
    watch = Peer(hello(), frame(WATCH, 2))
    watch.reply(2)
    # every connect and disconnect is a change of state, for a watcher that does not read
    with Peer(hello()) as busy:
        for i in range(3000):
            busy.send(connect(serial=2), frame(DISCONNECT, 3, b"\0"))
            busy.reply(3)
    before = memory()
    with Peer(hello()) as busy:
        for i in range(3000):
            busy.send(connect(serial=2), frame(DISCONNECT, 3, b"\0"))
            busy.reply(3)
    frugal(memory() - before < 500, "a watcher that never reads does not grow", before, memory)
    last = None
    watch.socket.settimeout(1)
    try:
        while (got := watch.next()) is not None and got[0] == STATE:
            last = got
    except TimeoutError:
        got = last
    ok(got and last, "and is never dropped")
    usage = struct.unpack_from("<BBH", last[2])[2] if last else None
    same(usage is not None and usage & 2, 0, "what it reads in the end is the newest state: not in use", last)
    watch.socket.close()


class Unread:
    """A client with more answers under way than it has room for, and one with more states: neither ever reads."""

    def __init__(self):
        self.handler = Handler("unread", "--driver", "virtual", "--card", "builtin")
        self.card = Peer(hello(), connect(), path=self.handler.path)
        self.watch = Peer(hello(), frame(WATCH, 2), path=self.handler.path)
        self.card.reply(2)
        self.watch.reply(2)
        self.card.socket.setblocking(False)
        try:
            while True:
                self.card.socket.send(transmit(SELECT_MF) * 50)
        except BlockingIOError:
            pass
        self.since = time.monotonic()

    @staticmethod
    def is_closed(peer):
        poll = select.poll()
        poll.register(peer.socket, select.POLLHUP)
        return bool(poll.poll(0))

    def end(self):
        early = self.is_closed(self.card)
        outcome = call(Context().connect, self.handler.name)
        ok(outcome.value and outcome.took < 2, "a client that does not read its answers is nobody else's trouble", outcome)
        took = wait_for(lambda: self.is_closed(self.card) and time.monotonic() - self.since, 40)
        ok(not early and took and took > 29, "it is dropped after 30 s", early, took)
        ok(not self.is_closed(self.watch), "one that does not read its states is not")


def half_closed():
    with Peer(hello(), connect(), transmit(SELECT_MF)) as peer:
        peer.socket.shutdown(socket.SHUT_WR)
        same(peer.reply(3)[:1], (OK,), "a client that has sent its last request and waits gets its answer")
    before = descriptors()
    for i in range(300):
        with Peer(hello(), connect(), transmit(SELECT_MF)):
            pass
    usable("300 clients that are gone before their answer")
    ok(wait_for(lambda: descriptors() <= before), "no descriptor is left of them", before, descriptors)


def crowd():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * MAX_CONNECTIONS + 100:
        skip("2100 connections", f"only {hard} open files are allowed here")
        return
    there = 1 + len(lazy) + 1 + 1  # the first, those that say little, and the one that `others` has parked
    with Peer(hello(), connect()) as first:
        first.reply(2)
        peers = [Peer(hello()) for _ in range(2100)]
        got = [peer.next() for peer in peers]
        served = [peer for peer, answer in zip(peers, got) if answer and answer[0] == WELCOME]
        refused = [struct.unpack_from("<H", answer[2])[0] for answer in got if answer and answer[0] == BYE]
        same(len(served), MAX_CONNECTIONS - there, f"{MAX_CONNECTIONS} connections are served")
        same(refused, [LIMIT] * (2100 - len(served)), "all others are told that there are too many")
        first.send(transmit(SELECT_MF, serial=77))
        same(first.reply(77)[0], OK, "in the crowd a client works as before")
        outcome = call(Context().connect, handler.name)
        same(outcome.code, "E_NO_MEMORY", "a program's connect fails and says why", outcome)
        for peer in peers:
            peer.socket.close()
        first.send(transmit(SELECT_MF, serial=78))
        same(first.reply(78)[0], OK, "and when the others have gone")
    usable("after 2100 connections")
    ok(wait_for(lambda: descriptors() < 50), "no descriptor is left of them", descriptors)


def few_descriptors():
    """A handler that may open few files: clients wait in the queue, and it does not spin."""
    poor = Handler("poor", "--driver", "virtual", "--card", "builtin", prefix=("sh", "-c", 'ulimit -n 40; exec "$@"', "sh"))
    peers = [Peer(hello(), path=poor.path) for _ in range(40)]
    served = []
    for peer in peers:
        peer.socket.settimeout(0.5 if len(served) == len(peers) // 4 else 2)
        try:
            if (peer.next() or (0,))[0] == WELCOME:
                served.append(peer)
        except TimeoutError:
            break
    ok(5 < len(served) < 40, f"with 40 descriptors some clients are served at once ({len(served)}), others wait", poor.said)

    def cpu():
        with open(f"/proc/{poor.process.pid}/stat", encoding="ascii") as file:
            return sum(int(word) for word in file.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    before = cpu()
    time.sleep(1)
    ok(cpu() - before < 0.2, "meanwhile the handler does not spin", before, cpu)
    for peer in served:
        peer.socket.close()
    waiting = [peer for peer in peers if peer not in served]
    answers = []
    for peer in waiting:
        peer.socket.settimeout(5)
        try:
            answers.append((peer.next() or (0,))[0])
        except TimeoutError:
            answers.append("nothing")
        peer.socket.close()
    same(set(answers), {WELCOME}, "when those have gone, the others are served", answers, poor.said)
    outcome = call(Context().connect, poor.name)
    ok(outcome.value, "and the reader works", outcome)


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
# as the units have it: two descriptors for each client
wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
handler = Handler("hostile", "--driver", "virtual", "--card", "builtin")
others = Context()
opened = time.monotonic()
lazy = {
    "a client that says nothing": Peer(),
    "half a header": Peer(hello()[:5]),
    "half a HELLO": Peer(hello()[:11]),
    "the header of a long frame": Peer(struct.pack("<IHH", MAX_BODY, HELLO, 1)),
}
half = Peer(hello(), connect()[:10])
unread = Unread()
usable("four clients that have said nothing, or half")
garbage()
malformed()
tolerated()
slowly()
ahead()
never_read()
half_closed()
crowd()
few_descriptors()
for what, peer in lazy.items():
    end = peer.end()
    took = time.monotonic() - opened
    ok(end != "still open" and took > 9, f"{what}: closed after 10 s", end, took)
ok(time.monotonic() - opened < 60, "none of them stays")
unread.end()
half.send(connect()[10:])
same(half.reply(2)[0], OK, "half a request is waited for: its other half makes it one")
usable("at the end")
same(handler.complaints(), [], "nothing was wrong in the handler", handler.said)
finish()
