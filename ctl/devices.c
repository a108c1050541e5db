/* SPDX-License-Identifier: MIT */
/*
 * A reader is found by what the kernel read from it (an interface of class 0Bh), so that one which
 * was plugged before our rules were installed is found, too; a token without that class only by
 * what udev has in its database. A trigger is answered by an event from udevd after it has run its
 * rules, set the node's owner and written its database: that, and no time, is what we wait for.
 */
#include "ctl/devices.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/print.h"
#include "ctl/spawn.h"
#include "ctl/verb.h"

enum {
	MAX_DEVICES = 4096, /* 127 on each of 32 buses (USB 2.0 9.4.6): chosen */
	CLASS_HUB = 0x09,   /* USB-IF class codes */
	CLASS_CARD = 0x0B,
};

#define RULES_DIR "/run/udev/rules.d"
/* Sorts before 71-ifdhandler.rules, which looks at what this one sets. */
#define RULES_FILE RULES_DIR "/71-ifdhandler-attached.rules"

/* ---- one device ---- */

static long attribute_hex(const char *path) {
	char text[16] = "";
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	char *got = fgets(text, sizeof(text), file);
	fclose(file);
	return got ? strtol(text, NULL, 16) : -1;
}

/* Looks at the interfaces of the active configuration: SYSPATH/1-1:1.0/bInterfaceClass. */
static int has_card_class(const char *syspath) {
	char path[4096];
	struct dirent *entry;
	int found = 0;
	DIR *d = opendir(syspath);
	while (d && !found && (entry = readdir(d))) {
		int n = snprintf(
			path, sizeof(path), "%s/%s/bInterfaceClass", syspath, entry->d_name);
		found = strchr(entry->d_name, ':') && n > 0 && (size_t)n < sizeof(path) &&
			attribute_hex(path) == CLASS_CARD;
	}
	if (d)
		closedir(d);
	return found;
}

/* What udev knows; `dev` is of its database or of an event. */
static void item_update(struct devices_item *item, struct udev_device *dev) {
	const char *driver = udev_device_get_property_value(dev, "IFDHANDLER_DRIVER");
	const char *ignore = udev_device_get_property_value(dev, "IFDHANDLER_IGNORE");
	snprintf(item->driver, sizeof(item->driver), "%s", driver ? driver : "");
	item->ignored = ignore && strcmp(ignore, "1") == 0;
}

/* 1 when filled in; 0 for a hub or one that is just leaving. */
static int item_fill(struct devices_item *item, struct udev_device *dev) {
	const char *node = udev_device_get_devnode(dev);
	const char *class = udev_device_get_sysattr_value(dev, "bDeviceClass");
	const char *vendor = udev_device_get_sysattr_value(dev, "idVendor");
	const char *product = udev_device_get_sysattr_value(dev, "idProduct");
	if (!node || !class || !vendor || !product || strtol(class, NULL, 16) == CLASS_HUB)
		return 0;
	*item = (struct devices_item){ .syspath = strdup(udev_device_get_syspath(dev)) };
	if (!item->syspath)
		return 0;
	snprintf(item->node, sizeof(item->node), "%s", node);
	snprintf(item->id, sizeof(item->id), "%.4s:%.4s", vendor, product);
	if (devices_instance(item->node, item->instance, sizeof(item->instance)) < 0) {
		free(item->syspath);
		return 0;
	}
	item->has_class = has_card_class(item->syspath);
	item_update(item, dev);
	return 1;
}

/* ---- all ---- */

static int device_add(struct devices *devices, struct udev *udev, const char *syspath) {
	struct udev_device *dev = udev_device_new_from_syspath(udev, syspath);
	if (!dev || devices->n == MAX_DEVICES) {
		udev_device_unref(dev);
		return 0;
	}
	struct devices_item *items = reallocarray(devices->items, devices->n + 1, sizeof(*items));
	if (items) {
		devices->items = items;
		devices->n += (size_t)item_fill(&items[devices->n], dev);
	}
	udev_device_unref(dev);
	return items ? 0 : -ENOMEM;
}

