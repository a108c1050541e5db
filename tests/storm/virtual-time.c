/* SPDX-License-Identifier: MIT */
/*
 * Stands in for the kernel's clock and for sd-event's timers, under the same names: linked before
 * libsystemd, and with clock_gettime wrapped, so the code under test is that of the product.
 *
 * A timer is late by any part of its accuracy, as sd-event may be. A timer that is let go while it
 * is called, or moved by its own call, behaves as there.
 */
#include "tests/storm/virtual-time.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-event.h>
#include <time.h>

struct sd_event {
	struct sd_event_source *sources;
};

struct sd_event_source {
	struct sd_event *event;
	struct sd_event_source *next;
	uint64_t time, accuracy;
	uint64_t due; /* `time`, and as late as chance wants it */
	int enabled;
	sd_event_time_handler_t handler;
	sd_event_handler_t defer; /* … or this: due whenever it is switched on */
	void *userdata;
};

static uint64_t now, chance;

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_clock_gettime(clockid_t clock, struct timespec *t) {
	(void)clock;
	*t = (struct timespec){ .tv_sec = (time_t)(now / 1000000),
		.tv_nsec = (long)(now % 1000000) * 1000 };
	return 0;
}

uint64_t virtual_now(void) {
	return now;
}

void virtual_begin(uint64_t seed) {
	now = 1000000000; /* chosen: some time after the machine's start */
	chance = seed | 1;
}

void virtual_advance(uint64_t to) {
	if (to > now)
		now = to;
}

static void set_due(struct sd_event_source *source) {
	chance = chance * 6364136223846793005u + 1442695040888963407u;
	source->due = source->time + (chance >> 33) % (source->accuracy + 1);
}

uint64_t virtual_due(const struct sd_event *event) {
	uint64_t due = UINT64_MAX;
	for (const struct sd_event_source *s = event->sources; s; s = s->next)
		if (s->enabled != SD_EVENT_OFF && s->due < due)
			due = s->due;
	return due;
}

int virtual_fire(struct sd_event *event) {
	struct sd_event_source *first = NULL;
	for (struct sd_event_source *s = event->sources; s; s = s->next)
		if (s->enabled != SD_EVENT_OFF && s->due <= now && (!first || s->due < first->due))
			first = s;
	if (!first)
		return 0;
	if (first->enabled == SD_EVENT_ONESHOT)
		first->enabled = SD_EVENT_OFF;
	if (first->defer)
		(void)first->defer(first, first->userdata);
	else
		(void)first->handler(first, first->time, first->userdata);
	return 1;
}

unsigned virtual_n_sources(const struct sd_event *event) {
	unsigned n = 0;
	for (const struct sd_event_source *s = event->sources; s; s = s->next)
		n++;
	return n;
}

/* ---- sd-event ---- */

int sd_event_new(sd_event **ret) {
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

sd_event *sd_event_unref(sd_event *event) {
	assert(!event || !event->sources);
	free(event);
	return NULL;
}

int sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
	uint64_t accuracy, sd_event_time_handler_t handler, void *userdata) {
	(void)clock;
	struct sd_event_source *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct sd_event_source){ .event = event,
		.next = event->sources,
		.time = usec,
		.accuracy = accuracy,
		.enabled = SD_EVENT_ONESHOT,
		.handler = handler,
		.userdata = userdata };
	set_due(s);
	event->sources = s;
	*ret = s;
	return 0;
}

int sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata) {
	return sd_event_add_time(event, ret, clock, now + usec, accuracy, handler, userdata);
}

int sd_event_add_defer(
	sd_event *event, sd_event_source **ret, sd_event_handler_t handler, void *userdata) {
	int r = sd_event_add_time(event, ret, CLOCK_MONOTONIC, 0, 0, NULL, userdata);
	if (r == 0)
		(*ret)->defer = handler;
	return r;
}

int sd_event_run(sd_event *event, uint64_t timeout) {
	uint64_t due = virtual_due(event), end = timeout == UINT64_MAX ? due : now + timeout;
	virtual_advance(due < end ? due : end);
	return virtual_fire(event);
}

int sd_event_source_set_time(sd_event_source *source, uint64_t usec) {
	source->time = usec;
	set_due(source);
	return 0;
}

int sd_event_source_get_time(sd_event_source *source, uint64_t *ret) {
	*ret = source->time;
	return 0;
}

int sd_event_source_set_enabled(sd_event_source *source, int enabled) {
	if (source)
		source->enabled = enabled;
	return 0;
}

int sd_event_source_get_enabled(sd_event_source *source, int *ret) {
	*ret = source->enabled;
	return source->enabled != SD_EVENT_OFF;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source) {
	if (!source)
		return NULL;
	struct sd_event_source **at = &source->event->sources;
	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	free(source);
	return NULL;
}
