# SPDX-License-Identifier: MIT
"""Parts of the usb-*, life-*, wire-* and library-* tests: lines of TAP, handlers as processes, the library by
ctypes, and the emulation's commands.

A test has a directory of its own (DIR, with the readers in RUN); everything that it starts is ended by its process id
when it ends, however it does. Every wait has a limit.
"""
import atexit
import ctypes
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

B = os.environ["B"]
HERE = os.environ["HERE"]
SANITIZED = "address" in os.environ.get("SANITIZE", "")
LIBRARY = os.path.join(B, "libpcsclite.so.1")
DIR = os.environ.get("CHILD_OF")  # see child()
if not DIR:
    DIR = tempfile.mkdtemp(prefix="process.", dir=os.environ.get("TMPDIR"))
    os.chmod(DIR, 0o755)
RUN = os.environ.get("READERS_IN", os.path.join(DIR, "run"))
os.makedirs(RUN, 0o755, exist_ok=True)
os.environ["IFDHANDLER_PATH"] = RUN

# ---- TAP ----

_lock = threading.RLock()
_n = _failed = 0


def ok(good, text, *details):
    """One test. The details are shown where it fails; a callable gives them only then."""
    global _n, _failed
    with _lock:
        _n += 1
        print(f"{'ok' if good else 'not ok'} {_n} - {text}")
        if not good:
            _failed += 1
            for detail in details:
                for line in str(detail() if callable(detail) else detail).splitlines():
                    print("#  ", line)
        sys.stdout.flush()
    return bool(good)


def same(got, want, text, *details):
    return ok(got == want, text, f"got  {got!r}", f"want {want!r}", *details)


def skip(text, reason):
    global _n
    with _lock:
        _n += 1
        print(f"ok {_n} - {text} # SKIP {reason}", flush=True)


def _leave(status):
    sys.stdout.flush()
    _clean()
    os._exit(status)  # a thread may hang in a call: that was a failed test already


def finish():
    """The last line of a test: stops all handlers, and they must have ended well."""
    for handler in list(_handlers):
        if handler.is_alive():
            same(handler.stop(), 0, f"handler {handler.instance} ends with status 0", handler.said)
        ok(not handler.complaints(), f"handler {handler.instance} has not crashed", handler.said)
    print(f"1..{_n}")
    _leave(1 if _failed else 0)


def bail(why):
    print(f"Bail out! {why}", flush=True)
    _leave(1)


def _overdue(limit):
    time.sleep(limit)
    ok(False, f"the test ends within {limit} s", _where)
    bail("out of time")


def _where():
    import traceback
    return "\n".join("".join(traceback.format_stack(frame)) for frame in sys._current_frames().values())


threading.Thread(target=_overdue, args=(200,), daemon=True).start()


def _uncaught(kind, value, trace):
    import traceback
    ok(False, f"the test itself: {kind.__name__}: {value}", "".join(traceback.format_exception(kind, value, trace)))
    _leave(1)


sys.excepthook = _uncaught

# ---- time ----


