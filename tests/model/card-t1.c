/* SPDX-License-Identifier: MIT */
/*
 * T=1 on the card's side (ISO/IEC 7816-3 11): one block in, one block out, or silence.
 *
 * The card never repeats a block by itself: error recovery is the host's business, the card answers
 * what it is asked. `last` is the last block as it should have been; ordered mistakes are made on
 * its copy on the way out, so that a repetition is right unless another mistake was ordered. Blocks
 * the card makes on its own account (WTX, IFS, ABORT) come when it is its turn, before what it
 * would have said.
 */
#include "tests/model/card.h"

#include <stdlib.h>
#include <string.h>

enum {
	PCB_R = 0x80,
	PCB_S = 0xc0,
	PCB_S_RESPONSE = 0x20,
	S_RESYNCH = 0xc0,
	S_IFS = 0xc1,
	S_ABORT = 0xc2,
	S_WTX = 0xc3,
	ERROR_EDC = 1,
	ERROR_OTHER = 2,
};

size_t card_t1_edc(int crc, const uint8_t *block, size_t len, uint8_t *ret_edc) {
	unsigned lrc = 0, value = 0xffff;
	for (size_t i = 0; i < len; i++) {
		lrc ^= block[i];
		value ^= block[i];
		for (int bit = 0; bit < 8; bit++) /* ISO/IEC 13239, reflected */
			value = value & 1 ? value >> 1 ^ 0x8408 : value >> 1;
	}
	ret_edc[0] = (uint8_t)(crc ? value >> 8 : lrc);
	ret_edc[1] = (uint8_t)value;
	return crc ? 2 : 1;
}

void card_t1_reset(struct card *card) {
	struct card_t1 *t1 = &card->t1;
	t1->ifsc = card->atr->ifsc;
	t1->ifsd = 32; /* ISO/IEC 7816-3 11.4.2 */
	t1->send = t1->expect = t1->asked = 0;
	t1->wtx_left = 0;
	t1->sending = 0;
	t1->part = t1->tx_off = t1->tx.len = t1->rx_len = t1->last_len = 0;
}

/* Makes the ordered mistakes on the block in `reply`. */
static void spoil(struct card *card, struct card_reply *reply) {
	uint8_t *b = reply->data;
	unsigned arg;
	size_t edc_len = card->atr->crc ? 2 : 1, body = reply->len - edc_len;
	if (card_fault_take(card, CARD_FAULT_NS, &arg))
		b[1] ^= (b[1] & 0x80) ? 0x10 : 0x40;
	if (card_fault_take(card, CARD_FAULT_NAD, &arg))
		b[0] ^= 0x12;
	if (card_fault_take(card, CARD_FAULT_PCB, &arg))
		b[1] = (uint8_t)arg;
	if (card_fault_take(card, CARD_FAULT_LEN, &arg))
		b[2] = 255;
	card_t1_edc(card->atr->crc, b, body, b + body);
	if (card_fault_take(card, CARD_FAULT_EDC, &arg))
		b[reply->len - 1] ^= 0x01;
	if (card_fault_take(card, CARD_FAULT_SHORT, &arg))
		reply->len--;
	if (card_fault_take(card, CARD_FAULT_GARBAGE, &arg)) {
		reply->len = arg < CARD_MAX_REPLY ? arg : CARD_MAX_REPLY;
		for (size_t i = 0; i < reply->len; i++)
			b[i] = (uint8_t)(i * 37 + 0x5b); /* chosen: no valid block */
	}
	if (card_fault_take(card, CARD_FAULT_LOSE, &arg))
		reply->outcome = CARD_MUTE;
	if (card_fault_take(card, CARD_FAULT_PARITY, &arg))
		reply->outcome = CARD_PARITY;
}

/* Sends what is in `last`. */
static void send_last(struct card *card, struct card_reply *reply) {
	const struct card_t1 *t1 = &card->t1;
	reply->len = t1->last_len;
	reply->outcome = t1->last_len ? CARD_ANSWERS : CARD_MUTE;
	memcpy(reply->data, t1->last, t1->last_len);
	if (t1->last_len)
		spoil(card, reply);
}

static void send_block(
	struct card *card, uint8_t pcb, const uint8_t *inf, size_t len, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	t1->last[0] = 0;
	t1->last[1] = pcb;
	t1->last[2] = (uint8_t)len;
	if (len)
		memcpy(t1->last + 3, inf, len);
	t1->last_len = 3 + len;
	t1->last_len +=
		card_t1_edc(card->atr->crc, t1->last, t1->last_len, t1->last + t1->last_len);
	send_last(card, reply);
}

static void send_r(struct card *card, unsigned error, struct card_reply *reply) {
	send_block(card, (uint8_t)(PCB_R | (unsigned)card->t1.expect << 4 | error), NULL, 0, reply);
}

/* Something was wrong with the last block: the card repeats its own request, or asks for
 * repetition. */
static void complain(struct card *card, unsigned error, struct card_reply *reply) {
	if (card->t1.asked)
		send_last(card, reply);
	else
		send_r(card, error, reply);
}

/* A request of the card's own, if there is one. */
static int ask(struct card *card, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	unsigned arg = 0;
	if (card_fault_take(card, CARD_FAULT_IFS, &arg)) {
		t1->asked = S_IFS;
	} else if (card_fault_take(card, CARD_FAULT_WTX, &arg)) {
		t1->asked = S_WTX;
	} else if (card_fault_take(card, CARD_FAULT_ABORT, &arg)) {
		t1->asked = S_ABORT;
	} else if (t1->wtx_left) {
		t1->wtx_left--;
		t1->asked = S_WTX;
		arg = 1;
	} else {
		return 0;
	}
	t1->asked_inf = (uint8_t)arg;
	send_block(card, t1->asked, &t1->asked_inf, t1->asked == S_ABORT ? 0 : 1, reply);
	return 1;
}

