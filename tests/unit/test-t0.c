/* SPDX-License-Identifier: MIT */
/* T=0: what goes to the card, and the machine of procedure bytes against scripted and random
 * cards. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "ifdhandler/iso7816/t0.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

/* ---- TPDU level ---- */

static void check_len(const uint8_t *apdu, size_t len, int result, size_t want) {
	size_t got = 12345;
	assert_int_equal(t0_tpdu_len(apdu, len, &got), result);
	assert_int_equal(got, result ? 12345 : want);
}

static void ccid_123_124_tpdu_from_apdu(void **state) {
	(void)state;
	static const uint8_t longest[261] = { 0x00, 0xd6, 0x00, 0x00, 0xff };
	check_len(BYTES(0x00, 0x44, 0x00, 0x00), 0, 4);
	check_len(BYTES(0x00, 0xb0, 0x00, 0x00, 0x00), 0, 5);
	check_len(BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00), 0, 7);
	check_len(BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00, 0x00), 0, 7);
	check_len(longest, 260, 0, 260);
	check_len(longest, 261, 0, 260);
	/* nonsense is passed on */
	check_len(BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f), 0, 6);
	check_len(BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00, 0x00, 0x00), 0, 9);
	/* too short; extended; extended, but for the reader */
	check_len(BYTES(0x00, 0xa4, 0x00), -EINVAL, 0);
	check_len(NULL, 0, -EINVAL, 0);
	check_len(BYTES(0x00, 0xb0, 0x00, 0x00, 0x00, 0x01, 0x00), -EOPNOTSUPP, 0);
	check_len(BYTES(0x00, 0xb0, 0x00, 0x00, 0x00, 0x01), -EOPNOTSUPP, 0);
	check_len(BYTES(0xff, 0xb0, 0x00, 0x00, 0x00, 0x01, 0x00), 0, 7);
}

/* ---- character level ---- */

static void check_exchange(
	const struct t0_action *action, const uint8_t *data, size_t len, size_t expect) {
	assert_int_equal(action->verb, T0_EXCHANGE);
	assert_int_equal(action->len, len);
	if (len)
		assert_memory_equal(action->data, data, len);
	assert_int_equal(action->expect, expect);
}

static void check_done(const struct t0_action *action, const uint8_t *data, size_t len) {
	assert_int_equal(action->verb, T0_DONE);
	assert_int_equal(action->len, len);
	assert_memory_equal(action->data, data, len);
}

static void check_fail(const struct t0_action *action, enum t0_failure failure) {
	assert_int_equal(action->verb, T0_FAIL);
	assert_int_equal(action->failure, failure);
}

/* Status only, in one answer and in two; four bytes get P3 = 0. */
static void ccid_131_status_only(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0x44, 0x01, 0x02), 0, &action), 0);
	check_exchange(&action, BYTES(0x00, 0x44, 0x01, 0x02, 0x00), 1);
	t0_received(&t0, BYTES(0x90), &action);
	check_exchange(&action, NULL, 0, 1);
	t0_received(&t0, BYTES(0x00), &action);
	check_done(&action, BYTES(0x90, 0x00));
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0x44, 0x01, 0x02), 0, &action), 0);
	t0_received(&t0, BYTES(0x6a, 0x82), &action);
	check_done(&action, BYTES(0x6a, 0x82));
	/* over is over */
	t0_received(&t0, BYTES(0x90, 0x00), &action);
	check_fail(&action, T0_FAIL_PROCEDURE);
}

/* 61xx and 6Cxx are answers like any other. */
static void ccid_122_no_get_response(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x10), 0, &action), 0);
	t0_received(&t0, BYTES(0x6c, 0x05), &action);
	check_done(&action, BYTES(0x6c, 0x05));
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xa4, 0x00, 0x00, 0x01, 0x3f), 0, &action), 0);
	t0_received(&t0, BYTES(0xa4), &action);
	check_exchange(&action, BYTES(0x3f), 1);
	t0_received(&t0, BYTES(0x61), &action);
	check_exchange(&action, NULL, 0, 1);
	t0_received(&t0, BYTES(0x14), &action);
	check_done(&action, BYTES(0x61, 0x14));
}

/* The Le of case 4 stays at home. */
static void ccid_123_case_4_is_sent_as_case_3(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(
		t0_start(&t0, BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00, 0xfe), 0, &action),
		0);
	check_exchange(&action, BYTES(0x00, 0xa4, 0x00, 0x00, 0x02), 1);
	t0_received(&t0, BYTES(0xa4), &action);
	check_exchange(&action, BYTES(0x3f, 0x00), 1);
	t0_received(&t0, BYTES(0x90, 0x00), &action);
	check_done(&action, BYTES(0x90, 0x00));
}

