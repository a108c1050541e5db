/* SPDX-License-Identifier: MIT */
/* One struct, one encoder and one checked decoder for each message of wire/messages.def. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

enum {
	WIRE_MAGIC = 0x48444649, /* "IFDH" as it lies in the frame */
	WIRE_VERSION = 2,
	WIRE_VERSION_SILENT = 2, /* since then: DISPOSITION_SILENT */
	WIRE_MAX_DATA = 65548,   /* 4 + 3 + 65536 + 3 + 2: the longest APDU that PC/SC carries */
	WIRE_MAX_ATTRIB = 264,   /* MAX_BUFFER_SIZE of PC/SC */
	WIRE_MAX_ATR = 33,       /* ISO/IEC 7816-3 8.2.1 */
	WIRE_MAX_TEXT = 65536,   /* descriptions, reasons; chosen: 32 slots of 2 KiB */
	WIRE_MAX_SLOTS = 256,    /* a slot number is one byte */
};

/* The numbers of the messages. */
enum message_type {
#define MESSAGE(NAME, name, number, fields, max_tail) MESSAGE_##NAME = (number),
#include "wire/messages.def"
#undef MESSAGE
};

/* struct message_hello and so on: the fields, and `tail` (borrowed; NULL when empty). */
#define FIELD(type, name) FIELD_##type name;
#define FIELD_u8          uint8_t
#define FIELD_u16         uint16_t
#define FIELD_u32         uint32_t
#define MESSAGE(NAME, name, number, fields, max_tail) \
	struct message_##name {                       \
		fields const uint8_t *tail;           \
		size_t tail_len;                      \
	};
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

/*
 * message_NAME_decode: checks type, exact size and bounds of `frame` and fills *ret, whose tail
 * points into the frame. 0, or -EBADMSG (wrong type, short, trailing or too many bytes), *ret untouched.
 *
 * message_NAME_encode: appends a whole frame (header with `serial`, fields, tail) to `w`.
 * 0, or -EMSGSIZE when it does not fit or the tail is longer than allowed; `w` is then as before.
 */
#define MESSAGE(NAME, name, number, fields, max_tail)                                       \
	int message_##name##_decode(const struct frame *frame, struct message_##name *ret); \
	int message_##name##_encode(                                                        \
		struct bytes_writer *w, uint16_t serial, const struct message_##name *m);
#include "wire/messages.def"
#undef MESSAGE

/* Name of message `type` ("TRANSMIT"): static, NULL for numbers that are not in the list. */
const char *message_name(uint16_t type);

/* Values of fields. Numbers that PC/SC has, too, are the same as there. */
enum {
	HELLO_WANT_DESCRIPTION = 1 << 0, /* the description follows in WELCOME */
	HELLO_NO_BLOCKING = 1 << 1,      /* TRANSMIT, SYNC and RECONNECT never wait for a lock */
	HELLO_FLAGS = HELLO_WANT_DESCRIPTION | HELLO_NO_BLOCKING,

	SHARE_EXCLUSIVE = 1,
	SHARE_SHARED = 2,
	SHARE_DIRECT = 3,

	DISPOSITION_LEAVE = 0,
	DISPOSITION_RESET = 1,
	DISPOSITION_UNPOWER = 2,
	DISPOSITION_EJECT = 3,
	DISPOSITION_SILENT = 4, /* of END: as LEAVE, and no REPLY */

	PRESENCE_UNKNOWN = 0, /* `status` says why: starting, or the reader's trouble */
	PRESENCE_ABSENT = 1,
	PRESENCE_PRESENT = 2,
	PRESENCE_MUTE = 3, /* a card that does not answer to reset */

	STATE_POWERED = 1 << 0,          /* powered, or would be by the next connect */
	STATE_IN_USE = 1 << 1,           /* somebody is connected */
	STATE_EXCLUSIVE = 1 << 2,        /* somebody is connected exclusively */
	STATE_LOCKED_ELSEWHERE = 1 << 3, /* another connection than this one holds the lock */

	EVENT_NONE = 0,
	EVENT_RESET = 1,
	EVENT_REMOVED = 2,
};
