/* SPDX-License-Identifier: MIT */
/* The CCID driver: exchanges, control codes, attributes, and the end of all. */
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

/* CCID-74, CCID-75. */
static void power_lost_in_an_exchange(void **state) {
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

/* CCID-150: the plug is pulled in the middle of anything: each operation ends once, with the truth.
 * */
static void unplugged(void **state) {
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

static void unplugged_while_opening(void **state) {
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

/* ---- control codes and attributes ---- */

/* CCID-144, CCID-148. */
static void control_codes(void **state) {
	(void)state;
	static const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	struct bench *b = bench_powered(CCID_FEATURE_EXTENDED_APDU, NULL, 0);
	b->descriptors.bytes[18 + 9 + 9 + 52] = 3;
	assert_int_equal(bench_control(b, 0x42000D48, NULL, 0), STATUS_OK);
	assert_int_equal(b->result.len, sizeof(features));
	assert_memory_equal(b->data, features, sizeof(features));
	assert_int_equal(bench_control(b, 0x00313520, NULL, 0), STATUS_OK);
	assert_memory_equal(b->data, features, sizeof(features));
	static const uint32_t refused[] = { 0x42330006, 0x42330007, 0x42330008, 0x4233000A,
		0x42330020, 0x42000001, 0, 0xFFFFFFFF };
	unsigned n = b->fake->n_sent;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(bench_control(b, refused[i], BYTES(1, 2, 3)), STATUS_UNSUPPORTED);
	assert_int_equal(b->fake->n_sent, n);
	assert_int_equal(bench_control(b, 0x42330012, NULL, 0), STATUS_OK);
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
	bench_start_ready(b);
	assert_int_equal(bench_control(b, 0x42000001, BYTES(0x02)), STATUS_OK);
	assert_int_equal(b->result.len, 2);
	assert_int_equal(b->data[0], 0xE5);
	static const uint8_t many[262];
	assert_int_equal(bench_control(b, 0x42000001, many, sizeof(many)), STATUS_TOO_LONG);
	assert_int_equal(bench_control(b, 0x42000D48, NULL, 0), STATUS_OK);
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
	bench_start_ready(b);
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
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
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
		cmocka_unit_test(one_transfer_each_way),
		cmocka_unit_test(power_lost_in_an_exchange),
		cmocka_unit_test(absent_by_mistake),
		cmocka_unit_test(disturbed_exchange),
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
