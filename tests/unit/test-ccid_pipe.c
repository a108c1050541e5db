/* SPDX-License-Identifier: MIT */
/* The engine and its transfers: packets, lengths, halts, and the way back into step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "ifdhandler/ccid/ccid_pipe.h"
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

/* Sizes around multiples of the packet size go out as they are. */
static void ccid_36_out_is_exactly_the_message(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[300];
	for (size_t len = 53; len <= 55; len++)
		engine_ends_with(b, engine_ask(b, 0, 0, data, len), 0, 1000);
	engine_ends_with(b, engine_ask(b, 0, 0, data, 118), 0, 1000);
	assert_int_equal(b->fake->n_sent, 4);
	assert_int_equal(b->fake->sent_len[1], 64);
	assert_int_equal(b->fake->sent_len[3], 128);
	assert_int_equal(b->fake->n_out, 4); /* and no empty packet */
}

/* Room is made for what comes, not for what is announced. */
static void ccid_20_longest_message_length(void **state) {
	(void)state;
	struct ccid_in in;
	assert_int_equal(ccid_in_init(&in, FAKE_PACKET, 0xFFFFFFFF), 0);
	assert_in_range(in.size, 1, USB_MAX_BULK);
	ccid_in_done(&in);
}

/* Empty transfers before, behind and inside of a message. */
static void ccid_37_40_41_empty_packets(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[54];
	fake_usb_packet(b->fake, IN, NULL, 0);
	fake_usb_packet(b->fake, IN, NULL, 0);
	engine_ends_with(b, engine_ask(b, 0, 0, data, sizeof(data)), 0, 1000);
	engine_check_alive(b);
	/* In one transfer, and asked for packet by packet. */
	for (unsigned i = 0; i < 2; i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, 54);
		uint8_t m[84] = { 0x80, 74, 0, 0, 0, 0, a->command.seq };
		fake_usb_packet(b->fake, IN, m, 64);
		fake_usb_packet(b->fake, IN, NULL, 0);
		fake_usb_packet(b->fake, IN, m + 64, 20);
		engine_ends_with(b, a, 0, 1000);
		assert_int_equal(a->reply.len, 74);
		b->ccid->pipes[0].assembler.unterminated = 1;
	}
}

/* Without an empty packet behind it, the first such answer takes a moment; from then on such
 * a device is asked packet by packet, and no answer waits. */
static void ccid_38_unterminated_answers(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 3; i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, sizeof(data));
		a->command.deadline += 10 * UINT64_C(1000000);
		assert_true(i == 0 || b->fake->last_in_len == FAKE_PACKET);
		uint8_t m[128] = { 0x80, 118, 0, 0, 0, 0, a->command.seq };
		fake_usb_packet(b->fake, IN, m, 64);
		fake_usb_packet(b->fake, IN, m + 64, 64);
		engine_ends_with(b, a, 0, i == 0 ? 2000 : 100);
		assert_int_equal(a->reply.len, 118);
	}
	engine_check_alive(b);
}

/* An answer in pieces, the first of them short. */
static void ccid_39_42_answer_in_pieces(void **state) {
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
	/* Two packets with a pause. */
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, sizeof(data));
	uint8_t two[128] = { 0x80, 118, 0, 0, 0, 0, a->command.seq };
	fake_usb_packet(b->fake, IN, two, 64);
	fake_run_for(b->event, 200);
	assert_int_equal(a->done, 0);
	fake_usb_send(b->fake, IN, two + 64, 64);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 118);
	/* The rest never comes. */
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, sizeof(data));
	m[6] = a->command.seq;
	fake_usb_packet(b->fake, IN, m, 5);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	engine_check_alive(b);
}

