/* SPDX-License-Identifier: MIT */
/*
 * A program on one slot: connects, sends commands, resets, takes the power away, lets go, as chance
 * wants it. The answer to a command is computed from the command alone, and no two commands of a
 * storm have the same answer, so one that belongs to another is known at once.
 *
 * Outcomes: the right answer or an error, within the time that the slowest of readers may take.
 */
#include <stdio.h>
#include <string.h>

#include "tests/storm/storm.h"
#include "tests/storm/virtual-time.h"

enum {
	FEATURE_LEVELS = 0x70000,
	FEATURE_TPDU = 0x10000,
	FEATURE_SHORT = 0x20000,
	FEATURE_EXTENDED = 0x40000,
	CODE_ESCAPE = 0x42000001,
	CODE_VERIFY = 0x42330006,
	/* One operation, without time extensions: a power-up at three voltages that nothing answers,
	 * or a long command of many messages, each at the card's longest time. */
	LIMIT_S = 400, /* times the slots that may be served first */
	/* Without anybody who waits: 2 s, and what a pipe needs to come into step again. */
	ABANDONED_S = 15,
	/* With them: what the engine allows an exchange, and once more for what comes after. */
	LIMIT_EXTENDED_S = 2 * (CCID_MAX_TOTAL_USEC / 1000000) + 60,
};

static const struct model_interface *interface_of(const struct client *client) {
	unsigned slot = client->slot->number;
	for (size_t i = 0; i < client->storm->model->n_interfaces; i++) {
		const struct model_interface *itf = &client->storm->model->interfaces[i];
		if (itf->ccid && slot < itf->slots)
			return itf;
		slot -= itf->ccid ? itf->slots : 0;
	}
	return NULL;
}

/* ---- commands ---- */

/* CB: so many bytes of the pattern; each storm goes through all lengths before it repeats one. */
static void make_give(struct client *client) {
	unsigned n = 1 + client->storm->n_nonce++ % 250;
	const uint8_t apdu[] = { 0x00, 0xCB, 0x00, (uint8_t)n, (uint8_t)n };
	memcpy(client->command, apdu, sizeof(apdu));
	client->command_len = sizeof(apdu);
	for (unsigned i = 0; i < n; i++)
		client->expect[i] = (uint8_t)i;
	client->expect_len = n;
}

/* EC: the data back, which begins with a number that is used once. */
static void make_echo(struct client *client, size_t n, int is_extended) {
	uint8_t *p = client->command;
	unsigned nonce = client->storm->n_nonce++;
	const uint8_t head[] = { 0x00, 0xEC, 0x00, 0x00, is_extended ? 0 : (uint8_t)n };
	memcpy(p, head, sizeof(head));
	p += sizeof(head);
	if (is_extended) {
		*p++ = (uint8_t)(n >> 8);
		*p++ = (uint8_t)n;
	}
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i < 4 ? nonce >> (8 * i) : i * 7 + nonce);
	memcpy(client->expect, p, n);
	client->expect_len = n;
	p += n;
	*p++ = 0;
	if (is_extended)
		*p++ = 0;
	client->command_len = (size_t)(p - client->command);
}

/* Commands with which a card is slow, mute or hangs. */
static void make_odd(struct client *client) {
	static const uint8_t odd[][4] = { { 0, 0xEB, 0x00, 0x40 }, { 0, 0xEB, 0x0A, 0x00 },
		{ 0, 0xED, 0, 3 }, { 0, 0xEE, 0, 0 }, { 0, 0xEF, 0, 0 }, { 0, 0xE4, 0, 0 } };
	unsigned which = storm_draw(client->storm, 6);
	memcpy(client->command, odd[which], 4);
	client->command_len = 4;
	client->expect_len = 0;
	client->any_answer = which >= 3;
}

static void make_command(struct client *client, int is_odd) {
	uint32_t level = interface_of(client)->features & FEATURE_LEVELS;
	int is_t0 = client->protocol == PROTOCOL_T0;
	int by_card = level != FEATURE_SHORT && level != FEATURE_EXTENDED;
	client->any_answer = 0;
	if (is_odd)
		make_odd(client);
	else if (is_t0 && by_card)
		make_give(client);
	else if (level == FEATURE_SHORT || is_t0 || client->storm->lies ||
		storm_draw(client->storm, 3))
		make_echo(client, 4 + storm_draw(client->storm, 240), 0);
	else
		make_echo(client, 4 + storm_draw(client->storm, STORM_MAX_DATA - 4), 1);
	client->expect[client->expect_len++] = 0x90;
	client->expect[client->expect_len++] = 0x00;
}

