/* SPDX-License-Identifier: MIT */
/* Servers that are killed, readers that are unplugged, processes that fork and exec. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/bed.h"

static struct box r, q;
static SCARDCONTEXT h1, h2;

static LONG kill_r(void *unused) {
	(void)unused;
	box_kill(&r);
	return 0;
}

static LONG reconnect_shared(SCARDHANDLE card) {
	DWORD active;
	return pc.reconnect(
		card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &active);
}

/* Readers with servers of their own: an error of the call that was under way, and not one that tells of a service. */
static bool honest(LONG rv) {
	if (!(stack->traits & STACK_OWN_SERVERS))
		return rv != SCARD_S_SUCCESS;
	return rv != SCARD_S_SUCCESS && rv != SCARD_E_NO_SERVICE && rv != SCARD_E_SERVICE_STOPPED &&
		rv != SCARD_F_COMM_ERROR;
}

/* What programs know as "connect again". */
static bool asks_for_reconnect(LONG rv) {
	if (stack->traits & STACK_OWN_SERVERS)
		return rv == SCARD_W_RESET_CARD;
	return rv == SCARD_W_RESET_CARD || rv == SCARD_W_REMOVED_CARD ||
		rv == SCARD_E_INVALID_VALUE || rv == SCARD_E_READER_UNAVAILABLE ||
		rv == SCARD_E_NO_SERVICE;
}

static void test_killed_in_transmit(void) {
	struct async later;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	async_start(&later, 300, kill_r, NULL);
	int64_t start_ms = now_ms();
	LONG rv = card_send_bytes(a, "\x80\x20\x0b\xb8", 4);
	ok(honest(rv), "PCSC-208 killed during a transmit: %#lx", (unsigned long)rv);
	ok(now_ms() - start_ms < 2500, "PCSC-208 no hang");
	async_join(&later);
	for (int i = 0; i < 2; i++) {
		rv = card_send(a);
		ok(asks_for_reconnect(rv), "PCSC-211 the handle asks for a reconnect: %#lx",
			(unsigned long)rv);
	}
	box_restart(&r);
	code(reconnect_shared(a), SCARD_S_SUCCESS, "PCSC-210 PCSC-C3 the next handler takes it");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-210 PCSC-C3 the same handle works");
	SCARDHANDLE b = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-210 PCSC-C3 as does the same context");
	if (rv == SCARD_S_SUCCESS)
		code(card_send(b), SCARD_S_SUCCESS, "PCSC-210 transmit");
}

