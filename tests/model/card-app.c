/* SPDX-License-Identifier: MIT */
/*
 * The application on the card: a few commands made for tests (README, "Commands of the cards").
 *
 * It sees whole APDUs, short or extended (ISO/IEC 7816-3 12.1), from T=1, from readers at APDU
 * level, and from T=0, where card-t0.c cuts the answer as the protocol wants it. With a backend all
 * is passed on to it.
 */
#include "tests/model/card.h"

#include <errno.h>
#include <string.h>

/* One command APDU, taken apart. */
struct apdu {
	unsigned ins, p12, p2;
	const uint8_t *data;
	size_t nc;
	size_t ne; /* 0: absent */
	int has_le;
};

void card_reply_sw(struct card_reply *reply, unsigned sw) {
	if (reply->len > CARD_MAX_REPLY - 2)
		reply->len = CARD_MAX_REPLY - 2;
	reply->outcome = CARD_ANSWERS;
	reply->data[reply->len++] = (uint8_t)(sw >> 8);
	reply->data[reply->len++] = (uint8_t)sw;
}

static int parse_extended(struct apdu *apdu, const uint8_t *p, size_t len) {
	size_t n = (size_t)p[5] << 8 | p[6];
	if (len == 7) {
		apdu->has_le = 1;
		apdu->ne = n ? n : 65536;
		return 0;
	}
	apdu->data = p + 7;
	apdu->nc = n;
	if (!n || (len != 7 + n && len != 9 + n))
		return -EINVAL;
	if (len == 9 + n) {
		size_t le = (size_t)p[7 + n] << 8 | p[8 + n];
		apdu->has_le = 1;
		apdu->ne = le ? le : 65536;
	}
	return 0;
}

static int parse(const uint8_t *p, size_t len, struct apdu *ret_apdu) {
	if (len < 4)
		return -EINVAL;
	struct apdu apdu = { .ins = p[1], .p12 = (unsigned)p[2] << 8 | p[3], .p2 = p[3] };
	int r = 0;
	if (len == 5) {
		apdu.has_le = 1;
		apdu.ne = p[4] ? p[4] : 256;
	} else if (len >= 7 && !p[4]) {
		r = parse_extended(&apdu, p, len);
	} else if (len > 5) {
		apdu.nc = p[4];
		apdu.data = p + 5;
		if (!apdu.nc || (len != 5 + apdu.nc && len != 6 + apdu.nc))
			return -EINVAL;
		if (len == 6 + apdu.nc) {
			apdu.has_le = 1;
			apdu.ne = p[len - 1] ? p[len - 1] : 256;
		}
	}
	*ret_apdu = apdu;
	return r;
}

static void pattern(uint8_t *bytes, size_t len) {
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i % 251); /* a prime: no part of it looks like another */
}

void card_rest(struct card *card, size_t max, struct card_reply *ret_reply) {
	size_t left = card->rest_len - card->rest_off;
	size_t n = left < max ? left : max;
	memcpy(ret_reply->data, card->rest + card->rest_off, n);
	ret_reply->len = n;
	card->rest_off += n;
	left -= n;
	card_reply_sw(ret_reply, left ? 0x6100 | (left > 255 ? 0 : (unsigned)left) : 0x9000);
	if (!left)
		card->rest_len = card->rest_off = 0;
}

