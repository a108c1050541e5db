/* SPDX-License-Identifier: MIT */
/* A context's view of one device: a connection on which the states of all its slots are pushed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/channel.h"
#include "client/readers.h"

struct context;

enum watch_phase {
	WATCH_ASKED, /* WATCH was sent; not all slots are known yet */
	WATCH_LIVE,
	WATCH_DOWN, /* no connection, and no point in trying now */
};

/* One watch serves all slots of a device, from the first SCardGetStatusChange that names one of them
 * until the device or the context goes. */
struct watch {
	struct watch *next;
	struct readers *readers; /* reference: holds `reader` */
	const struct reader *reader;
	struct channel channel;
	enum watch_phase phase;
	unsigned n_tries;             /* since the last answer */
	int64_t due_ms;               /* until then what is not known yet is waited for */
	int64_t down_ms;              /* when it went down */
	uint64_t generation;          /* of the list then */
	bool gone;                    /* down for the life of this description */
	uint16_t reason;              /* down: the handler's status, or 0 */
	struct channel_state *former; /* states before the handler died, until it tells new ones */
	unsigned n_former;
};

/* The context's watch on the device of `reader`, which is in `readers`; made, or connected again where
 * that may help now: after the directories have changed, or with `new_call` after a while. NULL
 * without memory. */
struct watch *watch_get(struct context *context, struct readers *readers,
	const struct reader *reader, bool new_call);

/* Applies what has arrived, never waiting; a handler that died is connected to again at once. With
 * `new_call` nothing of its states is kept: whoever comes now wants to know what is. */
void watch_pump(struct watch *watch, bool new_call);

/* The state of `slot`. False while it is not known but may be before watch->due_ms. A slot that cannot be
 * used has PRESENCE_UNKNOWN. */
bool watch_slot(
	const struct watch *watch, unsigned slot, int64_t now_ms, struct channel_state *ret_state);

/* Frees the context's watches on devices that are not in `readers` any more. */
void watch_prune(struct context *context, const struct readers *readers);

/* Closes and frees a watch that is in no context. */
void watch_free(struct watch *watch);
