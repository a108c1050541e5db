/* SPDX-License-Identifier: MIT */
/*
 * The whole CCID driver against a device that says anything. Byte 0 chooses the exchange level and
 * who negotiates, byte 1 slots and lengths, byte 2 the quirks, byte 3 the protocol; then one record
 * for each thing the device does:
 *
 *   00-7F n data  an answer to the last message with right numbers: first data byte is bStatus, the
 * second bError, the
 *                 third byte 9; the low 3 bits of the record choose a type
 *   80-9F n data  a packet of n bytes as they are
 *   A0-BF n data  an interrupt packet
 *   C0-DF e       the endpoint's transfer ends with error e
 *   E0-FF         nothing, and a new operation of the host
 *
 * When nothing more happens the plug is pulled. Wanted: each operation ends exactly once, results
 * make sense, all memory comes back.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/fake-usb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IN = 0x82, INTERRUPT = 0x83, MAX_STEPS = 400 };

struct run {
	sd_event *event;
	struct fake_usb *fake;
	struct driver *driver;
	const uint8_t *data;
	size_t size;
	uint8_t last[10]; /* header of the host's last message */
	int ready, gone, busy;
	unsigned n_ops;
	uint32_t protocol;
	uint8_t apdu[64];
};

static void check(int ok) {
	if (!ok)
		abort();
}

/* ---- the device ---- */

static void send_answer(struct run *run, uint8_t kind, const uint8_t *body, size_t n) {
	static const uint8_t types[8] = { 0x80, 0x80, 0x81, 0x82, 0x83, 0x84, 0x80, 0x6F };
	uint8_t a[300] = { 0 };
	uint8_t type = types[kind & 7];
	if ((kind & 0x40) && run->last[0] != CCID_XFR_BLOCK && run->last[0] != CCID_POWER_ON)
		type = 0x81;
	size_t len = n > 3 ? n - 3 : 0;
	a[0] = type;
	a[1] = (uint8_t)len;
	a[5] = run->last[5];
	a[6] = (uint8_t)(run->last[6] + (kind & 0x20 ? 1 : 0));
	memcpy(a + 7, body, n < 3 ? n : 3);
	memcpy(a + 10, body + 3, len);
	fake_usb_send(run->fake, IN, a, 10 + len);
}

static void next_op(struct run *run);

/* The next record of the input; 0 at its end. */
static int step(struct run *run) {
	static const int errors[4] = { -EPIPE, -EOVERFLOW, -EIO, -EPIPE };
	if (run->size < 2)
		return 0;
	uint8_t kind = run->data[0];
	size_t n = run->data[1];
	run->data += 2;
	run->size -= 2;
	if (kind >= 0xE0) {
		next_op(run);
		return 1;
	}
	if (kind >= 0xC0) {
		fake_usb_error(run->fake, kind & 1 ? INTERRUPT : IN, errors[n & 3]);
		return 1;
	}
	n = n < run->size ? n : run->size;
	if (kind >= 0x80 && n > FAKE_PACKET)
		n = FAKE_PACKET;
	if (kind >= 0x80)
		fake_usb_packet(run->fake, kind >= 0xA0 ? INTERRUPT : IN, run->data,
			kind >= 0xA0 && n > 8 ? 8 : n);
	else
		send_answer(run, kind, run->data, n);
	run->data += n;
	run->size -= n;
	return 1;
}

static void on_message(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct run *run = fake->userdata;
	(void)endpoint;
	check(len >= 10 && ccid_msg_length(m, 10) == len);
	memcpy(run->last, m, 10);
	(void)step(run);
}

static int on_control(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len) {
	struct run *run = fake->userdata;
	(void)setup;
	size_t n = len < run->size ? len : run->size;
	memcpy(data, run->data, n);
	return (int)n;
}

/* ---- the host ---- */

static void on_ready(void *userdata) {
	((struct run *)userdata)->ready = 1;
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	struct run *run = userdata;
	(void)detail;
	check(!run->gone && !run->busy && status_is_reader_trouble((uint16_t)why));
}

