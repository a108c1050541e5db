/* SPDX-License-Identifier: MIT */
/*
 * Models the way from a device node to a reader that answers, and back when it stops answering.
 *
 * Open the node, find the CCID interfaces, claim them all; ask for the speeds they know; then ask
 * every slot for its status: the first answer may be slow (firmware that boots) or lost (data
 * toggles left over from an earlier owner), so each interface gets 3 s, and after clearing both
 * halts twice 1 s more. One interface that answers makes a reader; slots of the others stay empty.
 * The device is neither reset nor configured anew, and no kernel driver is detached: other
 * functions of a composite device live beside us.
 *
 * What goes wrong is told once, and tried again after 1, 2, 5 and then every 10 s, except what
 * cannot change while the device is plugged in: its descriptors. Meanwhile the device is closed, for
 * others to use. Only one alarm is ever set.
 *
 * A handle that dies is mostly an unplug, but system suspend does the same to devices that stay. So
 * the device is gone only if its node cannot be opened any more; else it is opened again at once, and
 * the cards count as reset.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "ifdhandler/usb/claimant.h"

enum {
	ALARM_ACCURACY_USEC = 20000, /* chosen: nobody sees the difference */
	N_PROBES = 3,
	PROBE_USEC = 3000000,
	PROBE_AGAIN_USEC = 1000000,
	/* CCID 1.10 5.3.3: class request to an interface, device to host. */
	GET_DATA_RATES_TYPE = 0xa1,
	GET_DATA_RATES = 3,
	/* A sole interface may be reset after that many failed opens, where a quirk allows it. */
	RESET_AFTER = 2,
	/* No system goes to sleep twice in that time: chosen. */
	STEADY_USEC = 1000000,
};

static void open_device(struct driver *driver);
static void ask_rates(struct driver *driver);
static void probe_next(struct driver *driver);

static int on_alarm(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)usec;
	struct driver *driver = userdata;
	(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	driver->on_time(driver);
	return 0;
}

/* Calls `on_time` after `usec`; any earlier appointment is off. */
static void set_alarm(struct driver *driver, uint64_t usec, void (*on_time)(struct driver *)) {
	driver->on_time = on_time;
	(void)sd_event_source_set_time(driver->timer, ccid_now() + usec);
	(void)sd_event_source_set_enabled(driver->timer, SD_EVENT_ONESHOT);
}

static void alarm_off(struct driver *driver) {
	(void)sd_event_source_set_enabled(driver->timer, SD_EVENT_OFF);
}

/* Gives the device back until the next try, outside of any transfer's end. */
static void let_go(struct driver *driver) {
	ccid_close(driver, -EIO);
	set_alarm(driver, driver->wait_usec, open_device);
}

static uint64_t retry_usec(const struct driver *driver) {
	static const unsigned seconds[] = { 1, 2, 5, 10 };
	unsigned n = driver->n_failed < 4 ? driver->n_failed : 3;
	return seconds[n] * UINT64_C(1000000);
}

/* The device cannot be used for now: told once, and tried again. */
static void trouble(struct driver *driver, enum status why, const char *detail) {
	int is_news = driver->phase != CCID_TROUBLED || driver->trouble != why;
	driver->phase = CCID_TROUBLED;
	driver->trouble = why;
	driver->wait_usec = retry_usec(driver);
	if (why != STATUS_READER_BROKEN)
		set_alarm(driver, 0, let_go);
	driver->n_failed++;
	if (is_news)
		driver->host.trouble(driver->host.userdata, why, detail);
}

static void gone(struct driver *driver) {
	driver->phase = CCID_GONE;
	driver->trouble = STATUS_READER_GONE;
	alarm_off(driver);
	ccid_presence_stop(driver);
	if (driver->ccid)
		ccid_stop(driver->ccid, -ENODEV);
	driver->host.gone(driver->host.userdata);
}

static int is_unplugged(int error) {
	return error == -ENOENT || error == -ENODEV || error == -ENXIO;
}

/* The device had its handle taken away, and is still there. At once, but not again and again: a device
 * that does that whenever it is opened is not chased. */
