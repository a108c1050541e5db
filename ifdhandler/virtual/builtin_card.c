/* SPDX-License-Identifier: MIT */
/*
 * The builtin card: a card made of software, for people who want to try a reader without having
 * one, and for tests. It keeps what it says: security conditions are checked, tries are counted
 * before the comparison, and nothing answers 9000 that was not done. It answers to reset as a MyEID
 * card and knows that card's data objects, because programs choose their driver by the ATR; it has
 * no private keys and says so (card capabilities).
 *
 * Commands: SELECT, READ BINARY, UPDATE BINARY, VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER,
 * GET CHALLENGE, GET DATA, and MyEID's logout (2E); short and extended length, no chaining, no
 * secure messaging, basic channel only. All clauses below are of ISO/IEC 7816-4:2005.
 *
 * Files are constants (builtin_files.c) but for the scratch file, which lives here, as PINs,
 * counters and the selected file do: as long as `struct builtin_card`, and no longer.
 */
#include "ifdhandler/virtual/builtin_card.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ifdhandler/virtual/builtin_command.h"
#include "ifdhandler/virtual/builtin_files.h"
#include "ifdhandler/virtual/builtin_pin.h"
#include "wire/bytes.h"

enum {
	FILE_NONE = -1,
	FILE_MF = 0,
	ID_MF = 0x3F00, /* 5.3.1.1 */
};

struct builtin_card {
	int dir;  /* selected DF: index in builtin_files */
	int file; /* selected EF, or FILE_NONE */
	struct builtin_pin pins[BUILTIN_N_PINS];
	uint8_t scratch[BUILTIN_SCRATCH_SIZE];
};

/* TS, T0 F5 (TA1 to TD1, 5 historical bytes), TA1 18, TB1, TC1, TD1 81 (T=1), TD2 31, TA3 FE
 * (IFSC), TB3 45 (waiting times), "MyEID", TCK. */
const uint8_t builtin_card_atr[BUILTIN_CARD_ATR_LEN] = { 0x3B, 0xF5, 0x18, 0x00, 0x00, 0x81, 0x31,
	0xFE, 0x45, 'M', 'y', 'E', 'I', 'D', 0x9A };

/* MyEID's GET DATA 01A0: five bytes unknown to us, version 4.0.0, serial number (as in TokenInfo),
 * change counter. 01AA: structure version 1, then 16 bits each: features, longest RSA, DES, AES
 * and ECC key. No features, no keys. */
static const uint8_t applet_info[] = { 0, 0, 0, 0, 0, 4, 0, 0, 'I', 'F', 'D', 'H', '0', '0', '0',
	'0', '0', '1', 0, 0 };
