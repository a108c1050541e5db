/* SPDX-License-Identifier: MIT */
/*
 * Tests of the emulated tokens on control transfers (ICCD 1.0), without any transport. Requests are
 * written out as bytes; `now` is a number that the test moves.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/reader.h"
#include "tests/model/text.h"

/* What was received last. */
static uint8_t buf[8192];

struct host {
	struct model *model;
	struct reader *reader;
	uint64_t now;
};

static void host_start(struct host *host, const char *model, const char *card) {
	struct card *c = NULL;
	*host = (struct host){ .now = 1 };
	assert_int_equal(model_load(MODEL_DIR, model, 0, &host->model), 0);
	assert_int_equal(reader_new(host->model, &host->reader), 0);
	assert_int_equal(card_new(card, &c), 0);
	assert_int_equal(reader_card(host->reader, 0, c, 0), 0);
	reader_plugged(host->reader, host->now);
}

static void host_stop(struct host *host) {
	reader_free(host->reader);
	free(host->model);
}

static unsigned long counter(const struct host *host, const char *name) {
	unsigned long value = 0;
	assert_int_equal(reader_counter(host->reader, name, &value), 0);
	return value;
}

/* A class request to interface 0 with `value`; what it moved. */
static int ask(struct host *host, unsigned request, unsigned value, size_t size) {
	const uint8_t setup[8] = { (uint8_t)(request >> 8), (uint8_t)request, (uint8_t)value,
		(uint8_t)(value >> 8), 0, 0, (uint8_t)size, (uint8_t)(size >> 8) };
	memset(buf, 0x77, sizeof buf);
	return reader_control(host->reader, setup, buf, size, host->now);
}

static int tell(struct host *host, unsigned request, unsigned value, const char *hex) {
	uint8_t data[600];
	size_t len;
	assert_int_equal(text_hex(hex, data, sizeof data, &len), 0);
	const uint8_t setup[8] = { (uint8_t)(request >> 8), (uint8_t)request, (uint8_t)value,
		(uint8_t)(value >> 8), 0, 0, (uint8_t)len, (uint8_t)(len >> 8) };
	int r = reader_control(host->reader, setup, data, len, host->now);
	return r == (int)len ? 0 : r < 0 ? r : -EREMOTEIO;
}

static void fault(struct host *host, const char *text) {
	char copy[128];
	strcpy(copy, text);
	assert_int_equal(reader_fault(host->reader, copy, host->now), 0);
}

static unsigned status_a(struct host *host) {
	assert_int_equal(ask(host, 0xa1a0, 0, 1), 1);
	return buf[0];
}

static void power_b(struct host *host) {
	assert_int_equal(tell(host, 0x2163, 0, ""), 0);
	assert_int_equal(tell(host, 0x2162, 1, ""), 0);
	assert_int_equal(ask(host, 0xa16f, 0, 34), 12);
	assert_int_equal(buf[0] << 8 | buf[1], 0x003b);
}

