/* SPDX-License-Identifier: MIT */
/* A CCID reader with its cards as a USB host sees it, whatever carries the transfers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/model/card.h"
#include "tests/model/model.h"

struct reader;

enum {
	/* Slots over all interfaces of one device. bMaxSlotIndex of 7 is the largest known;
	 * chosen. */
	READER_MAX_SLOTS = 16,
	/* reader_submit: the transfer waits. */
	READER_PENDING = 1,
};

/* What is counted, for README's "Counters". */
enum reader_count {
	COUNT_BULK_OUT,
	COUNT_BULK_OUT_ZLP,
	COUNT_BULK_IN,
	COUNT_BULK_IN_ZLP,
	COUNT_INTERRUPT,
	COUNT_CONTROL,
	COUNT_COMMANDS,
	COUNT_POWER_ON,
	COUNT_POWER_OFF,
	COUNT_SLOT_STATUS,
	COUNT_XFR,
	COUNT_GET_PARAMETERS,
	COUNT_SET_PARAMETERS,
	COUNT_RESET_PARAMETERS,
	COUNT_ESCAPE,
	COUNT_SECURE,
	COUNT_ABORT,
	COUNT_OTHER,
	COUNT_CLEAR_HALT,
	COUNT_SET_INTERFACE,
	COUNT_SET_CONFIGURATION,
	COUNT_RESET_DEVICE,
	COUNT_DATA_BLOCK,
	COUNT_POLLS,
	COUNT_OVERLAPS,
	COUNT_VIOLATIONS,
	COUNT_SUBMITS,
	COUNT_REAPS,
	COUNT_EMPTY_REAPS,
	COUNT_DISCARDS,
	COUNT_CLAIMS,
	COUNT_OPENS,
	N_COUNTS,
};

/* A transfer; `data` is the front end's and stays in place until the transfer ends. */
struct reader_urb {
	uint8_t endpoint; /* address with direction bit */
	uint8_t *data;
	size_t size;
	size_t actual; /* 0 at first; bytes moved so far, also of a transfer that waits */
};

/* Makes a reader with empty slots; `model` outlives it. -ENOMEM. */
int reader_new(const struct model *model, struct reader **ret_reader);
/* NULL is allowed. Cards go, too. */
void reader_free(struct reader *reader);
/* Messages to standard error under this name; NULL: none. The text outlives the reader. */
void reader_verbose(struct reader *reader, const char *name);

/* The cable goes in: all state of a former life is forgotten, cards stay. `now`, here and below, is
 * microseconds of one monotonic clock. */
void reader_plugged(struct reader *reader, uint64_t now);
/* The host resets the port: as a plug, but counted. */
void reader_reset(struct reader *reader, uint64_t now);
/* SET_INTERFACE: the interface forgets what it was doing. */
void reader_set_interface(struct reader *reader, unsigned number, uint64_t now);
void reader_clear_halt(struct reader *reader, uint8_t endpoint);

/* A control transfer: `setup` of 8 bytes, `data` of `size` bytes in or out. Returns the number of
 * bytes moved, -EPIPE (stall), -EPROTO, -EOVERFLOW, or -EINPROGRESS: it never ends by itself. */
int reader_control(
	struct reader *reader, const uint8_t *setup, uint8_t *data, size_t size, uint64_t now);
/* Hands over a transfer, or asks again for one that waited. 0: done; READER_PENDING; -EPIPE:
 * stalled; -EPROTO, -EOVERFLOW: failed on the wire. */
int reader_submit(struct reader *reader, struct reader_urb *urb, uint64_t now);
/* When to ask again for transfers that wait; UINT64_MAX: only after something else happened. */
uint64_t reader_due(const struct reader *reader, uint64_t now);
/* A fault says that the reader is to be unplugged at this time; UINT64_MAX: none. */
uint64_t reader_vanishes(const struct reader *reader);

/* Slots over all interfaces. */
unsigned reader_n_slots(const struct reader *reader);
/* Puts in a card (it belongs to the reader then), or takes it out with NULL. `swap`: one
 * notification for out and in. -EINVAL: no such slot. */
int reader_card(struct reader *reader, unsigned slot, struct card *card, uint64_t now);
/* The card in the slot, or NULL. */
struct card *reader_card_in(const struct reader *reader, unsigned slot);
/* Queues bytes on the interrupt endpoint of the interface that has `slot`. */
int reader_interrupt(
	struct reader *reader, unsigned slot, const uint8_t *bytes, size_t len, uint64_t now);

/* What the user does at the PIN pad from now on: words as in README's "Commands". Writes into
 * `text`. -EINVAL. */
int reader_pin(struct reader *reader, char *text);
/* Orders a fault: words as in README's "Faults". Writes into `text`. -EINVAL, -ENOSPC. */
int reader_fault(struct reader *reader, char *text, uint64_t now);
void reader_faults_clear(struct reader *reader);

void reader_count(struct reader *reader, enum reader_count what);
/* Value of a counter by its name, card.S.… too. -ENOENT. */
int reader_counter(const struct reader *reader, const char *name, unsigned long *ret_value);
void reader_counters_reset(struct reader *reader);
/* Name of counter `i`, as reader_counter knows it; NULL after the last one. Valid until the next
 * call. */
const char *reader_counter_name(const struct reader *reader, size_t i, char *buf, size_t size);

/* Messages since the last call, one at a time, and violation number `i`; NULL after the last
 * one. */
const char *reader_trace_next(struct reader *reader);
const char *reader_violation_line(const struct reader *reader, size_t i);
