/* SPDX-License-Identifier: MIT */
/*
 * A watch is asked for once and then only read. It never blocks: its descriptor is polled by the
 * status wait that needs it. Where nobody has read for so long that the handler has stopped pushing, a new call
 * asks it something: what it kept back comes before the answer.
 *
 * When a handler dies the socket is still there (systemd holds it), so the next handler is asked at
 * once. For a call that is waiting, the slots keep their former states until it has answered: a blip of
 * 100 ms is no event, but the counter that never comes back is. A new call waits for the answer. When the
 * connection is refused, or the handler says that there is no point, the slots are unavailable until the
 * directory changes. A handler may get well, or a user be let in, without such an event, so each call tries once more by
 * the clock. What was refused for want of a place, a descriptor or memory nobody announces when it is
 * there again: that is tried again and again.
 */
#include "client/watch.h"

#include <errno.h>
#include <stdlib.h>

#include "client/clock.h"
#include "client/debug.h"
#include "client/descriptor.h"
#include "client/handle.h"
#include "client/source.h"
#include "wire/status.h"

enum {
	KNOWN_MS = 5000, /* the handler's 3 s for a slow card, and 2 s for its own start (chosen) */
	AGAIN_MS = 1000, /* chosen: how often it is tried again, where that is done by the clock */
	MAX_TRIES = 5,   /* chosen: connections that end without an answer */
};

static void forget_former(struct watch *watch) {
	free(watch->former);
	watch->former = NULL;
	watch->n_former = 0;
}

/* Without an event that tells when it is better; EAGAIN: the queue of connections is full. */
static bool is_shortage(uint16_t reason, int error) {
	if (reason != STATUS_OK)
		return reason == STATUS_LIMIT || reason == STATUS_NO_MEMORY;
	return error == -EAGAIN || error == -EMFILE || error == -ENFILE || error == -ENOMEM ||
		error == -ENOBUFS;
}

static void go_down(struct watch *watch, uint16_t reason, int error) {
	channel_close(&watch->channel);
	forget_former(watch);
	watch->phase = WATCH_DOWN;
	watch->reason = reason;
	watch->gone = reason == STATUS_READER_GONE || reason == STATUS_READER_DETACHED;
	watch->down_ms = clock_ms();
	bool retry = watch->may_retry && !watch->gone;
	watch->may_retry = false;
	watch->retry_ms =
		retry || is_shortage(reason, error) ? watch->down_ms + AGAIN_MS : CLOCK_NEVER;
	watch->generation = watch->readers->generation;
	debug_log(DEBUG_INFO, "%s: watch is down: %s", watch->reader->name,
		reason ? status_text(reason) : "nobody answers");
}

/* Is the next handler worth a try after one that has ended so? */
static bool is_passing(const struct watch *watch) {
	uint16_t reason = watch->channel.bye;
	bool passing = reason == STATUS_OK || reason == STATUS_IDLE || reason == STATUS_STOPPED;
	return passing && watch->n_tries < MAX_TRIES;
}

static int ask_once(struct watch *watch) {
	const struct reader *reader = watch->reader;
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_watch request = { 0 };
	watch->n_tries++;
	int r = channel_open(reader->dir, reader->instance, CLOCK_NEVER, &watch->channel);
	if (handle_make_room(r))
		r = channel_open(reader->dir, reader->instance, CLOCK_NEVER, &watch->channel);
	if (r == 0) {
		channel_hello(&watch->channel, 0, &w);
		message_watch_encode(&w, channel_serial(&watch->channel), &request);
		struct iovec part = { .iov_base = room, .iov_len = bytes_written(&w) };
		r = channel_send(&watch->channel, &part, 1);
	}
	return r;
}

/* 0, or the negative errno for which it went down at once. */
static int ask(struct watch *watch) {
	watch->retry_ms = CLOCK_NEVER;
	watch->heap = watch->rest_asked = false;
	int r = ask_once(watch);
	while (r == CHANNEL_UNSENT && is_passing(watch)) {
		channel_close(&watch->channel);
		r = ask_once(watch);
	}
	if (r < 0) {
		go_down(watch, watch->channel.bye, r);
		return r;
	}
	watch->phase = WATCH_ASKED;
	watch->due_ms = clock_ms() + KNOWN_MS;
	return 0;
}

/* Keeps the states for the time without a handler. */
static void keep_states(struct watch *watch) {
	if (!watch->channel.states)
		return;
	for (unsigned i = 0; i < watch->channel.n_slots && i < watch->n_former; i++)
		if (!watch->channel.states[i].known)
			watch->channel.states[i] = watch->former[i];
	free(watch->former);
	watch->former = watch->channel.states;
	watch->n_former = watch->channel.n_slots;
	watch->channel.states = NULL;
	watch->channel.n_slots = 0;
}

/* The connection has ended. `keep`: its states are to stand until there are new ones. */
static void lost(struct watch *watch, bool keep) {
	uint16_t reason = watch->channel.bye;
	bool again = is_passing(watch);
	if (keep)
		keep_states(watch);
	channel_close(&watch->channel);
	if (again)
		ask(watch);
	else
		go_down(watch, reason, 0);
}

/* Every slot has been told. */
static void answered(struct watch *watch, const struct frame *frame) {
	struct message_reply reply;
	if (message_reply_decode(frame, &reply) < 0)
		return go_down(watch, STATUS_PROTOCOL, 0);
	if (reply.status != STATUS_OK && !watch->rest_asked)
		return go_down(watch, reply.status, 0);
	watch->heap = watch->rest_asked = false;
	watch->phase = WATCH_LIVE;
	watch->may_retry = true;
	watch->n_tries = 0;
	forget_former(watch);
}

