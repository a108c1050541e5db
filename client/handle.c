/* SPDX-License-Identifier: MIT */
/*
 * Two tables, one of contexts and one of cards, under one lock that is held for
 * moments only: never while waiting for a handler, a card or another thread's call. Whoever uses an
 * object is counted inside; an object is freed by the last one who leaves. A card has a lock of its
 * own, so that only calls on the same handle wait for each other: one handle of a process may wait for
 * a transaction that another handle of the same context has to end. Status waits of one context do not know of
 * each other: each has its own watches and is woken by its own descriptor.
 *
 * A released context is gone for all calls but SCardCancel, by which the waits that the release waits for can be
 * ended.
 *
 * In a forked child the tables start empty. What the parent had is closed there without a word to the
 * handlers, which go on with the parent. If a thread of the parent was at the tables in the moment of
 * the fork they are not looked at; the copies then last until exec or exit.
 */
#include "client/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client/clock.h"
#include "client/descriptor.h"
#include "client/process.h"
#include "client/table.h"
#include "client/watch.h"

enum {
	FINISH_MS = 1000, /* chosen: how long a release waits for a handler to clean up */
	MAX_PARKED =
		16, /* chosen: readers that a context uses in turn; descriptors are the program's */
};

static struct {
	pthread_mutex_t lock;
	struct table contexts;
	struct table cards;
	struct context
		*all; /* contexts of this process, for a child to close: released ones, too */
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What bears our mark is the parent's; the child may have closed it, and opened files of its own. */
static void close_inherited(struct context *context) {
	for (struct card *c = context->cards; c; c = c->next)
		descriptor_close(&c->channel.fd);
	for (struct parked *p = context->parked; p; p = p->next)
		descriptor_close(&p->channel.fd);
	for (struct waiter *w = context->waiters; w; w = w->next) {
		for (struct watch *watch = w->watches; watch; watch = watch->next)
			descriptor_close(&watch->channel.fd);
		descriptor_close(&w->wake_fd);
	}
}

/* A new process: nothing is ours. Memory that the parent's threads may have been at stays as it is. */
static void reset(void) {
	if (pthread_mutex_trylock(&state.lock) == 0) {
		for (struct context *c = state.all; c; c = c->next)
			close_inherited(c);
		pthread_mutex_unlock(&state.lock);
	}
	state.contexts = state.cards = (struct table){ 0 };
	state.all = NULL;
	pthread_mutex_init(&state.lock, NULL);
	readers_forked();
}

static void lock(void) {
	process_enter(reset);
	pthread_mutex_lock(&state.lock);
}

static void unlock(void) {
	pthread_mutex_unlock(&state.lock);
}

struct context *handle_context_new(void) {
	struct context *context = calloc(1, sizeof(*context));
	if (!context)
		return NULL;
	context->no_blocking = secure_getenv("PCSCLITE_NO_BLOCKING") != NULL;
	pthread_cond_init(&context->left, NULL);
	lock();
	int r = table_add(&state.contexts, &state.cards, context, &context->id);
	if (r == 0) {
		context->next = state.all;
		state.all = context;
	}
	unlock();
	if (r < 0) {
		free(context);
		return NULL;
	}
	return context;
}

struct context *handle_context_enter(SCARDCONTEXT id) {
	lock();
	struct context *context = table_find(&state.contexts, id);
	if (context)
		context->n_calls++;
	unlock();
	return context;
}

static void leave_locked(struct context *context) {
	if (--context->n_calls == 0 || context->released)
		pthread_cond_broadcast(&context->left);
}

void handle_context_leave(struct context *context) {
	lock();
	leave_locked(context);
	unlock();
}

static void card_free(struct card *card) {
	channel_close(&card->channel);
	readers_unref(card->readers);
	pthread_mutex_destroy(&card->lock);
	free(card);
}

static void parked_free(struct parked *parked) {
	channel_close(&parked->channel);
	readers_unref(parked->readers);
	free(parked);
}

static void parked_free_list(struct parked *parked) {
	while (parked) {
		struct parked *next = parked->next;
		parked_free(parked);
		parked = next;
	}
}

/* Takes the cards that nobody is inside of out of the context, as a list. */
static struct card *take_idle_cards(struct context *context) {
	struct card *idle = NULL;
	for (struct card **c = &context->cards; *c;) {
		struct card *card = *c;
		if (card->n_calls) {
			c = &card->next;
		} else {
			*c = card->next;
			card->next = idle;
			idle = card;
		}
	}
	return idle;
}

/* Ends the connections of `cards`, all at a time, and frees them: after this others can connect. A handler that
 * hangs holds up what the others free no more than what it has itself. */
static void finish_cards(struct card *cards) {
	int64_t deadline = clock_ms() + FINISH_MS;
	for (struct card *c = cards; c; c = c->next)
		channel_end(&c->channel);
	while (cards) {
		struct card *next = cards->next;
		channel_finish(&cards->channel, deadline);
		card_free(cards);
		cards = next;
	}
}

static void waiter_free(struct waiter *waiter) {
	while (waiter->watches) {
		struct watch *next = waiter->watches->next;
		watch_free(waiter->watches);
		waiter->watches = next;
	}
	descriptor_close(&waiter->wake_fd);
	free(waiter);
}

static void context_free(struct context *context) {
	parked_free_list(context->parked);
	while (context->waiters) {
		struct waiter *next = context->waiters->next;
		waiter_free(context->waiters);
		context->waiters = next;
	}
	pthread_cond_destroy(&context->left);
	free(context);
}

/* Takes the context out of the list of all. Is it the last one? */
static bool forget_context(struct context *context) {
	struct context **c = &state.all;
	while (*c != context)
		c = &(*c)->next;
	*c = context->next;
	return !state.all;
}

/* Waits until nobody is inside of the released context, with the lock held. Each card goes as soon as nobody is inside of
 * it: a call on another one may be waiting for the lock that it holds, and its own program cannot end that
 * any more. */
static void wait_until_empty(struct context *context) {
	for (;;) {
		struct card *cards = take_idle_cards(context);
		if (cards) {
			unlock();
			finish_cards(cards);
			lock();
		} else if (context->n_calls) {
			pthread_cond_wait(&context->left, &state.lock);
		} else {
			return;
		}
	}
}

bool handle_context_release(SCARDCONTEXT id) {
	lock();
	struct context *context = table_find(&state.contexts, id);
	if (!context) {
		unlock();
		return false;
	}
	context->released = true;
	table_take(&state.contexts, id);
	for (struct card *c = context->cards; c; c = c->next)
		table_take(&state.cards, c->id);
	wait_until_empty(context);
	if (forget_context(context))
		readers_done();
	unlock();
	context_free(context);
	return true;
}

static struct waiter *waiter_new(void) {
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		return NULL;
	waiter->busy = true;
	waiter->wake_fd = descriptor_eventfd();
	if (handle_make_room(waiter->wake_fd))
		waiter->wake_fd = descriptor_eventfd();
	if (waiter->wake_fd < 0) {
		free(waiter);
		return NULL;
	}
	return waiter;
}

static struct waiter *take_idle_waiter(struct context *context) {
	struct waiter *w = context->waiters;
	while (w && w->busy)
		w = w->next;
	if (w) {
		w->busy = true;
		w->cancelled = false;
	}
	return w;
}

struct waiter *handle_wait_begin(struct context *context) {
	lock();
	struct waiter *waiter = take_idle_waiter(context);
	unlock();
	if (waiter)
		return waiter;
	waiter = waiter_new();
	if (!waiter)
		return NULL;
	lock();
	waiter->next = context->waiters;
	context->waiters = waiter;
	unlock();
	return waiter;
}

/* One idle waiter is kept: what a program needs that waits again and again. */
void handle_wait_end(struct context *context, struct waiter *waiter) {
	struct waiter **place = NULL;
	bool another = false;
	lock();
	for (struct waiter **w = &context->waiters; *w; w = &(*w)->next) {
		if (*w == waiter)
			place = w;
		else if (!(*w)->busy)
			another = true;
	}
	waiter->busy = false;
	if (another)
		*place = waiter->next;
	unlock();
	if (another)
		waiter_free(waiter);
}

bool handle_wait_cancelled(struct waiter *waiter) {
	lock();
	bool cancelled = waiter->cancelled;
	unlock();
	return cancelled;
}

int handle_wait_mend(struct waiter *waiter) {
	int fd = descriptor_eventfd();
	if (handle_make_room(fd))
		fd = descriptor_eventfd();
	if (fd < 0)
		return fd;
	lock();
	descriptor_close(&waiter->wake_fd);
	waiter->wake_fd = fd;
	unlock();
	return 0;
}

void handle_watch_add(struct waiter *waiter, struct watch *watch) {
	struct watch **place = waiter->found ? &waiter->found->next : &waiter->watches;
	lock();
	watch->next = *place;
	*place = watch;
	unlock();
	waiter->found = watch;
}

void handle_watch_take(struct waiter *waiter, struct watch *watch) {
	lock();
	struct watch **w = &waiter->watches;
	while (*w != watch)
		w = &(*w)->next;
	*w = watch->next;
	unlock();
	waiter->found = NULL;
}

/* A context that is being released is not in the table any more. */
static struct context *find_to_cancel(SCARDCONTEXT id) {
	struct context *context = table_find(&state.contexts, id);
	if (context)
		return context;
	for (context = state.all; context; context = context->next)
		if (context->id == id)
			return context;
	return NULL;
}

bool handle_cancel(SCARDCONTEXT id) {
	lock();
	struct context *context = find_to_cancel(id);
	for (struct waiter *w = context ? context->waiters : NULL; w; w = w->next) {
		if (!w->busy)
			continue;
		w->cancelled = true;
		descriptor_wake(w->wake_fd);
	}
	unlock();
	return context;
}

struct card *handle_card_new(
	struct context *context, struct readers *readers, const struct reader *reader) {
	struct card *card = calloc(1, sizeof(*card));
	if (!card)
		return NULL;
	card->context = context;
	card->readers = readers_ref(readers);
	card->reader = reader;
	card->life = CARD_LOST;
	card->channel = CHANNEL_CLOSED;
	pthread_mutex_init(&card->lock, NULL);
	pthread_mutex_lock(&card->lock);
	lock();
	card->n_calls = 1;
	context->n_calls++;
	card->next = context->cards;
	context->cards = card;
	unlock();
	return card;
}

LONG handle_card_publish(struct card *card) {
	lock();
	LONG rv = SCARD_S_SUCCESS;
	if (card->context->released)
		rv = SCARD_E_INVALID_HANDLE;
	else if (table_add(&state.cards, &state.contexts, card, &card->id) < 0)
		rv = SCARD_E_NO_MEMORY;
	unlock();
	return rv;
}

struct card *handle_card_enter(SCARDHANDLE id) {
	lock();
	struct card *card = table_find(&state.cards, id);
	if (card) {
		card->n_calls++;
		card->context->n_calls++;
	}
	unlock();
	if (!card)
		return NULL;
	pthread_mutex_lock(&card->lock);
	if (card->life == CARD_CLOSED) {
		handle_card_leave(card);
		return NULL;
	}
	return card;
}

void handle_card_leave(struct card *card) {
	pthread_mutex_unlock(&card->lock);
	lock();
	struct context *context = card->context;
	/* Whoever comes last sees that it was closed, be it by another one: nobody is inside who could change that. */
	bool last = --card->n_calls == 0 && card->life == CARD_CLOSED;
	if (last) { /* still inside the context: the list of readers may not go before the card */
		unlock();
		card_free(card);
		lock();
	}
	leave_locked(context);
	unlock();
}

void handle_card_close(struct card *card) {
	lock();
	table_take(&state.cards, card->id);
	struct card **c = &card->context->cards;
	while (*c != card)
		c = &(*c)->next;
	*c = card->next;
	card->life = CARD_CLOSED;
	unlock();
}

static bool same_device(const struct reader *a, const struct reader *b) {
	return strcmp(a->dir, b->dir) == 0 && strcmp(a->instance, b->instance) == 0;
}

/* Adds it to the context's. Returns what has to go for it: what is too much, or itself where its device has one already. */
static struct parked *parked_add(struct context *context, struct parked *parked) {
	struct parked **p = &context->parked;
	size_t n = 1;
	for (; *p && n < MAX_PARKED; p = &(*p)->next, n++)
		if (same_device((*p)->reader, parked->reader))
			return parked;
	struct parked *last = *p;
	*p = NULL;
	parked->next = context->parked;
	context->parked = parked;
	return last;
}

void handle_park(struct card *card, struct channel *channel) {
	struct parked *parked = calloc(1, sizeof(*parked));
	if (!parked) {
		channel_close(channel);
		return;
	}
	parked->readers = readers_ref(card->readers);
	parked->reader = card->reader;
	parked->channel = *channel;
	*channel = CHANNEL_CLOSED;
	lock();
	struct parked *excess = parked_add(card->context, parked);
	unlock();
	parked_free_list(excess);
}

bool handle_make_room(int error) {
	struct parked *taken = NULL;
	if (error != -EMFILE && error != -ENFILE)
		return false;
	lock();
	for (struct context *c = state.all; c; c = c->next) {
		struct parked **end = &c->parked;
		while (*end)
			end = &(*end)->next;
		*end = taken;
		taken = c->parked;
		c->parked = NULL;
	}
	unlock();
	bool any = taken != NULL;
	parked_free_list(taken);
	return any;
}

static bool still_there(const struct readers *readers, const struct reader *reader) {
	const struct reader *now = readers_find(readers, reader->name);
	return now && now->life == reader->life;
}

bool handle_unpark(struct card *card, struct channel *ret_channel) {
	struct parked *stale = NULL, *found = NULL;
	lock();
	for (struct parked **p = &card->context->parked; *p;) {
		struct parked *parked = *p;
		bool here = still_there(card->readers, parked->reader);
		if (here && (found || !same_device(parked->reader, card->reader))) {
			p = &parked->next;
			continue;
		}
		*p = parked->next;
		if (here) {
			found = parked;
		} else {
			parked->next = stale;
			stale = parked;
		}
	}
	unlock();
	parked_free_list(stale);
	if (!found)
		return false;
	*ret_channel = found->channel;
	found->channel = CHANNEL_CLOSED;
	parked_free(found);
	return true;
}
