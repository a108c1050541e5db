# SPDX-License-Identifier: MIT
"""The part of storm.sh that runs among the readers.

One thread for each reader goes through seeded sequences until the time is over: programs connect, send commands whose
answers follow from them alone, reset, wait and are cancelled, while faults strike. Every call ends in time, with its own
answer or a clean error; when the faults are over, the reader works again; the host has kept the rules; handlers live until
their reader is unplugged, and end well.
"""
import itertools
import random

from process import *

SECONDS = float(os.environ.get("STORM_SECONDS", "8"))
ONE = os.environ.get("STORM_SEED")
MODELS = os.environ["STORM_MODELS"].split()
CARD = os.environ["CARD"]
LIMIT = 40.0  # of one call: the longest times in here, one after the other, on a busy machine
RECOVERY = 20.0

ERRORS = ("E_NOT_TRANSACTED", "W_RESET_CARD", "W_REMOVED_CARD", "W_UNRESPONSIVE_CARD", "E_READER_UNAVAILABLE",
          "W_UNPOWERED_CARD", "E_NO_SMARTCARD", "E_UNSUPPORTED_FEATURE", "E_PROTO_MISMATCH", "E_UNKNOWN_READER",
          "E_NO_READERS_AVAILABLE", "E_TIMEOUT", "E_CANCELLED", "F_COMM_ERROR", "E_INVALID_HANDLE",
          "E_INVALID_VALUE")  # what pcscd says of a card whose reader has gone
QUICK = """
seq status=40 status=41 status=42 status=1 error=fe chain=0 chain=2 length=0 length=10 stale stale=5 stale=20 refuse=e0
refuse=f2 refuse=fe refuse=fb refuse=fd refuse=0 late=50 late=600 extend extend=5 cut=0 cut=11 empty pad=4 surplus=4 surplus=64
twin glue split=5:20 split=64:20 garbage=1 garbage=32 garbage=600 zlp zlp=3 zlp-after stall-in stall-out overflow
interrupt-error interrupt-error=3 interrupt-stall interrupt-silent control-stall
""".split()
T1_FAULTS = """
t1-edc t1-ns t1-nad t1-pcb=c4 t1-pcb=82 t1-len t1-short t1-garbage=7 t1-parity t1-reject t1-wtx=2 t1-ifs=10 t1-abort
""".split()
SLOW = "drop deaf nak-out error-in cut=9 slot type length t1-lose t1-deaf".split()
ON = ["on=6f"] * 6 + ["", "on=62", "on=63", "on=65", "on=61", "on=6c"]
# A power-up that is not answered has 60 s: too long for here.
NEVER_ON_POWER = ("drop", "deaf", "seq", "cut", "slot", "type", "length", "garbage", "stale=20", "nak-out", "late")
# What a fault excuses (see blow_excuses in storm-blow.c), and answers that are cut where nothing can tell.
EXCUSES = {"wLevelParameter": ("chain", "status", "length", "refuse"), "reader at T=": ("refuse", "error", "status", "chain"),
           "more than": ("deaf", "drop", "extend", "status"), "SetParameters to a reader that negotiates": ("",)}
CUTS = ("length", "chain", "empty")

nonce = itertools.count()


class Wrong(Exception):
    pass


def is_part(data, whole):
    rest = iter(whole)
    return len(data) < len(whole) and all(byte in rest for byte in data)


