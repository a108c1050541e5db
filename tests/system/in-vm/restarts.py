#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""restarts.py FORM UNIT ROUNDS: a client that comes at the worst moment of a handler's life, again and again, with one
context. UNIT without suffix: ifdhandler-virtual@demo.

    start    the socket has just been started: the first call after the reader is listed
    kill     the handler has just been killed by SIGKILL
    stop     the handler has just been told to end (SIGTERM), as it does by itself when idle
    idle     the handler's idle time (1 s) is over just now: from 30 ms before to 30 ms after

Every round is one SCardConnect, one SCardTransmit and one SCardDisconnect, no retry. Prints a line of JSON: rounds, how
often each sequence of codes came, and the longest round in seconds.
"""
import collections
import json
import os
import signal
import subprocess
import sys
import time

from winscard import OK, Context

APPEARS = 10  # seconds for the reader to be listed


def systemctl(*arguments):
    return subprocess.run(['systemctl', *arguments], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def use(context, reader):
    code, card = context.connect(reader)
    codes = [code]
    if card:
        codes += [card.transmit('00a4000c023f00')[0], card.disconnect()]
    return codes


def await_reader(context):
    end = time.monotonic() + APPEARS
    while time.monotonic() < end:
        code, names = context.list()
        if code == OK:
            return names[0]
    raise SystemExit(f'no reader within {APPEARS} s: {code}')


def disturb(form, unit, number, rounds):
    if form == 'start':
        systemctl('stop', f'{unit}.service', f'{unit}.socket')
        systemctl('start', '--no-block', f'{unit}.socket')
    elif form == 'idle':
        time.sleep(1 - 0.03 + 0.06 * number / rounds)
    else:
        pid = int(systemctl('show', '--value', '-p', 'MainPID', f'{unit}.service'))
        if pid:
            os.kill(pid, signal.SIGKILL if form == 'kill' else signal.SIGTERM)


def main(form, unit, rounds):
    context = Context()
    rounds = int(rounds)
    codes, longest = collections.Counter(), 0.0
    use(context, await_reader(context))
    for number in range(rounds):
        disturb(form, unit, number, rounds)
        reader = await_reader(context)
        begin = time.monotonic()
        codes[' '.join(use(context, reader))] += 1
        longest = max(longest, time.monotonic() - begin)
    print(json.dumps({'rounds': rounds, 'codes': codes, 'longest': round(longest, 3)}))


if __name__ == '__main__':
    main(*sys.argv[1:])
