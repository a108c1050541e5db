/* SPDX-License-Identifier: MIT */
/*
 * One slot over a driver that the test holds in its hand: what cards come and go to, above all in the
 * middle of an operation, and what is counted.
 */
#include "tests/unit/test.h"

#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/slot.h"
#include "tests/unit/fake-driver.h"

static sd_event *event;
static struct slot slot;
static struct driver *driver;
static int n_changed, n_idle;
static char lost[16];

static void on_changed(void *userdata, struct slot *s) {
	(void)userdata;
	assert_ptr_equal(s, &slot);
	n_changed++;
}

static void on_lost(void *userdata, struct slot *s, unsigned why) {
	(void)userdata, (void)s;
	strcat(lost, why == EVENT_REMOVED ? "-" : "r");
}

static void on_idle(void *userdata, struct slot *s) {
	(void)userdata;
	assert_false(s->busy);
	n_idle++;
}

static const struct slot_host host = { .changed = on_changed, .lost = on_lost, .idle = on_idle };

static int setup(void **state) {
	(void)state;
	n_changed = n_idle = 0;
	memset(lost, 0, sizeof(lost));
	assert_true(sd_event_new(&event) >= 0);
	slot_init(&slot, 0, event, &host);
	assert_int_equal(fake_driver_ops.init(NULL, event, NULL, &driver), 0);
	slot_attach(&slot, &fake_driver_ops, driver);
	return 0;
}

static int setup_with_card(void **state) {
	setup(state);
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	fake_driver_calls(driver);
	return 0;
}

static int teardown(void **state) {
	(void)state;
	fake_driver_ops.free(driver);
	slot_done(&slot);
	sd_event_unref(event);
	return 0;
}

/* What `done` was told last; -1: nothing. */
static int outcome;

static void on_done(void *userdata, const struct driver_result *result) {
	(void)userdata;
	assert_int_equal(outcome, -1);
	outcome = (int)result->status;
}

/* Ends the operation: as the fake would have, or with another outcome. */
static void finish(enum status status) {
	if (status != STATUS_OK)
		driver->result = (struct driver_result){ .status = status };
	fake_driver_finish(driver);
}

static void transmit(void) {
	static const uint8_t bytes[] = { 0, 0xA4, 0, 0 };
	static const struct driver_bytes apdu = { bytes, sizeof(bytes) };
	outcome = -1;
	slot_transmit(&slot, PROTOCOL_T1, &apdu, on_done, NULL);
}

/* ---- what is counted ---- */

/* PCSC-176 */
static void the_first_look_counts_nothing(void **state) {
	(void)state;
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
	assert_int_equal(slot.counter, 0);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	assert_int_equal(slot.counter, 1);
	assert_string_equal(lost, "-");
}

/* PCSC-177 */
static void the_counter_wraps(void **state) {
	(void)state;
	slot.counter = 0xFFFF;
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	assert_int_equal(slot.counter, 0);
}

static void recovery_counts_with_and_without_a_card(void **state) {
	(void)state;
	slot_trouble(&slot, STATUS_READER_MUTE);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	assert_int_equal(slot.counter, 1);
	slot_trouble(&slot, STATUS_READER_MUTE);
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_int_equal(slot.counter, 2);
}

/* While the trouble lasts it is what programs hear of; what became of the card they hear afterwards. */
static void trouble_is_told_before_what_it_did(void **state) {
	(void)state;
	slot_trouble(&slot, STATUS_READER_MUTE);
	slot_trouble(&slot, STATUS_READER_CLAIMED);
	assert_string_equal(lost, "");
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_string_equal(lost, "r");
	slot_trouble(&slot, STATUS_READER_MUTE);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	assert_string_equal(lost, "r-");
	slot_trouble(&slot, STATUS_READER_MUTE); /* there is no card to lose */
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_string_equal(lost, "r-");
}

/* ---- movements in the middle of an operation ---- */

/* A card that goes before its ATR is there must not stay in the slot's mind: the next one would then
 * be taken for it and never be powered. */
static void a_card_that_goes_while_it_arrives(void **state) {
	(void)state;
	static const enum status ends[] = { STATUS_CARD_MUTE, STATUS_OK, STATUS_NO_CARD,
		STATUS_CARD_REMOVED };
	for (size_t i = 0; i < N_OF(ends); i++) {
		slot_presence(&slot, 0, DRIVER_CARD_SAME);
		driver->hold = 1;
		slot_presence(&slot, 1, DRIVER_CARD_SAME);
		assert_int_equal(slot.presence, PRESENCE_ABSENT);
		slot_presence(&slot, 0, DRIVER_CARD_SAME);
		driver->hold = 0;
		finish(ends[i]);
		assert_int_equal(slot.presence, PRESENCE_ABSENT);
		fake_driver_calls(driver);
		slot_presence(&slot, 1, DRIVER_CARD_SAME);
		assert_string_equal(fake_driver_calls(driver), "C");
		assert_int_equal(slot.presence, PRESENCE_PRESENT);
	}
}

