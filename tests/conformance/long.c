/* SPDX-License-Identifier: MIT */
/* What takes more than a minute; everything at once. */
#include "tests/conformance/bed.h"

static struct box r;

/* 90 s: a card that generates a key. */
static void test_command(void) {
	SCARDCONTEXT context = context_new();
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(context, &r, SCARD_SHARE_SHARED, NULL);
	card_rule(&r, 0, &(struct rule){ .op = SCRIPT_TRANSMIT, .delay_ms = 90000, .times = 1 });
	int64_t start_ms = now_ms();
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-137 transmit");
	ok(now_ms() - start_ms >= 90000, "PCSC-137 took %ld ms", (long)(now_ms() - start_ms));
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-137 and the next one");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static LONG wait_infinite(void *timeout) {
	SCARD_READERSTATE s = { .szReader = r.name, .dwCurrentState = SCARD_STATE_EMPTY };
	SCARDCONTEXT context = context_new();
	LONG rv = pc.change(context, *(DWORD *)timeout, &s, 1);
	pc.release(context);
	return rv;
}

/* Both spellings of "for ever" at the same time. */
static void test_infinite(void) {
	DWORD timeouts[] = { INFINITE, (DWORD)-1 };
	struct async waits[2];
	for (int i = 0; i < 2; i++)
		async_start(&waits[i], 0, wait_infinite, &timeouts[i]);
	pause_ms(66000);
	for (int i = 0; i < 2; i++)
		ok(!waits[i].done, "PCSC-199 %#lx: still waits after 66 s", timeouts[i]);
	card_insert(&r, 0, &atr_a);
	for (int i = 0; i < 2; i++) {
		code(async_join(&waits[i]), SCARD_S_SUCCESS, "PCSC-199 %#lx: then a card comes",
			timeouts[i]);
		ok(waits[i].took_ms >= 65000, "PCSC-199 %#lx: waited %ld ms", timeouts[i],
			(long)waits[i].took_ms);
	}
}

static void setup(void) {
	box_start(&r, "long");
}

static const struct test tests[] = {
	{ "command", test_command, TEST_LONG },
	{ "infinite", test_infinite, TEST_LONG },
	{ 0 },
};

const struct test_group group_long = { "long", setup, tests };
