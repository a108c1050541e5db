/* SPDX-License-Identifier: MIT */
/* A USB device for unit tests: usb_ops over scripted packets, on the test's own event loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/usb/usb.h"

struct fake_usb;
struct sd_event;

enum {
	FAKE_PACKET = 64, /* wMaxPacketSize of all bulk endpoints */
	FAKE_MAX_PACKETS = 4096,
	FAKE_MAX_PENDING = 16,
	FAKE_MAX_SENT = 1024, /* messages kept for tests to look at */
	FAKE_HANGS =
		-1000, /* of a control transfer: no end yet; asked again when something moves */
};

/* Called when the host's message has arrived; answers with fake_usb_send and the like. */
typedef void (*fake_message_fn)(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *message, size_t len);
/* Fills a control-IN transfer or takes a control-OUT one: bytes moved, a negative error, or
 * FAKE_HANGS. */
typedef int (*fake_control_fn)(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len);

struct fake_packet {
	uint8_t endpoint;
	int error;
	size_t len;
	uint8_t data[FAKE_PACKET];
};

struct fake_usb {
	/* Set by the test. */
	const uint8_t *descriptors;
	size_t n_descriptors;
	unsigned configuration;
	fake_message_fn on_message;
	fake_control_fn on_control; /* NULL: every request stalls */
	void *userdata;
	int open_error, claim_error, clear_error; /* calls fail */
	int submit_error;                         /* bulk and control transfers are refused */
	int out_error; /* the next bulk-OUT ends so, having taken nothing */
	int out_hangs; /* bulk-OUT takes half and never ends */
	int control_hangs;

	/* What happened. */
	unsigned n_opens, n_closes, n_claims, n_clears, n_sets, n_resets, n_configures;
	unsigned n_out, n_in, n_interrupts, n_controls; /* transfers that ended by themselves */
	unsigned n_submitted_in;
	size_t last_in_len;
	unsigned n_sent;
	uint8_t sent[FAKE_MAX_SENT][300]; /* messages of the host, cut */
	size_t sent_len[FAKE_MAX_SENT];

	/* Inside. */
	struct sd_event *event;
	struct sd_event_source *pump;
	struct usb_host host;
	int is_open, is_gone, is_cut, told_gone; /* cut: the handle only */
	struct usb_transfer *pending[FAKE_MAX_PENDING];
	int cancelled[FAKE_MAX_PENDING];
	size_t filled[FAKE_MAX_PENDING];
	unsigned n_packets;
	struct fake_packet packets[FAKE_MAX_PACKETS];
};

extern const struct usb_ops fake_usb_ops;

/* The device that fake_usb_ops.open gives: one at a time. `descriptors` is borrowed. */
struct fake_usb *fake_usb_new(struct sd_event *event, const uint8_t *descriptors, size_t len);
void fake_usb_free(struct fake_usb *fake);
/* For tests of what lies above open: the device as usb.h's type, opened. */
struct usb *fake_usb_open(struct fake_usb *fake);

/* The device sends `len` bytes as packets; a last full packet is followed by an empty one. */
void fake_usb_send(struct fake_usb *fake, uint8_t endpoint, const uint8_t *data, size_t len);
/* One packet of at most FAKE_PACKET bytes, with nothing after it. */
void fake_usb_packet(struct fake_usb *fake, uint8_t endpoint, const uint8_t *data, size_t len);
/* The transfer that waits for the endpoint (or the next one) ends with `error`. */
void fake_usb_error(struct fake_usb *fake, uint8_t endpoint, int error);
/* Looks again at what waits, after a field was changed. */
void fake_usb_kick(struct fake_usb *fake);
/* Pulls the plug. */
void fake_usb_unplug(struct fake_usb *fake);
/* The system sleeps and wakes up: transfers end as if the plug had been pulled, the handle is dead, and
 * the device is there. */
void fake_usb_suspend(struct fake_usb *fake);

/* Runs the loop until *flag is not 0 or `ms` have passed: the flag. */
int fake_run(struct sd_event *event, const int *flag, unsigned ms);
/* Runs the loop for `ms`. */
void fake_run_for(struct sd_event *event, unsigned ms);