static const uint8_t capabilities[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

int builtin_card_new(struct builtin_card **ret_card) {
	struct builtin_card *card = calloc(1, sizeof(*card));
	if (!card)
		return -ENOMEM;
	builtin_pin_init(card->pins);
	builtin_card_reset(card);
	*ret_card = card;
	return 0;
}

void builtin_card_free(struct builtin_card *card) {
	if (!card)
		return;
	explicit_bzero(card, sizeof(*card));
	free(card);
}

void builtin_card_reset(struct builtin_card *card) {
	builtin_pin_forget(card->pins, 0);
	card->dir = FILE_MF;
	card->file = FILE_NONE;
}

static int allowed(const struct builtin_card *card, enum builtin_access access) {
	return access == BUILTIN_ALWAYS ||
		(access == BUILTIN_PIN && builtin_pin_is_verified(card->pins));
}

/* Gives what is complete and small: all of it, or the right Le. Without Le it is not wanted. */
static unsigned give(const struct builtin_command *c, struct bytes_writer *out, const uint8_t *data,
	size_t len) {
	if (c->le == 0)
		return SW_OK;
	if (c->le < len)
		return (unsigned)(SW_WRONG_LE | len);
	bytes_put_data(out, data, len);
	return out->failed ? SW_FAILED : SW_OK;
}

/* The file `id` directly in `dir`, or FILE_NONE. */
static int child(int dir, unsigned id) {
	for (int i = FILE_MF + 1; i < BUILTIN_N_FILES; i++)
		if (builtin_files[i].parent == dir && builtin_files[i].id == id)
			return i;
	return FILE_NONE;
}

static int by_name(const uint8_t *name, size_t len) {
	for (int i = 0; i < BUILTIN_N_FILES; i++) {
		const struct builtin_file *f = &builtin_files[i];
		/* The name may be cut on the right (7.1.1). */
		if (f->aid && len > 0 && len <= f->aid_len && memcmp(f->aid, name, len) == 0)
			return i;
	}
	return FILE_NONE;
}

static int by_path(int dir, const uint8_t *path, size_t len) {
	int i = dir;
	for (size_t at = 0; at < len; at += 2) {
		if (i == FILE_NONE || !builtin_files[i].is_df)
			return FILE_NONE;
		i = child(i, (unsigned)path[at] << 8 | path[at + 1]);
	}
	return i;
}

/* P1 = 00: children of the current DF, itself, its parent, its parent's children (7.1.1). */
static int by_id(int dir, unsigned id) {
	int parent = builtin_files[dir].parent;
	if (id == ID_MF)
		return FILE_MF;
	int i = child(dir, id);
	if (i == FILE_NONE && builtin_files[dir].id == id)
		return dir;
	if (i == FILE_NONE && builtin_files[parent].id == id)
		return parent;
	return i == FILE_NONE ? child(parent, id) : i;
}

/* Finds what a SELECT names: its index, FILE_NONE, or minus the status word. */
static int find(const struct builtin_card *card, const struct builtin_command *c) {
	unsigned id = c->lc == 2 ? (unsigned)c->data[0] << 8 | c->data[1] : 0;
	int i;
	switch (c->p1) {
	case 0x00:
		if (c->lc == 0)
			return FILE_MF;
		return c->lc == 2 ? by_id(card->dir, id) : -SW_LC_P1P2;
	case 0x01: /* child DF */
	case 0x02: /* EF under the current DF */
		if (c->lc != 2)
			return -SW_LC_P1P2;
		i = child(card->dir, id);
		return i != FILE_NONE && builtin_files[i].is_df == (c->p1 == 0x01) ? i : FILE_NONE;
	case 0x03: return c->lc == 0 ? builtin_files[card->dir].parent : -SW_LC_P1P2;
	case 0x04: return by_name(c->data, c->lc);
	case 0x08:
	case 0x09:
		if (c->lc == 0 || c->lc % 2)
			return -SW_LC_P1P2;
		return by_path(c->p1 == 0x08 ? FILE_MF : card->dir, c->data, c->lc);
	default: return -SW_BAD_P1P2;
	}
}

/* File control information (5.3.3), with MyEID's coding of the access rules in tag 86: a nibble
 * each for read and update (DF: create twice), then delete, then nobody. */
static size_t control_information(
	const struct builtin_file *f, uint8_t tag, uint8_t *buf, size_t max) {
	struct bytes_writer w = bytes_writer(buf, max);
	const uint8_t size[] = { 0x80, 2, (uint8_t)(f->size >> 8), (uint8_t)f->size };
	/* 01: transparent EF, 38: DF; 8A: activated */
	const uint8_t common[] = { 0x82, 1, f->is_df ? 0x38 : 0x01, 0x83, 2, (uint8_t)(f->id >> 8),
		(uint8_t)f->id, 0x86, 3,
		f->is_df ? 0xFF : (uint8_t)((unsigned)f->read << 4 | (unsigned)f->update), 0xFF,
		0xFF, 0x8A, 1, 0x05 };
	const uint8_t sfi[] = { 0x88, 1, (uint8_t)(f->sfi << 3) };
	const uint8_t name[] = { 0x84, (uint8_t)f->aid_len };

	bytes_put_u8(&w, tag);
	bytes_put_u8(&w, 0);
	if (!f->is_df)
		bytes_put_data(&w, size, sizeof(size));
	bytes_put_data(&w, common, sizeof(common));
	if (f->sfi)
		bytes_put_data(&w, sfi, sizeof(sfi));
	if (f->aid) {
		bytes_put_data(&w, name, sizeof(name));
		bytes_put_data(&w, f->aid, f->aid_len);
	}
	assert(!w.failed && bytes_written(&w) < 130); /* one byte of length is enough */
	buf[1] = (uint8_t)(bytes_written(&w) - 2);
	return bytes_written(&w);
}

static unsigned do_select(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	uint8_t answer = c->p2 & 0x0C; /* 00 FCI, 04 FCP, 08 FMD (there is none), 0C nothing */
	if ((c->p2 & ~0x0C) || answer == 0x08)
		return SW_BAD_P1P2;
	int found = find(card, c);
	if (found == FILE_NONE)
		return SW_NOT_FOUND;
	if (found < 0)
		return (unsigned)-found;

	const struct builtin_file *f = &builtin_files[found];
	uint8_t fci[64];
	size_t len = control_information(f, answer == 0x04 ? 0x62 : 0x6F, fci, sizeof(fci));
	unsigned sw = answer == 0x0C ? SW_OK : give(c, out, fci, len);
	if (sw != SW_OK)
		return sw;
	card->dir = f->is_df ? found : f->parent;
	card->file = f->is_df ? FILE_NONE : found;
	return SW_OK;
}

/* The EF and offset that P1-P2 of READ and UPDATE BINARY name (7.2.2). SW_OK or why not. */
static unsigned locate(const struct builtin_card *card, const struct builtin_command *c,
	int *ret_file, size_t *ret_offset) {
	int file = card->file;
	size_t offset = (size_t)c->p1 << 8 | c->p2;
	if (c->p1 & 0x80) {
		if (c->p1 & 0x60)
			return SW_BAD_P1P2;
		unsigned sfi = c->p1 & 0x1F;
		offset = c->p2;
		if (sfi)
			file = FILE_NONE;
		for (int i = 0; sfi && i < BUILTIN_N_FILES; i++)
			if (builtin_files[i].parent == card->dir && builtin_files[i].sfi == sfi)
				file = i;
		if (sfi && file == FILE_NONE)
			return SW_NOT_FOUND;
	}
	if (file == FILE_NONE)
		return SW_NO_CURRENT_EF;
	*ret_file = file;
	*ret_offset = offset;
	return SW_OK;
}

static unsigned do_read(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	int file;
	size_t offset;
	unsigned sw = locate(card, c, &file, &offset);
	if (sw != SW_OK)
		return sw;
	if (c->lc || !c->le)
		return SW_WRONG_LENGTH;
	const struct builtin_file *f = &builtin_files[file];
	if (!allowed(card, f->read))
		return SW_NOT_ALLOWED;
	if (offset >= f->size)
		return SW_OFFSET;

	card->file = file;
	size_t left = f->size - offset;
	size_t room = (size_t)(out->end - out->pos);
	size_t n = left < c->le ? left : c->le;
	n = n < room ? n : room;
	bytes_put_data(out, (f->data ? f->data : card->scratch) + offset, n);
	return left < c->le && !c->le_any ? SW_END_OF_FILE : SW_OK;
}

static unsigned do_update(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)out;
	int file;
	size_t offset;
	unsigned sw = locate(card, c, &file, &offset);
	if (sw != SW_OK)
		return sw;
	if (!c->lc || c->le)
		return SW_WRONG_LENGTH;
	const struct builtin_file *f = &builtin_files[file];
	if (!allowed(card, f->update))
		return SW_NOT_ALLOWED;
	assert(!f->data); /* only the scratch file is ever allowed */
	if (offset >= f->size)
		return SW_OFFSET;
	if (c->lc > f->size - offset)
		return SW_NO_ROOM;
	card->file = file;
	memcpy(card->scratch + offset, c->data, c->lc);
	return SW_OK;
}

