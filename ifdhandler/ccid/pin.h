/* SPDX-License-Identifier: MIT */
/* PIN entry at the reader's keys: the program's structure (PC/SC part 10 2.5.2, 2.5.3) → the reader's
 * (CCID 1.10 6.1.11, 6.1.12). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "wire/status.h"

struct quirks;

enum {
	/* A PIN command is a short APDU: 4 + 1 + 255 + 1 (ISO/IEC 7816-3 12.1). */
	PIN_MAX_APDU = 261,
	/* bPINOperation and the structure for modification with three indexes. */
	PIN_MAX_FIXED = 1 + 19,
	PIN_MAX_REQUEST = PIN_MAX_FIXED + PIN_MAX_APDU,
};

/* bPINOperation */
enum pin_operation {
	PIN_VERIFY = 0x00,
	PIN_MODIFY = 0x01,
};

/* What is special about the reader. */
struct pin_rules {
	const struct quirks *quirks;
	int all_indexes;    /* modify: three message indexes, whatever their number */
	uint8_t validation; /* the bits of bEntryValidationCondition that it knows, 0: all */
	size_t room;        /* bytes of data that one message may have */
};

/* abData of a Secure message, and what its sender has to know. */
struct pin_request {
	uint8_t bytes[PIN_MAX_REQUEST];
	size_t len;
	size_t prologue; /* offset of bTeoPrologue */
	size_t apdu;     /* offset of the command's template: to the end */
	uint8_t seconds; /* bTimeOut: how long the reader waits for keys, 0: as it likes */
	int unpadded;    /* the reader must be told first to add the PIN to a bare header */
};

/* Checks the structure of a program and makes the reader's from it. STATUS_OK; STATUS_INVALID where it
 * makes no sense; STATUS_UNSUPPORTED where the command is none that takes a PIN; STATUS_TOO_LONG. */
enum status pin_translate(enum pin_operation op, const struct pin_rules *rules, const uint8_t *in,
	size_t len, struct pin_request *ret_request);
