/* SPDX-License-Identifier: MIT */
/* Descriptors of readers as they are found in the field, and worse ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "tests/unit/descriptors.h"

static enum ccid_desc_result parse(const struct descriptors *d, struct ccid_desc *desc) {
	/* An exact copy on the heap: a sanitizer sees each byte read beyond. */
	uint8_t *bytes = test_malloc(d->len ? d->len : 1);
	memcpy(bytes, d->bytes, d->len);
	enum ccid_desc_result r = ccid_desc_parse(bytes, d->len, 1, 0, desc);
	test_free(bytes);
	return r;
}

static struct ccid_interface only(const struct descriptors *d) {
	struct ccid_desc desc;
	assert_int_equal(parse(d, &desc), CCID_DESC_OK);
	assert_int_equal(desc.n_interfaces, 1);
	return desc.interfaces[0];
}

/* With the class descriptor of 08E6:3437. */
static void ccid_1_all_fields(void **state) {
	(void)state;
	static const uint8_t class[54] = { 0x36, 0x21, 0x00, 0x01, 0x00, 0x07, 0x03, 0x00, 0x00,
		0x00, 0xA0, 0x0F, 0x00, 0x00, 0xA0, 0x0F, 0x00, 0x00, 0x00, 0x00, 0x2A, 0x00, 0x00,
		0x16, 0x40, 0x05, 0x00, 0x28, 0xFE, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x30, 0x02, 0x01, 0x00, 0x0F, 0x01, 0x00, 0x00, 0x00, 0x00, 0x11,
		0x04, 0x03, 0x01 };
	struct descriptors d;
	desc_reader(&d, class, 1);
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_OK);
	assert_int_equal(desc.vendor, 0x08e6);
	assert_int_equal(desc.product, 0x3437);
	assert_int_equal(desc.bcd_device, 0x1234);
	assert_int_equal(desc.manufacturer_name, 1);
	assert_int_equal(desc.product_name, 2);
	assert_int_equal(desc.serial_name, 3);
	assert_int_equal(desc.n_all_interfaces, 1);
	assert_int_equal(desc.configuration, 1);
	const struct ccid_interface *i = &desc.interfaces[0];
	assert_int_equal(i->name, 5);
	assert_int_equal(i->bulk_out.address, 0x01);
	assert_int_equal(i->bulk_in.address, 0x82);
	assert_int_equal(i->bulk_in.packet_size, 64);
	assert_int_equal(i->interrupt_in.address, 0x83);
	assert_int_equal(i->interrupt_in.packet_size, 8);
	assert_int_equal(i->bcd_ccid, 0x0100);
	assert_int_equal(i->n_slots, 1);
	assert_int_equal(i->n_busy, 1);
	assert_int_equal(i->voltages, 7);
	assert_int_equal(i->protocols, 3);
	assert_int_equal(i->default_khz, 4000);
	assert_int_equal(i->max_khz, 4000);
	assert_int_equal(i->default_rate, 10752);
	assert_int_equal(i->max_rate, 344086);
	assert_int_equal(i->n_rates, 40);
	assert_int_equal(i->max_ifsd, 254);
	assert_int_equal(i->features, 0x00010230);
	assert_int_equal(i->level, CCID_LEVEL_TPDU);
	assert_int_equal(i->message_length, 271);
	assert_int_equal(i->lcd_layout, 0x0411);
	assert_int_equal(i->pin_support, 3);
}

static void usual_class(uint8_t class[54]) {
	desc_class(class, CCID_FEATURE_TPDU, 271);
}

/* 0B97:7762. */
static void ccid_2_class_behind_last_endpoint(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 0x0b97, 0x7762);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_endpoints(&d, 0, 1);
	desc_add(&d, class, 54);
	assert_int_equal(only(&d).message_length, 271);
}

