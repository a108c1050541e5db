/* SPDX-License-Identifier: MIT */
/*
 * Models what programs ask of the reader itself: control codes (PC/SC part 10), attributes (part
 * 3), and the lines that people see in its status. All of it comes from the descriptors and from
 * what is in force, without I/O, except vendor commands: those can load firmware, so they go
 * through only where the administrator has allowed them for this device. PIN entry at the reader is
 * not offered, and its codes are refused.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "ifdhandler/usb/usb_path.h"
#include "wire/bytes.h"

/* SCARD_CTL_CODE(n) is 42000000h + n; 42330000h + tag is how features are called. */
enum {
	CODE_ESCAPE = 0x42000001,
	CODE_GET_FEATURES = 0x42000d48,
	CODE_GET_FEATURES_WINDOWS = 0x00313520, /* the same, as remote desktops pass it on */
	CODE_USB_PATH = 0x42000e11,
	CODE_GET_TLV = 0x42330012,
};

/* PC/SC part 10 2.2 and 2.6.14. */
enum { FEATURE_GET_TLV_PROPERTIES = 0x12, FEATURE_CCID_ESC_COMMAND = 0x13 };
enum {
	TLV_LCD_LAYOUT = 1,
	TLV_TIMEOUT2 = 3,
	TLV_LCD_MAX_CHARACTERS = 4,
	TLV_LCD_MAX_LINES = 5,
	TLV_PPDU_SUPPORT = 9,
	TLV_MAX_APDU_DATA = 0x0a,
	TLV_VENDOR = 0x0b,
	TLV_PRODUCT = 0x0c,
};

/* PC/SC part 3, 3.1.4: attributes, (class << 16 | tag). */
enum {
	ATTR_VENDOR_NAME = 0x00010100,
	ATTR_IFD_TYPE = 0x00010101,
	ATTR_IFD_VERSION = 0x00010102,
	ATTR_SERIAL = 0x00010103,
	ATTR_CHANNEL_ID = 0x00020110,
	ATTR_PROTOCOLS = 0x00030120,
	ATTR_DEFAULT_CLOCK = 0x00030121,
	ATTR_MAX_CLOCK = 0x00030122,
	ATTR_DEFAULT_RATE = 0x00030123,
	ATTR_MAX_RATE = 0x00030124,
	ATTR_MAX_IFSD = 0x00030125,
	ATTR_SYNC_PROTOCOLS = 0x00030126,
	ATTR_POWER_MANAGEMENT = 0x00040131,
	ATTR_CHARACTERISTICS = 0x00060150,
	ATTR_MAX_INPUT = 0x0007a007,
	ATTR_CURRENT_PROTOCOL = 0x00080201,
	ATTR_CURRENT_CLOCK = 0x00080202,
	ATTR_CURRENT_F = 0x00080203,
	ATTR_CURRENT_D = 0x00080204,
	ATTR_CURRENT_N = 0x00080205,
	ATTR_CURRENT_W = 0x00080206,
	ATTR_CURRENT_IFSC = 0x00080207,
	ATTR_CURRENT_IFSD = 0x00080208,
	ATTR_CURRENT_BWI = 0x00080209,
	ATTR_CURRENT_CWI = 0x0008020a,
	ATTR_CURRENT_EDC = 0x0008020b,
	ATTR_ICC_TYPE = 0x00090304,
	CHANNEL_USB = 0x0020,
};

/* ---- control codes ---- */

/* Tag, length 4, code in big-endian order (part 10 2.2). */
static void put_feature(struct bytes_writer *w, uint8_t tag, uint32_t code) {
	bytes_put_u8(w, tag);
	bytes_put_u8(w, 4);
	for (unsigned i = 0; i < 4; i++)
		bytes_put_u8(w, (uint8_t)(code >> (24 - 8 * i)));
}

