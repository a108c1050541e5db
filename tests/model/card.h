/* SPDX-License-Identifier: MIT */
/* A smart card as a reader sees it: power, PPS, T=0 TPDUs, T=1 blocks and APDUs, with mistakes
 * on demand. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	/* 4 + 3 + 65535 + 2 bytes: the longest extended command (ISO/IEC 7816-3 12.1). */
	CARD_MAX_APDU = 65544,
	/* 65536 bytes and a status word. */
	CARD_MAX_REPLY = 65538,
	/* TS and 32 characters (ISO/IEC 7816-3 8.2.1), and as many again for ATRs that are too
	 * long. */
	CARD_MAX_ATR = 66,
	/* NAD PCB LEN, 254 bytes, CRC (ISO/IEC 7816-3 11.3). */
	CARD_MAX_BLOCK = 259,
	/* Digits of a PIN or PUK. Chosen: more than format 2 of ISO 9564-1 holds. */
	CARD_MAX_PIN = 16,
	/* Mistakes that may wait for one card. Chosen. */
	CARD_MAX_FAULTS = 16,
	/* Rhythm of time extensions, microseconds. Chosen. */
	CARD_TICK_US = 100000,
};

/* How the card takes a PPS request (ISO/IEC 7816-3 9.3). */
enum card_pps {
	CARD_PPS_ACCEPT,
	CARD_PPS_REFUSE, /* echoes another PPS1 */
	CARD_PPS_SILENT,
	CARD_PPS_NO_PPS1, /* accepts the protocol only */
	CARD_PPS_LONGER,
	CARD_PPS_WRONG_T,
	CARD_PPS_WRONG_PCK,
	CARD_PPS_EMPTY,
};

enum card_outcome {
	CARD_ANSWERS,
	CARD_MUTE,   /* nothing comes: the reader gives up and says so */
	CARD_PARITY, /* something came with parity errors */
	CARD_HANGS,  /* nothing comes, and the reader waits for ever */
};

/* What comes out of the card. */
struct card_reply {
	enum card_outcome outcome;
	uint64_t delay_us;   /* before it comes, without any sign of life */
	unsigned extensions; /* signs of life before it comes, CARD_TICK_US apart */
	size_t len;
	uint8_t data[CARD_MAX_REPLY];
};

/* Somebody else who answers the APDUs. `power`: what is a CARD_POWER_…; returns the ATR's length
 * (0: mute). `apdu` returns the answer's length or a negative errno (card mute). */
enum { CARD_POWER_OFF, CARD_POWER_ON, CARD_POWER_RESET };
struct card_backend {
	void *userdata;
	size_t (*power)(void *userdata, int what, uint8_t *ret_atr, size_t size);
	int (*apdu)(
		void *userdata, const uint8_t *apdu, size_t len, uint8_t *ret_answer, size_t size);
	void (*free)(void *userdata);
};

enum card_fault_kind {
	CARD_FAULT_NONE,
	CARD_FAULT_EDC,
	CARD_FAULT_NS,
	CARD_FAULT_NAD,
	CARD_FAULT_PCB,
	CARD_FAULT_LEN,
	CARD_FAULT_SHORT,
	CARD_FAULT_GARBAGE,
	CARD_FAULT_LOSE,
	CARD_FAULT_DEAF,
	CARD_FAULT_PARITY,
	CARD_FAULT_REJECT,
	CARD_FAULT_WTX,
	CARD_FAULT_IFS,
	CARD_FAULT_ABORT,
};

/* A mistake that the card is going to make; `times` 0: for ever. */
struct card_fault {
	enum card_fault_kind kind;
	unsigned arg, skip, times;
};

/* What the ATR says, as far as a card must keep to it. */
struct card_atr {
	uint8_t bytes[CARD_MAX_ATR];
	size_t len;
	uint8_t ta1;       /* 11h where absent */
	int specific;      /* TA2 is there */
	unsigned protocol; /* the first one, or that of TA2 */
	unsigned offered;  /* bits of the protocols T=0 and T=1 */
	unsigned ifsc;
	int crc;
};

/* T=1 on the card's side (ISO/IEC 7816-3 11). */
struct card_t1 {
	unsigned ifsc, ifsd;
	uint8_t send;      /* N(S) of the next I-block of the card */
	uint8_t expect;    /* N(S) of the next I-block to the card */
	uint8_t asked;     /* S request of the card that waits for its response, or 0 */
	uint8_t asked_inf; /* its value */
	unsigned wtx_left; /* S(WTX) requests before the answer goes out */
	int sending;       /* the last block was an I-block of `part` bytes of the answer */
	size_t part;
	size_t tx_off;
	size_t rx_len;
	size_t last_len;
	uint8_t last[CARD_MAX_BLOCK]; /* last block as it should have been */
	uint8_t rx[CARD_MAX_APDU];    /* command being collected */
	struct card_reply tx;         /* answer being sent */
};

