/* SPDX-License-Identifier: MIT */
/*
 * The card never begins: it answers each block with one. Its recovery is the card's half of ISO/IEC
 * 7816-3 11.6.3: a damaged block is answered with its own S request again, or with an R-block for
 * what it expects. Numbers are checked as strictly as the standard allows, so that a host that
 * loses count is noticed.
 */
#include "tests/unit/fake-t1-card.h"

#include <string.h>

uint32_t t1_card_roll(uint32_t *seed, uint32_t n) {
	*seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
	return (*seed >> 8) % n;
}

static int one_in(struct t1_card *card, unsigned n) {
	return n && t1_card_roll(&card->seed, n) == 0;
}

static unsigned crc_of(const uint8_t *bytes, size_t len) {
	unsigned crc = 0xffff;
	for (size_t i = 0; i < 8 * len; i++) {
		unsigned bit = (unsigned)(bytes[i / 8] >> i % 8) & 1;
		crc = (crc & 1) == bit ? crc >> 1 : crc >> 1 ^ 0x8408;
	}
	return crc;
}

int t1_card_edc_right(int crc, const uint8_t *block, size_t len) {
	size_t edc_len = crc ? 2 : 1, end = 3 + (len > 2 ? (size_t)block[2] : 0);
	if (len < 3 + edc_len || end + edc_len > len)
		return 0;
	if (crc)
		return crc_of(block, end) == ((unsigned)block[end] << 8 | block[end + 1]);
	uint8_t sum = 0;
	for (size_t i = 0; i <= end; i++)
		sum ^= block[i];
	return sum == 0;
}

size_t t1_card_answer(const uint8_t *command, size_t len, unsigned serial, uint8_t *ret_response) {
	uint32_t seed = serial * 2654435761u;
	for (size_t i = 0; i < len; i++)
		seed = seed * 31 + command[i];
	size_t n = 2 +
		(t1_card_roll(&seed, 3) ? t1_card_roll(&seed, 60)
					: t1_card_roll(&seed, T1_CARD_MAX - 2));
	for (size_t i = 0; i < n; i++)
		ret_response[i] = (uint8_t)t1_card_roll(&seed, 256);
	return n;
}

/* ---- to the host ---- */

static void send_block(struct t1_card *card, unsigned pcb, const uint8_t *inf, size_t len) {
	card->out[0] = 0;
	card->out[1] = (uint8_t)pcb;
	card->out[2] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		card->out[3 + i] = inf[i];
	unsigned sum = 0;
	for (size_t i = 0; i < 3 + len; i++)
		sum ^= card->out[i];
	if (card->habits.crc)
		sum = crc_of(card->out, 3 + len);
	card->out_len = 3 + len;
	if (card->habits.crc)
		card->out[card->out_len++] = (uint8_t)(sum >> 8);
	card->out[card->out_len++] = (uint8_t)sum;
}

static void send_r(struct t1_card *card, unsigned error) {
	send_block(card, 0x80u | (unsigned)card->vr << 4 | error, NULL, 0);
}

static int has_response(const struct t1_card *card) {
	return card->sent < card->response_len;
}

static void send_part(struct t1_card *card) {
	size_t left = card->response_len - card->sent;
	size_t max =
		card->habits.inf && card->habits.inf < card->ifsd ? card->habits.inf : card->ifsd;
	card->part = left < max ? left : max;
	card->sending = 1;
	unsigned more = left > card->part ? 0x20 : 0;
	send_block(card, (unsigned)card->vs << 6 | more, card->response + card->sent, card->part);
}

static void ask(struct t1_card *card, unsigned request, size_t len) {
	card->asked = (uint8_t)request;
	send_block(card, request, &card->asked_value, len);
}

/* The card's turn: a request of its own, the response, or the next block of the command. */
static void go_on(struct t1_card *card) {
	int in_chain = card->command_len || (has_response(card) && card->sent);
	card->asked_value = (uint8_t)(1 + t1_card_roll(&card->seed, 254));
	if (one_in(card, card->habits.wtx))
		ask(card, 0xc3, 1);
	else if (one_in(card, card->habits.ifs))
		ask(card, 0xc1, 1);
	else if (in_chain && one_in(card, card->habits.abort))
		ask(card, 0xc2, 0);
	else if (has_response(card))
		send_part(card);
	else
		send_r(card, 0);
}

