/* SPDX-License-Identifier: MIT */
/*
 * Devices in sysfs are named by their ports; the files busnum and devnum in them tell which node is
 * theirs. Only looked at when a program asks.
 */
#include "ifdhandler/usb/usb_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char devices[] = "/sys/bus/usb/devices";

int usb_path_numbers(const char *node, unsigned *ret_bus, unsigned *ret_address) {
	static const char prefix[] = "/dev/bus/usb/";
	unsigned bus, address;
	char end;
	if (strncmp(node, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	if (sscanf(node + sizeof(prefix) - 1, "%3u/%3u%c", &bus, &address, &end) != 2)
		return 0;
	*ret_bus = bus;
	*ret_address = address;
	return 1;
}

/* The number in a small file, or -1. */
static long read_number(const char *device, const char *name) {
	char path[300], text[16] = "";
	(void)snprintf(path, sizeof(path), "%s/%.200s/%s", devices, device, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	return n > 0 ? strtol(text, NULL, 10) : -1;
}

static int is_it(const char *device, unsigned bus, unsigned address) {
	/* Not the interfaces (1-2:1.0) and root hubs (usb1). */
	if (device[0] < '0' || device[0] > '9' || strchr(device, ':'))
		return 0;
	return read_number(device, "busnum") == (long)bus &&
		read_number(device, "devnum") == (long)address;
}

int usb_path_describe(
	const char *node, unsigned configuration, unsigned interface, char *buf, size_t size) {
	unsigned bus, address;
	if (!usb_path_numbers(node, &bus, &address))
		return -ENOENT;
	DIR *dir = opendir(devices);
	if (!dir)
		return -ENOENT;
	int r = -ENOENT;
	for (struct dirent *e; r == -ENOENT && (e = readdir(dir));) {
		if (!is_it(e->d_name, bus, address))
			continue;
		r = snprintf(buf, size, "%s:%u.%u", e->d_name, configuration, interface);
		if (r < 0 || (size_t)r >= size)
			r = -ENOSPC;
	}
	(void)closedir(dir);
	return r;
}