class Sequence:
    def __init__(self, reader, handler, seed):
        self.reader, self.handler, self.seed = reader, handler, seed
        self.names = handler.names[:2]
        self.rng = random.Random(seed)
        self.kinds = []
        self.log = []
        self.card = None
        self.context = Context()
        self.said = 0

    def note(self, text):
        self.log.append(str(text)[:200])

    # ---- blows ----

    def blow(self):
        rng = self.rng
        what = rng.random()
        if what < 0.75:
            fault = rng.choice(QUICK if rng.random() < 0.85 else SLOW) if rng.random() < 0.75 else rng.choice(T1_FAULTS)
            on = rng.choice(ON)
            if fault.startswith(NEVER_ON_POWER) and on in ("", "on=62"):
                on = "on=6f"
            words = [fault, *([] if fault.startswith("t1-") else [on] if on else [])]
            if rng.random() < 0.3:
                words.append(f"skip={rng.randrange(4)}")
            if rng.random() < 0.2:
                words.append(f"times={rng.randrange(2, 4)}")
            self.kinds.append(fault)
        elif what < 0.95:
            self.note("card " + (how := rng.choice(("out", "in", "swap"))))
            model("card", self.reader, 0, how, check=False)
            return
        else:
            words = ["vanish=" + str(rng.randrange(50))]
        self.note(words)
        model("fault", self.reader, *words, check=False)

    # ---- calls ----

    def call(self, text, function, *arguments, wanted=None):
        outcome = call(function, *arguments, limit=LIMIT)
        self.note(f"{text}: {outcome}")
        if outcome.hangs:
            raise Wrong(f"{text} hangs")
        if outcome.error and outcome.code not in ERRORS:
            raise Wrong(f"{text}: {outcome.code}")
        if outcome.code in ("E_INVALID_HANDLE", "E_INVALID_VALUE"):
            self.card = None
        if wanted and outcome.value is not None and outcome.value != wanted:
            cut = any(kind.startswith(CUTS) for kind in self.kinds) and is_part(outcome.value, wanted)
            if not cut and outcome.value[:1] != b"\x64":
                raise Wrong(f"{text}: answer {outcome.value[:12].hex()}... of {len(outcome.value)} bytes, "
                            f"wanted {wanted[:12].hex()}... of {len(wanted)}")
        return outcome

    def transmit(self):
        n = next(nonce)
        if self.card.protocol == T1:
            data = struct.pack("<I", n) + self.rng.randbytes(self.rng.randrange(200))
            return self.call("echo", self.card.transmit, echo(data), wanted=data + b"\x90\0")
        n = 1 + n % 250
        return self.call("give", self.card.transmit, give(n), wanted=pattern(n))

    def wait_and_cancel(self):
        waits = Call(self.context.change, 5000, (self.handler_name, self.context.state(self.handler_name)[0]))
        time.sleep(self.rng.random() * 0.02)
        self.call("cancel", self.context.cancel)
        outcome = waits.join(LIMIT)
        self.note(f"waiting: {outcome}")
        if outcome.hangs or outcome.took > 6 + LIMIT / 4:
            raise Wrong("waiting is not cancelled")

    def act(self):
        what = self.rng.random()
        if not self.card:
            self.card = self.call("connect", self.context.connect, self.handler_name).value
        elif what < 0.6:
            if self.transmit().error and self.card and self.rng.random() < 0.7:
                self.reconnect()
        elif what < 0.68:
            self.call("begin", self.card.begin)
            if self.card:
                self.transmit()
            if self.card:
                self.call("end", self.card.end, self.rng.choice((LEAVE, RESET)))
        elif what < 0.76:
            self.call("status", self.card.status)
        elif what < 0.84:
            self.reconnect()
        elif what < 0.9:
            self.call("disconnect", self.card.disconnect, self.rng.choice((LEAVE, RESET, UNPOWER)))
            self.card = None
        elif what < 0.95:
            self.call("features", self.card.control, 0x42000D48)
        else:
            try:
                self.wait_and_cancel()
            except Error as error:
                self.note(f"state: {error}")

    def reconnect(self):
        if self.call("reconnect", self.card.reconnect, SHARED, T0 | T1, self.rng.choice((LEAVE, RESET, UNPOWER))).error:
            self.card = None

    @property
    def handler_name(self):
        return self.names[self.rng.randrange(len(self.names))]

    # ---- the whole ----

    def play(self):
        for _ in range(self.rng.randrange(4, 10)):
            if len(self.kinds) < 6 and self.rng.random() < 0.5:
                self.blow()
            self.act()
        self.heal()
        self.recover()
        self.judge()
        self.context.release()

    def heal(self):
        self.note("the faults are over")
        model("faults", self.reader, "clear")
        if model("node", self.reader)[0] == "node=-" or not self.handler.is_alive():
            self.replug()
        model("card", self.reader, 0, "in", check=False)

    def replug(self):
        if self.handler.wait(10) != 0:
            raise Wrong(f"its handler ended with {self.handler.process.poll()}")
        if self.handler.complaints():
            raise Wrong("its handler has crashed")
        forget(self.handler)
        node = model("plug", self.reader, check=False)
        if not node:
            raise Wrong("its handler ended, and the reader is there")
        self.handler = usb_handler(node[0].partition("=")[2])
        self.names = self.handler.names[:2]
        self.card = None

    def recover(self):
        """As programs do: again, reconnect with a reset, connect."""
        start = time.monotonic()
        for name in self.names:
            if self.card:
                call(self.card.disconnect)
            self.card, how = None, LEAVE
            while True:
                if not self.card:
                    self.card = self.call("connect", self.context.connect, name).value
                elif how == RESET and self.call("reconnect", self.card.reconnect, SHARED, T0 | T1, RESET).error:
                    self.card = None
                outcome = self.transmit() if self.card else None
                if outcome and not outcome.error:
                    break
                how = RESET
                if time.monotonic() > start + RECOVERY:
                    raise Wrong(f"{name} does not work {RECOVERY} s after the faults")
                time.sleep(0.05)
                if not self.handler.is_alive():
                    self.replug()

    def judge(self):
        lines = model("violations", self.reader)
        for line in lines[counted.get(self.reader, 0):]:
            excuses = [e for text, faults in EXCUSES.items() if text in line for e in faults]
            if not any(kind.startswith(e) for kind in [*self.kinds, ""] for e in excuses):
                raise Wrong(f"violation: {line}")
        counted[self.reader] = len(lines)


counted = {}
results = {}


def worker(reader, node):
    handler = usb_handler(node)
    done, failed = 0, 0
    for k in itertools.count():
        if time.monotonic() > end or (ONE and k):
            break
        seed = int(ONE) if ONE else k * len(MODELS) + reader
        sequence = Sequence(reader, handler, seed)
        try:
            sequence.play()
        except (Wrong, Error, RuntimeError) as wrong:
            failed += 1
            with _print:
                print(f"# tests/storm: STORM_SEED={seed} ({MODELS[reader]}): {wrong}")
                for line in sequence.log[-25:]:
                    print("#    ", line)
                print("#    ", sequence.handler.said()[-1500:].replace("\n", "\n#     "), flush=True)
            model("faults", reader, "clear")
            break
        handler = sequence.handler
        done += 1
    results[reader] = done, failed
    if done and not failed and handler.is_alive():
        same(handler.stop(), 0, f"{MODELS[reader]}: its handler ends with status 0", handler.said)


_print = threading.Lock()
library()
end = time.monotonic() + (1e9 if ONE else SECONDS)
threads = [threading.Thread(target=worker, args=(i, node)) for i, node in enumerate(nodes())
           if not ONE or int(ONE) % len(MODELS) == i]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for reader, (done, failed) in sorted(results.items()):
    ok(done and not failed, f"fault storm, by the wall clock: {MODELS[reader]}")
print(f"# {sum(done for done, _ in results.values())} sequences")
ok(sum(done for done, _ in results.values()) >= (1 if ONE else 60), "a storm has at least 60 sequences")
finish()
