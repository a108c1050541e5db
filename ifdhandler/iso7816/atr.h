/* SPDX-License-Identifier: MIT */
/* The Answer-to-Reset: bytes from a card → protocols, speed, waiting times (ISO/IEC 7816-3 8). */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	/* ISO/IEC 7816-3 8.2.1: TS and at most 32 characters. */
	ATR_MAX_BYTES = 33,
	/* TD1 … TD7: 32 characters would hold more, no card has them; chosen. */
	ATR_MAX_LEVELS = 7,
	/* FI = 1 and DI = 1: Fd = 372, Dd = 1 (ISO/IEC 7816-3 8.3). */
	ATR_DEFAULT_SPEED = 0x11,
	/* What the formulas of atr_t0_ms and atr_t1_ms give where clock or speed are unknown:
	 * chosen. */
	ATR_UNKNOWN_MS = 60000,
	/* A whole T=1 block with some slack, for atr_t1_ms: as other drivers count it. */
	ATR_T1_WHOLE_BLOCK = 260,
};

/* Protocols as bits, the same values as in PC/SC and driver.h. */
enum {
	ATR_T0 = 1,
	ATR_T1 = 2,
};

enum atr_tck {
	ATR_TCK_NONE, /* only T=0: there is no check byte */
	ATR_TCK_RIGHT,
	ATR_TCK_WRONG, /* such cards exist and work: worth a warning, not a refusal */
};

/* One ATR taken apart. Values that are absent or reserved are what the standard says is then in
 * force. */
struct atr {
	uint8_t bytes[ATR_MAX_BYTES]; /* as it came */
	uint8_t len;
	uint8_t historical; /* offset of the historical bytes in `bytes` */
	uint8_t n_historical;
	uint8_t inverse; /* TS is 3Fh: inverse convention */
	enum atr_tck tck;

	uint8_t first_t;  /* T of TD1: the protocol after power-up; 0 without TD1 */
	uint16_t offered; /* bit T for each T in TD1, TD2 …, without T=15; bit 0 without TD1 */

	/* Specific mode: TA2 is there, and nothing is negotiated. */
	uint8_t specific;
	uint8_t specific_t;   /* number T */
	uint8_t implicit;     /* its speed is not that of TA1, but known to insiders */
	uint8_t unchangeable; /* a warm reset will not bring negotiable mode */

	uint8_t has_ta1;
	uint8_t ta1;         /* FI DI as the card says; ATR_DEFAULT_SPEED where absent */
	uint8_t extra_guard; /* TC1 = N, 255 has a meaning of its own; 0 where absent */
	uint8_t wi;          /* T=0: waiting integer, 1 … 255; 10 where absent */
	uint8_t ifsc;        /* T=1: 1 … 254; 32 where absent */
	uint8_t bwi;         /* T=1: 0 … 9; 4 where absent */
	uint8_t cwi;         /* T=1: 0 … 15; 13 where absent */
	uint8_t crc;        /* T=1: blocks end in a CRC of 2 bytes, otherwise in an LRC of 1 byte */
	uint8_t clock_stop; /* 0 never, 1 at low, 2 at high, 3 either */
	uint8_t classes;    /* bits: 1 A (5 V), 2 B (3 V), 4 C (1.8 V); 1 where absent */
};

/*
 * Takes `len` bytes apart. 0, or -EBADMSG: not an ATR (fewer than 2 bytes, more than 33, another
 * first byte than 3Bh and 3Fh), one that ends before all that it announces, or a chain of more than
 * ATR_MAX_LEVELS. Then the bytes may be shown to people and programs, but say nothing about
 * protocols. A wrong TCK and surplus bytes are accepted (ret_atr->tck).
 */
int atr_parse(const uint8_t *bytes, size_t len, struct atr *ret_atr);

/* What a program may choose: ATR_T0 and ATR_T1 as bits. In specific mode exactly its protocol; 0
 * where the card names protocols that nobody here speaks, or none of them first. */
uint32_t atr_protocols(const struct atr *atr);

/* Fi and Di of a speed byte such as TA1 (ISO/IEC 7816-3 tables 7 and 8); 0 where reserved. */
unsigned atr_fi(uint8_t speed);
unsigned atr_di(uint8_t speed);

/* Bit rate in bit/s, rounded down, of `speed` at `clock_khz`. Reserved values count as Fd and
 * Dd. */
uint32_t atr_rate(uint8_t speed, uint32_t clock_khz);

/* How long a whole T=0 exchange of at most 260 bytes may take: milliseconds, an upper bound that
 * is kind to slow cards. `speed` is FI DI in force, `clock_khz` the card's clock. ATR_UNKNOWN_MS
 * where either is 0 or reserved. */
uint32_t atr_t0_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz);

/* The same for one T=1 block to the card and the answer to it, `n_chars` characters each at most
 * (ATR_T1_WHOLE_BLOCK if in doubt), before any time extension. */
uint32_t atr_t1_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz, unsigned n_chars);

/* The block waiting time alone (ISO/IEC 7816-3 11.4.3), milliseconds: what S(WTX) multiplies. */
uint32_t atr_bwt_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz);
