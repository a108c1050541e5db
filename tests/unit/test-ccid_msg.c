/* SPDX-License-Identifier: MIT */
/* CCID messages byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "ifdhandler/ccid/ccid_msg.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

static void check_encode(const struct ccid_request *request, const uint8_t *want, size_t len) {
	uint8_t buf[300];
	assert_int_equal(ccid_msg_encode(request, 0, 5, buf, sizeof(buf)), len);
	assert_memory_equal(buf, want, len);
	assert_int_equal(ccid_msg_encode(request, 0, 5, buf, len - 1), 0);
}

static void encodes(void **state) {
	(void)state;
	static const uint8_t select[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };
	static const uint8_t t1[] = { 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00 };
	static const uint8_t t0[] = { 0x11, 0x00, 0x00, 0x0A, 0x00 };
	struct ccid_request r = ccid_msg_plain(CCID_GET_SLOT_STATUS);
	check_encode(&r, BYTES(0x65, 0, 0, 0, 0, 0, 5, 0, 0, 0));
	r = ccid_msg_power_on(1);
	check_encode(&r, BYTES(0x62, 0, 0, 0, 0, 0, 5, 1, 0, 0));
	r = ccid_msg_xfr_block(0, 0, select, sizeof(select));
	check_encode(&r,
		BYTES(0x6F, 7, 0, 0, 0, 0, 5, 0, 0, 0, 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00));
	r = ccid_msg_xfr_block(9, 0x1234, NULL, 0);
	check_encode(&r, BYTES(0x6F, 0, 0, 0, 0, 0, 5, 9, 0x34, 0x12));
	r = ccid_msg_set_parameters(1, t1, sizeof(t1));
	check_encode(&r,
		BYTES(0x61, 7, 0, 0, 0, 0, 5, 1, 0, 0, 0x11, 0x10, 0x00, 0x4D, 0x00, 0x20, 0x00));
	r = ccid_msg_set_parameters(0, t0, sizeof(t0));
	check_encode(&r, BYTES(0x61, 5, 0, 0, 0, 0, 5, 0, 0, 0, 0x11, 0x00, 0x00, 0x0A, 0x00));
	r = ccid_msg_escape(select, 1);
	check_encode(&r, BYTES(0x6B, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0x00));
}

static struct ccid_reply decode(const uint8_t *bytes, size_t len) {
	struct ccid_reply r;
	assert_int_equal(ccid_msg_decode(bytes, len, &r), 0);
	return r;
}

static void decodes(void **state) {
	(void)state;
	struct ccid_reply r = decode(BYTES(0x81, 0, 0, 0, 0, 0, 5, 1, 0, 0));
	assert_int_equal(r.type, CCID_SLOT_STATUS);
	assert_int_equal(r.seq, 5);
	assert_int_equal(r.icc, CCID_ICC_INACTIVE);
	assert_int_equal(r.outcome, CCID_DONE);
	assert_int_equal(r.len, 0);
	r = decode(BYTES(0x80, 2, 0, 0, 0, 3, 5, 0, 0, 0x10, 0x3B, 0x00, 0xEE));
	assert_int_equal(r.slot, 3);
	assert_int_equal(r.len, 2);
	assert_int_equal(r.specific, CCID_CHAIN_NEXT);
	assert_int_equal(r.data[0], 0x3B);
	r = decode(BYTES(0x80, 0, 0, 0, 0, 0, 5, 0x80, 3, 0));
	assert_int_equal(r.outcome, CCID_EXTENSION);
	assert_int_equal(r.error, 3);
	r = decode(BYTES(0x82, 0, 0, 0, 0, 0, 5, 0x40, 0x0A, 0));
	assert_int_equal(r.outcome, CCID_FAILED);
}

/* Reserved values. */
static void ccid_58_90_reserved_status_bits(void **state) {
	(void)state;
	struct ccid_reply r = decode(BYTES(0x81, 0, 0, 0, 0, 0, 5, 0xC3, 0, 0));
	assert_int_equal(r.outcome, CCID_FAILED);
	assert_int_equal(r.icc, CCID_ICC_ABSENT);
	r = decode(BYTES(0x81, 0, 0, 0, 0, 0, 5, 0x3C, 0, 0));
	assert_int_equal(r.outcome, CCID_DONE);
	assert_int_equal(r.icc, CCID_ICC_ACTIVE);
}

