/* SPDX-License-Identifier: MIT */
/* Command APDU → blocks for the reader's exchange level → response APDU: t0, t1, chaining or
 * straight through. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/ccid_msg.h"
#include "ifdhandler/iso7816/t0.h"
#include "ifdhandler/iso7816/t1.h"
#include "wire/status.h"

struct atr;

enum {
	/* What a chained response may be at most: 65536 bytes and SW1 SW2, in that many parts
	 * (chosen), with that many empty ones in a row (chosen). */
	EXCHANGE_MAX_RESPONSE = 65538,
	EXCHANGE_MAX_PARTS = 4096,
	EXCHANGE_MAX_EMPTY = 3,
};

/* What reader and card have agreed upon. */
struct exchange_config {
	enum ccid_level level;
	uint32_t protocol;       /* PROTOCOL_T0, PROTOCOL_T1 */
	uint32_t message_length; /* dwMaxCCIDMessageLength */
	uint16_t max_ifsd;
	int reader_set_ifsd;   /* the reader has told the card its IFSD */
	int no_full_packets;   /* it cannot answer with multiples of 64 bytes */
	const struct atr *atr; /* only looked at by exchange_init */
};

enum exchange_action {
	EXCHANGE_SEND, /* send exchange_request, feed its answer */
	EXCHANGE_DONE, /* `status` is OK and the response is `data`, `len` */
	EXCHANGE_FAIL, /* `status` says why */
};

/* A command that the reader completes with what the user enters at its keys. */
struct exchange_secure {
	uint8_t *data; /* bPINOperation and its structure; lent until DONE or FAIL */
	size_t len;
	size_t prologue; /* offset of bTeoPrologue, which is filled in where T=1 is driven from here */
	size_t apdu_len; /* of the APDU in it, as far as it is known */
};

/* How the APDU under way is carried. */
enum exchange_mode {
	EXCHANGE_IDLE,
	EXCHANGE_STRAIGHT,
	EXCHANGE_CHAIN_OUT,
	EXCHANGE_CHAIN_IN,
	EXCHANGE_T0,
	EXCHANGE_T1,
};

/* A card's exchanges from one negotiation to the next reset. All zero is one that was never
 * initialised: every command fails. */
struct exchange {
	struct exchange_config config;
	enum exchange_mode mode;
	int ready;     /* exchange_init has been called */
	int dead;      /* the card must be reset first */
	int raw;       /* the command under way is no APDU */
	int is_secure; /* what is to be sent is a Secure message */
	struct exchange_secure secure;

	/* What is to be sent: lent out by exchange_request. */
	const uint8_t *out;
	size_t out_len;
	uint16_t level;
	uint8_t wtx;
	size_t n_characters;       /* T=1: of the block, or of the longest answer to it */
	uint8_t padded[T0_HEADER]; /* case 1 with P3 */

	/* The outcome. */
	enum status status;
	const uint8_t *data;
	size_t len;

	/* Chaining. */
	const uint8_t *command; /* borrowed */
	size_t command_len, command_off;
	unsigned n_parts, n_empty;
	uint8_t *response; /* T1_MAX_APDU bytes, when needed */
	size_t response_len;

	/* Card protocols driven from here. */
	size_t asked; /* character level, T=1: how many bytes of a block were asked for last */
	uint8_t block[T1_MAX_BLOCK];
	size_t block_len;
	union {
		struct t0 t0;
		struct t1 t1;
	};
};

/* After reset and negotiation. 0 or -ENOMEM. */
int exchange_init(struct exchange *exchange, const struct exchange_config *config);
/* Forgets everything, wipes and frees. Any number of times, also on all zero. */
void exchange_stop(struct exchange *exchange);

/* Wipes what the last command left: only between commands. */
void exchange_wipe(struct exchange *exchange);

/* Is there a block size to be agreed upon with the card? Then exchange_negotiate begins that. */
int exchange_wants_ifsd(const struct exchange *exchange);
enum exchange_action exchange_negotiate(struct exchange *exchange);

/* Begins a command; `apdu` is borrowed until DONE or FAIL. */
enum exchange_action exchange_start(struct exchange *exchange, const uint8_t *apdu, size_t len);
/* The same for any bytes, as they are, without a protocol; needs no exchange_init. `message_length`
 * as in the config. */
enum exchange_action exchange_start_raw(
	struct exchange *exchange, uint32_t message_length, const uint8_t *bytes, size_t len);

/* Begins a PIN command at the reader. What the user ended is DONE with 6400 or 6401. */
enum exchange_action exchange_start_secure(
	struct exchange *exchange, const struct exchange_secure *secure);

/* What to send now; its data is valid until the next call. */
struct ccid_request exchange_request(const struct exchange *exchange);
/* How many characters go each way at most: for the time that they take. */
unsigned exchange_characters(const struct exchange *exchange);
/* How many times the card's usual time its answer may take: at least 1. */
unsigned exchange_patience(const struct exchange *exchange);

/* The answer to exchange_request: DataBlock, done or failed. The card has power. */
enum exchange_action exchange_feed(struct exchange *exchange, const struct ccid_reply *reply);
/* No answer, or one that says that the card has none: every command fails from now on. */
void exchange_kill(struct exchange *exchange);

/* The outcome of a failed command in our terms. */
enum status exchange_status(const struct ccid_reply *reply);
