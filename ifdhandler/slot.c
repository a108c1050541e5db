/* SPDX-License-Identifier: MIT */
/*
 * A slot is a card's life as clients see it. The driver says that a card is in; the slot powers it
 * up, and only when the ATR is known (or the card proved mute) is the arrival published. A card that
 * nobody uses is powered down after the grace time; clients do not see that, its ATR stays, and the
 * next connect powers it up again. Movements that the driver tells of during an operation are looked
 * at when the operation is over, so an operation never finds the ground gone under it.
 *
 * The negotiated protocol belongs to the card, not to a client: it is open after each reset.
 */
#include "ifdhandler/slot.h"

#include <assert.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/iso7816/atr.h"

enum {
	/* A card stays powered so long after its last use, as programs that connect and disconnect
	 * around every operation rely on: PIN verification survives. */
	GRACE_MS = 5000,
	ANY_PROTOCOL = 0x1000, /* a retired "any" of PC/SC that programs still send */
	ATTR_ICC_PRESENCE = 0x00090300,
	ATTR_ICC_INTERFACE_STATUS = 0x00090301,
	ATTR_ATR_STRING = 0x00090303,
};

static void grace_start(struct slot *slot);

void slot_init(
	struct slot *slot, unsigned number, struct sd_event *event, const struct slot_host *host) {
	*slot = (struct slot){
		.event = event,
		.host = host,
		.number = number,
		.grace_usec = GRACE_MS * 1000ull,
		.presence = PRESENCE_UNKNOWN,
		.status = STATUS_STARTING,
	};
}

void slot_attach(struct slot *slot, const struct driver_ops *ops, struct driver *driver) {
	slot->ops = ops;
	slot->driver = driver;
}

void slot_done(struct slot *slot) {
	sd_event_source_disable_unref(slot->grace);
	slot->grace = NULL;
}

static void grace_stop(struct slot *slot) {
	sd_event_source_disable_unref(slot->grace);
	slot->grace = NULL;
}

/* Nothing of the card's state is valid any more. */
static void card_forget(struct slot *slot) {
	grace_stop(slot);
	slot->powered = 0;
	slot->unpowered = 0;
	slot->protocol = PROTOCOL_NONE;
	slot->atr_len = 0;
}

/* The card that was known is gone: users are told, the count goes on. */
static void card_left(struct slot *slot) {
	int had = slot->presence == PRESENCE_PRESENT || slot->presence == PRESENCE_MUTE;
	card_forget(slot);
	slot->presence = PRESENCE_ABSENT;
	slot->status = STATUS_OK;
	if (!had)
		return;
	slot->counter++;
	slot->host->lost(slot->host->userdata, slot, EVENT_REMOVED);
}

static void op_begin(struct slot *slot, driver_done_fn done, void *userdata) {
	assert(!slot->busy);
	grace_stop(slot);
	slot->busy = 1;
	slot->done = done;
	slot->done_userdata = userdata;
}

/* The end of every operation: the client hears of it first, then of movements meanwhile. */
static void op_end(struct slot *slot, const struct driver_result *result) {
	driver_done_fn done = slot->done;
	slot->busy = 0;
	slot->arriving = 0;
	slot->done = NULL;
	if (done)
		done(slot->done_userdata, result);
	if (!slot->busy && (slot->moved || slot->reset)) {
		int in = slot->in;
		enum driver_change change = slot->moved ? DRIVER_CARD_SWAPPED : DRIVER_CARD_RESET;
		slot->moved = slot->reset = 0;
		slot_presence(slot, in, in ? change : DRIVER_CARD_SAME);
	}
	if (slot->busy)
		return;
	grace_start(slot);
	slot->host->idle(slot->host->userdata, slot);
}

static void op_fail(struct slot *slot, enum status status, driver_done_fn done, void *userdata) {
	op_begin(slot, done, userdata);
	op_end(slot, &(struct driver_result){ .status = status });
}

