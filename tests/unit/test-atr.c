/* SPDX-License-Identifier: MIT */
/* Answers-to-reset: those of real cards, malformed ones, and what times and speeds follow. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"

/* A block of exactly the right size, so that a sanitizer sees every byte too far. */
static int parse(const uint8_t *bytes, size_t len, struct atr *ret_atr) {
	uint8_t *copy = test_malloc(len ? len : 1);
	if (len)
		memcpy(copy, bytes, len);
	int result = atr_parse(copy, len, ret_atr);
	test_free(copy);
	return result;
}

#define PARSE(ret, ...) \
	parse((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), ret)

static void shortest_atr_has_defaults(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x00), 0);
	assert_int_equal(atr.len, 2);
	assert_int_equal(atr.inverse, 0);
	assert_int_equal(atr.tck, ATR_TCK_NONE);
	assert_int_equal(atr.first_t, 0);
	assert_int_equal(atr.offered, 1);
	assert_int_equal(atr.specific, 0);
	assert_int_equal(atr.has_ta1, 0);
	assert_int_equal(atr.ta1, 0x11);
	assert_int_equal(atr.extra_guard, 0);
	assert_int_equal(atr.wi, 10);
	assert_int_equal(atr.ifsc, 32);
	assert_int_equal(atr.bwi, 4);
	assert_int_equal(atr.cwi, 13);
	assert_int_equal(atr.crc, 0);
	assert_int_equal(atr.clock_stop, 0);
	assert_int_equal(atr.classes, 1);
	assert_int_equal(atr_protocols(&atr), ATR_T0);
}

static void inverse_convention(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3f, 0x00), 0);
	assert_int_equal(atr.inverse, 1);
}

static void historical_bytes_are_found(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x12, 0x13, 0x14, 0x50), 0);
	assert_int_equal(atr.ta1, 0x13);
	assert_int_equal(atr.has_ta1, 1);
	assert_int_equal(atr.historical, 3);
	assert_int_equal(atr.n_historical, 2);
	assert_int_equal(atr.bytes[atr.historical], 0x14);
}

static void ccid_104_class_byte_is_no_ifsc(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x81, 0x1f, 0x07, 0x19), 0);
	assert_int_equal(atr.first_t, 1);
	assert_int_equal(atr.ifsc, 32);
	assert_int_equal(atr.classes, 7);
	assert_int_equal(atr.clock_stop, 0);
	assert_int_equal(atr.tck, ATR_TCK_RIGHT);
	assert_int_equal(atr_protocols(&atr), ATR_T1);
}

static void ccid_105_second_td_carries_t1_bytes(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0xf0, 0x12, 0x00, 0xff, 0x91, 0x81, 0xb1, 0x7c, 0x45,
				 0x1f, 0x03, 0x99),
		0);
	assert_int_equal(atr.ta1, 0x12);
	assert_int_equal(atr.extra_guard, 0xff);
	assert_int_equal(atr.specific, 1);
	assert_int_equal(atr.specific_t, 1);
	assert_int_equal(atr.implicit, 0);
	assert_int_equal(atr.unchangeable, 1);
	assert_int_equal(atr.ifsc, 0x7c);
	assert_int_equal(atr.bwi, 4);
	assert_int_equal(atr.cwi, 5);
	assert_int_equal(atr.crc, 0);
	assert_int_equal(atr.classes, 3);
	assert_int_equal(atr.tck, ATR_TCK_RIGHT);
	assert_int_equal(atr_protocols(&atr), ATR_T1);
}

/* TB2, TC2 and bytes after a TD that names T=0 are not those of T=1; only the first ones of T=1
 * count. */
