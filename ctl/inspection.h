/* SPDX-License-Identifier: MIT */
/* What a handler answers to INSPECT, taken apart (pure): facts about the reader, its slots, their
 * clients. */
#pragma once

#include <stddef.h>

enum {
	INSPECTION_MAX_FACTS =
		8192, /* chosen: WIRE_MAX_DATA bytes hold no more lines that say something */
	INSPECTION_MAX_SECTIONS = 4096, /* a reader, its slots, 2048 clients */
};

enum inspection_kind { INSPECTION_READER, INSPECTION_SLOT, INSPECTION_CLIENT };

struct inspection_fact {
	const char *key, *value;
};

/* The facts of one thing. A slot's clients follow it. */
struct inspection_section {
	enum inspection_kind kind;
	const struct inspection_fact *facts;
	size_t n_facts;
};

struct inspection {
	char *text;
	struct inspection_fact *facts;
	struct inspection_section *sections; /* the first is the reader's */
	size_t n_sections;
};

/* Takes `len` bytes of text apart. Lines without '=' are left out. 0 or -ENOMEM. */
int inspection_parse(const void *text, size_t len, struct inspection *ret_inspection);
void inspection_done(struct inspection *inspection);

/* The first value of `key`, or NULL. */
const char *inspection_get(const struct inspection_section *section, const char *key);
