/* SPDX-License-Identifier: MIT */
/*
 * libcacard as the card: a Common Access Card with real RSA from an NSS database.
 *
 * NSS and libcacard keep their state globally, so there is one such card in a process, for its
 * whole life; taking it out and putting it in again uses the same one. Linked in where libcacard is
 * there.
 */
#include "tests/model/card.h"

#include <errno.h>
#include <libcacard.h>
#include <stdio.h>
#include <string.h>

static size_t cacard_power(void *userdata, int what, uint8_t *ret_atr, size_t size) {
	VReader *reader = userdata;
	int len = (int)size;
	if (what == CARD_POWER_OFF) {
		vreader_power_off(reader);
		return 0;
	}
	if (vreader_power_on(reader, ret_atr, &len) != VREADER_OK || len < 0 || (size_t)len > size)
		return 0;
	return (size_t)len;
}

static int cacard_apdu(
	void *userdata, const uint8_t *apdu, size_t len, uint8_t *ret_answer, size_t size) {
	int n = size > 65538 ? 65538 : (int)size;
	uint8_t copy[CARD_MAX_APDU];
	if (len > sizeof copy)
		return -EMSGSIZE;
	memcpy(copy, apdu, len);
	if (vreader_xfr_bytes(userdata, copy, (int)len, ret_answer, &n) != VREADER_OK)
		return -EIO;
	return n;
}

int card_cacard_open(const char *db, struct card_backend *ret_backend) {
	static VReader *reader; /* one a process: see above */
	char options[512];
	if (!reader) {
		int n = snprintf(options, sizeof options,
			"db=\"%s\" use_hw=no "
			"soft=(,Virtual Reader,CAC,,id-cert,signing-cert,encryption-cert)",
			db);
		if (n < 0 || (size_t)n >= sizeof options)
			return -ENAMETOOLONG;
		VCardEmulOptions *parsed = vcard_emul_options(options);
		if (!parsed || vcard_emul_init(parsed) != VCARD_EMUL_OK)
			return -EIO;
		for (VEvent *event; (event = vevent_get_next_vevent()); vevent_delete(event))
			if (event->type == VEVENT_READER_INSERT && !reader)
				reader = vreader_reference(event->reader);
	}
	if (!reader)
		return -ENODEV;
	*ret_backend = (struct card_backend){
		.userdata = reader, .power = cacard_power, .apdu = cacard_apdu
	};
	return 0;
}
