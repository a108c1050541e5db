/* SPDX-License-Identifier: MIT */
/* What a reader is: its ids, and the interfaces and slots that become readers for applications. */
#pragma once

#include "ifdhandler/device.h"
#include "ifdhandler/name.h"

enum {
	IDENTITY_MAX_INTERFACES = 16,
	IDENTITY_MAX_IGNORED = 2048, /* chosen: a name and a reason for each interface */
};

/* One interface: its name before number and slot, and how many slots it has. */
struct identity_interface {
	unsigned number;
	unsigned n_slots;
	int ignored; /* not to be listed: filter.c */
	char base[NAME_MAX_BASE + 1];
};

/* Strings are borrowed from the device or the options. */
struct identity {
	const char *device;  /* node, or NULL */
	const char *by_path; /* or NULL */
	char id[16];         /* "08e6:3437" or "" */
	const char *serial;  /* or NULL */
	const char *driver;
	uint64_t port;                      /* device.h; 0 = not known */
	uint64_t plugged_ms;                /* device.h; 0 = not known */
	const char *error;                  /* why it cannot be used, static, or NULL */
	char ignored[IDENTITY_MAX_IGNORED]; /* which interfaces are not listed and why, or "" */
	struct identity_interface interfaces[IDENTITY_MAX_INTERFACES];
	unsigned n_interfaces; /* at least 1 */
};

/* From udev's data and sysfs' copy of the descriptors: the device itself is not touched. Always gives
 * at least one interface; what is wrong with the descriptors is in `error`. */
void identity_usb(struct identity *identity, const struct device *device);

/* A virtual reader called `instance`; `name`: its name instead of the usual one, or NULL. */
void identity_virtual(struct identity *identity, const char *instance, const char *name);
