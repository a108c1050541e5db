/* SPDX-License-Identifier: MIT */
/*
 * Every call, beside the floor. In a round each stack does a batch of each call, and just before and behind it
 * round trips of the floor; so what slows the machine down meets both.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/reader.h"
#include "tests/bench/bench.h"

enum { CODE_GET_FEATURES = 0x42000D48 };

struct worker {
	struct stack *stack;
	struct echo echo;
	SCARD_READERSTATE state;
	SCARDCONTEXT other; /* for calls on a context of their own */
};

static LONG call_establish(struct worker *w) {
	SCARDCONTEXT context;
	LONG rv = w->stack->establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
	return rv == SCARD_S_SUCCESS ? w->stack->release(context) : rv;
}

static LONG call_is_valid(struct worker *w) {
	return w->stack->is_valid(w->stack->context);
}

static LONG call_list(struct worker *w) {
	static char names[65536];
	DWORD len = sizeof(names);
	return w->stack->list(w->stack->context, NULL, names, &len);
}

static LONG call_groups(struct worker *w) {
	char groups[64];
	DWORD len = sizeof(groups);
	return w->stack->groups(w->stack->context, groups, &len);
}

static LONG connect_in(struct worker *w, SCARDCONTEXT context) {
	SCARDHANDLE card;
	DWORD protocol;
	LONG rv = w->stack->connect(context, w->stack->readers[0], SCARD_SHARE_SHARED,
		SCARD_PROTOCOL_ANY, &card, &protocol);
	return rv == SCARD_S_SUCCESS ? w->stack->disconnect(card, SCARD_LEAVE_CARD) : rv;
}

/* On what the Disconnect before it gave back. */
static LONG call_connect(struct worker *w) {
	return connect_in(w, w->stack->context);
}

static LONG prepare_first(struct worker *w) {
	return w->stack->establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &w->other);
}

/* The first of a context, and the release that closes its connection. */
static LONG call_first(struct worker *w) {
	LONG rv = connect_in(w, w->other);
	LONG released = w->stack->release(w->other);
	return rv == SCARD_S_SUCCESS ? released : rv;
}

/* What a program does that wants one look at a card. */
static LONG call_whole(struct worker *w) {
	LONG rv = prepare_first(w);
	return rv == SCARD_S_SUCCESS ? call_first(w) : rv;
}

static LONG call_reconnect(struct worker *w) {
	DWORD protocol;
	return w->stack->reconnect(w->stack->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY,
		SCARD_LEAVE_CARD, &protocol);
}

static LONG call_status(struct worker *w) {
	char name[128];
	BYTE atr[MAX_ATR_SIZE];
	DWORD name_len = sizeof(name), atr_len = sizeof(atr), state, protocol;
	return w->stack->status(w->stack->card, name, &name_len, &state, &protocol, atr, &atr_len);
}

/* The state that is, so that the next calls find nothing new. */
static LONG prepare_change(struct worker *w) {
	w->state = (SCARD_READERSTATE){ .szReader = w->stack->readers[0] };
	LONG rv = w->stack->change(w->stack->context, 0, &w->state, 1);
	w->state.dwCurrentState = w->state.dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
	return rv;
}

static LONG call_change(struct worker *w) {
	LONG rv = w->stack->change(w->stack->context, 0, &w->state, 1);
	return rv == SCARD_E_TIMEOUT ? SCARD_S_SUCCESS : rv;
}

static LONG call_transaction(struct worker *w) {
	LONG rv = w->stack->begin(w->stack->card);
	return rv == SCARD_S_SUCCESS ? w->stack->end(w->stack->card, SCARD_LEAVE_CARD) : rv;
}

static LONG call_transmit(struct worker *w) {
	return stack_transmit(w->stack, 2);
}

static LONG call_transmit_large(struct worker *w) {
	return stack_transmit(w->stack, LARGE);
}

/* pcscd's instant driver has no features: that is an answer, too. */
static LONG call_control(struct worker *w) {
	BYTE answer[MAX_BUFFER_SIZE];
	DWORD len;
	LONG rv = w->stack->control(
		w->stack->card, CODE_GET_FEATURES, NULL, 0, answer, sizeof(answer), &len);
	return rv == SCARD_E_UNSUPPORTED_FEATURE || rv == SCARD_E_NOT_TRANSACTED ? SCARD_S_SUCCESS
										 : rv;
}

static LONG call_get_attrib(struct worker *w) {
	BYTE value[MAX_BUFFER_SIZE];
	DWORD len = sizeof(value);
	return w->stack->get_attrib(w->stack->card, SCARD_ATTR_ATR_STRING, value, &len);
}

static LONG call_cancel(struct worker *w) {
	return w->stack->cancel(w->other);
}

static LONG call_connection(struct worker *w) {
	echo_connection(&w->echo);
	return SCARD_S_SUCCESS;
}

