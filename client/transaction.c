/* SPDX-License-Identifier: MIT */
/*
 * Transactions are the handler's: it keeps the queue of those who wait, counts nested ones, and frees
 * everything when a connection ends.
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
	handle_card_leave(card);
	return rv;
}

LONG SCardEndTransaction(SCARDHANDLE hCard, DWORD dwDisposition) {
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_end m = { .disposition = (uint8_t)dwDisposition };
	struct message_reply reply;
	LONG rv = SCARD_E_INVALID_VALUE;
	if (dwDisposition <= SCARD_EJECT_CARD) {
		message_end_encode(
			card_request_start(&request), channel_serial(&card->channel), &m);
		rv = card_call(card, &request, &reply);
	}
	handle_card_leave(card);
	return rv;
}
