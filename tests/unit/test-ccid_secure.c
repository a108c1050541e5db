/* SPDX-License-Identifier: MIT */
/* PIN entry at the reader's keys, from the control code to the bytes on the bus and back. */
#include <errno.h>
#include <string.h>

#include "tests/unit/pad-bench.h"

enum { VERIFY = 0x42330006, MODIFY = 0x42330007 };

#define TEMPLATE 0x00, 0x20, 0x00, 0x82, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF

/* 30 s; byte units, ASCII, left; block of 8; 4 to 8 digits; key OK; one message, US English. */
static const uint8_t verify[] = { 0x1E, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x01, 0x09, 0x04,
	0x00, 0x00, 0x00, 0x00, 0x0D, 0x00, 0x00, 0x00, TEMPLATE };
/* abPINOperation with its structure; bTeoPrologue is at 12. */
static const uint8_t verify_data[] = { 0x00, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x01, 0x09,
	0x04, 0x00, 0x00, 0x00, 0x00, TEMPLATE };
static const uint8_t modify[] = { 0x00, 0x00, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, 0x02,
	0x01, 0x09, 0x04, 0xA1, 0xA2, 0xA3, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x24,
	0x00, 0x82, 0x00 };

static const uint8_t ok[] = { 0x90, 0x00 };

static void assert_result(const struct pad *pad, const uint8_t *data, size_t len) {
	assert_int_equal(pad->b->result.len, len);
	assert_memory_equal(pad->b->data, data, len);
}

static enum status ask(struct pad *pad, uint32_t code) {
	return code == VERIFY ? bench_control(pad->b, VERIFY, verify, sizeof(verify))
			      : bench_control(pad->b, MODIFY, modify, sizeof(modify));
}

/* ---- the message ---- */

static void ccid_145_message_byte_for_byte(void **state) {
	(void)state;
	static const uint32_t levels[] = { CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	for (unsigned i = 0; i < 3; i++) {
		struct pad *pad = pad_ready(levels[i], 3, NULL, PROTOCOL_T0);
		pad_say(pad, ok, sizeof(ok));
		assert_int_equal(ask(pad, VERIFY), STATUS_OK);
		assert_result(pad, ok, sizeof(ok));
		const struct fake_usb *fake = pad->b->fake;
		uint8_t want[10 + sizeof(verify_data)] = { 0x69, 0x1C, 0, 0, 0, 0,
			fake->sent[fake->n_sent - 1][6] };
		memcpy(want + 10, verify_data, sizeof(verify_data));
		assert_int_equal(fake->sent_len[fake->n_sent - 1], sizeof(want));
		assert_memory_equal(fake->sent[fake->n_sent - 1], want, sizeof(want));
		pad_free(pad);
	}
	/* T=1 at APDU level: the reader sees to the blocks, bTeoPrologue is the program's */
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 3, NULL, PROTOCOL_T1);
	uint8_t in[sizeof(verify)];
	memcpy(in, verify, sizeof(in));
	memcpy(in + 12, (uint8_t[]){ 0x11, 0x22, 0x33 }, 3);
	pad_say(pad, ok, sizeof(ok));
	assert_int_equal(bench_control(pad->b, VERIFY, in, sizeof(in)), STATUS_OK);
	assert_memory_equal(bench_last_sent(pad->b, CCID_SECURE) + 22, in + 12, 3);
	pad_free(pad);
}

/* What is refused never gets to the reader. */
static void ccid_145_refused_without_traffic(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T0);
	unsigned n = pad->b->fake->n_sent;
	uint8_t in[sizeof(verify)];
	memcpy(in, verify, sizeof(in));
	in[15]++;
	assert_int_equal(bench_control(pad->b, VERIFY, in, sizeof(in)), STATUS_INVALID);
	memcpy(in, verify, sizeof(in));
	in[20] = 0xA4;
	assert_int_equal(bench_control(pad->b, VERIFY, in, sizeof(in)), STATUS_UNSUPPORTED);
	for (size_t len = 0; len < sizeof(verify); len++)
		assert_int_equal(bench_control(pad->b, VERIFY, verify, len), STATUS_INVALID);
	for (size_t len = 0; len < sizeof(modify); len++)
		assert_int_equal(bench_control(pad->b, MODIFY, modify, len), STATUS_INVALID);
	assert_int_equal(pad->b->fake->n_sent, n);
	pad_free(pad);
}

