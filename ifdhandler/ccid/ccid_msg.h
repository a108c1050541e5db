/* SPDX-License-Identifier: MIT */
/* CCID messages: the 10-byte header, what is sent, and what may come back; encode and checked
 * decode. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	CCID_MSG_HEADER = 10, /* CCID 1.10 6.1 and 6.2 */
	/* Longest answer that is believed: header, and what a client can be given (DRIVER_MAX_APDU:
	 * the longest response is 65536 + SW1 SW2). A larger dwLength is a lie or a lost frame. */
	CCID_MSG_MAX = CCID_MSG_HEADER + 65548,
	/* CCID 1.10 table 6.2-3: SetParameters for T=0 and T=1. */
	CCID_MSG_PARAMETERS_T0 = 5,
	CCID_MSG_PARAMETERS_T1 = 7,
	/* CCID 1.10 6.3.1: type and two bits for each of at most 256 slots. */
	CCID_MSG_MAX_NOTIFY = 65,
};

/* Messages to the reader: CCID 1.10 table 6.1-1. */
enum ccid_command_type {
	CCID_SET_PARAMETERS = 0x61,
	CCID_POWER_ON = 0x62,
	CCID_POWER_OFF = 0x63,
	CCID_GET_SLOT_STATUS = 0x65,
	CCID_SECURE = 0x69,
	CCID_T0_APDU = 0x6a,
	CCID_ESCAPE = 0x6b,
	CCID_GET_PARAMETERS = 0x6c,
	CCID_RESET_PARAMETERS = 0x6d,
	CCID_CLOCK = 0x6e,
	CCID_XFR_BLOCK = 0x6f,
	CCID_MECHANICAL = 0x71,
	CCID_ABORT = 0x72,
	CCID_SET_RATE_AND_CLOCK = 0x73,
};

/* Messages from the reader: CCID 1.10 tables 6.2-1 and 6.3-1. */
enum ccid_reply_type {
	CCID_NOTIFY_SLOT_CHANGE = 0x50,
	CCID_HARDWARE_ERROR = 0x51,
	CCID_DATA_BLOCK = 0x80,
	CCID_SLOT_STATUS = 0x81,
	CCID_PARAMETERS = 0x82,
	CCID_ESCAPE_REPLY = 0x83,
	CCID_RATE_AND_CLOCK = 0x84,
};

/* bError of failed commands that somebody acts upon: CCID 1.10 table 6.2-2. */
enum ccid_error {
	CCID_ERROR_UNSUPPORTED = 0x00,
	CCID_ERROR_LENGTH = 0x01,       /* index of dwLength */
	CCID_ERROR_SLOT = 0x05,         /* index of bSlot: no such slot */
	CCID_ERROR_POWER_SELECT = 0x07, /* index of bPowerSelect: no such voltage */
	CCID_ERROR_INDEX_MAX = 0x7f,    /* 01h … 7Fh: index of the field that is refused */
	CCID_ERROR_SLOT_BUSY = 0xe0,
	CCID_ERROR_PIN_CANCELLED = 0xef,
	CCID_ERROR_PIN_TIMEOUT = 0xf0,
	CCID_ERROR_BUSY_AUTO = 0xf2, /* busy with an automatic sequence */
	CCID_ERROR_DEACTIVATED = 0xf3,
	CCID_ERROR_PROCEDURE_BYTE = 0xf4,
	CCID_ERROR_CLASS = 0xf5,
	CCID_ERROR_PROTOCOL = 0xf6,
	CCID_ERROR_BAD_TCK = 0xf7,
	CCID_ERROR_BAD_TS = 0xf8,
	CCID_ERROR_HARDWARE = 0xfb,
	CCID_ERROR_OVERRUN = 0xfc,
	CCID_ERROR_PARITY = 0xfd,
	CCID_ERROR_MUTE = 0xfe,
	CCID_ERROR_ABORTED = 0xff,
	/* Gemalto's own: the reader is in EMV mode and refuses this card's ATR. */
	CCID_ERROR_EMV_ATR = 0xbb,
};

