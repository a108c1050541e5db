/* SPDX-License-Identifier: MIT */
/* What programs ask of the reader itself: features, vendor commands, properties, PACE, attributes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/pad-bench.h"

enum {
	ESCAPE = 0x42000001,
	FEATURES = 0x42000D48,
	FEATURES_WINDOWS = 0x00313520,
	VERIFY = 0x42330006,
	MODIFY = 0x42330007,
	MCT = 0x42330008,
	PIN_PROPERTIES = 0x4233000A,
	TLV = 0x42330012,
	PACE = 0x42330020,
};

/* Records of the feature list, as they must be. */
#define RECORD(tag, high, low) (tag), 4, 0x42, (high), 0x00, (low)
#define R_VERIFY               RECORD(0x06, 0x33, 0x06)
#define R_MODIFY               RECORD(0x07, 0x33, 0x07)
#define R_PROPERTIES           RECORD(0x0A, 0x33, 0x0A)
#define R_MCT                  RECORD(0x08, 0x33, 0x08)
#define R_TLV                  RECORD(0x12, 0x33, 0x12)
#define R_ESCAPE               RECORD(0x13, 0x00, 0x01)
#define R_PACE                 RECORD(0x20, 0x33, 0x20)

static void assert_answer(struct pad *pad, uint32_t code, const uint8_t *data, size_t len) {
	assert_int_equal(bench_control(pad->b, code, NULL, 0), STATUS_OK);
	assert_int_equal(pad->b->result.len, len);
	assert_memory_equal(pad->b->data, data, len);
}

/* ---- features ---- */

/* One that is in order. */
static const uint8_t verify[] = { 30, 0, 0x82, 8, 0, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0, 4, 0, 0, 0,
	0, 0x20, 0, 0x82 };

static void check_features(
	uint32_t level, uint8_t pin, const char *quirks, const uint8_t *want, size_t len) {
	struct pad *pad = pad_ready(level, pin, quirks, level ? PROTOCOL_T0 : 0);
	assert_answer(pad, FEATURES, want, len);
	assert_answer(pad, FEATURES_WINDOWS, want, len);
	static const struct {
		uint8_t tag;
		uint32_t code;
	} codes[] = { { 6, VERIFY }, { 7, MODIFY }, { 8, MCT }, { 10, PIN_PROPERTIES },
		{ 0x20, PACE } };
	unsigned n = pad->b->fake->n_sent;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		int offered = 0;
		for (size_t k = 0; k < len; k += 6)
			offered |= want[k] == codes[i].tag;
		enum status status = bench_control(pad->b, codes[i].code, NULL, 0);
		assert_int_equal(status == STATUS_UNSUPPORTED, !offered);
		/* also for who does not look first */
		if (offered)
			continue;
		struct driver_bytes in = { verify, sizeof(verify) };
		driver_ccid.control(pad->b->driver, 0, codes[i].code, &in, bench_done, pad->b);
		assert_int_equal(bench_wait_done(pad->b, 1000), STATUS_UNSUPPORTED);
	}
	assert_int_equal(pad->b->fake->n_sent, n);
	pad_free(pad);
}

static void ccid_144_features(void **state) {
	(void)state;
	check_features(CCID_FEATURE_TPDU, 0, NULL, BYTES(R_TLV));
	check_features(CCID_FEATURE_TPDU, 1, NULL, BYTES(R_VERIFY, R_PROPERTIES, R_TLV));
	check_features(CCID_FEATURE_TPDU, 2, NULL, BYTES(R_MODIFY, R_PROPERTIES, R_TLV));
	check_features(
		CCID_FEATURE_SHORT_APDU, 3, NULL, BYTES(R_VERIFY, R_MODIFY, R_PROPERTIES, R_TLV));
	check_features(CCID_FEATURE_EXTENDED_APDU, 3, "escape mct pace",
		BYTES(R_VERIFY, R_MODIFY, R_PROPERTIES, R_MCT, R_TLV, R_ESCAPE, R_PACE));
	check_features(CCID_FEATURE_SHORT_APDU, 0x30, NULL, BYTES(R_TLV, R_PACE));
	/* PACE needs a reader that talks to the card by itself */
	check_features(CCID_FEATURE_TPDU, 0x30, "pace", BYTES(R_TLV));
	/* and a reader of single characters sends no commands */
	check_features(0, 3, NULL, BYTES(R_TLV));
}

