/* SPDX-License-Identifier: MIT */
/*
 * Tests of the emulated readers' PIN pads and of their Escape commands, without any transport.
 * Messages are written out as bytes; `now` is a number that the test moves.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/reader.h"
#include "tests/model/text.h"

/* What was received last. */
static uint8_t buf[4096];

struct host {
	struct model *model;
	struct reader *reader;
	uint64_t now;
	uint8_t seq;
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

static int receive(struct host *host) {
	struct reader_urb urb = { .endpoint = 0x82, .data = buf, .size = sizeof buf };
	memset(buf, 0x77, 32);
	int r = reader_submit(host->reader, &urb, host->now);
	return r == READER_PENDING ? -EAGAIN : r ? r : (int)urb.actual;
}

/* Type and 3 parameters; data in hex. */
static void submit(struct host *host, const char *head, const char *hex) {
	uint8_t h[4], message[700] = { 0 };
	size_t n, len;
	assert_int_equal(text_hex(head, h, sizeof h, &n), 0);
	assert_int_equal(text_hex(hex, message + 10, sizeof message - 10, &len), 0);
	message[0] = h[0];
	message[1] = (uint8_t)len;
	message[2] = (uint8_t)(len >> 8);
	message[6] = ++host->seq;
	memcpy(message + 7, h + 1, 3);
	struct reader_urb urb = { .endpoint = 1, .data = message, .size = 10 + len };
	assert_int_equal(reader_submit(host->reader, &urb, host->now), 0);
}

static int command(struct host *host, const char *head, const char *hex) {
	submit(host, head, hex);
	host->now += 1000000;
	int r = receive(host);
	while (r >= 10 && buf[7] >> 6 == 2)
		r = receive(host);
	return r;
}

static void keys(struct host *host, const char *text) {
	char copy[256];
	strcpy(copy, text);
	assert_int_equal(reader_pin(host->reader, copy), 0);
}

static void power(struct host *host, unsigned protocol) {
	assert_true(command(host, "62000000", "") > 10);
	if (protocol)
		assert_int_equal(command(host, "61010000", "13100045002000"), 17);
	else
		assert_int_equal(command(host, "61000000", "1100000a00"), 15);
}

/* The last PIN command that the card got is `hex`. */
static void card_saw(const struct host *host, const char *hex) {
	uint8_t want[300];
	size_t len;
	const struct card_pin *pin = &reader_card_in(host->reader, 0)->pin;
	assert_int_equal(text_hex(hex, want, sizeof want, &len), 0);
	assert_int_equal(pin->seen_len, len);
	assert_memory_equal(pin->seen, want, len);
}

/* Status, error and the first two bytes of data of the answer. */
static void answered(unsigned status, unsigned error, unsigned sw) {
	assert_int_equal(buf[0] << 16 | buf[7] << 8 | buf[8], 0x800000 | status << 8 | error);
	if (!status)
		assert_int_equal(buf[10] << 8 | buf[11], sw);
}

/* What the templates make of a PIN, at short APDU level. */
static void templates(void **state) {
	static const struct {
		const char *fields; /* bmFormatString, bmPINBlockString, bmPINLengthFormat */
		const char *template, *keys, *apdu;
	} cases[] = {
		{ "82 08 00", "0020000108ffffffffffffffff", "1234 ok",
			"002000010831323334ffffffff" },
		{ "82 00 00", "00200001", "1234 ok", "002000010431323334" },
		{ "82 00 00", "0020000100", "12345 ok", "00200001053132333435" },
		{ "82 08 00", "0020000108", "1234 ok", "002000010831323334ffffffff" },
		{ "86 08 00", "0020000108ffffffffffffffff", "1234 ok",
			"0020000108ffffffff31323334" },
		{ "81 04 00", "0020000104ffffffff", "12345 ok", "002000010412345fff" },
		{ "80 04 00", "0020000104ffffffff", "123 ok", "0020000104010203ff" },
		/* format 2: 4 bits of length at bit 4, BCD from byte 1 */
		{ "89 47 04", "002000010820ffffffffffffff", "1234 ok",
			"0020000108241234ffffffffff" },
		/* the position in bits: 8 */
		{ "41 47 04", "002000010820ffffffffffffff", "9 clear 12 3 back 4 ok",
			"002000010823124fffffffffff" },
		{ "82 08 00", "0020000108ffffffffffffffff00", "1234 ok",
			"002000010831323334ffffffff00" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct host host;
		char hex[200];
		host_start(&host, "pinpad-short", "t1,pin=1234");
		assert_true(command(&host, "62000000", "") > 10);
		snprintf(hex, sizeof hex, "00 1e %s 0803 02 01 0904 00 000000 %s", cases[i].fields,
			cases[i].template);
		keys(&host, cases[i].keys);
		command(&host, "69000000", hex);
		assert_int_equal(buf[7], 0);
		card_saw(&host, cases[i].apdu);
		assert_int_equal(counter(&host, "violations"), 0);
		host_stop(&host);
	}
}

#define VERIFY "00 1e 82 08 00 0804 02 01 0904 00 "
#define ASCII8 "0020000108ffffffffffffffff"

/* The card's own part: the counter, and what the user's ways out are. */
static void user(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "pinpad-short", "t1");
	assert_true(command(&host, "62000000", "") > 10);
	keys(&host, "12345679 ok 12345678 ok");
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), 12);
	answered(0, 0, 0x63c2);
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), 12);
	answered(0, 0, 0x9000);
	keys(&host, "123 cancel");
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), 10);
	answered(0x40, 0xef, 0);
	keys(&host, "timeout");
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), 10);
	answered(0x40, 0xf0, 0);
	keys(&host, "123 ok");
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), 12);
	answered(0, 0, 0x6403);
	assert_int_equal(counter(&host, "card.0.apdus"), 2);
	/* nobody is there: bTimeOut, 30 s */
	keys(&host, "");
	assert_int_equal(command(&host, "69000000", VERIFY "000000" ASCII8), -EAGAIN);
	host.now += 28900000;
	assert_int_equal(receive(&host), -EAGAIN);
	host.now += 200000;
	assert_int_equal(receive(&host), 10);
	answered(0x40, 0xf0, 0);
	/* an entry that ends by itself: at its maximum, and at a timeout */
	keys(&host, "12345678 timeout");
	assert_int_equal(
		command(&host, "69000000", "00 1e 82 08 00 0808 01 00 0904 00 000000" ASCII8), 12);
	answered(0, 0, 0x9000);
	keys(&host, "12345678 timeout");
	assert_int_equal(
		command(&host, "69000000", "00 1e 82 08 00 0a04 04 ff 0904 00 000000" ASCII8), 12);
	answered(0, 0, 0x9000);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

