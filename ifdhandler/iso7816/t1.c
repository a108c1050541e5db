/* SPDX-License-Identifier: MIT */
/*
 * T=1 on the host's side.
 *
 * Host and card take turns: one block out, one block (or none) in. Whatever comes in ends in one of
 * three ways: progress (the next block), `bad` (the recovery of 11.6.3: repeat or ask for
 * repetition, after three in a row S(RESYNCH), after three of those the end), or the end of the
 * command. An I-block that the card asks for again is counted by itself: three times at most, too.
 *
 * A response is handed out only if every block of it was asked for by number and had the right
 * check bytes. After S(RESYNCH) the command is begun again only if its last block was never sent:
 * otherwise the card may have carried it out, and only the program can know whether twice is once
 * too often.
 *
 * Every loop that a card can keep up without time extensions is bounded: repetitions, restarts,
 * S(IFS), the blocks of a response.
 */
#include "ifdhandler/iso7816/t1.h"

#include <string.h>

#include "ifdhandler/iso7816/atr.h"

enum {
	/* PCB, ISO/IEC 7816-3 11.3.2.2. */
	PCB_I_NUMBER = 0x40,
	PCB_I_MORE = 0x20,
	PCB_I_RFU = 0x1f,
	PCB_R = 0x80,
	PCB_R_NUMBER = 0x10,
	PCB_R_RFU = 0x20,
	PCB_KIND = 0xc0, /* 80h R-block, C0h S-block, anything else I-block */
	PCB_S = 0xc0,
	PCB_S_RESPONSE = 0x20,
	S_RESYNCH = 0xc0,
	S_IFS = 0xc1,
	S_ABORT = 0xc2,
	S_WTX = 0xc3,
	/* Why an R-block asks for repetition. */
	R_OK = 0,
	R_EDC = 1,
	R_OTHER = 2,
	/* ISO/IEC 13239, reflected. */
	CRC_POLYNOMIAL = 0x8408,
	CRC_START = 0xffff,
};

/* A block from the card, proven. */
struct block {
	uint8_t pcb;
	size_t len;
	const uint8_t *inf;
};

size_t t1_edc(int crc, const uint8_t *bytes, size_t len, uint8_t ret_edc[T1_MAX_EDC]) {
	unsigned lrc = 0, sum = CRC_START;
	for (size_t i = 0; i < len; i++) {
		lrc ^= bytes[i];
		sum ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			sum = sum & 1 ? sum >> 1 ^ CRC_POLYNOMIAL : sum >> 1;
	}
	if (!crc) {
		ret_edc[0] = (uint8_t)lrc;
		return 1;
	}
	ret_edc[0] = (uint8_t)(sum >> 8);
	ret_edc[1] = (uint8_t)sum;
	return 2;
}

static size_t edc_len(const struct t1 *t1) {
	return t1->crc ? 2 : 1;
}

/* ---- actions ---- */

/* Sends what is in `out`, for the first time or again. */
static void send_out(struct t1 *t1, struct t1_action *ret_action) {
	ret_action->verb = T1_SEND;
	ret_action->block = t1->out;
	ret_action->len = t1->out_len;
	ret_action->expect = T1_PROLOGUE + t1->max_ifsd + edc_len(t1);
}

static void send_block(
	struct t1 *t1, uint8_t pcb, const uint8_t *inf, size_t len, struct t1_action *ret_action) {
	t1->out[0] = t1->nad;
	t1->out[1] = pcb;
	t1->out[2] = (uint8_t)len;
	if (len)
		memcpy(t1->out + T1_PROLOGUE, inf, len);
	len += T1_PROLOGUE;
	t1->out_len = len + t1_edc(t1->crc, t1->out, len, t1->out + len);
	send_out(t1, ret_action);
}

static void send_r(struct t1 *t1, uint8_t why, struct t1_action *ret_action) {
	uint8_t pcb = (uint8_t)(PCB_R | (t1->nr ? PCB_R_NUMBER : 0) | why);
	send_block(t1, pcb, NULL, 0, ret_action);
}

