/* SPDX-License-Identifier: MIT */
/*
 * client-threads LIBRARY HANDLER [SECONDS]: many threads in many contexts, on readers that are plugged and unplugged and
 * whose handlers are killed meanwhile. Each call has a set of codes that it may give then; all threads end;
 * no descriptor is left. Meant to run with a sanitizer, too: the library alone need be built with it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/winscard.h"

enum {
	N_READERS = 4,
	N_ALONE = 6,  /* threads with contexts of their own */
	N_SHARED = 6, /* threads on one context */
	N_WAITERS = 4,
	END_S = 60, /* all threads have ended by then */
	MAX_CODES = 12,
};

#define PNP "\\\\?PnP?\\Notification"

static struct {
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardReleaseContext) release;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardConnect) connect;
	__typeof__(&SCardReconnect) reconnect;
	__typeof__(&SCardDisconnect) disconnect;
	__typeof__(&SCardBeginTransaction) begin;
	__typeof__(&SCardEndTransaction) end;
	__typeof__(&SCardStatus) status;
	__typeof__(&SCardGetStatusChange) change;
	__typeof__(&SCardTransmit) transmit;
	__typeof__(&SCardCancel) cancel;
} pc;

/* What a call may give while readers come and go. */
struct kind {
	const char *name;
	LONG codes[MAX_CODES]; /* beside success; ended by 0 */
	atomic_ulong n;
	atomic_ulong n_success;
	atomic_long wrong;
};

/* Of a handle whose reader may be anything. */
#define ANY_TIME \
	SCARD_W_RESET_CARD, SCARD_E_READER_UNAVAILABLE, SCARD_E_INVALID_VALUE, SCARD_W_REMOVED_CARD

static struct kind list = { .name = "list", .codes = { SCARD_E_NO_READERS_AVAILABLE } };
static struct kind connect_ = { .name = "connect",
	.codes = {
		SCARD_E_UNKNOWN_READER, SCARD_E_READER_UNAVAILABLE, SCARD_E_SHARING_VIOLATION } };
static struct kind transmit = { .name = "transmit", .codes = { ANY_TIME, SCARD_E_NOT_TRANSACTED } };
static struct kind begin = { .name = "begin", .codes = { ANY_TIME } };
static struct kind end = { .name = "end", .codes = { ANY_TIME, SCARD_E_NOT_TRANSACTED } };
static struct kind status = { .name = "status", .codes = { ANY_TIME } };
static struct kind reconnect = { .name = "reconnect",
	.codes = { ANY_TIME, SCARD_E_SHARING_VIOLATION, SCARD_E_UNKNOWN_READER } };
static struct kind disconnect = { .name = "disconnect" };
static struct kind change = { .name = "change",
	.codes = { SCARD_E_TIMEOUT, SCARD_E_UNKNOWN_READER, SCARD_E_CANCELLED } };
static struct kind release_ = { .name = "release" };
static struct kind *const kinds[] = { &list, &connect_, &transmit, &begin, &end, &status,
	&reconnect, &disconnect, &change, &release_ };

/* Does this thread use a context that another one releases? */
static _Thread_local bool sharing;

static LONG did(struct kind *kind, LONG rv) {
	bool good = rv == SCARD_S_SUCCESS;
	kind->n++;
	kind->n_success += good;
	good |= sharing && rv == SCARD_E_INVALID_HANDLE;
	for (size_t i = 0; i < MAX_CODES && kind->codes[i]; i++)
		good |= rv == kind->codes[i];
	if (!good)
		kind->wrong = rv;
	return rv;
}

struct reader {
	char instance[16];
	char name[64];
	pid_t pid;
};

static struct reader readers[N_READERS];
static char directory[] = "/tmp/client-threads.XXXXXX";
static const char *handler;
static atomic_bool stop;
static atomic_long shared, released; /* the context that several threads use; the one before it */

static unsigned number(unsigned *seed, unsigned below) {
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % below;
}

static void sleep_ms(unsigned ms) {
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL);
}

static void reader_start(struct reader *r) {
	char socket[64];
	extern char **environ;
	snprintf(socket, sizeof(socket), "%s/%s.sock", directory, r->instance);
	char *argv[] = { (char *)(size_t)handler, (char[]){ "--socket" }, socket,
		(char[]){ "--driver" }, (char[]){ "virtual" }, (char[]){ "--card" },
		(char[]){ "builtin" }, NULL };
	posix_spawn_file_actions_t quiet;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", 1, 0);
	posix_spawn_file_actions_adddup2(&quiet, 1, 2);
	if (posix_spawn(&r->pid, handler, &quiet, NULL, argv, environ) != 0)
		r->pid = 0;
	posix_spawn_file_actions_destroy(&quiet);
}

