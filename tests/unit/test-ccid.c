/* SPDX-License-Identifier: MIT */
/* The engine and its commands: whose answer is it, until when, and who comes next. */
#include <errno.h>

#include <systemd/sd-event.h>

#include "tests/unit/engine-bench.h"

/* An answer for the next command, before that was sent. */
static void ccid_48_answer_from_the_future(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3] = { 7, 8, 9 };
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *next = engine_ask(b, 1, 0, data, 3);
	uint8_t m[32] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x90, 0x00, 0x80, 2, 0, 0,
		0, 0, (uint8_t)(a->command.seq + 1), 0, 0, 0, 0x6F, 0x00 };
	fake_usb_send(b->fake, IN, m, 24);
	engine_ends_with(b, a, 0, 1000);
	engine_ends_with(b, next, 0, 1000);
	assert_int_equal(next->reply.len, 3);
	assert_memory_equal(next->data, data, 3);
}

/* Answers that are not for this command are passed over. */
static void ccid_52_53_54_56_foreign_answers(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
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
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.len, 2);
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, 3);
	uint8_t failed[10] = { 0x81, 0, 0, 0, 0, 0, a->command.seq, 0x41, 0xFE };
	fake_usb_send(b->fake, IN, failed, 10);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->reply.error, 0xFE);
}

/* Only wrong ones: an error at the deadline; too many: the ladder. */
static void ccid_29_55_only_foreign_answers(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	uint64_t start = ccid_now();
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, (uint8_t)(a->command.seq + 9) };
	for (unsigned i = 0; i < CCID_MAX_STALE; i++)
		fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	assert_true(ccid_now() - start >= SHORT_USEC);
	assert_true(ccid_now() - start < SHORT_USEC + 1000000);
	engine_check_alive(b);
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, 3);
	for (unsigned i = 0; i < CCID_MAX_STALE + 1; i++)
		fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, -EBADMSG, 1000);
	engine_check_alive(b);
}

/* A command that an earlier owner left behind goes on telling that it takes time. */
static void extensions_of_an_earlier_owner(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, (uint8_t)(a->command.seq + 9), 0x80, 1 };
	for (unsigned i = 0; i < 10 * CCID_MAX_STALE; i++)
		fake_usb_send(b->fake, IN, m, 10);
	uint8_t right[12] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x90, 0 };
	fake_usb_send(b->fake, IN, right, 12);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(b->fake->n_clears, 0);
}

/* The late answer does not meet the next command. */
static void ccid_59_late_answer(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	uint8_t m[13] = { 0x80, 3, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 6, 6, 6 };
	fake_usb_send(b->fake, IN, m, 13);
	engine_check_alive(b);
	/* Asked before anything else: the slot's status. */
	assert_int_equal(b->fake->sent[1][0], CCID_GET_SLOT_STATUS);
	assert_int_equal(b->fake->n_clears, 0);
}

static void ccid_60_sequence_numbers(void **state) {
	struct engine_bench *b = *state;
	for (unsigned i = 0; i < 300; i++)
		engine_check_alive(b);
	for (unsigned i = 1; i < 300; i++)
		assert_int_equal(b->fake->sent[i][6], (uint8_t)(b->fake->sent[i - 1][6] + 1));
}

static void ccid_64_65_68_time_extensions(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[15] = { 0x80, 0, 0, 0, 0, 0, a->command.seq, 0x80, 1 };
	for (unsigned i = 0; i < 5; i++) {
		fake_run_for(b->event, 100);
		m[8] = i == 1 ? 0 : 1;
		m[1] = i == 2 ? 5 : 0;
		fake_usb_send(b->fake, IN, m, i == 2 ? 15 : 10);
		assert_int_equal(a->done, 0);
	}
	uint8_t end[12] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x90, 0 };
	fake_usb_send(b->fake, IN, end, 12);
	engine_ends_with(b, a, 0, 1000);
	b->n_ignore = 1;
	a = engine_ask(b, 0, 0, data, 3);
	m[6] = a->command.seq;
	m[8] = 2;
	m[1] = 0;
	uint64_t start = ccid_now();
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, -ETIMEDOUT, 2000);
	assert_true(ccid_now() - start >= 2 * SHORT_USEC);
}