static void version_a(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "iccd-a", "A");
	assert_int_equal(tell(&host, 0x2163, 0, ""), 0);
	assert_int_equal(status_a(&host), 0x00);
	assert_int_equal(ask(&host, 0xa162, 0, 33), 4);
	assert_int_equal(buf[0], 0x3b);
	/* a command with data, taken in two parts */
	assert_int_equal(tell(&host, 0x2165, 0, "00a4040002"), 0);
	assert_int_equal(status_a(&host), 0x10);
	assert_int_equal(tell(&host, 0x2165, 0, "3f"), 0);
	assert_int_equal(status_a(&host), 0x10);
	assert_int_equal(tell(&host, 0x2165, 0, "00"), 0);
	assert_int_equal(status_a(&host), 0x20);
	assert_int_equal(ask(&host, 0xa16f, 0, 2), 2);
	assert_int_equal(buf[0] << 8 | buf[1], 0x9000);
	/* one that asks for 256 bytes */
	assert_int_equal(tell(&host, 0x2165, 0, "00cb010000"), 0);
	assert_int_equal(status_a(&host), 0x10);
	assert_int_equal(ask(&host, 0xa16f, 0, 256), 256);
	assert_int_equal(buf[255], 255 % 251);
	assert_int_equal(status_a(&host), 0x20);
	assert_int_equal(ask(&host, 0xa16f, 0, 2), 2);
	assert_int_equal(status_a(&host), 0x00);
	assert_int_equal(counter(&host, "violations"), 0);
	assert_int_equal(counter(&host, "card.0.tpdus"), 2);
	/* what a host must not do */
	assert_int_equal(tell(&host, 0x2165, 0, "00a40400"), -EPIPE);
	assert_int_equal(ask(&host, 0xa16f, 0, 2), -EPIPE);
	assert_int_equal(ask(&host, 0xa181, 0, 3), -EPIPE);
	assert_int_equal(ask(&host, 0xa16f, 0, 4097), -EPIPE);
	assert_int_equal(ask(&host, 0xa162, 0, 33), 4);
	assert_int_equal(counter(&host, "violations"), 5);
	host_stop(&host);
}

static void version_a_time(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "iccd-a-egate", "A");
	assert_int_equal(tell(&host, 0x2163, 0, ""), 0);
	assert_int_equal(status_a(&host), 0x40);
	host.now += 3000;
	assert_int_equal(status_a(&host), 0x00);
	assert_int_equal(ask(&host, 0xa162, 0, 33), 4);
	assert_int_equal(status_a(&host), 0x00);
	fault(&host, "late=2000");
	assert_int_equal(tell(&host, 0x2165, 0, "00e6612300"), 0);
	assert_int_equal(status_a(&host), 0x40);
	assert_int_equal(ask(&host, 0xa16f, 0, 2), -EPIPE);
	host.now += 2003000;
	assert_int_equal(status_a(&host), 0x20);
	assert_int_equal(ask(&host, 0xa16f, 0, 2), 2);
	assert_int_equal(buf[0] << 8 | buf[1], 0x6123);
	/* busy for ever, until the power goes */
	fault(&host, "extend=0");
	assert_int_equal(tell(&host, 0x2165, 0, "00a4040000"), 0);
	host.now += 1000000000;
	assert_int_equal(status_a(&host), 0x40);
	assert_int_equal(tell(&host, 0x2163, 0, ""), 0);
	assert_int_equal(ask(&host, 0xa162, 0, 33), -EPIPE);
	host.now += 3000;
	assert_int_equal(status_a(&host), 0x00);
	assert_int_equal(counter(&host, "polls"), 3);
	/* a mute card, a status out of the blue, no card */
	assert_int_equal(ask(&host, 0xa162, 0, 33), 4);
	assert_int_equal(tell(&host, 0x2165, 0, "00ef000000"), 0);
	host.now += 3000;
	assert_int_equal(status_a(&host), 0x80);
	fault(&host, "status=7 on=a0");
	assert_int_equal(status_a(&host), 0x07);
	assert_int_equal(reader_card(host.reader, 0, NULL, host.now), 0);
	assert_int_equal(status_a(&host), 0x80);
	assert_int_equal(ask(&host, 0xa162, 0, 33), -EPIPE);
	assert_int_equal(counter(&host, "violations"), 2);
	host_stop(&host);
}

