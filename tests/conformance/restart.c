/* SPDX-License-Identifier: MIT */
/*
 * Handlers that are started by connections and end when nobody uses them: whoever connects is served,
 * in the first instant, in the moment of an idle exit, and right after a kill -9.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/bed.h"

static struct box r;

/* Connects, sends a command, disconnects. The first code that is not success. */
static LONG use(SCARDCONTEXT context) {
	LONG rv;
	SCARDHANDLE card = card_open(context, &r, SCARD_SHARE_SHARED, &rv);
	if (rv == SCARD_S_SUCCESS)
		rv = card_send(card);
	if (rv == SCARD_S_SUCCESS)
		rv = pc.disconnect(card, SCARD_LEAVE_CARD);
	return rv;
}

static void wait_for_end(void) {
	int64_t end_ms = now_ms() + WAIT_MS;
	while (*r.activated && now_ms() < end_ms)
		pause_ms(20);
}

static void wait_for_exit(void) {
	wait_for_end();
	ok(*r.activated == 0, "PCSC-210 an unused handler ends");
}

static void test_first_instant(void) {
	SCARDCONTEXT context = context_new();
	DWORD n = 0;
	code(pc.list(context, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-43 listed");
	ok(*r.activated == 0, "PCSC-43 without a handler");
	SCARD_READERSTATE s = { .szReader = r.name };
	code(pc.change(context, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-43 the first look starts it");
	ok((s.dwEventState & SCARD_STATE_PRESENT) && s.cbAtr > 0, "PCSC-43 and knows the card");
	pc.release(context);
	wait_for_exit();
	context = context_new();
	code(use(context), SCARD_S_SUCCESS, "PCSC-43 a first connect starts it");
	pc.release(context);
}

/* The parked connection of a context does not keep the handler, and its end is not noticed. */
static void test_idle_exit(void) {
	SCARDCONTEXT context = context_new();
	code(use(context), SCARD_S_SUCCESS, "PCSC-210 used");
	wait_for_exit();
	code(use(context), SCARD_S_SUCCESS, "PCSC-210 used again, by the same context");
	unsigned failed = 0;
	for (unsigned i = 0; i < 12; i++) {
		pause_ms(960 + 8 * i); /* on both sides of the idle time of one second */
		failed += use(context) != SCARD_S_SUCCESS;
	}
	ok(failed == 0, "PCSC-210 never refused in the moment of an idle exit: %u", failed);
	pc.release(context);
}

static void test_killed(void) {
	SCARDCONTEXT context = context_new();
	unsigned failed = 0, killed = 0;
	for (unsigned i = 0; i < 30; i++) {
		killed += box_kill_activated(&r);
		failed += use(context) != SCARD_S_SUCCESS;
	}
	ok(killed > 20, "PCSC-211 killed %u times", killed);
	ok(failed == 0, "PCSC-211 served right after a kill -9: %u failures", failed);
	pc.release(context);
}

/* A handle survives its handler: it says so once, and works again. */
static void test_handle(void) {
	SCARDCONTEXT context = context_new();
	SCARDHANDLE card = card_open(context, &r, SCARD_SHARE_SHARED, NULL);
	unsigned wrong = 0;
	for (unsigned i = 0; i < 20; i++) {
		DWORD active;
		box_kill_activated(&r);
		LONG rv = card_send(card);
		wrong += rv != SCARD_W_RESET_CARD && rv != SCARD_E_NOT_TRANSACTED &&
			rv != SCARD_S_SUCCESS; /* the kill may take a moment */
		rv = pc.reconnect(
			card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active);
		wrong += rv != SCARD_S_SUCCESS;
	}
	ok(wrong == 0, "PCSC-211 reset or not transacted, then reconnected: %u others", wrong);
	code(pc.disconnect(card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-211 disconnect");
	pc.release(context);
}

static LONG kill_it(void *unused) {
	(void)unused;
	box_kill_activated(&r);
	return 0;
}

/* A wait goes on over a crash: the reader is never told to be gone. */
static void test_wait(void) {
	SCARDCONTEXT context = context_new();
	SCARD_READERSTATE s = { .szReader = r.name };
	unsigned gone = 0;
	pc.change(context, 0, &s, 1);
	for (unsigned i = 0; i < 5; i++) {
		struct async later;
		s.dwCurrentState = s.dwEventState;
		async_start(&later, 100, kill_it, NULL);
		pc.change(context, 1000, &s, 1);
		async_join(&later);
		gone += (s.dwEventState & (SCARD_STATE_UNKNOWN | SCARD_STATE_UNAVAILABLE)) != 0;
	}
	ok(gone == 0, "PCSC-209 a wait over crashes: %u times gone", gone);
	s.dwCurrentState = SCARD_STATE_UNAWARE;
	code(pc.change(context, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-209 and then a look");
	ok(s.dwEventState & SCARD_STATE_PRESENT, "PCSC-209 finds the card");
	pc.release(context);
}

/* A counter after a start is none that was told before. */
static void test_counter(void) {
	SCARDCONTEXT context = context_new();
	SCARD_READERSTATE s = { .szReader = r.name };
	pc.change(context, 0, &s, 1);
	DWORD before = s.dwEventState >> 16;
	ok(before >= 40 && before < 100, "PCSC-176 the first start after a minute: %lu", before);
	for (int i = 0; i < 3; i++) {
		pause_ms(1100); /* seconds are what makes it another one */
		box_kill_activated(&r);
		wait_for_end();
		s.dwCurrentState = SCARD_STATE_UNAWARE;
		pc.change(context, 0, &s, 1);
		DWORD now = s.dwEventState >> 16;
		ok(now > before, "PCSC-176 after a restart: %lu, was %lu", now, before);
		before = now;
	}
	pc.release(context);
}

/* A list starts none, and has the reader whose handler has ended. */
static void test_list_starts_none(void) {
	SCARDCONTEXT context = context_new();
	for (int i = 0; i < 10; i++) {
		DWORD n = 0;
		code(pc.list(context, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-43 list %d", i);
	}
	ok(*r.activated == 0, "PCSC-43 starts no handler");
	pc.release(context);
}

static void setup(void) {
	if (!(stack->traits & STACK_ACTIVATES)) {
		skip("servers that are started by connections", "not with this stack");
		bed_leave();
	}
	if (!bed_private_run()) {
		skip("servers that are started by connections", "needs root: a /run of its own");
		bed_leave();
	}
	box_make(&r, "activated", 1);
	card_insert(&r, 0, &atr_a);
	box_start_activated(&r, "activated", "1");
}

static const struct test tests[] = {
	{ "first_instant", test_first_instant, 0 },
	{ "list_starts_none", test_list_starts_none, 0 },
	{ "idle_exit", test_idle_exit, 0 },
	{ "killed", test_killed, 0 },
	{ "handle", test_handle, 0 },
	{ "wait", test_wait, 0 },
	{ "counter", test_counter, 0 },
	{ 0 },
};

const struct test_group group_restart = { "restart", setup, tests };
