/* SPDX-License-Identifier: MIT */
/* What an emulated reader remembers for tests: counters, messages, and what the host did wrong. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/reader-state.h"

static const char *const NAMES[N_COUNTS] = {
	[COUNT_BULK_OUT] = "bulk_out",
	[COUNT_BULK_OUT_ZLP] = "bulk_out_zlp",
	[COUNT_BULK_IN] = "bulk_in",
	[COUNT_BULK_IN_ZLP] = "bulk_in_zlp",
	[COUNT_INTERRUPT] = "interrupt",
	[COUNT_CONTROL] = "control",
	[COUNT_COMMANDS] = "commands",
	[COUNT_POWER_ON] = "power_on",
	[COUNT_POWER_OFF] = "power_off",
	[COUNT_SLOT_STATUS] = "slot_status",
	[COUNT_XFR] = "xfr",
	[COUNT_GET_PARAMETERS] = "get_parameters",
	[COUNT_SET_PARAMETERS] = "set_parameters",
	[COUNT_RESET_PARAMETERS] = "reset_parameters",
	[COUNT_ESCAPE] = "escape",
	[COUNT_SECURE] = "secure",
	[COUNT_ABORT] = "abort",
	[COUNT_OTHER] = "other",
	[COUNT_CLEAR_HALT] = "clear_halt",
	[COUNT_SET_INTERFACE] = "set_interface",
	[COUNT_SET_CONFIGURATION] = "set_configuration",
	[COUNT_RESET_DEVICE] = "reset_device",
	[COUNT_DATA_BLOCK] = "data_block",
	[COUNT_POLLS] = "polls",
	[COUNT_OVERLAPS] = "overlaps",
	[COUNT_VIOLATIONS] = "violations",
	[COUNT_SUBMITS] = "submits",
	[COUNT_REAPS] = "reaps",
	[COUNT_EMPTY_REAPS] = "empty_reaps",
	[COUNT_DISCARDS] = "discards",
	[COUNT_CLAIMS] = "claims",
	[COUNT_OPENS] = "opens",
};

/* The card's counters, in this order. */
static const char *const CARD_NAMES[] = { "apdus", "tpdus", "blocks", "pps", "cold", "warm" };
enum { N_CARD_NAMES = sizeof CARD_NAMES / sizeof *CARD_NAMES };

void reader_count(struct reader *reader, enum reader_count what) {
	reader->counts[what]++;
}

const char *reader_counter_name(const struct reader *reader, size_t i, char *buf, size_t size) {
	if (i < N_COUNTS)
		return NAMES[i];
	i -= N_COUNTS;
	if (i / N_CARD_NAMES >= reader->n_slots)
		return NULL;
	snprintf(buf, size, "card.%zu.%s", i / N_CARD_NAMES, CARD_NAMES[i % N_CARD_NAMES]);
	return buf;
}

static unsigned long card_counter(const struct card *card, size_t i) {
	const struct card_counters *c = &card->counters;
	const unsigned long values[N_CARD_NAMES] = { c->apdus, c->tpdus, c->blocks, c->pps, c->cold,
		c->warm };
	return values[i];
}

int reader_counter(const struct reader *reader, const char *name, unsigned long *ret_value) {
	char buf[64];
	for (size_t i = 0;; i++) {
		const char *known = reader_counter_name(reader, i, buf, sizeof buf);
		if (!known)
			return -ENOENT;
		if (strcmp(name, known) != 0)
			continue;
		if (i < N_COUNTS) {
			*ret_value = reader->counts[i];
			return 0;
		}
		const struct card *card = reader->slots[(i - N_COUNTS) / N_CARD_NAMES].card;
		*ret_value = card ? card_counter(card, (i - N_COUNTS) % N_CARD_NAMES) : 0;
		return 0;
	}
}

void reader_counters_reset(struct reader *reader) {
	memset(reader->counts, 0, sizeof reader->counts);
	for (unsigned i = 0; i < reader->n_slots; i++)
		if (reader->slots[i].card)
			reader->slots[i].card->counters = (struct card_counters){ 0 };
	for (size_t i = 0; i < reader->n_violations; i++)
		free(reader->violations[i]);
	reader->n_violations = 0;
}

void reader_violation(struct reader *reader, const char *format, ...) {
	char *line = NULL;
	va_list args;
	reader_count(reader, COUNT_VIOLATIONS);
	va_start(args, format);
	int n = vasprintf(&line, format, args);
	va_end(args);
	if (n < 0)
		return;
	if (reader->verbose)
		fprintf(stderr, "%s: violation: %s\n", reader->verbose, line);
	if (reader->n_violations < READER_MAX_VIOLATIONS)
		reader->violations[reader->n_violations++] = line;
	else
		free(line);
}

const char *reader_violation_line(const struct reader *reader, size_t i) {
	return i < reader->n_violations ? reader->violations[i] : NULL;
}

void reader_trace(struct reader *reader, char direction, const uint8_t *bytes, size_t len) {
	static const char digits[] = "0123456789abcdef";
	/* chosen: enough for the longest T=1 block with its header; longer ones are cut */
	size_t shown = len < 300 ? len : 300;
	if (reader->n_trace == READER_MAX_TRACE && !reader->verbose)
		return;
	char *line = malloc(3 * shown + 40);
	if (!line)
		return;
	size_t n = 0;
	line[n++] = direction;
	for (size_t i = 0; i < shown; i++) {
		line[n++] = ' ';
		line[n++] = digits[bytes[i] >> 4];
		line[n++] = digits[bytes[i] & 15];
	}
	line[n] = 0;
	if (shown < len)
		snprintf(line + n, 40, " ... %zu", len);
	if (reader->verbose)
		fprintf(stderr, "%s: %s\n", reader->verbose, line);
	if (reader->n_trace < READER_MAX_TRACE)
		reader->trace[reader->n_trace++] = line;
	else
		free(line);
}

const char *reader_trace_next(struct reader *reader) {
	if (reader->trace_pos < reader->n_trace)
		return reader->trace[reader->trace_pos++];
	for (size_t i = 0; i < reader->n_trace; i++)
		free(reader->trace[i]);
	reader->n_trace = reader->trace_pos = 0;
	return NULL;
}
