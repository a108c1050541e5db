/* SPDX-License-Identifier: MIT */
/* Connections that are kept, tried again, lost, inherited by a child, or waited on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "client-fixture.h"

/* A connect on what the last disconnect gave back; one that has died meanwhile is replaced. */
static void test_parked(void **state) {
	struct fixture *f = *state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
		assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	}
	assert_int_equal(fake_connections(f->handler), 1);
	assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	fake_handler_stop(f->handler);
	start(f, NULL);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(fake_connections(f->handler), 1);
}

static unsigned count_descriptors(void) {
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A program that goes through many readers is not left with a descriptor for each: the last 16 are kept. */
static void test_parked_is_bounded(void **state) {
	struct fixture *f = *state;
	enum { N = 20, KEPT = 16 };
	struct fake_handler *handlers[N];
	char names[N][32], instance[16];
	for (unsigned i = 0; i < N; i++) {
		snprintf(instance, sizeof(instance), "002-%03u", i);
		snprintf(names[i], sizeof(names[i]), "Many %02u 00", i);
		handlers[i] = fake_handler_start(instance, NULL, NULL);
		fake_register(instance, names[i], i + 2);
	}
	unsigned before = count_descriptors();
	for (unsigned i = 0; i < 2 * N; i++) {
		assert_int_equal(
			SCardConnect(f->context, names[i % N], 2, 3, &f->card, &f->protocol),
			SCARD_S_SUCCESS);
		assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	}
	/* in turn none of 20 is among the last 16: each round is 20 connections, of which the handlers keep their ends */
	assert_in_range(count_descriptors(), before + 2 * N, before + 2 * N + KEPT + 1);
	for (unsigned i = N; i-- > N - KEPT;) {
		assert_int_equal(SCardConnect(f->context, names[i], 2, 3, &f->card, &f->protocol),
			SCARD_S_SUCCESS);
		assert_int_equal(fake_connections(handlers[i]), 2);
		assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	}
	SCardReleaseContext(f->context);
	for (unsigned i = 0; i < N; i++)
		fake_handler_stop(handlers[i]);
}

static void serve_fourth(struct fake_peer *peer) {
	struct frame frame;
	if (peer->nth == 0)
		return; /* killed */
	if (peer->nth == 1 && fake_read(peer, &frame)) {
		fake_bye(peer, STATUS_IDLE);
		return;
	}
	if (peer->nth == 2 && fake_read(peer, &frame)) { /* killed in the middle of it */
		fake_welcome(peer, frame.serial, NULL);
		fake_read(peer, &frame);
		return;
	}
	fake_serve_card(peer);
}

/* Whoever connects while handlers end is served all the same. */
static void test_connect_tries_again(void **state) {
	struct fixture *f = *state;
	start(f, serve_fourth);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(f->protocol, 1);
	assert_int_equal(fake_connections(f->handler), 4);
}

static void serve_nobody(struct fake_peer *peer) {
	struct frame frame;
	fake_read(peer, &frame);
}

static void test_connect_gives_up(void **state) {
	struct fixture *f = *state;
	start(f, serve_nobody);
	assert_int_equal(connect_shared(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(f->card, 0);
	assert_int_equal(fake_connections(f->handler), 5);
}

static uint16_t bye_status;

static void serve_bye(struct fake_peer *peer) {
	struct frame frame;
	if (fake_read(peer, &frame))
		fake_bye(peer, bye_status);
}

/* PCSC-75, and the other reasons of a handler that answers */
static void test_connect_refused(void **state) {
	static const struct {
		uint16_t bye;
		LONG rv;
	} cases[] = {
		{ STATUS_REFUSED, SCARD_W_SECURITY_VIOLATION },
		{ STATUS_LIMIT, SCARD_E_NO_MEMORY },
		{ STATUS_READER_GONE, SCARD_E_READER_UNAVAILABLE },
		{ STATUS_READER_DETACHED, SCARD_E_READER_UNAVAILABLE },
	};
	struct fixture *f = *state;
	start(f, serve_bye);
	for (unsigned i = 0; i < N_OF(cases); i++) {
		bye_status = cases[i].bye;
		assert_int_equal(connect_shared(f), cases[i].rv);
		assert_int_equal(fake_connections(f->handler), i + 1);
	}
}

/* PCSC-211, PCSC-210: the handler is killed; the context lives on, the handle says "was reset". */
static void test_handler_dies(void **state) {
	struct fixture *f = *state;
	fake_handler_stop(f->handler);
	f->handler = fake_handler_start("001-001", NULL, NULL);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_W_RESET_CARD);
	assert_int_equal(SCardEndTransaction(f->card, 0), SCARD_W_RESET_CARD);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(f->protocol, 1);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	fake_handler_stop(f->handler);
	f->handler = NULL;
	assert_int_equal(reconnect(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardDisconnect(f->card, SCARD_RESET_CARD), SCARD_S_SUCCESS);
}

/* Ends all connections, as a program does that closes descriptors which are not its own. */
static void end_connections(struct fixture *f) {
	pthread_mutex_lock(&f->handler->lock);
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++)
		if (f->handler->peers[i].used)
			shutdown(f->handler->peers[i].fd, SHUT_RDWR);
	pthread_mutex_unlock(&f->handler->lock);
}

/* A connection that is lost is no reset of the card: the program itself may have closed it. */
static void test_reset_over_another_connection(void **state) {
	struct fixture *f = *state;
	end_connections(f);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(fake_count(f->handler, MESSAGE_RECONNECT), 0);
	for (DWORD how = SCARD_RESET_CARD; how <= SCARD_UNPOWER_CARD; how++) {
		end_connections(f);
		assert_int_equal(SCardReconnect(f->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY,
					 how, &f->protocol),
			SCARD_S_SUCCESS);
		assert_int_equal(f->protocol, 1);
		assert_int_equal(fake_count(f->handler, MESSAGE_RECONNECT), how);
	}
	for (DWORD how = SCARD_LEAVE_CARD; how <= SCARD_EJECT_CARD; how++) {
		unsigned n = fake_count(f->handler, MESSAGE_DISCONNECT);
		bool acts = how == SCARD_RESET_CARD || how == SCARD_UNPOWER_CARD;
		end_connections(f);
		assert_int_equal(SCardDisconnect(f->card, how), SCARD_S_SUCCESS);
		assert_int_equal(fake_count(f->handler, MESSAGE_DISCONNECT), n + acts);
		assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	}
}

static void serve_until_transmit(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_TRANSMIT || frame.type == MESSAGE_BEGIN)
			return;
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
}

/* PCSC-208: the command may have been done, or not. */
static void test_handler_dies_in_flight(void **state) {
	struct fixture *f = *state;
	start(f, serve_until_transmit);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_E_NOT_TRANSACTED);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_W_RESET_CARD);
}

