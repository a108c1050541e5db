/* SPDX-License-Identifier: MIT */
/*
 * Tests of the emulated readers themselves, without any transport: what other tests stand on.
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
static uint8_t buf[70000];

/* A reader with a host around it. */
struct host {
	struct model *model;
	struct reader *reader;
	uint64_t now;
	uint8_t seq;
	uint8_t out, in;
};

static void host_start(struct host *host, const char *model, const char *card) {
	*host = (struct host){ .now = 1, .out = 0x01, .in = 0x82 };
	assert_int_equal(model_load(MODEL_DIR, model, 0, &host->model), 0);
	assert_int_equal(reader_new(host->model, &host->reader), 0);
	struct card *c = NULL;
	if (card)
		assert_int_equal(card_new(card, &c), 0);
	if (c)
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

static int send_message(struct host *host, const uint8_t *head, const uint8_t *data, size_t len) {
	static uint8_t message[70000];
	const uint8_t header[10] = { head[0], (uint8_t)len, (uint8_t)(len >> 8),
		(uint8_t)(len >> 16), 0, head[1], ++host->seq, head[2], head[3], head[4] };
	memcpy(message, header, 10);
	if (len)
		memcpy(message + 10, data, len);
	struct reader_urb urb = { .endpoint = host->out, .data = message, .size = 10 + len };
	return reader_submit(host->reader, &urb, host->now);
}

/* Reads into buf: the length, or READER_PENDING and the like as negative numbers. */
static int receive(struct host *host, size_t size) {
	struct reader_urb urb = { .endpoint = host->in, .data = buf, .size = size };
	int r = reader_submit(host->reader, &urb, host->now);
	return r == READER_PENDING ? -EAGAIN : r ? r : (int)urb.actual;
}

/* Type, slot, 3 parameters; data in hex. The answer's length. */
static int command(struct host *host, const char *head, const char *hex) {
	uint8_t h[5], data[600];
	size_t n, len;
	assert_int_equal(text_hex(head, h, sizeof h, &n), 0);
	assert_int_equal(text_hex(hex, data, sizeof data, &len), 0);
	assert_int_equal(send_message(host, h, data, len), 0);
	return receive(host, sizeof buf / 64 * 64);
}

static void fault(struct host *host, const char *text) {
	char copy[128];
	strcpy(copy, text);
	assert_int_equal(reader_fault(host->reader, copy, host->now), 0);
}

static void reader_basics(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "generic-ext-apdu", NULL);
	assert_int_equal(command(&host, "6500000000", ""), 10);
	assert_int_equal(buf[7], 2);
	struct card *card = NULL;
	assert_int_equal(card_new("t1", &card), 0);
	assert_int_equal(reader_card(host.reader, 0, card, host.now), 0);
	uint8_t change[8];
	struct reader_urb urb = { .endpoint = 0x83, .data = change, .size = sizeof change };
	assert_int_equal(reader_submit(host.reader, &urb, host.now), 0);
	assert_int_equal(urb.actual, 2);
	assert_int_equal(change[1], 3);
	assert_int_equal(command(&host, "6200000000", ""), 21);
	assert_int_equal(command(&host, "6f00000000", "00cb0100"), 10 + 258);
	assert_int_equal(buf[10 + 255], 255 % 251);
	assert_int_equal(counter(&host, "violations"), 0);
	/* not without power, and not twice with the same number */
	command(&host, "6300000000", "");
	host.seq--;
	command(&host, "6f00000000", "00a40400");
	assert_int_equal(buf[7], 0x41);
	assert_int_equal(counter(&host, "violations"), 2);
	host_stop(&host);
}

