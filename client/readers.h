/* SPDX-License-Identifier: MIT */
/* The readers that there are: descriptions in the directories of the search path, as one list. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One reader: a slot of a device. Strings belong to the list that it is in. */
struct reader {
	const char *name; /* as applications see it */
	const char *dir;
	const char *instance; /* DIR/INSTANCE.sock is its handler's socket */
	unsigned slot;
	uint64_t life;  /* the same number: the same registration; differs after a replug */
	uint64_t stamp; /* differs after the description was written anew, too */
};

/* A list that never changes, sorted as applications get it: by registration, then slot. Counted
 * references: readers_ref, readers_unref. */
struct readers {
	unsigned n_refs;     /* guarded by the lock of readers.c */
	unsigned number;     /* of arrivals and departures: 1 to 32767, then 1 again; for PnP */
	uint64_t generation; /* differs whenever a directory has been read again */
	const struct reader **by_name; /* all items, sorted by name */
	size_t n;
	struct reader items[];
};

/* Somebody to be woken when the list may have changed. */
struct readers_listener {
	int wake_fd; /* an eventfd */
	struct readers_listener *next;
};

/* The list as it is now, with a reference; NULL without memory or descriptors. Normally one system call; the
 * directories are read only after they have changed. Waits for no handler, but up to 1 s for the
 * descriptions of sockets that have none beside them, once. */
struct readers *readers_get(void);

struct readers *readers_ref(struct readers *readers);

/* Gives a reference back; NULL is allowed. */
void readers_unref(struct readers *readers);

/* The reader of that name, or NULL. */
const struct reader *readers_find(const struct readers *readers, const char *name);

/* Is `reader`, of an older list, still there, in the same life? */
bool readers_alive(const struct reader *reader);

/* Wakes `listener` by its eventfd when any thread finds the directories changed, until unlisten. */
void readers_listen(struct readers_listener *listener);
void readers_unlisten(struct readers_listener *listener);

/* The descriptor to poll for such changes, or -1 where inotify cannot be had: readers_look_again_ms
 * then says when to look. */
int readers_poll_fd(void);

/* The deadline at which to look again though nothing has happened, or CLOCK_NEVER: a socket without
 * description is given a second to get one. */
int64_t readers_look_again_ms(void);

/* The last context has gone: frees everything and stops watching. */
void readers_done(void);

/* In a forked child: closes what was inherited, if it is in order, and starts anew. */
void readers_forked(void);
