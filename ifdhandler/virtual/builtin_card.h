/* SPDX-License-Identifier: MIT */
/* A small ISO/IEC 7816-4 card with a PKCS #15 application, as pure functions: APDU in, APDU out. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct builtin_card;

enum {
	BUILTIN_CARD_ATR_LEN = 15,
	/* The longest answer: 65536 bytes (ISO/IEC 7816-3 12.1.3) and the status word. */
	BUILTIN_CARD_MAX_ANSWER = 65538,
};

/* What the card answers to reset: T=1 only. */
extern const uint8_t builtin_card_atr[BUILTIN_CARD_ATR_LEN];

/* Makes a card as it leaves the factory: PIN 123456 (3 tries), PUK 12345678 (10 tries), scratch
 * file zero; not verified, MF selected. The caller owns *ret_card. 0 or -ENOMEM. */
int builtin_card_new(struct builtin_card **ret_card);

/* Wipes and frees it; NULL is allowed. */
void builtin_card_free(struct builtin_card *card);

/* Power was lost or the card was reset: verified states are forgotten and the MF is selected.
 * Retry counters, changed PINs and the scratch file stay. */
void builtin_card_reset(struct builtin_card *card);

/* Answers the command of `len` bytes at `in` (any bytes, any length) into `out` of `max` bytes,
 * which must be 2 at least; where `max` is below BUILTIN_CARD_MAX_ANSWER, long answers are shorter.
 * Returns the length of the answer with its status word: 2 at least. Wiping is the caller's. */
size_t builtin_card_apdu(
	struct builtin_card *card, const uint8_t *in, size_t len, uint8_t *out, size_t max);
