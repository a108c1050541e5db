/* SPDX-License-Identifier: MIT */
/* What the words of a device's row do to the CCID driver: each with and without the word. */
#include <errno.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "tests/unit/driver-bench.h"

/* TA1 = 96h: 32 × 4000 kHz / 512 = 250000 bit/s (ISO/IEC 7816-3 tables 7 and 8). */
static const uint8_t fast[] = { 0x3B, 0x90, 0x96, 0x80, 0x01, 0x87 };

static const uint32_t any_speed =
	CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_CLOCK;

static struct bench *powered(const char *words, uint32_t features, const uint8_t *atr, size_t len) {
	struct bench *b = bench_new(features, 271);
	b->config.quirks = words;
	if (len)
		bench_set_atr(b, atr, len);
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	return b;
}

/* The reader gets a second slot, or a second interface without interrupt endpoint. */
static void add_slot(struct bench *b) {
	b->descriptors.bytes[18 + 9 + 9 + 4] = 1;
	b->descriptors.bytes[18 + 9 + 9 + 53] = 1;
}

static void add_interface(struct bench *b) {
	uint8_t class[54];
	desc_class(class, CCID_FEATURE_TPDU, 271);
	b->descriptors.bytes[18 + 4] = 2;
	desc_interface(&b->descriptors, 1, 0, 0x0b, 0);
	desc_add(&b->descriptors, class, 54);
	desc_endpoints(&b->descriptors, 4, 0);
	b->fake->n_descriptors = b->descriptors.len;
}

/* ---- what the device is ---- */

static void vendor_class(void **state) {
	(void)state;
	for (int known = 0; known < 2; known++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->descriptors.bytes[18 + 9 + 5] = 0xff;
		b->config.quirks = known ? "vendor-class" : "no-pps";
		bench_start(b);
		assert_true(fake_run(b->event, known ? &b->ready : &b->troubles, 4500));
		assert_int_equal(b->ready, known);
		bench_free(b);
	}
}

static void min_firmware(void **state) {
	(void)state;
	static const struct {
		const char *words;
		int advices;
	} cases[] = { { "min-firmware=1235", 1 }, { "min-firmware=1234", 0 }, { "", 0 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		char text[1024];
		b->config.quirks = cases[i].words;
		bench_start_ready(b);
		assert_int_equal(b->advices, cases[i].advices);
		assert_true(driver_ccid.describe(b->driver, 0, text, sizeof(text)) > 0);
		assert_int_equal(strstr(text, "advice=firmware 12.34 is older than 12.35") != NULL,
			cases[i].advices);
		/* Once: not again when the reader was lost and is there again. */
		b->ready = i > 0;
		if (i == 0)
			ccid_lost(b->driver, -EPROTO);
		assert_true(fake_run(b->event, &b->ready, 4500));
		assert_int_equal(b->advices, cases[i].advices);
		bench_free(b);
	}
}

/* ---- speed and blocks ---- */

static void no_pps(void **state) {
	(void)state;
	struct bench *b = powered("no-pps", any_speed, fast, sizeof(fast));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 0);
	assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], 0x11);
	bench_free(b);
	b = powered("", any_speed, fast, sizeof(fast));
	assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 1);
	bench_free(b);
}

static void max_rate(void **state) {
	(void)state;
	static const struct {
		const char *words;
		uint8_t speed;
	} cases[] = { { "max-rate=249999", 0x95 }, { "max-rate=250000", 0x96 },
		{ "max-rate=9600", 0x11 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = powered(cases[i].words, any_speed, fast, sizeof(fast));
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		assert_int_equal(bench_last_sent(b, CCID_SET_PARAMETERS)[10], cases[i].speed);
		bench_free(b);
	}
}

/* 250000 bit/s is none of the four speeds, 43011 (TA1 = 13h) is. */
static void slow_slots(void **state) {
	(void)state;
	static const uint8_t known_speed[] = { 0x3B, 0x90, 0x13, 0x80, 0x01, 0x02 };
	static const struct {
		const char *words;
		const uint8_t *atr;
		uint8_t speed[2];
	} cases[] = {
		{ "slow-slots", fast, { 0x96, 0x11 } },
		{ "slow-slots", known_speed, { 0x13, 0x13 } },
		{ "", fast, { 0x96, 0x96 } },
	};
	for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		struct bench *b = bench_new(any_speed, 271);
		b->config.quirks = cases[n].words;
		add_slot(b);
		for (unsigned i = 0; i < 2; i++) {
			memcpy(b->cards[i].atr, cases[n].atr, sizeof(fast));
			b->cards[i].atr_len = sizeof(fast);
		}
		bench_start_ready(b);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(bench_power(b, i, DRIVER_COLD), STATUS_OK);
			assert_int_equal(bench_protocol(b, i, PROTOCOL_T0), STATUS_OK);
			assert_int_equal(
				bench_last_sent(b, CCID_SET_PARAMETERS)[10], cases[n].speed[i]);
		}
		bench_free(b);
	}
}

