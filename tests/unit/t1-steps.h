/* SPDX-License-Identifier: MIT */
/* T=1 step by step: what the tests of t1.c send and receive. One card, one command at a time. */
#pragma once

#include <string.h>

#include "tests/unit/test.h"

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/iso7816/t1.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static struct t1 t1;
static struct t1_action action;
static uint8_t response[T1_MAX_APDU];

static inline void begin_atr(int crc, uint8_t ifsc, size_t max_block) {
	struct atr atr;
	assert_int_equal(atr_parse((const uint8_t[]){ 0x3b, 0x80, 0x01, 0x81 }, 4, &atr), 0);
	atr.crc = (uint8_t)crc;
	atr.ifsc = ifsc;
	t1_init(&t1, &atr, max_block, 0);
	t1_set_response(&t1, response, sizeof(response));
}

static inline void begin(void) {
	begin_atr(0, 32, 259);
}

static inline void transmit(const uint8_t *command, size_t len) {
	static uint8_t copy[T1_MAX_APDU];
	memcpy(copy, command, len);
	t1_transmit(&t1, copy, len, &action);
}

/* Receives a block without its check bytes, which are made. */
static inline void receive(const uint8_t *block, size_t len) {
	uint8_t *copy = test_malloc(len + T1_MAX_EDC);
	memcpy(copy, block, len);
	len += t1_edc(t1.crc, copy, len, copy + len);
	uint8_t *exact = test_malloc(len);
	memcpy(exact, copy, len);
	t1_received(&t1, exact, len, &action);
	test_free(exact);
	test_free(copy);
}

/* Receives exactly these bytes. */
static inline void receive_raw(const uint8_t *block, size_t len) {
	uint8_t *exact = test_malloc(len ? len : 1);
	memcpy(exact, block, len);
	t1_received(&t1, exact, len, &action);
	test_free(exact);
}

/* The action is to send this block, given without check bytes. */
static inline void check_send(const uint8_t *block, size_t len) {
	uint8_t edc[T1_MAX_EDC];
	size_t n = t1_edc(t1.crc, block, len, edc);
	assert_int_equal(action.verb, T1_SEND);
	assert_int_equal(action.len, len + n);
	assert_memory_equal(action.block, block, len);
	assert_memory_equal(action.block + len, edc, n);
}

static inline void check_done(const uint8_t *want, size_t len) {
	assert_int_equal(action.verb, T1_DONE);
	assert_int_equal(action.len, len);
	assert_memory_equal(response, want, len);
}

static inline void check_fail(enum t1_failure failure) {
	assert_int_equal(action.verb, T1_FAIL);
	assert_int_equal(action.failure, failure);
}

/* A first command that works, so that the card counts as alive; afterwards both numbers are 1. */
static inline void warm_up(void) {
	transmit(BYTES(0x00, 0xa4, 0x04, 0x00, 0x00));
	receive(BYTES(0x00, 0x00, 0x02, 0x90, 0x00));
	check_done(BYTES(0x90, 0x00));
}
