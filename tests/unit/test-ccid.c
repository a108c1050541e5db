/* SPDX-License-Identifier: MIT */
/* The command engine against a device that does everything wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid.h"
#include "ifdhandler/ccid_in.h"
#include "tests/unit/fake-usb.h"

enum { OUT = 0x01, IN = 0x82, SHORT_USEC = 300000 };

/* One command and what came of it. */
struct asked {
	struct ccid_command command;
	int done; /* how often */
	int error;
	struct ccid_reply reply;
	uint8_t data[70000];
};

struct bench {
	sd_event *event;
	struct fake_usb *fake;
	struct usb *usb;
	struct ccid_desc desc;
	struct ccid *ccid;
	int lost;
	/* What the device does next. */
	const uint8_t *answer; /* instead of a plain one; bSlot and bSeq are put in */
	size_t answer_len;
	unsigned n_ignore;     /* messages without an answer */
	unsigned n_extensions; /* time extensions first */
	uint8_t multiplier;
	unsigned n_busy; /* answers "slot busy" first */
	uint8_t busy_error;
	struct asked asked[8];
};

static void lost(void *userdata, int error) {
	(void)error;
	((struct bench *)userdata)->lost++;
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
	struct bench *b = fake->userdata;
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

static struct bench *bench_with(unsigned n_interfaces, uint8_t n_slots) {
	struct bench *b = calloc(1, sizeof(*b));
	assert_int_equal(sd_event_new(&b->event), 0);
	b->fake = fake_usb_new(b->event, NULL, 0);
	b->fake->on_message = device;
	b->fake->userdata = b;
	b->usb = fake_usb_open(b->fake);
	describe(&b->desc, n_interfaces, n_slots);
	struct ccid_config config = {
		.ops = &fake_usb_ops,
		.usb = b->usb,
		.event = b->event,
		.desc = &b->desc,
		.userdata = b,
		.lost = lost,
	};
	assert_int_equal(ccid_new(&config, &b->ccid), 0);
	return b;
}

static int setup(void **state) {
	*state = bench_with(1, 1);
	return 0;
}

static int setup_two_slots(void **state) {
	*state = bench_with(1, 2);
	return 0;
}

static int setup_two_interfaces(void **state) {
	*state = bench_with(2, 1);
	return 0;
}

static int teardown(void **state) {
	struct bench *b = *state;
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

static struct asked *ask(
	struct bench *b, unsigned n, unsigned slot, const uint8_t *data, size_t len) {
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
static void check_alive(struct bench *b) {
	static const uint8_t data[] = { 1, 2, 3, 4, 5 };
	struct asked *a = ask(b, 7, 0, data, sizeof(data));
	assert_true(fake_run(b->event, &a->done, 2000));
	assert_int_equal(a->error, 0);
	assert_int_equal(a->reply.len, sizeof(data));
	assert_memory_equal(a->data, data, sizeof(data));
}

static void ends_with(struct bench *b, struct asked *a, int error, unsigned ms) {
	assert_true(fake_run(b->event, &a->done, ms));
	assert_int_equal(a->error, error);
	assert_int_equal(a->done, 1);
}

static void one_out_one_in(void **state) {
	struct bench *b = *state;
	for (unsigned i = 0; i < 10; i++)
		check_alive(b);
	assert_int_equal(b->fake->n_out, 10);
	assert_int_equal(b->fake->n_in, 10);
	assert_int_equal(b->fake->n_submitted_in, 10);
	static uint8_t data[256];
	struct asked *a = ask(b, 0, 0, data, sizeof(data));
	ends_with(b, a, 0, 1000);
	assert_int_equal(b->fake->n_in, 11);
}

/* CCID-36: sizes around multiples of the packet size go out as they are. */
static void out_is_exactly_the_message(void **state) {
	struct bench *b = *state;
	static uint8_t data[300];
	for (size_t len = 53; len <= 55; len++)
		ends_with(b, ask(b, 0, 0, data, len), 0, 1000);
	ends_with(b, ask(b, 0, 0, data, 118), 0, 1000);
	assert_int_equal(b->fake->n_sent, 4);
	assert_int_equal(b->fake->sent_len[1], 64);
	assert_int_equal(b->fake->sent_len[3], 128);
}

/* CCID-37, CCID-40, CCID-41: empty transfers before, behind and inside of a message. */
static void empty_packets(void **state) {
	struct bench *b = *state;
	static uint8_t data[54];
	fake_usb_packet(b->fake, IN, NULL, 0);
	fake_usb_packet(b->fake, IN, NULL, 0);
	ends_with(b, ask(b, 0, 0, data, sizeof(data)), 0, 1000);
	check_alive(b);
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 54);
	uint8_t m[84] = { 0x80, 74, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, m, 64);
	fake_usb_packet(b->fake, IN, NULL, 0);
	fake_usb_packet(b->fake, IN, m + 64, 20);
	ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 74);
}

/* CCID-38: without an empty packet behind it, the first such answer takes a moment, then none. */
static void unterminated_answers(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 3; i++) {
		b->n_ignore = 1;
		struct asked *a = ask(b, 0, 0, data, sizeof(data));
		uint8_t m[128] = { 0x80, 118, 0, 0, 0, 0, a->command.seq };
		fake_usb_packet(b->fake, IN, m, 64);
		fake_usb_packet(b->fake, IN, m + 64, 64);
		ends_with(b, a, 0, i == 0 ? 200 : 60);
		assert_int_equal(a->reply.len, 118);
	}
	check_alive(b);
}