/* S(IFS request) is what is sent last, or nothing is sent after the parameters. */
static void block_size(void **state) {
	(void)state;
	static const struct {
		const char *words;
		uint8_t ifsd; /* asked for; 0: nothing is */
	} cases[] = { { "", 254 }, { "ifsd=48", 48 }, { "no-ifsd", 0 }, { "auto-ifsd", 0 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = powered(cases[i].words, CCID_FEATURE_TPDU, NULL, 0);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T1), STATUS_OK);
		assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), cases[i].ifsd ? 2 : 1);
		const uint8_t *m = bench_last_sent(b, CCID_XFR_BLOCK);
		uint8_t ask[4] = { 0x00, 0xC1, 0x01, cases[i].ifsd };
		if (cases[i].ifsd)
			assert_memory_equal(m + 10, ask, 4);
		else
			assert_int_equal(m[10], 0xFF);
		bench_free(b);
	}
}

/* A card at character level: a procedure byte, then as many bytes as are asked for. */
static void give_characters(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	uint8_t a[10 + 256] = { 0x80, 0, 0, 0, 0, m[5], m[6], 0, 0, 0,
		(uint8_t)(len > 11 ? m[11] : 0) };
	assert_int_equal(m[0], CCID_XFR_BLOCK);
	a[1] = len > 10 ? 1 : m[8];
	if (len == 10 && m[8] > 2)
		memcpy(a + 10 + m[8] - 2, (uint8_t[]){ 0x90, 0x00 }, 2);
	fake_usb_send(fake, (uint8_t)(endpoint + 0x81), a, 10u + a[1]);
}

static void no_full_packets(void **state) {
	(void)state;
	static const uint8_t apdu[] = { 0x00, 0xB0, 0x00, 0x00, 52 };
	struct driver_bytes bytes = { apdu, sizeof(apdu) };
	for (int split = 0; split < 2; split++) {
		struct bench *b = powered(split ? "no-full-packets" : "", 0, NULL, 0);
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_OK);
		b->fake->on_message = give_characters;
		unsigned n = bench_n_sent(b, CCID_XFR_BLOCK);
		driver_ccid.transmit(b->driver, 0, PROTOCOL_T0, &bytes, bench_done, b);
		assert_int_equal(bench_wait_done(b, 4500), STATUS_OK);
		assert_int_equal(b->result.len, 54);
		/* 54 bytes and the header are a full packet. */
		assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK) - n, split ? 3 : 2);
		bench_free(b);
	}
}

static void reset_parameters(void **state) {
	(void)state;
	static const uint8_t t1_first[] = { 0x3B, 0x80, 0x01, 0x81 };
	for (int known = 0; known < 2; known++) {
		struct bench *b = powered(known ? "reset-parameters" : "",
			CCID_FEATURE_TPDU | CCID_FEATURE_AUTO_IFSD, t1_first, sizeof(t1_first));
		b->parameters_fail = 1;
		b->parameters_error = 0xFB;
		unsigned n = bench_n_sent(b, CCID_POWER_ON), off = bench_n_sent(b, CCID_POWER_OFF);
		enum status status = bench_protocol(b, 0, PROTOCOL_T1);
		assert_int_equal(status == STATUS_OK, known);
		if (known) {
			assert_int_equal(bench_n_sent(b, CCID_POWER_ON) - n, 2);
			assert_int_equal(bench_n_sent(b, CCID_POWER_OFF) - off, 1);
			assert_int_equal(bench_n_sent(b, CCID_SET_PARAMETERS), 1);
			assert_int_equal(b->result.protocol, PROTOCOL_T1);
		}
		bench_free(b);
		/* T=0 knows no such mercy. */
		b = powered(known ? "reset-parameters" : "", CCID_FEATURE_TPDU, NULL, 0);
		b->parameters_fail = 1;
		b->parameters_error = 0xFB;
		assert_int_equal(bench_protocol(b, 0, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
		bench_free(b);
	}
}

/* ---- power and presence ---- */

static void power_off_first(void **state) {
	(void)state;
	for (unsigned known = 0; known < 2; known++) {
		struct bench *b =
			powered(known ? "power-off-first" : "", CCID_FEATURE_TPDU, NULL, 0);
		assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), known);
		bench_free(b);
	}
}

static void poll_beside_the_bell(void **state) {
	(void)state;
	for (int known = 0; known < 2; known++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->config.quirks = known ? "poll" : "";
		bench_start_ready(b);
		driver_ccid.watch(b->driver, 0, 1);
		fake_run_for(b->event, 50);
		b->cards[0].icc = ABSENT;
		fake_run_for(b->event, 700);
		assert_int_equal(b->present[0], !known);
		bench_free(b);
	}
}

