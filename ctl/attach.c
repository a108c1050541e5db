/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl attach: brings a reader up that was detached, makes a reader of a USB device that no
 * rule knows, or makes a virtual one. Three forms:
 *
 *	attach READER			name, instance, node
 *	attach virtual NAME [--card CARD]
 *	attach ID|DRIVER usb NODE	ID is usb:VVVV/PPPP[/RRRR]: for older scripts
 *
 * Called by a udev rule (RUN) it must not wait for what follows from the same event: the job is
 * queued and that is all.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/attach_virtual.h"
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
	ATTACH_MS = 10000, /* chosen: udev's answer, the job, a handler's start */
	MAX_ID_PARTS = 5,  /* as ids of the older kind have at most */
};

/* One attach of a USB device. */
struct attach {
	struct place place;
	const char *word; /* as it was given, for errors */
	const char *instance;
	const char *driver; /* asked for, or NULL */
	const char *id;     /* the device must have this id; NULL: any */
	int in_event;       /* nothing is waited for */
	int64_t deadline_ms;
};

/* udevd sets these for the programs of its rules (udev(7), RUN). */
static int is_in_event(void) {
	return getenv("ACTION") && getenv("DEVPATH") && getenv("SEQNUM");
}

/* ---- under systemd ---- */

static int manager_error(struct unit_manager *manager, const char *instance, int r) {
	return print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED,
		"%s does not come up: %s; systemctl status ifdhandler@%s.socket says more",
		instance, unit_problem(manager), instance);
}

/* The unit that holds the note is bound to it: stopping it takes the note away. */
static int release(struct unit_manager *manager, const struct attach *a) {
	char unit[UNIT_MAX_NAME];
	snprintf(unit, sizeof(unit), "ifdhandler-detached@%s.service", a->instance);
	int r = unit_stop(manager, unit);
	if (r == 0 && !a->in_event)
		r = unit_wait(manager, a->deadline_ms);
	place_clear_detached(&a->place, a->instance);
	return r;
}

/* Makes udev mark the device as ours, if it does not. 0 or an exit code. */
static int mark(const struct attach *a, struct devices *devices, struct devices_item *item) {
	const char *driver = a->driver ? a->driver : "ccid";
	int r = 0;
	int is_new = !item->driver[0] && !item->has_class;
	if (is_new || (a->driver && item->driver[0] && strcmp(item->driver, a->driver) != 0))
		r = devices_add_rule(item->id, driver);
	if (r)
		return r;
	r = devices_trigger(devices, item, a->in_event ? 0 : a->deadline_ms);
	if (r == -ETIMEDOUT)
		return print_error(EXIT_TIMEOUT,
			"udev does not answer; systemctl status systemd-udevd says more");
	if (r < 0)
		return print_error(
			EXIT_FAILED, "%s cannot be triggered: %s", item->node, strerror(-r));
	if (!a->in_event && !item->driver[0])
		return print_error(EXIT_FAILED,
			"udev names no driver for %s (%s): is 71-ifdhandler.rules installed?",
			item->node, item->id);
	if (!a->in_event)
		devices_clear_acl(item);
	return 0;
}

static int start(struct unit_manager *manager, const struct attach *a) {
	char unit[UNIT_MAX_NAME];
	/* the socket alone: a handler that fails to start is a reader in trouble, but a reader */
	snprintf(unit, sizeof(unit), "ifdhandler@%s.socket", a->instance);
	int r = unit_start(manager, unit);
	if (r == 0 && !a->in_event)
		r = unit_wait(manager, a->deadline_ms);
	if (r == 0 && !a->in_event)
		r = place_wait_here(&a->place, a->instance, a->deadline_ms);
	return r == 0 ? 0 : manager_error(manager, a->instance, r);
}

static int attach_managed(
	const struct attach *a, struct devices *devices, struct devices_item *item) {
	struct unit_manager *manager;
	int r = unit_open(&manager);
	if (r < 0)
		return print_error(EXIT_FAILED, "systemd cannot be reached: %s", strerror(-r));
	r = release(manager, a);
	if (r != 0)
		r = manager_error(manager, a->instance, r);
	/* a device that udev knows already needs no second event from within its first */
	if (r == 0 && !(a->in_event && item->driver[0]))
		r = mark(a, devices, item);
	if (r == 0)
		r = start(manager, a);
	unit_close(manager);
	return r;
}