/* Foreign items before, behind and between. */
static void ccid_3_4_5_foreign_items_are_skipped(void **state) {
	(void)state;
	static const uint8_t nine[9] = { 9, 0x24, 1, 2, 3, 4, 5, 6, 7 };
	static const uint8_t association[8] = { 8, 0x0b, 1, 2, 3, 0, 0, 0 };
	static const uint8_t companion[6] = { 6, 0x30, 0, 0, 0, 0 };
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 2);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_add(&d, nine, sizeof(nine));
	desc_add(&d, class, 54);
	desc_add(&d, nine, sizeof(nine));
	desc_endpoint(&d, 0x01, 2, 64);
	desc_add(&d, companion, sizeof(companion));
	desc_endpoint(&d, 0x82, 2, 512);
	desc_add(&d, companion, sizeof(companion));
	desc_add(&d, association, sizeof(association));
	desc_interface(&d, 1, 0, 0x03, 0);
	assert_int_equal(only(&d).bulk_in.packet_size, 512);
}

/* Only where the device is known to be like that. */
static void ccid_6_7_vendor_class_only_if_known(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	class[1] = 0xff;
	struct descriptors d;
	desc_device(&d, 0x08e6, 0x2202);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0xff, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 0, 0);
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_NO_INTERFACE);
	assert_int_equal(
		ccid_desc_parse(d.bytes, d.len, 1, CCID_DESC_VENDOR_CLASS, &desc), CCID_DESC_OK);
	assert_int_equal(desc.interfaces[0].vendor_class, 1);
	d.bytes[18 + 9 + 9 + 1] = 0x24;
	assert_int_equal(ccid_desc_parse(d.bytes, d.len, 1, CCID_DESC_VENDOR_CLASS, &desc),
		CCID_DESC_NO_INTERFACE);
}

static void ccid_8_short_class_is_refused(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	class[0] = 53;
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_add(&d, class, 53);
	desc_endpoints(&d, 0, 0);
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_SHORT_CLASS);
	assert_int_equal(desc.n_interfaces, 0);
	assert_int_equal(desc.vendor, 1);
}

/* The item ends beyond the bytes that are there. */
static void ccid_9_class_beyond_the_end(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_endpoints(&d, 0, 0);
	desc_add(&d, class, 40);
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_NO_CLASS);
}

static void ccid_10_item_of_length_zero_ends_the_walk(void **state) {
	(void)state;
	static const uint8_t zero[4] = { 0, 0, 0, 0 };
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 0, 0);
	desc_add(&d, zero, sizeof(zero));
	desc_interface(&d, 1, 0, 0x0b, 0);
	assert_int_equal(only(&d).number, 0);
}

static void ccid_11_long_class_counts_with_54(void **state) {
	(void)state;
	uint8_t class[64] = { 0 };
	usual_class(class);
	class[0] = 64;
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_add(&d, class, 64);
	desc_endpoints(&d, 0, 0);
	assert_int_equal(only(&d).message_length, 271);
}

static enum ccid_desc_result with_endpoints(
	const uint8_t (*endpoints)[2], size_t n, uint8_t protocol, struct ccid_desc *desc) {
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x0b, protocol);
	desc_add(&d, class, 54);
	for (size_t i = 0; i < n; i++)
		desc_endpoint(&d, endpoints[i][0], endpoints[i][1], 64);
	return parse(&d, desc);
}