/* ---- power ---- */

static void powered_up(struct slot *slot, const struct driver_result *result) {
	slot->powered = 1;
	slot->unpowered = 0;
	slot->atr_len = result->len > DRIVER_MAX_ATR ? DRIVER_MAX_ATR : result->len;
	memcpy(slot->atr, result->data, slot->atr_len);
	slot->presence = PRESENCE_PRESENT;
	slot->status = STATUS_OK;
}

/* Takes over what a power-up brought, in all its outcomes. */
static void power_result(struct slot *slot, const struct driver_result *result) {
	if (result->status == STATUS_NO_CARD || result->status == STATUS_CARD_REMOVED) {
		card_left(slot);
		return;
	}
	card_forget(slot);
	if (result->status == STATUS_OK) {
		powered_up(slot, result);
	} else if (status_is_reader_trouble(result->status)) {
		slot->presence = PRESENCE_UNKNOWN;
		slot->status = result->status;
	} else {
		slot->presence = PRESENCE_MUTE;
		slot->status = STATUS_OK;
	}
}

static void on_power_on(void *userdata, const struct driver_result *result) {
	struct slot *slot = userdata;
	struct driver_result told = *result;
	power_result(slot, result);
	if (told.status == STATUS_OK)
		told.data = slot->atr;
	if (slot->presence == PRESENCE_ABSENT)
		told.status = STATUS_NO_CARD;
	slot->host->changed(slot->host->userdata, slot);
	op_end(slot, &told);
}

void slot_power_on(struct slot *slot, enum driver_reset how, driver_done_fn done, void *userdata) {
	if (slot->presence == PRESENCE_UNKNOWN && slot->status != STATUS_STARTING) {
		op_fail(slot, slot->status, done, userdata);
		return;
	}
	op_begin(slot, done, userdata);
	slot->reset = 0; /* whoever asked for one gets it */
	slot->protocol = PROTOCOL_NONE;
	slot->ops->power_on(slot->driver, slot->number, how, on_power_on, slot);
}

/* From the first moment on nobody may count on power or protocol. */
static void power_down(struct slot *slot) {
	slot->powered = 0;
	slot->protocol = PROTOCOL_NONE;
}

static void on_power_off(void *userdata, const struct driver_result *result) {
	struct slot *slot = userdata;
	power_down(slot);
	slot->host->changed(slot->host->userdata, slot);
	op_end(slot, result);
}

void slot_power_off(struct slot *slot, driver_done_fn done, void *userdata) {
	if (!slot_has_card(slot)) {
		op_fail(slot, STATUS_NO_CARD, done, userdata);
		return;
	}
	op_begin(slot, done, userdata);
	slot->unpowered = 1;
	power_down(slot);
	slot->ops->power_off(slot->driver, slot->number, on_power_off, slot);
}

/* ---- grace time ---- */

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct slot *slot = userdata;
	grace_stop(slot);
	if (slot->busy || slot->used || !slot->powered)
		return 0;
	op_begin(slot, NULL, NULL);
	power_down(slot);
	slot->ops->power_off(slot->driver, slot->number, on_power_off, slot);
	return 0;
}

static void grace_start(struct slot *slot) {
	if (slot->grace || slot->used || !slot->powered || !slot->grace_usec)
		return;
	/* A card that stays powered when the timer cannot be had is a lesser harm than none at all. */
	(void)sd_event_add_time_relative(slot->event, &slot->grace, CLOCK_MONOTONIC,
		slot->grace_usec, 250000, on_grace, slot);
}

void slot_use(struct slot *slot, int used) {
	slot->used = used;
	grace_stop(slot);
	if (!slot->busy)
		grace_start(slot);
}

/* ---- movements ---- */

static void card_arrived(struct slot *slot) {
	op_begin(slot, NULL, NULL);
	slot->arriving = 1;
	slot->ops->power_on(slot->driver, slot->number, DRIVER_COLD, on_power_on, slot);
}

