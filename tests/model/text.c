/* SPDX-License-Identifier: MIT */
/* Small text formats: all or nothing, no locale, no surprises with signs and overflow. */
#include "tests/model/text.h"

#include <errno.h>
#include <string.h>

static int digit(char c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int number(const char *text, unsigned base, unsigned max, unsigned *ret_value) {
	uint64_t value = 0;
	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		int d = digit(*text);
		if (d < 0 || (unsigned)d >= base)
			return -EINVAL;
		value = value * base + (unsigned)d;
		if (value > max)
			return -EINVAL;
	}
	*ret_value = (unsigned)value;
	return 0;
}

int text_number(const char *text, unsigned max, unsigned *ret_value) {
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return number(text + 2, 16, max, ret_value);
	return number(text, 10, max, ret_value);
}

int text_hex_number(const char *text, unsigned max, unsigned *ret_value) {
	return number(text, 16, max, ret_value);
}

int text_hex(const char *text, uint8_t *ret_bytes, size_t size, size_t *ret_len) {
	size_t len = 0;
	for (;;) {
		text += strspn(text, " \t");
		if (!*text)
			break;
		int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
		if (low < 0 || len == size)
			return -EINVAL;
		ret_bytes[len++] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	*ret_len = len;
	return 0;
}

char *text_word(char **rest) {
	char *word = *rest + strspn(*rest, " \t\r\n");
	if (!*word)
		return NULL;
	char *end = word + strcspn(word, " \t\r\n");
	*rest = end;
	if (*end) {
		*end = 0;
		*rest = end + 1;
	}
	return word;
}
