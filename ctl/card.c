/* SPDX-License-Identifier: MIT */
/* An ATR is somebody else's bytes: the parser of the handler judges them, and historical bytes are
 * shown as hex, with those that are printable ASCII beside. */
#include "ctl/card.h"

#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "wire/status.h"

const char *card_word(const struct peer_state *state) {
	switch (state->presence) {
	case PRESENCE_ABSENT: return "absent";
	case PRESENCE_PRESENT: return "present";
	case PRESENCE_MUTE: return "mute";
	default: return status_text(state->known ? state->status : STATUS_STARTING);
	}
}

char *card_atr(const struct peer_state *state, char *buf) {
	return print_hex(state->atr, state->atr_len, ' ', buf, CARD_MAX_HEX);
}

static int digit(char c) {
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;
	return at ? (int)(at - digits) : -1;
}

size_t card_atr_bytes(const char *hex, uint8_t atr[WIRE_MAX_ATR]) {
	size_t n = 0;
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);
		if (low < 0 || n == WIRE_MAX_ATR)
			return 0;
		atr[n++] = (uint8_t)(high << 4 | low);
		hex++;
	}
	return n;
}

/* "T=0, T=1": what the ATR offers. */
static void protocols_text(const struct atr *atr, char *buf, size_t size) {
	size_t len = 0;
	buf[0] = 0;
	for (unsigned t = 0; t < 15; t++) {
		if (!(atr->offered & 1u << t))
			continue;
		int n = snprintf(buf + len, size - len, "%sT=%u", len ? ", " : "", t);
		if (n < 0 || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
}

/* Historical bytes with '.' for what is not printable. */
static void historical_text(const struct atr *atr, char *buf) {
	size_t i = 0;
	for (; i < atr->n_historical; i++) {
		uint8_t c = atr->bytes[atr->historical + i];
		buf[i] = (char)(c >= ' ' && c <= '~' ? c : '.');
	}
	buf[i] = 0;
}

static const char *classes_text(const struct atr *atr) {
	static const char *const names[] = { "none", "5 V", "3 V", "5 and 3 V", "1.8 V",
		"5 and 1.8 V", "3 and 1.8 V", "5, 3 and 1.8 V" };
	return names[atr->classes & 7];
}

void card_explain(FILE *out, const uint8_t *bytes, size_t len, unsigned indent) {
	struct atr atr;
	char text[15 * 6], hex[CARD_MAX_HEX]; /* 15 of "T=14, ", or 32 historical bytes */
	if (atr_parse(bytes, len, &atr) < 0) {
		fprintf(out, "%*sthis is no ATR of ISO/IEC 7816-3\n", (int)indent, "");
		return;
	}
	protocols_text(&atr, text, sizeof(text));
	fprintf(out, "%*s%s convention, offers %s%s", (int)indent, "",
		atr.inverse ? "inverse" : "direct", text, atr.specific ? ", specific mode" : "");
	fprintf(out, ", Fi/Di %u/%u", atr_fi(atr.ta1), atr_di(atr.ta1));
	if (atr.offered & 1u << 1)
		fprintf(out, ", IFSC %u, %s", atr.ifsc, atr.crc ? "CRC" : "LRC");
	fprintf(out, ", %s\n", classes_text(&atr));
	if (atr.n_historical) {
		historical_text(&atr, text);
		fprintf(out, "%*shistorical bytes %s \"%s\"\n", (int)indent, "",
			print_hex(atr.bytes + atr.historical, atr.n_historical, ' ', hex,
				sizeof(hex)),
			text);
	}
	if (atr.tck == ATR_TCK_WRONG)
		fprintf(out, "%*sits check byte TCK is wrong\n", (int)indent, "");
}

void card_explain_json(struct print *print, const uint8_t *bytes, size_t len) {
	struct atr atr;
	char hex[CARD_MAX_HEX];
	if (atr_parse(bytes, len, &atr) < 0) {
		print_flag(print, "valid", 0);
		return;
	}
	print_flag(print, "valid", 1);
	print_string(print, "convention", atr.inverse ? "inverse" : "direct");
	print_open(print, "protocols", '[');
	for (unsigned t = 0; t < 15; t++)
		if (atr.offered & 1u << t)
			print_number(print, NULL, t);
	print_close(print);
	print_flag(print, "specific", atr.specific);
	print_number(print, "Fi", atr_fi(atr.ta1));
	print_number(print, "Di", atr_di(atr.ta1));
	if (atr.offered & 1u << 1) {
		print_number(print, "ifsc", atr.ifsc);
		print_string(print, "check", atr.crc ? "CRC" : "LRC");
	}
	print_string(print, "classes", classes_text(&atr));
	print_string(print, "historical",
		print_hex(atr.bytes + atr.historical, atr.n_historical, 0, hex, sizeof(hex)));
	if (atr.tck != ATR_TCK_NONE)
		print_flag(print, "tck-right", atr.tck == ATR_TCK_RIGHT);
}
