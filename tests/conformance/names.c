/* SPDX-License-Identifier: MIT */
/* What readers are called. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/bed.h"

static bool is_digit(char c) {
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

/* " NN SS" at the end, 127 bytes at most. */
static bool is_name(const char *name) {
	size_t len = strlen(name);
	const char *end = name + len - 6;
	return len > 6 && len <= 127 && end[0] == ' ' && is_digit(end[1]) && is_digit(end[2]) &&
		end[3] == ' ' && is_digit(end[4]) && is_digit(end[5]);
}

static bool is_ascii(const char *name) {
	for (; *name; name++)
		if (*name < 0x20 || *name > 0x7e)
			return false;
	return true;
}

static bool is_listed(const char *name) {
	static char list[4096];
	SCARDCONTEXT context = context_new();
	DWORD n = sizeof(list);
	bool found = false;
	LONG rv = pc.list(context, NULL, list, &n);
	for (const char *s = list; rv == SCARD_S_SUCCESS && *s; s += strlen(s) + 1)
		found = found || strcmp(s, name) == 0;
	pc.release(context);
	return found;
}

static void test_slots(void) {
	static struct box r;
	box_start_slots(&r, "slots", 3);
	size_t len = strlen(r.names[0]);
	for (unsigned i = 0; i < 3; i++) {
		char end[4];
		snprintf(end, sizeof(end), " %02X", i);
		ok(is_name(r.names[i]), "PCSC-213 %s", r.names[i]);
		ok(strlen(r.names[i]) == len && strncmp(r.names[i], r.names[0], len - 3) == 0 &&
				strcmp(r.names[i] + len - 3, end) == 0,
			"PCSC-216 %s", r.names[i]);
		ok(is_listed(r.names[i]), "PCSC-216 %s is listed", r.names[i]);
	}
	card_insert(&r, 1, &atr_a);
	DWORD event;
	SCARDCONTEXT context = context_new();
	code(reader_wait(context, r.names[1], SCARD_STATE_EMPTY, WAIT_MS, &event), SCARD_S_SUCCESS,
		"PCSC-216 a card in the second slot");
	ok((reader_look(r.names[0]) & SCARD_STATE_EMPTY) &&
			(reader_look(r.names[1]) & SCARD_STATE_PRESENT) &&
			(reader_look(r.names[2]) & SCARD_STATE_EMPTY),
		"PCSC-216 is in the second reader only");
	SCARDHANDLE card;
	DWORD active;
	code(pc.connect(context, r.names[1], 2, 3, &card, &active), SCARD_S_SUCCESS,
		"PCSC-216 connect to it");
	code(card_send(card), SCARD_S_SUCCESS, "PCSC-216 and use it");
	ok(r.cards[1].n_commands == 1 && r.cards[0].n_commands == 0 && r.cards[2].n_commands == 0,
		"PCSC-216 that card, no other");
}

static void test_equal(void) {
	static struct box r, q;
	snprintf(r.wanted_name, sizeof(r.wanted_name), "Twin");
	snprintf(q.wanted_name, sizeof(q.wanted_name), "Twin");
	box_start(&r, "one");
	box_start(&q, "two");
	ok(is_name(r.name) && is_name(q.name) && strcmp(r.name, q.name) != 0, "PCSC-215 %s, %s",
		r.name, q.name);
	ok(is_listed(r.name) && is_listed(q.name), "PCSC-215 both are listed");
	size_t len = strlen(r.name);
	ok(len == strlen(q.name) && strncmp(r.name, q.name, len - 5) == 0,
		"PCSC-215 by their numbers");
}

static void test_long_name(void) {
	static struct box r;
	memset(r.wanted_name, 'x', 140);
	memcpy(r.wanted_name, "Long", 4);
	box_start_slots(&r, "long", 2);
	ok(is_name(r.names[0]) && is_name(r.names[1]), "PCSC-214 PCSC-C18 %s", r.names[1]);
	ok(strstr(r.names[0], "Longxxx") && strlen(r.names[0]) > 100, "PCSC-214 PCSC-C18 %zu bytes",
		strlen(r.names[0]));
	ok(strcmp(r.names[0] + strlen(r.names[0]) - 3, " 00") == 0 &&
			strcmp(r.names[1] + strlen(r.names[1]) - 3, " 01") == 0,
		"PCSC-214 PCSC-C18 slots are told apart");
	LONG rv;
	card_open(context_new(), &r, SCARD_SHARE_DIRECT, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-214 connect by the name");
}

static void test_bytes(void) {
	static struct box r;
	snprintf(r.wanted_name, sizeof(r.wanted_name), "Leser f\xc3\xbcr Karten");
	box_start(&r, "bytes");
	ok(is_name(r.name) && is_ascii(r.name), "PCSC-217 %s", r.name);
	ok(strstr(r.name, "Leser f..r Karten"), "PCSC-217 dots: %s", r.name);
}

static void test_stays(void) {
	static struct box r;
	char name[128];
	box_start(&r, "stays");
	snprintf(name, sizeof(name), "%s", r.name);
	box_kill(&r);
	if (stack->traits & STACK_OWN_SERVERS)
		ok(is_listed(name), "PCSC-219 without its server");
	box_restart(&r);
	ok(strcmp(r.name, name) == 0 && is_listed(name), "PCSC-219 with the next one");
}

static const struct test tests[] = {
	{ "slots", test_slots, 0 },
	{ "equal", test_equal, 0 },
	{ "long_name", test_long_name, 0 },
	{ "bytes", test_bytes, 0 },
	{ "stays", test_stays, 0 },
	{ 0 },
};

const struct test_group group_names = { "names", NULL, tests };
