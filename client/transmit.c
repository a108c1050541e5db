/* SPDX-License-Identifier: MIT */
/*
 * SCardTransmit and SCardControl: bytes to the card or the reader, and back. The command goes from
 * the caller's buffer to the socket without a copy; the answer's copy in the receive buffer is wiped.
 * Nothing is retried: an answer that does not fit is lost, because the card has done the command.
 */
#include <stdint.h>
#include <string.h>

#include "client/card.h"

const SCARD_IO_REQUEST g_rgSCardT0Pci = { SCARD_PROTOCOL_T0, sizeof(SCARD_IO_REQUEST) };
const SCARD_IO_REQUEST g_rgSCardT1Pci = { SCARD_PROTOCOL_T1, sizeof(SCARD_IO_REQUEST) };
const SCARD_IO_REQUEST g_rgSCardRawPci = { SCARD_PROTOCOL_RAW, sizeof(SCARD_IO_REQUEST) };

/* The caller's room for an answer. */
struct answer {
	void *buffer;
	DWORD room;
	DWORD len; /* out */
};

/* Makes the call on an entered card and leaves nothing of it behind. */
static LONG exchange(struct card *card, struct card_request *request, struct answer *answer,
	uint32_t *ret_value) {
	struct message_reply reply;
	request->lost = SCARD_E_NOT_TRANSACTED;
	LONG rv = card_call(card, request, &reply);
	if (rv == SCARD_S_SUCCESS) {
		answer->len = reply.tail_len;
		*ret_value = reply.value;
		if (reply.tail_len > answer->room)
			rv = SCARD_E_INSUFFICIENT_BUFFER;
		else if (reply.tail_len)
			memcpy(answer->buffer, reply.tail, reply.tail_len);
	}
	channel_wipe(&card->channel);
	return rv;
}

static LONG transmit(struct card *card, const SCARD_IO_REQUEST *pci, struct card_request *request,
	struct answer *answer, uint32_t *ret_protocol) {
	if (request->tail_len > MAX_BUFFER_SIZE_EXTENDED)
		return SCARD_E_INSUFFICIENT_BUFFER;
	unsigned long protocol = pci->dwProtocol;
	/* 0 is no protocol, and refused in its turn, after what else may be wrong */
	struct message_transmit m = { .protocol = protocol > UINT32_MAX ? 0 : (uint32_t)protocol };
	answer->len = 0;
	message_transmit_encode(card_request_start(request), channel_serial(&card->channel), &m);
	return exchange(card, request, answer, ret_protocol);
}

LONG SCardTransmit(SCARDHANDLE hCard, const SCARD_IO_REQUEST *pioSendPci, LPCBYTE pbSendBuffer,
	DWORD cbSendLength, SCARD_IO_REQUEST *pioRecvPci, LPBYTE pbRecvBuffer,
	LPDWORD pcbRecvLength) {
	uint32_t protocol;
	if (!pbSendBuffer || !pbRecvBuffer || !pcbRecvLength || !pioSendPci)
		return SCARD_E_INVALID_PARAMETER;
	struct card *card = handle_card_enter(hCard);
	if (!card) {
		*pcbRecvLength = 0;
		return SCARD_E_INVALID_HANDLE;
	}
	struct card_request request = { .tail = pbSendBuffer, .tail_len = cbSendLength };
	struct answer answer = {
		.buffer = pbRecvBuffer, .room = *pcbRecvLength, .len = *pcbRecvLength
	};
	LONG rv = transmit(card, pioSendPci, &request, &answer, &protocol);
	*pcbRecvLength = answer.len;
	if (rv == SCARD_S_SUCCESS && pioRecvPci)
		*pioRecvPci = (SCARD_IO_REQUEST){ protocol, sizeof(SCARD_IO_REQUEST) };
	handle_card_leave(card);
	return rv;
}

static LONG control(
	struct card *card, DWORD code, struct card_request *request, struct answer *answer) {
	struct message_control m = { .code = (uint32_t)code };
	uint32_t unused;
	if (request->tail_len > MAX_BUFFER_SIZE_EXTENDED)
		return SCARD_E_INSUFFICIENT_BUFFER;
	message_control_encode(card_request_start(request), channel_serial(&card->channel), &m);
	return exchange(card, request, answer, &unused);
}

LONG SCardControl(SCARDHANDLE hCard, DWORD dwControlCode, LPCVOID pbSendBuffer, DWORD cbSendLength,
	LPVOID pbRecvBuffer, DWORD cbRecvLength, LPDWORD lpBytesReturned) {
	if (lpBytesReturned)
		*lpBytesReturned = 0;
	if (!pbSendBuffer && cbSendLength)
		return SCARD_E_INVALID_PARAMETER;
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	struct card_request request = { .tail = pbSendBuffer, .tail_len = cbSendLength };
	struct answer answer = { .buffer = pbRecvBuffer, .room = pbRecvBuffer ? cbRecvLength : 0 };
	LONG rv = control(card, dwControlCode, &request, &answer);
	if (lpBytesReturned)
		*lpBytesReturned = answer.len;
	handle_card_leave(card);
	return rv;
}
