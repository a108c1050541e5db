/* SPDX-License-Identifier: MIT */
/*
 * A card: what it was made from, and its life from power-up to power-off.
 *
 * The card keeps to its ATR: after power-up it speaks the first protocol offered at the default
 * rate, in specific mode that of TA2 at the rate of TA1, and changes only by PPS (ISO/IEC 7816-3
 * 6.3.1, 9). Whether the reader speaks the same way is the reader's affair (reader-ccid.c
 * compares). Everything is synchronous: a reply says how long the card takes, the reader does the
 * waiting.
 */
#include "tests/model/card.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/text.h"

static const struct {
	const char *name, *atr;
} KINDS[] = {
	{ "A", "3b021450" },
	{ "B", "3b80800101" },
	{ "C", "3b800181" },
	{ "D", "3b8091110101" },
	{ "E", "3b80901000" },
	{ "F", "3b800f" },
	{ "G", "000102" },
	{ "X", "" },
	{ "t0", "3b12131450" },
	{ "t1", "3b951381018073ff01000b" },
	{ "s0", "3b90131000" },
	{ "s1", "3b901391010112" },
	{ "crc", "3b8081410141" },
	{ "small", "3b8081111000" },
	{ "big", "3b808111feee" },
};

static const char *const PPS_NAMES[] = {
	[CARD_PPS_ACCEPT] = "accept",
	[CARD_PPS_REFUSE] = "refuse",
	[CARD_PPS_SILENT] = "silent",
	[CARD_PPS_NO_PPS1] = "nopps1",
	[CARD_PPS_LONGER] = "longer",
	[CARD_PPS_WRONG_T] = "wrongt",
	[CARD_PPS_WRONG_PCK] = "wrongpck",
	[CARD_PPS_EMPTY] = "empty",
};

/* Notes the interface bytes after TDi-1 = `td`, TAi first, for i = `level`. Returns what TDi
 * says, or -1. */
static int atr_level(struct card_atr *atr, unsigned level, unsigned td, size_t *pos) {
	unsigned t = td & 0x0f;
	uint8_t byte[4] = { 0 };
	for (unsigned i = 0; i < 4; i++) {
		if (!(td & (0x10u << i)))
			continue;
		if (*pos >= atr->len)
			return -1;
		byte[i] = atr->bytes[(*pos)++];
	}
	if (level == 1 && (td & 0x10))
		atr->ta1 = byte[0];
	if (level == 2 && (td & 0x10)) {
		atr->specific = 1;
		atr->protocol = byte[0] & 0x0f;
	}
	if (level > 2 && t == 1 && (td & 0x10) && byte[0] >= 1 && byte[0] <= 254)
		atr->ifsc = byte[0];
	if (level > 2 && t == 1 && (td & 0x40))
		atr->crc = byte[2] & 1;
	return (td & 0x80) ? byte[3] : -1;
}

/* Reads what the card itself must know of its ATR; nonsense gives a T=0 card. */
static void atr_read(struct card_atr *atr) {
	atr->ta1 = 0x11;
	atr->ifsc = 32; /* ISO/IEC 7816-3 11.4.2: the default */
	atr->protocol = 0;
	atr->offered = 0;
	if (atr->len < 2)
		return;
	size_t pos = 2;
	/* T0's high half is Y1; its low half is no protocol */
	int td = atr->bytes[1] & 0xf0;
	for (unsigned level = 1; td >= 0; level++) {
		td = atr_level(atr, level, (unsigned)td, &pos);
		unsigned t = (unsigned)td & 0x0f;
		if (td < 0 || t > 1)
			continue;
		if (!atr->offered && !atr->specific)
			atr->protocol = t;
		atr->offered |= 1u << t;
	}
	if (!atr->offered)
		atr->offered = 1;
}

static int atr_set(struct card_atr *ret_atr, const char *hex) {
	struct card_atr atr = { 0 };
	if (text_hex(hex, atr.bytes, sizeof atr.bytes, &atr.len))
		return -EINVAL;
	atr_read(&atr);
	*ret_atr = atr;
	return 0;
}

static int volts_set(struct card *card, const char *value) {
	char buf[32];
	unsigned volts = 0;
	snprintf(buf, sizeof buf, "%s", value);
	for (char *rest = buf, *word; (word = strsep(&rest, "+"));) {
		unsigned bit = !strcmp(word, "5") ? 1
			: !strcmp(word, "3")      ? 2
			: !strcmp(word, "1.8")    ? 4
						  : 0;
		if (!bit)
			return -EINVAL;
		volts |= bit;
	}
	card->volts = volts;
	return 0;
}

static int pps_set(struct card *card, const char *value) {
	for (unsigned i = 0; i < sizeof PPS_NAMES / sizeof *PPS_NAMES; i++)
		if (!strcmp(value, PPS_NAMES[i])) {
			card->pps = (enum card_pps)i;
			return 0;
		}
	return -EINVAL;
}

