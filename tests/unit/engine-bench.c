/* SPDX-License-Identifier: MIT */
/*
 * Models a device that echoes what it is sent, ignores it, is busy, asks for time, or answers what the
 * test has prepared, and a user of the command engine who counts what comes back.
 */
#include "tests/unit/engine-bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

static void lost(void *userdata, int error) {
	(void)error;
	((struct engine_bench *)userdata)->lost++;
}

static void describe(struct ccid_desc *desc, unsigned n_interfaces, uint8_t n_slots) {
	*desc = (struct ccid_desc){ .n_interfaces = n_interfaces };
	for (unsigned i = 0; i < n_interfaces; i++) {
		desc->interfaces[i] = (struct ccid_interface){
			.number = (uint8_t)i,
			.bulk_out = { (uint8_t)(OUT + 4 * i), FAKE_PACKET },
			.bulk_in = { (uint8_t)(IN + 4 * i), FAKE_PACKET },
			.n_slots = n_slots,
			.n_busy = n_slots,
			.message_length = 271,
		};
		desc->n_slots += n_slots;
	}
}

/* An answer in the usual form: DataBlock to what carries data, SlotStatus else. */
static void reply_to(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, const uint8_t *body,
	size_t len) {
	uint8_t *a = calloc(1, 10 + len);
	a[0] = m[0] == CCID_XFR_BLOCK || m[0] == CCID_POWER_ON ? 0x80 : 0x81;
	a[1] = (uint8_t)len;
	a[2] = (uint8_t)(len >> 8);
	a[3] = (uint8_t)(len >> 16);
	a[5] = m[5];
	a[6] = m[6];
	if (len)
		memcpy(a + 10, body, len);
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, 10 + len);
	free(a);
}

static void send_status(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, uint8_t status, uint8_t error) {
	uint8_t a[10] = { m[0] == CCID_XFR_BLOCK ? 0x80 : 0x81, 0, 0, 0, 0, m[5], m[6], status,
		error, 0 };
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, sizeof(a));
}

static void device(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct engine_bench *b = fake->userdata;
	assert_true(len >= 10);
	if (b->n_ignore) {
		b->n_ignore--;
		return;
	}
	if (b->n_busy) {
		b->n_busy--;
		send_status(fake, endpoint, m, 0x40, b->busy_error);
		return;
	}
	for (; b->n_extensions; b->n_extensions--)
		send_status(fake, endpoint, m, 0x80, b->multiplier);
	if (!b->answer) {
		reply_to(fake, endpoint, m, m + 10, len - 10);
		return;
	}
	uint8_t *a = malloc(b->answer_len);
	memcpy(a, b->answer, b->answer_len);
	if (b->answer_len >= 7 && a[6] == 0xAA)
		a[6] = m[6];
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, b->answer_len);
	b->answer = NULL;
	free(a);
}

static int on_control(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len) {
	struct engine_bench *b = fake->userdata;
	(void)data, (void)len;
	b->setup = *setup;
	return b->control_result;
}

static struct engine_bench *bench_with(unsigned n_interfaces, uint8_t n_slots, int abort) {
	struct engine_bench *b = calloc(1, sizeof(*b));
	assert_int_equal(sd_event_new(&b->event), 0);
	b->fake = fake_usb_new(b->event, NULL, 0);
	b->fake->on_message = device;
	b->fake->on_control = on_control;
	b->fake->userdata = b;
	b->usb = fake_usb_open(b->fake);
	describe(&b->desc, n_interfaces, n_slots);
	struct ccid_config config = {
		.ops = &fake_usb_ops,
		.usb = b->usb,
		.event = b->event,
		.desc = &b->desc,
		.abort = abort,
		.userdata = b,
		.lost = lost,
	};
	assert_int_equal(ccid_new(&config, &b->ccid), 0);
	return b;
}

int engine_setup(void **state) {
	*state = bench_with(1, 1, 0);
	return 0;
}

int engine_setup_abort(void **state) {
	*state = bench_with(1, 1, 1);
	return 0;
}

int engine_setup_two_slots(void **state) {
	*state = bench_with(1, 2, 0);
	return 0;
}

int engine_setup_eight_slots(void **state) {
	*state = bench_with(1, 8, 0);
	return 0;
}

int engine_setup_two_interfaces(void **state) {
	*state = bench_with(2, 1, 0);
	return 0;
}

int engine_teardown(void **state) {
	struct engine_bench *b = *state;
	ccid_stop(b->ccid, -ENODEV);
	fake_usb_ops.close(b->usb);
	ccid_free(b->ccid);
	fake_usb_free(b->fake);
	sd_event_unref(b->event);
	free(b);
	return 0;
}

static void on_done(void *userdata, const struct ccid_reply *reply, int error) {
	struct asked *a = userdata;
	a->done++;
	a->error = error;
	assert_true((reply != NULL) == (error == 0));
	if (!reply)
		return;
	a->reply = *reply;
	assert_true(reply->len <= sizeof(a->data));
	memcpy(a->data, reply->data, reply->len);
}

struct asked *engine_ask(
	struct engine_bench *b, unsigned n, unsigned slot, const uint8_t *data, size_t len) {
	struct asked *a = &b->asked[n];
	*a = (struct asked){
		.command = {
			.request = ccid_msg_xfr_block(0, 0, data, len),
			.slot = slot,
			.timeout_usec = SHORT_USEC,
			.done = on_done,
			.userdata = a,
		},
	};
	ccid_submit(b->ccid, &a->command);
	return a;
}

/* Sends 5 bytes and wants them back. */
void engine_check_alive(struct engine_bench *b) {
	static const uint8_t data[] = { 1, 2, 3, 4, 5 };
	struct asked *a = engine_ask(b, 7, 0, data, sizeof(data));
	assert_true(fake_run(b->event, &a->done, 2000));
	assert_int_equal(a->error, 0);
	assert_int_equal(a->reply.len, sizeof(data));
	assert_memory_equal(a->data, data, sizeof(data));
}

void engine_ends_with(struct engine_bench *b, struct asked *a, int error, unsigned ms) {
	assert_true(fake_run(b->event, &a->done, ms));
	assert_int_equal(a->error, error);
	assert_int_equal(a->done, 1);
}
