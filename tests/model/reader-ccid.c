/* SPDX-License-Identifier: MIT */
/*
 * CCID messages of an emulated reader: one command in, its answer queued (CCID 1.10 6).
 *
 * A command is worked off at once; the answer says when it is due, and the slot is busy until then.
 * What the model or CCID forbids is noted as a violation and answered as a reader would. Ordered
 * faults change the answer last, on its way into the queue, so that everything before stays honest.
 */
#include <string.h>

#include "tests/model/reader-state.h"

void ccid_reset_slot(struct reader_slot *slot) {
	slot->busy_until = 0;
	slot->abort_seq = -1;
	slot->collecting = slot->handing_out = 0;
	slot->command_len = slot->answer_off = 0;
	slot->stream_len = slot->stream_off = slot->header_len = 0;
}

uint8_t ccid_icc(const struct reader_slot *slot) {
	return !slot->card ? 2 : slot->powered ? 0 : 1;
}

static void fail(struct answer *answer, const struct reader_slot *slot, uint8_t error) {
	answer->status = (uint8_t)(0x40 | (slot ? ccid_icc(slot) : 2));
	answer->error = error;
	answer->len = 0;
}

static uint8_t answer_type(uint8_t command) {
	switch (command) {
	case MSG_POWER_ON:
	case MSG_XFR:
	case MSG_SECURE: return MSG_DATA;
	case MSG_GET_PARAMETERS:
	case MSG_SET_PARAMETERS:
	case MSG_RESET_PARAMETERS: return MSG_PARAMETERS;
	case MSG_ESCAPE: return MSG_ESCAPE_ANSWER;
	case MSG_SET_RATE: return 0x84;
	default: return MSG_STATUS;
	}
}

static void count_command(struct reader *reader, uint8_t type) {
	static const struct {
		uint8_t type;
		enum reader_count count;
	} kinds[] = { { MSG_POWER_ON, COUNT_POWER_ON }, { MSG_POWER_OFF, COUNT_POWER_OFF },
		{ MSG_SLOT_STATUS, COUNT_SLOT_STATUS }, { MSG_XFR, COUNT_XFR },
		{ MSG_GET_PARAMETERS, COUNT_GET_PARAMETERS },
		{ MSG_SET_PARAMETERS, COUNT_SET_PARAMETERS },
		{ MSG_RESET_PARAMETERS, COUNT_RESET_PARAMETERS }, { MSG_ESCAPE, COUNT_ESCAPE },
		{ MSG_SECURE, COUNT_SECURE }, { MSG_ABORT, COUNT_ABORT } };
	reader_count(reader, COUNT_COMMANDS);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].type == type) {
			reader_count(reader, kinds[i].count);
			return;
		}
	reader_count(reader, COUNT_OTHER);
}

/* Message bytes of an answer; room for its data must be there. */
static size_t encode(
	const struct command *command, const struct answer *answer, uint8_t *ret_bytes) {
	size_t n = answer->len;
	const uint8_t header[READER_HEADER] = { answer->type, (uint8_t)n, (uint8_t)(n >> 8),
		(uint8_t)(n >> 16), (uint8_t)(n >> 24), command->slot, command->seq, answer->status,
		answer->error, answer->extra };
	memcpy(ret_bytes, header, sizeof header);
	if (n)
		memcpy(ret_bytes + READER_HEADER, answer->data, n);
	return READER_HEADER + n;
}

static struct chunk *queue(struct reader_interface *itf, const struct command *command,
	enum chunk_kind kind, uint64_t due, const uint8_t *bytes, size_t len) {
	struct chunk *chunk = reader_queue(itf, kind, due, bytes, len);
	chunk->slot = itf->first_slot + command->slot;
	return chunk;
}

