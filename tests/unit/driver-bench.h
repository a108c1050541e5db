/* SPDX-License-Identifier: MIT */
/* A reader and its cards for tests of the CCID driver, told to misbehave by setting fields. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/fake-usb.h"

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

enum {
	N_SLOTS = 8,
	INTERRUPT = 0x83,
	ACTIVE = 0,
	INACTIVE = 1,
	ABSENT = 2,
};

/* What the bench's reader and cards are like. */
struct card {
	uint8_t icc; /* bmICCStatus */
	uint8_t atr[40];
	size_t atr_len;
	uint8_t voltage; /* answers to this bPowerSelect only; 0: to all */
	int mute;        /* power-ups without an answer of the card */
};

struct bench {
	struct sd_event *event;
	struct fake_usb *fake;
	struct descriptors descriptors;
	struct driver *driver;
	struct driver_config config;
	struct card cards[N_SLOTS];
	uint8_t protocol;         /* GetParameters says */
	uint8_t parameters_error; /* SetParameters is refused with that, 0: accepted */
	int parameters_fail;      /* … at all */
	uint8_t pps[8];           /* answer to a PPS, if n_pps > 0; else an echo */
	int n_pps;                /* -1: none at all; -2: success without data */
	fake_message_fn next;     /* for tests that come in between: the bench's own reader */
	unsigned n_ignore;        /* messages without an answer */
	uint8_t power_error;      /* the next power-on fails with this */
	uint8_t lost_power;       /* XfrBlock answers carry this bmICCStatus */
	uint8_t xfr_error;        /* … this bError */
	unsigned xfr_lacks;       /* … and lack so many of their two bytes */
	const uint8_t *rates;     /* GET_DATA_RATES */
	int rates_len;

	int ready, gone, troubles, advices;
	enum status why;
	int presences;
	int present[N_SLOTS], swapped[N_SLOTS];

	int done;
	struct driver_result result;
	uint8_t data[4096];
	uint8_t known[DRIVER_MAX_ATTRIB];
};

/* A bench with a reader of these features and message length, one slot, and a card in it. */
struct bench *bench_new(uint32_t features, uint32_t message_length);

/* The ATR of the card in slot 0. */
void bench_set_atr(struct bench *b, const uint8_t *atr, size_t len);

/* Makes the driver. */
void bench_start(struct bench *b);

/* … and waits until it is ready. */
void bench_start_ready(struct bench *b);

/* Frees all; the device must be closed by then. */
void bench_free(struct bench *b);

/* What operations are given as `done`, with the bench as userdata. */
void bench_done(void *userdata, const struct driver_result *result);

/* Waits for the end of the one operation under way: its status. */
enum status bench_wait_done(struct bench *b, unsigned ms);

/* Operations, waited for. */
enum status bench_power(struct bench *b, unsigned slot, enum driver_reset how);
enum status bench_protocol(struct bench *b, unsigned slot, uint32_t which);
enum status bench_transmit(struct bench *b, unsigned slot, uint32_t which);
enum status bench_control(struct bench *b, uint32_t code, const uint8_t *data, size_t len);

/* How many messages of a type the reader got. */
unsigned bench_n_sent(const struct bench *b, uint8_t type);

/* The last message of a type. */
const uint8_t *bench_last_sent(const struct bench *b, uint8_t type);

/* The reader sends these bytes on its interrupt endpoint. */
void bench_ring(struct bench *b, const uint8_t *bytes, size_t len);

/* A bench whose card has power; `len` 0: the usual card. */
struct bench *bench_powered(uint32_t features, const uint8_t *atr, size_t len);

/* bVoltageSupport; before bench_start. */
void bench_set_voltages(struct bench *b, uint8_t voltages);
