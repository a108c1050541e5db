/* SPDX-License-Identifier: MIT */
/* One slot: card present, powered, negotiated; runs one operation of its driver at a time. */
#pragma once

#include "ifdhandler/driver.h"
#include "wire/message.h"

struct sd_event;
struct sd_event_source;
struct slot;

/* What a slot tells its owner (service.c). */
struct slot_host {
	void *userdata;
	/* Something that clients see is different now; ATR and all are known. */
	void (*changed)(void *userdata, struct slot *slot);
	/* The card went, or lost its state without its users' doing (EVENT_REMOVED, EVENT_RESET). */
	void (*lost)(void *userdata, struct slot *slot, unsigned event);
	/* No operation is under way any more: the next may start. */
	void (*idle)(void *userdata, struct slot *slot);
};

struct slot {
	const struct driver_ops *ops;
	struct driver *driver;
	struct sd_event *event;
	const struct slot_host *host;
	unsigned number;
	uint64_t grace_usec; /* powered down so long after the last use; 0 = never */

	unsigned presence;  /* PRESENCE_…; unknown until ATR or absence is known */
	enum status status; /* while unknown: why */
	int in;             /* what the driver last said: a card is in */
	int powered;        /* the card has power now */
	int unpowered;      /* a client took the power away: clients see it */
	uint32_t protocol;  /* negotiated for all, 0 = none */
	uint16_t counter;   /* insertions and removals */
	uint8_t atr[DRIVER_MAX_ATR];
	size_t atr_len;

	int busy;        /* an operation is under way */
	int used;        /* somebody is connected */
	int shaken;      /* trouble took the card's state from its users, who are told afterwards */
	int looking;     /* nobody watched for a while: what is known may be out of date */
	int arriving;    /* the operation is the first power-up of a card that came */
	int moved;       /* the driver told of a movement during the operation */
	int reset;       /* or that the card has to be powered up anew */
	uint32_t mask;   /* protocols still to try in a negotiation */
	uint32_t wanted; /* the one being tried */
	int refused;     /* one was tried already, and the reader cannot do it */
	driver_done_fn done;
	void *done_userdata;
	struct sd_event_source *grace;
};

/* Makes slot `number`, not known yet; the driver is given later by slot_attach. */
void slot_init(
	struct slot *slot, unsigned number, struct sd_event *event, const struct slot_host *host);
void slot_attach(struct slot *slot, const struct driver_ops *ops, struct driver *driver);
void slot_done(struct slot *slot);

/* Upcalls of the driver for this slot. */
void slot_presence(struct slot *slot, int present, enum driver_change change);
void slot_trouble(struct slot *slot, enum status why);

/* What is known may be out of date until the driver tells of presence again, which it will. */
void slot_look(struct slot *slot);

/* Is the state of the slot (or its trouble) known? */
int slot_is_known(const struct slot *slot);

/* Somebody is connected or nobody is any more: starts and stops the grace time. */
void slot_use(struct slot *slot, int used);

/* Is a card there and did it answer to reset? */
static inline int slot_has_card(const struct slot *slot) {
	return slot->presence == PRESENCE_PRESENT;
}

/*
 * Operations: only while !slot->busy. `done` is called exactly once, possibly before the function
 * returns; the caller touches nothing afterwards. host->idle follows when the slot is free again.
 */

/* Powers the card up, or resets it, and stores its ATR. The protocol is open afterwards. */
void slot_power_on(struct slot *slot, enum driver_reset how, driver_done_fn done, void *userdata);
/* Takes the power away at a client's wish. */
void slot_power_off(struct slot *slot, driver_done_fn done, void *userdata);
/* Settles on one protocol of `mask` (0x1000 counts as any): the one in force, else T=1, else T=0, of
 * those that the ATR offers. A reader that lets nobody choose settles on the card's first one. Result:
 * the protocol. PROTO_MISMATCH or CARD_UNRESPONSIVE else. */
void slot_negotiate(struct slot *slot, uint32_t mask, driver_done_fn done, void *userdata);
void slot_transmit(struct slot *slot, uint32_t protocol, const struct driver_bytes *apdu,
	driver_done_fn done, void *userdata);
void slot_control(struct slot *slot, uint32_t code, const struct driver_bytes *in,
	driver_done_fn done, void *userdata);
/* The client of the exchange or control code under way has gone: it need not be waited for. */
void slot_abandon(struct slot *slot);

/* Control code `code` from what is known, at any time: as driver_ops.known. */
enum status slot_known(struct slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len);
/* Does it send a command to the card: as driver_ops.is_for_card. */
int slot_is_for_card(const struct slot *slot, uint32_t code);

/* Attribute `tag` into `buf` of DRIVER_MAX_ATTRIB bytes, without I/O. */
enum status slot_attrib(struct slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len);
