/* SPDX-License-Identifier: MIT */
/*
 * Models the kernel between the driver's USB table and an emulated reader: transfers of one endpoint
 * end in order, what has ended is told a little later (and transfers of different endpoints in any
 * order), a transfer that is cancelled meanwhile has ended well all the same, and a device that is
 * unplugged ends all with -ENODEV before it says so.
 *
 * Checked of the driver: no transfer twice under way, no clear_halt under a transfer, bulk-IN in whole
 * packets, nothing from within a call of the table.
 */
#include "tests/storm/virtual-usb.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/reader.h"
#include "tests/storm/virtual-time.h"

enum {
	MAX_PENDING = 32,
	/* Until the end of a transfer is told, at most: chosen, as a busy machine may take. */
	LATENCY_USEC = 400,
};

struct pending {
	struct usb_transfer *transfer; /* NULL: free */
	struct reader_urb urb;
	uint64_t order;
	int cancelled, ended, hangs;
	uint64_t told_at; /* ended: when to tell */
	int error;
};

struct virtual_usb {
	const struct model *model;
	struct reader *reader;
	struct usb_host host;
	int plugged, is_open, foreign, told_gone;
	int is_cut; /* the handle that is open is dead, the device is not */
	struct pending pending[MAX_PENDING];
	uint64_t order, chance;
	unsigned long n_submits;
	int verbose;
};

static struct virtual_usb *current;

static struct virtual_usb *device_of(const struct usb *usb) {
	return (struct virtual_usb *)(void *)(uintptr_t)usb;
}

static uint64_t draw(struct virtual_usb *device) {
	device->chance = device->chance * 6364136223846793005u + 1442695040888963407u;
	return device->chance >> 33;
}

static unsigned packet_of(const struct virtual_usb *device, uint8_t endpoint) {
	const struct model *m = device->model;
	for (size_t i = 0; i < m->n_interfaces; i++)
		for (size_t e = 0; e < m->interfaces[i].n_endpoints; e++)
			if (m->interfaces[i].endpoints[e].address == endpoint)
				return m->interfaces[i].endpoints[e].packet;
	return 0;
}

/* ---- transfers ---- */

static void end(struct virtual_usb *device, struct pending *p, int error) {
	p->ended = 1;
	p->error = error == -EPROTO ? -EIO : error;
	p->told_at = virtual_now() + draw(device) % LATENCY_USEC;
}

static void move_control(struct virtual_usb *device, struct pending *p) {
	const struct usb_setup *s = &p->transfer->setup;
	const uint8_t setup[8] = { s->request_type, s->request, (uint8_t)s->value,
		(uint8_t)(s->value >> 8), (uint8_t)s->index, (uint8_t)(s->index >> 8),
		(uint8_t)p->transfer->len, (uint8_t)(p->transfer->len >> 8) };
	if (p->hangs)
		return;
	int r = reader_control(
		device->reader, setup, p->transfer->data, p->transfer->len, virtual_now());
	if (r == -EINPROGRESS) {
		p->hangs = 1;
		return;
	}
	/* To the device all of it has gone. */
	int is_in = s->request_type & 0x80;
	p->urb.actual = r < 0 ? 0 : is_in ? (size_t)r : p->transfer->len;
	end(device, p, r < 0 ? r : 0);
}

/* An earlier transfer of the same endpoint is still under way. */
static int is_behind(const struct virtual_usb *device, const struct pending *p) {
	for (unsigned i = 0; i < MAX_PENDING; i++) {
		const struct pending *q = &device->pending[i];
		if (q->transfer && q->urb.endpoint == p->urb.endpoint && q->order < p->order)
			return 1;
	}
	return 0;
}

static void move(struct virtual_usb *device, struct pending *p) {
	if (!device->plugged || device->is_cut) {
		end(device, p, -ENODEV);
	} else if (p->cancelled) {
		end(device, p, -ECANCELED);
	} else if (p->transfer->kind == USB_CONTROL) {
		move_control(device, p);
	} else if (!is_behind(device, p)) {
		int r = reader_submit(device->reader, &p->urb, virtual_now());
		if (r != READER_PENDING)
			end(device, p, r);
	}
}