/* Products that announce a PIN pad without having one, or send the PIN to the host as well. */
static void ccid_144_no_pinpad(void **state) {
	(void)state;
	check_features(CCID_FEATURE_TPDU, 3, "no-pinpad", BYTES(R_TLV));
	check_features(CCID_FEATURE_SHORT_APDU, 0x33, "no-pinpad", BYTES(R_TLV));
}

/* Codes that nobody offers; those of old programs are no different. */
static void ccid_144_unknown_codes(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T0);
	static const uint32_t codes[] = { 0, 1, 0x42330000, 0x42330001, 0x42330009, 0x42330013,
		0x42000E10, 0x42000D49, 0x0031351F, 0xFFFFFFFF };
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_int_equal(
			bench_control(pad->b, codes[i], BYTES(1, 2, 3)), STATUS_UNSUPPORTED);
	pad_free(pad);
}

/* ---- vendor commands ---- */

static void ccid_148_escape_where_allowed(void **state) {
	(void)state;
	static const uint8_t to_contact[] = { 0x52, 0xF8, 0x04, 0x01, 0x00, 0x02 };
	static const uint8_t to_nothing[] = { 0x52, 0xF8, 0x04, 0x01, 0x00, 0x03 };
	static const uint8_t firmware[] = { 0x02, 0x00 };
	static const struct {
		const char *quirks;
		const uint8_t *data;
		size_t len;
		int allowed;
	} cases[] = {
		{ "", firmware, 1, 0 },
		{ "", to_contact, 6, 0 },
		{ "", firmware, 0, 0 },
		{ "escape", firmware, 1, 1 },
		{ "escape", firmware, 2, 1 },
		{ "escape", firmware, 0, 1 },
		{ "gemalto", firmware, 1, 1 },
		{ "gemalto", firmware, 2, 0 },
		{ "gemalto", firmware, 0, 0 },
		{ "gemalto", to_contact, 6, 0 },
		{ "escape-interface", to_contact, 6, 1 },
		{ "escape-interface", to_contact, 5, 0 },
		{ "escape-interface", to_nothing, 6, 0 },
		{ "escape-interface", firmware, 1, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pad *pad = pad_new(CCID_FEATURE_TPDU, 0, cases[i].quirks);
		if (strcmp(cases[i].quirks, "gemalto") == 0) {
			pad_refuse(pad, 0);
			pad_refuse(pad, 0);
		}
		pad->b->cards[0].icc = ABSENT; /* no card is needed */
		bench_start_ready(pad->b);
		unsigned n = pad->b->fake->n_sent;
		if (cases[i].allowed)
			pad_say(pad, BYTES(0xE5, 0xCA));
		enum status status = bench_control(pad->b, ESCAPE, cases[i].data, cases[i].len);
		if (cases[i].allowed) {
			assert_int_equal(status, STATUS_OK);
			assert_int_equal(pad->b->result.len, 2);
			assert_memory_equal(pad->b->data, ((uint8_t[]){ 0xE5, 0xCA }), 2);
			pad_assert_sent(pad, 0, CCID_ESCAPE, cases[i].data, cases[i].len);
		} else {
			assert_int_equal(status, STATUS_UNSUPPORTED);
			assert_int_equal(pad->b->fake->n_sent, n);
		}
		pad_free(pad);
	}
}

static void ccid_148_escape_lengths(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 0, "escape", 0);
	static const uint8_t many[400] = { 1, 2, 3 };
	pad_say(pad, many, 300);
	assert_int_equal(bench_control(pad->b, ESCAPE, many, 261), STATUS_OK);
	assert_int_equal(pad->b->result.len, 300);
	assert_memory_equal(pad->b->data, many, 300);
	assert_int_equal(bench_control(pad->b, ESCAPE, many, 262), STATUS_TOO_LONG);
	/* 300 bytes announced, 50 sent: an error, no bytes of anybody else, and the reader goes on */
	pad->answers[pad->n++] = (struct pad_answer){ .data = many, .len = 50, .lie = 300 };
	struct driver_bytes in = { many, 1 };
	driver_ccid.control(pad->b->driver, 0, ESCAPE, &in, bench_done, pad->b);
	fake_run_for(pad->b->event, 50);
	assert_int_equal(pad->b->done, 0); /* the rest may follow until the time is over */
	ccid_hurry(pad->b->driver->ccid, &pad->b->driver->slots[0].command, 100000);
	assert_int_equal(bench_wait_done(pad->b, 2000), STATUS_EXCHANGE_TIMEOUT);
	assert_int_equal(pad->b->result.len, 0);
	pad_say(pad, BYTES(0x55));
	assert_int_equal(bench_control(pad->b, ESCAPE, BYTES(1)), STATUS_OK);
	assert_int_equal(pad->b->result.len, 1);
	pad_free(pad);
}