static void open_again(struct driver *driver) {
	driver->phase = CCID_OPENING; /* what ends now starts nothing anew */
	uint64_t now = ccid_now();
	int is_first = driver->cut_at == 0 || now - driver->cut_at >= STEADY_USEC;
	driver->cut_at = now;
	ccid_close(driver, -EIO);
	trouble(driver, STATUS_READER_MUTE, "its connection was cut, as when the system sleeps");
	if (driver->n_failed == 1 && is_first)
		driver->wait_usec = 0;
}

static void vanished(void *userdata) {
	struct driver *driver = userdata;
	if (driver->phase == CCID_GONE)
		return;
	if (is_unplugged(driver->ops->exists(driver->config->node)))
		gone(driver);
	else
		open_again(driver);
}

void ccid_lost(void *userdata, int error) {
	struct driver *driver = userdata;
	if (driver->phase == CCID_GONE || error == -ENODEV)
		return; /* usb tells */
	char detail[80];
	(void)snprintf(detail, sizeof(detail), "reader is out of step (%s)", strerror(-error));
	ccid_presence_stop(driver);
	driver->reopening = 1;
	trouble(driver, STATUS_READER_MUTE, detail);
}

void ccid_close(struct driver *driver, int error) {
	ccid_presence_stop(driver);
	if (driver->ccid)
		ccid_stop(driver->ccid, error);
	driver->ops->close(driver->usb);
	driver->usb = NULL;
	driver->control.pending = NULL;
	ccid_free(driver->ccid);
	driver->ccid = NULL;
}

/* ---- node, descriptors, claims ---- */

static void open_failed(struct driver *driver, int error) {
	char detail[160];
	(void)snprintf(detail, sizeof(detail), "%s: %s", driver->config->node, strerror(-error));
	if (is_unplugged(error)) {
		gone(driver);
		return;
	}
	switch (error) {
	case -EACCES:
	case -EPERM: trouble(driver, STATUS_READER_REFUSED, detail); break;
	default: trouble(driver, STATUS_READER_MUTE, detail); break;
	}
}

/* A device that nobody has configured (unknown class to the kernel) gets its first configuration. One
 * that had a configuration has been taken away from us and from the kernel, as usbip does. */
static int find_configuration(struct driver *driver, unsigned *ret_value) {
	int r = driver->ops->configuration(driver->usb, ret_value);
	if (r < 0 || *ret_value != 0)
		return r;
	if (driver->n_made)
		return -ENODEV;
	const uint8_t *bytes;
	size_t len;
	struct ccid_desc desc;
	driver->ops->descriptors(driver->usb, &bytes, &len);
	(void)ccid_desc_parse(bytes, len, 0, 0, &desc);
	*ret_value = desc.configuration;
	return driver->ops->configure(driver->usb, desc.configuration);
}

static int read_descriptors(struct driver *driver) {
	unsigned configuration = 0;
	int r = find_configuration(driver, &configuration);
	if (r < 0) {
		ccid_close(driver, r);
		open_failed(driver, r);
		return 0;
	}
	const uint8_t *bytes;
	size_t len;
	driver->ops->descriptors(driver->usb, &bytes, &len);
	unsigned flags =
		quirk_has(&driver->quirks, QUIRK_VENDOR_CLASS) ? CCID_DESC_VENDOR_CLASS : 0;
	enum ccid_desc_result result =
		ccid_desc_parse(bytes, len, configuration, flags, &driver->desc);
	quirk_apply(&driver->quirks, &driver->desc);
	int same = driver->n_made == 0 || driver->n_made == driver->desc.n_slots;
	if (driver->desc.n_slots > 0 && same)
		return 1;
	ccid_close(driver, -EIO);
	trouble(driver, STATUS_READER_BROKEN,
		result != CCID_DESC_OK ? ccid_desc_text(result) : "no slot is left");
	return 0;
}

static void claim_failed(struct driver *driver, int error) {
	char detail[256];
	ccid_close(driver, error);
	if (error != -EBUSY) {
		/* No such interface: somebody took the configuration away, and the device is there. */
		open_failed(driver, error == -ENOENT ? -EIO : error);
		return;
	}
	claimant_describe(detail, sizeof(detail));
	trouble(driver, STATUS_READER_CLAIMED, detail);
}

