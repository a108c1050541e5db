/* SPDX-License-Identifier: MIT */
/* SCardGetStatusChange and SCardCancel: cards, sharing, readers that come and go. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "tests/conformance/bed.h"

#define PNP "\\\\?PnP?\\Notification"

static struct box r, q;
static SCARDCONTEXT h1, h2;

static LONG wait_one(const char *name, DWORD claim, DWORD timeout, DWORD *event) {
	return reader_wait(h1, name, claim, timeout, event);
}

static LONG insert_a(void *box) {
	card_insert(box, 0, &atr_a);
	return 0;
}

static LONG pull(void *box) {
	card_remove(box, 0);
	return 0;
}

static void test_cards(void) {
	struct async later;
	SCARD_READERSTATE s = { .szReader = r.name };
	code(pc.change(h1, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-169 claims nothing");
	ok((s.dwEventState & 0xffff) == (SCARD_STATE_EMPTY | SCARD_STATE_CHANGED),
		"PCSC-169 empty");
	DWORD counter = s.dwEventState >> 16;
	s.dwCurrentState = s.dwEventState;
	code(pc.change(h1, 0, &s, 1), SCARD_E_TIMEOUT, "PCSC-170 PCSC-174 claims what is");
	ok((s.dwEventState & 0xffff) == SCARD_STATE_EMPTY, "PCSC-170 not changed");
	int64_t start_ms = now_ms();
	code(pc.change(h1, 300, &s, 1), SCARD_E_TIMEOUT, "PCSC-171 nothing happens");
	ok(now_ms() - start_ms >= 300 && now_ms() - start_ms < 1300, "PCSC-171 for 300 ms");
	async_start(&later, 300, insert_a, &r);
	start_ms = now_ms();
	code(pc.change(h1, 10000, &s, 1), SCARD_S_SUCCESS, "PCSC-172 a card is put in");
	async_join(&later);
	ok(now_ms() - start_ms < 1300, "PCSC-172 soon");
	ok((s.dwEventState & 0xffff) == (SCARD_STATE_PRESENT | SCARD_STATE_CHANGED),
		"PCSC-172 present");
	ok(s.cbAtr == 4 && memcmp(s.rgbAtr, atr_a.bytes, 4) == 0, "PCSC-172 with its ATR");
	ok(s.dwEventState >> 16 == counter + 1, "PCSC-172 counter");
	s.dwCurrentState = s.dwEventState;
	async_start(&later, 300, pull, &r);
	code(pc.change(h1, 10000, &s, 1), SCARD_S_SUCCESS, "PCSC-173 the card is pulled");
	async_join(&later);
	ok((s.dwEventState & 0xffff) == (SCARD_STATE_EMPTY | SCARD_STATE_CHANGED) && s.cbAtr == 0,
		"PCSC-173 empty");
	ok(s.dwEventState >> 16 == counter + 2, "PCSC-173 counter");
	s.dwCurrentState = s.dwEventState;
	box_insert(&r, &atr_a);
	box_remove(&r);
	code(pc.change(h1, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-175 in and out unseen");
	ok(s.dwEventState >> 16 == counter + 4, "PCSC-175 counter %lu, was %lu",
		s.dwEventState >> 16, counter);
	box_insert(&r, &atr_x);
	DWORD event;
	code(wait_one(r.name, SCARD_STATE_EMPTY, 3000, &event), SCARD_S_SUCCESS, "PCSC-185 mute");
	ok((event & 0xffff) == (SCARD_STATE_PRESENT | SCARD_STATE_MUTE | SCARD_STATE_CHANGED),
		"PCSC-185 %#lx", event);
	box_remove(&r);
}

static LONG open_shared(void *card) {
	LONG rv;
	*(SCARDHANDLE *)card = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	return rv;
}

static void test_sharing(void) {
	struct async later;
	DWORD event;
	box_insert(&r, &atr_a);
	DWORD counter = reader_look(r.name) & ~0xfffful;
	SCARDHANDLE a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	ok((reader_look(r.name) & 0xffff) ==
			(SCARD_STATE_PRESENT | SCARD_STATE_INUSE | SCARD_STATE_CHANGED),
		"PCSC-180 in use");
	DWORD own;
	reader_wait(h2, r.name, SCARD_STATE_UNAWARE, 0, &own);
	ok(own & SCARD_STATE_INUSE, "PCSC-180 for its own context, too: %#lx", own);
	code(wait_one(r.name, SCARD_STATE_PRESENT, 0, &event), SCARD_E_TIMEOUT,
		"PCSC-182 no change for who did not claim it");
	ok(event & SCARD_STATE_INUSE, "PCSC-182 but told");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	async_start(&later, 100, open_shared, &a);
	code(wait_one(r.name, SCARD_STATE_PRESENT, 600, &event), SCARD_E_TIMEOUT,
		"PCSC-182 nor during the wait");
	code(async_join(&later), SCARD_S_SUCCESS, "PCSC-182 connect");
	ok(event & SCARD_STATE_INUSE, "PCSC-182 but told: %#lx", event);
	async_start(&later, 300, do_disconnect, &a);
	code(wait_one(r.name, SCARD_STATE_PRESENT | SCARD_STATE_INUSE, 5000, &event),
		SCARD_S_SUCCESS, "PCSC-183 the last one leaves");
	ok(!(event & SCARD_STATE_INUSE), "PCSC-183 not in use");
	async_join(&later);
	a = card_open(h2, &r, SCARD_SHARE_EXCLUSIVE, NULL);
	ok((reader_look(r.name) & 0xffff) ==
			(SCARD_STATE_PRESENT | SCARD_STATE_EXCLUSIVE | SCARD_STATE_CHANGED),
		"PCSC-181 exclusive");
	box_remove(&r);
	ok((reader_look(r.name) & 0xffff) ==
			(SCARD_STATE_EMPTY | SCARD_STATE_EXCLUSIVE | SCARD_STATE_CHANGED),
		"PCSC-181 also without the card");
	box_insert(&r, &atr_a);
	counter = reader_look(r.name) & ~0xfffful;
	async_start(&later, 300, do_disconnect, &a);
	code(wait_one(r.name, SCARD_STATE_PRESENT | SCARD_STATE_EXCLUSIVE, 5000, &event),
		SCARD_S_SUCCESS, "PCSC-184 the holder leaves");
	ok(!(event & SCARD_STATE_EXCLUSIVE), "PCSC-184 not exclusive");
	async_join(&later);
	a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	pc.disconnect(a, SCARD_RESET_CARD);
	code(wait_one(r.name, SCARD_STATE_PRESENT, 0, &event), SCARD_E_TIMEOUT,
		"PCSC-179 a reset is no change");
	ok((event & ~0xfffful) == counter, "PCSC-179 the same counter: %#lx, was %#lx", event,
		counter);
	box_remove(&r);
}

/* What counts as a change is what the caller claims and is not so: a card is in, and nobody connected. */
static void test_claims(void) {
	static const struct {
		DWORD claim;
		LONG want;
	} rows[] = {
		{ SCARD_STATE_UNAWARE, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT, SCARD_E_TIMEOUT },
		{ SCARD_STATE_PRESENT | SCARD_STATE_CHANGED, SCARD_E_TIMEOUT },
		{ SCARD_STATE_CHANGED, SCARD_E_TIMEOUT },
		{ SCARD_STATE_ATRMATCH, SCARD_E_TIMEOUT },
		{ SCARD_STATE_EMPTY, SCARD_S_SUCCESS },
		{ SCARD_STATE_UNKNOWN, SCARD_S_SUCCESS },
		{ SCARD_STATE_UNAVAILABLE, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT | SCARD_STATE_MUTE, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT | SCARD_STATE_INUSE, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT | SCARD_STATE_EXCLUSIVE, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT | 7 << 16, SCARD_S_SUCCESS },
		{ SCARD_STATE_PRESENT | 1 << 16, SCARD_E_TIMEOUT },
	};
	box_insert(&r, &atr_a);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		DWORD event;
		LONG rv = wait_one(r.name, rows[i].claim, 0, &event);
		code(rv, rows[i].want, "PCSC-%d claims %#lx", rows[i].want ? 170 : 169,
			rows[i].claim);
		ok(event ==
				(SCARD_STATE_PRESENT | 1 << 16 |
					(rows[i].want ? 0 : SCARD_STATE_CHANGED)),
			"PCSC-%d claims %#lx: told %#lx", rows[i].want ? 170 : 169, rows[i].claim,
			event);
	}
}

