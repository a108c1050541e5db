/* SPDX-License-Identifier: MIT */
/*
 * Models version A of the ICCD class (ICCD 1.0 5): a token that takes one T=0 command in pieces and
 * says after each of them, when asked, what it wants next.
 *
 *   XFR_BLOCK with the 5 bytes of the header
 *   status 10h: XFR_BLOCK with the command's data, or DATA_BLOCK for the response's
 *   status 20h: DATA_BLOCK for SW1 SW2
 *
 * A token that is busy is asked again every 10 ms, until its user has had enough.
 *
 * Can never happen: more response bytes than P3 asks for, a response without SW1 SW2.
 */
#include <errno.h>
#include <string.h>

#include "ifdhandler/ccid/iccd.h"

/* ICCD 1.0 5.2.5: the status byte. */
enum {
	STATUS_DATA_PHASE = 0x10,
	STATUS_SW = 0x20,
	STATUS_BUSY_BIT = 0x40,
	STATUS_MUTE = 0x80,
	SW_LENGTH = 2,
	ATR_MIN = 2, /* ISO/IEC 7816-3 8.2.1: TS and T0 */
};

static void ask_status(struct iccd *iccd, enum iccd_step step, struct iccd_action *ret_action) {
	iccd_ask(iccd, step, ICCD_GET_ICC_STATUS, 1, ret_action);
}

static void power_on(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd_ask(iccd, ICCD_ON, ICCD_POWER_ON, ICCD_MAX_ATR, ret_action);
}

static void power_off(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd->powered = 0;
	iccd_tell(iccd, ICCD_OFF, ICCD_POWER_OFF, 0, NULL, 0, ret_action);
}

/* A command without P3 gets one: there is no other way to send it. */
static void send_header(struct iccd *iccd, struct iccd_action *ret_action) {
	size_t n = iccd->command.len < ICCD_HEADER ? iccd->command.len : ICCD_HEADER;
	memset(iccd->header, 0, sizeof(iccd->header));
	memcpy(iccd->header, iccd->command.data, n);
	iccd_tell(iccd, ICCD_XFR, ICCD_XFR_BLOCK, 0, iccd->header, ICCD_HEADER, ret_action);
}

void iccd_a_begin(struct iccd *iccd, enum iccd_op op, struct iccd_action *ret_action) {
	switch (op) {
	case ICCD_OP_OFF: power_off(iccd, ret_action); break;
	case ICCD_OP_ON: power_on(iccd, ret_action); break;
	case ICCD_OP_STATUS: ask_status(iccd, ICCD_STATUS, ret_action); break;
	case ICCD_OP_XFR: send_header(iccd, ret_action); break;
	}
}

/* Waits until the token takes commands, too. */
static void keep_atr(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (len < ATR_MIN || len > ICCD_MAX_ATR) {
		iccd_reply_mute(iccd, ret_action);
		return;
	}
	memcpy(iccd->response, data, len);
	iccd->response_len = len;
	ask_status(iccd, ICCD_ON_STATUS, ret_action);
}

static void fall_silent(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd->absent = 1;
	iccd_reply_mute(iccd, ret_action);
}

static void judge_power(struct iccd *iccd, uint8_t status, struct iccd_action *ret_action) {
	if (status == STATUS_MUTE) {
		fall_silent(iccd, ret_action);
		return;
	}
	iccd->powered = 1;
	iccd_reply_data(iccd, 0, iccd->response, iccd->response_len, ret_action);
}

/* The card is there unless it is mute. One that had power gets a chance to come back without. */
static void judge_presence(struct iccd *iccd, uint8_t status, struct iccd_action *ret_action) {
	if (status == STATUS_MUTE && iccd->powered)
		power_off(iccd, ret_action);
	else if (status == STATUS_MUTE)
		iccd_reply_status(iccd, CCID_ICC_ABSENT, ret_action);
	else
		iccd_reply_status(
			iccd, iccd->powered ? CCID_ICC_ACTIVE : CCID_ICC_INACTIVE, ret_action);
}

/* How many bytes the card may send: P3, 0 meaning 256. */
static size_t expected(const struct iccd *iccd) {
	uint8_t p3 = iccd->header[ICCD_HEADER - 1];
	return p3 ? p3 : 256;
}

static void data_phase(struct iccd *iccd, struct iccd_action *ret_action) {
	if (iccd->command.len > ICCD_HEADER)
		iccd_tell(iccd, ICCD_DATA_OUT, ICCD_XFR_BLOCK, 0, iccd->command.data + ICCD_HEADER,
			iccd->command.len - ICCD_HEADER, ret_action);
	else
		iccd_ask(iccd, ICCD_DATA, ICCD_DATA_BLOCK, expected(iccd), ret_action);
}

static void judge_exchange(struct iccd *iccd, uint8_t status, struct iccd_action *ret_action) {
	if (status == STATUS_DATA_PHASE && iccd->step == ICCD_XFR_STATUS)
		data_phase(iccd, ret_action);
	else if (status == STATUS_SW)
		iccd_ask(iccd, ICCD_SW, ICCD_DATA_BLOCK, SW_LENGTH, ret_action);
	else if (status == STATUS_MUTE)
		fall_silent(iccd, ret_action);
	else
		iccd_fail(iccd, -EBADMSG, ret_action);
}

static void take_status(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (len != 1)
		iccd_fail(iccd, -EBADMSG, ret_action);
	else if (data[0] & STATUS_BUSY_BIT)
		iccd_wait(ICCD_POLL_MS, ret_action);
	else if (iccd->step == ICCD_STATUS)
		judge_presence(iccd, data[0], ret_action);
	else if (iccd->step == ICCD_ON_STATUS)
		judge_power(iccd, data[0], ret_action);
	else
		judge_exchange(iccd, data[0], ret_action);
}

/* Response data, then SW1 SW2 behind it. Where there is data, some must come. */
static void keep(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	int is_sw = iccd->step == ICCD_SW;
	if (len == 0 || len > sizeof(iccd->response) - iccd->response_len ||
		(is_sw && len != SW_LENGTH)) {
		iccd_fail(iccd, -EBADMSG, ret_action);
		return;
	}
	memcpy(iccd->response + iccd->response_len, data, len);
	iccd->response_len += len;
	if (is_sw)
		iccd_reply_data(iccd, 0, iccd->response, iccd->response_len, ret_action);
	else
		ask_status(iccd, ICCD_DATA_STATUS, ret_action);
}

void iccd_a_ended(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	switch (iccd->step) {
	case ICCD_OFF: ask_status(iccd, ICCD_STATUS, ret_action); break;
	case ICCD_ON: keep_atr(iccd, data, len, ret_action); break;
	case ICCD_XFR: ask_status(iccd, ICCD_XFR_STATUS, ret_action); break;
	case ICCD_DATA_OUT: ask_status(iccd, ICCD_DATA_STATUS, ret_action); break;
	case ICCD_STATUS:
	case ICCD_ON_STATUS:
	case ICCD_XFR_STATUS:
	case ICCD_DATA_STATUS: take_status(iccd, data, len, ret_action); break;
	case ICCD_DATA:
	case ICCD_SW: keep(iccd, data, len, ret_action); break;
	default: iccd_fail(iccd, -EBADMSG, ret_action); break;
	}
}
