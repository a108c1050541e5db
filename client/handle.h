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

/* What SCardEstablishContext makes. Members without a word about it are guarded by handle.c's lock. */
struct context {
	SCARDCONTEXT id;
	struct context *next; /* of all in this process */
	unsigned n_calls;     /* calls inside; a release waits for them */
	pthread_cond_t empty; /* n_calls has become 0 */
	struct card *cards;
	struct parked *parked;
	bool released;
	bool no_blocking;          /* PCSCLITE_NO_BLOCKING; never changes */
	unsigned n_waits;          /* SCardGetStatusChange calls inside */
	unsigned n_cancels;        /* SCardCancel calls that met one */
	int wake_fd;               /* eventfd of the wait, or -1 before the first one */
	pthread_mutex_t wait_lock; /* held during a wait; guards `watches` */
	struct watch *watches;     /* added and taken under both locks */
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

/* Enters a status wait, after those that are inside, and makes its eventfd. 0 with the cancellation
 * count to compare with, or a negative errno. The context must have been entered. */
int handle_wait_begin(struct context *context, unsigned *ret_cancels);
void handle_wait_end(struct context *context);

/* Has SCardCancel been called since handle_wait_begin gave `cancels`? */
bool handle_wait_cancelled(struct context *context, unsigned cancels);

/* Adds or takes a watch of the context whose wait we are in. */
void handle_watch_add(struct context *context, struct watch *watch);
void handle_watch_take(struct context *context, struct watch *watch);

/* Ends the status waits inside the context. False if there is no such context. Never waits. */
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

/* Keeps `channel` (moved; closed for the caller) for the next connect to the device of the card. */
void handle_park(struct card *card, struct channel *channel);

/* Moves a parked connection to the device of the card into *ret_channel, and closes those to devices
 * that are not in its list of readers any more. False if there is none. */
bool handle_unpark(struct card *card, struct channel *ret_channel);