/* Time extensions before the answer: returns when the answer itself is due. */
static uint64_t queue_extensions(struct reader *reader, struct reader_interface *itf,
	const struct command *command, const struct answer *answer) {
	unsigned arg = 0, arg2, n = answer->extensions;
	uint64_t due = command->now + answer->delay_us;
	/* bmCommandStatus 2, bError: the multiplier (CCID 1.10 6.2.6) */
	const uint8_t message[READER_HEADER] = { answer->type, 0, 0, 0, 0, command->slot,
		command->seq, (uint8_t)(0x80 | (answer->status & 3)), 1, 0 };
	for (size_t i = 0; i < answer->n_signs; i++)
		queue(itf, command, CHUNK_DATA, command->now + answer->signs[i], message,
			sizeof message);
	int endless = 0;
	if (fault_strikes(reader, FAULT_EXTEND, &arg, &arg2)) {
		n += arg;
		endless = !arg;
	}
	for (unsigned i = 0; i < n; i++, due += CARD_TICK_US)
		queue(itf, command, CHUNK_DATA, due, message, sizeof message);
	if (!endless)
		return due;
	queue(itf, command, CHUNK_DATA, due, message, sizeof message)->repeat_us = CARD_TICK_US;
	return UINT64_MAX;
}

/* Changes of single fields. */
static void spoil_fields(struct reader *reader, uint8_t *message) {
	unsigned arg, arg2;
	static const struct {
		enum fault_kind kind;
		uint8_t offset;
	} fields[] = { { FAULT_TYPE, 0 }, { FAULT_STATUS, 7 }, { FAULT_ERROR, 8 },
		{ FAULT_CHAIN, 9 } };
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (fault_strikes(reader, fields[i].kind, &arg, &arg2))
			message[fields[i].offset] = (uint8_t)arg;
	/* 256: just another one */
	if (fault_strikes(reader, FAULT_SEQ, &arg, &arg2))
		message[6] = (uint8_t)(arg == 256 ? message[6] ^ 0x55u : arg);
	if (fault_strikes(reader, FAULT_SLOT, &arg, &arg2))
		message[5] = (uint8_t)(arg == 256 ? message[5] ^ 1u : arg);
	if (fault_strikes(reader, FAULT_LENGTH, &arg, &arg2))
		for (unsigned b = 0; b < 4; b++)
			message[1 + b] = (uint8_t)(arg >> (8 * b));
}

/* Changes of the message's size, `len` of now: returns that of then; at most `size`. */
static size_t spoil_size(struct reader *reader, uint8_t *message, size_t len, size_t size) {
	unsigned arg, arg2;
	size_t n;
	if (fault_strikes(reader, FAULT_GLUE, &arg, &arg2) && 2 * len <= size) {
		memcpy(message + len, message, len);
		len *= 2;
	}
	if (fault_strikes(reader, FAULT_PAD, &arg, &arg2)) {
		n = arg < size - len ? arg : size - len;
		memset(message + len, 0, n);
		len += n;
	}
	if (fault_strikes(reader, FAULT_SURPLUS, &arg, &arg2)) {
		n = arg < size - len ? arg : size - len;
		memset(message + len, 0xa5, n);
		len += n;
	}
	if (fault_strikes(reader, FAULT_GARBAGE, &arg, &arg2)) {
		len = arg < size ? arg : size;
		for (size_t i = 0; i < len; i++)
			message[i] = (uint8_t)(i * 73 + 0xc7); /* chosen: no valid type */
	}
	if (fault_strikes(reader, FAULT_CUT, &arg, &arg2) && arg < len)
		len = arg;
	return len;
}

/* What comes before the answer. */
static void queue_before(struct reader *reader, struct reader_interface *itf,
	const struct command *command, const uint8_t *message, size_t len, uint64_t due) {
	unsigned arg, arg2;
	if (fault_strikes(reader, FAULT_ZLP, &arg, &arg2))
		for (unsigned i = 0; i < arg; i++)
			queue(itf, command, CHUNK_EMPTY, due, NULL, 0);
	if (!fault_strikes(reader, FAULT_STALE, &arg, &arg2) || len < READER_HEADER)
		return;
	for (unsigned i = 0; i < arg; i++) {
		struct chunk *chunk = queue(itf, command, CHUNK_DATA, due, message, len);
		chunk->data[6] = (uint8_t)(message[6] - 1 - i);
	}
}

