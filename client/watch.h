/* SPDX-License-Identifier: MIT */
/* A status wait's view of one device: a connection on which the states of all its slots are pushed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/channel.h"
#include "client/readers.h"

struct waiter;

enum watch_phase {
	WATCH_ASKED, /* WATCH was sent, or the rest was asked for; not all slots are known yet */
	WATCH_LIVE,
	WATCH_DOWN, /* no connection, and no point in trying now */
};

/* One watch serves all slots of a device, from the first SCardGetStatusChange that names one of them
 * until the device or the waiter goes. */
struct watch {
	struct watch *next;
	struct readers *readers; /* reference: holds `reader` */
	const struct reader *reader;
	struct channel channel;
	enum watch_phase phase;
	bool heap;       /* so many states were pushed that newer ones may come before the answer */
	bool rest_asked; /* WATCH_ASKED: for those */
	unsigned n_tries;    /* since the last answer */
	int64_t due_ms;      /* until then what is not known yet is waited for */
	int64_t down_ms;     /* when it went down */
	int64_t retry_ms;    /* down: when a call that waits tries again, or CLOCK_NEVER */
	uint64_t generation; /* of the list then */
	bool may_retry;      /* the call may try once more by the clock, should it go down */
	bool gone;           /* down for the life of this description */
	uint16_t reason;     /* down: the handler's status, or 0 */
	struct channel_state *former; /* states before the handler died, until it tells new ones */
	unsigned n_former;
};

/* The waiter's watch on the device of `reader`, which is in `readers`; made, or connected again where
 * that may help now: after the directories have changed, or with `new_call` after a while. NULL
 * without memory or descriptors. */
struct watch *watch_get(
	struct waiter *waiter, struct readers *readers, const struct reader *reader, bool new_call);

/* Applies what has arrived, never waiting; a handler that died is connected to again at once, one that could not be
 * connected to when retry_ms has come. With `new_call` nothing of its states is kept: whoever
 * comes now wants to know what is. */
void watch_pump(struct watch *watch, bool new_call);

/* The state of `slot`. False while it is not known but may be before watch->due_ms. A slot that cannot be
 * used has PRESENCE_UNKNOWN. */
bool watch_slot(
	const struct watch *watch, unsigned slot, int64_t now_ms, struct channel_state *ret_state);

/* Frees the waiter's watches on devices that are not in `readers` any more. */
void watch_prune(struct waiter *waiter, const struct readers *readers);

/* Frees all watches of the waiter. */
void watch_clear(struct waiter *waiter);

/* Closes and frees a watch that no waiter has. */
void watch_free(struct watch *watch);