/* CCID-39, CCID-42: an answer in pieces, the first of them short. */
static void answer_in_pieces(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, sizeof(data));
	uint8_t m[64] = { 0x80, 54, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, m, 5);
	fake_run_for(b->event, 150);
	assert_int_equal(a->done, 0);
	fake_usb_packet(b->fake, IN, m + 5, 59);
	ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 54);
	check_alive(b);
}

/* CCID-43, CCID-44: less than a message, and less than it announces. */
static void answer_that_never_ends(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	static const uint8_t nine[9] = { 0x80, 0, 0, 0, 0, 0, 0xAA };
	b->answer = nine;
	b->answer_len = sizeof(nine);
	ends_with(b, ask(b, 0, 0, data, 3), -ETIMEDOUT, 1000);
	check_alive(b);
	static const uint8_t less[30] = { 0x80, 21, 0, 0, 0, 0, 0xAA };
	b->answer = less;
	b->answer_len = sizeof(less);
	ends_with(b, ask(b, 0, 0, data, 3), -ETIMEDOUT, 1000);
	check_alive(b);
}

/* CCID-45, CCID-46. */
static void lengths_beyond_all(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	static const uint8_t high[][4] = { { 0xFF, 0xFF, 0xFF, 0xFF }, { 0xF6, 0xFF, 0xFF, 0xFF },
		{ 0xF6, 0xFF, 0xFF, 0x7F }, { 0x37, 0x00, 0x01, 0x00 } };
	for (unsigned i = 0; i < 4; i++) {
		uint8_t m[20] = { 0x80, high[i][0], high[i][1], high[i][2], high[i][3], 0, 0xAA };
		b->answer = m;
		b->answer_len = sizeof(m);
		ends_with(b, ask(b, 0, 0, data, 3), -EBADMSG, 250);
		check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 8);
	assert_int_equal(b->lost, 0);
}

static void long_answer(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	uint8_t *m = calloc(1, CCID_MSG_MAX);
	static const uint8_t header[10] = { 0x80, 0x36, 0x00, 0x01, 0, 0, 0xAA };
	memcpy(m, header, sizeof(header));
	for (size_t i = 10; i < CCID_MSG_MAX; i++)
		m[i] = (uint8_t)(i % 251);
	b->answer = m;
	b->answer_len = CCID_MSG_MAX;
	struct asked *a = ask(b, 0, 0, data, 3);
	ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, CCID_MSG_MAX - 10);
	assert_memory_equal(a->data, m + 10, CCID_MSG_MAX - 10);
	free(m);
	check_alive(b);
}

/* CCID-47: padding; CCID-61: the same answer twice. */
static void bytes_behind_the_answer(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	static const uint8_t padded[60] = { 0x80, 2, 0, 0, 0, 0, 0xAA, 0, 0, 0, 0x90, 0x00 };
	b->answer = padded;
	b->answer_len = sizeof(padded);
	struct asked *a = ask(b, 0, 0, data, 3);
	ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 2);
	check_alive(b);
	b->n_ignore = 1;
	a = ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, 0, 1000);
	check_alive(b);
}