/* The block with the command that only the reader knows: `out` has its prologue, for recovery. */
static void enter(struct t1 *t1, struct t1_action *ret_action) {
	ret_action->verb = t1->whole ? T1_ENTER_AGAIN : T1_ENTER;
	t1->state = T1_COMMAND;
	t1->part = t1->command_len;
	t1->whole = 1;
	t1->out[0] = t1->nad;
	t1->out[1] = t1->ns ? PCB_I_NUMBER : 0;
	t1->out[2] = (uint8_t)t1->command_len;
	t1->out_len = T1_PROLOGUE;
	ret_action->block = t1->out;
	ret_action->len = t1->out_len;
	ret_action->expect = T1_PROLOGUE + t1->max_ifsd + edc_len(t1);
}

/* The part of the command from command_off on, as much as card and reader take now. */
static void send_i(struct t1 *t1, struct t1_action *ret_action) {
	if (t1->secret) {
		enter(t1, ret_action);
		return;
	}
	size_t left = t1->command_len - t1->command_off;
	size_t max = t1_block_room(t1);
	t1->part = left < max ? left : max;
	t1->state = T1_COMMAND;
	uint8_t pcb = t1->ns ? PCB_I_NUMBER : 0;
	if (left > t1->part)
		pcb |= PCB_I_MORE;
	else
		t1->whole = 1;
	const uint8_t *inf = t1->part ? t1->command + t1->command_off : NULL;
	send_block(t1, pcb, inf, t1->part, ret_action);
}

static void send_ifs(struct t1 *t1, struct t1_action *ret_action) {
	t1->state = T1_IFS;
	send_block(t1, S_IFS, &t1->negotiated, 1, ret_action);
}

/* The command is over; what is left of it in memory goes. */
static void finish(struct t1 *t1, enum t1_state state) {
	t1->state = state;
	t1->command = NULL;
	t1->secret = 0;
	t1->n_bad = t1->n_repeats = t1->n_resynchs = 0;
	t1_wipe(t1);
}

static void fail(struct t1 *t1, enum t1_failure failure, struct t1_action *ret_action) {
	finish(t1, T1_IDLE);
	ret_action->verb = T1_FAIL;
	ret_action->failure = failure;
}

static void give_up(struct t1 *t1, struct t1_action *ret_action) {
	fail(t1, t1->alive ? T1_FAIL_DEAD : T1_FAIL_MUTE, ret_action);
	t1->state = T1_DEAD;
}

/* The first block of the command, or S(IFS) before it. */
static void begin(struct t1 *t1, struct t1_action *ret_action) {
	t1->command_off = t1->response_len = 0;
	t1->overflow = 0;
	t1->n_bad = t1->n_repeats = t1->n_blocks = 0;
	if (t1->renew)
		send_ifs(t1, ret_action);
	else
		send_i(t1, ret_action);
}

/* ---- recovery: ISO/IEC 7816-3 11.6.3 ---- */

static void send_resynch(struct t1 *t1, struct t1_action *ret_action) {
	if (t1->n_resynchs == T1_MAX_TRIES) {
		give_up(t1, ret_action);
		return;
	}
	t1->n_resynchs++;
	send_block(t1, S_RESYNCH, NULL, 0, ret_action);
}

static void start_resynch(struct t1 *t1, struct t1_action *ret_action) {
	t1->restart = t1->state == T1_COMMAND && !t1->whole && t1->n_restarts < T1_MAX_RESTARTS;
	t1->state = T1_RESYNCH;
	t1->n_resynchs = 0;
	send_resynch(t1, ret_action);
}

/* Three bad answers in a row. */
static void escalate(struct t1 *t1, struct t1_action *ret_action) {
	if (t1->alive && t1->state != T1_IFS)
		start_resynch(t1, ret_action);
	else
		give_up(t1, ret_action);
}

/* Nothing came, or nothing that belongs here: an R-block or S request goes out again as it was
 * (rules 7.2, 7.3), for anything else an R-block asks for what is expected (rule 7.1). */
static void bad(struct t1 *t1, uint8_t why, struct t1_action *ret_action) {
	if (t1->state == T1_RESYNCH) {
		send_resynch(t1, ret_action);
		return;
	}
	if (++t1->n_bad >= T1_MAX_TRIES)
		escalate(t1, ret_action);
	else if (t1->state == T1_IFS || (t1->out[1] & PCB_KIND) == PCB_R)
		send_out(t1, ret_action);
	else
		send_r(t1, why, ret_action);
}

