/* SPDX-License-Identifier: MIT */
/*
 * The USB side of an emulated reader: control requests, endpoints, and what waits on them.
 *
 * bulk-OUT bytes are collected until dwLength is reached (readers count, they do not look for short
 * packets); the message then goes to reader-ccid.c, whose answers are queued here with the time at
 * which they are due. bulk-IN gives them out packet by packet as a device does: a transfer ends
 * with a short packet, when it is full, or as the model's zlp= says. Nothing here waits or looks at
 * a clock: whoever carries the transfers says what time it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/reader-state.h"

int reader_new(const struct model *model, struct reader **ret_reader) {
	struct reader *reader = calloc(1, sizeof *reader);
	if (!reader)
		return -ENOMEM;
	reader->model = model;
	reader->vanish_at = UINT64_MAX;
	for (size_t i = 0; i < model->n_interfaces; i++) {
		struct reader_interface *itf = &reader->interfaces[i];
		itf->own = model->interfaces[i];
		itf->model = &itf->own;
		itf->first_slot = reader->n_slots;
		itf->last_seq = -1;
		if (itf->model->ccid && reader->n_slots + itf->model->slots <= READER_MAX_SLOTS)
			reader->n_slots += itf->model->slots;
	}
	reader->slots = calloc(reader->n_slots + 1, sizeof *reader->slots);
	if (!reader->slots) {
		free(reader);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < reader->n_slots; i++)
		ccid_reset_slot(&reader->slots[i]);
	*ret_reader = reader;
	return 0;
}

static void queue_clear(struct reader_interface *itf) {
	for (struct chunk *next; itf->in; itf->in = next) {
		next = itf->in->next;
		free(itf->in);
	}
}

void reader_free(struct reader *reader) {
	if (!reader)
		return;
	for (size_t i = 0; i < reader->model->n_interfaces; i++)
		queue_clear(&reader->interfaces[i]);
	for (unsigned i = 0; i < reader->n_slots; i++)
		card_free(reader->slots[i].card);
	for (size_t i = 0; i < reader->n_trace; i++)
		free(reader->trace[i]);
	for (size_t i = 0; i < reader->n_violations; i++)
		free(reader->violations[i]);
	free(reader->slots);
	free(reader);
}

void reader_verbose(struct reader *reader, const char *name) {
	reader->verbose = name;
}

struct reader_interface *reader_interface_of(struct reader *reader, unsigned slot) {
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		struct reader_interface *itf = &reader->interfaces[i];
		if (itf->model->ccid && slot >= itf->first_slot &&
			slot < itf->first_slot + itf->model->slots && slot < reader->n_slots)
			return itf;
	}
	return NULL;
}

static void interface_reset(struct reader *reader, struct reader_interface *itf) {
	queue_clear(itf);
	itf->rx_len = 0;
	itf->rx_drop = itf->halted_in = itf->halted_out = itf->halted_interrupt = itf->nak_out = 0;
	iccd_reset(itf);
	if (!itf->model->ccid)
		return;
	for (unsigned i = itf->first_slot;
		i < itf->first_slot + itf->model->slots && i < reader->n_slots; i++)
		ccid_reset_slot(&reader->slots[i]);
}

void reader_plugged(struct reader *reader, uint64_t now) {
	(void)now;
	reader->configuration = 1;
	reader->vanish_at = UINT64_MAX;
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		struct reader_interface *itf = &reader->interfaces[i];
		interface_reset(reader, itf);
		itf->own.features = reader->model->interfaces[i].features;
		itf->last_seq = -1;
		itf->n_interrupts = 0;
		itf->changed = 0;
		itf->notify = 0;
		for (unsigned s = 0; itf->model->ccid && s < itf->model->slots; s++) {
			struct reader_slot *slot = &reader->slots[itf->first_slot + s];
			if (slot->card)
				card_power_off(slot->card);
			slot->powered = 0;
			if (slot->card && itf->model->notify == MODEL_NOTIFY_INITIAL) {
				itf->changed |= 1u << s;
				itf->notify = 1;
			}
		}
	}
}

void reader_reset(struct reader *reader, uint64_t now) {
	reader_count(reader, COUNT_RESET_DEVICE);
	reader_plugged(reader, now);
}

void reader_set_interface(struct reader *reader, unsigned number, uint64_t now) {
	(void)now;
	reader_count(reader, COUNT_SET_INTERFACE);
	for (size_t i = 0; i < reader->model->n_interfaces; i++)
		if (reader->interfaces[i].model->number == number)
			interface_reset(reader, &reader->interfaces[i]);
}

static struct reader_interface *find_endpoint(
	struct reader *reader, uint8_t address, const struct model_endpoint **ret_endpoint) {
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		struct reader_interface *itf = &reader->interfaces[i];
		for (size_t e = 0; e < itf->model->n_endpoints; e++)
			if (itf->model->endpoints[e].address == address) {
				*ret_endpoint = &itf->model->endpoints[e];
				return itf;
			}
	}
	return NULL;
}

void reader_clear_halt(struct reader *reader, uint8_t endpoint) {
	const struct model_endpoint *ep;
	struct reader_interface *itf = find_endpoint(reader, endpoint, &ep);
	reader_count(reader, COUNT_CLEAR_HALT);
	if (!itf)
		return;
	if (ep->attributes == 3) {
		itf->halted_interrupt = 0;
	} else if (endpoint & 0x80) {
		itf->halted_in = 0;
	} else {
		itf->halted_out = itf->nak_out = 0;
		itf->rx_len = 0;
	}
}

struct chunk *reader_queue(struct reader_interface *itf, enum chunk_kind kind, uint64_t due,
	const uint8_t *bytes, size_t len) {
	struct chunk *chunk = calloc(1, sizeof *chunk + len);
	if (!chunk)
		abort();
	chunk->due = due;
	chunk->kind = kind;
	chunk->len = len;
	if (len)
		memcpy(chunk->data, bytes, len);
	struct chunk **at = &itf->in;
	while (*at && (*at)->due <= due)
		at = &(*at)->next;
	chunk->next = *at;
	*at = chunk;
	return chunk;
}

void reader_unqueue(struct reader_interface *itf, unsigned slot, uint64_t now) {
	for (struct chunk **at = &itf->in; *at;) {
		struct chunk *chunk = *at;
		if (chunk->slot != slot || (chunk->due <= now && !chunk->repeat_us) || chunk->off) {
			at = &chunk->next;
			continue;
		}
		*at = chunk->next;
		free(chunk);
	}
}

/* The first chunk has been fetched. */
static void queue_pop(struct reader_interface *itf, uint64_t now) {
	struct chunk *chunk = itf->in;
	itf->in = chunk->next;
	if (chunk->repeat_us) {
		struct chunk *again = reader_queue(
			itf, chunk->kind, now + chunk->repeat_us, chunk->data, chunk->len);
		again->repeat_us = chunk->repeat_us;
		again->slot = chunk->slot;
	}
	free(chunk);
}