static void modification(void **state) {
	(void)state;
	struct host host;
	static const char apdu[] = "0024000110ffffffffffffffffffffffffffffffff";
	char hex[300];
	host_start(&host, "pinpad-ext", "t1");
	assert_true(command(&host, "62000000", "") > 10);
	/* bNumberMessage and the bMsgIndex bytes that go with it */
	static const char *const numbers[] = { "00 0904 00", "01 0904 00 01", "02 0904 00 01",
		"03 0904 00 01 02", "ff 0904 00 01 02" };
	for (size_t i = 0; i < 5; i++) {
		snprintf(hex, sizeof hex, "01 1e 82 08 00 00 08 0804 03 02 %s 000000 %s",
			numbers[i], apdu);
		keys(&host, "12345678 ok 12345678 ok 12345678 ok");
		assert_int_equal(command(&host, "69000000", hex), 12);
		answered(0, 0, 0x9000);
		card_saw(&host, "0024000110 31323334353637383132333435363738");
	}
	assert_int_equal(counter(&host, "violations"), 0);
	keys(&host, "12345678 ok 4711 ok 4712 ok");
	command(&host, "69000000", hex);
	answered(0, 0, 0x6402);
	keys(&host, "12345678 ok 4711 ok 4711 ok");
	command(&host, "69000000", hex);
	answered(0, 0, 0x9000);
	assert_string_equal(reader_card_in(host.reader, 0)->pin.pin, "4711");
	/* bytes that should not be there, or should */
	snprintf(hex, sizeof hex, "01 1e 82 08 00 00 08 0804 03 02 00 0904 00 01 000000 %s", apdu);
	command(&host, "69000000", hex);
	assert_int_equal(buf[7], 0x40);
	snprintf(hex, sizeof hex, "01 1e 82 08 00 00 08 0804 03 02 03 0904 00 01 000000 %s", apdu);
	command(&host, "69000000", hex);
	assert_int_equal(buf[7], 0x40);
	snprintf(hex, sizeof hex, "01 1e 82 08 00 00 08 0804 03 02 04 0904 00 01 02 000000 %s",
		apdu);
	command(&host, "69000000", hex);
	answered(0x40, 10 + 11, 0);
	assert_int_equal(counter(&host, "violations"), 3);
	host_stop(&host);
	/* a product that wants all three */
	host_start(&host, "pinpad-gemalto", "A");
	power(&host, 0);
	snprintf(hex, sizeof hex, "01 1e 82 08 00 00 08 0804 03 02 00 0904 00 01 02 000000 %s",
		apdu);
	keys(&host, "12345678 ok 4711 ok 4711 ok");
	command(&host, "69000000", hex);
	answered(0, 0, 0x9000);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

/* T=1 TPDUs: blocks both ways, numbered by the host. */
static void blocks(void **state) {
	(void)state;
	struct host host;
	char order[] = "t1-wtx=9";
	host_start(&host, "pinpad-tpdu", "t1");
	power(&host, 1);
	keys(&host, "12345678 ok 12345678 ok");
	assert_int_equal(command(&host, "69000000", VERIFY "00000d" ASCII8), 16);
	assert_memory_equal(buf + 10, ((const uint8_t[]){ 0, 0, 2, 0x90, 0, 0x92 }), 6);
	card_saw(&host, "0020000108 3132333435363738");
	/* the card wants time: that is the answer, and the host's next block brings the rest */
	assert_int_equal(reader_fault(host.reader, order, host.now), 0);
	assert_int_equal(command(&host, "69000000", VERIFY "00400d" ASCII8), 15);
	assert_memory_equal(buf + 10, ((const uint8_t[]){ 0, 0xc3, 1, 9, 0xcb }), 5);
	assert_int_equal(command(&host, "6f090000", "00e30109eb"), 16);
	assert_int_equal(buf[11] << 8 | buf[13], 0x4090);
	assert_int_equal(counter(&host, "violations"), 0);
	/* nothing goes to the card: the number stays */
	keys(&host, "cancel 12345678 ok");
	assert_int_equal(command(&host, "69000000", VERIFY "00000d" ASCII8), 10);
	assert_int_equal(command(&host, "69000000", VERIFY "00000d" ASCII8), 16);
	assert_int_equal(counter(&host, "violations"), 0);
	keys(&host, "12345678 ok");
	command(&host, "69000000", VERIFY "00000d" ASCII8);
	assert_int_equal(counter(&host, "violations"), 1);
	host_stop(&host);
}

static void keyboard(void **state) {
	(void)state;
	struct host host;
	static const char verify[] = "00 1e 82 08 00 0804 02 00 0904 00 00000d" ASCII8;
	host_start(&host, "pinpad-keyboard", "t1");
	power(&host, 1);
	keys(&host, "ms=100 12345678 ok");
	submit(&host, "69000000", verify);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(receive(&host), -EAGAIN);
		host.now += 100000;
		assert_int_equal(receive(&host), 10);
		answered(0x80, 1, 0);
	}
	assert_int_equal(receive(&host), 16);
	assert_int_equal(counter(&host, "violations"), 0);
	/* too soon, a message where it wants none, and what it cannot do at all */
	keys(&host, "12345678 ok");
	command(&host, "69000000", "00 1e 82 08 00 0804 02 00 0904 00 00400d" ASCII8);
	host.now -= 900000;
	command(&host, "69000000", verify);
	assert_int_equal(counter(&host, "violations"), 1);
	command(&host, "69000000", VERIFY "00000d" ASCII8);
	answered(0x40, 10 + 8, 0);
	command(&host, "69000000", "01" VERIFY "00000d" ASCII8);
	answered(0x40, 0, 0);
	assert_int_equal(counter(&host, "violations"), 3);
	host_stop(&host);
}