int devices_load(struct devices *ret_devices) {
	struct devices devices = { 0 };
	struct udev *udev = udev_new();
	struct udev_enumerate *all = udev ? udev_enumerate_new(udev) : NULL;
	struct udev_list_entry *entry;
	int r = all ? 0 : -ENOMEM;
	if (r == 0)
		r = udev_enumerate_add_match_subsystem(all, "usb");
	if (r >= 0)
		r = udev_enumerate_add_match_property(all, "DEVTYPE", "usb_device");
	if (r >= 0)
		r = udev_enumerate_scan_devices(all);
	if (r >= 0) {
		r = 0;
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all)) {
			if (r == 0)
				r = device_add(&devices, udev, udev_list_entry_get_name(entry));
		}
	}
	udev_enumerate_unref(all);
	udev_unref(udev);
	if (r < 0)
		devices_done(&devices);
	else
		*ret_devices = devices;
	return r;
}

void devices_done(struct devices *devices) {
	for (size_t i = 0; i < devices->n; i++)
		free(devices->items[i].syspath);
	free(devices->items);
	*devices = (struct devices){ 0 };
}

struct devices_item *devices_find(const struct devices *devices, const char *instance) {
	for (size_t i = 0; i < devices->n; i++)
		if (strcmp(devices->items[i].instance, instance) == 0)
			return &devices->items[i];
	return NULL;
}

int devices_is_reader(const struct devices_item *item) {
	return !item->ignored && (item->has_class || item->driver[0]);
}

int devices_instance(const char *word, char *buf, size_t size) {
	static const char nodes[] = "/dev/bus/usb/";
	size_t i = 0;
	if (strncmp(word, nodes, sizeof(nodes) - 1) == 0)
		word += sizeof(nodes) - 1;
	/* three digits each, as udev and lsusb write them: "1-1" is a port, not a device */
	for (; isdigit((unsigned char)word[i]) && i < 4; i++)
		;
	if (i < 3 || (word[i] != '-' && word[i] != ':' && word[i] != '/'))
		return -EINVAL;
	size_t second = i + 1, k = second;
	for (; isdigit((unsigned char)word[k]) && k - second < 4; k++)
		;
	if (k - second < 3 || word[k])
		return -EINVAL;
	int n = snprintf(buf, size, "%.*s-%s", (int)i, word, word + second);
	return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}

/* ---- triggers ---- */

int devices_udev_runs(void) {
	return access("/run/udev/control", F_OK) == 0;
}

