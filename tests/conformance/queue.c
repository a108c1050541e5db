/* SPDX-License-Identifier: MIT */
/*
 * The queue for a card among processes: who comes first goes first, who dies while he waits has not been there,
 * and who owned the lock when he died, was stopped or cut off owns it no more.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/bed.h"

enum { N_CLIENTS = 5, SOON_MS = 1000, APART_MS = 150 };

static struct box r;
static SCARDCONTEXT h1, h2, h3;

/* ---- what a client process does ---- */

enum {
	OPEN,
	OPEN_EXCLUSIVE,
	OPEN_DIRECT,
	BEGIN,
	END,
	SEND,
	CLOSE,
	CUT_OFF,  /* all its sockets but the one to us, as by a broken link */
	HAVE_BOY, /* a child that holds all descriptors, and does nothing */
	TO_EXCLUSIVE,
	TO_EXCLUSIVE_RESET,
};

enum { MAX_DESCRIPTORS = 64 };
static ino_t inherited[MAX_DESCRIPTORS]; /* what the client's process had before it did anything */

static ino_t inode_of(int fd) {
	struct stat st;
	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void note_inherited(void) {
	for (int fd = 0; fd < MAX_DESCRIPTORS; fd++)
		inherited[fd] = inode_of(fd);
}

static bool is_inherited(int fd) {
	for (size_t i = 0; i < MAX_DESCRIPTORS; i++)
		if (inherited[i] == inode_of(fd))
			return true;
	return false;
}

static LONG cut_off(void) {
	for (int fd = 3; fd < MAX_DESCRIPTORS; fd++) {
		int type = 0;
		socklen_t len = sizeof(type);
		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
			!is_inherited(fd))
			shutdown(fd, SHUT_RDWR);
	}
	return 0;
}

