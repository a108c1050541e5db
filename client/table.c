/* SPDX-License-Identifier: MIT */
/*
 * Models the numbers that applications hold: a sorted array, searched in halves. Numbers are drawn at random,
 * so that one that was given back does not soon name another object.
 */
#include "client/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct entry {
	LONG id;
	void *object;
};

/* The first entry whose id is not below `id`. */
static size_t position(const struct table *t, LONG id) {
	size_t low = 0, high = t->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (t->entries[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void *table_find(const struct table *t, LONG id) {
	size_t i = position(t, id);
	return i < t->n && t->entries[i].id == id ? t->entries[i].object : NULL;
}

static int grow(struct table *t) {
	size_t size = t->size ? t->size * 2 : 8;
	struct entry *entries = reallocarray(t->entries, size, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	t->entries = entries;
	t->size = size;
	return 0;
}

static LONG random_id(void) {
	uint32_t v;
	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != (ssize_t)sizeof(v)) {
		/* before the kernel's generator is ready: the numbers need be unique, not secret */
		struct timespec ts;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		v = (uint32_t)ts.tv_nsec * 2654435761u ^ (uint32_t)ts.tv_sec;
	}
	return (LONG)(v & 0x7fffffff);
}

int table_add(struct table *t, const struct table *other, void *object, LONG *ret_id) {
	LONG id;
	if (t->n == t->size && grow(t) < 0)
		return -ENOMEM;
	do
		id = random_id();
	while (id == 0 || table_find(t, id) || table_find(other, id));
	size_t i = position(t, id);
	memmove(&t->entries[i + 1], &t->entries[i], (t->n - i) * sizeof(*t->entries));
	t->entries[i] = (struct entry){ id, object };
	t->n++;
	*ret_id = id;
	return 0;
}

void table_take(struct table *t, LONG id) {
	size_t i = position(t, id);
	if (i == t->n || t->entries[i].id != id)
		return;
	t->n--;
	memmove(&t->entries[i], &t->entries[i + 1], (t->n - i) * sizeof(*t->entries));
	if (t->n == 0) {
		free(t->entries);
		*t = (struct table){ 0 };
	}
}
