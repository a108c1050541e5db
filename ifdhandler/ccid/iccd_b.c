/* SPDX-License-Identifier: MIT */
/*
 * Models version B of the ICCD class (ICCD 1.0 6): a token that takes a command, or a part of it, as
 * one XFR_BLOCK, and gives one answer as DATA_BLOCK: data with a chaining type, a status, or the
 * wish to be asked again later. Chaining itself is above, as for readers (exchange.c).
 *
 * Can never happen: an answer taken for data whose first byte was not looked at, a wait of more than
 * ICCD_MAX_WAIT_MS.
 */
#include <errno.h>
#include <string.h>

#include "ifdhandler/ccid/iccd.h"

/* ICCD 1.0 6.2.2: bResponseType. */
enum {
	TYPE_WHOLE = 0x00,
	TYPE_FIRST = 0x01,
	TYPE_LAST = 0x02,
	TYPE_MIDDLE = 0x03,
	TYPE_NEXT = 0x10,
	TYPE_STATUS = 0x40,
	TYPE_POLLING = 0x80,
	STATUS_LENGTH = 3, /* of a status or polling answer, and of SLOT_STATUS */
	POWER_SELECT = 1,  /* ICCD 1.0 6.2.1: reserved; what tokens in the field are used to */
	ATR_MIN = 2,       /* ISO/IEC 7816-3 8.2.1: TS and T0 */
	/* Character level: the most that one bLevelParameter can name. */
	MAX_EXPECT = 255,
};

static void power_off(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd->powered = 0;
	iccd_tell(iccd, ICCD_OFF, ICCD_POWER_OFF, 0, NULL, 0, ret_action);
}

static void ask_status(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd_ask(iccd, ICCD_STATUS, ICCD_SLOT_STATUS, STATUS_LENGTH, ret_action);
}

/* wLevelParameter has become one byte: a chaining value, or a number of bytes. */
static void send(struct iccd *iccd, struct iccd_action *ret_action) {
	size_t level = (size_t)(iccd->command.specific[1] | iccd->command.specific[2] << 8);
	if (level > sizeof(iccd->response))
		level = sizeof(iccd->response);
	iccd->more = level > MAX_EXPECT ? level - MAX_EXPECT : 0;
	level -= iccd->more;
	iccd_tell(iccd, ICCD_XFR, ICCD_XFR_BLOCK, (uint16_t)(level << 8), iccd->command.data,
		iccd->command.len, ret_action);
}

void iccd_b_begin(struct iccd *iccd, enum iccd_op op, struct iccd_action *ret_action) {
	switch (op) {
	case ICCD_OP_OFF: power_off(iccd, ret_action); break;
	case ICCD_OP_ON:
		iccd_tell(iccd, ICCD_ON, ICCD_POWER_ON, POWER_SELECT, NULL, 0, ret_action);
		break;
	case ICCD_OP_STATUS: ask_status(iccd, ret_action); break;
	case ICCD_OP_XFR: send(iccd, ret_action); break;
	}
}

static enum ccid_icc icc_of(uint8_t status) {
	uint8_t icc = status & 3;
	return icc == 3 ? CCID_ICC_ABSENT : (enum ccid_icc)icc;
}

static void take_slot_status(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (len == STATUS_LENGTH)
		iccd_reply_status(iccd, icc_of(data[1]), ret_action);
	else
		iccd_fail(iccd, -EBADMSG, ret_action);
}

/* A status where data was due is a failure, whatever its command status says. */
static void take_failure(struct iccd *iccd, const uint8_t *data, struct iccd_action *ret_action) {
	struct ccid_reply reply = {
		.type = CCID_DATA_BLOCK,
		.icc = icc_of(data[1]),
		.outcome = CCID_FAILED,
		.error = data[2],
	};
	iccd->absent = reply.icc == CCID_ICC_ABSENT;
	if (reply.icc != CCID_ICC_ACTIVE || iccd->step == ICCD_ATR)
		iccd->powered = 0;
	iccd_reply(iccd, &reply, ret_action);
}