static void test_checks(void) {
	SCARD_READERSTATE s[2] = {
		{ .szReader = "nobody", .dwCurrentState = SCARD_STATE_IGNORE, .dwEventState = 5 },
		{ .szReader = r.name, .dwEventState = 6 },
	};
	int64_t start_ms = now_ms();
	code(pc.change(h1, 10000, s, 2), SCARD_E_UNKNOWN_READER, "PCSC-167 PCSC-168 unknown name");
	ok(now_ms() - start_ms < 3000 && s[1].dwEventState == 6, "PCSC-167 at once, untouched");
	code(pc.change(0, 0, s, 1), SCARD_S_SUCCESS, "PCSC-166 all ignored");
	ok(s[0].dwEventState == 5, "PCSC-166 untouched");
	code(pc.change(0, 0, NULL, 0), SCARD_S_SUCCESS, "PCSC-163 nothing asked");
	code(pc.change(h1, 0, NULL, 1), SCARD_E_INVALID_PARAMETER, "PCSC-164 no array");
	s[1].szReader = NULL;
	code(pc.change(h1, 0, s, 2), SCARD_E_INVALID_VALUE, "PCSC-165 no name");
}

static LONG unplug_q(void *unused) {
	(void)unused;
	box_stop(&q);
	return 0;
}