/* The second interface, which sees nothing, has a card when the first one has. */
static void mirror_presence(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "mirror-presence";
	add_interface(b);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	assert_int_equal(b->presences, 2);
	assert_int_equal(b->present[1], 0);
	b->cards[0].icc = INACTIVE;
	b->cards[1].icc = INACTIVE;
	bench_ring(b, BYTES(0x50, 0x03));
	assert_int_equal(b->present[0], 1);
	assert_int_equal(b->present[1], 1);
	/* Powered off before each power-up; the first one's is not. */
	assert_int_equal(bench_power(b, 1, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_OFF), 1);
	assert_int_equal(bench_protocol(b, 1, PROTOCOL_T0), STATUS_OK);
	/* It is not asked again and again, although it has power. */
	unsigned n = bench_n_sent(b, CCID_GET_SLOT_STATUS);
	driver_ccid.watch(b->driver, 1, 1);
	fake_run_for(b->event, 700);
	assert_true(bench_n_sent(b, CCID_GET_SLOT_STATUS) <= n + 1);
	assert_int_equal(b->swapped[1], 0);
	b->cards[0].icc = ABSENT;
	bench_ring(b, BYTES(0x50, 0x02));
	assert_int_equal(b->present[0], 0);
	assert_int_equal(b->present[1], 0);
	assert_int_equal(bench_transmit(b, 1, PROTOCOL_T0), STATUS_NO_CARD);
	bench_free(b);

	b = bench_new(CCID_FEATURE_TPDU, 271);
	add_interface(b);
	b->cards[0].icc = ABSENT;
	bench_start_ready(b);
	assert_int_equal(b->present[1], 1);
	bench_free(b);
}

/* ---- time ---- */

static void times(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "open-delay=400 base-timeout=70000 extra-timeout=300000";
	bench_start(b);
	fake_run_for(b->event, 250);
	assert_int_equal(b->ready, 0);
	assert_int_equal(b->fake->n_sent, 0);
	assert_true(fake_run(b->event, &b->ready, 4500));
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(b->driver->slots[0].command.timeout_usec, 70000000);
	uint64_t usec = ccid_card_timeout(&b->driver->slots[0], PROTOCOL_T0);
	bench_free(b);
	b = powered("", CCID_FEATURE_TPDU, NULL, 0);
	assert_int_equal(b->driver->slots[0].command.timeout_usec, CCID_POWER_ON_USEC);
	assert_int_equal(usec - ccid_card_timeout(&b->driver->slots[0], PROTOCOL_T0), 300000000);
	bench_free(b);
}

/* ---- commands and recovery ---- */

static void parallel(void **state) {
	(void)state;
	for (unsigned known = 0; known < 2; known++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->config.quirks = known ? "parallel" : "";
		add_interface(b);
		bench_start_ready(b);
		b->n_ignore = 2;
		driver_ccid.power_on(b->driver, 0, DRIVER_COLD, bench_done, b);
		driver_ccid.power_on(b->driver, 1, DRIVER_COLD, bench_done, b);
		fake_run_for(b->event, 50);
		assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1 + known);
		bench_free(b);
	}
}

/* ABORT (CCID 1.10 5.3.1), kept for the test to see. */
static int on_class_request(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len) {
	struct bench *b = fake->userdata;
	(void)data, (void)len;
	b->known[0] = setup->request_type;
	b->known[1] = setup->request;
	return 0;
}

/* A command that is not answered within 3 s. */
static void abort_request(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
	b->config.quirks = "abort";
	b->fake->on_control = on_class_request;
	bench_start_ready(b);
	b->n_ignore = 1;
	driver_ccid.power_off(b->driver, 0, bench_done, b);
	fake_run_for(b->event, 3200);
	assert_memory_equal(b->known, ((uint8_t[]){ 0x21, 1 }), 2);
	bench_free(b);
}

static void reset_of_the_port(void **state) {
	(void)state;
	for (unsigned known = 0; known < 2; known++) {
		struct bench *b = bench_new(CCID_FEATURE_TPDU, 271);
		b->config.quirks = known ? "reset" : "";
		bench_start_ready(b);
		b->ready = 0;
		ccid_lost(b->driver, -EPROTO);
		b->driver->n_failed = 3; /* as after as many tries */
		assert_true(fake_run(b->event, &b->ready, 4500));
		assert_int_equal(b->fake->n_resets, known);
		bench_free(b);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vendor_class),
		cmocka_unit_test(min_firmware),
		cmocka_unit_test(no_pps),
		cmocka_unit_test(max_rate),
		cmocka_unit_test(slow_slots),
		cmocka_unit_test(block_size),
		cmocka_unit_test(no_full_packets),
		cmocka_unit_test(reset_parameters),
		cmocka_unit_test(power_off_first),
		cmocka_unit_test(poll_beside_the_bell),
		cmocka_unit_test(mirror_presence),
		cmocka_unit_test(times),
		cmocka_unit_test(parallel),
		cmocka_unit_test(abort_request),
		cmocka_unit_test(reset_of_the_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
