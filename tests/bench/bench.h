/* SPDX-License-Identifier: MIT */
/*
 * What the measurements share: a library that is loaded by path, the floor, samples and their medians. Every
 * measurement prints lines of fields with tabs between them, which bench.py turns into tables:
 *
 *   time STACK NAME MEDIAN P99 RATIO       microseconds; RATIO is the median over all rounds of what a call took in a
 *                                          round divided by what the floor took just before and behind it
 *   rate STACK NAME PER_SECOND
 *   kib STACK NAME KIBIBYTES
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/winscard.h"

enum {
	MAX_STACKS = 4,
	MAX_READERS = 2048,
	LARGE = 32768, /* bytes of the long answer */
};

/* One libpcsclite.so.1 and what its process has open. */
struct stack {
	const char *name;
	const char *path;
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardReleaseContext) release;
	__typeof__(&SCardIsValidContext) is_valid;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardListReaderGroups) groups;
	__typeof__(&SCardConnect) connect;
	__typeof__(&SCardReconnect) reconnect;
	__typeof__(&SCardDisconnect) disconnect;
	__typeof__(&SCardBeginTransaction) begin;
	__typeof__(&SCardEndTransaction) end;
	__typeof__(&SCardTransmit) transmit;
	__typeof__(&SCardControl) control;
	__typeof__(&SCardGetAttrib) get_attrib;
	__typeof__(&SCardStatus) status;
	__typeof__(&SCardGetStatusChange) change;
	__typeof__(&SCardCancel) cancel;

	SCARDCONTEXT context;
	SCARDHANDLE card;
	DWORD protocol;
	char *names; /* all readers, a multi-string */
	const char *readers[MAX_READERS];
	size_t n_readers;
};

/* How a measurement is done. */
struct plan {
	struct stack stacks[MAX_STACKS];
	size_t n_stacks;
	int cpu; /* everything on this one, or -1 */
	int rounds;
	int batch;      /* calls of one kind in one round */
	double seconds; /* of a measurement by the clock */
};

_Noreturn void die(const char *what, LONG rv);
/* Dies unless the outcome is success. */
void want(const char *what, LONG rv);

/* stack.c: loads the library; opens a context and lists readers; connects to reader `i`. */
void stack_load(struct stack *stack);
void stack_open(struct stack *stack);
void stack_connect(struct stack *stack, size_t i, DWORD share);
/* One command of 4 bytes, whose answer is `answer` bytes long. */
LONG stack_transmit(struct stack *stack, size_t answer);

/* floor.c: a process that answers on a bare unix socket, and one that takes connections. */
struct echo {
	pid_t pid;
	pid_t server;
	int fd;
	char address[64];
};
void echo_start(struct echo *echo);
void echo_stop(struct echo *echo);
/* One byte there and one, or LARGE bytes, back. */
void echo_ping(struct echo *echo);
void echo_large(struct echo *echo);
/* A connection for two such round trips. */
void echo_connection(struct echo *echo);

/* samples.c */
double now_us(void);
void pin(int cpu);
/* Memory that child processes share with us, zeroed. */
void *shared(size_t size);
/* Forks: 0 in the child. The child dies with its parent. */
pid_t spawn(void);
/* Waits for a child, which must end well. */
void reap(pid_t pid);

/* `rounds` times `batch` samples of a measurement and of the floor beside it. */
struct samples {
	int rounds, batch;
	double *took, *floor;
};
struct samples samples_new(int rounds, int batch);
/* A median or another quantile. */
double quantile(const double *values, size_t n, double q);
void samples_print(const struct samples *s, const char *stack, const char *name);
void samples_print_floor(const struct samples *s, const char *name);

/* The measurements. */
void calls_measure(struct plan *plan);
void clients_measure(struct plan *plan);
void handover_measure(struct plan *plan);
void insertion_measure(struct plan *plan);
void list_measure(struct plan *plan);
void memory_measure(struct plan *plan);
void idle_measure(struct plan *plan);
