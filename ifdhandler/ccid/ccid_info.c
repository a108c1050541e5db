/* SPDX-License-Identifier: MIT */
/*
 * Models pseudo-APDUs that programs send to a reader and its driver answers: who made the reader, what
 * it is, the versions of firmware and driver. They never reach the card.
 */
#include <stdio.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* KOBIL IDToken: class FFh, INS 9Ah, P1 01h, P2 tells what is asked for, Le 00h. */
static const uint8_t kobil[] = { 0xff, 0x9a, 0x01 };

enum {
	KOBIL_LEN = 5,
	KOBIL_MANUFACTURER = 1,
	KOBIL_PRODUCT = 3,
	KOBIL_FIRMWARE = 6,
	KOBIL_DRIVER = 7,
};

/* As programs for this product know them. */
static int kobil_text(const struct driver *driver, uint8_t what, char *buf, size_t size) {
	unsigned bcd = driver->desc.bcd_device;
	switch (what) {
	case KOBIL_MANUFACTURER: return snprintf(buf, size, "KOBIL systems");
	case KOBIL_PRODUCT: return snprintf(buf, size, "IDToken");
	case KOBIL_FIRMWARE: return snprintf(buf, size, "%x.%02x", bcd >> 8, bcd & 0xff);
	case KOBIL_DRIVER: return snprintf(buf, size, "2012.2.7");
	default: return 0;
	}
}

int ccid_info_answer(struct ccid_slot *slot, const struct driver_bytes *apdu) {
	const struct driver *driver = slot->driver;
	char *text = (char *)slot->scratch;
	if (!quirk_has(&driver->quirks, QUIRK_KOBIL_INFO) || apdu->len != KOBIL_LEN ||
		memcmp(apdu->data, kobil, sizeof(kobil)) != 0 || apdu->data[4] != 0)
		return 0;
	int len = kobil_text(driver, apdu->data[3], text, sizeof(slot->scratch) - 2);
	if (len <= 0)
		return 0;
	slot->scratch[len] = 0x90;
	slot->scratch[len + 1] = 0x00;
	ccid_slot_end(slot,
		&(struct driver_result){ .protocol = slot->protocol,
			.data = slot->scratch,
			.len = (size_t)len + 2 });
	return 1;
}
