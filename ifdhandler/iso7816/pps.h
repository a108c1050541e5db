/* SPDX-License-Identifier: MIT */
/* Protocol and parameters selection: speed, request, answer (ISO/IEC 7816-3 9). */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct atr;

enum {
	/* PPSS PPS0 PPS1 PPS2 PPS3 PCK (ISO/IEC 7816-3 9.2). */
	PPS_MAX_BYTES = 6,
	/* The longer one of the parameter structures: T=1 (CCID 1.10 6.1.7). */
	PPS_MAX_PARAMETERS = 7,
};

/* What the reader can do, and who negotiates. */
struct pps_limits {
	uint32_t clock_khz; /* the card's clock (dwDefaultClock) */
	uint32_t max_rate; /* bit/s at most (dwMaxDataRate); 0: unknown, no more than the default */
	const uint32_t *rates; /* bit/s, all that are possible; NULL: any up to max_rate */
	size_t n_rates;        /* 0: no table */
	int by_reader;         /* the reader does the PPS exchange itself (dwFeatures 80h) */
	int impossible;  /* no PPS in any way, or one has failed: first protocol, default speed */
	int fixed_speed; /* the reader cannot change the rate: never a higher one by PPS */
};

/* What is to be done with a card after power-up. Zero is the default of every card that speaks
 * T=0. */
struct pps_plan {
	uint8_t t;     /* protocol: 0 or 1 */
	uint8_t speed; /* FI DI in force when the plan has been carried out; for bmFindexDindex */
	uint8_t request[PPS_MAX_BYTES]; /* PPS request that the host must send … */
	uint8_t request_len;            /* … or 0: none */
};

/* Outcomes of pps_choose. */
enum pps_choice {
	PPS_CHOSEN = 0,
	PPS_MISMATCH, /* not with this card (and reader): the other protocol may work */
	PPS_UNUSABLE, /* the card insists on a speed that the reader cannot do: no protocol helps */
};

/* Outcomes of pps_check. */
enum pps_answer {
	PPS_ACCEPTED = 0,
	PPS_ACCEPTED_SLOW, /* the protocol, but at default speed */
	PPS_REFUSED,       /* or nonsense: the card must be reset (cold) now */
};

/*
 * Decides protocol `t` (0 or 1) and speed for this card in this reader. `atr` is valid (atr_parse
 * gave 0). *ret_plan is written for PPS_CHOSEN only. For readers that negotiate everything by
 * themselves (dwFeatures 40h) it is not needed. The limits are only read.
 */
enum pps_choice pps_choose(const struct atr *atr, const struct pps_limits *limits, unsigned t,
	struct pps_plan *ret_plan);

/* How many bytes of answer to ask for at first from readers at character level: 4 with PPS1, 3
 * without. */
size_t pps_answer_len(const struct pps_plan *plan);

/* Judges the answer to plan->request: any bytes, any length. PPS_ACCEPTED_SLOW sets plan->speed
 * to the default; the other outcomes leave the plan alone. */
enum pps_answer pps_check(struct pps_plan *plan, const uint8_t *answer, size_t len);

/* Writes the parameter structure for SetParameters (abProtocolDataStructure, CCID 1.10 6.1.7)
 * into `ret_data` and returns its length: 5 for T=0, 7 for T=1. */
size_t pps_parameters(
	const struct atr *atr, const struct pps_plan *plan, uint8_t ret_data[PPS_MAX_PARAMETERS]);