struct card_counters {
	unsigned long apdus, tpdus, blocks, pps, cold, warm;
};

/* What VERIFY and the like are about; outlives resets. */
struct card_pin {
	char pin[CARD_MAX_PIN + 1], puk[CARD_MAX_PIN + 1];
	unsigned tries, puk_tries;
	int verified; /* since power-up */
	unsigned n_seen;
	size_t seen_len;
	uint8_t seen[300]; /* the last such command, as it came; chosen: a short one whole */
};

struct card {
	/* as the specification says; constant */
	struct card_atr cold_atr, warm_atr;
	size_t atr_len_forced; /* 0: as it is */
	unsigned volts;        /* bits: 1: 5 V, 2: 3 V, 4: 1.8 V */
	unsigned inf_limit;    /* longest part that the card sends at T=1, 0: IFSD */
	enum card_pps pps;
	int mute; /* never answers power-up */
	struct card_backend backend;

	/* since power-up */
	const struct card_atr *atr;
	int powered;
	int dead; /* mute until the next reset */
	int negotiable;
	unsigned ignore_power; /* power-ups still to be ignored */
	unsigned protocol;
	uint8_t ta1;
	struct card_t1 t1;
	struct card_pin pin;
	unsigned n_commands, n_cold, n_warm;
	int kept_set;
	uint8_t kept[2];
	size_t rest_len, rest_off; /* for GET RESPONSE */
	uint8_t rest[CARD_MAX_REPLY];

	struct card_fault faults[CARD_MAX_FAULTS];
	struct card_counters counters;
};

/* Makes a card from its text form (README, "Cards"). -EINVAL: not understood; -ENOTSUP: not
 * built in; -ENOMEM, or what a backend says. Free with card_free. */
int card_new(const char *spec, struct card **ret_card);
/* NULL is allowed. */
void card_free(struct card *card);

/* Power-up or warm reset at `volts` (one bit of card.volts; 0: the reader finds out): the reply
 * is the ATR. */
void card_power_on(struct card *card, unsigned volts, int warm, struct card_reply *ret_reply);
void card_power_off(struct card *card);

/* What a TPDU-level reader sends to the card: a PPS request (when `pps`), a T=0 TPDU or a T=1
 * block. */
void card_tpdu(struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply);
void card_pps_request(
	struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply);
/* One command APDU, whatever the protocol: for readers that do the protocol themselves. */
void card_apdu(struct card *card, const uint8_t *data, size_t len, struct card_reply *ret_reply);
/* What a reader does that negotiates by itself: the card's best rate and `protocol`.
 * 0, or -EPROTO where the card refuses. */
int card_negotiate(struct card *card, unsigned protocol, uint8_t ta1);

/* Orders a mistake. -ENOSPC: too many wait. */
int card_fault(struct card *card, const struct card_fault *fault);
void card_faults_clear(struct card *card);
/* The next mistake of this kind, if its time has come; counts it down. */
int card_fault_take(struct card *card, enum card_fault_kind kind, unsigned *ret_arg);

/* Parts of the card, one file each. card_run: the application. card_t0_tpdu, card_t1_block: the
 * protocols. */
void card_run(struct card *card, const uint8_t *apdu, size_t len, struct card_reply *ret_reply);
/* card-pin.c: PIN and PUK at the start; a PIN from text (-1: not digits); a PIN command that came;
 * the status word of one. */
void card_pin_start(struct card *card);
int card_pin_set(char *ret_digits, const char *value);
void card_pin_note(struct card *card, const uint8_t *apdu, size_t len);
unsigned card_pin_run(
	struct card *card, unsigned ins, unsigned p1, const uint8_t *data, size_t len);
void card_t0_tpdu(struct card *card, const uint8_t *tpdu, size_t len, struct card_reply *ret_reply);
/* Whether the command with this INS takes data, where only its header has been seen. */
int card_t0_takes_data(uint8_t ins);
void card_t1_reset(struct card *card);
void card_t1_block(
	struct card *card, const uint8_t *block, size_t len, struct card_reply *ret_reply);
/* Appends or checks the EDC: returns its length; `ret_edc` has room for 2. */
size_t card_t1_edc(int crc, const uint8_t *block, size_t len, uint8_t *ret_edc);

/* Takes at most `max` bytes of what waits for GET RESPONSE, and appends the status word. */
void card_rest(struct card *card, size_t max, struct card_reply *ret_reply);
void card_reply_sw(struct card_reply *reply, unsigned sw);

/* Backends. `path`: a card simulator's socket; `db`: an NSS database. Negative errno. */
int card_socket_open(const char *path, struct card_backend *ret_backend);
int card_cacard_open(const char *db, struct card_backend *ret_backend) __attribute__((weak));