static void without_card_power_or_protocol(void **state) {
	(void)state;
	struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, NULL);
	bench_start_ready(pad->b);
	unsigned n = pad->b->fake->n_sent;
	assert_int_equal(ask(pad, VERIFY), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(pad->b->fake->n_sent, n);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	n = pad->b->fake->n_sent;
	assert_int_equal(ask(pad, VERIFY), STATUS_PROTO_MISMATCH);
	assert_int_equal(pad->b->fake->n_sent, n);
	pad_free(pad);
	pad = pad_new(CCID_FEATURE_TPDU, 3, NULL);
	pad->b->cards[0].icc = ABSENT;
	bench_start_ready(pad->b);
	assert_int_equal(ask(pad, MODIFY), STATUS_NO_CARD);
	pad_free(pad);
}

static void ccid_145_timeout(void **state) {
	(void)state;
	static const struct {
		uint8_t asked;
		unsigned seconds;
	} cases[] = {
		{ 0, 90 },
		{ 30, 90 },
		{ 80, 90 },
		{ 81, 91 },
		{ 255, 265 },
	};
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T0);
	const struct ccid_slot *slot = &pad->b->driver->slots[0];
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t in[sizeof(verify)];
		memcpy(in, verify, sizeof(in));
		in[0] = cases[i].asked;
		pad_extend(pad, 1);
		pad_extend(pad, 1);
		pad_say(pad, ok, sizeof(ok));
		assert_int_equal(bench_control(pad->b, VERIFY, in, sizeof(in)), STATUS_OK);
		assert_int_equal(slot->command.timeout_usec, cases[i].seconds * UINT64_C(1000000));
	}
	pad_free(pad);
}

/* ---- the end ---- */

static void ccid_146_timeout_and_cancel(void **state) {
	(void)state;
	static const uint32_t levels[] = { CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	for (unsigned i = 0; i < 6; i++) {
		uint32_t protocol = i < 3 ? PROTOCOL_T0 : PROTOCOL_T1;
		struct pad *pad = pad_ready(levels[i % 3], 3, NULL, protocol);
		pad_refuse(pad, 0xF0);
		pad_refuse(pad, 0xEF);
		pad_refuse(pad, 0x00);
		pad_refuse(pad, 0x0C); /* a field that it does not like */
		assert_int_equal(ask(pad, VERIFY), STATUS_OK);
		assert_result(pad, BYTES(0x64, 0x00));
		assert_int_equal(ask(pad, MODIFY), STATUS_OK);
		assert_result(pad, BYTES(0x64, 0x01));
		assert_int_equal(ask(pad, VERIFY), STATUS_UNSUPPORTED);
		assert_int_equal(ask(pad, VERIFY), STATUS_EXCHANGE_FAILED);
		/* the card is as it was */
		if (protocol == PROTOCOL_T0)
			assert_int_equal(bench_transmit(pad->b, 0, protocol), STATUS_OK);
		assert_int_equal(pad->b->swapped[0], 0);
		pad_free(pad);
	}
}

static void lost_power_while_waiting(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T0);
	pad->answers[pad->n++] = (struct pad_answer){ .status = 0x41, .error = 0xFE };
	assert_int_equal(ask(pad, VERIFY), STATUS_CARD_RESET);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T0), STATUS_OK);
	pad->answers[pad->n++] = (struct pad_answer){ .status = 0x42, .error = 0xFE };
	pad->b->cards[0].icc = ABSENT;
	assert_int_equal(ask(pad, VERIFY), STATUS_CARD_REMOVED);
	pad_free(pad);
}

/* The plug is pulled while people look for their keys. */
static void unplugged_while_waiting(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T0);
	pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
	struct driver_bytes in = { verify, sizeof(verify) };
	driver_ccid.control(pad->b->driver, 0, VERIFY, &in, bench_done, pad->b);
	fake_run_for(pad->b->event, 50);
	assert_int_equal(pad->b->done, 0);
	fake_usb_unplug(pad->b->fake);
	assert_int_equal(bench_wait_done(pad->b, 2000), STATUS_READER_GONE);
	pad_free(pad);
}

