/* SPDX-License-Identifier: MIT */
/*
 * XfrBlock of an emulated reader, at the level that it announces (CCID 1.10 3.2, 6.1.4).
 *
 * TPDU and character level hand over what comes, and fail as the wire does when reader and card do
 * not speak the same protocol at the same rate. APDU levels do the card's protocol themselves; at
 * extended level commands and answers that are longer than a message go in parts.
 */
#include <string.h>

#include "tests/model/reader-state.h"

/* wLevelParameter and bChainParameter (CCID 1.10 6.1.4, 6.2.1). */
enum { WHOLE = 0, BEGINS = 1, ENDS = 2, CONTINUES = 3, EMPTY = 0x10 };

void exchange_defaults(struct reader_slot *slot, unsigned protocol, uint8_t ta1) {
	/* CCID 1.10 6.1.7: the default values */
	const uint8_t t0[5] = { ta1, 0x00, 0x00, 0x0a, 0x00 };
	const uint8_t t1[7] = { ta1, 0x10, 0x00, 0x4d, 0x00, 0x20, 0x00 };
	slot->protocol = protocol & 1;
	memset(slot->params, 0, sizeof slot->params);
	memcpy(slot->params, protocol & 1 ? t1 : t0, protocol & 1 ? sizeof t1 : sizeof t0);
	if ((protocol & 1) && slot->card) {
		slot->params[1] |= (uint8_t)slot->card->atr->crc;
		slot->params[5] = (uint8_t)slot->card->atr->ifsc;
	}
}

static void fail(struct answer *answer, const struct reader_slot *slot, uint8_t error) {
	answer->status = (uint8_t)(0x40 | ccid_icc(slot));
	answer->error = error;
	answer->len = 0;
}

/* What the card said becomes the answer. */
static void pass_on(
	const struct model_interface *model, struct reader_slot *slot, struct answer *answer) {
	const struct card_reply *reply = &slot->reply;
	answer->status = 0;
	answer->delay_us += reply->delay_us;
	answer->extensions = reply->extensions;
	switch (reply->outcome) {
	case CARD_ANSWERS:
		answer->data = reply->data;
		answer->len = reply->len;
		break;
	case CARD_MUTE:
		answer->delay_us += (uint64_t)model->mute_ms * 1000;
		fail(answer, slot, ERROR_MUTE);
		break;
	case CARD_PARITY: fail(answer, slot, ERROR_PARITY); break;
	case CARD_HANGS: answer->silent = 1; break;
	}
}

/* PPSS, PPS0 without RFU bit, right length and PCK (ISO/IEC 7816-3 9.2). */
static int looks_like_pps(const uint8_t *data, size_t len) {
	uint8_t check = 0;
	if (len < 3 || len > 6 || data[0] != 0xff || (data[1] & 0x80))
		return 0;
	size_t want = 3u + (data[1] >> 4 & 1) + (data[1] >> 5 & 1) + (data[1] >> 6 & 1);
	for (size_t i = 0; i < len; i++)
		check ^= data[i];
	return len == want && !check;
}

static int is_pps(struct reader *reader, const struct model_interface *model,
	const struct reader_slot *slot, const struct command *command) {
	if (slot->settled || !looks_like_pps(command->data, command->len))
		return 0;
	if (model->features & (FEATURE_AUTO_PARAMETERS | FEATURE_AUTO_PPS))
		reader_violation(reader, "PPS to a reader that does it by itself");
	if (!slot->card->negotiable)
		reader_violation(reader, "PPS to a card in specific mode");
	return 1;
}

/* Whether reader and card understand each other. */
static int in_tune(struct reader *reader, const struct reader_slot *slot) {
	const struct card *card = slot->card;
	if (slot->protocol == card->protocol && slot->params[0] == card->ta1 &&
		(!card->protocol || (slot->params[1] & 1) == card->atr->crc))
		return 1;
	reader_violation(reader, "reader at T=%u %02x, card at T=%u %02x", slot->protocol,
		slot->params[0], card->protocol, card->ta1);
	return 0;
}

static void tpdu(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	const uint8_t *data = command->data;
	size_t len = command->len;
	slot->reply.outcome = CARD_MUTE;
	slot->reply.delay_us = 0;
	slot->reply.extensions = 0;
	if (is_pps(reader, itf->model, slot, command)) {
		card_pps_request(slot->card, data, len, &slot->reply);
	} else if (in_tune(reader, slot)) {
		if (!slot->protocol && len > 5 && len == 6 + (size_t)data[4]) {
			reader_violation(reader, "T=0 TPDU with Le after the data");
			len--;
		}
		card_tpdu(slot->card, data, len, &slot->reply);
	}
	slot->settled = 1;
	pass_on(itf->model, slot, answer);
}