/* Moves bytes of the first chunk. 0: transfer done; READER_PENDING: it goes on with the next
 * chunk. */
static int take_data(struct reader *reader, struct reader_interface *itf, size_t packet,
	struct reader_urb *urb, uint64_t now) {
	struct chunk *chunk = itf->in;
	size_t room = urb->size - urb->actual, left = chunk->len - chunk->off;
	size_t n = left < room ? left : room;
	memcpy(urb->data + urb->actual, chunk->data + chunk->off, n);
	urb->actual += n;
	chunk->off += n;
	if (n < left) {
		if (n % packet == 0)
			return 0;
		/* the rest of this packet did not fit (USB 2.0 5.8.3: babble) */
		size_t lost = packet - n % packet;
		chunk->off += lost < left - n ? lost : left - n;
		if (chunk->off == chunk->len)
			queue_pop(itf, now);
		return -EOVERFLOW;
	}
	int ends = chunk->len % packet != 0 || (itf->model->zlp == MODEL_ZLP_AUTO && !chunk->more);
	reader_trace(reader, '<', chunk->data, chunk->len);
	queue_pop(itf, now);
	return ends || urb->actual == urb->size ? 0 : READER_PENDING;
}

static int bulk_in(struct reader *reader, struct reader_interface *itf, size_t packet,
	struct reader_urb *urb, uint64_t now) {
	if (itf->halted_in) {
		/* A halt is one, however many commands it struck. */
		while (itf->in && itf->in->kind == CHUNK_STALL && itf->in->due <= now)
			queue_pop(itf, now);
		return -EPIPE;
	}
	while (itf->in && itf->in->due <= now) {
		int r = 0;
		switch (itf->in->kind) {
		case CHUNK_DATA: r = take_data(reader, itf, packet, urb, now); break;
		case CHUNK_EMPTY: queue_pop(itf, now); break;
		case CHUNK_STALL:
			itf->halted_in = 1;
			queue_pop(itf, now);
			return -EPIPE;
		case CHUNK_ERROR: queue_pop(itf, now); return -EPROTO;
		case CHUNK_OVERFLOW: queue_pop(itf, now); return -EOVERFLOW;
		}
		if (r != READER_PENDING) {
			reader_count(reader, urb->actual ? COUNT_BULK_IN : COUNT_BULK_IN_ZLP);
			return r;
		}
	}
	return READER_PENDING;
}

