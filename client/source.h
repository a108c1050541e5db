/* SPDX-License-Identifier: MIT */
/* One INSTANCE of a directory of readers: its description as last read, or asked for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/channel.h"
#include "wire/description.h"
#include "wire/path.h"

/* What is known of one instance. */
struct source {
	const char *dir; /* borrowed from the search path */
	size_t dir_index;
	char *instance;
	bool socket_only;   /* no description beside the socket */
	bool listens;       /* its socket was seen in the look that is going on */
	bool seen;          /* what its description comes from was */
	bool known;         /* `description` holds */
	bool asked;         /* a socket was asked: not again until its stamp changes */
	uint64_t stamp;     /* of the file that the description comes from */
	int64_t changed_ms; /* CLOCK_REALTIME, when that file was changed last */
	uint64_t life;
	struct description description;
};

/* All instances, sorted by directory and name; kept from one look to the next, so that only what has
 * changed is read. A zeroed list is empty. */
struct source_list {
	struct source **items;
	size_t n;
	size_t size;
};

/* Looks at all instances in `dirfd`, an open directory: adds new ones to `list`, reads changed ones
 * again, and marks as `seen` those that are there. What cannot be read is left out. 0; or -ENOMEM, -EMFILE
 * or -ENFILE, after which the list is what it was where nothing could be read. */
int source_scan(struct source_list *list, int dirfd, const char *dir, size_t dir_index);

/* Is that error a shortage, one of those three? It says nothing about what is there. */
bool source_is_shortage(int error);

/* The instance of that name in the directory of that index, or NULL. */
struct source *source_find(const struct source_list *list, size_t dir_index, const char *instance);

/* Frees all that were not seen, and clears the mark of the others. */
void source_sweep(struct source_list *list);

enum {
	SOURCE_MAX_QUESTIONS = 32, /* at once; chosen: a descriptor each */
};

/* A question to the handler of a socket that has no description. The caller sets the first three. */
struct source_question {
	char instance[PATH_MAX_NAME];
	size_t dir_index;
	uint64_t stamp; /* what the source had: the answer is its own only while it has it */
	struct channel channel;
	struct description description; /* the answer; no text: there was none */
};

/* Starts the question to DIR/INSTANCE.sock. 0, also where it cannot be put; or a shortage. */
int source_ask(struct source_question *question, const char *dir);

/* Hears what those that were started are answered, of all at the same time, for 1 s at most. */
void source_hear(struct source_question *questions, size_t n);

/* Frees all; then as a zeroed list. */
void source_done(struct source_list *list);