static void ccid_71_72_busy_slots(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_busy = 2;
	b->busy_error = CCID_ERROR_BUSY_AUTO;
	uint64_t start = ccid_now();
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), 0, 1000);
	assert_true(ccid_now() - start >= 2 * 100000);
	assert_int_equal(b->fake->n_sent, 3);
	assert_int_not_equal(b->fake->sent[0][6], b->fake->sent[1][6]);
	b->n_busy = 1000;
	b->busy_error = CCID_ERROR_SLOT_BUSY;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, 0, 3000);
	assert_int_equal(a->reply.error, CCID_ERROR_SLOT_BUSY);
	assert_int_equal(b->fake->n_sent, 3 + 1 + CCID_MAX_BUSY_TRIES);
}

/* Two slots at once, answered in reverse order. */
static void ccid_88_two_slots_at_once(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 2;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *c = engine_ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 20);
	assert_int_equal(b->fake->n_sent, 2);
	uint8_t m1[11] = { 0x80, 1, 0, 0, 0, 1, c->command.seq, 0, 0, 0, 0x11 };
	uint8_t m0[11] = { 0x80, 1, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x10 };
	fake_usb_send(b->fake, IN, m1, 11);
	fake_usb_send(b->fake, IN, m0, 11);
	engine_ends_with(b, c, 0, 1000);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(a->data[0], 0x10);
	assert_int_equal(c->data[0], 0x11);
}

/* A slot without an answer leaves the other one alone. */
static void one_slot_mute(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *mute = engine_ask(b, 0, 1, data, 3);
	for (unsigned i = 0; i < 20; i++) {
		engine_check_alive(b);
		fake_run_for(b->event, 10);
	}
	engine_ends_with(b, mute, -ETIMEDOUT, 1000);
	engine_check_alive(b);
	assert_int_equal(b->fake->n_clears, 0);
}

/* One busy slot: commands alternate. */
static void ccid_89_one_at_a_time(void **state) {
	struct engine_bench *b = *state;
	b->desc.interfaces[0].n_busy = 1;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *c = engine_ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 50);
	assert_int_equal(b->fake->n_sent, 1);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, 0, 1000);
	engine_ends_with(b, c, 0, 1000);
}

/* Two interfaces: serialised, each on its own endpoints, one counter. */
static void ccid_23_two_interfaces(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *c = engine_ask(b, 1, 1, data, 3);
	fake_run_for(b->event, 50);
	assert_int_equal(b->fake->n_sent, 1);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, 0, 1000);
	engine_ends_with(b, c, 0, 1000);
	assert_int_equal(b->fake->sent[1][5], 0);
	assert_int_equal(b->fake->sent[1][6], (uint8_t)(b->fake->sent[0][6] + 1));
}

/* Unplugged while a command waits: it ends when the engine is told. */
static void ccid_150_stop_ends_all(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *queued = engine_ask(b, 1, 0, data, 3);
	fake_run_for(b->event, 20);
	ccid_stop(b->ccid, -ENODEV);
	assert_int_equal(a->done, 1);
	assert_int_equal(a->error, -ENODEV);
	assert_int_equal(queued->done, 1);
	fake_usb_unplug(b->fake);
	fake_run_for(b->event, 20);
	assert_int_equal(a->done, 1);
}

