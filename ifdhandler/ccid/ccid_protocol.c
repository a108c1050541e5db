/* SPDX-License-Identifier: MIT */
/*
 * Models how card and reader come to one protocol, after the program has said which it wants:
 * who does what follows from dwFeatures (CCID 1.10 5.1).
 *
 *   40h          the reader has negotiated: it is asked what is in force
 *   80h          the reader runs the PPS itself, with what SetParameters tells it
 *   neither      PPS by us, as an XfrBlock, then SetParameters
 *
 * A card that refuses a PPS, ours or the reader's, must be reset (ISO/IEC 7816-3 9.4): it gets one
 * cold reset, and stays at its first protocol and speed then. Refusals of single fields, which cannot
 * be changed, are no failure. With T=1 driven from here, the block size is negotiated last; a card
 * that does not survive that is reset once more, and has blocks of 32 bytes until it is taken out.
 *
 * A reader that cannot change the rate (neither 20h nor 80h) is left at the default one: the clock is
 * never stopped, and SetDataRateAndClockFrequency is not needed by anything here.
 */
#include "ifdhandler/ccid/ccid_driver.h"

enum {
	MIN_CARD_USEC = 3000000,
	UNKNOWN_CARD_USEC = 60000000,
	/* Chosen: no card computes longer without telling by a time extension. */
	MAX_CARD_USEC = 300000000,
	/* The answer to a PPS, 6 characters at most 9600 etu apart (ISO/IEC 7816-3 9.2, 7.2), at 1
	 * MHz: 21 s, and some for the reader. Chosen. */
	PPS_USEC = 25000000,
};

#define MS UINT64_C(1000) /* in µs */

static void protocol_step(struct ccid_slot *slot);

/* ---- times ---- */

uint64_t ccid_card_timeout(const struct ccid_slot *slot, uint32_t protocol) {
	uint64_t usec = UNKNOWN_CARD_USEC;
	uint32_t khz = slot->interface->default_khz;
	if (slot->atr_usable && protocol == PROTOCOL_T1)
		usec = atr_t1_ms(&slot->atr, slot->plan.speed, khz,
			       exchange_characters(&slot->exchange)) *
			MS;
	else if (slot->atr_usable)
		usec = atr_t0_ms(&slot->atr, slot->plan.speed, khz) * MS;
	if (usec < MIN_CARD_USEC)
		usec = MIN_CARD_USEC;
	if (usec > MAX_CARD_USEC)
		usec = MAX_CARD_USEC;
	return usec + slot->driver->quirks.extra_timeout_ms * MS;
}

/* T of a protocol's bit: also bProtocolNum (CCID 1.10 6.1.7). */
static uint8_t number_of(uint32_t protocol) {
	return protocol == PROTOCOL_T1 ? 1 : 0;
}

/* ---- end ---- */

static void settled(struct ccid_slot *slot) {
	slot->protocol = slot->wanted;
	ccid_slot_end(slot, &(struct driver_result){ .protocol = slot->protocol });
}

/* An exchange with the reader went wrong: the card's state is unknown. */
static void disturbed(struct ccid_slot *slot, int error) {
	enum status status = ccid_status_of_error(slot, error);
	ccid_slot_lose(slot);
	ccid_slot_fail(slot, status);
}

/* Without an answer, or without power, nothing goes on: 1, and the operation has ended. */
static int is_over(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!reply)
		disturbed(slot, error);
	else if (!slot->powered)
		ccid_slot_fail(slot,
			reply->icc == CCID_ICC_ABSENT ? STATUS_CARD_REMOVED
						      : STATUS_CARD_UNRESPONSIVE);
	else
		return 0;
	return 1;
}

/* ---- block size (T=1 driven from here) ---- */

static void ifsd_send(struct ccid_slot *slot);

/* Once more from the first reset on. */
static void on_reset(struct ccid_slot *slot, enum status status) {
	if (status == STATUS_OK)
		protocol_step(slot);
	else
		ccid_slot_fail(slot,
			status == STATUS_NO_CARD ? STATUS_CARD_REMOVED : STATUS_CARD_UNRESPONSIVE);
}

static void ifsd_next(struct ccid_slot *slot, enum exchange_action action) {
	if (action == EXCHANGE_SEND) {
		ifsd_send(slot);
		return;
	}
	if (slot->exchange.status == STATUS_OK) {
		settled(slot);
		return;
	}
	slot->no_ifsd = 1;
	ccid_power_cycle(slot, on_reset);
}

static void on_ifsd(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (!is_over(slot, reply, error))
		ifsd_next(slot, exchange_feed(&slot->exchange, reply));
}

static void ifsd_send(struct ccid_slot *slot) {
	struct ccid_request request = exchange_request(&slot->exchange);
	uint64_t usec = ccid_card_timeout(slot, PROTOCOL_T1) * exchange_patience(&slot->exchange);
	ccid_slot_ask(slot, &request, usec, on_ifsd);
}

