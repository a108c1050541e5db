/* SPDX-License-Identifier: MIT */
/*
 * SCardConnect, SCardReconnect and SCardDisconnect: handles come and go.
 *
 * A connect goes over a parked connection if the context has one to the device (one round trip), else
 * over a new one, with HELLO and CONNECT sent in one piece. A handler may be ending in that moment
 * because nobody used it, or may just have been killed: its socket is systemd's and still there, so the
 * next try finds the next handler. The application sees nothing of that.
 */
#include <errno.h>
#include <string.h>

#include "client/card.h"
#include "client/clock.h"
#include "client/debug.h"
#include "wire/status.h"

enum {
	MAX_TRIES = 5,    /* chosen: handlers that end without an answer */
	GREET_MS = 10000, /* chosen: the start of a handler on a busy machine, once per connect */
	KNOWN_PROTOCOLS = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1 | SCARD_PROTOCOL_RAW,
	PROTOCOL_ANY_OLD = 0x1000, /* a retired value of SCARD_PROTOCOL_ANY, still in programs */
};

/* How a handle is to be connected. */
struct terms {
	DWORD share;
	DWORD protocols;
};

/* Values in the order in which callers have come to know their errors. */
static LONG terms_check(const struct terms *terms) {
	DWORD known = KNOWN_PROTOCOLS | PROTOCOL_ANY_OLD;
	if (terms->share != SCARD_SHARE_DIRECT && !(terms->protocols & known))
		return SCARD_E_PROTO_MISMATCH;
	if (terms->share < SCARD_SHARE_EXCLUSIVE || terms->share > SCARD_SHARE_DIRECT)
		return SCARD_E_INVALID_VALUE;
	return SCARD_S_SUCCESS;
}

static uint32_t terms_protocols(const struct terms *terms) {
	DWORD protocols = terms->protocols & KNOWN_PROTOCOLS;
	if (terms->protocols & PROTOCOL_ANY_OLD)
		protocols |= SCARD_PROTOCOL_ANY;
	return (uint32_t)protocols;
}

static void connect_encode(struct card *card, const struct terms *terms, struct bytes_writer *w) {
	struct message_connect m = {
		.slot = (uint8_t)card->reader->slot,
		.share = (uint8_t)terms->share,
		.protocols = terms_protocols(terms),
	};
	message_connect_encode(w, channel_serial(&card->channel), &m);
}

static int try_parked(struct card *card, const struct terms *terms, struct message_reply *ret) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	if (!handle_unpark(card, &card->channel))
		return CHANNEL_UNSENT;
	connect_encode(card, terms, &w);
	struct iovec part = { .iov_base = room, .iov_len = bytes_written(&w) };
	int r = channel_send(&card->channel, &part, 1);
	return r < 0 ? r : card_reply(card, ret);
}

static int try_new(struct card *card, const struct terms *terms, int64_t deadline_ms,
	struct message_reply *ret) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct channel *channel = &card->channel;
	struct frame frame;
	channel_close(channel);
	const struct reader *reader = card->reader;
	int r = channel_open(reader->dir, reader->instance, deadline_ms, channel);
	if (handle_make_room(r))
		r = channel_open(reader->dir, reader->instance, deadline_ms, channel);
	if (r < 0)
		return r;
	channel_hello(channel, card->context->no_blocking ? HELLO_NO_BLOCKING : 0, &w);
	connect_encode(card, terms, &w);
	struct iovec part = { .iov_base = room, .iov_len = bytes_written(&w) };
	r = channel_send(channel, &part, 1);
	if (r == 0)
		r = channel_await(channel, MESSAGE_WELCOME, deadline_ms, &frame);
	return r < 0 ? r : card_reply(card, ret);
}

/* Did the handler end for a reason that does not concern the next one? */
static bool worth_another(const struct channel *channel, int error) {
	return (error == CHANNEL_UNSENT || error == CHANNEL_LOST) &&
		(channel->bye == STATUS_OK || channel->bye == STATUS_IDLE ||
			channel->bye == STATUS_STOPPED);
}

