/* SPDX-License-Identifier: MIT */
/* Handles come and go: connect, negotiation, share modes, reconnect, disconnect, release. */
#include <stdio.h>
#include <string.h>

#include "tests/conformance/bed.h"

static struct box r;
static SCARDCONTEXT h1, h2, h3;

/* Connects on h1 for `protocols` only to see what comes out; leaves the card fresh. */
static void negotiate(unsigned line, const struct atr *atr, DWORD protocols, DWORD want) {
	SCARDHANDLE card = 77;
	DWORD active = 77;
	unsigned n = r.card.n_protocol;
	LONG rv = pc.connect(h1, r.name, SCARD_SHARE_SHARED, protocols, &card, &active);
	code(rv, want ? SCARD_S_SUCCESS : SCARD_E_PROTO_MISMATCH, "PCSC-%u card %s, protocols %#lx",
		line, atr->name, protocols);
	ok(active == want, "PCSC-%u card %s, protocols %#lx: active %lu", line, atr->name,
		protocols, active);
	/* the driver is told in any case, also if it is what the card does anyway */
	unsigned told = want && want != SCARD_PROTOCOL_RAW;
	ok(r.card.n_protocol == n + told && (!told || r.card.protocol == want),
		"PCSC-%u card %s, protocols %#lx: the driver was told %u times", line, atr->name,
		protocols, r.card.n_protocol - n);
	if (rv == SCARD_S_SUCCESS)
		pc.disconnect(card, SCARD_RESET_CARD);
	else
		ok(card == 0, "PCSC-48 no handle after a failure");
}

static void test_negotiation(void) {
	static const struct {
		unsigned line;
		const struct atr *atr;
		DWORD any, t0, t1; /* active protocol, 0: mismatch */
	} rows[] = {
		{ 53, &atr_a, 1, 1, 0 },
		{ 54, &atr_b, 2, 1, 2 },
		{ 55, &atr_c, 2, 0, 2 },
		{ 56, &atr_d, 2, 0, 2 },
		{ 56, &atr_e, 1, 1, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		box_insert(&r, rows[i].atr);
		negotiate(rows[i].line, rows[i].atr, SCARD_PROTOCOL_ANY, rows[i].any);
		negotiate(rows[i].line, rows[i].atr, SCARD_PROTOCOL_T0, rows[i].t0);
		negotiate(rows[i].line, rows[i].atr, SCARD_PROTOCOL_T1, rows[i].t1);
		box_remove(&r);
	}
}

static void test_negotiation_odd(void) {
	static const struct atr *const odd[] = { &atr_f, &atr_g };
	for (size_t i = 0; i < 2; i++) {
		box_insert(&r, odd[i]);
		negotiate(57, odd[i], SCARD_PROTOCOL_ANY, 0);
		negotiate(57, odd[i], SCARD_PROTOCOL_RAW, SCARD_PROTOCOL_RAW);
		box_remove(&r);
	}
	box_insert(&r, &atr_a);
	negotiate(61, &atr_a, 0x1000, SCARD_PROTOCOL_T0);
	negotiate(59, &atr_a, 7, SCARD_PROTOCOL_RAW);
	negotiate(59, &atr_a, SCARD_PROTOCOL_RAW, SCARD_PROTOCOL_RAW);
}

/* Connects to card B for `protocols` with a reader that answers T=1 by `t1` and T=0 by `t0`. */
static void negotiate_refused(
	unsigned line, uint32_t t1, uint32_t t0, DWORD protocols, LONG want, DWORD want_active) {
	SCARDHANDLE card;
	DWORD active = 77;
	card_rules_clear(&r, 0);
	card_rule(&r, 0, &(struct rule){ .op = SCRIPT_PROTOCOL, .arg = 2, .result = t1 });
	card_rule(&r, 0, &(struct rule){ .op = SCRIPT_PROTOCOL, .arg = 1, .result = t0 });
	LONG rv = pc.connect(h1, r.name, SCARD_SHARE_SHARED, protocols, &card, &active);
	code(rv, want, "PCSC-%u the driver answers T=1 by %u, T=0 by %u; protocols %#lx", line, t1,
		t0, protocols);
	ok(active == want_active, "PCSC-%u the driver answers %u, %u: active %lu", line, t1, t0,
		active);
	if (rv == SCARD_S_SUCCESS)
		pc.disconnect(card, SCARD_RESET_CARD);
}

static void test_negotiation_refused(void) {
	box_insert(&r, &atr_b);
	negotiate_refused(62, 607, 0, SCARD_PROTOCOL_ANY, SCARD_S_SUCCESS, 1);
	negotiate_refused(62, 607, 0, SCARD_PROTOCOL_T1, SCARD_E_PROTO_MISMATCH, 0);
	negotiate_refused(62, 606, 0, SCARD_PROTOCOL_ANY, SCARD_S_SUCCESS, 1);
	negotiate_refused(62, 607, 607, SCARD_PROTOCOL_ANY, SCARD_W_UNRESPONSIVE_CARD, 0);
	negotiate_refused(62, 614, 0, SCARD_PROTOCOL_T1, SCARD_S_SUCCESS, 1);
	negotiate_refused(63, 605, 0, SCARD_PROTOCOL_ANY, SCARD_W_UNRESPONSIVE_CARD, 0);
	negotiate_refused(63, 612, 0, SCARD_PROTOCOL_ANY, SCARD_W_UNRESPONSIVE_CARD, 0);
	negotiate_refused(63, 0, 0, SCARD_PROTOCOL_ANY, SCARD_S_SUCCESS, 2);
}

static void test_negotiated_once(void) {
	SCARDHANDLE a, b;
	DWORD active;
	box_insert(&r, &atr_b);
	code(pc.connect(h1, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0, &a, &active),
		SCARD_S_SUCCESS, "PCSC-58 card B connected with T=0");
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &b, &active),
		SCARD_S_SUCCESS, "PCSC-58 the next one asks for either");
	ok(active == 1 && r.card.n_protocol == 1, "PCSC-58 and gets what is negotiated");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, &b, &active),
		SCARD_E_PROTO_MISMATCH, "PCSC-58 T=1 alone");
	code(pc.connect(h2, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_RAW, &b, &active),
		SCARD_S_SUCCESS, "PCSC-60 raw beside T=0");
	BYTE got[16];
	DWORD n = sizeof(got);
	code(pc.transmit(a, pc.t0, (LPCBYTE) "\0\xa4\4\0", 4, NULL, got, &n), SCARD_S_SUCCESS,
		"PCSC-60 PCSC-C9 the other one goes on with T=0");
	SCARDHANDLE c;
	code(pc.connect(h3, r.name, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &c, &active),
		SCARD_S_SUCCESS, "PCSC-60 PCSC-C9 and a third one gets T=0");
	pc.disconnect(c, SCARD_LEAVE_CARD);
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

