# SPDX-License-Identifier: MIT
"""The devices of tests/model/models/field: what is recorded of each, and what our udev data say of it.

field.py [--only NAME,NAME...] COMMAND ARGUMENT... -- PROGRAM...   runs umock-reader with all of them, not plugged in,
in the order of devices(): COMMAND ARGUMENT... {-m MODEL -u -p KEY=VALUE...}... -- PROGRAM..., with their names in FIELD.
"""
import fnmatch
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODELS = os.path.join(TOP, "tests/model/models/field")
HWDB = os.path.join(TOP, "udev/71-ifdhandler.hwdb")
LEVELS = {"character": "character", "TPDU": "TPDU", "short": "short APDU", "extended": "extended APDU"}
LEVEL_BITS = {"character": 0, "TPDU": 0x10000, "short": 0x20000, "extended": 0x40000}
ALL_LEVELS = 0x70000
# of the cards that are in there at the start
ATRS = {"t0": "3b12131450", "t1": "3b951381018073ff01000b", "A": "3b021450", "B": "3b80800101", "C": "3b800181",
        "crc": "3b8081410141", "small": "3b8081111000", "big": "3b808111feee"}


class Interface:
    """One line of the table; after correct() what a driver makes of it."""

    def __init__(self, words):
        self.number, self.n_endpoints = int(words[1]), int(words[2])
        self.level, self.features = words[3], int(words[4], 16)
        self.protocols = {"T=0": (0,), "T=1": (1,), "both": (0, 1)}[words[5]]
        self.n_slots, self.message_length, self.ifsd = int(words[6]), int(words[7]), int(words[8])
        self.voltages, self.pin = int(words[9]), int(words[10])

    def correct(self, quirks):
        """0 is no block size, and no block has more than 254 bytes (ISO/IEC 7816-3 11.4.2)."""
        self.ifsd = min(max(self.ifsd, 32), 254)
        for word in quirks:
            key, _, value = word.partition("=")
            if key == "level":
                self.level = value
                self.features = self.features & ~ALL_LEVELS | LEVEL_BITS[value]
            elif key == "short-chains" and self.level == "short":
                self.level = "extended"
                self.features = self.features & ~ALL_LEVELS | LEVEL_BITS["extended"]
            elif key == "auto-ifsd":
                self.features |= 0x400
            elif key == "ifsd":
                self.ifsd = int(value)
            elif key == "slots":
                self.n_slots = min(self.n_slots, int(value))
            elif key == "no-pinpad":
                self.pin = 0

    @property
    def room(self):
        """Of data in one message."""
        return self.message_length - 10

    @property
    def is_token(self):
        """Driven by control transfers (ICCD)."""
        return self.n_endpoints < 2


class Device:
    def __init__(self, name):
        self.name = name
        self.path = os.path.join(MODELS, name + ".model")
        self.recorded = []
        self.interfaces = []
        with open(self.path, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split("=", 1) for line in file if "=" in line and line[0] != "#"]
        keys = dict(lines[::-1])
        self.ids = tuple(int(keys[key], 16) for key in ("vid", "pid", "bcd"))
        self.cards = [value for key, value in lines if key == "card"]
        self.is_vendors = any(key == "class" and value.startswith("ff/") for key, value in lines)
        self.is_full_speed = "speed" not in keys
        self.properties = properties(*self.ids)
        # a vendor's own interface is looked at only where a row says so
        self.is_left_alone = self.is_vendors and "IFDHANDLER_DRIVER" not in self.properties
        self.quirks = self.properties.get("IFDHANDLER_KNOWN", "").split()

    def add(self, words):
        """One line of the table; the model has the card that is in there at the start."""
        self.recorded.append(Interface(words))
        self.interfaces.append(Interface(words))
        self.interfaces[-1].correct(self.quirks)
        self.interfaces[-1].card = self.cards[len(self.interfaces) - 1]

    @property
    def slots(self):
        """The interface of each slot."""
        return [i for i in self.interfaces for _ in range(i.n_slots)]

    @property
    def is_token(self):
        return self.interfaces[0].is_token


def rows():
    """The rows of our hwdb: (patterns, {key: value})."""
    patterns, values, all_rows = [], {}, []
    with open(HWDB, encoding="utf-8") as file:
        for line in [*file, "\n"]:
            line = line.rstrip("\n")
            if line.startswith(" "):
                key, value = line[1:].split("=", 1)
                values[key] = value
            elif values:
                all_rows.append((patterns, values))
                patterns, values = [], {}
            if line and line[0] not in " #":
                patterns.append(line)
    return all_rows


_rows = rows()


def properties(vid, pid, bcd):
    """What udev would find there: of all rows that match, a later one wins."""
    key = f"ifdhandler:usb:{vid:x}/{pid:x}/{bcd:x}"
    found = {}
    for patterns, values in _rows:
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns):
            found.update(values)
    return found


def devices():
    """All of them, in the order of their names."""
    found = {}
    with open(os.path.join(MODELS, "interfaces"), encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if words and words[0] != "#":
                found.setdefault(words[0], None)
                found[words[0]] = found[words[0]] or Device(words[0])
                found[words[0]].add(words)
    return list(found.values())


def commands(interface, protocol):
    """(what it is, command, answer): each case of ISO/IEC 7816-3 12.1 that reader and card can exchange."""
    from process import T0, T1, echo, give, pattern  # it wants to be in a test
    at_t0 = protocol == T0 and interface.level in ("TPDU", "character")
    sent = [("case 1", bytes((0, 0xE6, 0x90, 0x00)), b"\x90\x00")]
    sent += [(f"case 2, {n} bytes", give(n), pattern(n)) for n in (1, 52, 116, 256)]
    sent += [(f"case 3, {n} bytes", bytes((0, 0xA4, 4, 0, n)) + bytes(n), b"\x90\x00") for n in (1, 49, 113, 255)]
    if at_t0:
        # half of the exchange is the program's (PC/SC part 3; GET RESPONSE)
        sent += [("case 4", echo(b"abcd"), b"\x61\x04"), ("GET RESPONSE", bytes((0, 0xC0, 0, 0, 4)), b"abcd\x90\x00")]
    else:
        sent += [(f"case 4, {n} bytes", echo(pattern(n)[:n]), pattern(n)) for n in (1, 48, 250)]
    if interface.level == "extended" or protocol == T1 and interface.level in ("TPDU", "character"):
        sent += [(f"case 2 extended, {n} bytes", give(n, True), pattern(n)) for n in (300, 2000)]
        sent += [("case 3 extended, 600 bytes", bytes((0, 0xA4, 4, 0, 0, 2, 88)) + bytes(600), b"\x90\x00"),
                 ("case 4 extended, 900 bytes", echo(pattern(900)[:900], True), pattern(900))]
    elif interface.level == "short" or at_t0:
        # all in one message; announced as 263, it is 271 (products of SCM)
        room = 261 if interface.message_length == 263 else interface.room
        sent = [(what, command, answer) for what, command, answer in sent if max(len(command), len(answer)) <= room]
    return sent


def arguments(some):
    """Options of umock-reader or usbip-reader for some devices."""
    return [word for device in some
            for word in ("-m", device.path, "-u", *(w for pair in device.properties.items() for w in ("-p", "=".join(pair))))]


def main(words):
    some = devices()
    if words[0] == "--only":
        some = [device for device in some if device.name in words[1].split(",")]
        words = words[2:]
    at = words.index("--")
    os.environ["FIELD"] = " ".join(device.name for device in some)
    os.execv(words[0], [*words[:at], *arguments(some), *words[at:]])


if __name__ == "__main__":
    main(sys.argv[1:])
