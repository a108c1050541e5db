/* SPDX-License-Identifier: MIT */
/* The CCID driver: exchanges, and the end of all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "tests/unit/driver-bench.h"

/* ---- exchange ---- */

/* One message each way. */
static void one_transfer_each_way(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	unsigned out = b->fake->n_out, in = b->fake->n_in;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(b->fake->n_out - out, 10);
	assert_int_equal(b->fake->n_in - in, 10);
	assert_int_equal(b->result.len, 2);
	bench_free(b);
}

static void ccid_74_75_power_lost_in_an_exchange(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->lost_power = INACTIVE;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_RESET);
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(b->present[0], 1);
	b->lost_power = 0;
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->lost_power = ABSENT;
	b->cards[0].icc = ABSENT;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_REMOVED);
	fake_run_for(b->event, 100);
	assert_int_equal(b->present[0], 0);
	bench_free(b);
}

/* Success with a bError, which means nothing beside data; success without SW1 SW2, which is none. */
static void ccid_76_77_78_success_that_is_none(void **state) {
	(void)state;
	static const uint32_t features[] = { CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		struct bench *b = bench_powered(features[i], NULL, 0);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		b->xfr_error = CCID_ERROR_MUTE;
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
		assert_int_equal(b->result.len, 2);
		for (b->xfr_lacks = 2; b->xfr_lacks > 0; b->xfr_lacks--) {
			assert_int_not_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
			assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
			assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		}
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
		bench_free(b);
	}
}

/* A command's word that the card is gone is not believed for good: nothing would ever correct it. */
static void absent_by_mistake(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->lost_power = ABSENT;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_REMOVED);
	b->lost_power = 0;
	fake_run_for(b->event, 100);
	assert_int_equal(b->present[0], 1);
	bench_free(b);
}

/* After a transfer that went wrong the card is not trusted any more. */
static void disturbed_exchange(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->fake->out_error = -EPIPE;
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
	assert_int_equal(b->swapped[0], 1);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	bench_free(b);
}

/* ---- the end ---- */

static const unsigned unplug_after[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30 };

/* The plug is pulled in the middle of anything: each operation ends once, with the truth.
 * */
static void ccid_150_unplugged(void **state) {
	(void)state;
	for (size_t i = 0; i < sizeof(unplug_after) / sizeof(unplug_after[0]); i++)
		for (unsigned op = 0; op < 4; op++) {
			struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
			if (op == 2)
				assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
			b->n_ignore = unplug_after[i] > 10;
			static const uint8_t apdu[] = { 0, 0xA4, 0, 0, 0 };
			struct driver_bytes bytes = { apdu, sizeof(apdu) };
			if (op == 0)
				driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
			else if (op == 1)
				driver_ccid.set_protocol(b->driver, 0, PROTOCOL_T1, bench_done, b);
			else if (op == 2)
				driver_ccid.transmit(
					b->driver, 0, PROTOCOL_T1, &bytes, bench_done, b);
			for (unsigned k = 0; k < unplug_after[i]; k++)
				(void)sd_event_run(b->event, 1000);
			int was_done = b->done;
			fake_usb_unplug(b->fake);
			assert_true(fake_run(b->event, &b->gone, 4200));
			assert_int_equal(b->done, op < 3);
			if (op < 3 && !was_done)
				assert_int_equal(b->result.status, STATUS_READER_GONE);
			assert_int_equal(b->gone, 1);
			b->done = 0;
			assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_READER_GONE);
			bench_free(b);
		}
}

static void ccid_150_unplugged_while_opening(void **state) {
	(void)state;
	for (unsigned k = 0; k < 8; k++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->n_ignore = 1;
		bench_start(b);
		for (unsigned i = 0; i < k; i++)
			(void)sd_event_run(b->event, 1000);
		fake_usb_unplug(b->fake);
		assert_true(fake_run(b->event, &b->gone, 4200));
		assert_int_equal(b->ready, 0);
		bench_free(b);
	}
}

/* The system sleeps: all transfers end as if the plug had been pulled, but the device is there. It is opened
 * again, and its cards count as reset. */
