/* SPDX-License-Identifier: MIT */
/* PIN entry at the reader's keys: from the program's structure to the reader's, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ifdhandler/ccid/pin.h"
#include "ifdhandler/ccid/quirk.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

enum { ROOM = 261, VERIFY = 19, MODIFY = 24 };

/* 30 s; byte units, ASCII, left; block of 8; 4 to 8 digits; key OK; one message, US English. */
static const uint8_t verify[] = { 0x1E, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x01, 0x09, 0x04,
	0x00, 0x00, 0x00, 0x00, 0x0D, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x82, 0x08, 0xFF, 0xFF,
	0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF };
static const uint8_t verify_message[] = { 0x00, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x01,
	0x09, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x82, 0x08, 0xFF, 0xFF, 0xFF, 0xFF,
	0xFF, 0xFF, 0xFF, 0xFF };

/* The same for a new PIN: offsets 0 and 8, asked twice and for the old one, three messages A1 A2 A3. */
static const uint8_t modify[] = { 0x1E, 0x1F, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, 0x02,
	0x03, 0x09, 0x04, 0xA1, 0xA2, 0xA3, 0x11, 0x12, 0x13, 0x05, 0x00, 0x00, 0x00, 0x00, 0x24,
	0x00, 0x82, 0x00 };

static enum status translate_with(enum pin_operation op, struct pin_rules rules, const char *words,
	const uint8_t *in, size_t len, struct pin_request *ret) {
	struct quirks quirks;
	quirk_parse(words, &quirks);
	rules.quirks = &quirks;
	if (!rules.room)
		rules.room = ROOM;
	/* In a block of its own, so that a look behind its end is seen. */
	uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, in, len);
	enum status status = pin_translate(op, &rules, copy, len, ret);
	free(copy);
	return status;
}

static enum status translate(enum pin_operation op, const char *words, const uint8_t *in,
	size_t len, struct pin_request *ret) {
	return translate_with(op, (struct pin_rules){ 0 }, words, in, len, ret);
}

/* The structure with some bytes changed: pairs of offset and value. */
static void check_verify(const char *words, const uint8_t *pairs, size_t n, size_t at,
	const uint8_t *want, size_t len) {
	struct pin_request request;
	uint8_t in[sizeof(verify)];
	memcpy(in, verify, sizeof(in));
	for (size_t i = 0; i < n; i += 2)
		in[pairs[i]] = pairs[i + 1];
	assert_int_equal(translate(PIN_VERIFY, words, in, sizeof(in), &request), STATUS_OK);
	assert_memory_equal(request.bytes + at, want, len);
}

/* ---- verification ---- */

static void ccid_145_verify_byte_for_byte(void **state) {
	(void)state;
	struct pin_request request;
	assert_int_equal(translate(PIN_VERIFY, "", verify, sizeof(verify), &request), STATUS_OK);
	assert_int_equal(request.len, sizeof(verify_message));
	assert_memory_equal(request.bytes, verify_message, sizeof(verify_message));
	assert_int_equal(request.prologue, 12);
	assert_int_equal(request.apdu, 15);
	assert_int_equal(request.seconds, 30);
	assert_false(request.unpadded);
	/* every field where it belongs, bTimeOut2 and ulDataLength gone */
	static const uint8_t in[] = { 0x31, 0x32, 0x83, 0x34, 0x35, 0x37, 0x36, 0x03, 0xFF, 0x39,
		0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 4, 0, 0, 0, 0x80, 0x20, 0x41, 0x42 };
	static const uint8_t out[] = { 0x00, 0x31, 0x83, 0x34, 0x35, 0x37, 0x36, 0x03, 0xFF, 0x39,
		0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x80, 0x20, 0x41, 0x42 };
	assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_OK);
	assert_int_equal(request.len, sizeof(out));
	assert_memory_equal(request.bytes, out, sizeof(out));
}