def wait_for(condition, limit=10.0):
    """What condition() gives as soon as that is true; its last value after `limit` s."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.02)


class Outcome:
    """What came of a call: value or error (Error), after took s; or it hangs."""

    def __init__(self):
        self.value = self.error = None
        self.took = 0.0
        self.hangs = True

    @property
    def code(self):
        return "hangs" if self.hangs else self.error.name if self.error else "success"

    def __str__(self):
        value = "" if self.value is None else f" {self.value.hex() if isinstance(self.value, bytes) else self.value}"
        return f"{self.code}{value} after {self.took:.2f} s"


class Call:
    """A call on a thread of its own: a library that hangs must not take the test along."""

    def __init__(self, function, *args):
        self.outcome = Outcome()
        self.thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self.start = time.monotonic()
        self.thread.start()

    def _run(self, function, args):
        try:
            self.outcome.value = function(*args)
        except Error as error:
            self.outcome.error = error
        self.outcome.took = time.monotonic() - self.start
        self.outcome.hangs = False

    def join(self, limit=20.0):
        self.thread.join(limit)
        return self.outcome


def call(function, *args, limit=20.0):
    return Call(function, *args).join(limit)


# ---- processes ----

_processes = []
_handlers = []


def _clean():
    for process in _processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    if "CHILD_OF" not in os.environ:
        shutil.rmtree(DIR, ignore_errors=True)


atexit.register(_clean)
signal.signal(signal.SIGTERM, lambda *_: _leave(1))


def start(*command, **options):
    """A process that is killed when the test ends."""
    process = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
    _processes.append(process)
    return process


def child(program, *arguments, **options):
    """A process of its own for a Python program that begins with `from process import *`: a client among others."""
    environment = dict(os.environ, CHILD_OF=DIR, PYTHONPATH=HERE, PYTHONDONTWRITEBYTECODE="1")
    return start(sys.executable, "-c", program, *arguments, env=environment, stdout=subprocess.PIPE, text=True, **options)


def foreign(**more):
    """The environment of a program that knows nothing of us: with our library, and without the emulation, which it needs
    not (and whose preloaded functions may lock against a program's own constructors)."""
    environment = dict(os.environ, LD_LIBRARY_PATH=B, LD_PRELOAD=os.environ.get("FOREIGN_PRELOAD", ""), **more)
    if not environment["LD_PRELOAD"]:
        del environment["LD_PRELOAD"]
    return environment


def output(*command, limit=20, **options):
    """(exit status, what it printed), standard error included. Status None: did not end in time."""
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=limit, text=True, errors="replace", **options)
        return p.returncode, p.stdout
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode(errors="replace")


def forget(handler):
    """A handler whose end was looked at: finish() does not look at it again."""
    _handlers.remove(handler)


class Handler:
    """One ifdhandler --socket RUN/INSTANCE.sock OPTION... Another start on the same path: start() again.
    `prefix`: words before the command, for a program that starts another."""

    def __init__(self, instance, *options, wait=True, prefix=()):
        self.prefix = prefix
        self.instance = instance
        self.options = options
        self.path = os.path.join(RUN, instance + ".sock")
        self.description = os.path.join(RUN, instance + ".reader")
        self.log = os.path.join(DIR, instance + ".log")
        _handlers.append(self)
        self.start(wait)

    def start(self, wait=True):
        environment = dict(os.environ)
        if "HANDLER_ASAN_OPTIONS" in environment:
            environment["ASAN_OPTIONS"] = environment["HANDLER_ASAN_OPTIONS"]
        before = self._inode()
        with open(self.log, "ab") as log:
            self.process = start(*self.prefix, os.path.join(B, "ifdhandler"), "--socket", self.path, *self.options,
                                 stdout=log, stderr=log, env=environment)
        if wait and not wait_for(lambda: self._inode() not in (None, before) or not self.is_alive()):
            bail(f"{self.instance}: no description after 10 s\n{self.said()}")

    def _inode(self):
        try:
            s = os.stat(self.description)
            return s.st_ino, s.st_mtime_ns
        except FileNotFoundError:
            return None

    def is_alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM, limit=10):
        """Its exit status; None if it does not end."""
        if self.is_alive():
            self.process.send_signal(how)
        return self.wait(limit)

    def wait(self, limit=10):
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return None

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def complaints(self):
        return [line for line in self.said().splitlines()
                if "Sanitizer" in line or "runtime error" in line or "Assertion" in line]

    def lines(self, key):
        """The values of that key in the description."""
        with open(self.description, encoding="utf-8") as file:
            return [line[len(key) + 1:].rstrip("\n") for line in file if line.startswith(key + "=")]

    @property
    def names(self):
        """Names that applications see, by slot."""
        return [value.split(" ", 1)[1] for value in self.lines("reader")]

    @property
    def name(self):
        return self.names[0]


# ---- a socket unit ----


