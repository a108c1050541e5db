/* SPDX-License-Identifier: MIT */
/* The CCID driver behind its vtable, against a reader in 100 lines that can be told to misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid_driver.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/fake-usb.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

enum {
	N_SLOTS = 8,
	INTERRUPT = 0x83,
	ACTIVE = 0,
	INACTIVE = 1,
	ABSENT = 2,
};

/* What the bench's reader and cards are like. */
struct card {
	uint8_t icc; /* bmICCStatus */
	uint8_t atr[40];
	size_t atr_len;
	uint8_t voltage; /* answers to this bPowerSelect only; 0: to all */
	int mute;        /* power-ups without an answer of the card */
};

struct bench {
	sd_event *event;
	struct fake_usb *fake;
	struct descriptors descriptors;
	struct driver *driver;
	struct driver_config config;
	struct card cards[N_SLOTS];
	uint8_t protocol;         /* GetParameters says */
	uint8_t parameters_error; /* SetParameters is refused with that, 0: accepted */
	int parameters_fail;      /* … at all */
	uint8_t pps[8];           /* answer to a PPS, if n_pps > 0; else an echo */
	int n_pps;                /* -1: none at all */
	unsigned n_ignore;        /* messages without an answer */
	uint8_t power_error;      /* the next power-on fails with this */
	uint8_t lost_power;       /* XfrBlock answers carry this bmICCStatus */
	const uint8_t *rates;     /* GET_DATA_RATES */
	int rates_len;

	int ready, gone, troubles;
	enum status why;
	int presences;
	int present[N_SLOTS], swapped[N_SLOTS];

	int done;
	struct driver_result result;
	uint8_t data[4096];
};

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
	answer(b->fake, endpoint, 0x80, m, tail, BYTES(0x90, 0x00));
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

static void on_gone(void *userdata) {
	((struct bench *)userdata)->gone++;
}

static void on_presence(void *userdata, unsigned slot, int present, int swapped) {
	struct bench *b = userdata;
	assert_true(slot < N_SLOTS && b->ready);
	b->presences++;
	b->present[slot] = present;
	b->swapped[slot] += swapped;
}

static void on_done(void *userdata, const struct driver_result *result) {
	struct bench *b = userdata;
	b->done++;
	b->result = *result;
	if (result->data)
		memcpy(b->data, result->data, result->len);
}