/* The card has not got our I-block, and says so in a good block: that ends a row of bad ones (rule
 * 7.4.2), but the I-block has no more tries than they. */
static void repeat_i(struct t1 *t1, struct t1_action *ret_action) {
	t1->n_bad = 0;
	if (++t1->n_repeats >= T1_MAX_TRIES)
		escalate(t1, ret_action);
	else
		send_i(t1, ret_action);
}

/* The card has got it: what follows is counted anew. */
static void acknowledged(struct t1 *t1) {
	t1->ns ^= 1;
	t1->n_bad = t1->n_repeats = 0;
}

/* S(RESYNCH) was answered: everything is as after the reset (11.6.2.3). */
static void resynched(struct t1 *t1, struct t1_action *ret_action) {
	t1->ns = t1->nr = 0;
	t1->ifsc = t1->atr_ifsc;
	t1->renew = t1->negotiated != 0;
	if (!t1->restart) {
		fail(t1, T1_FAIL_RESYNCHED, ret_action);
		return;
	}
	t1->n_restarts++;
	begin(t1, ret_action);
}

/* ---- blocks from the card ---- */

static void take_inf(struct t1 *t1, const struct block *block) {
	if (block->len > t1->response_size - t1->response_len)
		t1->overflow = 1;
	if (t1->overflow || !block->len)
		return;
	memcpy(t1->response + t1->response_len, block->inf, block->len);
	t1->response_len += block->len;
}

static void take_i(struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	int in_turn = t1->state == T1_RESPONSE ||
		(t1->state == T1_COMMAND && t1->command_off + t1->part == t1->command_len);
	int number = (block->pcb & PCB_I_NUMBER) != 0;
	if (!in_turn || number != t1->nr || (block->pcb & PCB_I_RFU)) {
		bad(t1, R_OTHER, ret_action);
		return;
	}
	if (t1->state == T1_COMMAND)
		acknowledged(t1);
	t1->state = T1_RESPONSE;
	t1->nr ^= 1;
	t1->n_bad = 0;
	take_inf(t1, block);
	if (!(block->pcb & PCB_I_MORE)) {
		size_t len = t1->response_len;
		if (t1->overflow) {
			fail(t1, T1_FAIL_OVERFLOW, ret_action);
			return;
		}
		finish(t1, T1_IDLE);
		ret_action->verb = T1_DONE;
		ret_action->len = len;
	} else if (++t1->n_blocks > T1_MAX_RESPONSE_BLOCKS) {
		give_up(t1, ret_action);
	} else {
		send_r(t1, R_OK, ret_action);
	}
}

static void take_r(struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	int number = (block->pcb & PCB_R_NUMBER) != 0;
	if (block->len || (block->pcb & PCB_R_RFU)) {
		bad(t1, R_OTHER, ret_action);
	} else if (t1->state == T1_ABORTED) {
		/* It is our turn again, with this number. */
		t1->ns = (uint8_t)number;
		fail(t1, T1_FAIL_ABORTED, ret_action);
	} else if (t1->state != T1_COMMAND) {
		bad(t1, R_OTHER, ret_action);
	} else if (number == t1->ns) {
		repeat_i(t1, ret_action);
	} else if (t1->command_off + t1->part < t1->command_len) {
		t1->command_off += t1->part;
		acknowledged(t1);
		send_i(t1, ret_action);
	} else {
		bad(t1, R_OTHER, ret_action);
	}
}

static void answer_s(struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	send_block(t1, block->pcb | PCB_S_RESPONSE, block->inf, block->len, ret_action);
}

static void take_ifs_request(
	struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	if (block->len != 1 || block->inf[0] == 0 || block->inf[0] > T1_MAX_INF ||
		++t1->n_ifs_requests > T1_MAX_IFS_REQUESTS) {
		bad(t1, R_OTHER, ret_action);
		return;
	}
	t1->ifsc = block->inf[0];
	t1->n_bad = 0;
	answer_s(t1, block, ret_action);
}

static void take_wtx_request(
	struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	if (block->len != 1 || block->inf[0] == 0) {
		bad(t1, R_OTHER, ret_action);
		return;
	}
	t1->n_bad = 0;
	answer_s(t1, block, ret_action);
	ret_action->wtx = block->inf[0];
}

