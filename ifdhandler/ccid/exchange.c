/* SPDX-License-Identifier: MIT */
/*
 * Models one command APDU on its way through a reader of any exchange level (CCID 1.10 4.1,
 * dwFeatures):
 *
 *   level            T=0                        T=1
 *   character        t0 machine, byte counts    t1 machine, a block in two parts
 *   TPDU             one TPDU, straight         t1 machine, a block at a time
 *   short APDU       straight                   straight
 *   extended APDU    CCID chaining both ways    the same
 *
 * Pure: what is to be sent is lent out, what came back is fed in. 61xx and 6Cxx are handed up
 * as they are: programs do GET RESPONSE themselves, and both doing it breaks.
 *
 * Can never happen: a response shorter than SW1 SW2, except of raw bytes; a command that is cut.
 */
#include "ifdhandler/ccid/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/driver.h"

enum {
	/* Firmware that announces 263 bytes takes the usual 271 (10 + 261). */
	WRONG_MESSAGE_LENGTH = 263,
	USUAL_MESSAGE_LENGTH = 271,
	/* A reader that cannot answer with n × 64 bytes. */
	FULL_PACKET = 64,
	/* CLA INS P1 P2 (ISO/IEC 7816-3 12.1.1). */
	APDU_HEADER = 4,
};

enum {
	SECURE_AGAIN = 5, /* bPINOperation: "re-send last I-block" (CCID 1.10 6.1.11) */
	PIN_WORD = 2,     /* length of a status word that the reader itself makes up */
};

_Static_assert(CCID_MSG_MAX - CCID_MSG_HEADER == DRIVER_MAX_APDU, "an answer fits into a reply");

static const uint8_t pin_cancelled[] = { 0x64, 0x01 };
static const uint8_t pin_timeout[] = { 0x64, 0x00 };

static size_t room_of(uint32_t message_length) {
	if (message_length == WRONG_MESSAGE_LENGTH)
		message_length = USUAL_MESSAGE_LENGTH;
	return message_length - CCID_MSG_HEADER;
}

/* ---- ends ---- */

static enum exchange_action fail(struct exchange *x, enum status status) {
	x->mode = EXCHANGE_IDLE;
	x->command = NULL;
	x->out = NULL;
	x->status = status;
	x->data = NULL;
	x->len = 0;
	return EXCHANGE_FAIL;
}

static enum exchange_action done(struct exchange *x, const uint8_t *data, size_t len) {
	x->mode = EXCHANGE_IDLE;
	x->command = NULL;
	x->out = NULL;
	x->status = STATUS_OK;
	x->data = data;
	x->len = len;
	return EXCHANGE_DONE;
}

/* A response must have SW1 SW2. Nothing at all, told as success, is what some readers say of a card
 * that is mute. */
static enum exchange_action respond(struct exchange *x, const uint8_t *data, size_t len) {
	if (len >= 2 || x->raw)
		return done(x, data, len);
	return fail(x, len ? STATUS_EXCHANGE_FAILED : STATUS_CARD_UNRESPONSIVE);
}

static enum exchange_action send(
	struct exchange *x, const uint8_t *data, size_t len, size_t level) {
	x->out = data;
	x->out_len = len;
	x->level = (uint16_t)level;
	return EXCHANGE_SEND;
}

enum status exchange_status(const struct ccid_reply *reply) {
	if (reply->icc == CCID_ICC_ABSENT)
		return STATUS_CARD_REMOVED;
	if (reply->outcome == CCID_DONE)
		return STATUS_OK;
	switch (reply->error) {
	case CCID_ERROR_UNSUPPORTED: return STATUS_UNSUPPORTED;
	case CCID_ERROR_PROTOCOL: return STATUS_PROTO_MISMATCH;
	case CCID_ERROR_BAD_TS:
	case CCID_ERROR_BAD_TCK: return STATUS_CARD_MUTE;
	case CCID_ERROR_MUTE:
	case CCID_ERROR_DEACTIVATED: return STATUS_CARD_UNRESPONSIVE;
	default: return STATUS_EXCHANGE_FAILED;
	}
}

/* A failed XfrBlock. PIN entry that the user ended is an answer of its own (PC/SC part 10). */
static enum exchange_action refused(struct exchange *x, const struct ccid_reply *reply) {
	if (reply->error == CCID_ERROR_PIN_CANCELLED)
		return done(x, pin_cancelled, sizeof(pin_cancelled));
	if (reply->error == CCID_ERROR_PIN_TIMEOUT)
		return done(x, pin_timeout, sizeof(pin_timeout));
	return fail(x, exchange_status(reply));
}

