/* SPDX-License-Identifier: MIT */
/* Models a reader with keys as a list of answers in front of the bench's own reader. */
#include "tests/unit/pad-bench.h"

#include <stdlib.h>
#include <string.h>

static struct pad *current;
static fake_message_fn bench_reader;

/* Xorshift: the same numbers on every machine. */
static uint32_t any(struct pad *pad, uint32_t n) {
	pad->seed ^= pad->seed << 13;
	pad->seed ^= pad->seed >> 17;
	pad->seed ^= pad->seed << 5;
	return pad->seed % n;
}

/* Mostly a block with the right check byte, or something like one. */
static struct pad_answer *make_up(struct pad *pad) {
	static const uint8_t errors[] = { 0xF0, 0xEF, 0xFE, 0xFD, 0xFB, 0xF3, 0x00, 0x0C, 0xC5 };
	static const uint8_t pcbs[] = { 0x00, 0x40, 0x20, 0x60, 0x80, 0x90, 0x81, 0x92, 0xC0, 0xC1,
		0xC2, 0xC3, 0xE0, 0xE1, 0xE3 };
	struct pad_answer *a = &pad->answers[0];
	*a = (struct pad_answer){ .data = a->copy };
	if (any(pad, 5) == 0) {
		a->status = 0x40;
		a->error = errors[any(pad, sizeof(errors))];
		return a;
	}
	a->copy[1] = any(pad, 8) ? pcbs[any(pad, sizeof(pcbs))] : (uint8_t)any(pad, 256);
	a->copy[2] = (uint8_t)any(pad, 4);
	size_t len = 3 + a->copy[2];
	for (size_t i = 3; i < len; i++)
		a->copy[i] = (uint8_t)any(pad, 256);
	uint8_t lrc = 0;
	for (size_t i = 0; i < len; i++)
		lrc ^= a->copy[i];
	a->copy[len] = lrc;
	a->len = any(pad, 8) ? len + 1 : any(pad, 9);
	return a;
}

static void answer(struct pad *pad, uint8_t endpoint, const uint8_t *m) {
	struct pad_answer *a;
	do {
		assert_true(pad->seed || pad->at < pad->n);
		a = pad->seed ? make_up(pad) : &pad->answers[pad->at++];
		if (a->silent)
			return;
		size_t len = a->lie ? a->lie : a->len;
		uint8_t out[600] = { m[0] == CCID_ESCAPE ? 0x83 : 0x80, (uint8_t)len,
			(uint8_t)(len >> 8), 0, 0, m[5], m[6], a->status, a->error };
		assert_true(a->len <= sizeof(out) - 10);
		if (a->len)
			memcpy(out + 10, a->data, a->len);
		fake_usb_send(pad->b->fake, (uint8_t)(endpoint + 0x81), out, 10 + a->len);
	} while (a->status == 0x80);
}

static void on_message(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct pad *pad = current;
	if (m[0] == CCID_SECURE || m[0] == CCID_ESCAPE || (pad->blocks && m[0] == CCID_XFR_BLOCK))
		answer(pad, endpoint, m);
	else
		bench_reader(fake, endpoint, m, len);
}

struct pad *pad_new(uint32_t features, uint8_t pin, const char *quirks) {
	struct pad *pad = calloc(1, sizeof(*pad));
	assert_non_null(pad);
	pad->b = bench_new(features, 271);
	pad->b->descriptors.bytes[18 + 9 + 9 + 52] = pin;
	pad->b->config.quirks = quirks;
	bench_reader = pad->b->fake->on_message;
	pad->b->fake->on_message = on_message;
	current = pad;
	return pad;
}

void pad_free(struct pad *pad) {
	assert_int_equal(pad->at, pad->n);
	bench_free(pad->b);
	free(pad);
}

struct pad *pad_ready(uint32_t features, uint8_t pin, const char *quirks, uint32_t protocol) {
	struct pad *pad = pad_new(features, pin, quirks);
	bench_start_ready(pad->b);
	assert_int_equal(bench_power(pad->b, 0, DRIVER_COLD), STATUS_OK);
	if (protocol)
		assert_int_equal(bench_protocol(pad->b, 0, protocol), STATUS_OK);
	return pad;
}

static struct pad_answer *add(struct pad *pad) {
	assert_true(pad->n < PAD_MAX_ANSWERS);
	return &pad->answers[pad->n++];
}

void pad_say(struct pad *pad, const uint8_t *data, size_t len) {
	struct pad_answer *a = add(pad);
	*a = (struct pad_answer){ .data = a->copy, .len = len };
	assert_true(len <= sizeof(a->copy));
	if (len)
		memcpy(a->copy, data, len);
}

void pad_refuse(struct pad *pad, uint8_t error) {
	*add(pad) = (struct pad_answer){ .status = 0x40, .error = error };
}

void pad_extend(struct pad *pad, uint8_t multiplier) {
	*add(pad) = (struct pad_answer){ .status = 0x80, .error = multiplier };
}

void pad_assert_sent(
	const struct pad *pad, unsigned i, uint8_t type, const uint8_t *data, size_t len) {
	const struct fake_usb *fake = pad->b->fake;
	assert_true(i < fake->n_sent);
	const uint8_t *m = fake->sent[fake->n_sent - 1 - i];
	assert_int_equal(m[0], type);
	assert_int_equal(fake->sent_len[fake->n_sent - 1 - i], 10 + len);
	assert_int_equal(m[1] | m[2] << 8, len);
	assert_memory_equal(m + 3, ((uint8_t[]){ 0, 0, 0 }), 3);
	if (type != CCID_XFR_BLOCK)
		assert_memory_equal(m + 7, ((uint8_t[]){ 0, 0, 0 }), 3);
	assert_memory_equal(m + 10, data, len);
}
