/* SPDX-License-Identifier: MIT */
/*
 * SCardStatus answers from what the handler has pushed, without asking it: a change is pushed before
 * the request that caused it is answered. Only while another handle has a transaction is there
 * something to wait for.
 */
#include <string.h>

#include "client/card.h"
#include "client/output.h"
#include "wire/status.h"

enum {
	COUNTER_SHIFT = 16, /* the counter's place in a state */
};

/* The handle's reader is gone; has one of the same name come back? */
static LONG gone_code(const struct card *card) {
	LONG rv = SCARD_E_READER_UNAVAILABLE;
	struct readers *readers = readers_get();
	if (!readers)
		return rv;
	const struct reader *now = readers_find(readers, card->reader->name);
	if (now && now->life != card->reader->life)
		rv = SCARD_E_INVALID_VALUE;
	readers_unref(readers);
	return rv;
}

/* Waits until no other handle has a transaction, and looks again. Where the context does not wait for locks the handler
 * refuses: it knows of an end that has been sent and not told to us. */
static LONG wait_for_lock(struct card *card, struct channel_state *state) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_sync m = { 0 };
	struct message_reply reply;
	message_sync_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	LONG rv = card_call(card, &request, &reply);
	if (card->life == CARD_LIVE && reply.status != STATUS_SHARING)
		rv = card_look(card, state);
	return rv;
}

static LONG status_look(struct card *card, struct channel_state *ret_state) {
	LONG rv = card_look(card, ret_state);
	if (rv == SCARD_S_SUCCESS && (ret_state->flags & STATE_LOCKED_ELSEWHERE))
		rv = wait_for_lock(card, ret_state);
	if (card->life == CARD_GONE)
		return gone_code(card);
	if (rv == SCARD_S_SUCCESS)
		rv = card_event(ret_state);
	if (rv == SCARD_S_SUCCESS && ret_state->presence == PRESENCE_UNKNOWN)
		rv = SCARD_E_READER_UNAVAILABLE;
	return rv;
}

static DWORD state_bits(const struct channel_state *state) {
	DWORD counter = (DWORD)state->counter << COUNTER_SHIFT;
	switch (state->presence) {
	case PRESENCE_ABSENT: return counter | SCARD_ABSENT;
	case PRESENCE_MUTE: return counter | SCARD_PRESENT | SCARD_SWALLOWED;
	default: break;
	}
	if (state->flags & STATE_POWERED)
		return counter | SCARD_PRESENT | SCARD_POWERED | SCARD_NEGOTIABLE;
	return counter | SCARD_PRESENT;
}

static void clear(DWORD *value) {
	if (value)
		*value = 0;
}

/* The worse of two codes of output_put: what cannot be done at all goes before what does not fit. */
static LONG worse(LONG a, LONG b) {
	if (a == SCARD_S_SUCCESS || (a == SCARD_E_INSUFFICIENT_BUFFER && b != SCARD_S_SUCCESS))
		return b;
	return a;
}

LONG SCardStatus(SCARDHANDLE hCard, LPSTR szReaderName, LPDWORD pcchReaderLen, LPDWORD pdwState,
	LPDWORD pdwProtocol, LPBYTE pbAtr, LPDWORD pcbAtrLen) {
	struct channel_state state;
	/* without a length there is no room: a buffer is then not touched */
	DWORD name_len = pcchReaderLen ? *pcchReaderLen : 0;
	DWORD atr_len = pcbAtrLen ? *pcbAtrLen : 0;
	clear(pcchReaderLen);
	clear(pdwState);
	clear(pdwProtocol);
	clear(pcbAtrLen);
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = status_look(card, &state);
	if (rv != SCARD_S_SUCCESS) {
		handle_card_leave(card);
		return rv;
	}
	const char *name = card->reader->name;
	size_t n_atr = state.presence == PRESENCE_PRESENT ? state.atr_len : 0;
	if (pdwState)
		*pdwState = state_bits(&state);
	if (pdwProtocol)
		*pdwProtocol = state.protocol;
	rv = worse(output_put(name, strlen(name) + 1, szReaderName, &name_len, true),
		output_put(state.atr, n_atr, pbAtr, &atr_len, true));
	if (pcchReaderLen)
		*pcchReaderLen = name_len;
	if (pcbAtrLen)
		*pcbAtrLen = atr_len;
	handle_card_leave(card);
	return rv;
}
