/* SPDX-License-Identifier: MIT */
/* T=1 on the host's side, as a machine that is fed blocks (ISO/IEC 7816-3 11). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct atr;

enum {
	/* NAD PCB LEN (ISO/IEC 7816-3 11.3). */
	T1_PROLOGUE = 3,
	T1_MAX_INF = 254,
	T1_MAX_EDC = 2,
	T1_MAX_BLOCK = T1_PROLOGUE + T1_MAX_INF + T1_MAX_EDC,
	/* IFSC and IFSD until somebody says otherwise (11.4.2). */
	T1_DEFAULT_IFS = 32,
	/* Longest command and response that PC/SC carries. */
	T1_MAX_APDU = 65548,
	/* Bad answers in a row, and times that one I-block is sent, before S(RESYNCH); S(RESYNCH) in a
	 * row before the end; tries of S(IFS) (11.6.3.2, rules 7.4: one attempt and two repetitions). */
	T1_MAX_TRIES = 3,
	/* Commands begun again after S(RESYNCH), and S(IFS) of the card in one command: chosen,
	 * real cards need 1. */
	T1_MAX_RESTARTS = 3,
	T1_MAX_IFS_REQUESTS = 16,
	/* Blocks in one response: each of the longest one in a block of its own. */
	T1_MAX_RESPONSE_BLOCKS = T1_MAX_APDU,
};

enum t1_verb {
	/* Send `block` of `len` bytes, then receive a block of at most `expect` bytes:
	 * t1_received, or t1_failed. The card may take `wtx` block waiting times (0: one; for
	 * bBWI as it is). */
	T1_SEND,
	/* Only after t1_enter: the reader sends an I-block of its own with the prologue `block` (`len`
	 * is 3) and what it has under its keys; then as T1_SEND. */
	T1_ENTER,
	/* The reader sends that I-block once more, as it was. */
	T1_ENTER_AGAIN,
	/* Response complete (`len` bytes of it), or block size agreed upon. */
	T1_DONE,
	/* `failure` says why. */
	T1_FAIL,
};

enum t1_failure {
	/* Beyond repair: every command fails like this until the card has been reset and t1_init
	 * called. */
	T1_FAIL_DEAD = 1,
	/* The same, and not one good block has come since t1_init: a warm reset may help. */
	T1_FAIL_MUTE,
	/* The next three leave the protocol in order, the next command may follow. */
	T1_FAIL_RESYNCHED, /* lost in the middle; the card may have carried it out */
	T1_FAIL_ABORTED,   /* the card broke it off */
	T1_FAIL_OVERFLOW,  /* response longer than the buffer: received to its end and dropped */
};

struct t1_action {
	enum t1_verb verb;
	enum t1_failure failure;
	const uint8_t *block; /* inside of struct t1: valid until its next call */
	size_t len;           /* of `block`, or of the response */
	size_t expect;        /* longest block that may come: 3 + IFSD + EDC */
	uint8_t wtx;          /* multiplier of the waiting time, for this one block */
};

/* Why no block could be fed. */
enum t1_trouble {
	T1_PARITY, /* something came, with parity errors or overrun (CCID bError FDh, FCh) */
	T1_SILENCE /* the card did not answer in time (CCID bError FEh while it has power) */
};

enum t1_state {
	T1_IDLE,
	T1_COMMAND,  /* an I-block is out that the card has not acknowledged */
	T1_RESPONSE, /* part of the response is here */
	T1_IFS,      /* S(IFS request) is out */
	T1_RESYNCH,  /* S(RESYNCH request) is out */
	T1_ABORTED,  /* S(ABORT response) is out */
	T1_DEAD,
};

