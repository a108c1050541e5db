/* SPDX-License-Identifier: MIT */
/*
 * Tokens that speak over control transfers alone (USB ICCD 1.0): versions A and B.
 *
 * Version A shows T=0 as it is: header, data, status word, each in a transfer of its own, and a
 * status byte that says whose turn it is. Version B takes APDUs, in parts where they are long, and
 * answers each part with a type byte first. Both finish a request at once; what takes time is told
 * by "busy" (A) or by polling answers (B), so no control transfer ever waits. Ordered faults change
 * what is given last. What the host may not do is a violation, and a stall where a token would.
 */
#include <errno.h>
#include <string.h>

#include "tests/model/reader-state.h"

/* bmRequestType and bRequest as one number (ICCD 1.0 6.1, 6.2). */
enum {
	POWER_ON_A = 0xa162,
	POWER_ON_B = 0x2162,
	POWER_OFF = 0x2163,
	XFR_BLOCK = 0x2165,
	DATA_BLOCK = 0xa16f,
	STATUS_A = 0xa1a0,
	STATUS_B = 0xa181,
};

/* Status byte of version A; bResponseType and bLevelParameter of version B. */
enum {
	STATUS_READY = 0x00,
	STATUS_DATA_PHASE = 0x10,
	STATUS_WORDS = 0x20,
	STATUS_BUSY = 0x40,
	STATUS_MUTE = 0x80,
	WHOLE = 0,
	BEGINS = 1,
	ENDS = 2,
	CONTINUES = 3,
	EMPTY = 0x10,
	TYPE_STATUS = 0x40,
	TYPE_POLLING = 0x80,
};

enum {
	/* usbfs takes no more in one control transfer (MAX_USBFS_CTRL, one page). */
	MAX_CONTROL = 4096,
	/* The longest short APDU (ISO/IEC 7816-3 12.1). */
	MAX_SHORT_APDU = 261,
	/* TS and 32 characters (ISO/IEC 7816-3 8.2.1). */
	MIN_ATR_ROOM = 33,
	/* A polling answer may tell 655 s; a host need not believe more than this. Chosen. */
	MAX_TOLD_US = 5000000,
	/* Our clock and the host's timers need not agree better than this. Chosen. */
	SLACK_US = 1000,
};

/* A request under work. */
struct request {
	struct reader *reader;
	struct reader_interface *itf;
	struct reader_slot *slot;
	const uint8_t *setup;
	uint8_t *data;
	size_t size;
	uint64_t now;
};

void iccd_reset(struct reader_interface *itf) {
	itf->iccd = (struct iccd){ .step = ICCD_IDLE };
}

static void set_step(struct request *r, enum iccd_step step) {
	r->itf->iccd.step = step;
	r->slot->answer_off = 0;
}

static void set_failed(struct request *r, uint8_t error) {
	set_step(r, ICCD_FAILED);
	r->itf->iccd.error = error;
}

static int refuse(struct request *r, const char *why) {
	reader_violation(r->reader, "request %02x: %s", r->setup[1], why);
	return -EPIPE;
}

/* When the answer is ready, as the model, the card and ordered faults want it. */
static void take_time(struct request *r, uint64_t card_us) {
	struct iccd *iccd = &r->itf->iccd;
	unsigned arg, arg2;
	iccd->ready_at = r->now + (uint64_t)r->itf->model->poll_ms * 1000 + card_us;
	iccd->ask_at = 0;
	if (fault_strikes(r->reader, FAULT_LATE, &arg, &arg2))
		iccd->ready_at += (uint64_t)arg * 1000;
	if (fault_strikes(r->reader, FAULT_EXTEND, &arg, &arg2))
		iccd->ready_at = arg ? iccd->ready_at + (uint64_t)arg * CARD_TICK_US : UINT64_MAX;
	if (fault_strikes(r->reader, FAULT_DROP, &arg, &arg2))
		iccd->ready_at = UINT64_MAX;
}

