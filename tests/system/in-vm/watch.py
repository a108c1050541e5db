#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Long-lived applications, each with ONE context from start to end; every call is a line of JSON on standard output.

    watch.py list        lists the readers once a second
    watch.py pnp         blocked in SCardGetStatusChange on the PnP reader
    watch.py use         waits for readers and cards as pcsc_scan does, and uses every card that comes: connect, one
                         command, disconnect
    watch.py card NAME   blocked in SCardGetStatusChange on that reader (a part of its name)
    watch.py work NAME HEX [N]
                         one connection, the command again and again (N times, 0: without end) until one fails; a line
                         for that, and a last one with the number and the longest time
"""
import signal
import sys
import time

from winscard import INFINITE, OK, PNP, STATE_CHANGED, STATE_PRESENT, Context, find, tell, timed

SELECT_CARD_MANAGER = '00a4040007a0000000790100'  # an applet of the emulated PKI card; others answer an error


def watch_list(context):
    while True:
        (code, names), seconds = timed(context.list)
        tell(call='list', code=code, seconds=seconds, readers=names)
        time.sleep(1)


def watch_pnp(context):
    known = 0
    tell(call='begin')
    while True:
        code, states = context.wait({PNP: known}, INFINITE)
        known = states[PNP][0] & ~STATE_CHANGED
        tell(call='wait', code=code, state=f'{states[PNP][0]:#x}')


def watch_card(context, part):
    reader = find(context, part)
    known = 0
    while True:
        code, states = context.wait({reader: known}, INFINITE)
        known = states[reader][0] & ~STATE_CHANGED
        tell(call='wait', code=code, state=f'{states[reader][0]:#x}', atr=states[reader][1])
        if code != OK:
            return


def use(context, reader):
    """One use of a card, as an application does it."""
    (code, card), seconds = timed(context.connect, reader)
    tell(call='connect', code=code, seconds=seconds, reader=reader)
    if card:
        (code, answer), seconds = timed(card.transmit, SELECT_CARD_MANAGER)
        tell(call='transmit', code=code, seconds=seconds, answer=answer)
        tell(call='disconnect', code=card.disconnect())


def watch_use(context):
    known = {PNP: 0}
    while True:
        code, names = context.list()
        tell(call='list', code=code, readers=names)
        known = {PNP: known[PNP], **{name: known.get(name, 0) for name in names}}
        code, states = context.wait(known, INFINITE)
        tell(call='wait', code=code, states={name: f'{state:#x}' for name, (state, _) in states.items()})
        if code != OK:  # a reader left between the two calls
            continue
        for name, (state, _) in states.items():
            if name != PNP and state & STATE_CHANGED and state & STATE_PRESENT and not known[name] & STATE_PRESENT:
                use(context, name)
            known[name] = state & ~STATE_CHANGED


def work(context, part, command, times='0'):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the last line is written
    reader = find(context, part)
    code, card = context.connect(reader)
    tell(call='connect', code=code, reader=reader)
    done, longest = 0, 0.0
    try:
        while card and (done < int(times) or times == '0'):
            (code, _), seconds = timed(card.transmit, command)
            longest = max(longest, seconds)
            done += 1
            if code != OK:
                tell(call='transmit', code=code, seconds=seconds)
                return
    finally:
        tell(call='end', done=done, longest=longest)


def main(what, *arguments):
    {'list': watch_list, 'pnp': watch_pnp, 'use': watch_use, 'card': watch_card, 'work': work}[what](
        Context(), *arguments)


if __name__ == '__main__':
    main(*sys.argv[1:])
