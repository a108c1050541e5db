/* SPDX-License-Identifier: MIT */
/* T=1 where something goes wrong: repetition, S(RESYNCH), the end (ISO/IEC 7816-3 11.6.3). */
#include "tests/unit/t1-steps.h"

/* ---- recovery ---- */

static void ccid_137_three_bad_blocks_and_three_resynchs(void **state) {
	(void)state;
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0x00));
	check_send(BYTES(0x00, 0x91, 0x00));
	receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0x01));
	check_send(BYTES(0x00, 0x91, 0x00));
	for (unsigned i = 0; i < 3; i++) {
		receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0x02));
		check_send(BYTES(0x00, 0xc0, 0x00));
	}
	receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0x02));
	check_fail(T1_FAIL_DEAD);
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	check_fail(T1_FAIL_DEAD);
	begin();
	warm_up();
}

static void tries_are_counted_anew_after_progress(void **state) {
	(void)state;
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	for (unsigned i = 0; i < 50; i++) {
		uint8_t number = i % 2 ? 0x00 : 0x40;
		receive_raw(BYTES(0x00, 0x00, 0x02));
		t1_failed(&t1, T1_SILENCE, &action);
		assert_int_equal(action.block[1] & 0xe0, 0x80);
		receive(BYTES(0x00, number | 0x20, 0x01, (uint8_t)i));
		assert_int_equal(action.block[1], number ? 0x80 : 0x90);
	}
	receive(BYTES(0x00, 0x40, 0x00));
	assert_int_equal(action.verb, T1_DONE);
	assert_int_equal(action.len, 50);
}

/* The R-block goes out again as it was, whatever is wrong now. */
static void ccid_138_r_block_is_repeated(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x00));
	check_send(BYTES(0x00, 0x81, 0x00));
	receive(BYTES(0x00, 0x44, 0x00));
	check_send(BYTES(0x00, 0x81, 0x00));
	receive(BYTES(0x00, 0x20, 0x01, 0xaa));
	check_send(BYTES(0x00, 0x90, 0x00));
	receive_raw(BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x00));
	check_send(BYTES(0x00, 0x90, 0x00));
}

static void ccid_139_blocks_that_are_none(void **state) {
	(void)state;
	static const struct {
		uint8_t len, bytes[8];
	} blocks[] = {
		{ 3, { 0x00, 0x00, 0xff } },       /* LEN 255 */
		{ 3, { 0x00, 0x00, 0x05 } },       /* LEN beyond what came */
		{ 4, { 0x12, 0x00, 0x01, 0x00 } }, /* NAD */
		{ 3, { 0x00, 0xc4, 0x00 } },       /* reserved S-blocks */
		{ 3, { 0x00, 0xe4, 0x00 } }, { 3, { 0x00, 0xdf, 0x00 } },
		{ 4, { 0x00, 0x80, 0x01, 0x00 } }, /* R-block with LEN 1 */
		{ 3, { 0x00, 0xa0, 0x00 } },       /* R-block with bit 5 */
		{ 4, { 0x00, 0x01, 0x01, 0x00 } }, /* I-block with reserved bits */
		{ 3, { 0x00, 0xc1, 0x00 } },       /* IFS without and with two values */
		{ 5, { 0x00, 0xc1, 0x02, 0x10, 0x10 } },
		{ 3, { 0x00, 0xc3, 0x00 } }, /* WTX likewise */
		{ 5, { 0x00, 0xc3, 0x02, 0x01, 0x01 } },
		{ 4, { 0x00, 0xc2, 0x01, 0x00 } }, /* ABORT with a value */
		{ 3, { 0x00, 0xe0, 0x00 } },       /* answers to nothing */
		{ 4, { 0x00, 0xe1, 0x01, 0x20 } }, { 3, { 0x00, 0xe2, 0x00 } },
		{ 4, { 0x00, 0xe3, 0x01, 0x01 } },
		{ 3, { 0x00, 0x90, 0x00 } }, /* "next" while there is no next */
	};
	for (size_t i = 0; i < N_OF(blocks); i++) {
		begin();
		transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
		receive(blocks[i].bytes, blocks[i].len);
		check_send(BYTES(0x00, 0x82, 0x00));
		receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
		check_done(BYTES(0x90, 0x00));
	}
	/* longer than we have allowed */
	uint8_t block[3 + 33] = { 0x00, 0x00, 33 };
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(block, sizeof(block));
	check_send(BYTES(0x00, 0x82, 0x00));
	for (size_t len = 0; len < 4; len++) {
		begin();
		transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
		receive_raw(block, len);
		check_send(BYTES(0x00, 0x82, 0x00));
	}
}