static void on_gone(void *userdata) {
	struct run *run = userdata;
	check(!run->gone && !run->busy);
	run->gone = 1;
}

static void on_presence(void *userdata, unsigned slot, int present, int swapped) {
	struct run *run = userdata;
	(void)present, (void)swapped;
	check(!run->gone && run->ready && slot < driver_ccid.n_slots(run->driver));
}

static void on_done(void *userdata, const struct driver_result *result) {
	struct run *run = userdata;
	unsigned sum = 0;
	check(run->busy == 1);
	run->busy = 0;
	check(result->len == 0 || result->data != NULL);
	check(result->len <= 66000);
	for (size_t i = 0; i < result->len; i++)
		sum += result->data[i];
	check(sum <= result->len * 255);
}

static void next_op(struct run *run) {
	if (run->busy || run->gone || !run->ready)
		return;
	struct driver_bytes apdu = { run->apdu, 5 + run->n_ops % 59 };
	run->busy = 1;
	switch (run->n_ops++) {
	case 0: driver_ccid.power_on(run->driver, 0, DRIVER_COLD, on_done, run); break;
	case 1: driver_ccid.set_protocol(run->driver, 0, run->protocol, on_done, run); break;
	case 9: driver_ccid.power_on(run->driver, 0, DRIVER_WARM, on_done, run); break;
	case 10: driver_ccid.set_protocol(run->driver, 0, PROTOCOL_T0, on_done, run); break;
	case 12: driver_ccid.control(run->driver, 0, 0x42000001, &apdu, on_done, run); break;
	case 14: driver_ccid.power_off(run->driver, 0, on_done, run); break;
	default:
		driver_ccid.transmit(run->driver, 0, run->n_ops > 10 ? PROTOCOL_T0 : run->protocol,
			&apdu, on_done, run);
		break;
	}
}

static void describe(const uint8_t *data, struct descriptors *d) {
	static const uint32_t levels[4] = { 0, CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	uint8_t class[54];
	desc_class(class, levels[data[0] & 3] | (uint32_t)(data[0] & 0xFC), data[1] & 1 ? 64 : 271);
	class[4] = data[1] >> 1 & 3;
	class[53] = data[1] >> 3 & 3;
	class[27] = data[1] >> 5;
	desc_reader(d, class, !(data[2] & 0x80));
}

static void go(struct run *run) {
	for (unsigned i = 0; i < MAX_STEPS && !run->gone; i++) {
		next_op(run);
		/* Nothing to do at once: no use waiting, the next record or the end. */
		if (sd_event_run(run->event, 0) == 0 && !step(run))
			break;
	}
	fake_usb_unplug(run->fake);
	for (unsigned i = 0; i < MAX_STEPS && !run->gone && run->fake->is_open; i++)
		(void)sd_event_run(run->event, 0);
	check(run->gone || !run->fake->is_open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static const char *const quirks[] = { NULL, "abort", "escape emv-escape", "no-pps parallel",
		"no-ifsd slow-slots", "power-off-first absent-if-mute", "level=extended poll",
		"no-full-packets" };
	if (size < 4)
		return 0;
	static struct descriptors descriptors;
	describe(data, &descriptors);
	struct run run = { .data = data + 4,
		.size = size - 4,
		.protocol = data[3] & 1 ? PROTOCOL_T1 : PROTOCOL_T0 };
	struct driver_config config = {
		.node = "/dev/bus/usb/001/002", .quirks = quirks[data[2] & 7], .card_fd = -1
	};
	struct driver_host host = { &run, on_ready, on_trouble, on_gone, on_presence };
	check(sd_event_new(&run.event) == 0);
	run.fake = fake_usb_new(run.event, descriptors.bytes, descriptors.len);
	run.fake->on_message = on_message;
	run.fake->on_control = on_control;
	run.fake->userdata = &run;
	check(ccid_driver_init(&config, run.event, &host, &fake_usb_ops, &run.driver) == 0);
	go(&run);
	driver_ccid.free(run.driver);
	check(!run.busy && !run.fake->is_open);
	fake_usb_free(run.fake);
	sd_event_unref(run.event);
	return 0;
}