static int claim_all(struct driver *driver) {
	for (unsigned i = 0; i < driver->desc.n_interfaces; i++) {
		int r = driver->ops->claim(driver->usb, driver->desc.interfaces[i].number);
		if (r < 0) {
			claim_failed(driver, r);
			return 0;
		}
	}
	return 1;
}

/* Stronger means for a device that was lost, where nothing else lives on it. */
static void revive(struct driver *driver) {
	if (!driver->reopening || driver->desc.n_all_interfaces != 1)
		return;
	if (quirk_has(&driver->quirks, QUIRK_RESET) && driver->n_failed > RESET_AFTER)
		(void)driver->ops->reset(driver->usb);
	(void)driver->ops->set_interface(driver->usb, driver->desc.interfaces[0].number);
}

static int make_slots(struct driver *driver) {
	unsigned n = driver->desc.n_slots;
	if (!driver->slots)
		driver->slots = calloc(n, sizeof(*driver->slots));
	if (!driver->slots)
		return -ENOMEM;
	driver->n_made = n;
	unsigned at = 0;
	for (unsigned i = 0; i < driver->desc.n_interfaces; i++)
		for (unsigned k = 0; k < driver->desc.interfaces[i].n_slots; k++) {
			struct ccid_slot *slot = &driver->slots[at];
			slot->driver = driver;
			slot->interface = &driver->desc.interfaces[i];
			slot->index = at++;
			slot->local = k;
			slot->known = 0;
			slot->moved = 0;
			slot->mute = slot->doubted = 0;
			slot->unclean = 1;
			ccid_slot_forget(slot);
		}
	return 0;
}

static int start_engine(struct driver *driver) {
	struct ccid_config config = {
		.ops = driver->ops,
		.usb = driver->usb,
		.event = driver->event,
		.desc = &driver->desc,
		.parallel = quirk_has(&driver->quirks, QUIRK_PARALLEL),
		.abort = quirk_has(&driver->quirks, QUIRK_ABORT),
		.userdata = driver,
		.lost = ccid_lost,
	};
	int r = make_slots(driver);
	return r < 0 ? r : ccid_new(&config, &driver->ccid);
}

static void open_device(struct driver *driver) {
	struct usb_host host = { .userdata = driver, .gone = vanished };
	ccid_close(driver, -EIO);
	int r = driver->ops->open(driver->config->node, driver->event, &host, &driver->usb);
	if (r < 0) {
		open_failed(driver, r);
		return;
	}
	if (!read_descriptors(driver) || !claim_all(driver))
		return;
	revive(driver);
	r = start_engine(driver);
	if (r < 0) {
		ccid_close(driver, r);
		open_failed(driver, r);
		return;
	}
	/* From now on: some firmware answers nothing while a notification waits to be read. */
	ccid_presence_start(driver);
	driver->at = 0;
	ask_rates(driver);
}

int ccid_open(struct driver *driver) {
	int r = sd_event_add_time(driver->event, &driver->timer, CLOCK_MONOTONIC, 0,
		ALARM_ACCURACY_USEC, on_alarm, driver);
	if (r >= 0)
		set_alarm(driver, 0, open_device);
	return r;
}

/* ---- speeds ---- */

static void rates_late(struct driver *driver) {
	driver->ops->cancel(driver->usb, &driver->control);
}

static void start_probing(struct driver *driver) {
	driver->at = 0;
	driver->n_awake = 0;
	driver->slots[0].n_probes = 0;
	probe_next(driver);
}

/* Failure, and a length that is no table, mean "no table". */
static void on_rates(struct usb_transfer *transfer, void *userdata) {
	struct driver *driver = userdata;
	struct ccid_rates *rates = &driver->rates[driver->at];
	alarm_off(driver);
	if (driver->phase == CCID_GONE || transfer->error == -ENODEV)
		return;
	size_t n = transfer->actual % 4 == 0 && !transfer->error ? transfer->actual / 4 : 0;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = transfer->data + 4 * i;
		rates->rates[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
			(uint32_t)p[3] << 24;
	}
	rates->n = (unsigned)n;
	driver->at++;
	ask_rates(driver);
}

