/* SPDX-License-Identifier: MIT */
/*
 * Programs keep these names, compare them whole, look for a part of them, and cut the last six bytes
 * off. So the ending has a fixed form, the parts are always in the same order, and bytes that a
 * device may send to confuse a terminal or a configuration file never get in.
 */
#include "ifdhandler/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Appends `text` cleaned, as far as there is room. */
static void append(char *buf, const char *text) {
	size_t len = strlen(buf);
	for (; *text && len < NAME_MAX_BASE; text++) {
		unsigned char c = (unsigned char)*text;
		buf[len++] = c < ' ' || c > '~' ? '.' : (char)c;
	}
	buf[len] = 0;
}

static int given(const char *text) {
	return text && text[0];
}

void name_base(const struct name_parts *parts, char *buf) {
	const char *vendor = given(parts->manufacturer) ? parts->manufacturer : "";
	const char *product = given(parts->product) ? parts->product : "Smart Card Reader";
	buf[0] = 0;
	/* "Yubico YubiKey", not "Yubico Yubico YubiKey" */
	if (vendor[0] && strncasecmp(product, vendor, strlen(vendor)) != 0) {
		append(buf, vendor);
		append(buf, " ");
	}
	append(buf, product);
	if (given(parts->interface)) {
		append(buf, " [");
		append(buf, parts->interface);
		append(buf, "]");
	}
	if (given(parts->serial) &&
		!(given(parts->interface) && strstr(parts->interface, parts->serial))) {
		append(buf, " (");
		append(buf, parts->serial);
		append(buf, ")");
	}
}

void name_format(const char *base, unsigned number, unsigned slot, char *buf) {
	snprintf(buf, NAME_MAX_BYTES + 1, "%.*s %02X %02X", NAME_MAX_BASE, base,
		number & NAME_MAX_NUMBER, slot & 0xFF);
}

int name_number(const char *name, const char *base) {
	size_t len = strlen(base);
	char *end;
	if (strncmp(name, base, len) != 0 || name[len] != ' ')
		return -1;
	unsigned long number = strtoul(name + len + 1, &end, 16);
	if (end < name + len + 3 || *end != ' ' || strlen(end) != 3 || number > NAME_MAX_NUMBER)
		return -1;
	return (int)number;
}
