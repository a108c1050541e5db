/* SPDX-License-Identifier: MIT */
/*
 * Models the two structures that ask for a PIN at the reader's keys: how programs write them, what
 * makes no sense in them, what certain readers want otherwise, and how they go to the reader. There
 * is no PIN in either: the reader puts it into the command (the template) by itself.
 *
 * Structures come packed and in little-endian order, the same from 32-bit and 64-bit programs; some
 * programs write big-endian numbers, and give themselves away by the length.
 *
 * The reader would send any command with what people enter at its keys, and so could be made to hand
 * a PIN to a command that stores it or gives it out: only commands that take PINs are let through.
 *
 * Can never happen: bytes read behind `len`; a request with a template other than the program's.
 */
#include "ifdhandler/ccid/pin.h"

#include "ifdhandler/ccid/quirk.h"
#include "wire/bytes.h"

enum {
	/* The structures without the template. */
	VERIFY_FIXED = 19,
	MODIFY_FIXED = 24,
	MIN_APDU = 4,
	/* ISO/IEC 7816-4: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER */
	INS_VERIFY = 0x20,
	INS_CHANGE = 0x24,
	INS_RESET = 0x2c,
	/* bEntryValidationCondition: bits 0 to 2; bit 1 is the key OK. */
	VALIDATION_MAX = 7,
	VALIDATION_KEY = 2,
	/* bNumberMessage */
	MESSAGES_MAX = 3,
	MESSAGES_DEFAULT = 0xff,
	N_INDEXES = 3,
	MAX_POSITION = 255, /* of anything in a short command's data */
};

/* The fields of both structures; what one of them lacks stays 0. */
struct entry {
	uint8_t timeout, format, block, length_format;
	uint8_t old_offset, new_offset;
	uint8_t max, min; /* wPINMaxExtraDigit: low byte, high byte */
	uint8_t confirm, validation, messages;
	uint16_t language;
	uint8_t index[N_INDEXES];
	uint8_t prologue[3];
	const uint8_t *apdu;
	size_t apdu_len;
	unsigned n_indexes; /* that are sent */
};

/* ---- the program's structure ---- */

static uint16_t swap(uint16_t n) {
	return (uint16_t)(n << 8 | n >> 8);
}