static void ccid_145_wrong_lengths(void **state) {
	(void)state;
	struct pin_request request;
	for (size_t len = 0; len < sizeof(verify); len++)
		assert_int_equal(translate(PIN_VERIFY, "", verify, len, &request), STATUS_INVALID);
	for (size_t len = 0; len < sizeof(modify); len++)
		assert_int_equal(translate(PIN_MODIFY, "", modify, len, &request), STATUS_INVALID);
	static const uint32_t lengths[] = { 0, 12, 14, 0x100, 0x10D, 0xD0000, 0xFFFFFFFF };
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t in[sizeof(verify)];
		memcpy(in, verify, sizeof(in));
		for (unsigned k = 0; k < 4; k++)
			in[15 + k] = (uint8_t)(lengths[i] >> (8 * k));
		assert_int_equal(
			translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_INVALID);
	}
	/* a command of less than 4 bytes, consistently */
	uint8_t tiny[VERIFY + 3];
	memcpy(tiny, verify, sizeof(tiny));
	tiny[15] = 3;
	assert_int_equal(translate(PIN_VERIFY, "", tiny, sizeof(tiny), &request), STATUS_INVALID);
}

static void ccid_145_longest(void **state) {
	(void)state;
	struct pin_request request;
	uint8_t in[MODIFY + 262] = { 0 };
	memcpy(in, verify, VERIFY);
	in[VERIFY + 1] = 0x20;
	for (size_t n = 240; n <= 262; n++) {
		in[15] = (uint8_t)n;
		in[16] = (uint8_t)(n >> 8);
		struct pin_rules rules = { .room = 15 + 250 };
		enum status want = n <= 250 ? STATUS_OK : STATUS_TOO_LONG;
		assert_int_equal(
			translate_with(PIN_VERIFY, rules, "", in, VERIFY + n, &request), want);
		rules.room = 1000;
		want = n <= 261 ? STATUS_OK : STATUS_TOO_LONG;
		assert_int_equal(
			translate_with(PIN_VERIFY, rules, "", in, VERIFY + n, &request), want);
	}
	memcpy(in, modify, MODIFY);
	in[MODIFY + 1] = 0x24;
	in[20] = 5;
	in[21] = 1; /* 261 */
	struct pin_rules rules = { .room = 1000 };
	assert_int_equal(
		translate_with(PIN_MODIFY, rules, "", in, MODIFY + 261, &request), STATUS_OK);
	assert_int_equal(request.len, PIN_MAX_REQUEST);
}

/* Numbers in the other order: seen by the length, and turned. */
static void ccid_145_big_endian(void **state) {
	(void)state;
	struct pin_request request;
	uint8_t in[sizeof(verify)];
	memcpy(in, verify, sizeof(in));
	memcpy(in + 5, (uint8_t[]){ 0x04, 0x08 }, 2);
	memcpy(in + 9, (uint8_t[]){ 0x04, 0x09 }, 2);
	memcpy(in + 15, (uint8_t[]){ 0, 0, 0, 0x0D }, 4);
	assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_OK);
	assert_int_equal(request.len, sizeof(verify_message));
	assert_memory_equal(request.bytes, verify_message, sizeof(verify_message));
	/* numbers alone do not make it so */
	memcpy(in + 15, verify + 15, 4);
	memcpy(in + 5, verify + 5, 2);
	assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_OK);
	assert_memory_equal(request.bytes + 9, in + 9, 2);

	struct pin_request little, big;
	uint8_t change[sizeof(modify)];
	memcpy(change, modify, sizeof(change));
	memcpy(change + 7, (uint8_t[]){ 0x04, 0x08 }, 2);
	memcpy(change + 12, (uint8_t[]){ 0x04, 0x09 }, 2);
	memcpy(change + 20, (uint8_t[]){ 0, 0, 0, 0x05 }, 4);
	assert_int_equal(translate(PIN_MODIFY, "", change, sizeof(change), &big), STATUS_OK);
	assert_int_equal(translate(PIN_MODIFY, "", modify, sizeof(modify), &little), STATUS_OK);
	assert_int_equal(big.len, little.len);
	assert_memory_equal(big.bytes, little.bytes, little.len);
}