static void version_b(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "iccd-b-short", "t1");
	assert_int_equal(ask(&host, 0xa181, 0, 3), 3);
	assert_int_equal(buf[1], 1);
	power_b(&host);
	assert_int_equal(ask(&host, 0xa181, 0, 3), 3);
	assert_int_equal(buf[1], 0);
	assert_int_equal(tell(&host, 0x2165, 0, "00cb0100"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 300), 1 + 258);
	assert_int_equal(buf[0], 0);
	/* no more than there is room for: the rest comes after an empty block */
	assert_int_equal(tell(&host, 0x2165, 0, "00cb0008"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 7), 7);
	assert_int_equal(buf[0], 1);
	assert_int_equal(tell(&host, 0x2165, 0x1000, ""), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 7), 5);
	assert_int_equal(buf[0], 2);
	assert_int_equal(buf[3] << 8 | buf[4], 0x9000);
	assert_int_equal(counter(&host, "violations"), 0);
	/* what a host must not do */
	assert_int_equal(ask(&host, 0xa16f, 0, 7), -EPIPE);
	assert_int_equal(ask(&host, 0xa16f, 0, 3), -EPIPE);
	assert_int_equal(ask(&host, 0xa162, 0, 33), -EPIPE);
	const uint8_t other[8] = { 0xa1, 0x81, 0, 0, 1, 0, 3, 0 };
	assert_int_equal(reader_control(host.reader, other, buf, 3, host.now), -EPIPE);
	assert_int_equal(counter(&host, "violations"), 4);
	/* an empty block where nothing is left */
	assert_int_equal(tell(&host, 0x2165, 0x1000, ""), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 7), 3);
	assert_int_equal(buf[0] << 8 | buf[2], 0x4008);
	host_stop(&host);
}

/* bLevelParameter is the number of bytes expected: T=0 byte by byte. */
static void version_b_character(void **state) {
	(void)state;
	struct host host;
	host_start(&host, MODEL_DIR "/field/04cc-5072-0100.model", "A");
	assert_int_equal(tell(&host, 0x2162, 1, ""), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 5);
	assert_int_equal(tell(&host, 0x2165, 0x0100, "00a4040002"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 4), 2);
	assert_int_equal(buf[0] << 8 | buf[1], 0x00a4);
	assert_int_equal(tell(&host, 0x2165, 0x0200, "3f00"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 4), 3);
	assert_int_equal(buf[1] << 8 | buf[2], 0x9000);
	assert_int_equal(tell(&host, 0x2165, 0x0100, "00cb001010"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 4), 2);
	assert_int_equal(tell(&host, 0x2165, 0x1200, ""), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 300), 1 + 18);
	assert_int_equal(buf[16] << 16 | buf[17] << 8 | buf[18], 0x0f9000);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

static void version_b_chaining(void **state) {
	(void)state;
	struct host host;
	uint8_t apdu[7 + 600] = { 0x00, 0xec, 0, 0, 0, 600 >> 8, 600 & 0xff };
	static const unsigned levels[3] = { 1, 3, 2 };
	size_t total = 0;
	host_start(&host, "iccd-b-ext", "t1");
	assert_int_equal(tell(&host, 0x2162, 1, ""), 0);
	host.now += 20000;
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 12);
	for (size_t i = 0; i < 3; i++) {
		size_t n = i < 2 ? 251 : sizeof apdu - 502;
		const uint8_t setup[8] = { 0x21, 0x65, 0, (uint8_t)levels[i], 0, 0, (uint8_t)n, 0 };
		assert_int_equal(
			reader_control(host.reader, setup, apdu + i * 251, n, host.now), n);
		host.now += 20000;
		if (i < 2)
			assert_int_equal(ask(&host, 0xa16f, 0, 100), 1);
		if (i < 2)
			assert_int_equal(buf[0], 0x10);
	}
	for (size_t i = 0; i < 3; i++) {
		int n = ask(&host, 0xa16f, 0, 4096);
		assert_int_equal(buf[0], levels[i]);
		assert_int_equal(n, i < 2 ? 252 : 1 + 602 - 502);
		total += (size_t)n - 1;
		if (i < 2)
			assert_int_equal(tell(&host, 0x2165, 0x1000, ""), 0);
		host.now += 20000;
	}
	assert_int_equal(total, 602);
	assert_int_equal(counter(&host, "violations"), 0);
	assert_int_equal(counter(&host, "card.0.apdus"), 1);
	host_stop(&host);
}

