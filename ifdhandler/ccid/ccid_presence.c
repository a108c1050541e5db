/* SPDX-License-Identifier: MIT */
/*
 * Models how card movements are noticed: the interrupt endpoint is a bell, the slot's status is the
 * truth. After each ring the slots that it names are asked, and only what they answer is told;
 * readers ring too late, too often, for the wrong slot, or with the wrong bits. Every other answer
 * of the reader carries the same status and is looked at, too.
 *
 * One transfer per interrupt endpoint stays open, so a reader at rest wakes nobody up. Without an
 * endpoint, or when it fails ten times in a row, a slot is asked after 0.4 s without an answer, and
 * only while somebody watches it or its card has power. Slots with a bell are asked, too, while
 * somebody watches: after 5 s of silence without a card, 30 s with one.
 *
 * A slot that sees no card, and whose row says so, has one when the first slot has (mirror-presence).
 *
 * A card that has lost the power that we gave it was taken out and put in again, or the reader lost
 * power: both mean a new card.
 */
#include <errno.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid/ccid_driver.h"

enum {
	/* Together 0.4 s at most, as other drivers do. */
	POLL_USEC = 300000,
	POLL_ACCURACY_USEC = 100000,
	POLL_TOKEN_USEC = 5000000, /* the card of a token never leaves it */
	/* A bell may fail to ring, and some do now and then: a card that was put in shall be seen before
	 * people try again, one that was taken out is missed by nobody. Chosen. */
	CHECK_EMPTY_USEC = 5000000,
	CHECK_CARD_USEC = 30000000,
	RETRY_USEC = 100000, /* after an error: doubled each time, to 5 s */
	RETRY_MAX_USEC = 5000000,
	MAX_ERRORS = 10,
	/* An exchange with a card that is said to have left need not take longer: chosen. */
	HURRY_USEC = 2000000,
	/* CCID 1.10 6.3.2: offset of bHardwareErrorCode, and its one value. */
	HARDWARE_ERROR_CODE = 3,
	OVER_CURRENT = 1,
	PRESENT = 1, /* CCID 1.10 6.3.1: bits of each slot */
	CHANGED = 2,
};

static void listen(struct ccid_bell *bell);

/* ---- slots that see no card ---- */

/* The slot whose card stands for that of `slot`; NULL: it sees for itself. */
static struct ccid_slot *leader_of(const struct ccid_slot *slot) {
	const struct driver *driver = slot->driver;
	if (!quirk_has(&driver->quirks, QUIRK_MIRROR_PRESENCE) ||
		slot->interface->interrupt_in.address || slot->interface == driver->desc.interfaces)
		return NULL;
	return &driver->slots[0];
}

int ccid_presence_is_mirrored(const struct ccid_slot *slot) {
	return leader_of(slot) != NULL;
}

enum ccid_icc ccid_presence_truth(const struct ccid_slot *slot, enum ccid_icc icc) {
	const struct ccid_slot *leader = leader_of(slot);
	if (!leader)
		return icc;
	if (!leader->present)
		return CCID_ICC_ABSENT;
	/* Whether there is a card it does not know, whether that has power it may. */
	if (icc == CCID_ICC_ABSENT)
		return slot->powered ? CCID_ICC_ACTIVE : CCID_ICC_INACTIVE;
	return icc;
}

/* Tells the host; slots that see nothing follow the first one. */
static void tell(struct ccid_slot *slot, int present, int swapped) {
	struct driver *driver = slot->driver;
	enum driver_change change = swapped ? DRIVER_CARD_SWAPPED : DRIVER_CARD_SAME;
	slot->present = present;
	driver->host.presence(driver->host.userdata, slot->index, present, change);
	for (unsigned i = 1; i < driver->n_slots && driver->phase == CCID_READY; i++) {
		struct ccid_slot *other = &driver->slots[i];
		if (leader_of(other) != slot || !other->known)
			continue;
		ccid_slot_forget(other);
		tell(other, present, swapped);
	}
}

/* ---- status ---- */

void ccid_presence_see(struct ccid_slot *slot, enum ccid_icc icc) {
	struct driver *driver = slot->driver;
	icc = ccid_presence_truth(slot, icc);
	int present = icc != CCID_ICC_ABSENT;
	int swapped = icc == CCID_ICC_INACTIVE && slot->powered;
	slot->heard = ccid_now();
	slot->mute = 0;
	if (swapped || !present) {
		ccid_slot_forget(slot);
		slot->unclean = 0;
		ccid_slot_renew(slot);
	}
	if (driver->phase != CCID_READY || !slot->known)
		return;
	if (slot->present == present && !swapped && !slot->retell)
		return;
	slot->retell = 0;
	tell(slot, present, swapped);
}