static void ccid_12_14_15_16_17_endpoints(void **state) {
	(void)state;
	static const uint8_t no_in[][2] = { { 0x01, 2 }, { 0x83, 3 } };
	static const uint8_t no_out[][2] = { { 0x81, 2 }, { 0x82, 2 } };
	static const uint8_t pair[][2] = { { 0x01, 2 }, { 0x82, 2 } };
	static const uint8_t three_bulk[][2] = { { 0x01, 2 }, { 0x82, 2 }, { 0x83, 2 } };
	static const uint8_t usage_bits[][2] = { { 0x01, 2 }, { 0x82, 2 }, { 0x83, 0x13 } };
	static const uint8_t interrupt_out[][2] = { { 0x01, 2 }, { 0x82, 2 }, { 0x03, 3 } };
	struct ccid_desc d;
	assert_int_equal(with_endpoints(no_in, 2, 0, &d), CCID_DESC_NO_ENDPOINTS);
	assert_int_equal(with_endpoints(no_out, 2, 0, &d), CCID_DESC_NO_ENDPOINTS);
	assert_int_equal(with_endpoints(pair, 2, 0, &d), CCID_DESC_OK);
	assert_int_equal(d.interfaces[0].interrupt_in.address, 0);
	assert_int_equal(with_endpoints(three_bulk, 3, 0, &d), CCID_DESC_OK);
	assert_int_equal(d.interfaces[0].bulk_in.address, 0x82);
	assert_int_equal(d.interfaces[0].interrupt_in.address, 0);
	assert_int_equal(with_endpoints(usage_bits, 3, 0, &d), CCID_DESC_OK);
	assert_int_equal(d.interfaces[0].interrupt_in.address, 0x83);
	assert_int_equal(with_endpoints(interrupt_out, 3, 0, &d), CCID_DESC_OK);
	assert_int_equal(d.interfaces[0].interrupt_in.address, 0);
	assert_int_equal(with_endpoints(usage_bits, 3, 1, &d), CCID_DESC_OK);
	assert_int_equal(d.interfaces[0].transport, CCID_BULK);
	assert_int_equal(with_endpoints(NULL, 0, 3, &d), CCID_DESC_NO_ENDPOINTS);
	assert_int_equal(with_endpoints(NULL, 0, 0, &d), CCID_DESC_NO_ENDPOINTS);
}

static struct ccid_interface with_byte(size_t at, uint8_t value, size_t at2, uint8_t value2) {
	uint8_t class[54];
	usual_class(class);
	class[at] = value;
	class[at2] = value2;
	struct descriptors d;
	desc_reader(&d, class, 1);
	return only(&d);
}

static void ccid_18_slots_and_busy_slots(void **state) {
	(void)state;
	assert_int_equal(with_byte(4, 7, 53, 8).n_slots, 8);
	assert_int_equal(with_byte(4, 7, 53, 8).n_busy, 8);
	assert_int_equal(with_byte(4, 1, 53, 5).n_busy, 1);
	assert_int_equal(with_byte(4, 0, 53, 0).n_busy, 1);
	assert_int_equal(with_byte(4, 255, 53, 0).n_slots, CCID_MAX_SLOTS);
	assert_int_equal(with_byte(4, 255, 53, 255).n_busy, 1);
}

static uint16_t ifsd(uint32_t value) {
	uint8_t class[54];
	usual_class(class);
	for (unsigned i = 0; i < 4; i++)
		class[28 + i] = (uint8_t)(value >> (8 * i));
	struct descriptors d;
	desc_reader(&d, class, 1);
	return only(&d).max_ifsd;
}

static void ccid_19_ifsd_is_clamped(void **state) {
	(void)state;
	assert_int_equal(ifsd(0), 32);
	assert_int_equal(ifsd(49), 49);
	assert_int_equal(ifsd(3062), 254);
	assert_int_equal(ifsd(16665), 254);
	assert_int_equal(ifsd(0xffffffff), 254);
}

static void ccid_20_message_lengths(void **state) {
	(void)state;
	uint8_t class[54];
	struct descriptors d;
	struct ccid_desc desc;
	desc_class(class, CCID_FEATURE_TPDU, 14);
	desc_reader(&d, class, 1);
	assert_int_equal(parse(&d, &desc), CCID_DESC_MESSAGE_LENGTH);
	desc_class(class, CCID_FEATURE_TPDU, 64);
	desc_reader(&d, class, 1);
	assert_int_equal(only(&d).message_length, 64);
	desc_class(class, CCID_FEATURE_TPDU, 0xffffffff);
	desc_reader(&d, class, 1);
	assert_int_equal(only(&d).message_length, 0xffffffff);
}

