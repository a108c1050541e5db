/* SPDX-License-Identifier: MIT */
/*
 * Faults ordered for a reader: reading their text form, and finding those that strike a command.
 *
 * A fault strikes when the command that it waits for has come; all its effects are on that command
 * and its answer. fault_match decides it once for each command, so that skip= and times= count
 * commands, not looks.
 */
#include <errno.h>
#include <string.h>

#include "tests/model/reader-state.h"
#include "tests/model/text.h"

/* How a fault's number is read, and what it is when it is not given. */
static const struct {
	const char *name;
	enum fault_kind kind;
	unsigned arg;
	int hex;
} KINDS[] = {
	{ "seq", FAULT_SEQ, 256, 1 }, /* 256: another one than the right one */
	{ "slot", FAULT_SLOT, 256, 1 },
	{ "type", FAULT_TYPE, 0x6f, 1 },
	{ "status", FAULT_STATUS, 0xc0, 1 },
	{ "error", FAULT_ERROR, 0xfb, 1 },
	{ "chain", FAULT_CHAIN, 1, 1 },
	{ "length", FAULT_LENGTH, 0xffffffff, 1 },
	{ "stale", FAULT_STALE, 1, 0 },
	{ "refuse", FAULT_REFUSE, ERROR_BUSY, 1 },
	{ "drop", FAULT_DROP, 0, 0 },
	{ "deaf", FAULT_DEAF, 0, 0 },
	{ "late", FAULT_LATE, 1000, 0 },
	{ "extend", FAULT_EXTEND, 1, 0 },
	{ "cut", FAULT_CUT, 9, 0 },
	{ "empty", FAULT_EMPTY, 0, 0 },
	{ "pad", FAULT_PAD, 4, 0 },
	{ "surplus", FAULT_SURPLUS, 4, 0 },
	{ "twin", FAULT_TWIN, 0, 0 },
	{ "glue", FAULT_GLUE, 0, 0 },
	{ "split", FAULT_SPLIT, 64, 0 },
	{ "garbage", FAULT_GARBAGE, 32, 0 },
	{ "zlp", FAULT_ZLP, 1, 0 },
	{ "zlp-after", FAULT_ZLP_AFTER, 0, 0 },
	{ "stall-in", FAULT_STALL_IN, 0, 0 },
	{ "stall-out", FAULT_STALL_OUT, 0, 0 },
	{ "nak-out", FAULT_NAK_OUT, 0, 0 },
	{ "error-in", FAULT_ERROR_IN, 0, 0 },
	{ "overflow", FAULT_OVERFLOW, 0, 0 },
	{ "vanish", FAULT_VANISH, 0, 0 },
	{ "control-stall", FAULT_CONTROL_STALL, 256, 1 },
	{ "control-short", FAULT_CONTROL_SHORT, 1, 0 },
	{ "control-hang", FAULT_CONTROL_HANG, 256, 1 },
	{ "interrupt-error", FAULT_INTERRUPT_ERROR, 1, 0 },
	{ "interrupt-stall", FAULT_INTERRUPT_STALL, 0, 0 },
	{ "interrupt-silent", FAULT_INTERRUPT_SILENT, 0, 0 },
	{ "t1-edc", FAULT_CARD + CARD_FAULT_EDC, 0, 0 },
	{ "t1-ns", FAULT_CARD + CARD_FAULT_NS, 0, 0 },
	{ "t1-nad", FAULT_CARD + CARD_FAULT_NAD, 0, 0 },
	{ "t1-pcb", FAULT_CARD + CARD_FAULT_PCB, 0xc4, 1 }, /* C4h: reserved */
	{ "t1-len", FAULT_CARD + CARD_FAULT_LEN, 0, 0 },
	{ "t1-short", FAULT_CARD + CARD_FAULT_SHORT, 0, 0 },
	{ "t1-garbage", FAULT_CARD + CARD_FAULT_GARBAGE, 20, 0 },
	{ "t1-lose", FAULT_CARD + CARD_FAULT_LOSE, 0, 0 },
	{ "t1-deaf", FAULT_CARD + CARD_FAULT_DEAF, 0, 0 },
	{ "t1-parity", FAULT_CARD + CARD_FAULT_PARITY, 0, 0 },
	{ "t1-reject", FAULT_CARD + CARD_FAULT_REJECT, 0, 0 },
	{ "t1-wtx", FAULT_CARD + CARD_FAULT_WTX, 1, 0 },
	{ "t1-ifs", FAULT_CARD + CARD_FAULT_IFS, 32, 0 },
	{ "t1-abort", FAULT_CARD + CARD_FAULT_ABORT, 0, 0 },
};