/* Told twice of one and the same arrival. */
static void news_of_an_arrival_is_no_second_card(void **state) {
	(void)state;
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	driver->hold = 1;
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_string_equal(fake_driver_calls(driver), "C");
	assert_int_equal(slot.counter, 1);
	assert_string_equal(lost, "");
}

static void a_card_swapped_while_it_arrives(void **state) {
	(void)state;
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	driver->hold = 1;
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_string_equal(fake_driver_calls(driver), "CC");
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
	assert_int_equal(slot.counter, 3);
}

/* Nobody knows what it is in the middle of: powered up anew, and its users begin anew. */
static void a_card_to_be_reset(void **state) {
	(void)state;
	slot_presence(&slot, 1, DRIVER_CARD_RESET);
	assert_string_equal(lost, "r");
	assert_string_equal(fake_driver_calls(driver), "C");
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
	assert_int_equal(slot.powered, 1);
	assert_int_equal(slot.counter, 0);
}

static void a_card_to_be_reset_after_a_command(void **state) {
	(void)state;
	driver->hold = 1;
	transmit();
	slot_presence(&slot, 1, DRIVER_CARD_RESET);
	assert_string_equal(lost, "");
	driver->hold = 0;
	finish(STATUS_EXCHANGE_TIMEOUT);
	assert_int_equal(outcome, STATUS_EXCHANGE_TIMEOUT);
	assert_string_equal(lost, "r");
	assert_string_equal(fake_driver_calls(driver), "XC");
	assert_int_equal(slot.counter, 0);
}

/* It went while it was powered up anew; or it was out and in again besides. */
static void a_card_to_be_reset_that_goes(void **state) {
	(void)state;
	driver->hold = 1;
	slot_presence(&slot, 1, DRIVER_CARD_RESET);
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	driver->hold = 0;
	finish(STATUS_NO_CARD);
	assert_string_equal(lost, "r-");
	assert_int_equal(slot.presence, PRESENCE_ABSENT);
	assert_int_equal(slot.counter, 1);
}

static void a_card_that_goes_and_comes_in_a_command(void **state) {
	(void)state;
	driver->hold = 1;
	transmit();
	slot_presence(&slot, 0, DRIVER_CARD_SAME);
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_int_equal(outcome, -1);
	driver->hold = 0;
	finish(STATUS_EXCHANGE_FAILED);
	assert_int_equal(outcome, STATUS_EXCHANGE_FAILED);
	assert_string_equal(lost, "-");
	assert_int_equal(slot.counter, 2);
	assert_string_equal(fake_driver_calls(driver), "XC");
}

/* A driver that finds the card gone only when it powers it, and says nothing more of it. */
static void a_reset_that_finds_no_card(void **state) {
	(void)state;
	driver->hold = 1;
	outcome = -1;
	slot_power_on(&slot, DRIVER_WARM, on_done, NULL);
	driver->hold = 0;
	finish(STATUS_CARD_REMOVED);
	assert_int_equal(outcome, STATUS_NO_CARD);
	assert_int_equal(slot.presence, PRESENCE_ABSENT);
	assert_string_equal(lost, "-");
	slot_presence(&slot, 1, DRIVER_CARD_SAME);
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
}

/* ---- power ---- */

static void a_card_that_falls_silent_is_mute(void **state) {
	(void)state;
	driver->mute = 1;
	outcome = -1;
	slot_power_on(&slot, DRIVER_WARM, on_done, NULL);
	assert_int_equal(outcome, STATUS_CARD_MUTE);
	assert_int_equal(slot.presence, PRESENCE_MUTE);
	assert_int_equal(slot.atr_len, 0);
	assert_int_equal(slot.counter, 0);
	driver->mute = 0;
	outcome = -1;
	slot_power_on(&slot, DRIVER_WARM, on_done, NULL);
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
}

/* PCSC-220, PCSC-221 */
static void an_unused_card_loses_its_power_and_a_used_one_does_not(void **state) {
	(void)state;
	slot.grace_usec = 1000;
	slot_use(&slot, 1);
	assert_null(slot.grace);
	slot_use(&slot, 0);
	assert_non_null(slot.grace);
	for (int i = 0; i < 100 && slot.powered; i++)
		assert_true(sd_event_run(event, 100000) >= 0);
	assert_false(slot.powered);
	assert_false(slot.unpowered);
	assert_int_equal(slot.presence, PRESENCE_PRESENT);
	assert_int_equal(slot.atr_len, 5);
	assert_string_equal(fake_driver_calls(driver), "O");
	slot_power_on(&slot, DRIVER_COLD, NULL, NULL);
	slot_use(&slot, 1);
	assert_null(slot.grace);
}

