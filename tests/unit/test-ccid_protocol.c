/* SPDX-License-Identifier: MIT */
/* The CCID driver: how card and reader come to one protocol, and how long a card may take. */
#include <string.h>

#include "tests/unit/driver-bench.h"

static const uint8_t fast_t0[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 }; /* TA1 96h; T=1, too */
static const uint8_t only_t1[] = { 0x3B, 0x80, 0x01, 0x81 };
static const uint8_t quick[] = { 0x3B, 0x80, 0x81, 0x21, 0x00, 0x20 }; /* T=1, BWI and CWI 0 */

enum { CHANGEABLE = CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK };

static const struct ccid_slot *slot_of(const struct bench *b) {
	return &b->driver->slots[0];
}

static void come_between(struct bench *b, fake_message_fn fn) {
	b->next = b->fake->on_message;
	b->fake->on_message = fn;
}

/* A success with `len` bytes of data. */
static void reply(struct fake_usb *fake, const uint8_t *m, const uint8_t *data, size_t len) {
	uint8_t a[64] = { 0x80, (uint8_t)len, 0, 0, 0, m[5], m[6] };
	memcpy(a + 10, data, len);
	fake_usb_send(fake, 0x82, a, 10 + len);
}

/* A failure of the card's, which has power. */
static void refuse(struct fake_usb *fake, const uint8_t *m, uint8_t error) {
	uint8_t type = m[0] == CCID_SET_PARAMETERS ? 0x82 : 0x80;
	const uint8_t a[10] = { type, 0, 0, 0, 0, m[5], m[6], 0x40, error };
	fake_usb_send(fake, 0x82, a, sizeof(a));
}

/* ---- PPS and parameters ---- */

/* The first protocol at default speed: no PPS. */
static void ccid_117_parameters(void **state) {
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

/* T=1 as second protocol: PPS, parameters, block size. */
static void ccid_112_134_t1_by_pps(void **state) {
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

/* A PPS that is refused: cold reset, and the protocol is not to be had. */
static void ccid_114_pps_refused(void **state) {
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

static void ccid_106_113_speed_by_pps(void **state) {
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

static void ccid_110_reader_negotiates(void **state) {
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

static void ccid_111_reader_does_the_pps(void **state) {
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

static void ccid_115_specific_mode(void **state) {
	(void)state;
	static const uint8_t explicit[] = { 0x3B, 0x80, 0x91, 0x01, 0x01, 0x11 };
	static const uint8_t implicit[] = { 0x3B, 0x80, 0x91, 0x11, 0x01, 0x01 };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, explicit, sizeof(explicit));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	bench_free(b);
	b = bench_powered(CCID_FEATURE_TPDU, implicit, sizeof(implicit));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_EXCHANGE_FAILED);
	bench_free(b);
}

static void ccid_116_refused_parameters(void **state) {
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

/* Every answer that is none: a cold reset, and the first protocol at default speed. */
static void ccid_114_wrong_answers_to_pps(void **state) {
	(void)state;
	static const struct {
		int n;
		uint8_t bytes[5];
	} answers[] = {
		{ -2, { 0 } },                           /* nothing */
		{ 5, { 0xFF, 0x10, 0x96, 0x79, 0x00 } }, /* longer */
		{ 4, { 0xFF, 0x11, 0x96, 0x78 } },       /* T */
		{ 4, { 0xFF, 0x10, 0x96, 0x78 } },       /* PCK */
		{ 2, { 0xFF, 0x10 } },
	};
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct bench *b = bench_powered(CHANGEABLE, fast_t0, sizeof(fast_t0));
		b->n_pps = answers[i].n;
		memcpy(b->pps, answers[i].bytes, sizeof(answers[i].bytes));
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 1);
		assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
		assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
		assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 1);
		assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
		bench_free(b);
	}
}

/* The reader's own PPS (80h) that a card does not survive is as ours: the first SetParameters fails. */
static void fail_parameters_once(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	if (m[0] == CCID_SET_PARAMETERS && bench_n_sent(b, CCID_SET_PARAMETERS) == 1)
		refuse(fake, m, CCID_ERROR_MUTE);
	else
		b->next(fake, endpoint, m, len);
}

static void pps_of_the_reader_fails(void **state) {
	(void)state;
	struct bench *b =
		bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_PPS, fast_t0, sizeof(fast_t0));
	come_between(b, fail_parameters_once);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 2);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	bench_free(b);
	/* the second protocol is not to be had then; the first one is */
	b = bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_PPS, fast_t0, sizeof(fast_t0));
	come_between(b, fail_parameters_once);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	bench_free(b);
	/* no PPS, no second try */
	b = bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_PPS, NULL, 0);
	come_between(b, fail_parameters_once);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1);
	bench_free(b);
}

