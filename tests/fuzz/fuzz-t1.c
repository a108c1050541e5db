/* SPDX-License-Identifier: MIT */
/*
 * A card that says anything: byte 0 chooses check bytes, sizes and what the reader did before, byte
 * 1 the room for the response, byte 2 the length of the command; then one byte for each thing that
 * happens: silence, parity error, a reader's failure, a block as it is, or a block whose check
 * bytes are put right. Wanted: only well-formed blocks within all limits, responses that fit, and
 * no block of ours more than three times in a row.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/iso7816/t1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

struct run {
	struct t1 t1;
	struct t1_action action;
	size_t max_block, response_size;
	uint8_t *command, *response;
	size_t n_same, last_len;
	uint8_t last[T1_MAX_BLOCK];
};

static void check_send(struct run *run) {
	const struct t1_action *a = &run->action;
	uint8_t edc[T1_MAX_EDC];
	check(a->len >= 4 && a->len <= T1_MAX_BLOCK && a->len <= run->max_block);
	size_t body = 3u + a->block[2];
	size_t n = t1_edc(run->t1.crc, a->block, body, edc);
	check(a->len == body + n && memcmp(a->block + body, edc, n) == 0 && a->block[0] == 0);
	check(a->expect >= 3 + 32 + n && a->expect <= 3 + 254 + n);
	check((a->wtx != 0) == (a->block[1] == 0xe3));
	int same = a->len == run->last_len && memcmp(a->block, run->last, a->len) == 0;
	/* A card may say the same again and again; what we repeat by ourselves has a limit. */
	int is_ours = (a->block[1] & 0xe0) != 0xe0;
	run->n_same = same && is_ours ? run->n_same + 1 : 0;
	check(run->n_same < T1_MAX_TRIES);
	run->last_len = a->len;
	memcpy(run->last, a->block, a->len);
}

/* The prologue of a block that only the reader knows, for the first time or once more. */
static void check_enter(struct run *run) {
	const struct t1_action *a = &run->action;
	check(a->len == T1_PROLOGUE && a->block[0] == 0 && (a->block[1] & 0xbf) == 0);
	check(a->block[2] <= t1_block_room(&run->t1));
	run->n_same = 0;
}

static void check_action(struct run *run) {
	switch (run->action.verb) {
	case T1_SEND: check_send(run); break;
	case T1_ENTER:
	case T1_ENTER_AGAIN: check_enter(run); break;
	case T1_DONE: check(run->action.len <= run->response_size); break;
	case T1_FAIL:
		check(run->action.failure >= T1_FAIL_DEAD &&
			run->action.failure <= T1_FAIL_OVERFLOW);
		break;
	}
}

static void receive(struct run *run, const uint8_t *bytes, size_t len, int right) {
	uint8_t *exact = malloc(len + T1_MAX_EDC);
	check(exact != NULL);
	if (len)
		memcpy(exact, bytes, len);
	if (right && len >= 3) {
		exact[2] = (uint8_t)(len - 3);
		len += t1_edc(run->t1.crc, exact, len, exact + len);
	}
	exact = realloc(exact, len ? len : 1);
	check(exact != NULL);
	if (len >= 3)
		check(t1_rest(&run->t1, exact) <= 256);
	t1_received(&run->t1, exact, len, &run->action);
	free(exact);
}

/* One thing that happens; returns how many bytes it took. */
static size_t happen(struct run *run, const uint8_t *p, size_t left) {
	uint8_t what = *p;
	size_t n = what & 0x3f;
	n = n < left - 1 ? n : left - 1;
	if (what == 0xff)
		t1_failed(&run->t1, T1_SILENCE, &run->action);
	else if (what == 0xfe)
		t1_failed(&run->t1, T1_PARITY, &run->action);
	else
		receive(run, p + 1, n, what < 0xc0);
	return what >= 0xfe ? 1 : 1 + n;
}

static void start(struct run *run, uint8_t how, size_t len) {
	struct atr atr;
	static const uint8_t bytes[] = { 0x3b, 0x80, 0x01, 0x81 };
	static const uint8_t ifsc[] = { 1, 3, 32, 254 };
	check(atr_parse(bytes, sizeof(bytes), &atr) == 0);
	atr.crc = how & 1;
	atr.ifsc = ifsc[how >> 1 & 3];
	run->max_block = how & 8 ? 259 : 12;
	t1_init(&run->t1, &atr, run->max_block, how & 16 ? 254 : 0);
	t1_set_response(&run->t1, run->response, run->response_size);
	if (how & 32)
		t1_negotiate(&run->t1, t1_best_ifsd(&run->t1, 200), &run->action);
	else if (how & 64)
		t1_enter(&run->t1, len % (t1_block_room(&run->t1) + 1), &run->action);
	else
		t1_transmit(&run->t1, run->command, len, &run->action);
	check_action(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size < 3)
		return 0;
	struct run run = { .response_size = data[1] };
	size_t len = data[2];
	run.command = malloc(len ? len : 1);
	run.response = malloc(run.response_size ? run.response_size : 1);
	check(run.command && run.response);
	memset(run.command, 0x3c, len);
	start(&run, data[0], len);
	for (size_t at = 3; at < size;) {
		if (run.action.verb != T1_DONE && run.action.verb != T1_FAIL)
			at += happen(&run, data + at, size - at);
		else
			t1_transmit(&run.t1, run.command, len, &run.action);
		check_action(&run);
		if (run.t1.state == T1_DEAD)
			break;
	}
	t1_wipe(&run.t1);
	free(run.command);
	free(run.response);
	return 0;
}
