/* SPDX-License-Identifier: MIT */
/* Tokens without bulk endpoints: which requests a command becomes, and what their answers mean. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ifdhandler/ccid/iccd.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

enum { INTERFACE = 2, READY = 0x00, DATA_PHASE = 0x10, SW_READY = 0x20, BUSY = 0x40, MUTE = 0x80 };

static const uint8_t select_mf[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };

/* A token, and what is to be done with it next. */
struct token {
	struct iccd iccd;
	struct iccd_action action;
};

static void start(struct token *t, struct ccid_request request) {
	iccd_start(&t->iccd, &request, &t->action);
}

static void answers(struct token *t, const uint8_t *data, size_t len) {
	iccd_ended(&t->iccd, data, len, &t->action);
}

static void takes(struct token *t) {
	iccd_ended(&t->iccd, NULL, 0, &t->action);
}

static void stalls(struct token *t) {
	iccd_stalled(&t->iccd, &t->action);
}

/* The next request carries these bytes. */
static void is_told(
	const struct token *t, uint8_t request, uint16_t value, const uint8_t *data, size_t len) {
	assert_int_equal(t->action.verb, ICCD_CONTROL);
	assert_int_equal(t->action.setup.request_type, 0x21);
	assert_int_equal(t->action.setup.request, request);
	assert_int_equal(t->action.setup.value, value);
	assert_int_equal(t->action.setup.index, INTERFACE);
	assert_int_equal(t->action.len, len);
	if (len)
		assert_memory_equal(t->action.data, data, len);
}

/* … or asks for that many. */
static void is_asked(const struct token *t, uint8_t request, size_t len) {
	assert_int_equal(t->action.verb, ICCD_CONTROL);
	assert_int_equal(t->action.setup.request_type, 0xA1);
	assert_int_equal(t->action.setup.request, request);
	assert_int_equal(t->action.setup.value, 0);
	assert_int_equal(t->action.setup.index, INTERFACE);
	assert_int_equal(t->action.len, len);
	assert_null(t->action.data);
}

static void waits(struct token *t, unsigned ms) {
	assert_int_equal(t->action.verb, ICCD_WAIT);
	assert_int_equal(t->action.wait_ms, ms);
	iccd_waited(&t->iccd, &t->action);
}

static void fails(const struct token *t, int error) {
	assert_int_equal(t->action.verb, ICCD_FAIL);
	assert_int_equal(t->action.error, error);
}

static void replies(const struct token *t, const uint8_t *data, size_t len) {
	assert_int_equal(t->action.verb, ICCD_REPLY);
	assert_int_equal(t->action.reply.type, CCID_DATA_BLOCK);
	assert_int_equal(t->action.reply.outcome, CCID_DONE);
	assert_int_equal(t->action.reply.icc, CCID_ICC_ACTIVE);
	assert_int_equal(t->action.reply.len, len);
	if (len)
		assert_memory_equal(t->action.reply.data, data, len);
}

static void refuses(const struct token *t, uint8_t error, enum ccid_icc icc) {
	assert_int_equal(t->action.verb, ICCD_REPLY);
	assert_int_equal(t->action.reply.outcome, CCID_FAILED);
	assert_int_equal(t->action.reply.error, error);
	assert_int_equal(t->action.reply.icc, icc);
	assert_int_equal(t->action.reply.len, 0);
}

static void tells_status(const struct token *t, enum ccid_icc icc) {
	assert_int_equal(t->action.verb, ICCD_REPLY);
	assert_int_equal(t->action.reply.type, CCID_SLOT_STATUS);
	assert_int_equal(t->action.reply.outcome, CCID_DONE);
	assert_int_equal(t->action.reply.icc, icc);
}

/* ---- version A ---- */

static void a_off(struct token *t) {
	is_told(t, 0x63, 0, NULL, 0);
	takes(t);
	is_asked(t, 0xA0, 1);
}

