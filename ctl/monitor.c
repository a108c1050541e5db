/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl monitor: readers that come and go (inotify on the directories) and cards (a watch on
 * each reader). One loop over poll(2). A reader that is watched is in use: its handler stays up.
 *
 * Each reader is a struct watched, known by directory, instance and registration, so that a replug
 * is another life even where the instance is the same. A handler that went is tried again at once,
 * and if that fails when its directory changes. The first state of a slot is no event, unless the
 * reader came while we looked.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ctl/card.h"
#include "ctl/deadline.h"
#include "ctl/peer.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/verb.h"
#include "wire/status.h"

enum {
	CONNECT_MS = 1000, /* chosen: a listener's queue is full only when its handler hangs */
	FIXED_FDS = 2,     /* the directories, the signals */
};

struct watched {
	struct watched *next;
	char *dir, *instance;
	struct description description;
	struct peer peer;
	struct peer_state *last; /* of each slot: what was told; n_last of them */
	size_t n_last;
	int retried; /* the connection ended, and the next has not been answered yet */
	int refused; /* we may not watch it */
	int is_news; /* it came while we looked: its first states are events */
	int is_seen; /* in the look that goes on */
};

struct monitor {
	const struct arguments *arguments;
	struct watched *all;
	size_t n;
	int inotify, signals;
	long n_events;
	int is_done;
};

/* ---- events ---- */

static void time_text(const struct timespec *now, char *buf, size_t size) {
	struct tm tm;
	localtime_r(&now->tv_sec, &tm);
	size_t len = strftime(buf, size, "%H:%M:%S", &tm);
	snprintf(buf + len, size - len, ".%03ld", now->tv_nsec / 1000000);
}

static void event_json(const struct timespec *now, const char *event, const struct watched *w,
	unsigned slot, const struct peer_state *state) {
	char hex[CARD_MAX_HEX];
	struct print print = { .out = stdout };
	print_open(&print, NULL, '{');
	print_real(&print, "time", (double)now->tv_sec + (double)now->tv_nsec / 1e9);
	print_string(&print, "event", event);
	print_string(&print, "reader", description_name(&w->description, slot));
	print_string(&print, "instance", w->instance);
	print_string(&print, "directory", w->dir);
	print_number(&print, "slot", slot);
	if (state && state->atr_len)
		print_string(&print, "atr", card_atr(state, hex));
	if (state && state->presence == PRESENCE_UNKNOWN) {
		print_string(&print, "status", status_name(state->status));
		print_string(&print, "reason", status_text(state->status));
	}
	print_close(&print);
}

/* `event` is a word with dashes; people read it with blanks. */
static void event_text(const struct timespec *now, const char *event, const struct watched *w,
	unsigned slot, const struct peer_state *state) {
	char hex[CARD_MAX_HEX], clock[32];
	time_text(now, clock, sizeof(clock));
	printf("%s ", clock);
	print_text(stdout, description_name(&w->description, slot));
	fputs(": ", stdout);
	for (; *event; event++)
		putchar(*event == '-' ? ' ' : *event);
	if (state && state->atr_len)
		printf(" %s", card_atr(state, hex));
	if (state && state->presence == PRESENCE_UNKNOWN)
		printf(": %s", status_text(state->status));
	putchar('\n');
	fflush(stdout);
}

static void event_emit(struct monitor *m, const char *event, const struct watched *w, unsigned slot,
	const struct peer_state *state) {
	struct timespec now;
	if (m->is_done || !description_name(&w->description, slot))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (m->arguments->json)
		event_json(&now, event, w, slot, state);
	else
		event_text(&now, event, w, slot, state);
	m->n_events++;
	m->is_done = m->n_events == m->arguments->count;
}

/* The same for each reader of a device. */
static void device_emit(struct monitor *m, const char *event, const struct watched *w) {
	for (size_t i = 0; i < w->description.n_readers; i++)
		event_emit(m, event, w, w->description.readers[i].slot, NULL);
}

static int has_card(const struct peer_state *state) {
	return state->known &&
		(state->presence == PRESENCE_PRESENT || state->presence == PRESENCE_MUTE);
}

static int is_trouble(const struct peer_state *state) {
	return state->known && state->presence == PRESENCE_UNKNOWN &&
		state->status != STATUS_STARTING;
}

