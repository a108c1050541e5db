/* SPDX-License-Identifier: MIT */
/*
 * The PIN pad of an emulated reader: Secure (CCID 1.10 6.1.11) with a user who follows a script.
 *
 * The template is filled with what the user types and goes to the card as an XfrBlock would, at the
 * level of the reader. Everything that the structure can say wrong is a violation; where a product
 * wants it otherwise, its model says so. What the user types is seen by the card alone.
 */
#include <errno.h>
#include <string.h>

#include "tests/model/reader-state.h"
#include "tests/model/text.h"

/* bPINOperation; those of PACE are TR-03119's. */
enum {
	OPERATION_VERIFY = 0x00,
	OPERATION_MODIFY = 0x01,
	OPERATION_CANCEL = 0x04,
	OPERATION_PACE_CAPABILITIES = 0x10,
	OPERATION_PACE_ESTABLISH = 0x20,
	OPERATION_PACE_DESTROY = 0x30,
};

enum {
	/* bEntryValidationCondition (CCID 1.10 6.1.11.1) */
	VALID_MAXIMUM = 1,
	VALID_KEY = 2,
	VALID_TIMEOUT = 4,
	/* the status words of the reader itself (PC/SC part 10 2.5.2) */
	SW_DIFFERENT = 0x6402,
	SW_LENGTH = 0x6403,
	SW_STRUCTURE = 0x6b80,
	/* what the user's ways out are, beside status words */
	WAY_OK = 0,
	WAY_CANCEL = 1,
	WAY_TIMEOUT = 2,
	/* bPINOperation is at this offset of the message: fields that are wrong count from its
	 * start */
	FIRST_OFFSET = READER_HEADER,
	MAX_TEMPLATE = 262,
};

/* A PIN structure, taken apart. */
struct secure {
	int modify;
	uint8_t timeout, format, block, length_format;
	uint8_t offset_old, offset_new, max, min, confirm, validation, number;
	const uint8_t *prologue, *template;
	size_t template_len;
};

/* What the user has typed. */
struct entry {
	char digits[PIN_MAX_DIGITS + 1];
	size_t len;
};

int reader_pin(struct reader *reader, char *text) {
	static const char *const names[] = { "ok", "cancel", "timeout", "clear", "back" };
	static const char codes[] = "oxtcb";
	unsigned ms = 20; /* chosen: much faster than a user */
	size_t n = 0;
	char *rest = text;
	struct reader_key keys[PIN_MAX_KEYS];
	for (const char *word; (word = text_word(&rest));) {
		char code = 0;
		if (!strncmp(word, "ms=", 3)) {
			if (text_number(word + 3, 600000, &ms))
				return -EINVAL;
			continue;
		}
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			if (!strcmp(word, names[i]))
				code = codes[i];
		size_t len = code ? 1 : strlen(word);
		if (n + len > PIN_MAX_KEYS || (!code && strspn(word, "0123456789") != len))
			return -EINVAL;
		for (size_t i = 0; i < len; i++)
			keys[n++] = (struct reader_key){ .code = code ? code : word[i], .ms = ms };
	}
	memcpy(reader->keys, keys, n * sizeof *keys);
	reader->n_keys = n;
	reader->key_pos = 0;
	return 0;
}

/* Takes a structure apart. 0, or the offset of what is wrong. */
static uint8_t parse(
	const struct model_pin *pin, const struct command *command, struct secure *ret_secure) {
	const uint8_t *d = command->data;
	struct secure s = { .modify = d[0] == OPERATION_MODIFY };
	size_t at = s.modify ? 15 : 12;
	if (command->len < at + 3 + 4)
		return ERROR_LENGTH;
	s.timeout = d[1];
	s.format = d[2];
	s.block = d[3];
	s.length_format = d[4];
	const uint8_t *limits = d + (s.modify ? 7 : 5);
	s.max = limits[pin->swapped ? 1 : 0];
	s.min = limits[pin->swapped ? 0 : 1];
	s.validation = d[s.modify ? 10 : 7];
	s.number = d[s.modify ? 11 : 8];
	if (s.modify) {
		s.offset_old = d[5];
		s.offset_new = d[6];
		s.confirm = d[9];
		/* bMsgIndex2 and 3 (CCID 1.10 6.1.11.2) */
		at += s.number || pin->all_indexes ? 1 : 0;
		at += s.number >= 3 || pin->all_indexes ? 1 : 0;
	}
	if (command->len < at + 3 + 4)
		return ERROR_LENGTH;
	s.prologue = d + at;
	s.template = d + at + 3;
	s.template_len = command->len - at - 3;
	*ret_secure = s;
	return 0;
}