static void all_data_in(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x03), 0, &action), 0);
	t0_received(&t0, BYTES(0xb0), &action);
	check_exchange(&action, NULL, 0, 5);
	/* NULL between data and status is one byte more */
	t0_received(&t0, BYTES(0x60, 0x61, 0x62, 0x60, 0x90), &action);
	check_exchange(&action, NULL, 0, 1);
	assert_true(action.extended);
	t0_received(&t0, BYTES(0x00), &action);
	check_done(&action, BYTES(0x60, 0x61, 0x62, 0x90, 0x00));
}

/* Surplus is kept: everything at once, or more than was asked for. */
static void ccid_131_surplus_is_kept(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x02), 0, &action), 0);
	t0_received(&t0, BYTES(0xb0, 0xaa, 0xbb, 0x90, 0x00, 0x55), &action);
	check_done(&action, BYTES(0xaa, 0xbb, 0x90, 0x00));
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x02), 0, &action), 0);
	t0_received(&t0, BYTES(0xb0, 0xaa), &action);
	check_exchange(&action, NULL, 0, 3);
	static const uint8_t flood[T0_MAX_PENDING + 1];
	t0_received(&t0, flood, sizeof(flood), &action);
	check_fail(&action, T0_FAIL_SURPLUS);
}

/* Ne 256, and not a byte more. */
static void ccid_131_longest_response(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	uint8_t answer[258];
	for (size_t i = 0; i < sizeof(answer); i++)
		answer[i] = (uint8_t)i;
	answer[256] = 0x90;
	answer[257] = 0x00;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x00), 0, &action), 0);
	t0_received(&t0, BYTES(0xb0), &action);
	check_exchange(&action, NULL, 0, 258);
	t0_received(&t0, answer, sizeof(answer), &action);
	check_done(&action, answer, sizeof(answer));
}

static void ccid_131_byte_by_byte(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	const uint8_t ins = 0xa4, one = 0x5b;
	assert_int_equal(t0_start(&t0, BYTES(0x00, ins, 0x00, 0x00, 0x03, 1, 2, 3), 0, &action), 0);
	t0_received(&t0, &one, 1, &action);
	check_exchange(&action, BYTES(1), 1);
	t0_received(&t0, &one, 1, &action);
	check_exchange(&action, BYTES(2), 1);
	t0_received(&t0, &ins, 1, &action);
	check_exchange(&action, BYTES(3), 1);
	t0_received(&t0, BYTES(0x90, 0x00), &action);
	check_done(&action, BYTES(0x90, 0x00));
	assert_int_equal(t0_start(&t0, BYTES(0x00, ins, 0x00, 0x00, 0x02), 0, &action), 0);
	t0_received(&t0, &one, 1, &action);
	check_exchange(&action, NULL, 0, 1);
	t0_received(&t0, BYTES(0x11), &action);
	check_exchange(&action, NULL, 0, 1);
	t0_received(&t0, &one, 1, &action);
	check_exchange(&action, NULL, 0, 3);
	t0_received(&t0, BYTES(0x22, 0x90, 0x00), &action);
	check_done(&action, BYTES(0x11, 0x22, 0x90, 0x00));
}

/* INS and its complement with bit 0 changed, which once meant programming voltage. */
static void old_variants_of_ins(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xa4, 0x00, 0x00, 0x02, 1, 2), 0, &action), 0);
	t0_received(&t0, BYTES(0x5a), &action);
	check_exchange(&action, BYTES(1), 1);
	t0_received(&t0, BYTES(0xa5), &action);
	check_exchange(&action, BYTES(2), 1);
}

static void ccid_131_null_asks_for_time(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0x44, 0x00, 0x00), 0, &action), 0);
	assert_false(action.extended);
	for (unsigned i = 0; i < 100000; i++) {
		t0_received(&t0, BYTES(0x60), &action);
		check_exchange(&action, NULL, 0, 1);
		assert_true(action.extended);
	}
	t0_received(&t0, BYTES(0x90), &action);
	check_exchange(&action, NULL, 0, 1);
	assert_false(action.extended);
	t0_received(&t0, BYTES(0x60), &action);
	check_done(&action, BYTES(0x90, 0x60));
}