static int uevent_write(const struct devices_item *item) {
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/uevent", item->syspath);
	int fd = n > 0 && (size_t)n < sizeof(path) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return -errno;
	ssize_t written = write(fd, "change", 6);
	int r = written < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* One event from udevd: the device it is about needs no more waiting. */
static void event_take(struct devices *devices, struct udev_monitor *monitor) {
	struct udev_device *dev = udev_monitor_receive_device(monitor);
	const char *syspath = dev ? udev_device_get_syspath(dev) : NULL;
	for (size_t i = 0; syspath && i < devices->n; i++) {
		struct devices_item *item = &devices->items[i];
		if (strcmp(item->syspath, syspath) != 0)
			continue;
		item->pending = 0;
		item_update(item, dev);
	}
	udev_device_unref(dev);
}

static size_t count_pending(const struct devices *devices) {
	size_t n = 0;
	for (size_t i = 0; i < devices->n; i++)
		n += (size_t)devices->items[i].pending;
	return n;
}

static int events_wait(struct devices *devices, struct udev_monitor *monitor, int64_t deadline_ms) {
	while (count_pending(devices)) {
		struct pollfd p = { .fd = udev_monitor_get_fd(monitor), .events = POLLIN };
		int n = poll(&p, 1, deadline_left(deadline_ms));
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			event_take(devices, monitor);
	}
	return 0;
}

static int all_trigger(struct devices *devices, const struct devices_item *only) {
	int first = 0;
	for (size_t i = 0; i < devices->n; i++) {
		struct devices_item *item = &devices->items[i];
		if (only && item != only)
			continue;
		int r = uevent_write(item);
		item->pending = r == 0;
		/* one that was unplugged meanwhile is nobody's fault */
		if (r < 0 && r != -ENOENT && r != -ENODEV && !first)
			first = r;
	}
	return first;
}

static struct udev_monitor *monitor_new(struct udev *udev) {
	struct udev_monitor *monitor = udev ? udev_monitor_new_from_netlink(udev, "udev") : NULL;
	if (monitor &&
		udev_monitor_filter_add_match_subsystem_devtype(monitor, "usb", "usb_device") >=
			0 &&
		udev_monitor_enable_receiving(monitor) >= 0)
		return monitor;
	udev_monitor_unref(monitor);
	return NULL;
}

int devices_trigger(struct devices *devices, const struct devices_item *only, int64_t deadline_ms) {
	if (!deadline_ms)
		return all_trigger(devices, only);
	struct udev *udev = udev_new();
	struct udev_monitor *monitor = monitor_new(udev);
	int r = monitor ? all_trigger(devices, only) : -ENOMEM;
	if (r == 0)
		r = events_wait(devices, monitor, deadline_ms);
	udev_monitor_unref(monitor);
	udev_unref(udev);
	return r;
}

void devices_clear_acl(const struct devices_item *item) {
	/* acl(5): the list lives in this attribute; without it the mode alone counts */
	(void)removexattr(item->node, "system.posix_acl_access");
}

/* ---- rules of attach ---- */

/* The rule file as it is, or nothing. Allocated; NULL without memory. */
static char *rules_read(size_t room) {
	enum { MAX_RULES = 65536 }; /* chosen: hundreds of ids */
	char *text = calloc(1, MAX_RULES + room);
	FILE *file = text ? fopen(RULES_FILE, "re") : NULL;
	if (file) {
		text[fread(text, 1, MAX_RULES - 1, file)] = 0;
		fclose(file);
	}
	return text;
}

static int rules_write(const char *text) {
	static const char temp[] = RULES_DIR "/.71-ifdhandler-attached.new";
	if ((mkdir("/run/udev", 0755) < 0 && errno != EEXIST) ||
		(mkdir(RULES_DIR, 0755) < 0 && errno != EEXIST))
		return -errno;
	unlink(temp);
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	int r = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
	close(fd);
	if (r == 0 && rename(temp, RULES_FILE) < 0)
		r = -errno;
	if (r < 0)
		unlink(temp);
	return r;
}

int devices_add_rule(const char *id, const char *driver) {
	static const char *const reload[] = { "udevadm", "control", "--reload", NULL };
	static const char match[] =
		"ACTION!=\"remove\", SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", "
		"ATTR{idVendor}==\"%.4s\", ATTR{idProduct}==\"%.4s\"";
	char where[sizeof(match)], rule[640];
	snprintf(where, sizeof(where), match, id, id + 5);
	/* who says that it is a reader means its interfaces of vendor class, too */
	snprintf(rule, sizeof(rule),
		"%s, ENV{IFDHANDLER_DRIVER}=\"%s\"\n"
		"%s, ENV{IFDHANDLER_QUIRKS}==\"\", ENV{IFDHANDLER_QUIRKS}=\"vendor-class\"\n",
		where, driver, where);
	char *text = rules_read(sizeof(rule));
	int r = text ? 0 : -ENOMEM;
	if (r == 0) {
		/* the last one counts: an older driver for this id may stand behind it */
		char *old = strstr(text, rule);
		if (old)
			memmove(old, old + strlen(rule), strlen(old + strlen(rule)) + 1);
		strcat(text, rule);
		r = rules_write(text);
	}
	free(text);
	if (r < 0)
		return print_error(EXIT_FAILED, RULES_FILE ": %s", strerror(-r));
	r = spawn_command(reload);
	return r < 0 ? print_error(EXIT_FAILED, "udevadm control --reload: %s", strerror(-r)) : 0;
}