static unsigned do_challenge(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)card;
	if (c->p1 || c->p2)
		return SW_BAD_P1P2;
	if (c->lc || !c->le)
		return SW_WRONG_LENGTH;
	size_t room = (size_t)(out->end - out->pos);
	size_t n = c->le < room ? c->le : room;
	uint8_t *p = bytes_room(out, n);
	for (size_t got = 0; got < n;) {
		ssize_t r = getrandom(p + got, n - got, GRND_NONBLOCK);
		if (r < 0 && errno != EINTR)
			return SW_FAILED;
		got += r > 0 ? (size_t)r : 0;
	}
	return SW_OK;
}

/* MyEID's data objects 01A0 (applet), 01A1 (files of the current DF), 01AA (capabilities). */
static unsigned do_get_data(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	if (c->lc || !c->le)
		return SW_WRONG_LENGTH;
	if (c->p1 != 0x01)
		return SW_NO_REFERENCE;
	switch (c->p2) {
	case 0xA0: return give(c, out, applet_info, sizeof(applet_info));
	case 0xAA: return give(c, out, capabilities, sizeof(capabilities));
	case 0xA1: break;
	default: return SW_NO_REFERENCE;
	}
	uint8_t list[2 * BUILTIN_N_FILES];
	struct bytes_writer w = bytes_writer(list, sizeof(list));
	for (int i = FILE_MF + 1; i < BUILTIN_N_FILES; i++) {
		if (builtin_files[i].parent != card->dir)
			continue;
		bytes_put_u8(&w, (uint8_t)(builtin_files[i].id >> 8));
		bytes_put_u8(&w, (uint8_t)builtin_files[i].id);
	}
	return give(c, out, list, bytes_written(&w));
}

