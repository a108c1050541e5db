/* SPDX-License-Identifier: MIT */
/* Choice of protocol and speed, PPS requests and answers, the parameters for the reader. */
#include "tests/unit/test.h"

#include <string.h>

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/iso7816/pps.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static const struct pps_limits fast = { .clock_khz = 4000, .max_rate = 344086 };

static struct atr atr_of(const uint8_t *bytes, size_t len) {
	struct atr atr;
	assert_int_equal(atr_parse(bytes, len, &atr), 0);
	return atr;
}

/* Cards in negotiable mode that speak T=0, T=1, or T=0 first and T=1, at `ta1`. */
static struct atr t0_card(uint8_t ta1) {
	return atr_of(BYTES(0x3b, 0x10, ta1));
}

static struct atr t1_card(uint8_t ta1) {
	return atr_of(BYTES(0x3b, 0x90, ta1, 0x01, (uint8_t)(0x91 ^ ta1)));
}

static struct atr both_card(uint8_t ta1) {
	return atr_of(BYTES(0x3b, 0x90, ta1, 0x80, 0x01, (uint8_t)(0x11 ^ ta1)));
}

/* The same in specific mode. */
static struct atr specific_card(uint8_t ta1, uint8_t ta2) {
	return atr_of(BYTES(0x3b, 0x90, ta1, 0x91, ta2, 0x01, (uint8_t)(0x01 ^ ta1 ^ ta2)));
}

static uint8_t chosen_speed(const struct atr *atr, const struct pps_limits *limits, unsigned t) {
	struct pps_plan plan;
	assert_int_equal(pps_choose(atr, limits, t, &plan), PPS_CHOSEN);
	assert_int_equal(plan.t, t);
	return plan.speed;
}

static void check_request(const struct atr *atr, unsigned t, const uint8_t *want, size_t len) {
	struct pps_plan plan;
	assert_int_equal(pps_choose(atr, &fast, t, &plan), PPS_CHOSEN);
	assert_int_equal(plan.request_len, len);
	assert_memory_equal(plan.request, want, len);
	assert_int_equal(pps_answer_len(&plan), len);
}

/* Bytes, and only where something else is wanted than what holds anyway. */
static void ccid_112_requests(void **state) {
	(void)state;
	struct atr atr = t0_card(0x96);
	check_request(&atr, 0, BYTES(0xff, 0x10, 0x96, 0x79));
	atr = t1_card(0x96);
	check_request(&atr, 1, BYTES(0xff, 0x11, 0x96, 0x78));
	atr = t1_card(0x94);
	check_request(&atr, 1, BYTES(0xff, 0x11, 0x94, 0x7a));
	atr = t0_card(0x18);
	check_request(&atr, 0, BYTES(0xff, 0x10, 0x18, 0xf7));
	atr = t1_card(0x18);
	check_request(&atr, 1, BYTES(0xff, 0x11, 0x18, 0xf6));
	atr = both_card(0x11);
	check_request(&atr, 1, BYTES(0xff, 0x01, 0xfe));
	check_request(&atr, 0, (const uint8_t *)"", 0);
	atr = atr_of(BYTES(0x3b, 0x80, 0x81, 0x00, 0x01));
	check_request(&atr, 0, BYTES(0xff, 0x00, 0xff));
	check_request(&atr, 1, (const uint8_t *)"", 0);
}

static void ccid_106_107_speed_within_the_maximum(void **state) {
	(void)state;
	struct atr atr = t0_card(0x96);
	assert_int_equal(chosen_speed(&atr, &fast, 0), 0x96);
	atr = t0_card(0x97);
	assert_int_equal(chosen_speed(&atr, &fast, 0), 0x96);
	struct pps_limits slow = fast;
	slow.max_rate = 62500;
	assert_int_equal(chosen_speed(&atr, &slow, 0), 0x94);
	slow.max_rate = 10753;
	assert_int_equal(chosen_speed(&atr, &slow, 0), 0x11);
	slow.max_rate = 0;
	assert_int_equal(chosen_speed(&atr, &slow, 0), 0x11);
	/* other FI, other DI */
	atr = t0_card(0x39);
	slow.max_rate = 100000;
	assert_int_equal(chosen_speed(&atr, &slow, 0), 0x38);
	slow.max_rate = 50000;
	assert_int_equal(chosen_speed(&atr, &slow, 0), 0x34);
}

