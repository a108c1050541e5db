/* SPDX-License-Identifier: MIT */
/* Threads of one process: who waits for whom, and who does not. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "client-fixture.h"
#include "client/channel.h"

#define PNP "\\\\?PnP?\\Notification"

enum {
	CH = SCARD_STATE_CHANGED,
	UNA = SCARD_STATE_UNAVAILABLE,
	EMP = SCARD_STATE_EMPTY,
	PRE = SCARD_STATE_PRESENT,
};

/* A call of SCardGetStatusChange on a thread of its own. */
struct wait {
	pthread_t thread;
	SCARDCONTEXT context;
	SCARD_READERSTATE state;
	DWORD timeout;
	LONG rv;
	atomic_bool over;
};

static void *wait_run(void *arg) {
	struct wait *w = arg;
	w->rv = SCardGetStatusChange(w->context, w->timeout, &w->state, 1);
	w->over = true;
	return NULL;
}

static void wait_start(struct wait *w, struct fixture *f, const char *reader, DWORD timeout) {
	*w = (struct wait){
		.context = f->context,
		.state = { .szReader = reader, .dwCurrentState = PRE },
		.timeout = timeout,
	};
	assert_int_equal(pthread_create(&w->thread, NULL, wait_run, w), 0);
	usleep(100000); /* until it sleeps */
}

static LONG wait_join(struct wait *w) {
	pthread_join(w->thread, NULL);
	return w->rv;
}

/* Two waits of one context: the second one's timeout is its own, and both hear of a card. */
static void test_waits_apart(void **state) {
	struct fixture *f = *state;
	struct wait first, second;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	wait_start(&first, f, READER, INFINITE);
	int64_t start_ms = clock_ms();
	assert_int_equal(SCardGetStatusChange(f->context, 0, &e, 1), SCARD_E_TIMEOUT);
	e.dwCurrentState = 0;
	assert_int_equal(SCardGetStatusChange(f->context, INFINITE, &e, 1), SCARD_S_SUCCESS);
	assert_true(clock_ms() - start_ms < 1000);
	assert_false(first.over);
	e = (SCARD_READERSTATE){ .szReader = PNP };
	start_ms = clock_ms();
	assert_int_equal(SCardGetStatusChange(f->context, 200, &e, 1), SCARD_E_TIMEOUT);
	assert_in_range(clock_ms() - start_ms, 200, 1200);
	wait_start(&second, f, READER, INFINITE);
	fake_change(f->handler, PRESENCE_ABSENT, 0, 1);
	assert_int_equal(wait_join(&first), SCARD_S_SUCCESS);
	assert_int_equal(wait_join(&second), SCARD_S_SUCCESS);
	assert_int_equal(first.state.dwEventState & 0xffff, EMP | CH);
	assert_int_equal(second.state.dwEventState & 0xffff, EMP | CH);
}

/* SCardCancel ends all waits of the context, and none of the next. */
static void test_cancel_all(void **state) {
	struct fixture *f = *state;
	struct wait waits[5];
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < N_OF(waits); i++)
			wait_start(&waits[i], f, READER, INFINITE);
		assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
		for (size_t i = 0; i < N_OF(waits); i++)
			assert_int_equal(wait_join(&waits[i]), SCARD_E_CANCELLED);
		assert_int_equal(SCardGetStatusChange(f->context, 200, &e, 1), SCARD_E_TIMEOUT);
	}
}

static void *release_run(void *arg) {
	struct fixture *f = arg;
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	return NULL;
}

/* A release waits for a status wait, which can still be ended: else both would last for ever. */
static void test_cancel_during_release(void **state) {
	struct fixture *f = *state;
	struct wait w;
	pthread_t thread;
	wait_start(&w, f, READER, 20000);
	pthread_create(&thread, NULL, release_run, f);
	usleep(100000);
	assert_false(w.over);
	assert_int_equal(SCardIsValidContext(f->context), SCARD_E_INVALID_HANDLE);
	int64_t start_ms = clock_ms();
	assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
	assert_int_equal(wait_join(&w), SCARD_E_CANCELLED);
	pthread_join(thread, NULL);
	assert_true(clock_ms() - start_ms < 2000);
	assert_int_equal(SCardCancel(f->context), SCARD_E_INVALID_HANDLE);
}