static void wrong_structures(void **state) {
	static const struct {
		const char *hex;
		unsigned error;
	} cases[] = {
		{ "00 1e 82 08 00 0804 00 01 0904 00 000000" ASCII8, 10 + 7 },
		{ "00 1e 82 08 00 0804 08 01 0904 00 000000" ASCII8, 10 + 7 },
		{ "00 1e 82 08 00 0408 02 01 0904 00 000000" ASCII8, 10 + 5 },
		{ "00 1e 83 08 00 0804 02 01 0904 00 000000" ASCII8, 10 + 2 },
		{ "00 1e 82 08 20 0804 02 01 0904 00 000000" ASCII8, 10 + 4 },
		{ "00 1e 82 08 00 0804 02 02 0904 00 000000" ASCII8, 10 + 8 },
		{ "00 1e 82 08 00 0804 02 01 0904 00 01 000000" ASCII8, 10 + 12 },
		{ "00 1e 82 08 00 0804 02 01 0904 00 000000 002000", 1 },
		{ "02", 10 },
		{ "10", 10 },
	};
	(void)state;
	struct host host;
	host_start(&host, "pinpad-short", "t1");
	assert_true(command(&host, "62000000", "") > 10);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(command(&host, "69000000", cases[i].hex), 10);
		answered(0x40, cases[i].error, 0);
		assert_int_equal(counter(&host, "violations"), i < 8 ? i + 1 : 8);
	}
	command(&host, "69000100", VERIFY "000000" ASCII8);
	answered(0x40, 8, 0);
	host_stop(&host);
	/* without a PIN pad */
	host_start(&host, "generic-short-apdu", "t1");
	assert_true(command(&host, "62010000", "") > 10);
	command(&host, "69000000", VERIFY "000000" ASCII8);
	answered(0x40, 0, 0);
	assert_int_equal(counter(&host, "violations"), 1);
	host_stop(&host);
	/* PACE is an echo */
	host_start(&host, "pinpad-ext", "t1");
	assert_int_equal(command(&host, "69000000", "10"), 17);
	assert_memory_equal(buf + 10, ((const uint8_t[]){ 0, 0, 0, 0, 1, 0, 0xf0 }), 7);
	assert_int_equal(command(&host, "69000000", "20 02 00"), 18);
	assert_int_equal(buf[14] << 8 | buf[16], 0x0202);
	host_stop(&host);
}