/* The message and what follows it. */
static void queue_message(struct reader *reader, struct reader_interface *itf,
	const struct command *command, const uint8_t *message, size_t len, uint64_t due) {
	unsigned arg, arg2;
	queue_before(reader, itf, command, message, len, due);
	if (fault_strikes(reader, FAULT_STALL_IN, &arg, &arg2)) {
		queue(itf, command, CHUNK_STALL, due, NULL, 0);
		return;
	}
	if (fault_strikes(reader, FAULT_ERROR_IN, &arg, &arg2)) {
		queue(itf, command, CHUNK_ERROR, due, NULL, 0);
		return;
	}
	if (fault_strikes(reader, FAULT_OVERFLOW, &arg, &arg2)) {
		queue(itf, command, CHUNK_OVERFLOW, due, NULL, 0);
		return;
	}
	size_t packet = 64;
	for (size_t e = 0; e < itf->model->n_endpoints; e++)
		if (itf->model->endpoints[e].address & 0x80 &&
			itf->model->endpoints[e].attributes == 2)
			packet = itf->model->endpoints[e].packet;
	if (fault_strikes(reader, FAULT_SPLIT, &arg, &arg2) && arg < len) {
		queue(itf, command, CHUNK_DATA, due, message, arg)->more = 1;
		due += (uint64_t)arg2 * 1000;
		queue(itf, command, CHUNK_DATA, due, message + arg, len - arg);
	} else {
		queue(itf, command, CHUNK_DATA, due, message, len);
	}
	if (len % packet == 0 && itf->model->zlp == MODEL_ZLP_ALWAYS)
		queue(itf, command, CHUNK_EMPTY, due, NULL, 0);
	if (fault_strikes(reader, FAULT_TWIN, &arg, &arg2))
		queue(itf, command, CHUNK_DATA, due, message, len);
	if (fault_strikes(reader, FAULT_ZLP_AFTER, &arg, &arg2))
		queue(itf, command, CHUNK_EMPTY, due, NULL, 0);
}

void ccid_answer(struct reader *reader, struct reader_interface *itf, const struct command *command,
	const struct answer *answer) {
	uint8_t message[READER_HEADER + CARD_MAX_REPLY + 4096];
	unsigned arg, arg2;
	struct reader_slot *slot = NULL;
	if (command->slot < itf->model->slots)
		slot = &reader->slots[itf->first_slot + command->slot];
	uint64_t due = queue_extensions(reader, itf, command, answer);
	if (answer->silent || fault_strikes(reader, FAULT_DROP, &arg, &arg2))
		due = UINT64_MAX;
	if (due != UINT64_MAX && fault_strikes(reader, FAULT_LATE, &arg, &arg2))
		due += (uint64_t)arg * 1000;
	if (slot) {
		slot->busy_until = due;
		slot->pending_type = command->type;
		slot->pending_seq = command->seq;
	}
	if (due == UINT64_MAX)
		return;
	struct answer changed = *answer;
	if (fault_strikes(reader, FAULT_EMPTY, &arg, &arg2))
		changed.len = 0;
	size_t len = encode(command, &changed, message);
	spoil_fields(reader, message);
	len = spoil_size(reader, message, len, sizeof message);
	queue_message(reader, itf, command, message, len, due);
}