/* Also protocols that are announced in the wrong place. */
static void ccid_21_22_senseless_numbers_are_replaced(void **state) {
	(void)state;
	assert_int_equal(with_byte(5, 0, 5, 0).voltages, 1);
	assert_int_equal(with_byte(5, 0xf8, 5, 0xf8).voltages, 1);
	assert_int_equal(with_byte(6, 0, 7, 3).protocols, 3);
	assert_int_equal(with_byte(6, 1, 8, 2).protocols, 1);
	assert_int_equal(with_byte(10, 0, 11, 0).default_khz, 4000);
	assert_int_equal(with_byte(12, 0x0f, 12, 0x0f).default_khz, 4000);
}

/* The highest level counts, none is character level. */
static void levels(void **state) {
	(void)state;
	assert_int_equal(with_byte(42, 0x00, 42, 0).level, CCID_LEVEL_CHARACTER);
	assert_int_equal(with_byte(42, 0x01, 42, 1).level, CCID_LEVEL_TPDU);
	assert_int_equal(with_byte(42, 0x03, 42, 3).level, CCID_LEVEL_SHORT);
	assert_int_equal(with_byte(42, 0x07, 42, 7).level, CCID_LEVEL_EXTENDED);
}

/* Listed as 2, 1; an alternate setting and a repeated number do not count. */
static void ccid_23_several_interfaces_in_their_order(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 0x08e6, 0x5504);
	desc_configuration(&d, 1, 3);
	desc_interface(&d, 2, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 0, 1);
	desc_interface(&d, 2, 1, 0x0b, 0);
	desc_interface(&d, 0, 0, 0x03, 0);
	class[4] = 1;
	desc_interface(&d, 1, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 4, 0);
	desc_interface(&d, 2, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 8, 0);
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_OK);
	assert_int_equal(desc.n_interfaces, 2);
	assert_int_equal(desc.n_slots, 3);
	assert_int_equal(desc.interfaces[0].number, 2);
	assert_int_equal(desc.interfaces[1].number, 1);
	assert_int_equal(desc.interfaces[1].bulk_in.address, 0x86);
}

/* A broken sibling is left out, and does not hide the one that works. */
static void usable_interface_beside_a_broken_one(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 2);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_endpoints(&d, 0, 1);
	desc_interface(&d, 1, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 4, 1);
	assert_int_equal(only(&d).number, 1);
}

static void more_slots_than_there_is_room_for(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	class[4] = 19;
	class[53] = 20;
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 3);
	for (uint8_t i = 0; i < 3; i++) {
		desc_interface(&d, i, 0, 0x0b, 0);
		desc_add(&d, class, 54);
		desc_endpoints(&d, (uint8_t)(4 * i), 0);
	}
	struct ccid_desc desc;
	assert_int_equal(parse(&d, &desc), CCID_DESC_OK);
	assert_int_equal(desc.n_slots, CCID_MAX_SLOTS);
	assert_int_equal(desc.n_interfaces, 2);
	assert_int_equal(desc.interfaces[0].n_busy, 20);
	assert_int_equal(desc.interfaces[1].n_slots, 12);
	assert_int_equal(desc.interfaces[1].n_busy, 1);
}

static void the_active_configuration_counts(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, 0x08, 0);
	desc_configuration(&d, 2, 1);
	desc_interface(&d, 0, 0, 0x0b, 0);
	desc_add(&d, class, 54);
	desc_endpoints(&d, 0, 0);
	struct ccid_desc desc;
	assert_int_equal(ccid_desc_parse(d.bytes, d.len, 1, 0, &desc), CCID_DESC_NO_INTERFACE);
	assert_int_equal(ccid_desc_parse(d.bytes, d.len, 2, 0, &desc), CCID_DESC_OK);
	assert_int_equal(ccid_desc_parse(d.bytes, d.len, 3, 0, &desc), CCID_DESC_NO_CONFIGURATION);
	assert_int_equal(ccid_desc_parse(d.bytes, d.len, 0, 0, &desc), CCID_DESC_NO_INTERFACE);
	assert_int_equal(desc.configuration, 1);
}