static void reader_tpdu(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "generic-tpdu", "t1");
	/* the host names the voltage */
	command(&host, "6200000000", "");
	assert_int_equal(buf[7] << 8 | buf[8], 0x4107);
	assert_int_equal(counter(&host, "violations"), 1);
	assert_int_equal(command(&host, "6200010000", ""), 21);
	assert_int_equal(command(&host, "6f00000000", "ff1113fd"), 14);
	/* the reader does not know yet of the card's new rate */
	command(&host, "6f00000000", "00c101fe3e");
	assert_int_equal(buf[7] << 8 | buf[8], 0x40fe);
	assert_int_equal(counter(&host, "violations"), 2);
	assert_int_equal(command(&host, "6100010000", "13100045002000"), 17);
	assert_int_equal(command(&host, "6f00000000", "00c101fe3e"), 15);
	assert_int_equal(command(&host, "6f00000000", "000005 00a4040000 a5"), 16);
	/* another slot's number */
	command(&host, "6501000000", "");
	assert_int_equal(buf[8], 5);
	assert_int_equal(counter(&host, "violations"), 3);
	host_stop(&host);
}

static void reader_auto_pps(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "generic-tpdu-autopps", "t1");
	command(&host, "6200000000", "");
	assert_int_equal(command(&host, "6100010000", "13100045002000"), 17);
	assert_int_equal(command(&host, "6f00000000", "000005 00a4040000 a5"), 16);
	assert_int_equal(counter(&host, "card.0.pps"), 1);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
	host_start(&host, "generic-tpdu-autopps", "t1,pps=silent");
	command(&host, "6200000000", "");
	command(&host, "6100010000", "13100045002000");
	assert_int_equal(buf[7] << 8 | buf[8], 0x40fe);
	host_stop(&host);
}

static void reader_chaining(void **state) {
	(void)state;
	struct host host;
	uint8_t apdu[261] = { 0x00, 0xec, 0, 0, 255 };
	static const uint8_t levels[5] = { 1, 3, 3, 3, 2 };
	host_start(&host, "ext-apdu-64", "t1");
	command(&host, "6200010000", "");
	for (size_t i = 0; i < 5; i++) {
		const uint8_t head[5] = { 0x6f, 0, 0, levels[i], 0 };
		size_t n = i < 4 ? 54 : 261 - 4 * 54;
		assert_int_equal(send_message(&host, head, apdu + i * 54, n), 0);
		int len = receive(&host, 128);
		assert_int_equal(buf[9], i < 4 ? 0x10 : 0x01);
		assert_int_equal(len, i < 4 ? 10 : 64);
	}
	for (int i = 0; i < 4; i++)
		command(&host, "6f00001000", "");
	assert_int_equal(buf[9], 2);
	assert_int_equal(counter(&host, "violations"), 0);
	assert_int_equal(counter(&host, "card.0.apdus"), 1);
	command(&host, "6f00000300", "00");
	assert_int_equal(buf[8], 8);
	assert_int_equal(counter(&host, "violations"), 1);
	host_stop(&host);
}

static void reader_packets(void **state) {
	(void)state;
	struct host host;
	/* an answer of 64 bytes: 10 + 52 + 2 */
	static const struct {
		const char *model;
		int first_128, then, first_64, after;
	} cases[] = { { "generic-ext-apdu", 64, -EAGAIN, 64, -EAGAIN },
		{ "zlp-always", 64, -EAGAIN, 64, 0 },
		{ "zlp-never", -EAGAIN, -EAGAIN, 64, -EAGAIN } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		host_start(&host, cases[i].model, "t1");
		command(&host, "6200000000", "");
		assert_int_equal(send_message(&host, (const uint8_t[]){ 0x6f, 0, 0, 0, 0 },
					 (const uint8_t[]){ 0, 0xcb, 0, 52 }, 4),
			0);
		assert_int_equal(receive(&host, 128), cases[i].first_128);
		assert_int_equal(receive(&host, 128), cases[i].then);
		send_message(&host, (const uint8_t[]){ 0x6f, 0, 0, 0, 0 },
			(const uint8_t[]){ 0, 0xcb, 0, 52 }, 4);
		assert_int_equal(receive(&host, 64), cases[i].first_64);
		assert_int_equal(receive(&host, 64), cases[i].after);
		/* too small for a packet */
		send_message(&host, (const uint8_t[]){ 0x6f, 0, 0, 0, 0 },
			(const uint8_t[]){ 0, 0xcb, 0, 52 }, 4);
		assert_int_equal(receive(&host, 10), -EOVERFLOW);
		host_stop(&host);
	}
	/* two packets with a pause stay one transfer */
	host_start(&host, "generic-ext-apdu", "t1");
	command(&host, "6200000000", "");
	fault(&host, "split=64:200 on=6f");
	send_message(&host, (const uint8_t[]){ 0x6f, 0, 0, 0, 0 },
		(const uint8_t[]){ 0, 0xcb, 0, 60 }, 4);
	struct reader_urb urb = { .endpoint = 0x82, .data = buf, .size = 1024 };
	assert_int_equal(reader_submit(host.reader, &urb, host.now), READER_PENDING);
	assert_int_equal(urb.actual, 64);
	assert_int_equal(reader_due(host.reader, host.now), host.now + 200000);
	host.now += 200000;
	assert_int_equal(reader_submit(host.reader, &urb, host.now), 0);
	assert_int_equal(urb.actual, 72);
	host_stop(&host);
}