static void version_b_polling(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "iccd-b-ext", "t1");
	assert_int_equal(tell(&host, 0x2162, 1, ""), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	assert_int_equal(buf[0] << 8 | buf[1], 0x8001);
	host.now += 10000;
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	host.now += 10000;
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 12);
	assert_int_equal(counter(&host, "polls"), 2);
	assert_int_equal(counter(&host, "violations"), 0);
	/* too early */
	assert_int_equal(tell(&host, 0x2165, 0, "00a40400"), 0);
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	assert_int_equal(counter(&host, "violations"), 1);
	host.now += 20000;
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	assert_int_equal(buf[1] << 8 | buf[2], 0x9000);
	/* for ever, with a card that hangs */
	assert_int_equal(tell(&host, 0x2165, 0, "00ee0000"), 0);
	host.now += 1000000000;
	assert_int_equal(ask(&host, 0xa16f, 0, 34), 3);
	assert_int_equal(buf[0], 0x80);
	host_stop(&host);
}

static void version_b_faults(void **state) {
	static const struct {
		const char *fault;
		int len;
		unsigned bytes;
	} cases[] = { { "empty", 0, 0x7777 }, { "cut=2", 2, 0x0090 }, { "type=55", 3, 0x5590 },
		{ "error=fe", 3, 0x4040 }, { "garbage=90", 34, 0xc710 }, { "surplus=2", 5, 0x0090 },
		{ "stall-in", -EPIPE, 0x7777 }, { "error-in", -EPROTO, 0x7777 },
		{ "refuse=f4", 3, 0x4040 }, { "deaf", 3, 0x8000 }, { "extend=0", 3, 0x8000 },
		{ "control-stall=6f", -EPIPE, 0x7777 }, { "control-hang=6f", -EINPROGRESS, 0x7777 },
		{ "late=50 on=6f", 3, 0x8000 } };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct host host;
		host_start(&host, "iccd-b-short", "t1");
		power_b(&host);
		fault(&host, cases[i].fault);
		assert_int_equal(tell(&host, 0x2165, 0, "00a40400"), 0);
		assert_int_equal(ask(&host, 0xa16f, 0, 34), cases[i].len);
		assert_int_equal(buf[0] << 8 | buf[1], cases[i].bytes);
		assert_int_equal(counter(&host, "violations"), 0);
		/* a power cycle mends all */
		power_b(&host);
		host_stop(&host);
	}
}

/* Whatever a host sends, the model stays in one piece (for sanitizers). */
static void noise(void **state) {
	static const char *const names[] = { "iccd-a", "iccd-b-short", "iccd-b-ext" };
	static const uint8_t requests[] = { 0x62, 0x63, 0x65, 0x6f, 0x81, 0xa0 };
	(void)state;
	uint32_t seed = 1;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct host host;
		host_start(&host, names[i], i ? "t1" : "A");
		for (int n = 0; n < 20000; n++) {
			uint8_t b[12];
			for (size_t k = 0; k < sizeof b; k++) {
				seed = seed * 1664525 + 1013904223;
				b[k] = (uint8_t)(seed >> 24);
			}
			size_t size = b[0] % 8 ? b[1] % 8 : b[1] * 17u;
			const uint8_t setup[8] = { b[2] % 2 ? 0x21 : 0xa1,
				requests[b[3] % sizeof requests], 0, b[4] % 4, 0, 0, (uint8_t)size,
				(uint8_t)(size >> 8) };
			memset(buf, b[5], sizeof buf);
			buf[0] = 0;
			buf[1] = b[6] % 2 ? 0xec : 0xcb;
			reader_control(host.reader, setup, buf, size, host.now);
			host.now += b[7] * 100u;
		}
		host_stop(&host);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(version_a),
		cmocka_unit_test(version_a_time), cmocka_unit_test(version_b),
		cmocka_unit_test(version_b_character), cmocka_unit_test(version_b_chaining),
		cmocka_unit_test(version_b_polling), cmocka_unit_test(version_b_faults),
		cmocka_unit_test(noise) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