/* A reader that does not take parameters after our PPS leaves a card behind that speaks another
 * protocol: it is reset before the next one is tried. */
static void ccid_116_refused_after_pps(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->parameters_fail = 1;
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(b->result.protocol, PROTOCOL_T0);
	bench_free(b);
}

/* Where both will do the reader keeps what it has. */
static void ccid_110_reader_keeps_its_protocol(void **state) {
	(void)state;
	static const uint32_t levels[] = { CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	for (size_t i = 0; i < 3; i++)
		for (unsigned t = 0; t < 2; t++) {
			struct bench *b = bench_powered(
				levels[i] | CCID_FEATURE_AUTO_PARAMETERS | CCID_FEATURE_AUTO_IFSD,
				NULL, 0);
			b->protocol = (uint8_t)t;
			assert_int_equal(
				bench_protocol(b, 0, PROTOCOL_T0 | PROTOCOL_T1), STATUS_OK);
			assert_int_equal(b->result.protocol, t ? PROTOCOL_T1 : PROTOCOL_T0);
			assert_int_equal(bench_n_sent(b, CCID_GET_PARAMETERS), 1);
			assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 0);
			assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
			bench_free(b);
		}
	/* Others are asked for T=1. */
	struct bench *b = bench_powered(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PPS, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0 | PROTOCOL_T1), STATUS_OK);
	assert_int_equal(b->result.protocol, PROTOCOL_T1);
	bench_free(b);
}

static void ccid_118_119_ifsc_and_guard_time(void **state) {
	(void)state;
	static const struct {
		uint8_t ifsc, want;
	} cases[] = { { 0xFF, 254 }, { 0x00, 32 }, { 0x40, 0x40 } };
	for (size_t i = 0; i < 3; i++) {
		/* TC1 FFh, TD1 T=1, TD2 T=1, TA3 */
		uint8_t atr[] = { 0x3B, 0xC0, 0xFF, 0x81, 0x11, cases[i].ifsc,
			(uint8_t)(0xC0 ^ 0xFF ^ 0x81 ^ 0x11 ^ cases[i].ifsc) };
		struct bench *b = bench_powered(CCID_FEATURE_TPDU, atr, sizeof(atr));
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
		const uint8_t *m = bench_last_sent(b, CCID_SET_PARAMETERS);
		assert_int_equal(m[10 + 5], cases[i].want);
		assert_int_equal(m[10 + 2], 0xFF);
		assert_int_equal(slot_of(b)->exchange.t1.ifsc, cases[i].want);
		bench_free(b);
	}
}

/* ---- block size ---- */

/* A card that does not survive S(IFS request). */
static void no_answer_to_ifs(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	if (m[0] == CCID_XFR_BLOCK && len > 11 && m[11] == 0xC1)
		refuse(fake, m, CCID_ERROR_MUTE);
	else
		b->next(fake, endpoint, m, len);
}

/* Reset, once more without, and not tried again until another card may be in. */
static void card_without_ifs(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, only_t1, sizeof(only_t1));
	come_between(b, no_answer_to_ifs);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), T1_MAX_TRIES);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 2);
	assert_int_equal(slot_of(b)->exchange.t1.max_ifsd, 32);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), T1_MAX_TRIES);
	b->fake->on_message = b->next;
	b->cards[0].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x02));
	b->cards[0].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(slot_of(b)->exchange.t1.max_ifsd, 254);
	bench_free(b);
}

