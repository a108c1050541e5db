/* SPDX-License-Identifier: MIT */
/*
 * sysfs and udev's database for an emulated reader: what the kernel and udevd would show of it.
 *
 * Paths are those of a PC's first xHCI controller; reader N is on port N + 1 of its root hub.
 * Properties are what udevd's builtins usb_id and path_id make of such a device. The uevent goes
 * out while the device is being added, so everything else of the device must be there before;
 * umockdev 0.17 neither removes children nor announces a removal.
 */
#include <ctype.h>
#include <errno.h>

#include "tests/model/umock-device.h"

#define CONTROLLER "/devices/pci0000:00/0000:00:14.0"

static int add(struct umock *umock, const char *text) {
	GError *error = NULL;
	if (umockdev_testbed_add_from_string(umock->testbed, text, &error))
		return 0;
	fprintf(stderr, "umockdev: %s\n", error->message);
	g_error_free(error);
	return -EINVAL;
}

/* As udev writes names: blanks to underscores, other odd characters too. */
static char *plain_name(const char *text) {
	char *name = g_strdup(text);
	for (char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("#+-.:=@_", *c))
			*c = '_';
	return name;
}

static const char *string_of(const struct model *model, uint8_t index) {
	return index ? model->strings[index] : "";
}

/* The same with nothing lost: what is not plain becomes \xNN. */
static char *encoded_name(const char *text) {
	GString *name = g_string_new(NULL);
	for (const char *c = text; *c; c++)
		if (isalnum((unsigned char)*c) || strchr("#+-.:=@_", *c))
			g_string_append_c(name, *c);
		else
			g_string_append_printf(name, "\\x%02x", (unsigned char)*c);
	return g_string_free(name, FALSE);
}

static void add_names(GString *s, const struct model *model) {
	/* udev 249 and later give both */
	static const char *const prefixes[] = { "ID", "ID_USB" };
	char vid[8], pid[8];
	snprintf(vid, sizeof vid, "%04x", model->vid);
	snprintf(pid, sizeof pid, "%04x", model->pid);
	const char *maker = model->manufacturer ? string_of(model, model->manufacturer) : vid;
	const char *what = model->product ? string_of(model, model->product) : pid;
	g_autofree char *vendor = plain_name(maker), *vendor_enc = encoded_name(maker);
	g_autofree char *product = plain_name(what), *product_enc = encoded_name(what);
	g_autofree char *serial = plain_name(string_of(model, model->serial));
	g_string_append(s, "E: ID_BUS=usb\n");
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		const char *p = prefixes[i];
		g_string_append_printf(s,
			"E: %s_VENDOR=%s\nE: %s_VENDOR_ENC=%s\nE: %s_VENDOR_ID=%s\n"
			"E: %s_MODEL=%s\nE: %s_MODEL_ENC=%s\nE: %s_MODEL_ID=%s\n"
			"E: %s_REVISION=%04x\nE: %s_SERIAL=%s_%s%s%s\n",
			p, vendor, p, vendor_enc, p, vid, p, product, p, product_enc, p, pid, p,
			model->bcd, p, vendor, product, *serial ? "_" : "", serial);
		if (*serial)
			g_string_append_printf(s, "E: %s_SERIAL_SHORT=%s\n", p, serial);
	}
}

/* ID_USB_INTERFACES is a set: an interface of the same kind counts once. */
static void add_interfaces(GString *s, const struct model *model) {
	GString *all = g_string_new(":");
	for (size_t i = 0; i < model->n_interfaces; i++) {
		const struct model_class *c = &model->interfaces[i].class;
		char one[9];
		snprintf(one, sizeof one, "%02x%02x%02x:", c->class, c->subclass, c->protocol);
		if (!strstr(all->str, one))
			g_string_append(all, one);
	}
	g_string_append_printf(s, "E: ID_USB_INTERFACES=%s\n", all->str);
	g_string_free(all, TRUE);
}

static void add_properties(GString *s, const struct bed_device *device, unsigned port) {
	const struct model *model = device->model;
	int reader = 0;
	for (size_t i = 0; i < model->n_interfaces; i++)
		reader |= model->interfaces[i].class.class == 0x0b;
	add_names(s, model);
	add_interfaces(s, model);
	g_string_append_printf(s,
		"E: ID_PATH=pci-0000:00:14.0-usb-0:%u\nE: ID_PATH_TAG=pci-0000_00_14_0-usb-0_%u\n"
		"E: ID_FOR_SEAT=usb-pci-0000_00_14_0-usb-0_%u\n",
		port, port, port);
	if (reader)
		g_string_append(s, "E: ID_SMARTCARD_READER=1\n");
	for (unsigned i = 0; i < device->n_properties; i++)
		g_string_append_printf(s, "E: %s\n", device->properties[i]);
}

