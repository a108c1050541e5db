/* SPDX-License-Identifier: MIT */
/* The CCID driver: card movements. */

#include <systemd/sd-event.h>

#include <errno.h>

#include "tests/unit/driver-bench.h"

/* ---- presence ---- */

/* The bell rings, the status counts. */
static void ccid_79_80_82_84_bell(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	assert_int_equal(b->presences, 1);
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->presences, 1);
	b->cards[0].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->presences, 2);
	assert_int_equal(b->present[0], 1);
	unsigned n = bench_n_sent(b, CCID_GET_SLOT_STATUS);
	bench_ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->presences, 2);
	bench_ring(b, BYTES(0x50));
	assert_int_equal(b->advices, 0);
	bench_ring(b, BYTES(0x51, 0x00, 0x01, 0x01));
	bench_ring(b, BYTES(0x51));
	assert_int_equal(b->advices, 1);
	bench_ring(b, (const uint8_t[8]){ 0x50, 0, 0xFF }, 8); /* other slots than there are */
	/* 64 bytes in packets of eight, as the endpoint has. */
	for (unsigned i = 0; i < 8; i++)
		bench_ring(b, (const uint8_t[8]){ 0x50, 2, 0xFF }, 8);
	assert_int_equal(bench_n_sent(b, CCID_GET_SLOT_STATUS), n + 4 + 8);
	assert_int_equal(b->presences, 2);
	b->cards[0].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

static void ccid_85_86_swapped_card(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->cards[0].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(b->driver->slots[0].atr_len, 0);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	driver_ccid.power_off(b->driver, 0, bench_done, b);
	assert_int_equal(bench_wait_done(b, 4000), STATUS_OK);
	bench_ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->swapped[0], 1);
	/* Without power there is no other sign than the bell. */
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->swapped[0], 2);
	bench_free(b);
}