static void ccid_134_reader_that_negotiates(void **state) {
	(void)state;
	struct bench *b =
		bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_IFSD, only_t1, sizeof(only_t1));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(slot_of(b)->exchange.t1.max_ifsd, 254);
	bench_free(b);
}

/* ---- exchanges ---- */

static void ccid_125_nothing_is_sent(void **state) {
	(void)state;
	static const uint8_t apdu[262] = { 0x00, 0xA4, 0x04, 0x00, 0xFF };
	struct bench *b = bench_powered(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PPS, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	unsigned before = b->fake->n_sent;
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	driver_ccid.transmit(b->driver, 0, PROTOCOL_T0, &bytes, bench_done, b);
	assert_int_equal(bench_wait_done(b, 1000), STATUS_TOO_LONG);
	assert_int_equal(b->fake->n_sent, before);
	bytes.len = 261;
	driver_ccid.transmit(b->driver, 0, PROTOCOL_T0, &bytes, bench_done, b);
	assert_int_equal(bench_wait_done(b, 1000), STATUS_OK);
	assert_int_equal(b->fake->sent_len[b->fake->n_sent - 1], 271);
	bench_free(b);
}

/* What the reader was given for the last blocks: bBWI and our own deadline. */
static struct {
	unsigned n;
	uint8_t bwi[8];
	uint64_t usec[8];
} seen;

/* Asks for nine times the waiting time, then answers. */
static void ask_for_time(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	if (m[0] != CCID_XFR_BLOCK || m[11] == 0xC1) {
		b->next(fake, endpoint, m, len);
		return;
	}
	seen.bwi[seen.n] = m[7];
	seen.usec[seen.n] = slot_of(b)->command.timeout_usec;
	if (seen.n++ == 0)
		reply(fake, m, BYTES(0x00, 0xC3, 0x01, 0x09, 0xCB));
	else if (m[11] == 0x40)
		reply(fake, m, BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0xD2));
	else
		reply(fake, m, BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92));
}

static void ccid_135_waiting_time_extension(void **state) {
	(void)state;
	static const uint8_t answer[] = { 0x00, 0xE3, 0x01, 0x09, 0xEB };
	memset(&seen, 0, sizeof(seen));
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, quick, sizeof(quick));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	come_between(b, ask_for_time);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_memory_equal(bench_last_sent(b, CCID_XFR_BLOCK) + 10, answer, sizeof(answer));
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(seen.n, 3);
	assert_memory_equal(seen.bwi, ((uint8_t[]){ 0, 9, 0 }), 3);
	assert_int_equal(seen.usec[0], 3000000);
	assert_int_equal(seen.usec[1], 9 * 3000000);
	assert_true(seen.usec[2] == seen.usec[0]);
	bench_free(b);
}

/* ---- times ---- */

static void set_clock(struct bench *b, uint16_t khz) {
	b->descriptors.bytes[18 + 9 + 9 + 10] = (uint8_t)khz;
	b->descriptors.bytes[18 + 9 + 9 + 11] = (uint8_t)(khz >> 8);
}

/* Milliseconds that the reader is given for a command of this card. */
static uint64_t time_of(
	uint32_t protocol, uint16_t khz, const uint8_t *atr, size_t len, uint32_t features) {
	struct bench *b = bench_new(features, 271);
	set_clock(b, khz);
	bench_set_atr(b, atr, len);
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, protocol), STATUS_OK);
	memset(&seen, 0, sizeof(seen));
	seen.n = 1; /* no extension */
	come_between(b, ask_for_time);
	assert_int_equal(bench_transmit(b, 0, protocol), STATUS_OK);
	bench_free(b);
	return seen.usec[1] / 1000;
}

