/* SPDX-License-Identifier: MIT */
/*
 * Models a USB CCID reader as the driver interface wants it: slots numbered over all interfaces,
 * one operation per slot at a time, each ended exactly once.
 *
 * An operation is a chain of commands: ccid_slot_ask sends one, its answer calls the step that was
 * named, until a step ends the operation. The files beside this one are such chains: ccid_power,
 * ccid_protocol, ccid_transmit, ccid_control; ccid_open and ccid_presence live beside operations.
 * Every answer's card status is looked at before its step, so a step that finds the card without
 * power knows that the host has been told.
 *
 * Can never happen: an upcall after `gone`, an operation started while the device is not ready.
 */
#include "ifdhandler/ccid/ccid_driver.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

/* ---- operations ---- */

/* What was sent may hold a PIN that the program knows. */
static void forget_request(struct ccid_slot *slot) {
	if (slot->pin.len)
		explicit_bzero(&slot->pin, sizeof(slot->pin));
	if (slot->lent)
		explicit_bzero(slot->lent, slot->lent_len);
	free(slot->lent);
	slot->lent = NULL;
}

void ccid_slot_end(struct ccid_slot *slot, const struct driver_result *result) {
	driver_done_fn done = slot->done;
	void *userdata = slot->userdata;
	forget_request(slot);
	slot->busy = 0;
	slot->done = NULL;
	ccid_presence_poll(slot->driver);
	done(userdata, result);
}

void ccid_slot_fail(struct ccid_slot *slot, enum status status) {
	ccid_slot_end(slot, &(struct driver_result){ .status = status });
}

static void on_command(void *userdata, const struct ccid_reply *reply, int error) {
	struct ccid_slot *slot = userdata;
	int had = slot->present;
	if (reply)
		ccid_presence_see(slot, reply->icc);
	if (slot->give_up_at && (!reply || slot->give_up_at <= ccid_now())) {
		/* The only one, and withdrawn: the card has not seen anything of it. */
		if (error != -ECANCELED || slot->n_asked > 1)
			ccid_slot_lose(slot);
		ccid_slot_fail(slot, ccid_status_of_error(slot, error ? error : -ETIMEDOUT));
		return;
	}
	/* A command's word alone is not believed for good: readers have been seen to say so once too
	 * often, and no notification would ever correct it. Where the two go on contradicting each other,
	 * the next look is left to time: who powers up what is told to be in would never rest. */
	if (reply && reply->icc == CCID_ICC_ABSENT && had && !slot->doubted &&
		slot->driver->phase == CCID_READY) {
		slot->doubted = 1;
		slot->retell = 1;
		ccid_presence_ask(slot);
	}
	slot->step(slot, reply, error);
}

static void hurry(struct ccid_slot *slot) {
	uint64_t now = ccid_now();
	uint64_t left = slot->give_up_at > now ? slot->give_up_at - now : 0;
	ccid_hurry(slot->driver->ccid, &slot->command, left);
}

void ccid_slot_ask(struct ccid_slot *slot, const struct ccid_request *request,
	uint64_t timeout_usec, ccid_step_fn step) {
	ccid_slot_ask_after(slot, 0, request, timeout_usec, step);
}

void ccid_slot_ask_after(struct ccid_slot *slot, uint64_t delay_usec,
	const struct ccid_request *request, uint64_t timeout_usec, ccid_step_fn step) {
	uint64_t base = slot->driver->quirks.base_timeout_ms * UINT64_C(1000);
	/* At T=1 a card may ask for 255 times its time, which may be minutes (ISO/IEC 7816-3 11.6.2.3). */
	if (timeout_usec > CCID_MAX_EXTENSION_USEC)
		timeout_usec = CCID_MAX_EXTENSION_USEC;
	slot->step = step;
	slot->n_asked++;
	slot->command = (struct ccid_command){
		.request = *request,
		.slot = slot->index,
		.timeout_usec = timeout_usec < base ? base : timeout_usec,
		.delay_usec = delay_usec,
		.done = on_command,
		.userdata = slot,
	};
	ccid_submit(slot->driver->ccid, &slot->command);
	if (slot->busy && slot->give_up_at)
		hurry(slot);
}

