/* SPDX-License-Identifier: MIT */
/*
 * Models vendor commands of programs: the bytes go to the reader as they are (CCID 1.10 6.1.8), and its
 * answer back. Such commands can load firmware, so they go through only where the administrator has
 * allowed them for this device, but for a few that are known to do no harm.
 */
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* Prox-DU: the interface that its one slot works with, then 01h contactless or 02h contact. */
static const uint8_t switch_interface[] = { 0x52, 0xf8, 0x04, 0x01, 0x00 };

enum { TELL_FIRMWARE = 0x02 }; /* Gemalto: the firmware's name */

int ccid_escape_allowed(const struct ccid_slot *slot, const struct driver_bytes *in) {
	const struct quirks *quirks = &slot->driver->quirks;
	size_t len = sizeof(switch_interface);
	if (quirk_has(quirks, QUIRK_ESCAPE))
		return 1;
	if (quirk_has(quirks, QUIRK_GEMALTO) && in->len == 1 && in->data[0] == TELL_FIRMWARE)
		return 1;
	return quirk_has(quirks, QUIRK_ESCAPE_INTERFACE) && in->len == len + 1 &&
		memcmp(in->data, switch_interface, len) == 0 &&
		(in->data[len] == 1 || in->data[len] == 2);
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

void ccid_escape(struct ccid_slot *slot, const struct driver_bytes *in, uint64_t timeout_usec) {
	if (in->len > slot->interface->message_length - CCID_MSG_HEADER) {
		ccid_slot_fail(slot, STATUS_TOO_LONG);
		return;
	}
	struct ccid_request request = ccid_msg_escape(in->data, in->len);
	ccid_slot_ask(slot, &request, timeout_usec, on_escape);
}