static void reader_time(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "generic-ext-apdu", "t1");
	command(&host, "6200000000", "");
	assert_int_equal(command(&host, "6f00000000", "00ed0002"), 10);
	assert_int_equal(buf[7] << 8 | buf[8], 0x8001);
	assert_int_equal(receive(&host, 64), -EAGAIN);
	host.now += CARD_TICK_US;
	assert_int_equal(receive(&host, 64), 10);
	host.now += CARD_TICK_US;
	assert_int_equal(receive(&host, 64), 12);
	/* endless, until something else is ordered */
	fault(&host, "extend=0");
	assert_int_equal(command(&host, "6f00000000", "00a40400"), 10);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(receive(&host, 64), -EAGAIN);
		host.now += CARD_TICK_US;
		assert_int_equal(receive(&host, 64), 10);
		assert_int_equal(buf[7], 0x80);
	}
	assert_int_equal(command(&host, "6500000000", ""), 10);
	assert_int_equal(buf[7], 0);
	assert_int_equal(counter(&host, "overlaps"), 1);
	host.now += 10 * CARD_TICK_US;
	assert_int_equal(receive(&host, 64), -EAGAIN);
	/* a card that hangs, and is pulled out */
	assert_int_equal(command(&host, "6f00000000", "00ee0000"), -EAGAIN);
	assert_int_equal(reader_card(host.reader, 0, NULL, host.now), 0);
	assert_int_equal(receive(&host, 64), 10);
	assert_int_equal(buf[7] << 8 | buf[8], 0x42fe);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

static void reader_faults(void **state) {
	(void)state;
	struct host host;
	static const struct {
		const char *fault;
		int len;
		size_t offset;
		int byte;
	} cases[] = { { "seq", 12, 6, -1 }, { "seq=7f", 12, 6, 0x7f }, { "slot=ff", 12, 5, 0xff },
		{ "type=82", 12, 0, 0x82 }, { "status=c0", 12, 7, 0xc0 }, { "error=1", 12, 8, 1 },
		{ "chain=1", 12, 9, 1 }, { "length=ffffffff", 12, 4, 0xff },
		{ "refuse=f2", 10, 8, 0xf2 }, { "drop", -EAGAIN, 0, -1 },
		{ "deaf", -EAGAIN, 0, -1 }, { "late=5", -EAGAIN, 0, -1 }, { "cut=9", 9, 0, 0x80 },
		{ "empty", 10, 1, 0 }, { "pad=4", 16, 15, 0 }, { "surplus=4", 16, 15, 0xa5 },
		{ "glue", 24, 12, 0x80 }, { "garbage=7", 7, 0, 0xc7 }, { "zlp", 0, 0, -1 },
		{ "stale", 12, 6, -1 }, { "twin", 12, 0, 0x80 }, { "split=5", 5, 0, 0x80 },
		{ "error-in", -EPROTO, 0, -1 }, { "overflow", -EOVERFLOW, 0, -1 },
		{ "stall-in", -EPIPE, 0, -1 } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[64];
		host_start(&host, "generic-ext-apdu", "t1");
		command(&host, "6200000000", "");
		snprintf(text, sizeof text, "%s on=6f skip=1", cases[i].fault);
		fault(&host, text);
		assert_int_equal(command(&host, "6f00000000", "00a40400"), 12);
		memset(buf, 0x77, 64);
		assert_int_equal(command(&host, "6f00000000", "00a40400"), cases[i].len);
		if (cases[i].byte >= 0)
			assert_int_equal(buf[cases[i].offset], cases[i].byte);
		/* over: what is left goes, and the next command is all right */
		reader_clear_halt(host.reader, 0x82);
		host.now += 10000;
		while (receive(&host, 128) >= 0)
			continue;
		assert_int_equal(command(&host, "6f00000000", "00a40400"), 12);
		assert_int_equal(buf[6], host.seq);
		host_stop(&host);
	}
}

