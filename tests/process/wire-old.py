# SPDX-License-Identifier: MIT
"""The part of wire-old.sh that replays tests/fixtures/wire-v1.txt; how that file is to be read is said in it."""
import re

from process import *

FIXTURE = os.path.join(TOP, "tests", "fixtures", "wire-v1.txt")
HELLO, CONNECT, RECONNECT, DISCONNECT, END = 1, 2, 3, 4, 6
WELCOME, REPLY, STATE, BYE = 0x81, 0x82, 0x83, 0x84
# What a handler of version 1 takes: the length of each request's fields, and of the longest tail.
REQUESTS = {1: (8, 0), 2: (8, 0), 3: (8, 0), 4: (1, 0), 5: (0, 0), 6: (1, 0), 7: (4, 65548), 8: (4, 65548), 9: (4, 0),
            10: (4, 264), 11: (0, 0), 12: (0, 0), 13: (0, 0), 14: (2, 0)}
MAGIC, ATR = b"IFDH", bytes.fromhex("3bf51800008131fe454d794549449a")


class Frame:
    """A line of the fixture."""

    def __init__(self, direction, text):
        self.from_client = direction == ">"
        self.text = text
        words = re.findall(r"\[[0-9a-f]{2}\]|[0-9a-f]{2}|\*", text)
        pattern = b""
        self.bytes = b""
        for word in words:
            if word == "*":
                pattern += b".*"
            elif word[0] == "[":
                pattern += b"."
                self.bytes += bytes.fromhex(word[1:3])
            else:
                pattern += re.escape(bytes.fromhex(word))
                self.bytes += bytes.fromhex(word)
        self.pattern = re.compile(pattern, re.S)
        self.type = struct.unpack_from("<H", self.bytes, 4)[0]


def read_fixture():
    """{connection: [Frame]}"""
    connections = {}
    with open(FIXTURE, encoding="utf-8") as file:
        for line in file:
            line = line.split("#")[0].strip()
            if line.startswith("=="):
                frames = connections.setdefault(line[2:].strip(), [])
            elif line:
                frames.append(Frame(line[0], line[1:]))
    return connections


def next_frame(s, buffer):
    """(frame or None at the end, what was read behind it)"""
    while len(buffer) < 8 or len(buffer) < 8 + struct.unpack_from("<I", buffer)[0]:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return None, buffer
        buffer += more
    n = 8 + struct.unpack_from("<I", buffer)[0]
    return buffer[:n], buffer[n:]


def type_of(frame):
    return struct.unpack_from("<H", frame, 4)[0]


# ---- the old client ----


class OldClient:
    def __init__(self, path, frames):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.frames = frames
        self.buffer = b""
        self.states = [f for f in frames if f.type == STATE]

    def get(self):
        got, self.buffer = next_frame(self.socket, self.buffer)
        return got

    def is_state(self, got):
        """A STATE as this client has learnt to read it: fields and an ATR, nothing behind."""
        return type_of(got) == STATE and 8 + 12 <= len(got) <= 8 + 12 + 33

    def replay(self, what):
        i = 0
        while i < len(self.frames):
            flight = []
            while i < len(self.frames) and self.frames[i].from_client:
                flight.append(self.frames[i])
                i += 1
            self.socket.sendall(b"".join(f.bytes for f in flight))
            while i < len(self.frames) and not self.frames[i].from_client:
                want = self.frames[i]
                got = self.get()
                while got and self.is_state(got) and not want.pattern.fullmatch(got):
                    got = self.get()
                ok(got and want.pattern.fullmatch(got), f"{what}: {TYPES.get(flight[-1].type)}: the answer of version 1",
                   f"got  {got.hex() if got else None}", f"want {want.text}")
                i += 1


TYPES = {1: "HELLO", 2: "CONNECT", 3: "RECONNECT", 4: "DISCONNECT", 5: "BEGIN", 6: "END", 7: "TRANSMIT", 8: "CONTROL",
         9: "GET_ATTRIB", 10: "SET_ATTRIB", 11: "SYNC", 12: "WATCH"}


def old_client():
    handler = Handler("new", "--driver", "virtual", "--card", "builtin")
    context = Context()
    ok(context.await_state(handler.name, PRESENT), "today's handler has a card")
    watch = OldClient(handler.path, fixture["watch"])
    watch.replay("old watch")
    card = OldClient(handler.path, fixture["card"])
    card.replay("old client")
    same(card.get(), None, "old client: and the end")
    events = []
    watch.socket.settimeout(1)
    try:
        while (got := watch.get()):
            events.append(got)
    except TimeoutError:
        pass
    ok(len(events) >= 2 and all(watch.is_state(e) for e in events), "old watch: it was told by states, and nothing else",
       *(e.hex() for e in events))
    mixed = [OldClient(handler.path, fixture["card"]) for _ in range(2)]
    new = context.connect(handler.name)
    new.begin()
    mixed[0].socket.sendall(b"".join(f.bytes for f in fixture["card"] if f.from_client)[:32])
    mixed[0].socket.settimeout(0.3)
    try:
        said = type_of(mixed[0].get())  # WELCOME
        mixed[0].get()
        waits = False
    except TimeoutError:
        waits = True
    ok(waits and said == WELCOME, "old and new share a card: the old one waits for the lock of the new one")
    new.end()
    mixed[0].socket.settimeout(10)
    kinds = [type_of(mixed[0].get()) for _ in range(2)]
    same(kinds, [STATE, REPLY], "and has its turn")
    mixed[1].socket.sendall(b"".join(f.bytes for f in fixture["card"] if f.from_client)[:32])
    context.release()
    same(handler.stop(), 0, "today's handler ends")