static void add_attributes(
	GString *s, const struct bed_device *device, unsigned port, unsigned address) {
	const struct model *m = device->model;
	g_string_append_printf(s,
		"A: dev=189:%u\nA: busnum=1\\n\nA: devnum=%u\\n\nA: devpath=%u\\n\nA: speed=%s\\n\n"
		"A: bConfigurationValue=1\\n\nA: bNumConfigurations=1\\n\n"
		"A: bNumInterfaces=%2zu\\n\n"
		"A: idVendor=%04x\\n\nA: idProduct=%04x\\n\nA: bcdDevice=%04x\\n\n"
		"A: version=%2x.%02x\\n\n"
		"A: bDeviceClass=%02x\\n\nA: bDeviceSubClass=%02x\\n\nA: bDeviceProtocol=%02x\\n\n"
		"A: bMaxPacketSize0=%u\\n\nA: power/persist=1\\n\nA: power/control=on\\n\n"
		"A: removable=removable\\n\nA: authorized=1\\n\n",
		address - 1, address, port, m->speed, m->n_interfaces, m->vid, m->pid, m->bcd,
		m->usb >> 8, m->usb & 0xff, m->class.class, m->class.subclass, m->class.protocol,
		m->packet0);
	const struct {
		const char *name;
		uint8_t index;
	} strings[] = { { "manufacturer", m->manufacturer }, { "product", m->product },
		{ "serial", m->serial } };
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
		if (strings[i].index)
			g_string_append_printf(
				s, "A: %s=%s\\n\n", strings[i].name, m->strings[strings[i].index]);
	g_string_append(s, "H: descriptors=");
	for (size_t i = 0; i < m->descriptors_len; i++)
		g_string_append_printf(s, "%02x", m->descriptors[i]);
	g_string_append(s, "\n");
}

static int add_interface(struct umock *umock, const struct model *model,
	const struct model_interface *itf, unsigned port) {
	const struct model_class *c = &itf->class;
	GString *s = g_string_new(NULL);
	g_string_append_printf(s,
		"P: " CONTROLLER
		"/usb1/1-%u/1-%u:1.%u\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\n"
		"E: PRODUCT=%x/%x/%x\nE: TYPE=%u/%u/%u\nE: INTERFACE=%u/%u/%u\n"
		"A: bInterfaceNumber=%02x\\n\nA: bAlternateSetting= 0\\n\n"
		"A: bNumEndpoints=%02zx\\n\n"
		"A: bInterfaceClass=%02x\\n\nA: bInterfaceSubClass=%02x\\n\n"
		"A: bInterfaceProtocol=%02x\\n\n",
		port, port, itf->number, model->vid, model->pid, model->bcd, model->class.class,
		model->class.subclass, model->class.protocol, c->class, c->subclass, c->protocol,
		itf->number, itf->n_endpoints, c->class, c->subclass, c->protocol);
	if (itf->name)
		g_string_append_printf(s, "A: interface=%s\\n\n", model->strings[itf->name]);
	int r = add(umock, s->str);
	g_string_free(s, TRUE);
	return r;
}

int umock_sysfs_add(struct umock *umock, const struct bed_device *device, unsigned address) {
	const struct model *model = device->model;
	unsigned port = device->number + 1;
	GString *s = g_string_new(NULL);
	g_string_append_printf(s,
		"P: " CONTROLLER
		"/usb1/1-%u\nE: SUBSYSTEM=usb\nE: DRIVER=usb\nE: DEVTYPE=usb_device\n"
		"E: BUSNUM=001\nE: DEVNUM=%03u\nE: DEVNAME=/dev/bus/usb/001/%03u\nE: MAJOR=189\n"
		"E: MINOR=%u\nE: PRODUCT=%x/%x/%x\nE: TYPE=%u/%u/%u\nE: USEC_INITIALIZED=%llu\n",
		port, address, address, address - 1, model->vid, model->pid, model->bcd,
		model->class.class, model->class.subclass, model->class.protocol,
		(unsigned long long)bed_now());
	add_properties(s, device, port);
	add_attributes(s, device, port, address);
	int r = add(umock, s->str);
	g_string_free(s, TRUE);
	for (size_t i = 0; !r && i < model->n_interfaces; i++)
		r = add_interface(umock, model, &model->interfaces[i], port);
	return r;
}

void umock_sysfs_remove(struct umock *umock, const struct bed_device *device) {
	unsigned port = device->number + 1;
	char path[128];
	for (size_t i = 0; i < device->model->n_interfaces; i++) {
		snprintf(path, sizeof path, "/sys" CONTROLLER "/usb1/1-%u/1-%u:1.%u", port, port,
			device->model->interfaces[i].number);
		umockdev_testbed_uevent(umock->testbed, path, "remove");
		umockdev_testbed_remove_device(umock->testbed, path);
	}
	snprintf(path, sizeof path, "/sys" CONTROLLER "/usb1/1-%u", port);
	umockdev_testbed_uevent(umock->testbed, path, "remove");
	umockdev_testbed_remove_device(umock->testbed, path);
}
