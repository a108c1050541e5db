/* SPDX-License-Identifier: MIT */
/* Framing of the card programs' protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/virtual/vpcd.h"

static struct vpcd_rx *new_rx(void) {
	struct vpcd_rx *rx = calloc(1, sizeof(*rx));
	assert_non_null(rx);
	return rx;
}

static void feed(struct vpcd_rx *rx, const void *data, size_t len) {
	size_t size;
	uint8_t *room = vpcd_rx_room(rx, &size);
	assert_true(len <= size);
	memcpy(room, data, len);
	vpcd_rx_grown(rx, len);
}

static void puts_big_endian_length(void **state) {
	(void)state;
	static uint8_t buf[VPCD_MAX_FRAME];
	static uint8_t payload[0x1234];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	payload[0] = 0xAA;
	payload[sizeof(payload) - 1] = 0xBB;
	vpcd_put(&w, payload, sizeof(payload));
	assert_false(w.failed);
	assert_int_equal(bytes_written(&w), 2 + sizeof(payload));
	assert_int_equal(buf[0], 0x12);
	assert_int_equal(buf[1], 0x34);
	assert_int_equal(buf[2], 0xAA);
	assert_int_equal(buf[2 + 0x1233], 0xBB);
}

static void puts_controls(void **state) {
	(void)state;
	uint8_t buf[12];
	const uint8_t expected[] = { 0, 1, 0, 0, 1, 1, 0, 1, 2, 0, 1, 4 };
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	vpcd_put_control(&w, VPCD_OFF);
	vpcd_put_control(&w, VPCD_ON);
	vpcd_put_control(&w, VPCD_RESET);
	vpcd_put_control(&w, VPCD_ATR);
	assert_false(w.failed);
	assert_memory_equal(buf, expected, sizeof(expected));
}

static void puts_the_longest_and_no_longer(void **state) {
	(void)state;
	static uint8_t buf[VPCD_MAX_FRAME + 10];
	static uint8_t payload[VPCD_MAX_PAYLOAD + 1];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	vpcd_put(&w, payload, VPCD_MAX_PAYLOAD);
	assert_false(w.failed);
	assert_int_equal(bytes_written(&w), VPCD_MAX_FRAME);
	w = bytes_writer(buf, sizeof(buf));
	vpcd_put(&w, payload, VPCD_MAX_PAYLOAD + 1);
	assert_true(w.failed);
	assert_int_equal(bytes_written(&w), 0);
	w = bytes_writer(buf, 4);
	vpcd_put(&w, payload, 3);
	assert_true(w.failed);
}

static void gathers_byte_by_byte(void **state) {
	(void)state;
	const uint8_t in[] = { 0, 3, 0x11, 0x90, 0x00 };
	struct vpcd_rx *rx = new_rx();
	const uint8_t *payload = NULL;
	size_t len = 0;
	assert_int_equal(vpcd_rx_frame(rx, 10, &payload, &len), 0);
	for (size_t i = 0; i < sizeof(in); i++) {
		feed(rx, in + i, 1);
		assert_int_equal(
			vpcd_rx_frame(rx, 10, &payload, &len), i + 1 == sizeof(in) ? 1 : 0);
	}
	assert_int_equal(len, 3);
	assert_memory_equal(payload, in + 2, 3);
	free(rx);
}

static void takes_an_empty_frame(void **state) {
	(void)state;
	struct vpcd_rx *rx = new_rx();
	const uint8_t *payload;
	size_t len = 9;
	feed(rx, "\0\0", 2);
	assert_int_equal(vpcd_rx_frame(rx, 10, &payload, &len), 1);
	assert_int_equal(len, 0);
	free(rx);
}

static void refuses_too_long_at_the_header(void **state) {
	(void)state;
	struct vpcd_rx *rx = new_rx();
	const uint8_t *payload;
	size_t len;
	feed(rx, "\0\042", 2);
	assert_int_equal(vpcd_rx_frame(rx, 33, &payload, &len), -EMSGSIZE);
	assert_int_equal(vpcd_rx_frame(rx, 34, &payload, &len), 0);
	free(rx);
}

static void refuses_bytes_behind_the_frame(void **state) {
	(void)state;
	struct vpcd_rx *rx = new_rx();
	const uint8_t *payload;
	size_t len;
	feed(rx, "\0\002\x90\0\0", 5);
	assert_int_equal(vpcd_rx_frame(rx, 65535, &payload, &len), -EPROTO);
	free(rx);
}

static void holds_the_longest_frame(void **state) {
	(void)state;
	static uint8_t in[VPCD_MAX_FRAME] = { 0xFF, 0xFF };
	struct vpcd_rx *rx = new_rx();
	const uint8_t *payload;
	size_t len, size;
	in[sizeof(in) - 1] = 0x5A;
	feed(rx, in, sizeof(in));
	assert_int_equal(vpcd_rx_frame(rx, VPCD_MAX_PAYLOAD, &payload, &len), 1);
	assert_int_equal(len, VPCD_MAX_PAYLOAD);
	assert_int_equal(payload[len - 1], 0x5A);
	vpcd_rx_room(rx, &size);
	assert_int_equal(size, 0);
	free(rx);
}

static void reset_wipes(void **state) {
	(void)state;
	struct vpcd_rx *rx = new_rx();
	static const struct vpcd_rx zero;
	feed(rx, "\0\004secr", 6);
	vpcd_rx_reset(rx);
	assert_memory_equal(rx, &zero, sizeof(zero));
	free(rx);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_big_endian_length),
		cmocka_unit_test(puts_controls),
		cmocka_unit_test(puts_the_longest_and_no_longer),
		cmocka_unit_test(gathers_byte_by_byte),
		cmocka_unit_test(takes_an_empty_frame),
		cmocka_unit_test(refuses_too_long_at_the_header),
		cmocka_unit_test(refuses_bytes_behind_the_frame),
		cmocka_unit_test(holds_the_longest_frame),
		cmocka_unit_test(reset_wipes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