/* Empties the stream of characters: the card has the turn now. */
static void stream_set(struct reader_slot *slot, const uint8_t *bytes, size_t len) {
	slot->stream_off = 0;
	slot->stream_len = len;
	memmove(slot->stream, bytes, len);
}

/* T=0 character by character: the card acknowledges the header before it takes or sends data. */
static int character_t0(struct reader_slot *slot, const uint8_t *data, size_t len) {
	if (slot->header_len + len > sizeof slot->header)
		return -1;
	memcpy(slot->header + slot->header_len, data, len);
	slot->header_len += len;
	const uint8_t *h = slot->header;
	if (slot->header_len < 5) {
		slot->reply.outcome = CARD_HANGS;
		return 0;
	}
	int takes = card_t0_takes_data(h[1]) && h[4];
	if (takes && slot->header_len < 5u + h[4]) {
		stream_set(slot, &h[1], 1);
		slot->reply.outcome = CARD_ANSWERS;
		return 0;
	}
	card_tpdu(slot->card, h, slot->header_len, &slot->reply);
	slot->header_len = 0;
	uint8_t procedure = h[1];
	if (slot->reply.outcome != CARD_ANSWERS)
		return 0;
	/* ISO/IEC 7816-3 10.3.3: the procedure byte INS before data, none before SW1 */
	stream_set(slot, slot->reply.data, slot->reply.len);
	if (!takes && slot->reply.len > 2) {
		memmove(slot->stream + 1, slot->stream, slot->reply.len);
		slot->stream[0] = procedure;
		slot->stream_len++;
	}
	return 0;
}

/* Character level: bytes to the card, and as many back as are expected. */
void exchange_character(struct reader *reader, struct reader_interface *itf,
	struct reader_slot *slot, const struct command *command, struct answer *answer) {
	size_t want = command->bytes[8] | (size_t)command->bytes[9] << 8;
	slot->reply.outcome = slot->stream_off < slot->stream_len ? CARD_ANSWERS : CARD_MUTE;
	slot->reply.delay_us = 0;
	slot->reply.extensions = 0;
	if (command->len && is_pps(reader, itf->model, slot, command)) {
		card_pps_request(slot->card, command->data, command->len, &slot->reply);
		stream_set(slot, slot->reply.data, slot->reply.len);
	} else if (command->len && !in_tune(reader, slot)) {
		slot->reply.outcome = CARD_MUTE;
	} else if (command->len && slot->protocol) {
		card_tpdu(slot->card, command->data, command->len, &slot->reply);
		stream_set(slot, slot->reply.data, slot->reply.len);
	} else if (command->len && character_t0(slot, command->data, command->len)) {
		slot->reply.outcome = CARD_MUTE;
	}
	slot->settled = 1;
	pass_on(itf->model, slot, answer);
	if (answer->status || answer->silent)
		return;
	size_t left = slot->stream_len - slot->stream_off;
	answer->data = slot->stream + slot->stream_off;
	answer->len = left < want ? left : want;
	slot->stream_off += answer->len;
}

/* APDU levels: at most 256 bytes and a status word go back at once where the level is the short
 * one. */
void exchange_apdu(const struct model_interface *model, struct reader_slot *slot,
	const uint8_t *data, size_t len) {
	struct card *card = slot->card;
	struct card_reply *reply = &slot->reply;
	card_apdu(card, data, len, reply);
	slot->settled = 1;
	if (!(model->features & FEATURE_EXTENDED) && reply->outcome == CARD_ANSWERS &&
		reply->len > 258) {
		size_t n = reply->len - 2;
		memcpy(card->rest, reply->data, n);
		card->rest_len = n;
		card->rest_off = 0;
		card_rest(card, 256, reply);
	}
}

static void apdu(const struct model_interface *model, struct reader_slot *slot, const uint8_t *data,
	size_t len, struct answer *answer) {
	exchange_apdu(model, slot, data, len);
	pass_on(model, slot, answer);
}

/* The next part of a long answer. */
static void hand_out(
	const struct model_interface *model, struct reader_slot *slot, struct answer *answer) {
	size_t room = model->message_length - READER_HEADER;
	size_t left = slot->reply.len - slot->answer_off;
	int first = slot->answer_off == 0;
	answer->status = 0;
	answer->data = slot->reply.data + slot->answer_off;
	answer->len = left < room ? left : room;
	slot->answer_off += answer->len;
	slot->handing_out = left > room;
	answer->extra = (uint8_t)(slot->handing_out ? (first ? BEGINS : CONTINUES)
						    : (first ? WHOLE : ENDS));
}