class Unit:
    """As systemd does it: a socket that listens all the time, and its handler, a virtual reader, started when somebody
    comes."""

    def __init__(self, instance, program=os.path.join(B, "ifdhandler"), idle=1):
        self.instance = instance
        self.command = [program, "--driver", "virtual", "--card", "builtin", "--idle", str(idle), instance]
        self.log = os.path.join(DIR, instance + ".log")
        self.pid = None
        self.statuses = []
        self.ended = False
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(os.path.join(RUN, instance + ".sock"))
        os.chmod(self.socket.getsockname(), 0o666)
        self.socket.listen(128)
        status, said = output(*self.command[:-3], "--register", instance)
        if status != 0:
            bail(f"--register {instance}: {said}")
        with open(os.path.join(RUN, instance + ".reader"), encoding="utf-8") as file:
            self.name = [line for line in file if line.startswith("reader=")][0].split(" ", 1)[1].rstrip("\n")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        environment = dict(os.environ, LISTEN_FDS="1")
        while not self.ended:
            if not select.select([self.socket], [], [], 0.2)[0]:
                continue
            self.pid = os.posix_spawn("/bin/sh", ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *self.command], environment,
                                      file_actions=[(os.POSIX_SPAWN_OPEN, 1, self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                                                    (os.POSIX_SPAWN_DUP2, 1, 2),
                                                    (os.POSIX_SPAWN_DUP2, self.socket.fileno(), 3)])
            self.statuses.append(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
            self.pid = None

    def terminate(self):
        """Stops the handler; does not wait until it has ended."""
        pid = self.pid
        if pid:
            os.kill(pid, signal.SIGTERM)

    def close(self):
        """No more starts; the last one ends for idleness."""
        self.ended = True
        self.thread.join(10)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]


# ---- the library ----

LONG, DWORD = ctypes.c_long, ctypes.c_ulong

CODES = {
    0x80100001: "F_INTERNAL_ERROR", 0x80100002: "E_CANCELLED", 0x80100003: "E_INVALID_HANDLE",
    0x80100004: "E_INVALID_PARAMETER", 0x80100006: "E_NO_MEMORY", 0x80100008: "E_INSUFFICIENT_BUFFER",
    0x80100009: "E_UNKNOWN_READER", 0x8010000A: "E_TIMEOUT", 0x8010000B: "E_SHARING_VIOLATION",
    0x8010000C: "E_NO_SMARTCARD", 0x8010000F: "E_PROTO_MISMATCH", 0x80100011: "E_INVALID_VALUE",
    0x80100013: "F_COMM_ERROR", 0x80100016: "E_NOT_TRANSACTED", 0x80100017: "E_READER_UNAVAILABLE",
    0x8010001D: "E_NO_SERVICE", 0x8010001E: "E_SERVICE_STOPPED", 0x8010001F: "E_UNSUPPORTED_FEATURE",
    0x8010002E: "E_NO_READERS_AVAILABLE", 0x80100066: "W_UNRESPONSIVE_CARD", 0x80100067: "W_UNPOWERED_CARD",
    0x80100068: "W_RESET_CARD", 0x80100069: "W_REMOVED_CARD", 0x8010006A: "W_SECURITY_VIOLATION",
}
EXCLUSIVE, SHARED, DIRECT = 1, 2, 3
T0, T1, RAW = 1, 2, 4
LEAVE, RESET, UNPOWER = 0, 1, 2
CHANGED, UNKNOWN, UNAVAILABLE, EMPTY, PRESENT, MUTE = 2, 4, 8, 0x10, 0x20, 0x200
PNP = "\\\\?PnP?\\Notification"
ROOM = 65548


class Error(Exception):
    """A call of the library that did not succeed."""

    def __init__(self, code):
        self.code = code
        self.name = CODES.get(code, f"{code:#x}")
        super().__init__(self.name)


class ReaderState(ctypes.Structure):
    _fields_ = [("reader", ctypes.c_char_p), ("user", ctypes.c_void_p), ("current", DWORD), ("event", DWORD),
                ("atr_len", DWORD), ("atr", ctypes.c_ubyte * 33)]


class IoRequest(ctypes.Structure):
    _fields_ = [("protocol", ctypes.c_ulong), ("length", ctypes.c_ulong)]


_library = None


def library():
    """The functions, loaded once: their result is the code, and there is no conversion behind our back."""
    global _library
    if not _library:
        _library = ctypes.CDLL(LIBRARY)
        p, s = ctypes.c_void_p, ctypes.c_char_p
        for name, *types in (
                ("EstablishContext", DWORD, p, p, p), ("ReleaseContext", LONG), ("IsValidContext", LONG),
                ("Connect", LONG, s, DWORD, DWORD, p, p), ("Reconnect", LONG, DWORD, DWORD, DWORD, p),
                ("Disconnect", LONG, DWORD), ("BeginTransaction", LONG), ("EndTransaction", LONG, DWORD),
                ("Status", LONG, p, p, p, p, p, p), ("GetStatusChange", LONG, DWORD, p, DWORD),
                ("Control", LONG, DWORD, p, DWORD, p, DWORD, p), ("Transmit", LONG, p, p, DWORD, p, p, p),
                ("ListReaders", LONG, s, p, p), ("Cancel", LONG), ("GetAttrib", LONG, DWORD, p, p)):
            function = getattr(_library, "SCard" + name)
            function.argtypes = types
            function.restype = LONG
    return _library