static struct bench *bench_new(uint32_t features, uint32_t message_length) {
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

static void set_atr(struct bench *b, const uint8_t *atr, size_t len) {
	memcpy(b->cards[0].atr, atr, len < sizeof(b->cards[0].atr) ? len : 40);
	b->cards[0].atr_len = len;
}

static void start(struct bench *b) {
	struct driver_host host = { .userdata = b,
		.ready = on_ready,
		.trouble = on_trouble,
		.gone = on_gone,
		.presence = on_presence };
	assert_int_equal(
		ccid_driver_init(&b->config, b->event, &host, &fake_usb_ops, &b->driver), 0);
}

static void start_ready(struct bench *b) {
	start(b);
	assert_true(fake_run(b->event, &b->ready, 1000));
}

static void bench_free(struct bench *b) {
	driver_ccid.free(b->driver);
	assert_false(b->fake->is_open);
	fake_usb_free(b->fake);
	sd_event_unref(b->event);
	free(b);
}

static enum status wait_done(struct bench *b, unsigned ms) {
	assert_true(fake_run(b->event, &b->done, ms));
	assert_int_equal(b->done, 1);
	b->done = 0;
	return b->result.status;
}

static enum status power(struct bench *b, unsigned slot, enum driver_reset how) {
	driver_ccid.power_on(b->driver, slot, how, on_done, b);
	return wait_done(b, 1000);
}

static enum status protocol(struct bench *b, unsigned slot, uint32_t which) {
	driver_ccid.set_protocol(b->driver, slot, which, on_done, b);
	return wait_done(b, 1000);
}

static enum status transmit(struct bench *b, unsigned slot, uint32_t which) {
	static const uint8_t apdu[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	driver_ccid.transmit(b->driver, slot, which, &bytes, on_done, b);
	return wait_done(b, 1000);
}

static enum status control(struct bench *b, uint32_t code, const uint8_t *data, size_t len) {
	struct driver_bytes bytes = { data, len };
	driver_ccid.control(b->driver, 0, code, &bytes, on_done, b);
	return wait_done(b, 1000);
}

/* How many messages of a type the reader got. */
static unsigned n_sent(const struct bench *b, uint8_t type) {
	unsigned n = 0;
	for (unsigned i = 0; i < b->fake->n_sent; i++)
		n += b->fake->sent[i][0] == type;
	return n;
}

/* The last message of a type. */
static const uint8_t *last_sent(const struct bench *b, uint8_t type) {
	for (unsigned i = b->fake->n_sent; i-- > 0;)
		if (b->fake->sent[i][0] == type)
			return b->fake->sent[i];
	fail_msg("no message %02x", type);
	return NULL;
}

static void ring(struct bench *b, const uint8_t *bytes, size_t len) {
	fake_usb_packet(b->fake, INTERRUPT, bytes, len);
	fake_run_for(b->event, 30);
}

/* ---- open ---- */

static void opens(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	start(b);
	assert_int_equal(b->ready, 0);
	assert_int_equal(driver_ccid.n_slots(b->driver), 0);
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, on_done, b);
	assert_int_equal(b->result.status, STATUS_STARTING);
	b->done = 0;
	assert_true(fake_run(b->event, &b->ready, 1000));
	assert_int_equal(driver_ccid.n_slots(b->driver), 1);
	assert_int_equal(b->present[0], 1);
	/* CCID-33: nothing announced, nothing asked. Neither reset nor configured. */
	assert_int_equal(b->fake->n_controls, 0);
	assert_int_equal(b->fake->n_resets + b->fake->n_configures + b->fake->n_sets, 0);
	assert_int_equal(b->fake->n_sent, 1);
	bench_free(b);
}

/* CCID-24. */
static void configures_what_is_not(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->configuration = 0;
	start_ready(b);
	assert_int_equal(b->fake->n_configures, 1);
	assert_int_equal(b->fake->configuration, 1);
	bench_free(b);
}

/* CCID-25: busy, told once, tried again, no reset. */
static void claimed_by_another(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->claim_error = -EBUSY;
	start(b);
	assert_true(fake_run(b->event, &b->troubles, 500));
	assert_int_equal(b->why, STATUS_READER_CLAIMED);
	assert_false(b->fake->is_open);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_READER_CLAIMED);
	b->fake->claim_error = 0;
	assert_true(fake_run(b->event, &b->ready, 1500));
	assert_int_equal(b->troubles, 1);
	assert_int_equal(b->fake->n_resets, 0);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

static void refused_node(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->open_error = -EACCES;
	start(b);
	assert_true(fake_run(b->event, &b->troubles, 500));
	assert_int_equal(b->why, STATUS_READER_REFUSED);
	b->fake->open_error = 0;
	assert_true(fake_run(b->event, &b->ready, 1500));
	bench_free(b);
	b = bench_new(CCID_FEATURE_TPDU, 271);
	b->fake->open_error = -ENOENT;
	start(b);
	assert_true(fake_run(b->event, &b->gone, 500));
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* Descriptors do not get better. */
static void broken_descriptors(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 14);
	start(b);
	assert_true(fake_run(b->event, &b->troubles, 500));
	assert_int_equal(b->why, STATUS_READER_BROKEN);
	fake_run_for(b->event, 1300);
	assert_int_equal(b->fake->n_opens, 1);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_READER_BROKEN);
	bench_free(b);
}

/* CCID-26: the first status is lost, the second one answered, halts cleared between them. */
static void first_answer_is_lost(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 1;
	start(b);
	assert_true(fake_run(b->event, &b->ready, 4000));
	assert_int_equal(b->fake->n_clears, 2);
	assert_int_equal(b->troubles, 0);
	bench_free(b);
}

/* CCID-27: silent on all, then tried again. */
static void silent_device(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->n_ignore = 3;
	start(b);
	assert_true(fake_run(b->event, &b->troubles, 6000));
	assert_int_equal(b->why, STATUS_READER_MUTE);
	assert_true(fake_run(b->event, &b->ready, 2000));
	assert_int_equal(b->fake->n_opens, 2);
	assert_int_equal(b->fake->n_sets, 1);
	bench_free(b);
}