static void escapes(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "pinpad-gemalto", "t1");
	assert_int_equal(command(&host, "6b000000", "02"), 10 + 12);
	assert_int_equal(buf[0] << 8 | buf[10], 0x8347);
	assert_int_equal(command(&host, "6b000000", "6a"), 10 + 21);
	assert_int_equal(command(&host, "6b000000", "b2a0004d4c20"), 10);
	assert_int_equal(buf[7], 1);
	assert_int_equal(command(&host, "6b000000", "0200"), 10);
	assert_int_equal(buf[7] << 8 | buf[8], 0x410a);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
	/* one that changes the level, until the reader is plugged in anew */
	char path[] = "/tmp/test-secure.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *file = fdopen(fd, "w");
	fputs("[device]\n[interface]\nfeatures=0x000100ba\nescape=1f02:@000204be\n"
	      "endpoint=bulk-out 01 64\nendpoint=bulk-in 82 64\n",
		file);
	fclose(file);
	host_start(&host, path, "t1");
	remove(path);
	assert_int_equal(command(&host, "6b000000", "1f02"), 10);
	assert_true(command(&host, "62000000", "") > 10);
	assert_int_equal(command(&host, "6f000000", "00cb0003"), 10 + 5);
	/* the commands that nobody sends */
	assert_int_equal(command(&host, "73000000", "a00f000080250000"), 18);
	assert_int_equal(buf[0] << 8 | buf[10], 0x84a0);
	assert_int_equal(command(&host, "6e010000", ""), 10);
	assert_int_equal(buf[0] << 8 | buf[9], 0x8101);
	assert_int_equal(command(&host, "6d000000", ""), 17);
	assert_int_equal(command(&host, "71010000", ""), 10);
	assert_int_equal(buf[7] << 8 | buf[8], 0x4000);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