static void ask_rates(struct driver *driver) {
	struct ccid_desc *desc = &driver->desc;
	for (; driver->at < desc->n_interfaces; driver->at++) {
		const struct ccid_interface *i = &desc->interfaces[driver->at];
		driver->rates[driver->at].n = 0;
		driver->control = (struct usb_transfer){
			.kind = USB_CONTROL,
			.setup = { GET_DATA_RATES_TYPE, GET_DATA_RATES, 0, i->number },
			.data = driver->control_data,
			.len = 4u * i->n_rates,
			.done = on_rates,
			.userdata = driver,
		};
		if (i->n_rates && driver->ops->submit(driver->usb, &driver->control) == 0) {
			set_alarm(driver, CCID_RATES_USEC, rates_late);
			return;
		}
	}
	if (driver->quirks.open_delay_ms)
		set_alarm(driver, driver->quirks.open_delay_ms * UINT64_C(1000), start_probing);
	else
		start_probing(driver);
}

/* ---- first status of all slots ---- */

/* What people should know of a reader that works. */
static void advise(const struct driver *driver) {
	char text[96];
	if (quirk_advice(&driver->quirks, &driver->desc, text, sizeof(text)) && driver->host.advice)
		driver->host.advice(driver->host.userdata, text);
}

static void ready(struct driver *driver) {
	int is_first = driver->n_slots == 0;
	driver->phase = CCID_READY;
	driver->trouble = STATUS_READER_MUTE; /* for what comes between its loss and the news */
	driver->n_failed = 0;
	driver->reopening = 0;
	driver->n_slots = driver->desc.n_slots;
	driver->host.ready(driver->host.userdata);
	if (is_first)
		advise(driver);
	for (unsigned i = 0; i < driver->n_slots && driver->phase == CCID_READY; i++) {
		struct ccid_slot *slot = &driver->slots[i];
		slot->known = 1;
		slot->heard = ccid_now();
		driver->host.presence(driver->host.userdata, i, slot->present, 0);
		/* The reader may have told of a change between its answer and now. */
		if (slot->moved && driver->phase == CCID_READY) {
			slot->moved = 0;
			ccid_presence_ask(slot);
		}
	}
	ccid_presence_poll(driver);
}

static void give_up(struct driver *driver) {
	ccid_presence_stop(driver);
	driver->reopening = 1;
	trouble(driver, STATUS_READER_MUTE, "no answer to GetSlotStatus");
}

/* The interface is mute, or a slot that is announced does not exist. */
static void pass_over(struct driver *driver, const struct ccid_slot *slot) {
	unsigned n = slot->local == 0 ? slot->interface->n_slots : 1;
	for (; n > 0; n--) {
		struct ccid_slot *s = &driver->slots[driver->at++];
		s->present = 0;
		s->mute = 1;
	}
}

static void on_probe(void *userdata, const struct ccid_reply *reply, int error) {
	struct ccid_slot *slot = userdata;
	struct driver *driver = slot->driver;
	if (driver->phase == CCID_GONE || error == -ENODEV || ccid_is_stopped(driver->ccid))
		return;
	slot->n_probes++;
	if (reply) {
		slot->present = ccid_presence_truth(slot, reply->icc) != CCID_ICC_ABSENT;
		slot->unclean = reply->icc == CCID_ICC_ACTIVE;
		driver->n_awake++;
		driver->at++;
	} else if (slot->local == 0 && slot->n_probes < N_PROBES) {
		ccid_clear_halts(driver->ccid, slot->index);
	} else {
		pass_over(driver, slot);
	}
	if (driver->at < driver->desc.n_slots && driver->at != slot->index)
		driver->slots[driver->at].n_probes = 0;
	probe_next(driver);
}

static void probe_next(struct driver *driver) {
	if (driver->at < driver->desc.n_slots) {
		struct ccid_slot *slot = &driver->slots[driver->at];
		slot->status = (struct ccid_command){
			.request = ccid_msg_plain(CCID_GET_SLOT_STATUS),
			.slot = slot->index,
			.timeout_usec = slot->n_probes ? PROBE_AGAIN_USEC : PROBE_USEC,
			.bare = 1,
			.done = on_probe,
			.userdata = slot,
		};
		ccid_submit(driver->ccid, &slot->status);
	} else if (driver->n_awake) {
		ccid_setup(driver, ready);
	} else {
		give_up(driver);
	}
}