/* From what was told of a slot to what is so now. */
static void state_emit(struct monitor *m, const struct watched *w, unsigned slot,
	const struct peer_state *was, const struct peer_state *is) {
	int swapped = has_card(was) && has_card(is) && was->counter != is->counter;
	if (is_trouble(is) && !(is_trouble(was) && was->status == is->status))
		event_emit(m, "reader-trouble", w, slot, is);
	if (is_trouble(was) && is->presence != PRESENCE_UNKNOWN)
		event_emit(m, "reader-ready", w, slot, NULL);
	if (swapped || (has_card(was) && is->presence == PRESENCE_ABSENT))
		event_emit(m, "card-removed", w, slot, NULL);
	if (has_card(is) && (swapped || !has_card(was)))
		event_emit(m, is->presence == PRESENCE_MUTE ? "card-mute" : "card-inserted", w,
			slot, is);
}

static void states_take(struct monitor *m, struct watched *w) {
	if (!w->last && w->peer.n_slots) {
		w->last = calloc(w->peer.n_slots, sizeof(*w->last));
		w->n_last = w->last ? w->peer.n_slots : 0;
	}
	for (unsigned i = 0; i < w->n_last && i < w->peer.n_slots; i++) {
		const struct peer_state *is = &w->peer.states[i];
		/* "starting" says nothing yet; what was before a restart is compared with what
		 * follows */
		if (!is->known ||
			(is->presence == PRESENCE_UNKNOWN && is->status == STATUS_STARTING))
			continue;
		if (w->last[i].known || w->is_news)
			state_emit(m, w, i, &w->last[i], is);
		w->last[i] = *is;
	}
}

/* ---- connections ---- */

/* One attempt; where it fails the next comes when the directory changes. */
static void watched_connect(struct watched *w) {
	if (!w->description.n_readers)
		return; /* left out of the list: nothing of it is told */
	int r = peer_open(w->dir, w->instance, deadline_in(CONNECT_MS), &w->peer);
	if (r == 0)
		r = peer_send_watch(&w->peer);
	if (r != 0)
		peer_close(&w->peer);
}

static void watched_lost(struct watched *w) {
	uint16_t bye = w->peer.bye;
	if ((bye == STATUS_REFUSED || bye == STATUS_LIMIT || bye == STATUS_VERSION) &&
		!w->refused) {
		w->refused = 1;
		peer_error(&w->peer,
			description_name(&w->description, w->description.readers[0].slot),
			PEER_E_BYE, 0);
	}
	peer_close(&w->peer);
	int is_leaving = bye == STATUS_READER_GONE || bye == STATUS_READER_DETACHED;
	if (!w->refused && !is_leaving && !w->retried) {
		w->retried = 1;
		watched_connect(w);
	}
}

static void watched_read(struct monitor *m, struct watched *w) {
	int r;
	while ((r = peer_take(&w->peer)) > 0) {
		if (r == MESSAGE_REPLY)
			w->retried = 0;
		states_take(m, w);
	}
	if (r < 0)
		watched_lost(w);
}

/* ---- the list ---- */

static void watched_free(struct watched *w) {
	peer_close(&w->peer);
	description_done(&w->description);
	free(w->last);
	free(w->dir);
	free(w->instance);
	free(w);
}

/* Takes the description over. NULL without memory. */
static struct watched *watched_new(struct readers_device *device) {
	struct watched *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	*w = (struct watched){
		.dir = strdup(device->dir),
		.instance = strdup(device->instance),
		.peer = PEER_CLOSED,
	};
	if (!w->dir || !w->instance) {
		watched_free(w);
		return NULL;
	}
	w->description = device->description;
	device->description = (struct description){ 0 };
	device->known = 0;
	return w;
}

static struct watched *watched_find(struct monitor *m, const struct readers_device *device) {
	for (struct watched *w = m->all; w; w = w->next)
		if (strcmp(w->dir, device->dir) == 0 &&
			strcmp(w->instance, device->instance) == 0 &&
			w->description.seq == device->description.seq &&
			w->description.registered_s == device->description.registered_s)
			return w;
	return NULL;
}

static void drop_unseen(struct monitor *m) {
	struct watched **at = &m->all;
	while (*at) {
		struct watched *w = *at;
		if (w->is_seen) {
			w->is_seen = 0;
			at = &w->next;
			continue;
		}
		*at = w->next;
		m->n--;
		device_emit(m, "reader-removed", w);
		watched_free(w);
	}
}