static void ccid_150_suspended(void **state) {
	(void)state;
	for (unsigned op = 0; op < 4; op++) {
		struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		static const uint8_t apdu[] = { 0, 0xA4, 0, 0, 0 };
		struct driver_bytes bytes = { apdu, sizeof(apdu) };
		b->n_ignore = op > 0;
		if (op == 1)
			driver_ccid.transmit(b->driver, 0, PROTOCOL_T0, &bytes, bench_done, b);
		else if (op == 2)
			driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
		else if (op == 3)
			bench_ring(b, BYTES(0x50, 0x03));
		fake_run_for(b->event, 20);
		b->ready = 0;
		b->n_ignore = 0;
		b->cards[0].icc = INACTIVE;
		uint64_t start = ccid_now();
		fake_usb_suspend(b->fake);
		assert_true(fake_run(b->event, &b->ready, 2000));
		assert_true(ccid_now() - start < 1000000);
		assert_int_equal(b->done, op == 1 || op == 2);
		if (b->done)
			assert_int_not_equal(b->result.status, STATUS_READER_GONE);
		assert_int_equal(b->gone, 0);
		assert_int_equal(b->troubles, 1);
		assert_int_equal(b->fake->n_opens, 2);
		assert_int_equal(b->fake->n_claims, 2);
		assert_int_equal(b->fake->n_resets + b->fake->n_sets, 0);
		b->done = 0;
		assert_int_equal(b->present[0], 1);
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_CARD_UNRESPONSIVE);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		/* Once more, and as often as anybody likes. */
		b->ready = 0;
		fake_usb_suspend(b->fake);
		assert_true(fake_run(b->event, &b->ready, 2000));
		assert_int_equal(b->troubles, 2);
		bench_free(b);
	}
}

