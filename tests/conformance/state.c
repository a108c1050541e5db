/* SPDX-License-Identifier: MIT */
/* What readers are said to be: counters, trouble, slow and mute cards, limits, and who may not. */
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/conformance/bed.h"

static struct box r, q;
static SCARDCONTEXT h1, h2;

static LONG wait_r(DWORD claim, DWORD timeout, DWORD *event) {
	return reader_wait(h1, r.name, claim, timeout, event);
}

/* ---- slow and mute ---- */

static void use_other(const char *why, const char *slow) {
	DWORD n = 0;
	int64_t start_ms = now_ms();
	SCARDCONTEXT context = context_new();
	code(pc.list(context, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-44 PCSC-C5 %s: list", why);
	ok(n == strlen(r.name) + strlen(slow) + 3, "PCSC-44 %s: both are listed: %lu", why, n);
	SCARDHANDLE a = card_open(context, &r, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-44 PCSC-C5 %s: the other one works", why);
	ok(reader_look(r.name) & SCARD_STATE_PRESENT, "PCSC-44 %s: the other one's state", why);
	DWORD state;
	code(card_state(a, &state), SCARD_S_SUCCESS, "PCSC-44 %s: the other one's status", why);
	ok(now_ms() - start_ms < 4000, "PCSC-44 PCSC-C5 %s: all in %ld ms", why,
		(long)(now_ms() - start_ms));
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.release(context);
}

/* A card that needs 5 s to power up, in a reader that is plugged with it; then one that never answers. */
static void test_slow(void) {
	box_insert(&r, &atr_a);
	box_make(&q, "slow", 1);
	card_rule(&q, 0, &(struct rule){ .op = SCRIPT_POWER_UP, .delay_ms = 5000, .times = 1 });
	card_insert(&q, 0, &atr_a);
	int64_t start_ms = now_ms();
	box_start(&q, "slow");
	use_other("5 s", q.name);
	DWORD event;
	reader_wait(h1, q.name, SCARD_STATE_EMPTY, WAIT_MS, &event);
	while (!(event & SCARD_STATE_PRESENT) && now_ms() - start_ms < 20000) {
		pause_ms(100);
		event = reader_look(q.name);
	}
	ok(event & SCARD_STATE_PRESENT, "PCSC-44 the slow one comes at last: %#lx", event);
	ok(now_ms() - start_ms >= 4500, "PCSC-44 after %ld ms", (long)(now_ms() - start_ms));
	card_remove(&q, 0);
	card_insert(&q, 0, &atr_x);
	use_other("mute", q.name);
}

/* ---- counters ---- */

static void test_counter_from_plug(void) {
	box_make(&q, "second", 1);
	card_insert(&q, 0, &atr_a);
	box_start(&q, "second");
	char list[300];
	DWORD n = sizeof(list);
	code(pc.list(h1, NULL, list, &n), SCARD_S_SUCCESS, "PCSC-43 list");
	ok(strcmp(list, r.name) == 0 && strcmp(list + strlen(r.name) + 1, q.name) == 0,
		"PCSC-43 it is listed");
	SCARD_READERSTATE s = { .szReader = q.name };
	code(pc.change(h1, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-43 a first look");
	ok((s.dwEventState & SCARD_STATE_PRESENT) && s.cbAtr == 4, "PCSC-43 card and ATR: %#lx",
		s.dwEventState);
	ok(s.dwEventState >> 16 == 0, "PCSC-176 %#lx", s.dwEventState);
	DWORD event;
	card_swap(&q, 0, &atr_b);
	reader_wait(h1, q.name, SCARD_STATE_EMPTY, WAIT_MS, &event);
	int64_t end_ms = now_ms() + WAIT_MS;
	while (reader_look(q.name) >> 16 != 2 && now_ms() < end_ms)
		pause_ms(10);
	ok(reader_look(q.name) >> 16 == 2, "PCSC-175 out and in are two: %lu",
		reader_look(q.name) >> 16);
	box_stop(&q);
	box_start(&q, "second");
	event = reader_look(q.name);
	ok((event & SCARD_STATE_PRESENT) && event >> 16 == 0, "PCSC-178 plugged again: %#lx",
		event);
}

/* 32,767 swaps, each waited for: two movements that the driver tells at once may be one. */
static void test_counter_wraps(void) {
	DWORD event;
	box_make(&q, "second", 1);
	card_insert(&q, 0, &atr_a);
	box_start(&q, "second");
	reader_look(q.name);
	int64_t start_ms = now_ms();
	for (unsigned i = 0; i < 32767; i++) {
		unsigned on = q.card.n_on;
		card_swap(&q, 0, &atr_a);
		int64_t end_ms = now_ms() + WAIT_MS;
		while (q.card.n_on == on && now_ms() < end_ms)
			sched_yield();
		if (i == 100 && now_ms() - start_ms > 5000) {
			skip("PCSC-177", "this stack looks at cards too seldom");
			return;
		}
	}
	/* the card is powered before it is told of */
	for (int64_t end_ms = now_ms() + WAIT_MS;
		reader_look(q.name) >> 16 != 65534 && now_ms() < end_ms;)
		pause_ms(5);
	reader_wait(h1, q.name, SCARD_STATE_PRESENT | (65534u << 16), 0, &event);
	ok(event >> 16 == 65534, "PCSC-177 after 32,767 swaps: %lu", event >> 16);
	card_remove(&q, 0);
	code(reader_wait(h1, q.name, SCARD_STATE_PRESENT, WAIT_MS, &event), SCARD_S_SUCCESS,
		"PCSC-177 the card is pulled");
	ok(event >> 16 == 65535, "PCSC-177 and then: %lu", event >> 16);
	card_insert(&q, 0, &atr_a);
	code(reader_wait(h1, q.name, SCARD_STATE_EMPTY, WAIT_MS, &event), SCARD_S_SUCCESS,
		"PCSC-177 put in");
	ok(event >> 16 == 0, "PCSC-177 and then: %lu", event >> 16);
	code(reader_wait(h1, q.name, SCARD_STATE_PRESENT | (65535u << 16), 0, &event),
		SCARD_S_SUCCESS, "PCSC-177 who claims the one before is told");
}

/* ---- trouble ---- */

static LONG begin_trouble(void *result) {
	box_trouble(&r, *(uint32_t *)result);
	return 0;
}

static void test_trouble(void) {
	struct async later;
	uint32_t result = 612;
	DWORD event, active;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	SCARD_READERSTATE s = { .szReader = r.name,
		.dwCurrentState = SCARD_STATE_PRESENT | SCARD_STATE_INUSE };
	async_start(&later, 300, begin_trouble, &result);
	code(pc.change(h1, 10000, &s, 1), SCARD_S_SUCCESS, "PCSC-187 the driver fails in a wait");
	async_join(&later);
	ok(s.dwEventState == (SCARD_STATE_UNAVAILABLE | SCARD_STATE_CHANGED) && s.cbAtr == 0,
		"PCSC-187 %#lx, ATR of %lu bytes", s.dwEventState, s.cbAtr);
	code(wait_r(s.dwEventState, 300, &event), SCARD_E_TIMEOUT, "PCSC-187 claimed");
	ok(event == SCARD_STATE_UNAVAILABLE, "PCSC-187 and told: %#lx", event);
	code(card_send(a), SCARD_E_READER_UNAVAILABLE, "PCSC-230 612: transmit");
	code(do_status(&a), SCARD_E_READER_UNAVAILABLE, "PCSC-230 612: status");
	code(pc.begin(a), SCARD_E_READER_UNAVAILABLE, "PCSC-230 612: begin");
	code(card_reconnect(a, SCARD_SHARE_SHARED, 0), SCARD_E_READER_UNAVAILABLE,
		"PCSC-230 612: reconnect");
	LONG rv;
	card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_READER_UNAVAILABLE, "PCSC-230 612: connect");
	card_open(h1, &r, SCARD_SHARE_DIRECT, &rv);
	code(rv, SCARD_E_READER_UNAVAILABLE, "PCSC-230 612: direct");
	result = 0;
	async_start(&later, 300, begin_trouble, &result);
	code(wait_r(SCARD_STATE_UNAVAILABLE, 10000, &event), SCARD_S_SUCCESS,
		"PCSC-187 it works again");
	async_join(&later);
	ok((event & 0xffff) == (SCARD_STATE_PRESENT | SCARD_STATE_INUSE | SCARD_STATE_CHANGED),
		"PCSC-187 as it is: %#lx", event);
	active = 9;
	pc.status(a, NULL, NULL, NULL, &active, NULL, NULL);
	ok(active == 0, "PCSC-187 what was negotiated is gone: %lu", active);
	code(pc.reconnect(a, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
		SCARD_S_SUCCESS, "PCSC-187 the handle is still good");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-187 and works");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* A card is told by 615 at its first insertion, by 0 at the second (card.c). */
static void test_presence(void) {
	DWORD event = reader_look(r.name);
	ok(event & SCARD_STATE_EMPTY, "PCSC-230 616: %#lx", event);
	box_insert(&r, &atr_a);
	event = reader_look(r.name);
	ok(event & SCARD_STATE_PRESENT, "PCSC-230 615: %#lx", event);
	box_remove(&r);
	box_insert(&r, &atr_a);
	event = reader_look(r.name);
	ok(event & SCARD_STATE_PRESENT, "PCSC-230 0: %#lx", event);
	box_trouble(&r, 612);
	code(wait_r(SCARD_STATE_PRESENT, WAIT_MS, &event), SCARD_S_SUCCESS, "PCSC-230 612");
	ok(event & SCARD_STATE_UNAVAILABLE, "PCSC-230 612: %#lx", event);
}

/* ---- bits ---- */

static void expect_bits(const char *when) {
	static const DWORD never = SCARD_STATE_ATRMATCH | SCARD_STATE_UNPOWERED;
	DWORD event = reader_look(r.name), claimed = 0;
	ok(!(event & never), "PCSC-191 %s: %#lx", when, event);
	wait_r((event & 0xfffe) | never, 0, &claimed);
	ok(!(claimed & never), "PCSC-191 %s, claimed: %#lx", when, claimed);
}

static void test_bits(void) {
	expect_bits("empty");
	box_insert(&r, &atr_a);
	expect_bits("a card");
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, NULL);
	expect_bits("exclusive");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	expect_bits("shared");
	pc.disconnect(a, SCARD_UNPOWER_CARD);
	expect_bits("unpowered");
	box_remove(&r);
	box_insert(&r, &atr_x);
	expect_bits("mute");
	int64_t start_ms = now_ms();
	for (int i = 0; i < 5; i++)
		reader_look(r.name);
	ok(now_ms() - start_ms < 1500, "PCSC-186 PCSC-C2 five looks at a mute card: %ld ms",
		(long)(now_ms() - start_ms));
}

/* ---- what has arrived is read without the server ---- */

static LONG look_r(void *event) {
	return wait_r(SCARD_STATE_UNAWARE, 0, event);
}

static void test_frozen(void) {
	struct async status, look;
	DWORD event = 0;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	look_r(&event);
	box_freeze(&r);
	async_start(&status, 0, do_status, &a);
	async_start(&look, 0, look_r, &event);
	bool status_ends = async_ends(&status, 2000), look_ends = async_ends(&look, 2000);
	box_thaw(&r);
	ok(status_ends, "PCSC-C2 status beside a stopped server");
	ok(look_ends, "PCSC-C2 a look beside a stopped server");
	code(async_join(&status), SCARD_S_SUCCESS, "PCSC-C2 status");
	code(async_join(&look), SCARD_S_SUCCESS, "PCSC-C2 a look");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* ---- a use that ends ---- */

static int by_size(const void *a, const void *b) {
	const int64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void test_told_at_once(void) {
	int64_t took_ms[9];
	box_insert(&r, &atr_a);
	for (int i = 0; i < 9; i++) {
		DWORD event;
		struct async later;
		SCARDHANDLE a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
		async_start(&later, 50, do_disconnect, &a);
		wait_r(SCARD_STATE_PRESENT | SCARD_STATE_INUSE, 5000, &event);
		took_ms[i] = now_ms();
		async_join(&later);
		took_ms[i] -= later.end_ms - later.took_ms;
	}
	qsort(took_ms, 9, sizeof(took_ms[0]), by_size);
	ok(took_ms[4] < 150, "PCSC-C20 PCSC-183 the median of nine: %ld ms", (long)took_ms[4]);
}

/* ---- cancel ---- */

struct canceller {
	SCARDCONTEXT context;
	atomic_bool stop;
};

static LONG cancel_always(void *arg) {
	struct canceller *canceller = arg;
	while (!canceller->stop)
		pc.cancel(canceller->context);
	return 0;
}

static LONG wait_h1(void *unused) {
	DWORD event;
	(void)unused;
	return wait_r(SCARD_STATE_EMPTY, INFINITE, &event);
}

static void test_cancel_race(void) {
	unsigned lost = 0, wrong = 0;
	for (int i = 0; i < 200 && !lost; i++) {
		struct canceller canceller = { .context = h1 };
		struct async wait, cancel;
		async_start(&cancel, 0, cancel_always, &canceller);
		async_start(&wait, 0, wait_h1, NULL);
		lost += !async_ends(&wait, 10000);
		canceller.stop = true;
		async_join(&cancel);
		if (lost)
			pc.cancel(h1);
		wrong += async_join(&wait) != SCARD_E_CANCELLED;
	}
	ok(!lost && !wrong, "PCSC-203 PCSC-C21 200 waits: %u lost, %u wrong", lost, wrong);
	/* one cancel, when the wait has surely begun */
	struct async wait;
	unsigned late = 0;
	for (int i = 0; i < 20; i++) {
		async_start(&wait, 0, wait_h1, NULL);
		async_sleeps(&wait);
		pc.cancel(h1);
		late += !async_ends(&wait, 5000);
		if (!wait.done)
			pc.cancel(h1);
		async_join(&wait);
	}
	ok(!late, "PCSC-203 PCSC-C21 20 waits with one cancel each: %u lost", late);
}

/* ---- limits ---- */

static void test_limit(void) {
	static SCARDHANDLE cards[5000];
	size_t n = 0;
	LONG rv;
	while (n < 5000 && (cards[n] = card_open(h1, &r, SCARD_SHARE_DIRECT, &rv)))
		n++;
	ok(n >= 1000 && n < 5000, "PCSC-C24 %zu connections", n);
	code(rv, SCARD_E_NO_MEMORY, "PCSC-C24 the next one is refused, and says why");
	DWORD state;
	code(card_state(cards[0], &state), SCARD_S_SUCCESS, "PCSC-C24 the others go on");
	SCARDCONTEXT many = context_new();
	card_open(many, &r, SCARD_SHARE_DIRECT, &rv);
	code(rv, SCARD_E_NO_MEMORY, "PCSC-C24 also for another context");
	code(pc.release(h1), SCARD_S_SUCCESS, "PCSC-C24 all are given back");
	int64_t end_ms = now_ms() + WAIT_MS;
	do
		card_open(many, &r, SCARD_SHARE_DIRECT, &rv);
	while (rv != SCARD_S_SUCCESS && now_ms() < end_ms);
	code(rv, SCARD_S_SUCCESS, "PCSC-C24 there is room again");
}

/* The server inherits the limit, as from its unit. */
static void setup_limit(void) {
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- who may not ---- */

static LONG as_nobody(int what) {
	static SCARDCONTEXT context;
	LONG rv;
	DWORD n = 0;
	if (!context && (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
		return -2;
	if (!context)
		context = context_new();
	if (what == 0)
		return pc.list(context, NULL, NULL, &n);
	card_open(context, &r, what == 1 ? SCARD_SHARE_SHARED : SCARD_SHARE_DIRECT, &rv);
	return rv;
}

static void test_refused(void) {
	struct client nobody;
	if (geteuid() != 0) {
		skip("PCSC-75", "needs root: another user");
		return;
	}
	if (!(stack->traits & STACK_OWN_SERVERS)) {
		skip("PCSC-75", "Debian builds pcscd without polkit: nobody is refused");
		return;
	}
	box_insert(&r, &atr_a);
	client_start(&nobody, as_nobody);
	code(client_do(&nobody, 0), SCARD_S_SUCCESS, "PCSC-75 the reader is listed");
	code(client_do(&nobody, 1), SCARD_W_SECURITY_VIOLATION, "PCSC-75 connect");
	code(client_do(&nobody, 2), SCARD_W_SECURITY_VIOLATION, "PCSC-75 direct");
	client_kill(&nobody);
}

static void setup(void) {
	setup_limit();
	box_start(&r, "state");
	h1 = context_new();
	h2 = context_new();
}

static const struct test tests[] = {
	{ "slow", test_slow, TEST_LONG },
	{ "counter_wraps", test_counter_wraps, 0 },
	{ "counter_from_plug", test_counter_from_plug, 0 },
	{ "trouble", test_trouble, 0 },
	{ "presence", test_presence, 0 },
	{ "bits", test_bits, 0 },
	{ "frozen", test_frozen, 0 },
	{ "told_at_once", test_told_at_once, 0 },
	{ "cancel_race", test_cancel_race, 0 },
	{ "limit", test_limit, 0 },
	{ "refused", test_refused, 0 },
	{ 0 },
};

const struct test_group group_state = { "state", setup, tests };