/* CCID-28, CCID-30. */
static void left_overs_of_an_earlier_owner(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	fake_usb_send(b->fake, 0x82, BYTES(0x80, 2, 0, 0, 0, 0, 0x77, 0, 0, 0, 0x90, 0));
	fake_usb_packet(b->fake, INTERRUPT, BYTES(0x50, 0x02));
	start_ready(b);
	assert_int_equal(b->present[0], 1);
	bench_free(b);
}

/* CCID-31, CCID-32. */
static void data_rates(void **state) {
	(void)state;
	static const struct {
		int len;
		unsigned n;
	} answers[] = { { -EPIPE, 0 }, { 0, 0 }, { 1, 0 }, { 6, 0 }, { 20, 5 }, { 384, 96 } };
	static uint8_t table[420] = { 0x00, 0x2A, 0x00, 0x00, 0x01, 0x00, 0x00, 0x80 };
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->descriptors.bytes[18 + 9 + 9 + 27] = 96;
		b->rates = table;
		b->rates_len = answers[i].len;
		start_ready(b);
		assert_int_equal(b->fake->n_controls, 1);
		assert_int_equal(b->driver->rates[0].n, answers[i].n);
		if (answers[i].n) {
			assert_int_equal(b->driver->rates[0].rates[0], 10752);
			assert_int_equal(b->driver->rates[0].rates[1], 0x80000001);
		}
		bench_free(b);
	}
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 9 + 9 + 27] = 96;
	b->fake->control_hangs = 1;
	start(b);
	assert_true(fake_run(b->event, &b->ready, 1500));
	assert_int_equal(b->driver->rates[0].n, 0);
	bench_free(b);
}

/* ---- power ---- */

static void cold_and_warm(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->result.len, 5);
	assert_memory_equal(b->data, b->cards[0].atr, 5);
	assert_int_equal(last_sent(b, CCID_POWER_ON)[7], 1);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 0);
	/* CCID-102 */
	assert_int_equal(power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 0);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 1);
	b->cards[0].mute = 1;
	assert_int_equal(power(b, 0, DRIVER_WARM), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 2);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 5);
	driver_ccid.power_off(b->driver, 0, on_done, b);
	assert_int_equal(wait_done(b, 500), STATUS_OK);
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	bench_free(b);
}

/* A card that an earlier owner left powered gets a cold reset, not a warm one. */
static void card_that_has_power(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ACTIVE;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 1);
	bench_free(b);
}

static void set_voltages(struct bench *b, uint8_t voltages) {
	b->descriptors.bytes[18 + 9 + 9 + 5] = voltages;
}

/* CCID-91 to CCID-93, CCID-21. */
static void voltages(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	set_voltages(b, 7);
	b->cards[0].voltage = 3;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 3);
	assert_int_equal(last_sent(b, CCID_POWER_ON)[7], 3);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU, 271);
	set_voltages(b, 6);
	b->cards[0].mute = 10;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 2);
	for (unsigned i = 0; i < b->fake->n_sent; i++)
		if (b->fake->sent[i][0] == CCID_POWER_ON)
			assert_int_not_equal(b->fake->sent[i][7], 1);
	assert_int_equal(b->present[0], 1);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_VOLTAGE, 271);
	b->cards[0].mute = 10;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 1);
	assert_int_equal(last_sent(b, CCID_POWER_ON)[7], 0);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU, 271);
	set_voltages(b, 0);
	b->cards[0].mute = 10;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 1);
	bench_free(b);
}

/* CCID-94 to CCID-96. */
static void atrs(void **state) {
	(void)state;
	uint8_t atr[40] = { 0x3B, 0xFF, 0x11 };
	static const struct {
		size_t len;
		enum status status;
	} lengths[] = { { 33, STATUS_OK }, { 34, STATUS_CARD_MUTE }, { 0, STATUS_CARD_MUTE },
		{ 1, STATUS_CARD_MUTE }, { 3, STATUS_OK } };
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	start_ready(b);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		set_atr(b, atr, lengths[i].len);
		assert_int_equal(power(b, 0, DRIVER_COLD), lengths[i].status);
	}
	assert_int_equal(b->result.len, 3);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(n_sent(b, CCID_SET_PARAMETERS), 0);
	bench_free(b);
}