/* CCID-48: an answer for the next command, before that was sent. */
static void answer_from_the_future(void **state) {
	struct bench *b = *state;
	static uint8_t data[3] = { 7, 8, 9 };
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *next = ask(b, 1, 0, data, 3);
	uint8_t m[32] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x90, 0x00, 0x80, 2, 0, 0,
		0, 0, (uint8_t)(a->command.seq + 1), 0, 0, 0, 0x6F, 0x00 };
	fake_usb_send(b->fake, IN, m, 24);
	ends_with(b, a, 0, 1000);
	ends_with(b, next, 0, 1000);
	assert_int_equal(next->reply.len, 3);
	assert_memory_equal(next->data, data, 3);
}

/* CCID-49: babble; three in a row mean a new open. */
static void babble(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 2; i++) {
		b->n_ignore = 1;
		struct asked *a = ask(b, 0, 0, data, 3);
		fake_usb_error(b->fake, IN, -EOVERFLOW);
		ends_with(b, a, -EOVERFLOW, 1000);
		check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 4);
	assert_int_equal(b->lost, 0);
}

/* CCID-50. */
static void stalls(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->fake->out_error = -EPIPE;
	ends_with(b, ask(b, 0, 0, data, 3), -EPIPE, 1000);
	assert_int_equal(b->fake->n_clears, 2);
	check_alive(b);
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	fake_usb_error(b->fake, IN, -EPIPE);
	ends_with(b, a, -EPIPE, 1000);
	check_alive(b);
	assert_int_equal(b->fake->n_clears, 4);
}

/* CCID-51: half of the message is taken; nothing is sent before the device is in step again. */
static void stuck_out(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->fake->out_hangs = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	fake_run_for(b->event, 200);
	assert_int_equal(a->done, 0);
	fake_run_for(b->event, 150);
	assert_int_equal(a->done, 1);
	assert_int_equal(a->error, -ETIMEDOUT);
	b->fake->out_hangs = 0;
	check_alive(b);
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(b->fake->sent[0][0], CCID_GET_SLOT_STATUS);
}

/* A transfer error is waited for to turn out as an unplug, then the ladder. */
static void transfer_error(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	fake_usb_error(b->fake, IN, -EIO);
	fake_run_for(b->event, 500);
	assert_int_equal(a->done, 0);
	ends_with(b, a, -EIO, 1500);
	check_alive(b);
}

/* CCID-52 to CCID-57: answers that are not for this command are passed over. */
static void foreign_answers(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	uint8_t s = a->command.seq, t = (uint8_t)(s - 1);
	uint8_t wrong[][10] = {
		{ 0x6F, 0, 0, 0, 0, 0, s },
		{ 0x00, 0, 0, 0, 0, 0, s },
		{ 0xFF, 0, 0, 0, 0, 0, s },
		{ 0x82, 0, 0, 0, 0, 0, s },
		{ 0x81, 0, 0, 0, 0, 0, s },
		{ 0x80, 0, 0, 0, 0, 0, t },
		{ 0x80, 0, 0, 0, 0, 1, s },
		{ 0x80, 0, 0, 0, 0, 255, s },
		{ 0x80, 0, 0, 0, 0, 0, t, 0x80, 255 },
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		fake_usb_send(b->fake, IN, wrong[i], 10);
	fake_run_for(b->event, 50);
	assert_int_equal(a->done, 0);
	uint8_t right[12] = { 0x80, 2, 0, 0, 0, 0, s, 0, 0, 0, 0x90, 0 };
	fake_usb_send(b->fake, IN, right, 12);
	ends_with(b, a, 0, 100);
	assert_int_equal(a->reply.len, 2);
	b->n_ignore = 1;
	a = ask(b, 0, 0, data, 3);
	uint8_t failed[10] = { 0x81, 0, 0, 0, 0, 0, a->command.seq, 0x41, 0xFE };
	fake_usb_send(b->fake, IN, failed, 10);
	ends_with(b, a, 0, 100);
	assert_int_equal(a->reply.error, 0xFE);
}

/* CCID-55: only wrong ones: an error at the deadline. CCID-29: too many: the ladder. */
static void only_foreign_answers(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	uint64_t start = ccid_now();
	struct asked *a = ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, (uint8_t)(a->command.seq + 9) };
	for (unsigned i = 0; i < CCID_MAX_STALE; i++)
		fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, -ETIMEDOUT, 1000);
	assert_true(ccid_now() - start >= SHORT_USEC);
	assert_true(ccid_now() - start < SHORT_USEC + 200000);
	check_alive(b);
	b->n_ignore = 1;
	a = ask(b, 0, 0, data, 3);
	for (unsigned i = 0; i < CCID_MAX_STALE + 1; i++)
		fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, -EBADMSG, 200);
	check_alive(b);
}