/* The code for a reader whose handler cannot be reached. */
static LONG unreachable(const struct card *card, int error) {
	if (card->channel.bye != STATUS_OK)
		return (LONG)status_scard(card->channel.bye);
	switch (error) {
	case CHANNEL_UNTRUSTED:
	case -EACCES: return SCARD_W_SECURITY_VIOLATION;
	case -ENOMEM:
	case -ENFILE:
	case -EMFILE: return SCARD_E_NO_MEMORY;
	default:
		return readers_alive(card->reader) ? SCARD_E_READER_UNAVAILABLE
						   : SCARD_E_UNKNOWN_READER;
	}
}

/* Connects an entered card. The code of the outcome; *ret_active is set on success. */
static LONG attach(struct card *card, const struct terms *terms, DWORD *ret_active) {
	int64_t deadline_ms = clock_ms() + GREET_MS;
	struct message_reply reply;
	int r = try_parked(card, terms, &reply);
	for (int i = 0; r < 0 && i < MAX_TRIES; i++) {
		r = try_new(card, terms, deadline_ms, &reply);
		if (r < 0 && !worth_another(&card->channel, r))
			break;
	}
	if (r < 0) {
		LONG rv = unreachable(card, r);
		channel_close(&card->channel);
		return rv;
	}
	if (reply.status != STATUS_OK) {
		debug_log(DEBUG_INFO, "%s: connect: %s", card->reader->name,
			status_text(reply.status));
		handle_park(card, &card->channel);
		return (LONG)status_scard(reply.status);
	}
	card->life = CARD_LIVE;
	*ret_active = reply.value;
	return SCARD_S_SUCCESS;
}

/* Makes a card and connects it. */
static LONG connect_reader(struct context *context, const char *name, const struct terms *terms,
	SCARDHANDLE *ret_card, DWORD *ret_active) {
	LONG rv = SCARD_E_NO_MEMORY;
	struct readers *readers = readers_get();
	if (!readers)
		return rv;
	const struct reader *reader = readers_find(readers, name);
	struct card *card = reader ? handle_card_new(context, readers, reader) : NULL;
	readers_unref(readers);
	if (!card)
		return reader ? rv : SCARD_E_UNKNOWN_READER;
	rv = attach(card, terms, ret_active);
	if (rv == SCARD_S_SUCCESS)
		rv = handle_card_publish(card);
	if (rv == SCARD_S_SUCCESS) {
		*ret_card = card->id;
	} else {
		*ret_active = 0;
		handle_card_close(card);
	}
	handle_card_leave(card);
	return rv;
}

LONG SCardConnect(SCARDCONTEXT hContext, LPCSTR szReader, DWORD dwShareMode,
	DWORD dwPreferredProtocols, LPSCARDHANDLE phCard, LPDWORD pdwActiveProtocol) {
	struct terms terms = { .share = dwShareMode, .protocols = dwPreferredProtocols };
	char name[MAX_READERNAME];
	if (!phCard || !pdwActiveProtocol)
		return SCARD_E_INVALID_PARAMETER;
	*phCard = 0;
	if (!szReader)
		return SCARD_E_UNKNOWN_READER;
	size_t len = strnlen(szReader, MAX_READERNAME + 1);
	if (len > MAX_READERNAME)
		return SCARD_E_INVALID_VALUE;
	if (len == MAX_READERNAME)
		len--;
	memcpy(name, szReader, len);
	name[len] = 0;
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	*pdwActiveProtocol = 0;
	LONG rv = terms_check(&terms);
	if (rv == SCARD_S_SUCCESS)
		rv = connect_reader(context, name, &terms, phCard, pdwActiveProtocol);
	handle_context_leave(context);
	return rv;
}

/* Is another connection worth a try after a request that has ended so? Not to a handler that hangs: it would be waited for
 * once more. */
static bool card_is_worth_another(const struct card *card, LONG rv) {
	return card->life == CARD_LOST && rv != SCARD_E_READER_UNAVAILABLE;
}

/* A reconnect finds other words for two outcomes than a connect. */
static LONG reconnect_code(uint16_t status, LONG rv) {
	switch (status) {
	case STATUS_CARD_MUTE: return SCARD_W_UNRESPONSIVE_CARD;
	case STATUS_CARD_REMOVED: return SCARD_E_NO_SMARTCARD;
	default: return rv;
	}
}