/* Faults that keep a command from the card. */
static int kept_back(struct request *r) {
	unsigned arg, arg2;
	if (fault_strikes(r->reader, FAULT_DEAF, &arg, &arg2)) {
		set_step(r, ICCD_DATA);
		r->itf->iccd.ready_at = UINT64_MAX;
		return 1;
	}
	if (!fault_strikes(r->reader, FAULT_REFUSE, &arg, &arg2))
		return 0;
	set_failed(r, (uint8_t)arg);
	take_time(r, 0);
	return 1;
}

/* What the card said waits to be fetched; `step` is where its answer begins. */
static void card_said(struct request *r, enum iccd_step step) {
	const struct card_reply *reply = &r->slot->reply;
	if (reply->outcome == CARD_ANSWERS)
		set_step(r, step);
	else
		set_failed(r, reply->outcome == CARD_PARITY ? ERROR_PARITY : ERROR_MUTE);
	take_time(r, reply->delay_us + (uint64_t)reply->extensions * CARD_TICK_US);
	if (reply->outcome == CARD_HANGS)
		r->itf->iccd.ready_at = UINT64_MAX;
}

/* Gives `len` bytes, as the faults that strike will have them. */
static int give(struct request *r, const uint8_t *bytes, size_t len) {
	uint8_t out[MAX_CONTROL];
	unsigned arg, arg2;
	size_t at = r->setup[1] == (STATUS_A & 0xff) ? 0 : 1;
	if (len > sizeof out)
		len = sizeof out;
	if (len)
		memcpy(out, bytes, len);
	if (fault_strikes(r->reader, FAULT_ERROR, &arg, &arg2)) {
		const uint8_t failed[3] = { TYPE_STATUS, (uint8_t)(0x40 | ccid_icc(r->slot)),
			(uint8_t)arg };
		memcpy(out, failed, len = sizeof failed);
	}
	if (fault_strikes(r->reader, FAULT_TYPE, &arg, &arg2))
		out[0] = (uint8_t)arg;
	if (fault_strikes(r->reader, FAULT_STATUS, &arg, &arg2) && at < len)
		out[at] = (uint8_t)arg;
	if (fault_strikes(r->reader, FAULT_EMPTY, &arg, &arg2))
		len = 0;
	if (fault_strikes(r->reader, FAULT_SURPLUS, &arg, &arg2))
		for (; arg && len < sizeof out; arg--)
			out[len++] = 0xa5;
	if (fault_strikes(r->reader, FAULT_PAD, &arg, &arg2))
		for (; arg && len < sizeof out; arg--)
			out[len++] = 0;
	if (fault_strikes(r->reader, FAULT_GARBAGE, &arg, &arg2)) {
		len = arg < sizeof out ? arg : sizeof out;
		for (size_t i = 0; i < len; i++)
			out[i] = (uint8_t)(i * 73 + 0xc7); /* chosen: no known type */
	}
	if (fault_strikes(r->reader, FAULT_CUT, &arg, &arg2) && arg < len)
		len = arg;
	if (len > r->size)
		len = r->size;
	if (len)
		memcpy(r->data, out, len);
	reader_trace(r->reader, '<', out, len);
	return (int)len;
}

/* Faults in place of an answer: 0, or what the transfer ends with. */
static int broken(struct request *r) {
	unsigned arg, arg2;
	if (fault_strikes(r->reader, FAULT_STALL_IN, &arg, &arg2) ||
		fault_strikes(r->reader, FAULT_STALL_OUT, &arg, &arg2))
		return -EPIPE;
	if (fault_strikes(r->reader, FAULT_ERROR_IN, &arg, &arg2))
		return -EPROTO;
	if (fault_strikes(r->reader, FAULT_OVERFLOW, &arg, &arg2))
		return -EOVERFLOW;
	if (fault_strikes(r->reader, FAULT_VANISH, &arg, &arg2)) {
		r->reader->vanish_at = r->now + (uint64_t)arg * 1000;
		return -EINPROGRESS;
	}
	return 0;
}