/* Handles and contexts can be given back while nobody serves the reader. */
static void test_given_back(void) {
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	box_kill(&r);
	if (stack->traits & STACK_OWN_SERVERS) {
		DWORD n = 0;
		SCARDCONTEXT own = context_new();
		code(pc.release(own), SCARD_S_SUCCESS, "PCSC-211 establish and release");
		code(pc.list(h1, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-219 it is still listed");
	}
	LONG rv = pc.disconnect(a, SCARD_LEAVE_CARD);
	ok(rv == SCARD_S_SUCCESS || asks_for_reconnect(rv), "PCSC-211 disconnect: %#lx",
		(unsigned long)rv);
	rv = pc.disconnect(b, SCARD_RESET_CARD);
	ok(rv == SCARD_S_SUCCESS || asks_for_reconnect(rv), "PCSC-211 disconnect, reset: %#lx",
		(unsigned long)rv);
	rv = pc.release(h1);
	ok(rv == SCARD_S_SUCCESS || asks_for_reconnect(rv), "PCSC-211 release: %#lx",
		(unsigned long)rv);
	code(pc.release(h1), SCARD_E_INVALID_HANDLE, "PCSC-211 it is gone");
	box_restart(&r);
	SCARDCONTEXT own = context_new();
	a = card_open(own, &r, SCARD_SHARE_SHARED, &rv);
	code(rv, SCARD_S_SUCCESS, "PCSC-211 a new context connects");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-211 and works");
}

static void test_killed_in_wait(void) {
	struct async later;
	SCARD_READERSTATE s = { .szReader = r.name };
	box_insert(&r, &atr_a);
	pc.change(h1, 0, &s, 1);
	s.dwCurrentState = s.dwEventState;
	async_start(&later, 300, kill_r, NULL);
	int64_t start_ms = now_ms();
	LONG rv = pc.change(h1, 8000, &s, 1);
	ok(now_ms() - start_ms < 7500, "PCSC-209 killed during a wait: %#lx", (unsigned long)rv);
	async_join(&later);
	if (!(stack->traits & STACK_OWN_SERVERS)) {
		ok(rv != SCARD_S_SUCCESS, "PCSC-209 told");
		return;
	}
	code(rv, SCARD_S_SUCCESS, "PCSC-209 told");
	ok(s.dwEventState & SCARD_STATE_CHANGED, "PCSC-209 told: %#lx, was %#lx", s.dwEventState,
		s.dwCurrentState);
	s.dwCurrentState = s.dwEventState;
	code(pc.change(h1, 500, &s, 1), SCARD_E_TIMEOUT, "PCSC-209 and then it waits");
	box_restart(&r);
	code(pc.change(h1, 5000, &s, 1), SCARD_S_SUCCESS,
		"PCSC-209 until there is a handler again");
	ok(!(s.dwEventState & SCARD_STATE_UNAVAILABLE), "PCSC-209 %#lx", s.dwEventState);
}

/* Another reader's server hangs. */
static LONG use_r(void *unused) {
	(void)unused;
	DWORD n = 0;
	SCARD_READERSTATE s = { .szReader = r.name };
	SCARDHANDLE a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-212 this one works");
	code(pc.list(h2, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-212 list");
	code(pc.change(h2, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-212 look");
	return pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_frozen(void) {
	struct async use;
	box_start(&q, "frozen");
	box_insert(&r, &atr_a);
	box_freeze(&q);
	async_start(&use, 0, use_r, NULL);
	ok(async_ends(&use, 3000), "PCSC-212 another server hangs, this one is not affected");
	box_thaw(&q);
	async_join(&use);
	ok(use.took_ms < 1000, "PCSC-212 %ld ms", (long)use.took_ms);
	box_stop(&q);
	box_remove(&r);
}

static LONG open_q(void *card) {
	LONG rv;
	*(SCARDHANDLE *)card = card_open(context_new(), &q, SCARD_SHARE_SHARED, &rv);
	return rv;
}

static void test_unplugged(void) {
	DWORD active;
	box_start(&q, "unplugged");
	box_insert(&q, &atr_a);
	SCARDHANDLE a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	box_stop(&q);
	code(do_status(&a), SCARD_E_READER_UNAVAILABLE, "PCSC-146 unplugged, status");
	code(card_send(a), SCARD_E_INVALID_VALUE, "PCSC-92 unplugged, transmit");
	code(pc.reconnect(a, 2, 3, 0, &active), SCARD_E_INVALID_VALUE, "PCSC-92 reconnect");
	code(pc.begin(a), SCARD_E_INVALID_VALUE, "PCSC-92 begin");
	code(pc.end(a, 0), SCARD_E_INVALID_VALUE, "PCSC-92 end");
	BYTE got[64];
	DWORD n = sizeof(got);
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_E_INVALID_VALUE, "PCSC-92 control");
	n = sizeof(got);
	code(pc.get_attrib(a, SCARD_ATTR_VENDOR_NAME, got, &n), SCARD_E_INVALID_VALUE,
		"PCSC-92 get attribute");
	code(pc.set_attrib(a, SCARD_ATTR_MAXINPUT, got, 4), SCARD_E_INVALID_VALUE,
		"PCSC-92 set attribute");
	box_start(&q, "unplugged");
	LONG rv = do_status(&a);
	ok(rv != SCARD_S_SUCCESS, "PCSC-146 back again: %#lx", (unsigned long)rv);
	code(pc.disconnect(a, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-103 disconnect");
	code(pc.disconnect(a, SCARD_RESET_CARD), SCARD_E_INVALID_HANDLE, "PCSC-103 once");
	a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-210 PCSC-C3 the context is good for the new one");
	box_stop(&q);
	SCARDCONTEXT own = context_new();
	code(pc.release(own), SCARD_S_SUCCESS, "PCSC-103 release of another context");
	code(pc.release(h1), SCARD_S_SUCCESS,
		"PCSC-103 release with a handle of a reader that is gone");
}

/* Who waits for a lock when the reader goes does not wait on. */
static void test_unplugged_in_a_queue(void) {
	struct async send, begin;
	box_start(&q, "unplugged");
	box_insert(&q, &atr_a);
	SCARDHANDLE a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	SCARDHANDLE b = card_open(h2, &q, SCARD_SHARE_SHARED, NULL);
	SCARDCONTEXT h3 = context_new();
	SCARDHANDLE c = card_open(h3, &q, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	async_start(&send, 0, do_send, &b);
	async_start(&begin, 0, do_begin, &c);
	ok(!async_ends(&send, 300) && !begin.done, "PCSC-107 two wait for a transaction");
	box_stop(&q);
	bool over = async_ends(&send, 3000) && async_ends(&begin, 3000);
	ok(over, "PCSC-92 none waits for a reader that is gone");
	struct async *waits[] = { &send, &begin };
	for (size_t i = 0; i < 2; i++) {
		LONG rv = async_join(waits[i]);
		ok(rv == SCARD_E_READER_UNAVAILABLE || rv == SCARD_E_INVALID_VALUE,
			"PCSC-92 %s: %#lx", i ? "begin" : "transmit", (unsigned long)rv);
	}
	code(card_send(b), SCARD_E_INVALID_VALUE, "PCSC-92 the next call");
	code(pc.disconnect(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-103 the owner disconnects");
}

/* A connect that waits. */
static void test_unplugged_before_a_connect(void) {
	struct async connect;
	SCARDHANDLE d = 0;
	box_start(&q, "unplugged");
	box_insert(&q, &atr_a);
	SCARDHANDLE a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	async_start(&connect, 0, open_q, &d);
	ok(!async_ends(&connect, 300), "PCSC-70 a connect waits for a transaction");
	box_stop(&q);
	if (!ok(async_ends(&connect, 3000), "PCSC-C10 it does not wait for a reader that is gone"))
		return; /* it will for ever */
	LONG rv = async_join(&connect);
	ok(rv == SCARD_E_READER_UNAVAILABLE || rv == SCARD_E_UNKNOWN_READER ||
			rv == SCARD_E_INVALID_VALUE,
		"PCSC-C10 it is told: %#lx", (unsigned long)rv);
}

/* What a child cannot do with what it inherited. */
static int child(SCARDHANDLE a) {
	DWORD n = 0;
	if (pc.list(h1, NULL, NULL, &n) != SCARD_E_INVALID_HANDLE ||
		pc.release(h1) != SCARD_E_INVALID_HANDLE)
		return 1;
	if (card_send(a) != SCARD_E_INVALID_HANDLE ||
		pc.disconnect(a, SCARD_RESET_CARD) != SCARD_E_INVALID_HANDLE)
		return 2;
	return 0;
}

/* What it can. */
static int child_own(void) {
	SCARDCONTEXT own;
	if (pc.establish(0, NULL, NULL, &own) != SCARD_S_SUCCESS)
		return 1;
	SCARDHANDLE b = card_open(own, &r, SCARD_SHARE_SHARED, NULL);
	return card_send(b) == SCARD_S_SUCCESS ? 0 : 2;
	/* without a release: the exit closes the child's own only */
}

static void test_fork_own(void) {
	int status = -1;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child_own());
	waitpid(pid, &status, 0);
	ok(status == 0, "PCSC-22 a child's own context: %d", WEXITSTATUS(status));
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-22 the parent goes on");
}

static void test_fork(void) {
	int status = -1;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	pc.begin(a);
	pc.end(a, SCARD_LEAVE_CARD);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child(a));
	waitpid(pid, &status, 0);
	ok(status == 0, "PCSC-21 PCSC-C4 inherited is invalid: %d", WEXITSTATUS(status));
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-21 PCSC-C4 the parent goes on, undisturbed");
	pc.begin(a);
	pid = fork();
	if (pid == 0) {
		card_send(a); /* notices, and closes what it has */
		_exit(0);
	}
	waitpid(pid, &status, 0);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-21 in its transaction, too");
	code(pc.end(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-21 which it can end");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

/* Says what they are, too. */
static int count_descriptors(void) {
	DIR *d = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;
	while (d && (entry = readdir(d))) {
		char target[64] = "";
		(void)!readlinkat(dirfd(d), entry->d_name, target, sizeof(target) - 1);
		printf("# %s %s\n", entry->d_name, target);
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

/* Every descriptor that the library has opened is close-on-exec. */
static void test_exec(void) {
	bool clean = true, ours[256];
	DWORD n = 0;
	pc.list(h1, NULL, NULL, &n); /* what all contexts share, and keep as long as there is one */
	int before = count_descriptors();
	for (int fd = 0; fd < 256; fd++)
		ours[fd] = fcntl(fd, F_GETFD) < 0;
	SCARDCONTEXT own = context_new();
	SCARD_READERSTATE s = { .szReader = r.name };
	pc.change(own, 0, &s, 1);
	SCARDHANDLE a = card_open(own, &r, SCARD_SHARE_DIRECT, NULL);
	for (int fd = 3; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		if (ours[fd] && flags >= 0 && !(flags & FD_CLOEXEC))
			clean = false;
	}
	ok(clean, "PCSC-20 nothing leaks through exec");
	ok(count_descriptors() > before, "PCSC-20 there was something to leak");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	pc.release(own);
	int after = count_descriptors();
	ok(after == before, "PCSC-20 a release gives all back: %d, was %d", after, before);
}

static void setup(void) {
	box_start(&r, "loss");
	h1 = context_new();
	h2 = context_new();
}

static const struct test tests[] = {
	{ "killed_in_transmit", test_killed_in_transmit, 0 },
	{ "given_back", test_given_back, 0 },
	{ "killed_in_wait", test_killed_in_wait, 0 },
	{ "frozen", test_frozen, 0 },
	{ "unplugged", test_unplugged, 0 },
	{ "unplugged_in_a_queue", test_unplugged_in_a_queue, 0 },
	{ "unplugged_before_a_connect", test_unplugged_before_a_connect, 0 },
	{ "fork", test_fork, 0 },
	{ "fork_own", test_fork_own, 0 },
	{ "exec", test_exec, 0 },
	{ 0 },
};

const struct test_group group_loss = { "loss", setup, tests };
