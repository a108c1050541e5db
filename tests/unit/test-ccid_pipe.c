/* SPDX-License-Identifier: MIT */
/* The engine and its transfers: packets, lengths, halts, and the way back into step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "tests/unit/engine-bench.h"

static void one_out_one_in(void **state) {
	struct engine_bench *b = *state;
	for (unsigned i = 0; i < 10; i++)
		engine_check_alive(b);
	assert_int_equal(b->fake->n_out, 10);
	assert_int_equal(b->fake->n_in, 10);
	assert_int_equal(b->fake->n_submitted_in, 10);
	static uint8_t data[256];
	struct asked *a = engine_ask(b, 0, 0, data, sizeof(data));
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(b->fake->n_in, 11);
}

/* CCID-36: sizes around multiples of the packet size go out as they are. */
static void out_is_exactly_the_message(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[300];
	for (size_t len = 53; len <= 55; len++)
		engine_ends_with(b, engine_ask(b, 0, 0, data, len), 0, 1000);
	engine_ends_with(b, engine_ask(b, 0, 0, data, 118), 0, 1000);
	assert_int_equal(b->fake->n_sent, 4);
	assert_int_equal(b->fake->sent_len[1], 64);
	assert_int_equal(b->fake->sent_len[3], 128);
}

/* CCID-37, CCID-40, CCID-41: empty transfers before, behind and inside of a message. */
static void empty_packets(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[54];
	fake_usb_packet(b->fake, IN, NULL, 0);
	fake_usb_packet(b->fake, IN, NULL, 0);
	engine_ends_with(b, engine_ask(b, 0, 0, data, sizeof(data)), 0, 1000);
	engine_check_alive(b);
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 54);
	uint8_t m[84] = { 0x80, 74, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, m, 64);
	fake_usb_packet(b->fake, IN, NULL, 0);
	fake_usb_packet(b->fake, IN, m + 64, 20);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 74);
}

/* CCID-38: without an empty packet behind it, the first such answer takes a moment; from then on such
 * a device is asked packet by packet, and no answer waits. */
static void unterminated_answers(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 3; i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, sizeof(data));
		assert_true(i == 0 || b->fake->last_in_len == FAKE_PACKET);
		uint8_t m[128] = { 0x80, 118, 0, 0, 0, 0, a->command.seq };
		fake_usb_packet(b->fake, IN, m, 64);
		fake_usb_packet(b->fake, IN, m + 64, 64);
		engine_ends_with(b, a, 0, 1000);
		assert_int_equal(a->reply.len, 118);
	}
	engine_check_alive(b);
}

/* CCID-39, CCID-42: an answer in pieces, the first of them short. */
static void answer_in_pieces(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, sizeof(data));
	uint8_t m[64] = { 0x80, 54, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, m, 5);
	fake_run_for(b->event, 150);
	assert_int_equal(a->done, 0);
	fake_usb_packet(b->fake, IN, m + 5, 59);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 54);
	engine_check_alive(b);
}

/* CCID-43, CCID-44: less than a message, and less than it announces. */
static void answer_that_never_ends(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	static const uint8_t nine[9] = { 0x80, 0, 0, 0, 0, 0, 0xAA };
	b->answer = nine;
	b->answer_len = sizeof(nine);
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -ETIMEDOUT, 1000);
	engine_check_alive(b);
	static const uint8_t less[30] = { 0x80, 21, 0, 0, 0, 0, 0xAA };
	b->answer = less;
	b->answer_len = sizeof(less);
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -ETIMEDOUT, 1000);
	engine_check_alive(b);
}

/* CCID-45, CCID-46. */
static void lengths_beyond_all(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	static const uint8_t high[][4] = { { 0xFF, 0xFF, 0xFF, 0xFF }, { 0xF6, 0xFF, 0xFF, 0xFF },
		{ 0xF6, 0xFF, 0xFF, 0x7F }, { 0x37, 0x00, 0x01, 0x00 } };
	for (unsigned i = 0; i < 4; i++) {
		uint8_t m[20] = { 0x80, high[i][0], high[i][1], high[i][2], high[i][3], 0, 0xAA };
		b->answer = m;
		b->answer_len = sizeof(m);
		engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -EBADMSG, 1000);
		engine_check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 8);
	assert_int_equal(b->lost, 0);
}

