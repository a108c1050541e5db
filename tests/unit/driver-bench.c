/* SPDX-License-Identifier: MIT */
/*
 * Models a reader with up to eight slots and simple cards, as the CCID driver sees it through a fake
 * device, and a host that counts what it is told.
 */
#include "tests/unit/driver-bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

/* ---- the reader ---- */

static void answer(struct fake_usb *fake, uint8_t endpoint, uint8_t type, const uint8_t *m,
	const uint8_t tail[3], const uint8_t *data, size_t len) {
	uint8_t a[600] = { type, (uint8_t)len, (uint8_t)(len >> 8), 0, 0, m[5], m[6], tail[0],
		tail[1], tail[2] };
	if (len)
		memcpy(a + 10, data, len);
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, 10 + len);
}

static void power_on(struct bench *b, uint8_t endpoint, const uint8_t *m, struct card *card) {
	uint8_t error = b->power_error ? b->power_error : 0xFE;
	int works = card->icc != ABSENT && !card->mute && !b->power_error &&
		(!card->voltage || card->voltage == m[7]);
	b->power_error = 0;
	if (card->mute > 0)
		card->mute--;
	if (works) {
		card->icc = ACTIVE;
		answer(b->fake, endpoint, 0x80, m, (uint8_t[3]){ 0 }, card->atr, card->atr_len);
	} else {
		uint8_t status = (uint8_t)(0x40 | (card->icc == ABSENT ? 2 : 1));
		answer(b->fake, endpoint, 0x80, m, (uint8_t[3]){ status, error }, NULL, 0);
	}
}

static void xfr(
	struct bench *b, uint8_t endpoint, const uint8_t *m, size_t len, const struct card *card) {
	uint8_t tail[3] = { b->lost_power ? b->lost_power : card->icc };
	if (len > 10 && m[10] == 0xFF && m[11] < 0x20) {
		if (b->n_pps > 0)
			answer(b->fake, endpoint, 0x80, m, tail, b->pps, (size_t)b->n_pps);
		else if (b->n_pps == -2)
			answer(b->fake, endpoint, 0x80, m, tail, NULL, 0);
		else if (b->n_pps == 0)
			answer(b->fake, endpoint, 0x80, m, tail, m + 10, len - 10);
		else
			answer(b->fake, endpoint, 0x80, m, (uint8_t[3]){ 0x40, 0xFE }, NULL, 0);
		return;
	}
	if (len > 11 && m[11] == 0xC1) { /* S(IFS request) */
		uint8_t block[5] = { 0, 0xE1, 1, m[13], (uint8_t)(0xE1 ^ 1 ^ m[13]) };
		answer(b->fake, endpoint, 0x80, m, tail, block, sizeof(block));
		return;
	}
	static const uint8_t status[] = { 0x90, 0x00 };
	tail[1] = b->xfr_error;
	answer(b->fake, endpoint, 0x80, m, tail, status, sizeof(status) - b->xfr_lacks);
}

static void reader(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct bench *b = fake->userdata;
	assert_true(len >= 10 && m[5] < N_SLOTS);
	/* With two interfaces the second one's slots follow those of the first one. */
	struct card *card = &b->cards[m[5] + (endpoint > 4 ? 1 : 0)];
	if (b->n_ignore) {
		b->n_ignore--;
		return;
	}
	switch (m[0]) {
	case CCID_POWER_ON: power_on(b, endpoint, m, card); break;
	case CCID_POWER_OFF:
		card->icc = card->icc == ABSENT ? ABSENT : INACTIVE;
		answer(fake, endpoint, 0x81, m, (uint8_t[3]){ card->icc }, NULL, 0);
		break;
	case CCID_GET_SLOT_STATUS:
		/* An empty slot is told as a failure, as some readers do (CCID-73). */
		answer(fake, endpoint, 0x81, m,
			(uint8_t[3]){ card->icc == ABSENT ? 0x42 : card->icc, 0xFE }, NULL, 0);
		break;
	case CCID_XFR_BLOCK: xfr(b, endpoint, m, len, card); break;
	case CCID_GET_PARAMETERS:
		answer(fake, endpoint, 0x82, m, (uint8_t[3]){ card->icc, 0, b->protocol },
			BYTES(0x11, 0, 0, 10, 0));
		break;
	case CCID_SET_PARAMETERS:
		answer(fake, endpoint, 0x82, m,
			(uint8_t[3]){ (uint8_t)(card->icc | (b->parameters_fail ? 0x40 : 0)),
				b->parameters_error, m[7] },
			NULL, 0);
		break;
	case CCID_ESCAPE:
		answer(fake, endpoint, 0x83, m, (uint8_t[3]){ card->icc }, BYTES(0xE5, 0xCA));
		break;
	default: answer(fake, endpoint, 0x81, m, (uint8_t[3]){ 0x40 }, NULL, 0); break;
	}
}

static int on_control(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len) {
	struct bench *b = fake->userdata;
	assert_int_equal(setup->request_type, 0xA1);
	assert_int_equal(setup->request, 3);
	if (b->rates_len < 0)
		return b->rates_len;
	size_t n = (size_t)b->rates_len < len ? (size_t)b->rates_len : len;
	memcpy(data, b->rates, n);
	return (int)n;
}

/* ---- the host ---- */

