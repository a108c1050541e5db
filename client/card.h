/* SPDX-License-Identifier: MIT */
/* Requests on a card handle, and what becomes of the handle when its connection ends. */
#pragma once

#include "client/handle.h"

/* A request: the frame encoded with an empty tail, and the tail. */
struct card_request {
	uint8_t room[32]; /* chosen: a header and the longest fields */
	struct bytes_writer head;
	const void *tail;
	size_t tail_len;
	LONG lost; /* what the caller gets if the handler dies while it has the request */
};

/* Is the handle good for a request? SCARD_S_SUCCESS; SCARD_W_RESET_CARD if the handler has died;
 * SCARD_E_INVALID_VALUE if the reader is gone. */
LONG card_ready(struct card *card);

/* Starts a request; its fields are then encoded into the returned writer, with channel_serial. */
struct bytes_writer *card_request_start(struct card_request *request);

/* Waits for the reply to the last request as long as the handler lives: commands may take minutes. As
 * channel_reply; CHANNEL_TIMEOUT for a handler that hangs, after 15 s. */
int card_reply(struct card *card, struct message_reply *ret_reply);

/* Sends the request and waits for the answer. The answer's status as a return code, with *ret_reply
 * set (tail borrowed until channel_wipe); or why there is no answer, *ret_reply then a zeroed one with
 * STATUS_FAILED. */
LONG card_call(struct card *card, struct card_request *request, struct message_reply *ret_reply);

/* Sends a request that has no answer. SCARD_S_SUCCESS, or why it could not be sent. */
LONG card_send(struct card *card, struct card_request *request);

/* Asks something that is answered at once, also while another handle has the lock: what has been pushed before the
 * answer is the truth. Results as card_call. */
LONG card_ask(struct card *card, struct message_reply *ret_reply);

/* The slot's state as pushed; the handler is asked only where so much was pushed that not all of it may have come.
 * SCARD_S_SUCCESS, or as card_ready, or SCARD_E_READER_UNAVAILABLE if there was no answer. */
LONG card_look(struct card *card, struct channel_state *ret_state);

/* The card event of a state as a return code; SCARD_S_SUCCESS for none. */
LONG card_event(const struct channel_state *state);
