/* SPDX-License-Identifier: MIT */
/*
 * The process has one list of readers, made from the sources in all directories and replaced by a
 * new one when a directory has changed. Lists never change once made and are counted, so a handle
 * keeps the one that its reader's name lives in. The lock is held while directories are read (a few
 * files in memory), never while a handler is waited for.
 *
 * Whoever finds the directories changed has taken the notice away from all other threads, and so
 * wakes those that wait for it by their own eventfds.
 */
#include "client/readers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/descriptor.h"
#include "client/dirwatch.h"
#include "client/source.h"
#include "wire/path.h"

enum {
	GRACE_MS = 1000,     /* chosen: from a socket's listen to its registration */
	MAX_NUMBER = 0x7fff, /* PnP numbers are 1 to 32767 */
};

/* Everything the process knows about readers. The last three outlive the contexts. */
static struct {
	pthread_mutex_t lock;
	bool started;
	bool stale; /* the directories must be read */
	bool dirty; /* the list must be made anew */
	struct path_list path;
	struct dirwatch watch;
	struct source_list sources;
	struct readers *current;
	struct readers_listener *listeners;
	int64_t look_again_ms;
	uint64_t generation;
	uint64_t last_life;
	uint64_t last_set; /* what the last list contained, as a hash */
	unsigned number;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void lock(void) {
	pthread_mutex_lock(&state.lock);
}

static void unlock(void) {
	pthread_mutex_unlock(&state.lock);
}

static int start(void) {
	if (state.started)
		return 0;
	int r = path_list_init(&state.path);
	if (r < 0)
		return r;
	dirwatch_init(&state.watch);
	state.started = true;
	state.stale = true;
	return 0;
}

/* A candidate for the list. */
struct candidate {
	const struct source *source;
	const struct description_reader *reader;
};

static int compare_u64(uint64_t a, uint64_t b) {
	return a < b ? -1 : a > b;
}

/* Of equal names the one in the first directory comes first, then the one registered first. */
static int by_name(const void *a, const void *b) {
	const struct candidate *x = a, *y = b;
	int r = strcmp(x->reader->name, y->reader->name);
	if (r == 0)
		r = compare_u64(x->source->dir_index, y->source->dir_index);
	if (r == 0)
		r = compare_u64(x->source->description.seq, y->source->description.seq);
	return r;
}

static int by_order(const void *a, const void *b) {
	const struct candidate *x = a, *y = b;
	int r = compare_u64(x->source->description.seq, y->source->description.seq);
	if (r == 0)
		r = compare_u64(x->source->dir_index, y->source->dir_index);
	if (r == 0)
		r = strcmp(x->source->instance, y->source->instance);
	if (r == 0)
		r = compare_u64(x->reader->slot, y->reader->slot);
	return r;
}

/* All slots of all sources, in an array that the caller frees. -ENOMEM, or their number. */
static ssize_t candidates_collect(struct candidate **ret_candidates) {
	size_t n = 0, i = 0;
	for (size_t k = 0; k < state.sources.n; k++) {
		const struct source *s = state.sources.items[k];
		n += s->known ? s->description.n_readers : 0;
	}
	struct candidate *c = calloc(n + 1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	for (size_t k = 0; k < state.sources.n; k++) {
		const struct source *s = state.sources.items[k];
		for (size_t slot = 0; s->known && slot < s->description.n_readers; slot++)
			c[i++] = (struct candidate){ s, &s->description.readers[slot] };
	}
	*ret_candidates = c;
	return (ssize_t)n;
}

static size_t candidates_unique(struct candidate *c, size_t n) {
	size_t kept = 0;
	qsort(c, n, sizeof(*c), by_name);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || strcmp(c[kept - 1].reader->name, c[i].reader->name) != 0)
			c[kept++] = c[i];
	qsort(c, kept, sizeof(*c), by_order);
	return kept;
}

static const char *string_put(char **at, const char *s) {
	char *copy = *at;
	*at = stpcpy(copy, s) + 1;
	return copy;
}

static int by_reader_name(const void *a, const void *b) {
	const struct reader *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

/* A list in memory of its own: behind the items their order by name, and the strings. NULL without
 * memory. */
static struct readers *list_new(const struct candidate *c, size_t n) {
	size_t size =
		sizeof(struct readers) + n * (sizeof(struct reader) + sizeof(struct reader *));
	for (size_t i = 0; i < n; i++)
		size += strlen(c[i].reader->name) + strlen(c[i].source->dir) +
			strlen(c[i].source->instance) + 3;
	struct readers *list = calloc(1, size);
	if (!list)
		return NULL;
	list->by_name = (const struct reader **)(void *)(list->items + n);
	char *at = (char *)(list->by_name + n);
	for (size_t i = 0; i < n; i++) {
		list->by_name[i] = &list->items[i];
		list->items[i] = (struct reader){
			.name = string_put(&at, c[i].reader->name),
			.dir = string_put(&at, c[i].source->dir),
			.instance = string_put(&at, c[i].source->instance),
			.slot = c[i].reader->slot,
			.life = c[i].source->life,
			.stamp = c[i].source->stamp,
		};
	}
	qsort(list->by_name, n, sizeof(struct reader *), by_reader_name);
	list->n = n;
	list->n_refs = 1;
	return list;
}

const struct reader *readers_find(const struct readers *readers, const char *name) {
	const struct reader key = { .name = name }, *wanted = &key;
	const struct reader **found = bsearch(
		&wanted, readers->by_name, readers->n, sizeof(struct reader *), by_reader_name);
	return found ? *found : NULL;
}

/* How many readers of `a` are not in `b`. */
static size_t list_missing(const struct readers *a, const struct readers *b) {
	size_t n = 0;
	for (size_t i = 0; i < a->n; i++) {
		const struct reader *r = readers_find(b, a->items[i].name);
		n += !r || r->life != a->items[i].life;
	}
	return n;
}

/* What the list contains, so that a later context can tell whether it has changed: FNV-1a. */
static uint64_t list_hash(const struct candidate *c, size_t n) {
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++) {
		for (const char *s = c[i].reader->name; *s; s++)
			h = (h ^ (unsigned char)*s) * 0x100000001b3u;
		h = (h ^ c[i].source->description.seq) * 0x100000001b3u;
		h = (h ^ c[i].source->description.registered_s) * 0x100000001b3u;
	}
	return h;
}

static void number_advance(size_t n) {
	state.number = (unsigned)((state.number - 1 + n) % MAX_NUMBER) + 1;
}

static void unref_locked(struct readers *readers) {
	if (readers && --readers->n_refs == 0)
		free(readers);
}

/* Makes the current list from the sources, and counts what came and went. 0 or -ENOMEM. */
static int list_make(void) {
	struct candidate *c = NULL;
	ssize_t n_candidates = candidates_collect(&c);
	if (n_candidates < 0)
		return -ENOMEM;
	size_t n = candidates_unique(c, (size_t)n_candidates);
	struct readers *list = list_new(c, n);
	if (!list) {
		free(c);
		return -ENOMEM;
	}
	uint64_t set = list_hash(c, n);
	free(c);
	if (state.current)
		number_advance(
			list_missing(state.current, list) + list_missing(list, state.current));
	else if (state.number == 0)
		state.number = 1;
	else if (set != state.last_set)
		number_advance(1); /* changed while there was no context */
	state.last_set = set;
	list->number = state.number;
	list->generation = ++state.generation;
	unref_locked(state.current);
	state.current = list;
	state.dirty = false;
	return 0;
}

/* Reads one directory; one that cannot be had has no readers. 0 or a shortage. */
static int scan_dir(size_t i) {
	int fd = path_open(state.path.dirs[i]);
	if (fd < 0)
		return source_is_shortage(fd) ? fd : 0;
	int r = source_scan(&state.sources, fd, state.path.dirs[i], i);
	close(fd);
	return r;
}

/* Reads the directories. 0, or -ENOMEM, -EMFILE or -ENFILE: then they are read again next time. */
static int scan(void) {
	dirwatch_arm(&state.watch, &state.path);
	for (size_t i = 0; i < state.path.n_dirs; i++) {
		int r = scan_dir(i);
		if (r < 0)
			return r;
	}
	state.stale = false;
	source_sweep(&state.sources);
	state.look_again_ms = 0; /* a socket may be among the new ones */
	for (size_t i = 0; i < state.sources.n; i++)
		if (state.sources.items[i]->life == 0)
			state.sources.items[i]->life = ++state.last_life;
	state.dirty = true;
	return 0;
}

static void wake_listeners(void) {
	for (struct readers_listener *l = state.listeners; l; l = l->next)
		descriptor_wake(l->wake_fd);
}

static int64_t realtime_ms(void) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Starts the question to a socket. When that is to be done, if it could not be done now. */
static int64_t question_start(struct source *s, struct source_question *questions, size_t *n) {
	struct source_question *question = &questions[*n];
	int64_t age_ms = realtime_ms() - s->changed_ms;
	if (age_ms >= 0 && age_ms < GRACE_MS)
		return clock_ms() + GRACE_MS - age_ms;
	if (*n == SOURCE_MAX_QUESTIONS)
		return 0;
	*question = (struct source_question){ .dir_index = s->dir_index, .stamp = s->stamp };
	strcpy(question->instance, s->instance); /* source.c bounds it */
	if (source_ask(question, s->dir) < 0)
		return clock_ms() + GRACE_MS;
	s->asked = true;
	++*n;
	return CLOCK_NEVER;
}

/* Starts questions to sockets that have no description: how many. Notes when to look for such again. */
static size_t questions_start(struct source_question *questions) {
	size_t n = 0;
	state.look_again_ms = CLOCK_NEVER;
	for (size_t i = 0; i < state.sources.n; i++) {
		struct source *s = state.sources.items[i];
		if (!s->socket_only || s->known || s->asked)
			continue;
		int64_t due_ms = question_start(s, questions, &n);
		if (due_ms < state.look_again_ms)
			state.look_again_ms = due_ms;
	}
	return n;
}

/* What the question was about still is, and is still not known: the answer is its description. */
static bool answer_take(struct source_question *question) {
	struct source *s = source_find(&state.sources, question->dir_index, question->instance);
	if (!question->description.text || !s || s->stamp != question->stamp || !s->socket_only ||
		s->known) {
		description_done(&question->description);
		return false;
	}
	s->description = question->description;
	s->known = true;
	s->life = ++state.last_life;
	return true;
}

/* Asks sockets without description for it, with the lock given up meanwhile. Were there any? */
static bool ask(void) {
	struct source_question questions[SOURCE_MAX_QUESTIONS];
	size_t n = questions_start(questions);
	bool news = false;
	if (n == 0)
		return false;
	unlock();
	source_hear(questions, n);
	lock();
	for (size_t i = 0; i < n; i++)
		news |= answer_take(&questions[i]);
	if (news) {
		state.dirty = true;
		wake_listeners();
	}
	return true;
}

/* Brings the current list up to date. 0, or a negative errno without memory or descriptors. */
static int update(void) {
	int r = start();
	if (r < 0)
		return r;
	if (!state.stale && dirwatch_changed(&state.watch, &state.path)) {
		state.stale = true;
		wake_listeners();
	}
	do {
		if (state.stale)
			r = scan();
	} while (r == 0 && clock_ms() >= state.look_again_ms && ask());
	return r == 0 && state.dirty ? list_make() : r;
}

struct readers *readers_get(void) {
	struct readers *list = NULL;
	lock();
	if (update() == 0) {
		list = state.current;
		list->n_refs++;
	}
	unlock();
	return list;
}

struct readers *readers_ref(struct readers *readers) {
	lock();
	readers->n_refs++;
	unlock();
	return readers;
}

void readers_unref(struct readers *readers) {
	lock();
	unref_locked(readers);
	unlock();
}

bool readers_alive(const struct reader *reader) {
	struct readers *list = readers_get();
	if (!list)
		return true; /* nobody knows: not gone */
	const struct reader *now = readers_find(list, reader->name);
	bool alive = now && now->life == reader->life;
	readers_unref(list);
	return alive;
}

void readers_listen(struct readers_listener *listener) {
	lock();
	listener->next = state.listeners;
	state.listeners = listener;
	unlock();
}

int readers_poll_fd(void) {
	lock();
	int fd = state.started && !state.watch.blind ? state.watch.fd : -1;
	unlock();
	return fd;
}

void readers_unlisten(struct readers_listener *listener) {
	lock();
	for (struct readers_listener **l = &state.listeners; *l; l = &(*l)->next) {
		if (*l == listener) {
			*l = listener->next;
			break;
		}
	}
	unlock();
}

int64_t readers_look_again_ms(void) {
	lock();
	int64_t t = state.look_again_ms;
	if (state.watch.blind && clock_ms() + GRACE_MS < t)
		t = clock_ms() + GRACE_MS;
	unlock();
	return t;
}

/* Forgets everything but what outlives the contexts. */
static void forget(void) {
	state.started = false;
	state.sources = (struct source_list){ 0 };
	state.current = NULL;
	state.listeners = NULL;
	state.path = (struct path_list){ 0 };
	dirwatch_init(&state.watch);
}

void readers_done(void) {
	lock();
	if (state.started) {
		dirwatch_done(&state.watch);
		source_done(&state.sources);
		unref_locked(state.current);
		path_list_done(&state.path);
		forget();
	}
	unlock();
}

void readers_forked(void) {
	if (pthread_mutex_trylock(&state.lock) == 0) {
		if (state.started)
			dirwatch_done(&state.watch);
		unlock();
	}
	forget();
	pthread_mutex_init(&state.lock, NULL);
}