static void put_features(struct bytes_writer *w, const struct ccid_slot *slot) {
	put_feature(w, FEATURE_GET_TLV_PROPERTIES, CODE_GET_TLV);
	if (quirk_has(&slot->driver->quirks, QUIRK_ESCAPE))
		put_feature(w, FEATURE_CCID_ESC_COMMAND, CODE_ESCAPE);
}

static void put_tlv(struct bytes_writer *w, uint8_t tag, uint32_t value, uint8_t size) {
	bytes_put_u8(w, tag);
	bytes_put_u8(w, size);
	bytes_put(w, value, size);
}

/* 0: only what a short APDU holds. */
static uint32_t max_apdu_data(const struct ccid_slot *slot) {
	switch (slot->interface->level) {
	case CCID_LEVEL_EXTENDED: return 0x10000;
	case CCID_LEVEL_SHORT: return 0;
	default: return slot->protocol == PROTOCOL_T0 ? 0 : 0x10000;
	}
}

static void put_properties(struct bytes_writer *w, const struct ccid_slot *slot) {
	const struct ccid_interface *i = slot->interface;
	const struct ccid_desc *desc = &slot->driver->desc;
	put_tlv(w, TLV_LCD_LAYOUT, i->lcd_layout, 2);
	if (i->lcd_layout) {
		put_tlv(w, TLV_LCD_MAX_CHARACTERS, i->lcd_layout & 0xff, 2);
		put_tlv(w, TLV_LCD_MAX_LINES, i->lcd_layout >> 8, 2);
	}
	put_tlv(w, TLV_TIMEOUT2, 0, 1);
	put_tlv(w, TLV_PPDU_SUPPORT, quirk_has(&slot->driver->quirks, QUIRK_ESCAPE) ? 1 : 0, 1);
	put_tlv(w, TLV_VENDOR, desc->vendor, 2);
	put_tlv(w, TLV_PRODUCT, desc->product, 2);
	put_tlv(w, TLV_MAX_APDU_DATA, max_apdu_data(slot), 4);
}

enum status ccid_known(const struct ccid_slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	struct bytes_writer w = bytes_writer(buf, DRIVER_MAX_ATTRIB);
	int len;
	switch (code) {
	case CODE_GET_FEATURES:
	case CODE_GET_FEATURES_WINDOWS: put_features(&w, slot); break;
	case CODE_GET_TLV: put_properties(&w, slot); break;
	case CODE_USB_PATH:
		len = usb_path_describe(slot->driver->config->node,
			slot->driver->desc.configuration, slot->interface->number, (char *)buf,
			DRIVER_MAX_ATTRIB);
		if (len < 0)
			return STATUS_UNSUPPORTED;
		*ret_len = (size_t)len + 1; /* programs expect the NUL */
		return STATUS_OK;
	case CODE_ESCAPE: return STATUS_STARTING;
	default: return STATUS_UNSUPPORTED;
	}
	*ret_len = bytes_written(&w);
	return STATUS_OK;
}

static void on_escape(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply)
		ccid_slot_fail(slot, ccid_status_of_error(slot, error));
	else if (reply->outcome != CCID_DONE)
		ccid_slot_fail(slot,
			reply->error == CCID_ERROR_UNSUPPORTED ? STATUS_UNSUPPORTED
							       : STATUS_EXCHANGE_FAILED);
	else
		ccid_slot_end(
			slot, &(struct driver_result){ .data = reply->data, .len = reply->len });
}

static void escape(struct ccid_slot *slot, const struct driver_bytes *in) {
	if (!quirk_has(&slot->driver->quirks, QUIRK_ESCAPE)) {
		ccid_slot_fail(slot, STATUS_UNSUPPORTED);
		return;
	}
	if (in->len > slot->interface->message_length - CCID_MSG_HEADER) {
		ccid_slot_fail(slot, STATUS_TOO_LONG);
		return;
	}
	struct ccid_request request = ccid_msg_escape(in->data, in->len);
	ccid_slot_ask(slot, &request, CCID_ESCAPE_USEC, on_escape);
}

