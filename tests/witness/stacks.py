# SPDX-License-Identifier: MIT
"""Two stacks among the same emulated devices, one after the other: ours, and the distribution's pcscd with its CCID driver."""
import plistlib

import process
from process import *

CHANNEL_ID = 0x00020110  # PC/SC part 3: 0020h (USB), bus, address
MOST_READERS = 16  # of one pcscd


def known_ids():
    """Products that the other driver has in its list."""
    with open(os.environ["CCID_LIST"], "rb") as file:
        words = plistlib.load(file)
    return {(int(vendor, 16), int(product, 16)) for vendor, product in zip(words["ifdVendorID"], words["ifdProductID"])}


def with_library(path):
    """A context of that library; what is made before keeps the other."""
    process.LIBRARY = path
    process._library = None
    return Context()


def attribute(card, tag):
    buffer, n = ctypes.create_string_buffer(200), DWORD(200)  # 264 are too many for one of them
    if card.lib.SCardGetAttrib(card.handle, tag, buffer, ctypes.byref(n)):
        return b""
    return buffer.raw[:n.value]


class Theirs:
    """A pcscd that has found what is plugged in: it looks before it serves."""

    def __init__(self):
        for directory in ("/run/pcscd", DIR + "/none"):
            os.makedirs(directory, exist_ok=True)
        self.log = os.path.join(DIR, "pcscd.log")
        with open(self.log, "ab") as log:
            self.process = start("pcscd", "--foreground", "--config", DIR + "/none",
                                 *(["--debug", "--apdu"] if "PCSCD_LOG" in os.environ else []), stdout=log, stderr=log)
        self.context = wait_for(self._serves, 30)
        if not self.context:
            bail(f"pcscd does not serve: {self.said()}")

    def _serves(self):
        try:
            return with_library(os.environ["PCSCD_LIBRARY"])
        except Error:
            return None

    def new_context(self):
        return with_library(os.environ["PCSCD_LIBRARY"])

    def names(self):
        """{node: names of its readers, in their order}"""
        found = {}
        for name in self.context.list():
            card = call(self.context.connect, name, DIRECT, 0).value
            channel = attribute(card, CHANNEL_ID) if card else b""
            if card:
                card.disconnect()
            if len(channel) >= 4:
                number = int.from_bytes(channel[:4], "little")
                found.setdefault(f"/dev/bus/usb/{number >> 8 & 255:03}/{number & 255:03}", []).append(name)
        return {node: sorted(names, key=lambda name: name.rsplit(" ", 2)[1:]) for node, names in found.items()}

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if "PCSCD_LOG" in os.environ:
            with open(self.log, encoding="utf-8", errors="replace") as log, \
                    open(os.environ["PCSCD_LOG"], "a", encoding="utf-8") as copy:
                copy.write(log.read())
        for name in os.listdir("/run/pcscd"):
            os.unlink(os.path.join("/run/pcscd", name))


class Ours:
    """A handler for each node."""

    def __init__(self, some_nodes):
        self.handlers = {node: usb_handler(node, wait=False) for node in some_nodes}
        for handler in self.handlers.values():
            if not wait_for(lambda: os.path.exists(handler.description), 20):
                bail(f"{handler.instance}: no description: {handler.said()}")
        self.context = self.new_context()

    def new_context(self):
        return with_library(os.path.join(B, "libpcsclite.so.1"))

    def names(self):
        """As Theirs has it, in the order of the descriptors."""
        return {node: [] if handler.lines("error") else handler.names for node, handler in self.handlers.items()}

    def end(self):
        for handler in self.handlers.values():
            handler.process.terminate()
        for handler in self.handlers.values():
            handler.wait()
            forget(handler)
