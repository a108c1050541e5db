#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client of the handlers' protocol by its description alone (wire/PROTOCOL.md), for what the library never sends.

    wire.py SOCKET FORM    sends FORM, then reads until the handler closes; prints a line of JSON: seconds until then,
                           and the frames that came. FORM is one of
        hello     a right one, and then a watch: ended by us after half a second
        garbage   random bytes            huge      a frame whose length says 4 GiB
        half      half a frame            nothing   no byte at all
        unknown   a type that there is not          early     a command before HELLO
        short     a body shorter than its fields    long      one that is longer
"""
import json
import os
import socket
import struct
import sys
import time

HELLO, CONNECT, TRANSMIT, WATCH = 0x01, 0x02, 0x07, 0x0C
BYE = 0x84
WAIT = 30  # seconds; longer than any limit of the protocol


def frame(kind, body=b'', serial=1, length=None):
    return struct.pack('<IHH', len(body) if length is None else length, kind, serial) + body


def hello():
    return frame(HELLO, struct.pack('<IHH', 0x48444649, 1, 0))


FORMS = {
    'hello': hello() + frame(WATCH, serial=2),
    'garbage': os.urandom(4096),
    'huge': frame(HELLO, b'', length=0xFFFFFFFF),
    'half': hello()[:9],
    'nothing': b'',
    'unknown': hello() + frame(0x7F, b'abc'),
    'early': frame(TRANSMIT, struct.pack('<I', 0x1000) + b'\0\xa4\0\0'),
    'short': hello() + frame(CONNECT, b'\0\2'),
    'long': hello() + frame(CONNECT, struct.pack('<BBHI', 0, 2, 0, 3) + bytes(100)),
}


def frames(data):
    """[{type, serial, body}] of whole frames."""
    found = []
    while len(data) >= 8:
        length, kind, serial = struct.unpack_from('<IHH', data)
        if len(data) < 8 + length:
            break
        body = data[8:8 + length]
        entry = {'type': kind, 'serial': serial, 'body': body.hex()}
        if kind == BYE:
            entry['status'] = struct.unpack_from('<H', body)[0]
            entry['text'] = body[2:].decode(errors='replace')
        found.append(entry)
        data = data[8 + length:]
    return found


def main(path, form):
    begin = time.monotonic()
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.settimeout(0.5 if form == 'hello' else WAIT)
    closed, data = False, b''
    try:
        peer.sendall(FORMS[form])
        while chunk := peer.recv(65536):
            data += chunk
        closed = True
    except socket.timeout:
        pass
    except (ConnectionError, BrokenPipeError):  # closed with bytes of ours unread
        closed = True
    print(json.dumps({'form': form, 'seconds': round(time.monotonic() - begin, 2), 'closed': closed,
                      'frames': frames(data)}))


if __name__ == '__main__':
    main(*sys.argv[1:])