static int parse_arg(const char *value, int hex, struct fault *fault) {
	char buf[32];
	if (strlen(value) >= sizeof buf)
		return -EINVAL;
	strcpy(buf, value);
	char *second = strchr(buf, ':');
	if (second)
		*second++ = 0;
	if (second && text_number(second, UINT32_MAX, &fault->arg2))
		return -EINVAL;
	return hex ? text_hex_number(buf, UINT32_MAX, &fault->arg)
		   : text_number(buf, UINT32_MAX, &fault->arg);
}

static int parse_kind(char *word, struct fault *fault) {
	char *value = word;
	const char *name = strsep(&value, "=");
	for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
		if (strcmp(name, KINDS[i].name) != 0)
			continue;
		fault->kind = KINDS[i].kind;
		fault->arg = KINDS[i].arg;
		return value ? parse_arg(value, KINDS[i].hex, fault) : 0;
	}
	return -EINVAL;
}

static int parse(char *text, struct fault *ret_fault) {
	struct fault fault = { .on = -1, .slot = -1, .times = 1 };
	char *rest = text, *word = text_word(&rest);
	if (!word || parse_kind(word, &fault))
		return -EINVAL;
	while ((word = text_word(&rest))) {
		char *value = word;
		const char *key = strsep(&value, "=");
		unsigned n;
		if (!value)
			return -EINVAL;
		int hex = !strcmp(key, "on");
		if (hex ? text_hex_number(value, 255, &n) : text_number(value, 1u << 30, &n))
			return -EINVAL;
		if (hex)
			fault.on = (int)n;
		else if (!strcmp(key, "slot"))
			fault.slot = (int)n;
		else if (!strcmp(key, "skip"))
			fault.skip = n;
		else if (!strcmp(key, "times"))
			fault.times = n;
		else
			return -EINVAL;
	}
	*ret_fault = fault;
	return 0;
}

/* Faults that need no command. */
static int strike_now(struct reader *reader, const struct fault *fault) {
	unsigned slot = fault->slot < 0 ? 0 : (unsigned)fault->slot;
	struct reader_interface *itf = reader_interface_of(reader, slot);
	if (!itf)
		return -EINVAL;
	if (fault->kind == FAULT_INTERRUPT_ERROR)
		itf->interrupt_errors = (int)fault->arg;
	if (fault->kind == FAULT_INTERRUPT_STALL)
		itf->halted_interrupt = 1;
	if (fault->kind == FAULT_INTERRUPT_SILENT)
		itf->interrupt_silent = 1;
	if (fault->kind < FAULT_CARD)
		return 0;
	struct card *card = reader->slots[slot].card;
	const struct card_fault order = { .kind = (enum card_fault_kind)(fault->kind - FAULT_CARD),
		.arg = fault->arg,
		.skip = fault->skip,
		.times = fault->times };
	return card ? card_fault(card, &order) : -EINVAL;
}

