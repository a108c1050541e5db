/* SPDX-License-Identifier: MIT */
/*
 * A card handle is a connection to its reader's handler. When the handler dies, the card has lost
 * its state with it: the handle answers "was reset" until SCardReconnect, which connects anew; the
 * application never learns of a service. When the reader is gone, the handle is good for nothing but
 * SCardDisconnect.
 */
#include "client/card.h"

#include <string.h>

#include "client/reader.h"
#include "wire/status.h"

LONG card_ready(struct card *card) {
	if (card->life == CARD_LOST && !readers_alive(card->reader))
		card->life = CARD_GONE;
	switch (card->life) {
	case CARD_LIVE: return SCARD_S_SUCCESS;
	case CARD_LOST: return SCARD_W_RESET_CARD;
	default: return SCARD_E_INVALID_VALUE;
	}
}

/* The connection has ended: of what kind is the handle now? */
static void card_ended(struct card *card) {
	uint16_t reason = card->channel.bye;
	bool gone = reason == STATUS_READER_GONE || reason == STATUS_READER_DETACHED;
	channel_close(&card->channel);
	card->life = gone ? CARD_GONE : CARD_LOST;
}

struct bytes_writer *card_request_start(struct card_request *request) {
	request->head = bytes_writer(request->room, sizeof(request->room));
	return &request->head;
}

/* The code for a request that has got no answer. */
static LONG card_unanswered(struct card *card, int error, LONG lost) {
	card_ended(card);
	if (error == CHANNEL_UNSENT)
		return card_ready(card);
	if (error == CHANNEL_TIMEOUT)
		return SCARD_E_READER_UNAVAILABLE;
	return card->life == CARD_GONE ? SCARD_E_READER_UNAVAILABLE : lost;
}

int card_reply(struct card *card, struct message_reply *ret_reply) {
	const struct reader *reader = card->reader;
	int r;
	do
		r = channel_reply(&card->channel, ret_reply);
	while (r == CHANNEL_TIMEOUT && channel_greets(reader->dir, reader->instance));
	return r;
}

LONG card_call(struct card *card, struct card_request *request, struct message_reply *ret_reply) {
	*ret_reply = (struct message_reply){ .status = STATUS_FAILED };
	LONG rv = card_ready(card);
	if (rv != SCARD_S_SUCCESS)
		return rv;
	int r = channel_send_tail(&card->channel, &request->head, request->tail, request->tail_len);
	if (r == 0)
		r = card_reply(card, ret_reply);
	if (r < 0)
		return card_unanswered(card, r, request->lost);
	return (LONG)status_scard(ret_reply->status);
}

LONG card_send(struct card *card, struct card_request *request) {
	LONG rv = card_ready(card);
	if (rv != SCARD_S_SUCCESS)
		return rv;
	int r = channel_send_tail(&card->channel, &request->head, request->tail, request->tail_len);
	return r < 0 ? card_unanswered(card, r, request->lost) : SCARD_S_SUCCESS;
}

LONG card_ask(struct card *card, struct message_reply *ret_reply) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_get_attrib m = { .tag = SCARD_ATTR_ATR_STRING };
	message_get_attrib_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	return card_call(card, &request, ret_reply);
}

/* Reads what was pushed; behind a heap of states also what the handler kept back. SCARD_S_SUCCESS, or why that cannot
 * be had. */
static LONG card_catch_up(struct card *card) {
	struct message_reply reply;
	int r = channel_drain(&card->channel);
	if (r < 0)
		card_ended(card);
	LONG rv = r > 0 ? card_ask(card, &reply) : SCARD_S_SUCCESS;
	return card->life == CARD_LIVE ? SCARD_S_SUCCESS : rv;
}

LONG card_look(struct card *card, struct channel_state *ret_state) {
	LONG rv = card->life == CARD_LIVE ? card_catch_up(card) : SCARD_S_SUCCESS;
	if (rv == SCARD_S_SUCCESS)
		rv = card_ready(card);
	if (rv == SCARD_S_SUCCESS)
		*ret_state = channel_slot(&card->channel, card->reader->slot);
	return rv;
}

LONG card_event(const struct channel_state *state) {
	switch (state->event) {
	case EVENT_NONE: return SCARD_S_SUCCESS;
	case EVENT_REMOVED: return SCARD_W_REMOVED_CARD;
	default: return SCARD_W_RESET_CARD;
	}
}