/* Reads what is there, and makes up for a handler that has died. */
static void read_all(struct watch *watch, bool new_call) {
	struct frame frame;
	unsigned n_states = 0;
	while (watch->phase != WATCH_DOWN) {
		int r = channel_next(&watch->channel, &frame);
		if (r == MESSAGE_REPLY)
			answered(watch, &frame);
		n_states = r == MESSAGE_STATE ? n_states + 1 : r == 0 ? n_states : 0;
		if (r == 0)
			r = channel_receive(&watch->channel, false);
		if (r == 0)
			break;
		if (r < 0)
			lost(watch, !new_call && !watch->heap);
	}
	watch->heap |= n_states >= CHANNEL_HEAP;
}

/* Has the handler send what it may have kept back: that comes before the answer to whatever is asked. */
static void ask_rest(struct watch *watch) {
	uint8_t room[FRAME_HEADER];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_inspect request = { 0 };
	message_inspect_encode(&w, channel_serial(&watch->channel), &request);
	if (channel_send_tail(&watch->channel, &w, NULL, 0) < 0) {
		lost(watch, false);
		return;
	}
	watch->rest_asked = true;
	watch->phase = WATCH_ASKED;
	watch->due_ms = clock_ms() + KNOWN_MS;
}

void watch_pump(struct watch *watch, bool new_call) {
	if (new_call)
		forget_former(watch);
	if (watch->phase == WATCH_DOWN && clock_ms() >= watch->retry_ms) {
		watch->n_tries = 0;
		ask(watch);
	}
	if (watch->phase != WATCH_DOWN && !descriptor_is_ours(watch->channel.fd))
		lost(watch, !new_call && !watch->heap);
	read_all(watch, new_call);
	if (new_call && watch->heap && watch->phase == WATCH_LIVE)
		ask_rest(watch);
}

bool watch_slot(
	const struct watch *watch, unsigned slot, int64_t now_ms, struct channel_state *ret_state) {
	struct channel_state state = channel_slot(&watch->channel, slot);
	bool starting = !state.known ||
		(state.presence == PRESENCE_UNKNOWN && state.status == STATUS_STARTING);
	if ((starting || watch->heap) && watch->phase == WATCH_ASKED && now_ms < watch->due_ms) {
		if (slot >= watch->n_former || !watch->former[slot].known)
			return false;
		state = watch->former[slot];
	}
	if (!state.known)
		state = (struct channel_state){ .presence = PRESENCE_UNKNOWN };
	*ret_state = state;
	return true;
}

/* Readers are mostly named in the order of the last time: the next one is behind the one found last. */
static struct watch *find(struct waiter *waiter, uint64_t life) {
	struct watch *w = waiter->found;
	while (w && w->reader->life != life)
		w = w->next;
	if (!w)
		for (w = waiter->watches; w && w->reader->life != life;)
			w = w->next;
	if (w)
		waiter->found = w;
	return w;
}

/* The watch's reader as the newest list has it. */
static void move_to(struct watch *watch, struct readers *readers, const struct reader *reader) {
	struct readers *old = watch->readers;
	watch->readers = readers_ref(readers);
	watch->reader = reader;
	readers_unref(old);
}

static struct watch *watch_new(
	struct waiter *waiter, struct readers *readers, const struct reader *reader) {
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	watch->readers = readers_ref(readers);
	watch->reader = reader;
	watch->channel = CHANNEL_CLOSED;
	watch->may_retry = true;
	if (source_is_shortage(ask(watch))) {
		watch_free(watch);
		return NULL;
	}
	handle_watch_add(waiter, watch);
	return watch;
}

struct watch *watch_get(struct waiter *waiter, struct readers *readers, const struct reader *reader,
	bool new_call) {
	struct watch *watch = find(waiter, reader->life);
	if (!watch)
		return watch_new(waiter, readers, reader);
	if (watch->phase != WATCH_DOWN) {
		watch->may_retry |= new_call;
		return watch;
	}
	bool again = watch->gone ? watch->reader->stamp != reader->stamp
				 : watch->generation != readers->generation ||
			(new_call && clock_ms() - watch->down_ms >= AGAIN_MS);
	if (!again && new_call && !watch->gone)
		watch->retry_ms = watch->down_ms + AGAIN_MS;
	if (again) {
		watch->may_retry = true;
		watch->n_tries = 0;
		move_to(watch, readers, reader);
		/* the caller's own shortage is his to hear of; one that waits for long sees an unavailable reader */
		if (source_is_shortage(ask(watch)) && new_call)
			return NULL;
	}
	return watch;
}

void watch_prune(struct waiter *waiter, const struct readers *readers) {
	if (waiter->pruned == readers->generation)
		return;
	waiter->pruned = readers->generation;
	for (struct watch *w = waiter->watches; w;) {
		struct watch *next = w->next;
		const struct reader *now = readers_find(readers, w->reader->name);
		if (!now || now->life != w->reader->life) {
			handle_watch_take(waiter, w);
			watch_free(w);
		}
		w = next;
	}
}

void watch_clear(struct waiter *waiter) {
	while (waiter->watches) {
		struct watch *watch = waiter->watches;
		handle_watch_take(waiter, watch);
		watch_free(watch);
	}
}

void watch_free(struct watch *watch) {
	channel_close(&watch->channel);
	readers_unref(watch->readers);
	free(watch->former);
	free(watch);
}