static const struct call {
	const char *name;
	LONG (*run)(struct worker *w);
	LONG (*prepare)(struct worker *w); /* before each, not counted */
	void (*floor)(struct echo *echo);
} calls[] = {
	{ "Transmit 4 -> 2 bytes", call_transmit, NULL, echo_ping },
	{ "Transmit 4 -> 32768 bytes", call_transmit_large, NULL, echo_large },
	{ "Begin + EndTransaction", call_transaction, NULL, echo_ping },
	{ "Establish + ReleaseContext", call_establish, NULL, echo_ping },
	{ "IsValidContext", call_is_valid, NULL, echo_ping },
	{ "Cancel, nothing waits", call_cancel, NULL, echo_ping },
	{ "ListReaders", call_list, NULL, echo_ping },
	{ "ListReaderGroups", call_groups, NULL, echo_ping },
	{ "Connect + Disconnect", call_connect, NULL, echo_ping },
	{ "Connect + Disconnect, first", call_first, prepare_first, echo_ping },
	{ "Establish ... Release, one card", call_whole, NULL, echo_ping },
	{ "Reconnect, leave", call_reconnect, NULL, echo_ping },
	{ "Status", call_status, NULL, echo_ping },
	{ "GetStatusChange(0)", call_change, prepare_change, echo_ping },
	{ "Control, features", call_control, NULL, echo_ping },
	{ "GetAttrib, ATR", call_get_attrib, NULL, echo_ping },
	{ "bare connect, 2 trips, close", call_connection, NULL, echo_ping },
};

enum { N_CALLS = sizeof(calls) / sizeof(calls[0]) };

static void floor_batch(struct worker *w, const struct call *call, int n, double *floor) {
	for (int i = 0; i < n; i++) {
		double start = now_us();
		call->floor(&w->echo);
		floor[i] = now_us() - start;
	}
}

static void call_batch(struct worker *w, const struct call *call, int n, double *took) {
	for (int i = 0; i < n; i++) {
		if (call->prepare)
			want(call->name, call->prepare(w));
		double start = now_us();
		LONG rv = call->run(w);
		took[i] = now_us() - start;
		want(call->name, rv);
	}
}

/* Half of the floor before and half behind, each after as much that does not count: the scheduler remembers for a
 * while who has had the CPU, and a floor after calls that leave it to nobody else is 10-20 % higher. */
static void batch(struct worker *w, const struct call *call, int n, double *took, double *floor) {
	int half = n / 2;
	floor_batch(w, call, n - half, floor);
	floor_batch(w, call, n - half, floor);
	call_batch(w, call, n, took);
	floor_batch(w, call, half, floor + n - half);
	floor_batch(w, call, half, floor + n - half);
}

/* Cancel needs a context that nobody waits in; the first Connect brings its own. */
static void round_once(struct worker *w, struct samples *samples, int r) {
	for (size_t i = 0; i < N_CALLS; i++) {
		struct samples *s = &samples[i];
		size_t at = (size_t)r * (size_t)s->batch;
		if (calls[i].run == call_cancel)
			want("SCardEstablishContext", prepare_first(w));
		batch(w, &calls[i], s->batch, s->took + at, s->floor + at);
		if (calls[i].run == call_cancel)
			want("SCardReleaseContext", w->stack->release(w->other));
	}
}

/* Does a round for each byte that comes and answers it. The first round is not kept: the next overwrites it. */
static void work(struct worker *w, struct samples *samples, int rounds, int turn, int done) {
	char c;
	echo_start(&w->echo);
	stack_load(w->stack);
	stack_open(w->stack);
	stack_connect(w->stack, 0, SCARD_SHARE_SHARED);
	for (int r = -1; r < rounds; r++) {
		if (read(turn, &c, 1) != 1)
			die("the measurement was given up", 0);
		round_once(w, samples, r < 0 ? 0 : r);
		if (write(done, &c, 1) != 1)
			die("the measurement was given up", 0);
	}
	want("SCardDisconnect", w->stack->disconnect(w->stack->card, SCARD_LEAVE_CARD));
	want("SCardReleaseContext", w->stack->release(w->stack->context));
	echo_stop(&w->echo);
	_exit(0);
}

void calls_measure(struct plan *plan) {
	struct samples samples[MAX_STACKS][N_CALLS];
	int turn[MAX_STACKS][2], done[MAX_STACKS][2];
	pid_t pids[MAX_STACKS];
	char c = 'x';
	for (size_t k = 0; k < plan->n_stacks; k++) {
		for (size_t i = 0; i < N_CALLS; i++)
			samples[k][i] = samples_new(plan->rounds, plan->batch);
		if (pipe(turn[k]) < 0 || pipe(done[k]) < 0)
			die("pipe", 0);
		pids[k] = spawn();
		if (pids[k] == 0) {
			close(turn[k][1]);
			struct worker w = { .stack = &plan->stacks[k] };
			work(&w, samples[k], plan->rounds, turn[k][0], done[k][1]);
		}
		close(done[k][1]);
	}
	for (int r = -1; r < plan->rounds; r++)
		for (size_t k = 0; k < plan->n_stacks; k++)
			if (write(turn[k][1], &c, 1) != 1 || read(done[k][0], &c, 1) != 1)
				die("a measuring process has failed", 0);
	for (size_t k = 0; k < plan->n_stacks; k++) {
		reap(pids[k]);
		if (k == 0) {
			samples_print_floor(&samples[k][0], "round trip, 1 byte");
			samples_print_floor(&samples[k][1], "round trip, 32768 bytes");
		}
		for (size_t i = 0; i < N_CALLS; i++)
			if (calls[i].run != call_connection)
				samples_print(&samples[k][i], plan->stacks[k].name, calls[i].name);
			else if (k == 0)
				samples_print(&samples[k][i], "floor", calls[i].name);
	}
}
