/* SPDX-License-Identifier: MIT */
/* The CCID driver: card movements. */

#include <systemd/sd-event.h>

#include <errno.h>

#include "tests/unit/driver-bench.h"

/* ---- presence ---- */

/* CCID-79, CCID-80, CCID-82, CCID-84: the bell rings, the status counts. */
static void bell(void **state) {
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
	bench_ring(b, BYTES(0x51, 0x00, 0x01, 0x01));
	bench_ring(b, (const uint8_t[8]){ 0x50, 0, 0xFF }, 8);
	assert_int_equal(bench_n_sent(b, CCID_GET_SLOT_STATUS), n + 3);
	assert_int_equal(b->presences, 2);
	b->cards[0].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* CCID-85, CCID-86. */
static void swapped_card(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->cards[0].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->swapped[0], 1);
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

/* CCID-81: eight slots, of which two are named. */
static void eight_slots(void **state) {
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

/* CCID-13: without interrupt endpoint the slots are asked, and only while watched. */
static void polling(void **state) {
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

/* CCID-83: errors on the interrupt endpoint are waited out, ten of them end it. */
static void interrupt_errors(void **state) {
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
		cmocka_unit_test(bell),
		cmocka_unit_test(swapped_card),
		cmocka_unit_test(eight_slots),
		cmocka_unit_test(polling),
		cmocka_unit_test(interrupt_errors),
		cmocka_unit_test(rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
