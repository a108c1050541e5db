/* SPDX-License-Identifier: MIT */
/* One connection to one reader's handler: frames out, frames in, and the slots' states as pushed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire/message.h"

/* A slot as the handler last told it; see STATE in wire/PROTOCOL.md. */
struct channel_state {
	bool known; /* a STATE has arrived */
	uint8_t presence;
	uint16_t flags;
	uint16_t status;
	uint16_t counter;
	uint8_t protocol;
	uint8_t event;
	uint8_t atr_len;
	uint8_t atr[WIRE_MAX_ATR];
};

/* A zeroed channel with fd -1 is closed. Not for use by two threads at once. */
struct channel {
	int fd;
	uint16_t serial;  /* of the last request */
	uint16_t bye;     /* status of BYE, where one has come; else 0 */
	uint16_t n_slots; /* from WELCOME; 0 before it */
	uint16_t version; /* likewise */
	struct channel_state *states;
	uint8_t *buf; /* received bytes: [start, len) are not consumed */
	size_t size;
	size_t start;
	size_t len;
};

#define CHANNEL_CLOSED ((struct channel){ .fd = -1 })

enum {
	/* Chosen: nothing comes for so long while a reply is waited for: is the handler alive? Long enough
	 * for commands of every day, which then cost no question. */
	CHANNEL_SILENCE_MS = 10000,
	/* Chosen: the handler reads nothing for so long, where a request does not fit in what it has not read. As long as
	 * the silence and the greeting that a reply is given. */
	CHANNEL_ROOM_MS = 15000,
	/* Chosen: so many states unread make a heap. A handler lets that many lie there before it keeps newer ones back
	 * until there is room again. */
	CHANNEL_HEAP = 8,
};

/* How a request ended without an answer. */
enum {
	CHANNEL_UNSENT = -EPIPE,    /* the connection had ended before: the request was not taken */
	CHANNEL_LOST = -ECONNRESET, /* it ended, or said nonsense, after the request was sent */
	CHANNEL_TIMEOUT = -ETIMEDOUT, /* the deadline has passed */
	CHANNEL_UNTRUSTED = -EPERM,   /* another user's process listens there */
};

/* Connects to DIR/INSTANCE.sock, waiting until `deadline_ms` at most for a handler that does not
 * accept; with CLOCK_NEVER not at all, and the descriptor never blocks. `ret_channel` is
 * overwritten. 0, CHANNEL_UNTRUSTED, or the negative errno of socket or connect. */
int channel_open(
	const char *dir, const char *instance, int64_t deadline_ms, struct channel *ret_channel);

/* Closes and frees; a closed channel is allowed. What was received is wiped. */
void channel_close(struct channel *channel);

/* Tells the handler that nothing more will come. False if there is no connection any more. */
bool channel_end(struct channel *channel);

/* channel_end, and waits until it has cleaned up and closed, until
 * `deadline_ms` at most. Then as channel_close. */
void channel_finish(struct channel *channel, int64_t deadline_ms);

/* Appends HELLO with `flags` to `w`. */
void channel_hello(struct channel *channel, uint16_t flags, struct bytes_writer *w);

/* The serial for the next request. */
uint16_t channel_serial(struct channel *channel);

/* Sends all of `n` parts in one go. 0; CHANNEL_UNSENT: what the handler said before it ended has been read then; or
 * CHANNEL_TIMEOUT if there was no room for CHANNEL_ROOM_MS: the connection is good for nothing more. */
int channel_send(struct channel *channel, const struct iovec *parts, size_t n);

/* Sends the frame in `head` (encoded with an empty tail), with `n` bytes at `data` as its tail.
 * Results as channel_send; -EMSGSIZE for more than WIRE_MAX_DATA. */
int channel_send_tail(
	struct channel *channel, struct bytes_writer *head, const void *data, size_t n);

/* Takes the next whole frame from what has been received: applies STATE, WELCOME and BYE. Returns its
 * type with *ret_frame set (borrowed until the next receive), 0 when bytes are missing, CHANNEL_LOST
 * after BYE or nonsense. */
int channel_next(struct channel *channel, struct frame *ret_frame);

/* Receives once; waits for something with `wait`. 1 when bytes came, 0 when none are there,
 * CHANNEL_LOST at the end, CHANNEL_TIMEOUT when there was nothing for CHANNEL_SILENCE_MS. */
int channel_receive(struct channel *channel, bool wait);

/* Receives without waiting until nothing is left, and applies all of it; frames that are no request's
 * business are dropped. 0 or CHANNEL_LOST; 1 if it was a heap of states: the handler may have newer ones, which come
 * before its next REPLY. */
int channel_drain(struct channel *channel);

/* Waits until a frame of `type` has come, for a reply that of the last serial. 0 with *ret_frame
 * (borrowed until the next receive), CHANNEL_LOST or CHANNEL_TIMEOUT. */
int channel_await(
	struct channel *channel, uint16_t type, int64_t deadline_ms, struct frame *ret_frame);

/* Waits for the REPLY to the last request. 0 with *ret_reply, whose tail is borrowed until channel_wipe;
 * CHANNEL_LOST; or CHANNEL_TIMEOUT when nothing came for CHANNEL_SILENCE_MS: it may be called again. */
int channel_reply(struct channel *channel, struct message_reply *ret_reply);

/* Does the handler behind DIR/INSTANCE.sock greet a new connection within 5 s? Also true where that cannot
 * be found out: false is said of a handler that hangs. */
bool channel_greets(const char *dir, const char *instance);

/* Overwrites what has been consumed: answers may be secret. */
void channel_wipe(struct channel *channel);

/* The state of `slot`; one that is not known before WELCOME, and for a slot that does not exist. */
struct channel_state channel_slot(const struct channel *channel, unsigned slot);
