#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Programs that use many readers at a steady pace: steady.py SECONDS PAUSE PART

One thread and one context for each reader that has PART in its name (a part that begins with ! must not be there): a
command every PAUSE seconds, whose answer follows from it, for so long; after an error it connects again. A line of JSON
for each reader: how many commands, how often something went wrong, what, and the time of each in seconds.
"""
import sys
import threading
import time

from winscard import OK, Context, tell


def run(name, at, seconds, pause):
    context, card, times, errors = Context(), None, [], []
    end = time.monotonic() + seconds
    time.sleep(pause * (at % 20) / 20)  # not all at once
    n = 0
    while time.monotonic() < end:
        if not card:
            code, card = context.connect(name)
            if not card:
                errors.append(code)
                time.sleep(pause)
                continue
        n += 1
        data = (n * 256 + at).to_bytes(4, 'big').hex()
        begin = time.monotonic()
        code, answer = card.transmit(f'00ec000004{data}00')
        times.append(round(time.monotonic() - begin, 5))
        if code != OK:
            errors.append(code)
            card.disconnect()
            card = None
        elif answer != data + '9000':
            errors.append(f'{data} answered with {answer}')
        time.sleep(pause)
    tell(reader=name, commands=n, failed=len(errors), errors=errors[:20], times=times)


def main(seconds, pause, part):
    code, names = Context().list()
    tell(call='list', code=code, readers=names)
    names = [name for name in names if (part[1:] not in name if part[0] == '!' else part in name)]
    threads = [threading.Thread(target=run, args=(name, i, float(seconds), float(pause)))
               for i, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == '__main__':
    main(*sys.argv[1:])
