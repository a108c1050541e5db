/* SPDX-License-Identifier: MIT */
/* APDUs through readers of all exchange levels: what is sent, what is made of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/driver.h"
#include "ifdhandler/ccid/exchange.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

static struct atr t1_atr(void) {
	static const uint8_t bytes[] = { 0x3B, 0x80, 0x01, 0x81 };
	struct atr atr;
	assert_int_equal(atr_parse(bytes, sizeof(bytes), &atr), 0);
	return atr;
}

static struct exchange *make(enum ccid_level level, uint32_t protocol, uint32_t message_length) {
	struct atr atr = t1_atr();
	struct exchange *x = calloc(1, sizeof(*x));
	struct exchange_config config = {
		.level = level,
		.protocol = protocol,
		.message_length = message_length,
		.max_ifsd = 254,
		.atr = &atr,
	};
	assert_int_equal(exchange_init(x, &config), 0);
	return x;
}

static void drop(struct exchange *x) {
	exchange_stop(x);
	free(x);
}

static void sends(const struct exchange *x, enum exchange_action action, unsigned level,
	const uint8_t *data, size_t len) {
	assert_int_equal(action, EXCHANGE_SEND);
	struct ccid_request r = exchange_request(x);
	assert_int_equal(r.type, CCID_XFR_BLOCK);
	assert_int_equal(r.specific[1] | r.specific[2] << 8, level);
	assert_int_equal(r.len, len);
	if (len)
		assert_memory_equal(r.data, data, len);
}

static enum exchange_action feed(
	struct exchange *x, uint8_t chain, const uint8_t *data, size_t len) {
	struct ccid_reply r = {
		.type = CCID_DATA_BLOCK, .specific = chain, .data = data, .len = len
	};
	return exchange_feed(x, &r);
}

static enum exchange_action feed_error(struct exchange *x, uint8_t error) {
	struct ccid_reply r = { .type = CCID_DATA_BLOCK, .outcome = CCID_FAILED, .error = error };
	return exchange_feed(x, &r);
}

static void responds(
	const struct exchange *x, enum exchange_action action, const uint8_t *data, size_t len) {
	assert_int_equal(action, EXCHANGE_DONE);
	assert_int_equal(x->status, STATUS_OK);
	assert_int_equal(x->len, len);
	assert_memory_equal(x->data, data, len);
}

static void fails(const struct exchange *x, enum exchange_action action, enum status status) {
	assert_int_equal(action, EXCHANGE_FAIL);
	assert_int_equal(x->status, status);
	assert_null(x->data);
}

static void ccid_122_123_124_t0_at_tpdu_level(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_TPDU, PROTOCOL_T0, 271);
	sends(x, exchange_start(x, BYTES(0, 0xA4, 0, 0, 2, 0x3F, 0)), 0,
		BYTES(0, 0xA4, 0, 0, 2, 0x3F, 0));
	responds(x, feed(x, 0, BYTES(0x61, 0x10)), BYTES(0x61, 0x10));
	sends(x, exchange_start(x, BYTES(0, 0xB0, 0, 0, 5)), 0, BYTES(0, 0xB0, 0, 0, 5));
	responds(x, feed(x, 0, BYTES(0x6C, 0x10)), BYTES(0x6C, 0x10));
	sends(x, exchange_start(x, BYTES(0, 0xA4, 0, 0, 2, 0x3F, 0, 0)), 0,
		BYTES(0, 0xA4, 0, 0, 2, 0x3F, 0));
	responds(x, feed(x, 0, BYTES(0x90, 0)), BYTES(0x90, 0));
	sends(x, exchange_start(x, BYTES(0, 0x0E, 0, 0)), 0, BYTES(0, 0x0E, 0, 0));
	responds(x, feed(x, 0, BYTES(0x90, 0)), BYTES(0x90, 0));
	fails(x, exchange_start(x, BYTES(0, 0xA4, 0)), STATUS_INVALID);
	fails(x, exchange_start(x, BYTES(0, 0xB0, 0, 0, 0, 1, 0)), STATUS_UNSUPPORTED);
	drop(x);
}

/* A reader that wants P3 in case 1 gets it, once. */
static void case_1_with_p3(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_TPDU, PROTOCOL_T0, 271);
	sends(x, exchange_start(x, BYTES(0, 0x0E, 0, 0)), 0, BYTES(0, 0x0E, 0, 0));
	sends(x, feed_error(x, CCID_ERROR_LENGTH), 0, BYTES(0, 0x0E, 0, 0, 0));
	fails(x, feed_error(x, CCID_ERROR_LENGTH), STATUS_EXCHANGE_FAILED);
	drop(x);
}