static void ccid_148_escape_failures(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 0, "escape", 0);
	pad_refuse(pad, 0);
	assert_int_equal(bench_control(pad->b, ESCAPE, BYTES(1)), STATUS_UNSUPPORTED);
	/* data of a failure is nobody's */
	pad->answers[pad->n++] = (struct pad_answer){
		.status = 0x40, .error = 0xFB, .data = (const uint8_t[]){ 1, 2, 3 }, .len = 3
	};
	assert_int_equal(bench_control(pad->b, ESCAPE, BYTES(1)), STATUS_EXCHANGE_FAILED);
	assert_int_equal(pad->b->result.len, 0);
	pad_extend(pad, 2);
	pad_extend(pad, 0);
	pad_say(pad, BYTES(0xAA));
	assert_int_equal(bench_control(pad->b, ESCAPE, BYTES(1)), STATUS_OK);
	assert_int_equal(pad->b->driver->slots[0].command.timeout_usec, 30000000);
	pad_free(pad);
}

static void ccid_148_mct(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 3, "mct", PROTOCOL_T0);
	static const uint8_t good[] = { 0x20, 0x70, 0x00, 0x00, 0x00, 0x01, 0x02 };
	unsigned n = pad->b->fake->n_sent;
	for (size_t len = 0; len < 5; len++)
		assert_int_equal(bench_control(pad->b, MCT, good, len), STATUS_INVALID);
	for (unsigned at = 0; at < 5; at++)
		for (unsigned value = 0; value < 256; value++) {
			uint8_t bad[5];
			memcpy(bad, good, sizeof(bad));
			bad[at] = (uint8_t)value;
			if (value == good[at] || (at == 1 && value >= 0x70 && value <= 0x74))
				continue;
			assert_int_equal(bench_control(pad->b, MCT, bad, 5), STATUS_INVALID);
		}
	assert_int_equal(pad->b->fake->n_sent, n);
	for (uint8_t ins = 0x70; ins <= 0x74; ins++) {
		const uint8_t in[] = { 0x20, ins, 0, 0, 0, 0x07 };
		pad_say(pad, BYTES(0x90, 0x00));
		assert_int_equal(bench_control(pad->b, MCT, in, sizeof(in)), STATUS_OK);
		assert_int_equal(pad->b->result.len, 2);
		pad_assert_sent(pad, 0, CCID_ESCAPE, in, sizeof(in));
	}
	/* that does not open the door for others */
	assert_int_equal(bench_control(pad->b, ESCAPE, good, sizeof(good)), STATUS_UNSUPPORTED);
	pad_free(pad);
}

/* ---- properties ---- */

static void set_layout(struct pad *pad, uint8_t lines, uint8_t characters) {
	uint8_t *at = pad->b->descriptors.bytes + 18 + 9 + 9 + 50;
	at[0] = characters;
	at[1] = lines;
}

