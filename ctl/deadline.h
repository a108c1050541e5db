/* SPDX-License-Identifier: MIT */
/* Points in time until which something may take: milliseconds of CLOCK_MONOTONIC. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <time.h>

static inline int64_t deadline_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int64_t deadline_in(int64_t ms) {
	return deadline_now() + ms;
}

/* What is left, as poll(2) takes it: never negative. */
static inline int deadline_left(int64_t deadline_ms) {
	int64_t left = deadline_ms - deadline_now();
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