/* The number of bytes that the template has is one that an APDU can have. */
static int template_fits(const struct secure *s) {
	size_t lc = s->template_len > 4 ? s->template[4] : 0;
	return s->template_len <= MAX_TEMPLATE &&
		(s->template_len <= 5 || s->template_len == 5 + lc || s->template_len == 6 + lc);
}

/* Fields that no PIN pad takes: 0, or the offset of the first. */
static uint8_t check_fields(
	struct reader *reader, const struct model_pin *pin, const struct secure *s) {
	const int number = s->modify ? pin->modify_number : pin->verify_number;
	const struct {
		int wrong;
		uint8_t at;
		const char *what;
	} checks[] = {
		{ (s->format & 3) == 3, 2, "bmFormatString" },
		{ s->length_format & 0xe0, 4, "bmPINLengthFormat" },
		{ s->min > s->max, s->modify ? 7 : 5, "wPINMaxExtraDigit" },
		{ s->modify && s->confirm > 3, 9, "bConfirmPIN" },
		{ !s->validation || s->validation > 7 || s->validation & ~pin->validation,
			s->modify ? 10 : 7, "bEntryValidationCondition" },
		{ s->number != 0xff && s->number > (s->modify ? 3 : 1), s->modify ? 11 : 8,
			"bNumberMessage" },
		{ number >= 0 && s->number != number, s->modify ? 11 : 8, "this bNumberMessage" },
		{ !template_fits(s), s->modify ? 15 : 12, "template" },
	};
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
		if (checks[i].wrong) {
			reader_violation(reader, "Secure: %s", checks[i].what);
			return (uint8_t)(FIRST_OFFSET + checks[i].at);
		}
	return 0;
}

/* T=1 TPDUs: bTeoPrologue is the head of the block that is to go (CCID 1.10 6.1.11.1). */
static void check_prologue(
	struct reader *reader, const struct reader_slot *slot, const struct secure *s) {
	const uint8_t want[3] = { 0, (uint8_t)(slot->card->t1.expect << 6),
		(uint8_t)s->template_len };
	if (memcmp(want, s->prologue, sizeof want) != 0)
		reader_violation(reader, "bTeoPrologue %02x %02x %02x, not %02x %02x %02x",
			s->prologue[0], s->prologue[1], s->prologue[2], want[0], want[1], want[2]);
}

/* The next key, and when: NULL, the user has gone. */
static const struct reader_key *next_key(struct reader *reader, uint64_t *us) {
	if (reader->key_pos == reader->n_keys)
		return NULL;
	const struct reader_key *key = &reader->keys[reader->key_pos++];
	*us += (uint64_t)key->ms * 1000;
	if (reader->n_pressed < PIN_MAX_KEYS)
		reader->pressed[reader->n_pressed++] = *us;
	return key;
}

/* One PIN is typed. WAY_…, or a status word. */
static unsigned enter(struct reader *reader, const struct model_pin *pin, const struct secure *s,
	struct entry *ret_entry, uint64_t *us) {
	size_t max = s->max ? s->max : PIN_MAX_DIGITS;
	struct entry *e = ret_entry;
	e->len = 0;
	for (;;) {
		if ((s->validation & VALID_MAXIMUM) && e->len >= max)
			break;
		const struct reader_key *key = next_key(reader, us);
		if (!key)
			*us += (uint64_t)(s->timeout ? s->timeout : pin->timeout_s) * 1000000;
		if (!key || key->code == 't') {
			if (s->validation & VALID_TIMEOUT)
				break;
			return WAY_TIMEOUT;
		}
		if (key->code == 'x')
			return WAY_CANCEL;
		if (key->code == 'o' && (s->validation & VALID_KEY))
			break;
		if (key->code == 'c')
			e->len = 0;
		else if (key->code == 'b' && e->len)
			e->len--;
		else if (key->code >= '0' && key->code <= '9' && e->len < PIN_MAX_DIGITS)
			e->digits[e->len++] = key->code;
	}
	e->digits[e->len] = 0;
	return e->len < s->min || e->len > max ? SW_LENGTH : WAY_OK;
}

/* Puts the lowest `n` bits of `value` at bit `at` of the area, first bit first. */
static void put_bits(uint8_t *area, size_t at, unsigned n, unsigned value) {
	for (unsigned i = 0; i < n; i++, at++) {
		uint8_t bit = (uint8_t)(0x80 >> at % 8);
		if (value >> (n - 1 - i) & 1)
			area[at / 8] |= bit;
		else
			area[at / 8] &= (uint8_t)~bit;
	}
}