/* Every byte that is no procedure byte for this INS ends it. */
static void ccid_131_wrong_procedure_bytes(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	for (unsigned byte = 0; byte < 256; byte++) {
		uint8_t b = (uint8_t)byte;
		int sw1 = (b >> 4 == 6 || b >> 4 == 9);
		int ack = b == 0xa4 || b == 0xa5 || b == 0x5a || b == 0x5b;
		assert_int_equal(t0_start(&t0, BYTES(0, 0xa4, 0, 0, 1, 0x3f), 0, &action), 0);
		t0_received(&t0, &b, 1, &action);
		if (b == 0x60 || sw1)
			check_exchange(&action, NULL, 0, 1);
		else if (ack)
			check_exchange(&action, BYTES(0x3f), 1);
		else
			check_fail(&action, T0_FAIL_PROCEDURE);
	}
}

/* A card that acknowledges for ever what is over. */
static void endless_acknowledgement(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0x44, 0x00, 0x00), 0, &action), 0);
	t0_received(&t0, BYTES(0x44), &action);
	check_exchange(&action, NULL, 0, 1);
	unsigned n = 0;
	while (action.verb == T0_EXCHANGE && n++ < 1000)
		t0_received(&t0, BYTES(0x44), &action);
	check_fail(&action, T0_FAIL_PROCEDURE);
	assert_int_equal(n, T0_MAX_IDLE_ACKS);
}

static void too_little(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x02), 0, &action), 0);
	t0_received(&t0, NULL, 0, &action);
	check_fail(&action, T0_FAIL_MUTE);
	assert_int_equal(t0_start(&t0, BYTES(0x00, 0xb0, 0x00, 0x00, 0x02), 0, &action), 0);
	t0_received(&t0, BYTES(0xb0), &action);
	t0_received(&t0, BYTES(0x01, 0x02, 0x90), &action);
	check_fail(&action, T0_FAIL_SHORT);
}

static void ccid_132_refused_commands(void **state) {
	(void)state;
	struct t0 t0;
	struct t0_action action;
	for (unsigned ins = 0; ins < 256; ins++) {
		const uint8_t apdu[4] = { 0, (uint8_t)ins, 0, 0 };
		int ok = ins >> 4 != 6 && ins >> 4 != 9;
		assert_int_equal(t0_start(&t0, apdu, 4, 0, &action), ok ? 0 : -EINVAL);
	}
	assert_int_equal(t0_start(&t0, BYTES(0, 0xa4, 0), 0, &action), -EINVAL);
	assert_int_equal(t0_start(&t0, BYTES(0, 0xa4, 0, 0, 2, 1), 0, &action), -EINVAL);
	assert_int_equal(t0_start(&t0, BYTES(0, 0xa4, 0, 0, 2, 1, 2, 3, 4), 0, &action), -EINVAL);
	assert_int_equal(t0_start(&t0, BYTES(0, 0xb0, 0, 0, 0, 1, 0), 0, &action), -EOPNOTSUPP);
	assert_int_equal(t0_start(&t0, BYTES(0xff, 0xa4, 0, 0, 2, 1), 0, &action), -EINVAL);
}

/* Message lengths 10 + n that are multiples of 64 are avoided. */
static void ccid_133_awkward_packets(void **state) {
	(void)state;
	for (unsigned le = 1; le <= 256; le++) {
		const uint8_t apdu[5] = { 0x00, 0xb0, 0x00, 0x00, (uint8_t)le };
		uint8_t answer[258];
		memset(answer, 0xaa, sizeof(answer));
		answer[le] = 0x90;
		answer[le + 1] = 0x01;
		struct t0 t0;
		struct t0_action action;
		assert_int_equal(t0_start(&t0, apdu, sizeof(apdu), 64, &action), 0);
		t0_received(&t0, BYTES(0xb0), &action);
		size_t at = 0;
		unsigned n = 0;
		while (action.verb == T0_EXCHANGE) {
			assert_int_not_equal((10 + action.expect) % 64, 0);
			assert_true(at + action.expect <= le + 2u);
			at += action.expect;
			n++;
			t0_received(&t0, answer + at - action.expect, action.expect, &action);
		}
		check_done(&action, answer, le + 2u);
		assert_int_equal(n, (10 + le + 2) % 64 == 0 ? 2 : 1);
	}
}

/* ---- random cards ---- */

static uint32_t seed;

