/* SPDX-License-Identifier: MIT */
/*
 * A token without bulk endpoints that says anything. Byte 0 chooses the version; then bytes as they
 * are needed: for a new command its type, its level, its length (× 2) and its data; for a request
 * that the token answers FFh (refused) or a length (FEh: as much as was asked for) and that many
 * bytes; for one that it takes FFh (refused) or anything else.
 *
 * Wanted: requests that one transfer can carry and that lie within the command, waits that end, no
 * more than a few requests without a wait, answers whose data is there, an exchange only with power,
 * and nothing before a token was switched off that has not come to an end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/iccd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	/* Off, on, off with all that belongs to it; and a T=0 command. */
	MAX_IN_A_ROW = 12,
};

struct run {
	const uint8_t *data;
	size_t size;
	struct iccd iccd;
	struct ccid_request request;
	uint8_t *command;
	uint8_t *answer; /* on the heap: exactly as long as it is */
	int off_due;     /* the last command has not come to its end */
	unsigned n_in_a_row;
};

static void check(int ok) {
	if (!ok)
		abort();
}

static uint8_t next(struct run *run) {
	if (run->size == 0)
		return 0;
	run->size--;
	return *run->data++;
}

static uint8_t *copy(struct run *run, size_t *len) {
	if (*len > run->size)
		*len = run->size;
	uint8_t *bytes = malloc(*len ? *len : 1);
	check(bytes != NULL);
	memcpy(bytes, run->data, *len);
	run->data += *len;
	run->size -= *len;
	return bytes;
}

/* ---- what is wanted ---- */

/* For the sanitizer: the bytes are there. */
static void look_at(const uint8_t *bytes, size_t len) {
	uint8_t *there = malloc(len ? len : 1);
	check(there != NULL);
	if (len)
		memcpy(there, bytes, len);
	free(there);
}

static void check_control(struct run *run, const struct iccd_action *a) {
	check(a->len <= ICCD_MAX_DATA && a->setup.index == 7);
	check(++run->n_in_a_row <= MAX_IN_A_ROW);
	if (a->setup.request == ICCD_POWER_OFF)
		run->off_due = 0;
	check(!run->off_due);
	if (a->setup.request == ICCD_XFR_BLOCK)
		check(run->request.type == CCID_XFR_BLOCK && run->iccd.powered);
	if (a->setup.request_type == ICCD_FROM_TOKEN) {
		check(a->data == NULL && a->len > 0);
		return;
	}
	check(a->setup.request_type == ICCD_TO_TOKEN);
	look_at(a->data, a->len);
}

static void check_reply(struct run *run, const struct ccid_reply *r) {
	check(r->icc <= CCID_ICC_ABSENT && r->outcome <= CCID_FAILED);
	check(ccid_msg_is_answer(r, run->request.type));
	look_at(r->data, r->len);
	if (r->type == CCID_SLOT_STATUS || r->outcome == CCID_FAILED)
		check(r->len == 0);
	else
		check(run->iccd.powered && r->len <= ICCD_MAX_DATA);
	if (run->request.type == CCID_POWER_ON && r->outcome == CCID_DONE)
		check(r->len >= 2 && r->len <= ICCD_MAX_ATR);
	if (run->request.type == CCID_XFR_BLOCK && r->outcome == CCID_DONE &&
		run->iccd.transport == CCID_ICCD_A)
		check(r->len >= 2 && r->len <= ICCD_MAX_RESPONSE);
}

/* ---- the two sides ---- */

static void command(struct run *run, struct iccd_action *ret_action) {
	static const enum ccid_command_type types[8] = { CCID_XFR_BLOCK, CCID_POWER_ON,
		CCID_XFR_BLOCK, CCID_GET_SLOT_STATUS, CCID_POWER_OFF, CCID_ESCAPE, CCID_ABORT,
		CCID_XFR_BLOCK };
	uint8_t kind = next(run);
	uint8_t level = next(run);
	size_t len = 2u * next(run);
	free(run->command);
	run->command = copy(run, &len);
	run->request = ccid_msg_xfr_block(0, level, run->command, len);
	run->request.type = types[kind & 7];
	run->request.specific[2] = kind >> 6;
	run->n_in_a_row = 0;
	iccd_start(&run->iccd, &run->request, ret_action);
}

static void control(struct run *run, struct iccd_action *a) {
	size_t max = a->len;
	int is_in = a->setup.request_type == ICCD_FROM_TOKEN;
	uint8_t what = next(run);
	free(run->answer);
	run->answer = NULL;
	if (what == 0xff) {
		iccd_stalled(&run->iccd, a);
		return;
	}
	size_t len = is_in ? (what == 0xfe ? max : what) : 0;
	if (len > max)
		len = max;
	run->answer = copy(run, &len);
	iccd_ended(&run->iccd, run->answer, len, a);
}

static void step(struct run *run, struct iccd_action *a) {
	switch (a->verb) {
	case ICCD_CONTROL:
		check_control(run, a);
		/* Somebody has had enough. */
		if (run->size && *run->data == 0xfd) {
			(void)next(run);
			run->off_due = 1;
			command(run, a);
		} else {
			control(run, a);
		}
		break;
	case ICCD_WAIT:
		check(a->wait_ms > 0 && a->wait_ms <= ICCD_MAX_WAIT_MS);
		run->n_in_a_row = 0;
		iccd_waited(&run->iccd, a);
		break;
	case ICCD_REPLY:
		check_reply(run, &a->reply);
		iccd_rest(&run->iccd);
		command(run, a);
		break;
	case ICCD_FAIL:
		check(a->error < 0 && !run->iccd.powered);
		run->off_due = 1;
		command(run, a);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct run run = { .data = data, .size = size };
	struct iccd_action action = { .verb = ICCD_REPLY };
	iccd_init(&run.iccd, next(&run) & 1 ? CCID_ICCD_A : CCID_ICCD_B, 7);
	command(&run, &action);
	while (run.size)
		step(&run, &action);
	free(run.command);
	free(run.answer);
	return 0;
}