static struct token a_powered(void) {
	struct token t;
	iccd_init(&t.iccd, CCID_ICCD_A, INTERFACE);
	start(&t, ccid_msg_power_on(1));
	a_off(&t);
	answers(&t, BYTES(READY));
	is_asked(&t, 0x62, 33);
	answers(&t, BYTES(0x3B, 0x02, 0x14, 0x50));
	/* It may need some time more. */
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(BUSY));
	waits(&t, 10);
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(READY));
	replies(&t, BYTES(0x3B, 0x02, 0x14, 0x50));
	return t;
}

static struct token a_sent(const uint8_t *command, size_t len) {
	struct token t = a_powered();
	uint8_t header[5] = { 0 };
	memcpy(header, command, len < 5 ? len : 5);
	start(&t, ccid_msg_xfr_block(0, 0, command, len));
	is_told(&t, 0x65, 0, header, 5);
	takes(&t);
	is_asked(&t, 0xA0, 1);
	return t;
}

static void ccid_149_a_opens_by_off_on_off(void **state) {
	(void)state;
	struct token t;
	iccd_init(&t.iccd, CCID_ICCD_A, INTERFACE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	a_off(&t);
	answers(&t, BYTES(BUSY));
	waits(&t, 10);
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(READY));
	is_asked(&t, 0x62, 33);
	answers(&t, BYTES(0x3B, 0x00));
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(READY));
	a_off(&t);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);
	/* Known from now on. */
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);
}

/* What comes before the last step was worth a try, and no more. */
static void ccid_149_opens_a_token_that_refuses(void **state) {
	(void)state;
	struct token t;
	iccd_init(&t.iccd, CCID_ICCD_A, INTERFACE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	stalls(&t);
	stalls(&t);
	is_asked(&t, 0x62, 33);
	stalls(&t);
	a_off(&t);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);

	iccd_init(&t.iccd, CCID_ICCD_B, INTERFACE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	takes(&t);
	answers(&t, BYTES(0x81));
	is_told(&t, 0x62, 1, NULL, 0);
	takes(&t);
	answers(&t, BYTES(0x77));
	is_told(&t, 0x63, 0, NULL, 0);
	takes(&t);
	stalls(&t);
	fails(&t, -EPIPE);
}

static void ccid_149_a_power_off(void **state) {
	(void)state;
	struct token t = a_powered();
	start(&t, ccid_msg_plain(CCID_POWER_OFF));
	a_off(&t);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);
	/* No exchange without power. */
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	refuses(&t, CCID_ERROR_DEACTIVATED, CCID_ICC_INACTIVE);
}

static void ccid_149_a_power_on_fails(void **state) {
	(void)state;
	struct token t = a_powered();
	start(&t, ccid_msg_power_on(1));
	a_off(&t);
	answers(&t, BYTES(READY));
	stalls(&t);
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_INACTIVE);
	start(&t, ccid_msg_power_on(1));
	takes(&t);
	answers(&t, BYTES(READY));
	answers(&t, NULL, 0);
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_INACTIVE);
	/* A mute one may wake up, and fall asleep again. What is told of its presence is its status. */
	start(&t, ccid_msg_power_on(1));
	takes(&t);
	answers(&t, BYTES(MUTE));
	answers(&t, BYTES(0x3B, 0x00));
	answers(&t, BYTES(READY));
	replies(&t, BYTES(0x3B, 0x00));
	start(&t, ccid_msg_power_on(1));
	takes(&t);
	answers(&t, BYTES(READY));
	answers(&t, BYTES(0x3B, 0x00));
	answers(&t, BYTES(MUTE));
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_ABSENT);
	start(&t, ccid_msg_power_on(1));
	takes(&t);
	answers(&t, BYTES(MUTE));
	stalls(&t);
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_ABSENT);
	start(&t, ccid_msg_plain(CCID_ESCAPE));
	refuses(&t, CCID_ERROR_UNSUPPORTED, CCID_ICC_ABSENT);
}