/* ---- life ---- */

static uint8_t *response_buffer(struct exchange *x) {
	if (!x->response)
		x->response = malloc(T1_MAX_APDU);
	return x->response;
}

static int is_t1_here(const struct exchange_config *c) {
	return c->protocol == PROTOCOL_T1 &&
		(c->level == CCID_LEVEL_TPDU || c->level == CCID_LEVEL_CHARACTER);
}

int exchange_init(struct exchange *exchange, const struct exchange_config *config) {
	exchange_stop(exchange);
	exchange->config = *config;
	exchange->config.atr = NULL;
	if (is_t1_here(config)) {
		if (!response_buffer(exchange))
			return -ENOMEM;
		size_t room = room_of(config->message_length);
		uint8_t ifsd = config->reader_set_ifsd ? (uint8_t)config->max_ifsd : 0;
		t1_init(&exchange->t1, config->atr, room, ifsd);
		t1_set_response(&exchange->t1, exchange->response, T1_MAX_APDU);
	}
	exchange->ready = 1;
	return 0;
}

void exchange_stop(struct exchange *exchange) {
	if (exchange->response)
		explicit_bzero(exchange->response, T1_MAX_APDU);
	free(exchange->response);
	explicit_bzero(exchange, sizeof(*exchange));
}

void exchange_wipe(struct exchange *exchange) {
	if (exchange->response)
		explicit_bzero(exchange->response, exchange->response_len);
	exchange->response_len = 0;
	explicit_bzero(exchange->block, exchange->block_len);
	explicit_bzero(exchange->padded, sizeof(exchange->padded));
	if (!exchange->ready)
		return;
	if (is_t1_here(&exchange->config))
		t1_wipe(&exchange->t1);
	else
		t0_wipe(&exchange->t0);
}

void exchange_kill(struct exchange *exchange) {
	exchange->dead = 1;
	exchange->mode = EXCHANGE_IDLE;
	exchange->command = NULL;
}

/* ---- straight ---- */

static enum exchange_action straight(struct exchange *x, const uint8_t *data, size_t len) {
	x->mode = EXCHANGE_STRAIGHT;
	return send(x, data, len, 0);
}

/* A reader that wants P3 for case 1 says that the length is wrong: nothing went to the card. */
static int wants_p3(const struct exchange *x, const struct ccid_reply *reply) {
	return reply->error == CCID_ERROR_LENGTH && x->out_len == APDU_HEADER && !x->raw &&
		!x->is_secure && x->config.level == CCID_LEVEL_TPDU;
}

static enum exchange_action feed_straight(struct exchange *x, const struct ccid_reply *reply) {
	if (reply->outcome == CCID_DONE)
		return respond(x, reply->data, reply->len);
	if (!wants_p3(x, reply))
		return refused(x, reply);
	memcpy(x->padded, x->out, APDU_HEADER);
	x->padded[APDU_HEADER] = 0;
	return straight(x, x->padded, T0_HEADER);
}

static enum exchange_action start_tpdu(struct exchange *x, const uint8_t *apdu, size_t len) {
	size_t tpdu_len;
	int r = t0_tpdu_len(apdu, len, &tpdu_len);
	if (r < 0)
		return fail(x, r == -EINVAL ? STATUS_INVALID : STATUS_UNSUPPORTED);
	if (tpdu_len > room_of(x->config.message_length))
		return fail(x, STATUS_TOO_LONG);
	return straight(x, apdu, tpdu_len);
}

static enum exchange_action start_short(struct exchange *x, const uint8_t *apdu, size_t len) {
	if (len > room_of(x->config.message_length))
		return fail(x, STATUS_TOO_LONG);
	return straight(x, apdu, len);
}

enum exchange_action exchange_start_raw(
	struct exchange *exchange, uint32_t message_length, const uint8_t *bytes, size_t len) {
	exchange->raw = 1;
	exchange->is_secure = 0;
	if (len > room_of(message_length))
		return fail(exchange, STATUS_TOO_LONG);
	return straight(exchange, bytes, len);
}

/* ---- chaining (CCID 1.10 6.1.4, 6.2.1) ---- */