/* Success without SW1 SW2. */
static void no_status_word(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_SHORT, PROTOCOL_T1, 271);
	(void)exchange_start(x, BYTES(0, 0xB0, 0, 0, 5));
	fails(x, feed(x, 0, NULL, 0), STATUS_CARD_UNRESPONSIVE);
	(void)exchange_start(x, BYTES(0, 0xB0, 0, 0, 5));
	fails(x, feed(x, 0, BYTES(0x90)), STATUS_EXCHANGE_FAILED);
	drop(x);
}

/* The length that is known to be wrong. */
static void ccid_125_too_long_for_short_apdu(void **state) {
	(void)state;
	static const uint8_t apdu[263];
	struct exchange *x = make(CCID_LEVEL_SHORT, PROTOCOL_T0, 271);
	sends(x, exchange_start(x, apdu, 261), 0, apdu, 261);
	fails(x, exchange_start(x, apdu, 262), STATUS_TOO_LONG);
	drop(x);
	x = make(CCID_LEVEL_SHORT, PROTOCOL_T0, 263);
	sends(x, exchange_start(x, apdu, 261), 0, apdu, 261);
	fails(x, exchange_start(x, apdu, 262), STATUS_TOO_LONG);
	drop(x);
	x = make(CCID_LEVEL_SHORT, PROTOCOL_T0, 240);
	fails(x, exchange_start(x, apdu, 231), STATUS_TOO_LONG);
	drop(x);
}

/* As far as APDUs go: a PIN that the user did not enter is an answer. */
static void errors_of_the_reader(void **state) {
	(void)state;
	static const struct {
		uint8_t error;
		enum status status;
	} errors[] = {
		{ CCID_ERROR_UNSUPPORTED, STATUS_UNSUPPORTED },
		{ CCID_ERROR_MUTE, STATUS_CARD_UNRESPONSIVE },
		{ CCID_ERROR_PARITY, STATUS_EXCHANGE_FAILED },
		{ CCID_ERROR_PROTOCOL, STATUS_PROTO_MISMATCH },
		{ 0x90, STATUS_EXCHANGE_FAILED },
		{ 0x0A, STATUS_EXCHANGE_FAILED },
	};
	struct exchange *x = make(CCID_LEVEL_SHORT, PROTOCOL_T0, 271);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		(void)exchange_start(x, BYTES(0, 0x20, 0, 1));
		fails(x, feed_error(x, errors[i].error), errors[i].status);
	}
	(void)exchange_start(x, BYTES(0, 0x20, 0, 1));
	responds(x, feed_error(x, CCID_ERROR_PIN_TIMEOUT), BYTES(0x64, 0x00));
	(void)exchange_start(x, BYTES(0, 0x20, 0, 1));
	responds(x, feed_error(x, CCID_ERROR_PIN_CANCELLED), BYTES(0x64, 0x01));
	drop(x);
}