/* Bytes for the message being collected; those beyond its end are the host's mistake. */
static void collect(struct reader *reader, struct reader_interface *itf,
	const struct reader_urb *urb, size_t packet, uint64_t now) {
	size_t n = urb->size, room = sizeof itf->rx - itf->rx_len;
	if (n > room)
		n = room;
	memcpy(itf->rx + itf->rx_len, urb->data, n);
	itf->rx_len += n;
	int ends = urb->size % packet != 0; /* a short packet */
	if (itf->rx_drop) {
		itf->rx_len = 0;
		itf->rx_drop = !ends;
		return;
	}
	if (itf->rx_len < READER_HEADER) {
		if (ends) {
			reader_violation(reader, "bulk-OUT of %zu bytes is no message", urb->size);
			itf->rx_len = 0;
		}
		return;
	}
	const uint8_t *p = itf->rx + 1;
	size_t want = READER_HEADER +
		((size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24);
	if (itf->rx_len < want && !ends && want <= sizeof itf->rx)
		return;
	if (itf->rx_len < want) {
		reader_violation(reader, "message of %zu bytes ends after %zu", want, itf->rx_len);
		itf->rx_drop = !ends;
	} else {
		if (itf->rx_len > want || n < urb->size)
			reader_violation(reader, "%zu bytes after the end of the message",
				itf->rx_len - want + urb->size - n);
		itf->rx_len = want;
		reader_trace(reader, '>', itf->rx, want);
		ccid_message(reader, itf, now);
	}
	itf->rx_len = 0;
}

static int bulk_out(struct reader *reader, struct reader_interface *itf, size_t packet,
	struct reader_urb *urb, uint64_t now) {
	unsigned arg, arg2;
	if (itf->halted_out)
		return -EPIPE;
	if (itf->nak_out)
		return READER_PENDING;
	if (!itf->rx_len && urb->size)
		fault_match(reader, urb->data[0],
			itf->first_slot + (urb->size > 5 ? urb->data[5] : 0u));
	if (!itf->rx_len && urb->size && fault_strikes(reader, FAULT_STALL_OUT, &arg, &arg2)) {
		itf->halted_out = 1;
		return -EPIPE;
	}
	if (!itf->rx_len && urb->size && fault_strikes(reader, FAULT_NAK_OUT, &arg, &arg2)) {
		itf->nak_out = 1;
		urb->actual = urb->size / 2;
		return READER_PENDING;
	}
	urb->actual = urb->size;
	reader_count(reader, urb->size ? COUNT_BULK_OUT : COUNT_BULK_OUT_ZLP);
	if (!urb->size)
		reader_violation(reader, "bulk-OUT of no bytes");
	else
		collect(reader, itf, urb, packet, now);
	return 0;
}

/* NotifySlotChange (CCID 1.10 6.3.1). */
static size_t notification(
	struct reader *reader, struct reader_interface *itf, uint8_t *ret_bytes) {
	size_t len = 1 + (itf->model->slots + 3) / 4;
	memset(ret_bytes, 0, len);
	ret_bytes[0] = 0x50;
	for (unsigned s = 0; s < itf->model->slots; s++) {
		unsigned bits = reader->slots[itf->first_slot + s].card ? 1 : 0;
		bits |= itf->changed >> s & 1 ? 2 : 0;
		ret_bytes[1 + s / 4] |= (uint8_t)(bits << (2 * (s % 4)));
	}
	itf->changed = 0;
	itf->notify = 0;
	return len;
}

static int interrupt_in(
	struct reader *reader, struct reader_interface *itf, struct reader_urb *urb) {
	uint8_t bytes[MODEL_MAX_RAW];
	size_t len = 0;
	if (itf->halted_interrupt)
		return -EPIPE;
	if (itf->interrupt_errors) {
		itf->interrupt_errors--;
		return -EPROTO;
	}
	if (itf->interrupt_silent)
		return READER_PENDING;
	if (itf->n_interrupts) {
		len = itf->interrupts[0].len;
		memcpy(bytes, itf->interrupts[0].bytes, len);
		itf->n_interrupts--;
		memmove(itf->interrupts, itf->interrupts + 1,
			itf->n_interrupts * sizeof *itf->interrupts);
	} else if (itf->notify && itf->model->ccid && itf->model->notify != MODEL_NOTIFY_NEVER) {
		len = notification(reader, itf, bytes);
	} else {
		return READER_PENDING;
	}
	reader_trace(reader, '!', bytes, len);
	reader_count(reader, COUNT_INTERRUPT);
	urb->actual = len < urb->size ? len : urb->size;
	memcpy(urb->data, bytes, urb->actual);
	return len > urb->size ? -EOVERFLOW : 0;
}

int reader_submit(struct reader *reader, struct reader_urb *urb, uint64_t now) {
	const struct model_endpoint *ep;
	struct reader_interface *itf = find_endpoint(reader, urb->endpoint, &ep);
	if (!itf)
		return -EPIPE;
	if (ep->attributes == 3)
		return urb->endpoint & 0x80 ? interrupt_in(reader, itf, urb) : -EPIPE;
	if (!itf->model->ccid)
		return READER_PENDING;
	return urb->endpoint & 0x80 ? bulk_in(reader, itf, ep->packet, urb, now)
				    : bulk_out(reader, itf, ep->packet, urb, now);
}

uint64_t reader_due(const struct reader *reader, uint64_t now) {
	uint64_t due = reader->vanish_at;
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		const struct chunk *chunk = reader->interfaces[i].in;
		if (chunk && chunk->due > now && chunk->due < due)
			due = chunk->due;
	}
	return due;
}