/* CCID-100. */
static void emv_mode(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "emv-escape";
	b->power_error = CCID_ERROR_EMV_ATR;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 2);
	assert_memory_equal(last_sent(b, CCID_ESCAPE) + 10, ((uint8_t[]){ 0x1F, 0x01 }), 2);
	bench_free(b);
}

static void no_card(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	start_ready(b);
	assert_int_equal(b->present[0], 0);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_NO_CARD);
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_NO_CARD);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_NO_CARD);
	bench_free(b);
}

static void absent_if_mute(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "absent-if-mute";
	b->cards[0].mute = 10;
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_NO_CARD);
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* ---- protocol ---- */

static struct bench *powered(uint32_t features, const uint8_t *atr, size_t len) {
	struct bench *b = bench_new(features, 271);
	if (len)
		set_atr(b, atr, len);
	start_ready(b);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	return b;
}

/* CCID-117, and the first protocol at default speed: no PPS. */
static void parameters(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(b->result.protocol, PROTOCOL_T0);
	assert_int_equal(n_sent(b, CCID_XFR_BLOCK), 0);
	const uint8_t *m = last_sent(b, CCID_SET_PARAMETERS);
	assert_int_equal(m[7], 0);
	assert_memory_equal(m + 10, ((uint8_t[]){ 0x11, 0, 0, 0x0A, 0 }), 5);
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(transmit(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_SET_PARAMETERS), 1);
	bench_free(b);
}

/* CCID-112, CCID-134: T=1 as second protocol: PPS, parameters, block size. */
static void t1_by_pps(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_XFR_BLOCK), 2);
	const uint8_t *m = last_sent(b, CCID_SET_PARAMETERS);
	assert_int_equal(m[7], 1);
	assert_memory_equal(m + 10, ((uint8_t[]){ 0x11, 0x10, 0, 0x4D, 0, 0x20, 0 }), 7);
	assert_memory_equal(b->fake->sent[b->fake->n_sent - 1] + 10,
		((uint8_t[]){ 0x00, 0xC1, 0x01, 0xFE, 0x3E }), 5);
	assert_memory_equal(
		b->fake->sent[b->fake->n_sent - 3] + 10, ((uint8_t[]){ 0xFF, 0x01, 0xFE }), 3);
	bench_free(b);
}

/* CCID-114: a PPS that is refused: cold reset, and the protocol is not to be had. */
static void pps_refused(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	b->n_pps = -1;
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 1);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 2);
	/* The first protocol still is. */
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	bench_free(b);
	/* For speed only: goes on at the default speed. */
	b = powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK, speed,
		sizeof(speed));
	b->n_pps = 4;
	memcpy(b->pps, (uint8_t[]){ 0xFF, 0x10, 0x95, 0x7A }, 4);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_ON), 2);
	assert_int_equal(last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	bench_free(b);
}

/* CCID-106, CCID-113. */
static void speed_by_pps(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	uint32_t features = CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK;
	struct bench *b = powered(features, speed, sizeof(speed));
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_memory_equal(
		last_sent(b, CCID_XFR_BLOCK) + 10, ((uint8_t[]){ 0xFF, 0x10, 0x96, 0x79 }), 4);
	assert_int_equal(last_sent(b, CCID_SET_PARAMETERS)[10], 0x96);
	bench_free(b);
	b = powered(features, speed, sizeof(speed));
	b->n_pps = 3;
	memcpy(b->pps, (uint8_t[]){ 0xFF, 0x00, 0xFF }, 3);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	bench_free(b);
	/* A reader that cannot change its speed: none is asked for. */
	b = powered(CCID_FEATURE_TPDU, speed, sizeof(speed));
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_XFR_BLOCK), 0);
	bench_free(b);
}