/* bmICCStatus, CCID 1.10 table 6.2-3; the reserved value 3 counts as absent. */
enum ccid_icc {
	CCID_ICC_ACTIVE = 0,
	CCID_ICC_INACTIVE = 1,
	CCID_ICC_ABSENT = 2,
};

/* bmCommandStatus; the reserved value 3 counts as failed. */
enum ccid_outcome {
	CCID_DONE = 0,
	CCID_FAILED = 1,
	CCID_EXTENSION = 2,
};

/* wLevelParameter of XfrBlock at extended APDU level and bChainParameter of the answer: CCID 1.10
 * 6.1.4, 6.2.1. */
enum ccid_chain {
	CCID_CHAIN_WHOLE = 0,
	CCID_CHAIN_FIRST = 1,
	CCID_CHAIN_LAST = 2,
	CCID_CHAIN_MIDDLE = 3,
	CCID_CHAIN_NEXT = 0x10, /* empty: the other side's next part, please */
};

/* A command without its addressing: `data` is borrowed, NULL where len is 0. */
struct ccid_request {
	enum ccid_command_type type;
	uint8_t specific[3]; /* bytes 7 to 9 */
	const uint8_t *data;
	size_t len;
};

/* An answer taken apart. `data` points into the bytes it was decoded from. */
struct ccid_reply {
	uint8_t type; /* one of enum ccid_reply_type from CCID_DATA_BLOCK on */
	uint8_t slot;
	uint8_t seq;
	enum ccid_icc icc;
	enum ccid_outcome outcome;
	uint8_t error;    /* bError: of CCID_FAILED, or the multiplier of CCID_EXTENSION */
	uint8_t specific; /* byte 9: chain parameter, clock status, protocol number */
	const uint8_t *data;
	size_t len;
};

/* Ready-made requests. `data` is borrowed by the result. */
struct ccid_request ccid_msg_plain(enum ccid_command_type type);
/* `voltage`: bPowerSelect, 0 automatic, 1 5 V, 2 3 V, 3 1.8 V. */
struct ccid_request ccid_msg_power_on(uint8_t voltage);
/* `bwi`: bBWI; `level`: wLevelParameter. */
struct ccid_request ccid_msg_xfr_block(
	uint8_t bwi, uint16_t level, const uint8_t *data, size_t len);
/* `protocol`: 0 T=0 (5 bytes), 1 T=1 (7 bytes). */
struct ccid_request ccid_msg_set_parameters(uint8_t protocol, const uint8_t *data, size_t len);
struct ccid_request ccid_msg_escape(const uint8_t *data, size_t len);
/* `data`: bPINOperation and what belongs to it (CCID 1.10 6.1.11). */
struct ccid_request ccid_msg_secure(const uint8_t *data, size_t len);

/* Writes the message for `slot` (bSlot) and `seq` into `buf`: its length, or 0 where `size` is less
 * than header and data, or the data is longer than any message. */
size_t ccid_msg_encode(
	const struct ccid_request *request, uint8_t slot, uint8_t seq, uint8_t *buf, size_t size);

/* The whole length of the message that `len` bytes (at least CCID_MSG_HEADER, else 0) begin, header
 * included; may be more than CCID_MSG_MAX and does not overflow. */
uint64_t ccid_msg_length(const uint8_t *bytes, size_t len);

/* Takes an answer apart. 0, or -EBADMSG: fewer bytes than it announces, more than CCID_MSG_MAX, or
 * a type that no answer has. `data` is proven to be there; bytes behind it are ignored. */
int ccid_msg_decode(const uint8_t *bytes, size_t len, struct ccid_reply *ret_reply);

/* May `reply` answer a command of this type? Its own type, or a failure told as slot status, as
 * some firmware does. */
int ccid_msg_is_answer(const struct ccid_reply *reply, enum ccid_command_type command);

/* Does an interrupt message of `len` bytes say that `slot` (of its interface) changed? Bytes that
 * are missing, and messages that are not NotifySlotChange, count as "changed". */
int ccid_msg_slot_changed(const uint8_t *bytes, size_t len, unsigned slot);

/* A phrase for a bError of a failed command; static, never NULL. */
const char *ccid_msg_error_text(uint8_t error);