static void ccid_141_wrong_number(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x40, 0x02, 0x90, 0x00));
	check_send(BYTES(0x00, 0x82, 0x00));
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_send(BYTES(0x00, 0x92, 0x00));
}

static void ccid_142_reader_reports_parity_or_silence(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	t1_failed(&t1, T1_PARITY, &action);
	check_send(BYTES(0x00, 0x81, 0x00));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	t1_failed(&t1, T1_SILENCE, &action);
	check_send(BYTES(0x00, 0x92, 0x00));
	receive(BYTES(0x00, 0x40, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

static void card_asks_for_repetition(void **state) {
	(void)state;
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x91, 0x00));
	check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x92, 0x00));
	check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x91, 0x00));
	check_send(BYTES(0x00, 0xc0, 0x00));
}

/* A good block ends a row of bad ones, also one that asks for repetition; the I-block has three tries of
 * its own (rules 7.1, 7.4.2). */
static void repetitions_and_bad_blocks_count_apart(void **state) {
	(void)state;
	begin();
	warm_up();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	for (unsigned i = 0; i < 2; i++) {
		receive_raw(BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0x00));
		check_send(BYTES(0x00, 0x91, 0x00));
		t1_failed(&t1, T1_SILENCE, &action);
		check_send(BYTES(0x00, 0x91, 0x00));
		receive(BYTES(0x00, 0x91, 0x00));
		check_send(BYTES(0x00, 0x40, 0x04, 0x00, 0xb0, 0x00, 0x00));
	}
	t1_failed(&t1, T1_SILENCE, &action);
	check_send(BYTES(0x00, 0x92, 0x00));
	receive(BYTES(0x00, 0x91, 0x00));
	check_send(BYTES(0x00, 0xc0, 0x00));
}

/* Each I-block of a chain has three tries. */
static void repetitions_are_counted_anew_for_each_block(void **state) {
	(void)state;
	begin_atr(0, 2, 259);
	transmit(BYTES(1, 2, 3));
	for (unsigned i = 0; i < 2; i++) {
		receive(BYTES(0x00, 0x81, 0x00));
		check_send(BYTES(0x00, 0x20, 2, 1, 2));
	}
	receive(BYTES(0x00, 0x90, 0x00));
	for (unsigned i = 0; i < 3; i++) {
		check_send(BYTES(0x00, 0x40, 1, 3));
		receive(BYTES(0x00, 0x91, 0x00));
	}
	check_send(BYTES(0x00, 0xc0, 0x00));
}

/* An answer before the command is complete is none. */
static void ccid_141_answer_in_the_middle_of_our_chain(void **state) {
	(void)state;
	begin_atr(0, 2, 259);
	transmit(BYTES(1, 2, 3));
	check_send(BYTES(0x00, 0x20, 2, 1, 2));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_send(BYTES(0x00, 0x82, 0x00));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x40, 1, 3));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

/* The card has not understood our R-block within its response: the same again (rule 7.2). */
static void r_block_that_was_lost(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x20, 0x01, 0xaa));
	check_send(BYTES(0x00, 0x90, 0x00));
	receive(BYTES(0x00, 0x91, 0x00));
	check_send(BYTES(0x00, 0x90, 0x00));
	receive(BYTES(0x00, 0x40, 0x02, 0x90, 0x00));
	check_done(BYTES(0xaa, 0x90, 0x00));
}

/* After an S response that was lost an R-block asks what is next, and the card asks once more (rule 7.3). */
static void s_response_that_was_lost(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0xc3, 0x01, 0x05));
	assert_int_equal(action.wtx, 5);
	t1_failed(&t1, T1_SILENCE, &action);
	check_send(BYTES(0x00, 0x82, 0x00));
	assert_int_equal(action.wtx, 0);
	receive(BYTES(0x00, 0xc3, 0x01, 0x05));
	check_send(BYTES(0x00, 0xe3, 0x01, 0x05));
	assert_int_equal(action.wtx, 5);
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}

