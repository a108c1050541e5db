/* SPDX-License-Identifier: MIT */
/* An emulated reader on umockdev: its node, its ioctls, its sysfs. */
#pragma once

#include <limits.h>
#include <umockdev.h>

#include "tests/model/bed.h"

/* Where all this lives: one a program. */
struct umock {
	UMockdevTestbed *testbed;
	struct bed *bed;
	char *root;               /* of the testbed: $UMOCKDEV_DIR */
	unsigned next_address;    /* device number of the next plug */
	const char *first;        /* preloaded before all others in the program, "" for nothing */
	char directory[PATH_MAX]; /* of this executable and its libraries */
};

/* Makes what `device` needs for its whole life (ioctl handler). -ENOMEM. */
int umock_device_new(struct umock *umock, struct bed_device *device);
void umock_device_free(struct bed_device *device);

/* The bed's operations (bed.h). */
int umock_device_plug(struct bed *bed, struct bed_device *device);
void umock_device_unplug(struct bed *bed, struct bed_device *device);
void umock_device_pump(struct bed *bed, struct bed_device *device);
int umock_device_claim(struct bed *bed, struct bed_device *device, int on);
int umock_device_resume(struct bed *bed, struct bed_device *device, int dead);

/* umock-ioctl.c */
struct umock_device;
/* Handles all ioctls of the node from now on. */
void umock_ioctl_connect(struct umock_device *device);
/* Ends all transfers with `status` (negative errno). With the lock held. */
void umock_ioctl_end_all(struct umock_device *device, int status);
void umock_ioctl_pump(struct umock_device *device);
/* Says by the node's POLLOUT whether a transfer can be reaped. With the lock held. */
void umock_ioctl_ready(struct umock_device *device);

/* umock-sysfs.c: adds or removes the sysfs tree of `device` at port number + 1, with uevents.
 * Negative errno. */
int umock_sysfs_add(struct umock *umock, const struct bed_device *device, unsigned address);
void umock_sysfs_remove(struct umock *umock, const struct bed_device *device);

struct umock_urb;
struct umock_device {
	struct umock *umock;
	struct bed_device *device;
	UMockdevIoctlBase *handler;
	unsigned address;
	int master, slave; /* the pty that is the node; -1 while unplugged */
	int ready;         /* POLLOUT is on */
	unsigned life;     /* who opened the node in a former one finds it dead */
	int foreign;       /* another program holds all interfaces */
	UMockdevIoctlClient *owners[MODEL_MAX_INTERFACES];
	struct umock_urb *pending, *done; /* lists in order of submission and completion */
};
