/* SPDX-License-Identifier: MIT */
/* What some readers are told or asked before they are ready. */
#include <string.h>

#include "tests/unit/pad-bench.h"

static void features_and_firmware(void **state) {
	(void)state;
	static const uint8_t block[22] = { 0x02, 0x10, 0x00, 0x07, 0xFF, 0x04 };
	for (size_t len = 0; len <= sizeof(block); len++) {
		struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "gemalto");
		pad_say(pad, block, len);
		pad_say(pad, BYTES('G', 'e', 'm'));
		bench_start_ready(pad->b);
		pad_assert_sent(pad, 1, CCID_ESCAPE, BYTES(0x6A));
		pad_assert_sent(pad, 0, CCID_ESCAPE, BYTES(0x02));
		assert_int_equal(pad->b->driver->told.has_features, len == 21);
		assert_string_equal(pad->b->driver->told.firmware, "Gem");
		pad_free(pad);
	}
}

/* Readers without the word are not asked anything. */
static void others_are_left_alone(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "pin-all-indexes escape mct");
	bench_start_ready(pad->b);
	assert_int_equal(bench_n_sent(pad->b, CCID_ESCAPE), 0);
	pad_free(pad);
}

static void refusals_and_nonsense(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "gemalto apdu-mode");
	static uint8_t nonsense[400];
	memset(nonsense, 0x1B, sizeof(nonsense));
	pad_say(pad, nonsense, sizeof(nonsense));
	pad_extend(pad, 1);
	pad_say(pad, nonsense, sizeof(nonsense));
	pad_refuse(pad, 0xFB);
	bench_start_ready(pad->b);
	assert_false(pad->b->driver->told.has_features);
	assert_int_equal(strlen(pad->b->driver->told.firmware), CCID_MAX_FIRMWARE);
	assert_int_equal(pad->b->driver->told.firmware[0], '?');
	assert_int_equal(pad->b->driver->slots[0].interface->level, CCID_LEVEL_TPDU);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	pad_free(pad);
}

/* Silence costs a deadline for each question, and no more. */
static void silence(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "gemalto");
	pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
	pad_say(pad, BYTES('G'));
	uint64_t began = ccid_now();
	bench_start_ready(pad->b);
	assert_in_range(ccid_now() - began, 2900000, 4500000);
	assert_string_equal(pad->b->driver->told.firmware, "G");
	assert_int_equal(pad->b->troubles, 0);
	pad_free(pad);
}

static void texts_of_the_display(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "pin-strings");
	pad_say(pad, NULL, 0);
	uint64_t began = ccid_now();
	bench_start_ready(pad->b);
	assert_in_range(ccid_now() - began, 990000, 3000000);
	const uint8_t *m = bench_last_sent(pad->b, CCID_ESCAPE);
	const struct fake_usb *fake = pad->b->fake;
	assert_int_equal(fake->sent_len[fake->n_sent - 1], 10 + 5 + 10 * 16);
	assert_memory_equal(m + 10, "\xB2\xA0\x00\x4D\x4C", 5);
	for (unsigned i = 0; i < 160; i++)
		assert_in_range(m[15 + i], ' ', '~');
	for (unsigned i = 0; i < 10; i++)
		assert_int_not_equal(m[15 + 16 * i], ' ');
	assert_memory_equal(m + 15, "Enter PIN       New PIN         ", 32);
	assert_memory_equal(m + 15 + 6 * 16, "* ", 2);
	pad_free(pad);
}

static void apdu_mode(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 0, "apdu-mode");
	pad_say(pad, NULL, 0);
	bench_start_ready(pad->b);
	pad_assert_sent(pad, 0, CCID_ESCAPE, BYTES(0x1F, 0x02));
	assert_int_equal(pad->b->driver->slots[0].interface->level, CCID_LEVEL_SHORT);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_transmit(pad->b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_last_sent(pad->b, CCID_XFR_BLOCK)[10], 0x00);
	assert_int_equal(bench_last_sent(pad->b, CCID_XFR_BLOCK)[11], 0xA4);
	pad_free(pad);
}

static void unplugged_in_between(void **state) {
	(void)state;
	static const char *const words[] = { "gemalto", "pin-strings" };
	for (unsigned i = 0; i < 2; i++) {
		struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, words[i]);
		if (i == 0)
			pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
		bench_start(pad->b);
		fake_run_for(pad->b->event, 100);
		fake_usb_unplug(pad->b->fake);
		assert_true(fake_run(pad->b->event, &pad->b->gone, 2000));
		assert_int_equal(pad->b->ready, 0);
		pad_free(pad);
	}
}

static void freed_in_between(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "pin-strings");
	bench_start(pad->b);
	fake_run_for(pad->b->event, 100);
	assert_int_equal(pad->b->ready, 0);
	pad_free(pad);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_and_firmware),
		cmocka_unit_test(others_are_left_alone),
		cmocka_unit_test(refusals_and_nonsense),
		cmocka_unit_test(silence),
		cmocka_unit_test(texts_of_the_display),
		cmocka_unit_test(apdu_mode),
		cmocka_unit_test(unplugged_in_between),
		cmocka_unit_test(freed_in_between),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
