# SPDX-License-Identifier: MIT
# The sources of each product, in the order a byte travels.

HANDLER = ifdhandler/main.c ifdhandler/reader.c ifdhandler/device.c ifdhandler/identity.c \
	ifdhandler/name.c ifdhandler/registration.c ifdhandler/log.c ifdhandler/access.c \
	ifdhandler/socket.c ifdhandler/connection.c ifdhandler/session.c ifdhandler/command.c ifdhandler/connect.c \
	ifdhandler/inspect.c \
	ifdhandler/service.c ifdhandler/lease.c ifdhandler/slot.c

# the ISO/IEC 7816 cores
HANDLER += ifdhandler/atr.c ifdhandler/pps.c ifdhandler/apdu.c ifdhandler/t0.c ifdhandler/t1.c

# driver ccid
HANDLER += $(wildcard ifdhandler/ccid_*.c ifdhandler/exchange*.c) ifdhandler/ccid.c ifdhandler/claimant.c \
	ifdhandler/quirk.c ifdhandler/usb.c ifdhandler/usb_path.c

# driver virtual
HANDLER += ifdhandler/virtual.c ifdhandler/virtual_listen.c ifdhandler/card_program.c \
	ifdhandler/vpcd.c ifdhandler/builtin_card.c ifdhandler/builtin_command.c \
	ifdhandler/builtin_files.c ifdhandler/builtin_pin.c

CLIENT = client/context.c client/list.c client/connect.c client/status.c client/transaction.c client/transmit.c \
	client/attrib.c client/change.c client/error.c client/output.c client/handle.c client/card.c client/watch.c \
	client/readers.c client/source.c client/dirwatch.c client/channel.c client/process.c client/debug.c

CTL = $(wildcard ctl/*.c)
