/* SPDX-License-Identifier: MIT */
/*
 * Who may use the card when several want to: transactions, queues, and clients that die. Contexts of
 * one process are different clients; where death matters, there is another process.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/bed.h"

static struct box r;
static SCARDCONTEXT h1, h2, h3;
static SCARDHANDLE a, b;

/* Two shared handles on a fresh card A. */
static void open_both(void) {
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
}

static void close_both(void) {
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.disconnect(b, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static struct client bold;

static void test_counting(void) {
	struct async wait;
	open_both();
	code(pc.begin(a), SCARD_S_SUCCESS, "PCSC-105 begin");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-105 end");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_E_NOT_TRANSACTED, "PCSC-105 one end too many");
	pc.begin(a);
	pc.begin(a);
	pc.end(a, SCARD_LEAVE_CARD);
	async_start(&wait, 0, do_send, &b);
	pause_ms(300);
	int64_t end_ms = now_ms();
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-106 the second of two ends");
	code(async_join(&wait), SCARD_S_SUCCESS, "PCSC-106 lets the other one through");
	ok(wait.end_ms >= end_ms && wait.end_ms - end_ms < 2000, "PCSC-106 %ld ms later",
		(long)(wait.end_ms - end_ms));
	pc.begin(a);
	code(pc.end(a, 9), SCARD_E_INVALID_VALUE, "PCSC-116 disposition 9");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-116 it was still open");
	unsigned resets = r.card.n_reset;
	code(pc.end(a, SCARD_RESET_CARD), SCARD_E_NOT_TRANSACTED, "PCSC-114 end without begin");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-114 PCSC-C14 the other one goes on");
	ok(r.card.n_reset == resets, "PCSC-114 PCSC-C14 the card was not reset");
	close_both();
}

static void test_blocking(void) {
	static LONG (*const blocked[])(void *) = { do_send, do_status, do_begin };
	static const char *const names[] = { "transmit", "status", "begin" };
	BYTE got[64];
	DWORD n;
	open_both();
	for (size_t i = 0; i < 3; i++) {
		struct async wait;
		pc.begin(a);
		async_start(&wait, 0, blocked[i], &b);
		pause_ms(200);
		int64_t end_ms = now_ms();
		pc.end(a, SCARD_LEAVE_CARD);
		code(async_join(&wait), SCARD_S_SUCCESS, "PCSC-107 %s, after the end", names[i]);
		ok(wait.end_ms >= end_ms, "PCSC-107 %s was blocked", names[i]);
	}
	pc.end(b, SCARD_LEAVE_CARD);
	pc.begin(a);
	int64_t start_ms = now_ms();
	code(pc.control(b, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_E_SHARING_VIOLATION, "PCSC-108 control");
	n = sizeof(got);
	code(pc.get_attrib(b, SCARD_ATTR_ATR_STRING, got, &n), SCARD_E_SHARING_VIOLATION,
		"PCSC-108 get attribute");
	n = sizeof(got);
	code(pc.get_attrib(b, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, got, &n), SCARD_E_SHARING_VIOLATION,
		"PCSC-108 get the name");
	code(pc.set_attrib(b, SCARD_ATTR_MAXINPUT, got, 4), SCARD_E_SHARING_VIOLATION,
		"PCSC-108 set attribute");
	code(pc.end(b, SCARD_LEAVE_CARD), SCARD_E_SHARING_VIOLATION, "PCSC-109 foreign end");
	code(pc.end(b, SCARD_UNPOWER_CARD), SCARD_E_SHARING_VIOLATION, "PCSC-109 with unpower");
	ok(now_ms() - start_ms < 3000, "PCSC-108 PCSC-109 at once");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-109 nothing happened to the owner");
	code(pc.disconnect(b, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-96 disconnect, leave");
	struct async wait;
	for (DWORD share = SCARD_SHARE_DIRECT; share >= SCARD_SHARE_SHARED; share--) {
		async_start(&wait, 1000, do_end, &a);
		start_ms = now_ms();
		LONG rv;
		b = card_open(h3, &r, share, &rv);
		code(rv, SCARD_S_SUCCESS, "PCSC-70 share mode %lu", share);
		ok(now_ms() - start_ms >= 950, "PCSC-70 share mode %lu: after %ld ms", share,
			(long)(now_ms() - start_ms));
		async_join(&wait);
		if (share == SCARD_SHARE_DIRECT) {
			pc.disconnect(b, SCARD_LEAVE_CARD);
			pc.begin(a);
		}
	}
	pc.begin(a);
	async_start(&wait, 300, do_end, &a);
	start_ms = now_ms();
	unsigned reset = r.card.n_reset;
	code(pc.disconnect(b, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-97 disconnect, reset");
	ok(now_ms() - start_ms >= 280 && r.card.n_reset == reset + 1, "PCSC-97 waits, then resets");
	async_join(&wait);
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-97 the other one is told");
	close_both();
}

enum { BOLD_OPEN, BOLD_SEND, BOLD_STATUS, BOLD_RECONNECT, BOLD_BEGIN, BOLD_END };

/* A process whose first context sees PCSCLITE_NO_BLOCKING: a library may look only then. */
static LONG bold_run(int what) {
	static SCARDCONTEXT context;
	static SCARDHANDLE card;
	DWORD n = sizeof(r.name);
	LONG rv = 0;
	switch (what) {
	case BOLD_OPEN:
		setenv("PCSCLITE_NO_BLOCKING", "", 1);
		context = context_new();
		pc.list(context, NULL, r.name, &n); /* there is only one */
		card = card_open(context, &r, SCARD_SHARE_SHARED, &rv);
		return rv;
	case BOLD_SEND: return card_send(card);
	case BOLD_STATUS: return do_status(&card);
	case BOLD_RECONNECT: return card_reconnect(card, SCARD_SHARE_SHARED, SCARD_LEAVE_CARD);
	case BOLD_BEGIN: return pc.begin(card);
	default: return pc.end(card, SCARD_LEAVE_CARD);
	}
}

static LONG bold_do(int what) {
	client_ask(&bold, what);
	return client_answers(&bold, 3000) ? client_answer(&bold) : -1;
}

static void test_no_blocking(void) {
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(bold_do(BOLD_OPEN), SCARD_S_SUCCESS, "PCSC-110 connect");
	pc.begin(a);
	int64_t start_ms = now_ms();
	code(bold_do(BOLD_SEND), SCARD_E_SHARING_VIOLATION, "PCSC-110 transmit");
	code(bold_do(BOLD_STATUS), SCARD_E_SHARING_VIOLATION, "PCSC-110 status");
	code(bold_do(BOLD_RECONNECT), SCARD_E_SHARING_VIOLATION, "PCSC-93 reconnect");
	ok(now_ms() - start_ms < 1000, "PCSC-110 PCSC-93 at once");
	client_ask(&bold, BOLD_BEGIN);
	ok(!client_answers(&bold, 300), "PCSC-110 begin waits all the same");
	pc.end(a, SCARD_LEAVE_CARD);
	ok(client_answers(&bold, WAIT_MS), "PCSC-110 for the end");
	code(client_answer(&bold), SCARD_S_SUCCESS, "PCSC-110 begin");
	code(bold_do(BOLD_END), SCARD_S_SUCCESS, "PCSC-110 end");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	client_kill(&bold);
	box_remove(&r);
}

static void test_exclusive(void) {
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, NULL);
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_E_NOT_TRANSACTED, "PCSC-111 exclusive, end");
	code(pc.begin(a), SCARD_S_SUCCESS, "PCSC-111 begin");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-111 end");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_E_NOT_TRANSACTED, "PCSC-111 one end too many");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
	open_both();
	pc.begin(a);
	code(pc.disconnect(b, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-104 the waiter leaves");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-104 the owner ends");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	LONG rv;
	a = card_open(h3, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-104 and exclusive is free");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

/* All that tells of an event, for the one that is pending. */
static void expect_event(SCARDHANDLE card, LONG want, unsigned line, const char *what) {
	BYTE got[64];
	DWORD n = sizeof(got);
	code(card_send(card), want, "PCSC-%u %s: transmit", line, what);
	code(do_status(&card), want, "PCSC-%u %s: status", line, what);
	code(pc.begin(card), want, "PCSC-%u %s: begin", line, what);
	code(pc.end(card, SCARD_LEAVE_CARD), want, "PCSC-%u %s: end", line, what);
	code(pc.get_attrib(card, SCARD_ATTR_VENDOR_NAME, got, &n), want,
		"PCSC-%u %s: get attribute", line, what);
	code(pc.set_attrib(card, SCARD_ATTR_MAXINPUT, got, 4), want, "PCSC-%u %s: set attribute",
		line, what);
	code(pc.control(card, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_S_SUCCESS, "PCSC-151 %s: control", what);
}

static void test_every_call_tells(void) {
	open_both();
	SCARDHANDLE direct = card_open(h3, &r, SCARD_SHARE_DIRECT, NULL);
	code(card_reconnect(b, SCARD_SHARE_SHARED, SCARD_RESET_CARD), SCARD_S_SUCCESS,
		"PCSC-78 reset");
	expect_event(a, SCARD_W_RESET_CARD, 80, "reset by another");
	expect_event(direct, SCARD_W_RESET_CARD, 80, "reset, direct");
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-78 not told to who did it");
	SCARDHANDLE later = card_open(h3, &r, SCARD_SHARE_SHARED, NULL);
	code(card_send(later), SCARD_S_SUCCESS, "PCSC-78 nor to who came later");
	box_remove(&r);
	expect_event(a, SCARD_W_REMOVED_CARD, 82, "removed");
	box_insert(&r, &atr_a);
	expect_event(a, SCARD_W_REMOVED_CARD, 82, "another card");
	code(card_reconnect(a, SCARD_SHARE_SHARED, SCARD_LEAVE_CARD), SCARD_S_SUCCESS,
		"PCSC-82 reconnect");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-82 transmit");
	ok(r.card.n_wrong == 0, "PCSC-80 PCSC-82 nothing was asked of a card without power");
}

static void test_events(void) {
	DWORD active;
	struct async wait;
	open_both();
	pc.begin(a);
	async_start(&wait, 0, do_begin, &b);
	ok(!async_ends(&wait, 200), "PCSC-112 one waits for the owner");
	box_remove(&r);
	if (!ok(async_ends(&wait, WAIT_MS), "PCSC-112 the waiter returns"))
		bed_leave();
	code(async_join(&wait), SCARD_W_REMOVED_CARD, "PCSC-112 the waiter is told");
	async_start(&wait, 0, do_begin, &b);
	if (!ok(async_ends(&wait, WAIT_MS), "PCSC-112 a later begin returns"))
		bed_leave();
	code(async_join(&wait), SCARD_W_REMOVED_CARD, "PCSC-112 a later begin is told");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_W_REMOVED_CARD, "PCSC-112 nothing to end");
	box_insert(&r, &atr_a);
	code(pc.begin(a), SCARD_W_REMOVED_CARD, "PCSC-117 swapped between connect and begin");
	pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active);
	pc.reconnect(b, 2, 3, SCARD_LEAVE_CARD, &active);
	pc.begin(a);
	code(pc.end(a, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-113 end with reset");
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-113 told to who did it");
	code(card_send(b), SCARD_W_RESET_CARD, "PCSC-113 and to others");
	pc.reconnect(a, 2, 3, SCARD_LEAVE_CARD, &active);
	code(card_send(b), SCARD_W_RESET_CARD, "PCSC-113 until each reconnects");
	pc.reconnect(b, 2, 3, SCARD_LEAVE_CARD, &active);
	pc.begin(a);
	pc.end(a, SCARD_EJECT_CARD);
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-115 over after an eject");
	pc.begin(a);
	code(pc.reconnect(a, 2, 3, SCARD_RESET_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-90 reconnect with reset in a transaction");
	async_start(&wait, 300, do_end, &a);
	int64_t start_ms = now_ms();
	SCARDHANDLE c = card_open(h3, &r, SCARD_SHARE_SHARED, NULL);
	ok(c && now_ms() - start_ms >= 280, "PCSC-90 keeps it");
	async_join(&wait);
	pc.begin(a);
	async_start(&wait, 300, do_end, &a);
	start_ms = now_ms();
	code(pc.reconnect(b, 2, 3, SCARD_LEAVE_CARD, &active), SCARD_S_SUCCESS,
		"PCSC-93 reconnect beside a transaction");
	ok(now_ms() - start_ms >= 280, "PCSC-93 waits");
	async_join(&wait);
	pc.disconnect(c, SCARD_LEAVE_CARD);
	close_both();
}

static LONG begin_send_end(void *arg) {
	SCARDHANDLE card = *(SCARDHANDLE *)arg;
	for (int i = 0; i < 10; i++) {
		LONG rv = pc.begin(card);
		if (rv == SCARD_S_SUCCESS)
			rv = card_send(card);
		if (rv == SCARD_S_SUCCESS)
			rv = pc.end(card, SCARD_LEAVE_CARD);
		if (rv != SCARD_S_SUCCESS)
			return rv;
	}
	return SCARD_S_SUCCESS;
}

static void test_queue(void) {
	struct async waiters[3];
	SCARDCONTEXT contexts[3];
	SCARDHANDLE cards[3];
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	for (size_t i = 0; i < 3; i++) {
		contexts[i] = context_new();
		cards[i] = card_open(contexts[i], &r, SCARD_SHARE_SHARED, NULL);
	}
	pc.begin(a);
	for (size_t i = 0; i < 3; i++)
		async_start(&waiters[i], 0, begin_send_end, &cards[i]);
	pause_ms(100);
	pc.end(a, SCARD_LEAVE_CARD);
	for (size_t i = 0; i < 3; i++) {
		code(async_join(&waiters[i]), SCARD_S_SUCCESS, "PCSC-120 waiter %zu", i);
		pc.release(contexts[i]);
	}
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static LONG list_on(void *arg) {
	DWORD n = 0;
	return pc.list(*(SCARDCONTEXT *)arg, NULL, NULL, &n);
}

static LONG open_and_keep(void *arg) {
	LONG rv;
	*(SCARDHANDLE *)arg = card_open(h3, &r, SCARD_SHARE_SHARED, &rv);
	return rv;
}

static void test_no_dead_lock(void) {
	struct async connecting, listing, ending;
	SCARDHANDLE c = 0;
	box_insert(&r, &atr_a);
	a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	async_start(&connecting, 0, open_and_keep, &c);
	pause_ms(100);
	async_start(&listing, 0, list_on, &h3);
	ok(async_ends(&listing, 2000), "PCSC-118 PCSC-C1 list on the context that waits");
	async_start(&ending, 0, do_end, &a);
	if (!ok(async_ends(&ending, 2000) && async_ends(&connecting, 5000) &&
			    async_ends(&listing, 5000),
		    "PCSC-118 PCSC-C1 the owner ends, all return"))
		return; /* they never will */
	ok(listing.took_ms < 500, "PCSC-118 not delayed");
	code(async_join(&listing), SCARD_S_SUCCESS, "PCSC-118 list");
	code(async_join(&ending), SCARD_S_SUCCESS, "PCSC-118 end");
	code(async_join(&connecting), SCARD_S_SUCCESS, "PCSC-118 connect");
	pc.disconnect(c, SCARD_LEAVE_CARD);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

/* A child that has a transaction, and tells so through a pipe. */
static pid_t child_in_transaction(DWORD share) {
	int fds[2];
	char byte = 0;
	if (pipe(fds) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		SCARDHANDLE card = card_open(context_new(), &r, share, NULL);
		byte = pc.begin(card) == SCARD_S_SUCCESS ? '+' : '-';
		if (write(fds[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	bool good = read(fds[0], &byte, 1) == 1 && byte == '+';
	close(fds[0]);
	ok(good, "PCSC-25 another process has a transaction");
	return pid;
}

static void test_owner_dies(void) {
	struct async wait;
	box_insert(&r, &atr_a);
	b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	pid_t pid = child_in_transaction(SCARD_SHARE_SHARED);
	async_start(&wait, 0, do_send, &b);
	pause_ms(200);
	kill(pid, SIGSTOP);
	int64_t killed_ms = now_ms();
	kill(pid, SIGKILL);
	code(async_join(&wait), SCARD_W_RESET_CARD, "PCSC-25 PCSC-119 its death resets the card");
	ok(wait.end_ms - killed_ms < 1000, "PCSC-25 PCSC-119 within %ld ms",
		(long)(wait.end_ms - killed_ms));
	waitpid(pid, NULL, 0);
	pc.disconnect(b, SCARD_LEAVE_CARD);
	pid = child_in_transaction(SCARD_SHARE_EXCLUSIVE);
	unsigned reset = r.card.n_reset;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	LONG rv = SCARD_E_SHARING_VIOLATION;
	for (int i = 0; i < 100 && rv == SCARD_E_SHARING_VIOLATION; i++) {
		b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
		if (rv == SCARD_E_SHARING_VIOLATION)
			pause_ms(10);
	}
	code(rv, SCARD_S_SUCCESS, "PCSC-26 an exclusive owner dies, connect");
	ok(count_becomes(&r.card.n_reset, reset + 1), "PCSC-26 the card was reset");
	pc.disconnect(b, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void setup(void) {
	client_start(&bold, bold_run); /* before the first context, which box_start needs */
	box_start(&r, "share");
	h1 = context_new();
	h2 = context_new();
	h3 = context_new();
}

static const struct test tests[] = {
	{ "counting", test_counting, 0 },
	{ "blocking", test_blocking, 0 },
	{ "no_blocking", test_no_blocking, 0 },
	{ "exclusive", test_exclusive, 0 },
	{ "events", test_events, 0 },
	{ "every_call_tells", test_every_call_tells, 0 },
	{ "queue", test_queue, 0 },
	{ "no_dead_lock", test_no_dead_lock, 0 },
	{ "owner_dies", test_owner_dies, 0 },
	{ 0 },
};

const struct test_group group_share = { "share", setup, tests };