/* CCID-110. */
static void reader_negotiates(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PARAMETERS, NULL, 0);
	b->protocol = 1;
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_GET_PARAMETERS), 1);
	assert_int_equal(n_sent(b, CCID_SET_PARAMETERS) + n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(transmit(b, 0, PROTOCOL_T1), STATUS_OK);
	/* Another protocol than the one in force: asked for once. */
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_SET_PARAMETERS), 1);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	b->parameters_fail = 1;
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	bench_free(b);
}

/* CCID-111. */
static void reader_does_the_pps(void **state) {
	(void)state;
	static const uint8_t speed[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };
	struct bench *b =
		powered(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PPS, speed, sizeof(speed));
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(last_sent(b, CCID_SET_PARAMETERS)[7], 1);
	assert_int_equal(last_sent(b, CCID_SET_PARAMETERS)[10], 0x96);
	bench_free(b);
}

/* CCID-115. */
static void specific_mode(void **state) {
	(void)state;
	static const uint8_t only_t1[] = { 0x3B, 0x80, 0x91, 0x01, 0x01, 0x11 };
	static const uint8_t implicit[] = { 0x3B, 0x80, 0x91, 0x11, 0x01, 0x01 };
	struct bench *b = powered(CCID_FEATURE_TPDU, only_t1, sizeof(only_t1));
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	bench_free(b);
	b = powered(CCID_FEATURE_TPDU, implicit, sizeof(implicit));
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_EXCHANGE_FAILED);
	bench_free(b);
}

/* CCID-116. */
static void refused_parameters(void **state) {
	(void)state;
	static const struct {
		uint8_t error;
		enum status first, second; /* for the card's first protocol and the other one */
	} cases[] = {
		{ 0x0A, STATUS_OK, STATUS_OK },
		{ 0x00, STATUS_OK, STATUS_PROTO_MISMATCH },
		{ 0xF6, STATUS_PROTO_MISMATCH, STATUS_PROTO_MISMATCH },
		{ 0xFB, STATUS_EXCHANGE_FAILED, STATUS_EXCHANGE_FAILED },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
		b->parameters_fail = 1;
		b->parameters_error = cases[i].error;
		assert_int_equal(protocol(b, 0, PROTOCOL_T0), cases[i].first);
		assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(protocol(b, 0, PROTOCOL_T1), cases[i].second);
		bench_free(b);
	}
}

/* ---- exchange ---- */

/* One message each way. */
static void one_transfer_each_way(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	unsigned out = b->fake->n_out, in = b->fake->n_in;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(b->fake->n_out - out, 10);
	assert_int_equal(b->fake->n_in - in, 10);
	assert_int_equal(b->result.len, 2);
	bench_free(b);
}

/* CCID-74, CCID-75. */
static void power_lost_in_an_exchange(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->lost_power = INACTIVE;
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_CARD_RESET);
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(b->present[0], 1);
	b->lost_power = 0;
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->lost_power = ABSENT;
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_CARD_REMOVED);
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* After a transfer that went wrong the card is not trusted any more. */
static void disturbed_exchange(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->fake->out_error = -EPIPE;
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(n_sent(b, CCID_POWER_OFF), 1);
	bench_free(b);
}

/* ---- presence ---- */

/* CCID-79, CCID-80, CCID-82, CCID-84: the bell rings, the status counts. */
static void bell(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	start_ready(b);
	assert_int_equal(b->presences, 1);
	ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->presences, 1);
	b->cards[0].icc = INACTIVE;
	ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->presences, 2);
	assert_int_equal(b->present[0], 1);
	unsigned n = n_sent(b, CCID_GET_SLOT_STATUS);
	ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->presences, 2);
	ring(b, BYTES(0x50));
	ring(b, BYTES(0x51, 0x00, 0x01, 0x01));
	ring(b, (const uint8_t[8]){ 0x50, 0, 0xFF }, 8);
	assert_int_equal(n_sent(b, CCID_GET_SLOT_STATUS), n + 3);
	assert_int_equal(b->presences, 2);
	b->cards[0].icc = ABSENT;
	ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* CCID-85, CCID-86. */
static void swapped_card(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	b->cards[0].icc = INACTIVE;
	ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	driver_ccid.power_off(b->driver, 0, on_done, b);
	assert_int_equal(wait_done(b, 500), STATUS_OK);
	ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->swapped[0], 1);
	/* Without power there is no other sign than the bell. */
	ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->swapped[0], 2);
	bench_free(b);
}