static void reader_end(struct reader *r, int how) {
	if (r->pid <= 0)
		return;
	kill(r->pid, how);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
}

/* Plugs, unplugs, kills. */
static void *churn_run(void *arg) {
	unsigned seed = 7;
	while (!stop) {
		struct reader *r = &readers[number(&seed, N_READERS)];
		reader_end(r, number(&seed, 2) ? SIGKILL : SIGTERM);
		sleep_ms(number(&seed, 60));
		reader_start(r);
		sleep_ms(40 + number(&seed, 120));
	}
	return arg;
}

static void use_card(SCARDHANDLE card, unsigned *seed) {
	static const BYTE select_mf[] = { 0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00 };
	BYTE answer[300];
	DWORD active, n = sizeof(answer);
	SCARD_IO_REQUEST pci = { 0x1000, sizeof(pci) };
	bool locked = number(seed, 3) == 0 && did(&begin, pc.begin(card)) == SCARD_S_SUCCESS;
	if (did(&transmit,
		    pc.transmit(card, &pci, select_mf, sizeof(select_mf), NULL, answer, &n)) ==
		SCARD_W_RESET_CARD)
		did(&reconnect,
			pc.reconnect(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD,
				&active));
	did(&status, pc.status(card, NULL, NULL, NULL, NULL, NULL, NULL));
	if (locked)
		did(&end, pc.end(card, number(seed, 4) ? SCARD_LEAVE_CARD : SCARD_RESET_CARD));
}

static void use_context(SCARDCONTEXT context, unsigned *seed) {
	SCARDHANDLE card;
	DWORD active;
	char names[1024];
	DWORD n = sizeof(names);
	did(&list, pc.list(context, NULL, names, &n));
	if (did(&connect_,
		    pc.connect(context, readers[number(seed, N_READERS)].name, SCARD_SHARE_SHARED,
			    SCARD_PROTOCOL_ANY, &card, &active)) != SCARD_S_SUCCESS) {
		sleep_ms(2);
		return;
	}
	for (unsigned i = number(seed, 5); i; i--)
		use_card(card, seed);
	did(&disconnect, pc.disconnect(card, number(seed, 3)));
}

static void *alone_run(void *arg) {
	unsigned seed = (unsigned)(size_t)arg;
	while (!stop) {
		SCARDCONTEXT context;
		pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
		for (int i = 0; i < 5; i++)
			use_context(context, &seed);
		did(&release_, pc.release(context));
	}
	return NULL;
}

static void *shared_run(void *arg) {
	unsigned seed = (unsigned)(size_t)arg;
	sharing = true;
	while (!stop)
		use_context(shared, &seed);
	return NULL;
}

/* All readers and PnP, on the shared context or one that is released by another thread. */
static void *wait_run(void *arg) {
	unsigned seed = (unsigned)(size_t)arg;
	SCARD_READERSTATE states[N_READERS + 1] = { { .szReader = PNP } };
	for (size_t i = 0; i < N_READERS; i++)
		states[1 + i].szReader = readers[i].name;
	sharing = true;
	while (!stop) {
		DWORD n = 1 + number(&seed, N_READERS + 1);
		LONG rv = did(&change,
			pc.change(shared, number(&seed, 3) ? number(&seed, 100) : INFINITE, states,
				n > N_READERS + 1 ? 1 : n));
		for (size_t i = 0; i <= N_READERS; i++)
			states[i].dwCurrentState = rv == SCARD_S_SUCCESS ? states[i].dwEventState
									 : SCARD_STATE_UNAWARE;
		if (rv == SCARD_E_UNKNOWN_READER)
			sleep_ms(5);
	}
	return NULL;
}

/* Releases the shared context now and then, while others are inside, and makes another. */
static void *release_run(void *arg) {
	SCARDCONTEXT next;
	while (!stop) {
		sleep_ms(200);
		pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &next);
		released = atomic_exchange(&shared, next);
		did(&release_, pc.release(released));
	}
	return arg;
}

/* Ends the waits, also those that a release waits for. */
static void *cancel_run(void *arg) {
	atomic_bool *over = arg;
	while (!*over) {
		pc.cancel(shared);
		pc.cancel(released);
		sleep_ms(10);
	}
	return NULL;
}

