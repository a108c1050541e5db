/* SPDX-License-Identifier: MIT */
/* Descriptors that are not ours any more: closed behind the library's back, and their numbers given to others. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "client-fixture.h"
#include "client/descriptor.h"

enum {
	MAX_FD = 512,
	PRE = SCARD_STATE_PRESENT,
};

static const char greeting[] = "nobody else's";

/* A number that is in use is not used again, whoever has closed it. */
static void test_number(void **state) {
	(void)state;
	int first = descriptor_eventfd(), number = first;
	assert_true(first >= 0);
	close(number);
	int second = descriptor_eventfd();
	assert_true(second > number);
	assert_false(descriptor_is_ours(first));
	assert_true(descriptor_is_ours(second));
	assert_int_equal(fcntl(number, F_GETFD), -1);
	assert_int_equal(fcntl(second, F_GETFD), FD_CLOEXEC);
	descriptor_close(&first);
	int third = descriptor_eventfd();
	assert_int_equal(third, number);
	descriptor_close(&second);
	descriptor_close(&third);
	errno = EMFILE;
	assert_int_equal(descriptor_own(-1), -EMFILE);
}

static void test_mark(void **state) {
	(void)state;
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	int ours = descriptor_eventfd(), number = ours;
	assert_true(ours >= 0);
	assert_true(descriptor_is_ours(ours));
	assert_false(descriptor_is_ours(fds[0]));
	assert_int_equal(dup2(fds[0], number), number);
	assert_false(descriptor_is_ours(number));
	descriptor_close(&ours);
	assert_int_equal(ours, -1);
	assert_true(fcntl(number, F_GETFD) >= 0);
	close(number);
	assert_false(descriptor_is_ours(number));
	descriptor_close(&ours);
	close(fds[0]);
	close(fds[1]);
}

/* The library's descriptors in this process. */
static size_t find_ours(int *ret_fds) {
	size_t n = 0;
	for (int fd = 3; fd < MAX_FD; fd++)
		if (descriptor_is_ours(fd))
			ret_fds[n++] = fd;
	return n;
}

/* A card, a parked connection, a watch, an eventfd, an inotify descriptor. */
static void use_all(struct fixture *f) {
	SCARD_READERSTATE e = { .szReader = READER };
	SCARDHANDLE other;
	DWORD active;
	assert_int_equal(SCardGetStatusChange(f->context, 0, &e, 1), SCARD_S_SUCCESS);
	assert_int_equal(SCardConnect(f->context, READER, 2, 3, &other, &active), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(other, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
}

/* As a daemon does: closes all, and has files of its own afterwards. They must stay open. */
static int daemon_run(void) {
	SCARDCONTEXT context;
	close_range(3, ~0U, 0);
	for (int fd = 3; fd < 40; fd++)
		if (open("/dev/null", O_WRONLY) != fd)
			return 1;
	if (SCardEstablishContext(0, NULL, NULL, &context) != SCARD_S_SUCCESS)
		return 2;
	for (int fd = 3; fd < 40; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return 3;
	DWORD length = 0;
	if (SCardListReaders(context, NULL, NULL, &length) != SCARD_S_SUCCESS)
		return 4;
	return SCardReleaseContext(context) == SCARD_S_SUCCESS ? 0 : 5;
}

static void test_daemon(void **state) {
	int result = -1;
	use_all(*state);
	pid_t pid = fork();
	if (pid == 0)
		_exit(daemon_run());
	waitpid(pid, &result, 0);
	assert_int_equal(result, 0);
	assert_int_equal(transmit(*state), SCARD_S_SUCCESS);
}

/* A forked child closes what it has inherited at its first call: its parent's end is the end. */
static void test_child_closes(void **state) {
	int result = -1, fds[MAX_FD];
	use_all(*state);
	size_t n = find_ours(fds);
	assert_in_range(n, 5, 5);
	pid_t pid = fork();
	if (pid == 0) {
		bool well = find_ours(fds) == n;
		SCardIsValidContext(1);
		_exit(well && find_ours(fds) == 0 ? 0 : 1);
	}
	waitpid(pid, &result, 0);
	assert_int_equal(result, 0);
	assert_int_equal(find_ours(fds), n);
}

static off_t size_of(int fd) {
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

/* In the same process: the numbers are a file's now. It is neither written to, nor read, nor closed. */
static void test_file_in_place(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	int fds[MAX_FD];
	use_all(f);
	size_t n = find_ours(fds);
	int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(write(file, greeting, sizeof(greeting)), sizeof(greeting));
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(dup2(file, fds[i]), fds[i]);
	assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardGetStatusChange(f->context, 200, &e, 1), SCARD_E_TIMEOUT);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
	assert_int_equal(size_of(file), sizeof(greeting));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(close(fds[i]), 0);
	close(file);
}

/* The numbers are another socket's: its peer gets no byte of a command, and it loses none of its own. */
static void test_socket_in_place(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	int fds[MAX_FD], pair[2];
	char got[64];
	use_all(f);
	size_t n = find_ours(fds);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[1], greeting, sizeof(greeting)), sizeof(greeting));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(dup2(pair[0], fds[i]), fds[i]);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardGetStatusChange(f->context, 100, &e, 1), SCARD_E_TIMEOUT);
	assert_int_equal(SCardDisconnect(f->card, SCARD_RESET_CARD), SCARD_S_SUCCESS);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	assert_int_equal(read(pair[0], got, sizeof(got)), sizeof(greeting));
	assert_int_equal(recv(pair[1], got, sizeof(got), MSG_DONTWAIT), -1);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(close(fds[i]), 0);
	close(pair[0]);
	close(pair[1]);
}

struct wait {
	SCARDCONTEXT context;
	LONG rv;
	int64_t cpu_us;
};

static int64_t cpu_us(void) {
	struct rusage used;
	getrusage(RUSAGE_THREAD, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec +
		used.ru_stime.tv_usec;
}

static void *wait_run(void *arg) {
	struct wait *w = arg;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	w->rv = SCardGetStatusChange(w->context, 5000, &e, 1);
	w->cpu_us = cpu_us();
	return NULL;
}

/* Nothing but closed: whoever waits then can be cancelled, hears of a card, and does not spin. */
static void test_closed(void **state) {
	struct fixture *f = *state;
	for (int round = 0; round < 2; round++) {
		struct wait w = { .context = f->context };
		pthread_t thread;
		int fds[MAX_FD];
		use_all(f);
		for (size_t n = find_ours(fds); n; n--)
			close(fds[n - 1]);
		pthread_create(&thread, NULL, wait_run, &w);
		usleep(300000);
		if (round == 0)
			assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
		else
			fake_change(f->handler, PRESENCE_ABSENT, 0, 1);
		pthread_join(thread, NULL);
		assert_int_equal(w.rv, round == 0 ? SCARD_E_CANCELLED : SCARD_S_SUCCESS);
		assert_in_range(w.cpu_us, 0, 150000);
		assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
		assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	}
	fake_register("001-002", "Second 00 00", 2);
	DWORD length = 0;
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(length, sizeof(READER) + sizeof("Second 00 00") + 1);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_number),
		CASE(test_daemon),
		CASE(test_child_closes),
		CASE(test_file_in_place),
		CASE(test_socket_in_place),
		CASE(test_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