static LONG plug_q(void *unused) {
	(void)unused;
	box_start(&q, "second");
	return 0;
}

static void test_readers(void) {
	struct async later;
	DWORD event, number, n = 0;
	char name[128];
	box_start(&q, "second");
	snprintf(name, sizeof(name), "%s", q.name);
	reader_look(name);
	async_start(&later, 300, unplug_q, NULL);
	code(wait_one(name, SCARD_STATE_EMPTY, 10000, &event), SCARD_S_SUCCESS,
		"PCSC-188 pulled during the wait");
	ok((event & (SCARD_STATE_UNKNOWN | SCARD_STATE_UNAVAILABLE)) &&
			(event & SCARD_STATE_CHANGED) && !(event & SCARD_STATE_PRESENT),
		"PCSC-188 %#lx", event);
	async_join(&later);
	code(wait_one(name, event, 10000, &event), SCARD_E_UNKNOWN_READER, "PCSC-167 then unknown");
	box_start(&q, "second");
	ok(strcmp(q.name, name) == 0, "PCSC-189 the same name again");
	code(wait_one(name, SCARD_STATE_UNKNOWN | SCARD_STATE_UNAVAILABLE, 5000, &event),
		SCARD_S_SUCCESS, "PCSC-189 back");
	ok((event & 0xffff) == (SCARD_STATE_EMPTY | SCARD_STATE_CHANGED), "PCSC-189 as it is");
	ok(event >> 16 == 0, "PCSC-178 the counter begins anew: %lu", event >> 16);
	box_stop(&q);
	code(wait_one("\\\\?pnp?\\NOTIFICATION", 0, 0, &event), SCARD_E_TIMEOUT,
		"PCSC-192 PCSC-197 PnP, timeout 0");
	ok(!(event & SCARD_STATE_UNKNOWN), "PCSC-192 is supported");
	number = event >> 16;
	ok(number >= 1 && number <= 0x7fff, "PCSC-196 number %lu", number);
	async_start(&later, 300, plug_q, NULL);
	code(wait_one(PNP, 0, INFINITE, &event), SCARD_S_SUCCESS, "PCSC-193 plugged");
	async_join(&later);
	pc.list(h1, NULL, NULL, &n);
	ok((event & SCARD_STATE_CHANGED) && n == strlen(r.name) + strlen(q.name) + 3,
		"PCSC-193 and listed");
	code(wait_one(PNP, number << 16, 2000, &event), SCARD_S_SUCCESS, "PCSC-195 unseen");
	number = event >> 16;
	async_start(&later, 300, unplug_q, NULL);
	code(wait_one(PNP, SCARD_STATE_UNAWARE, INFINITE, &event), SCARD_S_SUCCESS,
		"PCSC-194 pulled");
	async_join(&later);
	ok(event >> 16 == number + 1, "PCSC-196 counts");
}

