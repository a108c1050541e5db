# SPDX-License-Identifier: MIT
"""The part of many-stopped.sh that calls. The times are those of winscard(3); all calls that wait run at once."""
from process import *

SELECT_MF = bytes.fromhex("00A40000023F00")
SOON = 1.0  # what takes no time, on a busy machine
KNOWN, GREET, SIGN = 5, 10, 15

hung = Handler("hung", "--driver", "virtual", "--card", "builtin")
well = Handler("well", "--driver", "virtual", "--card", "builtin")
busy = Handler("busy", "--driver", "virtual", "--card", "unix:" + os.path.join(DIR, "card"))
slow_card = VirtualCard(os.path.join(DIR, "card"))


def stop():
    hung.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: open(f"/proc/{hung.process.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "T")


def quick(outcome, text, *details):
    return ok(not outcome.hangs and not outcome.error and outcome.took < SOON, text, outcome, *details)


def ends(call_, code, at, text):
    outcome = call_.join(at + 10)
    ok(outcome.code == code and at - 0.5 < outcome.took < at + 4, f"{text}: {code} after {at} s", outcome)
    return outcome


context = Context()
contexts = [Context() for _ in range(3)]
cards = [each.connect(hung.name) for each in contexts]
parked_in = Context()
parked_in.connect(hung.name).disconnect()
watcher = Context()
watcher.state(hung.name)
busy_card = call(Context().connect, busy.name).value
stop()

# those who wait for it
transmit = Call(cards[0].transmit, SELECT_MF)
begin = Call(cards[1].begin)
connect = Call(Context().connect, hung.name)
parked = Call(parked_in.connect, hung.name)
fresh = Context()
state = Call(fresh.change, 0, (hung.name, 0), (well.name, 0))
long = Call(busy_card.transmit, slow(12000))

# those who do not
outcome = call(Context().list)
quick(outcome, "listing is not delayed")
same(sorted(outcome.value or []), sorted([hung.name, well.name, busy.name]), "all readers are listed")
quick(call(Context), "nor is a new context")
quick(call(lambda: Context().state(well.name)), "nor a look at another reader's state")
other = call(Context().connect, well.name)
quick(other, "nor a connect to another reader")
quick(call(other.value.transmit, SELECT_MF), "nor its commands")
quick(call(lambda: watcher.change(0, (hung.name, 0))), "what is known of it already is there at once")
quick(call(cards[2].status), "so is a handle's status")
quick(call(Context().release), "a context that holds nothing of it is released at once")

outcome = ends(state, "success", KNOWN, "a first look at its state, with one at another's")
ok(outcome.value and outcome.value[0][0] & UNAVAILABLE and outcome.value[1][0] & PRESENT, "it is unavailable, and the other is there", outcome.value)
ends(connect, "E_READER_UNAVAILABLE", GREET, "a new connect")
same(long.join().code, "success", "a command of 12 s at another reader is waited for", long.outcome)
ends(transmit, "E_READER_UNAVAILABLE", SIGN, "a command")
ends(begin, "E_READER_UNAVAILABLE", SIGN, "a transaction")
ends(parked, "E_READER_UNAVAILABLE", SIGN, "a connect over a connection that was there")
same(call(cards[0].transmit, SELECT_MF).code, "W_RESET_CARD", "the handle has lost its connection, and says so at once")
outcome = call(Context().list)
quick(outcome, "the list is as fast as before")

hung.process.send_signal(signal.SIGCONT)
outcome = call(cards[0].reconnect)
ok(not outcome.hangs and not outcome.error, "when the handler goes on, a reconnect mends the handle", outcome)
same(call(cards[0].transmit, SELECT_MF).code, "success", "which works")


def works(card):
    try:
        card.transmit(SELECT_MF)
    except Error as error:
        if error.name != "W_RESET_CARD":  # the transaction began after all, and was cut off
            raise
        card.reconnect()
        card.transmit(SELECT_MF)


same(call(works, cards[2]).code, "success", "so does one that was not used meanwhile")
ok(call(fresh.await_state, hung.name, PRESENT).value, "and its state is known again")

both = [(hung.name, context.state(hung.name)[0]), (busy.name, context.state(busy.name)[0])]
stop()
outcome = call(context.change, 200, *both)
ok(outcome.code == "E_TIMEOUT" and 0.15 < outcome.took < SOON, "a wait on two whose states are known ends at its time",
   outcome)
wait = Call(context.change, 10000, *both)
slow_card.close()
outcome = wait.join()
quick(outcome, "and the other's event ends it at once")
ok(outcome.value and outcome.value[1][0] & EMPTY, "which is that its card is gone", outcome.value)
outcome = call(contexts[2].release)
ok(not outcome.hangs and 0.5 < outcome.took < 3, "the release of a context that was connected there waits a second at most", outcome)
hung.process.send_signal(signal.SIGCONT)
finish()
