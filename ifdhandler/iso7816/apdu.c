/* SPDX-License-Identifier: MIT */
/* Command APDUs: the seven cases differ by length, byte 5, and for the extended ones bytes 6 and
 * 7. */
#include "ifdhandler/iso7816/apdu.h"

#include <errno.h>

/* Ne as `n_bytes` of Le code it: 0 is the highest value. */
static uint32_t decode_le(const uint8_t *le, size_t n_bytes) {
	uint32_t value = n_bytes == 1 ? le[0] : (uint32_t)le[0] << 8 | le[1];
	return value ? value : 1u << (8 * n_bytes);
}

/* `body` begins with Lc or Le of one byte. */
static int parse_short(const uint8_t *body, size_t len, struct apdu *apdu) {
	if (len == 1) {
		apdu->kind = APDU_CASE_2S;
		apdu->le = decode_le(body, 1);
		return 0;
	}
	size_t lc = body[0];
	if (!lc || (len != 1 + lc && len != 1 + lc + 1))
		return -EBADMSG;
	apdu->kind = len == 1 + lc ? APDU_CASE_3S : APDU_CASE_4S;
	apdu->lc = (uint16_t)lc;
	apdu->data = body + 1;
	if (apdu->kind == APDU_CASE_4S)
		apdu->le = decode_le(body + 1 + lc, 1);
	return 0;
}

/* `body` begins with 00h and Lc or Le of two bytes; `len` is at least 3. */
static int parse_extended(const uint8_t *body, size_t len, struct apdu *apdu) {
	if (len == 3) {
		apdu->kind = APDU_CASE_2E;
		apdu->le = decode_le(body + 1, 2);
		return 0;
	}
	size_t lc = (size_t)body[1] << 8 | body[2];
	if (!lc || (len != 3 + lc && len != 3 + lc + 2))
		return -EBADMSG;
	apdu->kind = len == 3 + lc ? APDU_CASE_3E : APDU_CASE_4E;
	apdu->lc = (uint16_t)lc;
	apdu->data = body + 3;
	if (apdu->kind == APDU_CASE_4E)
		apdu->le = decode_le(body + 3 + lc, 2);
	return 0;
}

int apdu_parse(const uint8_t *bytes, size_t len, struct apdu *ret_apdu) {
	if (len < APDU_HEADER)
		return -EBADMSG;
	struct apdu apdu = {
		.kind = APDU_CASE_1,
		.cla = bytes[0],
		.ins = bytes[1],
		.p1 = bytes[2],
		.p2 = bytes[3],
	};
	const uint8_t *body = bytes + APDU_HEADER;
	size_t body_len = len - APDU_HEADER;
	int result = 0;
	if (body_len >= 3 && body[0] == 0)
		result = parse_extended(body, body_len, &apdu);
	else if (body_len)
		result = parse_short(body, body_len, &apdu);
	if (result == 0)
		*ret_apdu = apdu;
	return result;
}
