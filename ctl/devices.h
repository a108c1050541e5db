/* SPDX-License-Identifier: MIT */
/* USB devices as udev and sysfs show them, and asking udev to look at them again: the only user of
 * libudev here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct devices_item {
	char *syspath;
	char node[64];     /* /dev/bus/usb/001/012 */
	char instance[24]; /* 001-012 */
	char id[12];       /* 08e6:3437 */
	char driver[32];   /* IFDHANDLER_DRIVER as udev knows it; "" = none */
	int has_class;     /* an interface of class 0Bh, Smart Card */
	int ignored;       /* IFDHANDLER_IGNORE=1 */
	int pending;       /* triggered, and udev has not answered */
};

/* All of them but hubs. */
struct devices {
	struct devices_item *items;
	size_t n;
};

/* 0 or negative errno. */
int devices_load(struct devices *ret_devices);
void devices_done(struct devices *devices);

/* The device of that instance, or NULL. */
struct devices_item *devices_find(const struct devices *devices, const char *instance);

/* Is it a reader: by class, or because a rule or a row of hwdb names a driver; and not ignored? */
int devices_is_reader(const struct devices_item *item);

/* Is udevd there to answer triggers? */
int devices_udev_runs(void);

/*
 * Sends a "change" event for one device (`only`) or for all (NULL), as udevadm trigger does, and
 * waits until udev has handled each; driver and ignored are then what udev knows now. With
 * deadline_ms 0 nothing is waited for. 0; -ETIMEDOUT; -EACCES; another negative errno.
 */
int devices_trigger(struct devices *devices, const struct devices_item *only, int64_t deadline_ms);

/* Takes an access control list off the device's node: one that was put there for the seat's user
 * before the node was the handlers' own. */
void devices_clear_acl(const struct devices_item *item);

/* Makes udev take devices of `id` for readers with `driver`, until reboot: a rule in
 * /run/udev/rules.d, reloaded. 0 or an exit code after saying why. */
int devices_add_rule(const char *id, const char *driver);

/* The instance of a node (/dev/bus/usb/001/012, 001-012 or 001:012) into `buf`. 0, or -EINVAL for
 * anything else. */
int devices_instance(const char *word, char *buf, size_t size);