/* CCID-59: the late answer does not meet the next command. */
static void late_answer(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	ends_with(b, a, -ETIMEDOUT, 1000);
	uint8_t m[13] = { 0x80, 3, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 6, 6, 6 };
	fake_usb_send(b->fake, IN, m, 13);
	check_alive(b);
	/* Asked before anything else: the slot's status. */
	assert_int_equal(b->fake->sent[1][0], CCID_GET_SLOT_STATUS);
	assert_int_equal(b->fake->n_clears, 0);
}

/* The answer lies in the transfer that the deadline ends. */
static void answer_in_the_ended_transfer(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	uint8_t m[64] = { 0x80, 54, 0, 0, 0, 0, a->command.seq };
	fake_run_for(b->event, 280);
	fake_usb_packet(b->fake, IN, m, 64);
	ends_with(b, a, 0, 200);
}

/* CCID-60. */
static void sequence_numbers(void **state) {
	struct bench *b = *state;
	for (unsigned i = 0; i < 300; i++)
		check_alive(b);
	for (unsigned i = 1; i < 300; i++)
		assert_int_equal(b->fake->sent[i][6], (uint8_t)(b->fake->sent[i - 1][6] + 1));
}

/* CCID-64, CCID-65, CCID-68, CCID-69. */
static void time_extensions(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	uint8_t m[15] = { 0x80, 0, 0, 0, 0, 0, a->command.seq, 0x80, 1 };
	for (unsigned i = 0; i < 5; i++) {
		fake_run_for(b->event, 200);
		m[8] = i == 1 ? 0 : 1;
		m[1] = i == 2 ? 5 : 0;
		fake_usb_send(b->fake, IN, m, i == 2 ? 15 : 10);
		assert_int_equal(a->done, 0);
	}
	uint8_t end[12] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x90, 0 };
	fake_usb_send(b->fake, IN, end, 12);
	ends_with(b, a, 0, 100);
	b->n_ignore = 1;
	a = ask(b, 0, 0, data, 3);
	m[6] = a->command.seq;
	m[8] = 2;
	m[1] = 0;
	uint64_t start = ccid_now();
	fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, -ETIMEDOUT, 2000);
	assert_true(ccid_now() - start >= 2 * SHORT_USEC);
}

/* CCID-71, CCID-72. */
static void busy_slots(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_busy = 2;
	b->busy_error = CCID_ERROR_BUSY_AUTO;
	uint64_t start = ccid_now();
	ends_with(b, ask(b, 0, 0, data, 3), 0, 1000);
	assert_true(ccid_now() - start >= 2 * CCID_AUTO_BUSY_USEC);
	assert_int_equal(b->fake->n_sent, 3);
	assert_int_not_equal(b->fake->sent[0][6], b->fake->sent[1][6]);
	b->n_busy = 1000;
	b->busy_error = CCID_ERROR_SLOT_BUSY;
	struct asked *a = ask(b, 0, 0, data, 3);
	ends_with(b, a, 0, 3000);
	assert_int_equal(a->reply.error, CCID_ERROR_SLOT_BUSY);
	assert_int_equal(b->fake->n_sent, 3 + 1 + CCID_MAX_BUSY_TRIES);
}

/* CCID-88: two slots at once, answered in reverse order. */
static void two_slots_at_once(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 2;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *c = ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 20);
	assert_int_equal(b->fake->n_sent, 2);
	uint8_t m1[11] = { 0x80, 1, 0, 0, 0, 1, c->command.seq, 0, 0, 0, 0x11 };
	uint8_t m0[11] = { 0x80, 1, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x10 };
	fake_usb_send(b->fake, IN, m1, 11);
	fake_usb_send(b->fake, IN, m0, 11);
	ends_with(b, c, 0, 100);
	ends_with(b, a, 0, 100);
	assert_int_equal(a->data[0], 0x10);
	assert_int_equal(c->data[0], 0x11);
}