void ccid_control(struct ccid_slot *slot, uint32_t code, const struct driver_bytes *in) {
	if (code == CODE_ESCAPE)
		escape(slot, in);
	else
		ccid_slot_fail(slot, STATUS_UNSUPPORTED);
}

/* ---- attributes ---- */

static enum status give(uint8_t *buf, size_t *ret_len, uint32_t value, size_t size) {
	struct bytes_writer w = bytes_writer(buf, DRIVER_MAX_ATTRIB);
	bytes_put(&w, value, size);
	*ret_len = size;
	return STATUS_OK;
}

static enum status give_text(uint8_t *buf, size_t *ret_len, const char *text) {
	if (!text || !*text)
		return STATUS_UNSUPPORTED;
	size_t len = strnlen(text, DRIVER_MAX_ATTRIB - 1);
	memcpy(buf, text, len);
	buf[len] = '\0';
	*ret_len = len + 1;
	return STATUS_OK;
}

/* 20h for USB, bus and address. */
static enum status give_channel(const struct ccid_slot *slot, uint8_t *buf, size_t *ret_len) {
	unsigned bus, address;
	if (!usb_path_numbers(slot->driver->config->node, &bus, &address))
		return STATUS_UNSUPPORTED;
	uint32_t id = (uint32_t)CHANNEL_USB << 16 | (bus & 0xff) << 8 | (address & 0xff);
	return give(buf, ret_len, id, 4);
}

/* What a T=1 card and its reader have agreed upon. */
static enum status get_current_t1(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	const struct exchange *x = &slot->exchange;
	int here = x->config.level == CCID_LEVEL_TPDU || x->config.level == CCID_LEVEL_CHARACTER;
	switch (tag) {
	case ATTR_CURRENT_IFSC: return give(buf, ret_len, here ? x->t1.ifsc : slot->atr.ifsc, 4);
	case ATTR_CURRENT_IFSD:
		return give(buf, ret_len, here ? x->t1.max_ifsd : slot->interface->max_ifsd, 4);
	case ATTR_CURRENT_BWI: return give(buf, ret_len, slot->atr.bwi, 4);
	case ATTR_CURRENT_CWI: return give(buf, ret_len, slot->atr.cwi, 4);
	case ATTR_CURRENT_EDC: return give(buf, ret_len, slot->atr.crc != 0, 4);
	default: return STATUS_UNSUPPORTED;
	}
}

static enum status get_current(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	if (slot->protocol == PROTOCOL_NONE)
		return STATUS_UNSUPPORTED;
	switch (tag) {
	case ATTR_CURRENT_PROTOCOL: return give(buf, ret_len, slot->protocol, 4);
	case ATTR_CURRENT_CLOCK: return give(buf, ret_len, slot->interface->default_khz, 4);
	case ATTR_CURRENT_F: return give(buf, ret_len, atr_fi(slot->plan.speed), 4);
	case ATTR_CURRENT_D: return give(buf, ret_len, atr_di(slot->plan.speed), 4);
	case ATTR_CURRENT_N: return give(buf, ret_len, slot->atr.extra_guard, 4);
	case ATTR_CURRENT_W:
		if (slot->protocol != PROTOCOL_T0)
			return STATUS_UNSUPPORTED;
		return give(buf, ret_len, slot->atr.wi, 4);
	default:
		if (slot->protocol != PROTOCOL_T1)
			return STATUS_UNSUPPORTED;
		return get_current_t1(slot, tag, buf, ret_len);
	}
}

