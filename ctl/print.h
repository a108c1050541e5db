/* SPDX-License-Identifier: MIT */
/* Output for people and for programs: safe text, JSON, errors. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Writes `text` to `out` so that it cannot steer a terminal: what is no UTF-8, a control character
 * or one that changes the direction of writing becomes '?'. Returns the columns that it takes
 * (characters). NULL writes nothing. */
size_t print_text(FILE *out, const char *text);

/* print_text, filled up with blanks to `width` columns. */
void print_padded(FILE *out, const char *text, size_t width);

/* Says "reader-ctl: …" on stderr, made safe, and returns `code`: `return print_error(EXIT_…,
 * …)`. */
__attribute__((format(printf, 2, 3))) int print_error(int code, const char *format, ...);

/* `len` bytes as hexadecimal digits into `buf` of `size` bytes, `between` (or nothing if 0)
 * between two. What does not fit is left out. Returns `buf`. */
char *print_hex(const uint8_t *data, size_t len, char between, char *buf, size_t size);

enum { PRINT_MAX_DEPTH = 16 };

/* A JSON text (RFC 8259) under way. Zeroed but for `out` = nothing written. */
struct print {
	FILE *out;
	unsigned depth;
	char closing[PRINT_MAX_DEPTH];  /* brackets that are open */
	int begun[PRINT_MAX_DEPTH + 1]; /* a value was written at this depth */
};

/* Opens an object ('{') or array ('['), as member `key` where an object is open, else key is
 * NULL. */
void print_open(struct print *print, const char *key, char bracket);
/* Closes what was opened last; the last one of all ends the line and flushes. */
void print_close(struct print *print);
/* Members or elements. A string that is NULL is not written; bytes that are no UTF-8 become
 * U+FFFD. */
void print_string(struct print *print, const char *key, const char *value);
void print_number(struct print *print, const char *key, long long value);
void print_real(struct print *print, const char *key, double value);
void print_flag(struct print *print, const char *key, int value);