def _check(rv):
    if rv:
        raise Error(rv & 0xFFFFFFFF)


class Context:
    def __init__(self):
        self.lib = library()
        self.handle = LONG()
        _check(self.lib.SCardEstablishContext(2, None, None, ctypes.byref(self.handle)))

    def release(self):
        _check(self.lib.SCardReleaseContext(self.handle))

    def list(self):
        n = DWORD(0)
        try:
            _check(self.lib.SCardListReaders(self.handle, None, None, ctypes.byref(n)))
            buffer = ctypes.create_string_buffer(n.value)
            _check(self.lib.SCardListReaders(self.handle, None, buffer, ctypes.byref(n)))
        except Error as e:
            if e.name == "E_NO_READERS_AVAILABLE":
                return []
            raise
        return [name.decode() for name in buffer.raw[:n.value].split(b"\0") if name]

    def connect(self, reader, share=SHARED, protocols=T0 | T1):
        handle, protocol = LONG(), DWORD()
        _check(self.lib.SCardConnect(self.handle, reader.encode(), share, protocols, ctypes.byref(handle),
                                     ctypes.byref(protocol)))
        return Card(self.lib, handle, protocol.value)

    def change(self, timeout_ms, *states):
        """states: (reader, state that is taken for true). A list of (event state, ATR)."""
        array = (ReaderState * len(states))()
        for at, (reader, current) in zip(array, states):
            at.reader, at.current = reader.encode(), current
        _check(self.lib.SCardGetStatusChange(self.handle, timeout_ms, array, len(states)))
        return [(at.event, bytes(at.atr[:at.atr_len])) for at in array]

    def state(self, reader):
        """What is true now: (event state, ATR)."""
        return self.change(0, (reader, 0))[0]

    def await_state(self, reader, bit, limit=10.0):
        """Follows the reader by waiting until its state has that bit. The state, or None when it is late."""
        end = time.monotonic() + limit
        state = 0
        while time.monotonic() < end:
            try:
                state = self.change(int((end - time.monotonic()) * 1000) + 1, (reader, state))[0][0]
            except Error as e:
                if e.name != "E_TIMEOUT":
                    raise
            if state & bit:
                return state
        return None

    def cancel(self):
        _check(self.lib.SCardCancel(self.handle))


class Card:
    def __init__(self, lib, handle, protocol):
        self.lib, self.handle, self.protocol = lib, handle, protocol

    def transmit(self, command, room=ROOM):
        pci = IoRequest(self.protocol, ctypes.sizeof(IoRequest))
        buffer, n = ctypes.create_string_buffer(room), DWORD(room)
        _check(self.lib.SCardTransmit(self.handle, ctypes.byref(pci), command, len(command), None, buffer,
                                      ctypes.byref(n)))
        return buffer.raw[:n.value]

    def control(self, code, data=b"", room=ROOM):
        buffer, n = ctypes.create_string_buffer(room), DWORD(0)
        _check(self.lib.SCardControl(self.handle, code, data, len(data), buffer, room, ctypes.byref(n)))
        return buffer.raw[:n.value]

    def status(self):
        """(state, protocol, ATR)"""
        state, protocol, n = DWORD(), DWORD(), DWORD(33)
        atr = ctypes.create_string_buffer(33)
        _check(self.lib.SCardStatus(self.handle, None, None, ctypes.byref(state), ctypes.byref(protocol), atr,
                                    ctypes.byref(n)))
        return state.value, protocol.value, atr.raw[:n.value]

    def reconnect(self, share=SHARED, protocols=T0 | T1, how=LEAVE):
        protocol = DWORD()
        _check(self.lib.SCardReconnect(self.handle, share, protocols, how, ctypes.byref(protocol)))
        self.protocol = protocol.value

    def disconnect(self, how=LEAVE):
        _check(self.lib.SCardDisconnect(self.handle, how))

    def begin(self):
        _check(self.lib.SCardBeginTransaction(self.handle))

    def end(self, how=LEAVE):
        _check(self.lib.SCardEndTransaction(self.handle, how))