/* A table of what the descriptors say. */
static enum status get_announced(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	const struct ccid_interface *i = slot->interface;
	switch (tag) {
	case ATTR_IFD_VERSION:
		return give(buf, ret_len, (uint32_t)slot->driver->desc.bcd_device << 16, 4);
	case ATTR_PROTOCOLS: return give(buf, ret_len, i->protocols, 4);
	case ATTR_DEFAULT_CLOCK: return give(buf, ret_len, i->default_khz, 4);
	case ATTR_MAX_CLOCK: return give(buf, ret_len, i->max_khz, 4);
	case ATTR_DEFAULT_RATE: return give(buf, ret_len, i->default_rate, 4);
	case ATTR_MAX_RATE: return give(buf, ret_len, i->max_rate, 4);
	case ATTR_MAX_IFSD: return give(buf, ret_len, i->max_ifsd, 4);
	case ATTR_SYNC_PROTOCOLS:
	case ATTR_POWER_MANAGEMENT:
	case ATTR_CHARACTERISTICS: return give(buf, ret_len, 0, 4);
	case ATTR_MAX_INPUT: return give(buf, ret_len, i->message_length - CCID_MSG_HEADER, 4);
	case ATTR_ICC_TYPE: return give(buf, ret_len, slot->atr_usable ? 1 : 0, 1);
	default: return STATUS_UNSUPPORTED;
	}
}

enum status ccid_get_attrib(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	const struct driver_config *config = slot->driver->config;
	switch (tag) {
	case ATTR_VENDOR_NAME: return give_text(buf, ret_len, config->manufacturer);
	case ATTR_IFD_TYPE: return give_text(buf, ret_len, config->name);
	case ATTR_SERIAL: return give_text(buf, ret_len, config->serial);
	case ATTR_CHANNEL_ID: return give_channel(slot, buf, ret_len);
	default: break;
	}
	if (tag >> 8 == ATTR_CURRENT_PROTOCOL >> 8)
		return get_current(slot, tag, buf, ret_len);
	return get_announced(slot, tag, buf, ret_len);
}

/* ---- status ---- */

struct text {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void line(struct text *t, const char *format, ...) {
	va_list args;
	va_start(args, format);
	int n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < t->size - t->len)
		t->len += (size_t)n;
	else
		t->buf[t->len] = '\0'; /* whole lines only */
}

static void describe_card(const struct ccid_slot *slot, struct text *t) {
	if (slot->powered && slot->voltage)
		line(t, "voltage=%s\n",
			slot->voltage == 1           ? "5 V"
				: slot->voltage == 2 ? "3 V"
						     : "1.8 V");
	if (slot->protocol == PROTOCOL_NONE)
		return;
	line(t, "protocol=T=%u\n", slot->protocol == PROTOCOL_T1);
	line(t, "speed=%u bit/s\n", atr_rate(slot->plan.speed, slot->interface->default_khz));
}

size_t ccid_describe(const struct ccid_slot *slot, char *buf, size_t size) {
	const struct driver *driver = slot->driver;
	const struct ccid_interface *i = slot->interface;
	struct text t = { .buf = buf, .size = size };
	char quirks[256];
	buf[0] = '\0';
	line(&t, "usb-id=%04x:%04x\n", driver->desc.vendor, driver->desc.product);
	line(&t, "firmware=%x.%02x\n", driver->desc.bcd_device >> 8,
		driver->desc.bcd_device & 0xff);
	line(&t, "interface=%u\n", i->number);
	line(&t, "exchange-level=%s\n", ccid_desc_level_name(i->level));
	line(&t, "features=%08x\n", i->features);
	line(&t, "message-length=%u\n", i->message_length);
	line(&t, "max-ifsd=%u\n", i->max_ifsd);
	line(&t, "max-speed=%u bit/s\n", i->max_rate);
	line(&t, "presence=%s\n",
		driver->bells[i - driver->desc.interfaces].polled ? "polled" : "interrupt");
	if (quirk_describe(&driver->quirks, quirks, sizeof(quirks)))
		line(&t, "quirks=%s\n", quirks);
	if (driver->quirks.unknown[0])
		line(&t, "unknown-quirk=%s\n", driver->quirks.unknown);
	describe_card(slot, &t);
	return t.len;
}
