#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""exchange.py HEX [N]: that command to the card in every (N: every Nth) reader that is listed, several at once, through pyscard. A
line of JSON for each: its name, its place on the bus (PC/SC part 3: SCARD_ATTR_CHANNEL_ID), the ATR, the answer or error."""
import concurrent.futures
import json
import sys
import threading

from smartcard.scard import (SCARD_LEAVE_CARD, SCARD_PCI_T0, SCARD_PCI_T1, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1,
                             SCARD_SCOPE_USER, SCARD_SHARE_SHARED, SCardConnect, SCardDisconnect, SCardEstablishContext,
                             SCardGetAttrib, SCardGetErrorMessage, SCardListReaders, SCardStatus, SCardTransmit)

CHANNEL_ID = 0x00020110
AT_ONCE = 8

own = threading.local()


def check(outcome):
    """What a call gave, without its code."""
    code, *values = outcome
    if code != 0:
        raise RuntimeError(SCardGetErrorMessage(code))
    return values[0] if len(values) == 1 else values


def context():
    if not hasattr(own, 'context'):
        own.context = check(SCardEstablishContext(SCARD_SCOPE_USER))
    return own.context


def exchange(name, command):
    line = {'reader': name}
    try:
        card, protocol = check(SCardConnect(context(), name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1))
        line['protocol'] = protocol >> 1
        place = SCardGetAttrib(card, CHANNEL_ID)
        if place[0] == 0:
            line['place'] = int.from_bytes(bytes(place[1][:4]), 'little')
        line['atr'] = bytes(check(SCardStatus(card))[3]).hex()
        pci = SCARD_PCI_T0 if protocol == SCARD_PROTOCOL_T0 else SCARD_PCI_T1
        line['answer'] = bytes(check(SCardTransmit(card, pci, command))).hex()
        SCardDisconnect(card, SCARD_LEAVE_CARD)
    except RuntimeError as error:
        line['error'] = str(error)
    return line


def main():
    names = check(SCardListReaders(context(), []))[::int((sys.argv[2:] or [1])[0])]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for line in pool.map(exchange, names, [list(bytes.fromhex(sys.argv[1]))] * len(names)):
            print(json.dumps(line), flush=True)


main()