/* The part of powering up that both versions share. */
static void power_on(struct request *r) {
	struct reader_slot *slot = r->slot;
	if (slot->powered)
		reader_violation(r->reader, "power-on of a card that has power");
	slot->reply.outcome = CARD_MUTE;
	slot->reply.delay_us = 0;
	slot->reply.extensions = 0;
	slot->reply.len = 0;
	if (slot->card)
		card_power_on(slot->card, 0, 0, &slot->reply);
	ccid_reset_slot(slot);
	slot->lost = 0;
	slot->powered = slot->reply.outcome == CARD_ANSWERS;
	if (!slot->powered)
		return;
	/* the token and its chip are one: they agree on everything */
	exchange_defaults(slot, slot->card->protocol, slot->card->ta1);
	slot->settled = 1;
}

static int power_on_a(struct request *r) {
	unsigned arg, arg2;
	const struct card_reply *reply = &r->slot->reply;
	if (r->itf->iccd.ready_at > r->now)
		return refuse(r, "busy");
	if (r->size < MIN_ATR_ROOM)
		reader_violation(r->reader, "room of %zu bytes for the ATR", r->size);
	if (fault_strikes(r->reader, FAULT_REFUSE, &arg, &arg2))
		return -EPIPE;
	power_on(r);
	/* with the ATR it has said all: ready for a command */
	set_step(r, r->slot->powered ? ICCD_IDLE : ICCD_FAILED);
	return r->slot->powered ? give(r, reply->data, reply->len) : -EPIPE;
}

static int power_on_b(struct request *r) {
	if (r->size)
		return refuse(r, "data");
	if (kept_back(r))
		return 0;
	power_on(r);
	card_said(r, ICCD_DATA);
	return 0;
}

/* Always possible: the token forgets what it was doing. */
static int power_off(struct request *r) {
	if (r->slot->card)
		card_power_off(r->slot->card);
	r->slot->powered = r->slot->lost = 0;
	ccid_reset_slot(r->slot);
	iccd_reset(r->itf);
	/* version B does not tell that it is busy without a command */
	if (r->itf->model->transport == MODEL_ICCD_A)
		take_time(r, 0);
	return 0;
}

/* Version A: the card has header and data. */
static void run_a(struct request *r) {
	struct reader_slot *slot = r->slot;
	slot->reply.outcome = CARD_MUTE;
	slot->reply.delay_us = 0;
	slot->reply.extensions = 0;
	if (!slot->card->protocol) /* this interface knows T=0 only */
		card_tpdu(slot->card, slot->header, slot->header_len, &slot->reply);
	slot->header_len = 0;
	card_said(r, slot->reply.len > 2 ? ICCD_DATA : ICCD_STATUS);
}

static int xfr_a(struct request *r) {
	struct reader_slot *slot = r->slot;
	struct iccd *iccd = &r->itf->iccd;
	if (iccd->ready_at > r->now)
		return refuse(r, "busy");
	if (!slot->powered && !slot->lost)
		return refuse(r, "no power");
	if (!slot->powered)
		return -EPIPE;
	if (iccd->step == ICCD_COMMAND) {
		size_t left = 5u + slot->header[4] - slot->header_len;
		if (!r->size || r->size > left)
			return refuse(r, "not the data that P3 announces");
		memcpy(slot->header + slot->header_len, r->data, r->size);
		slot->header_len += r->size;
		if (r->size < left)
			return 0;
		run_a(r);
		return 0;
	}
	if (iccd->step == ICCD_FAILED)
		return -EPIPE;
	if (iccd->step != ICCD_IDLE)
		return refuse(r, "an answer waits");
	if (r->size != 5)
		return refuse(r, "a header has five bytes");
	if (kept_back(r))
		return 0;
	memcpy(slot->header, r->data, 5);
	slot->header_len = 5;
	if (slot->header[4] && card_t0_takes_data(slot->header[1])) {
		set_step(r, ICCD_COMMAND);
		take_time(r, 0);
	} else {
		run_a(r);
	}
	return 0;
}

