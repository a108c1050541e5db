/* SPDX-License-Identifier: MIT */
/*
 * SCardGetStatusChange: look at the readers that the caller names, compare with what it claims,
 * and wait until something differs. One poll waits for all causes: the readers' watches, the
 * directories, and the call's eventfd (SCardCancel, or another thread that has seen the directories
 * change). After it only those readers are looked at that have something to tell.
 *
 * The first look at a reader waits until its handler knows the card, also with timeout 0: a handler
 * that has just been started must not look like an empty reader. A reader that was replugged during
 * the wait has vanished for this call; the next one finds the new life.
 */
#include "client/change.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>

#include "client/clock.h"
#include "client/descriptor.h"
#include "client/handle.h"
#include "client/watch.h"

#define PNP_NAME "\\\\?PnP?\\Notification"

/* Bits 16-31 of a state count events. */
enum {
	COUNTER_SHIFT = 16,
	COUNTER_MASK = 0xffff,
};

/* One entry of the caller's array. */
struct entry {
	enum { ENTRY_IGNORED, ENTRY_PNP, ENTRY_READER } kind;
	uint64_t life;               /* of the reader when the call began */
	const struct reader *reader; /* in w->readers; NULL when it has vanished */
	struct watch *watch;
};

/* A call that is under way. */
struct wait {
	struct waiter *waiter;
	int64_t deadline_ms;
	int64_t now_ms; /* one time for all that a round decides */
	SCARD_READERSTATE *states;
	size_t n;
	struct entry *entries;
	struct pollfd *fds;
	struct readers *readers; /* the newest list */
	unsigned number;         /* of arrivals and departures when the call began */
	struct readers_listener listener;
};

static bool card_changed(DWORD claim, const struct change_situation *now) {
	unsigned claimed_counter = (unsigned)(claim >> COUNTER_SHIFT) & COUNTER_MASK;
	if ((claimed_counter && claimed_counter != now->counter) ||
		(claim & SCARD_STATE_UNAVAILABLE))
		return true;
	if (!now->present)
		return claim & SCARD_STATE_PRESENT;
	return (claim & SCARD_STATE_EMPTY) || !(claim & SCARD_STATE_MUTE) != !now->mute;
}

static bool sharing_changed(DWORD claim, const struct change_situation *now) {
	bool nobody = !now->in_use && !now->exclusive;
	bool shared = now->in_use && !now->exclusive && now->present;
	return ((claim & SCARD_STATE_INUSE) && (now->exclusive || nobody)) ||
		((claim & SCARD_STATE_EXCLUSIVE) && (shared || nobody));
}

static DWORD card_bits(const struct change_situation *now) {
	DWORD bits = (DWORD)now->counter << COUNTER_SHIFT;
	if (!now->present)
		return bits | SCARD_STATE_EMPTY | (now->exclusive ? SCARD_STATE_EXCLUSIVE : 0);
	bits |= SCARD_STATE_PRESENT | (now->mute ? SCARD_STATE_MUTE : 0);
	if (now->exclusive)
		return bits | SCARD_STATE_EXCLUSIVE;
	return bits | (now->in_use ? SCARD_STATE_INUSE : 0);
}

DWORD change_event(DWORD claim, const struct change_situation *now) {
	DWORD bits;
	bool changed = claim == SCARD_STATE_UNAWARE;
	if (now->vanished) {
		bits = SCARD_STATE_UNKNOWN | SCARD_STATE_UNAVAILABLE;
		changed = !(claim & SCARD_STATE_UNKNOWN);
	} else if (now->unavailable) {
		bits = SCARD_STATE_UNAVAILABLE | (now->exclusive ? SCARD_STATE_EXCLUSIVE : 0);
		changed |= (claim & SCARD_STATE_UNKNOWN) || !(claim & SCARD_STATE_UNAVAILABLE) ||
			sharing_changed(claim, now);
	} else {
		bits = card_bits(now);
		changed |= (claim & SCARD_STATE_UNKNOWN) || card_changed(claim, now) ||
			sharing_changed(claim, now);
	}
	return bits | (changed ? SCARD_STATE_CHANGED : 0);
}

