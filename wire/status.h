/* SPDX-License-Identifier: MIT */
/* Outcomes of commands, in our own terms: told apart from the reader up to the application. */
#pragma once

#include <stdint.h>

enum status {
#define STATUS(name, number, text, scard) STATUS_##name = (number),
#include "wire/status.def"
#undef STATUS
};

/* A short English phrase for `status`: static storage, never NULL; any number is allowed. */
const char *status_text(unsigned status);

/* The name of `status` as in this list ("READER_CLAIMED"): static, never NULL ("UNKNOWN"). */
const char *status_name(unsigned status);

/* `status` as a PC/SC return code (0x80100001 and so on; SCARD_F_INTERNAL_ERROR for any number
 * that is not in the list). Exactly the positive 32-bit value; never sign-extended. */
uint32_t status_scard(unsigned status);

/* Does this outcome belong to the reader itself, so that the slot is unavailable? */
static inline int status_is_reader_trouble(unsigned status) {
	return status >= STATUS_STARTING && status <= STATUS_READER_DETACHED;
}