static void take_abort_request(
	struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	/* Once more means that our answer was lost: a repetition like any other. */
	int again = t1->state == T1_ABORTED;
	if (block->len || (again && t1->n_repeats + 1 >= T1_MAX_TRIES)) {
		bad(t1, R_OTHER, ret_action);
		return;
	}
	t1->n_repeats = again ? t1->n_repeats + 1 : 0;
	t1->n_bad = 0;
	t1->state = T1_ABORTED;
	answer_s(t1, block, ret_action);
}

static void take_s_request(struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	/* While a request of our own is out, the card has nothing to ask. */
	if (t1->state == T1_IFS || t1->state == T1_RESYNCH) {
		bad(t1, R_OTHER, ret_action);
		return;
	}
	switch (block->pcb) {
	case S_IFS: take_ifs_request(t1, block, ret_action); break;
	case S_WTX: take_wtx_request(t1, block, ret_action); break;
	case S_ABORT: take_abort_request(t1, block, ret_action); break;
	case S_RESYNCH:
		/* Only the host may ask for it. A card that does is lost, and this is the way
		 * out. */
		start_resynch(t1, ret_action);
		break;
	default: bad(t1, R_OTHER, ret_action); break;
	}
}

static void take_ifs_response(struct t1 *t1, struct t1_action *ret_action) {
	if (t1->negotiated > t1->max_ifsd)
		t1->max_ifsd = t1->negotiated;
	t1->renew = 0;
	t1->n_bad = 0;
	if (t1->command || t1->secret) {
		send_i(t1, ret_action);
		return;
	}
	finish(t1, T1_IDLE);
	ret_action->verb = T1_DONE;
}

static void take_s_response(
	struct t1 *t1, const struct block *block, struct t1_action *ret_action) {
	uint8_t request = (uint8_t)(block->pcb & ~PCB_S_RESPONSE);
	if (t1->state == T1_RESYNCH && request == S_RESYNCH && !block->len)
		resynched(t1, ret_action);
	else if (t1->state == T1_IFS && request == S_IFS && block->len == 1 &&
		block->inf[0] == t1->negotiated)
		take_ifs_response(t1, ret_action);
	else
		bad(t1, R_OTHER, ret_action);
}

/* 0 and the block, or why it is bad: R_EDC, R_OTHER. */
static uint8_t check(
	const struct t1 *t1, const uint8_t *bytes, size_t len, struct block *ret_block) {
	uint8_t edc[T1_MAX_EDC];
	if (len < T1_PROLOGUE + edc_len(t1) || bytes[2] > T1_MAX_INF)
		return R_OTHER;
	size_t body = T1_PROLOGUE + (size_t)bytes[2];
	if (len < body + edc_len(t1))
		return R_OTHER;
	size_t n = t1_edc(t1->crc, bytes, body, edc);
	if (memcmp(edc, bytes + body, n) != 0)
		return R_EDC;
	/* SAD and DAD change places. */
	uint8_t nad = (uint8_t)(t1->nad << 4 | t1->nad >> 4);
	if (bytes[0] != nad || bytes[2] > t1->max_ifsd)
		return R_OTHER;
	*ret_block = (struct block){ .pcb = bytes[1], .len = bytes[2], .inf = bytes + T1_PROLOGUE };
	return 0;
}

/* Is there something under way? Else the action says no. */
static int is_busy(const struct t1 *t1, struct t1_action *ret_action) {
	if (t1->state != T1_IDLE && t1->state != T1_DEAD)
		return 1;
	ret_action->verb = T1_FAIL;
	ret_action->failure = T1_FAIL_DEAD;
	return 0;
}

void t1_received(struct t1 *t1, const uint8_t *block, size_t len, struct t1_action *ret_action) {
	*ret_action = (struct t1_action){ 0 };
	if (!is_busy(t1, ret_action))
		return;
	struct block b;
	uint8_t why = check(t1, block, len, &b);
	if (why) {
		bad(t1, why, ret_action);
		return;
	}
	t1->alive = 1;
	if ((b.pcb & PCB_KIND) == PCB_S && (b.pcb & PCB_S_RESPONSE))
		take_s_response(t1, &b, ret_action);
	else if ((b.pcb & PCB_KIND) == PCB_S)
		take_s_request(t1, &b, ret_action);
	else if ((b.pcb & PCB_KIND) == PCB_R)
		take_r(t1, &b, ret_action);
	else
		take_i(t1, &b, ret_action);
}

