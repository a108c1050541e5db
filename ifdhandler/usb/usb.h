/* SPDX-License-Identifier: MIT */
/* One USB device on an event loop: claims and asynchronous transfers, behind a table that tests
 * replace. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sd_event;
struct usb;
struct usb_transfer;

enum {
	/* usbfs gives control transfers one page of data (linux devio.c: proc_do_submiturb). */
	USB_MAX_CONTROL = 4096,
	/* Longest bulk transfer that goes to the kernel in one piece: libusb cuts longer ones into
	 * 16 KiB requests (MAX_BULK_BUFFER_LENGTH), and ending those early is left to luck. */
	USB_MAX_BULK = 16384,
};

/* Tells the end of a transfer: its `error` and `actual` are set, it may be submitted again. */
typedef void (*usb_done_fn)(struct usb_transfer *transfer, void *userdata);

enum usb_kind {
	USB_BULK,
	USB_INTERRUPT,
	USB_CONTROL,
};

/* USB 2.0 9.3; wLength is the transfer's `len`. */
struct usb_setup {
	uint8_t request_type;
	uint8_t request;
	uint16_t value;
	uint16_t index;
};

/* A transfer belongs to its user, who keeps it and `data` in place from submit to `done`. It has no
 * time limit of its own. A null initializer is a transfer at rest. */
struct usb_transfer {
	enum usb_kind kind;
	uint8_t endpoint;       /* with direction bit; 0 for control */
	struct usb_setup setup; /* control only */
	uint8_t *data;
	size_t len;
	usb_done_fn done;
	void *userdata;
	/* Set before `done`. error: 0; -EPIPE stall; -EOVERFLOW more came than fits; -ECANCELED;
	 * -ENODEV unplugged, or suspended; -EIO anything else. `actual` bytes moved, also beside an error. */
	int error;
	size_t actual;
	void *pending; /* the implementation's; not NULL while under way */
};

/* Upcalls: only from the event loop, never from within a call of the table. */
struct usb_host {
	void *userdata;
	/* The handle is of no use any more; transfers under way have ended with -ENODEV before. At most
	 * once. Mostly the device is unplugged; but Linux does the same to devices that stay when the
	 * system is suspended: `exists` tells. */
	void (*gone)(void *userdata);
};

/* All calls return 0 or negative errno; -ENODEV once the device is gone. */
struct usb_ops {
	/* Opens the node and reads its descriptors. -EACCES, -ENOENT, -ENODEV, …; `event` and
	 * `host` outlive the result. */
	int (*open)(const char *node, struct sd_event *event, const struct usb_host *host,
		struct usb **ret_usb);
	/* Is the node's device still plugged in? -ENODEV or -ENOENT: it is not. */
	int (*exists)(const char *node);
	/* Gives the device back: transfers under way end without `done`; NULL is allowed. Never
	 * from within `done`. Waits at most 2 s for the kernel to return them. */
	void (*close)(struct usb *usb);
	/* The descriptors as the kernel has them, little-endian; valid until close. */
	void (*descriptors)(const struct usb *usb, const uint8_t **ret_bytes, size_t *ret_len);
	/* The active bConfigurationValue; 0: not configured. */
	int (*configuration)(struct usb *usb, unsigned *ret_value);
	/* Only for a device that is not configured. Blocks in the kernel for the transfer's time.
	 * */
	int (*configure)(struct usb *usb, unsigned value);
	/* -EBUSY: another program or a kernel driver has it. Nothing is ever detached. */
	int (*claim)(struct usb *usb, uint8_t interface);
	int (*release)(struct usb *usb, uint8_t interface);
	/* SET_INTERFACE with alternate setting 0. Blocks like clear_halt. */
	int (*set_interface)(struct usb *usb, uint8_t interface);
	/* Clears the halt and the data toggles of an endpoint without transfers under way. Blocks:
	 * the kernel waits at most 5 s for the device (USB_CTRL_SET_TIMEOUT). */
	int (*clear_halt)(struct usb *usb, uint8_t endpoint);
	/* Resets the port. Blocks for about a second; only for recovery. */
	int (*reset)(struct usb *usb);
	/* Starts a transfer; on failure `done` is not called. */
	int (*submit)(struct usb *usb, struct usb_transfer *transfer);
	/* Asks for the end of a transfer: `done` comes later, also with success if that was faster.
	 * A transfer at rest is left alone. */
	void (*cancel)(struct usb *usb, struct usb_transfer *transfer);
};

/* The real one, by libusb on usbfs. */
extern const struct usb_ops usb_libusb;