/* Descriptions that come and go, without anybody behind them: 32,767 arrivals and departures. */
static void test_number_wraps(void) {
	char path[160], temporary[160];
	DWORD event, number, wrong = 0, last = 0;
	if (!(stack->traits & STACK_OWN_SERVERS)) {
		skip("PCSC-196 the wrap", "readers cannot be plugged so often");
		return;
	}
	snprintf(path, sizeof(path), "%s/fleeting.reader", bed_directory());
	snprintf(temporary, sizeof(temporary), "%s/fleeting.new", bed_directory());
	wait_one(PNP, 0, 0, &event);
	number = event >> 16;
	for (unsigned i = 0; i < 32768; i++) {
		if (i % 2 == 0) {
			FILE *f = fopen(temporary, "we");
			fputs("version=1\nseq=7\nregistered=1\nreader=0 Fleeting 00 00\n", f);
			fclose(f);
			rename(temporary, path);
		} else {
			unlink(path);
		}
		wait_one(PNP, number << 16, 0, &event);
		last = number;
		number = event >> 16;
		wrong += number != last % 32767 + 1 || !(event & SCARD_STATE_CHANGED);
	}
	ok(wrong == 0, "PCSC-196 32,768 arrivals and departures: %lu wrong, the last is %lu", wrong,
		number);
}

static void test_two(void) {
	struct async later;
	box_start(&q, "second");
	box_insert(&q, &atr_c);
	SCARD_READERSTATE s[3] = {
		{ .szReader = r.name, .dwCurrentState = SCARD_STATE_EMPTY },
		{ .szReader = q.name, .dwCurrentState = SCARD_STATE_PRESENT },
		{ .szReader = PNP },
	};
	async_start(&later, 200, insert_a, &r);
	code(pc.change(h1, 5000, s, 3), SCARD_S_SUCCESS, "PCSC-190 PCSC-198 one of two changes");
	async_join(&later);
	ok((s[0].dwEventState & 0xffff) == (SCARD_STATE_PRESENT | SCARD_STATE_CHANGED),
		"PCSC-190 the one");
	ok((s[1].dwEventState & 0xffff) == SCARD_STATE_PRESENT && s[1].cbAtr == 4,
		"PCSC-190 the other one is filled");
	ok(!(s[2].dwEventState & SCARD_STATE_CHANGED), "PCSC-198 PnP is not");
	for (int i = 0; i < 2; i++)
		s[i].dwCurrentState = s[i].dwEventState;
	async_start(&later, 200, unplug_q, NULL);
	code(pc.change(h1, 5000, s, 3), SCARD_S_SUCCESS, "PCSC-198 a reader goes");
	async_join(&later);
	ok((s[1].dwEventState & SCARD_STATE_CHANGED) || (s[2].dwEventState & SCARD_STATE_CHANGED),
		"PCSC-198 either tells");
	box_remove(&r);
}

static LONG do_cancel(void *context) {
	return pc.cancel(*(SCARDCONTEXT *)context);
}

static LONG wait_on_h1(void *unused) {
	DWORD event;
	(void)unused;
	return wait_one(r.name, SCARD_STATE_EMPTY, INFINITE, &event);
}

