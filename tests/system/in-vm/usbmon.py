#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""usbmon.py BUS DEVICE COMMAND...: runs the command and counts what the kernel saw on the bus meanwhile.

Prints a line of JSON: completed transfers of that device by kind ("Bo" bulk OUT, "Bi" bulk IN, "Ii" interrupt, "Ci" and
"Co" control), and the same without those that were taken back. Format: the kernel's Documentation/usb/usbmon.rst.
"""
import collections
import json
import os
import select
import subprocess
import sys
import time

SETTLE = 0.3  # seconds that the last line may need to show


def main(bus, device, *command):
    taken_back = ('-2', '-104', '-108')  # ENOENT, ECONNRESET: unlinked; ESHUTDOWN: device gone
    monitor = os.open(f'/sys/kernel/debug/usb/usbmon/{int(bus)}u', os.O_RDONLY | os.O_NONBLOCK)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = b''
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        if select.select([monitor], [], [], SETTLE / 3)[0]:
            try:
                text += os.read(monitor, 65536)
            except BlockingIOError:
                time.sleep(0.01)
    count, lines = collections.Counter(), []
    for line in text.decode(errors='replace').splitlines():
        words = line.split()
        kind, number, where, _ = words[3].split(':')
        if words[2] == 'C' and int(number) == int(bus) and int(where) == int(device):
            if words[4].split(':')[0] not in taken_back:
                count[kind] += 1
            lines.append(line)
    print(json.dumps({'status': result.returncode, 'output': result.stdout.decode(errors='replace'),
                      'completed': dict(count), 'lines': lines}))


if __name__ == '__main__':
    main(*sys.argv[1:])