/* The card's turn: its own requests first, then the next part of the answer, or "go on". */
static void go_on(struct card *card, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	if (ask(card, reply))
		return;
	if (t1->tx_off >= t1->tx.len) {
		send_r(card, 0, reply);
		return;
	}
	size_t left = t1->tx.len - t1->tx_off;
	size_t max = card->inf_limit && card->inf_limit < t1->ifsd ? card->inf_limit : t1->ifsd;
	t1->part = left < max ? left : max;
	t1->sending = 1;
	send_block(card, (uint8_t)(t1->send << 6 | (left > t1->part ? 0x20 : 0)),
		t1->tx.data + t1->tx_off, t1->part, reply);
}

/* What was sent last has arrived. */
static void acknowledged(struct card_t1 *t1) {
	if (!t1->sending)
		return;
	t1->sending = 0;
	t1->send ^= 1;
	t1->tx_off += t1->part;
}

static void take_i(struct card *card, const uint8_t *block, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	size_t len = block[2];
	int mid_answer = t1->tx_off + (t1->sending ? t1->part : 0) < t1->tx.len;
	if (t1->asked || (block[1] >> 6 & 1) != t1->expect || (block[1] & 0x1f) || len > t1->ifsc ||
		mid_answer || t1->rx_len + len > sizeof t1->rx) {
		complain(card, ERROR_OTHER, reply);
		return;
	}
	acknowledged(t1);
	t1->tx.len = t1->tx_off = 0;
	memcpy(t1->rx + t1->rx_len, block + 3, len);
	t1->rx_len += len;
	t1->expect ^= 1;
	if (block[1] & 0x20) {
		go_on(card, reply);
		return;
	}
	size_t n = t1->rx_len;
	t1->rx_len = 0;
	card_run(card, t1->rx, n, &t1->tx);
	reply->delay_us = t1->tx.delay_us;
	reply->outcome = t1->tx.outcome;
	if (t1->tx.outcome != CARD_ANSWERS) {
		t1->tx.len = 0;
		return;
	}
	t1->wtx_left = t1->tx.extensions;
	go_on(card, reply);
}

static void take_r(struct card *card, const uint8_t *block, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	int next = (block[1] >> 4 & 1) != t1->send;
	if (block[2] || (block[1] & 0x2c)) {
		complain(card, ERROR_OTHER, reply);
		return;
	}
	if (!t1->asked && t1->sending && next && t1->tx_off + t1->part < t1->tx.len) {
		acknowledged(t1);
		go_on(card, reply);
		return;
	}
	if (!t1->last_len)
		send_r(card, ERROR_OTHER, reply);
	else
		send_last(card, reply);
}

static void take_s_request(struct card *card, const uint8_t *block, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	unsigned inf = block[2] == 1 ? block[3] : 0;
	switch (block[1]) {
	case S_RESYNCH:
		if (block[2])
			break;
		card_t1_reset(card);
		send_block(card, S_RESYNCH | PCB_S_RESPONSE, NULL, 0, reply);
		return;
	case S_IFS:
		if (inf < 1 || inf > 254)
			break;
		t1->ifsd = inf;
		send_block(card, S_IFS | PCB_S_RESPONSE, block + 3, 1, reply);
		return;
	case S_ABORT:
		if (block[2])
			break;
		t1->rx_len = t1->tx.len = t1->tx_off = 0;
		acknowledged(t1);
		t1->tx_off = 0;
		send_block(card, S_ABORT | PCB_S_RESPONSE, NULL, 0, reply);
		return;
	default: break; /* only the card may ask for time */
	}
	complain(card, ERROR_OTHER, reply);
}

static void take_s_response(struct card *card, const uint8_t *block, struct card_reply *reply) {
	struct card_t1 *t1 = &card->t1;
	uint8_t request = block[1] & (uint8_t)~PCB_S_RESPONSE;
	int right = t1->asked == request &&
		(request == S_ABORT ? !block[2] : block[2] == 1 && block[3] == t1->asked_inf);
	if (!right) {
		complain(card, ERROR_OTHER, reply);
		return;
	}
	t1->asked = 0;
	if (request == S_IFS)
		t1->ifsc = t1->asked_inf;
	if (request == S_WTX)
		reply->delay_us = CARD_TICK_US;
	if (request == S_ABORT) {
		acknowledged(t1);
		t1->rx_len = t1->tx.len = t1->tx_off = 0;
		t1->wtx_left = 0;
	}
	go_on(card, reply);
}

void card_t1_block(
	struct card *card, const uint8_t *block, size_t len, struct card_reply *ret_reply) {
	unsigned arg;
	uint8_t edc[2];
	size_t edc_len = card->atr->crc ? 2 : 1;
	card->counters.blocks++;
	if (card_fault_take(card, CARD_FAULT_DEAF, &arg))
		return;
	int broken = card_fault_take(card, CARD_FAULT_REJECT, &arg);
	if (len < 3 + edc_len || block[2] == 255 || len != 3 + block[2] + edc_len || block[0]) {
		complain(card, ERROR_OTHER, ret_reply);
		return;
	}
	card_t1_edc(card->atr->crc, block, len - edc_len, edc);
	if (broken || memcmp(edc, block + len - edc_len, edc_len) != 0)
		complain(card, ERROR_EDC, ret_reply);
	else if (!(block[1] & 0x80))
		take_i(card, block, ret_reply);
	else if ((block[1] & PCB_S) != PCB_S)
		take_r(card, block, ret_reply);
	else if (block[1] & PCB_S_RESPONSE)
		take_s_response(card, block, ret_reply);
	else
		take_s_request(card, block, ret_reply);
}