# ---- the old handler ----


class OldHandler:
    """Answers as recorded, and takes nothing that version 1 has not."""

    def __init__(self, instance, name):
        self.strange = []
        self.seen = set()
        self.answers = {}
        for frames in fixture.values():
            self._learn(frames)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(RUN, instance + ".sock"))
        self.listener.listen(16)
        path = os.path.join(RUN, instance + ".reader")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(f"version=1\ninstance={instance}\nseq=1\nregistered=1\nreader=0 {name}\n")
        os.rename(path + ".new", path)
        threading.Thread(target=self._accept, daemon=True).start()

    def _learn(self, frames):
        requests, answers = [], {}
        for i, frame in enumerate(frames):
            if frame.from_client:
                requests = requests + [frame] if i and frames[i - 1].from_client else [frame]
                continue
            request = requests[0] if frame.type == WELCOME else requests[-1]
            if frame.type != BYE:
                answers.setdefault((request.type, request.bytes[8:]), []).append(frame.bytes)
        self.answers.update({key: frames for key, frames in answers.items() if key not in self.answers})

    def _accept(self):
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _judge(self, kind, body):
        fields, tail = REQUESTS.get(kind, (0, -1))
        if not fields <= len(body) <= fields + tail:
            self.strange.append(f"type {kind:#x} with {len(body)} bytes")
        elif kind == HELLO and (body[:4] != MAGIC or body[4:6] == b"\0\0"):
            self.strange.append(f"HELLO {body.hex()}")
        elif kind in (END, DISCONNECT) and body[0] > 3:
            self.strange.append(f"disposition {body[0]}")
        elif kind == RECONNECT and (not 1 <= body[0] <= 3 or body[1] > 2):
            self.strange.append(f"RECONNECT {body.hex()}")
        elif kind == CONNECT and not 1 <= body[1] <= 3:
            self.strange.append(f"CONNECT {body.hex()}")

    def _serve(self, peer):
        buffer = b""
        while True:
            frame, buffer = next_frame(peer, buffer)
            if not frame:
                break
            kind, serial, body = type_of(frame), frame[6:8], frame[8:]
            self._judge(kind, body)
            self.seen.add(kind)
            answers = self.answers.get((kind, body))
            if not answers:  # a HELLO of another version; a command that nobody has recorded
                answers = next((a for (k, _), a in self.answers.items() if k == kind), [])
            said = b"".join(a if type_of(a) == STATE else a[:6] + serial + a[8:] for a in answers)
            try:
                peer.sendall(said)
            except OSError:
                break


def attribute(card, tag):
    buffer, n = ctypes.create_string_buffer(300), DWORD(300)
    rv = card.lib.SCardGetAttrib(card.handle, tag, buffer, ctypes.byref(n))
    return buffer.raw[:n.value] if rv == 0 else rv


def old_handler():
    name = "Old Reader 00 00"
    handler = OldHandler("old", name)
    context = Context()
    same(context.list(), [name], "an old handler's reader is listed")
    outcome = call(context.state, name)
    ok(outcome.value and outcome.value[0] & PRESENT and outcome.value[1] == ATR, "its state is known", outcome)
    outcome = call(context.connect, name)
    if not ok(outcome.value, "connect", outcome):
        return
    card = outcome.value
    same(card.protocol, T1, "by T=1")
    same(call(card.begin).code, "success", "begin")
    same(call(card.transmit, bytes.fromhex("00A40000023F00")).value, b"\x90\x00", "transmit")
    same(call(attribute, card, 0x90303).value, ATR, "an attribute")
    same(call(attribute, card, 0x10100).value, b"ifdhandler\0", "another")
    same(card.lib.SCardSetAttrib(card.handle, 0x7FFF0009, b"x", 1) & 0xFFFFFFFF, 0x8010001F, "one that cannot be set")
    same(call(card.control, 0x42000D48).value, bytes.fromhex("120442330012"), "control")
    same(call(card.end).code, "success", "end")
    same(call(card.reconnect, SHARED, T0 | T1, RESET).code, "success", "reconnect")
    same(call(card.status).value[1:], (T1, ATR), "status")
    same(call(card.disconnect, UNPOWER).code, "success", "disconnect")
    outcome = call(context.connect, name, DIRECT, 0)
    same(outcome.code, "success", "connect directly")
    same(call(outcome.value.disconnect).code, "success", "and disconnect")
    same(call(context.release).code, "success", "release")
    same(handler.strange, [], "nothing was sent that version 1 has not")
    ok({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12} <= handler.seen, "and all of that was sent", handler.seen)


fixture = read_fixture()
old_client()
old_handler()
finish()
