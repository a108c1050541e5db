/* SPDX-License-Identifier: MIT */
/*
 * T=0.
 *
 * The machine looks at bytes from the card one after the other, however the reader cut them:
 * procedure bytes, bytes of the response, SW1, SW2. Bytes that came too early wait in `pending`.
 * When none are left it asks for the fewest that are sure to come. The card can never make it take
 * more response bytes than the header asked for, nor send more than the command has.
 */
#include "ifdhandler/iso7816/t0.h"

#include <errno.h>
#include <string.h>

enum {
	PSEUDO_CLASS =
		0xff, /* never meant for a card (ISO/IEC 7816-4 5.4.1): readers' own commands */
	PROCEDURE_NULL = 0x60,
	/* ISO/IEC 7816-3 10.3.3; a change of bit 0 once meant programming voltage. */
	VPP_BIT = 0x01,
	COMPLEMENT = 0xff,
	/* Of the message that carries an answer (CCID 1.10 6.2). */
	CCID_HEADER = 10,
};

int t0_tpdu_len(const uint8_t *apdu, size_t len, size_t *ret_len) {
	if (len < 4)
		return -EINVAL;
	int is_pseudo = apdu[0] == PSEUDO_CLASS;
	if (len > T0_HEADER && apdu[4] == 0 && !is_pseudo)
		return -EOPNOTSUPP;
	int has_le = len > T0_HEADER && len == T0_HEADER + (size_t)apdu[4] + 1 && !is_pseudo;
	*ret_len = has_le ? len - 1 : len;
	return 0;
}

/* 6Xh and 9Xh. */
static int like_sw1(uint8_t byte) {
	return (byte & 0xf0) == 0x60 || (byte & 0xf0) == 0x90;
}

/* ---- actions ---- */

static void ask(struct t0 *t0, size_t n_out, size_t expect, struct t0_action *ret_action) {
	if (t0->packet && expect > 1 && (CCID_HEADER + expect) % t0->packet == 0)
		expect = 1;
	t0->asked = expect;
	ret_action->verb = T0_EXCHANGE;
	ret_action->data = n_out ? t0->tpdu + t0->sent : NULL;
	ret_action->len = n_out;
	ret_action->expect = expect;
	t0->sent += n_out;
}

static void fail(struct t0 *t0, enum t0_failure failure, struct t0_action *ret_action) {
	t0_wipe(t0);
	*ret_action = (struct t0_action){ .verb = T0_FAIL, .failure = failure };
}

static void finish(struct t0 *t0, uint8_t sw2, struct t0_action *ret_action) {
	t0->state = T0_OVER;
	t0->response[t0->response_len++] = sw2;
	ret_action->verb = T0_DONE;
	ret_action->data = t0->response;
	ret_action->len = t0->response_len;
}

/* ---- one byte from the card ---- */

/* INS (all) or its complement (one byte). Returns how many bytes are now to be sent. */
static size_t acknowledged(struct t0 *t0, int all) {
	size_t unsent = t0->tpdu_len - t0->sent;
	if (!unsent && !t0->left) {
		t0->n_idle++;
		return 0;
	}
	t0->n_idle = 0;
	if (unsent)
		return all ? unsent : 1;
	t0->burst = all ? t0->left : 1;
	t0->state = T0_DATA_IN;
	return 0;
}

/* Did the byte lead to an action? */
static int take_procedure(struct t0 *t0, uint8_t byte, struct t0_action *ret_action) {
	if (byte == PROCEDURE_NULL) {
		ret_action->extended = 1;
		return 0;
	}
	if (like_sw1(byte)) {
		t0->response[t0->response_len++] = byte;
		t0->state = T0_SW2;
		return 0;
	}
	int difference = (byte ^ t0->tpdu[1]) & ~VPP_BIT;
	int is_ack = difference == 0 || difference == (COMPLEMENT & ~VPP_BIT);
	size_t n_out = is_ack ? acknowledged(t0, difference == 0) : 0;
	if (!is_ack || t0->n_idle > T0_MAX_IDLE_ACKS) {
		fail(t0, T0_FAIL_PROCEDURE, ret_action);
		return 1;
	}
	if (n_out)
		ask(t0, n_out, 1, ret_action);
	return n_out != 0;
}

static void take_data(struct t0 *t0, uint8_t byte) {
	t0->response[t0->response_len++] = byte;
	t0->left--;
	if (--t0->burst == 0)
		t0->state = T0_PROCEDURE;
}

static int take(struct t0 *t0, uint8_t byte, struct t0_action *ret_action) {
	switch (t0->state) {
	case T0_PROCEDURE: return take_procedure(t0, byte, ret_action);
	case T0_DATA_IN: take_data(t0, byte); return 0;
	case T0_SW2: finish(t0, byte, ret_action); return 1;
	case T0_OVER: break;
	}
	fail(t0, T0_FAIL_PROCEDURE, ret_action);
	return 1;
}

/* How many bytes the card is sure to send now: after the last of the response at least SW1 and
 * SW2. */
static size_t sure_to_come(const struct t0 *t0) {
	if (t0->state != T0_DATA_IN)
		return 1;
	return t0->burst == t0->left ? t0->burst + 2 : t0->burst;
}

static void advance(struct t0 *t0, struct t0_action *ret_action) {
	size_t n = 0;
	int acted = 0;
	while (!acted && n < t0->pending_len)
		acted = take(t0, t0->pending[n++], ret_action);
	if (t0->state == T0_OVER)
		return;
	t0->pending_len -= n;
	memmove(t0->pending, t0->pending + n, t0->pending_len);
	if (!acted)
		ask(t0, 0, sure_to_come(t0), ret_action);
}

/* ---- a command ---- */

int t0_start(struct t0 *t0, const uint8_t *apdu, size_t len, size_t packet,
	struct t0_action *ret_action) {
	size_t tpdu_len;
	int result = t0_tpdu_len(apdu, len, &tpdu_len);
	if (result < 0)
		return result;
	if (like_sw1(apdu[1]))
		return -EINVAL;
	if (tpdu_len > T0_HEADER && tpdu_len != T0_HEADER + (size_t)apdu[4])
		return -EINVAL;
	t0_wipe(t0);
	t0->packet = packet;
	t0->tpdu_len = tpdu_len < T0_HEADER ? T0_HEADER : tpdu_len;
	memcpy(t0->tpdu, apdu, tpdu_len);
	if (tpdu_len == T0_HEADER)
		t0->left = apdu[4] ? apdu[4] : 256;
	t0->state = T0_PROCEDURE;
	*ret_action = (struct t0_action){ 0 };
	ask(t0, T0_HEADER, 1, ret_action);
	return 0;
}

void t0_received(struct t0 *t0, const uint8_t *bytes, size_t len, struct t0_action *ret_action) {
	*ret_action = (struct t0_action){ 0 };
	if (t0->state == T0_OVER) {
		fail(t0, T0_FAIL_PROCEDURE, ret_action);
		return;
	}
	if (len < t0->asked) {
		fail(t0, len ? T0_FAIL_SHORT : T0_FAIL_MUTE, ret_action);
		return;
	}
	if (len > sizeof(t0->pending) - t0->pending_len) {
		fail(t0, T0_FAIL_SURPLUS, ret_action);
		return;
	}
	memcpy(t0->pending + t0->pending_len, bytes, len);
	t0->pending_len += len;
	advance(t0, ret_action);
}

void t0_wipe(struct t0 *t0) {
	explicit_bzero(t0, sizeof(*t0));
	t0->state = T0_OVER;
}