/* Reads the directories again. `is_news` at all looks but the first. 0 or negative errno. */
static int look(struct monitor *m, int is_news) {
	struct readers readers;
	struct watched *fresh = NULL, **end = &fresh;
	int r = readers_load(READERS_ASK, &readers);
	for (size_t i = 0; r == 0 && i < readers.n; i++) {
		struct readers_device *device = &readers.devices[i];
		struct watched *w = device->known ? watched_find(m, device) : NULL;
		if (w) {
			w->is_seen = 1;
			if (w->peer.fd < 0 && !w->refused)
				watched_connect(w);
		} else if (device->known && (w = watched_new(device))) {
			w->is_news = is_news;
			*end = w;
			end = &w->next;
		}
	}
	if (r < 0)
		return r;
	/* those that left first: a replug is told in the order in which it happened */
	drop_unseen(m);
	*end = m->all;
	m->all = fresh;
	for (struct watched *w = fresh; w && w != *end; w = w->next) {
		m->n++;
		if (is_news)
			device_emit(m, "reader-added", w);
		watched_connect(w);
	}
	readers_done(&readers);
	return 0;
}

/* ---- directories ---- */

/* Watches a directory, or as long as it is not there the one that it will appear in. */
static void directory_watch(int inotify, const char *dir) {
	static const uint32_t mask = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM |
		IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR;
	char parent[4096];
	if (inotify_add_watch(inotify, dir, mask) >= 0)
		return;
	snprintf(parent, sizeof(parent), "%s", dir);
	char *slash = strrchr(parent, '/');
	if (slash == parent)
		slash++;
	*slash = 0;
	if (inotify_add_watch(inotify, parent, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_ONESHOT) >=
		0)
		(void)inotify_add_watch(inotify, dir, mask); /* it may have come between */
}

static int directories_watch(struct monitor *m) {
	struct path_list path;
	if (path_list_init(&path) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < path.n_dirs; i++)
		directory_watch(m->inotify, path.dirs[i]);
	path_list_done(&path);
	return 0;
}

static int directories_changed(struct monitor *m) {
	char events[4096];
	while (read(m->inotify, events, sizeof(events)) > 0)
		;
	int r = directories_watch(m);
	return r < 0 ? r : look(m, 1);
}

/* ---- the loop ---- */

/* One wait for all descriptors, and what follows. 0 to go on, 1 at the end of the time or by a
 * signal, negative errno. */
static int turn(struct monitor *m, int64_t deadline_ms) {
	struct pollfd *fds = calloc(FIXED_FDS + m->n, sizeof(*fds));
	size_t n = FIXED_FDS;
	if (!fds)
		return -ENOMEM;
	fds[0] = (struct pollfd){ .fd = m->inotify, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = m->signals, .events = POLLIN };
	for (struct watched *w = m->all; w;
		w = w->next) /* a closed one has -1: poll passes it over */
		fds[n++] = (struct pollfd){ .fd = w->peer.fd, .events = POLLIN };
	int r = poll(
		fds, (nfds_t)n, m->arguments->timeout_ms < 0 ? -1 : deadline_left(deadline_ms));
	r = r < 0 ? (errno == EINTR ? 0 : -errno) : r == 0 || fds[1].revents;
	n = FIXED_FDS;
	for (struct watched *w = m->all; r == 0 && w; w = w->next, n++)
		if (fds[n].revents && w->peer.fd == fds[n].fd)
			watched_read(m, w);
	if (r == 0 && fds[0].revents)
		r = directories_changed(m);
	free(fds);
	return r;
}

static int monitor_start(struct monitor *m) {
	sigset_t ends;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &ends, NULL) < 0)
		return -errno;
	m->signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	m->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (m->signals < 0 || m->inotify < 0)
		return -errno;
	int r = directories_watch(m);
	return r < 0 ? r : look(m, m->arguments->initial);
}

int monitor_run(const struct arguments *arguments) {
	struct monitor m = { .arguments = arguments, .inotify = -1, .signals = -1 };
	int64_t deadline_ms = deadline_in(arguments->timeout_ms);
	int r = monitor_start(&m);
	while (r == 0 && !m.is_done)
		r = turn(&m, deadline_ms);
	while (m.all) {
		struct watched *next = m.all->next;
		watched_free(m.all);
		m.all = next;
	}
	if (m.inotify >= 0)
		close(m.inotify);
	if (m.signals >= 0)
		close(m.signals);
	if (r < 0)
		return print_error(EXIT_FAILED, "monitor: %s", strerror(-r));
	/* a number of events was asked for and did not come */
	return r > 0 && arguments->count && arguments->timeout_ms >= 0 &&
			deadline_left(deadline_ms) == 0
		? EXIT_TIMEOUT
		: EXIT_OK;
}
