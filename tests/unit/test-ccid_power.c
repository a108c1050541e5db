/* SPDX-License-Identifier: MIT */
/* The CCID driver: power and ATR. */
#include <string.h>

#include "ifdhandler/ccid/ccid_pipe.h"
#include "tests/unit/driver-bench.h"

/* ---- power ---- */

static void ccid_102_cold_and_warm(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->result.len, 5);
	assert_memory_equal(b->data, b->cards[0].atr, 5);
	assert_int_equal(bench_last_sent(b, CCID_POWER_ON)[7], 1);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 0);
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 0);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	b->cards[0].mute = 1;
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 2);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 5);
	/* once: the cold reset that fails is the end */
	b->cards[0].mute = 2;
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_CARD_MUTE);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 3);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 7);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	driver_ccid.power_off(b->driver, 0, bench_done, b);
	assert_int_equal(bench_wait_done(b, 4000), STATUS_OK);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	bench_free(b);
}

/* A card that an earlier owner left powered gets a cold reset, not a warm one. */
static void card_that_has_power(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ACTIVE;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	bench_free(b);
}

/* The voltages named so far, in order. */
static void check_voltages(const struct bench *b, const uint8_t *want, unsigned n) {
	unsigned at = 0;
	for (unsigned i = 0; i < b->fake->n_sent; i++) {
		if (b->fake->sent[i][0] != CCID_POWER_ON)
			continue;
		assert_true(at < n);
		assert_int_equal(b->fake->sent[i][7], want[at++]);
	}
	assert_int_equal(at, n);
}

static void ccid_91_voltages_in_turn(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 7);
	b->cards[0].voltage = 3;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	check_voltages(b, BYTES(1, 2, 3));
	bench_free(b);
	/* what the reader has not is left out */
	b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 5);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	check_voltages(b, BYTES(1, 3));
	assert_int_equal(b->present[0], 1);
	assert_int_equal(b->presences, 1);
	/* a bad ATR is a reason to try the next, too */
	b->cards[0].mute = 0;
	b->power_error = CCID_ERROR_BAD_TCK;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	check_voltages(b, BYTES(1, 3, 1, 3));
	bench_free(b);
}

static void ccid_92_reader_chooses_the_voltage(void **state) {
	(void)state;
	static const uint32_t features[] = { CCID_FEATURE_AUTO_VOLTAGE,
		CCID_FEATURE_AUTO_ACTIVATE };
	for (size_t i = 0; i < 2; i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU | features[i], 271);
		bench_set_voltages(b, 7);
		b->cards[0].mute = 1;
		bench_start_ready(b);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
		check_voltages(b, BYTES(0));
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		check_voltages(b, BYTES(0, 0));
		bench_free(b);
	}
}

static void ccid_93_missing_voltage_is_never_named(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 6);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	check_voltages(b, BYTES(2, 3));
	bench_free(b);
}

static void ccid_21_no_voltage_announced(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 0);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	check_voltages(b, BYTES(1));
	bench_free(b);
}

/* Upwards, and then what the card is made for: a class in its ATR, or 5 V. */
static void upwards(void **state) {
	(void)state;
	static const struct {
		uint8_t class, reader, n, want[3];
	} cases[] = {
		{ 0x07, 7, 1, { 3 } }, { 0x03, 7, 2, { 3, 2 } }, { 0x01, 7, 2, { 3, 1 } },
		{ 0x01, 6, 1, { 3 } },                        /* nothing better to be had */
		{ 0x02, 3, 1, { 2 } }, { 0, 7, 2, { 3, 1 } }, /* no class */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint8_t atr[] = { 0x3B, 0x80, 0x81, 0x1F, cases[i].class,
			(uint8_t)(0x80 ^ 0x81 ^ 0x1F ^ cases[i].class) };
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->config.quirks = "ascending";
		bench_set_voltages(b, cases[i].reader);
		if (cases[i].class)
			bench_set_atr(b, atr, sizeof(atr));
		bench_start_ready(b);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		check_voltages(b, cases[i].want, cases[i].n);
		assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), cases[i].n - 1);
		assert_int_equal(b->presences, 1);
		bench_free(b);
	}
}

/* The card is there, but not for this reader: other voltages do not help. */
static void unsupported_card(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 7);
	bench_start_ready(b);
	b->power_error = CCID_ERROR_PROTOCOL;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_PROTO_MISMATCH);
	check_voltages(b, BYTES(1));
	bench_free(b);
}

static void ccid_94_95_96_atrs(void **state) {
	(void)state;
	uint8_t atr[40] = { 0x3B, 0xFF, 0x11 };
	static const struct {
		size_t len;
		enum status status;
	} lengths[] = { { 33, STATUS_OK }, { 34, STATUS_CARD_MUTE }, { 0, STATUS_CARD_MUTE },
		{ 1, STATUS_CARD_MUTE }, { 3, STATUS_OK } };
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		bench_set_atr(b, atr, lengths[i].len);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), lengths[i].status);
	}
	assert_int_equal(b->result.len, 3);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 0);
	bench_free(b);
}

/* Answers power-on with 65000 bytes. */
static void flood(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	static uint8_t a[10 + 65000] = { 0x80, 65000 & 0xFF, 65000 >> 8 };
	struct bench *b = fake->userdata;
	if (m[0] != CCID_POWER_ON) {
		b->next(fake, endpoint, m, len);
		return;
	}
	a[6] = m[6];
	a[10] = 0x3B;
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, sizeof(a));
}

