/* SPDX-License-Identifier: MIT */
/* Command APDUs: which case, Lc, Le, where the data is (ISO/IEC 7816-3 12.1). */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	APDU_HEADER = 4,
	/* 4 + 1 + 255 + 1 */
	APDU_MAX_SHORT = 261,
	/* 4 + 3 + 65535 + 2 */
	APDU_MAX_EXTENDED = 65544,
	/* 65536 bytes, SW1 SW2 */
	APDU_MAX_RESPONSE = 65538,
};

enum apdu_case {
	APDU_CASE_1 = 1,
	APDU_CASE_2S,
	APDU_CASE_3S,
	APDU_CASE_4S,
	APDU_CASE_2E,
	APDU_CASE_3E,
	APDU_CASE_4E,
};

/* A command taken apart; `data` points into the bytes it was parsed from (NULL where lc is 0). */
struct apdu {
	enum apdu_case kind;
	uint8_t cla, ins, p1, p2;
	uint16_t lc;
	uint32_t le; /* Ne: 1 … 65536; 0 where there is no Le */
	const uint8_t *data;
};

/* 0, or -EBADMSG: no command APDU (too short, or the length does not fit Lc and Le). */
int apdu_parse(const uint8_t *bytes, size_t len, struct apdu *ret_apdu);

/* Is it in one of the extended cases? */
static inline int apdu_is_extended(const struct apdu *apdu) {
	return apdu->kind >= APDU_CASE_2E;
}