static void long_answer(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	uint8_t *m = calloc(1, CCID_MSG_MAX);
	static const uint8_t header[10] = { 0x80, 0x36, 0x00, 0x01, 0, 0, 0xAA };
	memcpy(m, header, sizeof(header));
	for (size_t i = 10; i < CCID_MSG_MAX; i++)
		m[i] = (uint8_t)(i % 251);
	b->answer = m;
	b->answer_len = CCID_MSG_MAX;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, CCID_MSG_MAX - 10);
	assert_memory_equal(a->data, m + 10, CCID_MSG_MAX - 10);
	free(m);
	engine_check_alive(b);
}

/* CCID-47: padding; CCID-61: the same answer twice. */
static void bytes_behind_the_answer(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	static const uint8_t padded[60] = { 0x80, 2, 0, 0, 0, 0, 0xAA, 0, 0, 0, 0x90, 0x00 };
	b->answer = padded;
	b->answer_len = sizeof(padded);
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 2);
	engine_check_alive(b);
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, 0, 1000);
	engine_check_alive(b);
}

/* CCID-49: babble; three in a row mean a new open. */
static void babble(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 2; i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, 3);
		fake_usb_error(b->fake, IN, -EOVERFLOW);
		engine_ends_with(b, a, -EOVERFLOW, 1000);
		engine_check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 4);
	assert_int_equal(b->lost, 0);
}

/* CCID-50. */
static void stalls(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->fake->out_error = -EPIPE;
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -EPIPE, 1000);
	assert_int_equal(b->fake->n_clears, 2);
	engine_check_alive(b);
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	fake_usb_error(b->fake, IN, -EPIPE);
	engine_ends_with(b, a, -EPIPE, 1000);
	engine_check_alive(b);
	assert_int_equal(b->fake->n_clears, 4);
}

/* CCID-51: half of the message is taken; nothing is sent before the device is in step again. */
static void stuck_out(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->fake->out_hangs = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	fake_run_for(b->event, 200);
	assert_int_equal(a->done, 0);
	fake_run_for(b->event, 600);
	assert_int_equal(a->done, 1);
	assert_int_equal(a->error, -ETIMEDOUT);
	b->fake->out_hangs = 0;
	fake_usb_kick(b->fake);
	engine_check_alive(b);
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(b->fake->sent[0][0], CCID_GET_SLOT_STATUS);
}

/* A transfer error is waited for to turn out as an unplug, then the ladder. */
static void transfer_error(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	fake_usb_error(b->fake, IN, -EIO);
	fake_run_for(b->event, 500);
	assert_int_equal(a->done, 0);
	engine_ends_with(b, a, -EIO, 3000);
	engine_check_alive(b);
}

/* The answer lies in the transfer that the deadline ends. */
static void answer_in_the_ended_transfer(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[64] = { 0x80, 54, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, m, 64);
	ccid_hurry(b->ccid, &a->command, CCID_HARVEST_USEC / 2);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(b->fake->n_submitted_in, 1);
}

static void probe_fails(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1000;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *waiting = engine_ask(b, 1, 0, data, 3);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	assert_int_equal(waiting->done, 0);
	/* Slot status 3 s, halts cleared, 1 s, then the device is given up. */
	assert_true(fake_run(b->event, &b->lost, 9000));
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(waiting->done, 1);
	assert_true(ccid_is_stopped(b->ccid));
	struct asked *after = engine_ask(b, 2, 0, data, 3);
	assert_int_equal(after->done, 1);
}

/* At rest no transfer is open and no timer runs for long. */
static void at_rest(void **state) {
	struct engine_bench *b = *state;
	engine_check_alive(b);
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
#define CASE(name, setup) cmocka_unit_test_setup_teardown(name, setup, engine_teardown)
	const struct CMUnitTest tests[] = {
		CASE(one_out_one_in, engine_setup),
		CASE(out_is_exactly_the_message, engine_setup),
		CASE(empty_packets, engine_setup),
		CASE(unterminated_answers, engine_setup),
		CASE(answer_in_pieces, engine_setup),
		CASE(answer_that_never_ends, engine_setup),
		CASE(lengths_beyond_all, engine_setup),
		CASE(long_answer, engine_setup),
		CASE(bytes_behind_the_answer, engine_setup),
		CASE(babble, engine_setup),
		CASE(stalls, engine_setup),
		CASE(stuck_out, engine_setup),
		CASE(transfer_error, engine_setup),
		CASE(answer_in_the_ended_transfer, engine_setup),
		CASE(probe_fails, engine_setup),
		CASE(at_rest, engine_setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
