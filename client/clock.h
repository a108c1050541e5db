/* SPDX-License-Identifier: MIT */
/* Deadlines: milliseconds of CLOCK_MONOTONIC, handed down to whoever waits. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <time.h>

/* A deadline that never comes. */
#define CLOCK_NEVER INT64_MAX

/* Now, in milliseconds. */
static inline int64_t clock_ms(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What is left until `deadline_ms`, as poll(2) wants it: -1 for never, 0 when it has passed. Both
 * ends are cut to whole milliseconds, so one is added: a wait is never too short. */
static inline int clock_left(int64_t deadline_ms) {
	if (deadline_ms == CLOCK_NEVER)
		return -1;
	int64_t left = deadline_ms - clock_ms() + 1;
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