/* One card's protocol state, from reset to reset. Embed it; the fields are t1.c's own. */
struct t1 {
	enum t1_state state;
	uint8_t nad, crc;
	uint8_t atr_ifsc;   /* what IFSC is after S(RESYNCH) */
	size_t max_inf;     /* what the reader can carry */
	uint8_t ifsc;       /* in force */
	uint8_t max_ifsd;   /* the highest IFSD ever announced: what the card may send */
	uint8_t negotiated; /* IFSD that was asked for, or 0 */
	uint8_t ns, nr;     /* N(S) of our next or outstanding I-block, expected N(S) of the card */
	uint8_t alive;      /* a good block has come */
	uint8_t renew;      /* S(IFS) has to come before the next command */
	uint8_t whole;      /* all of the command was sent once: the card may have carried it out */
	uint8_t restart;    /* begin the command again after S(RESYNCH) */
	uint8_t overflow;   /* the response did not fit */
	uint8_t secret;     /* only the reader knows the command */
	unsigned n_bad, n_repeats, n_resynchs, n_restarts, n_ifs_requests, n_blocks;

	const uint8_t *command; /* borrowed; NULL while there is none */
	size_t command_len, command_off, part;
	uint8_t *response; /* borrowed */
	size_t response_size, response_len;

	size_t out_len;
	uint8_t out[T1_MAX_BLOCK]; /* the last block sent, whole */
};

/*
 * A card that has just been reset. `max_block` is the longest block that the reader can carry
 * (dwMaxCCIDMessageLength - 10, at least 3 + 1 + 2). `ifsd` is what the reader has already told the
 * card (dwFeatures 400h: dwMaxIFSD), 0: nothing, so 32. NAD is 0. *t1 need not be initialised.
 */
void t1_init(struct t1 *t1, const struct atr *atr, size_t max_block, uint8_t ifsd);

/* The IFSD to ask for: the reader's dwMaxIFSD as far as `max_block` and the standard allow, 1 …
 * 254. */
uint8_t t1_best_ifsd(const struct t1 *t1, uint32_t max_ifsd);

/* Begins S(IFS request), the first block after PPS and SetParameters. Ends with T1_DONE, or with
 * T1_FAIL after three tries: then reset the card and go on with 32. */
void t1_negotiate(struct t1 *t1, uint8_t ifsd, struct t1_action *ret_action);

/*
 * Begins a command of at most T1_MAX_APDU bytes, which are borrowed until T1_DONE or T1_FAIL. Fails
 * with T1_FAIL_DEAD, and changes nothing, where the protocol is dead, a command is under way or
 * this one is too long.
 */
void t1_transmit(struct t1 *t1, const uint8_t *command, size_t len, struct t1_action *ret_action);

/*
 * Begins a command that the reader completes and sends by itself, in one block: PIN entry at its keys
 * (CCID 1.10 6.1.11). `len`: bytes of the command as far as it is known here. Fails as t1_transmit.
 */
void t1_enter(struct t1 *t1, size_t len, struct t1_action *ret_action);

/* The longest command that fits in one block now. */
size_t t1_block_room(const struct t1 *t1);

/* After T1_ENTER or T1_ENTER_AGAIN: nothing went to the card, and the command is over. All is as
 * before it. */
void t1_withdraw(struct t1 *t1);

/* Where responses go: `size` bytes at `buf`, borrowed for as long as commands are sent. Call it
 * after t1_init; without it every response overflows. */
void t1_set_response(struct t1 *t1, uint8_t *buf, size_t size);

/* A block from the card, any bytes; those behind its end are ignored. Never reads beyond `len`. */
void t1_received(struct t1 *t1, const uint8_t *block, size_t len, struct t1_action *ret_action);

/* No block, but the card has power. Goes through the same recovery as a damaged block. */
void t1_failed(struct t1 *t1, enum t1_trouble trouble, struct t1_action *ret_action);

/* Any other failure of the reader: the protocol is dead until t1_init. */
void t1_kill(struct t1 *t1);

/* For readers at character level: receive T1_PROLOGUE bytes, then this many. 0: LEN is illegal,
 * feed the prologue alone. */
size_t t1_rest(const struct t1 *t1, const uint8_t prologue[T1_PROLOGUE]);

/* Wipes the block that was sent last. */
void t1_wipe(struct t1 *t1);

/* LRC (1 byte) or CRC (2 bytes) of `len` bytes into `ret_edc`; returns its length. */
size_t t1_edc(int crc, const uint8_t *bytes, size_t len, uint8_t ret_edc[T1_MAX_EDC]);
