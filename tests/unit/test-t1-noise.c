/* SPDX-License-Identifier: MIT */
/*
 * T=1 against random cards over a line that loses and damages blocks in both directions.
 *
 * Whatever happens, a command that ends well was carried out once and has the card's answer to it,
 * a command that fails was carried out once or not at all, and every command ends. Damage is of the
 * kind that the check bytes show. Without noise every command ends well and the host breaks no
 * rule.
 */
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/iso7816/t1.h"
#include "tests/unit/fake-t1-card.h"

/* One line between a host and a card; `loss` and `damage`: in how many blocks of 1000. */
struct line {
	uint32_t seed;
	unsigned loss, damage;
	struct t1 t1;
	struct t1_card card;
	struct t1_action action;
	uint8_t wtx; /* what the card has asked for in the block that has just come */
	uint8_t response[T1_CARD_MAX + 1];
	struct atr atr;
	size_t max_block;
};

struct outcome {
	unsigned n_done, n_failed[T1_FAIL_OVERFLOW + 1];
};

static uint32_t roll(struct line *line, uint32_t n) {
	return t1_card_roll(&line->seed, n);
}

static int happens(struct line *line, unsigned per_mille) {
	return roll(line, 1000) < per_mille;
}

/* Changes some bytes, or the length, so that the check bytes are no longer right. */
static size_t spoil(struct line *line, uint8_t *block, size_t len) {
	do {
		switch (roll(line, 6)) {
		case 0: len = roll(line, (uint32_t)len); break;
		case 1:
			len = 1 + roll(line, 260);
			for (size_t i = 0; i < len; i++)
				block[i] = (uint8_t)roll(line, 256);
			break;
		default:
			if (len)
				block[roll(line, (uint32_t)len)] ^= (uint8_t)(1 + roll(line, 255));
		}
	} while (t1_card_edc_right(line->atr.crc, block, len));
	return len;
}

/* What the standard allows a host to send to this card. */
static void check_block(const struct line *line) {
	const struct t1_action *a = &line->action;
	assert_true(t1_card_edc_right(line->atr.crc, a->block, a->len));
	assert_true(a->len <= line->max_block);
	assert_int_equal(a->len, 3u + a->block[2] + (line->atr.crc ? 2 : 1));
	/* Time is given where it is asked for, for one block. */
	assert_int_equal(a->wtx, a->block[1] == 0xe3 ? line->wtx : 0);
	assert_true(a->block[1] != 0xe3 || a->wtx);
}

/* One block there, one back, if they come through. */
static void exchange(struct line *line) {
	uint8_t back[300];
	check_block(line);
	line->wtx = 0;
	if (happens(line, line->loss)) {
		t1_failed(&line->t1, T1_SILENCE, &line->action);
		return;
	}
	t1_card_block(
		&line->card, line->action.block, line->action.len, happens(line, line->damage));
	size_t len = line->card.out_len;
	memcpy(back, line->card.out, len);
	if (happens(line, line->loss)) {
		t1_failed(&line->t1, roll(line, 2) ? T1_SILENCE : T1_PARITY, &line->action);
		return;
	}
	if (len && happens(line, line->damage))
		len = spoil(line, back, len);
	else if (len && back[1] == 0xc3)
		line->wtx = back[3];
	uint8_t *exact = malloc(len ? len : 1);
	assert_non_null(exact);
	memcpy(exact, back, len);
	t1_received(&line->t1, exact, len, &line->action);
	free(exact);
}

static void reset(struct line *line) {
	struct t1_card_habits habits = line->card.habits;
	t1_card_init(&line->card, &habits, roll(line, 1u << 24));
	t1_init(&line->t1, &line->atr, line->max_block, 0);
	t1_set_response(&line->t1, line->response, sizeof(line->response));
	line->wtx = 0;
	if (roll(line, 2))
		return;
	t1_negotiate(&line->t1, (uint8_t)(32 + roll(line, 223)), &line->action);
	for (unsigned n = 0; line->action.verb == T1_SEND; n++) {
		assert_true(n < 10);
		exchange(line);
	}
	if (line->action.verb == T1_FAIL)
		t1_init(&line->t1, &line->atr, line->max_block, 0);
	if (line->action.verb == T1_FAIL)
		t1_card_init(&line->card, &habits, roll(line, 1u << 24));
	t1_set_response(&line->t1, line->response, sizeof(line->response));
}