/* ---- without ---- */

static int attach_by_hand(const struct attach *a, const struct devices_item *item) {
	const struct spawn_request request = {
		.dir = a->place.dir,
		.instance = a->instance,
		.node = item->node,
		.driver = a->driver       ? a->driver
			: item->driver[0] ? item->driver
					  : NULL,
		/* who says that it is a reader means its interfaces of vendor class, too */
		.quirks = devices_is_reader(item) ? NULL : "vendor-class",
		.no_wait = a->in_event,
		.deadline_ms = a->deadline_ms,
	};
	place_clear_detached(&a->place, a->instance);
	return attach_is_served(&a->place, a->instance) ? 0 : spawn_handler(&request);
}

/* ---- one device ---- */

/* What speaks against it. 0 or an exit code. */
static int device_check(const struct attach *a, const struct devices_item *item) {
	if (!item)
		return print_error(EXIT_NO_READER,
			"there is no USB device %s that could be a reader; lsusb shows what is plugged",
			a->word);
	if (item->ignored)
		return print_error(EXIT_FAILED,
			"%s (%s) has the property IFDHANDLER_IGNORE=1: take away the rule that sets it; "
			"udevadm test %s shows which",
			item->node, item->id, item->syspath);
	if (a->id && strcasecmp(a->id, item->id) != 0)
		return print_error(EXIT_NO_READER, "%s is %s, not %s", item->node, item->id, a->id);
	return 0;
}

static int device_attach(struct attach *a) {
	struct devices devices;
	int code = place_init(&a->place);
	if (code == 0)
		code = place_may_change(&a->place, "attach");
	if (code == 0 && place_is_shut(&a->place))
		code = print_error(
			EXIT_TROUBLE, "readers are shut down; reader-ctl init brings them back");
	if (code == 0)
		code = place_make(&a->place);
	if (code)
		return code;
	int r = devices_load(&devices);
	if (r < 0)
		return print_error(EXIT_FAILED, "USB devices cannot be listed: %s", strerror(-r));
	struct devices_item *item = devices_find(&devices, a->instance);
	code = device_check(a, item);
	if (code == 0)
		code = a->place.managed ? attach_managed(a, &devices, item)
					: attach_by_hand(a, item);
	devices_done(&devices);
	return code;
}

/* ---- the words ---- */

/* "tty" or "/dev/tty…": a kind of reader that has no driver. */
static int is_tty(const char *word) {
	if (strncmp(word, "/dev/", 5) == 0)
		word += 5;
	return strncmp(word, "tty", 3) == 0 || strncmp(word, "serial/", 7) == 0;
}

/* The USB device that has this id, if it is the only one. */
static int instance_by_id(const char *word, char *instance, size_t size) {
	struct devices devices;
	int n_found = 0;
	if (devices_load(&devices) < 0)
		return 0;
	for (size_t i = 0; i < devices.n; i++)
		if (strcasecmp(devices.items[i].id, word) == 0) {
			snprintf(instance, size, "%s", devices.items[i].instance);
			n_found++;
		}
	devices_done(&devices);
	return n_found == 1;
}

/* A word for a reader that is here, or that was noted when it was detached. 0 or an exit code. */
static int instance_by_name(
	const struct place *place, const char *word, char *instance, size_t size) {
	const struct readers_device *device;
	struct readers readers;
	int r = readers_load_detached(place->dir, &readers);
	if (r == 0) {
		r = readers_search(&readers, word, READERS_DEVICE, &device, NULL);
		if (r == 0)
			snprintf(instance, size, "%s", device->instance);
		readers_done(&readers);
	}
	if (r == 0)
		return 0;
	if (r == READERS_E_SEVERAL)
		return print_error(EXIT_NO_READER,
			"several detached readers are called like \"%s\"; give the instance", word);
	if (readers_load(READERS_LOOK_ONLY, &readers) < 0)
		return EXIT_FAILED;
	r = readers_search(&readers, word, READERS_DEVICE, &device, NULL);
	if (r == 0)
		print_error(0, "%s is attached already", readers_name(device));
	readers_done(&readers);
	/* the empty instance: there is nothing to do */
	instance[0] = 0;
	return r == 0
		? 0
		: print_error(EXIT_NO_READER,
			  "no reader matches \"%s\"; give a detached reader (reader-ctl status "
			  "shows them), or a USB device as 001-012, /dev/bus/usb/001/012 or VVVV:PPPP",
			  word);
}

