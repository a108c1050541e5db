/* SPDX-License-Identifier: MIT */
/*
 * Models a device and the kernel below it as far as the USB seam shows: a bulk-IN transfer ends
 * with a short packet or when it is full, and stays open after full packets; cancelling gives back
 * what had arrived; nothing ends from within a call of the table.
 */
#include "tests/unit/fake-usb.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

static struct fake_usb *current;

static struct fake_usb *fake_of(const struct usb *usb) {
	return (struct fake_usb *)(void *)(uintptr_t)usb;
}

void fake_usb_kick(struct fake_usb *fake) {
	if (fake->pump)
		(void)sd_event_source_set_enabled(fake->pump, SD_EVENT_ONESHOT);
}

static void finish(struct fake_usb *fake, unsigned i, int error, size_t actual) {
	struct usb_transfer *t = fake->pending[i];
	fake->pending[i] = NULL;
	fake->cancelled[i] = 0;
	t->pending = NULL;
	t->error = error;
	t->actual = actual;
	t->done(t, t->userdata);
}

static void drop_packet(struct fake_usb *fake, unsigned at) {
	memmove(&fake->packets[at], &fake->packets[at + 1],
		(fake->n_packets - at - 1) * sizeof(fake->packets[0]));
	fake->n_packets--;
}

static int next_packet(const struct fake_usb *fake, uint8_t endpoint) {
	for (unsigned i = 0; i < fake->n_packets; i++)
		if (fake->packets[i].endpoint == endpoint)
			return (int)i;
	return -1;
}

/* Moves packets into a waiting IN transfer: 1 if that ended it. */
static int fill(struct fake_usb *fake, unsigned i) {
	struct usb_transfer *t = fake->pending[i];
	for (int at; (at = next_packet(fake, t->endpoint)) >= 0;) {
		struct fake_packet p = fake->packets[at];
		drop_packet(fake, (unsigned)at);
		if (!p.error && p.len > t->len - fake->filled[i])
			p.error = -EOVERFLOW;
		if (p.error) {
			finish(fake, i, p.error, fake->filled[i]);
			return 1;
		}
		memcpy(t->data + fake->filled[i], p.data, p.len);
		fake->filled[i] += p.len;
		if (p.len == FAKE_PACKET && fake->filled[i] < t->len)
			continue;
		fake->n_in += t->kind == USB_BULK;
		fake->n_interrupts += t->kind == USB_INTERRUPT;
		finish(fake, i, 0, fake->filled[i]);
		return 1;
	}
	return 0;
}

static int end_out(struct fake_usb *fake, unsigned i) {
	struct usb_transfer *t = fake->pending[i];
	if (fake->out_hangs)
		return 0;
	int error = fake->out_error;
	fake->out_error = 0;
	if (error) {
		finish(fake, i, error, 0);
		return 1;
	}
	uint8_t *copy = malloc(t->len ? t->len : 1);
	size_t len = t->len;
	uint8_t endpoint = t->endpoint;
	memcpy(copy, t->data, len);
	if (fake->n_sent < FAKE_MAX_SENT) {
		fake->sent_len[fake->n_sent] = len;
		memcpy(fake->sent[fake->n_sent++], copy, len < 300 ? len : 300);
	}
	fake->n_out++;
	finish(fake, i, 0, len);
	if (fake->on_message && !fake->is_gone)
		fake->on_message(fake, endpoint, copy, len);
	free(copy);
	return 1;
}

static int end_control(struct fake_usb *fake, unsigned i) {
	struct usb_transfer *t = fake->pending[i];
	if (fake->control_hangs)
		return 0;
	int r = fake->on_control ? fake->on_control(fake, &t->setup, t->data, t->len) : -EPIPE;
	if (r == FAKE_HANGS)
		return 0;
	fake->n_controls++;
	finish(fake, i, r < 0 ? r : 0, r < 0 ? 0 : (size_t)r);
	return 1;
}

