/* SPDX-License-Identifier: MIT */
/* systemd's manager over its bus: starting, stopping and asking about units. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct unit_manager;

enum {
	UNIT_MAX_NAME = 256, /* UNIT_NAME_MAX of systemd */
};

/* What systemd says of a unit. Words are systemd's own ("active", "running", "success"). */
struct unit_state {
	char active[32], sub[32], result[64];
	pid_t main_pid;
	unsigned n_restarts;
	int masked;
};

/* Is systemd the init of this system? */
int unit_is_booted(void);

/* Connects: root speaks to PID 1 directly (also early at boot, without a message bus), others by
 * the system bus. 0 or negative errno; close with unit_close. */
int unit_open(struct unit_manager **ret_manager);
void unit_close(struct unit_manager *manager);

/* Queues a job ("StartUnit" or "StopUnit"); a unit that is not there needs no stopping. 0 or
 * negative errno, with unit_problem saying more. */
int unit_start(struct unit_manager *manager, const char *unit);
int unit_stop(struct unit_manager *manager, const char *unit);

/* Waits until all jobs queued here have ended. 0; UNIT_E_JOB when one did not succeed (unit_problem
 * names it); -ETIMEDOUT; another negative errno. */
enum { UNIT_E_JOB = 1 };
int unit_wait(struct unit_manager *manager, int64_t deadline_ms);

/* What the last failure was, in systemd's words. Never NULL; borrowed. */
const char *unit_problem(const struct unit_manager *manager);

/* The state of `unit`; one that was never loaded is "inactive". 0 or negative errno. */
int unit_get_state(struct unit_manager *manager, const char *unit, struct unit_state *ret_state);

/* Stops all units (sockets, services) whose names fit one of the NULL-terminated `patterns`: queues
 * the jobs. 0 or negative errno. */
int unit_stop_all(struct unit_manager *manager, const char *const *patterns);

/* daemon-reload: drop-ins were changed. 0 or negative errno. */
int unit_reload(struct unit_manager *manager);