static void tlv_of_plain_readers(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_EXTENDED_APDU, 0, "pin-min=4 pin-max=8", 0);
	assert_answer(pad, TLV,
		BYTES(1, 2, 0, 0, 3, 1, 0, 9, 1, 0, 0x0B, 2, 0xE6, 0x08, 0x0C, 2, 0x37, 0x34, 0x0A,
			4, 0, 0, 1, 0));
	pad_free(pad);
	pad = pad_ready(CCID_FEATURE_SHORT_APDU, 0, "escape", 0);
	assert_answer(pad, TLV,
		BYTES(1, 2, 0, 0, 3, 1, 0, 9, 1, 1, 0x0B, 2, 0xE6, 0x08, 0x0C, 2, 0x37, 0x34, 0x0A,
			4, 0, 0, 0, 0));
	pad_free(pad);
	/* TPDU: long ones can be carried over T=1 only */
	pad = pad_ready(CCID_FEATURE_TPDU, 0, NULL, PROTOCOL_T0);
	assert_int_equal(bench_control(pad->b, TLV, NULL, 0), STATUS_OK);
	assert_int_equal(pad->b->data[pad->b->result.len - 2], 0);
	pad_free(pad);
	pad = pad_ready(CCID_FEATURE_TPDU, 0, NULL, PROTOCOL_T1);
	assert_int_equal(bench_control(pad->b, TLV, NULL, 0), STATUS_OK);
	assert_int_equal(pad->b->data[pad->b->result.len - 2], 1);
	pad_free(pad);
}

static void tlv_of_pin_pads(void **state) {
	(void)state;
	struct pad *pad =
		pad_new(CCID_FEATURE_SHORT_APDU, 3, "pin-min=0 pin-max=25 pin-validation=2");
	set_layout(pad, 2, 16);
	bench_start_ready(pad->b);
	assert_answer(pad, TLV,
		BYTES(1, 2, 0x10, 0x02, 4, 2, 16, 0, 5, 2, 2, 0, 3, 1, 0, 6, 1, 0, 7, 1, 25, 2, 1,
			2, 9, 1, 0, 0x0B, 2, 0xE6, 0x08, 0x0C, 2, 0x37, 0x34, 0x0A, 4, 0, 0, 0, 0));
	assert_answer(pad, PIN_PROPERTIES, BYTES(0x10, 0x02, 2, 0));
	pad_free(pad);
	pad = pad_new(CCID_FEATURE_SHORT_APDU, 1, NULL);
	bench_start_ready(pad->b);
	assert_answer(pad, PIN_PROPERTIES, BYTES(0, 0, 7, 0));
	pad_free(pad);
}

static void tlv_of_gemalto(void **state) {
	(void)state;
	static const uint8_t block[21] = { 0x02, 0x11, 0x00, 0x02, 0x7F, [8] = 0x0E, [12] = 0x01,
		0x04, 0x10, 0x01, 0xFF, 0xFF };
	struct pad *pad = pad_new(CCID_FEATURE_SHORT_APDU, 3, "gemalto pin-max=8 pin-validation=7");
	pad_say(pad, block, sizeof(block));
	pad_say(pad, BYTES('G', 'X', '-', '1'));
	bench_start_ready(pad->b);
	assert_answer(pad, TLV,
		BYTES(1, 2, 0, 0, 3, 1, 0, 8, 4, 'G', 'X', '-', '1', 6, 1, 4, 7, 1, 16, 2, 1, 2, 9,
			1, 2, 0x0B, 2, 0xE6, 0x08, 0x0C, 2, 0x37, 0x34, 0x0A, 4, 0, 0, 0, 0));
	assert_answer(pad, PIN_PROPERTIES, BYTES(0, 0, 2, 0));
	pad_free(pad);
}

/* ---- PACE ---- */

