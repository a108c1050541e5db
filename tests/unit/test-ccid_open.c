/* SPDX-License-Identifier: MIT */
/* The CCID driver from a device node to a reader that answers. */
#include <errno.h>

#include "tests/unit/driver-bench.h"

/* ---- open ---- */

static void opens(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start(b);
	assert_int_equal(b->ready, 0);
	assert_int_equal(driver_ccid.n_slots(b->driver), 0);
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
	assert_int_equal(b->result.status, STATUS_STARTING);
	b->done = 0;
	assert_true(fake_run(b->event, &b->ready, 5000));
	assert_int_equal(driver_ccid.n_slots(b->driver), 1);
	assert_int_equal(b->present[0], 1);
	/* CCID-33: nothing announced, nothing asked. Neither reset nor configured. */
	assert_int_equal(b->fake->n_controls, 0);
	assert_int_equal(b->fake->n_resets + b->fake->n_configures + b->fake->n_sets, 0);
	assert_int_equal(b->fake->n_sent, 1);
	bench_free(b);
}

/* CCID-24. */
static void configures_what_is_not(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->configuration = 0;
	bench_start_ready(b);
	assert_int_equal(b->fake->n_configures, 1);
	assert_int_equal(b->fake->configuration, 1);
	bench_free(b);
}

/* CCID-25: busy, told once, tried again, no reset. */
static void claimed_by_another(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->claim_error = -EBUSY;
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 4500));
	assert_int_equal(b->why, STATUS_READER_CLAIMED);
	assert_false(b->fake->is_open);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_READER_CLAIMED);
	b->fake->claim_error = 0;
	assert_true(fake_run(b->event, &b->ready, 5500));
	assert_int_equal(b->troubles, 1);
	assert_int_equal(b->fake->n_resets, 0);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

static void refused_node(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->open_error = -EACCES;
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 4500));
	assert_int_equal(b->why, STATUS_READER_REFUSED);
	b->fake->open_error = 0;
	assert_true(fake_run(b->event, &b->ready, 5500));
	bench_free(b);
	b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->open_error = -ENOENT;
	bench_start(b);
	assert_true(fake_run(b->event, &b->gone, 4500));
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* Descriptors do not get better. */
static void broken_descriptors(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 14);
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 4500));
	assert_int_equal(b->why, STATUS_READER_BROKEN);
	fake_run_for(b->event, 1300);
	assert_int_equal(b->fake->n_opens, 1);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_READER_BROKEN);
	bench_free(b);
}

/* CCID-26: the first status is lost, the second one answered, halts cleared between them. */
static void first_answer_is_lost(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 1;
	bench_start(b);
	assert_true(fake_run(b->event, &b->ready, 8000));
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* CCID-27: silent on all, then tried again. */
static void silent_device(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 3;
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 10000));
	assert_int_equal(b->why, STATUS_READER_MUTE);
	assert_true(fake_run(b->event, &b->ready, 6000));
	assert_int_equal(b->fake->n_opens, 2);
	assert_int_equal(b->fake->n_sets, 1);
	bench_free(b);
}

/* CCID-28, CCID-30. */
static void left_overs_of_an_earlier_owner(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	fake_usb_send(b->fake, 0x82, BYTES(0x80, 2, 0, 0, 0, 0, 0x77, 0, 0, 0, 0x90, 0));
	fake_usb_packet(b->fake, INTERRUPT, BYTES(0x50, 0x02));
	bench_start_ready(b);
	assert_int_equal(b->present[0], 1);
	bench_free(b);
}

/* CCID-31, CCID-32. */
static void data_rates(void **state) {
	(void)state;
	static const struct {
		int len;
		unsigned n;
	} answers[] = { { -EPIPE, 0 }, { 0, 0 }, { 1, 0 }, { 6, 0 }, { 20, 5 }, { 384, 96 } };
	static uint8_t table[420] = { 0x00, 0x2A, 0x00, 0x00, 0x01, 0x00, 0x00, 0x80 };
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->descriptors.bytes[18 + 9 + 9 + 27] = 96;
		b->rates = table;
		b->rates_len = answers[i].len;
		bench_start_ready(b);
		assert_int_equal(b->fake->n_controls, 1);
		assert_int_equal(b->driver->rates[0].n, answers[i].n);
		if (answers[i].n) {
			assert_int_equal(b->driver->rates[0].rates[0], 10752);
			assert_int_equal(b->driver->rates[0].rates[1], 0x80000001);
		}
		bench_free(b);
	}
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 9 + 9 + 27] = 96;
	b->fake->control_hangs = 1;
	bench_start(b);
	assert_true(fake_run(b->event, &b->ready, 5500));
	assert_int_equal(b->driver->rates[0].n, 0);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens),
		cmocka_unit_test(configures_what_is_not),
		cmocka_unit_test(claimed_by_another),
		cmocka_unit_test(refused_node),
		cmocka_unit_test(broken_descriptors),
		cmocka_unit_test(first_answer_is_lost),
		cmocka_unit_test(silent_device),
		cmocka_unit_test(left_overs_of_an_earlier_owner),
		cmocka_unit_test(data_rates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
