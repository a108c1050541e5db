/* SPDX-License-Identifier: MIT */
/*
 * Models PACE at the reader (PC/SC part 10 amendment 1; BSI TR-03119): the secret is entered at the
 * reader's keys, and the reader agrees upon a channel with the card. Here only lengths are looked at:
 * what is inside of them is between program and reader.
 *
 * A program's request is a function, a length of two bytes and that many bytes; its answer is a result
 * of four bytes, a length of two bytes and that many bytes. The reader knows the two functions as PIN
 * operations 10h and 20h, with the bytes alone.
 */
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "wire/bytes.h"

enum {
	IN_HEADER = 3,
	OUT_HEADER = 6,
	/* idxFunction */
	GET_CAPABILITIES = 1,
	ESTABLISH_CHANNEL = 2,
	/* bPINOperation */
	OP_CAPABILITIES = 0x10,
	OP_ESTABLISH = 0x20,
	SUPPORT = OP_CAPABILITIES | OP_ESTABLISH, /* bPINSupport */
	/* People need time: as for PINs. */
	PACE_USEC = 90000000,
};

/* Result codes of the amendment: no error; broken off by the user, or not begun in time. */
#define RESULT_OK           UINT32_C(0)
#define RESULT_USER_ABORT   UINT32_C(0xf0200001)
#define RESULT_USER_TIMEOUT UINT32_C(0xf0200002)

int ccid_pace_support(const struct ccid_slot *slot) {
	/* Below, the card's protocol is driven from here, and the reader cannot talk to it alone. */
	int by_apdu = slot->interface->level == CCID_LEVEL_SHORT ||
		slot->interface->level == CCID_LEVEL_EXTENDED;
	return by_apdu &&
		(quirk_has(&slot->driver->quirks, QUIRK_PACE) ||
			(slot->interface->pin_support & SUPPORT));
}

static void answer(struct ccid_slot *slot, uint32_t result, const uint8_t *data, size_t len) {
	uint8_t *out = len <= UINT16_MAX ? malloc(OUT_HEADER + len) : NULL;
	if (!out) {
		ccid_slot_fail(slot, len <= UINT16_MAX ? STATUS_NO_MEMORY : STATUS_EXCHANGE_FAILED);
		return;
	}
	struct bytes_writer w = bytes_writer(out, OUT_HEADER + len);
	bytes_put_u32(&w, result);
	bytes_put_u16(&w, (uint16_t)len);
	if (len)
		bytes_put_data(&w, data, len);
	ccid_slot_end(slot, &(struct driver_result){ .data = out, .len = OUT_HEADER + len });
	explicit_bzero(out, OUT_HEADER + len);
	free(out);
}

static void on_pace(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply)
		ccid_slot_fail(slot, ccid_status_of_error(slot, error));
	else if (reply->outcome == CCID_DONE)
		answer(slot, RESULT_OK, reply->data, reply->len);
	else if (reply->error == CCID_ERROR_PIN_CANCELLED)
		answer(slot, RESULT_USER_ABORT, NULL, 0);
	else if (reply->error == CCID_ERROR_PIN_TIMEOUT)
		answer(slot, RESULT_USER_TIMEOUT, NULL, 0);
	else
		ccid_slot_fail(slot, exchange_status(reply));
}

/* PinID, then CHAT and PIN with a length of one byte, the certificate's description with one of two. */
static int is_channel_request(const uint8_t *data, size_t len) {
	struct bytes_reader r = bytes_reader(data, len);
	(void)bytes_get_u8(&r);
	(void)bytes_take(&r, bytes_get_u8(&r));
	(void)bytes_take(&r, bytes_get_u8(&r));
	if (!r.failed && bytes_left(&r) == 0)
		return 1; /* the description may be left out */
	(void)bytes_take(&r, bytes_get_u16(&r));
	return !r.failed && bytes_left(&r) == 0;
}

static enum status check(const struct ccid_slot *slot, const struct driver_bytes *in) {
	if (in->len < IN_HEADER || in->len - IN_HEADER != ((size_t)in->data[2] << 8 | in->data[1]))
		return STATUS_INVALID;
	size_t len = in->len - IN_HEADER;
	if (1 + len > slot->interface->message_length - CCID_MSG_HEADER)
		return STATUS_TOO_LONG;
	switch (in->data[0]) {
	case GET_CAPABILITIES: return STATUS_OK;
	case ESTABLISH_CHANNEL:
		if (!is_channel_request(in->data + IN_HEADER, len))
			return STATUS_INVALID;
		return slot->present ? STATUS_OK : STATUS_NO_CARD;
	default: return STATUS_UNSUPPORTED;
	}
}

void ccid_pace(struct ccid_slot *slot, const struct driver_bytes *in) {
	enum status status = check(slot, in);
	if (status != STATUS_OK) {
		ccid_slot_fail(slot, status);
		return;
	}
	size_t len = in->len - IN_HEADER;
	slot->lent = malloc(1 + len); /* until ccid_slot_end */
	if (!slot->lent) {
		ccid_slot_fail(slot, STATUS_NO_MEMORY);
		return;
	}
	slot->lent_len = 1 + len;
	slot->lent[0] = in->data[0] == GET_CAPABILITIES ? OP_CAPABILITIES : OP_ESTABLISH;
	if (len)
		memcpy(slot->lent + 1, in->data + IN_HEADER, len);
	struct ccid_request request = ccid_msg_secure(slot->lent, slot->lent_len);
	ccid_slot_ask(slot, &request, PACE_USEC, on_pace);
}