/* As many at once as the device says, and answered from the last to the first. */
static void ccid_18_88_eight_slots_at_once(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	struct asked *asked[8];
	b->n_ignore = 8;
	for (unsigned i = 0; i < 8; i++)
		asked[i] = engine_ask(b, i, i, data, 3);
	fake_run_for(b->event, 20);
	assert_int_equal(b->fake->n_sent, 8);
	for (unsigned i = 8; i-- > 0;) {
		uint8_t m[11] = { 0x80, 1, 0, 0, 0, (uint8_t)i, asked[i]->command.seq, 0, 0, 0,
			(uint8_t)(0x10 + i) };
		fake_usb_send(b->fake, IN, m, 11);
		engine_ends_with(b, asked[i], 0, 1000);
		assert_int_equal(asked[i]->data[0], 0x10 + i);
	}
}

/* Another slot's answer, and that of a slot which does not exist, with the right number. */
static void ccid_56_57_foreign_slots(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 2;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	struct asked *other = engine_ask(b, 1, 1, data, 3);
	static const uint8_t slots[] = { 1, 2, 7, 8, 32, 255 };
	for (size_t i = 0; i < sizeof(slots); i++) {
		uint8_t m[11] = { 0x80, 1, 0, 0, 0, slots[i], a->command.seq };
		fake_usb_send(b->fake, IN, m, 11);
	}
	fake_run_for(b->event, 50);
	assert_int_equal(a->done + other->done, 0);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, a, 0, 1000);
	assert_int_equal(other->done, 0);
	m[5] = 1;
	m[6] = other->command.seq;
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, other, 0, 1000);
}

/* One counter for all slots: readers exist that ignore a command with the number of the one before. */
static void ccid_60_numbers_across_slots(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	for (unsigned i = 0; i < 40; i++)
		engine_ends_with(b, engine_ask(b, 0, i % 8, data, 3), 0, 1000);
	for (unsigned i = 1; i < 40; i++)
		assert_int_equal(b->fake->sent[i][6], (uint8_t)(b->fake->sent[i - 1][6] + 1));
}

/* Its client is gone: the command is ended, the device asked for its status before anything else, and
 * the answer that comes in the end is nobody's. */
static void ccid_62_abandoned_command(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3] = { 4, 5, 6 };
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	fake_run_for(b->event, 20);
	uint64_t start = ccid_now();
	ccid_hurry(b->ccid, &a->command, 0);
	engine_ends_with(b, a, -ETIMEDOUT, 100);
	assert_true(ccid_now() - start < SHORT_USEC / 2);
	uint8_t late[12] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0, 0, 0, 0x6F, 0x00 };
	fake_usb_send(b->fake, IN, late, 12);
	struct asked *next = engine_ask(b, 1, 0, data, 3);
	engine_ends_with(b, next, 0, 1000);
	assert_memory_equal(next->data, data, 3);
	assert_int_equal(b->fake->n_sent, 3);
	assert_int_equal(b->fake->sent[1][0], CCID_GET_SLOT_STATUS);
	assert_int_equal(b->fake->n_clears, 0);
}

/* A message that is half out is not cut because nobody waits for its answer: the pipe would have to be
 * cleared, and the other slot's command would fail with it. */
static void ccid_62_abandoned_while_it_is_sent(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3] = { 4, 5, 6 };
	b->n_ignore = 2;
	struct asked *other = engine_ask(b, 0, 1, data, 3);
	fake_run_for(b->event, 20);
	other->command.deadline += 10 * UINT64_C(1000000);
	b->fake->out_hangs = 1;
	struct asked *a = engine_ask(b, 1, 0, data, 3);
	ccid_hurry(b->ccid, &a->command, 0);
	fake_run_for(b->event, 100);
	b->fake->out_hangs = 0;
	fake_usb_kick(b->fake);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	assert_int_equal(other->done, 0);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 1, other->command.seq };
	fake_usb_send(b->fake, IN, m, 10);
	engine_ends_with(b, other, 0, 1000);
	assert_int_equal(b->fake->n_clears, 0);
	engine_check_alive(b);
}