static void power_on(struct reader_interface *itf, struct reader *reader, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	static const uint8_t bits[4] = { 0, 1, 2, 4 }; /* bPowerSelect to bVoltageSupport */
	const struct model_interface *model = itf->model;
	unsigned select = command->bytes[7];
	int automatic = model->features & (FEATURE_AUTO_VOLTAGE | FEATURE_AUTO_ACTIVATE) ? 1 : 0;
	if (!slot->card) {
		fail(answer, slot, ERROR_MUTE);
		return;
	}
	if (automatic ? select != 0 : select < 1 || select > 3 || !(bits[select] & model->volts)) {
		reader_violation(reader, "bPowerSelect %u", select);
		fail(answer, slot, ERROR_FIRST_PARAMETER);
		return;
	}
	struct card_reply *reply = &slot->reply;
	card_power_on(slot->card, automatic ? 0 : bits[select], slot->powered, reply);
	slot->powered = slot->lost = slot->settled = 0;
	ccid_reset_slot(slot);
	if (reply->outcome != CARD_ANSWERS) {
		fail(answer, slot, ERROR_MUTE);
		answer->delay_us += (uint64_t)model->mute_ms * 1000;
		return;
	}
	uint8_t check = 0;
	for (size_t i = 1; i < reply->len; i++)
		check ^= reply->data[i];
	int bad_ts = reply->data[0] != 0x3b && reply->data[0] != 0x3f;
	if (model->check_atr && (bad_ts || (slot->card->protocol && check))) {
		card_power_off(slot->card);
		fail(answer, slot, bad_ts ? ERROR_ATR_TS : ERROR_ATR_TCK);
		return;
	}
	slot->powered = 1;
	unsigned protocol = slot->card->protocol;
	if ((model->features & FEATURE_AUTO_PARAMETERS) &&
		!card_negotiate(slot->card, protocol, slot->card->atr->ta1))
		slot->settled = 1;
	exchange_defaults(slot, slot->card->protocol, slot->card->ta1);
	answer->status = 0;
	answer->data = reply->data;
	answer->len = reply->len;
}

static void give_parameters(const struct reader_slot *slot, struct answer *answer) {
	answer->status = ccid_icc(slot);
	answer->extra = (uint8_t)slot->protocol;
	answer->data = slot->params;
	answer->len = slot->protocol ? 7 : 5;
}

/* The reader does the PPS that follows from the parameters (feature 80h). */
static int automatic_pps(const struct model_interface *model, struct reader_slot *slot,
	unsigned protocol, uint8_t ta1) {
	if (!(model->features & FEATURE_AUTO_PPS) || !slot->card)
		return 0;
	return card_negotiate(slot->card, protocol, ta1);
}

static void set_parameters(struct reader *reader, const struct model_interface *model,
	struct reader_slot *slot, const struct command *command, struct answer *answer) {
	unsigned protocol = command->bytes[7];
	if (model->features & FEATURE_AUTO_PARAMETERS) {
		reader_violation(reader, "SetParameters to a reader that negotiates by itself");
		fail(answer, slot, ERROR_UNSUPPORTED);
		return;
	}
	if (protocol > 1 || !(model->protocols & (1u << protocol))) {
		fail(answer, slot, ERROR_FIRST_PARAMETER);
		return;
	}
	if (command->len != (protocol ? 7 : 5)) {
		reader_violation(reader, "SetParameters with %zu bytes", command->len);
		fail(answer, slot, ERROR_LENGTH);
		return;
	}
	if (!slot->powered) {
		fail(answer, slot, ERROR_MUTE);
		return;
	}
	/* IFSC 1 to FEh, and bits 7-2 of bmTCCKST1 as CCID 1.10 6.1.7 has them */
	if (protocol &&
		(!command->data[5] || command->data[5] == 255 ||
			(command->data[1] & 0xfc) != 0x10)) {
		fail(answer, slot, command->data[5] && command->data[5] != 255 ? 0x0b : 0x0f);
		return;
	}
	if (automatic_pps(model, slot, protocol, command->data[0])) {
		slot->card->dead = 1;
		fail(answer, slot, ERROR_MUTE);
		return;
	}
	slot->protocol = protocol;
	memcpy(slot->params, command->data, command->len);
	if (model->features & FEATURE_AUTO_PPS)
		slot->params[0] = slot->card->ta1;
	slot->settled = 1;
	give_parameters(slot, answer);
}