static void everybody_bye(struct fake_handler *handler, uint16_t status) {
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++)
		if (handler->peers[i].pushed)
			fake_bye(&handler->peers[i], status);
}

/* PCSC-92, PCSC-103, PCSC-146: unplugged, and back */
static void test_reader_gone(void **state) {
	struct fixture *f = *state;
	everybody_bye(f->handler, STATUS_READER_GONE);
	fake_handler_stop(f->handler);
	fake_unregister("001-001");
	f->handler = NULL;
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(status(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardEndTransaction(f->card, 0), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardControl(f->card, 1, NULL, 0, NULL, 0, NULL), SCARD_E_INVALID_VALUE);
	assert_int_equal(reconnect(f), SCARD_E_INVALID_VALUE);
	f->handler = fake_handler_start("001-001", NULL, NULL);
	fake_register("001-001", READER, 2);
	assert_int_equal(status(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardDisconnect(f->card, SCARD_UNPOWER_CARD), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_E_INVALID_HANDLE);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
}

/* The same without a last word of the handler: the description tells. */
static void test_reader_gone_silently(void **state) {
	struct fixture *f = *state;
	fake_handler_stop(f->handler);
	f->handler = NULL;
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	fake_unregister("001-001");
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(status(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_S_SUCCESS);
}

static int in_child(struct fixture *f) {
	DWORD length = 0;
	SCARDCONTEXT own;
	if (SCardListReaders(f->context, NULL, NULL, &length) != SCARD_E_INVALID_HANDLE)
		return 1;
	if (transmit(f) != SCARD_E_INVALID_HANDLE ||
		SCardDisconnect(f->card, 0) != SCARD_E_INVALID_HANDLE)
		return 2;
	if (SCardEstablishContext(0, NULL, NULL, &own) != SCARD_S_SUCCESS)
		return 3;
	f->context = own;
	if (connect_shared(f) != SCARD_S_SUCCESS || transmit(f) != SCARD_S_SUCCESS)
		return 4;
	return SCardReleaseContext(own) == SCARD_S_SUCCESS ? 0 : 5;
}

/* PCSC-21, PCSC-22 */
static void test_fork(void **state) {
	struct fixture *f = *state;
	int result;
	pid_t pid = fork();
	if (pid == 0)
		_exit(in_child(f));
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardIsValidContext(f->context), SCARD_S_SUCCESS);
}

/* From now on the sandbox of this process refuses F_SETSIG. */
static int forbid_setsig(void) {
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETSIG, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = N_OF(filter), .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int in_sandbox(struct fixture *f) {
	SCARD_READERSTATE e = { .szReader = READER };
	if (forbid_setsig() < 0)
		return 0; /* there is no such sandbox here */
	if (fcntl(0, F_SETSIG, 0) == 0)
		return 10;
	int r = in_child(f);
	if (r)
		return r;
	if (SCardEstablishContext(0, NULL, NULL, &f->context) != SCARD_S_SUCCESS)
		return 11;
	if (SCardGetStatusChange(f->context, 2000, &e, 1) != SCARD_S_SUCCESS ||
		!(e.dwEventState & SCARD_STATE_PRESENT))
		return 12;
	SCardReleaseContext(f->context);
	return 0;
}

/* Descriptors cannot be marked as the library's: it does without. */
static void test_sandbox(void **state) {
	struct fixture *f = *state;
	int result;
	pid_t pid = fork();
	if (pid == 0)
		_exit(in_sandbox(f));
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
}

static void *fork_storm_run(void *arg) {
	struct fixture *f = arg;
	for (int i = 0; i < 2000; i++)
		if (transmit(f) != SCARD_S_SUCCESS)
			return f;
	return NULL;
}

/* The same while another thread is inside all the time. */
static void test_fork_in_the_middle(void **state) {
	struct fixture *f = *state;
	pthread_t thread;
	void *failed;
	int result;
	pthread_create(&thread, NULL, fork_storm_run, f);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			SCARDCONTEXT own;
			alarm(5);
			if (transmit(f) != SCARD_E_INVALID_HANDLE)
				_exit(1);
			_exit(SCardEstablishContext(0, NULL, NULL, &own) != SCARD_S_SUCCESS);
		}
		waitpid(pid, &result, 0);
		assert_int_equal(result, 0);
	}
	pthread_join(thread, &failed);
	assert_null(failed);
}

static pthread_mutex_t lock_of_card = PTHREAD_MUTEX_INITIALIZER;

/* BEGIN takes a real lock, given back when the connection ends. */
static void serve_transactions(struct fake_peer *peer) {
	struct frame frame;
	bool owner = false;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		if (frame.type == MESSAGE_BEGIN)
			owner = pthread_mutex_lock(&lock_of_card) == 0;
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
	if (owner)
		pthread_mutex_unlock(&lock_of_card);
}

struct beginner {
	pthread_t thread;
	SCARDHANDLE card;
	LONG rv;
};

static void *begin_run(void *arg) {
	struct beginner *b = arg;
	b->rv = SCardBeginTransaction(b->card);
	return NULL;
}

/* PCSC-118: one handle of a context waits for another one of the same context, and nobody stands
 * still: other calls go on, and a release ends both. */
static void test_wait_within_context(void **state) {
	struct fixture *f = *state;
	struct beginner b;
	DWORD length = 0, active;
	start(f, serve_transactions);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_S_SUCCESS);
	assert_int_equal(SCardConnect(f->context, READER, 2, 3, &b.card, &active), SCARD_S_SUCCESS);
	pthread_create(&b.thread, NULL, begin_run, &b);
	usleep(100000);
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	pthread_join(b.thread, NULL);
	assert_int_equal(b.rv, SCARD_S_SUCCESS);
}