static void ccid_149_a_case_1(void **state) {
	(void)state;
	static const uint8_t command[] = { 0x00, 0xE4, 0x01, 0x02 };
	struct token t = a_sent(command, sizeof(command));
	answers(&t, BYTES(SW_READY));
	is_asked(&t, 0x6F, 2);
	answers(&t, BYTES(0x90, 0x00));
	replies(&t, BYTES(0x90, 0x00));
}

static void ccid_149_a_case_2(void **state) {
	(void)state;
	static const uint8_t command[] = { 0x00, 0xB0, 0x00, 0x00, 0x03 };
	struct token t = a_sent(command, sizeof(command));
	answers(&t, BYTES(DATA_PHASE));
	is_asked(&t, 0x6F, 3);
	answers(&t, BYTES(1, 2, 3));
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(SW_READY));
	is_asked(&t, 0x6F, 2);
	answers(&t, BYTES(0x90, 0x00));
	replies(&t, BYTES(1, 2, 3, 0x90, 0x00));
}

/* P3 = 0 asks for 256 bytes; fewer may come. */
static void ccid_149_a_256_bytes(void **state) {
	(void)state;
	static const uint8_t command[] = { 0x00, 0xB0, 0x00, 0x00, 0x00 };
	uint8_t data[258] = { 0 };
	for (unsigned i = 0; i < 256; i++)
		data[i] = (uint8_t)i;
	data[256] = 0x90;
	struct token t = a_sent(command, sizeof(command));
	answers(&t, BYTES(DATA_PHASE));
	is_asked(&t, 0x6F, 256);
	answers(&t, data, 256);
	answers(&t, BYTES(SW_READY));
	answers(&t, BYTES(0x90, 0x00));
	replies(&t, data, sizeof(data));
	iccd_rest(&t.iccd);
	for (unsigned i = 0; i < sizeof(t.iccd.response); i++)
		assert_int_equal(t.iccd.response[i], 0);

	t = a_sent(command, sizeof(command));
	answers(&t, BYTES(DATA_PHASE));
	answers(&t, BYTES(7));
	answers(&t, BYTES(SW_READY));
	answers(&t, BYTES(0x62, 0x82));
	replies(&t, BYTES(7, 0x62, 0x82));
}

static void ccid_149_a_case_3(void **state) {
	(void)state;
	struct token t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(DATA_PHASE));
	is_told(&t, 0x65, 0, BYTES(0x3F, 0x00));
	takes(&t);
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(SW_READY));
	answers(&t, BYTES(0x61, 0x10));
	replies(&t, BYTES(0x61, 0x10));
	/* The card does not want the data. */
	t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(SW_READY));
	answers(&t, BYTES(0x6D, 0x00));
	replies(&t, BYTES(0x6D, 0x00));
}

static void ccid_149_a_busy_is_asked_every_10_ms(void **state) {
	(void)state;
	struct token t = a_sent(select_mf, sizeof(select_mf));
	for (unsigned i = 0; i < 200; i++) {
		answers(&t, BYTES(i % 2 ? BUSY : BUSY | 0x10));
		waits(&t, 10);
		is_asked(&t, 0xA0, 1);
	}
	answers(&t, BYTES(DATA_PHASE));
	takes(&t);
	answers(&t, BYTES(BUSY));
	waits(&t, 10);
	answers(&t, BYTES(SW_READY));
	answers(&t, BYTES(0x90, 0x00));
	replies(&t, BYTES(0x90, 0x00));
}