/* The parameters are in force: prepares the exchange of APDUs. */
static void prepare(struct ccid_slot *slot) {
	const struct ccid_interface *i = slot->interface;
	struct exchange_config config = {
		.level = ccid_desc_exchange_level(i),
		.protocol = slot->wanted,
		.message_length = ccid_desc_exchange_length(i),
		.max_ifsd = i->max_ifsd,
		.reader_set_ifsd = (i->features & CCID_FEATURE_AUTO_IFSD) != 0,
		.atr = &slot->atr,
		.no_full_packets = quirk_has(&slot->driver->quirks, QUIRK_NO_FULL_PACKETS),
	};
	int r = exchange_init(&slot->exchange, &config);
	if (r < 0) {
		ccid_slot_fail(slot, STATUS_NO_MEMORY);
		return;
	}
	if (slot->no_ifsd || quirk_has(&slot->driver->quirks, QUIRK_NO_IFSD) ||
		!exchange_wants_ifsd(&slot->exchange))
		settled(slot);
	else
		ifsd_next(slot, exchange_negotiate(&slot->exchange));
}

/* ---- SetParameters ---- */

/* A reader that announces an APDU level, but neither 40h nor 80h, breaks the rules anyhow. */
static int may_refuse_parameters(const struct ccid_slot *slot) {
	return slot->interface->level == CCID_LEVEL_SHORT ||
		slot->interface->level == CCID_LEVEL_EXTENDED;
}

static enum status judge_parameters(const struct ccid_slot *slot, const struct ccid_reply *reply) {
	int automatic = (slot->interface->features &
				(CCID_FEATURE_AUTO_PARAMETERS | CCID_FEATURE_AUTO_PPS)) != 0;
	int is_first = number_of(slot->wanted) == slot->atr.first_t;
	if (reply->outcome == CCID_DONE)
		return STATUS_OK;
	if (slot->interface->features & CCID_FEATURE_AUTO_PARAMETERS)
		return STATUS_PROTO_MISMATCH;
	if (reply->error == CCID_ERROR_UNSUPPORTED || (may_refuse_parameters(slot) && !automatic))
		return is_first ? STATUS_OK : STATUS_PROTO_MISMATCH;
	if (reply->error <= CCID_ERROR_INDEX_MAX)
		return STATUS_OK;
	return exchange_status(reply);
}

/* Refused, but the reader is known to work with the card after two resets, without parameters. */
static void on_second_reset(struct ccid_slot *slot, enum status status) {
	if (status != STATUS_OK) {
		ccid_slot_fail(slot, status);
		return;
	}
	/* It may be another ATR than that of the first reset (ISO/IEC 7816-3 6.3.1). */
	if (!slot->atr_usable || !(atr_protocols(&slot->atr) & slot->wanted)) {
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
		return;
	}
	slot->plan.speed = ATR_DEFAULT_SPEED;
	prepare(slot);
}

static void on_first_reset(struct ccid_slot *slot, enum status status) {
	if (status == STATUS_OK)
		ccid_power_warm(slot, on_second_reset);
	else
		ccid_slot_fail(slot, status);
}

static int is_forgiven(const struct ccid_slot *slot) {
	return slot->wanted == PROTOCOL_T1 &&
		quirk_has(&slot->driver->quirks, QUIRK_RESET_PARAMETERS);
}

/* A PPS has failed: what the card does by itself after a reset is all that is left. */
static void without_pps(struct ccid_slot *slot) {
	slot->no_pps = 1;
	ccid_power_cycle(slot, on_reset);
}

/* Is it the reader's own PPS that the card has not survived? */
static int may_be_pps(const struct ccid_slot *slot, enum status status) {
	int wants_pps = number_of(slot->wanted) != slot->atr.first_t ||
		slot->plan.speed != ATR_DEFAULT_SPEED;
	return (slot->interface->features & CCID_FEATURE_AUTO_PPS) && wants_pps && !slot->no_pps &&
		!slot->atr.specific && status != STATUS_PROTO_MISMATCH;
}

static void on_undone(struct ccid_slot *slot, enum status status) {
	ccid_slot_fail(slot, status == STATUS_OK ? slot->verdict : status);
}

/* The reader does not follow where a PPS of ours has led the card: back to where it began. */
static void parameters_failed(struct ccid_slot *slot, enum status status) {
	slot->verdict = status;
	if (slot->plan.request_len)
		ccid_power_cycle(slot, on_undone);
	else
		ccid_slot_fail(slot, status);
}

static void on_parameters(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (is_over(slot, reply, error))
		return;
	enum status status = judge_parameters(slot, reply);
	if (status == STATUS_OK)
		prepare(slot);
	else if (is_forgiven(slot))
		ccid_power_cycle(slot, on_first_reset);
	else if (may_be_pps(slot, status))
		without_pps(slot);
	else
		parameters_failed(slot, status);
}

static void set_parameters(struct ccid_slot *slot) {
	size_t len = pps_parameters(&slot->atr, &slot->plan, slot->scratch);
	struct ccid_request request =
		ccid_msg_set_parameters(number_of(slot->wanted), slot->scratch, len);
	ccid_slot_ask(slot, &request, CCID_PARAMETERS_USEC, on_parameters);
}