static uint32_t get_u32_be(const uint8_t *p) {
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void read_fields(
	enum pin_operation op, struct bytes_reader *r, int big_endian, struct entry *e) {
	int modify = op == PIN_MODIFY;
	e->timeout = bytes_get_u8(r);
	(void)bytes_get_u8(r); /* bTimeOut2 */
	e->format = bytes_get_u8(r);
	e->block = bytes_get_u8(r);
	e->length_format = bytes_get_u8(r);
	if (modify) {
		e->old_offset = bytes_get_u8(r);
		e->new_offset = bytes_get_u8(r);
	}
	uint16_t digits = bytes_get_u16(r);
	digits = big_endian ? swap(digits) : digits;
	e->max = (uint8_t)digits;
	e->min = (uint8_t)(digits >> 8);
	if (modify)
		e->confirm = bytes_get_u8(r);
	e->validation = bytes_get_u8(r);
	e->messages = bytes_get_u8(r);
	e->language = bytes_get_u16(r);
	if (big_endian)
		e->language = swap(e->language);
	for (unsigned i = 0; i < (modify ? N_INDEXES : 1); i++)
		e->index[i] = bytes_get_u8(r);
	for (unsigned i = 0; i < sizeof(e->prologue); i++)
		e->prologue[i] = bytes_get_u8(r);
	(void)bytes_get_u32(r); /* ulDataLength: checked */
	e->apdu_len = bytes_left(r);
	e->apdu = bytes_take(r, e->apdu_len);
}

static enum status read_entry(
	enum pin_operation op, const uint8_t *in, size_t len, struct entry *ret_entry) {
	size_t fixed = op == PIN_MODIFY ? MODIFY_FIXED : VERIFY_FIXED;
	*ret_entry = (struct entry){ 0 };
	if (len < fixed + MIN_APDU)
		return STATUS_INVALID;
	struct bytes_reader length = bytes_reader(in + fixed - 4, 4);
	int little = bytes_get_u32(&length) == len - fixed;
	if (!little && get_u32_be(in + fixed - 4) != len - fixed)
		return STATUS_INVALID;
	struct bytes_reader r = bytes_reader(in, len);
	read_fields(op, &r, !little, ret_entry);
	return STATUS_OK;
}

/* ---- checks ---- */

static int takes_pin(const uint8_t *apdu) {
	return apdu[1] == INS_VERIFY || apdu[1] == INS_CHANGE || apdu[1] == INS_RESET;
}

/* Where the PIN goes in the data of the command, rounded up to bytes: bmFormatString bits 7 to 3. */
static unsigned position(const struct entry *e) {
	unsigned n = e->format >> 3 & 0xf;
	return e->format & 0x80 ? n : (n + 7) / 8;
}

static enum status check(enum pin_operation op, const struct entry *e) {
	unsigned offset = e->old_offset > e->new_offset ? e->old_offset : e->new_offset;
	if (e->apdu_len > PIN_MAX_APDU)
		return STATUS_TOO_LONG;
	if (op == PIN_MODIFY && e->messages > MESSAGES_MAX && e->messages != MESSAGES_DEFAULT)
		return STATUS_INVALID;
	if (position(e) + offset + (e->block & 0xf) > MAX_POSITION || e->min > e->max)
		return STATUS_INVALID;
	return takes_pin(e->apdu) ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* ---- what readers want otherwise ---- */

/* Some readers crash with values that do not exist. */
static void mend_validation(const struct pin_rules *rules, struct entry *e) {
	if (e->validation == 0 || e->validation > VALIDATION_MAX)
		e->validation = VALIDATION_KEY;
	if (quirk_has(rules->quirks, QUIRK_PIN_ONE_MESSAGE))
		e->validation = VALIDATION_KEY;
	uint8_t known = rules->validation & VALIDATION_MAX;
	if (known)
		e->validation = e->validation & known ? e->validation & known : known;
}

static void adapt_verify(const struct quirks *quirks, struct entry *e) {
	e->n_indexes = 1;
	if (quirk_has(quirks, QUIRK_PIN_ONE_MESSAGE))
		e->messages = 1;
	if (quirk_has(quirks, QUIRK_PIN_NO_MESSAGE))
		e->messages = 0;
	if (quirk_has(quirks, QUIRK_PIN_SWAP_DIGITS)) {
		uint8_t max = e->max;
		e->max = e->min;
		e->min = max;
	}
}

/* CCID 1.10 6.1.12: bMsgIndex2 and bMsgIndex3 are only there where there are such messages. */
static void adapt_modify(const struct pin_rules *rules, struct entry *e) {
	const struct quirks *quirks = rules->quirks;
	if (quirk_has(quirks, QUIRK_PIN_THREE_MESSAGES))
		e->messages = MESSAGES_MAX;
	if (quirk_has(quirks, QUIRK_PIN_DEFAULT_MESSAGES) && e->messages == 0)
		e->messages = MESSAGES_DEFAULT;
	e->n_indexes = e->messages == 0 ? 1 : e->messages < MESSAGES_MAX ? 2 : N_INDEXES;
	if (rules->all_indexes || quirk_has(quirks, QUIRK_PIN_ALL_INDEXES))
		e->n_indexes = N_INDEXES;
	if (!quirk_has(quirks, QUIRK_PIN_ZERO_INDEXES))
		return;
	e->n_indexes = N_INDEXES;
	e->messages = 0;
	memset(e->index, 0, sizeof(e->index));
}

/* ---- the reader's structure ---- */

static void put_entry(enum pin_operation op, const struct entry *e, struct bytes_writer *w,
	struct pin_request *ret) {
	int modify = op == PIN_MODIFY;
	bytes_put_u8(w, (uint8_t)op);
	bytes_put_u8(w, e->timeout);
	bytes_put_u8(w, e->format);
	bytes_put_u8(w, e->block);
	bytes_put_u8(w, e->length_format);
	if (modify) {
		bytes_put_u8(w, e->old_offset);
		bytes_put_u8(w, e->new_offset);
	}
	bytes_put_u8(w, e->max);
	bytes_put_u8(w, e->min);
	if (modify)
		bytes_put_u8(w, e->confirm);
	bytes_put_u8(w, e->validation);
	bytes_put_u8(w, e->messages);
	bytes_put_u16(w, e->language);
	bytes_put_data(w, e->index, e->n_indexes);
	ret->prologue = bytes_written(w);
	bytes_put_data(w, e->prologue, sizeof(e->prologue));
	ret->apdu = bytes_written(w);
	bytes_put_data(w, e->apdu, e->apdu_len);
	ret->len = bytes_written(w);
}

enum status pin_translate(enum pin_operation op, const struct pin_rules *rules, const uint8_t *in,
	size_t len, struct pin_request *ret_request) {
	struct entry e;
	*ret_request = (struct pin_request){ 0 };
	enum status status = read_entry(op, in, len, &e);
	if (status == STATUS_OK)
		status = check(op, &e);
	if (status != STATUS_OK)
		return status;
	mend_validation(rules, &e);
	if (op == PIN_MODIFY)
		adapt_modify(rules, &e);
	else
		adapt_verify(rules->quirks, &e);
	struct bytes_writer w = bytes_writer(ret_request->bytes, sizeof(ret_request->bytes));
	put_entry(op, &e, &w, ret_request);
	ret_request->seconds = e.timeout;
	ret_request->unpadded = op == PIN_VERIFY && e.block == 0 && e.apdu_len == MIN_APDU &&
		quirk_has(rules->quirks, QUIRK_PIN_UNPADDED_ESCAPE);
	return w.failed || ret_request->len > rules->room ? STATUS_TOO_LONG : STATUS_OK;
}
