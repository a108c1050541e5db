/* SPDX-License-Identifier: MIT */
/* T=0: which bytes of a command go out, the machine of procedure bytes (ISO/IEC 7816-3 10). */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	T0_HEADER = 5,
	/* 5 + 255 */
	T0_MAX_TPDU = 260,
	/* 256 and SW1 SW2 */
	T0_MAX_RESPONSE = 258,
	/* Procedure bytes INS in a row that move no data (legal, 10.3.3): chosen. */
	T0_MAX_IDLE_ACKS = 16,
	/* Bytes of one answer that are kept beyond what was asked for; more is no card. Chosen:
	 * an answer to anything fits twice. */
	T0_MAX_PENDING = 2 * T0_MAX_RESPONSE,
};

/*
 * How many of the `len` bytes of a command go to a T=0 card as one TPDU: all, or all but Le where
 * both data and Le are there (the answer is then 61xx, and GET RESPONSE is the program's business;
 * nothing is done about 61xx and 6Cxx here). For TPDU-level readers, which take 4 bytes for case 1
 * and add P3 themselves. Commands whose length makes no sense go out as they are, for the card to
 * say so. 0; -EINVAL: fewer than 4 bytes; -EOPNOTSUPP: an extended length, which T=0 cannot carry
 * (class FFh, which is meant for the reader, passes).
 */
int t0_tpdu_len(const uint8_t *apdu, size_t len, size_t *ret_len);

/* ---- for readers at character level ---- */

enum t0_verb {
	T0_EXCHANGE, /* send `data` (may be nothing), then receive `expect` bytes: t0_received */
	T0_DONE,     /* `data` is the response with SW1 SW2 */
	T0_FAIL,     /* `failure` says why; the card must be reset before it is used again */
};

enum t0_failure {
	T0_FAIL_PROCEDURE = 1, /* a procedure byte that is none, or too many that do nothing */
	T0_FAIL_MUTE,          /* nothing came */
	T0_FAIL_SHORT,         /* less came than the card had to send */
	T0_FAIL_SURPLUS,       /* far more came than any card sends */
};

struct t0_action {
	enum t0_verb verb;
	enum t0_failure failure;
	const uint8_t *data; /* inside of struct t0: valid until its next call */
	size_t len;
	size_t expect; /* for wLevelParameter: 1 … 258 */
	/* The card takes its time (NULL, 60h): any deadline for this exchange starts anew. Each
	 * character may take one work waiting time (10.2). */
	int extended;
};

enum t0_state {
	T0_PROCEDURE, /* wait for a procedure byte */
	T0_DATA_IN,   /* wait for `burst` bytes of the response */
	T0_SW2,
	T0_OVER,
};

/* One command under way. Embed it; the fields are t0.c's own. */
struct t0 {
	enum t0_state state;
	size_t packet; /* answers of CCID length n × packet are avoided; 0: no such trouble */
	size_t asked;  /* bytes that the last T0_EXCHANGE asked for */
	unsigned n_idle;
	size_t sent, tpdu_len; /* of tpdu: header and data */
	size_t left;           /* response bytes the card has not sent yet */
	size_t burst;          /* how many of them it has announced */
	size_t response_len;
	size_t pending_len;
	uint8_t tpdu[T0_MAX_TPDU];
	uint8_t response[T0_MAX_RESPONSE];
	uint8_t pending[T0_MAX_PENDING]; /* received, not looked at */
};

/*
 * Begins a command of `len` bytes, which are copied. `packet`: 0, or 64 for readers that cannot
 * return a message whose length is a multiple of 64 (then such an answer is asked for in two
 * parts). 0 and the first action; -EINVAL: not 4, 5, 5 + Lc or 5 + Lc + 1 bytes (the last one is
 * not sent), or INS is 6Xh or 9Xh, which would look like SW1; -EOPNOTSUPP: extended length.
 */
int t0_start(struct t0 *t0, const uint8_t *apdu, size_t len, size_t packet,
	struct t0_action *ret_action);

/* What came for a T0_EXCHANGE: any number of bytes, 0 when nothing came in time. */
void t0_received(struct t0 *t0, const uint8_t *bytes, size_t len, struct t0_action *ret_action);

/* Wipes command and response. */
void t0_wipe(struct t0 *t0);
