/* SPDX-License-Identifier: MIT */
/*
 * The device behind an instance, as udev's database and sysfs describe it. The node is found by its
 * name among the usb_devices: the number of the character device is not asked for, so this works
 * wherever udev's data is, whoever made the node.
 */
#include "ifdhandler/device.h"

#include <errno.h>
#include <libudev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int device_node(const char *instance, char *buf, size_t size) {
	unsigned bus, dev;
	int end = 0;
	/* BUSNUM and DEVNUM as udev and lsusb write them: three digits, more when needed */
	if (sscanf(instance, "%4u-%4u%n", &bus, &dev, &end) != 2 || instance[end] || bus < 1 ||
		dev < 1)
		return -EINVAL;
	int n = snprintf(buf, size, "/dev/bus/usb/%03u/%03u", bus, dev);
	return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}

/* A string of blanks says nothing: devices without a serial number of their own have such. */
static char *copy(const char *s) {
	return s && s[strspn(s, " ")] ? strdup(s) : NULL;
}

static const char *attribute(struct udev_device *dev, const char *name) {
	return udev_device_get_sysattr_value(dev, name);
}

/* The bus (the kernel has 64 at most), then each port on the way: at most five hubs and the root hub lie on
 * it (USB 2.0 4.1.1), and the kernel uses no hub of more than 31 ports. */
static uint64_t port_of(struct udev_device *dev) {
	const char *bus = attribute(dev, "busnum"), *path = attribute(dev, "devpath");
	if (!bus || !path)
		return 0;
	uint64_t port = strtoul(bus, NULL, 10) & 0xFF;
	for (unsigned level = 0; level < 6; level++) {
		char *end;
		port = port << 5 | (strtoul(path, &end, 10) & 0x1F);
		path = *end == '.' ? end + 1 : "";
	}
	return port;
}

/* The kernel tells how long it has been there: milliseconds of its ticks, which stand still in suspend, as
 * CLOCK_MONOTONIC does. It counts to 2^32: what has been there for longer than 49 days seems to have come
 * later than it did, never earlier. */
static uint64_t plugged_of(struct udev_device *dev) {
	const char *text = attribute(dev, "power/connected_duration");
	struct timespec t;
	if (!text)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	uint64_t duration = strtoul(text, NULL, 10);
	return now > duration ? now - duration : 1;
}

/* Our own words for the device, and then an administrator's, who may take some back. */
static char *quirks_of(struct udev_device *dev) {
	const char *known = udev_device_get_property_value(dev, "IFDHANDLER_KNOWN");
	const char *own = udev_device_get_property_value(dev, "IFDHANDLER_QUIRKS");
	char *words;
	if (!known || !own)
		return copy(known ? known : own);
	return asprintf(&words, "%s %s", known, own) < 0 ? NULL : words;
}

static void fill(struct device *d, struct udev_device *dev) {
	const char *configuration = udev_device_get_sysattr_value(dev, "bConfigurationValue");
	*d = (struct device){
		.node = copy(udev_device_get_devnode(dev)),
		.syspath = copy(udev_device_get_syspath(dev)),
		.by_path = copy(udev_device_get_property_value(dev, "ID_PATH_TAG")),
		.vendor_id = copy(udev_device_get_sysattr_value(dev, "idVendor")),
		.product_id = copy(udev_device_get_sysattr_value(dev, "idProduct")),
		.manufacturer = copy(udev_device_get_sysattr_value(dev, "manufacturer")),
		.product = copy(udev_device_get_sysattr_value(dev, "product")),
		.serial = copy(udev_device_get_sysattr_value(dev, "serial")),
		.vendor_name = copy(udev_device_get_property_value(dev, "ID_VENDOR_FROM_DATABASE")),
		.model_name = copy(udev_device_get_property_value(dev, "ID_MODEL_FROM_DATABASE")),
		.seat = copy(udev_device_get_property_value(dev, "ID_SEAT")),
		.driver = copy(udev_device_get_property_value(dev, "IFDHANDLER_DRIVER")),
		.quirks = quirks_of(dev),
		.name = copy(udev_device_get_property_value(dev, "IFDHANDLER_NAME")),
		.grace = copy(udev_device_get_property_value(dev, "IFDHANDLER_GRACE")),
		.configuration = configuration ? (unsigned)strtoul(configuration, NULL, 10) : 0,
		.port = port_of(dev),
		.plugged_ms = plugged_of(dev),
	};
}

static int find(struct udev *udev, const char *node, struct device *ret_device) {
	struct udev_enumerate *all = udev_enumerate_new(udev);
	int r = all ? -ENODEV : -ENOMEM;
	struct udev_list_entry *entry;
	if (!all)
		return r;
	udev_enumerate_add_match_subsystem(all, "usb");
	udev_enumerate_add_match_property(all, "DEVNAME", node);
	udev_enumerate_scan_devices(all);
	udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all)) {
		struct udev_device *dev =
			udev_device_new_from_syspath(udev, udev_list_entry_get_name(entry));
		if (!dev)
			continue;
		fill(ret_device, dev);
		udev_device_unref(dev);
		r = ret_device->node && ret_device->syspath ? 0 : -ENOMEM;
		break;
	}
	udev_enumerate_unref(all);
	return r;
}

int device_init(struct device *ret_device, const char *node) {
	struct device d = { 0 };
	struct udev *udev = udev_new();
	if (!udev)
		return -ENOMEM;
	int r = find(udev, node, &d);
	udev_unref(udev);
	if (r < 0) {
		device_done(&d);
		return r;
	}
	*ret_device = d;
	return 0;
}

void device_done(struct device *d) {
	char **strings[] = { &d->node, &d->syspath, &d->by_path, &d->vendor_id, &d->product_id,
		&d->manufacturer, &d->product, &d->serial, &d->vendor_name, &d->model_name,
		&d->seat, &d->driver, &d->quirks, &d->name, &d->grace };
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(*strings[i]);
	*d = (struct device){ 0 };
}

/* ---- sysfs ---- */

long device_descriptors(const struct device *device, void *buf, size_t size) {
	char path[512];
	if (!device->syspath)
		return -ENODEV;
	int n = snprintf(path, sizeof(path), "%s/descriptors", device->syspath);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	size_t len = fread(buf, 1, size, file);
	int failed = ferror(file);
	fclose(file);
	return failed ? -EIO : (long)len;
}

char *device_interface_attribute(
	const struct device *device, unsigned number, const char *attribute) {
	char path[512], value[256];
	const char *name = strrchr(device->syspath, '/');
	int n = snprintf(path, sizeof(path), "%s%s:%u.%u/%s", device->syspath, name ? name : "/",
		device->configuration, number, attribute);
	if (n < 0 || (size_t)n >= sizeof(path))
		return NULL;
	FILE *file = fopen(path, "re");
	if (!file)
		return NULL;
	char *got = fgets(value, sizeof(value), file);
	fclose(file);
	if (!got)
		return NULL;
	value[strcspn(value, "\n")] = 0;
	return copy(value);
}