/* ---- ends ---- */

static const char *const names[] = { "rest", "power-up", "negotiation", "command", "control",
	"power-down" };

/* The command's own bytes, with gaps: parts of a long answer that said to be shorter. */
static int is_part_of(const struct client *client, const struct driver_result *result) {
	size_t at = 0;
	for (size_t i = 0; i < client->expect_len && at < result->len; i++)
		at += result->data[at] == client->expect[i];
	return at == result->len;
}

static void judge_answer(struct client *client, const struct driver_result *result) {
	struct storm *storm = client->storm;
	int is_right = result->len == client->expect_len &&
		memcmp(result->data, client->expect, result->len) == 0;
	int is_part = result->len < client->expect_len && is_part_of(client, result);
	int is_pin = result->len == 2 && result->data[0] == 0x64;
	client->n_right += is_right ? 1 : 0;
	client->all_right += is_right ? 1 : 0;
	if (is_right || client->any_answer || storm->spoils_content ||
		(storm->spoils_length && (is_part || is_pin)))
		return;
	storm_wrong(storm, "slot %u: answer of %zu bytes (%02x %02x … ), wanted %zu (%02x %02x …)",
		client->slot->number, result->len, result->data[0], result->data[1],
		client->expect_len, client->expect[0], client->expect[1]);
}

static void pause_for(struct client *client, unsigned usec) {
	client->next_at = virtual_now() + usec;
}

static void on_end(void *userdata, const struct driver_result *result) {
	struct client *client = userdata;
	struct storm *storm = client->storm;
	enum client_does did = client->does;
	uint64_t took = virtual_now() - client->began;
	storm_say(storm, "slot %u: %s ends: %s, %zu bytes, %llu ms", client->slot->number,
		names[did], status_name(result->status), result->len,
		(unsigned long long)took / 1000);
	client->does = CLIENT_RESTS;
	if (did == CLIENT_RESTS)
		storm_wrong(storm, "slot %u: ended twice", client->slot->number);
	if (took >
		(uint64_t)(storm->extends ? LIMIT_EXTENDED_S : LIMIT_S) * 1000000 * storm->n_slots)
		storm_wrong(storm, "slot %u: %s took %llu s", client->slot->number, names[did],
			(unsigned long long)took / 1000000);
	if (client->abandoned_at && storm->n_slots == 1 &&
		virtual_now() - client->abandoned_at > ABANDONED_S * UINT64_C(1000000))
		storm_wrong(storm, "slot %u: %s that nobody waits for goes on",
			client->slot->number, names[did]);
	if (result->status != STATUS_OK) {
		client->n_failed++;
		client->all_failed++;
		client->connected = 0;
		pause_for(client, 20000);
		/* As programs do when their card does not answer. */
		client->wants_reset = did == CLIENT_NEGOTIATES || did == CLIENT_TRANSMITS;
		return;
	}
	switch (did) {
	case CLIENT_NEGOTIATES:
		client->connected = 1;
		client->protocol = result->protocol;
		break;
	case CLIENT_TRANSMITS: judge_answer(client, result); break;
	default: break;
	}
}

void client_die(struct client *client) {
	int is_waiting = client->does == CLIENT_TRANSMITS || client->does == CLIENT_CONTROLS;
	if (!is_waiting)
		return;
	client->abandoned_at = virtual_now();
	client->any_answer = 1;
	slot_abandon(client->slot);
}

void client_lost(struct client *client) {
	client->connected = 0;
}

/* ---- beginnings ---- */

static void begin(struct client *client, enum client_does what) {
	client->does = what;
	client->began = virtual_now();
	client->abandoned_at = 0;
	client->storm->n_ops++;
	storm_say(client->storm, "slot %u: %s begins", client->slot->number, names[what]);
}

static void power(struct client *client, enum driver_reset how) {
	begin(client, CLIENT_POWERS);
	client->connected = 0;
	client->wants_reset = 0;
	slot_power_on(client->slot, how, on_end, client);
}

static void connect(struct client *client, uint32_t protocols) {
	slot_use(client->slot, 1);
	if (!client->slot->powered) {
		power(client, DRIVER_COLD);
		return;
	}
	if (client->wants_reset) {
		power(client, DRIVER_WARM);
		return;
	}
	begin(client, CLIENT_NEGOTIATES);
	slot_negotiate(client->slot, protocols, on_end, client);
}

