/* SPDX-License-Identifier: MIT */
/* The CCID driver: readers and cards that mean harm, or act like it. What the fault storm found. */
#include <string.h>

#include <systemd/sd-event.h>

#include "tests/unit/driver-bench.h"

static const uint8_t t1_atr[] = { 0x3B, 0x80, 0x01, 0x81 };

static fake_message_fn usual;

/* Every block is answered by a request for 255 times the card's time (ISO/IEC 7816-3 11.6.2.3). */
static void wants_time(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	if (m[0] != CCID_XFR_BLOCK || m[11] == 0xC1) {
		usual(fake, endpoint, m, len);
		return;
	}
	const uint8_t a[] = { 0x80, 5, 0, 0, 0, m[5], m[6], 0, 0, 0, 0x00, 0xC3, 0x01, 0xFF, 0x3D };
	if (m[11] != 0xE3)
		fake_usb_send(fake, 0x82, a, sizeof(a));
}

/* 255 times a time that is minutes long is no time that anybody waits. */
static void a_card_cannot_ask_for_hours(void **state) {
	(void)state;
	static const uint8_t apdu[] = { 0x00, 0xA4, 0x00, 0x00 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, t1_atr, sizeof(t1_atr));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
	usual = b->fake->on_message;
	b->fake->on_message = wants_time;
	driver_ccid.transmit(b->driver, 0, PROTOCOL_T1, &bytes, bench_done, b);
	for (unsigned i = 0; i < 100 && bench_last_sent(b, CCID_XFR_BLOCK)[11] != 0xE3; i++)
		fake_run_for(b->event, 10);
	assert_int_equal(bench_last_sent(b, CCID_XFR_BLOCK)[11], 0xE3);
	assert_true(b->driver->slots[0].command.timeout_usec <= CCID_MAX_EXTENSION_USEC);
	fake_usb_unplug(b->fake);
	assert_int_equal(bench_wait_done(b, 2000), STATUS_READER_GONE);
	bench_free(b);
}

/* The card's answer to anything is one byte. */
static void answers_one_byte(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	if (m[0] != CCID_XFR_BLOCK) {
		usual(fake, endpoint, m, len);
		return;
	}
	const uint8_t a[] = { 0x80, 1, 0, 0, 0, m[5], m[6], 0, 0, 0, 0xFF };
	fake_usb_send(fake, 0x82, a, sizeof(a));
}

/* Its PPS and its block size both fail, each time with a reset that forgets the other: that ends. */
static void a_negotiation_ends(void **state) {
	(void)state;
	static const uint8_t atr[] = { 0x3B, 0x95, 0x13, 0x81, 0x01, 0x80, 0x73, 0xFF, 0x01, 0x00,
		0x0B };
	struct bench *b =
		bench_powered(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD, atr, sizeof(atr));
	usual = b->fake->on_message;
	b->fake->on_message = answers_one_byte;
	(void)bench_protocol(b, 0, PROTOCOL_T1);
	assert_true(bench_n_sent(b, CCID_POWER_ON) <= 4);
	bench_free(b);
}

/* A reader that never tells of a card: who comes after a while is told what is true, not what was. */
static void a_silent_reader_is_asked(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	unsigned n = bench_n_sent(b, CCID_GET_SLOT_STATUS);
	assert_int_equal(driver_ccid.watch(b->driver, 0, 1), 0); /* heard of just now */
	driver_ccid.watch(b->driver, 0, 0);
	b->cards[0].icc = INACTIVE;
	b->driver->slots[0].heard = 0; /* long ago */
	assert_int_equal(driver_ccid.watch(b->driver, 0, 1), 1);
	fake_run_for(b->event, 50);
	assert_int_equal(bench_n_sent(b, CCID_GET_SLOT_STATUS), n + 1);
	assert_int_equal(b->present[0], 1);
	bench_free(b);
}