/* Less than a message, and less than it announces. */
static void ccid_43_44_answer_that_never_ends(void **state) {
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

static void ccid_45_46_lengths_beyond_all(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	uint32_t lengths[13] = { 0x7FFFFFF6, 0x7FFFFFFF, 0x00010037 };
	for (unsigned i = 0; i < 10; i++)
		lengths[3 + i] = 0xFFFFFFF6 + i;
	for (unsigned i = 0; i < 13; i++) {
		uint32_t n = lengths[i];
		uint8_t m[20] = { 0x80, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
			(uint8_t)(n >> 24), 0, 0xAA };
		b->answer = m;
		b->answer_len = sizeof(m);
		/* At once, not at the deadline. */
		engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -EBADMSG, SHORT_USEC / 1000 / 2);
		assert_in_range(b->ccid->pipes[0].assembler.size, 1, CCID_MSG_MAX);
		engine_check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 2 * 13);
	assert_int_equal(b->lost, 0);
}

static void long_answer(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	uint8_t *m = calloc(1, CCID_MSG_MAX);
	static const uint8_t header[10] = { 0x80, 0x0C, 0x00, 0x01, 0, 0, 0xAA };
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

/* Padding; the same answer twice. */
static void ccid_47_61_bytes_behind_the_answer(void **state) {
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

/* Babble; three in a row mean a new open. */
static void ccid_49_babble(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 4; i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, 3);
		fake_usb_error(b->fake, IN, -EOVERFLOW);
		engine_ends_with(b, a, -EOVERFLOW, 1000);
		engine_check_alive(b);
	}
	assert_int_equal(b->fake->n_clears, 8);
	assert_int_equal(b->lost, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(b->lost, 0);
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, 3);
		fake_usb_error(b->fake, IN, -EOVERFLOW);
		engine_ends_with(b, a, -EOVERFLOW, 1000);
	}
	assert_int_equal(b->lost, 1);
}

/* The claim was lost to another program: transfers are refused, and a new open will tell. */
static void ccid_150_claim_lost(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->fake->submit_error = -EIO;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *queued = engine_ask(b, 1, 0, data, 3);
	assert_true(fake_run(b->event, &b->lost, 3000));
	assert_int_equal(a->error, -EIO);
	assert_int_equal(queued->done, 1);
	assert_int_equal(b->fake->n_clears, 2);
}

/* Refused once: the ladder's first steps are enough. */
static void refused_once(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->fake->submit_error = -EIO;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	b->fake->submit_error = 0;
	engine_ends_with(b, a, -EIO, 3000);
	engine_check_alive(b);
	assert_int_equal(b->lost, 0);
}

static void ccid_50_stalls(void **state) {
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

/* Half of the message is taken; nothing is sent before the device is in step again. */
static void ccid_51_stuck_out(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->fake->out_hangs = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	/* 5 s, however long the answer may take. */
	a->command.deadline += 60 * UINT64_C(1000000);
	struct ccid_pipe *pipe = &b->ccid->pipes[0];
	assert_in_range(pipe->write_until - ccid_now(), 4900000, 5000000);
	pipe->write_until -= 4700000;
	fake_run_for(b->event, 200);
	assert_int_equal(a->done, 0);
	ccid_pump(b->ccid);
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
		CASE(ccid_20_longest_message_length, engine_setup),
		CASE(ccid_36_out_is_exactly_the_message, engine_setup),
		CASE(ccid_37_40_41_empty_packets, engine_setup),
		CASE(ccid_38_unterminated_answers, engine_setup),
		CASE(ccid_39_42_answer_in_pieces, engine_setup),
		CASE(ccid_43_44_answer_that_never_ends, engine_setup),
		CASE(ccid_45_46_lengths_beyond_all, engine_setup),
		CASE(long_answer, engine_setup),
		CASE(ccid_47_61_bytes_behind_the_answer, engine_setup),
		CASE(ccid_49_babble, engine_setup),
		CASE(ccid_50_stalls, engine_setup),
		CASE(ccid_51_stuck_out, engine_setup),
		CASE(ccid_150_claim_lost, engine_setup),
		CASE(refused_once, engine_setup),
		CASE(transfer_error, engine_setup),
		CASE(answer_in_the_ended_transfer, engine_setup),
		CASE(probe_fails, engine_setup),
		CASE(at_rest, engine_setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
