/* SPDX-License-Identifier: MIT */
/*
 * Two processes on one reader. Hand-over: one holds a transaction, the other waits in SCardBeginTransaction; from the
 * call of SCardEndTransaction in the one to the return in the other. Insertion: one moves the card by SCardControl,
 * the other waits in SCardGetStatusChange; from the driver's word to the return in the other.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/instant.h"

enum {
	/* Round trips of the floor between "I am about to wait" and the end of the wait: about half a
	 * millisecond, in which the other process comes to wait, and nobody's caches become cold. So
	 * many more for each reader that may be waited for. */
	SETTLE_TRIPS = 50,
	SETTLE_TRIPS_EACH = 2,
	MAX_SETTLE = SETTLE_TRIPS + SETTLE_TRIPS_EACH * MAX_READERS,
};

struct couple {
	struct stack *stack;
	struct samples samples;
	double end;     /* enough then: a lock that is handed over by polling would last minutes */
	double started; /* when the one did what the other waits for */
	int to_one, to_other; /* pipes: write ends */
	int of_one, of_other; /* and read ends */
};

static void tell(int fd) {
	char c = 'x';
	if (write(fd, &c, 1) != 1)
		die("the measurement was given up", 0);
}

/* 0 when the other has ended. */
static int hear(int fd) {
	char c;
	return read(fd, &c, 1) == 1;
}

static void hear_surely(int fd) {
	if (!hear(fd))
		die("the measurement was given up", 0);
}

/* Takes the floor until the other surely waits; the median of that is sample `i`. */
static void settle(struct couple *c, struct echo *echo, int i) {
	double took[MAX_SETTLE];
	size_t trips = SETTLE_TRIPS + SETTLE_TRIPS_EACH * c->stack->n_readers;
	for (size_t n = 0; n < trips; n++) {
		double start = now_us();
		echo_ping(echo);
		took[n] = now_us() - start;
	}
	c->samples.floor[i] = quantile(took, trips, 0.5);
}

/* Is there to be a sample `i`? */
static int more(const struct couple *c, int i) {
	return i < c->samples.rounds && (i == 0 || now_us() < c->end);
}

/* ---- the transaction ---- */

static void holder(struct couple *c) {
	struct echo echo;
	int i;
	echo_start(&echo);
	stack_connect(c->stack, 0, SCARD_SHARE_SHARED);
	for (i = 0; more(c, i); i++) {
		want("SCardBeginTransaction", c->stack->begin(c->stack->card));
		tell(c->to_other);
		hear_surely(c->of_one);
		settle(c, &echo, i);
		c->started = now_us();
		want("SCardEndTransaction", c->stack->end(c->stack->card, SCARD_LEAVE_CARD));
		hear_surely(c->of_one);
	}
	c->samples.rounds = i;
	echo_stop(&echo);
}

static void waiter(struct couple *c) {
	stack_connect(c->stack, 0, SCARD_SHARE_SHARED);
	for (int i = 0; hear(c->of_other); i++) {
		tell(c->to_one);
		want("SCardBeginTransaction", c->stack->begin(c->stack->card));
		c->samples.took[i] = now_us() - c->started;
		want("SCardEndTransaction", c->stack->end(c->stack->card, SCARD_LEAVE_CARD));
		tell(c->to_one);
	}
}

/* ---- the card ---- */

/* When the driver did it, in microseconds. */
static double move(struct stack *stack, unsigned char present) {
	uint64_t ns = 0;
	DWORD len = 0;
	want("SCardControl(INSTANT_MOVE)",
		stack->control(stack->card, INSTANT_MOVE, &present, 1, &ns, sizeof(ns), &len));
	if (len != sizeof(ns))
		die("the driver cannot move a card", 0);
	return (double)ns / 1e3;
}

static void mover(struct couple *c) {
	struct echo echo;
	int i;
	echo_start(&echo);
	stack_connect(c->stack, 0, SCARD_SHARE_DIRECT);
	for (i = 0; more(c, i); i++) {
		(void)move(c->stack, 0);
		tell(c->to_other);
		hear_surely(c->of_one);
		settle(c, &echo, i);
		c->started = move(c->stack, 1);
		tell(c->to_other);
		hear_surely(c->of_one);
	}
	c->samples.rounds = i;
	echo_stop(&echo);
}

/* Waits until the card is in or not; other changes are looked at and forgotten. */
static void watch_until(struct stack *stack, SCARD_READERSTATE *states, size_t n, DWORD what) {
	do {
		for (size_t i = 0; i < n; i++)
			states[i].dwCurrentState =
				states[i].dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
		want("SCardGetStatusChange", stack->change(stack->context, INFINITE, states, n));
	} while (!(states[0].dwEventState & what));
}

static void watcher(struct couple *c, size_t n) {
	SCARD_READERSTATE *states = shared(n * sizeof(*states));
	for (size_t i = 0; i < n; i++)
		states[i].szReader = c->stack->readers[i];
	for (int i = 0; hear(c->of_other); i++) {
		watch_until(c->stack, states, n, SCARD_STATE_EMPTY);
		tell(c->to_one);
		watch_until(c->stack, states, n, SCARD_STATE_PRESENT);
		double now = now_us();
		hear_surely(c->of_other);
		c->samples.took[i] = now - c->started;
		tell(c->to_one);
	}
}

static void watcher_of_one(struct couple *c) {
	watcher(c, 1);
}

static void watcher_of_all(struct couple *c) {
	watcher(c, c->stack->n_readers);
}

/* ---- both ---- */

static void couple_measure(struct plan *plan, struct stack *stack, const char *name,
	void (*one)(struct couple *c), void (*other)(struct couple *c)) {
	struct couple *c = shared(sizeof(*c));
	int up[2], down[2];
	if (pipe(up) < 0 || pipe(down) < 0)
		die("pipe", 0);
	*c = (struct couple){ .stack = stack, .to_one = up[1], .of_one = up[0] };
	c->to_other = down[1];
	c->of_other = down[0];
	c->samples = samples_new(plan->rounds * 10, 1);
	c->end = now_us() + plan->seconds * 10e6;
	void (*const roles[])(struct couple *) = { one, other };
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = spawn();
		if (pids[i] == 0) {
			close(i ? up[0] : up[1]);
			close(i ? down[1] : down[0]);
			stack_load(stack);
			stack_open(stack);
			roles[i](c);
			want("SCardReleaseContext", stack->release(stack->context));
			_exit(0);
		}
	}
	close(up[0]);
	close(up[1]);
	close(down[0]);
	close(down[1]);
	reap(pids[0]);
	reap(pids[1]);
	samples_print(&c->samples, stack->name, name);
	fflush(stdout);
}

void handover_measure(struct plan *plan) {
	for (size_t k = 0; k < plan->n_stacks; k++)
		couple_measure(plan, &plan->stacks[k], "transaction, End to Begin", holder, waiter);
}

void insertion_measure(struct plan *plan) {
	for (size_t k = 0; k < plan->n_stacks; k++) {
		struct stack *s = &plan->stacks[k];
		couple_measure(plan, s, "insertion to event", mover, watcher_of_one);
		couple_measure(plan, s, "insertion to event, all watched", mover, watcher_of_all);
	}
}