/* The command that comes of the template. */
struct filled {
	uint8_t apdu[MAX_TEMPLATE + 255];
	size_t nc;
	int has_le;
	uint8_t le;
};

static void fill_start(const struct secure *s, struct filled *ret_filled) {
	size_t lc = s->template_len > 4 ? s->template[4] : 0;
	memset(ret_filled->apdu, 0xff, sizeof ret_filled->apdu);
	memcpy(ret_filled->apdu, s->template, s->template_len);
	ret_filled->nc = lc;
	ret_filled->has_le = s->template_len > 5 && s->template_len == 6 + lc;
	ret_filled->le = ret_filled->has_le ? s->template[5 + lc] : 0;
	if (ret_filled->has_le)
		ret_filled->apdu[5 + lc] = 0xff;
}

/* Puts one PIN where the template wants it. 0, or a status word. */
static unsigned fill(
	const struct secure *s, const struct entry *e, unsigned offset, struct filled *filled) {
	static const uint8_t widths[3] = { 8, 4, 8 }; /* binary, BCD, ASCII */
	const unsigned form = s->format & 3, width = widths[form];
	size_t at = s->format >> 3 & 15, pin_bits = e->len * width;
	size_t block_bits = (s->block & 15) ? (s->block & 15) * 8u : (pin_bits + 7) / 8 * 8;
	at = (s->format & 0x80 ? at * 8 : at) + offset * 8;
	size_t end = (at + block_bits + 7) / 8;
	uint8_t *area = filled->apdu + 5;
	if (pin_bits > block_bits)
		return SW_LENGTH;
	if (end > 255)
		return SW_STRUCTURE;
	/* a block as long as the PIN, or a template without data: the command grows */
	if (end > filled->nc && (s->block & 15) && s->template_len > 4)
		return SW_STRUCTURE;
	if (end > filled->nc || !(s->block & 15))
		filled->nc = end;
	if (s->format & 4)
		at += block_bits - pin_bits;
	for (size_t i = 0; i < e->len; i++)
		put_bits(area, at + i * width, width,
			form == 2 ? (unsigned)e->digits[i] : (unsigned)(e->digits[i] - '0'));
	unsigned length_bits = s->block >> 4;
	size_t length_at = s->length_format & 15;
	length_at = (s->length_format & 0x10 ? length_at * 8 : length_at) + offset * 8;
	if (length_bits && (length_at + length_bits + 7) / 8 > filled->nc)
		return SW_STRUCTURE;
	put_bits(area, length_at, length_bits, (unsigned)e->len);
	return 0;
}

/* The user's part: WAY_…, or a status word; the command is filled with what was typed. */
static unsigned dialogue(struct reader *reader, const struct model_pin *pin, const struct secure *s,
	struct filled *ret_filled, uint64_t *us) {
	struct entry old = { .len = 0 }, new = { .len = 0 }, again;
	unsigned way = WAY_OK;
	if (s->modify && (s->confirm & 2))
		way = enter(reader, pin, s, &old, us);
	if (!way)
		way = enter(reader, pin, s, &new, us);
	if (!way && s->modify && (s->confirm & 1)) {
		way = enter(reader, pin, s, &again, us);
		if (!way && strcmp(new.digits, again.digits) != 0)
			way = SW_DIFFERENT;
	}
	fill_start(s, ret_filled);
	if (!way && s->modify && (s->confirm & 2))
		way = fill(s, &old, s->offset_old, ret_filled);
	if (!way)
		way = fill(s, &new, s->modify ? s->offset_new : 0, ret_filled);
	memset(&old, 0, sizeof old);
	memset(&new, 0, sizeof new);
	return way;
}

static void fail(struct answer *answer, const struct reader_slot *slot, uint8_t error) {
	answer->status = (uint8_t)(0x40 | ccid_icc(slot));
	answer->error = error;
	answer->len = 0;
}

/* Two bytes that the reader makes up. */
static void made_up(struct answer *answer, struct reader_slot *slot, unsigned sw) {
	slot->reply.len = 0;
	card_reply_sw(&slot->reply, sw);
	answer->status = 0;
	answer->data = slot->reply.data;
	answer->len = slot->reply.len;
}