/* ---- T=1, block by block ---- */

/* A command of 7 bytes over XfrBlock with this PCB, answered by the card with `block`. */
static void check_next_block(struct pad *pad, uint8_t pcb, const uint8_t *block, size_t len) {
	pad_say(pad, block, len);
	assert_int_equal(bench_transmit(pad->b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(bench_last_sent(pad->b, CCID_XFR_BLOCK)[11], pcb);
}

static struct pad *t1_pad(void) {
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, NULL, PROTOCOL_T1);
	pad->blocks = 1;
	return pad;
}

/* bTeoPrologue of the last Secure. */
static void assert_prologue(const struct pad *pad, uint32_t code, uint8_t pcb) {
	const uint8_t *m = bench_last_sent(pad->b, CCID_SECURE);
	const uint8_t want[3] = { 0, pcb, code == VERIFY ? 13 : 5 };
	/* modify has one message: two indexes */
	assert_memory_equal(m + 10 + (code == VERIFY ? 12 : 16), want, 3);
}

#define I0 BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x92)
#define I1 BYTES(0x00, 0x40, 0x02, 0x90, 0x00, 0xD2)
static const uint32_t both[] = { VERIFY, MODIFY };

static void ccid_146_t1_blocks_are_counted(void **state) {
	(void)state;
	struct pad *pad = t1_pad();
	for (unsigned i = 0; i < 2; i++) {
		pad_say(pad, I0);
		assert_int_equal(ask(pad, both[i]), STATUS_OK);
		assert_result(pad, ok, sizeof(ok));
		assert_prologue(pad, both[i], 0x00);
		check_next_block(pad, 0x40, I1);
		/* the other way round */
		check_next_block(pad, 0x00, I0);
		pad_say(pad, I1);
		assert_int_equal(ask(pad, both[i]), STATUS_OK);
		assert_result(pad, ok, sizeof(ok));
		assert_prologue(pad, both[i], 0x40);
	}
	pad_free(pad);
}

static void ccid_146_t1_nothing_sent(void **state) {
	(void)state;
	static const uint8_t errors[] = { 0xF0, 0xEF, 0x00, 0x0C, 0xFB, 0xF3, 0xFF };
	for (unsigned i = 0; i < 2 * sizeof(errors); i++) {
		uint32_t code = both[i % 2];
		uint8_t error = errors[i / 2];
		struct pad *pad = t1_pad();
		check_next_block(pad, 0x00, I0);
		pad_refuse(pad, error);
		enum status want =
			error >= 0xEF && error <= 0xF0 ? STATUS_OK : STATUS_EXCHANGE_FAILED;
		if (error == 0)
			want = STATUS_UNSUPPORTED;
		if (error == 0xF3)
			want = STATUS_CARD_UNRESPONSIVE;
		assert_int_equal(ask(pad, code), want);
		assert_prologue(pad, code, 0x40);
		check_next_block(pad, 0x40, I1);
		pad_free(pad);
	}
	/* words that the reader itself makes up: not from the card */
	static const uint8_t words[][2] = { { 0x64, 0x00 }, { 0x64, 0x02 }, { 0x64, 0x03 },
		{ 0x6B, 0x80 } };
	struct pad *pad = t1_pad();
	for (unsigned i = 0; i < 4; i++) {
		pad_say(pad, words[i], 2);
		assert_int_equal(ask(pad, both[i % 2]), STATUS_OK);
		assert_result(pad, words[i], 2);
		assert_prologue(pad, both[i % 2], 0x00);
	}
	check_next_block(pad, 0x00, I0);
	pad_free(pad);
}

static void ccid_146_t1_short_answers(void **state) {
	(void)state;
	static const uint8_t bytes[] = { 0x00, 0x00, 0x02 };
	for (size_t len = 0; len < 4; len++) {
		if (len == 2)
			continue;
		struct pad *pad = t1_pad();
		pad_say(pad, bytes, len);
		assert_int_equal(ask(pad, VERIFY), STATUS_EXCHANGE_FAILED);
		check_next_block(pad, 0x00, I0);
		pad_free(pad);
	}
}

/* As cards do that check a PIN slowly: twice, for both commands. */
static void ccid_146_t1_waiting_time(void **state) {
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct pad *pad = t1_pad();
		check_next_block(pad, 0x00, I0);
		pad_say(pad, BYTES(0x00, 0xC3, 0x01, 0x09, 0xCB));
		pad_say(pad, BYTES(0x00, 0xC3, 0x01, 0x02, 0xC0));
		pad_say(pad, I1);
		assert_int_equal(ask(pad, both[i]), STATUS_OK);
		assert_result(pad, ok, sizeof(ok));
		pad_assert_sent(pad, 1, CCID_XFR_BLOCK, BYTES(0x00, 0xE3, 0x01, 0x09, 0xEB));
		pad_assert_sent(pad, 0, CCID_XFR_BLOCK, BYTES(0x00, 0xE3, 0x01, 0x02, 0xE0));
		const struct fake_usb *fake = pad->b->fake;
		assert_int_equal(fake->sent[fake->n_sent - 2][7], 9); /* bBWI */
		assert_int_equal(fake->sent[fake->n_sent - 1][7], 2);
		assert_prologue(pad, both[i], 0x40);
		check_next_block(pad, 0x00, I0);
		assert_int_equal(fake->sent[fake->n_sent - 1][7], 0);
		pad_free(pad);
	}
}

