/* SPDX-License-Identifier: MIT */
/* Handlers that are killed, readers that are unplugged, processes that fork and exec. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/process/pcsc.h"

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

/* An error of a call that was under way, and not one that tells of a service. */
static bool honest(LONG rv) {
	return rv != SCARD_S_SUCCESS && rv != SCARD_E_NO_SERVICE && rv != SCARD_E_SERVICE_STOPPED &&
		rv != SCARD_F_COMM_ERROR;
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
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-211 the handle asks for a reconnect");
	code(card_send(a), SCARD_W_RESET_CARD, "PCSC-211 again and again");
	box_restart(&r);
	box_insert(&r, &atr_a);
	code(reconnect_shared(a), SCARD_S_SUCCESS, "PCSC-210 the next handler takes it");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-210 the same handle works");
	SCARDHANDLE b = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(card_send(b), SCARD_S_SUCCESS, "PCSC-210 as does the same context");
	box_kill(&r);
	code(pc.disconnect(a, SCARD_LEAVE_CARD), SCARD_S_SUCCESS, "PCSC-211 disconnect");
	SCARDCONTEXT own = context_new();
	code(pc.release(own), SCARD_S_SUCCESS, "PCSC-211 release");
	code(pc.disconnect(b, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-211 disconnect, reset");
	DWORD n = 0;
	code(pc.list(h1, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-219 it is still listed");
	box_restart(&r);
}

static void test_killed_in_wait(void) {
	struct async later;
	SCARD_READERSTATE s = { .szReader = r.name };
	box_insert(&r, &atr_a);
	pc.change(h1, 0, &s, 1);
	s.dwCurrentState = s.dwEventState;
	async_start(&later, 300, kill_r, NULL);
	int64_t start_ms = now_ms();
	code(pc.change(h1, 8000, &s, 1), SCARD_S_SUCCESS, "PCSC-209 killed during a wait");
	ok(now_ms() - start_ms < 7500 && (s.dwEventState & SCARD_STATE_CHANGED),
		"PCSC-209 told: %#lx, was %#lx", s.dwEventState, s.dwCurrentState);
	async_join(&later);
	s.dwCurrentState = s.dwEventState;
	code(pc.change(h1, 500, &s, 1), SCARD_E_TIMEOUT, "PCSC-209 and then it waits");
	box_restart(&r);
	code(pc.change(h1, 5000, &s, 1), SCARD_S_SUCCESS,
		"PCSC-209 until there is a handler again");
	ok(!(s.dwEventState & SCARD_STATE_UNAVAILABLE), "PCSC-209 %#lx", s.dwEventState);
}

static void test_frozen(void) {
	DWORD n = 0;
	box_start(&q, "frozen", NULL);
	box_insert(&r, &atr_a);
	kill(q.pid, SIGSTOP);
	SCARD_READERSTATE s = { .szReader = r.name };
	int64_t start_ms = now_ms();
	SCARDHANDLE a = card_open(h2, &r, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-212 another handler hangs, this one works");
	code(pc.list(h2, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-212 list");
	code(pc.change(h2, 0, &s, 1), SCARD_S_SUCCESS, "PCSC-212 look");
	ok(now_ms() - start_ms < 1000, "PCSC-212 not affected: %ld ms",
		(long)(now_ms() - start_ms));
	pc.disconnect(a, SCARD_LEAVE_CARD);
	kill(q.pid, SIGCONT);
	box_stop(&q);
	box_remove(&r);
}

static void test_unplugged(void) {
	DWORD active;
	box_start(&q, "unplugged", NULL);
	box_insert(&q, &atr_a);
	SCARDHANDLE a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	box_stop(&q);
	code(do_status(&a), SCARD_E_READER_UNAVAILABLE, "PCSC-146 unplugged, status");
	code(card_send(a), SCARD_E_INVALID_VALUE, "PCSC-92 unplugged, transmit");
	code(pc.reconnect(a, 2, 3, 0, &active), SCARD_E_INVALID_VALUE, "PCSC-92 reconnect");
	code(pc.begin(a), SCARD_E_INVALID_VALUE, "PCSC-92 begin");
	code(pc.end(a, 0), SCARD_E_INVALID_VALUE, "PCSC-92 end");
	box_start(&q, "unplugged", NULL);
	LONG rv = do_status(&a);
	ok(rv != SCARD_S_SUCCESS, "PCSC-146 back again: %#lx", (unsigned long)rv);
	code(pc.disconnect(a, SCARD_RESET_CARD), SCARD_S_SUCCESS, "PCSC-103 disconnect");
	code(pc.disconnect(a, SCARD_RESET_CARD), SCARD_E_INVALID_HANDLE, "PCSC-103 once");
	box_insert(&q, &atr_a);
	a = card_open(h1, &q, SCARD_SHARE_SHARED, NULL);
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-210 the context is good for the new one");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_stop(&q);
}

static int child(SCARDHANDLE a) {
	DWORD n = 0;
	SCARDCONTEXT own;
	if (pc.list(h1, NULL, NULL, &n) != SCARD_E_INVALID_HANDLE ||
		pc.release(h1) != SCARD_E_INVALID_HANDLE)
		return 1;
	if (card_send(a) != SCARD_E_INVALID_HANDLE ||
		pc.disconnect(a, SCARD_RESET_CARD) != SCARD_E_INVALID_HANDLE)
		return 2;
	if (pc.establish(0, NULL, NULL, &own) != SCARD_S_SUCCESS)
		return 3;
	SCARDHANDLE b = card_open(own, &r, SCARD_SHARE_SHARED, NULL);
	if (card_send(b) != SCARD_S_SUCCESS)
		return 4;
	return 0; /* without a release: the exit closes the child's own only */
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
	ok(status == 0, "PCSC-21 PCSC-22 inherited is invalid, own works: %d", WEXITSTATUS(status));
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-21 the parent goes on, undisturbed");
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

static int count_descriptors(void) {
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Every descriptor that the library has opened is close-on-exec. */
static void test_exec(void) {
	bool clean = true, ours[256];
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
	ok(count_descriptors() == before, "PCSC-20 a release gives all back");
}

int main(int argc, char **argv) {
	pcsc_start(argc, argv);
	box_start(&r, "loss", NULL);
	h1 = context_new();
	h2 = context_new();
	test_killed_in_transmit();
	test_killed_in_wait();
	test_frozen();
	test_unplugged();
	test_fork();
	test_exec();
	pc.release(h1);
	pc.release(h2);
	return pcsc_finish();
}