static void ccid_145_validation(void **state) {
	(void)state;
	for (unsigned v = 0; v < 256; v++) {
		uint8_t want = v == 0 || v > 7 ? 2 : (uint8_t)v;
		check_verify("", BYTES(7, (uint8_t)v), 7, &want, 1);
		struct pin_request request;
		uint8_t in[sizeof(modify)];
		memcpy(in, modify, sizeof(in));
		in[10] = (uint8_t)v;
		assert_int_equal(translate(PIN_MODIFY, "", in, sizeof(in), &request), STATUS_OK);
		assert_int_equal(request.bytes[10], want);
	}
}

/* The keys are for commands that take PINs, and for no others. */
static void ccid_145_instructions(void **state) {
	(void)state;
	for (unsigned ins = 0; ins < 256; ins++) {
		struct pin_request request;
		uint8_t in[sizeof(verify)], change[sizeof(modify)];
		memcpy(in, verify, sizeof(in));
		memcpy(change, modify, sizeof(change));
		in[VERIFY + 1] = change[MODIFY + 1] = (uint8_t)ins;
		int allowed = ins == 0x20 || ins == 0x24 || ins == 0x2C;
		enum status want = allowed ? STATUS_OK : STATUS_UNSUPPORTED;
		assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), want);
		assert_int_equal(translate(PIN_MODIFY, "", change, sizeof(change), &request), want);
	}
}

static void ccid_145_senseless_formats(void **state) {
	(void)state;
	struct pin_request request;
	uint8_t in[sizeof(verify)], change[sizeof(modify)];
	memcpy(in, verify, sizeof(in));
	in[5] = 3; /* at most 3, at least 4 digits */
	assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_INVALID);
	in[6] = 3;
	assert_int_equal(translate(PIN_VERIFY, "", in, sizeof(in), &request), STATUS_OK);
	static const struct {
		uint8_t format, block, old, new;
		enum status want;
	} cases[] = {
		{ 0x82, 0x08, 247, 0, STATUS_OK },
		{ 0x82, 0x08, 248, 0, STATUS_INVALID },
		{ 0x82, 0x08, 0, 248, STATUS_INVALID },
		{ 0x82, 0xF8, 0, 247, STATUS_OK }, /* the size of the length is none of its bytes */
		{ 0x82 | 15 << 3, 0x08, 0, 232, STATUS_OK },
		{ 0x82 | 15 << 3, 0x08, 0, 233, STATUS_INVALID },
		{ 0x02 | 15 << 3, 0x08, 0, 245, STATUS_OK }, /* 15 bits */
		{ 0x02 | 15 << 3, 0x08, 0, 246, STATUS_INVALID },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(change, modify, sizeof(change));
		change[2] = cases[i].format;
		change[3] = cases[i].block;
		change[5] = cases[i].old;
		change[6] = cases[i].new;
		assert_int_equal(
			translate(PIN_MODIFY, "", change, sizeof(change), &request), cases[i].want);
	}
}

/* ---- modification ---- */

/* The message for a given bNumberMessage: want is its number and what follows up to bTeoPrologue. */
static void check_modify(
	const char *words, int all_indexes, uint8_t number, const uint8_t *want, size_t len) {
	struct pin_request request;
	uint8_t in[sizeof(modify)],
		out[64] = { 0x01, 0x1E, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, 0x02 };
	memcpy(in, modify, sizeof(in));
	in[11] = number;
	out[11] = want[0];
	out[12] = 0x09;
	out[13] = 0x04;
	memcpy(out + 14, want + 1, len - 1);
	size_t n = 14 + len - 1;
	memcpy(out + n, modify + 17, 3);
	memcpy(out + n + 3, modify + MODIFY, 5);
	struct pin_rules rules = { .all_indexes = all_indexes };
	assert_int_equal(
		translate_with(PIN_MODIFY, rules, words, in, sizeof(in), &request), STATUS_OK);
	assert_int_equal(request.prologue, n);
	assert_int_equal(request.apdu, n + 3);
	assert_int_equal(request.len, n + 3 + 5);
	assert_memory_equal(request.bytes, out, request.len);
}

