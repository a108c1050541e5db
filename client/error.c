/* SPDX-License-Identifier: MIT */
/*
 * Phrases for return codes. The codes that this API never returns to a program have none and are
 * shown by number, with all digits: a code that was sign-extended on its way looks like it.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "client/api.h"

enum {
	MAX_TEXT = 75, /* with NUL: the size that callers have known for long */
};

static const struct {
	uint32_t code;
	const char *text;
} phrases[] = {
	{ 0x00000000, "Done." },
	{ 0x80100001, "An internal check failed." },
	{ 0x80100002, "Ended by request." },
	{ 0x80100003, "No such context or handle." },
	{ 0x80100004, "A parameter cannot be used." },
	{ 0x80100005, "Start-up information is wrong." },
	{ 0x80100006, "Out of memory." },
	{ 0x80100007, "An internal wait took too long." },
	{ 0x80100008, "The buffer is too small." },
	{ 0x80100009, "No reader of that name." },
	{ 0x8010000A, "Nothing happened in that time." },
	{ 0x8010000B, "In use by another program." },
	{ 0x8010000C, "No card in the reader." },
	{ 0x8010000D, "The card is not known." },
	{ 0x8010000E, "The card cannot be disposed of in that way." },
	{ 0x8010000F, "The card does not speak that protocol." },
	{ 0x80100010, "Not ready for commands." },
	{ 0x80100011, "A value is out of range, or the reader has gone." },
	{ 0x80100012, "Ended by the system." },
	{ 0x80100013, "Internal communication failed." },
	{ 0x80100014, "Unknown internal error." },
	{ 0x80100015, "Not an answer to reset." },
	{ 0x80100016, "No transaction is open, or the exchange failed." },
	{ 0x80100017, "The reader cannot be used now." },
	{ 0x80100019, "The receive PCI is too small." },
	{ 0x8010001A, "The reader does not meet the demands." },
	{ 0x8010001B, "The reader's name is taken." },
	{ 0x8010001C, "The card does not meet the demands." },
	{ 0x8010001D, "The smart card service is not running." },
	{ 0x8010001E, "The smart card service speaks another version." },
	{ 0x8010001F, "The reader does not do that." },
	{ 0x8010002E, "There is no reader." },
	{ 0x80100065, "The card's ATR conflicts with the configuration." },
	{ 0x80100066, "The card does not answer." },
	{ 0x80100067, "The card has no power." },
	{ 0x80100068, "The card was reset." },
	{ 0x80100069, "The card was taken out." },
	{ 0x8010006A, "Access is refused." },
};

const char *pcsc_stringify_error(const LONG code) {
	static __thread char text[MAX_TEXT];
	const char *phrase = NULL;
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if ((LONG)phrases[i].code == code)
			phrase = phrases[i].text;
	if (phrase)
		snprintf(text, sizeof(text), "%s", phrase);
	else
		snprintf(text, sizeof(text), "Unknown return code: 0x%08lX", (unsigned long)code);
	return text;
}