static void reader_out_faults(void **state) {
	(void)state;
	struct host host;
	uint8_t message[14] = { 0x6f, 4, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0xa4, 4, 0 };
	struct reader_urb urb = { .endpoint = 1, .data = message, .size = sizeof message };
	host_start(&host, "generic-ext-apdu", "t1");
	command(&host, "6200000000", "");
	fault(&host, "stall-out");
	assert_int_equal(reader_submit(host.reader, &urb, host.now), -EPIPE);
	assert_int_equal(reader_submit(host.reader, &urb, host.now), -EPIPE);
	reader_clear_halt(host.reader, 1);
	fault(&host, "nak-out");
	assert_int_equal(reader_submit(host.reader, &urb, host.now), READER_PENDING);
	assert_int_equal(urb.actual, 7);
	assert_int_equal(reader_submit(host.reader, &urb, host.now), READER_PENDING);
	reader_clear_halt(host.reader, 1);
	assert_int_equal(reader_submit(host.reader, &urb, host.now), 0);
	assert_int_equal(receive(&host, 64), 12);
	fault(&host, "vanish=3 on=6f");
	assert_int_equal(reader_vanishes(host.reader), UINT64_MAX);
	message[6]++;
	assert_int_equal(reader_submit(host.reader, &urb, host.now), 0);
	assert_int_equal(receive(&host, 64), -EAGAIN);
	assert_int_equal(reader_vanishes(host.reader), host.now + 3000);
	host_stop(&host);
}

static void reader_abort(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "generic-ext-apdu", "t1");
	command(&host, "6200000000", "");
	assert_int_equal(command(&host, "6f00000000", "00ee0000"), -EAGAIN);
	const uint8_t setup[8] = { 0x21, 1, 0, (uint8_t)(host.seq + 1), 0, 0, 0, 0 };
	assert_int_equal(reader_control(host.reader, setup, NULL, 0, host.now), 0);
	assert_int_equal(command(&host, "7200000000", ""), 10);
	assert_int_equal(buf[0] << 8 | buf[7], 0x8100);
	assert_int_equal(command(&host, "6f00000000", "00a40400"), 12);
	host_stop(&host);
}

static void reader_slots(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "eight-slots", NULL);
	for (unsigned s = 0; s < 8; s++) {
		struct card *card = NULL;
		assert_int_equal(card_new("A", &card), 0);
		assert_int_equal(reader_card(host.reader, s, card, host.now), 0);
	}
	uint8_t change[8];
	struct reader_urb urb = { .endpoint = 0x83, .data = change, .size = sizeof change };
	assert_int_equal(reader_submit(host.reader, &urb, host.now), 0);
	assert_int_equal(urb.actual, 3);
	assert_int_equal(change[1] << 8 | change[2], 0xffff);
	command(&host, "6203000000", "");
	command(&host, "6207000000", "");
	assert_int_equal(buf[5], 7);
	/* answers in the order in which they are ready */
	send_message(&host, (const uint8_t[]){ 0x6f, 3, 0, 0, 0 },
		(const uint8_t[]){ 0, 0xeb, 0, 50, 0 }, 5);
	send_message(&host, (const uint8_t[]){ 0x6f, 7, 0, 0, 0 },
		(const uint8_t[]){ 0, 0xeb, 0, 20, 0 }, 5);
	host.now += 100000;
	assert_int_equal(receive(&host, 64), 12);
	assert_int_equal(buf[5], 7);
	assert_int_equal(receive(&host, 64), 12);
	assert_int_equal(buf[5], 3);
	assert_int_equal(counter(&host, "violations"), 0);
	host_stop(&host);
}