static void only_bytes_after_t1_count(void **state) {
	(void)state;
	struct atr atr;
	/* TD1 T=1; TC2 = 05; TD2 T=0; TA3 TB3 TC3; TD3 T=1; TA4 TB4 TC4; TD4 T=1: TA5 TB5 TC5 */
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0xc1, 0x05, 0xf0, 0x10, 0x91, 0x01, 0xf1, 0x40,
				 0x27, 0x01, 0x71, 0x50, 0x38, 0x00, 0x00),
		0);
	assert_int_equal(atr.wi, 5);
	assert_int_equal(atr.ifsc, 0x40);
	assert_int_equal(atr.bwi, 2);
	assert_int_equal(atr.cwi, 7);
	assert_int_equal(atr.crc, 1);
	assert_int_equal(atr_protocols(&atr), ATR_T0 | ATR_T1);
}

static void ccid_118_reserved_values_become_usable(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x81, 0x31, 0xff, 0xf5, 0x00), 0);
	assert_int_equal(atr.ifsc, 254);
	assert_int_equal(atr.bwi, 9);
	assert_int_equal(atr.cwi, 5);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x81, 0x11, 0x00, 0x10), 0);
	assert_int_equal(atr.ifsc, 32);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x40, 0x00), 0);
	assert_int_equal(atr.wi, 10);
}

static void card_that_needs_patience(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0xfa, 0x13, 0x00, 0xff, 0x81, 0x31, 0x80, 0x45, 0x00,
				 0x31, 0xc1, 0x73, 0xc0, 0x01, 0x00, 0x00, 0x90, 0x00, 0xb1),
		0);
	assert_int_equal(atr.ta1, 0x13);
	assert_int_equal(atr.ifsc, 0x80);
	assert_int_equal(atr.tck, ATR_TCK_RIGHT);
	assert_int_equal(atr.bwi, 7);
	assert_int_equal(atr.cwi, 5);
	/* another card with the same interface bytes */
	assert_int_equal(
		PARSE(&atr, 0x3b, 0xf0, 0x13, 0x00, 0xff, 0x81, 0x31, 0x80, 0x45, 0x59), 0);
	assert_int_equal(atr.bwi, 4);
}

static void ccid_94_95_lengths(void **state) {
	(void)state;
	static uint8_t bytes[65000] = { 0x3b, 0x0f };
	struct atr atr;
	memset(&atr, 0x5a, sizeof(atr));
	struct atr before = atr;
	const size_t wrong[] = { 0, 1, 34, 35, 255, sizeof(bytes) };
	for (size_t i = 0; i < N_OF(wrong); i++)
		assert_int_equal(parse(bytes, wrong[i], &atr), -EBADMSG);
	assert_memory_equal(&atr, &before, sizeof(atr));
	assert_int_equal(parse(bytes, 33, &atr), 0);
	assert_int_equal(atr.len, 33);
	assert_int_equal(atr.n_historical, 15);
}

static void only_two_conventions(void **state) {
	(void)state;
	struct atr atr;
	for (unsigned ts = 0; ts < 256; ts++) {
		int ok = ts == 0x3b || ts == 0x3f;
		assert_int_equal(PARSE(&atr, (uint8_t)ts, 0x00), ok ? 0 : -EBADMSG);
	}
	assert_int_equal(PARSE(&atr, 0x00, 0x01, 0x02), -EBADMSG);
}

/* Every true beginning of a longest ATR is refused. */
static void ccid_96_truncated_is_malformed(void **state) {
	(void)state;
	const uint8_t whole[] = { 0x3b, 0xff, 0x11, 0x00, 0x00, 0x81, 0xf1, 0x20, 0x45, 0x01, 0x1f,
		0x03, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xd8 };
	struct atr atr;
	for (size_t len = 0; len < sizeof(whole); len++)
		assert_int_equal(parse(whole, len, &atr), -EBADMSG);
	assert_int_equal(parse(whole, sizeof(whole), &atr), 0);
	assert_int_equal(atr.crc, 1);
	assert_int_equal(PARSE(&atr, 0x3b, 0xff, 0x11), -EBADMSG);
}