static int data_block_a(struct request *r) {
	struct iccd *iccd = &r->itf->iccd;
	const struct card_reply *reply = &r->slot->reply;
	size_t n = reply->len < 2 ? 0 : reply->len - 2;
	if (iccd->ready_at > r->now)
		return refuse(r, "busy");
	if (iccd->step == ICCD_DATA) {
		if (r->size < n)
			reader_violation(r->reader, "asks for %zu of %zu bytes", r->size, n);
		iccd->step = ICCD_STATUS;
		return give(r, reply->data, n);
	}
	if (iccd->step != ICCD_STATUS)
		return refuse(r, "nothing to fetch");
	if (r->size != 2)
		reader_violation(r->reader, "asks for %zu bytes of status words", r->size);
	iccd->step = ICCD_IDLE;
	return give(r, reply->data + n, reply->len - n);
}

static int status_a(struct request *r) {
	static const uint8_t bytes[] = { [ICCD_IDLE] = STATUS_READY,
		[ICCD_COMMAND] = STATUS_DATA_PHASE,
		[ICCD_DATA] = STATUS_DATA_PHASE,
		[ICCD_STATUS] = STATUS_WORDS,
		[ICCD_MORE] = STATUS_READY,
		[ICCD_FAILED] = STATUS_MUTE };
	const struct iccd *iccd = &r->itf->iccd;
	uint8_t status = bytes[iccd->step];
	if (r->size != 1)
		reader_violation(r->reader, "asks for %zu bytes of status", r->size);
	if (!r->slot->card) {
		status = STATUS_MUTE;
	} else if (iccd->ready_at > r->now) {
		reader_count(r->reader, COUNT_POLLS);
		status = STATUS_BUSY;
	}
	return give(r, &status, 1);
}

/* Version B: a part of a command. 1: it is whole; 0: more is to come; -1: out of order. */
static int collect(struct request *r, unsigned level) {
	struct reader_slot *slot = r->slot;
	int starts = level == WHOLE || level == BEGINS;
	if (level > CONTINUES || starts == slot->collecting ||
		slot->command_len + r->size > sizeof slot->command) {
		reader_violation(r->reader, "bLevelParameter %02x out of order", level);
		slot->collecting = 0;
		slot->command_len = 0;
		return -1;
	}
	if (starts)
		slot->command_len = 0;
	if (r->size)
		memcpy(slot->command + slot->command_len, r->data, r->size);
	slot->command_len += r->size;
	slot->collecting = level == BEGINS || level == CONTINUES;
	return !slot->collecting;
}

/* The next part of the answer is asked for. */
static int xfr_b_next(struct request *r) {
	size_t off = r->slot->answer_off;
	if (r->size)
		return refuse(r, "an empty block has no data");
	r->slot->handing_out = 0;
	set_step(r, ICCD_DATA);
	r->slot->answer_off = off;
	take_time(r, 0);
	return 0;
}

/* Version B at character level: bLevelParameter is the number of bytes expected back, as
 * wLevelParameter of XfrBlock (CCID 1.10 6.1.4). */
static void run_character(struct request *r) {
	struct reader_slot *slot = r->slot;
	const uint8_t header[READER_HEADER] = { [8] = r->setup[3] };
	const struct command command = {
		.bytes = header, .len = r->size, .data = r->data, .now = r->now
	};
	struct answer answer = { 0 };
	exchange_character(r->reader, r->itf, slot, &command, &answer);
	if (answer.status) {
		set_failed(r, answer.error);
	} else {
		memmove(slot->reply.data, answer.data, answer.len);
		slot->reply.len = answer.len;
		set_step(r, ICCD_DATA);
	}
	take_time(r, answer.delay_us + (uint64_t)answer.extensions * CARD_TICK_US);
	if (answer.silent)
		r->itf->iccd.ready_at = UINT64_MAX;
}

