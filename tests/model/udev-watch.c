/* SPDX-License-Identifier: MIT */
/* udev-watch N: prints the next N uevents of USB devices as libudev gives them; exits 1 if none
 * comes for five seconds. */
#include <libudev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	int n = argc > 1 ? atoi(argv[1]) : 1;
	struct udev *udev = udev_new();
	struct udev_monitor *monitor = udev ? udev_monitor_new_from_netlink(udev, "udev") : NULL;
	if (!monitor ||
		udev_monitor_filter_add_match_subsystem_devtype(monitor, "usb", "usb_device") < 0 ||
		udev_monitor_enable_receiving(monitor) < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("listening");
	struct pollfd fd = { .fd = udev_monitor_get_fd(monitor), .events = POLLIN };
	while (n > 0) {
		if (poll(&fd, 1, 5000) <= 0)
			return 1;
		struct udev_device *device = udev_monitor_receive_device(monitor);
		if (!device)
			continue;
		const char *node = udev_device_get_devnode(device);
		const char *kind = udev_device_get_property_value(device, "ID_USB_INTERFACES");
		printf("%s %s %s\n", udev_device_get_action(device), node ? node : "-",
			kind ? kind : "-");
		udev_device_unref(device);
		n--;
	}
	udev_monitor_unref(monitor);
	udev_unref(udev);
	return 0;
}