void t1_failed(struct t1 *t1, enum t1_trouble trouble, struct t1_action *ret_action) {
	*ret_action = (struct t1_action){ 0 };
	if (is_busy(t1, ret_action))
		bad(t1, trouble == T1_PARITY ? R_EDC : R_OTHER, ret_action);
}

/* ---- from outside ---- */

void t1_init(struct t1 *t1, const struct atr *atr, size_t max_block, uint8_t ifsd) {
	*t1 = (struct t1){
		.state = T1_IDLE,
		.crc = atr->crc,
		.atr_ifsc = atr->ifsc,
		.ifsc = atr->ifsc,
		/* Whatever it was told: after S(RESYNCH) a card may think of 32 again. */
		.max_ifsd = ifsd > T1_DEFAULT_IFS ? ifsd : T1_DEFAULT_IFS,
	};
	if (t1->max_ifsd > T1_MAX_INF)
		t1->max_ifsd = T1_MAX_INF;
	size_t around = T1_PROLOGUE + edc_len(t1);
	t1->max_inf = max_block > around ? max_block - around : 1;
	if (t1->max_inf > T1_MAX_INF)
		t1->max_inf = T1_MAX_INF;
}

uint8_t t1_best_ifsd(const struct t1 *t1, uint32_t max_ifsd) {
	size_t best = max_ifsd < t1->max_inf ? max_ifsd : t1->max_inf;
	return best ? (uint8_t)best : 1;
}

void t1_set_response(struct t1 *t1, uint8_t *buf, size_t size) {
	t1->response = buf;
	t1->response_size = size;
}

void t1_negotiate(struct t1 *t1, uint8_t ifsd, struct t1_action *ret_action) {
	*ret_action = (struct t1_action){ .verb = T1_FAIL, .failure = T1_FAIL_DEAD };
	if (t1->state != T1_IDLE)
		return;
	*ret_action = (struct t1_action){ 0 };
	t1->negotiated = t1_best_ifsd(t1, ifsd);
	send_ifs(t1, ret_action);
}

void t1_transmit(struct t1 *t1, const uint8_t *command, size_t len, struct t1_action *ret_action) {
	*ret_action = (struct t1_action){ .verb = T1_FAIL, .failure = T1_FAIL_DEAD };
	if (t1->state != T1_IDLE || len > T1_MAX_APDU)
		return;
	*ret_action = (struct t1_action){ 0 };
	t1->command = command;
	t1->command_len = len;
	t1->whole = 0;
	t1->n_restarts = t1->n_ifs_requests = 0;
	begin(t1, ret_action);
}

size_t t1_block_room(const struct t1 *t1) {
	return t1->ifsc < t1->max_inf ? t1->ifsc : t1->max_inf;
}

void t1_enter(struct t1 *t1, size_t len, struct t1_action *ret_action) {
	*ret_action = (struct t1_action){ .verb = T1_FAIL, .failure = T1_FAIL_DEAD };
	if (t1->state != T1_IDLE || len > t1_block_room(t1))
		return;
	*ret_action = (struct t1_action){ 0 };
	t1->secret = 1;
	t1->command_len = len;
	t1->whole = 0;
	t1->n_restarts = t1->n_ifs_requests = 0;
	begin(t1, ret_action);
}

void t1_withdraw(struct t1 *t1) {
	if (t1->state != T1_DEAD)
		finish(t1, T1_IDLE);
}

void t1_kill(struct t1 *t1) {
	finish(t1, T1_DEAD);
}

size_t t1_rest(const struct t1 *t1, const uint8_t prologue[T1_PROLOGUE]) {
	return prologue[2] > T1_MAX_INF ? 0 : prologue[2] + edc_len(t1);
}

void t1_wipe(struct t1 *t1) {
	explicit_bzero(t1->out, sizeof(t1->out));
	t1->out_len = 0;
}