static void on_status(void *userdata, const struct ccid_reply *reply, int error) {
	struct ccid_slot *slot = userdata;
	struct driver *driver = slot->driver;
	(void)error; /* the engine has seen to it */
	int moved = slot->moved;
	slot->moved = 0;
	if (slot->again && driver->phase == CCID_READY) {
		slot->again = 0;
		ccid_presence_ask(slot);
	}
	ccid_presence_poll(driver);
	if (!reply || driver->phase != CCID_READY)
		return;
	int same = slot->present && reply->icc != CCID_ICC_ABSENT && !slot->powered && !slot->busy;
	if (reply->icc == CCID_ICC_ABSENT)
		slot->doubted = 0;
	ccid_presence_see(slot, reply->icc);
	/* A card without power shows no other sign of having been out and in again. */
	if (moved && same) {
		ccid_slot_renew(slot);
		tell(slot, 1, 1);
	}
}

void ccid_presence_ask(struct ccid_slot *slot) {
	/* The answer that is under way may have been made before what we ask about. */
	if (!ccid_is_at_rest(&slot->status)) {
		slot->again = 1;
		return;
	}
	slot->heard = ccid_now();
	slot->status = (struct ccid_command){
		.request = ccid_msg_plain(CCID_GET_SLOT_STATUS),
		.slot = slot->index,
		.timeout_usec = CCID_STATUS_USEC,
		.done = on_status,
		.userdata = slot,
	};
	ccid_submit(slot->driver->ccid, &slot->status);
}

/* ---- interrupt endpoint ---- */

/* The bits of one slot; "changed" where the message does not tell. */
static unsigned bits_of(const struct usb_transfer *t, unsigned local) {
	if (!ccid_msg_slot_changed(t->data, t->actual, local))
		return 0;
	size_t at = 1 + local / 4;
	if (at >= t->actual || t->data[0] != CCID_NOTIFY_SLOT_CHANGE)
		return CHANGED;
	return t->data[at] >> (2 * (local % 4)) & (PRESENT | CHANGED);
}

static void ring_slot(struct ccid_slot *slot, unsigned bits) {
	struct driver *driver = slot->driver;
	if (!(bits & CHANGED))
		return;
	if (driver->phase != CCID_READY) {
		slot->moved = 1; /* asked again when all is open */
		return;
	}
	if ((bits & PRESENT) && slot->present && !slot->powered && !slot->busy)
		slot->moved = 1;
	if (bits == CHANGED && slot->busy)
		ccid_hurry(driver->ccid, &slot->command, HURRY_USEC);
	ccid_presence_ask(slot);
}

/* CCID 1.10 6.3.2: said once for each open, the device may repeat it as it likes. */
static void warn(struct ccid_bell *bell) {
	struct driver *driver = bell->driver;
	const struct usb_transfer *t = &bell->transfer;
	char text[64];
	if (bell->warned || t->actual == 0 || t->data[0] != CCID_HARDWARE_ERROR)
		return;
	bell->warned = 1;
	unsigned code = t->actual > HARDWARE_ERROR_CODE ? t->data[HARDWARE_ERROR_CODE] : 0;
	(void)snprintf(text, sizeof(text), "the reader reports a hardware error (code %02Xh%s)",
		code, code == OVER_CURRENT ? ", over-current" : "");
	if (driver->host.advice)
		driver->host.advice(driver->host.userdata, text);
}

static void ring(struct ccid_bell *bell) {
	struct driver *driver = bell->driver;
	if (!driver->ccid || ccid_is_stopped(driver->ccid))
		return;
	warn(bell);
	for (unsigned i = 0; i < bell->interface->n_slots; i++)
		ring_slot(&driver->slots[bell->first_slot + i], bits_of(&bell->transfer, i));
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct ccid_bell *bell = userdata;
	listen(bell);
	return 0;
}

/* Listens again after a while that grows; after ten errors the slots are asked instead. */
static void back_off(struct ccid_bell *bell) {
	struct driver *driver = bell->driver;
	uint64_t wait = RETRY_MAX_USEC;
	if (++bell->n_errors >= MAX_ERRORS) {
		bell->polled = 1;
		ccid_presence_poll(driver);
		return;
	}
	if (bell->n_errors < 7) /* 100 ms × 2^6 is beyond 5 s */
		wait = RETRY_USEC * (UINT64_C(1) << (bell->n_errors - 1));
	(void)sd_event_source_set_time(bell->retry, ccid_now() + wait);
	(void)sd_event_source_set_enabled(bell->retry, SD_EVENT_ONESHOT);
}

static void on_interrupt(struct usb_transfer *transfer, void *userdata) {
	struct ccid_bell *bell = userdata;
	struct driver *driver = bell->driver;
	if (transfer->error == -ENODEV || driver->phase == CCID_GONE || !driver->usb ||
		bell->polled)
		return;
	if (transfer->error == -EPIPE)
		(void)driver->ops->clear_halt(driver->usb, transfer->endpoint);
	if (transfer->error) {
		back_off(bell);
		return;
	}
	bell->n_errors = 0;
	ring(bell);
	listen(bell);
}

static void listen(struct ccid_bell *bell) {
	struct driver *driver = bell->driver;
	if (!driver->usb || bell->polled || bell->transfer.pending)
		return;
	int r = driver->ops->submit(driver->usb, &bell->transfer);
	if (r < 0 && r != -ENODEV)
		back_off(bell);
}