static int advance(struct fake_usb *fake, unsigned i) {
	struct usb_transfer *t = fake->pending[i];
	if (!t)
		return 0;
	if (fake->is_gone || fake->is_cut) {
		finish(fake, i, -ENODEV, 0);
		return 1;
	}
	if (fake->cancelled[i]) {
		size_t half = fake->out_hangs && !(t->endpoint & 0x80) ? t->len / 2 : 0;
		finish(fake, i, -ECANCELED, t->endpoint & 0x80 ? fake->filled[i] : half);
		return 1;
	}
	if (t->kind == USB_CONTROL)
		return end_control(fake, i);
	return t->endpoint & 0x80 ? fill(fake, i) : end_out(fake, i);
}

static int on_pump(sd_event_source *source, void *userdata) {
	(void)source;
	struct fake_usb *fake = userdata;
	int moved;
	do {
		moved = 0;
		for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
			moved |= advance(fake, i);
	} while (moved);
	if ((fake->is_gone || fake->is_cut) && !fake->told_gone && fake->is_open) {
		fake->told_gone = 1;
		fake->host.gone(fake->host.userdata);
	}
	return 0;
}

/* ---- table ---- */

static int fake_open(const char *node, struct sd_event *event, const struct usb_host *host,
	struct usb **ret_usb) {
	(void)node, (void)event;
	struct fake_usb *fake = current;
	if (fake->is_gone)
		return -ENODEV;
	if (fake->open_error)
		return fake->open_error;
	assert(!fake->is_open);
	fake->host = *host;
	fake->is_open = 1;
	fake->is_cut = 0;
	fake->told_gone = 0;
	fake->n_opens++;
	*ret_usb = (struct usb *)(void *)fake;
	return 0;
}

static int fake_exists(const char *node) {
	(void)node;
	return current->is_gone ? -ENODEV : 0;
}

static void fake_close(struct usb *usb) {
	struct fake_usb *fake = fake_of(usb);
	if (!fake)
		return;
	assert(fake->is_open);
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++) {
		if (fake->pending[i])
			fake->pending[i]->pending = NULL;
		fake->pending[i] = NULL;
		fake->cancelled[i] = 0;
	}
	fake->n_packets = 0;
	fake->is_open = 0;
	fake->n_closes++;
}

static void fake_descriptors(const struct usb *usb, const uint8_t **ret_bytes, size_t *ret_len) {
	*ret_bytes = fake_of(usb)->descriptors;
	*ret_len = fake_of(usb)->n_descriptors;
}

static int fake_configuration(struct usb *usb, unsigned *ret_value) {
	*ret_value = fake_of(usb)->configuration;
	return fake_of(usb)->is_gone ? -ENODEV : 0;
}

static int fake_configure(struct usb *usb, unsigned value) {
	fake_of(usb)->n_configures++;
	fake_of(usb)->configuration = value;
	return 0;
}

static int fake_claim(struct usb *usb, uint8_t interface) {
	(void)interface;
	struct fake_usb *fake = fake_of(usb);
	fake->n_claims++;
	return fake->is_gone ? -ENODEV : fake->claim_error;
}

static int fake_release(struct usb *usb, uint8_t interface) {
	(void)usb, (void)interface;
	return 0;
}

static int fake_set_interface(struct usb *usb, uint8_t interface) {
	(void)interface;
	fake_of(usb)->n_sets++;
	return 0;
}

static int fake_clear_halt(struct usb *usb, uint8_t endpoint) {
	struct fake_usb *fake = fake_of(usb);
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		assert(!fake->pending[i] || fake->pending[i]->endpoint != endpoint);
	fake->n_clears++;
	return fake->clear_error;
}

static int fake_reset(struct usb *usb) {
	fake_of(usb)->n_resets++;
	return 0;
}

static int fake_submit(struct usb *usb, struct usb_transfer *transfer) {
	struct fake_usb *fake = fake_of(usb);
	assert(fake->is_open && !transfer->pending);
	if (fake->is_gone || fake->is_cut)
		return -ENODEV;
	if (fake->submit_error && transfer->kind != USB_INTERRUPT)
		return fake->submit_error;
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++) {
		if (fake->pending[i])
			continue;
		fake->pending[i] = transfer;
		fake->filled[i] = 0;
		fake->cancelled[i] = 0;
		transfer->pending = fake;
		if (transfer->kind == USB_BULK && transfer->endpoint & 0x80) {
			assert(transfer->len % FAKE_PACKET == 0);
			fake->n_submitted_in++;
			fake->last_in_len = transfer->len;
		}
		fake_usb_kick(fake);
		return 0;
	}
	return -ENOMEM;
}

