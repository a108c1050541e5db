/* SPDX-License-Identifier: MIT */
/*
 * Attributes are the handler's, except for the reader's name, which the library knows itself: the
 * handler of a forwarded reader may know it by another one.
 */
#include <stdint.h>
#include <string.h>

#include "client/card.h"
#include "client/output.h"
#include "client/reader.h"
#include "wire/status.h"

static bool is_name(DWORD tag) {
	return tag == SCARD_ATTR_DEVICE_FRIENDLY_NAME_A || tag == SCARD_ATTR_DEVICE_SYSTEM_NAME_A;
}

/* What the handler checks for every attribute: the lock, the reader's health, the card's event. The end of a
 * transaction may be on its way: whether the lock is still taken only the handler knows. */
static LONG name_check(struct card *card) {
	struct channel_state state;
	LONG rv = card_look(card, &state);
	if (rv == SCARD_S_SUCCESS && (state.flags & STATE_LOCKED_ELSEWHERE)) {
		struct message_reply reply;
		rv = card_ask(card, &reply);
		if (reply.status == STATUS_SHARING)
			return SCARD_E_SHARING_VIOLATION;
		if (card->life == CARD_LIVE)
			rv = card_look(card, &state);
	}
	if (rv != SCARD_S_SUCCESS)
		return rv;
	if (state.presence == PRESENCE_UNKNOWN)
		return SCARD_E_READER_UNAVAILABLE;
	return card_event(&state);
}

static LONG get(struct card *card, DWORD tag, void *buffer, DWORD *length) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_get_attrib m = { .tag = (uint32_t)tag };
	struct message_reply reply;
	message_get_attrib_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	LONG rv = card_call(card, &request, &reply);
	if (rv == SCARD_S_SUCCESS)
		rv = output_put(reply.tail, reply.tail_len, buffer, length, true);
	channel_wipe(&card->channel);
	return rv;
}

LONG SCardGetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPBYTE pbAttr, LPDWORD pcbAttrLen) {
	if (!pcbAttrLen || (!pbAttr && *pcbAttrLen == SCARD_AUTOALLOCATE))
		return SCARD_E_INVALID_PARAMETER;
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	LONG rv;
	if (is_name(dwAttrId)) {
		const char *name = card->reader->name;
		rv = name_check(card);
		if (rv == SCARD_S_SUCCESS)
			rv = output_put(name, strlen(name) + 1, pbAttr, pcbAttrLen, true);
	} else if (dwAttrId > UINT32_MAX) {
		rv = SCARD_E_UNSUPPORTED_FEATURE;
	} else {
		rv = get(card, dwAttrId, pbAttr, pcbAttrLen);
	}
	handle_card_leave(card);
	return rv;
}

LONG SCardSetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPCBYTE pbAttr, DWORD cbAttrLen) {
	if (!pbAttr || cbAttrLen == 0)
		return SCARD_E_INVALID_PARAMETER;
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	struct card_request request = {
		.tail = pbAttr, .tail_len = cbAttrLen, .lost = SCARD_E_NOT_TRANSACTED
	};
	struct message_set_attrib m = { .tag = (uint32_t)dwAttrId };
	struct message_reply reply;
	LONG rv = SCARD_E_INSUFFICIENT_BUFFER;
	if (dwAttrId > UINT32_MAX) {
		rv = SCARD_E_UNSUPPORTED_FEATURE;
	} else if (cbAttrLen <= MAX_BUFFER_SIZE) {
		message_set_attrib_encode(
			card_request_start(&request), channel_serial(&card->channel), &m);
		rv = card_call(card, &request, &reply);
	}
	handle_card_leave(card);
	return rv;
}