uint64_t reader_vanishes(const struct reader *reader) {
	return reader->vanish_at;
}

unsigned reader_n_slots(const struct reader *reader) {
	return reader->n_slots;
}

struct card *reader_card_in(const struct reader *reader, unsigned slot) {
	return slot < reader->n_slots ? reader->slots[slot].card : NULL;
}

/* A card is pulled out while the reader works with it: that is the answer. */
static void interrupted(
	struct reader *reader, struct reader_interface *itf, unsigned n, uint64_t now) {
	struct reader_slot *slot = &reader->slots[n];
	if (slot->busy_until <= now)
		return;
	reader_unqueue(itf, n, now);
	const uint8_t type = slot->pending_type == MSG_XFR || slot->pending_type == MSG_POWER_ON ||
			slot->pending_type == MSG_SECURE
		? MSG_DATA
		: MSG_STATUS;
	const uint8_t message[READER_HEADER] = { type, 0, 0, 0, 0, (uint8_t)(n - itf->first_slot),
		slot->pending_seq, 0x42, ERROR_MUTE, 0 };
	reader_queue(itf, CHUNK_DATA, now, message, sizeof message);
	slot->busy_until = 0;
}

int reader_card(struct reader *reader, unsigned slot, struct card *card, uint64_t now) {
	struct reader_interface *itf = reader_interface_of(reader, slot);
	if (!itf)
		return -EINVAL;
	struct reader_slot *s = &reader->slots[slot];
	if (!s->card && !card)
		return 0;
	if (s->card) {
		card_power_off(s->card);
		if (s->card != card)
			card_free(s->card);
	}
	s->card = card;
	s->powered = 0;
	s->lost = 1;
	interrupted(reader, itf, slot, now);
	ccid_reset_slot(s);
	iccd_reset(itf);
	itf->changed |= 1u << (slot - itf->first_slot);
	itf->notify = 1;
	return 0;
}

int reader_interrupt(
	struct reader *reader, unsigned slot, const uint8_t *bytes, size_t len, uint64_t now) {
	(void)now;
	struct reader_interface *itf = reader_interface_of(reader, slot);
	if (!itf || len > MODEL_MAX_RAW)
		return -EINVAL;
	if (itf->n_interrupts == READER_MAX_INTERRUPTS)
		return -ENOSPC;
	struct model_raw *raw = &itf->interrupts[itf->n_interrupts++];
	raw->len = len;
	memcpy(raw->bytes, bytes, len);
	return 0;
}