/* Each begin of good descriptors, and each of them with one wrong byte: no crash, no over-read, and
 * never an interface without what it needs. */
static void any_bytes(void **state) {
	(void)state;
	uint8_t class[54];
	usual_class(class);
	struct descriptors good;
	desc_reader(&good, class, 1);
	struct ccid_desc desc;
	for (size_t len = 0; len <= good.len; len++) {
		struct descriptors d = good;
		d.len = len;
		(void)parse(&d, &desc);
		assert_true(len >= 18 || desc.n_interfaces == 0);
	}
	for (size_t at = 0; at < good.len; at++)
		for (unsigned value = 0; value < 256; value++) {
			struct descriptors d = good;
			d.bytes[at] = (uint8_t)value;
			if (parse(&d, &desc) != CCID_DESC_OK)
				continue;
			assert_true(desc.interfaces[0].bulk_in.packet_size > 0);
			assert_true(desc.interfaces[0].n_slots > 0 && desc.n_slots > 0);
			assert_true(desc.interfaces[0].default_khz > 0);
		}
	assert_int_equal(ccid_desc_parse(NULL, 0, 1, 0, &desc), CCID_DESC_TRUNCATED);
}

/* Tokens as they are in the field: class, endpoints, and what of their class descriptor differs. */
static const struct token {
	const char *what;
	uint8_t class, protocol, interrupt;
	uint8_t protocols, message_low, level_byte;
	enum ccid_transport transport;
	enum ccid_level level, exchange_level;
	uint32_t exchange_length;
} tokens[] = {
	{ "0A89:0060", 0x0b, 2, 0, 2, 5, 2, CCID_ICCD_B, CCID_LEVEL_SHORT, CCID_LEVEL_EXTENDED,
		261 },
	{ "1059:000C", 0x0b, 2, 1, 2, 0x18, 2, CCID_ICCD_B, CCID_LEVEL_SHORT, CCID_LEVEL_EXTENDED,
		280 },
	{ "1A74:6354", 0xff, 2, 0, 2, 5, 2, CCID_ICCD_B, CCID_LEVEL_SHORT, CCID_LEVEL_EXTENDED,
		261 },
	{ "04CC:5072", 0x0b, 2, 1, 1, 5, 0, CCID_ICCD_B, CCID_LEVEL_CHARACTER, CCID_LEVEL_CHARACTER,
		261 },
	{ "23A0:0002", 0x0b, 1, 0, 1, 0x0f, 0, CCID_ICCD_A, CCID_LEVEL_CHARACTER, CCID_LEVEL_TPDU,
		271 },
	{ "0973:0003", 0xff, 1, 0, 1, 0, 0, CCID_ICCD_A, CCID_LEVEL_CHARACTER, CCID_LEVEL_TPDU,
		270 },
};

static enum ccid_desc_result parse_token(
	const struct token *t, unsigned flags, struct ccid_desc *desc) {
	uint8_t class[54];
	desc_class(class, UINT32_C(0x840) | (uint32_t)t->level_byte << 16, 256u + t->message_low);
	class[6] = t->protocols;
	struct descriptors d;
	desc_device(&d, 1, 2);
	desc_configuration(&d, 1, 1);
	desc_interface(&d, 0, 0, t->class, t->protocol);
	desc_add(&d, class, 54);
	if (t->interrupt)
		desc_endpoint(&d, 0x81, 3, 8);
	return ccid_desc_parse(d.bytes, d.len, 1, flags, desc);
}