/* All models load and have the descriptors that they should. */
static void models(void **state) {
	static const char *const names[] = { "behind-endpoints", "character", "cut-descriptor",
		"eight-slots", "ext-apdu-64", "ext-apdu-chaining", "gempc-433", "gempc-twin",
		"generic-ext-apdu", "generic-short-apdu", "generic-tpdu", "generic-tpdu-autopps",
		"lying-descriptor", "low-packets", "no-bulk-in", "not-a-reader", "scr3310",
		"short-class-descriptor", "tpdu-auto-parameters", "tpdu-no-interrupt",
		"two-interfaces", "two-slots", "vendor-54", "zlp-always", "zlp-never" };
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct host host;
		host_start(&host, names[i], NULL);
		const uint8_t *d = host.model->descriptors;
		size_t len = host.model->descriptors_len;
		assert_int_equal(d[0], 18);
		assert_int_equal(d[20] | d[21] << 8, len - 18);
		host_stop(&host);
	}
}

static void character_level(void **state) {
	(void)state;
	struct host host;
	host_start(&host, "character", "A");
	command(&host, "6200010000", "");
	assert_int_equal(command(&host, "6f00000100", "00a4040002"), 11);
	assert_int_equal(buf[10], 0xa4);
	assert_int_equal(command(&host, "6f00000200", "3f00"), 12);
	assert_int_equal(buf[10], 0x90);
	assert_int_equal(command(&host, "6f00000100", "00cb000404"), 11);
	assert_int_equal(buf[10], 0xcb);
	assert_int_equal(command(&host, "6f00000600", ""), 16);
	assert_int_equal(buf[13], 3);
	host_stop(&host);
	host_start(&host, "character", "C");
	command(&host, "6200010000", "");
	assert_int_equal(command(&host, "6100010000", "11100045002000"), 17);
	assert_int_equal(command(&host, "6f00000300", "00c101fe3e"), 13);
	assert_int_equal(buf[11], 0xe1);
	assert_int_equal(command(&host, "6f00000200", ""), 12);
	assert_int_equal(buf[11], 0x1e);
	host_stop(&host);
}

/* Whatever a host sends, the model stays in one piece (for sanitizers). */
static void noise(void **state) {
	static const char *const names[] = { "generic-ext-apdu", "generic-tpdu", "ext-apdu-64",
		"character", "two-interfaces", "lying-descriptor" };
	(void)state;
	uint32_t seed = 1;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct host host;
		host_start(&host, names[i], "t1");
		for (int n = 0; n < 3000; n++) {
			uint8_t message[100];
			for (size_t b = 0; b < sizeof message; b++) {
				seed = seed * 1664525 + 1013904223;
				message[b] = (uint8_t)(seed >> 24);
			}
			size_t len = message[99] % 80;
			message[0] = (uint8_t)(0x61 + message[0] % 20);
			if (len > 10 && message[98] % 4) {
				message[1] = (uint8_t)(len - 10);
				message[2] = message[3] = message[4] = message[5] = 0;
				message[8] &= 0x13;
				message[9] = 0;
			}
			struct reader_urb urb = {
				.endpoint = host.out, .data = message, .size = len
			};
			reader_submit(host.reader, &urb, host.now);
			host.now += message[97] * 1000u;
			receive(&host, 1 + message[96] * 4u);
			reader_control(host.reader, message + 80, buf, 64, host.now);
			reader_clear_halt(host.reader, host.out);
		}
		host_stop(&host);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(reader_basics),
		cmocka_unit_test(reader_tpdu), cmocka_unit_test(reader_auto_pps),
		cmocka_unit_test(reader_chaining), cmocka_unit_test(reader_packets),
		cmocka_unit_test(reader_time), cmocka_unit_test(reader_faults),
		cmocka_unit_test(reader_out_faults), cmocka_unit_test(reader_abort),
		cmocka_unit_test(reader_slots), cmocka_unit_test(models),
		cmocka_unit_test(character_level), cmocka_unit_test(noise) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