/* An Escape whose answer the model knows; others come back as they are. */
static void escape(struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	const struct model_interface *model = itf->model;
	itf->last_escape.len = command->len < MODEL_MAX_RAW ? command->len : 0;
	memcpy(itf->last_escape.bytes, command->data, itf->last_escape.len);
	answer->data = command->data;
	answer->len = command->len;
	for (size_t i = 0; i < model->n_escapes; i++) {
		const struct model_escape *e = &model->escapes[i];
		if (command->len < e->request.len ||
			(!e->prefix && command->len > e->request.len) ||
			memcmp(command->data, e->request.bytes, e->request.len) != 0)
			continue;
		answer->data = e->answer.bytes;
		answer->len = e->answer.len;
		if (e->fails)
			fail(answer, slot, e->error);
		if (e->sets_level)
			itf->own.features = e->features;
		return;
	}
	if (model->no_escape)
		fail(answer, slot, ERROR_UNSUPPORTED);
}

/* bClockStatus (CCID 1.10 6.2.2): 0 runs, 1 stopped low. */
static void clock_command(
	const struct reader_slot *slot, const struct command *command, struct answer *answer) {
	if (command->bytes[7] > 1)
		fail(answer, slot, ERROR_FIRST_PARAMETER);
	else if (!slot->powered)
		fail(answer, slot, ERROR_MUTE);
	else
		answer->extra = command->bytes[7];
}

/* SetDataRateAndClockFrequency: the reader takes what it is told (CCID 1.10 6.1.14). */
static void set_rate(struct reader *reader, const struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	if (command->len != 8) {
		reader_violation(
			reader, "SetDataRateAndClockFrequency with %zu bytes", command->len);
		fail(answer, slot, ERROR_LENGTH);
		return;
	}
	answer->data = command->data;
	answer->len = command->len;
}

static void take_abort(struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	/* without its control half there is nothing to abort (CCID 1.10 6.1.13) */
	if (slot->abort_seq != command->seq) {
		fail(answer, slot, ERROR_UNSUPPORTED);
		return;
	}
	reader_unqueue(itf, itf->first_slot + command->slot, command->now);
	ccid_reset_slot(slot);
	answer->status = ccid_icc(slot);
}

static void work(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer) {
	const struct model_interface *model = itf->model;
	answer->status = ccid_icc(slot);
	switch (command->type) {
	case MSG_POWER_ON: power_on(itf, reader, slot, command, answer); break;
	case MSG_POWER_OFF:
		if (slot->card)
			card_power_off(slot->card);
		slot->powered = slot->lost = 0;
		ccid_reset_slot(slot);
		answer->status = ccid_icc(slot);
		break;
	case MSG_SLOT_STATUS:
		answer->delay_us += (uint64_t)model->status_ms * 1000;
		if (!slot->card && model->empty_fails)
			fail(answer, slot, ERROR_MUTE);
		break;
	case MSG_XFR: exchange_xfr(reader, itf, slot, command, answer); break;
	case MSG_GET_PARAMETERS: give_parameters(slot, answer); break;
	case MSG_RESET_PARAMETERS:
		exchange_defaults(slot, slot->protocol, 0x11);
		give_parameters(slot, answer);
		break;
	case MSG_SET_PARAMETERS: set_parameters(reader, model, slot, command, answer); break;
	case MSG_ESCAPE: escape(itf, slot, command, answer); break;
	case MSG_SECURE: secure_message(reader, itf, slot, command, answer); break;
	case MSG_CLOCK: clock_command(slot, command, answer); break;
	case MSG_SET_RATE: set_rate(reader, slot, command, answer); break;
	case MSG_T0APDU:
		if (!(model->features & (FEATURE_SHORT | FEATURE_EXTENDED)))
			fail(answer, slot, ERROR_UNSUPPORTED);
		break;
	case MSG_MECHANICAL:
		if (!model->class_descriptor.bytes[36])
			fail(answer, slot, ERROR_UNSUPPORTED);
		break;
	case MSG_ABORT: take_abort(itf, slot, command, answer); break;
	default: fail(answer, slot, ERROR_UNSUPPORTED);
	}
}

/* How many slots of the interface are busy. */
static unsigned n_busy(
	const struct reader *reader, const struct reader_interface *itf, uint64_t now) {
	unsigned n = 0;
	for (unsigned s = 0; s < itf->model->slots; s++)
		n += reader->slots[itf->first_slot + s].busy_until > now;
	return n;
}