static size_t count_descriptors(void) {
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void *find(void *library, const char *name) {
	void *p = dlsym(library, name);
	if (!p) {
		printf("Bail out! %s\n", dlerror());
		exit(1);
	}
	return p;
}

static void load(const char *path) {
	void *library = dlopen(path, RTLD_NOW);
	if (!library) {
		printf("Bail out! %s\n", dlerror());
		exit(1);
	}
	/* POSIX wants a function's address to fit in void *; ISO C does not know the conversion */
	*(void **)&pc.establish = find(library, "SCardEstablishContext");
	*(void **)&pc.release = find(library, "SCardReleaseContext");
	*(void **)&pc.list = find(library, "SCardListReaders");
	*(void **)&pc.connect = find(library, "SCardConnect");
	*(void **)&pc.reconnect = find(library, "SCardReconnect");
	*(void **)&pc.disconnect = find(library, "SCardDisconnect");
	*(void **)&pc.begin = find(library, "SCardBeginTransaction");
	*(void **)&pc.end = find(library, "SCardEndTransaction");
	*(void **)&pc.status = find(library, "SCardStatus");
	*(void **)&pc.change = find(library, "SCardGetStatusChange");
	*(void **)&pc.transmit = find(library, "SCardTransmit");
	*(void **)&pc.cancel = find(library, "SCardCancel");
}

static void clean(void) {
	char path[600];
	for (size_t i = 0; i < N_READERS; i++)
		reader_end(&readers[i], SIGTERM);
	DIR *dir = opendir(directory);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		snprintf(path, sizeof(path), "%s/%s", directory, e->d_name);
		unlink(path);
	}
	if (dir)
		closedir(dir);
	rmdir(directory);
}

/* A thread hangs. */
static void overdue(int number_of_signal) {
	static const char said[] = "not ok - all threads have ended\n";
	(void)number_of_signal;
	for (size_t i = 0; i < N_READERS; i++)
		if (readers[i].pid > 0)
			kill(readers[i].pid, SIGKILL);
	_exit(write(1, said, sizeof(said) - 1) > 0 ? 1 : 2);
}

static void start_all(pthread_t *threads) {
	static void *(*const runs[])(void *) = { alone_run, shared_run, wait_run };
	static const unsigned numbers[] = { N_ALONE, N_SHARED, N_WAITERS };
	for (size_t kind = 0; kind < 3; kind++)
		for (unsigned i = 0; i < numbers[kind]; i++)
			if (pthread_create(threads++, NULL, runs[kind],
				    (void *)(size_t)(100 * kind + i + 1)))
				abort();
	if (pthread_create(threads++, NULL, churn_run, NULL) ||
		pthread_create(threads++, NULL, release_run, NULL))
		abort();
}

int main(int argc, char **argv) {
	pthread_t threads[N_ALONE + N_SHARED + N_WAITERS + 2], canceller;
	atomic_bool over = false;
	SCARDCONTEXT first;
	int failed = 0, n_tests = 0;
	if (argc < 3 || !mkdtemp(directory)) {
		printf("Bail out! client-threads LIBRARY HANDLER [SECONDS]\n");
		return 1;
	}
	signal(SIGALRM, overdue);
	alarm((unsigned)END_S);
	handler = argv[2];
	setenv("IFDHANDLER_PATH", directory, 1);
	load(argv[1]);
	for (size_t i = 0; i < N_READERS; i++) {
		snprintf(readers[i].instance, sizeof(readers[i].instance), "r%zu", i);
		snprintf(readers[i].name, sizeof(readers[i].name), "Virtual PCD (r%zu) 00 00", i);
		reader_start(&readers[i]);
	}
	size_t n_descriptors = count_descriptors();
	pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &first);
	shared = first;
	start_all(threads);
	if (pthread_create(&canceller, NULL, cancel_run, &over))
		abort();
	sleep_ms(1000 * (argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 5));
	stop = true;
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		pthread_join(threads[i], NULL);
	over = true;
	pthread_join(canceller, NULL);
	printf("ok %d - all threads have ended\n", ++n_tests);
	pc.release(shared);
	bool clean_end = count_descriptors() == n_descriptors;
	failed += !clean_end;
	printf("%sok %d - no descriptor is left\n", clean_end ? "" : "not ", ++n_tests);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool good = kinds[i]->wrong == 0 && kinds[i]->n_success > 0;
		failed += !good;
		printf("%sok %d - %s: %lu times, %lu with success, no strange code: %#lx\n",
			good ? "" : "not ", ++n_tests, kinds[i]->name, (unsigned long)kinds[i]->n,
			(unsigned long)kinds[i]->n_success, (unsigned long)kinds[i]->wrong);
	}
	clean();
	printf("1..%d\n", n_tests);
	return failed ? 1 : 0;
}