/* The deadline is the message's, not each packet's. */
static void ccid_63_slow_packets(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	uint64_t start = ccid_now();
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[64] = { 0x80, 0xF4, 1, 0, 0, 0, a->command.seq };
	for (unsigned i = 0; i < 4 && !a->done; i++) {
		fake_usb_packet(b->fake, IN, m, 63); /* short: each ends a transfer */
		fake_run_for(b->event, 140);
	}
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	assert_in_range(ccid_now() - start, SHORT_USEC, 2 * SHORT_USEC);
	engine_check_alive(b);
}

static void ccid_66_longest_extension(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, a->command.seq, 0x80, 0xFF };
	fake_usb_send(b->fake, IN, m, 10);
	fake_run_for(b->event, 20);
	uint64_t left = a->command.deadline - ccid_now();
	assert_in_range(left, 255 * SHORT_USEC - 100000, 255 * SHORT_USEC);
	a->command.timeout_usec = 60 * UINT64_C(1000000);
	fake_usb_send(b->fake, IN, m, 10);
	fake_run_for(b->event, 20);
	left = a->command.deadline - ccid_now();
	assert_in_range(left, 599 * UINT64_C(1000000), CCID_MAX_EXTENSION_USEC);
	ccid_hurry(b->ccid, &a->command, 0);
	engine_ends_with(b, a, -ETIMEDOUT, 100);
	engine_check_alive(b);
}

/* Time asked for again and again: nothing is done but reading it, and it has an end. */
static void ccid_67_endless_extensions(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 1, data, 3);
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 1, a->command.seq, 0x80, 1 };
	uint64_t before, after;
	(void)sd_event_get_iteration(b->event, &before);
	for (unsigned i = 0; i < 60; i++) {
		fake_usb_send(b->fake, IN, m, 10);
		fake_run_for(b->event, 10);
		assert_int_equal(a->done, 0);
	}
	(void)sd_event_get_iteration(b->event, &after);
	assert_true(after - before <= 60 * 5);
	engine_check_alive(b); /* the other slot */
	ccid_hurry(b->ccid, &a->command, 50000);
	uint64_t start = ccid_now();
	while (!a->done && ccid_now() - start < 1000000) {
		fake_usb_send(b->fake, IN, m, 10);
		fake_run_for(b->event, 10);
	}
	assert_true(ccid_now() - start < 100000 + SHORT_USEC / 2);
	engine_ends_with(b, a, -ETIMEDOUT, 1);
	engine_ends_with(b, engine_ask(b, 1, 1, data, 3), 0, 1000);
}

/* Whatever the command is, and whatever type the extension has. */
static void ccid_69_extensions_of_all_commands(void **state) {
	struct engine_bench *b = *state;
	static const uint8_t types[] = { CCID_POWER_ON, CCID_POWER_OFF, CCID_GET_SLOT_STATUS,
		CCID_XFR_BLOCK, CCID_GET_PARAMETERS, CCID_SET_PARAMETERS, CCID_ESCAPE,
		CCID_SECURE };
	static const uint8_t answers[] = { 0x80, 0x81, 0x81, 0x80, 0x82, 0x82, 0x83, 0x80 };
	static uint8_t data[3];
	for (size_t i = 0; i < sizeof(types); i++) {
		b->n_ignore = 1;
		struct asked *a = engine_ask(b, 0, 0, data, 0);
		a->command.request.type = types[i];
		uint8_t m[10] = { i % 2 ? 0x80 : answers[i], 0, 0, 0, 0, 0, a->command.seq, 0x80,
			2 };
		fake_run_for(b->event, 10);
		fake_usb_send(b->fake, IN, m, 10);
		fake_run_for(b->event, 10);
		uint64_t left = a->command.deadline - ccid_now();
		assert_in_range(left, 2 * SHORT_USEC - 100000, 2 * SHORT_USEC);
		m[0] = answers[i];
		m[7] = 0;
		fake_usb_send(b->fake, IN, m, 10);
		engine_ends_with(b, a, 0, 1000);
	}
}

