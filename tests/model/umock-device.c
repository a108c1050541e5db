/* SPDX-License-Identifier: MIT */
/*
 * An emulated reader's life on umockdev: a node, an ioctl handler and a sysfs tree at each
 * plugging.
 *
 * The node that umockdev would make is a regular file, always writable for poll: a client would
 * spin. So the node is made here, a symbolic link to a pty: stopping its output takes POLLOUT away
 * (umock-ioctl.c), closing its master gives POLLERR and POLLHUP, which is unplugging. Node and
 * handler come before the uevent, and go after it.
 */
#include "tests/model/umock-device.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

int umock_device_new(struct umock *umock, struct bed_device *device) {
	struct umock_device *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->umock = umock;
	d->device = device;
	d->master = d->slave = -1;
	d->handler = umockdev_ioctl_base_new();
	umock_ioctl_connect(d);
	device->front = d;
	return 0;
}

void umock_device_free(struct bed_device *device) {
	struct umock_device *d = device->front;
	if (!d)
		return;
	g_object_unref(d->handler);
	free(d);
	device->front = NULL;
}

static int make_node(struct umock_device *d) {
	char path[512], name[64];
	struct termios t;
	snprintf(path, sizeof path, "%s%s", d->umock->root, d->device->node);
	char *directory = g_path_get_dirname(path);
	g_mkdir_with_parents(directory, 0755);
	g_free(directory);
	if (openpty(&d->master, &d->slave, name, NULL, NULL) < 0)
		return -errno;
	/* an end held by another process would keep the device alive */
	fcntl(d->master, F_SETFD, FD_CLOEXEC);
	fcntl(d->slave, F_SETFD, FD_CLOEXEC);
	tcgetattr(d->slave, &t);
	cfmakeraw(&t);
	tcsetattr(d->slave, TCSANOW, &t);
	chmod(name, 0660);
	d->ready = 1;
	umock_ioctl_ready(d);
	unlink(path);
	return symlink(name, path) < 0 ? -errno : 0;
}

static void remove_node(struct umock_device *d) {
	char path[512];
	snprintf(path, sizeof path, "%s%s", d->umock->root, d->device->node);
	unlink(path);
	if (d->slave >= 0)
		close(d->slave);
	if (d->master >= 0)
		close(d->master);
	d->master = d->slave = -1;
}

int umock_device_plug(struct bed *bed, struct bed_device *device) {
	struct umock *umock = bed->front;
	struct umock_device *d = device->front;
	GError *error = NULL;
	/* a bus has 127 addresses (USB 2.0 9.4.6), the root hub has the first */
	if (umock->next_address > 127)
		umock->next_address = 2;
	d->address = umock->next_address++;
	snprintf(device->node, sizeof device->node, "/dev/bus/usb/001/%03u", d->address);
	if (!umockdev_testbed_attach_ioctl(umock->testbed, device->node, d->handler, &error)) {
		fprintf(stderr, "umockdev: %s\n", error->message);
		g_error_free(error);
		return -EIO;
	}
	pthread_mutex_lock(&bed->lock);
	int r = make_node(d);
	pthread_mutex_unlock(&bed->lock);
	return r ? r : umock_sysfs_add(umock, device, d->address);
}

void umock_device_unplug(struct bed *bed, struct bed_device *device) {
	struct umock *umock = bed->front;
	struct umock_device *d = device->front;
	char path[512];
	snprintf(path, sizeof path, "%s%s", umock->root, device->node);
	pthread_mutex_lock(&bed->lock);
	/* usbfs refuses to open what is being unplugged before any transfer ends */
	unlink(path);
	device->plugged = 0;
	umock_ioctl_end_all(d, -ESHUTDOWN);
	memset(d->owners, 0, sizeof d->owners);
	pthread_mutex_unlock(&bed->lock);
	umock_sysfs_remove(umock, device);
	umockdev_testbed_detach_ioctl(umock->testbed, device->node, NULL);
	pthread_mutex_lock(&bed->lock);
	remove_node(d);
	pthread_mutex_unlock(&bed->lock);
}

void umock_device_pump(struct bed *bed, struct bed_device *device) {
	(void)bed;
	umock_ioctl_pump(device->front);
}

int umock_device_claim(struct bed *bed, struct bed_device *device, int on) {
	(void)bed;
	struct umock_device *d = device->front;
	for (int i = 0; on && i < MODEL_MAX_INTERFACES; i++)
		if (d->owners[i])
			return -EBUSY;
	d->foreign = on;
	return 0;
}

int umock_device_resume(struct bed *bed, struct bed_device *device, int dead) {
	(void)bed;
	struct umock_device *d = device->front;
	umock_ioctl_end_all(d, -ESHUTDOWN);
	memset(d->owners, 0, sizeof d->owners);
	if (dead)
		d->life++;
	reader_plugged(device->reader, bed_now());
	return 0;
}
