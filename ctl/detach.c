/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl detach: gives a device free for other programs, until attach or the next plugging.
 * Under systemd the note is held by ifdhandler-detached@INSTANCE.service, which is bound to the
 * device: it keeps the reader's units down through triggers, and goes with the device. The note
 * comes before the stop, so that a client that connects at once starts nothing. A virtual reader
 * has no device to go back to: it ceases.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/deadline.h"
#include "ctl/place.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/stop.h"
#include "ctl/unit.h"
#include "ctl/verb.h"

enum { DETACH_MS = 10000 /* chosen: systemd kills what hangs after 2 s */ };

static int hold_unit(const char *instance, int64_t deadline_ms) {
	struct unit_manager *manager;
	char unit[UNIT_MAX_NAME];
	snprintf(unit, sizeof(unit), "ifdhandler-detached@%s.service", instance);
	int r = unit_open(&manager);
	if (r < 0)
		return print_error(EXIT_FAILED, "systemd cannot be reached: %s", strerror(-r));
	r = unit_start(manager, unit);
	if (r == 0)
		r = unit_wait(manager, deadline_ms);
	if (r != 0)
		r = print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED,
			"%s cannot be detached: %s", instance, unit_problem(manager));
	unit_close(manager);
	return r;
}

static int device_detach(const struct readers_device *device, int64_t deadline_ms) {
	const struct description *d = &device->description;
	int has_device = d->device != NULL;
	struct place place;
	place_of(device->dir, &place);
	int code = place_may_change(&place, "detach");
	if (code == 0 && !device->known)
		code = print_error(EXIT_FAILED,
			"%s is a socket that somebody forwarded: end that forwarding instead",
			device->instance);
	if (code == 0 && has_device)
		code = place_make(&place);
	if (code == 0 && has_device)
		code = place_set_detached(&place, device->instance, d);
	if (code)
		return code;
	if (has_device && place.managed)
		code = hold_unit(device->instance, deadline_ms);
	if (code == 0)
		code = stop_reader(&place, device, STATUS_READER_DETACHED, deadline_ms);
	else
		place_clear_detached(&place, device->instance);
	return code;
}

/* A reader that is detached already: that was asked for. */
static int is_detached(const struct readers *readers, const char *word) {
	const struct readers_device *device;
	struct readers detached;
	int found = 0;
	for (size_t i = 0; !found && i < readers->path.n_dirs; i++) {
		if (readers_load_detached(readers->path.dirs[i], &detached) < 0)
			continue;
		found = readers_search(&detached, word, READERS_DEVICE, &device, NULL) == 0;
		readers_done(&detached);
	}
	return found;
}

static int word_detach(const char *word, int64_t deadline_ms) {
	const struct readers_device *device;
	struct readers readers;
	int r = 0;
	if (readers_load(READERS_LOOK_ONLY, &readers) < 0)
		return EXIT_FAILED;
	if (readers_search(&readers, word, READERS_DEVICE, &device, NULL) == READERS_E_NONE &&
		is_detached(&readers, word))
		print_error(0, "%s is detached already", word);
	else if ((r = readers_find(&readers, word, READERS_DEVICE, &device, NULL)) == 0)
		r = device_detach(device, deadline_ms);
	readers_done(&readers);
	return r;
}

int detach_run(const struct arguments *arguments) {
	int64_t deadline_ms =
		deadline_in(arguments->timeout_ms < 0 ? DETACH_MS : arguments->timeout_ms);
	int code = 0;
	for (int i = 0; i < arguments->n_words; i++) {
		int r = word_detach(arguments->words[i], deadline_ms);
		code = code ? code : r;
	}
	return code;
}