/* A damaged block is asked for again, and the numbers go on. */
static void ccid_146_t1_damaged_answer(void **state) {
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct pad *pad = t1_pad();
		pad_say(pad, BYTES(0x00, 0x00, 0x02, 0x90, 0x00, 0x93)); /* LRC */
		pad_refuse(pad, 0xFD);                                   /* then a parity error */
		pad_say(pad, I0);
		assert_int_equal(ask(pad, both[i]), STATUS_OK);
		assert_result(pad, ok, sizeof(ok));
		pad_assert_sent(pad, 1, CCID_XFR_BLOCK, BYTES(0x00, 0x81, 0x00, 0x81));
		pad_assert_sent(pad, 0, CCID_XFR_BLOCK, BYTES(0x00, 0x81, 0x00, 0x81));
		check_next_block(pad, 0x40, I1);
		pad_free(pad);
	}
}

/* The card did not get the block: only the reader can repeat it. */
static void t1_card_asks_again(void **state) {
	(void)state;
	struct pad *pad = t1_pad();
	pad_say(pad, BYTES(0x00, 0x81, 0x00, 0x81)); /* R(0): bad check byte */
	pad_say(pad, I0);
	assert_int_equal(ask(pad, VERIFY), STATUS_OK);
	assert_result(pad, ok, sizeof(ok));
	pad_assert_sent(pad, 0, CCID_SECURE, BYTES(0x05));
	check_next_block(pad, 0x40, I1);
	/* a reader that cannot */
	pad_say(pad, BYTES(0x00, 0x82, 0x00, 0x82));
	pad_refuse(pad, 0x0A);
	assert_int_equal(ask(pad, VERIFY), STATUS_EXCHANGE_FAILED);
	check_next_block(pad, 0x00, I0);
	pad_free(pad);
}

/* The card lost the thread: never a second entry behind the user's back. */
static void t1_resynchronised(void **state) {
	(void)state;
	struct pad *pad = t1_pad();
	check_next_block(pad, 0x00, I0);
	pad_say(pad, BYTES(0xFF, 0x40, 0x02, 0x90, 0x00, 0x2D)); /* NAD of somebody else */
	pad_say(pad, BYTES(0xFF, 0x40, 0x02, 0x90, 0x00, 0x2D));
	pad_say(pad, BYTES(0xFF, 0x40, 0x02, 0x90, 0x00, 0x2D));
	pad_say(pad, BYTES(0x00, 0xE0, 0x00, 0xE0)); /* S(RESYNCH response) */
	unsigned n = bench_n_sent(pad->b, CCID_SECURE);
	assert_int_equal(ask(pad, VERIFY), STATUS_EXCHANGE_FAILED);
	assert_int_equal(bench_n_sent(pad->b, CCID_SECURE), n + 1);
	/* the next entry comes after S(IFS), with the first number */
	pad_say(pad, BYTES(0x00, 0xE1, 0x01, 0xFE, 0x1E));
	pad_say(pad, I0);
	assert_int_equal(ask(pad, VERIFY), STATUS_OK);
	pad_assert_sent(pad, 1, CCID_XFR_BLOCK, BYTES(0x00, 0xC1, 0x01, 0xFE, 0x3E));
	assert_prologue(pad, VERIFY, 0x00);
	pad_free(pad);
}

