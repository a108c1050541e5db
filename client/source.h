/* SPDX-License-Identifier: MIT */
/* One INSTANCE of a directory of readers: its description as last read, or asked for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/description.h"

/* What is known of one instance. A list of them is kept from one look to the next, so that only what
 * has changed is read. */
struct source {
	struct source *next;
	const char *dir; /* borrowed from the search path */
	size_t dir_index;
	char *instance;
	bool socket_only;   /* no description beside the socket */
	bool seen;          /* in the look that is going on */
	bool known;         /* `description` holds */
	bool asked;         /* a socket was asked: not again until its stamp changes */
	uint64_t stamp;     /* of the file that the description comes from */
	int64_t changed_ms; /* CLOCK_REALTIME, when that file was changed last */
	uint64_t life;
	struct description description;
};

/* Looks at all instances in `dirfd`, an open directory: adds new ones to *list, reads changed ones
 * again, and marks as `seen` those that are there. 0 or -ENOMEM; what cannot be read is left out. */
int source_scan(struct source **list, int dirfd, const char *dir, size_t dir_index);

/* Frees all that were not seen, and clears the mark of the others. */
void source_sweep(struct source **list);

/* Asks the handler at DIR/INSTANCE.sock for its description, for 1 s at most. 0 with *ret_description,
 * else a negative errno. */
int source_ask(const char *dir, const char *instance, struct description *ret_description);

/* Frees the whole list. */
void source_free(struct source *list);