static void ccid_121_times_of_commands(void **state) {
	(void)state;
	static const uint8_t t0[] = { 0x3B, 0x00 };
	static const uint8_t reserved[] = { 0x3B, 0x10, 0x77 };
	uint32_t apdu = CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PPS;
	assert_int_equal(time_of(PROTOCOL_T0, 4000, t0, sizeof(t0), apdu), 232134);
	assert_int_equal(time_of(PROTOCOL_T1, 4000, only_t1, sizeof(only_t1), apdu), 201068);
	/* a slow clock: five minutes at most */
	assert_int_equal(time_of(PROTOCOL_T1, 1000, only_t1, sizeof(only_t1), apdu), 300000);
	/* a speed that does not exist is not chosen, so the default's time holds */
	assert_int_equal(time_of(PROTOCOL_T0, 4000, reserved, sizeof(reserved), apdu), 232134);
	/* a card that is quick has three seconds */
	assert_int_equal(time_of(PROTOCOL_T1, 4000, quick, sizeof(quick), apdu), 3000);
	/* block by block: 258 characters at most each way, with IFSD 254 */
	uint64_t block = time_of(PROTOCOL_T1, 4000, only_t1, sizeof(only_t1), CCID_FEATURE_TPDU);
	assert_in_range(block, 199000, 200000);
}

/* While the block size is negotiated blocks are short, and a dead card is found out sooner. */
static void note_ifs(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	if (m[0] == CCID_XFR_BLOCK)
		seen.usec[seen.n++ % 8] = slot_of(b)->command.timeout_usec;
	b->next(fake, endpoint, m, len);
}

static void times_follow_the_block(void **state) {
	(void)state;
	memset(&seen, 0, sizeof(seen));
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	come_between(b, note_ifs);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.usec[0], 25000000); /* PPS */
	/* 36 characters: 36 × (12 + 8203) etu + BWT 1430 ms + 1 s */
	assert_in_range(seen.usec[1], 29900000, 30000000);
	bench_free(b);
}

/* ---- cards that do not answer ---- */

static void mute_card(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	if (m[0] == CCID_XFR_BLOCK)
		refuse(fake, m, b->parameters_error);
	else
		b->next(fake, endpoint, m, len);
}

/* Two commands in a row: everybody hears that the card was out, and it is powered up anew. */
static void mute_twice(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	come_between(b, mute_card);
	b->parameters_error = CCID_ERROR_MUTE;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(b->swapped[0], 0);
	b->fake->on_message = b->next;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	b->fake->on_message = mute_card;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(b->swapped[0], 0);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1); /* or it would be a warm reset */
	/* What the reader says of the command says nothing of the card. */
	b->parameters_error = 0;
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	for (unsigned i = 0; i < 3; i++) {
		b->parameters_error = i == 2 ? CCID_ERROR_HARDWARE : CCID_ERROR_LENGTH;
		(void)bench_transmit(b, 0, PROTOCOL_T0);
	}
	assert_int_equal(b->swapped[0], 1);
	bench_free(b);
}

/* T=1 that is dead: every command fails, the second one resets. */
static void dead_protocol(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, only_t1, sizeof(only_t1));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	come_between(b, mute_card);
	b->parameters_error = CCID_ERROR_HARDWARE;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_EXCHANGE_FAILED);
	unsigned before = b->fake->n_sent;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(b->fake->n_sent, before);
	assert_int_equal(b->swapped[0], 1);
	b->fake->on_message = b->next;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_117_parameters),
		cmocka_unit_test(ccid_112_134_t1_by_pps),
		cmocka_unit_test(ccid_114_pps_refused),
		cmocka_unit_test(ccid_106_113_speed_by_pps),
		cmocka_unit_test(ccid_110_reader_negotiates),
		cmocka_unit_test(ccid_111_reader_does_the_pps),
		cmocka_unit_test(ccid_115_specific_mode),
		cmocka_unit_test(ccid_116_refused_parameters),
		cmocka_unit_test(ccid_114_wrong_answers_to_pps),
		cmocka_unit_test(pps_of_the_reader_fails),
		cmocka_unit_test(ccid_116_refused_after_pps),
		cmocka_unit_test(ccid_110_reader_keeps_its_protocol),
		cmocka_unit_test(ccid_118_119_ifsc_and_guard_time),
		cmocka_unit_test(card_without_ifs),
		cmocka_unit_test(ccid_134_reader_that_negotiates),
		cmocka_unit_test(ccid_125_nothing_is_sent),
		cmocka_unit_test(ccid_135_waiting_time_extension),
		cmocka_unit_test(ccid_121_times_of_commands),
		cmocka_unit_test(times_follow_the_block),
		cmocka_unit_test(mute_twice),
		cmocka_unit_test(dead_protocol),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
