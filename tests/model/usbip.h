/* SPDX-License-Identifier: MIT */
/* USB/IP (the kernel's Documentation/usb/usbip_protocol.rst): an emulated reader on one
 * connection. */
#pragma once

#include <stdint.h>

#include "tests/model/bed.h"

struct usbip;

/* Serves `device` on the stream `fd`, which it owns from now on. -ENOMEM. Free with usbip_free. */
int usbip_new(struct bed_device *device, int fd, struct usbip **ret_usbip);
/* Closes the connection: to the kernel that is unplugging. NULL is allowed. */
void usbip_free(struct usbip *usbip);
/* Takes what has come on the connection. 0, or a negative errno: the connection is over. */
int usbip_receive(struct usbip *usbip);
/* Answers the transfers that can be answered now. */
void usbip_pump(struct usbip *usbip);