static void tell(const struct virtual_usb *device, struct pending *p) {
	struct usb_transfer *t = p->transfer;
	if (device->verbose)
		(void)fprintf(stderr, "  %llu endpoint %02x ends: %s, %zu of %zu bytes\n",
			(unsigned long long)virtual_now(), p->urb.endpoint,
			p->error ? strerrorname_np(-p->error) : "ok", p->urb.actual, t->len);
	t->error = p->error;
	t->actual = p->urb.actual;
	t->pending = NULL;
	p->transfer = NULL;
	t->done(t, t->userdata);
}

int virtual_usb_pump(struct virtual_usb *device) {
	if (device->plugged && reader_vanishes(device->reader) <= virtual_now())
		virtual_usb_unplug(device);
	struct pending *next = NULL;
	unsigned n_left = 0;
	for (unsigned i = 0; i < MAX_PENDING; i++) {
		struct pending *p = &device->pending[i];
		if (!p->transfer)
			continue;
		n_left++;
		if (!p->ended)
			move(device, p);
		if (p->ended && p->told_at <= virtual_now() &&
			(!next || p->told_at < next->told_at))
			next = p;
	}
	if (next) {
		tell(device, next);
		return 1;
	}
	int is_dead = !device->plugged || device->is_cut;
	if (!is_dead || !device->is_open || device->told_gone || n_left)
		return 0;
	device->told_gone = 1;
	device->host.gone(device->host.userdata);
	return 1;
}

uint64_t virtual_usb_due(const struct virtual_usb *device) {
	uint64_t due = device->plugged ? reader_due(device->reader, virtual_now()) : UINT64_MAX;
	for (unsigned i = 0; i < MAX_PENDING; i++) {
		const struct pending *p = &device->pending[i];
		if (p->transfer && p->ended && p->told_at < due)
			due = p->told_at;
	}
	return due;
}

unsigned long virtual_usb_n_submits(const struct virtual_usb *device) {
	return device->n_submits;
}

/* ---- table ---- */

static int usb_open(const char *node, struct sd_event *event, const struct usb_host *host,
	struct usb **ret_usb) {
	(void)node, (void)event;
	struct virtual_usb *device = current;
	if (!device->plugged)
		return -ENODEV;
	assert(!device->is_open);
	device->is_cut = device->told_gone = 0;
	device->host = *host;
	device->is_open = 1;
	*ret_usb = (struct usb *)(void *)device;
	return 0;
}

static int usb_exists(const char *node) {
	(void)node;
	return current->plugged ? 0 : -ENODEV;
}

static void usb_close(struct usb *usb) {
	struct virtual_usb *device = device_of(usb);
	if (!device)
		return;
	assert(device->is_open);
	device->is_open = 0;
	for (unsigned i = 0; i < MAX_PENDING; i++) {
		if (device->pending[i].transfer)
			device->pending[i].transfer->pending = NULL;
		device->pending[i].transfer = NULL;
	}
}

static void usb_descriptors(const struct usb *usb, const uint8_t **ret_bytes, size_t *ret_len) {
	*ret_bytes = device_of(usb)->model->descriptors;
	*ret_len = device_of(usb)->model->descriptors_len;
}

static int result(const struct usb *usb) {
	return device_of(usb)->plugged && !device_of(usb)->is_cut ? 0 : -ENODEV;
}

static int usb_configuration(struct usb *usb, unsigned *ret_value) {
	*ret_value = 1;
	return result(usb);
}

static int usb_configure(struct usb *usb, unsigned value) {
	(void)value;
	return result(usb);
}

static int usb_claim(struct usb *usb, uint8_t interface) {
	(void)interface;
	int r = result(usb);
	return r < 0 ? r : device_of(usb)->foreign ? -EBUSY : 0;
}