static enum exchange_action send_part(struct exchange *x) {
	size_t room = room_of(x->config.message_length);
	size_t left = x->command_len - x->command_off;
	size_t n = left < room ? left : room;
	int is_first = x->command_off == 0;
	uint16_t level = is_first ? CCID_CHAIN_FIRST : CCID_CHAIN_MIDDLE;
	if (left <= room)
		level = is_first ? CCID_CHAIN_WHOLE : CCID_CHAIN_LAST;
	const uint8_t *part = x->command + x->command_off;
	x->command_off += n;
	x->mode = x->command_off == x->command_len ? EXCHANGE_CHAIN_IN : EXCHANGE_CHAIN_OUT;
	return send(x, part, n, level);
}

static enum exchange_action start_extended(struct exchange *x, const uint8_t *apdu, size_t len) {
	x->command = apdu;
	x->command_len = len;
	x->command_off = 0;
	x->n_parts = 0;
	x->n_empty = 0;
	x->response_len = 0;
	return send_part(x);
}

/* Between parts of the command the reader asks for the next one, with nothing else. */
static enum exchange_action feed_chain_out(struct exchange *x, const struct ccid_reply *reply) {
	if (reply->outcome != CCID_DONE)
		return refused(x, reply);
	int goes_on = reply->specific == CCID_CHAIN_NEXT || reply->specific == CCID_CHAIN_WHOLE;
	if (reply->len > 0 || !goes_on)
		return fail(x, STATUS_EXCHANGE_FAILED);
	return send_part(x);
}

/* Keeps a part of the response: 0, or why that is not possible. */
static enum status keep_part(struct exchange *x, const struct ccid_reply *reply) {
	if (!response_buffer(x))
		return STATUS_NO_MEMORY;
	x->n_empty = reply->len ? 0 : x->n_empty + 1;
	if (++x->n_parts > EXCHANGE_MAX_PARTS || x->n_empty > EXCHANGE_MAX_EMPTY ||
		reply->len > EXCHANGE_MAX_RESPONSE - x->response_len)
		return STATUS_EXCHANGE_FAILED;
	if (reply->len)
		memcpy(x->response + x->response_len, reply->data, reply->len);
	x->response_len += reply->len;
	return STATUS_OK;
}

static enum exchange_action feed_chain_in(struct exchange *x, const struct ccid_reply *reply) {
	if (reply->outcome != CCID_DONE)
		return refused(x, reply);
	int is_last = reply->specific != CCID_CHAIN_FIRST && reply->specific != CCID_CHAIN_MIDDLE &&
		reply->specific != CCID_CHAIN_NEXT;
	if (is_last && x->n_parts == 0)
		return respond(x, reply->data, reply->len);
	enum status status = keep_part(x, reply);
	if (status != STATUS_OK)
		return fail(x, status);
	if (is_last)
		return respond(x, x->response, x->response_len);
	return send(x, NULL, 0, CCID_CHAIN_NEXT);
}

/* ---- T=0, character level ---- */

static enum exchange_action act_t0(struct exchange *x, const struct t0_action *action) {
	if (action->verb == T0_EXCHANGE)
		return send(x, action->data, action->len, action->expect);
	if (action->verb == T0_DONE)
		return respond(x, action->data, action->len);
	x->dead = 1;
	return fail(x,
		action->failure == T0_FAIL_MUTE ? STATUS_CARD_UNRESPONSIVE
						: STATUS_EXCHANGE_FAILED);
}

static enum exchange_action start_t0(struct exchange *x, const uint8_t *apdu, size_t len) {
	struct t0_action action;
	size_t packet = x->config.no_full_packets ? FULL_PACKET : 0;
	int r = t0_start(&x->t0, apdu, len, packet, &action);
	if (r < 0)
		return fail(x, r == -EINVAL ? STATUS_INVALID : STATUS_UNSUPPORTED);
	x->mode = EXCHANGE_T0;
	return act_t0(x, &action);
}

static enum exchange_action feed_t0(struct exchange *x, const struct ccid_reply *reply) {
	struct t0_action action;
	if (reply->outcome != CCID_DONE) {
		x->dead = 1;
		return refused(x, reply);
	}
	t0_received(&x->t0, reply->data, reply->len, &action);
	return act_t0(x, &action);
}

/* ---- T=1, TPDU and character level ---- */

static enum status status_of_t1(enum t1_failure failure) {
	switch (failure) {
	case T1_FAIL_DEAD:
	case T1_FAIL_MUTE: return STATUS_CARD_UNRESPONSIVE;
	default: return STATUS_EXCHANGE_FAILED;
	}
}

