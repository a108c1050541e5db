# SPDX-License-Identifier: MIT
"""The part of library-ahead.sh that looks: what two processes agree on outside of the reader holds at the reader, too."""
from process import *

FEATURES = 0x42000D48
handler = Handler("ahead", "--driver", "virtual", "--card", "builtin")
context = Context()
reader = context.list()[0]
card = context.connect(reader)


def outcome(function, *arguments):
    try:
        function(*arguments)
        return "SUCCESS"
    except Error as e:
        return e.name


def in_child(function):
    """Runs it in a forked process with a context of its own, that ends without releasing anything."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = 0 if function(Context().connect(reader)) is not False else 1
    finally:
        os._exit(status)


def join(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def begin_end(own):
    own.begin()
    own.transmit(b"\0\xa4\0\0\2\x3f\0")
    own.end()


seen = set()
for _ in range(200):
    join(in_child(begin_end))
    seen.add(outcome(card.transmit, b"\0\xa4\0\0\2\x3f\0"))
same(seen, {"SUCCESS"}, "whoever ends a transaction and dies at once has ended it: no reset in 200 times")

join(in_child(lambda own: own.begin()))
same(outcome(card.transmit, b"\0\xa4\0\0\2\x3f\0"), "W_RESET_CARD", "whoever dies in a transaction resets the card")
card.reconnect()


def hand_over(tell, asked):
    def run(own):
        while asked.read(1) == b"?":
            own.begin()
            own.end()
            tell.write(b"!")
    return run


question, ask = os.pipe()
answer, tell = os.pipe()
asked, ask = open(question, "rb", buffering=0), open(ask, "wb", buffering=0)
told, tell = open(answer, "rb", buffering=0), open(tell, "wb", buffering=0)
pid = in_child(hand_over(tell, asked))
seen = set()
for _ in range(2000):
    ask.write(b"?")
    told.read(1)
    seen.add(outcome(card.control, FEATURES))
ask.write(b".")
same(join(pid), 0, "a process ends transactions and says so to another")
same(seen, {"SUCCESS"}, "which is never told that the card is in use: 2000 times")


def friendly_name(own):
    length = ctypes.c_ulong(ROOM)
    rv = own.lib.SCardGetAttrib(own.handle, 0x7FFF0003, ctypes.create_string_buffer(ROOM), ctypes.byref(length))
    if rv:
        raise Error(rv & 0xFFFFFFFF)


os.environ["PCSCLITE_NO_BLOCKING"] = "1"
hasty = Context()
del os.environ["PCSCLITE_NO_BLOCKING"]
other = hasty.connect(reader)
seen = set()
for _ in range(500):
    for function in (friendly_name, Card.status):
        card.begin()
        card.end()
        seen.add((function.__name__, outcome(function, other)))
same(seen, {("friendly_name", "SUCCESS"), ("status", "SUCCESS")},
     "nor are other functions told so that look at what is known here: 500 times")
card.begin()
same([outcome(friendly_name, other), outcome(other.status)], ["E_SHARING_VIOLATION"] * 2,
     "but during a transaction they are")
card.end()
hasty.release()

card.begin()
card.begin()
card.end()
card.end()
same(outcome(card.end), "E_NOT_TRANSACTED", "nested ends are counted")
card.begin()
card.reconnect()
same(outcome(card.end), "SUCCESS", "a transaction lives through a reconnect")
same(outcome(card.end), "E_NOT_TRANSACTED", "and ends once")
card.begin()
handler.process.kill()
handler.process.wait()
same(outcome(card.end), "W_RESET_CARD", "the end of a transaction that died with the handler says so")
finish()