static void serve_slow_transmit(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO)
			fake_welcome(peer, frame.serial, NULL);
		if (frame.type == MESSAGE_CONNECT)
			fake_state(peer);
		if (frame.type == MESSAGE_TRANSMIT) {
			usleep(500000);
			fake_answer(peer, frame.serial, "\x90\x00", 2);
		} else if (frame.type != MESSAGE_HELLO) {
			fake_reply(peer, frame.serial, STATUS_OK, 1);
		}
	}
}

static void *transmit_run(void *arg) {
	return (void *)transmit(arg);
}

/* Another handle of the context is not delayed; the same one is given back when the call has ended. */
static void test_disconnect_during_call(void **state) {
	struct fixture *f = *state;
	pthread_t thread;
	SCARDHANDLE other;
	void *rv;
	start(f, serve_slow_transmit);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	pthread_create(&thread, NULL, transmit_run, f);
	usleep(100000);
	int64_t start_ms = clock_ms();
	assert_int_equal(
		SCardConnect(f->context, READER, 2, 3, &other, &f->protocol), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(other), SCARD_S_SUCCESS);
	assert_int_equal(SCardStatus(other, NULL, NULL, NULL, NULL, NULL, NULL), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(other, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	assert_true(clock_ms() - start_ms < 300);
	assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	assert_in_range(clock_ms() - start_ms, 300, 3000);
	pthread_join(thread, &rv);
	assert_ptr_equal(rv, NULL);
	assert_int_equal(transmit(f), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_E_INVALID_HANDLE);
}

static pthread_mutex_t lock_of_card = PTHREAD_MUTEX_INITIALIZER;

/* BEGIN waits for the lock; TRANSMIT takes half a second. */
static void serve_lock(struct fake_peer *peer) {
	struct frame frame;
	bool owner = false;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		if (frame.type == MESSAGE_BEGIN)
			owner = pthread_mutex_lock(&lock_of_card) == 0;
		if (frame.type == MESSAGE_CONNECT)
			fake_state(peer);
		if (frame.type == MESSAGE_TRANSMIT)
			usleep(500000);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
	if (owner)
		pthread_mutex_unlock(&lock_of_card);
}

static void *begin_run(void *arg) {
	return (void *)SCardBeginTransaction(*(SCARDHANDLE *)arg);
}

/* Released in the middle of a command of the owner of the lock, for which another handle of the context waits: the
 * lock goes when the command is over, or release and waiter would wait for each other for ever. */
static void test_release_during_transaction(void **state) {
	struct fixture *f = *state;
	pthread_t owner, waiter;
	SCARDHANDLE other;
	void *rv;
	start(f, serve_lock);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(
		SCardConnect(f->context, READER, 2, 3, &other, &f->protocol), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_S_SUCCESS);
	pthread_create(&owner, NULL, transmit_run, f);
	pthread_create(&waiter, NULL, begin_run, &other);
	usleep(100000);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	pthread_join(owner, &rv);
	pthread_join(waiter, &rv);
	assert_ptr_equal(rv, NULL);
}

/* Notes when its connection ends, and does so itself 700 ms later, as a handler that has much to clean up. */
struct end {
	atomic_llong ms;
	unsigned hold_us;
};

static void serve_until_end(struct fake_peer *peer) {
	struct end *end = peer->handler->arg;
	fake_serve_card(peer);
	end->ms = clock_ms();
	usleep(end->hold_us);
}

/* What two readers' handles hold is given back at the same time, however long one handler takes. */
static void test_release_ends_all_at_once(void **state) {
	struct fixture *f = *state;
	struct end ends[2] = { { .hold_us = 700000 }, { .hold_us = 700000 } };
	SCARDHANDLE card;
	f->handler = fake_handler_start("001-001", serve_until_end, &ends[0]);
	fake_register("001-001", READER, 1);
	struct fake_handler *second = fake_handler_start("001-002", serve_until_end, &ends[1]);
	fake_register("001-002", "Other 00 00", 2);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardConnect(f->context, "Other 00 00", 2, 3, &card, &f->protocol),
		SCARD_S_SUCCESS);
	int64_t start_ms = clock_ms();
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	assert_in_range(clock_ms() - start_ms, 600, 5000);
	fake_handler_stop(second);
	for (size_t i = 0; i < N_OF(ends); i++)
		assert_in_range(ends[i].ms - start_ms, 0, 500);
}

static void serve_limit_first(struct fake_peer *peer) {
	struct frame frame;
	if (peer->nth < 2 && fake_read(peer, &frame))
		fake_bye(peer, STATUS_LIMIT);
	else
		fake_serve_card(peer);
}

/* A place among the handler's connections gets free without an event: a wait tries again by the clock. */
static void test_watch_after_shortage(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_limit_first, NULL);
	fake_register("001-001", READER, 1);
	assert_int_equal(SCardGetStatusChange(f->context, 0, &e, 1), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNA | CH);
	e.dwCurrentState = e.dwEventState;
	assert_int_equal(SCardGetStatusChange(f->context, 8000, &e, 1), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
	assert_int_equal(fake_connections(f->handler), 3);
}

static void on_alarm(int signal) {
	(void)signal;
}

/* A queue that is full and signals that keep coming: the deadline of a connect holds. */
static void test_connect_deadline_with_signals(void **state) {
	(void)state;
	struct sigaction action = { .sa_handler = on_alarm }, old;
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *dir = getenv("IFDHANDLER_PATH");
	struct channel channel, waiting[4];
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/full.sock", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 0), 0);
	size_t n = 0;
	while (n < N_OF(waiting) && channel_open(dir, "full", CLOCK_NEVER, &waiting[n]) == 0)
		n++;
	assert_in_range(n, 1, N_OF(waiting) - 1);
	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	int64_t start_ms = clock_ms();
	int r = channel_open(dir, "full", start_ms + 300, &channel);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	assert_int_equal(r, -EAGAIN);
	assert_in_range(clock_ms() - start_ms, 300, 3000);
	while (n)
		channel_close(&waiting[--n]);
	close(fd);
}

static _Thread_local int
	unlocks_left; /* of this thread until something happens right behind one; 0 for never */
static struct fixture *disconnected;
static atomic_int n_destroyed;

static void *disconnect_run(void *arg) {
	struct fixture *f = arg;
	assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	return NULL;
}

/* The library's own calls come here. */
int pthread_mutex_unlock(pthread_mutex_t *mutex) {
	int (*next)(pthread_mutex_t *) = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	int r = next(mutex);
	if (unlocks_left && --unlocks_left == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, disconnect_run, disconnected);
		pthread_join(thread, NULL);
	}
	return r;
}