static void ccid_126_128_chains(void **state) {
	(void)state;
	uint8_t apdu[261];
	for (size_t i = 0; i < sizeof(apdu); i++)
		apdu[i] = (uint8_t)i;
	struct exchange *x = make(CCID_LEVEL_EXTENDED, PROTOCOL_T1, 64);
	sends(x, exchange_start(x, apdu, sizeof(apdu)), 1, apdu, 54);
	sends(x, feed(x, 0x10, NULL, 0), 3, apdu + 54, 54);
	sends(x, feed(x, 0x10, NULL, 0), 3, apdu + 108, 54);
	sends(x, feed(x, 0x00, NULL, 0), 3, apdu + 162, 54);
	sends(x, feed(x, 0x10, NULL, 0), 2, apdu + 216, 45);
	sends(x, feed(x, 1, BYTES(1, 2)), 0x10, NULL, 0);
	sends(x, feed(x, 3, BYTES(3)), 0x10, NULL, 0);
	sends(x, feed(x, 3, BYTES(4, 5)), 0x10, NULL, 0);
	responds(x, feed(x, 2, BYTES(0x90, 0)), BYTES(1, 2, 3, 4, 5, 0x90, 0));
	/* What fits is whole; "last" and "middle" as first answer count as whole and first. */
	sends(x, exchange_start(x, apdu, 54), 0, apdu, 54);
	responds(x, feed(x, 2, BYTES(0x90, 0)), BYTES(0x90, 0));
	sends(x, exchange_start(x, apdu, 54), 0, apdu, 54);
	sends(x, feed(x, 3, BYTES(1)), 0x10, NULL, 0);
	responds(x, feed(x, 0, BYTES(0x90, 0)), BYTES(1, 0x90, 0));
	drop(x);
}

static void ccid_127_broken_command_chains(void **state) {
	(void)state;
	static const uint8_t apdu[200];
	struct exchange *x = make(CCID_LEVEL_EXTENDED, PROTOCOL_T1, 64);
	(void)exchange_start(x, apdu, sizeof(apdu));
	fails(x, feed(x, 0x10, BYTES(1)), STATUS_EXCHANGE_FAILED);
	(void)exchange_start(x, apdu, sizeof(apdu));
	fails(x, feed(x, 2, NULL, 0), STATUS_EXCHANGE_FAILED);
	(void)exchange_start(x, apdu, sizeof(apdu));
	(void)feed(x, 0x10, NULL, 0);
	fails(x, feed_error(x, CCID_ERROR_HARDWARE), STATUS_EXCHANGE_FAILED);
	sends(x, exchange_start(x, apdu, 10), 0, apdu, 10);
	drop(x);
}

static void ccid_129_endless_responses(void **state) {
	(void)state;
	static const uint8_t apdu[10], part[54];
	struct exchange *x = make(CCID_LEVEL_EXTENDED, PROTOCOL_T1, 64);
	unsigned n = 1;
	(void)exchange_start(x, apdu, 10);
	while (feed(x, 1, part, 1) == EXCHANGE_SEND)
		n++;
	assert_int_equal(n, EXCHANGE_MAX_PARTS + 1);
	(void)exchange_start(x, apdu, 10);
	for (n = 1; feed(x, 3, part, sizeof(part)) == EXCHANGE_SEND;)
		n++;
	assert_int_equal(n, EXCHANGE_MAX_RESPONSE / sizeof(part) + 1);
	(void)exchange_start(x, apdu, 10);
	for (n = 1; feed(x, 3, NULL, 0) == EXCHANGE_SEND;)
		n++;
	assert_int_equal(n, EXCHANGE_MAX_EMPTY + 1);
	assert_int_equal(x->status, STATUS_EXCHANGE_FAILED);
	drop(x);
}

/* The longest response that there is. */
static void longest_response(void **state) {
	(void)state;
	static const uint8_t apdu[7];
	static uint8_t all[EXCHANGE_MAX_RESPONSE];
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i % 251);
	struct exchange *x = make(CCID_LEVEL_EXTENDED, PROTOCOL_T1, 4096);
	(void)exchange_start(x, apdu, sizeof(apdu));
	size_t at = 0;
	for (; sizeof(all) - at > 4000; at += 4000)
		assert_int_equal(feed(x, at ? 3 : 1, all + at, 4000), EXCHANGE_SEND);
	responds(x, feed(x, 2, all + at, sizeof(all) - at), all, sizeof(all));
	drop(x);
}

