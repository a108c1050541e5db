/* SPDX-License-Identifier: MIT */
/*
 * Models the transmission of one APDU: runs the exchange machine on the slot's commands, with the
 * card's time as deadline of each. An exchange without an answer leaves nothing to build on: the
 * card is powered up anew.
 */
#include <errno.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* The reader's own commands in an APDU's clothes (PC/SC part 10 2.6.9: class FFh, INS C2h, P1 01h)
 * wait for people: as other drivers do. */
enum { PEOPLE_USEC = 90000000 };

/* Commands that a card may leave unanswered in a row: chosen. */
enum { MAX_MUTE = 2 };

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
	ccid_transmit_next(slot, exchange_feed(&slot->exchange, reply));
}

/* How long the answer to what is sent now may take. */
static uint64_t answer_usec(const struct ccid_slot *slot) {
	const struct exchange *x = &slot->exchange;
	uint64_t usec = ccid_card_timeout(slot, x->raw ? PROTOCOL_RAW : slot->protocol);
	return (usec < slot->least_usec ? slot->least_usec : usec) * exchange_patience(x);
}

/* A card that has not answered twice in a row will not any more, and programs seldom think of a reset:
 * it is powered up anew, and all who use it hear that it was reset.
 * What says nothing of the card, such as a reader that does not like the command, does not count. */
static void count_mute(struct ccid_slot *slot, enum status status) {
	slot->n_mute = status == STATUS_CARD_UNRESPONSIVE ? slot->n_mute + 1 : 0;
	if (slot->n_mute >= MAX_MUTE)
		ccid_slot_lose(slot);
}

/* A machine that goes on and on (waiting time extensions without end) is stopped. */
static int is_endless(const struct ccid_slot *slot) {
	return ccid_now() > slot->began + CCID_MAX_TOTAL_USEC;
}

void ccid_transmit_next(struct ccid_slot *slot, enum exchange_action action) {
	struct exchange *x = &slot->exchange;
	if (action != EXCHANGE_SEND) {
		struct driver_result result = { .status = x->status,
			.protocol = slot->protocol,
			.data = x->data,
			.len = x->len };
		count_mute(slot, x->status);
		ccid_slot_end(slot, &result);
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
	if (request.type == CCID_SECURE)
		ccid_slot_ask_after(slot, ccid_secure_delay(slot), &request,
			ccid_secure_timeout(slot), on_answer);
	else
		ccid_slot_ask(slot, &request, answer_usec(slot), on_answer);
}

void ccid_transmit(struct ccid_slot *slot, uint32_t protocol, const struct driver_bytes *apdu) {
	struct exchange *x = &slot->exchange;
	if (ccid_info_answer(slot, apdu))
		return;
	if (!slot->powered) {
		ccid_slot_fail(slot, slot->present ? STATUS_CARD_UNRESPONSIVE : STATUS_NO_CARD);
		return;
	}
	if (protocol != PROTOCOL_RAW && protocol != slot->protocol) {
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
		return;
	}
	enum status status = ccid_check_ppdu(slot, apdu);
	if (status != STATUS_OK) {
		ccid_slot_fail(slot, status);
		return;
	}
	slot->began = ccid_now();
	slot->least_usec = ccid_is_ppdu(apdu) ? PEOPLE_USEC : 0;
	if (protocol == PROTOCOL_RAW)
		ccid_transmit_next(slot,
			exchange_start_raw(x, ccid_desc_exchange_length(slot->interface),
				apdu->data, apdu->len));
	else
		ccid_transmit_next(slot, exchange_start(x, apdu->data, apdu->len));
}