/* Rules of the message itself. */
static void check(
	struct reader *reader, struct reader_interface *itf, const struct command *command) {
	const uint8_t *b = command->bytes;
	int rfu = 0;
	if (command->seq == itf->last_seq)
		reader_violation(reader, "bSeq %02x twice in a row", command->seq);
	itf->last_seq = command->seq;
	if (READER_HEADER + command->len > itf->model->message_length)
		reader_violation(reader, "message of %zu bytes, the reader takes %u",
			READER_HEADER + command->len, itf->model->message_length);
	if (command->type == MSG_POWER_ON || command->type == MSG_SET_PARAMETERS)
		rfu = b[8] | b[9];
	else if (command->type != MSG_XFR && command->type != MSG_SECURE &&
		command->type != MSG_T0APDU)
		rfu = command->type == MSG_CLOCK || command->type == MSG_MECHANICAL
			? b[8] | b[9]
			: b[7] | b[8] | b[9];
	if (rfu)
		reader_violation(reader, "message %02x: RFU bytes are not 0", command->type);
}

/* What a busy slot does with another command: 1 when it has been answered. */
static int refuse_busy(struct reader *reader, struct reader_interface *itf,
	struct reader_slot *slot, const struct command *command) {
	unsigned n = itf->first_slot + command->slot;
	if (slot->busy_until > command->now && command->type != MSG_ABORT) {
		reader_count(reader, COUNT_OVERLAPS);
		if (itf->model->busy_answers) {
			const uint8_t message[READER_HEADER] = { answer_type(command->type), 0, 0,
				0, 0, command->slot, command->seq, (uint8_t)(0x40 | ccid_icc(slot)),
				ERROR_BUSY };
			queue(itf, command, CHUNK_DATA, command->now, message, sizeof message);
			return 1;
		}
		reader_unqueue(itf, n, command->now);
		slot->busy_until = 0;
	} else if (n_busy(reader, itf, command->now) >= itf->model->busy &&
		command->type != MSG_ABORT) {
		reader_violation(reader, "more than %u slots busy", itf->model->busy);
	}
	return slot->abort_seq >= 0 && command->type != MSG_ABORT;
}

void ccid_message(struct reader *reader, struct reader_interface *itf, uint64_t now) {
	const uint8_t *b = itf->rx;
	const struct command command = { .type = b[0],
		.slot = b[5],
		.seq = b[6],
		.bytes = b,
		.len = itf->rx_len - READER_HEADER,
		.data = b + READER_HEADER,
		.now = now };
	struct answer answer = { .type = answer_type(command.type),
		.delay_us = itf->model->latency_us };
	unsigned arg, arg2;
	count_command(reader, command.type);
	check(reader, itf, &command);
	if (command.slot >= itf->model->slots) {
		reader_violation(reader, "slot %u does not exist", command.slot);
		fail(&answer, NULL, ERROR_SLOT);
		ccid_answer(reader, itf, &command, &answer);
		return;
	}
	struct reader_slot *slot = &reader->slots[itf->first_slot + command.slot];
	if (refuse_busy(reader, itf, slot, &command))
		return;
	if (fault_strikes(reader, FAULT_VANISH, &arg, &arg2)) {
		reader->vanish_at = now + (uint64_t)arg * 1000;
		slot->busy_until = UINT64_MAX;
		return;
	}
	if (fault_strikes(reader, FAULT_DEAF, &arg, &arg2)) {
		slot->busy_until = UINT64_MAX;
		return;
	}
	if (fault_strikes(reader, FAULT_REFUSE, &arg, &arg2)) {
		/* a part of a command that fails is the end of all of it */
		slot->collecting = 0;
		slot->command_len = 0;
		fail(&answer, slot, (uint8_t)arg);
	} else if (READER_HEADER + command.len > itf->model->message_length)
		fail(&answer, slot, ERROR_LENGTH);
	else
		work(reader, itf, slot, &command, &answer);
	ccid_answer(reader, itf, &command, &answer);
	if (command.type != MSG_ESCAPE)
		itf->last_escape.len = 0;
	itf->last_at = now;
}