static void ccid_43_44_45_46_52_refuses(void **state) {
	(void)state;
	struct ccid_reply r = { .seq = 77 };
	assert_int_equal(ccid_msg_decode(BYTES(0x81, 0, 0, 0, 0, 0, 5, 0, 0), &r), -EBADMSG);
	assert_int_equal(ccid_msg_decode(BYTES(0x80, 1, 0, 0, 0, 0, 5, 0, 0, 0), &r), -EBADMSG);
	for (unsigned low = 0xF0; low <= 0xFF; low++)
		assert_int_equal(ccid_msg_decode(BYTES(0x80, (uint8_t)low, 0xFF, 0xFF, 0xFF, 0, 5,
							 0, 0, 0, 0, 0),
					 &r),
			-EBADMSG);
	assert_int_equal(
		ccid_msg_decode(BYTES(0x80, 0xF6, 0xFF, 0xFF, 0x7F, 0, 5, 0, 0, 0), &r), -EBADMSG);
	assert_int_equal(ccid_msg_decode(BYTES(0x6F, 0, 0, 0, 0, 0, 5, 0, 0, 0), &r), -EBADMSG);
	assert_int_equal(ccid_msg_decode(BYTES(0x85, 0, 0, 0, 0, 0, 5, 0, 0, 0), &r), -EBADMSG);
	assert_int_equal(ccid_msg_decode(NULL, 0, &r), -EBADMSG);
	assert_int_equal(r.seq, 77);
	static uint8_t big[CCID_MSG_MAX + 1] = { 0x80, 0x0D, 0, 1 };
	assert_int_equal(ccid_msg_length(big, sizeof(big)), CCID_MSG_MAX + 1);
	assert_int_equal(ccid_msg_decode(big, sizeof(big), &r), -EBADMSG);
}

static void ccid_53_pairs(void **state) {
	(void)state;
	static const struct {
		enum ccid_command_type command;
		uint8_t answer;
	} pairs[] = {
		{ CCID_POWER_ON, 0x80 },
		{ CCID_POWER_OFF, 0x81 },
		{ CCID_GET_SLOT_STATUS, 0x81 },
		{ CCID_XFR_BLOCK, 0x80 },
		{ CCID_GET_PARAMETERS, 0x82 },
		{ CCID_RESET_PARAMETERS, 0x82 },
		{ CCID_SET_PARAMETERS, 0x82 },
		{ CCID_ESCAPE, 0x83 },
		{ CCID_CLOCK, 0x81 },
		{ CCID_T0_APDU, 0x81 },
		{ CCID_SECURE, 0x80 },
		{ CCID_MECHANICAL, 0x81 },
		{ CCID_ABORT, 0x81 },
		{ CCID_SET_RATE_AND_CLOCK, 0x84 },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (uint8_t type = 0x80; type <= 0x84; type++) {
			struct ccid_reply r = { .type = type, .outcome = CCID_DONE };
			assert_int_equal(
				ccid_msg_is_answer(&r, pairs[i].command), type == pairs[i].answer);
			r.outcome = CCID_FAILED;
			assert_int_equal(ccid_msg_is_answer(&r, pairs[i].command),
				type == pairs[i].answer || type == CCID_SLOT_STATUS);
		}
}

static void ccid_81_82_notifications(void **state) {
	(void)state;
	static const uint8_t eight[] = { 0x50, 0x80, 0xC0 }; /* slots 3 and 7 */
	for (unsigned slot = 0; slot < 8; slot++)
		assert_int_equal(
			ccid_msg_slot_changed(eight, 3, slot) != 0, slot == 3 || slot == 7);
	assert_true(ccid_msg_slot_changed(eight, 3, 8));
	assert_true(ccid_msg_slot_changed(eight, 1, 0));
	assert_true(ccid_msg_slot_changed(NULL, 0, 0));
	assert_true(ccid_msg_slot_changed(BYTES(0x51, 0, 0, 1), 0));
	assert_false(ccid_msg_slot_changed(BYTES(0x50, 0x01), 0));
}

static void every_error_has_a_text(void **state) {
	(void)state;
	for (unsigned e = 0; e < 256; e++)
		assert_true(strlen(ccid_msg_error_text((uint8_t)e)) > 3);
	assert_string_equal(ccid_msg_error_text(CCID_ERROR_PARITY), "parity error");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodes),
		cmocka_unit_test(decodes),
		cmocka_unit_test(ccid_58_90_reserved_status_bits),
		cmocka_unit_test(ccid_43_44_45_46_52_refuses),
		cmocka_unit_test(ccid_53_pairs),
		cmocka_unit_test(ccid_81_82_notifications),
		cmocka_unit_test(every_error_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
