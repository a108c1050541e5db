/* SPDX-License-Identifier: MIT */
/*
 * Models the attributes of a reader (PC/SC part 3): from the descriptors, and from what is in force
 * between reader and card, without I/O. Numbers have 4 bytes and the host's order, whatever a
 * program's DWORD is.
 */
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "ifdhandler/usb/usb_path.h"

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
	ATTR_CURRENT_EXTENSION = 0x0008020c,
	ATTR_ICC_TYPE = 0x00090304,
	CHANNEL_USB = 0x0020,
};

static enum status give(uint8_t *buf, size_t *ret_len, uint32_t value) {
	memcpy(buf, &value, sizeof(value));
	*ret_len = sizeof(value);
	return STATUS_OK;
}

static enum status give_byte(uint8_t *buf, size_t *ret_len, uint8_t value) {
	buf[0] = value;
	*ret_len = 1;
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
	return give(buf, ret_len, id);
}

/* What a T=1 card and its reader have agreed upon. */
static enum status get_current_t1(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	const struct exchange *x = &slot->exchange;
	int here = x->config.level == CCID_LEVEL_TPDU || x->config.level == CCID_LEVEL_CHARACTER;
	switch (tag) {
	case ATTR_CURRENT_IFSC: return give(buf, ret_len, here ? x->t1.ifsc : slot->atr.ifsc);
	case ATTR_CURRENT_IFSD:
		return give(buf, ret_len, here ? x->t1.max_ifsd : slot->interface->max_ifsd);
	case ATTR_CURRENT_BWI: return give(buf, ret_len, slot->atr.bwi);
	case ATTR_CURRENT_CWI: return give(buf, ret_len, slot->atr.cwi);
	case ATTR_CURRENT_EDC: return give(buf, ret_len, slot->atr.crc != 0);
	/* An extension of the waiting time is for one block only: at rest there is none. */
	case ATTR_CURRENT_EXTENSION: return give(buf, ret_len, 1);
	default: return STATUS_UNSUPPORTED;
	}
}

static enum status get_current(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	if (slot->protocol == PROTOCOL_NONE)
		return STATUS_UNSUPPORTED;
	switch (tag) {
	case ATTR_CURRENT_PROTOCOL: return give(buf, ret_len, slot->protocol);
	case ATTR_CURRENT_CLOCK: return give(buf, ret_len, slot->interface->default_khz);
	case ATTR_CURRENT_F: return give(buf, ret_len, atr_fi(slot->plan.speed));
	case ATTR_CURRENT_D: return give(buf, ret_len, atr_di(slot->plan.speed));
	case ATTR_CURRENT_N: return give(buf, ret_len, slot->atr.extra_guard);
	case ATTR_CURRENT_W:
		if (slot->protocol != PROTOCOL_T0)
			return STATUS_UNSUPPORTED;
		return give(buf, ret_len, slot->atr.wi);
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
		return give(buf, ret_len, (uint32_t)slot->driver->desc.bcd_device << 16);
	case ATTR_PROTOCOLS: return give(buf, ret_len, i->protocols);
	case ATTR_DEFAULT_CLOCK: return give(buf, ret_len, i->default_khz);
	case ATTR_MAX_CLOCK: return give(buf, ret_len, i->max_khz);
	case ATTR_DEFAULT_RATE: return give(buf, ret_len, i->default_rate);
	case ATTR_MAX_RATE: return give(buf, ret_len, i->max_rate);
	case ATTR_MAX_IFSD: return give(buf, ret_len, i->max_ifsd);
	case ATTR_SYNC_PROTOCOLS:
	case ATTR_POWER_MANAGEMENT:
	case ATTR_CHARACTERISTICS: return give(buf, ret_len, 0);
	case ATTR_MAX_INPUT: return give(buf, ret_len, i->message_length - CCID_MSG_HEADER);
	case ATTR_ICC_TYPE: return give_byte(buf, ret_len, slot->atr_usable ? 1 : 0);
	default: return STATUS_UNSUPPORTED;
	}
}

enum status ccid_get_attrib(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	const struct driver_config *config = slot->driver->config;
	switch (tag) {
	case ATTR_VENDOR_NAME: return give_text(buf, ret_len, config->manufacturer);
	case ATTR_IFD_TYPE: return give_text(buf, ret_len, config->product);
	case ATTR_SERIAL: return give_text(buf, ret_len, config->serial);
	case ATTR_CHANNEL_ID: return give_channel(slot, buf, ret_len);
	default: break;
	}
	if (tag >> 8 == ATTR_CURRENT_PROTOCOL >> 8)
		return get_current(slot, tag, buf, ret_len);
	return get_announced(slot, tag, buf, ret_len);
}