static void ccid_149_tokens(void **state) {
	(void)state;
	for (unsigned i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		const struct token *t = &tokens[i];
		struct ccid_desc d;
		print_message("%s\n", t->what);
		assert_int_equal(parse_token(t, CCID_DESC_VENDOR_CLASS, &d), CCID_DESC_OK);
		const struct ccid_interface *it = &d.interfaces[0];
		assert_int_equal(it->transport, t->transport);
		assert_int_equal(it->level, t->level);
		assert_int_equal(it->features & 0xffff, 0x840);
		assert_int_equal(it->interrupt_in.address, t->interrupt ? 0x81 : 0);
		assert_int_equal(ccid_desc_exchange_level(it), t->exchange_level);
		assert_int_equal(ccid_desc_exchange_length(it), t->exchange_length);
		/* Whole APDUs look the same for both protocols. */
		assert_int_equal(it->protocols, t->level == CCID_LEVEL_SHORT ? 3 : 1);
		if (t->class == 0xff)
			assert_int_equal(parse_token(t, 0, &d), CCID_DESC_NO_INTERFACE);
	}
}

/* A token has one slot, and nothing to be asked for, whatever its descriptor says. */
static void ccid_149_tokens_that_promise_more(void **state) {
	(void)state;
	uint8_t class[54];
	struct descriptors d;
	desc_class(class, 0x4047f, 0xffffffff);
	class[4] = 7;
	class[5] = 7;
	class[18] = 9;
	class[27] = 40;
	class[52] = 3;
	class[53] = 8;
	for (uint8_t protocol = 1; protocol <= 2; protocol++) {
		desc_device(&d, 1, 2);
		desc_configuration(&d, 1, 1);
		desc_interface(&d, 3, 0, 0x0b, protocol);
		desc_add(&d, class, 54);
		desc_endpoint(&d, 0x01, 2, 64); /* half of a pair is none */
		struct ccid_interface it = only(&d);
		assert_int_equal(it.number, 3);
		assert_int_equal(it.bulk_out.address, 0);
		assert_int_equal(it.n_slots, 1);
		assert_int_equal(it.n_busy, 1);
		assert_int_equal(it.voltages, 1);
		assert_int_equal(it.n_rates, 0);
		assert_int_equal(it.n_clocks, 0);
		assert_int_equal(it.pin_support, 0);
		assert_int_equal(it.features & 0x840, 0x840);
		if (it.transport == CCID_ICCD_B)
			assert_int_equal(ccid_desc_exchange_length(&it), 4106);
	}
}

static void every_result_has_a_text(void **state) {
	(void)state;
	for (int r = CCID_DESC_OK; r <= CCID_DESC_MESSAGE_LENGTH; r++)
		assert_string_not_equal(ccid_desc_text((enum ccid_desc_result)r), "unknown defect");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_1_all_fields),
		cmocka_unit_test(ccid_2_class_behind_last_endpoint),
		cmocka_unit_test(ccid_3_4_5_foreign_items_are_skipped),
		cmocka_unit_test(ccid_6_7_vendor_class_only_if_known),
		cmocka_unit_test(ccid_8_short_class_is_refused),
		cmocka_unit_test(ccid_9_class_beyond_the_end),
		cmocka_unit_test(ccid_10_item_of_length_zero_ends_the_walk),
		cmocka_unit_test(ccid_11_long_class_counts_with_54),
		cmocka_unit_test(ccid_12_14_15_16_17_endpoints),
		cmocka_unit_test(ccid_18_slots_and_busy_slots),
		cmocka_unit_test(ccid_19_ifsd_is_clamped),
		cmocka_unit_test(ccid_20_message_lengths),
		cmocka_unit_test(ccid_21_22_senseless_numbers_are_replaced),
		cmocka_unit_test(levels),
		cmocka_unit_test(ccid_23_several_interfaces_in_their_order),
		cmocka_unit_test(usable_interface_beside_a_broken_one),
		cmocka_unit_test(more_slots_than_there_is_room_for),
		cmocka_unit_test(the_active_configuration_counts),
		cmocka_unit_test(any_bytes),
		cmocka_unit_test(ccid_149_tokens),
		cmocka_unit_test(ccid_149_tokens_that_promise_more),
		cmocka_unit_test(every_result_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
