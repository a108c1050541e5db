/* SPDX-License-Identifier: MIT */
/*
 * Any structure for PIN entry, for any reader: byte 0 is the operation, bytes 1 and 2 the reader's
 * rules, byte 3 the conditions it knows, and the rest comes from the program. Wanted: the program's
 * command, whole and at the end, and nothing that makes readers crash.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/pin.h"
#include "ifdhandler/ccid/quirk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READER = 4 };

static void check(int ok) {
	if (!ok)
		abort();
}

/* A bit for each word. */
static void make_quirks(unsigned bits, struct quirks *quirks) {
	static const char *const words[] = { "pin-one-message ", "pin-all-indexes ",
		"pin-no-message ", "pin-swap-digits ", "pin-unpadded-escape ", "pin-zero-indexes ",
		"pin-three-messages ", "pin-default-messages " };
	char text[256] = "";
	for (unsigned i = 0; i < 8; i++)
		if (bits >> i & 1)
			strcat(text, words[i]);
	quirk_parse(text, quirks);
}

static void check_request(
	enum pin_operation op, const struct pin_request *r, const uint8_t *in, size_t len) {
	const uint8_t *apdu = r->bytes + r->apdu;
	size_t n = len - (op == PIN_MODIFY ? 24 : 19);
	check(r->len <= sizeof(r->bytes) && r->apdu + n == r->len && n >= 4 && n <= PIN_MAX_APDU);
	check(memcmp(apdu, in + len - n, n) == 0 && r->prologue + 3 == r->apdu);
	check(apdu[1] == 0x20 || apdu[1] == 0x24 || apdu[1] == 0x2c);
	check(r->bytes[0] == op && r->bytes[1] == in[0] && r->seconds == in[0]);
	uint8_t validation = r->bytes[op == PIN_MODIFY ? 10 : 7];
	uint8_t number = r->bytes[op == PIN_MODIFY ? 11 : 8];
	check(validation >= 1 && validation <= 7);
	if (op == PIN_MODIFY)
		check((number <= 3 || number == 0xff) && r->prologue >= 15 && r->prologue <= 17);
	else
		check(r->prologue == 12);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct quirks quirks;
	struct pin_request request;
	if (size < READER)
		return 0;
	make_quirks(data[1], &quirks);
	struct pin_rules rules = {
		.quirks = &quirks,
		.all_indexes = data[2] & 1,
		.validation = data[3],
		.room = data[2] & 2 ? 40 : 1000,
	};
	enum pin_operation op = data[0] & 1 ? PIN_MODIFY : PIN_VERIFY;
	size_t len = size - READER;
	enum status status = pin_translate(op, &rules, data + READER, len, &request);
	if (status == STATUS_OK) {
		check(request.len <= rules.room);
		check_request(op, &request, data + READER, len);
	}
	return 0;
}
