/* SPDX-License-Identifier: MIT */
/*
 * Any card in any reader: bytes 0-7 are the reader, byte 8 the protocol, byte 9 the length of the
 * ATR, then the ATR, and the rest answers the PPS request. Wanted: never faster than the reader,
 * requests that are well-formed, and no answer accepted but the right one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/iso7816/pps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READER = 10 };

static void check(int ok) {
	if (!ok)
		abort();
}

static void check_request(const struct pps_plan *plan, const struct atr *atr) {
	uint8_t sum = 0;
	if (!plan->request_len)
		return;
	check(!atr->specific && plan->request_len >= 3 && plan->request_len <= 4);
	for (size_t i = 0; i < plan->request_len; i++)
		sum ^= plan->request[i];
	check(sum == 0 && plan->request[0] == 0xff && (plan->request[1] & 0x0f) == plan->t);
	check((plan->request[1] >> 4 & 1) == (plan->request_len == 4));
	check(plan->request_len == 3 || plan->request[2] == plan->speed);
}

static void check_answer(struct pps_plan plan, const uint8_t *answer, size_t len) {
	struct pps_plan before = plan;
	enum pps_answer verdict = pps_check(&plan, answer, len);
	if (verdict == PPS_ACCEPTED)
		check(len == plan.request_len && memcmp(answer, plan.request, len) == 0);
	if (verdict == PPS_ACCEPTED_SLOW)
		check(len == 3 && plan.request_len == 4 && answer[1] == plan.t &&
			plan.speed == ATR_DEFAULT_SPEED);
	else
		check(memcmp(&plan, &before, sizeof(plan)) == 0);
}

static void check_plan(const struct atr *atr, const struct pps_limits *limits, unsigned t,
	const struct pps_plan *plan) {
	uint8_t parameters[PPS_MAX_PARAMETERS];
	check(plan->t == t && (atr_protocols(atr) >> t & 1));
	uint32_t rate = atr_rate(plan->speed, limits->clock_khz);
	uint32_t least = atr_rate(ATR_DEFAULT_SPEED, limits->clock_khz);
	check(rate <= least || rate <= limits->max_rate);
	check(plan->speed == ATR_DEFAULT_SPEED || plan->speed >> 4 == atr->ta1 >> 4);
	check_request(plan, atr);
	check(pps_parameters(atr, plan, parameters) == (t ? 7u : 5u));
	check(parameters[0] == plan->speed);
	check(t == 0 || (parameters[5] >= 1 && parameters[5] <= 254));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size < READER || size - READER < data[9])
		return 0;
	const uint8_t *answer = data + READER + data[9];
	size_t answer_len = size - READER - data[9];
	struct atr atr;
	if (atr_parse(data + READER, data[9], &atr) < 0)
		return 0;
	uint32_t rates[2] = { data[4] * 1000u, atr_rate(atr.ta1, 4000) + data[5] % 4 };
	struct pps_limits limits = {
		.clock_khz = (uint32_t)data[0] << (data[1] % 20),
		.max_rate = (uint32_t)data[2] << (data[3] % 24),
		.rates = rates,
		.n_rates = data[6] % 3,
		.by_reader = data[7] & 1,
		.impossible = data[7] >> 1 & 1,
		.fixed_speed = data[7] >> 2 & 1,
	};
	struct pps_plan plan;
	if (pps_choose(&atr, &limits, data[8], &plan) != PPS_CHOSEN)
		return 0;
	check_plan(&atr, &limits, data[8], &plan);
	check_answer(plan, answer, answer_len);
	/* After one that has failed. */
	limits.impossible = 1;
	if (pps_choose(&atr, &limits, data[8], &plan) != PPS_CHOSEN)
		return 0;
	check(plan.request_len == 0);
	check_plan(&atr, &limits, data[8], &plan);
	return 0;
}