int reader_fault(struct reader *reader, char *text, uint64_t now) {
	struct fault fault;
	int r = parse(text, &fault);
	if (r)
		return r;
	if (fault.kind == FAULT_VANISH && fault.on < 0 && !fault.skip) {
		reader->vanish_at = now + (uint64_t)fault.arg * 1000;
		return 0;
	}
	if (fault.kind >= FAULT_INTERRUPT_ERROR)
		return strike_now(reader, &fault);
	for (size_t i = 0; i < READER_MAX_FAULTS; i++)
		if (reader->faults[i].kind == FAULT_NONE) {
			reader->faults[i] = fault;
			return 0;
		}
	return -ENOSPC;
}

void reader_faults_clear(struct reader *reader) {
	memset(reader->faults, 0, sizeof reader->faults);
	reader->vanish_at = UINT64_MAX;
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		reader->interfaces[i].interrupt_errors = 0;
		reader->interfaces[i].interrupt_silent = 0;
	}
	for (unsigned i = 0; i < reader->n_slots; i++)
		if (reader->slots[i].card)
			card_faults_clear(reader->slots[i].card);
}

/* The last command is over: its faults count down. */
static void fault_done(struct fault *fault) {
	if (fault->strikes && fault->times && !--fault->times)
		fault->kind = FAULT_NONE;
	fault->strikes = 0;
}

static void fault_arm(struct fault *fault, int fits) {
	if (fits && fault->skip)
		fault->skip--;
	else if (fits)
		fault->strikes = 1;
}

void fault_match(struct reader *reader, uint8_t type, unsigned slot) {
	for (size_t i = 0; i < READER_MAX_FAULTS; i++) {
		struct fault *fault = &reader->faults[i];
		fault_done(fault);
		int fits = fault->kind != FAULT_NONE && fault->kind < FAULT_CONTROL_STALL &&
			(fault->on < 0 || fault->on == type) &&
			(fault->slot < 0 || (unsigned)fault->slot == slot);
		fault_arm(fault, fits);
	}
}

void fault_match_request(
	struct reader *reader, uint8_t request, unsigned slot, enum iccd_draws draws) {
	for (size_t i = 0; i < READER_MAX_FAULTS; i++) {
		struct fault *fault = &reader->faults[i];
		fault_done(fault);
		int of_command = fault->kind == FAULT_LATE || fault->kind == FAULT_EXTEND ||
			fault->kind == FAULT_DROP || fault->kind == FAULT_DEAF ||
			fault->kind == FAULT_REFUSE || fault->kind == FAULT_VANISH ||
			fault->kind == FAULT_STALL_OUT;
		enum iccd_draws wants = of_command ? ICCD_DRAWS_COMMAND : ICCD_DRAWS_ANSWER;
		int fits = fault->kind != FAULT_NONE && fault->kind < FAULT_CONTROL_STALL &&
			(fault->on < 0 ? wants == draws : fault->on == request) &&
			(fault->slot < 0 || (unsigned)fault->slot == slot);
		fault_arm(fault, fits);
	}
}

int fault_strikes(
	struct reader *reader, enum fault_kind kind, unsigned *ret_arg, unsigned *ret_arg2) {
	for (size_t i = 0; i < READER_MAX_FAULTS; i++) {
		const struct fault *fault = &reader->faults[i];
		if (fault->kind != kind || !fault->strikes)
			continue;
		*ret_arg = fault->arg;
		*ret_arg2 = fault->arg2;
		return 1;
	}
	return 0;
}

int fault_control(
	struct reader *reader, enum fault_kind kind, unsigned request, unsigned *ret_arg) {
	for (size_t i = 0; i < READER_MAX_FAULTS; i++) {
		struct fault *fault = &reader->faults[i];
		int named = kind != FAULT_CONTROL_SHORT && fault->arg != 256;
		if (fault->kind != kind || (named && fault->arg != request))
			continue;
		if (fault->skip) {
			fault->skip--;
			continue;
		}
		*ret_arg = fault->arg;
		if (fault->times && !--fault->times)
			fault->kind = FAULT_NONE;
		return 1;
	}
	return 0;
}
