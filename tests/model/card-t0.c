/* SPDX-License-Identifier: MIT */
/*
 * T=0 as a reader at TPDU level shows it (ISO/IEC 7816-3 10.3): a header and data in one direction
 * only.
 *
 * Four bytes are a header with P3 = 0. Data for a command that has sent data waits for GET RESPONSE
 * (61xx); data for a command that asked for another number of bytes is refused with the right
 * number (6Cxx).
 */
#include "tests/model/card.h"

#include <string.h>

int card_t0_takes_data(uint8_t ins) {
	/* SELECT, VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER, and the echo of our own */
	return ins == 0xa4 || ins == 0x20 || ins == 0x24 || ins == 0x2c || ins == 0xec;
}

/* An answer of `len` bytes and a status word, to a command that has sent data. */
static void keep(struct card *card, struct card_reply *reply) {
	size_t n = reply->len - 2;
	if (!n)
		return;
	memcpy(card->rest, reply->data, n);
	card->rest_len = n;
	card->rest_off = 0;
	reply->len = 0;
	card_reply_sw(reply, 0x6100 | (n > 255 ? 0 : (unsigned)n));
}

/* The same to a command that has asked for `want` bytes. */
static void fit(struct card *card, size_t want, struct card_reply *reply) {
	size_t n = reply->len - 2;
	if (!n || n == want)
		return;
	if (n < want) {
		reply->len = 0;
		card_reply_sw(reply, 0x6c00 | (unsigned)n);
		return;
	}
	memcpy(card->rest, reply->data, n);
	card->rest_len = n;
	card->rest_off = 0;
	card_rest(card, want, reply);
}

void card_t0_tpdu(
	struct card *card, const uint8_t *tpdu, size_t len, struct card_reply *ret_reply) {
	card->counters.tpdus++;
	if (len < 4)
		return;
	uint8_t header[5] = { tpdu[0], tpdu[1], tpdu[2], tpdu[3], len > 4 ? tpdu[4] : 0 };
	size_t want = header[4] ? header[4] : 256;
	if (len > 5 && len != 5 + (size_t)header[4])
		return; /* the card still waits for data: mute */
	if (len <= 5) {
		/* what waits for GET RESPONSE is fetched whole or in parts, never refused */
		int get_response = header[1] == 0xc0 && !card->backend.apdu;
		size_t rest = card->rest_len - card->rest_off;
		if (get_response && rest && rest < want && header[4]) {
			ret_reply->len = 0;
			card_reply_sw(ret_reply, 0x6c00 | (unsigned)rest);
			return;
		}
		card_run(card, header, sizeof header, ret_reply);
		if (ret_reply->outcome == CARD_ANSWERS && ret_reply->len >= 2 && !get_response)
			fit(card, want, ret_reply);
		return;
	}
	card_run(card, tpdu, len, ret_reply);
	if (ret_reply->outcome == CARD_ANSWERS && ret_reply->len >= 2)
		keep(card, ret_reply);
}