/* While it slept somebody else has taken it. */
static void ccid_150_claimed_after_suspend(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->fake->claim_error = -EBUSY;
	fake_usb_suspend(b->fake);
	fake_run_for(b->event, 500);
	assert_int_equal(b->why, STATUS_READER_CLAIMED);
	assert_int_equal(b->gone, 0);
	b->ready = 0;
	b->fake->claim_error = 0;
	assert_true(fake_run(b->event, &b->ready, 5000));
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

/* The handle dies first, and a moment later the device is there no more. */
static void ccid_150_unplugged_late(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->n_ignore = 1;
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
	fake_run_for(b->event, 20);
	fake_usb_suspend(b->fake);
	while (!b->done)
		(void)sd_event_run(b->event, 1000000);
	fake_usb_unplug(b->fake);
	assert_true(fake_run(b->event, &b->gone, 1000));
	assert_int_equal(b->done, 1);
	assert_int_equal(b->gone, 1);
	bench_free(b);
}

/* A client that has gone: its exchange need not be waited for, a power-up is. */
static void ccid_62_66_67_abandoned(void **state) {
	(void)state;
	static const uint8_t apdu[] = { 0, 0xA4, 0, 0, 0 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	for (int extended = 0; extended < 2; extended++) {
		struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
		b->n_ignore = 1;
		unsigned n = b->fake->n_sent;
		driver_ccid.transmit(b->driver, 0, PROTOCOL_T1, &bytes, bench_done, b);
		fake_run_for(b->event, 20);
		uint8_t m[10] = { 0x80, 0, 0, 0, 0, 0, b->fake->sent[n][6], 0x80, 0xFF };
		if (extended)
			fake_usb_send(b->fake, 0x82, m, 10);
		fake_run_for(b->event, 20);
		assert_int_equal(b->done, 0);
		uint64_t start = ccid_now();
		driver_ccid.abandon(b->driver, 0);
		driver_ccid.abandon(b->driver, 0);
		assert_int_equal(bench_wait_done(b, 3000), STATUS_EXCHANGE_TIMEOUT);
		if (extended)
			assert_true(ccid_now() - start < 100000);
		else
			assert_in_range(ccid_now() - start, 1000000, 2200000);
		/* Asked for its status first; the card is powered off and on. */
		m[7] = 0;
		fake_usb_send(b->fake, 0x82, m, 10);
		assert_int_equal(b->swapped[0], 1);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(b->fake->sent[n + 1][0], CCID_GET_SLOT_STATUS);
		assert_int_equal(b->fake->sent[n + 2][0], CCID_POWER_OFF);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
		driver_ccid.abandon(b->driver, 0); /* nothing under way */
		b->n_ignore = 1;
		driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
		driver_ccid.abandon(b->driver, 0);
		fake_run_for(b->event, 100);
		assert_int_equal(b->done, 0);
		bench_free(b);
	}
}

/* A client that has gone before the reader took its command: the command is not sent any more, and the
 * card, of which it asked nothing, is left alone. */
static void abandoned_before_it_is_taken(void **state) {
	(void)state;
	static const uint8_t apdu[] = { 0, 0xA4, 0, 0, 0 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->n_ignore = 1;
	unsigned n = b->fake->n_sent;
	driver_ccid.transmit(b->driver, 0, PROTOCOL_T0, &bytes, bench_done, b);
	fake_run_for(b->event, 20);
	uint8_t busy[10] = { 0x80, 0, 0, 0, 0, 0, b->fake->sent[n][6], 0x40, CCID_ERROR_SLOT_BUSY };
	fake_usb_send(b->fake, 0x82, busy, 10);
	fake_run_for(b->event, 10);
	assert_int_equal(b->done, 0);
	driver_ccid.abandon(b->driver, 0);
	assert_int_equal(b->done, 1);
	b->done = 0;
	fake_run_for(b->event, 100);
	assert_int_equal(b->fake->n_sent, n + 1);
	assert_int_equal(b->swapped[0], 0);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	bench_free(b);
}

/* bVoltageSupport 0: one attempt at 5 V. No clock, and one of 1 GHz: times are finite. */
static void ccid_21_22_senseless_descriptor(void **state) {
	(void)state;
	static const uint32_t clocks[] = { 0, 1024000 };
	for (size_t i = 0; i < 2; i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		bench_set_voltages(b, 0);
		for (unsigned k = 0; k < 4; k++)
			b->descriptors.bytes[18 + 9 + 9 + 10 + k] = (uint8_t)(clocks[i] >> (8 * k));
		bench_start_ready(b);
		b->cards[0].mute = 1;
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_CARD_MUTE);
		assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1);
		assert_int_equal(bench_last_sent(b, CCID_POWER_ON)[7], 1);
		assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
		const struct ccid_slot *slot = &b->driver->slots[0];
		assert_in_range(ccid_card_timeout(slot, PROTOCOL_T0), 1, CCID_MAX_TOTAL_USEC);
		assert_in_range(ccid_card_timeout(slot, PROTOCOL_T1), 1, CCID_MAX_TOTAL_USEC);
		assert_int_equal(bench_transmit(b, 0, PROTOCOL_T1) == STATUS_STARTING, 0);
		bench_free(b);
	}
}

static void freed_in_an_operation(void **state) {
	(void)state;
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	b->n_ignore = 1;
	driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
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
	struct bench *b = bench_powered(CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	b->fake->out_error = -EPIPE;
	b->n_ignore = 1; /* the status that is asked for after clearing the halts */
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
	assert_true(fake_run(b->event, &b->troubles, 5500));
	assert_int_equal(b->why, STATUS_READER_MUTE);
	b->ready = 0;
	assert_true(fake_run(b->event, &b->ready, 6000));
	assert_int_equal(b->fake->n_opens, 2);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	bench_free(b);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_transfer_each_way),
		cmocka_unit_test(ccid_74_75_power_lost_in_an_exchange),
		cmocka_unit_test(ccid_76_77_78_success_that_is_none),
		cmocka_unit_test(absent_by_mistake),
		cmocka_unit_test(disturbed_exchange),
		cmocka_unit_test(ccid_150_unplugged),
		cmocka_unit_test(ccid_150_unplugged_while_opening),
		cmocka_unit_test(ccid_150_suspended),
		cmocka_unit_test(ccid_150_claimed_after_suspend),
		cmocka_unit_test(ccid_150_unplugged_late),
		cmocka_unit_test(ccid_62_66_67_abandoned),
		cmocka_unit_test(abandoned_before_it_is_taken),
		cmocka_unit_test(ccid_21_22_senseless_descriptor),
		cmocka_unit_test(freed_in_an_operation),
		cmocka_unit_test(lost_and_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
