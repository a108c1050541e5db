/* SPDX-License-Identifier: MIT */
/* T=1 block by block where nothing goes wrong: vectors, chaining, S-blocks, what has an end. */
#include "tests/unit/t1-steps.h"

/* ---- check bytes ---- */

static void edc_vectors(void **state) {
	(void)state;
	static const struct {
		uint8_t len, bytes[10], lrc, crc[2];
	} vectors[] = {
		{ 4, { 0x00, 0xc1, 0x01, 0xfe }, 0x3e, { 0x54, 0x4e } },
		{ 4, { 0x00, 0xe1, 0x01, 0xfe }, 0x1e, { 0x57, 0x75 } },
		{ 4, { 0x00, 0xc1, 0x01, 0x20 }, 0xe0, { 0x6b, 0xbd } },
		{ 4, { 0x00, 0xe1, 0x01, 0x20 }, 0xc0, { 0x68, 0x86 } },
		{ 3, { 0x00, 0xc0, 0x00 }, 0xc0, { 0xf3, 0x99 } },
		{ 3, { 0x00, 0xe0, 0x00 }, 0xe0, { 0xd0, 0xaa } },
		{ 3, { 0x00, 0xc2, 0x00 }, 0xc2, { 0xc0, 0x29 } },
		{ 3, { 0x00, 0xe2, 0x00 }, 0xe2, { 0xe3, 0x1a } },
		{ 4, { 0x00, 0xc3, 0x01, 0x09 }, 0xcb, { 0x62, 0xc6 } },
		{ 4, { 0x00, 0xe3, 0x01, 0x09 }, 0xeb, { 0x61, 0xfd } },
		{ 3, { 0x00, 0x80, 0x00 }, 0x80, { 0xb5, 0xff } },
		{ 3, { 0x00, 0x90, 0x00 }, 0x90, { 0x20, 0x6e } },
		{ 3, { 0x00, 0x81, 0x00 }, 0x81, { 0xac, 0x27 } },
		{ 3, { 0x00, 0x91, 0x00 }, 0x91, { 0x39, 0xb6 } },
		{ 3, { 0x00, 0x82, 0x00 }, 0x82, { 0x86, 0x4f } },
		{ 3, { 0x00, 0x92, 0x00 }, 0x92, { 0x13, 0xde } },
		{ 8, { 0, 0, 5, 0x00, 0xa4, 0x04, 0x00, 0x00 }, 0xa5, { 0xdb, 0xbb } },
		{ 10, { 0, 0, 7, 0x00, 0xa4, 0x04, 0x00, 0x02, 0x3f, 0x00 }, 0x9a, { 0x3d, 0x25 } },
		{ 7, { 0x00, 0x20, 0x04, 0x00, 0xa4, 0x00, 0x00 }, 0x80, { 0xb7, 0x49 } },
		{ 5, { 0x00, 0x40, 0x02, 0x90, 0x00 }, 0xd2, { 0x8a, 0xda } },
	};
	uint8_t edc[T1_MAX_EDC];
	for (size_t i = 0; i < N_OF(vectors); i++) {
		assert_int_equal(t1_edc(0, vectors[i].bytes, vectors[i].len, edc), 1);
		assert_int_equal(edc[0], vectors[i].lrc);
		assert_int_equal(t1_edc(1, vectors[i].bytes, vectors[i].len, edc), 2);
		assert_memory_equal(edc, vectors[i].crc, 2);
	}
	t1_edc(1, (const uint8_t *)"123456789", 9, edc);
	assert_memory_equal(edc, "\x6f\x91", 2);
}

/* ---- without trouble ---- */

static void one_block_each_way(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00, 0x00));
	assert_int_equal(action.verb, T1_SEND);
	assert_int_equal(action.len, 9);
	assert_memory_equal(action.block, "\0\0\5\0\xa4\4\0\0\xa5", 9);
	assert_int_equal(action.expect, 3 + 32 + 1);
	assert_int_equal(action.wtx, 0);
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92));
	check_done(BYTES(0x90, 0x00));
	/* the second command counts on, in both directions */
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x40, 0x03, 0xaa, 0x90, 0x00));
	check_done(BYTES(0xaa, 0x90, 0x00));
	/* and the third begins again */
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	check_send(BYTES(0x00, 0x00, 0x04, 0x00, 0xb0, 0x00, 0x00));
}