struct attempt {
	SCARDCONTEXT context;
	DWORD share;
};

static LONG try_to_open(void *arg) {
	struct attempt *attempt = arg;
	LONG rv;
	card_open(attempt->context, &r, attempt->share, &rv);
	return rv;
}

static void refused_at_once(SCARDCONTEXT context, DWORD share, const char *who) {
	struct attempt attempt = { context, share };
	struct async opening;
	async_start(&opening, 0, try_to_open, &attempt);
	if (!ok(async_ends(&opening, WAIT_MS), "PCSC-66 %s, share mode %lu: returns", who, share))
		bed_leave();
	code(async_join(&opening), SCARD_E_SHARING_VIOLATION, "PCSC-66 %s, share mode %lu", who,
		share);
	ok(opening.took_ms < 3000, "PCSC-66 %s, share mode %lu: at once", who, share);
}

static void test_sharing(void) {
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-66 exclusive");
	for (DWORD share = SCARD_SHARE_EXCLUSIVE; share <= SCARD_SHARE_DIRECT; share++)
		refused_at_once(h2, share, "another context");
	refused_at_once(h1, SCARD_SHARE_SHARED, "the same context");
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
	unsigned chosen = r.card.n_protocol;
	for (int i = 0; i < 3; i++) {
		card_send(a);
		pc.disconnect(a, SCARD_LEAVE_CARD);
		pause_ms(i ? 0 : 1900);
		a = card_open(h1, &r, i == 1 ? SCARD_SHARE_DIRECT : SCARD_SHARE_SHARED, &rv);
		code(rv, SCARD_S_SUCCESS, "PCSC-71 PCSC-73 connected again");
	}
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-71 it answers");
	ok(r.card.n_on == on && r.card.n_reset == reset && r.card.n_off == off &&
			r.card.n_protocol == chosen && chosen == 1,
		"PCSC-71 PCSC-73 nothing was done to the card");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

/* ---- parameters ---- */

static void test_parameters(void) {
	SCARDHANDLE a = 5;
	DWORD active = 5;
	char name[130];
	box_insert(&r, &atr_a);
	code(pc.connect(h1, r.name, 2, 3, NULL, &active), SCARD_E_INVALID_PARAMETER,
		"PCSC-45 no place for the handle");
	code(pc.connect(h1, r.name, 2, 3, &a, NULL), SCARD_E_INVALID_PARAMETER,
		"PCSC-45 no place for the protocol");
	ok(a == 5 && active == 5, "PCSC-45 nothing is written");
	code(pc.connect(0, NULL, 2, 3, &a, &active), SCARD_E_UNKNOWN_READER,
		"PCSC-46 no name, no context");
	ok(a == 0, "PCSC-46 handle 0");
	memset(name, 'x', sizeof(name));
	name[129] = 0;
	code(pc.connect(h1, name, 2, 3, &a, &active), SCARD_E_INVALID_VALUE, "PCSC-47 129 bytes");
	name[128] = 0;
	code(pc.connect(h1, name, 2, 3, &a, &active), SCARD_E_UNKNOWN_READER, "PCSC-47 128 bytes");
	code(pc.connect(h1, "nobody", 2, 3, &a, &active), SCARD_E_UNKNOWN_READER,
		"PCSC-48 an unknown name");
	snprintf(name, sizeof(name), "%s", r.name);
	for (char *c = name; *c; c++)
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
	a = 5;
	code(pc.connect(h1, name, 2, 3, &a, &active), SCARD_E_UNKNOWN_READER,
		"PCSC-48 in capitals");
	ok(a == 0, "PCSC-48 handle 0");
	code(pc.connect(h1, "nobody", 2, 0, &a, &active), SCARD_E_PROTO_MISMATCH,
		"PCSC-49 protocols 0");
	code(pc.connect(h1, "nobody", 2, 8, &a, &active), SCARD_E_PROTO_MISMATCH,
		"PCSC-49 protocols 8");
	code(pc.connect(h1, r.name, 0, 3, &a, &active), SCARD_E_INVALID_VALUE, "PCSC-50 mode 0");
	code(pc.connect(h1, r.name, 4, 3, &a, &active), SCARD_E_INVALID_VALUE, "PCSC-50 mode 4");
	code(pc.connect(h1 + 1, r.name, 2, 3, &a, &active), SCARD_E_INVALID_HANDLE,
		"PCSC-15 connect with another context");
}

static void test_disconnect_parameters(void) {
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(pc.disconnect(a, 4), SCARD_E_INVALID_VALUE, "PCSC-94 disposition 4");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-94 the handle is still good");
	code(pc.disconnect(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-94 disposition 0");
	code(pc.disconnect(a, SCARD_LEAVE_CARD), SCARD_E_INVALID_HANDLE, "PCSC-95 twice");
	code(pc.disconnect(0, SCARD_LEAVE_CARD), SCARD_E_INVALID_HANDLE, "PCSC-95 handle 0");
	code(pc.disconnect(0x12345678, SCARD_LEAVE_CARD), SCARD_E_INVALID_HANDLE,
		"PCSC-95 a handle that was never issued");
	code(card_send(a), SCARD_E_INVALID_HANDLE, "PCSC-95 no use either");
	code(pc.reconnect(a, 2, 3, 0, &(DWORD){ 0 }), SCARD_E_INVALID_HANDLE, "PCSC-95 reconnect");
	code(pc.begin(a), SCARD_E_INVALID_HANDLE, "PCSC-95 begin");
	code(pc.end(a, 0), SCARD_E_INVALID_HANDLE, "PCSC-95 end");
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
	rv = card_send(
		a); /* the reset that was tried without a card may have taken the removal's place */
	ok(rv == SCARD_W_REMOVED_CARD || rv == SCARD_W_RESET_CARD,
		"PCSC-82 the new card is not the old one: %#lx", (unsigned long)rv);
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
	card_set_mute(&r, 0, true);
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_W_UNRESPONSIVE_CARD,
		"PCSC-83 mute after reset");
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_W_UNRESPONSIVE_CARD,
		"PCSC-83 and with leave");
	card_set_mute(&r, 0, false);
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-83 it answers again");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-83 transmit");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_reconnect_mode(void) {
	DWORD active = 9;
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.reconnect(a, SCARD_SHARE_DIRECT, 0, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-85 shared to direct");
	ok(active == 1 && r.card.n_protocol == 1, "PCSC-85 keeps the protocol");
	code(pc.reconnect(a, SCARD_SHARE_EXCLUSIVE, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-86 to exclusive");
	card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-86 others are kept out");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
	box_insert(&r, &atr_a);
	pc.connect(h1, r.name, SCARD_SHARE_DIRECT, 0, &a, &active);
	code(pc.reconnect(a, SCARD_SHARE_DIRECT, 0, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-84 direct on a card that nobody used");
	ok(active == 0, "PCSC-84 no protocol");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static LONG open_b(void *ret_card) {
	LONG rv;
	*(SCARDHANDLE *)ret_card = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	return rv;
}

static void test_upgrade(void) {
	DWORD active;
	struct async later;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	unsigned reset = r.card.n_reset;
	int64_t start_ms = now_ms();
	async_start(&later, 500, do_disconnect, &b);
	code(pc.reconnect(a, SCARD_SHARE_EXCLUSIVE, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-87 to exclusive, once the other one has gone");
	ok(now_ms() - start_ms >= 450, "PCSC-87 after %ld ms", (long)(now_ms() - start_ms));
	ok(r.card.n_reset == reset + 1, "PCSC-88 PCSC-C12 exactly one reset");
	async_join(&later);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_downgrade(void) {
	DWORD active;
	struct async opening;
	SCARDHANDLE b = 0;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, NULL);
	code(pc.reconnect(a, SCARD_SHARE_SHARED, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-89 exclusive to shared");
	async_start(&opening, 0, open_b, &b);
	ok(async_ends(&opening, 2000), "PCSC-89 PCSC-C11 others come in");
	if (!opening.done)
		pc.disconnect(a, SCARD_LEAVE_CARD); /* or they wait for ever */
	code(async_join(&opening), SCARD_S_SUCCESS, "PCSC-89 connect");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-89 and transmit");
}

static void test_disconnect(void) {
	LONG rv;
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
	b = card_open(h3, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-99 the next connect");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-99 has power");
	code(pc.disconnect(b, SCARD_EJECT_CARD), SCARD_S_SUCCESS, "PCSC-101 eject");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	for (DWORD how = SCARD_LEAVE_CARD; how <= SCARD_EJECT_CARD; how++) {
		a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
		box_remove(&r);
		code(pc.disconnect(a, how), SCARD_S_SUCCESS, "PCSC-102 disposition %lu", how);
		box_insert(&r, &atr_a);
	}
}

static void test_after_unpower(void) {
	LONG rv;
	DWORD active;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	pc.disconnect(b, SCARD_UNPOWER_CARD);
	code(pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-100 PCSC-C13 reconnect powers it");
	b = card_open(h3, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-100 PCSC-C13 connect after an unpower");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-100 PCSC-C13 and it answers");
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
	ok(now_ms() - start_ms < 3000, "PCSC-28 at once");
	code(pc.end(b, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-28 which goes on");
	unsigned reset = r.card.n_reset;
	own = context_new();
	a = card_open(own, &r, SCARD_SHARE_SHARED, &rv);
	pc.begin(a);
	pc.release(own);
	code(card_send(b), SCARD_W_RESET_CARD, "PCSC-24 release in a transaction resets");
	ok(count_becomes(&r.card.n_reset, reset + 1), "PCSC-24 once");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	own = context_new();
	card_open(own, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	pc.release(own);
	b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-26 release of an exclusive handle, connect");
	ok(count_becomes(&r.card.n_reset, reset + 2), "PCSC-26 the card was reset");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	own = context_new();
	a = card_open(own, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.release(own);
	b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-27 a later command");
	ok(r.card.n_reset == reset + 2, "PCSC-27 no reset came before it");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void setup(void) {
	box_start(&r, "core");
	h1 = context_new();
	h2 = context_new();
	h3 = context_new();
}

static const struct test tests[] = {
	{ "parameters", test_parameters, 0 },
	{ "no_card", test_no_card, 0 },
	{ "negotiation", test_negotiation, 0 },
	{ "negotiation_odd", test_negotiation_odd, 0 },
	{ "negotiation_refused", test_negotiation_refused, 0 },
	{ "negotiated_once", test_negotiated_once, 0 },
	{ "mute", test_mute, 0 },
	{ "sharing", test_sharing, 0 },
	{ "security_state_kept", test_security_state_kept, 0 },
	{ "reconnect", test_reconnect, 0 },
	{ "reconnect_mute", test_reconnect_mute, 0 },
	{ "reconnect_mode", test_reconnect_mode, 0 },
	{ "upgrade", test_upgrade, 0 },
	{ "downgrade", test_downgrade, 0 },
	{ "disconnect_parameters", test_disconnect_parameters, 0 },
	{ "disconnect", test_disconnect, 0 },
	{ "after_unpower", test_after_unpower, 0 },
	{ "release", test_release, 0 },
	{ 0 },
};

const struct test_group group_core = { "core", setup, tests };
