# SPDX-License-Identifier: MIT
"""Peers for the ctl-*.sh tests: ctl-peer.py WHAT PATH. Ends when its time (30 s) is over or when it is killed.

card PATH     a card program (vpcd's protocol) that connects to a virtual reader's unix socket at PATH
share PATH    a client: connects shared to slot 0 of the handler at PATH
hold PATH     the same, and begins a transaction
silent PATH   a listener that accepts and says nothing
garbage PATH  a listener that answers with bytes that are no frame
mute PATH     a listener that says WELCOME and then nothing
bye PATH      a listener that refuses, with a sentence that tries to steer the terminal
"""
import signal
import socket
import struct
import sys

ATR = bytes.fromhex('3B80800101')


def frame(kind, serial, body):
    return struct.pack('<IHH', len(body), kind, serial) + body


def receive(connection, size):
    data = b''
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def card(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    print('ready', flush=True)
    while True:
        length, = struct.unpack('>H', receive(connection, 2))
        data = receive(connection, length)
        if length == 1 and data[0] != 4:
            continue  # power off, power on, reset: no answer
        answer = ATR if length == 1 else b'\x6d\x00'
        connection.sendall(struct.pack('>H', len(answer)) + answer)


def client(path, transaction):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(frame(1, 1, struct.pack('<IHH', 0x48444649, 1, 0)))
    connection.sendall(frame(2, 2, struct.pack('<BBHI', 0, 2, 0, 3)))
    while True:
        length, kind, serial = struct.unpack('<IHH', receive(connection, 8))
        body = receive(connection, length)
        if kind == 0x84:
            print(f'bye {struct.unpack_from("<H", body)[0]}', flush=True)
        if kind == 0x82 and serial == 2 and transaction:
            connection.sendall(frame(5, 3, b''))
        if kind == 0x82 and serial == (3 if transaction else 2):
            print('ready', flush=True)


def listen(path, greeting):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    print('ready', flush=True)
    kept = []
    while True:
        connection, _ = listener.accept()
        connection.sendall(greeting)
        kept.append(connection)


GREETINGS = {
    'silent': b'',
    'garbage': b'HTTP/1.1 400 Bad Request\r\n\r\n',
    'mute': frame(0x81, 1, struct.pack('<HH', 1, 1)),
    'bye': frame(0x84, 0, struct.pack('<H', 48) + b'go \x1b[31maway\x07'),
}

if __name__ == '__main__':
    signal.alarm(30)
    what, where = sys.argv[1:]
    if what == 'card':
        card(where)
    elif what in ('share', 'hold'):
        client(where, what == 'hold')
    else:
        listen(where, GREETINGS[what])