static DWORD pnp_event(DWORD claim, unsigned number_before, unsigned number) {
	unsigned claimed = (unsigned)(claim >> COUNTER_SHIFT) & COUNTER_MASK;
	bool changed = number != number_before || (claimed && claimed != number);
	return ((DWORD)number << COUNTER_SHIFT) | (changed ? SCARD_STATE_CHANGED : 0);
}

static bool is_pnp(const char *name) {
	return strcasecmp(name, PNP_NAME) == 0;
}

/* Says what each entry is about. SCARD_E_UNKNOWN_READER if a name does not exist, be it ignored. */
static LONG entries_resolve(struct wait *w) {
	for (size_t i = 0; i < w->n; i++) {
		const SCARD_READERSTATE *state = &w->states[i];
		struct entry *entry = &w->entries[i];
		const struct reader *reader = readers_find(w->readers, state->szReader);
		bool ignored = state->dwCurrentState & SCARD_STATE_IGNORE;
		if (is_pnp(state->szReader))
			entry->kind = ignored ? ENTRY_IGNORED : ENTRY_PNP;
		else if (!reader)
			return SCARD_E_UNKNOWN_READER;
		else
			entry->kind = ignored ? ENTRY_IGNORED : ENTRY_READER;
		entry->reader = reader;
		entry->life = reader ? reader->life : 0;
	}
	return SCARD_S_SUCCESS;
}

/* Finds the entry's reader in the list, its watch, and what that has been told. */
static LONG entry_find(struct wait *w, size_t i, bool new_call) {
	struct entry *entry = &w->entries[i];
	const struct reader *reader = entry->reader;
	if (!new_call)
		reader = readers_find(w->readers, w->states[i].szReader);
	entry->reader = reader && reader->life == entry->life ? reader : NULL;
	entry->watch = NULL;
	if (!entry->reader)
		return SCARD_S_SUCCESS;
	entry->watch = watch_get(w->waiter, w->readers, reader, new_call);
	if (!entry->watch)
		return SCARD_E_NO_MEMORY;
	watch_pump(entry->watch, new_call);
	/* What it has just heard may be old news: the reader is there again, in the newest list. */
	if (entry->watch->phase == WATCH_DOWN)
		entry->watch = watch_get(w->waiter, w->readers, reader, new_call);
	return entry->watch ? SCARD_S_SUCCESS : SCARD_E_NO_MEMORY;
}

static LONG entries_find(struct wait *w, bool new_call) {
	LONG rv = SCARD_S_SUCCESS;
	for (size_t i = 0; i < w->n && rv == SCARD_S_SUCCESS; i++)
		if (w->entries[i].kind == ENTRY_READER)
			rv = entry_find(w, i, new_call);
	return rv;
}

/* Only those that poll has found something at, and those that are to be tried again. */
static void entries_pump(struct wait *w) {
	for (size_t i = 0; i < w->n; i++) {
		struct watch *watch = w->entries[i].watch;
		if (watch && (w->fds[2 + i].revents || watch->retry_ms <= w->now_ms))
			watch_pump(watch, false);
	}
}

/* Brings the list and all entries up to date after a sleep. SCARD_E_NO_MEMORY or success. */
static LONG look_again(struct wait *w) {
	struct readers *readers = readers_get();
	if (!readers)
		return SCARD_E_NO_MEMORY;
	bool same = readers == w->readers;
	readers_unref(w->readers);
	w->readers = readers;
	w->now_ms = clock_ms();
	if (!same)
		return entries_find(w, false);
	entries_pump(w);
	return SCARD_S_SUCCESS;
}

