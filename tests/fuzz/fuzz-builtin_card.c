/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of commands to the builtin card, as a card program gets them: two bytes of length
 * and a payload, of which one byte is a reset. Besides memory safety: every answer has a status
 * word, an error carries no data, and the secret note comes out only while the PIN is verified.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/virtual/builtin_card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "You have verified";

static void check(int ok) {
	if (!ok)
		abort();
}

static unsigned command(struct builtin_card *card, const uint8_t *in, size_t len, size_t max) {
	static uint8_t out[BUILTIN_CARD_MAX_ANSWER];
	static const uint8_t query[] = { 0x00, 0x20, 0x00, 0x01 };
	uint8_t state[2];
	check(builtin_card_apdu(card, query, sizeof(query), state, sizeof(state)) == 2);
	/* a copy of just that size, so that the sanitizer sees the smallest step over its end */
	uint8_t *copy = malloc(len ? len : 1);
	check(copy != NULL);
	memcpy(copy, in, len);
	size_t n = builtin_card_apdu(card, copy, len, out, max);
	free(copy);
	check(n >= 2 && n <= max);
	unsigned sw = (unsigned)out[n - 2] << 8 | out[n - 1];
	check(sw == 0x9000 || sw == 0x6282 || n == 2);
	if (memmem(out, n, secret, strlen(secret)))
		check(state[0] == 0x90);
	return sw;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct builtin_card *card = NULL;
	check(builtin_card_new(&card) == 0);
	size_t max = size % 3 ? BUILTIN_CARD_MAX_ANSWER : 2 + size;
	while (size >= 2) {
		size_t len = (size_t)data[0] << 8 | data[1];
		data += 2;
		size -= 2;
		len = len < size ? len : size;
		if (len == 1)
			builtin_card_reset(card);
		else
			command(card, data, len,
				max < BUILTIN_CARD_MAX_ANSWER ? max : BUILTIN_CARD_MAX_ANSWER);
		data += len;
		size -= len;
	}
	builtin_card_free(card);
	return 0;
}
