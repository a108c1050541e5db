/* SPDX-License-Identifier: MIT */
/*
 * Programs keep these names, compare them whole, look for a part of them, and cut the last six bytes
 * off. So the ending has a fixed form, the parts are always in the same order, and bytes that a
 * device may send to confuse a terminal or a configuration file never get in. Two names are equal only
 * if base, number and slot are: the ending holds two blanks and nothing of it can be taken for a base.
 */
#include "ifdhandler/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A part without the blanks around it; nothing where it has nothing else. */
struct word {
	const char *at;
	size_t len;
};

static struct word word_of(const char *text) {
	struct word word = { text ? text : "", 0 };
	while (*word.at == ' ')
		word.at++;
	word.len = strlen(word.at);
	while (word.len && word.at[word.len - 1] == ' ')
		word.len--;
	return word;
}

int name_is_blank(const char *text) {
	return word_of(text).len == 0;
}

/* Appends a word cleaned, as far as there is room. */
static void append(char *buf, struct word word) {
	size_t len = strlen(buf);
	for (size_t i = 0; i < word.len && len < NAME_MAX_BASE; i++) {
		unsigned char c = (unsigned char)word.at[i];
		buf[len++] = c < ' ' || c > '~' ? '.' : (char)c;
	}
	buf[len] = 0;
}

static void append_text(char *buf, const char *text) {
	append(buf, (struct word){ text, strlen(text) });
}

static void append_between(char *buf, const char *before, struct word word, const char *after) {
	append_text(buf, before);
	append(buf, word);
	append_text(buf, after);
}

static int word_begins(struct word word, struct word with) {
	return word.len >= with.len && strncasecmp(word.at, with.at, with.len) == 0;
}

static int word_holds(struct word word, struct word part) {
	return memmem(word.at, word.len, part.at, part.len) != NULL;
}

/* Cut behind a blank: the number would stand behind two. */
static void trim(char *buf) {
	size_t len = strlen(buf);
	while (len && buf[len - 1] == ' ')
		buf[--len] = 0;
}

void name_base(const struct name_parts *parts, char *buf) {
	struct word vendor = word_of(parts->manufacturer), product = word_of(parts->product);
	struct word interface = word_of(parts->interface), serial = word_of(parts->serial);
	buf[0] = 0;
	if (!product.len)
		product = word_of("Smart Card Reader");
	/* "Yubico YubiKey", not "Yubico Yubico YubiKey" */
	if (vendor.len && !word_begins(product, vendor))
		append_between(buf, "", vendor, " ");
	append(buf, product);
	if (interface.len)
		append_between(buf, " [", interface, "]");
	if (serial.len && !word_holds(interface, serial))
		append_between(buf, " (", serial, ")");
	trim(buf);
}

void name_extend(char *base, const char *extension) {
	char end[NAME_MAX_BASE + 1] = "";
	append_text(end, extension);
	size_t end_len = strlen(end);
	if (end_len > NAME_MAX_EXTENSION)
		end_len = NAME_MAX_EXTENSION;
	size_t len = strlen(base), room = NAME_MAX_BASE - end_len;
	if (len > room) {
		base[room] = 0;
		trim(base);
		len = strlen(base);
	}
	memcpy(base + len, end, end_len);
	base[len + end_len] = 0;
}

void name_format(const char *base, unsigned number, unsigned slot, char *buf) {
	snprintf(buf, NAME_MAX_BYTES + 1, "%.*s %02X %02X", NAME_MAX_BASE, base,
		number & NAME_MAX_NUMBER, slot & 0xFF);
}

int name_number(const char *name, const char *base) {
	static const char digits[] = "0123456789ABCDEF";
	size_t len = strlen(base);
	if (strncmp(name, base, len) != 0 || name[len] != ' ')
		return -1;
	const char *number = name + len + 1;
	size_t n = strspn(number, digits);
	if (n < 2 || n > 4 || number[n] != ' ' || strspn(number + n + 1, digits) != 2 ||
		number[n + 3])
		return -1;
	return (int)strtoul(number, NULL, 16);
}
