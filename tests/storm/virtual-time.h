/* SPDX-License-Identifier: MIT */
/* Time that passes only when nothing else is left to do: the monotonic clock and the timers of
 * sd-event, as the driver and its slots use them. */
#pragma once

#include <stdint.h>

struct sd_event;

/* Microseconds of CLOCK_MONOTONIC, for all who ask. */
uint64_t virtual_now(void);
/* A new beginning; `seed` decides how late timers are within their accuracy. */
void virtual_begin(uint64_t seed);
/* Never backwards. */
void virtual_advance(uint64_t now);

/* When the next timer of the loop is due, or UINT64_MAX. */
uint64_t virtual_due(const struct sd_event *event);
/* Calls one timer that is due: 1; 0: none is. */
int virtual_fire(struct sd_event *event);
/* Timers that somebody still holds. */
unsigned virtual_n_sources(const struct sd_event *event);
