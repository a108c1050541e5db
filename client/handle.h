/* SPDX-License-Identifier: MIT */
/* Contexts and card handles: the numbers applications hold, what is behind them, who may use it now. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/channel.h"
#include "client/readers.h"
#include "client/api.h"

struct watch;

/* A greeted connection without a card, kept for the next SCardConnect on the same device. */
struct parked {
	struct parked *next;
	struct readers *readers; /* reference: holds `reader` */
	const struct reader *reader;
	struct channel channel;
};

/* What one SCardGetStatusChange call works with; kept for the next one. Members without a word about it are the
 * call's own, which changes the list of watches under handle.c's lock. */
struct waiter {
	struct waiter *next; /* of the context's; guarded by handle.c's lock, as the next two */
	bool busy;           /* a call is in it */
	bool cancelled;      /* and has met SCardCancel */
	int wake_fd;         /* eventfd; changes under handle.c's lock */
	struct watch *watches;
	struct watch *found; /* the watch that was looked for last, or NULL */
	uint64_t pruned;     /* generation of the list that the watches were last compared with */
};

/* What SCardEstablishContext makes. Members without a word about it are guarded by handle.c's lock. */
struct context {
	SCARDCONTEXT id;
	struct context *next; /* of all in this process */
	unsigned n_calls;     /* calls inside; a release waits for them */
	pthread_cond_t left;  /* n_calls has become 0; or, in a release, less */
	struct card *cards;
	struct parked *parked;
	bool released;
	bool no_blocking; /* PCSCLITE_NO_BLOCKING; never changes */
	struct waiter *waiters;
};

/* Is the handle's connection good for anything? */
enum card_life {
	CARD_LIVE,
	CARD_LOST,   /* the handler died: SCARD_W_RESET_CARD until SCardReconnect */
	CARD_GONE,   /* the reader was unplugged */
	CARD_CLOSED, /* SCardDisconnect was here */
};

/* What SCardConnect makes. */
struct card {
	SCARDHANDLE id;
	unsigned n_calls;        /* guarded by handle.c's lock */
	struct card *next;       /* likewise */
	struct context *context; /* never changes, nor do the next two */
	struct readers *readers; /* reference: holds `reader` */
	const struct reader *reader;
	pthread_mutex_t lock; /* held during a call; guards the rest */
	enum card_life life;
	unsigned
		n_begun; /* transactions that are surely open: begun since the last reconnect, not ended */
	struct channel channel;
};

/* Makes a context. NULL without memory. */
struct context *handle_context_new(void);

/* The context of that number, with a call counted; NULL if there is none. Every enter is followed
 * by a leave; a context stays while somebody is inside. */
struct context *handle_context_enter(SCARDCONTEXT id);
void handle_context_leave(struct context *context);

/* Takes the context away from the table, waits for the calls that are inside, and frees it with all
 * that it has. False if there is none. */
bool handle_context_release(SCARDCONTEXT id);

/* Begins a status wait: gives a waiter that no other call is in. NULL without memory or descriptors. The context
 * must have been entered. */
struct waiter *handle_wait_begin(struct context *context);
void handle_wait_end(struct context *context, struct waiter *waiter);

/* Has SCardCancel been called since handle_wait_begin? */
bool handle_wait_cancelled(struct waiter *waiter);

/* Makes another eventfd where somebody has closed the one there was. 0 or a negative errno. */
int handle_wait_mend(struct waiter *waiter);

/* Adds a watch to the waiter whose call we are in, behind the one found last; takes it. */
void handle_watch_add(struct waiter *waiter, struct watch *watch);
void handle_watch_take(struct waiter *waiter, struct watch *watch);

/* Ends the status waits inside the context, also of one that is being released. False if there is no such
 * context. Never waits. */
bool handle_cancel(SCARDCONTEXT id);

/* Makes a card of `context` for `reader` of `readers` (a reference is taken), entered like by
 * handle_card_enter, but not in the table yet. NULL without memory. */
struct card *handle_card_new(
	struct context *context, struct readers *readers, const struct reader *reader);

/* Gives the card its number. SCARD_S_SUCCESS, SCARD_E_NO_MEMORY, or SCARD_E_INVALID_HANDLE if its
 * context was released meanwhile. */
LONG handle_card_publish(struct card *card);

/* The card of that number, with a call counted in card and context and its lock held; NULL if there
 * is none. */
struct card *handle_card_enter(SCARDHANDLE id);
void handle_card_leave(struct card *card);

/* Takes an entered card away from the table and from its context: freed when the last call leaves. */
void handle_card_close(struct card *card);

/* Keeps `channel` (moved; closed for the caller) for the next connect to the device of the card. Only so many are kept:
 * the oldest one goes. */
void handle_park(struct card *card, struct channel *channel);

/* Was `error` (a negative errno) a lack of descriptors that we can do something about? Closes then what the process has
 * parked: the program needs it more, and the caller is to try once more. */
bool handle_make_room(int error);

/* Moves a parked connection to the device of the card into *ret_channel, and closes those to devices
 * that are not in its list of readers any more. False if there is none. */
bool handle_unpark(struct card *card, struct channel *ret_channel);
