/* SPDX-License-Identifier: MIT */
/* What udev knows of the device that an instance serves: the only user of libudev. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Owned strings, NULL where udev knows nothing. */
struct device {
	char *node;         /* /dev/bus/usb/001/012 */
	char *syspath;      /* /sys/devices/… */
	char *by_path;      /* ID_PATH_TAG */
	char *vendor_id;    /* "08e6" */
	char *product_id;   /* "3437" */
	char *manufacturer; /* USB strings as sysfs has them */
	char *product;
	char *serial;
	char *vendor_name; /* of udev's database, for devices without strings */
	char *model_name;
	char *seat;             /* ID_SEAT */
	char *driver;           /* IFDHANDLER_DRIVER */
	char *quirks;           /* IFDHANDLER_KNOWN and IFDHANDLER_QUIRKS */
	char *name;             /* IFDHANDLER_NAME: an administrator's own name */
	char *grace;            /* IFDHANDLER_GRACE: seconds until an unused card is powered down */
	unsigned configuration; /* bConfigurationValue that is active; 0 = none */
	uint64_t port;          /* bus and ports as a number: sorts as they do; 0 = not known */
	uint64_t plugged_ms;    /* CLOCK_MONOTONIC when it was plugged; 0 = not known */
};

/* The highest port: a byte for the bus, five bits for each of six ports. */
#define DEVICE_MAX_PORT ((UINT64_C(1) << 38) - 1)

/* The node of a USB instance ("001-012" → "/dev/bus/usb/001/012") into `buf`. 0, or -EINVAL where the
 * name is no such instance. */
int device_node(const char *instance, char *buf, size_t size);

/* Fills in what udev and sysfs know of `node`. 0, -ENODEV (no such device), -ENOMEM. */
int device_init(struct device *ret_device, const char *node);
void device_done(struct device *device);

/* Reads the descriptors as sysfs has them into `buf`: the length, or negative errno. */
long device_descriptors(const struct device *device, void *buf, size_t size);

/* The string attribute `attribute` of interface `number` ("interface": its USB string),
 * allocated; NULL where there is none. */
char *device_interface_attribute(
	const struct device *device, unsigned number, const char *attribute);