/* The block that the reader makes must fit into the card's buffer. */
static void t1_too_long_for_the_card(void **state) {
	(void)state;
	struct pad *pad = t1_pad(); /* IFSC is 32 */
	uint8_t in[19 + 33];
	memcpy(in, verify, sizeof(verify));
	memset(in + sizeof(verify), 0xFF, sizeof(in) - sizeof(verify));
	in[15] = 33;
	assert_int_equal(bench_control(pad->b, VERIFY, in, 19 + 33), STATUS_TOO_LONG);
	in[15] = 32;
	pad_say(pad, I0);
	assert_int_equal(bench_control(pad->b, VERIFY, in, 19 + 32), STATUS_OK);
	pad_free(pad);
}

/* A response has SW1 SW2 (ISO/IEC 7816-3 12.1.1), also one that came in good blocks. */
static void t1_response_without_status(void **state) {
	(void)state;
	struct pad *pad = t1_pad();
	pad_say(pad, BYTES(0x00, 0x00, 0x00, 0x00));
	assert_int_equal(ask(pad, VERIFY), STATUS_EXCHANGE_FAILED);
	assert_int_equal(pad->b->result.len, 0);
	pad_say(pad, BYTES(0x00, 0x40, 0x01, 0x90, 0xD1));
	assert_int_equal(bench_transmit(pad->b, 0, PROTOCOL_T1), STATUS_EXCHANGE_FAILED);
	assert_int_equal(pad->b->result.len, 0);
	check_next_block(pad, 0x00, I0);
	pad_free(pad);
}

/* Whatever reader and card say: each entry ends, once, with two bytes or more, or an error; and there is
 * never a second entry without the card's asking. */
static void t1_any_answers(void **state) {
	(void)state;
	unsigned n_good = 0;
	struct pad *pad = t1_pad();
	for (uint32_t seed = 1; seed <= 1500; seed++) {
		pad->seed = seed * 2654435761u;
		unsigned n = pad->b->fake->n_sent = 0;
		enum status status = ask(pad, both[seed % 2]);
		n = bench_n_sent(pad->b, CCID_SECURE);
		assert_in_range(n, 0, 16);
		if (status == STATUS_OK)
			assert_true(pad->b->result.len >= 2);
		else
			assert_int_equal(pad->b->result.len, 0);
		n_good += status == STATUS_OK;
		pad->seed = 0;
		if (status == STATUS_OK)
			continue;
		/* as programs do after an error */
		pad->blocks = 0;
		assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T1), STATUS_OK);
		pad->blocks = 1;
	}
	assert_in_range(n_good, 100, 1400);
	pad_free(pad);
}

/* ---- special readers ---- */

static void ccid_147_modify_for_gemalto(void **state) {
	(void)state;
	static const uint8_t repaired[21] = { 0x02, 0x11, 0x00, 0x02, 0x7F, 0x00, 0x00, 0x00,
		0x06, [12] = 0x01, 0x04, 0x10, 0x01, 0xFF, 0xFF };
	static const uint8_t unrepaired[21] = { 0x02, 0x10, 0x00, 0x07, 0xFF, 0x04, [13] = 0x01,
		0x01, 0x10 };
	static const uint8_t firmware[] = { 'G' };
	static const struct {
		const uint8_t *features;
		size_t len;
		int all;
		uint8_t validation;
	} cases[] = {
		{ NULL, 0, 1, 7 },
		{ repaired, 20, 1, 7 }, /* not 21 bytes: no block */
		{ unrepaired, 21, 1, 7 },
		{ repaired, 21, 0, 2 },
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pad *pad = pad_new(CCID_FEATURE_TPDU, 3, "gemalto");
		if (cases[i].features)
			pad_say(pad, cases[i].features, cases[i].len);
		else
			pad_refuse(pad, 0);
		pad_say(pad, firmware, sizeof(firmware));
		bench_start_ready(pad->b);
		assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T0), STATUS_OK);
		uint8_t in[sizeof(modify)];
		memcpy(in, modify, sizeof(in));
		in[10] = 7;
		in[11] = 0;
		uint8_t v = cases[i].validation;
		pad_say(pad, ok, sizeof(ok));
		assert_int_equal(bench_control(pad->b, MODIFY, in, sizeof(in)), STATUS_OK);
		if (cases[i].all)
			pad_assert_sent(pad, 0, CCID_SECURE,
				BYTES(0x01, 0x00, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, v,
					0x00, 0x09, 0x04, 0xA1, 0xA2, 0xA3, 0x00, 0x00, 0x00, 0x00,
					0x24, 0x00, 0x82, 0x00));
		else
			pad_assert_sent(pad, 0, CCID_SECURE,
				BYTES(0x01, 0x00, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, v,
					0x00, 0x09, 0x04, 0xA1, 0x00, 0x00, 0x00, 0x00, 0x24, 0x00,
					0x82, 0x00));
		pad_free(pad);
	}
}