/* Is there a reader whose card is not known yet, but may be soon? */
static bool anything_unknown(const struct wait *w) {
	for (size_t i = 0; i < w->n; i++) {
		const struct entry *entry = &w->entries[i];
		struct channel_state state;
		if (entry->watch &&
			!watch_slot(entry->watch, entry->reader->slot, w->now_ms, &state))
			return true;
	}
	return false;
}

static int64_t earlier(int64_t a_ms, int64_t b_ms) {
	return a_ms < b_ms ? a_ms : b_ms;
}

/* When a handler that has been asked is not waited for any more, or one is to be tried again; CLOCK_NEVER for
 * none. */
static int64_t next_due_ms(const struct wait *w) {
	int64_t due_ms = CLOCK_NEVER;
	for (size_t i = 0; i < w->n; i++) {
		const struct watch *watch = w->entries[i].watch;
		if (watch && watch->phase == WATCH_ASKED && watch->due_ms > w->now_ms)
			due_ms = earlier(due_ms, watch->due_ms);
		if (watch && watch->phase == WATCH_DOWN)
			due_ms = earlier(due_ms, watch->retry_ms);
	}
	return due_ms;
}

static void fill_reader(SCARD_READERSTATE *state, const struct entry *entry, int64_t now_ms) {
	struct channel_state slot = { 0 };
	if (entry->watch)
		watch_slot(entry->watch, entry->reader->slot, now_ms, &slot);
	struct change_situation now = {
		.vanished = !entry->watch,
		.unavailable = slot.presence == PRESENCE_UNKNOWN,
		.present = slot.presence == PRESENCE_PRESENT || slot.presence == PRESENCE_MUTE,
		.mute = slot.presence == PRESENCE_MUTE,
		.in_use = slot.flags & STATE_IN_USE,
		.exclusive = slot.flags & STATE_EXCLUSIVE,
		.counter = slot.counter,
	};
	state->dwEventState = change_event(state->dwCurrentState, &now);
	if (now.vanished)
		return;
	state->cbAtr = now.present && !now.mute ? slot.atr_len : 0;
	memcpy(state->rgbAtr, slot.atr, state->cbAtr);
}

/* Fills in all entries. Has any changed? */
static bool fill(struct wait *w) {
	bool changed = false;
	for (size_t i = 0; i < w->n; i++) {
		SCARD_READERSTATE *state = &w->states[i];
		if (w->entries[i].kind == ENTRY_READER)
			fill_reader(state, &w->entries[i], w->now_ms);
		else if (w->entries[i].kind == ENTRY_PNP)
			state->dwEventState =
				pnp_event(state->dwCurrentState, w->number, w->readers->number);
		changed |= (state->dwEventState & SCARD_STATE_CHANGED) != 0;
	}
	return changed;
}

/* The eventfd has something to tell, or was closed behind our back: then another one takes its place. */
static LONG woken(struct wait *w) {
	eventfd_t count;
	if (descriptor_is_ours(w->waiter->wake_fd)) {
		eventfd_read(w->waiter->wake_fd, &count);
		return SCARD_S_SUCCESS;
	}
	readers_unlisten(&w->listener);
	int r = handle_wait_mend(w->waiter);
	w->listener.wake_fd = w->waiter->wake_fd;
	readers_listen(&w->listener);
	return r < 0 ? SCARD_E_NO_MEMORY : SCARD_S_SUCCESS;
}

/* Waits until anything happens, `until_ms` at most. SCARD_E_NO_MEMORY or success. */
static LONG sleep_until(struct wait *w, int64_t until_ms) {
	until_ms = earlier(until_ms, earlier(next_due_ms(w), readers_look_again_ms()));
	w->fds[0] = (struct pollfd){ .fd = w->waiter->wake_fd, .events = POLLIN };
	w->fds[1] = (struct pollfd){ .fd = readers_poll_fd(), .events = POLLIN };
	for (size_t i = 0; i < w->n; i++)
		w->fds[2 + i] = (struct pollfd){
			.fd = w->entries[i].watch ? w->entries[i].watch->channel.fd : -1,
			.events = POLLIN,
		};
	poll(w->fds, w->n + 2, clock_left(until_ms));
	return w->fds[0].revents ? woken(w) : SCARD_S_SUCCESS;
}

