/* SPDX-License-Identifier: MIT */
/* Ending a reader's handler, and all that a reader leaves behind. */
#pragma once

#include "ctl/place.h"
#include "ctl/readers.h"
#include "wire/status.h"

/*
 * Ends the handler of `device` and waits until socket and description are gone. Clients are told
 * `reason` (STOPPED or READER_DETACHED). Under systemd its units are stopped; a handler that was
 * started by hand is asked, and one that does not answer in time is killed. A reader that is gone
 * already is fine. 0, or an exit code after saying why.
 */
int stop_reader(const struct place *place, const struct readers_device *device, enum status reason,
	int64_t deadline_ms);

/* The name of the unit that serves a reader: KIND is "service" or "socket". Returns `buf`. */
const char *stop_unit_name(
	const struct readers_device *device, const char *kind, char *buf, size_t size);
