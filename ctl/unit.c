/* SPDX-License-Identifier: MIT */
/*
 * A job is queued by a method call that returns its path; its end is a signal, JobRemoved. Signals
 * that arrive while a call is under way wait in the bus's queue, so none is lost between the answer
 * and our look at it, if only the match was there before the call.
 *
 * Root uses PID 1's private socket: at boot this works before the message bus is there, and at
 * shutdown after it is gone. No other program is on such a connection, so signals carry no sender.
 */
#include "ctl/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "ctl/deadline.h"

#define DESTINATION "org.freedesktop.systemd1"
#define MANAGER     "org.freedesktop.systemd1.Manager"
#define MANAGER_OBJ "/org/freedesktop/systemd1"

enum {
	MAX_JOBS = 512,       /* chosen: two units for each of 256 readers */
	CALL_USEC = 10000000, /* chosen: PID 1 answers at once or is in trouble */
};

struct unit_job {
	char path[80]; /* /org/freedesktop/systemd1/job/NUMBER */
	char unit[UNIT_MAX_NAME];
};

struct unit_manager {
	sd_bus *bus;
	sd_bus_slot *removed;
	struct unit_job *jobs;
	size_t n_jobs;
	int failed; /* a job ended without success */
	char problem[512];
};

int unit_is_booted(void) {
	return sd_booted() > 0;
}

/* ---- connection ---- */

static int on_job_removed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
	(void)error;
	struct unit_manager *m = userdata;
	uint32_t id;
	const char *path, *unit, *result;
	if (sd_bus_message_read(message, "uoss", &id, &path, &unit, &result) < 0)
		return 0;
	for (size_t i = 0; i < m->n_jobs; i++) {
		if (strcmp(m->jobs[i].path, path) != 0)
			continue;
		/* "skipped": a condition did not hold; who waits for the reader sees that it stays
		 * away */
		if (strcmp(result, "done") != 0 && strcmp(result, "skipped") != 0) {
			m->failed = 1;
			snprintf(m->problem, sizeof(m->problem), "%s: job %s", m->jobs[i].unit,
				result);
		}
		m->jobs[i] = m->jobs[--m->n_jobs];
		break;
	}
	return 0;
}

static int bus_open(sd_bus **ret_bus, int *ret_direct) {
	sd_bus *bus = NULL;
	int r = geteuid() == 0 ? sd_bus_new(&bus) : -EACCES;
	if (r >= 0)
		r = sd_bus_set_address(bus, "unix:path=/run/systemd/private");
	if (r >= 0)
		r = sd_bus_start(bus);
	*ret_direct = r >= 0;
	if (r < 0) {
		sd_bus_unref(bus);
		r = sd_bus_open_system(&bus);
	}
	if (r >= 0)
		*ret_bus = bus;
	return r;
}

int unit_open(struct unit_manager **ret_manager) {
	struct unit_manager *m = calloc(1, sizeof(*m));
	int direct = 0;
	if (!m)
		return -ENOMEM;
	m->jobs = calloc(MAX_JOBS, sizeof(*m->jobs));
	int r = m->jobs ? bus_open(&m->bus, &direct) : -ENOMEM;
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(m->bus, CALL_USEC);
	if (r >= 0)
		r = sd_bus_match_signal(m->bus, &m->removed, direct ? NULL : DESTINATION,
			MANAGER_OBJ, MANAGER, "JobRemoved", on_job_removed, m);
	/* on a message bus PID 1 sends signals to subscribers only */
	if (r >= 0 && !direct)
		r = sd_bus_call_method(
			m->bus, DESTINATION, MANAGER_OBJ, MANAGER, "Subscribe", NULL, NULL, NULL);
	if (r < 0) {
		unit_close(m);
		return r;
	}
	*ret_manager = m;
	return 0;
}

void unit_close(struct unit_manager *m) {
	if (!m)
		return;
	sd_bus_slot_unref(m->removed);
	sd_bus_flush_close_unref(m->bus);
	free(m->jobs);
	free(m);
}

const char *unit_problem(const struct unit_manager *m) {
	return m->problem[0] ? m->problem : "systemd gave no reason";
}

/* Remembers what systemd said; frees it. */
static int failure(struct unit_manager *m, const char *unit, int r, sd_bus_error *error) {
	snprintf(m->problem, sizeof(m->problem), "%s: %s", unit,
		error->message ? error->message : strerror(-r));
	sd_bus_error_free(error);
	return r;
}

/* ---- jobs ---- */