static int option_set(struct card *card, const char *key, const char *value) {
	unsigned n = 0;
	if (!strcmp(key, "atr"))
		return atr_set(&card->cold_atr, value) || atr_set(&card->warm_atr, value) ? -EINVAL
											  : 0;
	if (!strcmp(key, "warm"))
		return atr_set(&card->warm_atr, value);
	if (!strcmp(key, "volts"))
		return volts_set(card, value);
	if (!strcmp(key, "pps"))
		return pps_set(card, value);
	if (!strcmp(key, "pin"))
		return card_pin_set(card->pin.pin, value) ? -EINVAL : 0;
	if (!strcmp(key, "puk"))
		return card_pin_set(card->pin.puk, value) ? -EINVAL : 0;
	if (text_number(value, CARD_MAX_REPLY, &n))
		return -EINVAL;
	if (!strcmp(key, "atrlen"))
		card->atr_len_forced = n;
	else if (!strcmp(key, "inf"))
		card->inf_limit = n;
	else if (!strcmp(key, "count"))
		card->ignore_power = n;
	else if (!strcmp(key, "ifsc") && n >= 1 && n <= 254)
		card->cold_atr.ifsc = card->warm_atr.ifsc = n;
	else
		return -EINVAL;
	return 0;
}

static int kind_set(struct card *card, const char *kind) {
	if (!strncmp(kind, "unix:", 5))
		return card_socket_open(kind + 5, &card->backend);
	if (!strncmp(kind, "cacard:", 7))
		return card_cacard_open ? card_cacard_open(kind + 7, &card->backend) : -ENOTSUP;
	if (!strncmp(kind, "atr:", 4))
		return option_set(card, "atr", kind + 4);
	for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
		if (!strcmp(kind, KINDS[i].name)) {
			card->mute = !*KINDS[i].atr;
			return option_set(card, "atr", KINDS[i].atr);
		}
	return -EINVAL;
}

int card_new(const char *spec, struct card **ret_card) {
	char buf[512];
	if (strlen(spec) >= sizeof buf)
		return -EINVAL;
	strcpy(buf, spec);
	struct card *card = calloc(1, sizeof *card);
	if (!card)
		return -ENOMEM;
	card->volts = 7;
	card_pin_start(card);
	char *rest = buf;
	int r = kind_set(card, strsep(&rest, ","));
	for (char *option; !r && (option = strsep(&rest, ","));) {
		char *value = option;
		const char *key = strsep(&value, "=");
		r = value ? option_set(card, key, value) : -EINVAL;
	}
	if (r) {
		card_free(card);
		return r;
	}
	card->atr = &card->cold_atr;
	*ret_card = card;
	return 0;
}

void card_free(struct card *card) {
	if (card && card->backend.free)
		card->backend.free(card->backend.userdata);
	free(card);
}

static void reply_mute(struct card_reply *reply, enum card_outcome outcome) {
	reply->outcome = outcome;
	reply->delay_us = 0;
	reply->extensions = 0;
	reply->len = 0;
}

void card_power_on(struct card *card, unsigned volts, int warm, struct card_reply *ret_reply) {
	reply_mute(ret_reply, CARD_MUTE);
	warm = warm && card->powered;
	*(warm ? &card->counters.warm : &card->counters.cold) += 1;
	card->powered = 0;
	card->kept_set = 0;
	card->pin.verified = 0;
	card->rest_len = card->rest_off = 0;
	if (card->mute || (volts && !(card->volts & volts)))
		return;
	if (card->ignore_power) {
		card->ignore_power--;
		return;
	}
	struct card_atr *atr = warm ? &card->warm_atr : &card->cold_atr;
	if (card->backend.power) {
		atr->len = card->backend.power(card->backend.userdata,
			warm ? CARD_POWER_RESET : CARD_POWER_ON, atr->bytes, sizeof atr->bytes);
		if (!atr->len)
			return;
		atr_read(atr);
	}
	card->atr = atr;
	card->powered = 1;
	card->dead = 0;
	card->protocol = atr->protocol;
	card->negotiable = !atr->specific;
	card->ta1 = atr->specific ? atr->ta1 : 0x11;
	card->n_commands = 0;
	*(warm ? &card->n_warm : &card->n_cold) += 1;
	card_t1_reset(card);
	ret_reply->outcome = CARD_ANSWERS;
	ret_reply->len = card->atr_len_forced ? card->atr_len_forced : atr->len;
	memset(ret_reply->data, 0, ret_reply->len);
	memcpy(ret_reply->data, atr->bytes, atr->len < ret_reply->len ? atr->len : ret_reply->len);
}

void card_power_off(struct card *card) {
	if (card->powered && card->backend.power)
		card->backend.power(card->backend.userdata, CARD_POWER_OFF, NULL, 0);
	card->powered = 0;
}