/* 046A:0010: three messages, whatever the program says. */
static void ccid_147_modify_three_messages(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_SHORT_APDU, 3, "pin-three-messages", PROTOCOL_T0);
	pad_say(pad, ok, sizeof(ok));
	assert_int_equal(ask(pad, MODIFY), STATUS_OK);
	pad_assert_sent(pad, 0, CCID_SECURE,
		BYTES(0x01, 0x00, 0x82, 0x08, 0x00, 0x00, 0x08, 0x08, 0x04, 0x03, 0x02, 0x03, 0x09,
			0x04, 0xA1, 0xA2, 0xA3, 0x00, 0x00, 0x00, 0x00, 0x24, 0x00, 0x82, 0x00));
	pad_free(pad);
}

static uint64_t now_ms(void) {
	return ccid_now() / 1000;
}

static void rest_before_secure(void **state) {
	(void)state;
	struct pad *pad = pad_ready(
		CCID_FEATURE_TPDU, 1, "pin-no-message pin-delay=250 pin-swap-digits", PROTOCOL_T0);
	pad_say(pad, ok, sizeof(ok));
	uint64_t began = now_ms();
	assert_int_equal(ask(pad, VERIFY), STATUS_OK);
	assert_in_range(now_ms() - began, 245, 2000);
	const uint8_t *m = bench_last_sent(pad->b, CCID_SECURE);
	assert_memory_equal(m + 15, ((uint8_t[]){ 0x04, 0x08, 0x02, 0x00 }), 4);
	began = now_ms();
	assert_int_equal(bench_transmit(pad->b, 0, PROTOCOL_T0), STATUS_OK);
	assert_in_range(now_ms() - began, 0, 200);
	/* unplugged during the rest */
	struct driver_bytes in = { verify, sizeof(verify) };
	driver_ccid.control(pad->b->driver, 0, VERIFY, &in, bench_done, pad->b);
	fake_run_for(pad->b->event, 50);
	fake_usb_unplug(pad->b->fake);
	assert_int_equal(bench_wait_done(pad->b, 2000), STATUS_READER_GONE);
	pad_free(pad);
}

