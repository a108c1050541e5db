/* SPDX-License-Identifier: MIT */
/*
 * Models power: cold and warm reset, the voltages, and the ATR that comes of it.
 *
 * A reader that chooses the voltage by itself is asked once; for the others those that it has are
 * tried from 5 V downwards: a card that gets too little may answer and fail later. A warm reset
 * that fails is followed by one cold reset. A card that may have power from an earlier owner is
 * powered off first, or its "cold" reset would be a warm one (CCID 1.10 6.1.1).
 *
 * An ATR that cannot be parsed is handed up as it is: the card can be shown, but not be used.
 */
#include <errno.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* bPowerSelect (CCID 1.10 table 6.1-2) and the bit of bVoltageSupport, in the order of trying. */
static const struct { uint8_t select, bit; } voltages[] = { { 1, 1 }, { 2, 2 }, { 3, 4 } };

enum { N_VOLTAGES = sizeof(voltages) / sizeof(voltages[0]), ATR_MIN = 2 };

static void next_voltage(struct ccid_slot *slot);

static void power_done(struct ccid_slot *slot, enum status status) {
	slot->powered_up(slot, status);
}

static void power_failed(struct ccid_slot *slot, int error) {
	slot->unclean = 1;
	enum status status = ccid_status_of_error(slot, error);
	power_done(slot, status == STATUS_EXCHANGE_TIMEOUT ? STATUS_CARD_MUTE : status);
}

static int is_atr(const struct ccid_reply *reply) {
	return reply->outcome == CCID_DONE && reply->len >= ATR_MIN && reply->len <= DRIVER_MAX_ATR;
}

static void take_atr(struct ccid_slot *slot, const struct ccid_reply *reply) {
	ccid_slot_forget(slot);
	memcpy(slot->atr_bytes, reply->data, reply->len);
	slot->atr_len = reply->len;
	slot->atr_usable = atr_parse(slot->atr_bytes, slot->atr_len, &slot->atr) == 0;
	slot->powered = 1;
	slot->unclean = 1;
	power_done(slot, STATUS_OK);
}

/* ---- cold ---- */

static int chooses_voltage(const struct ccid_slot *slot) {
	return (slot->interface->features &
		       (CCID_FEATURE_AUTO_VOLTAGE | CCID_FEATURE_AUTO_ACTIVATE)) != 0;
}

static void on_escaped(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply) {
		power_failed(slot, error);
		return;
	}
	slot->n_voltages--;
	next_voltage(slot);
}

/* Gemalto: "mode ISO". Once; the power-on that was refused is tried again. */
static void leave_emv_mode(struct ccid_slot *slot) {
	static const uint8_t iso_mode[] = { 0x1f, 0x01 };
	struct ccid_request request = ccid_msg_escape(iso_mode, sizeof(iso_mode));
	slot->escaped = 1;
	ccid_slot_ask(slot, &request, CCID_STATUS_USEC, on_escaped);
}

static void on_power(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply) {
		power_failed(slot, error);
		return;
	}
	slot->unclean = reply->icc == CCID_ICC_ACTIVE;
	if (reply->icc == CCID_ICC_ABSENT)
		power_done(slot, STATUS_NO_CARD);
	else if (is_atr(reply))
		take_atr(slot, reply);
	else if (reply->outcome == CCID_FAILED && reply->error == CCID_ERROR_EMV_ATR &&
		quirk_has(&slot->driver->quirks, QUIRK_EMV_ESCAPE) && !slot->escaped)
		leave_emv_mode(slot);
	else if (reply->outcome == CCID_FAILED && reply->error == CCID_ERROR_SLOT)
		power_done(slot, STATUS_UNSUPPORTED);
	else
		next_voltage(slot);
}

static void mute(struct ccid_slot *slot) {
	if (!quirk_has(&slot->driver->quirks, QUIRK_ABSENT_IF_MUTE)) {
		power_done(slot, STATUS_CARD_MUTE);
		return;
	}
	ccid_presence_see(slot, CCID_ICC_ABSENT);
	power_done(slot, STATUS_NO_CARD);
}

static void power_at(struct ccid_slot *slot, uint8_t select) {
	struct ccid_request request = ccid_msg_power_on(select);
	slot->voltage = select;
	ccid_slot_ask(slot, &request, CCID_POWER_ON_USEC, on_power);
}

static void next_voltage(struct ccid_slot *slot) {
	if (chooses_voltage(slot)) {
		if (slot->n_voltages++ == 0)
			power_at(slot, 0);
		else
			mute(slot);
		return;
	}
	while (slot->n_voltages < N_VOLTAGES) {
		unsigned n = slot->n_voltages++;
		if (slot->interface->voltages & voltages[n].bit) {
			power_at(slot, voltages[n].select);
			return;
		}
	}
	mute(slot);
}

static void on_off_first(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	/* A reader that refuses has nothing to switch off. */
	if (reply)
		next_voltage(slot);
	else
		power_failed(slot, error);
}

static void cold(struct ccid_slot *slot) {
	int may_have_power = slot->powered || slot->unclean ||
		quirk_has(&slot->driver->quirks, QUIRK_POWER_OFF_FIRST);
	ccid_slot_forget(slot);
	slot->n_voltages = 0;
	slot->escaped = 0;
	if (!may_have_power) {
		next_voltage(slot);
		return;
	}
	struct ccid_request request = ccid_msg_plain(CCID_POWER_OFF);
	ccid_slot_ask(slot, &request, CCID_POWER_OFF_USEC, on_off_first);
}

/* ---- warm ---- */

static void on_warm(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply)
		power_failed(slot, error);
	else if (reply->icc == CCID_ICC_ABSENT)
		power_done(slot, STATUS_NO_CARD);
	else if (is_atr(reply))
		take_atr(slot, reply);
	else
		cold(slot);
}

/* Power-on of a card that has power is a warm reset. */
static void warm(struct ccid_slot *slot) {
	struct ccid_request request = ccid_msg_power_on(slot->voltage);
	ccid_slot_forget(slot);
	slot->unclean = 1;
	ccid_slot_ask(slot, &request, CCID_POWER_ON_USEC, on_warm);
}

/* ---- operations ---- */

static void report(struct ccid_slot *slot, enum status status) {
	struct driver_result result = { .status = status };
	if (status == STATUS_OK) {
		result.data = slot->atr_bytes;
		result.len = slot->atr_len;
	}
	ccid_slot_end(slot, &result);
}

void ccid_power_on(struct ccid_slot *slot, enum driver_reset how) {
	slot->powered_up = report;
	if (how == DRIVER_WARM && slot->powered)
		warm(slot);
	else
		cold(slot);
}

void ccid_power_cycle(
	struct ccid_slot *slot, void (*powered_up)(struct ccid_slot *slot, enum status status)) {
	slot->powered_up = powered_up;
	cold(slot);
}

static void on_off(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	slot->unclean = reply == NULL;
	ccid_slot_fail(slot, reply ? STATUS_OK : ccid_status_of_error(slot, error));
}

void ccid_power_off(struct ccid_slot *slot) {
	struct ccid_request request = ccid_msg_plain(CCID_POWER_OFF);
	ccid_slot_forget(slot);
	ccid_slot_ask(slot, &request, CCID_POWER_OFF_USEC, on_off);
}
