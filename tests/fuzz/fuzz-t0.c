/* SPDX-License-Identifier: MIT */
/*
 * A card that says anything: byte 0 is the length of the command, byte 1 the awkward packet length,
 * then the command, then portions of a length byte and so many bytes. Wanted: an answer of at most
 * Ne + 2 bytes with a status word, never more sent than the command has, and an end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/t0.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

/* What any start, and any answer to it, must be like. */
static void check_action(
	const struct t0_action *action, size_t max, size_t *sent, size_t tpdu_len) {
	switch (action->verb) {
	case T0_EXCHANGE:
		check(action->expect >= 1 && action->expect <= T0_MAX_RESPONSE);
		*sent += action->len;
		check(*sent <= tpdu_len);
		break;
	case T0_DONE: {
		check(action->len >= 2 && action->len <= max + 2);
		uint8_t sw1 = action->data[action->len - 2];
		check((sw1 >> 4 == 6 || sw1 >> 4 == 9) && sw1 != 0x60);
		break;
	}
	case T0_FAIL: check(action->failure != 0); break;
	}
}

/* A command that T=0 can carry (ISO/IEC 7816-3 12.1): 4 or 5 bytes, or Lc and data, and perhaps Le. */
static int is_short(const uint8_t *command, size_t len) {
	if (len == 4 || len == 5)
		return 1;
	size_t whole = len > 5 ? 5u + command[4] : 0;
	return len > 5 && command[4] != 0 && (len == whole || len == whole + 1);
}

static void check_command(const uint8_t *command, size_t len, int started, size_t tpdu_len) {
	if (is_short(command, len))
		check(started || command[1] >> 4 == 6 || command[1] >> 4 == 9 ||
			(command[0] == 0xff && len == 6u + command[4]));
	if (started)
		check(tpdu_len == 4 || tpdu_len == 5 || tpdu_len == 5u + command[4]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size < 2 || size - 2 < data[0])
		return 0;
	const uint8_t *command = data + 2, *end = data + size;
	size_t len = data[0], tpdu_len = 0, sent = 0;
	struct t0 t0;
	struct t0_action action;
	memset(&t0, 0xa5, sizeof(t0));
	int result = t0_start(&t0, command, len, data[1] & 1 ? 64 : 0, &action);
	if (result == 0)
		check(t0_tpdu_len(command, len, &tpdu_len) == 0);
	check_command(command, len, result == 0, tpdu_len);
	if (result < 0)
		return 0;
	size_t max = tpdu_len == 5 ? (command[4] ? command[4] : 256u) : 0;
	check_action(&action, max, &sent, tpdu_len < 5 ? 5 : tpdu_len);
	for (const uint8_t *p = command + len; action.verb == T0_EXCHANGE && p < end;) {
		size_t n = *p++;
		/* 255: as much as was asked for */
		n = n == 255 ? action.expect : n;
		n = n < (size_t)(end - p) ? n : (size_t)(end - p);
		uint8_t *exact = malloc(n ? n : 1);
		check(exact != NULL);
		memcpy(exact, p, n);
		p += n;
		t0_received(&t0, exact, n, &action);
		free(exact);
		check_action(&action, max, &sent, tpdu_len < 5 ? 5 : tpdu_len);
	}
	t0_wipe(&t0);
	return 0;
}