static void ccid_138_crc_card(void **state) {
	(void)state;
	begin_atr(1, 32, 259);
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00, 0x00));
	assert_int_equal(action.len, 10);
	assert_memory_equal(action.block + 8, "\xdb\xbb", 2);
	assert_int_equal(action.expect, 3 + 32 + 2);
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x00, 0x00));
	check_send(BYTES(0x00, 0x81, 0x00));
	assert_memory_equal(action.block + 3, "\xac\x27", 2);
	/* Both check bytes again */
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_send(BYTES(0x00, 0x81, 0x00));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

static void surplus_after_a_block_is_ignored(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00));
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92, 0x55, 0xaa));
	check_done(BYTES(0x90, 0x00));
}

static void chained_command(void **state) {
	(void)state;
	begin_atr(0, 3, 259);
	transmit(BYTES(1, 2, 3, 4, 5, 6, 7));
	check_send(BYTES(0x00, 0x20, 3, 1, 2, 3));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x60, 3, 4, 5, 6));
	/* the number counts, not the error that comes with it */
	receive(BYTES(0x00, 0x82, 0x00));
	check_send(BYTES(0x00, 0x00, 1, 7));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
	transmit(BYTES(9));
	check_send(BYTES(0x00, 0x40, 1, 9));
}

static void room_of_the_reader_limits_blocks(void **state) {
	(void)state;
	begin_atr(1, 254, 10);
	transmit(BYTES(1, 2, 3, 4, 5, 6, 7));
	check_send(BYTES(0x00, 0x20, 5, 1, 2, 3, 4, 5));
	assert_int_equal(t1_best_ifsd(&t1, 254), 5);
	begin_atr(0, 254, 259);
	assert_int_equal(t1_best_ifsd(&t1, 254), 254);
	assert_int_equal(t1_best_ifsd(&t1, 100000), 254);
	begin_atr(0, 254, 65000);
	assert_int_equal(t1_best_ifsd(&t1, 0xffffffff), 254);
	assert_int_equal(t1_best_ifsd(&t1, 0), 1);
}

static void ccid_140_chained_response(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	uint8_t want[201 * 32];
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 201; i++) {
		uint8_t block[35] = { 0x00, (uint8_t)(i % 2 << 6 | (i < 200 ? 0x20 : 0)), 32 };
		memcpy(block + 3, want + i * 32, 32);
		receive(block, sizeof(block));
		if (i < 200)
			check_send(BYTES(0x00, i % 2 ? 0x80 : 0x90, 0x00));
	}
	check_done(want, sizeof(want));
}

static void ccid_140_response_too_long(void **state) {
	(void)state;
	begin();
	t1_set_response(&t1, response, 40);
	memset(response, 0x77, sizeof(response));
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	const uint8_t block[35] = { 0x00, 0x20, 32 };
	const uint8_t next[35] = { 0x00, 0x60, 32 };
	receive(block, sizeof(block));
	receive(next, sizeof(next));
	receive(block, sizeof(block));
	check_send(BYTES(0x00, 0x90, 0x00));
	receive(BYTES(0x00, 0x40, 0x01, 0x00));
	check_fail(T1_FAIL_OVERFLOW);
	assert_int_equal(response[40], 0x77);
	/* the protocol goes on */
	transmit(BYTES(0x00, 0xb0, 0x00, 0x01));
	check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x01));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

static void endless_response_ends(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	unsigned n = 0;
	for (; action.verb == T1_SEND && n < 200000; n++)
		receive(BYTES(0x00, n % 2 ? 0x60 : 0x20, 0x00));
	check_fail(T1_FAIL_DEAD);
	assert_int_equal(n, T1_MAX_RESPONSE_BLOCKS + 1);
}

