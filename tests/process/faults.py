# SPDX-License-Identifier: MIT
"""What comes after a fault, for usb-faults and usb-iccd."""
from process import *

ERRORS = ("E_NOT_TRANSACTED", "W_RESET_CARD", "W_REMOVED_CARD", "W_UNRESPONSIVE_CARD", "E_READER_UNAVAILABLE",
          "W_UNPOWERED_CARD", "E_NO_SMARTCARD", "E_UNSUPPORTED_FEATURE")
RECOVERY = 15.0  # s until the reader works again: chosen


def recover(context, name, card, protocols, length):
    """As programs do: again, reconnect, connect, until an answer of length() bytes is right. (seconds, what is wrong or None)"""
    start = time.monotonic()
    said = None
    while time.monotonic() < start + RECOVERY:
        n = length()
        outcome = call(card.transmit, give(n)) if card else None
        if outcome and (outcome.value is not None or outcome.hangs):
            right = outcome.value == pattern(n)
            return time.monotonic() - start, None if right else f"the next command: {outcome}"
        said = outcome or said
        how = RESET if outcome and outcome.code == "W_UNRESPONSIVE_CARD" else LEAVE
        outcome = call(card.reconnect, SHARED, protocols, how) if card else call(context.connect, name)
        if outcome.hangs:
            break
        if outcome.error:
            said = outcome
            card = None
            time.sleep(0.1)
        elif not card:
            card = outcome.value
    return time.monotonic() - start, f"last: {said}"


def judge(reader, handler, text, good, context, card, protocols, length, *details):
    """After a fault: were calls `good`, and does the reader work again? What is wrong, or None."""
    model("faults", reader, "clear")
    took, wrong = recover(context, handler.name, card, protocols, length)
    ok(good and not wrong and handler.is_alive(), text, *details, f"recovery took {took:.1f} s: {wrong}", handler.said)
    call(context.release)
    return wrong