/* Takes a part of a long command. 1: the command is whole; 0: the answer asks for more;
 * negative: refused. */
static int collect(struct reader *reader, struct reader_slot *slot, const struct command *command,
	struct answer *answer) {
	unsigned level = command->bytes[8] | (unsigned)command->bytes[9] << 8;
	int starts = level == WHOLE || level == BEGINS;
	if (level > CONTINUES || starts == slot->collecting ||
		slot->command_len + command->len > sizeof slot->command) {
		reader_violation(reader, "wLevelParameter %04x out of order", level);
		slot->collecting = 0;
		slot->command_len = 0;
		fail(answer, slot, ERROR_LEVEL);
		return -1;
	}
	if (starts)
		slot->command_len = 0;
	memcpy(slot->command + slot->command_len, command->data, command->len);
	slot->command_len += command->len;
	slot->collecting = level == BEGINS || level == CONTINUES;
	if (slot->collecting) {
		answer->status = 0;
		answer->extra = EMPTY;
		return 0;
	}
	return 1;
}

static void extended(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	unsigned level = command->bytes[8] | (unsigned)command->bytes[9] << 8;
	if (level == EMPTY && slot->handing_out && !command->len) {
		hand_out(itf->model, slot, answer);
		return;
	}
	slot->handing_out = 0;
	if (collect(reader, slot, command, answer) <= 0)
		return;
	apdu(itf->model, slot, slot->command, slot->command_len, answer);
	slot->command_len = 0;
	slot->answer_off = 0;
	if (!answer->status && !answer->silent)
		hand_out(itf->model, slot, answer);
}

void exchange_xfr(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *ret_answer) {
	uint32_t features = itf->model->features;
	unsigned level = command->bytes[8] | (unsigned)command->bytes[9] << 8;
	if (!slot->card || !slot->powered) {
		if (!slot->lost)
			reader_violation(reader, "XfrBlock to a card without power");
		fail(ret_answer, slot, ERROR_MUTE);
		return;
	}
	if (features & FEATURE_EXTENDED) {
		extended(reader, itf, slot, command, ret_answer);
		return;
	}
	if (level && (features & (FEATURE_TPDU | FEATURE_SHORT)))
		reader_violation(reader, "wLevelParameter %04x at this level", level);
	if (features & FEATURE_SHORT)
		apdu(itf->model, slot, command->data, command->len, ret_answer);
	else if (features & FEATURE_TPDU)
		tpdu(reader, itf, slot, command, ret_answer);
	else
		exchange_character(reader, itf, slot, command, ret_answer);
}

int exchange_is_t1_tpdu(const struct model_interface *model, const struct reader_slot *slot) {
	return slot->protocol == 1 && !(model->features & (FEATURE_SHORT | FEATURE_EXTENDED));
}

/* The block that goes to the card instead of the APDU: the reader computes LEN and EDC. */
static void secured_block(
	struct reader_slot *slot, const uint8_t *prologue, const uint8_t *apdu, size_t len) {
	uint8_t block[CARD_MAX_BLOCK] = { prologue[0], prologue[1], (uint8_t)len };
	if (len > 254)
		return;
	memcpy(block + 3, apdu, len);
	size_t edc = card_t1_edc(slot->card->atr->crc, block, 3 + len, block + 3 + len);
	card_tpdu(slot->card, block, 3 + len + edc, &slot->reply);
	memset(block, 0, sizeof block);
}

void exchange_secured(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const uint8_t *prologue, const uint8_t *apdu_bytes, size_t len, struct answer *ret_answer) {
	const struct model_interface *model = itf->model;
	if (model->features & (FEATURE_SHORT | FEATURE_EXTENDED)) {
		apdu(model, slot, apdu_bytes, len, ret_answer);
		slot->answer_off = 0;
		if ((model->features & FEATURE_EXTENDED) && !ret_answer->status &&
			!ret_answer->silent)
			hand_out(model, slot, ret_answer);
		return;
	}
	slot->reply.outcome = CARD_MUTE;
	slot->reply.delay_us = 0;
	slot->reply.extensions = 0;
	if (in_tune(reader, slot)) {
		if (slot->protocol)
			secured_block(slot, prologue, apdu_bytes, len);
		else
			card_tpdu(slot->card, apdu_bytes,
				len > 5 && len == 6u + apdu_bytes[4] ? len - 1 : len, &slot->reply);
	}
	slot->settled = 1;
	pass_on(model, slot, ret_answer);
}