static void start_bell(struct ccid_bell *bell) {
	const struct ccid_interface *i = bell->interface;
	bell->n_errors = 0;
	bell->warned = 0;
	bell->polled = i->interrupt_in.address == 0;
	bell->transfer = (struct usb_transfer){
		.kind = USB_INTERRUPT,
		.endpoint = i->interrupt_in.address,
		.data = bell->buf,
		.len = i->interrupt_in.packet_size,
		.done = on_interrupt,
		.userdata = bell,
	};
	if (bell->polled)
		return;
	if (!bell->retry &&
		sd_event_add_time(bell->driver->event, &bell->retry, CLOCK_MONOTONIC, 0, RETRY_USEC,
			on_retry, bell) < 0) {
		bell->polled = 1;
		return;
	}
	(void)sd_event_source_set_enabled(bell->retry, SD_EVENT_OFF);
	listen(bell);
}

/* ---- polling ---- */

/* After how much silence the slot is asked, 0: it need not be. */
static uint64_t patience_of(const struct driver *driver, const struct ccid_slot *slot) {
	const struct ccid_bell *bell = &driver->bells[slot->interface - driver->desc.interfaces];
	/* Each question that is not answered costs the other slots a ladder (ccid_pipe.c). */
	if (leader_of(slot) || slot->mute)
		return 0;
	/* An answer that is under way tells as much. */
	if (slot->busy || !ccid_is_at_rest(&slot->status))
		return 0;
	if (bell->polled || quirk_has(&driver->quirks, QUIRK_POLL)) {
		if (!slot->watched && !slot->powered)
			return 0;
		return slot->interface->features & CCID_FEATURE_TOKEN ? POLL_TOKEN_USEC : POLL_USEC;
	}
	if (!slot->watched)
		return 0;
	return slot->present ? CHECK_CARD_USEC : CHECK_EMPTY_USEC;
}

/* When the slot is to be asked, UINT64_MAX: never. */
static uint64_t due_of(const struct driver *driver, const struct ccid_slot *slot) {
	uint64_t patience = patience_of(driver, slot);
	return patience ? slot->heard + patience : UINT64_MAX;
}

int ccid_presence_is_old(const struct ccid_slot *slot) {
	return due_of(slot->driver, slot) <= ccid_now();
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct driver *driver = userdata;
	uint64_t now = ccid_now();
	for (unsigned i = 0; i < driver->n_slots && driver->phase == CCID_READY; i++)
		if (due_of(driver, &driver->slots[i]) <= now)
			ccid_presence_ask(&driver->slots[i]);
	ccid_presence_poll(driver);
	return 0;
}

/* The timer is only ever moved forward, or switched off: exchanges cost no call of the kernel. */
static void set_poll(struct driver *driver, uint64_t next) {
	int on = SD_EVENT_OFF;
	uint64_t due = 0;
	if (!driver->poll &&
		sd_event_add_time(driver->event, &driver->poll, CLOCK_MONOTONIC, next,
			POLL_ACCURACY_USEC, on_poll, driver) < 0)
		return;
	(void)sd_event_source_get_enabled(driver->poll, &on);
	(void)sd_event_source_get_time(driver->poll, &due);
	if (on != SD_EVENT_OFF && due <= next)
		return;
	(void)sd_event_source_set_time(driver->poll, next);
	(void)sd_event_source_set_enabled(driver->poll, SD_EVENT_ONESHOT);
}

void ccid_presence_poll(struct driver *driver) {
	if (driver->phase != CCID_READY)
		return;
	uint64_t next = UINT64_MAX;
	for (unsigned i = 0; i < driver->n_slots; i++) {
		uint64_t due = due_of(driver, &driver->slots[i]);
		next = due < next ? due : next;
	}
	if (next != UINT64_MAX)
		set_poll(driver, next);
	else if (driver->poll)
		(void)sd_event_source_set_enabled(driver->poll, SD_EVENT_OFF);
}

/* ---- life ---- */

void ccid_presence_start(struct driver *driver) {
	unsigned slot = 0;
	for (unsigned i = 0; i < driver->desc.n_interfaces; i++) {
		struct ccid_bell *bell = &driver->bells[i];
		bell->driver = driver;
		bell->interface = &driver->desc.interfaces[i];
		bell->first_slot = slot;
		bell->buf = driver->notices + i * CCID_MAX_NOTICE;
		slot += bell->interface->n_slots;
		start_bell(bell);
	}
}

void ccid_presence_stop(struct driver *driver) {
	for (unsigned i = 0; i < CCID_MAX_INTERFACES; i++) {
		struct ccid_bell *bell = &driver->bells[i];
		sd_event_source_disable_unref(bell->retry);
		bell->retry = NULL;
		bell->polled = 1; /* a bell that is stopped does not listen again */
	}
	sd_event_source_disable_unref(driver->poll);
	driver->poll = NULL;
}
