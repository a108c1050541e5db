/* SPDX-License-Identifier: MIT */
/* A connection to one reader's handler: requests with deadlines, and what the handler pushes. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "wire/description.h"
#include "wire/message.h"

/* What the handler said of a slot last. */
struct peer_state {
	int known;
	uint8_t presence;
	uint16_t flags, status, counter;
	uint8_t atr_len;
	uint8_t atr[WIRE_MAX_ATR];
};

struct peer {
	int fd;    /* -1 = closed */
	pid_t pid; /* who listened: the handler, or systemd for it */
	uint16_t serial, n_slots;
	uint8_t *buf; /* FRAME_MAX bytes; start to len are not taken yet */
	size_t start, len;
	struct peer_state *states; /* n_slots of them, since WELCOME */
	uint16_t bye;              /* outcome of the last BYE, 0 = none came */
	char bye_text[512];        /* and its sentence */
};

#define PEER_CLOSED ((struct peer){ .fd = -1 })

/* Outcomes beside negative errno: the handler ended the connection and said why (bye, bye_text). */
enum { PEER_E_BYE = 1 };

/*
 * Connects to DIR/INSTANCE.sock. 0; -ENOENT, -ECONNREFUSED (nobody listens), -ETIMEDOUT, -EACCES,
 * -EPERM (somebody else's socket), -ENOMEM, or another errno. *ret_peer is set in any case.
 */
int peer_open(const char *dir, const char *instance, int64_t deadline_ms, struct peer *ret_peer);

/* Closes; a closed peer is allowed. What cards said is wiped. */
void peer_close(struct peer *peer);

/* HELLO and WELCOME. ret_description may be NULL; else the handler is asked for its description.
 * As the others below: 0, PEER_E_BYE, -ETIMEDOUT, -ECONNRESET (ended without a word), -EBADMSG. */
int peer_hello(struct peer *peer, int64_t deadline_ms, struct description *ret_description);

/* Requests. *ret_reply's tail is borrowed until the next call. */
int peer_watch(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply);
int peer_inspect(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply);
int peer_stop(
	struct peer *peer, uint16_t reason, int64_t deadline_ms, struct message_reply *ret_reply);
int peer_connect(struct peer *peer, const struct message_connect *connect, int64_t deadline_ms,
	struct message_reply *ret_reply);
int peer_transmit(struct peer *peer, const struct message_transmit *transmit, int64_t deadline_ms,
	struct message_reply *ret_reply);
int peer_disconnect(struct peer *peer, int64_t deadline_ms);

/* Hello and watch together, in two halves: sends both and waits for nothing; waits for the
 * answer. */
int peer_send_watch(struct peer *peer);
int peer_await_watch(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply);

/* Takes what has arrived, without waiting: the type of the next message, applied to states and bye;
 * 0 when there is none; -ECONNRESET, -EBADMSG. A BYE is reported as MESSAGE_BYE. */
int peer_take(struct peer *peer);

/* Waits until the handler has closed the connection (it is asked to end). 0 or -ETIMEDOUT. */
int peer_await_end(struct peer *peer, int64_t deadline_ms);

/* Says on stderr what came of asking `name`: result `r` of the functions above (not 0), or where r
 * is 0 the outcome `status`; with a remedy where there is one. Returns the exit code that fits. */
int peer_error(const struct peer *peer, const char *name, int r, uint16_t status);