static void fake_cancel(struct usb *usb, struct usb_transfer *transfer) {
	struct fake_usb *fake = fake_of(usb);
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		if (fake->pending[i] == transfer)
			fake->cancelled[i] = 1;
	fake_usb_kick(fake);
}

const struct usb_ops fake_usb_ops = {
	.open = fake_open,
	.exists = fake_exists,
	.close = fake_close,
	.descriptors = fake_descriptors,
	.configuration = fake_configuration,
	.configure = fake_configure,
	.claim = fake_claim,
	.release = fake_release,
	.set_interface = fake_set_interface,
	.clear_halt = fake_clear_halt,
	.reset = fake_reset,
	.submit = fake_submit,
	.cancel = fake_cancel,
};

/* ---- the test's side ---- */

struct fake_usb *fake_usb_new(struct sd_event *event, const uint8_t *descriptors, size_t len) {
	struct fake_usb *fake = calloc(1, sizeof(*fake));
	assert(fake);
	fake->event = event;
	fake->descriptors = descriptors;
	fake->n_descriptors = len;
	fake->configuration = 1;
	int r = sd_event_add_defer(event, &fake->pump, on_pump, fake);
	assert(r >= 0);
	(void)r;
	(void)sd_event_source_set_enabled(fake->pump, SD_EVENT_OFF);
	current = fake;
	return fake;
}

void fake_usb_free(struct fake_usb *fake) {
	sd_event_source_disable_unref(fake->pump);
	free(fake);
	current = NULL;
}

static void ignore_gone(void *userdata) {
	(void)userdata;
}

struct usb *fake_usb_open(struct fake_usb *fake) {
	struct usb_host host = { .gone = ignore_gone };
	struct usb *usb = NULL;
	int r = fake_open("", fake->event, &host, &usb);
	assert(r == 0);
	(void)r;
	return usb;
}

static struct fake_packet *new_packet(struct fake_usb *fake, uint8_t endpoint) {
	assert(fake->n_packets < FAKE_MAX_PACKETS);
	struct fake_packet *p = &fake->packets[fake->n_packets++];
	*p = (struct fake_packet){ .endpoint = endpoint };
	fake_usb_kick(fake);
	return p;
}

void fake_usb_packet(struct fake_usb *fake, uint8_t endpoint, const uint8_t *data, size_t len) {
	assert(len <= FAKE_PACKET);
	struct fake_packet *p = new_packet(fake, endpoint);
	p->len = len;
	if (len)
		memcpy(p->data, data, len);
}

void fake_usb_send(struct fake_usb *fake, uint8_t endpoint, const uint8_t *data, size_t len) {
	size_t at = 0;
	for (; len - at >= FAKE_PACKET; at += FAKE_PACKET)
		fake_usb_packet(fake, endpoint, data + at, FAKE_PACKET);
	fake_usb_packet(fake, endpoint, data + at, len - at);
}

void fake_usb_error(struct fake_usb *fake, uint8_t endpoint, int error) {
	new_packet(fake, endpoint)->error = error;
}

void fake_usb_unplug(struct fake_usb *fake) {
	fake->is_gone = 1;
	fake_usb_kick(fake);
}

void fake_usb_suspend(struct fake_usb *fake) {
	fake->is_cut = 1;
	fake_usb_kick(fake);
}

static uint64_t now_ms(void) {
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int fake_run(struct sd_event *event, const int *flag, unsigned ms) {
	uint64_t end = now_ms() + ms;
	for (uint64_t now; !*flag && (now = now_ms()) < end;)
		(void)sd_event_run(event, (end - now) * 1000);
	/* On a busy machine the time may be over before anything was done. */
	for (unsigned i = 0; !*flag && i < 100 && sd_event_run(event, 0) > 0; i++)
		;
	return *flag;
}

void fake_run_for(struct sd_event *event, unsigned ms) {
	int never = 0;
	(void)fake_run(event, &never, ms);
}