# ---- commands of the emulated cards (tests/model/README) ----


def pattern(n):
    """What command CB answers."""
    return bytes(i % 251 for i in range(n)) + b"\x90\x00"


def give(n, extended=False):
    """n bytes from the card."""
    head = bytes((0, 0xCB, n >> 8, n & 255))
    return head + (b"\0" + struct.pack(">H", n & 0xFFFF) if extended else bytes((n & 255,)))


def echo(data, extended=False):
    """The data back (not at T=0 TPDU level: one direction only)."""
    if extended:
        return bytes((0, 0xEC, 0, 0, 0)) + struct.pack(">H", len(data)) + data + b"\0\0"
    return bytes((0, 0xEC, 0, 0, len(data))) + data + b"\0"


def slow(ms):
    """9000 after so long, without any time extension."""
    return bytes((0, 0xEB, ms >> 8, ms & 255))


# ---- the emulation ----


def model(*words, check=True):
    """The answer's lines to a command of umock-reader; the last, `ok`, is left out."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(os.environ["MODEL_CONTROL"])
        s.sendall((" ".join(map(str, words)) + "\n").encode())
        lines = []
        for line in s.makefile():
            line = line.rstrip("\n")
            if line == "ok":
                return lines
            if line.startswith("error"):
                if check:
                    raise RuntimeError(f"{words}: {line}")
                return None
            lines.append(line)
    raise RuntimeError(f"{words}: the emulation has ended")


def count(reader):
    """Counters of a reader."""
    return {k: int(v) for k, v in (line.split("=") for line in model("count", reader))}


def nodes():
    """Device nodes of the readers, by number."""
    return os.environ["MODEL_NODES"].split()


def instance_of(node):
    return "-".join(node.split("/")[-2:])


def usb_handler(node, *options, wait=True):
    return Handler(instance_of(node), "--device", node, *options, wait=wait)


# ---- programs in C that use the library ----

TOP = os.path.dirname(os.path.dirname(HERE))


def compile_c(name, *options, to=None):
    """tests/process/NAME.c compiled; (path, None) or (None, what the compiler says)."""
    path = os.path.join(DIR, to or name)
    status, said = output(*os.environ.get("CC", "gcc").split(), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror",
                          "-I" + TOP, "-I" + os.path.join(TOP, "client"), "-o", path, os.path.join(HERE, name + ".c"),
                          *options, limit=60, env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
    return (path, None) if status == 0 else (None, said)


def build_client(*options, to=None, directory=None):
    """library-client, linked with the library of that directory (default: the build tree)."""
    directory = directory or B
    # --no-as-needed and rpath: this library and no other
    path, said = compile_c("library-client", *options, os.path.join(directory, "libpcsclite.so.1"),
                           "-Wl,-rpath," + directory, to=to)
    if not path:
        bail(f"library-client: {said}")
    return path


# ---- a virtual reader's card ----


class VirtualCard:
    """A card program (vpcd's protocol) at a virtual reader's unix socket: answers as the emulated cards do, as far as
    CB, EB and EC go."""

    def __init__(self, path, atr=bytes.fromhex("3b80800101")):
        self.atr = atr
        self.n_commands = 0
        self.socket = socket.socket(socket.AF_UNIX)
        if not wait_for(lambda: self.socket.connect_ex(path) == 0):
            bail(f"no socket for a card: {path}")
        threading.Thread(target=self._run, daemon=True).start()

    def _receive(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise OSError("closed")
            data += more
        return data

    def _answer(self, command):
        if len(command) == 1:  # power off, on, reset, ATR
            return self.atr if command[0] == 4 else None
        self.n_commands += 1
        number = command[2] << 8 | command[3]
        if command[1] == 0xCB:
            return pattern(number)
        if command[1] == 0xEB:
            time.sleep(number / 1000)
            return b"\x90\x00"
        if command[1] == 0xEC and len(command) > 5:
            return command[5:5 + command[4]] + b"\x90\x00"
        return b"\x6d\x00"

    def _run(self):
        try:
            while True:
                answer = self._answer(self._receive(struct.unpack(">H", self._receive(2))[0]))
                if answer is not None:
                    self.socket.sendall(struct.pack(">H", len(answer)) + answer)
        except OSError:
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
