# SPDX-License-Identifier: MIT
# The sources of each product, in the order a byte travels.

HANDLER = ifdhandler/main.c ifdhandler/reader.c ifdhandler/device.c ifdhandler/identity.c \
	ifdhandler/name.c ifdhandler/filter.c ifdhandler/numbers.c ifdhandler/registration.c ifdhandler/log.c \
	ifdhandler/access.c ifdhandler/seat.c \
	ifdhandler/socket.c ifdhandler/connection.c ifdhandler/inbox.c ifdhandler/outbox.c ifdhandler/session.c ifdhandler/command.c ifdhandler/connect.c \
	ifdhandler/inspect.c ifdhandler/program.c \
	ifdhandler/service.c ifdhandler/lease.c ifdhandler/slot.c ifdhandler/drivers.c

# the ISO/IEC 7816 cores
HANDLER += $(addprefix ifdhandler/iso7816/,atr.c pps.c t0.c t1.c)

# driver ccid
HANDLER += $(wildcard ifdhandler/ccid/*.c ifdhandler/usb/*.c)

# driver virtual
HANDLER += $(wildcard ifdhandler/virtual/*.c)

CLIENT = client/context.c client/list.c client/connect.c client/status.c client/transaction.c client/transmit.c \
	client/attrib.c client/change.c client/error.c client/output.c client/handle.c client/table.c client/card.c client/watch.c \
	client/readers.c client/source.c client/dirwatch.c client/channel.c client/descriptor.c client/process.c client/debug.c

CTL = $(wildcard ctl/*.c)