static int usb_release(struct usb *usb, uint8_t interface) {
	(void)interface;
	return result(usb);
}

static int usb_set_interface(struct usb *usb, uint8_t interface) {
	int r = result(usb);
	if (r == 0)
		reader_set_interface(device_of(usb)->reader, interface, virtual_now());
	return r;
}

static int usb_clear_halt(struct usb *usb, uint8_t endpoint) {
	struct virtual_usb *device = device_of(usb);
	for (unsigned i = 0; i < MAX_PENDING; i++)
		assert(!device->pending[i].transfer ||
			device->pending[i].transfer->kind == USB_CONTROL ||
			device->pending[i].urb.endpoint != endpoint);
	if (device->verbose)
		(void)fprintf(stderr, "  clear halt of %02x\n", endpoint);
	if (result(usb) == 0)
		reader_clear_halt(device->reader, endpoint);
	return result(usb);
}

static int usb_reset(struct usb *usb) {
	if (result(usb) == 0)
		reader_reset(device_of(usb)->reader, virtual_now());
	return result(usb);
}

static int usb_submit(struct usb *usb, struct usb_transfer *transfer) {
	struct virtual_usb *device = device_of(usb);
	assert(device->is_open && !transfer->pending);
	if (result(usb) < 0)
		return -ENODEV;
	for (unsigned i = 0; i < MAX_PENDING; i++) {
		struct pending *p = &device->pending[i];
		if (p->transfer)
			continue;
		if (transfer->kind == USB_BULK && transfer->endpoint & 0x80)
			assert(transfer->len % packet_of(device, transfer->endpoint) == 0);
		*p = (struct pending){ .transfer = transfer,
			.urb = { .endpoint = transfer->endpoint,
				.data = transfer->data,
				.size = transfer->len },
			.order = device->order++ };
		transfer->pending = p;
		device->n_submits++;
		return 0;
	}
	abort(); /* more transfers than anybody needs */
}

static void usb_cancel(struct usb *usb, struct usb_transfer *transfer) {
	struct virtual_usb *device = device_of(usb);
	for (unsigned i = 0; i < MAX_PENDING; i++)
		if (device->pending[i].transfer == transfer)
			device->pending[i].cancelled = 1;
}

const struct usb_ops virtual_usb_ops = {
	.open = usb_open,
	.exists = usb_exists,
	.close = usb_close,
	.descriptors = usb_descriptors,
	.configuration = usb_configuration,
	.configure = usb_configure,
	.claim = usb_claim,
	.release = usb_release,
	.set_interface = usb_set_interface,
	.clear_halt = usb_clear_halt,
	.reset = usb_reset,
	.submit = usb_submit,
	.cancel = usb_cancel,
};

/* ---- the test's side ---- */

struct virtual_usb *virtual_usb_new(
	const struct model *model, struct reader *reader, uint64_t seed, int verbose) {
	struct virtual_usb *device = calloc(1, sizeof(*device));
	assert(device);
	device->model = model;
	device->reader = reader;
	device->chance = seed;
	device->verbose = verbose;
	current = device;
	virtual_usb_plug(device);
	return device;
}

void virtual_usb_free(struct virtual_usb *device) {
	assert(!device->is_open);
	free(device);
	current = NULL;
}

void virtual_usb_plug(struct virtual_usb *device) {
	assert(!device->is_open);
	device->plugged = 1;
	device->told_gone = 0;
	reader_plugged(device->reader, virtual_now());
}

void virtual_usb_unplug(struct virtual_usb *device) {
	device->plugged = 0;
}

void virtual_usb_suspend(struct virtual_usb *device) {
	if (!device->plugged)
		return;
	device->is_cut = device->is_open;
	reader_plugged(device->reader, virtual_now());
}

int virtual_usb_is_plugged(const struct virtual_usb *device) {
	return device->plugged;
}

int virtual_usb_is_open(const struct virtual_usb *device) {
	return device->is_open;
}

void virtual_usb_claim(struct virtual_usb *device, int on) {
	device->foreign = on;
}
