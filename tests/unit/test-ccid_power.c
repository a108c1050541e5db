/* SPDX-License-Identifier: MIT */
/* The CCID driver: power, ATR, protocol and parameters. */
#include <string.h>

#include "tests/unit/driver-bench.h"

/* ---- power ---- */

static void cold_and_warm(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->result.len, 5);
	assert_memory_equal(b->data, b->cards[0].atr, 5);
	assert_int_equal(bench_last_sent(b, CCID_POWER_ON)[7], 1);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 0);
	/* CCID-102 */
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 0);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	b->cards[0].mute = 1;
	assert_int_equal(bench_power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 2);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 5);
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

/* CCID-91 to CCID-93, CCID-21. */
static void voltages(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 7);
	b->cards[0].voltage = 3;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 3);
	assert_int_equal(bench_last_sent(b, CCID_POWER_ON)[7], 3);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 6);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	for (unsigned i = 0; i < b->fake->n_sent; i++)
		if (b->fake->sent[i][0] == CCID_POWER_ON)
			assert_int_not_equal(b->fake->sent[i][7], 1);
	assert_int_equal(b->present[0], 1);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_VOLTAGE, 271);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1);
	assert_int_equal(bench_last_sent(b, CCID_POWER_ON)[7], 0);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_set_voltages(b, 0);
	b->cards[0].mute = 10;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1);
	bench_free(b);
}

/* CCID-94 to CCID-96. */
static void atrs(void **state) {
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

/* CCID-100. */
static void emv_mode(void **state) {
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

/* ---- protocol ---- */

/* CCID-117, and the first protocol at default speed: no PPS. */
static void parameters(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(b->result.protocol, PROTOCOL_T0);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
	const uint8_t *m = bench_last_sent(b, CCID_SET_PARAMETERS);
	assert_int_equal(m[7], 0);
	assert_memory_equal(m + 10, ((uint8_t[]){ 0x11, 0, 0, 0x0A, 0 }), 5);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 1);
	bench_free(b);
}

/* CCID-112, CCID-134: T=1 as second protocol: PPS, parameters, block size. */
static void t1_by_pps(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 2);
	const uint8_t *m = bench_last_sent(b, CCID_SET_PARAMETERS);
	assert_int_equal(m[7], 1);
	assert_memory_equal(m + 10, ((uint8_t[]){ 0x11, 0x10, 0, 0x4D, 0, 0x20, 0 }), 7);
	assert_memory_equal(b->fake->sent[b->fake->n_sent - 1] + 10,
		((uint8_t[]){ 0x00, 0xC1, 0x01, 0xFE, 0x3E }), 5);
	assert_memory_equal(
		b->fake->sent[b->fake->n_sent - 3] + 10, ((uint8_t[]){ 0xFF, 0x01, 0xFE }), 3);
	bench_free(b);
}

/* CCID-114: a PPS that is refused: cold reset, and the protocol is not to be had. */
static void pps_refused(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->n_pps = -1;
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	/* The first protocol still is. */
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	bench_free(b);
	/* For speed only: goes on at the default speed. */
	b = bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK,
		speed, sizeof(speed));
	b->n_pps = 4;
	memcpy(b->pps, (uint8_t[]){ 0xFF, 0x10, 0x95, 0x7A }, 4);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	bench_free(b);
}

/* CCID-106, CCID-113. */
static void speed_by_pps(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	uint32_t features = CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK;
	struct bench *b = bench_powered(features, speed, sizeof(speed));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_memory_equal(bench_last_sent(b, CCID_XFR_BLOCK) + 10,
		((uint8_t[]){ 0xFF, 0x10, 0x96, 0x79 }), 4);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x96);
	bench_free(b);
	b = bench_powered(features, speed, sizeof(speed));
	b->n_pps = 3;
	memcpy(b->pps, (uint8_t[]){ 0xFF, 0x00, 0xFF }, 3);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	bench_free(b);
	/* A reader that cannot change its speed: none is asked for. */
	b = bench_powered(CCID_FEATURE_TPDU, speed, sizeof(speed));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
	bench_free(b);
}

/* CCID-110. */
static void reader_negotiates(void **state) {
	(void)state;
	struct bench *b =
		bench_powered(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PARAMETERS, NULL, 0);
	b->protocol = 1;
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_GET_PARAMETERS), 1);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS) + bench_n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_OK);
	/* Another protocol than the one in force: asked for once. */
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 1);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	b->parameters_fail = 1;
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	bench_free(b);
}

/* CCID-111. */
static void reader_does_the_pps(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	struct bench *b = bench_powered(
		CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PPS, speed, sizeof(speed));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[7], 1);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x96);
	bench_free(b);
}

/* CCID-115. */
static void specific_mode(void **state) {
	(void)state;
	static const uint8_t only_t1[] = { 0x3B, 0x80, 0x91, 0x01, 0x01, 0x11 };
	static const uint8_t implicit[] = { 0x3B, 0x80, 0x91, 0x11, 0x01, 0x01 };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, only_t1, sizeof(only_t1));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	bench_free(b);
	b = bench_powered(CCID_FEATURE_TPDU, implicit, sizeof(implicit));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_EXCHANGE_FAILED);
	bench_free(b);
}

/* CCID-116. */
static void refused_parameters(void **state) {
	(void)state;
	static const struct {
		uint8_t error;
		enum status first, second; /* for the card's first protocol and the other one */
	} cases[] = {
		{ 0x0A, STATUS_OK, STATUS_OK },
		{ 0x00, STATUS_OK, STATUS_PROTO_MISMATCH },
		{ 0xF6, STATUS_PROTO_MISMATCH, STATUS_PROTO_MISMATCH },
		{ 0xFB, STATUS_EXCHANGE_FAILED, STATUS_EXCHANGE_FAILED },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
		b->parameters_fail = 1;
		b->parameters_error = cases[i].error;
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), cases[i].first);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), cases[i].second);
		bench_free(b);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cold_and_warm),
		cmocka_unit_test(card_that_has_power),
		cmocka_unit_test(voltages),
		cmocka_unit_test(atrs),
		cmocka_unit_test(emv_mode),
		cmocka_unit_test(no_card),
		cmocka_unit_test(absent_if_mute),
		cmocka_unit_test(parameters),
		cmocka_unit_test(t1_by_pps),
		cmocka_unit_test(pps_refused),
		cmocka_unit_test(speed_by_pps),
		cmocka_unit_test(reader_negotiates),
		cmocka_unit_test(reader_does_the_pps),
		cmocka_unit_test(specific_mode),
		cmocka_unit_test(refused_parameters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