static int job_queue(struct unit_manager *m, const char *method, const char *unit) {
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	const char *path;
	if (m->n_jobs == MAX_JOBS)
		return -E2BIG;
	int r = sd_bus_call_method(m->bus, DESTINATION, MANAGER_OBJ, MANAGER, method, &error,
		&reply, "ss", unit, "replace");
	if (r < 0 && strcmp(method, "StopUnit") == 0 &&
		sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit")) {
		sd_bus_error_free(&error);
		return 0;
	}
	if (r < 0)
		return failure(m, unit, r, &error);
	r = sd_bus_message_read(reply, "o", &path);
	if (r >= 0) {
		struct unit_job *job = &m->jobs[m->n_jobs++];
		snprintf(job->path, sizeof(job->path), "%s", path);
		snprintf(job->unit, sizeof(job->unit), "%s", unit);
	}
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}

int unit_start(struct unit_manager *m, const char *unit) {
	return job_queue(m, "StartUnit", unit);
}

int unit_stop(struct unit_manager *m, const char *unit) {
	return job_queue(m, "StopUnit", unit);
}

int unit_wait(struct unit_manager *m, int64_t deadline_ms) {
	while (m->n_jobs) {
		int r = sd_bus_process(m->bus, NULL);
		if (r == 0) {
			int left = deadline_left(deadline_ms);
			r = left ? sd_bus_wait(m->bus, (uint64_t)left * 1000) : -ETIMEDOUT;
		}
		if (r < 0 && r != -EINTR) {
			snprintf(m->problem, sizeof(m->problem), "%s: %s", m->jobs[0].unit,
				strerror(-r));
			m->n_jobs = 0;
			return r;
		}
	}
	int failed = m->failed;
	m->failed = 0;
	return failed ? UNIT_E_JOB : 0;
}

int unit_stop_all(struct unit_manager *m, const char *const *patterns) {
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *call = NULL, *reply = NULL;
	const char *unit;
	int r = sd_bus_message_new_method_call(
		m->bus, &call, DESTINATION, MANAGER_OBJ, MANAGER, "ListUnitsByPatterns");
	if (r >= 0)
		r = sd_bus_message_append_strv(call, NULL);
	if (r >= 0)
		r = sd_bus_message_append_strv(call, (char **)(uintptr_t)patterns);
	if (r >= 0)
		r = sd_bus_call(m->bus, call, 0, &error, &reply);
	sd_bus_message_unref(call);
	if (r < 0)
		return failure(m, "list of units", r, &error);
	r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
	while (r > 0 && (r = sd_bus_message_enter_container(reply, 'r', "ssssssouso")) > 0) {
		r = sd_bus_message_read(reply, "s", &unit);
		if (r >= 0)
			r = sd_bus_message_skip(reply, "sssssouso");
		if (r >= 0)
			r = sd_bus_message_exit_container(reply);
		if (r >= 0)
			r = unit_stop(m, unit);
		r = r < 0 ? r : 1;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}

int unit_reload(struct unit_manager *m) {
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(
		m->bus, DESTINATION, MANAGER_OBJ, MANAGER, "Reload", &error, NULL, NULL);
	return r < 0 ? failure(m, "daemon-reload", r, &error) : 0;
}

/* ---- states ---- */

static int property_string(struct unit_manager *m, const char *object, const char *interface,
	const char *property, char *buf, size_t size) {
	char *value = NULL;
	int r = sd_bus_get_property_string(
		m->bus, DESTINATION, object, interface, property, NULL, &value);
	if (r >= 0)
		snprintf(buf, size, "%s", value);
	free(value);
	return r;
}

static uint32_t property_u32(
	struct unit_manager *m, const char *object, const char *interface, const char *property) {
	uint32_t value = 0;
	(void)sd_bus_get_property_trivial(
		m->bus, DESTINATION, object, interface, property, NULL, 'u', &value);
	return value;
}

int unit_get_state(struct unit_manager *m, const char *unit, struct unit_state *ret_state) {
	static const char of_unit[] = "org.freedesktop.systemd1.Unit";
	const char *of_kind = strstr(unit, ".socket") ? "org.freedesktop.systemd1.Socket"
						      : "org.freedesktop.systemd1.Service";
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	struct unit_state state = { 0 };
	char load[32] = "";
	const char *object;
	int r = sd_bus_call_method(
		m->bus, DESTINATION, MANAGER_OBJ, MANAGER, "LoadUnit", &error, &reply, "s", unit);
	if (r < 0)
		return failure(m, unit, r, &error);
	r = sd_bus_message_read(reply, "o", &object);
	if (r >= 0)
		r = property_string(
			m, object, of_unit, "ActiveState", state.active, sizeof(state.active));
	if (r >= 0) {
		(void)property_string(m, object, of_unit, "SubState", state.sub, sizeof(state.sub));
		(void)property_string(m, object, of_unit, "LoadState", load, sizeof(load));
		(void)property_string(
			m, object, of_kind, "Result", state.result, sizeof(state.result));
		if (!strstr(unit, ".socket"))
			state.main_pid = (pid_t)property_u32(m, object, of_kind, "MainPID");
		state.n_restarts = property_u32(m, object, of_kind, "NRestarts");
		state.masked = strcmp(load, "masked") == 0;
		*ret_state = state;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? r : 0;
}
