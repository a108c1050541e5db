#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""crash.py READER PID HEX: a long command (HEX) is under way when the handler (PID) is killed by SIGKILL.

One context for all. Prints a line of JSON: code of the interrupted SCardTransmit and its seconds after the kill; codes
of what follows at once (SCardListReaders, SCardConnect, a short command), and the seconds until all of it was done.
"""
import json
import os
import signal
import sys
import threading
import time

from winscard import OK, Context, find


def main(part, pid, command):
    context = Context()
    reader = find(context, part)
    code, card = context.connect(reader)
    if code != OK:
        raise SystemExit(f'connect: {code}')
    killed = []

    def kill():
        killed.append(time.monotonic())
        os.kill(int(pid), signal.SIGKILL)

    threading.Timer(1.0, kill).start()
    interrupted, _ = card.transmit(command)
    begin = time.monotonic()
    after_kill = begin - killed[0] if killed else None
    old_handle = card.disconnect()
    listed, names = context.list()
    connected, card = context.connect(reader)
    answered, answer = card.transmit('00a40000') if card else ('', '')
    print(json.dumps({'interrupted': interrupted, 'after_kill': after_kill, 'old_handle': old_handle, 'list': listed,
                      'listed': reader in names, 'connect': connected, 'transmit': answered, 'answer': answer,
                      'again': time.monotonic() - begin}))


if __name__ == '__main__':
    main(*sys.argv[1:])