static void longest_command(void **state) {
	(void)state;
	static uint8_t command[T1_MAX_APDU + 1];
	begin_atr(0, 254, 259);
	for (size_t i = 0; i < sizeof(command); i++)
		command[i] = (uint8_t)(i * 11 + i / 256);
	t1_transmit(&t1, command, sizeof(command), &action);
	check_fail(T1_FAIL_DEAD);
	t1_transmit(&t1, command, T1_MAX_APDU, &action);
	size_t at = 0;
	for (unsigned n = 0; at < T1_MAX_APDU; n++) {
		size_t len = action.block[2];
		assert_int_equal(action.block[1] >> 6, n % 2);
		assert_int_equal((action.block[1] & 0x20) != 0, at + len < T1_MAX_APDU);
		assert_memory_equal(action.block + 3, command + at, len);
		at += len;
		if (at < T1_MAX_APDU)
			receive(BYTES(0x00, n % 2 ? 0x80 : 0x90, 0x00));
	}
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

static void empty_command(void **state) {
	(void)state;
	begin();
	t1_transmit(&t1, NULL, 0, &action);
	check_send(BYTES(0x00, 0x00, 0x00));
	receive(BYTES(0x00, 0x00, 0x00));
	assert_int_equal(action.verb, T1_DONE);
	assert_int_equal(action.len, 0);
}

/* ---- S-blocks ---- */

static void ccid_134_ifsd_is_negotiated(void **state) {
	(void)state;
	begin();
	t1_negotiate(&t1, 254, &action);
	assert_int_equal(action.len, 5);
	assert_memory_equal(action.block, "\x00\xc1\x01\xfe\x3e", 5);
	receive_raw(BYTES(0x00, 0xe1, 0x01, 0xfe, 0x1e));
	assert_int_equal(action.verb, T1_DONE);
	/* sequence numbers have not moved; longer blocks are taken now */
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	check_send(BYTES(0x00, 0x00, 0x04, 0x00, 0xb0, 0x00, 0x00));
	assert_int_equal(action.expect, 3 + 254 + 1);
	uint8_t block[3 + 254] = { 0x00, 0x00, 254 };
	receive(block, sizeof(block));
	check_done(block + 3, 254);
}

static void ifsd_negotiation_fails(void **state) {
	(void)state;
	begin();
	t1_negotiate(&t1, 100, &action);
	check_send(BYTES(0x00, 0xc1, 0x01, 100));
	receive(BYTES(0x00, 0xe1, 0x01, 99)); /* another value */
	check_send(BYTES(0x00, 0xc1, 0x01, 100));
	receive(BYTES(0x00, 0x82, 0x00));
	check_send(BYTES(0x00, 0xc1, 0x01, 100));
	t1_failed(&t1, T1_SILENCE, &action);
	check_fail(T1_FAIL_DEAD);
	begin();
	t1_negotiate(&t1, 100, &action);
	t1_failed(&t1, T1_SILENCE, &action);
	t1_failed(&t1, T1_PARITY, &action);
	t1_failed(&t1, T1_SILENCE, &action);
	check_fail(T1_FAIL_MUTE);
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	check_fail(T1_FAIL_DEAD);
}

static void ifsd_that_the_reader_negotiated(void **state) {
	(void)state;
	struct atr atr;
	assert_int_equal(atr_parse((const uint8_t[]){ 0x3b, 0x80, 0x01, 0x81 }, 4, &atr), 0);
	t1_init(&t1, &atr, 259, 254);
	t1_set_response(&t1, response, sizeof(response));
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	assert_int_equal(action.expect, 3 + 254 + 1);
	uint8_t block[3 + 254] = { 0x00, 0x00, 254 };
	receive(block, sizeof(block));
	check_done(block + 3, 254);
}

static void ccid_135_waiting_time_extension(void **state) {
	(void)state;
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00));
	receive_raw(BYTES(0x00, 0xc3, 0x01, 0x09, 0xcb));
	check_send(BYTES(0x00, 0xe3, 0x01, 0x09));
	assert_int_equal(action.block[4], 0xeb);
	assert_int_equal(action.wtx, 9);
	receive(BYTES(0x00, 0xc3, 0x01, 0x00));
	check_send(BYTES(0x00, 0x92, 0x00));
	assert_int_equal(action.wtx, 0);
	receive(BYTES(0x00, 0xc3, 0x01, 0xff));
	check_send(BYTES(0x00, 0xe3, 0x01, 0xff));
	assert_int_equal(action.wtx, 255);
	receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0xd2));
	check_done(BYTES(0x90, 0x00));
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00));
	assert_int_equal(action.wtx, 0);
	for (unsigned i = 0; i < 1000; i++) {
		receive(BYTES(0x00, 0xc3, 0x01, 0x01));
		check_send(BYTES(0x00, 0xe3, 0x01, 0x01));
	}
}