static void vendor_commands_before_secure(void **state) {
	(void)state;
	struct pad *pad = pad_ready(
		CCID_FEATURE_TPDU, 3, "pin-unpadded-escape pin-hide-retries", PROTOCOL_T0);
	uint8_t in[19 + 4];
	memcpy(in, verify, sizeof(in));
	in[3] = 0;
	in[15] = 4;
	pad_say(pad, NULL, 0);
	pad_refuse(pad, 0); /* it does not matter */
	pad_say(pad, ok, sizeof(ok));
	assert_int_equal(bench_control(pad->b, VERIFY, in, sizeof(in)), STATUS_OK);
	assert_result(pad, ok, sizeof(ok));
	pad_assert_sent(pad, 2, CCID_ESCAPE, BYTES(0xB5, 0x01, 0x00, 0x03, 0x00));
	pad_assert_sent(pad, 1, CCID_ESCAPE, BYTES(0x80, 0x02, 0x00));
	pad_assert_sent(pad, 0, CCID_SECURE,
		BYTES(0x00, 0x1E, 0x82, 0x00, 0x00, 0x08, 0x04, 0x02, 0x01, 0x09, 0x04, 0x00, 0x00,
			0x00, 0x00, 0x00, 0x20, 0x00, 0x82));
	/* each with a number of its own */
	const struct fake_usb *fake = pad->b->fake;
	assert_int_not_equal(fake->sent[fake->n_sent - 1][6], fake->sent[fake->n_sent - 2][6]);
	/* with a block there is nothing to be told */
	pad_say(pad, NULL, 0);
	pad_say(pad, ok, sizeof(ok));
	assert_int_equal(ask(pad, VERIFY), STATUS_OK);
	pad_free(pad);
	pad = pad_new(CCID_FEATURE_TPDU, 3, "gemalto pin-hide-retries");
	pad_refuse(pad, 0);
	pad_refuse(pad, 0);
	bench_start_ready(pad->b);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(pad->b, 0, PROTOCOL_T0), STATUS_OK);
	pad_say(pad, NULL, 0);
	pad_say(pad, ok, sizeof(ok));
	assert_int_equal(ask(pad, VERIFY), STATUS_OK);
	pad_assert_sent(pad, 1, CCID_ESCAPE, BYTES(0xB5, 0x00));
	pad_free(pad);
}

/* The card goes while the reader is being told something. */
static void card_lost_before_secure(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, "pin-hide-retries", PROTOCOL_T0);
	pad->answers[pad->n++] = (struct pad_answer){ .status = 0x01 };
	unsigned n = bench_n_sent(pad->b, CCID_SECURE);
	assert_int_equal(ask(pad, VERIFY), STATUS_CARD_RESET);
	assert_int_equal(bench_n_sent(pad->b, CCID_SECURE), n);
	pad_free(pad);
}

/* The program dies before the entry has begun: nobody is asked for a PIN that nobody wants. */
static void abandoned_before_secure(void **state) {
	(void)state;
	struct pad *pad = pad_ready(CCID_FEATURE_TPDU, 3, "pin-hide-retries", PROTOCOL_T0);
	struct fake_usb *fake = pad->b->fake;
	unsigned n = bench_n_sent(pad->b, CCID_SECURE);
	pad->answers[pad->n++] = (struct pad_answer){ .silent = 1 };
	struct driver_bytes in = { verify, sizeof(verify) };
	driver_ccid.control(pad->b->driver, 0, VERIFY, &in, bench_done, pad->b);
	fake_run_for(pad->b->event, 20);
	driver_ccid.abandon(pad->b->driver, 0);
	const uint8_t answer[10] = { 0x83, [6] = fake->sent[fake->n_sent - 1][6] };
	fake_usb_send(fake, 0x82, answer, sizeof(answer));
	assert_int_not_equal(bench_wait_done(pad->b, 1000), STATUS_OK);
	assert_int_equal(bench_n_sent(pad->b, CCID_SECURE), n);
	pad_free(pad);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_145_message_byte_for_byte),
		cmocka_unit_test(ccid_145_refused_without_traffic),
		cmocka_unit_test(without_card_power_or_protocol),
		cmocka_unit_test(ccid_145_timeout),
		cmocka_unit_test(ccid_146_timeout_and_cancel),
		cmocka_unit_test(lost_power_while_waiting),
		cmocka_unit_test(unplugged_while_waiting),
		cmocka_unit_test(ccid_146_t1_blocks_are_counted),
		cmocka_unit_test(ccid_146_t1_nothing_sent),
		cmocka_unit_test(ccid_146_t1_short_answers),
		cmocka_unit_test(ccid_146_t1_waiting_time),
		cmocka_unit_test(ccid_146_t1_damaged_answer),
		cmocka_unit_test(t1_card_asks_again),
		cmocka_unit_test(t1_resynchronised),
		cmocka_unit_test(t1_too_long_for_the_card),
		cmocka_unit_test(t1_response_without_status),
		cmocka_unit_test(t1_any_answers),
		cmocka_unit_test(ccid_147_modify_for_gemalto),
		cmocka_unit_test(ccid_147_modify_three_messages),
		cmocka_unit_test(rest_before_secure),
		cmocka_unit_test(vendor_commands_before_secure),
		cmocka_unit_test(card_lost_before_secure),
		cmocka_unit_test(abandoned_before_secure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