static int xfr_b(struct request *r) {
	struct reader_slot *slot = r->slot;
	unsigned level = r->setup[3];
	if (r->setup[2])
		reader_violation(r->reader, "wValue %02x%02x", r->setup[3], r->setup[2]);
	int character = !(r->itf->model->features & (FEATURE_SHORT | FEATURE_EXTENDED));
	/* a T=0 command's data cannot be cut, and there is no header in front of it */
	if (r->size + (character ? 0 : READER_HEADER) > r->itf->model->message_length)
		return refuse(r, "longer than dwMaxCCIDMessageLength allows");
	if (r->itf->iccd.step != ICCD_IDLE)
		reader_violation(r->reader, "XFR_BLOCK while an answer waits");
	if (!slot->powered) {
		if (!slot->lost)
			reader_violation(r->reader, "XFR_BLOCK to a card without power");
		set_failed(r, ERROR_MUTE);
		take_time(r, 0);
		return 0;
	}
	if (level == EMPTY && slot->handing_out && !character)
		return xfr_b_next(r);
	slot->handing_out = 0;
	if (kept_back(r))
		return 0;
	if (character) {
		run_character(r);
		return 0;
	}
	int whole = collect(r, level);
	if (whole < 0) {
		set_failed(r, ERROR_LEVEL);
		take_time(r, 0);
	} else if (!whole) {
		set_step(r, ICCD_MORE);
		take_time(r, 0);
	} else if (slot->command_len > MAX_SHORT_APDU &&
		!(r->itf->model->features & FEATURE_EXTENDED)) {
		set_failed(r, ERROR_LENGTH);
		take_time(r, 0);
	} else {
		exchange_apdu(r->itf->model, slot, slot->command, slot->command_len);
		slot->command_len = 0;
		card_said(r, ICCD_DATA);
	}
	return 0;
}

/* The next part of the answer: as much as the token gives at once, and as there is room for. */
static int give_part(struct request *r) {
	const struct model_interface *model = r->itf->model;
	struct reader_slot *slot = r->slot;
	uint8_t bytes[MAX_CONTROL];
	size_t left = slot->reply.len - slot->answer_off, n = sizeof bytes - 1;
	int first = slot->answer_off == 0;
	if (model->part && model->part < n)
		n = model->part;
	else if ((model->features & FEATURE_EXTENDED) && model->message_length - READER_HEADER < n)
		n = model->message_length - READER_HEADER;
	if (n > r->size - 1)
		n = r->size - 1;
	int more = left > n;
	if (!more)
		n = left;
	bytes[0] = (uint8_t)(more ? (first ? BEGINS : CONTINUES) : (first ? WHOLE : ENDS));
	memcpy(bytes + 1, slot->reply.data + slot->answer_off, n);
	slot->answer_off += n;
	slot->handing_out = more;
	r->itf->iccd.step = ICCD_IDLE;
	return give(r, bytes, n + 1);
}

static int give_polling(struct request *r) {
	unsigned units = r->itf->model->poll_units;
	const uint8_t bytes[3] = { TYPE_POLLING, (uint8_t)units, (uint8_t)(units >> 8) };
	uint64_t told = (uint64_t)units * 10000;
	r->itf->iccd.ask_at = units ? r->now + (told < MAX_TOLD_US ? told : MAX_TOLD_US) : 0;
	reader_count(r->reader, COUNT_POLLS);
	return give(r, bytes, sizeof bytes);
}

static int data_block_b(struct request *r) {
	struct iccd *iccd = &r->itf->iccd;
	unsigned arg, arg2;
	if (r->size < 4) {
		reader_violation(r->reader, "DATA_BLOCK with room for %zu bytes", r->size);
		return -EPIPE;
	}
	if (iccd->step == ICCD_IDLE)
		return refuse(r, "nothing to fetch");
	if (r->now + SLACK_US < iccd->ask_at)
		reader_violation(r->reader, "asked %u ms too early",
			(unsigned)((iccd->ask_at - r->now) / 1000));
	/* ordered for this request by its number */
	if (fault_strikes(r->reader, FAULT_LATE, &arg, &arg2) ||
		fault_strikes(r->reader, FAULT_EXTEND, &arg, &arg2) ||
		fault_strikes(r->reader, FAULT_DROP, &arg, &arg2))
		take_time(r, 0);
	if (iccd->ready_at > r->now)
		return give_polling(r);
	if (iccd->step == ICCD_DATA)
		return give_part(r);
	const uint8_t more[1] = { EMPTY };
	const uint8_t failed[3] = { TYPE_STATUS, (uint8_t)(0x40 | ccid_icc(r->slot)), iccd->error };
	int is_more = iccd->step == ICCD_MORE;
	iccd->step = ICCD_IDLE;
	return is_more ? give(r, more, sizeof more) : give(r, failed, sizeof failed);
}

