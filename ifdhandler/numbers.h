/* SPDX-License-Identifier: MIT */
/* What a directory of readers remembers until reboot: the numbers NN that readers had, in its file .numbers,
 * and the places in the list that were given, in .places. Whoever reads or writes them holds its lock. */
#pragma once

#include "ifdhandler/identity.h"

/* In the order in which they are worth: the same device in the same port, the same serial number. */
enum { NUMBERS_SAME_PORT, NUMBERS_SAME_SERIAL, NUMBERS_N_KINDS };

/* What interface `i` of `identity` had under its present name: numbers into `ret`, -1 where none is known. */
void numbers_recall(int dirfd, const char *instance, const struct identity *identity, unsigned i,
	int ret[NUMBERS_N_KINDS]);

/* Remembers `number` for it. What cannot be written is not remembered. */
void numbers_keep(
	int dirfd, const char *instance, const struct identity *identity, unsigned i, int number);

/* Nobody counts so far: chosen, so that nothing overflows. */
#define PLACES_MAX (UINT64_MAX / 2)

/* A round begins when nothing is registered, above all places that were given. */
struct places {
	uint64_t last;     /* the highest that was given */
	uint64_t base;     /* where the round began: what was the highest then */
	uint64_t first_ms; /* when it began, CLOCK_MONOTONIC; 0: the next registration begins one */
};

/* All 0 where nothing is known. */
void places_recall(int dirfd, struct places *ret_places);
void places_keep(int dirfd, const struct places *places);