/* The same card, whose users have to begin anew. */
static void card_reset(struct slot *slot) {
	power_down(slot);
	slot->host->lost(slot->host->userdata, slot, EVENT_RESET);
	card_arrived(slot);
}

void slot_presence(struct slot *slot, int present, enum driver_change change) {
	int known = slot->presence != PRESENCE_UNKNOWN;
	int had = slot->presence == PRESENCE_PRESENT || slot->presence == PRESENCE_MUTE;
	int recovering = !known && slot->status != STATUS_STARTING;
	int looked = slot->looking;
	slot->in = present;
	slot->looking = 0;
	if (recovering && slot->shaken)
		slot->host->lost(slot->host->userdata, slot, present ? EVENT_RESET : EVENT_REMOVED);
	slot->shaken = 0;
	if (slot->busy) {
		/* A card that is being powered up for the first time is in, though not yet shown. */
		slot->moved |= (had || slot->arriving) != present || change == DRIVER_CARD_SWAPPED;
		slot->reset |= change == DRIVER_CARD_RESET;
		return;
	}
	if (had && present && change == DRIVER_CARD_RESET) {
		card_reset(slot);
		return;
	}
	if (had && present && change == DRIVER_CARD_SAME) {
		if (looked)
			slot->host->idle(slot->host->userdata, slot);
		return;
	}
	if (had || (known && !present))
		card_left(slot);
	if (recovering || (present && known))
		slot->counter++;
	if (present) {
		card_arrived(slot);
		return;
	}
	slot->presence = PRESENCE_ABSENT;
	slot->status = STATUS_OK;
	slot->host->changed(slot->host->userdata, slot);
}

void slot_trouble(struct slot *slot, enum status why) {
	if (slot->presence == PRESENCE_UNKNOWN && slot->status == why && !slot->looking)
		return;
	/* Told when the trouble is over: until then the reader is what programs hear of. */
	slot->shaken |= slot_has_card(slot);
	card_forget(slot);
	slot->presence = PRESENCE_UNKNOWN;
	slot->status = why;
	slot->moved = slot->reset = 0;
	slot->looking = 0;
	slot->host->changed(slot->host->userdata, slot);
}

void slot_look(struct slot *slot) {
	slot->looking = 1;
}

int slot_is_known(const struct slot *slot) {
	int starting = slot->presence == PRESENCE_UNKNOWN && slot->status == STATUS_STARTING;
	return !starting && !slot->looking;
}

/* ---- protocol ---- */

static void negotiate_next(struct slot *slot);

/* What the card speaks when nobody chooses: the protocol of TA2, else the first one offered. */
static uint32_t protocol_default(const struct slot *slot) {
	struct atr atr;
	if (atr_parse(slot->atr, slot->atr_len, &atr) < 0)
		return PROTOCOL_T0;
	return (atr.specific ? atr.specific_t : atr.first_t) == 1 ? PROTOCOL_T1 : PROTOCOL_T0;
}

static void protocol_settled(struct slot *slot, uint32_t protocol) {
	slot->protocol = protocol;
	slot->host->changed(slot->host->userdata, slot);
	op_end(slot, &(struct driver_result){ .protocol = protocol });
}

static void on_protocol(void *userdata, const struct driver_result *result) {
	struct slot *slot = userdata;
	enum status status = result->status;
	if (status == STATUS_OK) {
		protocol_settled(slot, result->protocol ? result->protocol : slot->wanted);
	} else if (status == STATUS_UNSUPPORTED) {
		protocol_settled(slot, protocol_default(slot));
	} else if (status == STATUS_PROTO_MISMATCH && slot->mask) {
		slot->refused = 1;
		negotiate_next(slot);
	} else {
		/* A card with which the reader can do neither of its protocols is of no use in it. */
		if (status == STATUS_PROTO_MISMATCH && slot->refused)
			status = STATUS_CARD_UNRESPONSIVE;
		op_end(slot, &(struct driver_result){ .status = status });
	}
}