static void pace(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_EXTENDED_APDU, 0, "pace", PROTOCOL_T1);
	pad_say(pad, BYTES(0x01, 0x70));
	assert_int_equal(bench_control(pad->b, PACE, BYTES(1, 0, 0)), STATUS_OK);
	assert_int_equal(pad->b->result.len, 8);
	assert_memory_equal(pad->b->data, ((uint8_t[]){ 0, 0, 0, 0, 2, 0, 0x01, 0x70 }), 8);
	pad_assert_sent(pad, 0, CCID_SECURE, BYTES(0x10));
	/* PIN 3, CHAT of 2 bytes, no PIN, description of 3 bytes */
	static const uint8_t in[] = { 2, 9, 0, 3, 2, 0xC1, 0xC2, 0, 2, 0, 0xD1, 0xD2 };
	pad_say(pad, BYTES(0x90, 0x00, 0, 0, 0, 0, 0, 0));
	assert_int_equal(bench_control(pad->b, PACE, in, sizeof(in)), STATUS_OK);
	assert_int_equal(pad->b->result.len, 14);
	pad_assert_sent(pad, 0, CCID_SECURE, BYTES(0x20, 3, 2, 0xC1, 0xC2, 0, 2, 0, 0xD1, 0xD2));
	assert_int_equal(pad->b->driver->slots[0].command.timeout_usec, 90000000);
	pad_refuse(pad, 0xF0);
	assert_int_equal(bench_control(pad->b, PACE, in, sizeof(in)), STATUS_OK);
	assert_int_equal(pad->b->result.len, 6);
	assert_memory_equal(pad->b->data, ((uint8_t[]){ 2, 0, 0x20, 0xF0, 0, 0 }), 6);
	pad_refuse(pad, 0xEF);
	assert_int_equal(bench_control(pad->b, PACE, in, sizeof(in)), STATUS_OK);
	assert_memory_equal(pad->b->data, ((uint8_t[]){ 1, 0, 0x20, 0xF0, 0, 0 }), 6);
	pad_refuse(pad, 0xFB);
	assert_int_equal(bench_control(pad->b, PACE, in, sizeof(in)), STATUS_EXCHANGE_FAILED);
	pad_free(pad);
}

static void pace_lengths(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_EXTENDED_APDU, 0x30, NULL, PROTOCOL_T1);
	unsigned n = pad->b->fake->n_sent;
	static const uint8_t in[] = { 2, 9, 0, 3, 2, 0xC1, 0xC2, 0, 2, 0, 0xD1, 0xD2 };
	for (size_t len = 0; len < sizeof(in); len++)
		assert_int_equal(bench_control(pad->b, PACE, in, len), STATUS_INVALID);
	/* inner lengths that lead out of the data, or leave some over */
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = { { 4, 1 }, { 4, 3 }, { 4, 255 }, { 7, 1 }, { 7, 5 }, { 8, 1 }, { 8, 3 },
		{ 9, 1 } };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t bad[sizeof(in)];
		memcpy(bad, in, sizeof(in));
		bad[wrong[i].at] = wrong[i].value;
		assert_int_equal(bench_control(pad->b, PACE, bad, sizeof(bad)), STATUS_INVALID);
	}
	assert_int_equal(bench_control(pad->b, PACE, BYTES(3, 0, 0)), STATUS_UNSUPPORTED);
	uint8_t many[3 + 261] = { 1, 5, 1 };
	assert_int_equal(bench_control(pad->b, PACE, many, sizeof(many)), STATUS_TOO_LONG);
	assert_int_equal(pad->b->fake->n_sent, n);
	/* the description may be left out */
	pad_say(pad, NULL, 0);
	assert_int_equal(bench_control(pad->b, PACE, BYTES(2, 3, 0, 2, 0, 0)), STATUS_OK);
	/* and the whole thing may be pulled out */
	pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
	struct driver_bytes bytes = { in, sizeof(in) };
	driver_ccid.control(pad->b->driver, 0, PACE, &bytes, bench_done, pad->b);
	fake_run_for(pad->b->event, 30);
	fake_usb_unplug(pad->b->fake);
	assert_int_equal(bench_wait_done(pad->b, 2000), STATUS_READER_GONE);
	pad_free(pad);
}

/* The program dies while people look for their keys: what it sent, perhaps a PIN, goes as well. */
static void pace_abandoned(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_EXTENDED_APDU, 0, "pace", PROTOCOL_T1);
	static const uint8_t in[] = { 2, 5, 0, 3, 0, 2, '1', '2' };
	struct driver_bytes bytes = { in, sizeof(in) };
	for (unsigned i = 0; i < 2; i++) {
		pad_extend(pad, 1);
		pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
		driver_ccid.control(pad->b->driver, 0, PACE, &bytes, bench_done, pad->b);
		fake_run_for(pad->b->event, 30);
		driver_ccid.abandon(pad->b->driver, 0);
		assert_int_equal(bench_wait_done(pad->b, 1000), STATUS_EXCHANGE_TIMEOUT);
		assert_null(pad->b->driver->slots[0].lent);
	}
	pad_free(pad);
}