/* CCID-81: eight slots, of which two are named. */
static void eight_slots(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 9 + 9 + 4] = 7;
	b->descriptors.bytes[18 + 9 + 9 + 53] = 8;
	b->cards[5].icc = ABSENT;
	start_ready(b);
	assert_int_equal(driver_ccid.n_slots(b->driver), 8);
	assert_int_equal(b->presences, 8);
	assert_int_equal(b->present[5], 0);
	unsigned n = b->fake->n_sent;
	b->cards[3].icc = ABSENT;
	ring(b, BYTES(0x50, 0x80, 0xC0));
	assert_int_equal(b->fake->n_sent, n + 2);
	assert_int_equal(b->fake->sent[n][5], 3);
	assert_int_equal(b->fake->sent[n + 1][5], 7);
	assert_int_equal(b->present[3], 0);
	assert_int_equal(power(b, 7, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

/* CCID-13: without interrupt endpoint the slots are asked, and only while watched. */
static void polling(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	uint8_t class[54];
	desc_class(class, CCID_FEATURE_TPDU, 271);
	desc_reader(&b->descriptors, class, 0);
	b->fake->n_descriptors = b->descriptors.len;
	start_ready(b);
	fake_run_for(b->event, 1000);
	assert_int_equal(b->fake->n_sent, 1);
	driver_ccid.watch(b->driver, 0, 1);
	b->cards[0].icc = ABSENT;
	fake_run_for(b->event, 50);
	assert_int_equal(b->present[0], 0);
	b->cards[0].icc = INACTIVE;
	fake_run_for(b->event, 600);
	assert_int_equal(b->present[0], 1);
	driver_ccid.watch(b->driver, 0, 0);
	fake_run_for(b->event, 600);
	unsigned n = b->fake->n_sent;
	fake_run_for(b->event, 1000);
	assert_int_equal(b->fake->n_sent, n);
	assert_int_equal(b->fake->n_interrupts, 0);
	bench_free(b);
}

/* CCID-83: errors on the interrupt endpoint are waited out, ten of them end it. */
static void interrupt_errors(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	start_ready(b);
	fake_usb_error(b->fake, INTERRUPT, -EIO);
	fake_run_for(b->event, 20);
	b->cards[0].icc = ABSENT;
	fake_usb_packet(b->fake, INTERRUPT, BYTES(0x50, 0x02));
	fake_run_for(b->event, 50);
	assert_int_equal(b->present[0], 1);
	fake_run_for(b->event, 250);
	assert_int_equal(b->present[0], 0);
	assert_int_equal(b->driver->bells[0].n_errors, 0);
	bench_free(b);
}

/* An interrupt reader at rest wakes nobody up. */
static void rest(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	fake_run_for(b->event, 300);
	uint64_t before, after;
	(void)sd_event_get_iteration(b->event, &before);
	fake_run_for(b->event, 1000);
	(void)sd_event_get_iteration(b->event, &after);
	assert_true(after - before <= 2);
	bench_free(b);
}

/* ---- the end ---- */

static const unsigned unplug_after[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30 };

/* CCID-150: the plug is pulled in the middle of anything: each operation ends once, with the truth. */
static void unplugged(void **state) {
	(void)state;
	for (size_t i = 0; i < sizeof(unplug_after) / sizeof(unplug_after[0]); i++)
		for (unsigned op = 0; op < 4; op++) {
			struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
			if (op == 2)
				assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
			b->n_ignore = unplug_after[i] > 10;
			static const uint8_t apdu[] = { 0, 0xA4, 0, 0, 0 };
			struct driver_bytes bytes = { apdu, sizeof(apdu) };
			if (op == 0)
				driver_ccid.power_on(b->driver, 0, DRIVER_COLD, on_done, b);
			else if (op == 1)
				driver_ccid.set_protocol(b->driver, 0, PROTOCOL_T1, on_done, b);
			else if (op == 2)
				driver_ccid.transmit(b->driver, 0, PROTOCOL_T1, &bytes, on_done, b);
			for (unsigned k = 0; k < unplug_after[i]; k++)
				(void)sd_event_run(b->event, 1000);
			int was_done = b->done;
			fake_usb_unplug(b->fake);
			assert_true(fake_run(b->event, &b->gone, 200));
			assert_int_equal(b->done, op < 3);
			if (op < 3 && !was_done)
				assert_int_equal(b->result.status, STATUS_READER_GONE);
			assert_int_equal(b->gone, 1);
			b->done = 0;
			assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_READER_GONE);
			bench_free(b);
		}
}

static void unplugged_while_opening(void **state) {
	(void)state;
	for (unsigned k = 0; k < 8; k++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->n_ignore = 1;
		start(b);
		for (unsigned i = 0; i < k; i++)
			(void)sd_event_run(b->event, 1000);
		fake_usb_unplug(b->fake);
		assert_true(fake_run(b->event, &b->gone, 200));
		assert_int_equal(b->ready, 0);
		bench_free(b);
	}
}

static void freed_in_an_operation(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	b->n_ignore = 1;
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, on_done, b);
	fake_run_for(b->event, 20);
	driver_ccid.free(b->driver);
	b->driver = NULL;
	assert_int_equal(b->done, 1);
	assert_int_equal(b->result.status, STATUS_READER_GONE);
	assert_int_equal(b->gone, 0);
	bench_free(b);
}