static void run_special(struct card *card, const struct apdu *apdu, struct card_reply *reply) {
	size_t n = apdu->p12;
	switch (apdu->ins) {
	case 0xe7:
		pattern(card->rest, n);
		card->rest_len = n;
		card->rest_off = 0;
		card_reply_sw(reply, n ? 0x6100 | (n > 255 ? 0 : (unsigned)n) : 0x9000);
		break;
	case 0xe8:
		n = apdu->p2;
		if (!n || apdu->ne != n) {
			card_reply_sw(reply, 0x6c00 | (unsigned)n);
			break;
		}
		pattern(reply->data, n);
		reply->len = n;
		card_reply_sw(reply, 0x9000);
		break;
	case 0xe9: {
		const uint8_t counters[8] = { (uint8_t)(card->n_commands >> 24),
			(uint8_t)(card->n_commands >> 16), (uint8_t)(card->n_commands >> 8),
			(uint8_t)card->n_commands, (uint8_t)(card->n_cold >> 8),
			(uint8_t)card->n_cold, (uint8_t)(card->n_warm >> 8),
			(uint8_t)card->n_warm };
		memcpy(reply->data, counters, sizeof counters);
		reply->len = sizeof counters;
		card_reply_sw(reply, 0x9000);
		break;
	}
	case 0xe4: /* the answer still comes: dead counts from the next command on */
		card->dead = 1;
		card_reply_sw(reply, 0x9000);
		break;
	default: card_reply_sw(reply, 0x6d00);
	}
}

static void run_memory(struct card *card, const struct apdu *apdu, struct card_reply *reply) {
	if (apdu->ins == 0xda) {
		card->kept_set = 1;
		card->kept[0] = (uint8_t)(apdu->p12 >> 8);
		card->kept[1] = (uint8_t)apdu->p12;
		card_reply_sw(reply, 0x9000);
	} else if (!card->kept_set) {
		card_reply_sw(reply, 0x6a88);
	} else {
		memcpy(reply->data, card->kept, sizeof card->kept);
		reply->len = sizeof card->kept;
		card_reply_sw(reply, 0x9000);
	}
}

static void run(struct card *card, const struct apdu *apdu, struct card_reply *reply) {
	switch (apdu->ins) {
	case 0xa4: card_reply_sw(reply, 0x9000); break;
	case 0xcb:
		pattern(reply->data, apdu->p12);
		reply->len = apdu->p12;
		card_reply_sw(reply, 0x9000);
		break;
	case 0xec:
		if (apdu->nc)
			memcpy(reply->data, apdu->data, apdu->nc);
		reply->len = apdu->nc;
		card_reply_sw(reply, 0x9000);
		break;
	case 0xee: reply->outcome = CARD_HANGS; break;
	case 0xef: reply->outcome = CARD_MUTE; break;
	case 0xed:
		reply->extensions = apdu->p12;
		card_reply_sw(reply, 0x9000);
		break;
	case 0xeb:
		reply->delay_us = (uint64_t)apdu->p12 * 1000;
		card_reply_sw(reply, 0x9000);
		break;
	case 0x20:
	case 0x24:
	case 0x2c:
		card_reply_sw(
			reply, card_pin_run(card, apdu->ins, apdu->p12 >> 8, apdu->data, apdu->nc));
		break;
	case 0xe6: card_reply_sw(reply, apdu->p12); break;
	case 0xc0: card_rest(card, apdu->ne ? apdu->ne : 256, reply); break;
	case 0xda:
	case 0xca: run_memory(card, apdu, reply); break;
	default: run_special(card, apdu, reply);
	}
}

static void run_backend(
	struct card *card, const uint8_t *apdu, size_t len, struct card_reply *reply) {
	int n = card->backend.apdu(
		card->backend.userdata, apdu, len, reply->data, sizeof reply->data);
	reply->outcome = n < 0 ? CARD_MUTE : CARD_ANSWERS;
	reply->len = n < 0 ? 0 : (size_t)n;
}

void card_run(struct card *card, const uint8_t *apdu, size_t len, struct card_reply *ret_reply) {
	ret_reply->len = 0;
	ret_reply->delay_us = 0;
	ret_reply->extensions = 0;
	card->counters.apdus++;
	card->n_commands++;
	card_pin_note(card, apdu, len);
	if (card->backend.apdu) {
		run_backend(card, apdu, len, ret_reply);
		return;
	}
	struct apdu parsed;
	if (parse(apdu, len, &parsed)) {
		card_reply_sw(ret_reply, 0x6700);
		return;
	}
	if (parsed.ins != 0xc0)
		card->rest_len = card->rest_off = 0;
	if (apdu[0])
		card_reply_sw(ret_reply, 0x6e00);
	else
		run(card, &parsed, ret_reply);
}