static int attach_word(const struct arguments *arguments) {
	const char *word = arguments->words[0];
	char instance[PATH_MAX_NAME];
	struct attach a = {
		.word = word,
		.instance = instance,
		.driver = arguments->driver,
		.in_event = is_in_event(),
		.deadline_ms =
			deadline_in(arguments->timeout_ms < 0 ? ATTACH_MS : arguments->timeout_ms),
	};
	if (devices_instance(word, instance, sizeof(instance)) == 0 ||
		instance_by_id(word, instance, sizeof(instance)))
		return device_attach(&a);
	if (is_tty(word))
		return print_error(EXIT_FAILED,
			"%s: readers at serial lines are not supported yet; USB readers come by themselves",
			word);
	int r = place_init(&a.place);
	if (r == 0)
		r = instance_by_name(&a.place, word, instance, sizeof(instance));
	return r || !instance[0] ? r : device_attach(&a);
}

/* "usb:529/514/100" into "0529:0514". 0 or -EINVAL. */
static int id_parse(const char *word, char id[static 10]) {
	unsigned parts[MAX_ID_PARTS] = { 0 };
	int n = 0;
	const char *s = strchr(word, ':') + 1;
	for (;; s++) {
		char *end;
		if (!isxdigit((unsigned char)*s) || n == MAX_ID_PARTS)
			return -EINVAL;
		unsigned long value = strtoul(s, &end, 16);
		if (end - s > 4)
			return -EINVAL;
		parts[n++] = (unsigned)value;
		s = end;
		if (!*s)
			break;
		if (*s != '/')
			return -EINVAL;
	}
	if (n < 2)
		return -EINVAL;
	snprintf(id, 10, "%04x:%04x", parts[0] & 0xFFFF, parts[1] & 0xFFFF);
	return 0;
}

static int attach_old_form(const struct arguments *arguments) {
	char **words = arguments->words;
	char instance[24], id[10];
	struct attach a = {
		.word = words[2],
		.instance = instance,
		.in_event = is_in_event(),
		.deadline_ms =
			deadline_in(arguments->timeout_ms < 0 ? ATTACH_MS : arguments->timeout_ms),
	};
	if (strcmp(words[1], "usb") != 0)
		return print_error(
			EXIT_FAILED, "%s: only devices of type usb are supported", words[1]);
	if (strncmp(words[0], "usb:", 4) == 0) {
		if (id_parse(words[0], id) < 0)
			return print_error(EXIT_USAGE,
				"%s: an id is usb:VVVV/PPPP or usb:VVVV/PPPP/RRRR, hexadecimal",
				words[0]);
		a.id = id;
	} else {
		a.driver = words[0];
	}
	if (a.driver && !attach_is_driver(a.driver))
		return print_error(
			EXIT_USAGE, "%s: there is no such driver; ccid is one", a.driver);
	if (devices_instance(words[2], instance, sizeof(instance)) < 0)
		return print_error(EXIT_USAGE, "%s: a node is /dev/bus/usb/BUS/DEVICE", words[2]);
	return device_attach(&a);
}

int attach_run(const struct arguments *arguments) {
	char **words = arguments->words;
	if (arguments->driver && !attach_is_driver(arguments->driver))
		return print_error(EXIT_USAGE, "--driver %s: there is no such driver; ccid is one",
			arguments->driver);
	if (strcmp(words[0], "virtual") == 0)
		return attach_virtual(arguments);
	if (arguments->card)
		return print_error(EXIT_USAGE, "--card is for attach virtual NAME");
	if (arguments->n_words == 3)
		return attach_old_form(arguments);
	if (arguments->n_words == 1)
		return attach_word(arguments);
	return print_error(EXIT_USAGE, "attach READER, attach virtual NAME, or attach ID usb NODE");
}