/* S(ABORT) that is repeated is answered again; what belongs to the chain that was broken off is none. */
static void abort_that_goes_wrong(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0x20, 0x01, 0xaa));
	receive(BYTES(0x00, 0xc2, 0x00));
	check_send(BYTES(0x00, 0xe2, 0x00));
	t1_failed(&t1, T1_PARITY, &action);
	check_send(BYTES(0x00, 0x91, 0x00));
	receive(BYTES(0x00, 0xc2, 0x00));
	check_send(BYTES(0x00, 0xe2, 0x00));
	receive(BYTES(0x00, 0x40, 0x01, 0xbb));
	assert_int_equal(action.block[1], 0x92);
	receive(BYTES(0x00, 0x90, 0x00));
	check_fail(T1_FAIL_ABORTED);
	transmit(BYTES(0x00, 0xb0, 0x00, 0x01));
	assert_int_equal(action.verb, T1_SEND);
}

/* What a smaller IFSC has made of a block that has to be repeated. */
static void repeated_block_fits_new_ifsc(void **state) {
	(void)state;
	begin_atr(0, 4, 259);
	transmit(BYTES(1, 2, 3, 4));
	check_send(BYTES(0x00, 0x00, 4, 1, 2, 3, 4));
	receive(BYTES(0x00, 0xc1, 0x01, 3));
	receive(BYTES(0x00, 0x82, 0x00));
	check_send(BYTES(0x00, 0x20, 3, 1, 2, 3));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x40, 1, 4));
}

static void silent_card_is_mute(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	t1_failed(&t1, T1_SILENCE, &action);
	t1_failed(&t1, T1_SILENCE, &action);
	check_send(BYTES(0x00, 0x82, 0x00));
	t1_failed(&t1, T1_SILENCE, &action);
	check_fail(T1_FAIL_MUTE);
}

static void resynch(unsigned n) {
	for (unsigned i = 0; i < n; i++)
		t1_failed(&t1, T1_SILENCE, &action);
	check_send(BYTES(0x00, 0xc0, 0x00));
	receive(BYTES(0x00, 0xe0, 0x00));
}

/* From its first byte, if the last one was never sent … */
static void ccid_143_resynch_restarts_what_was_not_sent(void **state) {
	(void)state;
	begin_atr(0, 2, 259);
	transmit(BYTES(1, 2, 3, 4, 5));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x60, 2, 3, 4));
	for (unsigned i = 0; i < T1_MAX_RESTARTS; i++) {
		resynch(3);
		check_send(BYTES(0x00, 0x20, 2, 1, 2));
	}
	resynch(3);
	check_fail(T1_FAIL_RESYNCHED);
	transmit(BYTES(9));
	check_send(BYTES(0x00, 0x00, 1, 9));
}

/* … otherwise not at all. */
static void ccid_143_resynch_never_repeats_what_was_sent(void **state) {
	(void)state;
	begin_atr(0, 2, 259);
	transmit(BYTES(1, 2, 3));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x40, 1, 3));
	resynch(3);
	check_fail(T1_FAIL_RESYNCHED);
	/* nor in the middle of the response */
	transmit(BYTES(8, 9));
	check_send(BYTES(0x00, 0x00, 2, 8, 9));
	receive(BYTES(0x00, 0x20, 0x01, 0xaa));
	resynch(3);
	check_fail(T1_FAIL_RESYNCHED);
	/* nor when a smaller IFSC has made two blocks of one */
	transmit(BYTES(8, 9));
	receive(BYTES(0x00, 0xc1, 0x01, 1));
	receive(BYTES(0x00, 0x82, 0x00));
	check_send(BYTES(0x00, 0x20, 1, 8));
	resynch(3);
	check_fail(T1_FAIL_RESYNCHED);
}

/* After S(RESYNCH) IFSC is that of the ATR, and IFSD is negotiated again if it was before. */
static void resynch_resets_sizes(void **state) {
	(void)state;
	begin_atr(0, 4, 259);
	t1_negotiate(&t1, 100, &action);
	receive(BYTES(0x00, 0xe1, 0x01, 100));
	transmit(BYTES(1, 2, 3, 4, 5));
	receive(BYTES(0x00, 0xc1, 0x01, 3));
	receive(BYTES(0x00, 0x90, 0x00));
	check_send(BYTES(0x00, 0x40, 1, 5));
	resynch(3);
	check_fail(T1_FAIL_RESYNCHED);
	transmit(BYTES(1, 2, 3, 4, 5));
	check_send(BYTES(0x00, 0xc1, 0x01, 100));
	receive(BYTES(0x00, 0xe1, 0x01, 100));
	check_send(BYTES(0x00, 0x20, 4, 1, 2, 3, 4));
}

