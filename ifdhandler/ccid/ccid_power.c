/* SPDX-License-Identifier: MIT */
/*
 * Models power: cold and warm reset, the voltages, and the ATR that comes of it.
 *
 * A reader that chooses the voltage by itself is asked once; for the others those that it has are
 * tried from 5 V downwards: a card that gets too little may answer and fail later. Where that is
 * wanted they are tried upwards, as ISO/IEC 7816-3 6.2.4 has it, and a card that says it is made for
 * another one is powered off and up again with that. A warm reset
 * that fails is followed by one cold reset. A card that may have power from an earlier owner is
 * powered off first, or its "cold" reset would be a warm one (CCID 1.10 6.1.1).
 *
 * An ATR that cannot be parsed is handed up as it is: the card can be shown, but not be used. One
 * with a wrong check byte is as good as any, but for a warning, unless that is not wanted here.
 */
#include <errno.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

/* bPowerSelect (CCID 1.10 table 6.1-2) and the bit of bVoltageSupport, which is also that of the class
 * in an ATR (ISO/IEC 7816-3 table 10): 5 V, 3 V, 1.8 V. */
static const struct voltage { uint8_t select, bit; } voltages[] = { { 1, 1 }, { 2, 2 }, { 3, 4 } };

enum { N_VOLTAGES = sizeof(voltages) / sizeof(voltages[0]), ATR_MIN = 2 };

static void next_voltage(struct ccid_slot *slot);
static void on_off_first(struct ccid_slot *slot, const struct ccid_reply *reply, int error);
static void mute(struct ccid_slot *slot);

static void power_done(struct ccid_slot *slot, enum status status) {
	slot->powered_up(slot, status);
}

static void power_failed(struct ccid_slot *slot, int error) {
	slot->unclean = 1;
	enum status status = ccid_status_of_error(slot, error);
	power_done(slot, status == STATUS_EXCHANGE_TIMEOUT ? STATUS_CARD_MUTE : status);
}

static int is_atr(const struct ccid_slot *slot, const struct ccid_reply *reply) {
	struct atr atr;
	if (reply->outcome != CCID_DONE || reply->len < ATR_MIN || reply->len > DRIVER_MAX_ATR)
		return 0;
	return !quirk_has(&slot->driver->quirks, QUIRK_STRICT_ATR) ||
		atr_parse(reply->data, reply->len, &atr) < 0 || atr.tck != ATR_TCK_WRONG;
}

/* Once for each card: it may be powered up many times. */
static void warn(struct ccid_slot *slot) {
	const struct driver_host *host = &slot->driver->host;
	if (!slot->atr_usable || slot->atr.tck != ATR_TCK_WRONG || slot->warned || !host->advice)
		return;
	slot->warned = 1;
	host->advice(host->userdata, "the card's answer to reset has a wrong check byte");
}

static void take_atr(struct ccid_slot *slot, const struct ccid_reply *reply) {
	ccid_slot_forget(slot);
	memcpy(slot->atr_bytes, reply->data, reply->len);
	slot->atr_len = reply->len;
	slot->atr_usable = atr_parse(slot->atr_bytes, slot->atr_len, &slot->atr) == 0;
	slot->powered = 1;
	slot->unclean = 1;
	slot->doubted = 0;
	warn(slot);
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

/* The voltage to try as number `n`. */
static const struct voltage *voltage_at(const struct ccid_slot *slot, unsigned n) {
	int upwards = quirk_has(&slot->driver->quirks, QUIRK_ASCENDING);
	return &voltages[upwards ? N_VOLTAGES - 1 - n : n];
}

/* Goes on to the next voltage that reader and card have in common, if the card is not made for the one
 * that it has got: 1 if so. Without a class in its ATR it is made for 5 V (ISO/IEC 7816-3 6.2.4). */
static int is_other_class(struct ccid_slot *slot) {
	if (!quirk_has(&slot->driver->quirks, QUIRK_ASCENDING) || !slot->atr_usable ||
		chooses_voltage(slot))
		return 0;
	if (voltage_at(slot, slot->n_voltages - 1)->bit & slot->atr.classes)
		return 0;
	for (unsigned n = slot->n_voltages; n < N_VOLTAGES; n++) {
		if (!(voltage_at(slot, n)->bit & slot->atr.classes & slot->interface->voltages))
			continue;
		slot->n_voltages = n;
		return 1;
	}
	return 0;
}

/* The card has answered. */
static void take_cold_atr(struct ccid_slot *slot, const struct ccid_reply *reply) {
	take_atr(slot, reply);
	if (!is_other_class(slot)) {
		power_done(slot, STATUS_OK);
		return;
	}
	struct ccid_request request = ccid_msg_plain(CCID_POWER_OFF);
	ccid_slot_forget(slot);
	ccid_slot_ask(slot, &request, CCID_POWER_OFF_USEC, on_off_first);
}

/* Gemalto: "mode ISO". Once; the power-on that was refused is tried again. */
static void leave_emv_mode(struct ccid_slot *slot) {
	static const uint8_t iso_mode[] = { 0x1f, 0x01 };
	struct ccid_request request = ccid_msg_escape(iso_mode, sizeof(iso_mode));
	slot->escaped = 1;
	ccid_slot_ask(slot, &request, CCID_STATUS_USEC, on_escaped);
}

/* No ATR, for this reason: some mean that no other voltage will help. */
static void refused(struct ccid_slot *slot, uint8_t error) {
	int is_emv =
		error == CCID_ERROR_EMV_ATR && quirk_has(&slot->driver->quirks, QUIRK_EMV_ESCAPE);
	if (is_emv && !slot->escaped)
		leave_emv_mode(slot);
	else if (is_emv)
		mute(slot);
	else if (error == CCID_ERROR_SLOT)
		power_done(slot, STATUS_UNSUPPORTED);
	else if (error == CCID_ERROR_PROTOCOL)
		power_done(slot, STATUS_PROTO_MISMATCH);
	else
		next_voltage(slot);
}

static void on_power(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply) {
		power_failed(slot, error);
		return;
	}
	slot->unclean = reply->icc == CCID_ICC_ACTIVE;
	if (reply->icc == CCID_ICC_ABSENT)
		power_done(slot, STATUS_NO_CARD);
	else if (is_atr(slot, reply))
		take_cold_atr(slot, reply);
	else if (reply->outcome == CCID_FAILED)
		refused(slot, reply->error);
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
		const struct voltage *v = voltage_at(slot, slot->n_voltages++);
		if (slot->interface->voltages & v->bit) {
			power_at(slot, v->select);
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
		quirk_has(&slot->driver->quirks, QUIRK_POWER_OFF_FIRST) ||
		ccid_presence_is_mirrored(slot);
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
	else if (is_atr(slot, reply)) {
		take_atr(slot, reply);
		power_done(slot, STATUS_OK);
	} else
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

void ccid_power_warm(
	struct ccid_slot *slot, void (*powered_up)(struct ccid_slot *slot, enum status status)) {
	slot->powered_up = powered_up;
	warm(slot);
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
