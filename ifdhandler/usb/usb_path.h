/* SPDX-License-Identifier: MIT */
/* Where a device node is on the bus: numbers from its name, ports from sysfs. */
#pragma once

#include <stddef.h>

/* Bus and address in a node's name (/dev/bus/usb/001/012): 1, or 0 if it has no such form. */
int usb_path_numbers(const char *node, unsigned *ret_bus, unsigned *ret_address);

/* Writes "BUS-PORT.PORT:CONFIGURATION.INTERFACE", as sysfs names interfaces, with NUL: its length,
 * or negative errno (-ENOENT: sysfs does not know the node; -ENOSPC). */
int usb_path_describe(
	const char *node, unsigned configuration, unsigned interface, char *buf, size_t size);