static void ccid_97_chain_of_levels_ends(void **state) {
	(void)state;
	uint8_t bytes[33] = { 0x3b, 0x80 };
	struct atr atr;
	memset(bytes + 2, 0x81, sizeof(bytes) - 2);
	assert_int_equal(parse(bytes, sizeof(bytes), &atr), -EBADMSG);
	/* TD1 … TD6, and level 7 is empty */
	bytes[7] = 0x01;
	assert_int_equal(parse(bytes, 9, &atr), 0);
	/* one level more */
	bytes[7] = 0x81;
	bytes[8] = 0x01;
	assert_int_equal(parse(bytes, 10, &atr), -EBADMSG);
}

static void ccid_98_wrong_tck_is_only_noted(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x01, 0x81), 0);
	assert_int_equal(atr.tck, ATR_TCK_RIGHT);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x01, 0x82), 0);
	assert_int_equal(atr.tck, ATR_TCK_WRONG);
	assert_int_equal(atr_protocols(&atr), ATR_T1);
}

static void ccid_99_tck_is_left_out_for_t0_alone(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x00), 0);
	assert_int_equal(atr.tck, ATR_TCK_NONE);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x80, 0x1f, 0x03), -EBADMSG);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x80, 0x1f, 0x03, 0x1c), 0);
	assert_int_equal(atr_protocols(&atr), ATR_T0);
	assert_int_equal(atr.classes, 3);
}

static void surplus_is_tolerated(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x01, 0x81, 0x55, 0xaa), 0);
	assert_int_equal(atr.tck, ATR_TCK_RIGHT);
	assert_int_equal(PARSE(&atr, 0x3b, 0x02, 0x14, 0x50, 0x77), 0);
	assert_int_equal(atr.n_historical, 2);
}

static void protocols_that_may_be_chosen(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x80, 0x01, 0x01), 0);
	assert_int_equal(atr.first_t, 0);
	assert_int_equal(atr_protocols(&atr), ATR_T0 | ATR_T1);
	/* specific mode: exactly that of TA2 */
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x91, 0x11, 0x01, 0x01), 0);
	assert_int_equal(atr.implicit, 1);
	assert_int_equal(atr_protocols(&atr), ATR_T1);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x90, 0x10, 0x00), 0);
	assert_int_equal(atr_protocols(&atr), ATR_T0);
	/* T=1 is offered, too, but not in specific mode */
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x90, 0x00, 0x01, 0x11), 0);
	assert_int_equal(atr.offered, 3);
	assert_int_equal(atr_protocols(&atr), ATR_T0);
	/* T=14 only, T=14 first, T=15 first, T=14 by TA2 */
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x0e, 0x8e), 0);
	assert_int_equal(atr_protocols(&atr), 0);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x8e, 0x01, 0x0f), 0);
	assert_int_equal(atr_protocols(&atr), 0);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x0f, 0x8f), 0);
	assert_int_equal(atr_protocols(&atr), 0);
	assert_int_equal(PARSE(&atr, 0x3b, 0x80, 0x91, 0x0e, 0x00, 0x1f), 0);
	assert_int_equal(atr_protocols(&atr), 0);
}

static void speeds(void **state) {
	(void)state;
	assert_int_equal(atr_fi(0x01), 372);
	assert_int_equal(atr_fi(0x11), 372);
	assert_int_equal(atr_fi(0x95), 512);
	assert_int_equal(atr_fi(0xd1), 2048);
	assert_int_equal(atr_fi(0x71), 0);
	assert_int_equal(atr_fi(0xe1), 0);
	assert_int_equal(atr_di(0x11), 1);
	assert_int_equal(atr_di(0x17), 64);
	assert_int_equal(atr_di(0x18), 12);
	assert_int_equal(atr_di(0x19), 20);
	assert_int_equal(atr_di(0x10), 0);
	assert_int_equal(atr_di(0x1a), 0);
	assert_int_equal(atr_rate(0x11, 4000), 10752);
	assert_int_equal(atr_rate(0x11, 4800), 12903);
	assert_int_equal(atr_rate(0x96, 4000), 250000);
	assert_int_equal(atr_rate(0x18, 4000), 129032);
	assert_int_equal(atr_rate(0x77, 4000), 10752);
	assert_int_equal(atr_rate(0x11, 0), 0);
	assert_int_equal(atr_rate(0x17, UINT32_MAX), UINT32_MAX);
}