static LONG have_boy(void) {
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static LONG client(int what) {
	static SCARDCONTEXT context;
	static SCARDHANDLE card;
	LONG rv = 0;
	if (!context) {
		note_inherited();
		context = context_new();
	}
	switch (what) {
	case OPEN: card = card_open(context, &r, SCARD_SHARE_SHARED, &rv); return rv;
	case OPEN_EXCLUSIVE: card = card_open(context, &r, SCARD_SHARE_EXCLUSIVE, &rv); return rv;
	case OPEN_DIRECT: card = card_open(context, &r, SCARD_SHARE_DIRECT, &rv); return rv;
	case BEGIN: return pc.begin(card);
	case END: return pc.end(card, SCARD_LEAVE_CARD);
	case SEND: return card_send(card);
	case CLOSE: return pc.disconnect(card, SCARD_LEAVE_CARD);
	case CUT_OFF: return cut_off();
	case HAVE_BOY: return have_boy();
	case TO_EXCLUSIVE: return card_reconnect(card, SCARD_SHARE_EXCLUSIVE, SCARD_LEAVE_CARD);
	case TO_EXCLUSIVE_RESET:
		return card_reconnect(card, SCARD_SHARE_EXCLUSIVE, SCARD_RESET_CARD);
	default: return -1;
	}
}

static void clients_start(struct client *clients, size_t n) {
	for (size_t i = 0; i < n; i++)
		client_start(&clients[i], client);
}

static void clients_kill(struct client *clients, size_t n) {
	for (size_t i = 0; i < n; i++)
		client_kill(&clients[i]);
}

/* The first of those that still wait to answer; -1: none. */
static int next_answer(struct client *clients, const bool *waits) {
	int64_t end_ms = now_ms() + WAIT_MS;
	while (now_ms() < end_ms)
		for (int i = 0; i < N_CLIENTS; i++)
			if (waits[i] && client_answers(&clients[i], 2))
				return i;
	return -1;
}

/* ---- tests ---- */

static void test_first_come(void) {
	struct client clients[N_CLIENTS];
	bool waits[N_CLIENTS] = { false };
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	clients_start(clients, N_CLIENTS);
	for (int i = 0; i < N_CLIENTS; i++)
		client_do(&clients[i], OPEN);
	for (int round = 0; round < 3; round++) {
		int order[N_CLIENTS], early = 0;
		pc.begin(a);
		for (int i = 0; i < N_CLIENTS; i++) {
			client_ask(&clients[i], BEGIN);
			waits[i] = true;
			pause_ms(APART_MS);
		}
		for (int i = 0; i < N_CLIENTS; i++)
			early += client_answers(&clients[i], 0);
		ok(early == 0, "PCSC-107 PCSC-120 round %d: %d processes wait", round, N_CLIENTS);
		pc.end(a, SCARD_LEAVE_CARD);
		for (int i = 0; i < N_CLIENTS; i++) {
			order[i] = next_answer(clients, waits);
			if (order[i] < 0)
				die("a waiter", "starves");
			waits[order[i]] = false;
			client_answer(&clients[order[i]]);
			client_do(&clients[order[i]], SEND);
			client_do(&clients[order[i]], END);
		}
		ok(true, "PCSC-120 round %d: none starves", round);
		if (stack->traits & STACK_OWN_SERVERS) /* pcscd's order is chance */
			ok(order[0] == 0 && order[1] == 1 && order[2] == 2 && order[3] == 3 &&
					order[4] == 4,
				"PCSC-120 round %d: first come, first served: %d %d %d %d %d",
				round, order[0], order[1], order[2], order[3], order[4]);
	}
	clients_kill(clients, N_CLIENTS);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_waiter_dies(void) {
	struct client clients[2];
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	clients_start(clients, 2);
	client_do(&clients[0], OPEN);
	client_do(&clients[1], OPEN);
	pc.begin(a);
	client_ask(&clients[0], BEGIN);
	pause_ms(APART_MS);
	client_ask(&clients[1], BEGIN);
	pause_ms(APART_MS);
	unsigned resets = r.card.n_reset;
	client_kill(&clients[0]);
	pause_ms(APART_MS);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-120 a waiter is killed: the owner goes on");
	pc.end(a, SCARD_LEAVE_CARD);
	ok(client_answers(&clients[1], WAIT_MS), "PCSC-120 the dead waiter did not take the lock");
	code(client_answer(&clients[1]), SCARD_S_SUCCESS, "PCSC-120 the next one has it");
	code(client_do(&clients[1], END), SCARD_S_SUCCESS, "PCSC-120 and gives it back");
	code(pc.begin(a), SCARD_S_SUCCESS, "PCSC-120 to the next");
	pc.end(a, SCARD_LEAVE_CARD);
	ok(r.card.n_reset == resets, "PCSC-120 no reset for a waiter's death");
	client_kill(&clients[1]);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_nested(void) {
	struct client c;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	client_start(&c, client);
	client_do(&c, OPEN);
	for (int i = 0; i < 3; i++)
		code(pc.begin(a), SCARD_S_SUCCESS, "PCSC-106 begin %d", i + 1);
	client_ask(&c, SEND);
	for (int i = 0; i < 2; i++) {
		code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-106 end %d", i + 1);
		ok(!client_answers(&c, 150), "PCSC-106 another process still waits");
	}
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-106 end 3");
	ok(client_answers(&c, WAIT_MS) && client_answer(&c) == SCARD_S_SUCCESS,
		"PCSC-106 and goes on now");
	client_kill(&c);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* The owner is stopped: he is still the owner. Then killed: he is not. */
static void test_owner_stopped(void) {
	struct client owner;
	struct async wait;
	box_insert(&r, &atr_a);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	client_start(&owner, client);
	client_do(&owner, OPEN);
	code(client_do(&owner, BEGIN), SCARD_S_SUCCESS, "PCSC-119 a process begins");
	unsigned resets = r.card.n_reset;
	async_start(&wait, 0, do_send, &b);
	kill(owner.pid, SIGSTOP);
	ok(!async_ends(&wait, 400), "PCSC-119 stopped: nobody takes its transaction");
	int64_t killed_ms = now_ms();
	client_kill(&owner);
	ok(async_ends(&wait, WAIT_MS), "PCSC-119 killed: the waiter returns");
	code(async_join(&wait), SCARD_W_RESET_CARD, "PCSC-119 told of the reset");
	ok(wait.end_ms - killed_ms < SOON_MS, "PCSC-119 within %ld ms",
		(long)(wait.end_ms - killed_ms));
	ok(count_becomes(&r.card.n_reset, resets + 1), "PCSC-25 one reset");
	pc.disconnect(b, SCARD_LEAVE_CARD);
}

/* His connection ends without him. */
static void test_owner_cut_off(void) {
	struct client owner;
	struct async wait;
	box_insert(&r, &atr_a);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	client_start(&owner, client);
	client_do(&owner, OPEN);
	client_do(&owner, BEGIN);
	async_start(&wait, 0, do_send, &b);
	ok(!async_ends(&wait, 200), "PCSC-25 a process waits for an owner");
	int64_t cut_ms = now_ms();
	client_do(&owner, CUT_OFF);
	ok(async_ends(&wait, WAIT_MS), "PCSC-25 cut off: the waiter returns");
	code(async_join(&wait), SCARD_W_RESET_CARD, "PCSC-25 cut off: told of the reset");
	ok(wait.end_ms - cut_ms < SOON_MS, "PCSC-25 cut off: within %ld ms",
		(long)(wait.end_ms - cut_ms));
	LONG rv = client_do(&owner, SEND);
	ok(rv != SCARD_S_SUCCESS, "PCSC-25 cut off: the former owner is told: %#lx",
		(unsigned long)rv);
	client_kill(&owner);
	pc.disconnect(b, SCARD_LEAVE_CARD);
}

/* A lock does not outlive its owner because his child has the descriptor. */
static void test_owner_has_child(void) {
	struct client owner;
	struct async wait;
	box_insert(&r, &atr_a);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	client_start(&owner, client);
	client_do(&owner, OPEN);
	client_do(&owner, BEGIN);
	pid_t boy = (pid_t)client_do(&owner, HAVE_BOY);
	ok(boy > 0, "PCSC-C4 the owner has a child");
	async_start(&wait, 0, do_send, &b);
	ok(!async_ends(&wait, 200), "PCSC-C4 the owner with a child owns");
	int64_t killed_ms = now_ms();
	client_kill(&owner);
	ok(async_ends(&wait, WAIT_MS), "PCSC-C4 he dies and his child lives: the waiter returns");
	ok(now_ms() - killed_ms < SOON_MS + 500, "PCSC-C4 he dies and his child lives: %ld ms",
		(long)(now_ms() - killed_ms));
	kill(boy, SIGKILL);
	code(async_join(&wait), SCARD_W_RESET_CARD, "PCSC-C4 told of the reset");
	pc.disconnect(b, SCARD_LEAVE_CARD);
}

static LONG open_shared(void *card) {
	LONG rv;
	*(SCARDHANDLE *)card = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	return rv;
}

static LONG open_exclusive(void *card) {
	LONG rv;
	*(SCARDHANDLE *)card = card_open(h2, &r, SCARD_SHARE_EXCLUSIVE, &rv);
	return rv;
}

/* The owner becomes exclusive while a connect waits for its transaction to end. */
static void test_connect_looks_again(void) {
	struct async wait;
	SCARDHANDLE b = 0;
	DWORD active;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	async_start(&wait, 0, open_shared, &b);
	ok(!async_ends(&wait, 200), "PCSC-70 connect waits");
	code(pc.reconnect(a, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
		SCARD_S_SUCCESS, "PCSC-86 meanwhile the owner becomes exclusive");
	pc.end(a, SCARD_LEAVE_CARD);
	ok(async_ends(&wait, 1000), "PCSC-C10 the connect returns");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	LONG rv = async_join(&wait);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-C10 not beside an exclusive one");
	if (rv == SCARD_S_SUCCESS)
		pc.disconnect(b, SCARD_LEAVE_CARD);
}

/* Of two that wait, the first becomes exclusive. */
static void test_exclusive_waits(void) {
	struct async wait;
	struct client second;
	SCARDHANDLE b = 0;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	client_start(&second, client);
	async_start(&wait, 0, open_exclusive, &b);
	ok(!async_ends(&wait, 200), "PCSC-70 an exclusive connect waits");
	client_ask(&second, OPEN);
	pause_ms(APART_MS);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	code(async_join(&wait), SCARD_S_SUCCESS, "PCSC-C10 the first one gets it");
	if (ok(client_answers(&second, 1000), "PCSC-C10 the second one returns"))
		code(client_answer(&second), SCARD_E_SHARING_VIOLATION, "PCSC-C10 without it");
	client_kill(&second);
	pc.disconnect(b, SCARD_LEAVE_CARD);
}

/* The upgrade to exclusive waits for another process, which dies. */
static void upgrade(int how, unsigned want_resets) {
	struct client other, upgrader;
	box_insert(&r, &atr_a);
	clients_start(&other, 1);
	clients_start(&upgrader, 1);
	client_do(&other, OPEN);
	client_do(&upgrader, OPEN);
	unsigned resets = r.card.n_reset;
	client_ask(&upgrader, how);
	ok(!client_answers(&upgrader, 400), "PCSC-87 a process waits to be alone");
	if (want_resets)
		ok(r.card.n_reset == resets, "PCSC-88 PCSC-C12 no reset while it waits");
	else
		code(client_do(&other, SEND), SCARD_S_SUCCESS,
			"PCSC-87 the other one is not disturbed");
	client_kill(&other);
	ok(client_answers(&upgrader, WAIT_MS), "PCSC-87 the other one dies");
	code(client_answer(&upgrader), SCARD_S_SUCCESS, "PCSC-87 and it is exclusive");
	if (want_resets)
		ok(r.card.n_reset == resets + want_resets, "PCSC-88 PCSC-C12 one reset");
	LONG rv;
	card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_E_SHARING_VIOLATION, "PCSC-86 nobody else comes in");
	client_kill(&upgrader);
}

static void test_upgrade(void) {
	upgrade(TO_EXCLUSIVE, 0);
}

static void test_upgrade_with_reset(void) {
	upgrade(TO_EXCLUSIVE_RESET, 1);
}

/* From exclusive to shared inside a transaction: its own counts stay, the base is given back. */
static void test_downgrade(void) {
	struct client other;
	DWORD active;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_EXCLUSIVE, NULL);
	client_start(&other, client);
	pc.begin(a);
	code(pc.reconnect(a, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active),
		SCARD_S_SUCCESS, "PCSC-89 PCSC-C11 down to shared in a transaction");
	client_ask(&other, OPEN);
	ok(!client_answers(&other, 200), "PCSC-89 PCSC-C11 the transaction is kept");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-89 PCSC-C11 its end");
	ok(client_answers(&other, WAIT_MS) && client_answer(&other) == SCARD_S_SUCCESS,
		"PCSC-89 PCSC-C11 lets another process in");
	code(client_do(&other, SEND), SCARD_S_SUCCESS, "PCSC-89 which works");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_E_NOT_TRANSACTED, "PCSC-89 nothing is left");
	client_kill(&other);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* Threads on different cards do not wait for each other, whatever their context; the state of a card is read
 * without its server. */
static void test_threads_apart(void) {
	static struct box q;
	struct async wait, use;
	box_insert(&r, &atr_a);
	box_start(&q, "other");
	box_insert(&q, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE c = card_open(h2, &q, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE d = card_open(h3, &q, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	async_start(&wait, 0, do_send, &b);
	ok(!async_ends(&wait, 200), "PCSC-118 a thread waits for a lock");
	async_start(&use, 0, do_send, &c);
	bool ends = async_ends(&use, 2000);
	ok(ends, "PCSC-118 PCSC-C1 another thread of the context uses another card");
	struct async third;
	async_start(&third, 0, do_send, &d);
	bool third_ends = async_ends(&third, 2000);
	ok(third_ends, "PCSC-118 PCSC-C1 a third one on another context, too");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-118 the owner ends");
	code(async_join(&use), SCARD_S_SUCCESS, "PCSC-118 the other card's answer");
	code(async_join(&third), SCARD_S_SUCCESS, "PCSC-118 the third one's answer");
	code(async_join(&wait), SCARD_S_SUCCESS, "PCSC-118 the waiter's answer");
}

static void setup(void) {
	box_start(&r, "queue");
	h1 = context_new();
	h2 = context_new();
	h3 = context_new();
}

static const struct test tests[] = {
	{ "first_come", test_first_come, 0 },
	{ "waiter_dies", test_waiter_dies, 0 },
	{ "nested", test_nested, 0 },
	{ "owner_stopped", test_owner_stopped, 0 },
	{ "owner_cut_off", test_owner_cut_off, 0 },
	{ "owner_has_child", test_owner_has_child, 0 },
	{ "connect_looks_again", test_connect_looks_again, 0 },
	{ "exclusive_waits", test_exclusive_waits, 0 },
	{ "upgrade", test_upgrade, 0 },
	{ "upgrade_with_reset", test_upgrade_with_reset, 0 },
	{ "downgrade", test_downgrade, 0 },
	{ "threads_apart", test_threads_apart, 0 },
	{ 0 },
};

const struct test_group group_queue = { "queue", setup, tests };