static void ask_later(const uint8_t *data, struct iccd_action *ret_action) {
	unsigned ms = (unsigned)(data[1] | data[2] << 8) * ICCD_POLL_MS;
	if (ms == 0)
		ms = ICCD_POLL_MS;
	iccd_wait(ms < ICCD_MAX_WAIT_MS ? ms : ICCD_MAX_WAIT_MS, ret_action);
}

static void take_atr(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (data[0] != TYPE_WHOLE) {
		iccd_fail(iccd, -EBADMSG, ret_action);
		return;
	}
	if (len - 1 < ATR_MIN) {
		iccd_reply_mute(iccd, ret_action);
		return;
	}
	iccd->powered = 1;
	iccd_reply_data(iccd, 0, data + 1, len - 1, ret_action);
}

/* Character level: the first 255 of some more bytes are there. */
static void ask_more(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	memcpy(iccd->response, data, len);
	iccd->response_len = len;
	iccd_tell(iccd, ICCD_MORE_XFR, ICCD_XFR_BLOCK, (uint16_t)(iccd->more << 8), NULL, 0,
		ret_action);
}

static void append(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (len > sizeof(iccd->response) - iccd->response_len) {
		iccd_fail(iccd, -EBADMSG, ret_action);
		return;
	}
	if (len)
		memcpy(iccd->response + iccd->response_len, data, len);
	iccd->response_len += len;
	iccd_reply_data(iccd, 0, iccd->response, iccd->response_len, ret_action);
}

static void take_data(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (iccd->response_len)
		append(iccd, data + 1, len - 1, ret_action);
	else if (iccd->more && len - 1 == MAX_EXPECT)
		ask_more(iccd, data + 1, len - 1, ret_action);
	else
		iccd_reply_data(iccd, data[0], data + 1, len - 1, ret_action);
}

static void take_answer(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	uint8_t type = len ? data[0] : 0xff;
	if ((type == TYPE_STATUS || type == TYPE_POLLING) && len < STATUS_LENGTH)
		type = 0xff;
	iccd->n_stalls = 0;
	switch (type) {
	case TYPE_POLLING: ask_later(data, ret_action); break;
	case TYPE_STATUS: take_failure(iccd, data, ret_action); break;
	case TYPE_WHOLE:
	case TYPE_FIRST:
	case TYPE_LAST:
	case TYPE_MIDDLE:
	case TYPE_NEXT:
		if (iccd->step == ICCD_ATR)
			take_atr(iccd, data, len, ret_action);
		else
			take_data(iccd, data, len, ret_action);
		break;
	default: iccd_fail(iccd, -EBADMSG, ret_action); break;
	}
}

void iccd_b_ended(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	switch (iccd->step) {
	case ICCD_OFF: ask_status(iccd, ret_action); break;
	case ICCD_STATUS: take_slot_status(iccd, data, len, ret_action); break;
	case ICCD_ON:
		iccd_ask(iccd, ICCD_ATR, ICCD_DATA_BLOCK, 1 + ICCD_MAX_ATR, ret_action);
		break;
	case ICCD_XFR:
	case ICCD_MORE_XFR:
		iccd_ask(iccd, ICCD_DATA, ICCD_DATA_BLOCK, ICCD_MAX_DATA, ret_action);
		break;
	case ICCD_ATR:
	case ICCD_DATA: take_answer(iccd, data, len, ret_action); break;
	default: iccd_fail(iccd, -EBADMSG, ret_action); break;
	}
}

/* A token that has no answer yet may refuse to give one. */
void iccd_b_stalled(struct iccd *iccd, struct iccd_action *ret_action) {
	int is_answer = iccd->step == ICCD_ATR || iccd->step == ICCD_DATA;
	if (is_answer && iccd->n_stalls++ < ICCD_MAX_STALLS)
		iccd_wait(ICCD_POLL_MS, ret_action);
	else if (iccd->step == ICCD_ATR)
		iccd_reply_mute(iccd, ret_action);
	else
		iccd_fail(iccd, -EPIPE, ret_action);
}
