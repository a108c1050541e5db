#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a reader can do to its host, one thing after the other and round again until it is killed: hostile.py SOCKET [behaving]

The reader is number 0 of the model that listens at SOCKET. At the end of a round it is pulled out and put in again. A reader that
is behaving makes the same moves in the same time, and does no harm.
"""
import socket
import sys

FAULTS = ('extend=0 on=6f', 'garbage=600 times=0', 'overflow times=0', 'stall-in times=0', 'seq times=0', 'length times=0',
          'stale=40 times=0', 'zlp=60 times=0', 'twin times=0', 'interrupt-error=12', 'drop times=0', 'split=1:5 times=0',
          'surplus=600 times=0', 'error-in times=0', 'slot times=0', 'cut=9 times=0')
INTERRUPTS = 8  # that nothing was the cause of


def main(path, how='hostile'):
    with socket.socket(socket.AF_UNIX) as model:
        model.connect(path)
        with model.makefile('rw') as lines:
            def command(words):
                lines.write(words + '\n')
                lines.flush()
                for line in lines:
                    if line == 'ok\n' or line.startswith('error: '):
                        return
                raise SystemExit('the model has ended')

            while True:
                for fault in FAULTS:
                    command(f'fault 0 {fault}' if how == 'hostile' else 'faults 0 clear')
                    for _ in range(INTERRUPTS):
                        command('interrupt 0 0 50 03')
                    command('sleep 150')
                    command('faults 0 clear')
                for words in ('unplug 0', 'sleep 200', 'plug 0', 'sleep 1500'):
                    command(words)


main(*sys.argv[1:])
