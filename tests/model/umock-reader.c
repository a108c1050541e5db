/* SPDX-License-Identifier: MIT */
/*
 * umock-reader: emulated readers for programs that use libusb and libudev, without kernel USB and
 * without root.
 *
 * Runs itself again under umockdev's preload library where that is missing, makes the bus and the
 * readers, and runs the program with the libraries beside this executable preloaded. See README for
 * options and commands.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/model/umock-device.h"

#define PRELOAD "libumockdev-preload.so.0"

static int usage(void) {
	fprintf(stderr,
		"usage: umock-reader [-v] [-i] [-s SOCKET] [-P LIBRARY]\n"
		"       {-m MODEL [-c CARD]... [-p KEY=VALUE]... [-u]}... [-- PROGRAM...]\n");
	return BED_USAGE;
}

/* The root hub and its controller, as umockdev's text format has them: devices hang from
 * something. */
static const char BUS[] = "P: /devices/pci0000:00/0000:00:14.0\n"
			  "E: SUBSYSTEM=pci\nE: DRIVER=xhci_hcd\nE: PCI_SLOT_NAME=0000:00:14.0\n\n"
			  "P: /devices/pci0000:00/0000:00:14.0/usb1\nN: bus/usb/001/001\n"
			  "E: SUBSYSTEM=usb\nE: DRIVER=usb\nE: DEVTYPE=usb_device\n"
			  "E: BUSNUM=001\nE: DEVNUM=001\nE: DEVNAME=/dev/bus/usb/001/001\n"
			  "E: MAJOR=189\nE: MINOR=0\nE: PRODUCT=1d6b/2/601\nE: TYPE=9/0/1\n"
			  "E: ID_USB_INTERFACES=:090000:\n"
			  "A: dev=189:0\nA: busnum=1\\n\nA: devnum=1\\n\nA: speed=480\\n\n"
			  "A: bConfigurationValue=1\\n\nA: devpath=0\\n\nA: bDeviceClass=09\\n\n"
			  "A: idVendor=1d6b\\n\nA: idProduct=0002\\n\n"
			  "H: descriptors=12010002090001406b1d0200010603020101"
			  "09021900010100e0000904000001090000000705810304000c\n";

static int add_bus(struct umock *umock) {
	GError *error = NULL;
	if (umockdev_testbed_add_from_string(umock->testbed, BUS, &error))
		return 0;
	fprintf(stderr, "umockdev: %s\n", error->message);
	g_error_free(error);
	return -EIO;
}

/* The program's preload: ours before umockdev's, so that ours is asked first. Runs in the
 * program's process. */
static void set_environment(struct bed *bed) {
	const struct umock *umock = bed->front;
	char value[2 * PATH_MAX + 256];
	snprintf(value, sizeof value, "%s%s%s/usbnode.so:%s/fdshift.so:" PRELOAD, umock->first,
		*umock->first ? ":" : "", umock->directory, umock->directory);
	setenv("LD_PRELOAD", value, 1);
	/* for model-ctl */
	const char *path = getenv("PATH");
	snprintf(value, sizeof value, "%.*s:%s", PATH_MAX, path ? path : "/usr/bin:/bin",
		umock->directory);
	setenv("PATH", value, 1);
}

/* Makes the bus and what each reader needs for life. */
static int make(struct bed *bed, struct umock *umock) {
	umock->testbed = umockdev_testbed_new();
	/* remembers its first answer: not to be asked before there is a testbed */
	if (!umockdev_in_mock_environment()) {
		fprintf(stderr, "umock-reader: " PRELOAD " does not work here\n");
		return -ENOSYS;
	}
	umock->root = umockdev_testbed_get_root_dir(umock->testbed);
	umock->bed = bed;
	umock->next_address = 2;
	bed->front = umock;
	int r = add_bus(umock);
	for (unsigned i = 0; !r && i < bed->n_devices; i++)
		r = umock_device_new(umock, &bed->devices[i]);
	return r;
}

static int directory_of_self(char *ret_directory, size_t size) {
	ssize_t n = readlink("/proc/self/exe", ret_directory, size - 1);
	if (n < 0)
		return -errno;
	ret_directory[n] = 0;
	char *slash = strrchr(ret_directory, '/');
	if (slash)
		*slash = 0;
	return 0;
}

/* Starts this program once more with umockdev's library preloaded; does not return where that
 * works. */
static int preload_self(char **argv) {
	const char *now = getenv("LD_PRELOAD");
	char value[PATH_MAX + 64];
	if (now && strstr(now, "libumockdev-preload"))
		return 0;
	snprintf(value, sizeof value, "%s%s" PRELOAD, now ? now : "", now && *now ? ":" : "");
	setenv("LD_PRELOAD", value, 1);
	execv("/proc/self/exe", argv);
	return -errno;
}

int main(int argc, char **argv) {
	static const struct bed_ops ops = { .plug = umock_device_plug,
		.unplug = umock_device_unplug,
		.pump = umock_device_pump,
		.claim = umock_device_claim,
		.resume = umock_device_resume,
		.child = set_environment };
	/* large, and needed until the very end */
	static struct bed bed;
	static struct umock umock = { .first = "" };
	if (preload_self(argv) || directory_of_self(umock.directory, sizeof umock.directory)) {
		perror("umock-reader");
		return BED_USAGE;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	const char *models = getenv("MODEL_PATH");
	bed_init(&bed, &ops, models ? models : MODEL_DIR);
	for (int c; (c = getopt(argc, argv, "+" BED_OPTIONS "P:")) != -1;) {
		if (c == 'P')
			umock.first = optarg;
		else if (c == '?' || bed_option(&bed, c, optarg))
			return usage();
	}
	if (!bed.n_devices)
		return usage();
	int status = BED_USAGE;
	if (!make(&bed, &umock) && !bed_start(&bed))
		status = bed_run(&bed, argv + optind);
	for (unsigned i = 0; i < bed.n_devices; i++)
		bed_unplug(&bed, &bed.devices[i]);
	/* its thread ends: nobody looks at devices after that */
	g_clear_object(&umock.testbed);
	for (unsigned i = 0; i < bed.n_devices; i++)
		umock_device_free(&bed.devices[i]);
	bed_free(&bed);
	g_free(umock.root);
	return status;
}