/* The reader is to send the block that it makes itself: `action` has the prologue. */
static enum exchange_action enter(struct exchange *x, const struct t1_action *action) {
	x->is_secure = 1;
	if (action->verb == T1_ENTER) {
		memcpy(x->secure.data + x->secure.prologue, action->block, T1_PROLOGUE);
		return send(x, x->secure.data, x->secure.len, 0);
	}
	x->padded[0] = SECURE_AGAIN;
	return send(x, x->padded, 1, 0);
}

static enum exchange_action act_t1(struct exchange *x, const struct t1_action *action) {
	int by_character = x->config.level == CCID_LEVEL_CHARACTER;
	x->wtx = 0;
	x->is_secure = 0;
	switch (action->verb) {
	case T1_ENTER:
	case T1_ENTER_AGAIN: return enter(x, action);
	case T1_SEND:
		x->block_len = 0;
		x->asked = T1_PROLOGUE;
		x->n_characters = action->len > action->expect ? action->len : action->expect;
		x->wtx = action->wtx;
		return send(x, action->block, action->len, by_character ? T1_PROLOGUE : 0);
	case T1_DONE:
		x->response_len = action->len;
		if (x->raw || action->len >= 2)
			return done(x, x->response, action->len);
		return fail(x, STATUS_EXCHANGE_FAILED);
	default:
		x->response_len = T1_MAX_APDU; /* some of it: all is wiped */
		return fail(x, status_of_t1(action->failure));
	}
}

/* A block came in two parts or three, or as much of it as there was. */
static enum exchange_action feed_block(struct exchange *x) {
	struct t1_action action;
	t1_received(&x->t1, x->block, x->block_len, &action);
	return act_t1(x, &action);
}

/* Of what is missing of a block: all, or one byte first where the answer would be of full packets. */
static enum exchange_action ask_for_rest(struct exchange *x, size_t n) {
	if (x->config.no_full_packets && n > 1 && (CCID_MSG_HEADER + n) % FULL_PACKET == 0)
		n = 1;
	x->asked = n;
	x->wtx = 0; /* it was for the first character */
	return send(x, NULL, 0, n);
}

static enum exchange_action feed_characters(struct exchange *x, const struct ccid_reply *reply) {
	size_t room = sizeof(x->block) - x->block_len;
	size_t n = reply->len < room ? reply->len : room;
	if (n)
		memcpy(x->block + x->block_len, reply->data, n);
	x->block_len += n;
	if (reply->len < x->asked || x->block_len < T1_PROLOGUE)
		return feed_block(x);
	size_t whole = T1_PROLOGUE + t1_rest(&x->t1, x->block);
	if (whole <= x->block_len)
		return feed_block(x);
	return ask_for_rest(x, whole - x->block_len);
}

/* The card has power, but there is no block from it, or a damaged one. */
static enum exchange_action t1_trouble(struct exchange *x, enum t1_trouble trouble) {
	struct t1_action action;
	t1_failed(&x->t1, trouble, &action);
	return act_t1(x, &action);
}

/* Did the reader not come to send anything? Then the numbers of the blocks stay as they were. What it
 * says in two bytes is not from the card, either. */
static int is_unsent(const struct exchange *x, const struct ccid_reply *reply) {
	if (!x->is_secure)
		return 0;
	if (reply->outcome == CCID_DONE)
		return reply->len <= T1_PROLOGUE;
	return reply->error != CCID_ERROR_PARITY && reply->error != CCID_ERROR_OVERRUN &&
		reply->error != CCID_ERROR_MUTE;
}

static enum exchange_action withdraw(struct exchange *x, const struct ccid_reply *reply) {
	t1_withdraw(&x->t1);
	if (reply->outcome != CCID_DONE)
		return refused(x, reply);
	if (reply->len == PIN_WORD)
		return done(x, reply->data, reply->len);
	return fail(x, STATUS_EXCHANGE_FAILED);
}

static enum exchange_action feed_t1(struct exchange *x, const struct ccid_reply *reply) {
	struct t1_action action;
	if (is_unsent(x, reply))
		return withdraw(x, reply);
	if (reply->outcome != CCID_DONE) {
		if (reply->error == CCID_ERROR_PARITY || reply->error == CCID_ERROR_OVERRUN)
			return t1_trouble(x, T1_PARITY);
		if (reply->error == CCID_ERROR_MUTE)
			return t1_trouble(x, T1_SILENCE);
		t1_kill(&x->t1);
		return fail(x, exchange_status(reply));
	}
	if (reply->len == 0)
		return t1_trouble(x, T1_SILENCE);
	if (x->config.level == CCID_LEVEL_CHARACTER)
		return feed_characters(x, reply);
	t1_received(&x->t1, reply->data, reply->len, &action);
	return act_t1(x, &action);
}

