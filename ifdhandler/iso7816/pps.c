/* SPDX-License-Identifier: MIT */
/*
 * Protocol and parameters selection.
 *
 * The speed of a card is what its TA1 says, if that is faster than the default and the reader can
 * do it; too fast for the reader's maximum, the next lower Di with the same Fi is tried. A PPS
 * exchange is needed only where something else is wanted than what holds after power-up, and is
 * impossible in specific mode. An answer is believed if it repeats the request, or leaves out the
 * speed; anything else is a refusal.
 */
#include "ifdhandler/iso7816/pps.h"

#include <string.h>

#include "ifdhandler/iso7816/atr.h"

enum {
	PPSS = 0xff,
	HAS_PPS1 = 0x10,
	/* Two ways of rounding the same rate. */
	RATE_TOLERANCE = 1,
};

/* The DI to try when this one is too fast: half of it, or what comes next (ISO/IEC 7816-3 table
 * 8). */
static const uint8_t slower_di[16] = {
	[3] = 2, [4] = 3, [5] = 4, [6] = 5, [7] = 6, [8] = 4, [9] = 8
};

static int in_table(const struct pps_limits *limits, uint32_t rate) {
	if (!limits->n_rates)
		return 1;
	for (size_t i = 0; i < limits->n_rates; i++) {
		uint32_t r = limits->rates[i];
		if ((r > rate ? r - rate : rate - r) <= RATE_TOLERANCE)
			return 1;
	}
	return 0;
}

static int supported(const struct pps_limits *limits, uint32_t rate) {
	return rate <= limits->max_rate && in_table(limits, rate);
}

/* The speed to ask a card in negotiable mode for. */
static uint8_t negotiable_speed(const struct atr *atr, const struct pps_limits *limits) {
	if (limits->impossible || limits->fixed_speed)
		return ATR_DEFAULT_SPEED;
	uint32_t least = atr_rate(ATR_DEFAULT_SPEED, limits->clock_khz);
	uint8_t speed = atr->ta1;
	uint32_t rate = atr_rate(speed, limits->clock_khz);
	int too_fast = rate > limits->max_rate;
	while (too_fast && !supported(limits, rate)) {
		uint8_t di = slower_di[speed & 0x0f];
		if (!di)
			return ATR_DEFAULT_SPEED;
		speed = (uint8_t)((speed & 0xf0) | di);
		rate = atr_rate(speed, limits->clock_khz);
	}
	return rate > least && supported(limits, rate) ? speed : ATR_DEFAULT_SPEED;
}

/* A card in specific mode sets the speed. */
static enum pps_choice specific_speed(
	const struct atr *atr, const struct pps_limits *limits, uint8_t *ret_speed) {
	if (atr->implicit)
		return PPS_UNUSABLE;
	if (!atr_fi(atr->ta1) || !atr_di(atr->ta1)) {
		*ret_speed = ATR_DEFAULT_SPEED;
		return PPS_CHOSEN;
	}
	uint32_t rate = atr_rate(atr->ta1, limits->clock_khz);
	if (rate > atr_rate(ATR_DEFAULT_SPEED, limits->clock_khz) && !supported(limits, rate))
		return PPS_UNUSABLE;
	*ret_speed = atr->ta1;
	return PPS_CHOSEN;
}

/* Writes the request that leads from the state after power-up to t and speed, if there has to be
 * one. */
static void make_request(
	const struct atr *atr, const struct pps_limits *limits, struct pps_plan *plan) {
	plan->request_len = 0;
	int as_it_is = plan->t == atr->first_t && plan->speed == ATR_DEFAULT_SPEED;
	if (atr->specific || limits->by_reader || limits->impossible || as_it_is)
		return;
	uint8_t n = 0;
	plan->request[n++] = PPSS;
	plan->request[n++] = plan->t;
	if (plan->speed != ATR_DEFAULT_SPEED) {
		plan->request[1] |= HAS_PPS1;
		plan->request[n++] = plan->speed;
	}
	uint8_t pck = 0;
	for (size_t i = 0; i < n; i++)
		pck ^= plan->request[i];
	plan->request[n++] = pck;
	plan->request_len = n;
}

enum pps_choice pps_choose(const struct atr *atr, const struct pps_limits *limits, unsigned t,
	struct pps_plan *ret_plan) {
	if (t > 1 || !(atr_protocols(atr) & (1u << t)))
		return PPS_MISMATCH;
	struct pps_plan plan = { .t = (uint8_t)t };
	if (atr->specific) {
		enum pps_choice choice = specific_speed(atr, limits, &plan.speed);
		if (choice != PPS_CHOSEN)
			return choice;
	} else {
		if (limits->impossible && t != atr->first_t)
			return PPS_MISMATCH;
		plan.speed = negotiable_speed(atr, limits);
	}
	make_request(atr, limits, &plan);
	*ret_plan = plan;
	return PPS_CHOSEN;
}

size_t pps_answer_len(const struct pps_plan *plan) {
	return plan->request_len;
}

enum pps_answer pps_check(struct pps_plan *plan, const uint8_t *answer, size_t len) {
	if (len < 3 || len > plan->request_len)
		return PPS_REFUSED;
	if (len == plan->request_len)
		return memcmp(answer, plan->request, len) == 0 ? PPS_ACCEPTED : PPS_REFUSED;
	/* Shorter: only without PPS1, the rest as it must be. */
	const uint8_t without[3] = { PPSS, plan->t, (uint8_t)(PPSS ^ plan->t) };
	if (len != sizeof(without) || memcmp(answer, without, sizeof(without)) != 0)
		return PPS_REFUSED;
	plan->speed = ATR_DEFAULT_SPEED;
	return PPS_ACCEPTED_SLOW;
}

size_t pps_parameters(
	const struct atr *atr, const struct pps_plan *plan, uint8_t ret_data[PPS_MAX_PARAMETERS]) {
	uint8_t convention = atr->inverse ? 0x02 : 0x00;
	ret_data[0] = plan->speed;
	ret_data[2] = atr->extra_guard;
	if (plan->t == 0) {
		ret_data[1] = convention;
		ret_data[3] = atr->wi;
		ret_data[4] = 0; /* the clock is never stopped */
		return 5;
	}
	ret_data[1] = (uint8_t)(0x10 | convention | atr->crc); /* bits 7-2: 000100b */
	ret_data[3] = (uint8_t)(atr->bwi << 4 | atr->cwi);
	ret_data[4] = 0;
	ret_data[5] = atr->ifsc;
	ret_data[6] = 0; /* NAD */
	return 7;
}