/* Only the host may ask for RESYNCH; a card that does gets one. */
static void card_asks_for_resynch(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	receive(BYTES(0x00, 0xc0, 0x00));
	check_send(BYTES(0x00, 0xc0, 0x00));
	receive(BYTES(0x00, 0xc0, 0x00));
	check_send(BYTES(0x00, 0xc0, 0x00));
	receive(BYTES(0x00, 0xe0, 0x00));
	check_fail(T1_FAIL_RESYNCHED);
}

static void killed(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	t1_kill(&t1);
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_fail(T1_FAIL_DEAD);
	t1_failed(&t1, T1_SILENCE, &action);
	check_fail(T1_FAIL_DEAD);
	t1_negotiate(&t1, 32, &action);
	check_fail(T1_FAIL_DEAD);
}

static void one_command_at_a_time(void **state) {
	(void)state;
	begin();
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	transmit(BYTES(0x00, 0xb0, 0x00, 0x01));
	check_fail(T1_FAIL_DEAD);
	t1_negotiate(&t1, 32, &action);
	check_fail(T1_FAIL_DEAD);
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
	receive(BYTES(0x00, 0x40, 0x02, 0x90, 0x00));
	check_fail(T1_FAIL_DEAD);
	/* which was not meant: the protocol is alive */
	transmit(BYTES(0x00, 0xb0, 0x00, 0x00));
	assert_int_equal(action.verb, T1_SEND);
}

static void rest_of_a_block(void **state) {
	(void)state;
	begin();
	assert_int_equal(t1_rest(&t1, (const uint8_t[]){ 0, 0, 0 }), 1);
	assert_int_equal(t1_rest(&t1, (const uint8_t[]){ 0, 0, 254 }), 255);
	assert_int_equal(t1_rest(&t1, (const uint8_t[]){ 0, 0, 255 }), 0);
	begin_atr(1, 32, 259);
	assert_int_equal(t1_rest(&t1, (const uint8_t[]){ 0, 0, 2 }), 4);
}

static void nothing_of_a_command_stays(void **state) {
	(void)state;
	static const uint8_t nothing[T1_MAX_BLOCK];
	begin();
	transmit(BYTES(0x00, 0x20, 0x00, 0x81, 0x04, '1', '2', '3', '4'));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	assert_memory_equal(t1.out, nothing, sizeof(t1.out));
	assert_null(t1.command);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_137_three_bad_blocks_and_three_resynchs),
		cmocka_unit_test(tries_are_counted_anew_after_progress),
		cmocka_unit_test(ccid_138_r_block_is_repeated),
		cmocka_unit_test(ccid_139_blocks_that_are_none),
		cmocka_unit_test(ccid_141_wrong_number),
		cmocka_unit_test(ccid_142_reader_reports_parity_or_silence),
		cmocka_unit_test(card_asks_for_repetition),
		cmocka_unit_test(repetitions_and_bad_blocks_count_apart),
		cmocka_unit_test(repetitions_are_counted_anew_for_each_block),
		cmocka_unit_test(ccid_141_answer_in_the_middle_of_our_chain),
		cmocka_unit_test(r_block_that_was_lost),
		cmocka_unit_test(s_response_that_was_lost),
		cmocka_unit_test(abort_that_goes_wrong),
		cmocka_unit_test(repeated_block_fits_new_ifsc),
		cmocka_unit_test(silent_card_is_mute),
		cmocka_unit_test(ccid_143_resynch_restarts_what_was_not_sent),
		cmocka_unit_test(ccid_143_resynch_never_repeats_what_was_sent),
		cmocka_unit_test(resynch_resets_sizes),
		cmocka_unit_test(card_asks_for_resynch),
		cmocka_unit_test(killed),
		cmocka_unit_test(one_command_at_a_time),
		cmocka_unit_test(rest_of_a_block),
		cmocka_unit_test(nothing_of_a_command_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
