/* SPDX-License-Identifier: MIT */
/*
 * PIN commands of the card (ISO/IEC 7816-4 11.5): VERIFY, CHANGE REFERENCE DATA, RESET RETRY
 * COUNTER.
 *
 * The card takes a PIN in every usual form, so that what a PIN pad makes of a template shows in
 * whether the card understands it: ASCII, one digit a byte, or BCD, padded with FF, 00 or blanks
 * before or behind, and format 2 of ISO 9564-1. What it was sent last is kept for tests to look at.
 */
#include "tests/model/card.h"

#include <string.h>

enum {
	VERIFY = 0x20,
	CHANGE = 0x24,
	UNBLOCK = 0x2c,
	/* Chosen. */
	PIN_TRIES = 3,
	PUK_TRIES = 10,
};

static const char DEFAULT_PIN[] = "12345678", DEFAULT_PUK[] = "87654321";

void card_pin_start(struct card *card) {
	strcpy(card->pin.pin, DEFAULT_PIN);
	strcpy(card->pin.puk, DEFAULT_PUK);
	card->pin.tries = PIN_TRIES;
	card->pin.puk_tries = PUK_TRIES;
}

int card_pin_set(char *ret_digits, const char *value) {
	size_t len = strlen(value);
	if (!len || len > CARD_MAX_PIN || strspn(value, "0123456789") != len)
		return -1;
	strcpy(ret_digits, value);
	return 0;
}

/* Digits of `n` units, each as `unit` reads it, without padding at both ends. 0: none. */
static size_t read_units(const uint8_t *data, size_t n, int (*unit)(const uint8_t *data, size_t i),
	char *ret_digits) {
	size_t from = 0, to = n, len = 0;
	while (from < to && unit(data, from) == -1)
		from++;
	while (to > from && unit(data, to - 1) == -1)
		to--;
	if (to - from > CARD_MAX_PIN)
		return 0;
	for (; from < to; from++) {
		int digit = unit(data, from);
		if (digit < 0)
			return 0;
		ret_digits[len++] = (char)('0' + digit);
	}
	ret_digits[len] = 0;
	return len;
}

/* A digit, -1 for padding, -2 for neither. */
static int unit_ascii(const uint8_t *data, size_t i) {
	uint8_t c = data[i];
	return c >= '0' && c <= '9' ? c - '0' : c == 0xff || !c || c == ' ' ? -1 : -2;
}

static int unit_binary(const uint8_t *data, size_t i) {
	return data[i] <= 9 ? data[i] : data[i] == 0xff ? -1 : -2;
}

static int unit_bcd(const uint8_t *data, size_t i) {
	int nibble = i % 2 ? data[i / 2] & 15 : data[i / 2] >> 4;
	return nibble <= 9 ? nibble : nibble == 15 ? -1 : -2;
}

/* Reads the block in form `form`: 0 ASCII, 1 format 2, 2 binary, 3 BCD. 0: it is not in this
 * form. */
static size_t read_block(const uint8_t *data, size_t len, unsigned form, char *ret_digits) {
	char digits[CARD_MAX_PIN + 1];
	size_t n;
	switch (form) {
	case 0: return read_units(data, len, unit_ascii, ret_digits);
	case 1:
		if (len != 8 || data[0] >> 4 != 2)
			return 0;
		n = read_units(data + 1, 14, unit_bcd, digits);
		if (!n || n != (data[0] & 15))
			return 0;
		strcpy(ret_digits, digits);
		return n;
	case 2: return read_units(data, len, unit_binary, ret_digits);
	default: return read_units(data, 2 * len, unit_bcd, ret_digits);
	}
}

static int is_secret(const char *secret, const uint8_t *data, size_t len) {
	char digits[CARD_MAX_PIN + 1];
	for (unsigned form = 0; form < 4; form++)
		if (read_block(data, len, form, digits) && !strcmp(digits, secret))
			return 1;
	return 0;
}

static int replace(char *secret, const uint8_t *data, size_t len) {
	char digits[CARD_MAX_PIN + 1];
	for (unsigned form = 0; form < 4; form++)
		if (read_block(data, len, form, digits)) {
			strcpy(secret, digits);
			return 0;
		}
	return -1;
}

/* Compares and counts: the status word. */
static unsigned compare(
	const char *secret, unsigned *tries, unsigned all, const uint8_t *data, size_t len) {
	if (!*tries)
		return 0x6983;
	if (is_secret(secret, data, len)) {
		*tries = all;
		return 0x9000;
	}
	return 0x63c0 | --*tries;
}

static unsigned verify(struct card_pin *pin, const uint8_t *data, size_t len) {
	if (!len)
		return pin->verified ? 0x9000 : pin->tries ? 0x63c0 | pin->tries : 0x6983;
	unsigned sw = compare(pin->pin, &pin->tries, PIN_TRIES, data, len);
	pin->verified = sw == 0x9000;
	return sw;
}

/* P1 0: old and new, of the same length; 1: new only. */
static unsigned change(struct card_pin *pin, unsigned p1, const uint8_t *data, size_t len) {
	size_t old = p1 ? 0 : len / 2;
	if (p1 > 1 || !len || (!p1 && len % 2))
		return 0x6a80;
	unsigned sw = p1 ? (pin->verified ? 0x9000 : 0x6982)
			 : compare(pin->pin, &pin->tries, PIN_TRIES, data, old);
	if (sw == 0x9000 && replace(pin->pin, data + old, len - old))
		sw = 0x6a80;
	return sw;
}

/* P1 0: PUK and new PIN, of the same length; 1: PUK only. */
static unsigned unblock(struct card_pin *pin, unsigned p1, const uint8_t *data, size_t len) {
	size_t puk = p1 ? len : len / 2;
	if (p1 > 1 || !len || (!p1 && len % 2))
		return 0x6a80;
	unsigned sw = compare(pin->puk, &pin->puk_tries, PUK_TRIES, data, puk);
	if (sw == 0x9000 && !p1 && replace(pin->pin, data + puk, len - puk))
		sw = 0x6a80;
	if (sw == 0x9000)
		pin->tries = PIN_TRIES;
	return sw;
}

unsigned card_pin_run(
	struct card *card, unsigned ins, unsigned p1, const uint8_t *data, size_t len) {
	switch (ins) {
	case VERIFY: return verify(&card->pin, data, len);
	case CHANGE: return change(&card->pin, p1, data, len);
	case UNBLOCK: return unblock(&card->pin, p1, data, len);
	default: return 0x6d00;
	}
}

void card_pin_note(struct card *card, const uint8_t *apdu, size_t len) {
	struct card_pin *pin = &card->pin;
	if (len < 4 || (apdu[1] != VERIFY && apdu[1] != CHANGE && apdu[1] != UNBLOCK))
		return;
	pin->n_seen++;
	pin->seen_len = len < sizeof pin->seen ? len : sizeof pin->seen;
	memcpy(pin->seen, apdu, pin->seen_len);
}