static void test_cancel(void) {
	struct async later, waiting;
	DWORD event, n = 0;
	async_start(&later, 500, do_cancel, &h1);
	code(wait_on_h1(NULL), SCARD_E_CANCELLED, "PCSC-200 cancelled");
	int64_t start_ms = now_ms();
	code(async_join(&later), SCARD_S_SUCCESS, "PCSC-200 cancel succeeds");
	start_ms -= later.end_ms - later.took_ms;
	ok(start_ms < 500, "PCSC-200 %ld ms after it was cancelled", (long)start_ms);
	code(pc.cancel(h1), SCARD_S_SUCCESS, "PCSC-201 nothing to cancel");
	start_ms = now_ms();
	code(wait_one(r.name, SCARD_STATE_EMPTY, 300, &event), SCARD_E_TIMEOUT,
		"PCSC-201 is not remembered");
	ok(now_ms() - start_ms >= 300, "PCSC-201 for its whole time");
	async_start(&waiting, 0, wait_on_h1, NULL);
	async_sleeps(&waiting);
	start_ms = now_ms();
	box_start(&q, "second");
	int64_t started_ms = now_ms();
	card_insert(&q, 0, &atr_a);
	SCARD_READERSTATE s = { .szReader = q.name, .dwCurrentState = SCARD_STATE_EMPTY };
	pc.change(h2, 5000, &s, 1);
	SCARDHANDLE a = card_open(h2, &q, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-204 PCSC-206 another context works meanwhile");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	code(pc.list(h2, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-204 and lists");
	code(pc.is_valid(h1), SCARD_S_SUCCESS, "PCSC-205 which is valid");
	ok(now_ms() - started_ms < 5000, "PCSC-204 PCSC-205 not delayed");
	code(pc.cancel(h1), SCARD_S_SUCCESS, "PCSC-205 and can be cancelled");
	code(async_join(&waiting), SCARD_E_CANCELLED, "PCSC-205 it was");
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	box_remove(&r);
	code(do_status(&a), SCARD_W_REMOVED_CARD, "PCSC-202 usual codes after a cancel");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_stop(&q);
}

static LONG list_on(void *context) {
	DWORD n = 0;
	return pc.list(*(SCARDCONTEXT *)context, NULL, NULL, &n);
}

static LONG wait_some_on_h1(void *unused) {
	(void)unused;
	DWORD event;
	return wait_one(r.name, SCARD_STATE_EMPTY, 3000, &event);
}

/* A second thread on the context that waits, and a third one on another. */
static void test_same_context(void) {
	struct async waiting, listing, other;
	async_start(&waiting, 0, wait_some_on_h1, NULL);
	pause_ms(100);
	async_start(&listing, 0, list_on, &h1);
	pause_ms(100);
	async_start(&other, 0, list_on, &h2);
	ok(async_ends(&other, 1000), "PCSC-206 PCSC-C1 another context is not delayed");
	ok(async_ends(&listing, 1000), "PCSC-206 PCSC-C1 nor the one that waits");
	code(async_join(&other), SCARD_S_SUCCESS, "PCSC-206 list");
	code(async_join(&listing), SCARD_S_SUCCESS, "PCSC-206 list on the one that waits");
	code(async_join(&waiting), SCARD_E_TIMEOUT, "PCSC-206 the wait");
}

static void on_alarm(int signal) {
	(void)signal;
}

static void test_signals(void) {
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 10000 }, { 0, 10000 } }, never = { { 0, 0 }, { 0, 0 } };
	DWORD event;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	int64_t start_ms = now_ms();
	LONG rv = wait_one(r.name, SCARD_STATE_EMPTY, 500, &event);
	setitimer(ITIMER_REAL, &never, NULL);
	code(rv, SCARD_E_TIMEOUT, "PCSC-207 signals");
	ok(now_ms() - start_ms >= 500, "PCSC-207 do not end the wait");
}

static void setup(void) {
	box_start(&r, "change");
	h1 = context_new();
	h2 = context_new();
}

static const struct test tests[] = {
	{ "cards", test_cards, 0 },
	{ "sharing", test_sharing, 0 },
	{ "claims", test_claims, 0 },
	{ "checks", test_checks, 0 },
	{ "readers", test_readers, 0 },
	{ "two", test_two, 0 },
	{ "number_wraps", test_number_wraps, 0 },
	{ "cancel", test_cancel, 0 },
	{ "same_context", test_same_context, 0 },
	{ "signals", test_signals, 0 },
	{ 0 },
};

const struct test_group group_change = { "change", setup, tests };