/* After anything that is not understood the token is switched off first. */
static void a_is_switched_off_next(struct token *t) {
	start(t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	refuses(t, CCID_ERROR_DEACTIVATED, CCID_ICC_INACTIVE);
	start(t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	a_off(t);
	answers(t, BYTES(READY));
	tells_status(t, CCID_ICC_INACTIVE);
}

static void ccid_149_a_unknown_status(void **state) {
	(void)state;
	static const uint8_t wrong[] = { 0x00, 0x01, 0x11, 0x30, 0x81, 0x90 };
	for (unsigned i = 0; i < sizeof(wrong); i++) {
		struct token t = a_sent(select_mf, sizeof(select_mf));
		answers(&t, &wrong[i], 1);
		fails(&t, -EBADMSG);
		a_is_switched_off_next(&t);
	}
	/* A second data phase. */
	struct token t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(DATA_PHASE));
	takes(&t);
	answers(&t, BYTES(DATA_PHASE));
	fails(&t, -EBADMSG);
}

static void ccid_149_a_wrong_lengths(void **state) {
	(void)state;
	static const uint8_t read3[] = { 0x00, 0xB0, 0x00, 0x00, 0x03 };
	struct token t = a_sent(read3, sizeof(read3));
	answers(&t, NULL, 0); /* status */
	fails(&t, -EBADMSG);
	t = a_sent(read3, sizeof(read3));
	answers(&t, BYTES(DATA_PHASE));
	answers(&t, NULL, 0); /* data */
	fails(&t, -EBADMSG);
	a_is_switched_off_next(&t);
	for (size_t n = 0; n < 2; n++) {
		t = a_sent(read3, sizeof(read3));
		answers(&t, BYTES(SW_READY));
		answers(&t, select_mf, n); /* SW1 SW2 */
		fails(&t, -EBADMSG);
	}
}

static void ccid_149_a_stall(void **state) {
	(void)state;
	struct token t = a_powered();
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	stalls(&t);
	fails(&t, -EPIPE);
	a_is_switched_off_next(&t);
	t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(SW_READY));
	stalls(&t);
	fails(&t, -EPIPE);
	a_is_switched_off_next(&t);
}

/* A mute token counts as absent, unless it comes back when it is switched off. */
static void ccid_149_a_mute_is_absent(void **state) {
	(void)state;
	struct token t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(MUTE));
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_ABSENT);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	a_off(&t);
	answers(&t, BYTES(MUTE));
	tells_status(&t, CCID_ICC_ABSENT);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	is_asked(&t, 0xA0, 1);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);

	t = a_powered();
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_ACTIVE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	answers(&t, BYTES(MUTE));
	a_off(&t);
	answers(&t, BYTES(READY));
	tells_status(&t, CCID_ICC_INACTIVE);
}

static void ccid_149_a_command_lengths(void **state) {
	(void)state;
	static const uint8_t huge[5 + ICCD_MAX_DATA] = { 0 };
	struct token t = a_powered();
	start(&t, ccid_msg_xfr_block(0, 0, huge, 3));
	refuses(&t, CCID_ERROR_LENGTH, CCID_ICC_ACTIVE);
	start(&t, ccid_msg_xfr_block(0, 0, huge, sizeof(huge)));
	refuses(&t, CCID_ERROR_LENGTH, CCID_ICC_ACTIVE);
}

/* ---- version B ---- */

static void b_off(struct token *t) {
	is_told(t, 0x63, 0, NULL, 0);
	takes(t);
	is_asked(t, 0x81, 3);
}

static void b_power_on(struct token *t) {
	start(t, ccid_msg_power_on(1));
	b_off(t);
	answers(t, BYTES(0x81, 0x01, 0x00));
	is_told(t, 0x62, 1, NULL, 0);
	takes(t);
	is_asked(t, 0x6F, 34);
}

static struct token b_powered(void) {
	struct token t;
	iccd_init(&t.iccd, CCID_ICCD_B, INTERFACE);
	b_power_on(&t);
	answers(&t, BYTES(0x00, 0x3B, 0x80, 0x80, 0x01, 0x01));
	replies(&t, BYTES(0x3B, 0x80, 0x80, 0x01, 0x01));
	return t;
}

static struct token b_sent(uint16_t level) {
	struct token t = b_powered();
	start(&t, ccid_msg_xfr_block(0, level, select_mf, sizeof(select_mf)));
	is_told(&t, 0x65, (uint16_t)(level << 8), select_mf, sizeof(select_mf));
	takes(&t);
	/* However long the response may be: never more than one transfer can carry. */
	is_asked(&t, 0x6F, 4096);
	return t;
}