/* ---- PPS ---- */

/* What the reader can do for this slot. */
static struct pps_limits limits_of(const struct ccid_slot *slot) {
	/* Other slots of some multi-slot readers know these only (bit/s). */
	static const uint32_t slow[] = { 10753, 21505, 43011, 125000 };
	const struct driver *driver = slot->driver;
	const struct ccid_interface *i = slot->interface;
	const struct ccid_rates *rates = &driver->rates[i - driver->desc.interfaces];
	struct pps_limits limits = {
		.clock_khz = i->default_khz,
		.max_rate = i->max_rate,
		.rates = rates->n ? rates->rates : NULL,
		.n_rates = rates->n,
		.by_reader = (i->features & CCID_FEATURE_AUTO_PPS) != 0,
		.impossible = slot->no_pps || quirk_has(&driver->quirks, QUIRK_NO_PPS),
		.fixed_speed = !(i->features & (CCID_FEATURE_AUTO_BAUD | CCID_FEATURE_AUTO_PPS)),
	};
	if (quirk_has(&driver->quirks, QUIRK_SLOW_SLOTS) && slot->local > 0) {
		limits.rates = slow;
		limits.n_rates = sizeof(slow) / sizeof(slow[0]);
	}
	return limits;
}

static void on_pps(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (is_over(slot, reply, error))
		return;
	enum pps_answer answer = PPS_REFUSED;
	if (reply->outcome == CCID_DONE)
		answer = pps_check(&slot->plan, reply->data, reply->len);
	if (answer == PPS_REFUSED)
		without_pps(slot);
	else
		set_parameters(slot);
}

static void send_pps(struct ccid_slot *slot) {
	int by_character = slot->interface->level == CCID_LEVEL_CHARACTER;
	/* Character level: how many bytes come back. */
	uint16_t level = by_character ? (uint16_t)pps_answer_len(&slot->plan) : 0;
	struct ccid_request request =
		ccid_msg_xfr_block(0, level, slot->plan.request, slot->plan.request_len);
	ccid_slot_ask(slot, &request, PPS_USEC, on_pps);
}

static void choose(struct ccid_slot *slot) {
	struct pps_limits limits = limits_of(slot);
	switch (pps_choose(&slot->atr, &limits, number_of(slot->wanted), &slot->plan)) {
	case PPS_CHOSEN:
		if (slot->plan.request_len)
			send_pps(slot);
		else
			set_parameters(slot);
		break;
	case PPS_MISMATCH: ccid_slot_fail(slot, STATUS_PROTO_MISMATCH); break;
	default: ccid_slot_fail(slot, STATUS_EXCHANGE_FAILED); break;
	}
}

/* ---- readers that negotiate by themselves ---- */

static void on_get_parameters(struct ccid_slot *slot, const struct ccid_reply *reply, int error) {
	if (is_over(slot, reply, error))
		return;
	/* A reader that does not tell is believed to do what is asked of it. */
	uint32_t in_force = slot->wanted;
	if (reply->outcome == CCID_DONE)
		in_force = reply->specific == 1 ? PROTOCOL_T1 : PROTOCOL_T0;
	if (in_force & slot->acceptable) {
		slot->wanted = in_force;
		slot->plan.t = number_of(in_force);
		prepare(slot);
		return;
	}
	if (slot->atr.specific) {
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
		return;
	}
	set_parameters(slot);
}

/* From a card that was just reset to one that speaks slot->wanted. */
static void protocol_step(struct ccid_slot *slot) {
	slot->plan = (struct pps_plan){
		.t = number_of(slot->wanted),
		.speed = ATR_DEFAULT_SPEED,
	};
	if (!slot->atr_usable || !(atr_protocols(&slot->atr) & slot->wanted)) {
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
		return;
	}
	if (!(slot->interface->features & CCID_FEATURE_AUTO_PARAMETERS)) {
		choose(slot);
		return;
	}
	struct ccid_request request = ccid_msg_plain(CCID_GET_PARAMETERS);
	ccid_slot_ask(slot, &request, CCID_STATUS_USEC, on_get_parameters);
}

void ccid_set_protocol(struct ccid_slot *slot, uint32_t protocols) {
	slot->acceptable = protocols & (PROTOCOL_T0 | PROTOCOL_T1);
	slot->wanted = protocols & PROTOCOL_T1 ? PROTOCOL_T1 : PROTOCOL_T0;
	slot->no_pps = 0;
	if (!slot->powered)
		ccid_slot_fail(slot, slot->present ? STATUS_CARD_UNRESPONSIVE : STATUS_NO_CARD);
	else if (!slot->acceptable)
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
	else if (slot->protocol == slot->wanted)
		settled(slot);
	else if (slot->protocol || !(slot->interface->protocols & slot->wanted))
		ccid_slot_fail(slot, STATUS_PROTO_MISMATCH);
	else
		protocol_step(slot);
}
