/* SPDX-License-Identifier: MIT */
/*
 * A card handle is a connection to its reader's handler. When the handler dies, the card has lost
 * its state with it: the handle answers "was reset" until SCardReconnect, which connects anew; the
 * application never learns of a service. When the reader is gone, the handle is good for nothing but
 * SCardDisconnect.
 */
#include "client/card.h"

#include <string.h>

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
	return card->life == CARD_GONE ? SCARD_E_READER_UNAVAILABLE : lost;
}

LONG card_call(struct card *card, struct card_request *request, struct message_reply *ret_reply) {
	*ret_reply = (struct message_reply){ .status = STATUS_FAILED };
	LONG rv = card_ready(card);
	if (rv != SCARD_S_SUCCESS)
		return rv;
	int r = channel_send_tail(&card->channel, &request->head, request->tail, request->tail_len);
	if (r == 0)
		r = channel_reply(&card->channel, ret_reply);
	if (r < 0)
		return card_unanswered(card, r, request->lost);
	return (LONG)status_scard(ret_reply->status);
}

LONG card_look(struct card *card, struct channel_state *ret_state) {
	if (card->life == CARD_LIVE && channel_drain(&card->channel) < 0)
		card_ended(card);
	LONG rv = card_ready(card);
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
