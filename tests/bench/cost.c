/* SPDX-License-Identifier: MIT */
/* What a client costs that does little: listing readers, memory, and waking up for nothing. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum { LATER = 100 }; /* calls of SCardListReaders after a process' first */

/* ---- listing ---- */

/* A process lists once, and then again and again. */
static void list_once(struct stack *s, double *first, double *later) {
	DWORD len = 0;
	stack_load(s);
	want("SCardEstablishContext", s->establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &s->context));
	for (int i = -1; i < LATER; i++) {
		double start = now_us();
		LONG rv = s->list(s->context, NULL, NULL, &len);
		*(i < 0 ? first : later + i) = now_us() - start;
		want("SCardListReaders", rv);
	}
	want("SCardReleaseContext", s->release(s->context));
	_exit(0);
}

static void list_print(const char *stack, const char *name, const double *values, size_t n) {
	printf("time\t%s\t%s\t%.3f\t%.3f\t\n", stack, name, quantile(values, n, 0.5),
		quantile(values, n, 0.99));
}

void list_measure(struct plan *plan) {
	size_t n = (size_t)plan->rounds;
	for (size_t k = 0; k < plan->n_stacks; k++) {
		double *first = shared(n * sizeof(*first));
		double *later = shared(n * LATER * sizeof(*later));
		for (size_t i = 0; i < n; i++) {
			pid_t pid = spawn();
			if (pid == 0)
				list_once(&plan->stacks[k], first + i, later + i * LATER);
			reap(pid);
		}
		list_print(plan->stacks[k].name, "ListReaders, first", first, n);
		list_print(plan->stacks[k].name, "ListReaders, later", later, n * LATER);
	}
}

/* ---- memory ---- */

/* Private dirty memory of this process in KiB. */
static long private_kib(void) {
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Dirty: %ld kB", &kib) != 1)
			kib = -1;
	if (kib < 0)
		die("/proc/self/smaps_rollup cannot be read", 0);
	fclose(f);
	return kib;
}

/* What a program's use of the library adds to it. */
static void memory_once(struct stack *s) {
	static SCARD_READERSTATE state;
	stack_load(s);
	(void)private_kib(); /* stdio's own buffers */
	long loaded = private_kib();
	stack_open(s);
	state.szReader = s->readers[0];
	long listed = private_kib();
	stack_connect(s, 0, SCARD_SHARE_SHARED);
	want("SCardTransmit", stack_transmit(s, 2));
	LONG rv = s->change(s->context, 0, &state, 1);
	if (rv != SCARD_E_TIMEOUT)
		want("SCardGetStatusChange", rv);
	long connected = private_kib();
	printf("kib\t%s\tclient: context and list\t%ld\n", s->name, listed - loaded);
	printf("kib\t%s\tclient: and a connected, watched card\t%ld\n", s->name,
		connected - loaded);
	want("SCardReleaseContext", s->release(s->context));
	fflush(stdout);
	_exit(0);
}

void memory_measure(struct plan *plan) {
	for (size_t k = 0; k < plan->n_stacks; k++) {
		pid_t pid = spawn();
		if (pid == 0)
			memory_once(&plan->stacks[k]);
		reap(pid);
	}
}

/* ---- at rest ---- */

/* Says "ready", and waits in SCardGetStatusChange with a card connected: nothing happens. */
static void idle_once(struct plan *plan, struct stack *s) {
	SCARD_READERSTATE state = { 0 };
	struct rusage before, after;
	stack_load(s);
	stack_open(s);
	stack_connect(s, 0, SCARD_SHARE_SHARED);
	state.szReader = s->readers[0];
	want("SCardGetStatusChange", s->change(s->context, 0, &state, 1));
	state.dwCurrentState = state.dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
	printf("ready\t%s\n", s->name);
	fflush(stdout);
	getrusage(RUSAGE_SELF, &before);
	double start = now_us();
	LONG rv = s->change(s->context, (DWORD)(plan->seconds * 1e3), &state, 1);
	double minutes = (now_us() - start) / 60e6;
	getrusage(RUSAGE_SELF, &after);
	if (rv != SCARD_E_TIMEOUT)
		die("SCardGetStatusChange, nothing moved", rv);
	/* The one at the end of the time is not counted. */
	printf("rate\t%s\tclient\t%.1f\n", s->name,
		(double)(after.ru_nvcsw - before.ru_nvcsw - 1) / minutes);
	want("SCardReleaseContext", s->release(s->context));
	fflush(stdout);
	_exit(0);
}

void idle_measure(struct plan *plan) {
	pid_t pids[MAX_STACKS];
	for (size_t k = 0; k < plan->n_stacks; k++) {
		pids[k] = spawn();
		if (pids[k] == 0)
			idle_once(plan, &plan->stacks[k]);
	}
	for (size_t k = 0; k < plan->n_stacks; k++)
		reap(pids[k]);
}