static enum exchange_action start_t1(struct exchange *x, const uint8_t *apdu, size_t len) {
	struct t1_action action;
	if (len > T1_MAX_APDU)
		return fail(x, STATUS_TOO_LONG);
	x->mode = EXCHANGE_T1;
	t1_transmit(&x->t1, apdu, len, &action);
	return act_t1(x, &action);
}

static enum exchange_action secure_t1(struct exchange *x) {
	struct t1_action action;
	if (x->secure.apdu_len > t1_block_room(&x->t1))
		return fail(x, STATUS_TOO_LONG);
	x->mode = EXCHANGE_T1;
	t1_enter(&x->t1, x->secure.apdu_len, &action);
	return act_t1(x, &action);
}

int exchange_wants_ifsd(const struct exchange *exchange) {
	const struct exchange_config *c = &exchange->config;
	return is_t1_here(c) && !c->reader_set_ifsd &&
		t1_best_ifsd(&exchange->t1, c->max_ifsd) > T1_DEFAULT_IFS;
}

enum exchange_action exchange_negotiate(struct exchange *exchange) {
	struct t1_action action;
	exchange->mode = EXCHANGE_T1;
	exchange->raw = 1; /* its end has no SW1 SW2 */
	t1_negotiate(
		&exchange->t1, t1_best_ifsd(&exchange->t1, exchange->config.max_ifsd), &action);
	return act_t1(exchange, &action);
}

/* ---- any ---- */

enum exchange_action exchange_start(struct exchange *exchange, const uint8_t *apdu, size_t len) {
	exchange->raw = 0;
	exchange->is_secure = 0;
	exchange->wtx = 0;
	if (!exchange->ready || exchange->dead)
		return fail(exchange, STATUS_CARD_UNRESPONSIVE);
	if (len < APDU_HEADER)
		return fail(exchange, STATUS_INVALID);
	if (is_t1_here(&exchange->config))
		return start_t1(exchange, apdu, len);
	switch (exchange->config.level) {
	case CCID_LEVEL_CHARACTER: return start_t0(exchange, apdu, len);
	case CCID_LEVEL_TPDU: return start_tpdu(exchange, apdu, len);
	case CCID_LEVEL_SHORT: return start_short(exchange, apdu, len);
	default: return start_extended(exchange, apdu, len);
	}
}

enum exchange_action exchange_start_secure(
	struct exchange *exchange, const struct exchange_secure *secure) {
	exchange->raw = 0;
	exchange->is_secure = 0;
	exchange->wtx = 0;
	if (!exchange->ready || exchange->dead)
		return fail(exchange, STATUS_CARD_UNRESPONSIVE);
	if (exchange->config.level == CCID_LEVEL_CHARACTER)
		return fail(exchange, STATUS_UNSUPPORTED);
	exchange->secure = *secure;
	if (is_t1_here(&exchange->config))
		return secure_t1(exchange);
	exchange->is_secure = 1;
	return straight(exchange, secure->data, secure->len);
}

struct ccid_request exchange_request(const struct exchange *exchange) {
	if (exchange->is_secure)
		return ccid_msg_secure(exchange->out, exchange->out_len);
	return ccid_msg_xfr_block(exchange->wtx, exchange->level, exchange->out, exchange->out_len);
}

unsigned exchange_characters(const struct exchange *exchange) {
	if (exchange->mode != EXCHANGE_T1)
		return ATR_T1_WHOLE_BLOCK;
	return (unsigned)exchange->n_characters;
}

unsigned exchange_patience(const struct exchange *exchange) {
	return exchange->wtx ? exchange->wtx : 1;
}

enum exchange_action exchange_feed(struct exchange *exchange, const struct ccid_reply *reply) {
	switch (exchange->mode) {
	case EXCHANGE_STRAIGHT: return feed_straight(exchange, reply);
	case EXCHANGE_CHAIN_OUT: return feed_chain_out(exchange, reply);
	case EXCHANGE_CHAIN_IN: return feed_chain_in(exchange, reply);
	case EXCHANGE_T0: return feed_t0(exchange, reply);
	case EXCHANGE_T1: return feed_t1(exchange, reply);
	default: return fail(exchange, STATUS_FAILED);
	}
}