static void transmit(struct client *client, int is_odd) {
	make_command(client, is_odd);
	begin(client, CLIENT_TRANSMITS);
	struct driver_bytes apdu = { client->command, client->command_len };
	slot_transmit(client->slot, client->protocol, &apdu, on_end, client);
}

/* PC/SC part 10 2.5.2: PIN_VERIFY, for a PIN of 4 to 8 digits. */
static void control(struct client *client) {
	static const uint8_t escape[] = { 0x02 };
	static const uint8_t verify[] = { 0x1E, 0x1E, 0x82, 0x08, 0x00, 0x08, 0x04, 0x02, 0x01,
		0x09, 0x04, 0x00, 0x00, 0x00, 0x00, 0x0D, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x82,
		0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF };
	int is_pin = storm_draw(client->storm, 3) != 0;
	struct driver_bytes in = { is_pin ? verify : escape,
		is_pin ? sizeof(verify) : sizeof(escape) };
	begin(client, CLIENT_CONTROLS);
	slot_control(client->slot, is_pin ? CODE_VERIFY : CODE_ESCAPE, &in, on_end, client);
}

/* At rest, known, and a card is in. */
static int is_usable(const struct client *client) {
	return slot_is_known(client->slot) && client->slot->presence != PRESENCE_UNKNOWN &&
		client->slot->presence != PRESENCE_ABSENT;
}

static int may_begin(const struct client *client) {
	return client->does == CLIENT_RESTS && !client->slot->busy &&
		client->next_at <= virtual_now() && !client->storm->gone;
}

/* Somebody is there to whom it matters what is in the slot, or nobody is. */
static void watch(struct client *client, int on) {
	struct slot *slot = client->slot;
	if (client->watches == on)
		return;
	client->watches = on;
	if (!client->storm->ready)
		return;
	storm_say(client->storm, "slot %u: watched: %d", slot->number, on);
	if (slot->ops->watch(slot->driver, slot->number, on))
		slot_look(slot);
}

void client_let_go(struct client *client) {
	client->connected = 0;
	slot_use(client->slot, 0);
	watch(client, 0);
}

static void ask_around(struct client *client) {
	uint8_t buf[DRIVER_MAX_ATTRIB];
	char text[1024];
	size_t len = 0;
	struct slot *slot = client->slot;
	(void)slot_attrib(
		client->slot, storm_draw(client->storm, 2) ? 0x00090303 : 0x00080201, buf, &len);
	(void)slot_known(slot, 0x42000d48, buf, &len);
	(void)slot->ops->describe(slot->driver, slot->number, text, sizeof(text));
	watch(client, storm_draw(client->storm, 2) != 0);
}

int client_step(struct client *client) {
	static const uint32_t masks[] = { 3, 3, 3, PROTOCOL_T1, PROTOCOL_T0 };
	struct storm *storm = client->storm;
	if (!client->todo || !may_begin(client))
		return 0;
	client->todo--;
	if (storm_draw(storm, 8) == 0)
		ask_around(client);
	watch(client, 1);
	if (!is_usable(client)) {
		pause_for(client, 1 + storm_draw(storm, storm_draw(storm, 4) ? 100000 : 4000000));
		return 1;
	}
	unsigned what = storm_draw(storm, 40);
	if (!client->connected)
		connect(client, masks[storm_draw(storm, 5)]);
	else if (what == 0)
		power(client, DRIVER_WARM);
	else if (what == 1)
		power(client, DRIVER_COLD);
	else if (what == 2 && slot_has_card(client->slot)) {
		begin(client, CLIENT_UNPOWERS);
		client->connected = 0;
		slot_power_off(client->slot, on_end, client);
	} else if (what == 3)
		client_let_go(client);
	else if (what == 4)
		control(client);
	else
		transmit(client, what < 8);
	if (storm_draw(storm, 5) == 0)
		pause_for(client, storm_draw(storm, storm_draw(storm, 5) ? 20000 : 7000000));
	return 1;
}

int client_recover(struct client *client) {
	if (client->n_right || !may_begin(client))
		return 0;
	watch(client, 1);
	if (!is_usable(client))
		return 0;
	if (client->connected)
		transmit(client, 0);
	else
		connect(client, PROTOCOL_T0 | PROTOCOL_T1);
	return 1;
}
