/* SPDX-License-Identifier: MIT */
/* The engine and its commands: whose answer is it, until when, and who comes next. */
#include <errno.h>

#include "tests/unit/engine-bench.h"

/* CCID-48: an answer for the next command, before that was sent. */
static void answer_from_the_future(void **state) {
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

/* CCID-52 to CCID-57: answers that are not for this command are passed over. */
static void foreign_answers(void **state) {
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

/* CCID-55: only wrong ones: an error at the deadline. CCID-29: too many: the ladder. */
static void only_foreign_answers(void **state) {
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

/* CCID-59: the late answer does not meet the next command. */
static void late_answer(void **state) {
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

/* CCID-60. */
static void sequence_numbers(void **state) {
	struct engine_bench *b = *state;
	for (unsigned i = 0; i < 300; i++)
		engine_check_alive(b);
	for (unsigned i = 1; i < 300; i++)
		assert_int_equal(b->fake->sent[i][6], (uint8_t)(b->fake->sent[i - 1][6] + 1));
}

/* CCID-64, CCID-65, CCID-68, CCID-69. */
static void time_extensions(void **state) {
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

/* CCID-71, CCID-72. */
static void busy_slots(void **state) {
	struct engine_bench *b = *state;
	static uint8_t data[3];
	b->n_busy = 2;
	b->busy_error = CCID_ERROR_BUSY_AUTO;
	uint64_t start = ccid_now();
	engine_ends_with(b, engine_ask(b, 0, 0, data, 3), 0, 1000);
	assert_true(ccid_now() - start >= 2 * CCID_AUTO_BUSY_USEC);
	assert_int_equal(b->fake->n_sent, 3);
	assert_int_not_equal(b->fake->sent[0][6], b->fake->sent[1][6]);
	b->n_busy = 1000;
	b->busy_error = CCID_ERROR_SLOT_BUSY;
	struct asked *a = engine_ask(b, 0, 0, data, 3);
	engine_ends_with(b, a, 0, 3000);
	assert_int_equal(a->reply.error, CCID_ERROR_SLOT_BUSY);
	assert_int_equal(b->fake->n_sent, 3 + 1 + CCID_MAX_BUSY_TRIES);
}

/* CCID-88: two slots at once, answered in reverse order. */
static void two_slots_at_once(void **state) {
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

/* CCID-89: one busy slot: commands alternate. */
static void one_at_a_time(void **state) {
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

/* CCID-23: two interfaces: serialised, each on its own endpoints, one counter. */
static void two_interfaces(void **state) {
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

/* CCID-150: unplugged while a command waits: it ends when the engine is told. */
static void stop_ends_all(void **state) {
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
		CASE(answer_from_the_future, engine_setup),
		CASE(foreign_answers, engine_setup),
		CASE(only_foreign_answers, engine_setup),
		CASE(extensions_of_an_earlier_owner, engine_setup),
		CASE(late_answer, engine_setup),
		CASE(sequence_numbers, engine_setup),
		CASE(time_extensions, engine_setup),
		CASE(busy_slots, engine_setup),
		CASE(two_slots_at_once, engine_setup_two_slots),
		CASE(one_slot_mute, engine_setup_two_slots),
		CASE(one_at_a_time, engine_setup_two_slots),
		CASE(two_interfaces, engine_setup_two_interfaces),
		CASE(stop_ends_all, engine_setup),
		CASE(hurry, engine_setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
