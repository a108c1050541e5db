/* SPDX-License-Identifier: MIT */
/* Objects by number: what contexts and card handles are to applications. The caller locks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "client/api.h"

struct entry;

/* Sorted by number; grows as needed; a null initializer is an empty one, which has no memory of its own. */
struct table {
	struct entry *entries;
	size_t n;
	size_t size;
};

/* The object of that number, or NULL. */
void *table_find(const struct table *table, LONG id);

/* Adds `object` under a number that nobody could guess and that is neither 0 nor in `other`: 0 or -ENOMEM. */
int table_add(struct table *table, const struct table *other, void *object, LONG *ret_id);

/* Takes the number away, if it is there. */
void table_take(struct table *table, LONG id);
