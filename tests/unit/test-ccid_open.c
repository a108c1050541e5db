/* SPDX-License-Identifier: MIT */
/* The CCID driver from a device node to a reader that answers. */
#include <errno.h>

#include <systemd/sd-event.h>

#include "tests/unit/driver-bench.h"

/* ---- open ---- */

static void ccid_33_opens(void **state) {
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
	/* Nothing announced, nothing asked. Neither reset nor configured. */
	assert_int_equal(b->fake->n_controls, 0);
	assert_int_equal(b->fake->n_resets + b->fake->n_configures + b->fake->n_sets, 0);
	assert_int_equal(b->fake->n_sent, 1);
	bench_free(b);
}

static void ccid_24_configures_what_is_not(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->configuration = 0;
	bench_start_ready(b);
	assert_int_equal(b->fake->n_configures, 1);
	assert_int_equal(b->fake->configuration, 1);
	bench_free(b);
}

/* Busy, told once, tried again, no reset. */
static void ccid_25_claimed_by_another(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->claim_error = -EBUSY;
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 4500));
	assert_int_equal(b->why, STATUS_READER_CLAIMED);
	assert_false(b->fake->is_open);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_READER_CLAIMED);
	static const unsigned waits[] = { 1, 2, 5, 10, 10 };
	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		uint64_t due;
		fake_run_for(b->event, 50);
		assert_int_equal(b->fake->n_opens, i + 1);
		(void)sd_event_source_get_time(b->driver->timer, &due);
		assert_in_range(due - ccid_now(), waits[i] * 1000000 - 100000, waits[i] * 1000000);
		/* As if it were over. */
		(void)sd_event_source_set_time(b->driver->timer, 0);
	}
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
	/* Not configured any more: it may be again. */
	b->fake->claim_error = -ENOENT;
	bench_start(b);
	assert_true(fake_run(b->event, &b->troubles, 4500));
	assert_int_equal(b->why, STATUS_READER_MUTE);
	assert_int_equal(b->gone, 0);
	bench_free(b);
	b = bench_new(CCID_FEATURE_TPDU, 271);
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

/* The first status is lost, the second one answered, halts cleared between them. */
static void ccid_26_first_answer_is_lost(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 1;
	bench_start(b);
	assert_true(fake_run(b->event, &b->ready, 8000));
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* Silent on all, then tried again. */
static void ccid_27_silent_device(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 3;
	bench_start(b);
	uint64_t start = ccid_now();
	assert_true(fake_run(b->event, &b->troubles, 10000));
	assert_in_range(ccid_now() - start, 4900000, 6000000);
	assert_int_equal(b->why, STATUS_READER_MUTE);
	/* Others may have it until the next try. */
	fake_run_for(b->event, 50);
	assert_false(b->fake->is_open);
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		assert_null(b->fake->pending[i]);
	assert_true(fake_run(b->event, &b->ready, 6000));
	assert_int_equal(b->fake->n_opens, 2);
	assert_int_equal(b->fake->n_sets, 1);
	bench_free(b);
}

static void ccid_28_30_left_overs_of_an_earlier_owner(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	fake_usb_send(b->fake, 0x82, BYTES(0x80, 2, 0, 0, 0, 0, 0x77, 0, 0, 0, 0x90, 0));
	fake_usb_packet(b->fake, INTERRUPT, BYTES(0x50, 0x02));
	bench_start_ready(b);
	assert_int_equal(b->present[0], 1);
	bench_free(b);
}

/* Too many of them: the ladder, and the next question is answered. */
static void ccid_29_many_left_overs(void **state) {
	(void)state;
	static const unsigned counts[] = { 10, 11, 50 };
	for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		bench_start(b);
		while (!b->driver->ccid)
			(void)sd_event_run(b->event, 1000000);
		/* Any number but those to come. */
		uint8_t seq = (uint8_t)(b->driver->slots[0].status.seq - 100u);
		for (unsigned i = 0; i < counts[k]; i++)
			fake_usb_send(
				b->fake, 0x82, BYTES(0x80, 2, 0, 0, 0, 0, seq, 0, 0, 0, 0x90, 0));
		b->n_ignore = counts[k] > 10; /* the flood is seen first */
		assert_true(fake_run(b->event, &b->ready, 5000));
		assert_int_equal(b->present[0], 1);
		assert_true(b->fake->n_sent < 12);
		bench_free(b);
	}
}

/* Slow firmware: 3 s are waited. */
static void ccid_35_slow_first_status(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 1;
	bench_start(b);
	fake_run_for(b->event, 900);
	assert_int_equal(b->fake->n_sent, 1);
	fake_usb_send(b->fake, 0x82, BYTES(0x81, 0, 0, 0, 0, 0, b->fake->sent[0][6], 2, 0, 0));
	assert_true(fake_run(b->event, &b->ready, 100));
	assert_int_equal(b->present[0], 0);
	assert_int_equal(b->fake->n_sent, 1);
	assert_int_equal(b->fake->n_clears, 0);
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* Announced 106, sent 5. */
static void ccid_32_short_table(void **state) {
	(void)state;
	static const uint8_t table[20] = { 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5 };
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 9 + 9 + 27] = 106;
	b->rates = table;
	b->rates_len = sizeof(table);
	bench_start_ready(b);
	assert_int_equal(b->driver->rates[0].n, 5);
	assert_int_equal(b->driver->rates[0].rates[4], 5);
	bench_free(b);
}

/* Stronger means are for a device that was lost and has nothing else on it, and a reset of the port only
 * for one of which it is said. */
static void recovery_steps(void **state) {
	(void)state;
	static const struct {
		const char *quirks;
		int n_interfaces;
		unsigned n_sets, n_resets;
	} cases[] = { { NULL, 1, 1, 0 }, { "reset", 1, 1, 1 }, { "reset", 2, 0, 0 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->config.quirks = cases[i].quirks;
		b->descriptors.bytes[18 + 4] = (uint8_t)cases[i].n_interfaces; /* bNumInterfaces */
		bench_start_ready(b);
		assert_int_equal(b->fake->n_sets + b->fake->n_resets, 0);
		b->ready = 0;
		ccid_lost(b->driver, -ETIMEDOUT);
		b->driver->n_failed = 3;
		assert_true(fake_run(b->event, &b->ready, 3000));
		assert_int_equal(b->fake->n_sets, cases[i].n_sets);
		assert_int_equal(b->fake->n_resets, cases[i].n_resets);
		bench_free(b);
	}
}

static void ccid_31_32_data_rates(void **state) {
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
		cmocka_unit_test(ccid_33_opens),
		cmocka_unit_test(ccid_24_configures_what_is_not),
		cmocka_unit_test(ccid_25_claimed_by_another),
		cmocka_unit_test(refused_node),
		cmocka_unit_test(broken_descriptors),
		cmocka_unit_test(ccid_26_first_answer_is_lost),
		cmocka_unit_test(ccid_27_silent_device),
		cmocka_unit_test(ccid_28_30_left_overs_of_an_earlier_owner),
		cmocka_unit_test(ccid_31_32_data_rates),
		cmocka_unit_test(ccid_29_many_left_overs),
		cmocka_unit_test(ccid_35_slow_first_status),
		cmocka_unit_test(ccid_32_short_table),
		cmocka_unit_test(recovery_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