static void ccid_149_b_opens_by_off_on_off(void **state) {
	(void)state;
	struct token t;
	iccd_init(&t.iccd, CCID_ICCD_B, INTERFACE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	b_off(&t);
	answers(&t, BYTES(0x81, 0x00, 0x00));
	is_told(&t, 0x62, 1, NULL, 0);
	takes(&t);
	answers(&t, BYTES(0x00, 0x3B, 0x00));
	b_off(&t);
	answers(&t, BYTES(0x81, 0x01, 0x00));
	tells_status(&t, CCID_ICC_INACTIVE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	is_asked(&t, 0x81, 3);
}

/* The first byte is not looked at; 2 and 3 mean absent. */
static void ccid_149_b_slot_status(void **state) {
	(void)state;
	static const enum ccid_icc icc[] = { CCID_ICC_ACTIVE, CCID_ICC_INACTIVE, CCID_ICC_ABSENT,
		CCID_ICC_ABSENT };
	for (uint8_t i = 0; i < 4; i++) {
		struct token t = b_powered();
		start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
		answers(&t, BYTES((uint8_t)(0x55 + i), i, 0xFE));
		tells_status(&t, icc[i]);
		/* A card that has lost its power gets no commands. */
		start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
		assert_int_equal(t.action.verb, i == 0 ? ICCD_CONTROL : ICCD_REPLY);
	}
	for (size_t n = 0; n < 3; n++) {
		struct token t = b_powered();
		start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
		answers(&t, select_mf, n);
		fails(&t, -EBADMSG);
	}
}

static void ccid_149_b_answer_types(void **state) {
	(void)state;
	static const uint8_t types[] = { 0x00, 0x01, 0x02, 0x03, 0x10 };
	for (unsigned i = 0; i < sizeof(types); i++) {
		struct token t = b_sent(0);
		answers(&t, BYTES(types[i], 0xAA, 0x90, 0x00));
		replies(&t, BYTES(0xAA, 0x90, 0x00));
		assert_int_equal(t.action.reply.specific, types[i]);
	}
	for (unsigned type = 0; type < 256; type++) {
		if (type <= 3 || type == 0x10 || type == 0x40 || type == 0x80)
			continue;
		struct token t = b_sent(0);
		answers(&t, BYTES((uint8_t)type, 0x90, 0x00));
		fails(&t, -EBADMSG);
	}
}

static void ccid_149_b_chaining_parameters(void **state) {
	(void)state;
	static const uint16_t levels[] = { 0, 1, 2, 3 };
	for (unsigned i = 0; i < 4; i++) {
		struct token t = b_sent(levels[i]);
		answers(&t, BYTES(0x10));
		replies(&t, NULL, 0);
		assert_int_equal(t.action.reply.specific, 0x10);
	}
	struct token t = b_powered();
	start(&t, ccid_msg_xfr_block(0, CCID_CHAIN_NEXT, NULL, 0));
	is_told(&t, 0x65, 0x1000, NULL, 0);
	takes(&t);
	is_asked(&t, 0x6F, 4096);
}

static void ccid_149_b_polling(void **state) {
	(void)state;
	struct token t = b_sent(0);
	answers(&t, BYTES(0x80, 0x05, 0x00));
	waits(&t, 50);
	is_asked(&t, 0x6F, 4096);
	answers(&t, BYTES(0x80, 0x00, 0x00)); /* as we like */
	waits(&t, 10);
	answers(&t, BYTES(0x80, 0x00, 0x01)); /* little-endian */
	waits(&t, 2560);
	answers(&t, BYTES(0x80, 0xFF, 0xFF)); /* 655 s */
	waits(&t, 5000);
	answers(&t, BYTES(0x00, 0x90, 0x00));
	replies(&t, BYTES(0x90, 0x00));
	/* While the card starts. */
	b_power_on(&t);
	answers(&t, BYTES(0x80, 0x02, 0x00));
	waits(&t, 20);
	is_asked(&t, 0x6F, 34);
	answers(&t, BYTES(0x00, 0x3B, 0x00));
	replies(&t, BYTES(0x3B, 0x00));
}

static void ccid_149_b_short_answers(void **state) {
	(void)state;
	static const uint8_t types[] = { 0x40, 0x80 };
	struct token t = b_sent(0);
	answers(&t, NULL, 0);
	fails(&t, -EBADMSG);
	for (unsigned i = 0; i < 2; i++)
		for (size_t n = 1; n < 3; n++) {
			t = b_sent(0);
			answers(&t, (const uint8_t[]){ types[i], 0 }, n);
			fails(&t, -EBADMSG);
		}
	/* It is switched off before anything else. */
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	refuses(&t, CCID_ERROR_DEACTIVATED, CCID_ICC_INACTIVE);
	start(&t, ccid_msg_plain(CCID_ABORT));
	b_off(&t);
}

static void ccid_149_b_status_answer(void **state) {
	(void)state;
	struct token t = b_sent(0);
	answers(&t, BYTES(0x40, 0x40, 0xFE));
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_ACTIVE);
	/* Not the end of the card. */
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	takes(&t);
	/* A failure all the same; the card has no power. */
	answers(&t, BYTES(0x40, 0x01, 0xFB));
	refuses(&t, CCID_ERROR_HARDWARE, CCID_ICC_INACTIVE);
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	refuses(&t, CCID_ERROR_DEACTIVATED, CCID_ICC_INACTIVE);
	b_power_on(&t);
	answers(&t, BYTES(0x40, 0x42, 0xF8));
	refuses(&t, CCID_ERROR_BAD_TS, CCID_ICC_ABSENT);
}

static void ccid_149_b_power_on_answers(void **state) {
	(void)state;
	static const uint8_t wrong[] = { 0x01, 0x02, 0x03, 0x10, 0x77 };
	struct token t = b_powered();
	for (unsigned i = 0; i < sizeof(wrong); i++) {
		b_power_on(&t);
		answers(&t, BYTES(wrong[i], 0x3B, 0x00));
		fails(&t, -EBADMSG);
	}
	b_power_on(&t);
	answers(&t, BYTES(0x00));
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_INACTIVE);
	b_power_on(&t);
	answers(&t, NULL, 0);
	fails(&t, -EBADMSG);
}

