/* SPDX-License-Identifier: MIT */
/*
 * Models the transmission of one APDU: runs the exchange machine on the slot's commands, with the
 * card's time as deadline of each. An exchange without an answer leaves nothing to build on: the
 * card counts as taken out and put in again.
 */
#include <errno.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* The reader's own commands in an APDU's clothes (PC/SC part 10 2.6.9: class FFh, INS C2h, P1 01h)
 * wait for people: as other drivers do. */
enum { PEOPLE_USEC = 90000000 };

static void next(struct ccid_slot *slot, enum exchange_action action);

static void on_answer(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply) {
		enum status status = ccid_status_of_error(slot, error);
		if (error == -ENOMEM || error == -EMSGSIZE) {
			exchange_kill(&slot->exchange);
		} else {
			ccid_slot_lose(slot);
		}
		ccid_slot_fail(slot, status);
		return;
	}
	/* The card's status has been seen to; here it decides what the program hears. */
	if (!slot->powered) {
		ccid_slot_fail(slot,
			reply->icc == CCID_ICC_ABSENT ? STATUS_CARD_REMOVED : STATUS_CARD_RESET);
		return;
	}
	next(slot, exchange_feed(&slot->exchange, reply));
}

/* A machine that goes on and on (waiting time extensions without end) is stopped. */
static int is_endless(const struct ccid_slot *slot) {
	return ccid_now() > slot->began + CCID_MAX_TOTAL_USEC;
}

static void next(struct ccid_slot *slot, enum exchange_action action) {
	struct exchange *x = &slot->exchange;
	if (action != EXCHANGE_SEND) {
		ccid_slot_end(slot,
			&(struct driver_result){ .status = x->status,
				.protocol = slot->protocol,
				.data = x->data,
				.len = x->len });
		if (!slot->busy)
			exchange_wipe(x);
		return;
	}
	if (is_endless(slot)) {
		ccid_slot_lose(slot);
		ccid_slot_fail(slot, STATUS_EXCHANGE_TIMEOUT);
		return;
	}
	struct ccid_request request = exchange_request(x);
	ccid_slot_ask(slot, &request, slot->card_usec * exchange_patience(x), on_answer);
}

static int is_for_people(const struct driver_bytes *apdu) {
	return apdu->len >= 3 && apdu->data[0] == 0xff && apdu->data[1] == 0xc2 &&
		apdu->data[2] == 0x01;
}

void ccid_transmit(struct ccid_slot *slot, uint32_t protocol, const struct driver_bytes *apdu) {
	struct exchange *x = &slot->exchange;
	if (!slot->powered) {
		ccid_slot_fail(slot, slot->present ? STATUS_CARD_UNRESPONSIVE : STATUS_NO_CARD);
		return;
	}
	if (protocol != PROTOCOL_RAW && protocol != slot->protocol) {
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
		return;
	}
	slot->began = ccid_now();
	slot->card_usec = ccid_card_timeout(slot, protocol);
	if (is_for_people(apdu) && slot->card_usec < PEOPLE_USEC)
		slot->card_usec = PEOPLE_USEC;
	if (protocol == PROTOCOL_RAW)
		next(slot,
			exchange_start_raw(
				x, slot->interface->message_length, apdu->data, apdu->len));
	else
		next(slot, exchange_start(x, apdu->data, apdu->len));
}