static uint32_t roll(uint32_t n) {
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* A card that takes or gives `n` bytes in any legal way: NULLs, one byte or all. */
struct card {
	uint8_t ins, sw2;
	size_t to_take, to_give;
	uint8_t taken[255], given[256];
	size_t n_taken, n_given;
	uint8_t out[1200];
	size_t n_out, n_read;
};

static void say(struct card *card, uint8_t byte) {
	card->out[card->n_out++] = byte;
}

/* The card's turn until it waits for data or has said all. Returns how many bytes it waits for. */
static size_t card_goes_on(struct card *card) {
	for (;;) {
		while (roll(4) == 0 && card->n_out < 1100)
			say(card, 0x60);
		size_t rest = card->to_take - card->n_taken + card->to_give - card->n_given;
		if (!rest || roll(300) == 0) {
			say(card, 0x90);
			say(card, card->sw2);
			card->to_take = card->n_taken;
			card->to_give = card->n_given;
			return 0;
		}
		int all = roll(30) == 0 || card->n_out > 500;
		say(card, all ? card->ins : (uint8_t)~card->ins);
		if (card->n_taken < card->to_take)
			return all ? rest : 1;
		for (size_t n = all ? rest : 1; n; n--)
			say(card, card->given[card->n_given++]);
	}
}

static void run_card(struct card *card, int takes, size_t n) {
	struct t0 t0;
	struct t0_action action;
	uint8_t apdu[260] = { 0x80, card->ins, 0x01, 0x02, (uint8_t)n };
	for (size_t i = 0; i < n; i++) {
		apdu[5 + i % 255] = takes ? (uint8_t)roll(256) : 0;
		card->given[i] = (uint8_t)roll(256);
	}
	card->to_take = takes ? n : 0;
	card->to_give = takes ? 0 : n;
	size_t packet = roll(2) ? 64 : 0;
	assert_int_equal(t0_start(&t0, apdu, takes ? 5 + n : 5, packet, &action), 0);
	size_t waits = card_goes_on(card);
	size_t n_steps = 0;
	int is_header = 1;
	while (action.verb == T0_EXCHANGE) {
		assert_true(n_steps++ < 5000);
		if (action.len && !is_header) {
			assert_int_equal(action.len, waits);
			memcpy(card->taken + card->n_taken, action.data, action.len);
			card->n_taken += action.len;
			waits = card_goes_on(card);
		}
		is_header = 0;
		/* never asked for more than there is, so nobody waits for nothing */
		size_t left = card->n_out - card->n_read;
		assert_in_range(action.expect, 1, left);
		size_t more = roll(3) == 0 ? roll((uint32_t)(left - action.expect + 1)) : 0;
		size_t len = action.expect + (more < 100 ? more : 100);
		card->n_read += len;
		t0_received(&t0, card->out + card->n_read - len, len, &action);
		if (card->n_read == card->n_out && !waits)
			assert_int_equal(action.verb, T0_DONE);
	}
	assert_int_equal(action.verb, T0_DONE);
	assert_int_equal(action.len, card->n_given + 2);
	assert_memory_equal(action.data, card->given, card->n_given);
	assert_int_equal(action.data[action.len - 2], 0x90);
	assert_int_equal(action.data[action.len - 1], card->sw2);
	assert_memory_equal(card->taken, apdu + 5, card->n_taken);
}

static void random_cards(void **state) {
	(void)state;
	for (uint32_t i = 1; i <= 20000; i++) {
		static struct card card;
		memset(&card, 0, sizeof(card));
		seed = i * 7919;
		int takes = (int)roll(2);
		card.ins = (uint8_t[]){ 0xa4, 0xb0, 0x20, 0xd6, 0x01, 0xff }[roll(6)];
		card.sw2 = (uint8_t)roll(256);
		run_card(&card, takes, takes ? 1 + roll(255) : 1 + roll(256));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_123_124_tpdu_from_apdu),
		cmocka_unit_test(ccid_131_status_only),
		cmocka_unit_test(ccid_122_no_get_response),
		cmocka_unit_test(ccid_123_case_4_is_sent_as_case_3),
		cmocka_unit_test(all_data_in),
		cmocka_unit_test(ccid_131_surplus_is_kept),
		cmocka_unit_test(ccid_131_longest_response),
		cmocka_unit_test(ccid_131_byte_by_byte),
		cmocka_unit_test(old_variants_of_ins),
		cmocka_unit_test(ccid_131_null_asks_for_time),
		cmocka_unit_test(ccid_131_wrong_procedure_bytes),
		cmocka_unit_test(endless_acknowledgement),
		cmocka_unit_test(too_little),
		cmocka_unit_test(ccid_132_refused_commands),
		cmocka_unit_test(ccid_133_awkward_packets),
		cmocka_unit_test(random_cards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
