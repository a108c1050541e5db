/* SPDX-License-Identifier: MIT */
/* The power of a card: who keeps it up, when it goes down, and what a card does that does not come up again. */
#include <string.h>

#include "tests/conformance/bed.h"

static struct box r;
static SCARDCONTEXT h1, h2;

/* A card that nobody uses is powered down after about five seconds. */
static void test_idle_power(void) {
	LONG rv;
	DWORD bits = 0, active = 0;
	int64_t start_ms = now_ms();
	box_insert(&r, &atr_a);
	ok(r.card.n_on == 1 && r.card.n_off == 0, "PCSC-220 powered once");
	ok(wait_count(&r.card.n_off, 1), "PCSC-220 powered down when nobody uses it");
	int64_t took_ms = now_ms() - start_ms;
	ok(took_ms >= 4500 && took_ms < 10000, "PCSC-220 PCSC-C19 after %ld ms", (long)took_ms);
	SCARD_READERSTATE state = { .szReader = r.name };
	pc.change(h1, 0, &state, 1);
	ok((state.dwEventState & SCARD_STATE_PRESENT) && state.cbAtr == 4,
		"PCSC-220 card and ATR are still told");
	unsigned on = r.card.n_on;
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	ok(r.card.n_on == on, "PCSC-91 direct does not power it");
	code(card_state(a, &bits), SCARD_S_SUCCESS, "PCSC-139 the resting card");
	ok((bits & 0xffff) == 0x34, "PCSC-139 the resting card looks powered: %#lx", bits);
	code(pc.reconnect(a, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
		SCARD_S_SUCCESS, "PCSC-91 PCSC-C13 reconnect shared");
	ok(r.card.n_on == on + 1 && active == 1, "PCSC-91 PCSC-C13 powers it and negotiates");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-91 PCSC-C13 and it answers");
	ok(r.card.n_wrong == 0, "PCSC-91 PCSC-C13 nothing was asked of a card without power");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* Its last use begins the five seconds anew; a connect within them finds the card as it was. */
static void test_idle_again(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	int64_t start_ms = now_ms();
	ok(wait_count(&r.card.n_off, 1), "PCSC-72 it rests");
	ok(now_ms() - start_ms >= 4500, "PCSC-C19 %ld ms after its last use",
		(long)(now_ms() - start_ms));
	a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-72 connect");
	ok(r.card.n_on == 2, "PCSC-72 powers it up again");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-72 and it answers");
	BYTE atr[33];
	DWORD n = sizeof(atr);
	code(pc.status(a, NULL, NULL, NULL, NULL, atr, &n), SCARD_S_SUCCESS, "PCSC-72 status");
	ok(n == 4 && memcmp(atr, atr_a.bytes, 4) == 0, "PCSC-72 the ATR");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* A use keeps it up: shared, after a removal and an insertion, or direct alone. */
static void test_use_keeps_power(void) {
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pause_ms(20000);
	ok(r.card.n_off == 0, "PCSC-221 connected, idle for 20 s");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-221 and answers");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_new_card_keeps_power(void) {
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	box_remove(&r);
	box_insert(&r, &atr_a);
	unsigned off = r.card.n_off;
	code(card_reconnect(a, SCARD_SHARE_SHARED, SCARD_LEAVE_CARD), SCARD_S_SUCCESS,
		"PCSC-222 reconnect");
	pause_ms(10000);
	ok(r.card.n_off == off, "PCSC-222 idle for 10 s");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-222 and answers");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_direct_keeps_power(void) {
	box_insert(&r, &atr_a);
	SCARDHANDLE direct = card_open(h2, &r, SCARD_SHARE_DIRECT, NULL);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pause_ms(20000);
	ok(r.card.n_off == 0 && r.card.powered, "PCSC-223 20 s after the last shared one");
	pc.disconnect(direct, SCARD_LEAVE_CARD);
	ok(wait_count(&r.card.n_off, 1), "PCSC-223 until the direct one goes");
}

/* A connect that fails for the protocol is no use of the card. */
static void test_failed_connect(void) {
	SCARDHANDLE a;
	DWORD active;
	box_insert(&r, &atr_c);
	ok(wait_count(&r.card.n_off, 1), "PCSC-74 the card rests");
	code(pc.connect(h1, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, &a, &active),
		SCARD_E_PROTO_MISMATCH, "PCSC-74 PCSC-C7 a connect for T=0");
	unsigned off = r.card.n_off;
	ok(!r.card.powered || wait_count(&r.card.n_off, off + 1), "PCSC-74 PCSC-C7 it rests again");
}

/* A card that answered at insertion, and not when it is wanted. */
static void test_falls_silent(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	ok(wait_count(&r.card.n_off, 1), "PCSC-65 the card rests");
	card_set_mute(&r, 0, true);
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_W_UNPOWERED_CARD, "PCSC-65 PCSC-C8 connect");
	DWORD event = reader_look(r.name);
	ok((event & 0xffff) == (SCARD_STATE_PRESENT | SCARD_STATE_MUTE | SCARD_STATE_CHANGED),
		"PCSC-65 the state: %#lx", event);
	card_set_mute(&r, 0, false);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-65 it answers again");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* The card is pulled in the moment in which it is powered up for a connect. */
static void test_pulled_at_power_up(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	ok(wait_count(&r.card.n_off, 1), "PCSC-C23 the card rests");
	card_rule(&r, 0, &(struct rule){ .op = SCRIPT_POWER_UP, .result = 612, .times = 1 });
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	ok(rv == SCARD_W_UNPOWERED_CARD || rv == SCARD_E_NO_SMARTCARD, "PCSC-C23 connect: %#lx",
		(unsigned long)rv);
	SCARD_READERSTATE s = { .szReader = r.name };
	pc.change(h1, 0, &s, 1);
	ok(s.cbAtr == 0, "PCSC-C23 no ATR: %lu bytes", s.cbAtr);
	box_remove(&r);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	BYTE atr[33];
	DWORD n = sizeof(atr);
	code(pc.status(a, NULL, NULL, NULL, NULL, atr, &n), SCARD_S_SUCCESS, "PCSC-C23 status");
	ok(n == 0, "PCSC-C23 no ATR there: %lu bytes", n);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void setup(void) {
	box_start(&r, "power");
	h1 = context_new();
	h2 = context_new();
}

static const struct test tests[] = {
	{ "use_keeps_power", test_use_keeps_power, TEST_LONG },
	{ "new_card_keeps_power", test_new_card_keeps_power, TEST_LONG },
	{ "direct_keeps_power", test_direct_keeps_power, TEST_LONG },
	{ "idle_power", test_idle_power, TEST_LONG },
	{ "idle_again", test_idle_again, TEST_LONG },
	{ "failed_connect", test_failed_connect, TEST_LONG },
	{ "falls_silent", test_falls_silent, TEST_LONG },
	{ "pulled_at_power_up", test_pulled_at_power_up, TEST_LONG },
	{ 0 },
};

const struct test_group group_power = { "power", setup, tests };
