/* SPDX-License-Identifier: MIT */
/* PIN and PUK of the builtin card: reference values, retry counters, verified states. */
#pragma once

#include <stdint.h>

#include "ifdhandler/virtual/builtin_command.h"

enum {
	BUILTIN_N_PINS = 2,      /* reference 1: PIN, 2: PUK */
	BUILTIN_PIN_SIZE = 8,    /* stored length; shorter ones are padded with FF */
	BUILTIN_PIN_SHORTEST = 4 /* digits of a new one, as EF.AODF says */
};

struct builtin_pin {
	uint8_t value[BUILTIN_PIN_SIZE];
	uint8_t tries; /* left */
	uint8_t max_tries;
	uint8_t verified;
};

/* Sets PIN and PUK as they leave the factory. */
void builtin_pin_init(struct builtin_pin pins[BUILTIN_N_PINS]);

/* Forgets that `reference` was verified; 0: all. */
void builtin_pin_forget(struct builtin_pin pins[BUILTIN_N_PINS], unsigned reference);

/* Has the PIN (reference 1) been verified since power-up? */
int builtin_pin_is_verified(const struct builtin_pin pins[BUILTIN_N_PINS]);

/* VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER (ISO/IEC 7816-4:2005 7.5.6, 7.5.7, 7.5.10) and
 * MyEID's logout (2E). Each returns a status word; none gives data. A try is counted before the
 * comparison. */
unsigned builtin_pin_verify(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c);
unsigned builtin_pin_change(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c);
unsigned builtin_pin_unblock(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c);
unsigned builtin_pin_logout(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c);
