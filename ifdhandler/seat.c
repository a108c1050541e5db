/* SPDX-License-Identifier: MIT */
/*
 * logind replaces a file when a session comes, goes or is switched to, before it tells anybody; the kernel
 * notes that in the monitor's descriptor in the same moment. So a look at the descriptor says
 * whether the last answer still holds.
 */
#include "ifdhandler/seat.h"

#include <poll.h>
#include <stddef.h>
#include <systemd/sd-login.h>

/* Has nothing happened at any seat? Without a monitor nobody knows. */
static int is_quiet(struct seat *seat) {
	if (!seat->monitor)
		return 0;
	struct pollfd p = { .fd = sd_login_monitor_get_fd(seat->monitor), .events = POLLIN };
	return poll(&p, 1, 0) == 0;
}

/* From now on every change is seen: to be called before the question. A new monitor after each change: the
 * folder itself may be another now. */
static void monitor_start(struct seat *seat) {
	if (is_quiet(seat))
		return;
	seat->monitor = sd_login_monitor_unref(seat->monitor);
	if (sd_login_monitor_new("seat", &seat->monitor) < 0)
		seat->monitor = NULL; /* no logind, or no inotify left: asked each time */
}

int seat_has(struct seat *seat, uid_t uid) {
	if (seat->is_known && seat->uid == uid && is_quiet(seat))
		return seat->is_active;
	monitor_start(seat);
	seat->is_active = sd_uid_is_on_seat(uid, 1, seat->name) > 0;
	seat->uid = uid;
	seat->is_known = seat->monitor != NULL;
	return seat->is_active;
}

void seat_done(struct seat *seat) {
	seat->monitor = sd_login_monitor_unref(seat->monitor);
	seat->is_known = 0;
}