/* The device falls out of step for good: trouble, another open, ready again. */
static void lost_and_found(void **state) {
	(void)state;
	struct bench *b = powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->fake->out_error = -EPIPE;
	b->n_ignore = 1; /* the status that is asked for after clearing the halts */
	assert_int_equal(transmit(b, 0, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
	assert_true(fake_run(b->event, &b->troubles, 1500));
	assert_int_equal(b->why, STATUS_READER_MUTE);
	b->ready = 0;
	assert_true(fake_run(b->event, &b->ready, 2000));
	assert_int_equal(b->fake->n_opens, 2);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

/* ---- control codes and attributes ---- */

/* CCID-144, CCID-148. */
static void control_codes(void **state) {
	(void)state;
	static const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	struct bench *b = powered(CCID_FEATURE_EXTENDED_APDU, NULL, 0);
	b->descriptors.bytes[18 + 9 + 9 + 52] = 3;
	assert_int_equal(control(b, 0x42000D48, NULL, 0), STATUS_OK);
	assert_int_equal(b->result.len, sizeof(features));
	assert_memory_equal(b->data, features, sizeof(features));
	assert_int_equal(control(b, 0x00313520, NULL, 0), STATUS_OK);
	assert_memory_equal(b->data, features, sizeof(features));
	static const uint32_t refused[] = { 0x42330006, 0x42330007, 0x42330008, 0x4233000A,
		0x42330020, 0x42000001, 0, 0xFFFFFFFF };
	unsigned n = b->fake->n_sent;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(control(b, refused[i], BYTES(1, 2, 3)), STATUS_UNSUPPORTED);
	assert_int_equal(b->fake->n_sent, n);
	assert_int_equal(control(b, 0x42330012, NULL, 0), STATUS_OK);
	static const uint8_t tlv[] = { 1, 2, 0, 0, 3, 1, 0, 9, 1, 0, 0x0B, 2, 0xE6, 0x08, 0x0C, 2,
		0x37, 0x34, 0x0A, 4, 0, 0, 1, 0 };
	assert_int_equal(b->result.len, sizeof(tlv));
	assert_memory_equal(b->data, tlv, sizeof(tlv));
	bench_free(b);
}

static void escape_where_allowed(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "escape";
	start_ready(b);
	assert_int_equal(control(b, 0x42000001, BYTES(0x02)), STATUS_OK);
	assert_int_equal(b->result.len, 2);
	assert_int_equal(b->data[0], 0xE5);
	static const uint8_t many[262];
	assert_int_equal(control(b, 0x42000001, many, sizeof(many)), STATUS_TOO_LONG);
	assert_int_equal(control(b, 0x42000D48, NULL, 0), STATUS_OK);
	assert_int_equal(b->result.len, 12);
	bench_free(b);
}

static uint32_t attribute(struct bench *b, uint32_t tag) {
	uint8_t buf[DRIVER_MAX_ATTRIB];
	size_t len = 0;
	assert_int_equal(driver_ccid.get_attrib(b->driver, 0, tag, buf, &len), STATUS_OK);
	uint32_t value = 0;
	memcpy(&value, buf, len < 4 ? len : 4);
	return value;
}

static void attributes(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.manufacturer = "Maker";
	start_ready(b);
	uint8_t buf[DRIVER_MAX_ATTRIB];
	size_t len = 0;
	assert_int_equal(driver_ccid.get_attrib(b->driver, 0, 0x00010100, buf, &len), STATUS_OK);
	assert_int_equal(len, 6);
	assert_string_equal((char *)buf, "Maker");
	assert_int_equal(
		driver_ccid.get_attrib(b->driver, 0, 0x00010103, buf, &len), STATUS_UNSUPPORTED);
	assert_int_equal(
		driver_ccid.get_attrib(b->driver, 0, 0xFFFFFFFF, buf, &len), STATUS_UNSUPPORTED);
	assert_int_equal(
		driver_ccid.get_attrib(b->driver, 0, 0x00080201, buf, &len), STATUS_UNSUPPORTED);
	assert_int_equal(attribute(b, 0x00010102), 0x12340000);
	assert_int_equal(attribute(b, 0x00020110), 0x0020010C);
	assert_int_equal(attribute(b, 0x0007A007), 261);
	assert_int_equal(attribute(b, 0x00030121), 4000);
	assert_int_equal(power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(attribute(b, 0x00080201), 2);
	assert_int_equal(attribute(b, 0x00080203), 372);
	assert_int_equal(attribute(b, 0x00080208), 254);
	char text[1024];
	size_t n = driver_ccid.describe(b->driver, 0, text, sizeof(text));
	assert_int_equal(n, strlen(text));
	assert_non_null(strstr(text, "exchange-level=TPDU\n"));
	assert_non_null(strstr(text, "protocol=T=1\n"));
	for (size_t size = 1; size < n; size++) {
		n = driver_ccid.describe(b->driver, 0, text, size);
		assert_true(n < size && strlen(text) == n && (n == 0 || text[n - 1] == '\n'));
	}
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens),
		cmocka_unit_test(configures_what_is_not),
		cmocka_unit_test(claimed_by_another),
		cmocka_unit_test(refused_node),
		cmocka_unit_test(broken_descriptors),
		cmocka_unit_test(first_answer_is_lost),
		cmocka_unit_test(silent_device),
		cmocka_unit_test(left_overs_of_an_earlier_owner),
		cmocka_unit_test(data_rates),
		cmocka_unit_test(cold_and_warm),
		cmocka_unit_test(card_that_has_power),
		cmocka_unit_test(voltages),
		cmocka_unit_test(atrs),
		cmocka_unit_test(emv_mode),
		cmocka_unit_test(no_card),
		cmocka_unit_test(absent_if_mute),
		cmocka_unit_test(parameters),
		cmocka_unit_test(t1_by_pps),
		cmocka_unit_test(pps_refused),
		cmocka_unit_test(speed_by_pps),
		cmocka_unit_test(reader_negotiates),
		cmocka_unit_test(reader_does_the_pps),
		cmocka_unit_test(specific_mode),
		cmocka_unit_test(refused_parameters),
		cmocka_unit_test(one_transfer_each_way),
		cmocka_unit_test(power_lost_in_an_exchange),
		cmocka_unit_test(disturbed_exchange),
		cmocka_unit_test(bell),
		cmocka_unit_test(swapped_card),
		cmocka_unit_test(eight_slots),
		cmocka_unit_test(polling),
		cmocka_unit_test(interrupt_errors),
		cmocka_unit_test(rest),
		cmocka_unit_test(unplugged),
		cmocka_unit_test(unplugged_while_opening),
		cmocka_unit_test(freed_in_an_operation),
		cmocka_unit_test(lost_and_found),
		cmocka_unit_test(control_codes),
		cmocka_unit_test(escape_where_allowed),
		cmocka_unit_test(attributes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
