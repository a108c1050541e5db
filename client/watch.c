/* SPDX-License-Identifier: MIT */
/*
 * A watch is asked for once and then only read. It never blocks: its descriptor is polled by the
 * status wait that needs it.
 *
 * When a handler dies the socket is still there (systemd holds it), so the next handler is asked at
 * once. For a call that is waiting, the slots keep their former states until it has answered: a blip of
 * 100 ms is no event, but the counter that never comes back is. A new call waits for the answer. When the connection is refused, or the handler says that
 * there is no point, the slots are unavailable until the directory changes.
 */
#include "client/watch.h"

#include <stdlib.h>
#include <string.h>

#include "client/clock.h"
#include "client/debug.h"
#include "client/handle.h"
#include "wire/status.h"

enum {
	KNOWN_MS = 5000, /* the handler's 3 s for a slow card, and 2 s for its own start (chosen) */
	AGAIN_MS = 1000, /* chosen: how often a caller that comes again and again has it tried */
	MAX_TRIES = 5,   /* chosen: connections that end without an answer */
};

static void forget_former(struct watch *watch) {
	free(watch->former);
	watch->former = NULL;
	watch->n_former = 0;
}

static void go_down(struct watch *watch, uint16_t reason) {
	channel_close(&watch->channel);
	forget_former(watch);
	watch->phase = WATCH_DOWN;
	watch->reason = reason;
	watch->gone = reason == STATUS_READER_GONE || reason == STATUS_READER_DETACHED;
	watch->down_ms = clock_ms();
	watch->generation = watch->readers->generation;
	debug_log(DEBUG_INFO, "%s: watch is down: %s", watch->reader->name,
		reason ? status_text(reason) : "nobody answers");
}

static void ask(struct watch *watch) {
	const struct reader *reader = watch->reader;
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_watch request = { 0 };
	watch->n_tries++;
	int r = channel_open(reader->dir, reader->instance, CLOCK_NEVER, &watch->channel);
	if (r == 0) {
		channel_hello(&watch->channel, 0, &w);
		message_watch_encode(&w, channel_serial(&watch->channel), &request);
		struct iovec part = { .iov_base = room, .iov_len = bytes_written(&w) };
		r = channel_send(&watch->channel, &part, 1);
	}
	if (r < 0) {
		go_down(watch, watch->channel.bye);
		return;
	}
	watch->phase = WATCH_ASKED;
	watch->due_ms = clock_ms() + KNOWN_MS;
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
	if (keep)
		keep_states(watch);
	channel_close(&watch->channel);
	bool again = reason == STATUS_OK || reason == STATUS_IDLE || reason == STATUS_STOPPED;
	if (again && watch->n_tries < MAX_TRIES)
		ask(watch);
	else
		go_down(watch, reason);
}

/* Every slot has been told. */
static void answered(struct watch *watch, const struct frame *frame) {
	struct message_reply reply;
	if (message_reply_decode(frame, &reply) < 0)
		return go_down(watch, STATUS_PROTOCOL);
	if (reply.status != STATUS_OK)
		return go_down(watch, reply.status);
	watch->phase = WATCH_LIVE;
	watch->n_tries = 0;
	forget_former(watch);
}

void watch_pump(struct watch *watch, bool new_call) {
	struct frame frame;
	if (new_call)
		forget_former(watch);
	while (watch->phase != WATCH_DOWN) {
		int r = channel_next(&watch->channel, &frame);
		if (r == MESSAGE_REPLY)
			answered(watch, &frame);
		if (r == 0)
			r = channel_receive(&watch->channel, false);
		if (r == 0)
			return;
		if (r < 0)
			lost(watch, !new_call);
	}
}

bool watch_slot(
	const struct watch *watch, unsigned slot, int64_t now_ms, struct channel_state *ret_state) {
	struct channel_state state = channel_slot(&watch->channel, slot);
	bool starting = !state.known ||
		(state.presence == PRESENCE_UNKNOWN && state.status == STATUS_STARTING);
	if (starting && watch->phase == WATCH_ASKED && now_ms < watch->due_ms) {
		if (slot >= watch->n_former || !watch->former[slot].known)
			return false;
		state = watch->former[slot];
	}
	if (!state.known)
		state = (struct channel_state){ .presence = PRESENCE_UNKNOWN };
	*ret_state = state;
	return true;
}

static struct watch *find(struct context *context, const struct reader *reader) {
	struct watch *w = context->watches;
	while (w &&
		(strcmp(w->reader->instance, reader->instance) != 0 ||
			strcmp(w->reader->dir, reader->dir) != 0))
		w = w->next;
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
	struct context *context, struct readers *readers, const struct reader *reader) {
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	watch->readers = readers_ref(readers);
	watch->reader = reader;
	watch->channel = CHANNEL_CLOSED;
	ask(watch);
	handle_watch_add(context, watch);
	return watch;
}

struct watch *watch_get(struct context *context, struct readers *readers,
	const struct reader *reader, bool new_call) {
	struct watch *watch = find(context, reader);
	if (watch && watch->reader->life != reader->life) {
		handle_watch_take(context, watch);
		watch_free(watch);
		watch = NULL;
	}
	if (!watch)
		return watch_new(context, readers, reader);
	if (watch->phase != WATCH_DOWN)
		return watch;
	bool again = watch->gone ? watch->reader->stamp != reader->stamp
				 : watch->generation != readers->generation ||
			(new_call && clock_ms() - watch->down_ms >= AGAIN_MS);
	if (again) {
		watch->n_tries = 0;
		move_to(watch, readers, reader);
		ask(watch);
	}
	return watch;
}

void watch_prune(struct context *context, const struct readers *readers) {
	for (struct watch *w = context->watches; w;) {
		struct watch *next = w->next;
		const struct reader *now = readers_find(readers, w->reader->name);
		if (!now || now->life != w->reader->life) {
			handle_watch_take(context, w);
			watch_free(w);
		}
		w = next;
	}
}

void watch_free(struct watch *watch) {
	channel_close(&watch->channel);
	readers_unref(watch->readers);
	free(watch->former);
	free(watch);
}