static unsigned do_verify(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)out;
	return builtin_pin_verify(card->pins, c);
}

static unsigned do_change(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)out;
	return builtin_pin_change(card->pins, c);
}

static unsigned do_unblock(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)out;
	return builtin_pin_unblock(card->pins, c);
}

static unsigned do_logout(
	struct builtin_card *card, const struct builtin_command *c, struct bytes_writer *out) {
	(void)out;
	return builtin_pin_logout(card->pins, c);
}

static const struct {
	uint8_t ins;
	unsigned (*run)(struct builtin_card *card, const struct builtin_command *c,
		struct bytes_writer *out);
} commands[] = {
	{ 0x20, do_verify },
	{ 0x24, do_change },
	{ 0x2C, do_unblock },
	{ 0x2E, do_logout },
	{ 0x84, do_challenge },
	{ 0xA4, do_select },
	{ 0xB0, do_read },
	{ 0xCA, do_get_data },
	{ 0xD6, do_update },
};

/* 5.1.1: only the first interindustry class, basic channel, without chaining and without secure
 * messaging, is served. SW_OK or why not. */
static unsigned check_class(uint8_t cla) {
	if (cla & 0x80 || (cla & 0xE0) == 0x20)
		return SW_NO_CLA;
	if ((cla & 0x40) || (cla & 0x03))
		return SW_NO_CHANNELS;
	if (cla & 0x0C)
		return SW_NO_SECURE_MESSAGING;
	return cla & 0x10 ? SW_NO_CHAINING : SW_OK;
}

static unsigned run(
	struct builtin_card *card, const uint8_t *in, size_t len, struct bytes_writer *out) {
	struct builtin_command c;
	if (len < 4)
		return SW_WRONG_LENGTH;
	unsigned sw = check_class(in[0]);
	if (sw != SW_OK)
		return sw;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].ins != in[1])
			continue;
		int r = builtin_command_parse(in, len, &c);
		return r < 0 ? SW_WRONG_LENGTH : commands[i].run(card, &c, out);
	}
	return SW_NO_INS;
}

size_t builtin_card_apdu(
	struct builtin_card *card, const uint8_t *in, size_t len, uint8_t *out, size_t max) {
	assert(max >= 2);
	struct bytes_writer w = bytes_writer(out, max - 2);
	unsigned sw = run(card, in, len, &w);
	size_t n = w.failed ? 0 : bytes_written(&w);
	/* Only 9000 and the warnings carry data (5.1.3). */
	if (sw != SW_OK && sw != SW_END_OF_FILE)
		n = 0;
	out[n] = (uint8_t)(sw >> 8);
	out[n + 1] = (uint8_t)sw;
	return n + 2;
}
