/* SPDX-License-Identifier: MIT */
/* The names of readers as applications know them: `Vendor Product [Interface] (serial) NN SS` (pure). */
#pragma once

#include <stddef.h>

enum {
	NAME_MAX_BYTES = 127, /* MAX_READERNAME of PC/SC less its NUL */
	NAME_MAX_BASE = 117,  /* room for " NN SS" with five digits of NN */
	NAME_MAX_NUMBER = 0xFFFF,
};

/* Where a name's parts come from; NULL or "" where there is none. */
struct name_parts {
	const char *manufacturer;
	const char *product;
	const char *interface;
	const char *serial;
};

/* Writes the part of the name before number and slot into `buf` (NAME_MAX_BASE + 1 bytes). Control
 * and non-ASCII bytes become '.'; the serial is left out where the interface's name holds it; what
 * is too long is cut. */
void name_base(const struct name_parts *parts, char *buf);

/* Writes the whole name into `buf` (NAME_MAX_BYTES + 1 bytes): two hexadecimal digits each, more for
 * the number where needed. */
void name_format(const char *base, unsigned number, unsigned slot, char *buf);

/* If `name` is `base` with number and slot, its number; else -1. */
int name_number(const char *name, const char *base);
