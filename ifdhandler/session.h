/* SPDX-License-Identifier: MIT */
/* One connected client: which messages are legal, what they do, what is left when it goes. */
#pragma once

#include <sys/types.h>

#include "ifdhandler/service.h"

struct sd_event_source;

enum session_state { SESSION_NEW, SESSION_PARKED, SESSION_WATCH, SESSION_CARD };

/* What a session asks of its connection (socket.c). None of these ends the session before it returns. */
struct session_peer {
	void *userdata;
	void (*welcome)(void *userdata, uint16_t serial, const struct message_welcome *welcome);
	/* States of `slots` go first, then the reply (NULL: none is wanted); then the next request may be
	 * read. */
	void (*reply)(
		void *userdata, uint16_t serial, const struct message_reply *reply, uint32_t slots);
	/* States of `slots` (a mask) are to be sent: session_get_state gives them. */
	void (*states)(void *userdata, uint32_t slots);
};

/* Who is at the other end. */
struct session_client {
	pid_t pid;
	uid_t uid;
	int admin; /* root, or the handler's own user */
};

/* The request under way. Its data lies in the connection's buffer until the reply. */
struct session_request {
	uint16_t type; /* 0 = none */
	uint16_t serial;
	uint8_t share, how; /* initialization or disposition */
	uint8_t silent;     /* no reply is wanted */
	uint32_t number;    /* protocols, protocol, code or tag */
	struct driver_bytes data;
};

struct session {
	struct session *next, *prev;
	struct service *service;
	const struct session_peer *peer;
	struct session_client client;
	enum session_state state;
	unsigned slot;
	struct lease_holder holder;
	unsigned event; /* EVENT_… that was not acknowledged */
	int raw;        /* this connection speaks raw, whatever the others negotiated */
	uint16_t flags; /* of HELLO */
	uint16_t version;
	uint32_t dirty;      /* slots whose state is to be sent */
	uint32_t first_told; /* of a WATCH: slots whose first state was */
	struct session_request request;
	int counted;   /* as a user of the reader: anything but parked and at rest */
	int running;   /* an operation of the slot is under way for it */
	int ended;     /* the client is gone; freed when the operation is over */
	int replying;  /* its states go out with the reply */
	uint8_t *data; /* the buffer of a connection that is gone */
	size_t data_size;
	int expired; /* the wait for a first state is over */
	struct sd_event_source *patience;
	uint64_t since_usec;      /* CLOCK_MONOTONIC of the connection */
	uint64_t locked_usec;     /* … of the first transaction that is open */
	struct service_told told; /* to a card connection */
};

/* Makes a session for a connection whose access was granted. NULL when out of memory. */
struct session *session_new(struct service *service, const struct session_client *client,
	const struct session_peer *peer);

/* The client is gone: locks are given back and what it left in mid-air is tidied up. The peer is
 * not called any more. `data` of `size` bytes (from malloc, or NULL) is where the request's bytes lie:
 * wiped and freed here, at the latest when the operation that uses them is over. */
void session_end(struct session *session, uint8_t *data, size_t size);

/* Takes one frame, while no request is under way. 0, or -EBADMSG for what is malformed or not legal
 * now (the connection is to be closed with PROTOCOL), -EPROTONOSUPPORT for a foreign version. */
int session_frame(struct session *session, const struct frame *frame);

/* Does the next frame have to wait? */
static inline int session_is_busy(const struct session *session) {
	return session->request.type != 0;
}

/* The state of `slot` as this session sees it; the tail points into the slot. */
void session_get_state(const struct session *session, unsigned slot, struct message_state *ret);

/* ---- for service.c ---- */

struct session *session_of(struct lease_holder *holder);
/* Marks `slot` as to be sent; 1 if the session cares. */
int session_mark(struct session *session, unsigned slot, int lock_only);
void session_flush(struct session *session);
/* Goes on with a request that waits in a queue. 1 if it left the queue, 0 if it still waits. */
int session_try(struct session *session);
/* Goes on with a WATCH that waits for states. */
void session_try_watch(struct session *session);

/* ---- for command.c and connect.c: requests ---- */

enum session_step { STEP_WAIT, STEP_DONE, STEP_RUNNING };

/* CLOCK_MONOTONIC in microseconds. */
uint64_t session_now_usec(void);
struct slot *session_slot(const struct session *session);
/* The reader's own trouble, STATUS_OK while it works. */
enum status session_health(const struct session *session);
struct lease *session_lease(const struct session *session);
/* Ends the request: the others are sent their states first, then this client its own and the reply. */
void session_send(struct session *session, const struct message_reply *reply);
/* Ends the request with an outcome (and a value). */
enum session_step session_reply(struct session *session, enum status status, uint32_t value);
/* Marks an operation of the slot as started for this session; its callback begins with
 * session_resume: 0 where the client has gone meanwhile (the session is no more then). */
void session_run(struct session *session);
int session_resume(struct session *session);
/* Changes the state. */
void session_change(struct session *session, enum session_state state);
/* Leaves the slot: connection, locks and queue. */
void session_leave(struct session *session);