enum status ccid_status_of_error(const struct ccid_slot *slot, int error) {
	if (slot->driver->phase == CCID_GONE)
		return STATUS_READER_GONE;
	switch (error) {
	case -ENODEV: return STATUS_READER_GONE;
	case -ENOMEM: return STATUS_NO_MEMORY;
	case -ETIMEDOUT: return STATUS_EXCHANGE_TIMEOUT;
	default: return STATUS_EXCHANGE_FAILED;
	}
}

void ccid_slot_forget(struct ccid_slot *slot) {
	slot->powered = 0;
	slot->protocol = PROTOCOL_NONE;
	slot->atr_len = 0;
	slot->atr_usable = 0;
	slot->n_mute = 0;
	exchange_stop(&slot->exchange);
}

void ccid_slot_renew(struct ccid_slot *slot) {
	slot->no_ifsd = 0;
	slot->warned = 0;
}

void ccid_slot_lose(struct ccid_slot *slot) {
	struct driver *driver = slot->driver;
	ccid_slot_forget(slot);
	slot->unclean = 1;
	if (driver->phase == CCID_READY && !ccid_is_stopped(driver->ccid) && slot->present)
		driver->host.presence(driver->host.userdata, slot->index, 1, DRIVER_CARD_RESET);
}

/* The slot, taken for an operation; NULL where that has ended already. */
static struct ccid_slot *begin(
	struct driver *driver, unsigned index, driver_done_fn done, void *userdata) {
	enum status status = driver->trouble;
	if (driver->phase == CCID_READY && !ccid_is_stopped(driver->ccid)) {
		assert(index < driver->n_slots);
		struct ccid_slot *slot = &driver->slots[index];
		assert(!slot->busy);
		slot->busy = 1;
		slot->yields = 0;
		slot->give_up_at = 0;
		slot->n_asked = 0;
		slot->done = done;
		slot->userdata = userdata;
		return slot;
	}
	done(userdata, &(struct driver_result){ .status = status });
	return NULL;
}

static void power_on(struct driver *driver, unsigned index, enum driver_reset how,
	driver_done_fn done, void *userdata) {
	struct ccid_slot *slot = begin(driver, index, done, userdata);
	if (slot)
		ccid_power_on(slot, how);
}

static void power_off(struct driver *driver, unsigned index, driver_done_fn done, void *userdata) {
	struct ccid_slot *slot = begin(driver, index, done, userdata);
	if (slot)
		ccid_power_off(slot);
}

static void set_protocol(struct driver *driver, unsigned index, uint32_t protocols,
	driver_done_fn done, void *userdata) {
	struct ccid_slot *slot = begin(driver, index, done, userdata);
	if (slot)
		ccid_set_protocol(slot, protocols);
}

static void transmit(struct driver *driver, unsigned index, uint32_t protocol,
	const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	struct ccid_slot *slot = begin(driver, index, done, userdata);
	if (!slot)
		return;
	slot->yields = 1;
	ccid_transmit(slot, protocol, apdu);
}

static void control(struct driver *driver, unsigned index, uint32_t code,
	const struct driver_bytes *in, driver_done_fn done, void *userdata) {
	struct ccid_slot *slot = begin(driver, index, done, userdata);
	if (!slot)
		return;
	slot->yields = 1;
	ccid_control(slot, code, in);
}

/* A card that has asked for time would take nobody knows how long; others are mostly done soon, and
 * ending an exchange costs its card a reset. */
static void abandon(struct driver *driver, unsigned index) {
	if (index >= driver->n_slots)
		return;
	struct ccid_slot *slot = &driver->slots[index];
	if (!slot->busy || !slot->yields || slot->give_up_at)
		return;
	slot->give_up_at = ccid_now() + (slot->command.extended ? 0 : CCID_ABANDON_USEC);
	if (!ccid_withdraw(driver->ccid, &slot->command))
		hurry(slot);
}

