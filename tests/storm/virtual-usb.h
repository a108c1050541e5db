/* SPDX-License-Identifier: MIT */
/* An emulated reader (tests/model) behind the driver's USB table, in virtual time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/usb/usb.h"

struct model;
struct reader;
struct virtual_usb;

extern const struct usb_ops virtual_usb_ops;

/* The device that virtual_usb_ops.open gives: one at a time, plugged in. */
struct virtual_usb *virtual_usb_new(
	const struct model *model, struct reader *reader, uint64_t seed, int verbose);
void virtual_usb_free(struct virtual_usb *device);

void virtual_usb_plug(struct virtual_usb *device);
void virtual_usb_unplug(struct virtual_usb *device);
/* The system has slept: the device has lost power, its handle is dead, and the device is there. */
void virtual_usb_suspend(struct virtual_usb *device);
int virtual_usb_is_plugged(const struct virtual_usb *device);
int virtual_usb_is_open(const struct virtual_usb *device);
/* Another program has the interfaces. */
void virtual_usb_claim(struct virtual_usb *device, int on);

/* Moves bytes, and tells the end of one transfer: 1; 0: nothing to do now. */
int virtual_usb_pump(struct virtual_usb *device);
uint64_t virtual_usb_due(const struct virtual_usb *device);
/* Transfers submitted so far. */
unsigned long virtual_usb_n_submits(const struct virtual_usb *device);