/* Power-up finds no card, the slot's status does. */
static void sees_no_card(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	if (m[0] != CCID_POWER_ON) {
		usual(fake, endpoint, m, len);
		return;
	}
	const uint8_t a[] = { 0x80, 0, 0, 0, 0, m[5], m[6], 0x42, 0xFE, 0 };
	fake_usb_send(fake, 0x82, a, sizeof(a));
}

/* A host that powers up what is told to be in goes round in a circle then, but slowly. */
static void a_card_that_is_there_and_not(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_VOLTAGE, 271);
	usual = b->fake->on_message;
	b->fake->on_message = sees_no_card;
	bench_start_ready(b);
	driver_ccid.watch(b->driver, 0, 1);
	for (unsigned i = 0; i < 50; i++) {
		if (b->present[0])
			assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_NO_CARD);
		fake_run_for(b->event, 10);
	}
	assert_in_range(bench_n_sent(b, CCID_POWER_ON), 2, 3);
	assert_int_equal(b->present[0], 0);
	/* What is put in is seen all the same. */
	b->fake->on_message = usual;
	bench_ring(b, BYTES(0x50, 0x03));
	fake_run_for(b->event, 50);
	assert_int_equal(b->present[0], 1);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

/* A handle that dies whenever the device is ready: opened anew at once, but not at full speed. */
static void a_handle_that_dies_for_ever(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	for (unsigned i = 0; i < 80; i++) {
		if (b->ready) {
			b->ready = 0;
			fake_usb_suspend(b->fake);
		}
		fake_run_for(b->event, 10);
	}
	assert_int_equal(b->fake->n_opens, 2);
	assert_true(fake_run(b->event, &b->ready, 2000));
	bench_free(b);
}

/* Somebody has taken its configuration away, to have the device for himself: it is his. */
static void a_device_that_was_taken(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	b->fake->configuration = 0;
	fake_usb_suspend(b->fake);
	assert_true(fake_run(b->event, &b->gone, 1000));
	assert_int_equal(b->fake->n_configures, 0);
	bench_free(b);
}

static void second_slot_is_mute(
	struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	if (m[5] != 1)
		usual(fake, endpoint, m, len);
}

static unsigned n_sent_to(const struct bench *b, uint8_t slot) {
	unsigned n = 0;
	for (unsigned i = 0; i < b->fake->n_sent; i++)
		n += b->fake->sent[i][5] == slot;
	return n;
}

/* A slot that is announced and never answers stays empty. Asked again and again, it would take the others
 * with it: the ladder that follows each missing answer ends with the device being opened anew. */
static void a_slot_that_is_none(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	uint8_t class[54];
	desc_class(class, CCID_FEATURE_TPDU, 271);
	class[4] = 1;
	desc_reader(&b->descriptors, class, 0);
	b->fake->n_descriptors = b->descriptors.len;
	usual = b->fake->on_message;
	b->fake->on_message = second_slot_is_mute;
	bench_start(b);
	while (!b->ready && n_sent_to(b, 1) == 0)
		(void)sd_event_run(b->event, 1000000);
	ccid_hurry(b->driver->ccid, &b->driver->slots[1].status, 0);
	assert_true(fake_run(b->event, &b->ready, 500));
	assert_int_equal(b->present[1], 0);
	assert_int_equal(driver_ccid.watch(b->driver, 0, 1), 1);
	assert_int_equal(driver_ccid.watch(b->driver, 1, 1), 0);
	fake_run_for(b->event, 900);
	assert_true(n_sent_to(b, 0) > 2);
	assert_int_equal(n_sent_to(b, 1), 1);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_cannot_ask_for_hours),
		cmocka_unit_test(a_negotiation_ends),
		cmocka_unit_test(a_silent_reader_is_asked),
		cmocka_unit_test(a_card_that_is_there_and_not),
		cmocka_unit_test(a_handle_that_dies_for_ever),
		cmocka_unit_test(a_device_that_was_taken),
		cmocka_unit_test(a_slot_that_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
