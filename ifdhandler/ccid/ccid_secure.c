/* SPDX-License-Identifier: MIT */
/*
 * Models PIN entry at the reader's keys (PC/SC part 10 2.5; CCID 1.10 6.1.11): the request is checked
 * and adapted (pin.c), some readers get a vendor command before it, then the reader waits for keys,
 * sends the command to the card by itself and gives us what the card answers. With T=1 driven from
 * here, that answer is a block, and goes the way of all blocks. What a user ends, or does not begin,
 * is an answer as well: 6401, 6400.
 *
 * Nobody sees the PIN but reader and card.
 *
 * Can never happen: a request that waits for keys longer than its reader or its program said.
 */
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

enum {
	/* People need time; as other drivers wait: 90 s, or what the program allows and then some. */
	MIN_SECONDS = 90,
	MORE_SECONDS = 10,
};

/* Vendor commands: show no count of tries that are left (Gemalto; VEGA-ALPHA); add the PIN to a command
 * without data (SPR532). */
static const uint8_t hide_retries[] = { 0xb5, 0x00 };
static const uint8_t hide_retries_vega[] = { 0xb5, 0x01, 0x00, 0x03, 0x00 };
static const uint8_t add_unpadded[] = { 0x80, 0x02, 0x00 };

#define SECOND UINT64_C(1000000) /* in µs */

unsigned ccid_secure_support(const struct ccid_slot *slot) {
	/* A reader of single characters cannot know how to send a command. */
	if (slot->interface->level == CCID_LEVEL_CHARACTER)
		return 0;
	return slot->interface->pin_support & 3u;
}

uint64_t ccid_secure_timeout(const struct ccid_slot *slot) {
	unsigned seconds = slot->pin.seconds + MORE_SECONDS;
	return (seconds < MIN_SECONDS ? MIN_SECONDS : seconds) * SECOND;
}

uint64_t ccid_secure_delay(const struct ccid_slot *slot) {
	return slot->driver->quirks.pin_delay_ms * UINT64_C(1000);
}

/* ---- steps ---- */

static void enter(struct ccid_slot *slot) {
	struct exchange_secure secure = {
		.data = slot->pin.bytes,
		.len = slot->pin.len,
		.prologue = slot->pin.prologue,
		.apdu_len = slot->pin.len - slot->pin.apdu,
	};
	slot->began = ccid_now();
	slot->least_usec = 0;
	ccid_transmit_next(slot, exchange_start_secure(&slot->exchange, &secure));
}

/* Sends a vendor command; refusing it is the reader's right. */
static void tell(struct ccid_slot *slot, const uint8_t *data, size_t len, ccid_step_fn step) {
	struct ccid_request request = ccid_msg_escape(data, len);
	ccid_slot_ask(slot, &request, CCID_STATUS_USEC, step);
}

/* 1: the next step may follow; else the operation has ended. Nobody is asked for a PIN that nobody
 * waits for. */
static int may_go_on(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (reply && slot->powered && !slot->give_up_at)
		return 1;
	ccid_slot_fail(slot,
		!reply                                  ? ccid_status_of_error(slot, error)
			: reply->icc == CCID_ICC_ABSENT ? STATUS_CARD_REMOVED
							: STATUS_CARD_RESET);
	return 0;
}

static void on_unpadded(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (may_go_on(slot, reply, error))
		enter(slot);
}

static void prepare(struct ccid_slot *slot) {
	if (slot->pin.unpadded)
		tell(slot, add_unpadded, sizeof(add_unpadded), on_unpadded);
	else
		enter(slot);
}

static void on_hidden(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (may_go_on(slot, reply, error))
		prepare(slot);
}

static void start(struct ccid_slot *slot) {
	const struct quirks *quirks = &slot->driver->quirks;
	if (!quirk_has(quirks, QUIRK_PIN_HIDE_RETRIES))
		prepare(slot);
	else if (quirk_has(quirks, QUIRK_GEMALTO))
		tell(slot, hide_retries, sizeof(hide_retries), on_hidden);
	else
		tell(slot, hide_retries_vega, sizeof(hide_retries_vega), on_hidden);
}

/* ---- start ---- */

static struct pin_rules rules_of(const struct ccid_slot *slot) {
	const struct driver *driver = slot->driver;
	const struct ccid_told *told = &driver->told;
	struct pin_rules rules = {
		.quirks = &driver->quirks,
		.room = slot->interface->message_length - CCID_MSG_HEADER,
	};
	if (!quirk_has(&driver->quirks, QUIRK_GEMALTO))
		return rules;
	rules.all_indexes = !told->has_features ||
		!(told->features[CCID_TOLD_ABILITIES] & CCID_TOLD_MESSAGE_NUMBERS);
	if (told->has_features)
		rules.validation = told->features[CCID_TOLD_VALIDATION];
	return rules;
}

enum status ccid_secure_check(
	const struct ccid_slot *slot, enum pin_operation op, const uint8_t *in, size_t len) {
	struct pin_rules rules = rules_of(slot);
	struct pin_request request;
	enum status status = pin_translate(op, &rules, in, len, &request);
	explicit_bzero(&request, sizeof(request));
	return status;
}

void ccid_secure(struct ccid_slot *slot, enum pin_operation op, const struct driver_bytes *in) {
	struct pin_rules rules = rules_of(slot);
	enum status status = pin_translate(op, &rules, in->data, in->len, &slot->pin);
	if (status == STATUS_OK && !slot->powered)
		status = slot->present ? STATUS_CARD_UNRESPONSIVE : STATUS_NO_CARD;
	if (status == STATUS_OK && slot->protocol == PROTOCOL_NONE)
		status = STATUS_PROTO_MISMATCH;
	if (status == STATUS_OK)
		start(slot);
	else
		ccid_slot_fail(slot, status);
}