static int status_b(struct request *r) {
	const uint8_t bytes[3] = { TYPE_STATUS, ccid_icc(r->slot), 0 };
	if (r->size != sizeof bytes)
		reader_violation(r->reader, "asks for %zu bytes of status", r->size);
	return give(r, bytes, sizeof bytes);
}

/* Requests by version, what they count as, and the faults that they draw without being named. */
static const struct {
	enum model_transport transport;
	unsigned request;
	int (*run)(struct request *r);
	enum reader_count count;
	enum iccd_draws draws;
	int valued; /* wValue means something */
} REQUESTS[] = {
	{ MODEL_ICCD_A, POWER_ON_A, power_on_a, COUNT_POWER_ON, ICCD_DRAWS_ANSWER, 0 },
	{ MODEL_ICCD_A, POWER_OFF, power_off, COUNT_POWER_OFF, ICCD_DRAWS_NAMED, 0 },
	{ MODEL_ICCD_A, XFR_BLOCK, xfr_a, COUNT_XFR, ICCD_DRAWS_COMMAND, 0 },
	{ MODEL_ICCD_A, DATA_BLOCK, data_block_a, COUNT_DATA_BLOCK, ICCD_DRAWS_ANSWER, 0 },
	{ MODEL_ICCD_A, STATUS_A, status_a, COUNT_SLOT_STATUS, ICCD_DRAWS_NAMED, 0 },
	{ MODEL_ICCD_B, POWER_ON_B, power_on_b, COUNT_POWER_ON, ICCD_DRAWS_COMMAND, 1 },
	{ MODEL_ICCD_B, POWER_OFF, power_off, COUNT_POWER_OFF, ICCD_DRAWS_NAMED, 0 },
	{ MODEL_ICCD_B, XFR_BLOCK, xfr_b, COUNT_XFR, ICCD_DRAWS_COMMAND, 1 },
	{ MODEL_ICCD_B, DATA_BLOCK, data_block_b, COUNT_DATA_BLOCK, ICCD_DRAWS_ANSWER, 0 },
	{ MODEL_ICCD_B, STATUS_B, status_b, COUNT_SLOT_STATUS, ICCD_DRAWS_NAMED, 0 },
};

int iccd_request(struct reader *reader, struct reader_interface *itf, const uint8_t *setup,
	uint8_t *data, size_t size, uint64_t now) {
	struct request r = { reader, itf, &reader->slots[itf->first_slot], setup, data, size, now };
	size_t length = setup[6] | (size_t)setup[7] << 8;
	unsigned request = (unsigned)setup[0] << 8 | setup[1];
	if (itf->first_slot >= reader->n_slots)
		return -EPIPE;
	if (length > MAX_CONTROL)
		return refuse(&r, "wLength above 4096");
	for (size_t i = 0; i < sizeof REQUESTS / sizeof *REQUESTS; i++) {
		if (REQUESTS[i].transport != itf->model->transport ||
			REQUESTS[i].request != request)
			continue;
		if (!REQUESTS[i].valued && (setup[2] || setup[3]))
			reader_violation(reader, "request %02x: wValue %02x%02x", setup[1],
				setup[3], setup[2]);
		reader_count(reader, COUNT_COMMANDS);
		reader_count(reader, REQUESTS[i].count);
		if (!(setup[0] & 0x80) && size)
			reader_trace(reader, '>', data, size);
		fault_match_request(reader, setup[1], itf->first_slot, REQUESTS[i].draws);
		int result = broken(&r);
		if (!result)
			result = REQUESTS[i].run(&r);
		/* all of what came was taken */
		return !result && !(setup[0] & 0x80) ? (int)size : result;
	}
	return refuse(&r, "no such request");
}
