/* SPDX-License-Identifier: MIT */
/* A T=1 card for tests: keeps to the rules itself, and counts what the host breaks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	/* Longest command and response: enough for some hundred blocks. Chosen. */
	T1_CARD_MAX = 4096,
};

/* What the card may want for itself: one in so many turns, 0 never. */
struct t1_card_habits {
	uint8_t crc, ifsc;
	unsigned wtx, ifs, abort;
	size_t inf; /* longest part of a response, 0: IFSD */
};

struct t1_card {
	struct t1_card_habits habits;
	uint32_t seed;

	uint8_t ifsc, ifsd, vs, vr;
	uint8_t asked, asked_value; /* S request that is out, or 0 */
	int sending;                /* an I-block is out that is not acknowledged */
	size_t part, sent, response_len, command_len;
	uint8_t command[T1_CARD_MAX], response[T1_CARD_MAX];
	size_t out_len;
	uint8_t out[260]; /* last block */

	/* For the test. */
	unsigned n_executed; /* commands carried out since power-up */
	size_t executed_len; /* the last one of them */
	uint8_t executed[T1_CARD_MAX];
	unsigned n_violations; /* undamaged blocks that no host may send */
};

/* A card that has just been reset. */
void t1_card_init(struct t1_card *card, const struct t1_card_habits *habits, uint32_t seed);

/* A block arrives, or, with `damaged`, something that was one. Leaves the answer in card->out. */
void t1_card_block(struct t1_card *card, const uint8_t *block, size_t len, int damaged);

/* The answer to the `serial`th command since power-up (from 1), as a function of both. Its
 * length. */
size_t t1_card_answer(const uint8_t *command, size_t len, unsigned serial, uint8_t *ret_response);

/* Are `len` bytes a block whose check bytes are right? Written apart from t1.c. */
int t1_card_edc_right(int crc, const uint8_t *block, size_t len);

/* Random number below n, from the seed. */
uint32_t t1_card_roll(uint32_t *seed, uint32_t n);