/* ---- pseudo-APDUs ---- */

static enum status transmit(struct pad *pad, const uint8_t *apdu, size_t len) {
	struct driver_bytes bytes = { apdu, len };
	driver_ccid.transmit(pad->b->driver, 0, PROTOCOL_T0, &bytes, bench_done, pad->b);
	return bench_wait_done(pad->b, 2000);
}

static void kobil_info(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 0, "kobil-info", PROTOCOL_T0);
	static const struct {
		uint8_t p2;
		const char *text;
	} cases[] = {
		{ 1, "KOBIL systems\x90" },
		{ 3, "IDToken\x90" },
		{ 6, "12.34\x90" },
		{ 7, "2012.2.7\x90" },
	};
	unsigned n = pad->b->fake->n_sent;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(
			transmit(pad, BYTES(0xFF, 0x9A, 0x01, cases[i].p2, 0x00)), STATUS_OK);
		assert_int_equal(pad->b->result.len, strlen(cases[i].text) + 1);
		assert_memory_equal(pad->b->data, cases[i].text, pad->b->result.len);
		assert_int_equal(pad->b->result.protocol, PROTOCOL_T0);
	}
	assert_int_equal(pad->b->fake->n_sent, n);
	/* others go to the card */
	assert_int_equal(transmit(pad, BYTES(0xFF, 0x9A, 0x01, 0x02, 0x00)), STATUS_OK);
	assert_int_equal(transmit(pad, BYTES(0xFF, 0x9A, 0x01, 0x01)), STATUS_OK);
	assert_int_equal(transmit(pad, BYTES(0xFF, 0x9A, 0x01, 0x01, 0x01)), STATUS_OK);
	assert_int_equal(transmit(pad, BYTES(0xFF, 0x9A, 0x04, 0x01, 0x00)), STATUS_OK);
	assert_int_equal(pad->b->fake->n_sent, n + 4);
	pad_free(pad);
	pad = pad_ready(CCID_FEATURE_SHORT_APDU, 0, NULL, PROTOCOL_T0);
	assert_int_equal(transmit(pad, BYTES(0xFF, 0x9A, 0x01, 0x01, 0x00)), STATUS_OK);
	assert_int_equal(pad->b->result.len, 2);
	pad_free(pad);
}

/* Commands that wait for people (PC/SC part 10 2.6.9) get 90 s. */
static void ppdu_timeout(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 0, NULL, PROTOCOL_T0);
	bench_set_atr(pad->b, BYTES(0x3B, 0x00));
	const struct ccid_command *command = &pad->b->driver->slots[0].command;
	assert_int_equal(transmit(pad, BYTES(0x00, 0xA4, 0x00, 0x00)), STATUS_OK);
	uint64_t plain = command->timeout_usec;
	assert_int_equal(transmit(pad, BYTES(0xFF, 0xC2, 0x01, 0x00)), STATUS_OK);
	assert_int_equal(command->timeout_usec, plain < 90000000 ? 90000000 : plain);
	pad_free(pad);
}

/* Features in an APDU's clothes: what their codes do not do, they do not either. */
static void ccid_148_ppdu_opens_no_door(void **state) {
	(void)state;
	enum { HEAD = 5, INS = HEAD + 19 + 1 };
	static const uint8_t vendor[] = { 0xFF, 0xC2, 0x01, 0x13, 0x01, 0x02 };
	uint8_t pin[HEAD + sizeof(verify)] = { 0xFF, 0xC2, 0x01, 0x06, sizeof(verify) };
	memcpy(pin + HEAD, verify, sizeof(verify));
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 3, NULL, PROTOCOL_T0);
	unsigned n = pad->b->fake->n_sent;
	assert_int_equal(transmit(pad, vendor, sizeof(vendor)), STATUS_UNSUPPORTED);
	pin[INS] = 0xDA; /* PUT DATA: the PIN would be stored, and could be read */
	static const uint8_t tags[] = { 0x01, 0x0D, 0x0E, 0x06 };
	for (size_t i = 0; i < sizeof(tags); i++) {
		pin[3] = tags[i];
		assert_int_equal(transmit(pad, pin, sizeof(pin)), STATUS_UNSUPPORTED);
	}
	pin[INS] = 0x20;
	pin[4]--;
	assert_int_equal(transmit(pad, pin, sizeof(pin)), STATUS_INVALID);
	assert_int_equal(transmit(pad, pin, HEAD - 1), STATUS_INVALID);
	assert_int_equal(pad->b->fake->n_sent, n);
	pin[4]++;
	assert_int_equal(transmit(pad, pin, sizeof(pin)), STATUS_OK);
	assert_int_equal(transmit(pad, BYTES(0xFF, 0xC2, 0x01, 0x12, 0x00)), STATUS_OK);
	pad_free(pad);
	pad = pad_ready(CCID_FEATURE_SHORT_APDU, 0, "escape", PROTOCOL_T0);
	assert_int_equal(transmit(pad, vendor, sizeof(vendor)), STATUS_OK);
	pad_free(pad);
}

