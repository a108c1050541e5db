/* SPDX-License-Identifier: MIT */
/*
 * Names come from devices, from other users' programs and from the other end of forwarded sockets:
 * nothing of that reaches a terminal or a JSON parser as it is. Text keeps printable characters of
 * well-formed UTF-8 (RFC 3629) only; JSON escapes what it must.
 */
#include "ctl/print.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* The length of the well-formed sequence at `s` with its code point, or 0. */
static size_t utf8_next(const unsigned char *s, uint32_t *ret_point) {
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
	if (len == 0 || s[0] >= 0xF8)
		return 0;
	uint32_t point = len == 1 ? s[0] : s[0] & (0x7Fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xC0) != 0x80) /* also the NUL at the end */
			return 0;
		point = point << 6 | (s[i] & 0x3F);
	}
	if (point < least[len] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
		return 0;
	*ret_point = point;
	return len;
}

/* C0, DEL, C1; line and paragraph separators; directional formatting (Unicode UAX #9 2). */
static int is_steering(uint32_t point) {
	return point < 0x20 || (point >= 0x7F && point <= 0x9F) || point == 0x061C ||
		(point >= 0x200E && point <= 0x200F) || (point >= 0x2028 && point <= 0x202E) ||
		(point >= 0x2066 && point <= 0x2069);
}

size_t print_text(FILE *out, const char *text) {
	const unsigned char *s = (const unsigned char *)text;
	size_t columns = 0;
	for (; s && *s; columns++) {
		uint32_t point = 0;
		size_t len = utf8_next(s, &point);
		if (len == 0 || is_steering(point))
			putc('?', out);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	return columns;
}

void print_padded(FILE *out, const char *text, size_t width) {
	for (size_t columns = print_text(out, text); columns < width; columns++)
		putc(' ', out);
}

int print_error(int code, const char *format, ...) {
	char text[4096]; /* chosen: a sentence with names, or a list of readers that were meant */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fflush(stdout);
	fputs("reader-ctl: ", stderr);
	/* a message of several lines keeps them */
	char *save = NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		print_text(stderr, line);
		putc('\n', stderr);
	}
	return code;
}

char *print_hex(const uint8_t *data, size_t len, char between, char *buf, size_t size) {
	static const char digits[] = "0123456789ABCDEF";
	size_t at = 0;
	for (size_t i = 0; i < len && at + 4 <= size; i++) {
		if (i && between)
			buf[at++] = between;
		buf[at++] = digits[data[i] >> 4];
		buf[at++] = digits[data[i] & 15];
	}
	if (size)
		buf[at] = 0;
	return buf;
}

/* ---- JSON ---- */

static void json_text(FILE *out, const char *text) {
	const unsigned char *s = (const unsigned char *)text;
	putc('"', out);
	while (*s) {
		uint32_t point = 0;
		size_t len = utf8_next(s, &point);
		if (len == 0)
			fputs("\\ufffd", out);
		else if (point == '"' || point == '\\')
			fprintf(out, "\\%c", (char)point);
		else if (is_steering(point))
			fprintf(out, "\\u%04x", (unsigned)point);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	putc('"', out);
}

/* Comma and key before a value. */
static void json_begin(struct print *print, const char *key) {
	if (print->begun[print->depth])
		putc(',', print->out);
	print->begun[print->depth] = 1;
	assert(!key == !(print->depth && print->closing[print->depth - 1] == '}'));
	if (key) {
		json_text(print->out, key);
		putc(':', print->out);
	}
}

void print_open(struct print *print, const char *key, char bracket) {
	assert(print->depth < PRINT_MAX_DEPTH);
	json_begin(print, key);
	putc(bracket, print->out);
	print->closing[print->depth++] = bracket == '{' ? '}' : ']';
	print->begun[print->depth] = 0;
}

void print_close(struct print *print) {
	assert(print->depth > 0);
	putc(print->closing[--print->depth], print->out);
	if (print->depth == 0) {
		print->begun[0] = 0;
		putc('\n', print->out);
		fflush(print->out);
	}
}

void print_string(struct print *print, const char *key, const char *value) {
	if (!value)
		return;
	json_begin(print, key);
	json_text(print->out, value);
}

void print_number(struct print *print, const char *key, long long value) {
	json_begin(print, key);
	fprintf(print->out, "%lld", value);
}

void print_real(struct print *print, const char *key, double value) {
	json_begin(print, key);
	fprintf(print->out, "%.3f", value);
}

void print_flag(struct print *print, const char *key, int value) {
	json_begin(print, key);
	fputs(value ? "true" : "false", print->out);
}
