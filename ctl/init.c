/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl init: makes the run directory and brings up every reader that is plugged. Under
 * systemd that is udev's work: it is asked to look at all USB devices again, as if each had
 * changed, so that rules and hwdb rows that are new since they were plugged take effect. Access
 * control lists that were given to the seat's user before a node was the handlers' own are taken
 * off. Without systemd handlers are started here. What is up already stays as it is.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/devices.h"
#include "ctl/peer.h"
#include "ctl/place.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/spawn.h"
#include "ctl/unit.h"
#include "ctl/verb.h"

enum {
	INIT_MS = 15000, /* chosen: udev's coldplug of a bus full of devices */
	LOOK_MS = 1000,  /* chosen: does somebody listen? */
};

/* ---- under systemd ---- */

static int not_here(const char *instance, struct unit_manager *manager) {
	char unit[UNIT_MAX_NAME];
	struct unit_state state = { 0 };
	snprintf(unit, sizeof(unit), "ifdhandler@%s.socket", instance);
	if (manager)
		(void)unit_get_state(manager, unit, &state);
	return print_error(EXIT_TIMEOUT,
		"reader %s does not come up: %s is %s%s%s; systemctl status says more", instance,
		unit, state.active[0] ? state.active : "not known", state.masked ? ", masked" : "",
		state.masked ? " (only for this life of the device)" : "");
}

/* Is it ours by what udev says, and not detached? */
static int is_wanted(const struct place *place, const struct devices_item *item) {
	return item->driver[0] && !item->ignored && !place_is_detached(place, item->instance);
}

/* udev's event starts what the device wants only when the device is new to systemd; a reader that
 * was down for another reason is started here. What fails is seen by its absence. */
static void sockets_start(const struct place *place, const struct devices *devices,
	struct unit_manager *manager, int64_t deadline_ms) {
	char unit[UNIT_MAX_NAME];
	for (size_t i = 0; manager && i < devices->n; i++) {
		const struct devices_item *item = &devices->items[i];
		snprintf(unit, sizeof(unit), "ifdhandler@%s.socket", item->instance);
		if (is_wanted(place, item) && !place_has(place, item->instance))
			(void)unit_start(manager, unit);
	}
	if (manager)
		(void)unit_wait(manager, deadline_ms);
}

/* Waits for all readers that udev has marked. */
static int await_managed(
	const struct place *place, const struct devices *devices, int64_t deadline_ms) {
	struct unit_manager *manager = NULL;
	int code = 0, n_foreign = 0;
	(void)unit_open(&manager);
	sockets_start(place, devices, manager, deadline_ms);
	for (size_t i = 0; i < devices->n; i++) {
		const struct devices_item *item = &devices->items[i];
		n_foreign += item->has_class && !item->driver[0] && !item->ignored;
		if (!is_wanted(place, item))
			continue;
		devices_clear_acl(item);
		if (place_wait_here(place, item->instance, deadline_ms) < 0 &&
			access(item->node, F_OK) == 0)
			code = not_here(item->instance, manager);
	}
	unit_close(manager);
	if (n_foreign)
		code = print_error(EXIT_FAILED,
			"%d readers are plugged, but udev names no driver for them: is 71-ifdhandler.rules installed?",
			n_foreign);
	return code;
}

static int init_managed(const struct place *place, struct devices *devices, int64_t deadline_ms) {
	int r = devices_trigger(devices, NULL, deadline_ms);
	if (r == -ETIMEDOUT)
		return print_error(EXIT_TIMEOUT,
			"udev does not answer; systemctl status systemd-udevd says more");
	if (r < 0)
		return print_error(
			EXIT_FAILED, "USB devices cannot be triggered: %s", strerror(-r));
	return await_managed(place, devices, deadline_ms);
}

/* ---- without ---- */

static int is_served(const struct place *place, const char *instance) {
	struct peer peer;
	int r = place_has(place, instance)
		? peer_open(place->dir, instance, deadline_in(LOOK_MS), &peer)
		: -ENOENT;
	if (r == 0)
		peer_close(&peer);
	/* one that hangs has its socket, too */
	return r == 0 || r == -ETIMEDOUT;
}

/* A note of detach counts for the device that it was made for: another may have its number now. */
static int is_detached(const struct place *place, const struct devices_item *item) {
	struct readers detached;
	const struct readers_device *device;
	if (!place_is_detached(place, item->instance))
		return 0;
	int is_same = 1;
	if (readers_load_detached(place->dir, &detached) < 0)
		return 1;
	if (readers_search(&detached, item->instance, READERS_DEVICE, &device, NULL) == 0 &&
		device->known && device->description.id)
		is_same = strcasecmp(device->description.id, item->id) == 0;
	readers_done(&detached);
	if (!is_same)
		place_clear_detached(place, item->instance);
	return is_same;
}

static int init_by_hand(
	const struct place *place, const struct devices *devices, int64_t deadline_ms) {
	int code = 0;
	for (size_t i = 0; i < devices->n; i++) {
		const struct devices_item *item = &devices->items[i];
		if (!devices_is_reader(item) || is_detached(place, item) ||
			is_served(place, item->instance))
			continue;
		/* who is not root starts what may be opened, and no more */
		if (access(item->node, R_OK | W_OK) < 0)
			continue;
		const struct spawn_request request = {
			.dir = place->dir,
			.instance = item->instance,
			.node = item->node,
			.driver = item->driver[0] ? item->driver : NULL,
			.deadline_ms = deadline_ms,
		};
		int r = spawn_handler(&request);
		code = code ? code : r;
	}
	return code;
}

int init_run(const struct arguments *arguments) {
	int64_t deadline_ms =
		deadline_in(arguments->timeout_ms < 0 ? INIT_MS : arguments->timeout_ms);
	struct devices devices;
	struct place place;
	int code = place_init(&place);
	if (code == 0)
		code = place_may_change(&place, "init");
	if (code == 0)
		code = place_make(&place);
	if (code == 0)
		code = place_set_shut(&place, 0);
	if (code)
		return code;
	int r = devices_load(&devices);
	if (r < 0)
		return print_error(EXIT_FAILED, "USB devices cannot be listed: %s", strerror(-r));
	code = place.managed ? init_managed(&place, &devices, deadline_ms)
			     : init_by_hand(&place, &devices, deadline_ms);
	devices_done(&devices);
	return code;
}