/* ---- attributes ---- */

static enum status attribute(struct pad *pad, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	memset(buf, 0xEE, DRIVER_MAX_ATTRIB + 8);
	enum status status = driver_ccid.get_attrib(pad->b->driver, 0, tag, buf, ret_len);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(buf[DRIVER_MAX_ATTRIB + i], 0xEE);
	return status;
}

static void assert_number(struct pad *pad, uint32_t tag, uint32_t want) {
	uint8_t buf[DRIVER_MAX_ATTRIB + 8];
	size_t len = 0;
	uint32_t value;
	assert_int_equal(attribute(pad, tag, buf, &len), STATUS_OK);
	assert_int_equal(len, 4);
	memcpy(&value, buf, 4);
	assert_int_equal(value, want);
}

static void assert_none(struct pad *pad, uint32_t tag) {
	uint8_t buf[DRIVER_MAX_ATTRIB + 8];
	size_t len = 0;
	assert_int_equal(attribute(pad, tag, buf, &len), STATUS_UNSUPPORTED);
}

static void assert_text(struct pad *pad, uint32_t tag, const char *want) {
	uint8_t buf[DRIVER_MAX_ATTRIB + 8];
	size_t len = 0;
	assert_int_equal(attribute(pad, tag, buf, &len), STATUS_OK);
	assert_int_equal(len, strlen(want) + 1);
	assert_memory_equal(buf, want, len);
}

static void attributes_of_the_reader(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 0, NULL);
	bench_start_ready(pad->b);
	assert_none(pad, 0x00010100);
	assert_none(pad, 0x00010101);
	assert_none(pad, 0x00010103);
	pad->b->config.manufacturer = "Maker";
	pad->b->config.product = "Reader 3";
	pad->b->config.name = "Maker Reader 3 00 00";
	pad->b->config.serial = "0815";
	assert_text(pad, 0x00010100, "Maker");
	assert_text(pad, 0x00010101, "Reader 3");
	assert_text(pad, 0x00010103, "0815");
	char longest[300];
	memset(longest, 'x', sizeof(longest));
	longest[299] = '\0';
	pad->b->config.serial = longest;
	uint8_t buf[DRIVER_MAX_ATTRIB + 8];
	size_t len = 0;
	assert_int_equal(attribute(pad, 0x00010103, buf, &len), STATUS_OK);
	assert_int_equal(len, DRIVER_MAX_ATTRIB);
	assert_int_equal(buf[len - 1], 0);
	assert_number(pad, 0x00010102, 0x12340000);
	assert_number(pad, 0x00020110, 0x0020010C);
	assert_number(pad, 0x00030120, 3);
	assert_number(pad, 0x00030121, 4000);
	assert_number(pad, 0x00030122, pad->b->driver->desc.interfaces[0].max_khz);
	assert_number(pad, 0x00030123, pad->b->driver->desc.interfaces[0].default_rate);
	assert_number(pad, 0x00030124, pad->b->driver->desc.interfaces[0].max_rate);
	assert_number(pad, 0x00030125, 254);
	assert_number(pad, 0x00030126, 0);
	assert_number(pad, 0x00040131, 0);
	assert_number(pad, 0x00060150, 0);
	assert_number(pad, 0x0007A007, 261);
	static const uint32_t unknown[] = { 0, 0x00010104, 0x00030127, 0x0008020D, 0x00090305,
		0x7FFF0001, 0xFFFFFFFF };
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_none(pad, unknown[i]);
	pad_free(pad);
}