/* T=1 first: it is the protocol with error recovery, and what programs have always been given. What
 * would do as well goes along: a reader that has settled for it is left alone. */
static void negotiate_next(struct slot *slot) {
	slot->wanted = slot->mask & PROTOCOL_T1 ? PROTOCOL_T1 : PROTOCOL_T0;
	uint32_t protocols = slot->mask;
	slot->mask &= ~slot->wanted;
	slot->ops->set_protocol(slot->driver, slot->number, protocols, on_protocol, slot);
}

/* What the ATR offers: after an ATR that is none, nothing. */
static uint32_t protocols_offered(const struct slot *slot) {
	struct atr atr;
	return atr_parse(slot->atr, slot->atr_len, &atr) == 0 ? atr_protocols(&atr) : PROTOCOL_NONE;
}

void slot_negotiate(struct slot *slot, uint32_t mask, driver_done_fn done, void *userdata) {
	if (slot->protocol) {
		op_begin(slot, done, userdata);
		enum status status = mask & slot->protocol ? STATUS_OK : STATUS_PROTO_MISMATCH;
		op_end(slot,
			&(struct driver_result){ .status = status, .protocol = slot->protocol });
		return;
	}
	if (mask & ANY_PROTOCOL)
		mask |= PROTOCOL_T0 | PROTOCOL_T1;
	mask &= protocols_offered(slot) & (PROTOCOL_T0 | PROTOCOL_T1);
	if (!mask) {
		op_fail(slot, STATUS_PROTO_MISMATCH, done, userdata);
		return;
	}
	op_begin(slot, done, userdata);
	slot->mask = mask;
	slot->refused = 0;
	negotiate_next(slot);
}

/* ---- exchange ---- */

static void on_exchange(void *userdata, const struct driver_result *result) {
	struct slot *slot = userdata;
	/* The driver's presence upcall follows where the card really went; until then it counts. */
	op_end(slot, result);
}

void slot_transmit(struct slot *slot, uint32_t protocol, const struct driver_bytes *apdu,
	driver_done_fn done, void *userdata) {
	op_begin(slot, done, userdata);
	slot->ops->transmit(slot->driver, slot->number, protocol, apdu, on_exchange, slot);
}

void slot_control(struct slot *slot, uint32_t code, const struct driver_bytes *in,
	driver_done_fn done, void *userdata) {
	op_begin(slot, done, userdata);
	slot->ops->control(slot->driver, slot->number, code, in, on_exchange, slot);
}

void slot_abandon(struct slot *slot) {
	if (slot->busy && slot->ops->abandon)
		slot->ops->abandon(slot->driver, slot->number);
}

/* ---- what is known without the card ---- */

enum status slot_known(struct slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	return slot->ops->known(slot->driver, slot->number, code, buf, ret_len);
}

int slot_is_for_card(const struct slot *slot, uint32_t code) {
	return slot->ops->is_for_card && slot->ops->is_for_card(slot->driver, slot->number, code);
}

enum status slot_attrib(struct slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	int in = slot->presence == PRESENCE_PRESENT || slot->presence == PRESENCE_MUTE;
	switch (tag) {
	case ATTR_ATR_STRING:
		memcpy(buf, slot->atr, slot->atr_len);
		*ret_len = slot->atr_len;
		return STATUS_OK;
	case ATTR_ICC_PRESENCE: /* PC/SC part 3: 0 not present, 2 present */
		buf[0] = in ? 2 : 0;
		*ret_len = 1;
		return STATUS_OK;
	case ATTR_ICC_INTERFACE_STATUS: /* 1: contact active */
		buf[0] = slot->powered != 0;
		*ret_len = 1;
		return STATUS_OK;
	default: return slot->ops->get_attrib(slot->driver, slot->number, tag, buf, ret_len);
	}
}