static sem_t hang_over;

/* Greets and connects the first two, then hangs: the first one's requests are read, the other's not even that. */
static void serve_then_hang(struct fake_peer *peer) {
	struct frame frame;
	for (int i = 0; i < 2 && peer->nth < 2 && fake_read(peer, &frame); i++) {
		if (frame.type == MESSAGE_HELLO)
			fake_welcome(peer, frame.serial, NULL);
		else
			fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
	if (peer->nth == 1)
		sem_wait(&hang_over);
	while (fake_read(peer, &frame))
		;
}

/* A call on a handle, and how long it took. */
struct timed_call {
	pthread_t thread;
	struct fixture fixture;
	LONG (*function)(struct fixture *f);
	LONG rv;
	int64_t ms;
};

static void *timed_call_run(void *arg) {
	struct timed_call *c = arg;
	int64_t start_ms = clock_ms();
	c->rv = c->function(&c->fixture);
	c->ms = clock_ms() - start_ms;
	return NULL;
}

/* Less than a long command fits in the library's sockets. */
static void narrow_sockets(void) {
	struct sockaddr_un address;
	int room = 4096;
	for (int fd = 3; fd < 200; fd++) {
		socklen_t len = sizeof(address);
		if (getpeername(fd, (struct sockaddr *)&address, &len) == 0 &&
			len > sizeof(sa_family_t))
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	}
}

static LONG transmit_more_than_fits(struct fixture *f) {
	static const BYTE command[65548];
	BYTE answer[300];
	DWORD length = sizeof(answer);
	return SCardTransmit(
		f->card, SCARD_PCI_T0, command, sizeof(command), NULL, answer, &length);
}

/* A handler that hangs is waited for once, not a second time by a new connection; and also where it does not even read. */
static void test_hanging_handler(void **state) {
	struct fixture *f = *state;
	struct timed_call calls[2] = { { .function = reconnect },
		{ .function = transmit_more_than_fits } };
	sem_init(&hang_over, 0, 0);
	start(f, serve_then_hang);
	for (size_t i = 0; i < N_OF(calls); i++) {
		assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
		calls[i].fixture = *f;
	}
	narrow_sockets();
	for (size_t i = 0; i < N_OF(calls); i++)
		pthread_create(&calls[i].thread, NULL, timed_call_run, &calls[i]);
	for (size_t i = 0; i < N_OF(calls); i++) {
		pthread_join(calls[i].thread, NULL);
		assert_int_equal(calls[i].rv, SCARD_E_READER_UNAVAILABLE);
		assert_in_range(calls[i].ms, 15000, 17000);
		assert_int_equal(transmit(&calls[i].fixture), SCARD_W_RESET_CARD);
	}
	sem_post(&hang_over);
}

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_parked),
		CASE_BARE(test_parked_is_bounded),
		CASE_BARE(test_connect_tries_again),
		CASE_BARE(test_connect_gives_up),
		CASE_BARE(test_connect_refused),
		CASE(test_handler_dies),
		CASE(test_reset_over_another_connection),
		CASE_BARE(test_handler_dies_in_flight),
		CASE(test_reader_gone),
		CASE(test_reader_gone_silently),
		CASE(test_fork),
		CASE(test_sandbox),
		CASE(test_fork_in_the_middle),
		CASE_BARE(test_wait_within_context),
		CASE_BARE(test_hanging_handler),
	};
	alarm(120); /* a call that nothing ends is a failure, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
