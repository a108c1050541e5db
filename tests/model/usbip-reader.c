/* SPDX-License-Identifier: MIT */
/*
 * usbip-reader: emulated readers on the kernel's vhci_hcd, for real usbfs, udev and systemd.
 *
 * Each reader is a socket pair: one end is served here, the other is given to the kernel through
 * sysfs. Everything runs on one thread; the kernel enumerates the device while we serve it, so its
 * node is known only some time after plugging. See README for options and commands.
 */
#include "tests/model/usbip.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/model/text.h"

enum {
	/* Ports of one vhci_hcd: the first half of them is USB 2, the rest USB 3
	 * (VHCI_HC_PORTS). */
	PORTS = 15,
};

struct options {
	unsigned base;
	int given_fd; /* serves the first reader instead of vhci_hcd, -1: none */
};

static int usage(void) {
	fprintf(stderr,
		"usage: usbip-reader [-v] [-i] [-s SOCKET] [-b BASE] [-f FD]\n"
		"       {-m MODEL [-c CARD]... [-u]}... [-- PROGRAM...]\n");
	return BED_USAGE;
}

static unsigned port_of(const struct bed *bed, const struct bed_device *device) {
	const struct options *options = bed->front;
	return options->base + device->number;
}

/* Gives the kernel its end of the connection. */
static int attach(const struct bed *bed, const struct bed_device *device, int fd) {
	unsigned port = port_of(bed, device);
	const char *s = device->model->speed;
	/* linux/usb/ch9.h: 1 low, 2 full, 3 high; number of the device: any but 0 */
	int speed = !strcmp(s, "1.5") ? 1 : !strcmp(s, "480") ? 3 : 2;
	char text[64];
	int n = snprintf(text, sizeof text, "%u %d %u %d", port / PORTS * 2 * PORTS + port % PORTS,
		fd, device->number + 1, speed);
	int file = open("/sys/devices/platform/vhci_hcd.0/attach", O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return -errno;
	int r = write(file, text, (size_t)n) < 0 ? -errno : 0;
	close(file);
	return r;
}

static int plug(struct bed *bed, struct bed_device *device) {
	struct options *options = bed->front;
	struct usbip *usbip;
	int pair[2];
	if (!device->number && options->given_fd >= 0) {
		pair[0] = options->given_fd;
		options->given_fd = -1;
		pair[1] = -1;
	} else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		return -errno;
	}
	int r = pair[1] < 0 ? 0 : attach(bed, device, pair[1]);
	if (pair[1] >= 0)
		close(pair[1]);
	if (!r)
		r = usbip_new(device, pair[0], &usbip);
	if (r) {
		close(pair[0]);
		return r;
	}
	device->front = usbip;
	device->fd = pair[0];
	return 0;
}

static void unplug(struct bed *bed, struct bed_device *device) {
	(void)bed;
	usbip_free(device->front);
	device->front = NULL;
	device->fd = -1;
}

static void pump(struct bed *bed, struct bed_device *device) {
	(void)bed;
	usbip_pump(device->front);
}

static void ready(struct bed *bed, struct bed_device *device) {
	pthread_mutex_lock(&bed->lock);
	int r = usbip_receive(device->front);
	pthread_mutex_unlock(&bed->lock);
	if (r)
		bed_unplug(bed, device);
}

static int read_number(const char *directory, const char *name) {
	char path[160], text[16] = "";
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 ? atoi(text) : -1;
}

/* A controller has two buses, and only its USB 2 bus has devices of ours. */
static void find_node(struct bed *bed, struct bed_device *device) {
	unsigned port = port_of(bed, device);
	char path[128];
	strcpy(device->node, "-");
	for (unsigned bus = 1; bus < 64; bus++) {
		snprintf(path, sizeof path, "/sys/devices/platform/vhci_hcd.%u/usb%u/%u-%u",
			port / PORTS, bus, bus, port % PORTS + 1);
		int number = read_number(path, "devnum");
		if (number < 0)
			continue;
		snprintf(device->node, sizeof device->node, "/dev/bus/usb/%03u/%03d", bus, number);
		return;
	}
}

static int parse(struct bed *bed, struct options *options, int argc, char **argv) {
	for (int c; (c = getopt(argc, argv, "+" BED_OPTIONS "b:f:")) != -1;) {
		unsigned n = 0;
		if (c == '?' || c == 'p')
			return -EINVAL;
		if ((c == 'b' || c == 'f') && text_number(optarg, 1023, &n))
			return -EINVAL;
		if (c == 'b')
			options->base = n;
		else if (c == 'f')
			options->given_fd = (int)n;
		else if (bed_option(bed, c, optarg))
			return -EINVAL;
	}
	return bed->n_devices ? 0 : -EINVAL;
}

int main(int argc, char **argv) {
	static const struct bed_ops ops = {
		.plug = plug, .unplug = unplug, .pump = pump, .ready = ready, .node = find_node
	};
	/* large, and needed until the very end */
	static struct bed bed;
	struct options options = { .given_fd = -1 };
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	const char *models = getenv("MODEL_PATH");
	bed_init(&bed, &ops, models ? models : MODEL_DIR);
	bed.front = &options;
	if (parse(&bed, &options, argc, argv))
		return usage();
	int status = bed_start(&bed) ? BED_USAGE : bed_run(&bed, argv + optind);
	bed_free(&bed);
	return status;
}