int card_negotiate(struct card *card, unsigned protocol, uint8_t ta1) {
	if (protocol == card->protocol && ta1 == card->ta1)
		return 0;
	if (!card->negotiable || !(card->atr->offered & (1u << protocol)))
		return -EPROTO;
	if (card->pps != CARD_PPS_ACCEPT && card->pps != CARD_PPS_NO_PPS1)
		return -EPROTO;
	card->counters.pps++;
	card->protocol = protocol;
	card->ta1 = card->pps == CARD_PPS_ACCEPT ? ta1 : 0x11;
	card->negotiable = 0;
	return 0;
}

/* PCK is the XOR of all before it (ISO/IEC 7816-3 9.2). */
static void pps_close(struct card_reply *reply, int wrong) {
	uint8_t pck = 0;
	for (size_t i = 0; i < reply->len; i++)
		pck ^= reply->data[i];
	reply->data[reply->len++] = wrong ? pck ^ 0x55 : pck;
}

/* Writes the answer that this card gives to PPS0 and PPS1 of a request that it understands. */
static void pps_answer(const struct card *card, uint8_t pps0, int has_pps1, uint8_t pps1,
	struct card_reply *reply) {
	enum card_pps how = card->pps;
	if (how == CARD_PPS_NO_PPS1)
		has_pps1 = 0;
	if (how == CARD_PPS_WRONG_T)
		pps0 ^= 1;
	reply->outcome = CARD_ANSWERS;
	reply->len = 0;
	if (how == CARD_PPS_EMPTY)
		return;
	reply->data[reply->len++] = 0xff;
	reply->data[reply->len++] = (uint8_t)((pps0 & 0x0f) | (has_pps1 ? 0x10 : 0));
	if (has_pps1)
		reply->data[reply->len++] = how == CARD_PPS_REFUSE ? pps1 ^ 0x01 : pps1;
	else if (how == CARD_PPS_REFUSE)
		reply->data[reply->len - 1] ^= 0x02;
	pps_close(reply, how == CARD_PPS_WRONG_PCK);
	if (how == CARD_PPS_LONGER)
		reply->data[reply->len++] = 0;
}

void card_pps_request(
	struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply) {
	reply_mute(ret_reply, CARD_MUTE);
	card->counters.pps++;
	uint8_t pck = 0;
	for (size_t i = 0; i < len; i++)
		pck ^= data[i];
	int has_pps1 = len >= 2 && (data[1] & 0x10);
	unsigned t = len >= 2 ? data[1] & 0x0f : 0;
	uint8_t pps1 = has_pps1 && len >= 4 ? data[2] : 0x11;
	/* FI as offered and DI not above it, or the default (ISO/IEC 7816-3 9.2) */
	int rate_ok = pps1 == 0x11 || pps1 == card->atr->ta1 ||
		((pps1 & 0xf0) == (card->atr->ta1 & 0xf0) &&
			(pps1 & 0x0f) < (card->atr->ta1 & 0x0f));
	if (!card->powered || card->dead || pck || len < 3 || data[0] != 0xff ||
		len != (has_pps1 ? 4u : 3u) || !card->negotiable || t > 1 ||
		!(card->atr->offered & (1u << t)) || !rate_ok || card->pps == CARD_PPS_SILENT) {
		card->dead = 1;
		return;
	}
	pps_answer(card, data[1], has_pps1, pps1, ret_reply);
	card->negotiable = 0;
	if (card->pps != CARD_PPS_ACCEPT && card->pps != CARD_PPS_NO_PPS1) {
		/* both sides now mean different things: nothing comes of it until a reset */
		card->dead = 1;
		return;
	}
	card->protocol = t;
	card->ta1 = card->pps == CARD_PPS_ACCEPT ? pps1 : 0x11;
}

void card_tpdu(struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply) {
	reply_mute(ret_reply, CARD_MUTE);
	card->negotiable = 0;
	if (!card->powered || card->dead)
		return;
	if (card->protocol == 1)
		card_t1_block(card, data, len, ret_reply);
	else
		card_t0_tpdu(card, data, len, ret_reply);
}

void card_apdu(struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply) {
	reply_mute(ret_reply, CARD_MUTE);
	card->negotiable = 0;
	if (card->powered && !card->dead)
		card_run(card, data, len, ret_reply);
}

int card_fault(struct card *card, const struct card_fault *fault) {
	for (size_t i = 0; i < CARD_MAX_FAULTS; i++)
		if (card->faults[i].kind == CARD_FAULT_NONE) {
			card->faults[i] = *fault;
			return 0;
		}
	return -ENOSPC;
}

void card_faults_clear(struct card *card) {
	memset(card->faults, 0, sizeof card->faults);
}

int card_fault_take(struct card *card, enum card_fault_kind kind, unsigned *ret_arg) {
	for (size_t i = 0; i < CARD_MAX_FAULTS; i++) {
		struct card_fault *fault = &card->faults[i];
		if (fault->kind != kind)
			continue;
		if (fault->skip) {
			fault->skip--;
			continue;
		}
		*ret_arg = fault->arg;
		if (fault->times && !--fault->times)
			fault->kind = CARD_FAULT_NONE;
		return 1;
	}
	return 0;
}
