/* SPDX-License-Identifier: MIT */
/*
 * A handler is asked by a STOP message, so that its clients hear the reason; systemd's signal alone
 * would tell them "stopped". A handler that is not running is not asked: connecting would start it.
 *
 * Killing needs care with pids. The kernel noted who listens on the socket; as long as our
 * connection stands, that process lives, and a pidfd taken meanwhile is its own. PID 1 and foreign
 * programs that listen there (ssh) are never killed.
 */
#include "ctl/stop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/holders.h"
#include "ctl/peer.h"
#include "ctl/print.h"
#include "ctl/unit.h"
#include "ctl/verb.h"
#include "ifdhandler/registration.h"

enum {
	ANSWER_MS =
		2000, /* chosen, as TimeoutStopSec= of the units: a handler ends in milliseconds */
};

const char *stop_unit_name(
	const struct readers_device *device, const char *kind, char *buf, size_t size) {
	const char *driver = device->known ? device->description.driver : NULL;
	snprintf(buf, size, "ifdhandler%s@%s.%s",
		driver && strcmp(driver, "virtual") == 0 ? "-virtual" : "", device->instance, kind);
	return buf;
}

/* ---- by hand ---- */

/* The log of a handler that we started (spawn.h): of no use when it has ended as it should. */
static void log_remove(const struct place *place, const char *instance) {
	char path[PATH_MAX_NAME + 300];
	snprintf(path, sizeof(path), "%s/.%s.log", place->dir, instance);
	unlink(path);
}

/* What a handler that was killed left. */
static int files_remove(const struct place *place, const char *instance) {
	char path[PATH_MAX_NAME + 300];
	struct log log = { .instance = instance, .to_stderr = 1, .max_priority = LOG_ERR };
	snprintf(path, sizeof(path), "%s/%s.sock", place->dir, instance);
	int r = unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	int removed = registration_remove(place->dir, instance, &log);
	return r < 0 ? r : removed;
}

static int is_connected(int fd) {
	struct pollfd p = { .fd = fd, .events = 0 };
	return poll(&p, 1, 0) == 0;
}

/* Kills the handler at the other end of a connection that stands. 0 or negative errno. */
static int handler_kill(const struct peer *peer) {
	struct holders_process process;
	int pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
	if (pidfd < 0)
		return -errno;
	int r = 0;
	if (peer->pid <= 1 || !is_connected(peer->fd) || holders_look(peer->pid, &process) < 0 ||
		strcmp(process.program, "ifdhandler") != 0)
		r = -EPERM;
	else if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
		r = -errno;
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (r == 0 && poll(&p, 1, ANSWER_MS) <= 0)
		r = -ETIMEDOUT;
	close(pidfd);
	return r;
}

/* Asks the handler to end and waits until it has. As peer_hello. */
static int handler_ask(
	struct peer *peer, enum status reason, int64_t deadline_ms, uint16_t *ret_status) {
	struct message_reply reply;
	int r = peer_hello(peer, deadline_ms, NULL);
	if (r == 0)
		r = peer_stop(peer, (uint16_t)reason, deadline_ms, &reply);
	if (r == 0 && reply.status != STATUS_OK) {
		*ret_status = reply.status;
		return 0;
	}
	/* the last word may come instead of the answer; an end without a word is an end, too */
	if (r == -ECONNRESET || (r == PEER_E_BYE && peer->bye == (uint16_t)reason))
		return 0;
	return r == 0 ? peer_await_end(peer, deadline_ms) : r;
}

static int stop_by_hand(const struct place *place, const struct readers_device *device,
	enum status reason, int64_t deadline_ms) {
	const char *name = readers_name(device);
	uint16_t status = STATUS_OK;
	struct peer peer;
	int64_t answer_ms = deadline_in(ANSWER_MS);
	int r = peer_open(place->dir, device->instance, answer_ms, &peer);
	int is_dead = r == -ECONNREFUSED || r == -ENOENT;
	if (r == 0)
		r = handler_ask(&peer, reason, answer_ms, &status);
	if (r == -ETIMEDOUT && peer.fd >= 0) {
		r = handler_kill(&peer);
		is_dead = r == 0;
		if (r < 0)
			r = -ETIMEDOUT;
	}
	if (is_dead)
		r = files_remove(place, device->instance);
	if (r != 0 || status != STATUS_OK)
		r = peer_error(&peer, name, r, status);
	peer_close(&peer);
	if (r)
		return r;
	if (place_wait_gone(place, device->instance, deadline_ms) < 0)
		return print_error(EXIT_TIMEOUT, "%s: its handler ends, but %s/%s.sock stays", name,
			place->dir, device->instance);
	log_remove(place, device->instance);
	return 0;
}

/* ---- under systemd ---- */

static void handler_tell(const struct place *place, const char *instance, enum status reason) {
	uint16_t status;
	struct peer peer;
	int64_t deadline_ms = deadline_in(ANSWER_MS);
	if (peer_open(place->dir, instance, deadline_ms, &peer) == 0)
		(void)handler_ask(&peer, reason, deadline_ms, &status);
	peer_close(&peer);
}

static int is_up(struct unit_manager *manager, const char *unit) {
	struct unit_state state;
	return unit_get_state(manager, unit, &state) == 0 &&
		strcmp(state.active, "inactive") != 0 && strcmp(state.active, "failed") != 0;
}

static int units_stop(struct unit_manager *manager, const struct place *place,
	const struct readers_device *device, enum status reason, int64_t deadline_ms) {
	char socket[UNIT_MAX_NAME], service[UNIT_MAX_NAME];
	stop_unit_name(device, "socket", socket, sizeof(socket));
	stop_unit_name(device, "service", service, sizeof(service));
	int served = is_up(manager, service);
	if (!served && !is_up(manager, socket))
		return stop_by_hand(place, device, reason, deadline_ms);
	if (served)
		handler_tell(place, device->instance, reason);
	int r = unit_stop(manager, socket);
	if (r == 0)
		r = unit_stop(manager, service);
	if (r == 0)
		r = unit_wait(manager, deadline_ms);
	if (r == 0)
		r = place_wait_gone(place, device->instance, deadline_ms);
	if (r == 0)
		return 0;
	return print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED, "%s: does not stop: %s",
		readers_name(device), unit_problem(manager));
}

int stop_reader(const struct place *place, const struct readers_device *device, enum status reason,
	int64_t deadline_ms) {
	struct unit_manager *manager;
	if (!place->managed)
		return stop_by_hand(place, device, reason, deadline_ms);
	int r = unit_open(&manager);
	if (r < 0)
		return print_error(EXIT_FAILED, "systemd cannot be reached: %s", strerror(-r));
	r = units_stop(manager, place, device, reason, deadline_ms);
	unit_close(manager);
	return r;
}
