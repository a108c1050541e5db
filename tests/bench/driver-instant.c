/* SPDX-License-Identifier: MIT */
/*
 * A driver that answers at once, so that what is measured is the handler and the library. It takes the place of
 * the driver `virtual` in a handler of its own (build/tests/ifdhandler-instant): one slot, a card that is in.
 *
 * 80 10 HI LO gives HI*256+LO bytes in all, anything else 90 00. INSTANT_MOVE puts the card in (one byte of
 * input, 1) or takes it out (0); it answers with the time of that, 8 bytes of CLOCK_MONOTONIC in nanoseconds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "ifdhandler/driver.h"
#include "tests/bench/instant.h"

enum { CODE_GET_FEATURES = 0x42000D48 };

struct driver {
	struct driver_host host;
	sd_event_source *start, *move; /* both told from the loop */
	int ready;
	int present;
	driver_done_fn move_done;
	void *move_userdata;
	uint8_t answer[INSTANT_MAX_ANSWER];
};

static int on_start(sd_event_source *source, void *userdata) {
	(void)source;
	struct driver *d = userdata;
	d->ready = 1;
	d->host.ready(d->host.userdata);
	d->host.presence(d->host.userdata, 0, d->present, 0);
	return 0;
}

static int on_move(sd_event_source *source, void *userdata) {
	(void)source;
	struct driver *d = userdata;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	driver_done_fn done = d->move_done;
	d->move_done = NULL;
	done(d->move_userdata,
		&(struct driver_result){ .data = (const uint8_t *)&ns, .len = sizeof(ns) });
	d->host.presence(d->host.userdata, 0, d->present, 0);
	return 0;
}

static void instant_free(struct driver *d) {
	if (!d)
		return;
	if (d->move_done)
		d->move_done(
			d->move_userdata, &(struct driver_result){ .status = STATUS_READER_GONE });
	sd_event_source_unref(d->start);
	sd_event_source_unref(d->move);
	free(d);
}

static int instant_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, struct driver **ret_driver) {
	(void)config;
	struct driver *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->host = *host;
	d->present = 1;
	int r = sd_event_add_defer(event, &d->start, on_start, d);
	if (r >= 0)
		r = sd_event_add_defer(event, &d->move, on_move, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->move, SD_EVENT_OFF);
	if (r < 0) {
		instant_free(d);
		return r;
	}
	*ret_driver = d;
	return 0;
}

static unsigned instant_n_slots(const struct driver *d) {
	return d->ready ? 1 : 0;
}

static void instant_power_on(struct driver *d, unsigned slot, enum driver_reset how,
	driver_done_fn done, void *userdata) {
	(void)slot, (void)how;
	static const uint8_t atr[] = { 0x3B, 0x80, 0x01, 0x81 }; /* T=1, nothing else */
	if (d->present)
		done(userdata, &(struct driver_result){ .data = atr, .len = sizeof(atr) });
	else
		done(userdata, &(struct driver_result){ .status = STATUS_NO_CARD });
}

static void instant_power_off(
	struct driver *d, unsigned slot, driver_done_fn done, void *userdata) {
	(void)d, (void)slot;
	done(userdata, &(struct driver_result){ .status = STATUS_OK });
}

static void instant_set_protocol(
	struct driver *d, unsigned slot, uint32_t protocols, driver_done_fn done, void *userdata) {
	(void)d, (void)slot;
	uint32_t protocol = protocols & PROTOCOL_T1 ? PROTOCOL_T1 : protocols;
	done(userdata, &(struct driver_result){ .protocol = protocol });
}

static void instant_transmit(struct driver *d, unsigned slot, uint32_t protocol,
	const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	(void)slot, (void)protocol;
	size_t len = 2;
	if (apdu->len >= 4 && apdu->data[0] == 0x80 && apdu->data[1] == 0x10)
		len = (size_t)apdu->data[2] << 8 | apdu->data[3];
	if (!d->present || len < 2) {
		done(userdata, &(struct driver_result){ .status = STATUS_CARD_UNRESPONSIVE });
		return;
	}
	d->answer[len - 2] = 0x90;
	d->answer[len - 1] = 0x00;
	done(userdata, &(struct driver_result){ .data = d->answer, .len = len });
	d->answer[len - 2] = 0;
}

static enum status instant_known(
	struct driver *d, unsigned slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot;
	static const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	if (code == INSTANT_MOVE)
		return STATUS_STARTING; /* is asked of `control` */
	if (code != CODE_GET_FEATURES)
		return STATUS_UNSUPPORTED;
	memcpy(buf, features, sizeof(features));
	*ret_len = sizeof(features);
	return STATUS_OK;
}

static void instant_control(struct driver *d, unsigned slot, uint32_t code,
	const struct driver_bytes *in, driver_done_fn done, void *userdata) {
	(void)slot;
	if (code != INSTANT_MOVE || in->len != 1) {
		done(userdata, &(struct driver_result){ .status = STATUS_UNSUPPORTED });
		return;
	}
	d->present = in->data[0] != 0;
	d->move_done = done;
	d->move_userdata = userdata;
	sd_event_source_set_enabled(d->move, SD_EVENT_ONESHOT);
}

static enum status instant_get_attrib(
	struct driver *d, unsigned slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot, (void)tag, (void)buf, (void)ret_len;
	return STATUS_UNSUPPORTED;
}

static size_t instant_describe(const struct driver *d, unsigned slot, char *buf, size_t size) {
	(void)d, (void)slot;
	if (size)
		buf[0] = 0;
	return 0;
}

static unsigned instant_card_slots(const char *card) {
	(void)card;
	return 1;
}

const struct driver_ops driver_virtual = {
	.name = "virtual",
	.card_slots = instant_card_slots,
	.init = instant_init,
	.free = instant_free,
	.n_slots = instant_n_slots,
	.power_on = instant_power_on,
	.power_off = instant_power_off,
	.set_protocol = instant_set_protocol,
	.transmit = instant_transmit,
	.known = instant_known,
	.control = instant_control,
	.get_attrib = instant_get_attrib,
	.describe = instant_describe,
};