/* ---- from the host ---- */

/* The host has the I-block that is out. */
static void acknowledged(struct t1_card *card) {
	card->sending = 0;
	card->vs ^= 1;
	card->sent += card->part;
}

static void violation(struct t1_card *card) {
	card->n_violations++;
	send_r(card, 2);
}

static void take_i(struct t1_card *card, const uint8_t *block) {
	size_t len = block[2];
	int last_is_out = card->sending && card->sent + card->part == card->response_len;
	if (card->asked || block[1] >> 6 != card->vr || (block[1] & 0x1f) || len > card->ifsc ||
		(has_response(card) && !last_is_out) ||
		card->command_len + len > sizeof(card->command)) {
		violation(card);
		return;
	}
	if (card->sending)
		acknowledged(card);
	memcpy(card->command + card->command_len, block + 3, len);
	card->command_len += len;
	card->vr ^= 1;
	if (!(block[1] & 0x20)) {
		memcpy(card->executed, card->command, card->command_len);
		card->executed_len = card->command_len;
		card->n_executed++;
		card->response_len = t1_card_answer(
			card->command, card->command_len, card->n_executed, card->response);
		card->sent = card->part = card->command_len = 0;
	}
	go_on(card);
}

static void take_r(struct t1_card *card, const uint8_t *block) {
	int number = block[1] >> 4 & 1;
	if (block[2] || (block[1] & 0x2c)) {
		violation(card);
	} else if (!card->asked && card->sending && number != card->vs &&
		card->sent + card->part < card->response_len) {
		acknowledged(card);
		go_on(card);
	} else if (!card->out_len) {
		send_r(card, 2);
	}
	/* else: what is in `out`, again */
}

static void forget(struct t1_card *card) {
	card->asked = 0;
	card->sending = 0;
	card->part = card->sent = card->response_len = card->command_len = 0;
}

static void take_s(struct t1_card *card, const uint8_t *block) {
	uint8_t request = block[1] & 0xdf;
	int answered = card->asked == request && (block[1] & 0x20);
	if (block[1] == 0xc0 && !block[2]) {
		forget(card);
		card->vs = card->vr = 0;
		card->ifsc = card->habits.ifsc;
		card->ifsd = 32;
		send_block(card, 0xe0, NULL, 0);
	} else if (block[1] == 0xc1 && block[2] == 1 && block[3] && block[3] < 255) {
		card->ifsd = block[3];
		send_block(card, 0xe1, block + 3, 1);
	} else if (answered && request == 0xc2 && !block[2]) {
		if (card->sending)
			acknowledged(card);
		forget(card);
		send_r(card, 0);
	} else if (answered && block[2] == 1 && block[3] == card->asked_value) {
		card->asked = 0;
		card->ifsc = request == 0xc1 ? block[3] : card->ifsc;
		go_on(card);
	} else {
		violation(card);
	}
}

void t1_card_block(struct t1_card *card, const uint8_t *block, size_t len, int damaged) {
	size_t whole = 3u + (len > 2 ? block[2] : 0) + (card->habits.crc ? 2 : 1);
	if (damaged) {
		if (!card->asked)
			send_r(card, 1);
		return;
	}
	if (len != whole || block[0] || block[2] == 255 ||
		!t1_card_edc_right(card->habits.crc, block, len))
		violation(card);
	else if (!(block[1] & 0x80))
		take_i(card, block);
	else if ((block[1] & 0xc0) == 0x80)
		take_r(card, block);
	else
		take_s(card, block);
}

void t1_card_init(struct t1_card *card, const struct t1_card_habits *habits, uint32_t seed) {
	memset(card, 0, sizeof(*card));
	card->habits = *habits;
	card->seed = seed;
	card->ifsc = habits->ifsc;
	card->ifsd = 32;
}