static LONG call_reconnect(
	struct card *card, const struct terms *terms, DWORD initialization, DWORD *ret_active) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_reply reply;
	struct message_reconnect m = {
		.share = (uint8_t)terms->share,
		.initialization = (uint8_t)initialization,
		.protocols = terms_protocols(terms),
	};
	message_reconnect_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	LONG rv = card_call(card, &request, &reply);
	if (card->life != CARD_LIVE)
		return rv;
	if (rv == SCARD_S_SUCCESS)
		*ret_active = reply.value;
	return reconnect_code(reply.status, rv);
}

/* The connection is lost, but the card may never have been reset: the program may have closed the descriptor. */
static LONG reconnect_lost(
	struct card *card, const struct terms *terms, DWORD initialization, DWORD *ret_active) {
	LONG rv = attach(card, terms, ret_active);
	if (rv == SCARD_S_SUCCESS && initialization != SCARD_LEAVE_CARD)
		rv = call_reconnect(card, terms, initialization, ret_active);
	if (rv == SCARD_W_UNPOWERED_CARD)
		return SCARD_W_UNRESPONSIVE_CARD;
	return rv == SCARD_E_UNKNOWN_READER ? SCARD_E_INVALID_VALUE : rv;
}

static LONG reconnect(
	struct card *card, const struct terms *terms, DWORD initialization, DWORD *ret_active) {
	card->n_begun = 0; /* the handler may count others after a removal */
	LONG rv = call_reconnect(card, terms, initialization, ret_active);
	if (card_is_worth_another(card, rv))
		rv = reconnect_lost(card, terms, initialization, ret_active);
	if (rv != SCARD_S_SUCCESS)
		*ret_active = 0;
	return rv;
}

LONG SCardReconnect(SCARDHANDLE hCard, DWORD dwShareMode, DWORD dwPreferredProtocols,
	DWORD dwInitialization, LPDWORD pdwActiveProtocol) {
	struct terms terms = { .share = dwShareMode, .protocols = dwPreferredProtocols };
	if (!pdwActiveProtocol)
		return SCARD_E_INVALID_PARAMETER;
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = SCARD_E_INVALID_VALUE;
	*pdwActiveProtocol = 0;
	if (dwInitialization <= SCARD_UNPOWER_CARD && dwShareMode >= SCARD_SHARE_EXCLUSIVE &&
		dwShareMode <= SCARD_SHARE_DIRECT)
		rv = terms_check(&terms);
	if (rv == SCARD_S_SUCCESS)
		rv = reconnect(card, &terms, dwInitialization, pdwActiveProtocol);
	handle_card_leave(card);
	return rv;
}

/* Sends DISCONNECT, and keeps a connection that has done it. The code of the outcome. */
static LONG call_disconnect(struct card *card, DWORD disposition) {
	struct card_request request = { .lost = SCARD_W_RESET_CARD };
	struct message_disconnect m = { .disposition = (uint8_t)disposition };
	struct message_reply reply;
	message_disconnect_encode(card_request_start(&request), channel_serial(&card->channel), &m);
	LONG rv = card_call(card, &request, &reply);
	if (reply.status == STATUS_OK)
		handle_park(card, &card->channel);
	return rv;
}

/* What the card knows of the caller must be gone after a reset, also where the connection was lost before: then over
 * another one, which needs nothing of the card. */
static void disconnect(struct card *card, DWORD disposition) {
	static const struct terms terms = { .share = SCARD_SHARE_DIRECT };
	DWORD active;
	LONG rv = call_disconnect(card, disposition);
	bool acts = disposition == SCARD_RESET_CARD || disposition == SCARD_UNPOWER_CARD;
	if (acts && card_is_worth_another(card, rv) &&
		attach(card, &terms, &active) == SCARD_S_SUCCESS)
		call_disconnect(card, disposition);
}

LONG SCardDisconnect(SCARDHANDLE hCard, DWORD dwDisposition) {
	struct card *card = handle_card_enter(hCard);
	if (!card)
		return SCARD_E_INVALID_HANDLE;
	if (dwDisposition > SCARD_EJECT_CARD) {
		handle_card_leave(card);
		return SCARD_E_INVALID_VALUE;
	}
	disconnect(card, dwDisposition);
	handle_card_close(card);
	handle_card_leave(card);
	return SCARD_S_SUCCESS;
}