static void attributes_of_the_card(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 0, NULL);
	bench_start_ready(pad->b);
	for (uint32_t tag = 0x00080201; tag <= 0x0008020C; tag++)
		assert_none(pad, tag);
	uint8_t buf[DRIVER_MAX_ATTRIB + 8];
	size_t len = 0;
	assert_int_equal(attribute(pad, 0x00090304, buf, &len), STATUS_OK);
	assert_int_equal(len, 1);
	assert_int_equal(buf[0], 0);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(attribute(pad, 0x00090304, buf, &len), STATUS_OK);
	assert_int_equal(buf[0], 1);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T1), STATUS_OK);
	static const uint32_t t1[] = { 2, 4000, 372, 1, 0, 0, 32, 254, 4, 13, 0, 1 };
	for (unsigned i = 0; i < 12; i++)
		if (i == 5)
			assert_none(pad, 0x00080206); /* W is T=0's */
		else
			assert_number(pad, 0x00080201 + i, t1[i]);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T0), STATUS_OK);
	static const uint32_t t0[] = { 1, 4000, 372, 1, 0, 10 };
	for (unsigned i = 0; i < 12; i++)
		if (i < 6)
			assert_number(pad, 0x00080201 + i, t0[i]);
		else
			assert_none(pad, 0x00080201 + i);
	pad_free(pad);
}

/* ---- status lines ---- */

static void status_lines(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_SHORT_APDU, 3, "gemalto pace");
	set_layout(pad, 2, 16);
	pad_refuse(pad, 0);
	pad_say(pad, BYTES('G', 'X', '\n', 'p', '=', 0x80));
	bench_start_ready(pad->b);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T1), STATUS_OK);
	char text[2048];
	size_t n = driver_ccid.describe(pad->b->driver, 0, text, sizeof(text));
	assert_int_equal(n, strlen(text));
	assert_non_null(strstr(text, "\nexchange-level=short APDU\n"));
	assert_non_null(strstr(text, "\npin-pad=verify and modify\n"));
	assert_non_null(strstr(text, "\npace=yes\n"));
	assert_non_null(strstr(text, "\ndisplay=2 lines of 16\n"));
	assert_non_null(strstr(text, "\nfirmware-name=GX?p=?\n"));
	assert_non_null(strstr(text, "\nprotocol=T=1\n"));
	for (size_t size = 1; size < n; size++) {
		size_t len = driver_ccid.describe(pad->b->driver, 0, text, size);
		assert_true(
			len < size && strlen(text) == len && (len == 0 || text[len - 1] == '\n'));
	}
	pad_free(pad);
	pad = pad_new(CCID_FEATURE_TPDU, 1, "no-pinpad");
	bench_start_ready(pad->b);
	(void)driver_ccid.describe(pad->b->driver, 0, text, sizeof(text));
	assert_non_null(strstr(text, "\npin-pad=no\n"));
	assert_null(strstr(text, "display="));
	assert_null(strstr(text, "firmware-name="));
	pad_free(pad);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_144_features),
		cmocka_unit_test(ccid_144_no_pinpad),
		cmocka_unit_test(ccid_144_unknown_codes),
		cmocka_unit_test(ccid_148_escape_where_allowed),
		cmocka_unit_test(ccid_148_escape_lengths),
		cmocka_unit_test(ccid_148_escape_failures),
		cmocka_unit_test(ccid_148_mct),
		cmocka_unit_test(tlv_of_plain_readers),
		cmocka_unit_test(tlv_of_pin_pads),
		cmocka_unit_test(tlv_of_gemalto),
		cmocka_unit_test(pace),
		cmocka_unit_test(pace_lengths),
		cmocka_unit_test(pace_abandoned),
		cmocka_unit_test(kobil_info),
		cmocka_unit_test(ppdu_timeout),
		cmocka_unit_test(ccid_148_ppdu_opens_no_door),
		cmocka_unit_test(attributes_of_the_reader),
		cmocka_unit_test(attributes_of_the_card),
		cmocka_unit_test(status_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