static void ccid_120_121_timeouts(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x00), 0);
	assert_int_equal(atr_t0_ms(&atr, 0x11, 4000), 232134);
	assert_int_equal(atr_t1_ms(&atr, 0x11, 4000, ATR_T1_WHOLE_BLOCK), 201068);
	assert_int_equal(atr_t1_ms(&atr, 0x11, 1000, ATR_T1_WHOLE_BLOCK), 801273);
	assert_int_equal(atr_t0_ms(&atr, 0x11, 0), 60000);
	assert_int_equal(atr_t1_ms(&atr, 0x11, 0, 10), 60000);
	assert_int_equal(atr_t0_ms(&atr, 0x77, 4000), 60000);
	assert_int_equal(atr_t1_ms(&atr, 0xe1, 4000, 10), 60000);
	/* 11 etu + 16 × 960 × 372 / f */
	assert_int_equal(atr_bwt_ms(&atr, 0x11, 4000), 1430);
	/* a short block is awaited less long, more than the longest makes no difference */
	assert_int_equal(atr_t1_ms(&atr, 0x11, 4000, 4), 5485);
	assert_int_equal(atr_t1_ms(&atr, 0x11, 4000, 100000), 201068);
	/* never less than 3 s; nothing overflows */
	atr.wi = 1;
	assert_int_equal(atr_t0_ms(&atr, 0x18, 50000), 3000);
	atr.wi = 255;
	atr.extra_guard = 254;
	atr.bwi = 9;
	atr.cwi = 15;
	assert_int_equal(atr_t0_ms(&atr, 0xd7, 1), UINT32_MAX);
	assert_true(atr_t1_ms(&atr, 0xd1, 1, 260) == UINT32_MAX);
}

/* N = 255 is the least guard time, not the longest. */
static void guard_time_255(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(PARSE(&atr, 0x3b, 0x00), 0);
	uint32_t without = atr_t1_ms(&atr, 0x11, 4000, 100);
	atr.extra_guard = 255;
	assert_true(atr_t1_ms(&atr, 0x11, 4000, 100) < without);
	assert_int_equal(atr_t0_ms(&atr, 0x11, 4000), 232134);
	atr.extra_guard = 254;
	assert_true(atr_t1_ms(&atr, 0x11, 4000, 100) > without + 2000);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shortest_atr_has_defaults),
		cmocka_unit_test(inverse_convention),
		cmocka_unit_test(historical_bytes_are_found),
		cmocka_unit_test(ccid_104_class_byte_is_no_ifsc),
		cmocka_unit_test(ccid_105_second_td_carries_t1_bytes),
		cmocka_unit_test(only_bytes_after_t1_count),
		cmocka_unit_test(ccid_118_reserved_values_become_usable),
		cmocka_unit_test(card_that_needs_patience),
		cmocka_unit_test(ccid_94_95_lengths),
		cmocka_unit_test(only_two_conventions),
		cmocka_unit_test(ccid_96_truncated_is_malformed),
		cmocka_unit_test(ccid_97_chain_of_levels_ends),
		cmocka_unit_test(ccid_98_wrong_tck_is_only_noted),
		cmocka_unit_test(ccid_99_tck_is_left_out_for_t0_alone),
		cmocka_unit_test(surplus_is_tolerated),
		cmocka_unit_test(protocols_that_may_be_chosen),
		cmocka_unit_test(speeds),
		cmocka_unit_test(ccid_120_121_timeouts),
		cmocka_unit_test(guard_time_255),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
