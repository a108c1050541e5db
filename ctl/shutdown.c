/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl shutdown: everything down, and it stays down until init: the flag comes first, so that
 * nothing that is plugged or connected meanwhile starts again. Ends when sockets and descriptions
 * are gone. What is down already is fine.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/place.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/stop.h"
#include "ctl/unit.h"
#include "ctl/verb.h"

enum { SHUTDOWN_MS = 15000 /* chosen: systemd kills what hangs after 2 s */ };

static int stop_units(int64_t deadline_ms) {
	static const char *const patterns[] = { "ifdhandler@*.socket", "ifdhandler@*.service",
		"ifdhandler-virtual@*.socket", "ifdhandler-virtual@*.service", NULL };
	struct unit_manager *manager;
	int r = unit_open(&manager);
	if (r < 0)
		return print_error(EXIT_FAILED, "systemd cannot be reached: %s", strerror(-r));
	r = unit_stop_all(manager, patterns);
	if (r == 0)
		r = unit_wait(manager, deadline_ms);
	if (r != 0)
		r = print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED,
			"not all units stop: %s", unit_problem(manager));
	unit_close(manager);
	return r;
}

/* Those that were started by hand; and what the units should have taken away is waited for. A
 * socket without description is somebody else's (forwarded): it stays. */
static int stop_rest(const struct place *place, int64_t deadline_ms) {
	struct readers readers;
	int code = 0;
	if (readers_load(READERS_LOOK_ONLY, &readers) < 0)
		return EXIT_FAILED;
	for (size_t i = 0; i < readers.n; i++) {
		const struct readers_device *device = &readers.devices[i];
		if (!device->known || strcmp(device->dir, place->dir) != 0)
			continue;
		int r = stop_reader(place, device, STATUS_STOPPED, deadline_ms);
		code = code ? code : r;
	}
	readers_done(&readers);
	return code;
}

int shutdown_run(const struct arguments *arguments) {
	int64_t deadline_ms =
		deadline_in(arguments->timeout_ms < 0 ? SHUTDOWN_MS : arguments->timeout_ms);
	struct place place;
	int code = place_init(&place);
	if (code == 0)
		code = place_may_change(&place, "shutdown");
	if (code == 0)
		code = place_make(&place);
	if (code == 0)
		code = place_set_shut(&place, 1);
	if (code == 0 && place.managed)
		code = stop_units(deadline_ms);
	if (code == 0)
		code = stop_rest(&place, deadline_ms);
	return code;
}