/* Looks, and says what comes of it; *ret_over is false if the call has to go on. */
static LONG judge(struct wait *w, bool *ret_over) {
	bool cancelled = handle_wait_cancelled(w->waiter);
	bool unknown = anything_unknown(w);
	*ret_over = true;
	if (unknown && !cancelled) {
		*ret_over = false;
		return sleep_until(w, CLOCK_NEVER);
	}
	if (fill(w) && !unknown)
		return SCARD_S_SUCCESS;
	if (cancelled)
		return SCARD_E_CANCELLED;
	if (clock_left(w->deadline_ms) == 0)
		return SCARD_E_TIMEOUT;
	*ret_over = false;
	return sleep_until(w, w->deadline_ms);
}

static LONG wait_loop(struct wait *w) {
	bool over;
	LONG rv = entries_find(w, true);
	w->now_ms = clock_ms();
	while (rv == SCARD_S_SUCCESS) {
		rv = judge(w, &over);
		if (over)
			break;
		if (rv == SCARD_S_SUCCESS)
			rv = look_again(w);
	}
	return rv;
}

static LONG wait_run(struct wait *w) {
	w->listener.wake_fd = w->waiter->wake_fd;
	readers_listen(&w->listener);
	w->readers = readers_get();
	LONG rv = w->readers ? entries_resolve(w) : SCARD_E_NO_MEMORY;
	if (rv == SCARD_S_SUCCESS) {
		w->number = w->readers->number;
		for (size_t i = 0; i < w->n; i++)
			w->states[i].dwEventState = 0;
		watch_prune(w->waiter, w->readers);
		rv = wait_loop(w);
	}
	if (rv == SCARD_E_NO_MEMORY) /* what we hold may be what the program lacks */
		watch_clear(w->waiter);
	readers_unlisten(&w->listener);
	return rv;
}

static int64_t deadline_of(DWORD timeout) {
	uint64_t timeout_ms = timeout;
	if (timeout == INFINITE || timeout == (DWORD)-1 || timeout_ms > INT64_MAX / 2)
		return CLOCK_NEVER;
	/* 0 is over already: one look, no wait, not even for the rest of a millisecond */
	return timeout_ms ? clock_ms() + (int64_t)timeout_ms : 0;
}

static LONG wait_in(struct context *context, DWORD timeout, SCARD_READERSTATE *states, size_t n) {
	struct wait w = { .states = states, .n = n };
	w.deadline_ms = deadline_of(timeout);
	w.entries = calloc(n, sizeof(*w.entries));
	w.fds = calloc(n + 2, sizeof(*w.fds));
	LONG rv = SCARD_E_NO_MEMORY;
	w.waiter = w.entries && w.fds ? handle_wait_begin(context) : NULL;
	if (w.waiter) {
		rv = wait_run(&w);
		handle_wait_end(context, w.waiter);
	}
	readers_unref(w.readers);
	free(w.entries);
	free(w.fds);
	return rv;
}

LONG SCardGetStatusChange(
	SCARDCONTEXT hContext, DWORD dwTimeout, SCARD_READERSTATE *rgReaderStates, DWORD cReaders) {
	if (!rgReaderStates && cReaders > 0)
		return SCARD_E_INVALID_PARAMETER;
	bool all_ignored = true;
	for (DWORD i = 0; i < cReaders; i++) {
		if (!rgReaderStates[i].szReader)
			return SCARD_E_INVALID_VALUE;
		all_ignored &= (rgReaderStates[i].dwCurrentState & SCARD_STATE_IGNORE) != 0;
	}
	if (all_ignored)
		return SCARD_S_SUCCESS;
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = wait_in(context, dwTimeout, rgReaderStates, cReaders);
	handle_context_leave(context);
	return rv;
}