static void ccid_147_modify_indexes(void **state) {
	(void)state;
	check_modify("", 0, 0, BYTES(0, 0xA1));
	check_modify("", 0, 1, BYTES(1, 0xA1, 0xA2));
	check_modify("", 0, 2, BYTES(2, 0xA1, 0xA2));
	check_modify("", 0, 3, BYTES(3, 0xA1, 0xA2, 0xA3));
	check_modify("", 0, 0xFF, BYTES(0xFF, 0xA1, 0xA2, 0xA3));
	for (unsigned number = 4; number < 0xFF; number++) {
		struct pin_request request;
		uint8_t in[sizeof(modify)];
		memcpy(in, modify, sizeof(in));
		in[11] = (uint8_t)number;
		assert_int_equal(
			translate(PIN_MODIFY, "", in, sizeof(in), &request), STATUS_INVALID);
		/* also where it would be replaced */
		assert_int_equal(
			translate(PIN_MODIFY, "pin-three-messages", in, sizeof(in), &request),
			STATUS_INVALID);
	}
}

/* Gemalto: three indexes, and the program's number. */
static void ccid_147_modify_all_indexes(void **state) {
	(void)state;
	static const uint8_t numbers[] = { 0, 1, 2, 3, 0xFF };
	for (size_t i = 0; i < sizeof(numbers); i++) {
		check_modify("", 1, numbers[i], BYTES(numbers[i], 0xA1, 0xA2, 0xA3));
		check_modify("pin-all-indexes", 0, numbers[i], BYTES(numbers[i], 0xA1, 0xA2, 0xA3));
	}
}

static void ccid_147_modify_three_messages(void **state) {
	(void)state;
	static const uint8_t numbers[] = { 0, 1, 2, 3, 0xFF };
	for (size_t i = 0; i < sizeof(numbers); i++)
		check_modify("pin-three-messages", 0, numbers[i], BYTES(3, 0xA1, 0xA2, 0xA3));
}

static void ccid_147_modify_other_rules(void **state) {
	(void)state;
	static const uint8_t numbers[] = { 0, 1, 2, 3, 0xFF };
	for (size_t i = 0; i < sizeof(numbers); i++)
		check_modify("pin-zero-indexes", 0, numbers[i], BYTES(0, 0, 0, 0));
	check_modify("pin-default-messages", 0, 0, BYTES(0xFF, 0xA1, 0xA2, 0xA3));
	check_modify("pin-default-messages", 0, 1, BYTES(1, 0xA1, 0xA2));
	check_modify("pin-default-messages", 0, 3, BYTES(3, 0xA1, 0xA2, 0xA3));
	/* the rules of verification leave modification alone */
	check_modify(
		"pin-no-message pin-swap-digits pin-unpadded-escape", 0, 1, BYTES(1, 0xA1, 0xA2));
	check_modify("pin-one-message", 0, 2, BYTES(2, 0xA1, 0xA2));
}

/* ---- what readers want otherwise ---- */