static void ccid_108_speed_must_be_in_the_table(void **state) {
	(void)state;
	const uint32_t with[] = { 10753, 86022, 129032, 250000 };
	const uint32_t without[] = { 10753, 86022, 250000 };
	struct pps_limits limits = fast;
	struct atr atr = t0_card(0x18), specific = specific_card(0x18, 0x01);
	limits.rates = with;
	limits.n_rates = N_OF(with);
	assert_int_equal(chosen_speed(&atr, &limits, 0), 0x18);
	assert_int_equal(chosen_speed(&specific, &limits, 1), 0x18);
	limits.rates = without;
	limits.n_rates = N_OF(without);
	struct pps_plan plan;
	assert_int_equal(chosen_speed(&atr, &limits, 0), 0x11);
	assert_int_equal(pps_choose(&specific, &limits, 1, &plan), PPS_UNUSABLE);
	/* too fast: the next lower ones are looked up in the table */
	const uint32_t few[] = { 62500 };
	limits.rates = few;
	limits.n_rates = N_OF(few);
	atr = t0_card(0x97);
	assert_int_equal(chosen_speed(&atr, &limits, 0), 0x94);
}

static void ccid_109_table_entries_may_be_rounded(void **state) {
	(void)state;
	struct atr atr = t0_card(0x18);
	for (uint32_t rate = 129028; rate <= 129036; rate++) {
		struct pps_limits limits = fast;
		limits.rates = &rate;
		limits.n_rates = 1;
		int matches = rate >= 129031 && rate <= 129033;
		assert_int_equal(chosen_speed(&atr, &limits, 0), matches ? 0x18 : 0x11);
	}
}

/* What is no faster than the default is not worth a PPS; reserved values count as that. */
static void ccid_120_no_gain_no_request(void **state) {
	(void)state;
	const uint8_t ta1[] = { 0x77, 0xe1, 0x1a, 0x10, 0x01, 0x11, 0x21, 0xd1 };
	for (size_t i = 0; i < N_OF(ta1); i++) {
		struct atr atr = t0_card(ta1[i]);
		assert_int_equal(chosen_speed(&atr, &fast, 0), 0x11);
		check_request(&atr, 0, (const uint8_t *)"", 0);
	}
	struct atr reserved = specific_card(0x77, 0x01);
	assert_int_equal(chosen_speed(&reserved, &fast, 1), 0x11);
}

static void ccid_115_specific_mode(void **state) {
	(void)state;
	struct pps_plan plan;
	struct atr atr = specific_card(0x18, 0x01);
	assert_int_equal(pps_choose(&atr, &fast, 0, &plan), PPS_MISMATCH);
	assert_int_equal(pps_choose(&atr, &fast, 1, &plan), PPS_CHOSEN);
	assert_int_equal(plan.speed, 0x18);
	assert_int_equal(plan.request_len, 0);
	struct pps_limits limits = fast;
	limits.impossible = 1;
	assert_int_equal(chosen_speed(&atr, &limits, 1), 0x18);
	/* too fast for the reader: nothing can be negotiated */
	atr = specific_card(0x97, 0x01);
	assert_int_equal(pps_choose(&atr, &fast, 1, &plan), PPS_UNUSABLE);
	/* slower than the default is fine */
	atr = specific_card(0x01, 0x01);
	assert_int_equal(chosen_speed(&atr, &fast, 1), 0x01);
	/* implicit parameters */
	atr = specific_card(0x11, 0x11);
	assert_int_equal(pps_choose(&atr, &fast, 1, &plan), PPS_UNUSABLE);
}