/* Eight slots, of which two are named. */
static void ccid_81_eight_slots(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 9 + 9 + 4] = 7;
	b->descriptors.bytes[18 + 9 + 9 + 53] = 8;
	b->cards[5].icc = ABSENT;
	bench_start_ready(b);
	assert_int_equal(driver_ccid.n_slots(b->driver), 8);
	assert_int_equal(b->presences, 8);
	assert_int_equal(b->present[5], 0);
	unsigned n = b->fake->n_sent;
	b->cards[3].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x80, 0xC0));
	assert_int_equal(b->fake->n_sent, n + 2);
	assert_int_equal(b->fake->sent[n][5], 3);
	assert_int_equal(b->fake->sent[n + 1][5], 7);
	assert_int_equal(b->present[3], 0);
	assert_int_equal(bench_power(b, 7, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

/* Without interrupt endpoint the slots are asked, and only while watched. */
static void ccid_13_polling(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	uint8_t class[54];
	desc_class(class, CCID_FEATURE_TPDU, 271);
	desc_reader(&b->descriptors, class, 0);
	b->fake->n_descriptors = b->descriptors.len;
	bench_start_ready(b);
	fake_run_for(b->event, 1000);
	assert_int_equal(b->fake->n_sent, 1);
	driver_ccid.watch(b->driver, 0, 1);
	b->cards[0].icc = ABSENT;
	fake_run_for(b->event, 50);
	assert_int_equal(b->present[0], 0);
	for (unsigned i = 0; i < 5; i++) {
		unsigned before = b->fake->n_sent;
		uint64_t start = ccid_now();
		while (b->fake->n_sent == before && ccid_now() - start < 1000000)
			(void)sd_event_run(b->event, 1000000);
		assert_in_range(ccid_now() - start, 200000, 450000); /* 0.4 s, and a busy machine */
	}
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		assert_true(!b->fake->pending[i] || b->fake->pending[i]->kind != USB_INTERRUPT);
	b->cards[0].icc = INACTIVE;
	fake_run_for(b->event, 900);
	assert_int_equal(b->present[0], 1);
	driver_ccid.watch(b->driver, 0, 0);
	fake_run_for(b->event, 900);
	unsigned n = b->fake->n_sent;
	fake_run_for(b->event, 1000);
	assert_int_equal(b->fake->n_sent, n);
	assert_int_equal(b->fake->n_interrupts, 0);
	bench_free(b);
}

/* Errors on the interrupt endpoint are waited out, ten of them end it. */
static void ccid_83_interrupt_errors(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	fake_usb_error(b->fake, INTERRUPT, -EIO);
	fake_run_for(b->event, 20);
	assert_int_equal(b->driver->bells[0].n_errors, 1);
	b->cards[0].icc = ABSENT;
	fake_usb_packet(b->fake, INTERRUPT, BYTES(0x50, 0x02));
	fake_run_for(b->event, 600);
	assert_int_equal(b->present[0], 0);
	assert_int_equal(b->driver->bells[0].n_errors, 0);
	for (unsigned i = 0; i < 20; i++)
		fake_usb_error(b->fake, INTERRUPT, -EIO);
	fake_run_for(b->event, 1000);
	assert_in_range(b->driver->bells[0].n_errors, 2, 5);
	bench_free(b);
}

static uint64_t retry_in(const struct bench *b) {
	uint64_t at = 0, now = ccid_now();
	(void)sd_event_source_get_time(b->driver->bells[0].retry, &at);
	return at > now ? at - now : 0;
}

/* From 0.1 s doubled to 5 s; then the slots are asked instead. */
static void ccid_83_errors_for_ever(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	bench_start_ready(b);
	static const unsigned waits[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000 };
	for (unsigned n = 0; n < 9; n++) {
		/* As if it were over. */
		(void)sd_event_source_set_time(b->driver->bells[0].retry, 0);
		fake_run_for(b->event, 10);
		fake_usb_error(b->fake, INTERRUPT, n % 2 ? -EPIPE : -EIO);
		fake_run_for(b->event, 10);
		assert_int_equal(b->driver->bells[0].n_errors, n + 1);
		assert_in_range(retry_in(b), waits[n] * 1000 - 60000, waits[n] * 1000);
		assert_false(b->driver->bells[0].polled);
	}
	assert_int_equal(b->fake->n_clears, 4);
	(void)sd_event_source_set_time(b->driver->bells[0].retry, 0);
	fake_run_for(b->event, 10);
	fake_usb_error(b->fake, INTERRUPT, -EIO);
	fake_run_for(b->event, 10);
	assert_true(b->driver->bells[0].polled);
	driver_ccid.watch(b->driver, 0, 1);
	b->cards[0].icc = ABSENT;
	fake_run_for(b->event, 500);
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* A bell that does not ring: silence is believed for 5 s without a card and 30 s with one, while somebody
 * watches, and for ever while nobody does. */
static void ccid_87_missed_insertion(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	struct ccid_slot *slot = &b->driver->slots[0];
	b->cards[0].icc = INACTIVE;
	unsigned n = b->fake->n_sent;
	slot->heard = ccid_now() - 60 * UINT64_C(1000000);
	ccid_presence_poll(b->driver);
	fake_run_for(b->event, 300);
	assert_int_equal(b->fake->n_sent, n);
	slot->heard = ccid_now() - 4600000;
	driver_ccid.watch(b->driver, 0, 1);
	fake_run_for(b->event, 200);
	assert_int_equal(b->fake->n_sent, n);
	fake_run_for(b->event, 400);
	assert_int_equal(b->fake->n_sent, n + 1);
	assert_int_equal(b->present[0], 1);
	driver_ccid.watch(b->driver, 0, 0);
	slot->heard = ccid_now() - 29600000;
	b->cards[0].icc = ABSENT;
	driver_ccid.watch(b->driver, 0, 1);
	fake_run_for(b->event, 200);
	assert_int_equal(b->present[0], 1);
	fake_run_for(b->event, 400);
	assert_int_equal(b->fake->n_sent, n + 2);
	assert_int_equal(b->present[0], 0);
	driver_ccid.watch(b->driver, 0, 0);
	slot->heard = 1;
	ccid_presence_poll(b->driver);
	fake_run_for(b->event, 300);
	assert_int_equal(b->fake->n_sent, n + 2);
	bench_free(b);
}

/* An empty slot told as a failure, and the reserved bmICCStatus 3: no card, and no trouble. */
static void ccid_73_90_absent(void **state) {
	(void)state;
	static const uint8_t statuses[] = { ABSENT, 3 };
	for (size_t i = 0; i < 2; i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		bench_start_ready(b);
		assert_int_equal(b->present[0], 1);
		b->cards[0].icc = statuses[i];
		bench_ring(b, BYTES(0x50, 0x02));
		assert_int_equal(b->present[0], 0);
		assert_int_equal(b->troubles + b->swapped[0], 0);
		unsigned n = b->fake->n_sent;
		fake_run_for(b->event, 100);
		assert_int_equal(b->fake->n_sent, n);
		bench_free(b);
	}
}

/* An interrupt reader at rest wakes nobody up. */
static void rest(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	fake_run_for(b->event, 300);
	uint64_t before, after;
	(void)sd_event_get_iteration(b->event, &before);
	fake_run_for(b->event, 1000);
	(void)sd_event_get_iteration(b->event, &after);
	assert_true(after - before <= 2);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_79_80_82_84_bell),
		cmocka_unit_test(ccid_85_86_swapped_card),
		cmocka_unit_test(ccid_81_eight_slots),
		cmocka_unit_test(ccid_13_polling),
		cmocka_unit_test(ccid_83_interrupt_errors),
		cmocka_unit_test(ccid_83_errors_for_ever),
		cmocka_unit_test(ccid_87_missed_insertion),
		cmocka_unit_test(ccid_73_90_absent),
		cmocka_unit_test(rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
