/* SPDX-License-Identifier: MIT */
/*
 * Handles come and go, against a live handler: connect, negotiation, share modes, reconnect, disconnect,
 * release, power. Run: pcsc-core [LIBRARY [HANDLER]]. Each line names the lines of the conformance
 * checklist that it is for.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/process/pcsc.h"

static struct box r;
static SCARDCONTEXT h1, h2, h3;

/* Connects on h1 for `protocols` only to see what comes out; leaves the card fresh. */
static void negotiate(const struct atr *atr, DWORD protocols, LONG want_rv, DWORD want_active) {
	SCARDHANDLE card = 77;
	DWORD active = 77;
	LONG rv = pc.connect(h1, r.name, SCARD_SHARE_SHARED, protocols, &card, &active);
	code(rv, want_rv, "PCSC-53..61 card %s, protocols %#lx", atr->name, protocols);
	ok(active == want_active, "PCSC-53..61 card %s, protocols %#lx: active %lu", atr->name,
		protocols, active);
	if (rv == SCARD_S_SUCCESS)
		pc.disconnect(card, SCARD_RESET_CARD);
	else
		ok(card == 0, "PCSC-48 no handle after a failure");
}

static void test_negotiation(void) {
	static const struct {
		const struct atr *atr;
		DWORD any, t0, t1; /* active protocol, 0: mismatch */
	} rows[] = {
		{ &atr_a, 1, 1, 0 },
		{ &atr_b, 2, 1, 2 },
		{ &atr_c, 2, 0, 2 },
		{ &atr_d, 2, 0, 2 },
		{ &atr_e, 1, 1, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		box_insert(&r, rows[i].atr);
		const DWORD want[] = { rows[i].any, rows[i].t0, rows[i].t1 };
		static const DWORD asked[] = { 3, 1, 2 };
		for (size_t k = 0; k < 3; k++)
			negotiate(rows[i].atr, asked[k],
				want[k] ? SCARD_S_SUCCESS : SCARD_E_PROTO_MISMATCH, want[k]);
		box_remove(&r);
	}
	static const struct atr *const odd[] = { &atr_f, &atr_g };
	for (size_t i = 0; i < 2; i++) {
		box_insert(&r, odd[i]);
		negotiate(odd[i], 3, SCARD_E_PROTO_MISMATCH, 0);
		negotiate(odd[i], SCARD_PROTOCOL_RAW, SCARD_S_SUCCESS, 4);
		box_remove(&r);
	}
	box_insert(&r, &atr_a);
	negotiate(&atr_a, 0x1000, SCARD_S_SUCCESS, 1);
	negotiate(&atr_a, 7, SCARD_S_SUCCESS, 4);
	box_remove(&r);
}

static void test_negotiated_once(void) {
	SCARDHANDLE a, b;
	DWORD active;
	box_insert(&r, &atr_b);
	code(pc.connect(h1, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, &a, &active),
		SCARD_S_SUCCESS, "PCSC-58 card B connected with T=0");
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &b, &active),
		SCARD_S_SUCCESS, "PCSC-58 the next one asks for either");
	ok(active == 1, "PCSC-58 and gets what is negotiated");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, &b, &active),
		SCARD_E_PROTO_MISMATCH, "PCSC-58 T=1 alone");
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_RAW, &b, &active),
		SCARD_S_SUCCESS, "PCSC-60 RAW beside T=0");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-60 does not disturb the other one");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_no_card(void) {
	SCARDHANDLE a;
	DWORD active = 9, bits, n_atr = 33;
	BYTE atr[33], got[16];
	DWORD n = sizeof(got);
	LONG rv;
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_NO_SMARTCARD, "PCSC-51 no card, shared");
	card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	code(rv, SCARD_E_NO_SMARTCARD, "PCSC-51 no card, exclusive");
	code(pc.connect(h1, r.name, SCARD_SHARE_DIRECT, 0, &a, &active), SCARD_S_SUCCESS,
		"PCSC-52 no card, direct");
	ok(active == 0, "PCSC-52 no protocol");
	code(pc.status(a, NULL, NULL, &bits, NULL, atr, &n_atr), SCARD_S_SUCCESS,
		"PCSC-143 status of an empty reader");
	ok((bits & 0xffff) == SCARD_ABSENT && n_atr == 0, "PCSC-143 absent, no ATR");
	code(pc.transmit(a, pc.t0, (LPCBYTE) "\0\xa4\4\0", 4, NULL, got, &n), SCARD_E_NO_SMARTCARD,
		"PCSC-136 transmit to an empty reader");
	ok(n == 0, "PCSC-136 length 0");
	code(pc.begin(a), SCARD_S_SUCCESS, "PCSC-105 a transaction needs no card");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-105 its end");
	n = 0;
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_S_SUCCESS, "PCSC-152 control without a card");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_mute(void) {
	LONG rv;
	DWORD bits = 0;
	box_insert(&r, &atr_x);
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_W_UNPOWERED_CARD, "PCSC-64 mute card, shared");
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-64 mute card, direct");
	code(card_state(a, &bits), SCARD_S_SUCCESS, "PCSC-144 status of a mute card");
	ok((bits & 0xffff) == (SCARD_PRESENT | SCARD_SWALLOWED), "PCSC-144 is %#lx", bits);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_sharing(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-66 exclusive");
	for (DWORD share = 1; share <= 3; share++) {
		int64_t start_ms = now_ms();
		card_open(h2, &r, share, &rv);
		code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-66 beside it, share mode %lu", share);
		ok(now_ms() - start_ms < 500, "PCSC-66 at once");
	}
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-66 the same context");
	code(pc.disconnect(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-68 exclusive ends");
	a = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-69 direct");
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-68 PCSC-69 shared beside direct");
	card_open(h3, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-67 exclusive beside others");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-67 who are not disturbed");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.disconnect(b, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_security_state_kept(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	unsigned on = r.card.n_on, reset = r.card.n_reset, off = r.card.n_off;
	for (int i = 0; i < 3; i++) {
		card_send(a);
		pc.disconnect(a, SCARD_LEAVE_CARD);
		a = card_open(h1, &r, i == 1 ? SCARD_SHARE_DIRECT : SCARD_SHARE_SHARED, &rv);
		code(rv, SCARD_S_SUCCESS, "PCSC-71 PCSC-73 connected again");
	}
	ok(r.card.n_on == on && r.card.n_reset == reset && r.card.n_off == off,
		"PCSC-71 PCSC-73 nothing was done to the card");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_idle_power(void) {
	static struct box q;
	LONG rv;
	DWORD bits = 0;
	box_start(&q, "quick", "1");
	box_insert(&q, &atr_a);
	pause_ms(2500);
	ok(q.card.n_off > 0, "PCSC-220 powered down when nobody uses it");
	SCARD_READERSTATE state = { .szReader = q.name };
	pc.change(h1, 0, &state, 1);
	ok((state.dwEventState & SCARD_STATE_PRESENT) && state.cbAtr == 4,
		"PCSC-220 card and ATR are still told");
	unsigned on = q.card.n_on;
	SCARDHANDLE a = card_open(h1, &q, SCARD_SHARE_DIRECT, &rv);
	ok(q.card.n_on == on, "PCSC-91 direct does not power it");
	code(card_state(a, &bits), SCARD_S_SUCCESS, "PCSC-139 status of the resting card");
	ok((bits & 0xffff) == 0x34, "PCSC-139 looks powered: %#lx", bits);
	DWORD active = 0;
	code(pc.reconnect(a, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
		SCARD_S_SUCCESS, "PCSC-91 reconnect shared");
	ok(q.card.n_on == on + 1 && active == 1, "PCSC-91 powers it and negotiates");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-91 and it answers");
	pause_ms(2500);
	ok(q.card.n_on == on + 1, "PCSC-221 connected and idle: stays powered");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-221 and answers");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pause_ms(2500);
	a = card_open(h1, &q, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-72 connect powers it again");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-72 and it answers");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_stop(&q);
}

static void test_reconnect(void) {
	DWORD active = 9;
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.reconnect(0, 2, 3, 0, NULL), SCARD_E_INVALID_PARAMETER, "PCSC-76 no output");
	code(pc.reconnect(a, 2, 3, 3, &active), SCARD_E_INVALID_VALUE, "PCSC-77 eject");
	code(pc.reconnect(a, 2, 3, 4, &active), SCARD_E_INVALID_VALUE, "PCSC-77 4");
	ok(active == 0, "PCSC-77 protocol 0 after a failure");
	unsigned reset = r.card.n_reset, on = r.card.n_on, off = r.card.n_off;
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS, "PCSC-78 reset");
	ok(r.card.n_reset == reset + 1 && r.card.n_on == on, "PCSC-78 one warm reset");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-78 the caller is clean");
	for (int i = 0; i < 3; i++)
		code(card_send(b), SCARD_W_RESET_CARD, "PCSC-78 PCSC-80 the other one is told");
	code(pc.reconnect(b, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-80 acknowledged by leave");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-80 and goes on");
	code(pc.reconnect(a, 2, 3, SCARD_UNPOWER_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-79 power cycle");
	ok(r.card.n_off > off && r.card.n_on > on && active == 1, "PCSC-79 down and up");
	code(card_send(b), SCARD_W_RESET_CARD, "PCSC-79 the other one is told");
	box_remove(&r);
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_E_NO_SMARTCARD,
		"PCSC-81 without card, leave");
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_E_NO_SMARTCARD,
		"PCSC-81 without card, reset");
	code(pc.reconnect(a, 3, 3, SCARD_LEAVE_CARD, &active), SCARD_E_NO_SMARTCARD,
		"PCSC-81 without card, direct");
	box_insert(&r, &atr_a);
	code(card_send(a), SCARD_W_REMOVED_CARD, "PCSC-82 the new card is not the old one");
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-82 leave is enough");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-82 transmit");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.disconnect(b, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_reconnect_mute(void) {
	DWORD active;
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	r.card.atr_len = 0;
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_W_UNRESPONSIVE_CARD,
		"PCSC-83 mute after reset");
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_W_UNRESPONSIVE_CARD,
		"PCSC-83 and with leave");
	r.card.atr_len = 4;
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-83 it answers again");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-83 transmit");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_reconnect_mode(void) {
	DWORD active = 9;
	LONG rv;
	struct async later;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv), b;
	code(pc.reconnect(a, SCARD_SHARE_DIRECT, 0, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-85 shared to direct");
	ok(active == 1, "PCSC-85 keeps the protocol");
	code(pc.reconnect(a, SCARD_SHARE_EXCLUSIVE, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-86 to exclusive");
	card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-86 others are kept out");
	code(pc.reconnect(a, SCARD_SHARE_SHARED, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-89 back to shared");
	b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-89 others come in");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-89 and transmit");
	unsigned reset = r.card.n_reset;
	int64_t start_ms = now_ms();
	async_start(&later, 500, do_disconnect, &b);
	code(pc.reconnect(a, SCARD_SHARE_EXCLUSIVE, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-87 to exclusive, once the other one has gone");
	ok(now_ms() - start_ms >= 450, "PCSC-87 after %ld ms", (long)(now_ms() - start_ms));
	ok(r.card.n_reset == reset + 1, "PCSC-88 exactly one reset");
	async_join(&later);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	a = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	box_remove(&r);
	box_insert(&r, &atr_a);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.connect(h1, r.name, SCARD_SHARE_DIRECT, 0, &a, &active);
	code(pc.reconnect(a, SCARD_SHARE_DIRECT, 0, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-84 direct on a card that nobody used");
	ok(active == 0, "PCSC-84 no protocol");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_disconnect(void) {
	LONG rv;
	DWORD active;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	pc.begin(b);
	pc.begin(b);
	code(pc.disconnect(b, SCARD_RESET_CARD), SCARD_S_SUCCESS,
		"PCSC-98 two begins, no end, disconnect with reset");
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-98 the lock is free, the reset is told");
	b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-98 others can connect");
	code(pc.disconnect(b, SCARD_UNPOWER_CARD), SCARD_S_SUCCESS, "PCSC-99 unpower");
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-99 the other one is told");
	SCARD_READERSTATE state = { .szReader = r.name };
	pc.change(h3, 0, &state, 1);
	ok((state.dwEventState & SCARD_STATE_PRESENT) && state.cbAtr == 4,
		"PCSC-99 card and ATR stay");
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-100 reconnect powers it");
	b = card_open(h3, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-100 connect after an unpower");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-99 and it answers");
	code(pc.disconnect(b, SCARD_EJECT_CARD), SCARD_S_SUCCESS, "PCSC-101 eject");
	box_remove(&r);
	code(pc.disconnect(a, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-102 after a removal");
}

static void test_release(void) {
	LONG rv;
	SCARDCONTEXT own = context_new();
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(own, &r, SCARD_SHARE_SHARED, &rv);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.release(own), SCARD_S_SUCCESS, "PCSC-23 release with a shared handle");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-23 the other one is not disturbed");
	code(card_send(a), SCARD_E_INVALID_HANDLE, "PCSC-29 handles go with the context");
	own = context_new();
	a = card_open(own, &r, SCARD_SHARE_SHARED, &rv);
	pc.begin(b);
	int64_t start_ms = now_ms();
	code(pc.release(own), SCARD_S_SUCCESS, "PCSC-28 release beside a transaction");
	ok(now_ms() - start_ms < 800, "PCSC-28 at once");
	code(pc.end(b, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-28 which goes on");
	unsigned reset = r.card.n_reset;
	own = context_new();
	a = card_open(own, &r, SCARD_SHARE_SHARED, &rv);
	pc.begin(a);
	pc.release(own);
	code(card_send(b), SCARD_W_RESET_CARD, "PCSC-24 release in a transaction resets");
	ok(r.card.n_reset == reset + 1, "PCSC-24 once");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	own = context_new();
	card_open(own, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	pc.release(own);
	b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-26 release of an exclusive handle, connect");
	ok(r.card.n_reset == reset + 2, "PCSC-26 the card was reset");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	own = context_new();
	a = card_open(own, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.release(own);
	ok(r.card.n_reset == reset + 2, "PCSC-27 not after a disconnect with leave");
	box_remove(&r);
}

int main(int argc, char **argv) {
	pcsc_start(argc, argv);
	box_start(&r, "core", NULL);
	h1 = context_new();
	h2 = context_new();
	h3 = context_new();
	test_no_card();
	test_negotiation();
	test_negotiated_once();
	test_mute();
	test_sharing();
	test_security_state_kept();
	test_idle_power();
	test_reconnect();
	test_reconnect_mute();
	test_reconnect_mode();
	test_disconnect();
	test_release();
	pc.release(h1);
	pc.release(h2);
	pc.release(h3);
	return pcsc_finish();
}