/* As the reader sees it. */
static void ccid_134_135_t1_at_tpdu_level(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_TPDU, PROTOCOL_T1, 271);
	assert_true(exchange_wants_ifsd(x));
	sends(x, exchange_negotiate(x), 0, BYTES(0x00, 0xC1, 0x01, 0xFE, 0x3E));
	assert_int_equal(feed(x, 0, BYTES(0x00, 0xE1, 0x01, 0xFE, 0x1E)), EXCHANGE_DONE);
	sends(x, exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00)), 0,
		BYTES(0x00, 0x00, 0x05, 0x00, 0xA4, 0x04, 0x00, 0x00, 0xA5));
	sends(x, feed(x, 0, BYTES(0x00, 0xC3, 0x01, 0x09, 0xCB)), 0,
		BYTES(0x00, 0xE3, 0x01, 0x09, 0xEB));
	assert_int_equal(exchange_request(x).specific[0], 9);
	assert_int_equal(exchange_patience(x), 9);
	responds(x, feed(x, 0, BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92)), BYTES(0x90, 0x00));
	(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
	assert_int_equal(exchange_request(x).specific[0], 0);
	assert_int_equal(exchange_patience(x), 1);
	drop(x);
}

/* Parity errors and silence are asked about again; other failures end the protocol. */
static void ccid_142_t1_troubles(void **state) {
	(void)state;
	static const uint8_t errors[] = { CCID_ERROR_PARITY, CCID_ERROR_OVERRUN, CCID_ERROR_MUTE };
	for (size_t i = 0; i < sizeof(errors); i++) {
		struct exchange *x = make(CCID_LEVEL_TPDU, PROTOCOL_T1, 271);
		(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
		assert_int_equal(feed_error(x, errors[i]), EXCHANGE_SEND);
		assert_int_equal(exchange_request(x).data[1] & 0xC0, 0x80);
		responds(x, feed(x, 0, BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92)),
			BYTES(0x90, 0x00));
		drop(x);
	}
	struct exchange *x = make(CCID_LEVEL_TPDU, PROTOCOL_T1, 271);
	(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
	fails(x, feed_error(x, CCID_ERROR_HARDWARE), STATUS_EXCHANGE_FAILED);
	fails(x, exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00)), STATUS_CARD_UNRESPONSIVE);
	drop(x);
}

static void no_ifsd_where_it_is_settled(void **state) {
	(void)state;
	struct atr atr = t1_atr();
	struct exchange x = { 0 };
	struct exchange_config config = {
		.level = CCID_LEVEL_TPDU,
		.protocol = PROTOCOL_T1,
		.message_length = 271,
		.max_ifsd = 254,
		.reader_set_ifsd = 1,
		.atr = &atr,
	};
	assert_int_equal(exchange_init(&x, &config), 0);
	assert_false(exchange_wants_ifsd(&x));
	config.reader_set_ifsd = 0;
	config.max_ifsd = 32;
	assert_int_equal(exchange_init(&x, &config), 0);
	assert_false(exchange_wants_ifsd(&x));
	config.max_ifsd = 254;
	config.level = CCID_LEVEL_SHORT;
	assert_int_equal(exchange_init(&x, &config), 0);
	assert_false(exchange_wants_ifsd(&x));
	exchange_stop(&x);
}

/* Character level: a block is received in two parts; both at once are fine, too. */
static void t1_at_character_level(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_CHARACTER, PROTOCOL_T1, 271);
	sends(x, exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00)), 3,
		BYTES(0x00, 0x00, 0x05, 0x00, 0xA4, 0x04, 0x00, 0x00, 0xA5));
	sends(x, feed(x, 0, BYTES(0x00, 0x00, 0x02)), 3, NULL, 0);
	responds(x, feed(x, 0, BYTES(0x90, 0x00, 0x92)), BYTES(0x90, 0x00));
	(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
	responds(x, feed(x, 0, BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0xD2)), BYTES(0x90, 0x00));
	(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
	assert_int_equal(feed(x, 0, BYTES(0x00, 0x00, 0xFF)), EXCHANGE_SEND);
	assert_int_equal(exchange_request(x).data[1] & 0xC0, 0x80);
	/* more time is for the beginning of the block that follows */
	sends(x, feed(x, 0, BYTES(0x00, 0xC3, 0x01)), 2, NULL, 0);
	sends(x, feed(x, 0, BYTES(0x09, 0xCB)), 3, BYTES(0x00, 0xE3, 0x01, 0x09, 0xEB));
	assert_int_equal(exchange_request(x).specific[0], 9);
	sends(x, feed(x, 0, BYTES(0x00, 0x00, 0x02)), 3, NULL, 0);
	assert_int_equal(exchange_request(x).specific[0], 0);
	assert_int_equal(exchange_patience(x), 1);
	drop(x);
}