static void protocol_mismatch(void **state) {
	(void)state;
	struct pps_plan plan;
	struct atr t0 = t0_card(0x11), t1 = t1_card(0x11), both = both_card(0x96);
	assert_int_equal(pps_choose(&t0, &fast, 1, &plan), PPS_MISMATCH);
	assert_int_equal(pps_choose(&t1, &fast, 0, &plan), PPS_MISMATCH);
	assert_int_equal(pps_choose(&t1, &fast, 2, &plan), PPS_MISMATCH);
	assert_int_equal(pps_choose(&t1, &fast, 200, &plan), PPS_MISMATCH);
	struct pps_limits limits = fast;
	limits.impossible = 1;
	assert_int_equal(pps_choose(&both, &limits, 1, &plan), PPS_MISMATCH);
	assert_int_equal(pps_choose(&both, &limits, 0, &plan), PPS_CHOSEN);
	assert_int_equal(plan.speed, 0x11);
	assert_int_equal(plan.request_len, 0);
}

static void ccid_111_reader_negotiates(void **state) {
	(void)state;
	struct pps_plan plan;
	struct atr both = both_card(0x96);
	struct pps_limits limits = fast;
	limits.by_reader = 1;
	assert_int_equal(pps_choose(&both, &limits, 1, &plan), PPS_CHOSEN);
	assert_int_equal(plan.speed, 0x96);
	assert_int_equal(plan.request_len, 0);
}

static void reader_with_one_speed(void **state) {
	(void)state;
	struct pps_plan plan;
	struct atr both = both_card(0x96);
	struct pps_limits limits = fast;
	limits.fixed_speed = 1;
	assert_int_equal(pps_choose(&both, &limits, 1, &plan), PPS_CHOSEN);
	assert_int_equal(plan.speed, 0x11);
	assert_int_equal(plan.request_len, 3);
	assert_int_equal(plan.request[1], 0x01);
}

static struct pps_plan plan_of(unsigned t, uint8_t ta1) {
	struct atr atr = t ? t1_card(ta1) : t0_card(ta1);
	struct pps_plan plan;
	assert_int_equal(pps_choose(&atr, &fast, t, &plan), PPS_CHOSEN);
	return plan;
}

static void answer_accepted(void **state) {
	(void)state;
	struct pps_plan plan = plan_of(1, 0x96);
	assert_int_equal(pps_check(&plan, plan.request, plan.request_len), PPS_ACCEPTED);
	assert_int_equal(plan.speed, 0x96);
}

static void ccid_113_answer_without_speed(void **state) {
	(void)state;
	struct pps_plan plan = plan_of(1, 0x96);
	uint8_t parameters[PPS_MAX_PARAMETERS];
	struct atr atr = t1_card(0x96);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x01, 0xfe)), PPS_ACCEPTED_SLOW);
	assert_int_equal(plan.speed, 0x11);
	assert_int_equal(pps_parameters(&atr, &plan, parameters), 7);
	assert_int_equal(parameters[0], 0x11);
}

static void ccid_114_answer_refused(void **state) {
	(void)state;
	struct pps_plan plan = plan_of(1, 0x96), before = plan;
	const uint8_t *request = plan.request;
	static const uint8_t long_answer[65538] = { 0xff, 0x11, 0x96, 0x78 };
	assert_int_equal(pps_check(&plan, NULL, 0), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, request, 1), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, request, 2), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, request, 3), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, long_answer, 5), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, long_answer, sizeof(long_answer)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x10, 0x96, 0x79)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x11, 0x95, 0x7b)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x11, 0x96, 0x79)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xfe, 0x11, 0x96, 0x79)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x00, 0xff)), PPS_REFUSED);
	assert_int_equal(pps_check(&plan, BYTES(0xff, 0x01, 0xff)), PPS_REFUSED);
	assert_memory_equal(&plan, &before, sizeof(plan));
}

