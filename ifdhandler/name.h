/* SPDX-License-Identifier: MIT */
/* The names of readers as applications know them: `Vendor Product [Interface] (serial) NN SS` (pure). */
#pragma once

#include <stddef.h>

enum {
	NAME_MAX_BYTES = 127, /* MAX_READERNAME of PC/SC less its NUL */
	NAME_MAX_BASE = 117, /* leaves room for " NN SS" with NN of four digits, and two to spare */
	NAME_MAX_NUMBER = 0xFFFF,
	NAME_MAX_EXTENSION = 64, /* chosen: a host name (HOST_NAME_MAX); the rest is the reader's */
};

/* Where a name's parts come from; NULL or "" where there is none. */
struct name_parts {
	const char *manufacturer;
	const char *product;
	const char *interface;
	const char *serial;
};

/* Has `text` (which may be NULL) nothing but blanks? */
int name_is_blank(const char *text);

/* Writes the part of the name before number and slot into `buf` (NAME_MAX_BASE + 1 bytes). Control
 * and non-ASCII bytes become '.'; blanks around a part go, and a part of blanks is none; the serial is
 * left out where the interface's name holds it; what is too long is cut. Never empty. */
void name_base(const struct name_parts *parts, char *buf);

/* Appends `extension` as it stands (cleaned as above, at most NAME_MAX_EXTENSION bytes) to `base`
 * (NAME_MAX_BASE + 1 bytes), which is cut where both do not fit. */
void name_extend(char *base, const char *extension);

/* Writes the whole name into `buf` (NAME_MAX_BYTES + 1 bytes): two hexadecimal digits each, more for
 * the number where needed. */
void name_format(const char *base, unsigned number, unsigned slot, char *buf);

/* If `name` is `base` with number and slot as name_format writes them, its number; else -1. */
int name_number(const char *name, const char *base);