static void verify_rules(void **state) {
	(void)state;
	/* 7: validation, 8: number in the structure and in the message */
	check_verify("pin-one-message", BYTES(8, 0, 7, 7), 7, BYTES(2, 1));
	check_verify("pin-one-message", BYTES(8, 0xFF, 7, 0), 7, BYTES(2, 1));
	check_verify("pin-no-message", BYTES(8, 1, 7, 7), 7, BYTES(7, 0));
	check_verify("pin-swap-digits", BYTES(5, 9, 6, 1), 5, BYTES(1, 9));
	check_verify("", BYTES(5, 9, 6, 1), 5, BYTES(9, 1));
	/* the rules of modification leave verification alone */
	check_verify("pin-all-indexes pin-zero-indexes pin-three-messages pin-default-messages",
		BYTES(8, 0), 0,
		BYTES(0x00, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x00, 0x09, 0x04, 0x00, 0x00,
			0x00, 0x00, 0x00, 0x20));
}

/* What ends an entry: only what the reader knows, and never nothing. */
static void validation_of_the_reader(void **state) {
	(void)state;
	static const struct {
		uint8_t known, asked, want;
	} cases[] = {
		{ 0, 7, 7 },
		{ 7, 5, 5 },
		{ 2, 7, 2 },
		{ 2, 1, 2 },
		{ 6, 3, 2 },
		{ 6, 1, 6 },
		{ 6, 0, 2 },
		{ 0xF8, 3, 3 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pin_request request;
		struct pin_rules rules = { .validation = cases[i].known };
		uint8_t in[sizeof(verify)], change[sizeof(modify)];
		memcpy(in, verify, sizeof(in));
		memcpy(change, modify, sizeof(change));
		in[7] = change[10] = cases[i].asked;
		assert_int_equal(
			translate_with(PIN_VERIFY, rules, "", in, sizeof(in), &request), STATUS_OK);
		assert_int_equal(request.bytes[7], cases[i].want);
		assert_int_equal(
			translate_with(PIN_MODIFY, rules, "", change, sizeof(change), &request),
			STATUS_OK);
		assert_int_equal(request.bytes[10], cases[i].want);
	}
	struct pin_request request;
	uint8_t in[sizeof(modify)];
	memcpy(in, modify, sizeof(in));
	in[10] = 7;
	assert_int_equal(
		translate(PIN_MODIFY, "pin-one-message", in, sizeof(in), &request), STATUS_OK);
	assert_int_equal(request.bytes[10], 2);
}

/* Only a bare header without a block wants the vendor command, and only verification. */
static void unpadded(void **state) {
	(void)state;
	struct pin_request request;
	uint8_t in[VERIFY + 5];
	memcpy(in, verify, sizeof(in));
	in[3] = 0;
	in[15] = 4;
	assert_int_equal(
		translate(PIN_VERIFY, "pin-unpadded-escape", in, VERIFY + 4, &request), STATUS_OK);
	assert_true(request.unpadded);
	assert_int_equal(translate(PIN_VERIFY, "", in, VERIFY + 4, &request), STATUS_OK);
	assert_false(request.unpadded);
	in[3] = 8;
	assert_int_equal(
		translate(PIN_VERIFY, "pin-unpadded-escape", in, VERIFY + 4, &request), STATUS_OK);
	assert_false(request.unpadded);
	in[3] = 0;
	in[15] = 5;
	assert_int_equal(
		translate(PIN_VERIFY, "pin-unpadded-escape", in, VERIFY + 5, &request), STATUS_OK);
	assert_false(request.unpadded);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_145_verify_byte_for_byte),
		cmocka_unit_test(ccid_145_wrong_lengths),
		cmocka_unit_test(ccid_145_longest),
		cmocka_unit_test(ccid_145_big_endian),
		cmocka_unit_test(ccid_145_validation),
		cmocka_unit_test(ccid_145_instructions),
		cmocka_unit_test(ccid_145_senseless_formats),
		cmocka_unit_test(ccid_147_modify_indexes),
		cmocka_unit_test(ccid_147_modify_all_indexes),
		cmocka_unit_test(ccid_147_modify_three_messages),
		cmocka_unit_test(ccid_147_modify_other_rules),
		cmocka_unit_test(verify_rules),
		cmocka_unit_test(validation_of_the_reader),
		cmocka_unit_test(unpadded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