/* ---- without I/O ---- */

static unsigned n_slots(const struct driver *driver) {
	return driver->n_slots;
}

static enum status get_attrib(
	struct driver *driver, unsigned index, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	if (index >= driver->n_slots)
		return STATUS_UNSUPPORTED;
	return ccid_get_attrib(&driver->slots[index], tag, buf, ret_len);
}

static enum status known(
	struct driver *driver, unsigned index, uint32_t code, uint8_t *buf, size_t *ret_len) {
	if (index >= driver->n_slots)
		return STATUS_UNSUPPORTED;
	return ccid_known(&driver->slots[index], code, buf, ret_len);
}

static int is_for_card(const struct driver *driver, unsigned index, uint32_t code) {
	return index < driver->n_slots && ccid_is_for_card(&driver->slots[index], code);
}

static size_t describe(const struct driver *driver, unsigned index, char *buf, size_t size) {
	buf[0] = '\0';
	return index < driver->n_slots ? ccid_describe(&driver->slots[index], buf, size) : 0;
}

static int watch(struct driver *driver, unsigned index, int on) {
	if (index >= driver->n_slots)
		return 0;
	struct ccid_slot *slot = &driver->slots[index];
	int is_news = on && !slot->watched;
	slot->watched = on;
	if (driver->phase != CCID_READY)
		return 0;
	/* What happened while nobody looked. */
	int ask = is_news && slot->known && !slot->mute &&
		(driver->bells[slot->interface - driver->desc.interfaces].polled ||
			ccid_presence_is_old(slot));
	if (ask) {
		slot->retell = 1;
		ccid_presence_ask(slot);
	}
	ccid_presence_poll(driver);
	return ask;
}

/* ---- life ---- */

static void driver_free(struct driver *driver) {
	if (!driver)
		return;
	driver->phase = CCID_GONE;
	driver->trouble = STATUS_READER_GONE;
	if (driver->timer)
		(void)sd_event_source_set_enabled(driver->timer, SD_EVENT_OFF);
	ccid_close(driver, -ENODEV);
	for (unsigned i = 0; i < driver->n_made; i++) {
		exchange_stop(&driver->slots[i].exchange);
		explicit_bzero(driver->slots[i].scratch, sizeof(driver->slots[i].scratch));
	}
	sd_event_source_disable_unref(driver->timer);
	free(driver->slots);
	free(driver->notices);
	free(driver->rates);
	free(driver);
}

int ccid_driver_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, const struct usb_ops *ops, struct driver **ret_driver) {
	if (!config->node)
		return -EINVAL;
	struct driver *driver = calloc(1, sizeof(*driver));
	if (!driver)
		return -ENOMEM;
	driver->config = config;
	driver->event = event;
	driver->host = *host;
	driver->ops = ops;
	driver->trouble = STATUS_STARTING;
	quirk_parse(config->quirks, &driver->quirks);
	driver->notices = malloc(CCID_MAX_INTERFACES * CCID_MAX_NOTICE);
	driver->rates = malloc(CCID_MAX_INTERFACES * sizeof(*driver->rates));
	int r = driver->notices && driver->rates ? ccid_open(driver) : -ENOMEM;
	if (r < 0) {
		driver_free(driver);
		return r;
	}
	*ret_driver = driver;
	return 0;
}

static int init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, struct driver **ret_driver) {
	return ccid_driver_init(config, event, host, &usb_libusb, ret_driver);
}

const struct driver_ops driver_ccid = {
	.name = "ccid",
	.init = init,
	.free = driver_free,
	.n_slots = n_slots,
	.power_on = power_on,
	.power_off = power_off,
	.set_protocol = set_protocol,
	.transmit = transmit,
	.known = known,
	.is_for_card = is_for_card,
	.control = control,
	.abandon = abandon,
	.get_attrib = get_attrib,
	.describe = describe,
	.watch = watch,
};
