/* SPDX-License-Identifier: MIT */
/* Commands in a second, by 1, 4 and 16 processes at a time, on one reader and on four. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/bench.h"

enum {
	MAX_CLIENTS = 16,
	TIMES = 5, /* of which the median counts: where the scheduler puts a process makes a factor of two */
};

struct crowd {
	_Atomic int go; /* 1: count, 2: enough */
	long counts[MAX_CLIENTS];
};

static void client(struct stack *stack, size_t reader, struct crowd *crowd, int i, int ready) {
	long n = 0;
	char c = 'x';
	stack_load(stack);
	stack_open(stack);
	stack_connect(stack, reader % stack->n_readers, SCARD_SHARE_SHARED);
	if (write(ready, &c, 1) != 1)
		die("the measurement was given up", 0);
	while (atomic_load_explicit(&crowd->go, memory_order_relaxed) < 2) {
		want("SCardTransmit", stack_transmit(stack, 2));
		n += atomic_load_explicit(&crowd->go, memory_order_relaxed) == 1;
	}
	crowd->counts[i] = n;
	want("SCardReleaseContext", stack->release(stack->context));
	_exit(0);
}

static double crowd_once(struct plan *plan, struct stack *stack, int clients, size_t readers) {
	struct crowd *crowd = shared(sizeof(*crowd));
	pid_t pids[MAX_CLIENTS];
	int ready[2];
	char c;
	if (pipe(ready) < 0)
		die("pipe", 0);
	for (int i = 0; i < clients; i++) {
		pids[i] = spawn();
		if (pids[i] == 0)
			client(stack, (size_t)i % readers, crowd, i, ready[1]);
	}
	close(ready[1]);
	for (int i = 0; i < clients; i++)
		if (read(ready[0], &c, 1) != 1)
			die("a measuring process has failed", 0);
	close(ready[0]);
	crowd->go = 1;
	double start = now_us(), total = 0;
	usleep((useconds_t)(plan->seconds / TIMES * 1e6));
	crowd->go = 2;
	double took = now_us() - start;
	for (int i = 0; i < clients; i++) {
		reap(pids[i]);
		total += (double)crowd->counts[i];
	}
	munmap(crowd, sizeof(*crowd));
	return total / took * 1e6;
}

/* The stacks take turns. */
static void crowd_measure(struct plan *plan, int clients, size_t readers) {
	double rates[MAX_STACKS][TIMES];
	for (int i = 0; i < TIMES; i++)
		for (size_t k = 0; k < plan->n_stacks; k++)
			rates[k][i] = crowd_once(plan, &plan->stacks[k], clients, readers);
	for (size_t k = 0; k < plan->n_stacks; k++)
		printf("rate\t%s\t%d client%s, %zu reader%s\t%.0f\n", plan->stacks[k].name, clients,
			clients == 1 ? "" : "s", readers, readers == 1 ? "" : "s",
			quantile(rates[k], TIMES, 0.5));
	fflush(stdout);
}

static size_t readers_of(const struct stack *stack) {
	int pair[2];
	size_t n = 0;
	if (pipe(pair) < 0)
		die("pipe", 0);
	pid_t pid = spawn();
	if (pid == 0) {
		struct stack s = *stack;
		stack_load(&s);
		stack_open(&s);
		_exit(write(pair[1], &s.n_readers, sizeof(s.n_readers)) < 0);
	}
	close(pair[1]);
	if (read(pair[0], &n, sizeof(n)) != sizeof(n))
		die("a measuring process has failed", 0);
	close(pair[0]);
	reap(pid);
	return n;
}

void clients_measure(struct plan *plan) {
	static const int crowds[] = { 1, 4, 16 };
	size_t most = MAX_READERS;
	for (size_t k = 0; k < plan->n_stacks; k++) {
		size_t n = readers_of(&plan->stacks[k]);
		most = n < most ? n : most;
	}
	for (size_t readers = 1; readers <= 4 && readers <= most; readers += 3)
		for (size_t i = 0; i < sizeof(crowds) / sizeof(crowds[0]); i++)
			if (crowds[i] >= (int)readers)
				crowd_measure(plan, crowds[i], readers);
}
