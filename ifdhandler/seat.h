/* SPDX-License-Identifier: MIT */
/* Who sits at a seat, as logind has it. */
#pragma once

#include <sys/types.h>

/* Zeroed but for `name` it is good to use. */
struct seat {
	const char *name; /* "seat0"; borrowed */
	struct sd_login_monitor *monitor;
	int is_known; /* the next two are what logind said last, and nothing has changed since */
	uid_t uid;
	int is_active;
};

/* Has `uid` an active session on the seat? The answer is remembered until logind changes a seat: asking
 * reads and parses a file, half a round trip for each connection. 0 where it cannot be found out. */
int seat_has(struct seat *seat, uid_t uid);

void seat_done(struct seat *seat);