/* DATA_BLOCK may be refused three times. */
static void ccid_149_b_stall(void **state) {
	(void)state;
	struct token t = b_sent(0);
	for (unsigned i = 0; i < 3; i++) {
		stalls(&t);
		waits(&t, 10);
		is_asked(&t, 0x6F, 4096);
	}
	answers(&t, BYTES(0x00, 0x90, 0x00));
	replies(&t, BYTES(0x90, 0x00));
	t = b_sent(0);
	for (unsigned i = 0; i < 3; i++) {
		stalls(&t);
		waits(&t, 10);
	}
	stalls(&t);
	fails(&t, -EPIPE);
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	b_off(&t);
	/* The command itself: not again. */
	t = b_powered();
	start(&t, ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf)));
	stalls(&t);
	fails(&t, -EPIPE);
	b_power_on(&t);
	for (unsigned i = 0; i < 3; i++) {
		stalls(&t);
		waits(&t, 10);
	}
	stalls(&t);
	refuses(&t, CCID_ERROR_MUTE, CCID_ICC_INACTIVE);
}

/* Character level: bLevelParameter counts the bytes that are to come, 258 of them in two goes. */
static void ccid_149_b_character_level(void **state) {
	(void)state;
	uint8_t answer[256] = { 0 };
	uint8_t both[258];
	memset(answer + 1, 0x5A, 255);
	memset(both, 0x5A, sizeof(both));
	both[256] = 0x90;
	both[257] = 0x00;
	struct token t = b_powered();
	start(&t, ccid_msg_xfr_block(0, 258, NULL, 0));
	is_told(&t, 0x65, 0xFF00, NULL, 0);
	takes(&t);
	answers(&t, answer, sizeof(answer));
	is_told(&t, 0x65, 0x0300, NULL, 0);
	takes(&t);
	is_asked(&t, 0x6F, 4096);
	answers(&t, BYTES(0x00, 0x5A, 0x90, 0x00));
	replies(&t, both, sizeof(both));
	/* A token that gives all at once. */
	uint8_t all[259] = { 0 };
	memcpy(all + 1, both, sizeof(both));
	start(&t, ccid_msg_xfr_block(0, 258, NULL, 0));
	takes(&t);
	answers(&t, all, sizeof(all));
	replies(&t, both, sizeof(both));
	/* … or more than it was asked for. */
	start(&t, ccid_msg_xfr_block(0, 0xFFFF, NULL, 0));
	is_told(&t, 0x65, 0xFF00, NULL, 0);
	takes(&t);
	answers(&t, answer, sizeof(answer));
	is_told(&t, 0x65, 0x0300, NULL, 0);
	takes(&t);
	answers(&t, answer, sizeof(answer));
	fails(&t, -EBADMSG);
}

