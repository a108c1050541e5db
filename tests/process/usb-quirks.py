# SPDX-License-Identifier: MIT
"""The part of usb-quirks.sh that runs among the readers."""
import json

from process import *

IOCTL_ESCAPE = 0x42000001  # PC/SC: vendor command to the reader
OURS_AND_THEIRS, OURS, THEIRS, NONE = range(4)


def status(handler):
    said = output(os.path.join(B, "reader-ctl"), "status", "--json", handler.instance)[1]
    return json.loads(said)[0]["slots"][0]


def escape(handler):
    """Is a vendor command let through?"""
    outcome = call(context.connect, handler.name)
    if not outcome.value:
        return str(outcome)
    done = call(outcome.value.control, IOCTL_ESCAPE, b"\x02")
    outcome.value.disconnect()
    return done.code != "E_UNSUPPORTED_FEATURE"


handlers = [usb_handler(node) for node in nodes()]
context = Context()
found = [status(handler) for handler in handlers]
same(found[OURS_AND_THEIRS].get("quirks"), "ifsd=100 max-rate=9600 min-firmware=9999",
     "an administrator's words add to ours, win over them and take them back")
same((found[OURS_AND_THEIRS]["max-ifsd"], found[OURS_AND_THEIRS]["max-speed"]), ("100", "9600 bit/s"), "they act")
same(found[OURS_AND_THEIRS].get("unknown-quirk"), "no-such-word", "a word that means nothing is shown")
advice = found[OURS_AND_THEIRS].get("advice", "")
ok("is older than 99.99" in advice, "firmware that is too old is told", advice)
same(handlers[OURS_AND_THEIRS].said().count(advice), 1, "the journal says it, once", handlers[OURS_AND_THEIRS].said())
same([reader.get("quirks") for reader in found[1:]], ["no-pps", "escape", None], "ours alone, theirs alone, and none")
same([reader.get("advice") for reader in found[1:]], [None] * 3, "no advice where there is none to give")
same([escape(handlers[i]) for i in (OURS_AND_THEIRS, THEIRS, NONE)], [False, True, False],
     "vendor commands go where the word is in force, and nowhere else")
for handler in handlers:
    call(handler.stop)
finish()