static void begin(struct line *line, uint32_t seed, unsigned noise, int selfish) {
	memset(line, 0, sizeof(*line));
	line->seed = seed;
	for (unsigned i = 0; i < 8; i++)
		roll(line, 2); /* away from what neighbouring seeds have in common */
	line->loss = line->damage = noise;
	assert_int_equal(atr_parse((const uint8_t[]){ 0x3b, 0x80, 0x01, 0x81 }, 4, &line->atr), 0);
	line->atr.crc = (uint8_t)roll(line, 2);
	line->atr.ifsc = (uint8_t)(roll(line, 2) ? 32 : 1 + roll(line, 254));
	line->max_block = roll(line, 4) ? 259 : 40 + roll(line, 220);
	line->card.habits = (struct t1_card_habits){
		.crc = line->atr.crc,
		.ifsc = line->atr.ifsc,
		.wtx = roll(line, 2) ? 10 : 0,
		.ifs = selfish ? 400 : 0,
		.abort = selfish ? 500 : 0,
		.inf = roll(line, 2) ? 1 + roll(line, 254) : 0,
	};
	reset(line);
}

/* One command; what must hold whatever became of it. */
static void command(struct line *line, struct outcome *outcome) {
	static uint8_t bytes[T1_CARD_MAX], want[T1_CARD_MAX];
	unsigned before = line->card.n_executed;
	size_t len = roll(line, 4) ? roll(line, 40) : roll(line, 1000);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)roll(line, 256);
	t1_transmit(&line->t1, bytes, len, &line->action);
	for (unsigned n = 0; line->action.verb == T1_SEND; n++) {
		assert_true(n < 100000);
		exchange(line);
	}
	unsigned executed = line->card.n_executed - before;
	if (executed) {
		assert_int_equal(executed, 1);
		assert_int_equal(line->card.executed_len, len);
		assert_memory_equal(line->card.executed, bytes, len);
	}
	if (line->action.verb == T1_DONE) {
		outcome->n_done++;
		assert_int_equal(executed, 1);
		size_t n = t1_card_answer(bytes, len, line->card.n_executed, want);
		assert_int_equal(line->action.len, n);
		assert_memory_equal(line->response, want, n);
		return;
	}
	outcome->n_failed[line->action.failure]++;
	if (line->action.failure == T1_FAIL_DEAD || line->action.failure == T1_FAIL_MUTE)
		reset(line);
}

static struct outcome run(unsigned n_lines, unsigned noise, int selfish) {
	static struct line line;
	struct outcome outcome = { 0 };
	for (uint32_t i = 1; i <= n_lines; i++) {
		begin(&line, i * 2654435761u + noise, noise, selfish);
		for (unsigned n = 0; n < 10; n++)
			command(&line, &outcome);
		/* A host that loses count of nothing never breaks a rule, noise or not. */
		assert_int_equal(line.card.n_violations, 0);
	}
	return outcome;
}

static void quiet_line(void **state) {
	(void)state;
	struct outcome outcome = run(1000, 0, 0);
	assert_int_equal(outcome.n_done, 10000);
}

static void quiet_line_and_selfish_cards(void **state) {
	(void)state;
	struct outcome outcome = run(1000, 0, 1);
	assert_int_equal(outcome.n_done + outcome.n_failed[T1_FAIL_ABORTED], 10000);
	assert_in_range(outcome.n_failed[T1_FAIL_ABORTED], 1, 2000);
}

/* One block in 50 goes wrong: nearly all commands come through. */
static void noisy_line(void **state) {
	(void)state;
	struct outcome outcome = run(1000, 10, 1);
	print_message("done %u, dead %u, resynched %u, aborted %u\n", outcome.n_done,
		outcome.n_failed[T1_FAIL_DEAD], outcome.n_failed[T1_FAIL_RESYNCHED],
		outcome.n_failed[T1_FAIL_ABORTED]);
	assert_in_range(outcome.n_done, 9000, 10000);
}

/* One in 5, one in 2: what does not come through fails, and nothing is ever wrong. */
static void very_noisy_lines(void **state) {
	(void)state;
	for (unsigned noise = 100; noise <= 400; noise += 100) {
		struct outcome outcome = run(500, noise, 1);
		print_message("noise %u: done %u, dead %u, mute %u, resynched %u, aborted %u\n",
			noise, outcome.n_done, outcome.n_failed[T1_FAIL_DEAD],
			outcome.n_failed[T1_FAIL_MUTE], outcome.n_failed[T1_FAIL_RESYNCHED],
			outcome.n_failed[T1_FAIL_ABORTED]);
		assert_int_equal(outcome.n_failed[T1_FAIL_OVERFLOW], 0);
		assert_true(outcome.n_done > 0 && outcome.n_done < 5000);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_line),
		cmocka_unit_test(quiet_line_and_selfish_cards),
		cmocka_unit_test(noisy_line),
		cmocka_unit_test(very_noisy_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