/* ---- both ---- */

static void ccid_149_what_tokens_do_not_know(void **state) {
	(void)state;
	static const enum ccid_command_type types[] = { CCID_SET_PARAMETERS, CCID_SECURE,
		CCID_T0_APDU, CCID_ESCAPE, CCID_GET_PARAMETERS, CCID_RESET_PARAMETERS, CCID_CLOCK,
		CCID_MECHANICAL, CCID_SET_RATE_AND_CLOCK };
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct token a = a_powered(), b = b_powered();
		start(&a, ccid_msg_plain(types[i]));
		refuses(&a, CCID_ERROR_UNSUPPORTED, CCID_ICC_ACTIVE);
		start(&b, ccid_msg_plain(types[i]));
		refuses(&b, CCID_ERROR_UNSUPPORTED, CCID_ICC_ACTIVE);
	}
}

/* Whoever waited too long leaves it in mid-sentence. */
static void ccid_149_a_command_that_was_given_up(void **state) {
	(void)state;
	struct token t = a_sent(select_mf, sizeof(select_mf));
	answers(&t, BYTES(BUSY));
	a_is_switched_off_next(&t);
	t = b_sent(0);
	answers(&t, BYTES(0x80, 0xFF, 0x00));
	start(&t, ccid_msg_plain(CCID_GET_SLOT_STATUS));
	b_off(&t);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_149_a_opens_by_off_on_off),
		cmocka_unit_test(ccid_149_opens_a_token_that_refuses),
		cmocka_unit_test(ccid_149_a_power_off),
		cmocka_unit_test(ccid_149_a_power_on_fails),
		cmocka_unit_test(ccid_149_a_case_1),
		cmocka_unit_test(ccid_149_a_case_2),
		cmocka_unit_test(ccid_149_a_256_bytes),
		cmocka_unit_test(ccid_149_a_case_3),
		cmocka_unit_test(ccid_149_a_busy_is_asked_every_10_ms),
		cmocka_unit_test(ccid_149_a_unknown_status),
		cmocka_unit_test(ccid_149_a_wrong_lengths),
		cmocka_unit_test(ccid_149_a_stall),
		cmocka_unit_test(ccid_149_a_mute_is_absent),
		cmocka_unit_test(ccid_149_a_command_lengths),
		cmocka_unit_test(ccid_149_b_opens_by_off_on_off),
		cmocka_unit_test(ccid_149_b_slot_status),
		cmocka_unit_test(ccid_149_b_answer_types),
		cmocka_unit_test(ccid_149_b_chaining_parameters),
		cmocka_unit_test(ccid_149_b_polling),
		cmocka_unit_test(ccid_149_b_short_answers),
		cmocka_unit_test(ccid_149_b_status_answer),
		cmocka_unit_test(ccid_149_b_power_on_answers),
		cmocka_unit_test(ccid_149_b_stall),
		cmocka_unit_test(ccid_149_b_character_level),
		cmocka_unit_test(ccid_149_what_tokens_do_not_know),
		cmocka_unit_test(ccid_149_a_command_that_was_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
