/* SPDX-License-Identifier: MIT */
/*
 * Transactions are the handler's: it keeps the queue of those who wait, counts nested ones, and frees
 * everything when a connection ends. The end of a transaction that is known to be open is sent and
 * not waited for: it cannot fail but for what the next call on the handle tells anyhow, and the
 * handler reads an owner's requests before it refuses another client. That saves every
 * begin-transmit-end one of three round trips.
 */
#include "client/card.h"

LONG SCardBeginTransaction(SCARDHANDLE hCard) {
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_begin m = { 0 };
	struct message_reply reply;
	message_begin_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	LONG rv = card_call(card, &request, &reply);
	if (rv == SCARD_S_SUCCESS)
		card->n_begun++;
	handle_card_leave(card);
	return rv;
}

/* Is there a transaction to end, and nothing that must be told first? */
static bool is_open(struct card *card) {
	struct channel_state state;
	return card->n_begun && card->channel.version >= WIRE_VERSION_SILENT &&
		card_look(card, &state) == SCARD_S_SUCCESS && card_event(&state) == SCARD_S_SUCCESS;
}

static LONG transaction_end(struct card *card, uint8_t disposition) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	bool silent = disposition == SCARD_LEAVE_CARD && is_open(card);
	struct message_end m = { .disposition = silent ? DISPOSITION_SILENT : disposition };
	struct message_reply reply;
	message_end_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	if (card->n_begun)
		card->n_begun--;
	return silent ? card_send(card, &request) : card_call(card, &request, &reply);
}

LONG SCardEndTransaction(SCARDHANDLE hCard, DWORD dwDisposition) {
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = SCARD_E_INVALID_VALUE;
	if (dwDisposition <= SCARD_EJECT_CARD)
		rv = transaction_end(card, (uint8_t)dwDisposition);
	handle_card_leave(card);
	return rv;
}
