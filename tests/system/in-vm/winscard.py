#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The PC/SC API as it is, by ctypes: every function returns the code that the library gave, nothing is retried.

As a program it makes single calls, each with its code and time as a line of JSON:

    winscard.py list                  {"call": "list", "code": "SCARD_S_SUCCESS", "seconds": 0.01, "readers": [...]}
    winscard.py connect [READER]      SCardConnect and SCardDisconnect
    winscard.py apdu READER HEX...    one connection, one line for each command
    winscard.py until READER SECONDS  connects again and again until it succeeds: a line for first and last code

READER is a part of the name; the first that has it counts ('' is any). LIBRARY in the environment names another
library.
"""
import ctypes
import json
import os
import sys
import time

CODES = {
    0x00000000: 'SCARD_S_SUCCESS', 0x80100001: 'SCARD_F_INTERNAL_ERROR', 0x80100002: 'SCARD_E_CANCELLED',
    0x80100003: 'SCARD_E_INVALID_HANDLE', 0x80100004: 'SCARD_E_INVALID_PARAMETER', 0x80100006: 'SCARD_E_NO_MEMORY',
    0x80100008: 'SCARD_E_INSUFFICIENT_BUFFER', 0x80100009: 'SCARD_E_UNKNOWN_READER', 0x8010000A: 'SCARD_E_TIMEOUT',
    0x8010000B: 'SCARD_E_SHARING_VIOLATION', 0x8010000C: 'SCARD_E_NO_SMARTCARD', 0x8010000F: 'SCARD_E_PROTO_MISMATCH',
    0x80100011: 'SCARD_E_INVALID_VALUE', 0x80100013: 'SCARD_F_COMM_ERROR', 0x80100016: 'SCARD_E_NOT_TRANSACTED',
    0x80100017: 'SCARD_E_READER_UNAVAILABLE', 0x8010001D: 'SCARD_E_NO_SERVICE', 0x8010001E: 'SCARD_E_SERVICE_STOPPED',
    0x8010001F: 'SCARD_E_UNSUPPORTED_FEATURE', 0x8010002E: 'SCARD_E_NO_READERS_AVAILABLE',
    0x80100066: 'SCARD_W_UNRESPONSIVE_CARD', 0x80100067: 'SCARD_W_UNPOWERED_CARD', 0x80100068: 'SCARD_W_RESET_CARD',
    0x80100069: 'SCARD_W_REMOVED_CARD', 0x8010006A: 'SCARD_W_SECURITY_VIOLATION',
}
OK = 'SCARD_S_SUCCESS'
PNP = '\\\\?PnP?\\Notification'
SHARED = 2
ANY_PROTOCOL = 3
LEAVE, RESET = 0, 1
INFINITE = 0xFFFFFFFF
STATE_CHANGED, STATE_PRESENT = 0x0002, 0x0020
DWORD = ctypes.c_ulong
LONG = ctypes.c_long


class ReaderState(ctypes.Structure):
    _fields_ = [('name', ctypes.c_char_p), ('user', ctypes.c_void_p), ('current', DWORD), ('event', DWORD),
                ('atr_length', DWORD), ('atr', ctypes.c_ubyte * 33)]


class IoRequest(ctypes.Structure):
    _fields_ = [('protocol', DWORD), ('length', DWORD)]


def code_name(code):
    return CODES.get(code & 0xFFFFFFFF, f'{code & 0xFFFFFFFF:#010x}')


class Context:
    """One context, alive from here to release()."""

    def __init__(self):
        self.library = ctypes.CDLL(os.environ.get('LIBRARY', 'libpcsclite.so.1'))
        for name in ('EstablishContext', 'ReleaseContext', 'ListReaders', 'Connect', 'Disconnect', 'Transmit',
                     'GetStatusChange', 'Status'):
            getattr(self.library, 'SCard' + name).restype = LONG
        self.context = LONG()
        code = self.library.SCardEstablishContext(DWORD(2), None, None, ctypes.byref(self.context))
        if code != 0:
            raise SystemExit('SCardEstablishContext: ' + code_name(code))

    def release(self):
        return code_name(self.library.SCardReleaseContext(self.context))

    def list(self):
        """(code, names)"""
        names = ctypes.create_string_buffer(65536)
        length = DWORD(len(names))
        code = self.library.SCardListReaders(self.context, None, names, ctypes.byref(length))
        if code != 0:
            return code_name(code), []
        return OK, [name.decode() for name in names.raw[:length.value].split(b'\0') if name]

    def wait(self, states, timeout_ms):
        """states: {name: state known}. Returns (code, {name: (event state, ATR)})."""
        array = (ReaderState * len(states))()
        for entry, (name, known) in zip(array, states.items()):
            entry.name, entry.current = name.encode(), known
        code = self.library.SCardGetStatusChange(self.context, DWORD(timeout_ms), array, DWORD(len(states)))
        return code_name(code), {entry.name.decode(): (entry.event, bytes(entry.atr[:entry.atr_length]).hex())
                                 for entry in array}

    def connect(self, reader, share=SHARED, protocols=ANY_PROTOCOL):
        """(code, Card)"""
        handle, active = LONG(), DWORD()
        code = self.library.SCardConnect(self.context, reader.encode(), DWORD(share), DWORD(protocols),
                                         ctypes.byref(handle), ctypes.byref(active))
        return code_name(code), Card(self.library, handle, active.value) if code == 0 else None


class Card:
    def __init__(self, library, handle, protocol):
        self.library, self.handle, self.protocol = library, handle, protocol

    def transmit(self, command):
        """(code, answer in hex)"""
        data = bytes.fromhex(command)
        answer = ctypes.create_string_buffer(65548)
        length = DWORD(len(answer))
        request = IoRequest(self.protocol, ctypes.sizeof(IoRequest))
        code = self.library.SCardTransmit(self.handle, ctypes.byref(request), data, DWORD(len(data)), None, answer,
                                          ctypes.byref(length))
        return code_name(code), answer.raw[:length.value].hex() if code == 0 else ''

    def disconnect(self, disposition=LEAVE):
        return code_name(self.library.SCardDisconnect(self.handle, DWORD(disposition)))


def timed(function, *arguments):
    begin = time.monotonic()
    result = function(*arguments)
    return result, round(time.monotonic() - begin, 4)


def tell(**fields):
    line = json.dumps({'time': round(time.clock_gettime(time.CLOCK_BOOTTIME), 3), **fields})
    sys.stdout.write(line + '\n')  # whole, whenever a signal comes
    sys.stdout.flush()


def find(context, part):
    code, names = context.list()
    for name in names:
        if part in name:
            return name
    raise SystemExit(f'no reader with "{part}": {code} {names}')


def connect_once(context, part):
    reader = find(context, part)
    (code, card), seconds = timed(context.connect, reader)
    tell(call='connect', code=code, seconds=seconds, reader=reader)
    return card


def main(arguments):
    context = Context()
    what = arguments.pop(0)
    if what == 'list':
        (code, names), seconds = timed(context.list)
        tell(call='list', code=code, seconds=seconds, readers=names)
    elif what == 'connect':
        card = connect_once(context, arguments[0] if arguments else '')
        if card:
            tell(call='disconnect', code=card.disconnect())
    elif what == 'apdu':
        card = connect_once(context, arguments.pop(0))
        for command in arguments if card else ():
            (code, answer), seconds = timed(card.transmit, command)
            tell(call='transmit', code=code, seconds=seconds, answer=answer)
        if card:
            tell(call='disconnect', code=card.disconnect())
    elif what == 'until':
        until(context, arguments[0], float(arguments[1]))
    else:
        raise SystemExit(__doc__)
    context.release()


def until(context, part, limit):
    """The time it takes until a connect succeeds, with one context and one connect after the other."""
    begin = time.monotonic()
    first = True
    while True:
        (code, card), seconds = timed(context.connect, find(context, part))
        passed = time.monotonic() - begin
        if first or card or passed > limit:
            tell(call='connect', code=code, seconds=seconds, after=round(passed, 3))
        if card or passed > limit:
            return
        first = False
        time.sleep(0.1)


if __name__ == '__main__':
    main(sys.argv[1:])