/* Any answer of up to 4 bytes that is taken has the right protocol and check byte. */
static void answer_of_any_kind(void **state) {
	(void)state;
	struct pps_plan plan = plan_of(1, 0x96);
	unsigned n_accepted = 0;
	for (unsigned pps0 = 0; pps0 < 256; pps0++) {
		for (unsigned rest = 0; rest < 65536; rest += 1) {
			uint8_t answer[4] = { 0xff, (uint8_t)pps0, (uint8_t)(rest >> 8),
				(uint8_t)rest };
			n_accepted += pps_check(&plan, answer, 4) != PPS_REFUSED;
		}
	}
	assert_int_equal(n_accepted, 1);
}

static void after_failure_without_speed(void **state) {
	(void)state;
	struct atr both = both_card(0x96), t0 = t0_card(0x96);
	struct pps_limits limits = fast;
	struct pps_plan plan;
	limits.impossible = 1;
	assert_int_equal(pps_choose(&t0, &limits, 0, &plan), PPS_CHOSEN);
	assert_int_equal(plan.speed, 0x11);
	assert_int_equal(plan.request_len, 0);
	assert_int_equal(pps_choose(&both, &limits, 1, &plan), PPS_MISMATCH);
	limits.by_reader = 1;
	assert_int_equal(pps_choose(&both, &limits, 1, &plan), PPS_MISMATCH);
	assert_int_equal(chosen_speed(&t0, &limits, 0), 0x11);
}

static void check_parameters(const struct atr *atr, unsigned t, const uint8_t *want, size_t len) {
	struct pps_plan plan;
	uint8_t data[PPS_MAX_PARAMETERS];
	assert_int_equal(pps_choose(atr, &fast, t, &plan), PPS_CHOSEN);
	assert_int_equal(pps_parameters(atr, &plan, data), len);
	assert_memory_equal(data, want, len);
}

static void ccid_117_118_119_parameters(void **state) {
	(void)state;
	struct atr atr = atr_of(BYTES(0x3b, 0x00));
	check_parameters(&atr, 0, BYTES(0x11, 0x00, 0x00, 0x0a, 0x00));
	atr = atr_of(BYTES(0x3b, 0x80, 0x01, 0x81));
	check_parameters(&atr, 1, BYTES(0x11, 0x10, 0x00, 0x4d, 0x00, 0x20, 0x00));
	/* inverse convention, TC1, TC2 */
	atr = atr_of(BYTES(0x3f, 0xd0, 0x96, 0x05, 0x40, 0x14));
	check_parameters(&atr, 0, BYTES(0x96, 0x02, 0x05, 0x14, 0x00));
	/* inverse, TC1 = FFh, IFSC FFh, BWI CWI, CRC */
	atr = atr_of(BYTES(0x3f, 0xc0, 0xff, 0x81, 0x71, 0xff, 0x75, 0x01, 0x44));
	check_parameters(&atr, 1, BYTES(0x11, 0x13, 0xff, 0x75, 0x00, 0xfe, 0x00));
	/* specific mode: speed of TA1 */
	atr = specific_card(0x18, 0x81);
	check_parameters(&atr, 1, BYTES(0x18, 0x10, 0x00, 0x4d, 0x00, 0x20, 0x00));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_112_requests),
		cmocka_unit_test(ccid_106_107_speed_within_the_maximum),
		cmocka_unit_test(ccid_108_speed_must_be_in_the_table),
		cmocka_unit_test(ccid_109_table_entries_may_be_rounded),
		cmocka_unit_test(ccid_120_no_gain_no_request),
		cmocka_unit_test(ccid_115_specific_mode),
		cmocka_unit_test(protocol_mismatch),
		cmocka_unit_test(ccid_111_reader_negotiates),
		cmocka_unit_test(reader_with_one_speed),
		cmocka_unit_test(answer_accepted),
		cmocka_unit_test(ccid_113_answer_without_speed),
		cmocka_unit_test(ccid_114_answer_refused),
		cmocka_unit_test(answer_of_any_kind),
		cmocka_unit_test(after_failure_without_speed),
		cmocka_unit_test(ccid_117_118_119_parameters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