static void no_operation_on_a_reader_in_trouble(void **state) {
	(void)state;
	slot_trouble(&slot, STATUS_READER_CLAIMED);
	outcome = -1;
	slot_power_on(&slot, DRIVER_COLD, on_done, NULL);
	assert_int_equal(outcome, STATUS_READER_CLAIMED);
	outcome = -1;
	slot_power_off(&slot, on_done, NULL);
	assert_int_equal(outcome, STATUS_NO_CARD);
	assert_string_equal(fake_driver_calls(driver), "");
	assert_int_equal(n_idle, 3);
}

/* A look that ends in the trouble that was known already is over, too. */
static void a_look_ends_in_trouble(void **state) {
	(void)state;
	slot_trouble(&slot, STATUS_READER_MUTE);
	slot_look(&slot);
	assert_false(slot_is_known(&slot));
	slot_trouble(&slot, STATUS_READER_MUTE);
	assert_true(slot_is_known(&slot));
	n_changed = 0;
	slot_trouble(&slot, STATUS_READER_MUTE);
	assert_int_equal(n_changed, 0);
}

/* ---- protocol ---- */

static int negotiate(uint32_t mask) {
	outcome = -1;
	slot_negotiate(&slot, mask, on_done, NULL);
	return outcome;
}

static void atr_set(const char *bytes, size_t len) {
	memcpy(driver->atr, bytes, len);
	driver->atr_len = len;
	slot_power_on(&slot, DRIVER_COLD, NULL, NULL);
	fake_driver_calls(driver);
}

/* PCSC-53, PCSC-55, PCSC-56, PCSC-57, PCSC-61 */
static void the_atr_decides_what_is_offered(void **state) {
	(void)state;
	atr_set("\x3B\x02\x14\x50", 4);
	assert_int_equal(negotiate(PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(negotiate(0x1000), STATUS_OK);
	assert_int_equal(slot.protocol, PROTOCOL_T0);
	assert_int_equal(negotiate(0x1000), STATUS_PROTO_MISMATCH);
	atr_set("\x3B\x80\x01\x81", 4);
	assert_int_equal(slot.protocol, PROTOCOL_NONE);
	assert_int_equal(negotiate(PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), STATUS_OK);
	assert_int_equal(slot.protocol, PROTOCOL_T1);
	atr_set("\x3B\x80\x91\x11\x01\x01", 6);
	assert_int_equal(negotiate(PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	atr_set("\x3B\x80\x0F", 3);
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	atr_set("\x00\x01\x02", 3);
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), STATUS_PROTO_MISMATCH);
}

/* PCSC-62 */
static void a_reader_without_t1(void **state) {
	(void)state;
	driver->no_t1 = 1;
	assert_int_equal(negotiate(PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), STATUS_OK);
	assert_int_equal(slot.protocol, PROTOCOL_T0);
}

static void a_reader_without_any(void **state) {
	(void)state;
	driver->no_t0 = driver->no_t1 = 1;
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(negotiate(PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(slot.protocol, PROTOCOL_NONE);
}

/* The card speaks what its ATR offers first, whatever was asked for. */
static void a_reader_that_lets_nobody_choose(void **state) {
	(void)state;
	driver->hold = 1;
	assert_int_equal(negotiate(PROTOCOL_T1), -1);
	finish(STATUS_UNSUPPORTED);
	assert_int_equal(outcome, STATUS_OK);
	assert_int_equal(slot.protocol, PROTOCOL_T0);
}

/* PCSC-63 */
static void a_card_that_dies_of_its_pps(void **state) {
	(void)state;
	driver->hold = 1;
	assert_int_equal(negotiate(PROTOCOL_T0 | PROTOCOL_T1), -1);
	finish(STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(outcome, STATUS_CARD_UNRESPONSIVE);
	assert_int_equal(slot.protocol, PROTOCOL_NONE);
}

int main(void) {
#define CASE(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define WITH_CARD(name) cmocka_unit_test_setup_teardown(name, setup_with_card, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(the_first_look_counts_nothing),
		WITH_CARD(the_counter_wraps),
		WITH_CARD(recovery_counts_with_and_without_a_card),
		WITH_CARD(trouble_is_told_before_what_it_did),
		CASE(a_card_that_goes_while_it_arrives),
		CASE(news_of_an_arrival_is_no_second_card),
		CASE(a_card_swapped_while_it_arrives),
		WITH_CARD(a_card_to_be_reset),
		WITH_CARD(a_card_to_be_reset_after_a_command),
		WITH_CARD(a_card_to_be_reset_that_goes),
		WITH_CARD(a_card_that_goes_and_comes_in_a_command),
		WITH_CARD(a_reset_that_finds_no_card),
		WITH_CARD(a_card_that_falls_silent_is_mute),
		WITH_CARD(an_unused_card_loses_its_power_and_a_used_one_does_not),
		WITH_CARD(no_operation_on_a_reader_in_trouble),
		WITH_CARD(a_look_ends_in_trouble),
		WITH_CARD(the_atr_decides_what_is_offered),
		WITH_CARD(a_reader_without_t1),
		WITH_CARD(a_reader_without_any),
		WITH_CARD(a_reader_that_lets_nobody_choose),
		WITH_CARD(a_card_that_dies_of_its_pps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
