/* SPDX-License-Identifier: MIT */
/*
 * Time passes while a status wait computes: whenever it is that the bound for a silent handler passes, the wait
 * ends, and never sleeps without a limit. The clock and poll are this program's own.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "client-fixture.h"

enum {
	JUMP_MS = 6000, /* longer than a handler is waited for */
	MOMENTS = 40,   /* more than the looks at the clock of one call */
};

static _Thread_local bool measured; /* this thread's time is the test's */
static int64_t offset_ms;
static int n_looks, jump_at, n_endless;

int clock_gettime(clockid_t id, struct timespec *ts) {
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	if (!measured || id != CLOCK_MONOTONIC)
		return r;
	if (++n_looks == jump_at)
		offset_ms += JUMP_MS;
	int64_t ns = ts->tv_nsec + offset_ms % 1000 * 1000000;
	ts->tv_sec += offset_ms / 1000 + ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return r;
}

/* Sleeps 20 ms at most, and lets the rest have passed. */
int poll(struct pollfd *fds, nfds_t n, int timeout) {
	struct timespec limit = { .tv_nsec = 20000000 };
	int r = (int)syscall(SYS_ppoll, fds, n, &limit, NULL, 0);
	n_endless += timeout < 0;
	if (r == 0)
		offset_ms += timeout < 0 ? JUMP_MS : timeout;
	return r;
}

static void serve_silence(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame))
		;
}

static void test_bound_passes_at_any_moment(void **state) {
	struct fixture *f = *state;
	start(f, serve_silence);
	for (jump_at = 1; jump_at <= MOMENTS; jump_at++) {
		SCARDCONTEXT context;
		SCARD_READERSTATE e = { .szReader = READER };
		assert_int_equal(SCardEstablishContext(0, NULL, NULL, &context), SCARD_S_SUCCESS);
		n_looks = n_endless = 0;
		measured = true;
		LONG rv = SCardGetStatusChange(context, 0, &e, 1);
		measured = false;
		assert_int_equal(rv, SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, SCARD_STATE_UNAVAILABLE | SCARD_STATE_CHANGED);
		if (n_endless)
			fail_msg("the clock jumps at look %d: an endless sleep", jump_at);
		assert_int_equal(SCardReleaseContext(context), SCARD_S_SUCCESS);
	}
	assert_in_range(n_looks, 3, MOMENTS);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_bound_passes_at_any_moment, setup_bare, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