static void ccid_70_extension_of_another_command(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	uint64_t deadline = a->command.deadline;
	uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, (uint8_t)(a->command.seq + 1), 0x80, 9 };
	fake_usb_send(b->fake, IN, m, 10);
	fake_run_for(b->event, 20);
	assert_int_equal(a->command.deadline, deadline);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	engine_check_alive(b);
}

/* Both halves of ABORT have one number (CCID 1.10 5.3.1), and what comes before its answer is stale. */
static void abort_where_known(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, -ETIMEDOUT, 1000);
	uint8_t late[12] = { 0x80, 2, 0, 0, 0, 0, a->command.seq, 0x41, 0xFF };
	fake_usb_send(b->fake, IN, late, 12);
	engine_check_alive(b);
	assert_int_equal(b->fake->n_controls, 1);
	assert_int_equal(b->setup.request_type, 0x21);
	assert_int_equal(b->setup.request, 1);
	assert_int_equal(b->setup.value, b->fake->sent[1][6] << 8);
	assert_int_equal(b->fake->sent[1][0], CCID_ABORT);
	/* A device that does not take it after all. */
	b->control_result = -EPIPE;
	b->n_ignore = 1;
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), -ETIMEDOUT, 1000);
	engine_check_alive(b);
	assert_int_equal(b->fake->n_controls, 2);
	assert_int_equal(b->fake->sent[4][0], CCID_GET_SLOT_STATUS);
	assert_int_equal(b->fake->n_clears, 0);
}

static void hurry(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_ignore = 1;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	fake_run_for(b->event, 10);
	a->command.deadline += 10 * UINT64_C(1000000);
	ccid_hurry(b->ccid, &a->command, 50000);
	engine_ends_with(b, a, -ETIMEDOUT, 5000);
	engine_check_alive(b);
}

int main(void) {
#define CASE(name, setup) cmocka_unit_test_setup_teardown(name, setup, engine_teardown)
	const struct CMUnitTest tests[] = {
		CASE(ccid_48_answer_from_the_future, engine_setup),
		CASE(ccid_52_53_54_56_foreign_answers, engine_setup),
		CASE(ccid_29_55_only_foreign_answers, engine_setup),
		CASE(extensions_of_an_earlier_owner, engine_setup),
		CASE(ccid_59_late_answer, engine_setup),
		CASE(ccid_60_sequence_numbers, engine_setup),
		CASE(ccid_64_65_68_time_extensions, engine_setup),
		CASE(ccid_71_72_busy_slots, engine_setup),
		CASE(ccid_88_two_slots_at_once, engine_setup_two_slots),
		CASE(one_slot_mute, engine_setup_two_slots),
		CASE(ccid_89_one_at_a_time, engine_setup_two_slots),
		CASE(ccid_23_two_interfaces, engine_setup_two_interfaces),
		CASE(ccid_150_stop_ends_all, engine_setup),
		CASE(hurry, engine_setup),
		CASE(ccid_18_88_eight_slots_at_once, engine_setup_eight_slots),
		CASE(ccid_56_57_foreign_slots, engine_setup_eight_slots),
		CASE(ccid_60_numbers_across_slots, engine_setup_eight_slots),
		CASE(ccid_62_abandoned_while_it_is_sent, engine_setup_two_slots),
		CASE(ccid_62_abandoned_command, engine_setup),
		CASE(ccid_63_slow_packets, engine_setup),
		CASE(ccid_66_longest_extension, engine_setup),
		CASE(ccid_67_endless_extensions, engine_setup_two_slots),
		CASE(ccid_69_extensions_of_all_commands, engine_setup),
		CASE(ccid_70_extension_of_another_command, engine_setup),
		CASE(abort_where_known, engine_setup_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