static void ccid_136_card_changes_ifsc(void **state) {
	(void)state;
	uint8_t command[70];
	memset(command, 0x11, sizeof(command));
	begin();
	transmit(command, sizeof(command));
	assert_int_equal(action.block[2], 32);
	receive(BYTES(0x00, 0xc1, 0x01, 0xff));
	check_send(BYTES(0x00, 0x82, 0x00));
	receive(BYTES(0x00, 0xc1, 0x01, 0x00));
	check_send(BYTES(0x00, 0x82, 0x00));
	receive(BYTES(0x00, 0xc1, 0x01, 16));
	check_send(BYTES(0x00, 0xe1, 0x01, 16));
	receive(BYTES(0x00, 0x90, 0x00));
	assert_int_equal(action.block[1], 0x60);
	assert_int_equal(action.block[2], 16);
	receive(BYTES(0x00, 0xc1, 0x01, 254));
	check_send(BYTES(0x00, 0xe1, 0x01, 254));
	receive(BYTES(0x00, 0x80, 0x00));
	assert_int_equal(action.block[1], 0x00);
	assert_int_equal(action.block[2], 22);
}

static void endless_ifs_requests_end(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00));
	unsigned n = 0;
	for (; action.verb == T1_SEND && n < 1000; n++)
		receive(BYTES(0x00, 0xc1, 0x01, 32));
	check_fail(T1_FAIL_DEAD);
	assert_true(n < 100);
}

static void card_aborts_its_response(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x20, 0x02, 1, 2));
	receive(BYTES(0x00, 0xc2, 0x00));
	check_send(BYTES(0x00, 0xe2, 0x00));
	receive(BYTES(0x00, 0x90, 0x00));
	check_fail(T1_FAIL_ABORTED);
	transmit(BYTES(0x00, 0xb0, 0x00, 0x01));
	check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x01));
	receive(BYTES(0x00, 0x40, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

static void card_aborts_the_command(void **state) {
	(void)state;
	begin_atr(0, 2, 259);
	transmit(BYTES(1, 2, 3, 4, 5));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x60, 2, 3, 4));
	receive(BYTES(0x00, 0xc2, 0x00));
	check_send(BYTES(0x00, 0xe2, 0x00));
	/* it has the block, so the next one is number 0 */
	receive(BYTES(0x00, 0x80, 0x00));
	check_fail(T1_FAIL_ABORTED);
	transmit(BYTES(9));
	check_send(BYTES(0x00, 0x00, 1, 9));
}

static void endless_aborts_end(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00));
	unsigned n = 0;
	for (; action.verb == T1_SEND && n < 1000; n++)
		receive(BYTES(0x00, 0xc2, 0x00));
	check_fail(T1_FAIL_DEAD);
	assert_true(n < 20);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edc_vectors),
		cmocka_unit_test(one_block_each_way),
		cmocka_unit_test(ccid_138_crc_card),
		cmocka_unit_test(surplus_after_a_block_is_ignored),
		cmocka_unit_test(chained_command),
		cmocka_unit_test(room_of_the_reader_limits_blocks),
		cmocka_unit_test(ccid_140_chained_response),
		cmocka_unit_test(ccid_140_response_too_long),
		cmocka_unit_test(endless_response_ends),
		cmocka_unit_test(longest_command),
		cmocka_unit_test(empty_command),
		cmocka_unit_test(ccid_134_ifsd_is_negotiated),
		cmocka_unit_test(ifsd_negotiation_fails),
		cmocka_unit_test(ifsd_that_the_reader_negotiated),
		cmocka_unit_test(ccid_135_waiting_time_extension),
		cmocka_unit_test(ccid_136_card_changes_ifsc),
		cmocka_unit_test(endless_ifs_requests_end),
		cmocka_unit_test(card_aborts_its_response),
		cmocka_unit_test(card_aborts_the_command),
		cmocka_unit_test(endless_aborts_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