static void ccid_131_t0_at_character_level(void **state) {
	(void)state;
	struct exchange *x = make(CCID_LEVEL_CHARACTER, PROTOCOL_T0, 271);
	sends(x, exchange_start(x, BYTES(0, 0xB0, 0, 0, 2)), 1, BYTES(0, 0xB0, 0, 0, 2));
	for (unsigned i = 0; i < 100; i++)
		sends(x, feed(x, 0, BYTES(0x60)), 1, NULL, 0);
	sends(x, feed(x, 0, BYTES(0xB0)), 4, NULL, 0);
	responds(x, feed(x, 0, BYTES(1, 2, 0x90, 0)), BYTES(1, 2, 0x90, 0));
	(void)exchange_start(x, BYTES(0, 0xB0, 0, 0, 2));
	fails(x, feed(x, 0, BYTES(0x33)), STATUS_EXCHANGE_FAILED);
	fails(x, exchange_start(x, BYTES(0, 0xB0, 0, 0, 2)), STATUS_CARD_UNRESPONSIVE);
	drop(x);
}

/* For a reader that cannot answer with n × 64 bytes: 54 are missing, 1 comes first. */
static void ccid_133_t1_at_character_level(void **state) {
	(void)state;
	uint8_t block[3 + 53 + T1_MAX_EDC] = { 0x00, 0x00, 53 };
	memset(block + 3, 0x5A, 53);
	(void)t1_edc(0, block, 56, block + 56);
	for (int odd = 0; odd < 2; odd++) {
		struct exchange *x = make(CCID_LEVEL_CHARACTER, PROTOCOL_T1, 271);
		x->config.no_full_packets = odd;
		x->t1.max_ifsd = 254;
		(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
		enum exchange_action action = feed(x, 0, block, 3);
		sends(x, action, odd ? 1 : 54, NULL, 0);
		size_t at = 3;
		if (odd) {
			sends(x, feed(x, 0, block + at, 1), 53, NULL, 0);
			at++;
		}
		responds(x, feed(x, 0, block + at, 57 - at), block + 3, 53);
		/* less than was asked for is a bad block, and not asked for again and again */
		(void)exchange_start(x, BYTES(0x00, 0xA4, 0x04, 0x00, 0x00));
		(void)feed(x, 0, BYTES(0x00, 0x40, 0x02));
		assert_int_equal(feed(x, 0, BYTES(0x90)), EXCHANGE_SEND);
		assert_int_equal(exchange_request(x).data[1] & 0xC0, 0x80);
		drop(x);
	}
}

static void raw_bytes(void **state) {
	(void)state;
	struct exchange x = { 0 };
	sends(&x, exchange_start_raw(&x, 271, BYTES(0x12)), 0, BYTES(0x12));
	responds(&x, feed(&x, 0, BYTES(0x34)), BYTES(0x34));
	static const uint8_t many[262];
	fails(&x, exchange_start_raw(&x, 271, many, sizeof(many)), STATUS_TOO_LONG);
	fails(&x, exchange_start(&x, BYTES(0, 0xB0, 0, 0)), STATUS_CARD_UNRESPONSIVE);
	exchange_stop(&x);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_122_123_124_t0_at_tpdu_level),
		cmocka_unit_test(case_1_with_p3),
		cmocka_unit_test(no_status_word),
		cmocka_unit_test(ccid_125_too_long_for_short_apdu),
		cmocka_unit_test(errors_of_the_reader),
		cmocka_unit_test(ccid_126_128_chains),
		cmocka_unit_test(ccid_127_broken_command_chains),
		cmocka_unit_test(ccid_129_endless_responses),
		cmocka_unit_test(longest_response),
		cmocka_unit_test(ccid_134_135_t1_at_tpdu_level),
		cmocka_unit_test(ccid_142_t1_troubles),
		cmocka_unit_test(no_ifsd_where_it_is_settled),
		cmocka_unit_test(t1_at_character_level),
		cmocka_unit_test(ccid_131_t0_at_character_level),
		cmocka_unit_test(ccid_133_t1_at_character_level),
		cmocka_unit_test(raw_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