static void ccid_94_endless_atr(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	b->next = b->fake->on_message;
	b->fake->on_message = flood;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	b->fake->on_message = b->next;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

static void ccid_98_wrong_check_byte(void **state) {
	(void)state;
	static const uint8_t wrong[] = { 0x3B, 0x80, 0x80, 0x01, 0x77 };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, wrong, sizeof(wrong));
	assert_int_equal(b->advices, 1);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	/* said once, however often it is powered up … */
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->advices, 1);
	/* … and of the next card again */
	b->cards[0].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x02));
	b->cards[0].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->advices, 2);
	bench_free(b);
	/* where that is wanted it is as good as none */
	b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "strict-atr";
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_set_atr(b, wrong, sizeof(wrong));
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_CARD_MUTE);
	assert_int_equal(b->advices, 0);
	bench_free(b);
}

static void ccid_100_emv_mode(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "emv-escape";
	b->power_error = CCID_ERROR_EMV_ATR;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_memory_equal(bench_last_sent(b, CCID_ESCAPE) + 10, ((uint8_t[]){ 0x1F, 0x01 }), 2);
	bench_free(b);
}

/* Refuses every ATR, as in EMV mode for ever. */
static void emv_for_ever(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	b->power_error = CCID_ERROR_EMV_ATR;
	b->next(fake, endpoint, m, len);
}

static void ccid_100_emv_mode_that_stays(void **state) {
	(void)state;
	static const char *const quirks[] = { "emv-escape", "" };
	for (size_t i = 0; i < 2; i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		bench_set_voltages(b, 7);
		b->config.quirks = quirks[i];
		bench_start_ready(b);
		b->next = b->fake->on_message;
		b->fake->on_message = emv_for_ever;
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
		assert_int_equal(bench_n_sent(b, CCID_ESCAPE), i == 0);
		assert_int_equal(bench_n_sent(b, CCID_POWER_ON), i == 0 ? 2 : 3);
		b->fake->on_message = b->next;
		bench_free(b);
	}
}

/* As if so many seconds had passed since the command was sent. */
static void pass(struct bench *b, unsigned s) {
	struct ccid_command *c = &b->driver->slots[0].command;
	assert_false(ccid_is_at_rest(c));
	c->deadline -= s * UINT64_C(1000000);
	c->began -= s * UINT64_C(1000000);
	ccid_pump(b->driver->ccid);
	fake_run_for(b->event, 20);
}

static void ccid_101_slow_atr(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	b->n_ignore = 1;
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
	fake_run_for(b->event, 20);
	const uint8_t *m = bench_last_sent(b, CCID_POWER_ON);
	pass(b, 25);
	assert_int_equal(b->done, 0);
	const uint8_t late[] = { 0x80, 2, 0, 0, 0, 0, m[6], 0, 0, 0, 0x3B, 0x00 };
	fake_usb_send(b->fake, 0x82, late, sizeof(late));
	assert_int_equal(bench_wait_done(b, 1000), STATUS_OK);
	assert_int_equal(b->result.len, 2);
	/* a minute is the end */
	b->n_ignore = 1;
	driver_ccid.power_on(b->driver, 0, DRIVER_WARM, bench_done, b);
	fake_run_for(b->event, 20);
	pass(b, 59);
	assert_int_equal(b->done, 0);
	pass(b, 2);
	assert_int_equal(bench_wait_done(b, 1000), STATUS_CARD_MUTE);
	bench_free(b);
}

static void no_card(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	assert_int_equal(b->present[0], 0);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_NO_CARD);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_NO_CARD);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_NO_CARD);
	bench_free(b);
}

static void absent_if_mute(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "absent-if-mute";
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_NO_CARD);
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* Whatever the card's own time is: that of this one is minutes. */
static void ccid_103_power_off_has_three_seconds(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->n_ignore = 1;
	driver_ccid.power_off(b->driver, 0, bench_done, b);
	fake_run_for(b->event, 20);
	assert_int_equal(b->done, 0);
	pass(b, 3);
	assert_int_equal(bench_wait_done(b, 1000), STATUS_EXCHANGE_TIMEOUT);
	/* and it counts as off: the next power-up begins cold */
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 2);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_102_cold_and_warm),
		cmocka_unit_test(card_that_has_power),
		cmocka_unit_test(ccid_91_voltages_in_turn),
		cmocka_unit_test(ccid_92_reader_chooses_the_voltage),
		cmocka_unit_test(ccid_93_missing_voltage_is_never_named),
		cmocka_unit_test(ccid_21_no_voltage_announced),
		cmocka_unit_test(upwards),
		cmocka_unit_test(unsupported_card),
		cmocka_unit_test(ccid_94_95_96_atrs),
		cmocka_unit_test(ccid_94_endless_atr),
		cmocka_unit_test(ccid_98_wrong_check_byte),
		cmocka_unit_test(ccid_100_emv_mode),
		cmocka_unit_test(ccid_100_emv_mode_that_stays),
		cmocka_unit_test(ccid_101_slow_atr),
		cmocka_unit_test(ccid_103_power_off_has_three_seconds),
		cmocka_unit_test(no_card),
		cmocka_unit_test(absent_if_mute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
