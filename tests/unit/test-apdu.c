/* SPDX-License-Identifier: MIT */
/* The seven cases of a command APDU, and every length that is none of them. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "ifdhandler/iso7816/apdu.h"

#define PARSE(ret, ...) \
	apdu_parse((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), ret)

static uint8_t buf[70000];

/* A header, then body[0 … 2] as given, then zeros and `tail` as the last byte. */
static int parse_long(uint8_t b0, uint8_t b1, uint8_t b2, size_t len, struct apdu *ret_apdu) {
	memset(buf, 0, len);
	memcpy(buf, (const uint8_t[]){ 0x80, 0xca, 0x01, 0x02, b0, b1, b2 }, len < 7 ? len : 7);
	return apdu_parse(buf, len, ret_apdu);
}

static void case_1(void **state) {
	(void)state;
	struct apdu apdu;
	assert_int_equal(PARSE(&apdu, 0x00, 0x44, 0x12, 0x34), 0);
	assert_int_equal(apdu.kind, APDU_CASE_1);
	assert_int_equal(apdu.ins, 0x44);
	assert_int_equal(apdu.p1, 0x12);
	assert_int_equal(apdu.p2, 0x34);
	assert_int_equal(apdu.lc, 0);
	assert_int_equal(apdu.le, 0);
	assert_null(apdu.data);
}

static void short_cases(void **state) {
	(void)state;
	struct apdu apdu;
	assert_int_equal(PARSE(&apdu, 0x00, 0xb0, 0, 0, 0x10), 0);
	assert_int_equal(apdu.kind, APDU_CASE_2S);
	assert_int_equal(apdu.le, 16);
	assert_int_equal(PARSE(&apdu, 0x00, 0xb0, 0, 0, 0x00), 0);
	assert_int_equal(apdu.le, 256);
	assert_int_equal(PARSE(&apdu, 0x00, 0xa4, 0, 0, 0x02, 0x3f, 0x00), 0);
	assert_int_equal(apdu.kind, APDU_CASE_3S);
	assert_int_equal(apdu.lc, 2);
	assert_int_equal(apdu.data[0], 0x3f);
	assert_int_equal(apdu.le, 0);
	assert_int_equal(PARSE(&apdu, 0x00, 0xa4, 0, 0, 0x02, 0x3f, 0x00, 0x00), 0);
	assert_int_equal(apdu.kind, APDU_CASE_4S);
	assert_int_equal(apdu.lc, 2);
	assert_int_equal(apdu.le, 256);
	assert_false(apdu_is_extended(&apdu));
	assert_int_equal(parse_long(0xff, 0, 0, APDU_MAX_SHORT, &apdu), 0);
	assert_int_equal(apdu.kind, APDU_CASE_4S);
	assert_int_equal(apdu.lc, 255);
}

static void extended_cases(void **state) {
	(void)state;
	struct apdu apdu;
	assert_int_equal(PARSE(&apdu, 0x00, 0xb0, 0, 0, 0x00, 0x01, 0x00), 0);
	assert_int_equal(apdu.kind, APDU_CASE_2E);
	assert_int_equal(apdu.le, 256);
	assert_int_equal(PARSE(&apdu, 0x00, 0xb0, 0, 0, 0x00, 0x00, 0x00), 0);
	assert_int_equal(apdu.le, 65536);
	assert_int_equal(PARSE(&apdu, 0x00, 0xd6, 0, 0, 0x00, 0x00, 0x01, 0xaa), 0);
	assert_int_equal(apdu.kind, APDU_CASE_3E);
	assert_int_equal(apdu.lc, 1);
	assert_int_equal(apdu.data[0], 0xaa);
	assert_int_equal(PARSE(&apdu, 0x00, 0xd6, 0, 0, 0x00, 0x00, 0x01, 0xaa, 0x12, 0x34), 0);
	assert_int_equal(apdu.kind, APDU_CASE_4E);
	assert_int_equal(apdu.le, 0x1234);
	assert_true(apdu_is_extended(&apdu));
	assert_int_equal(parse_long(0, 0xff, 0xff, APDU_MAX_EXTENDED, &apdu), 0);
	assert_int_equal(apdu.kind, APDU_CASE_4E);
	assert_int_equal(apdu.lc, 65535);
	assert_int_equal(apdu.le, 65536);
	assert_int_equal(parse_long(0, 0xff, 0xff, APDU_MAX_EXTENDED - 2, &apdu), 0);
	assert_int_equal(apdu.kind, APDU_CASE_3E);
}

static void malformed(void **state) {
	(void)state;
	struct apdu apdu, before;
	memset(&apdu, 0x5a, sizeof(apdu));
	before = apdu;
	for (size_t len = 0; len < 4; len++)
		assert_int_equal(parse_long(0, 0, 0, len, &apdu), -EBADMSG);
	/* Lc 0 and then something */
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x00, 0x00), -EBADMSG);
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0xaa), -EBADMSG);
	/* data and Le do not fit Lc */
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x02, 0xaa), -EBADMSG);
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x01, 0xaa, 0x00, 0x00), -EBADMSG);
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x00, 0x00, 0x02, 0xaa), -EBADMSG);
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x00, 0x00, 0x01, 0xaa, 0x00), -EBADMSG);
	assert_int_equal(PARSE(&apdu, 0, 0, 0, 0, 0x00, 0x00, 0x01, 0xaa, 0, 0, 0), -EBADMSG);
	assert_int_equal(parse_long(0, 0xff, 0xff, APDU_MAX_EXTENDED + 1, &apdu), -EBADMSG);
	assert_memory_equal(&apdu, &before, sizeof(apdu));
}

/* For each Lc exactly two lengths are right. */
static void exactly_two_lengths_for_each_lc(void **state) {
	(void)state;
	struct apdu apdu;
	for (unsigned lc = 1; lc < 256; lc++) {
		for (size_t len = 6; len < 270; len++) {
			int right = len == 5 + lc || len == 6 + lc;
			int result = parse_long((uint8_t)lc, 0, 0, len, &apdu);
			assert_int_equal(result, right ? 0 : -EBADMSG);
			if (right)
				assert_ptr_equal(apdu.data, buf + 5);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_1),
		cmocka_unit_test(short_cases),
		cmocka_unit_test(extended_cases),
		cmocka_unit_test(malformed),
		cmocka_unit_test(exactly_two_lengths_for_each_lc),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
