/* SPDX-License-Identifier: MIT */
/*
 * PIN and PUK of the builtin card. A comparison takes the same time for every value; the retry
 * counter is taken down before it and put back after a match, so that no way out is free. The
 * verified state goes with power, the counter does not. Values are never logged.
 */
#include "ifdhandler/virtual/builtin_pin.h"

#include <assert.h>
#include <string.h>

enum {
	PIN_REFERENCE = 1,
	PUK_REFERENCE = 2,
};

static const struct builtin_pin factory_pins[BUILTIN_N_PINS] = {
	{ .value = "123456\xff\xff", .tries = 3, .max_tries = 3 },
	{ .value = "12345678", .tries = 10, .max_tries = 10 },
};

void builtin_pin_init(struct builtin_pin pins[BUILTIN_N_PINS]) {
	memcpy(pins, factory_pins, sizeof(factory_pins));
}

void builtin_pin_forget(struct builtin_pin pins[BUILTIN_N_PINS], unsigned reference) {
	for (unsigned i = 0; i < BUILTIN_N_PINS; i++)
		if (reference == 0 || reference == i + 1)
			pins[i].verified = 0;
}

int builtin_pin_is_verified(const struct builtin_pin pins[BUILTIN_N_PINS]) {
	return pins[PIN_REFERENCE - 1].verified;
}

static struct builtin_pin *pin_of(struct builtin_pin pins[BUILTIN_N_PINS], unsigned reference) {
	return reference >= 1 && reference <= BUILTIN_N_PINS ? &pins[reference - 1] : NULL;
}

static unsigned check(struct builtin_pin *pin, const uint8_t *value, size_t len) {
	assert(len <= BUILTIN_PIN_SIZE);
	if (pin->tries == 0)
		return SW_PIN_BLOCKED;
	pin->tries--;
	uint8_t padded[BUILTIN_PIN_SIZE];
	memset(padded, 0xFF, sizeof(padded));
	memcpy(padded, value, len);
	volatile uint8_t different = 0;
	for (size_t i = 0; i < BUILTIN_PIN_SIZE; i++)
		different = (uint8_t)(different | (padded[i] ^ pin->value[i]));
	explicit_bzero(padded, sizeof(padded));
	pin->verified = different == 0;
	if (!pin->verified)
		return (unsigned)SW_WRONG_PIN | pin->tries;
	pin->tries = pin->max_tries;
	return SW_OK;
}

/* A new PIN: at least BUILTIN_PIN_SHORTEST digits, then FF to the end. */
static int is_proper(const uint8_t value[BUILTIN_PIN_SIZE]) {
	size_t digits = 0;
	while (digits < BUILTIN_PIN_SIZE && value[digits] >= '0' && value[digits] <= '9')
		digits++;
	for (size_t i = digits; i < BUILTIN_PIN_SIZE; i++)
		if (value[i] != 0xFF)
			return 0;
	return digits >= BUILTIN_PIN_SHORTEST;
}

unsigned builtin_pin_verify(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c) {
	struct builtin_pin *pin = pin_of(pins, c->p2);
	if (c->p1 != 0x00 && c->p1 != 0xFF)
		return SW_BAD_P1P2;
	if (!pin)
		return SW_NO_REFERENCE;
	if (c->p1 == 0xFF) { /* back to "not verified" */
		if (c->lc)
			return SW_WRONG_LENGTH;
		pin->verified = 0;
		return SW_OK;
	}
	if (c->lc == 0 && pin->verified)
		return SW_OK;
	if (c->lc == 0)
		return pin->tries ? (unsigned)SW_WRONG_PIN | pin->tries : SW_PIN_BLOCKED;
	return c->lc > BUILTIN_PIN_SIZE ? SW_WRONG_LENGTH : check(pin, c->data, c->lc);
}

/* Old and new value, both padded. */
unsigned builtin_pin_change(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c) {
	struct builtin_pin *pin = pin_of(pins, c->p2);
	if (c->p1 != 0x00)
		return SW_BAD_P1P2;
	if (!pin)
		return SW_NO_REFERENCE;
	if (c->lc != 2 * BUILTIN_PIN_SIZE)
		return SW_WRONG_LENGTH;
	if (!is_proper(c->data + BUILTIN_PIN_SIZE))
		return SW_BAD_DATA;
	unsigned sw = check(pin, c->data, BUILTIN_PIN_SIZE);
	if (sw == SW_OK)
		memcpy(pin->value, c->data + BUILTIN_PIN_SIZE, BUILTIN_PIN_SIZE);
	return sw;
}

/* P1 = 00: PUK and new PIN; P1 = 01: PUK only. Nothing can be unblocked without the PUK. */
unsigned builtin_pin_unblock(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c) {
	if (c->p1 > 1)
		return SW_BAD_P1P2;
	if (c->p2 != PIN_REFERENCE)
		return SW_NO_REFERENCE;
	if (c->lc != (c->p1 == 0 ? 2 * BUILTIN_PIN_SIZE : BUILTIN_PIN_SIZE))
		return SW_WRONG_LENGTH;
	if (c->p1 == 0 && !is_proper(c->data + BUILTIN_PIN_SIZE))
		return SW_BAD_DATA;

	struct builtin_pin *puk = pin_of(pins, PUK_REFERENCE);
	unsigned sw = check(puk, c->data, BUILTIN_PIN_SIZE);
	puk->verified = 0;
	if (sw != SW_OK)
		return sw;
	struct builtin_pin *pin = pin_of(pins, PIN_REFERENCE);
	if (c->p1 == 0)
		memcpy(pin->value, c->data + BUILTIN_PIN_SIZE, BUILTIN_PIN_SIZE);
	pin->tries = pin->max_tries;
	pin->verified = 0;
	return SW_OK;
}

unsigned builtin_pin_logout(
	struct builtin_pin pins[BUILTIN_N_PINS], const struct builtin_command *c) {
	if (c->p1 != 0)
		return SW_BAD_P1P2;
	if (c->p2 > BUILTIN_N_PINS)
		return SW_NO_REFERENCE;
	if (c->lc)
		return SW_WRONG_LENGTH;
	builtin_pin_forget(pins, c->p2);
	return SW_OK;
}
