/* SPDX-License-Identifier: MIT */
/* A command APDU as the builtin card sees it, and the status words that it answers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Status words, ISO/IEC 7816-4:2005 5.1.3 */
enum builtin_sw {
	SW_OK = 0x9000,
	SW_END_OF_FILE = 0x6282, /* fewer bytes than Le until the end of the file */
	SW_WRONG_PIN = 0x63C0,   /* low digit: tries left */
	SW_WRONG_LENGTH = 0x6700,
	SW_NO_CHANNELS = 0x6881,
	SW_NO_SECURE_MESSAGING = 0x6882,
	SW_NO_CHAINING = 0x6884,
	SW_NOT_ALLOWED = 0x6982, /* security status not satisfied */
	SW_PIN_BLOCKED = 0x6983,
	SW_NO_CURRENT_EF = 0x6986,
	SW_BAD_DATA = 0x6A80,
	SW_NOT_FOUND = 0x6A82,
	SW_NO_ROOM = 0x6A84,
	SW_BAD_P1P2 = 0x6A86,
	SW_LC_P1P2 = 0x6A87, /* Nc inconsistent with P1-P2 */
	SW_NO_REFERENCE = 0x6A88,
	SW_OFFSET = 0x6B00,
	SW_WRONG_LE = 0x6C00, /* low byte: the right Le */
	SW_NO_INS = 0x6D00,
	SW_NO_CLA = 0x6E00,
	SW_FAILED = 0x6F00,
};

struct builtin_command {
	uint8_t cla, ins, p1, p2;
	const uint8_t *data;
	size_t lc;
	size_t le;  /* 0: no answer is wanted */
	int le_any; /* Le was coded as zero: as much as there is */
};

/* Takes the `len` bytes at `in` apart; `data` points into them. 0, or -EBADMSG where they are none
 * of the seven codings of a command. */
int builtin_command_parse(const uint8_t *in, size_t len, struct builtin_command *ret_command);
