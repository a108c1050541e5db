/* SPDX-License-Identifier: MIT */
/* Models what programs are told about display, keys and limits of the reader (PC/SC part 10 2.5.5,
 * 2.6.14): from the descriptors, and where those are silent, from what is known of the product. */
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "wire/bytes.h"

/* PC/SC part 10 2.6.14 */
enum {
	TLV_LCD_LAYOUT = 1,
	TLV_VALIDATION = 2,
	TLV_TIMEOUT2 = 3,
	TLV_LCD_MAX_CHARACTERS = 4,
	TLV_LCD_MAX_LINES = 5,
	TLV_MIN_PIN = 6,
	TLV_MAX_PIN = 7,
	TLV_FIRMWARE = 8,
	TLV_PPDU_SUPPORT = 9,
	TLV_MAX_APDU_DATA = 0x0a,
	TLV_VENDOR = 0x0b,
	TLV_PRODUCT = 0x0c,
	PPDU_BY_ESCAPE = 1,
	PPDU_BY_TRANSMIT = 2,
	VALIDATION_ANY = 7, /* full, key, time */
};

static void put(struct bytes_writer *w, uint8_t tag, uint32_t value, uint8_t size) {
	bytes_put_u8(w, tag);
	bytes_put_u8(w, size);
	bytes_put(w, value, size);
}

/* Conditions that end an entry; 0 where nothing special is known. */
static uint8_t validation(const struct driver *driver) {
	if (driver->told.has_features)
		return driver->told.features[CCID_TOLD_VALIDATION];
	return (uint8_t)driver->quirks.pin_validation;
}

static void put_pin_pad(const struct driver *driver, struct bytes_writer *w) {
	const struct ccid_told *told = &driver->told;
	uint8_t max = told->has_features ? told->features[CCID_TOLD_MAX_PIN]
					 : (uint8_t)driver->quirks.pin_max;
	uint8_t min = told->has_features ? told->features[CCID_TOLD_MIN_PIN]
					 : (uint8_t)driver->quirks.pin_min;
	if (max) {
		put(w, TLV_MIN_PIN, min, 1);
		put(w, TLV_MAX_PIN, max, 1);
	}
	if (validation(driver))
		put(w, TLV_VALIDATION, validation(driver), 1);
}

static uint8_t ppdu_support(const struct driver *driver) {
	const struct ccid_told *told = &driver->told;
	uint8_t support = quirk_has(&driver->quirks, QUIRK_ESCAPE) ? PPDU_BY_ESCAPE : 0;
	if (told->has_features &&
		(told->features[CCID_TOLD_ABILITIES] & CCID_TOLD_PPDU_BY_TRANSMIT))
		support |= PPDU_BY_TRANSMIT;
	return support;
}

/* 0: only what a short APDU holds. */
static uint32_t max_apdu_data(const struct ccid_slot *slot) {
	switch (slot->interface->level) {
	case CCID_LEVEL_EXTENDED: return 0x10000;
	case CCID_LEVEL_SHORT: return 0;
	default: return slot->protocol == PROTOCOL_T0 ? 0 : 0x10000;
	}
}

void ccid_property_put_tlv(const struct ccid_slot *slot, struct bytes_writer *w) {
	const struct ccid_interface *i = slot->interface;
	const struct driver *driver = slot->driver;
	size_t len = strlen(driver->told.firmware);
	put(w, TLV_LCD_LAYOUT, i->lcd_layout, 2);
	if (i->lcd_layout) {
		put(w, TLV_LCD_MAX_CHARACTERS, i->lcd_layout & 0xff, 2);
		put(w, TLV_LCD_MAX_LINES, i->lcd_layout >> 8, 2);
	}
	put(w, TLV_TIMEOUT2, 0, 1);
	if (len) {
		bytes_put_u8(w, TLV_FIRMWARE);
		bytes_put_u8(w, (uint8_t)len);
		bytes_put_data(w, driver->told.firmware, len);
	}
	if (ccid_secure_support(slot))
		put_pin_pad(driver, w);
	put(w, TLV_PPDU_SUPPORT, ppdu_support(driver), 1);
	put(w, TLV_VENDOR, driver->desc.vendor, 2);
	put(w, TLV_PRODUCT, driver->desc.product, 2);
	put(w, TLV_MAX_APDU_DATA, max_apdu_data(slot), 4);
}

void ccid_property_put_pin(const struct ccid_slot *slot, struct bytes_writer *w) {
	uint8_t known = validation(slot->driver);
	/* A structure of the program's, not a list: in its own order. */
	bytes_put_data(w, &slot->interface->lcd_layout, sizeof(slot->interface->lcd_layout));
	bytes_put_u8(w, known ? known : VALIDATION_ANY);
	bytes_put_u8(w, 0); /* bTimeOut2: not told apart from bTimeOut */
}