static void on_ready(void *userdata) {
	((struct bench *)userdata)->ready++;
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	struct bench *b = userdata;
	(void)detail;
	b->troubles++;
	b->why = why;
}

static void on_advice(void *userdata, const char *text) {
	((struct bench *)userdata)->advices += text[0] != '\0';
}

static void on_gone(void *userdata) {
	((struct bench *)userdata)->gone++;
}

static void on_presence(void *userdata, unsigned slot, int present, enum driver_change change) {
	struct bench *b = userdata;
	assert_true(slot < N_SLOTS && b->ready);
	b->presences++;
	b->present[slot] = present;
	b->swapped[slot] += change != DRIVER_CARD_SAME;
}

void bench_done(void *userdata, const struct driver_result *result) {
	struct bench *b = userdata;
	b->done++;
	b->result = *result;
	if (result->data)
		memcpy(b->data, result->data, result->len);
}

struct bench *bench_new(uint32_t features, uint32_t message_length) {
	static const uint8_t atr[] = { 0x3B, 0x80, 0x80, 0x01, 0x01 };
	struct bench *b = calloc(1, sizeof(*b));
	uint8_t class[54];
	desc_class(class, features, message_length);
	desc_reader(&b->descriptors, class, 1);
	assert_int_equal(sd_event_new(&b->event), 0);
	b->fake = fake_usb_new(b->event, b->descriptors.bytes, b->descriptors.len);
	b->fake->on_message = reader;
	b->fake->on_control = on_control;
	b->fake->userdata = b;
	for (unsigned i = 0; i < N_SLOTS; i++) {
		b->cards[i].icc = INACTIVE;
		b->cards[i].atr_len = sizeof(atr);
		memcpy(b->cards[i].atr, atr, sizeof(atr));
	}
	b->config = (struct driver_config){ .node = "/dev/bus/usb/001/012", .card_fd = -1 };
	return b;
}

void bench_set_atr(struct bench *b, const uint8_t *atr, size_t len) {
	memcpy(b->cards[0].atr, atr, len < sizeof(b->cards[0].atr) ? len : 40);
	b->cards[0].atr_len = len;
}

void bench_start(struct bench *b) {
	struct driver_host host = { .userdata = b,
		.ready = on_ready,
		.trouble = on_trouble,
		.advice = on_advice,
		.gone = on_gone,
		.presence = on_presence };
	assert_int_equal(
		ccid_driver_init(&b->config, b->event, &host, &fake_usb_ops, &b->driver), 0);
}

void bench_start_ready(struct bench *b) {
	bench_start(b);
	assert_true(fake_run(b->event, &b->ready, 5000));
}

void bench_free(struct bench *b) {
	driver_ccid.free(b->driver);
	assert_false(b->fake->is_open);
	fake_usb_free(b->fake);
	sd_event_unref(b->event);
	free(b);
}

enum status bench_wait_done(struct bench *b, unsigned ms) {
	assert_true(fake_run(b->event, &b->done, ms));
	assert_int_equal(b->done, 1);
	b->done = 0;
	return b->result.status;
}

enum status bench_power(struct bench *b, unsigned slot, enum driver_reset how) {
	driver_ccid.power_on(b->driver, slot, how, bench_done, b);
	return bench_wait_done(b, 5000);
}

enum status bench_protocol(struct bench *b, unsigned slot, uint32_t which) {
	driver_ccid.set_protocol(b->driver, slot, which, bench_done, b);
	return bench_wait_done(b, 5000);
}

enum status bench_transmit(struct bench *b, unsigned slot, uint32_t which) {
	static const uint8_t apdu[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	driver_ccid.transmit(b->driver, slot, which, &bytes, bench_done, b);
	return bench_wait_done(b, 5000);
}

enum status bench_control(struct bench *b, uint32_t code, const uint8_t *data, size_t len) {
	struct driver_bytes bytes = { data, len };
	/* As sessions do: what is known needs no operation. */
	enum status status = driver_ccid.known(b->driver, 0, code, b->known, &b->result.len);
	if (status != STATUS_STARTING) {
		memcpy(b->data, b->known, status == STATUS_OK ? b->result.len : 0);
		return status;
	}
	driver_ccid.control(b->driver, 0, code, &bytes, bench_done, b);
	return bench_wait_done(b, 5000);
}

/* How many messages of a type the reader got. */
unsigned bench_n_sent(const struct bench *b, uint8_t type) {
	unsigned n = 0;
	for (unsigned i = 0; i < b->fake->n_sent; i++)
		n += b->fake->sent[i][0] == type;
	return n;
}

/* The last message of a type. */
const uint8_t *bench_last_sent(const struct bench *b, uint8_t type) {
	for (unsigned i = b->fake->n_sent; i-- > 0;)
		if (b->fake->sent[i][0] == type)
			return b->fake->sent[i];
	fail_msg("no message %02x", type);
	return NULL;
}

void bench_ring(struct bench *b, const uint8_t *bytes, size_t len) {
	fake_usb_packet(b->fake, INTERRUPT, bytes, len);
	fake_run_for(b->event, 30);
}

struct bench *bench_powered(uint32_t features, const uint8_t *atr, size_t len) {
	struct bench *b = bench_new(features, 271);
	if (len)
		bench_set_atr(b, atr, len);
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	return b;
}

void bench_set_voltages(struct bench *b, uint8_t voltages) {
	b->descriptors.bytes[18 + 9 + 9 + 5] = voltages;
}