/* PIN forms that the card understands, and its counters. */
static void card_forms(void **state) {
	static const struct {
		const char *apdu;
		unsigned sw;
	} steps[] = {
		{ "00200001", 0x63c3 },
		{ "0020000108 3132333435363738", 0x9000 },
		{ "00200001", 0x9000 },
		{ "002000010a 31323334353637380000", 0x9000 },
		{ "002000010a ffff3132333435363738", 0x9000 },
		{ "0020000108 0102030405060708", 0x9000 },
		{ "0020000108 12345678ffffffff", 0x9000 },
		{ "0020000108 2812345678ffffff", 0x9000 },
		{ "0020000108 2712345678ffffff", 0x63c2 },
		{ "0020000108 41ffffffffffffff", 0x63c1 },
		{ "0024000110 ffffffffffffffffffffffffffffffff", 0x63c0 },
		{ "0020000108 3132333435363738", 0x6983 },
		{ "002c010108 3837363534333231", 0x9000 },
		{ "0020000108 3132333435363738", 0x9000 },
		{ "0024010104 31313131", 0x9000 },
		{ "0020000104 31313131", 0x9000 },
	};
	(void)state;
	struct card *card = NULL;
	static struct card_reply reply;
	assert_int_equal(card_new("t1", &card), 0);
	card_power_on(card, 0, 0, &reply);
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		uint8_t apdu[300];
		size_t len;
		assert_int_equal(text_hex(steps[i].apdu, apdu, sizeof apdu, &len), 0);
		card_apdu(card, apdu, len, &reply);
		assert_int_equal(reply.len, 2);
		assert_int_equal(reply.data[0] << 8 | reply.data[1], steps[i].sw);
	}
	card_free(card);
	assert_int_equal(card_new("t1,pin=4x", &card), -EINVAL);
}

/* Whatever a host sends, the model stays in one piece (for sanitizers). */
static void noise(void **state) {
	static const char *const names[] = { "pinpad-short", "pinpad-ext", "pinpad-gemalto" };
	(void)state;
	uint32_t seed = 1;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct host host;
		host_start(&host, names[i], i < 2 ? "t1" : "A");
		assert_true(command(&host, "62000000", "") > 10);
		for (int n = 0; n < 20000; n++) {
			uint8_t m[80];
			for (size_t b = 0; b < sizeof m; b++) {
				seed = seed * 1664525 + 1013904223;
				m[b] = (uint8_t)(seed >> 24);
			}
			size_t len = 11 + m[79] % 60;
			const uint8_t head[11] = { 0x69, (uint8_t)(len - 10), 0, 0, 0, 0,
				++host.seq, 0, 0, 0, m[10] % 2 };
			memcpy(m, head, sizeof head);
			m[17] = (uint8_t)(m[17] % 7 + 1);
			m[20] = (uint8_t)(m[20] % 7 + 1);
			m[16] = 0;
			m[18] = m[18] % 2;
			if (len > 29)
				m[29] = (uint8_t)(len - 30);
			keys(&host, m[78] % 2 ? "123456 ok 123456 ok" : "12345678901234567890 ok");
			struct reader_urb urb = { .endpoint = 1, .data = m, .size = len };
			reader_submit(host.reader, &urb, host.now);
			host.now += 100000000;
			receive(&host);
		}
		assert_true(counter(&host, "card.0.apdus") > 10);
		host_stop(&host);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(templates), cmocka_unit_test(user),
		cmocka_unit_test(modification), cmocka_unit_test(blocks),
		cmocka_unit_test(keyboard), cmocka_unit_test(wrong_structures),
		cmocka_unit_test(escapes), cmocka_unit_test(card_forms), cmocka_unit_test(noise) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