static void enter_pin(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct secure *s, struct answer *answer) {
	const struct model_pin *pin = &itf->model->pin;
	struct filled filled;
	uint64_t us = 0;
	reader->n_pressed = 0;
	unsigned way = dialogue(reader, pin, s, &filled, &us);
	answer->delay_us += us;
	if (pin->key_extension) {
		answer->signs = reader->pressed;
		answer->n_signs = reader->n_pressed;
	}
	switch (way) {
	case WAY_CANCEL: fail(answer, slot, ERROR_PIN_CANCELLED); return;
	case WAY_TIMEOUT: fail(answer, slot, ERROR_PIN_TIMEOUT); return;
	case WAY_OK: break;
	default: made_up(answer, slot, way); return;
	}
	size_t len = 4;
	if (filled.nc) {
		filled.apdu[4] = (uint8_t)filled.nc;
		len = 5 + filled.nc;
	}
	if (filled.has_le)
		filled.apdu[len++] = filled.le;
	exchange_secured(reader, itf, slot, s->prologue, filled.apdu, len, answer);
	memset(&filled, 0, sizeof filled);
}

static void pin_structure(struct reader *reader, struct reader_interface *itf,
	struct reader_slot *slot, const struct command *command, struct answer *answer) {
	const struct model_interface *model = itf->model;
	const struct model_pin *pin = &model->pin;
	struct secure s;
	uint8_t wrong = parse(pin, command, &s);
	if (wrong)
		reader_violation(reader, "Secure with %zu bytes", command->len);
	else
		wrong = check_fields(reader, pin, &s);
	if (wrong) {
		fail(answer, slot, wrong);
		return;
	}
	const struct model_raw *before = &pin->case1_escape;
	if (before->len && s.template_len == 4 &&
		(itf->last_escape.len != before->len ||
			memcmp(itf->last_escape.bytes, before->bytes, before->len) != 0))
		reader_violation(reader, "Secure without Lc, and without the Escape before it");
	if (pin->settle_ms && command->now - itf->last_at < (uint64_t)pin->settle_ms * 1000)
		reader_violation(reader, "Secure sooner than %u ms", pin->settle_ms);
	if (exchange_is_t1_tpdu(model, slot))
		check_prologue(reader, slot, &s);
	enter_pin(reader, itf, slot, &s, answer);
}

/* PACE as an echo: result 0, and the capabilities or what was sent (TR-03119 D.1). */
static void pace(const struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	uint8_t *out = slot->reply.data;
	const uint8_t bitmap = (uint8_t)itf->model->pin.pace, *data = command->data + 1;
	size_t n = command->len - 1;
	if (itf->model->pin.pace < 0) {
		fail(answer, slot, FIRST_OFFSET);
		return;
	}
	if (command->data[0] == OPERATION_PACE_CAPABILITIES) {
		data = &bitmap;
		n = 1;
	} else if (command->data[0] == OPERATION_PACE_DESTROY) {
		n = 0;
	}
	memset(out, 0, 4);
	out[4] = (uint8_t)n;
	out[5] = (uint8_t)(n >> 8);
	if (n)
		memcpy(out + 6, data, n);
	answer->status = ccid_icc(slot);
	answer->data = out;
	answer->len = 6 + n;
}

void secure_message(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	const struct model_pin *pin = &itf->model->pin;
	unsigned operation = command->len ? command->data[0] : 0xff;
	if (operation == OPERATION_PACE_CAPABILITIES || operation == OPERATION_PACE_ESTABLISH ||
		operation == OPERATION_PACE_DESTROY) {
		pace(itf, slot, command, answer);
		return;
	}
	if (operation <= OPERATION_MODIFY && !(pin->support >> operation & 1)) {
		reader_violation(reader, "Secure %u, bPINSupport %u", operation, pin->support);
		fail(answer, slot, ERROR_UNSUPPORTED);
	} else if (operation == OPERATION_CANCEL && pin->support) {
		answer->status = ccid_icc(slot);
	} else if (operation > OPERATION_MODIFY) {
		fail(answer, slot, FIRST_OFFSET);
	} else if (!slot->card || !slot->powered) {
		if (!slot->lost)
			reader_violation(reader, "Secure to a card without power");
		fail(answer, slot, ERROR_MUTE);
	} else if (command->bytes[8] || command->bytes[9]) {
		reader_violation(reader, "Secure with wLevelParameter %02x%02x", command->bytes[9],
			command->bytes[8]);
		fail(answer, slot, ERROR_LEVEL);
	} else {
		pin_structure(reader, itf, slot, command, answer);
	}
}
