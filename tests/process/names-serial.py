# SPDX-License-Identifier: MIT
"""The part of names-serial.sh that runs beside the reader."""
from process import *

handler = usb_handler(nodes()[0])
same(handler.lines("reader"), ["0 Model Token [Token No. SN4711] 00 00"], "PCSC-218 a serial number is not said twice")
same(call(Context().list).value, ["Model Token [Token No. SN4711] 00 00"], "PCSC-218 nor in the list")
finish()