int pthread_mutex_destroy(pthread_mutex_t *mutex) {
	int (*next)(pthread_mutex_t *) = dlsym(RTLD_NEXT, "pthread_mutex_destroy");
	n_destroyed++;
	return next(mutex);
}

/* A handle is given back while another thread enters or leaves a call on it: whoever is last clears up. */
static void test_disconnect_at_every_moment(void **state) {
	struct fixture *f = *state;
	for (int moment = 1; moment <= 3; moment++) {
		int before = n_destroyed;
		disconnected = f;
		unlocks_left = moment;
		assert_int_equal(status(f), moment == 1 ? SCARD_E_INVALID_HANDLE : SCARD_S_SUCCESS);
		assert_int_equal(unlocks_left, 0);
		assert_int_equal(n_destroyed, before + 1);
		assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	}
}

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_waits_apart),
		CASE(test_cancel_all),
		CASE(test_cancel_during_release),
		CASE_BARE(test_disconnect_during_call),
		CASE_BARE(test_release_during_transaction),
		CASE_BARE(test_release_ends_all_at_once),
		CASE_BARE(test_watch_after_shortage),
		CASE_BARE(test_connect_deadline_with_signals),
		CASE(test_disconnect_at_every_moment),
	};
	alarm(60); /* a wait that nothing ends is a failure, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