/* A slot without an answer leaves the other one alone. */
static void one_slot_mute(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *mute = ask(b, 0, 1, data, 3);
	for (unsigned i = 0; i < 20; i++) {
		check_alive(b);
		fake_run_for(b->event, 10);
	}
	ends_with(b, mute, -ETIMEDOUT, 1000);
	check_alive(b);
	assert_int_equal(b->fake->n_clears, 0);
}

/* CCID-89: one busy slot: commands alternate. */
static void one_at_a_time(void **state) {
	struct bench *b = *state;
	b->desc.interfaces[0].n_busy = 1;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *c = ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 50);
	assert_int_equal(b->fake->n_sent, 1);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, 0, 100);
	ends_with(b, c, 0, 100);
}

/* CCID-23: two interfaces: serialised, each on its own endpoints, one counter. */
static void two_interfaces(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *c = ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 50);
	assert_int_equal(b->fake->n_sent, 1);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	ends_with(b, a, 0, 100);
	ends_with(b, c, 0, 100);
	assert_int_equal(b->fake->sent[1][5], 0);
	assert_int_equal(b->fake->sent[1][6], 1);
}

static void probe_fails(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1000;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *waiting = ask(b, 1, 0, data, 3);
	ends_with(b, a, -ETIMEDOUT, 1000);
	assert_int_equal(waiting->done, 0);
	/* Slot status 3 s, halts cleared, 1 s, then the device is given up. */
	assert_true(fake_run(b->event, &b->lost, 5000));
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(waiting->done, 1);
	assert_true(ccid_is_stopped(b->ccid));
	struct asked *after = ask(b, 2, 0, data, 3);
	assert_int_equal(after->done, 1);
}

/* CCID-150: unplugged while a command waits: it ends when the engine is told. */
static void stop_ends_all(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	struct asked *queued = ask(b, 1, 0, data, 3);
	fake_run_for(b->event, 20);
	ccid_stop(b->ccid, -ENODEV);
	assert_int_equal(a->done, 1);
	assert_int_equal(a->error, -ENODEV);
	assert_int_equal(queued->done, 1);
	fake_usb_unplug(b->fake);
	fake_run_for(b->event, 20);
	assert_int_equal(a->done, 1);
}

static void hurry(void **state) {
	struct bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = ask(b, 0, 0, data, 3);
	fake_run_for(b->event, 10);
	ccid_hurry(b->ccid, &a->command, 50000);
	ends_with(b, a, -ETIMEDOUT, 150);
	check_alive(b);
}

/* At rest no transfer is open and no timer runs for long. */
static void at_rest(void **state) {
	struct bench *b = *state;
	check_alive(b);
	unsigned n = b->fake->n_submitted_in;
	fake_run_for(b->event, 300);
	assert_int_equal(b->fake->n_submitted_in, n);
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		assert_null(b->fake->pending[i]);
	uint64_t iteration, after;
	(void)sd_event_get_iteration(b->event, &iteration);
	fake_run_for(b->event, 500);
	(void)sd_event_get_iteration(b->event, &after);
	assert_true(after - iteration <= 2);
}

int main(void) {
#define CASE(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(one_out_one_in, setup),
		CASE(out_is_exactly_the_message, setup),
		CASE(empty_packets, setup),
		CASE(unterminated_answers, setup),
		CASE(answer_in_pieces, setup),
		CASE(answer_that_never_ends, setup),
		CASE(lengths_beyond_all, setup),
		CASE(long_answer, setup),
		CASE(bytes_behind_the_answer, setup),
		CASE(answer_from_the_future, setup),
		CASE(babble, setup),
		CASE(stalls, setup),
		CASE(stuck_out, setup),
		CASE(transfer_error, setup),
		CASE(foreign_answers, setup),
		CASE(only_foreign_answers, setup),
		CASE(late_answer, setup),
		CASE(answer_in_the_ended_transfer, setup),
		CASE(sequence_numbers, setup),
		CASE(time_extensions, setup),
		CASE(busy_slots, setup),
		CASE(two_slots_at_once, setup_two_slots),
		CASE(one_slot_mute, setup_two_slots),
		CASE(one_at_a_time, setup_two_slots),
		CASE(two_interfaces, setup_two_interfaces),
		CASE(probe_fails, setup),
		CASE(stop_ends_all, setup),
		CASE(hurry, setup),
		CASE(at_rest, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
