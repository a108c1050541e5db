/* SPDX-License-Identifier: MIT */
/* SCardGetStatusChange and SCardCancel against a scripted handler: what ends a wait, and what does not. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/winscard.h"
#include "fake-handler.h"
#include "test.h"

#define READER "Fake Reader 00 00"
#define PNP    "\\\\?PnP?\\Notification"

/* Short names. */
enum {
	CH = SCARD_STATE_CHANGED,
	UNK = SCARD_STATE_UNKNOWN,
	UNA = SCARD_STATE_UNAVAILABLE,
	EMP = SCARD_STATE_EMPTY,
	PRE = SCARD_STATE_PRESENT,
	EXC = SCARD_STATE_EXCLUSIVE,
	INU = SCARD_STATE_INUSE,
	MUT = SCARD_STATE_MUTE,
};

#define COUNT(n) ((DWORD)(n) << 16)

struct fixture {
	struct fake_handler *handler;
	SCARDCONTEXT context;
};

static int setup_bare(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	fake_directory_make();
	assert_int_equal(SCardEstablishContext(0, NULL, NULL, &f->context), SCARD_S_SUCCESS);
	*state = f;
	return 0;
}

static int setup(void **state) {
	setup_bare(state);
	struct fixture *f = *state;
	f->handler = fake_handler_start("001-001", NULL, NULL);
	fake_register("001-001", READER, 1);
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	if (f->handler)
		fake_handler_stop(f->handler);
	fake_directory_remove();
	free(f);
	return 0;
}

/* One entry, waited for. */
static LONG wait_for(struct fixture *f, SCARD_READERSTATE *entry, DWORD timeout) {
	return SCardGetStatusChange(f->context, timeout, entry, 1);
}

/* Something done by another thread after a while. */
struct later {
	pthread_t thread;
	useconds_t delay_us;
	void (*action)(struct fixture *f);
	struct fixture *fixture;
};

static void *later_run(void *arg) {
	struct later *l = arg;
	usleep(l->delay_us);
	l->action(l->fixture);
	return NULL;
}

static void later_start(
	struct later *l, struct fixture *f, unsigned ms, void (*action)(struct fixture *)) {
	*l = (struct later){ .delay_us = ms * 1000, .action = action, .fixture = f };
	assert_int_equal(pthread_create(&l->thread, NULL, later_run, l), 0);
}

static void later_join(struct later *l) {
	pthread_join(l->thread, NULL);
}

/* PCSC-163 to PCSC-168: nothing but the parameters is looked at first. */
static void test_checks(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e[2] = {
		{ .szReader = READER, .dwCurrentState = SCARD_STATE_IGNORE, .dwEventState = 77 },
		{ .szReader = "Nobody", .dwCurrentState = SCARD_STATE_IGNORE },
	};
	assert_int_equal(SCardGetStatusChange(0, 0, NULL, 0), SCARD_S_SUCCESS);
	assert_int_equal(SCardGetStatusChange(f->context, 0, NULL, 1), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardGetStatusChange(0, 10000, e, 2), SCARD_S_SUCCESS);
	assert_int_equal(e[0].dwEventState, 77);
	e[0].dwCurrentState = 0;
	assert_int_equal(SCardGetStatusChange(0, 0, e, 1), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardGetStatusChange(f->context, 10000, e, 2), SCARD_E_UNKNOWN_READER);
	assert_int_equal(e[0].dwEventState, 77);
	e[1].szReader = NULL;
	assert_int_equal(SCardGetStatusChange(f->context, 0, e, 2), SCARD_E_INVALID_VALUE);
}

/* PCSC-169, PCSC-170, PCSC-171 */
static void test_look_and_timeout(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
	assert_int_equal(e.cbAtr, 4);
	assert_memory_equal(e.rgbAtr, "\x3b\x02\x14\x50", 4);
	e.dwCurrentState = e.dwEventState;
	assert_int_equal(wait_for(f, &e, 0), SCARD_E_TIMEOUT);
	assert_int_equal(e.dwEventState, PRE);
	assert_int_equal(e.cbAtr, 4);
	int64_t start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, 300), SCARD_E_TIMEOUT);
	assert_in_range(clock_ms() - start_ms, 300, 1000);
	/* one watch, and nothing asked after it */
	assert_int_equal(fake_count(f->handler, MESSAGE_WATCH), 1);
	assert_int_equal(fake_connections(f->handler), 1);
}

static void pull_card(struct fixture *f) {
	fake_change(f->handler, PRESENCE_ABSENT, 0, 1);
}

/* PCSC-173, and the ATR length goes with the card */
static void test_removal(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE, .cbAtr = 4 };
	struct later l;
	later_start(&l, f, 100, pull_card);
	assert_int_equal(wait_for(f, &e, 5000), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, EMP | CH | COUNT(1));
	assert_int_equal(e.cbAtr, 0);
	later_join(&l);
}

/* A watcher that came late finds what was pushed meanwhile, without asking. */
static void test_pushed_while_away(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	e.dwCurrentState = PRE | COUNT(0);
	for (uint16_t i = 1; i <= 50; i++)
		fake_change(f->handler, i & 1 ? PRESENCE_ABSENT : PRESENCE_PRESENT, 0, i);
	assert_int_equal(wait_for(f, &e, 0), SCARD_E_TIMEOUT);
	assert_int_equal(e.dwEventState, PRE | COUNT(50));
	e.dwCurrentState = PRE | COUNT(1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(fake_count(f->handler, MESSAGE_WATCH), 1);
}

/* The state and the answer in one piece, as a handler sends them: whoever knows the one knows the other. */
static void answer_watch(struct fake_peer *peer, uint16_t serial, uint16_t status) {
	uint8_t room[256];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_reply reply = { .status = status, .value = 1 };
	pthread_mutex_lock(&peer->handler->lock);
	message_state_encode(&w, 0, &peer->handler->state);
	message_reply_encode(&w, serial, &reply);
	send(peer->fd, room, bytes_written(&w), MSG_NOSIGNAL);
	peer->pushed = true;
	pthread_mutex_unlock(&peer->handler->lock);
}

/* Keeps the newest state back until it is asked anything, as a handler does when too much is unread. */
static void serve_late(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		bool asked = frame.type == MESSAGE_INSPECT;
		if (asked)
			peer->handler->state.counter = 9;
		answer_watch(peer, frame.serial, asked ? STATUS_REFUSED : STATUS_OK);
	}
}

/* Whoever has not looked for long is not told old news; whoever looks often asks nobody. */
static void test_look_after_a_heap(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_late, NULL);
	fake_register("001-001", READER, 1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	for (uint16_t i = 0; i < 100; i++) {
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, i);
		assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, PRE | CH | COUNT(i));
	}
	assert_int_equal(fake_count(f->handler, MESSAGE_INSPECT), 0);
	for (uint16_t i = 0; i < 50; i++)
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, 5);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, PRE | CH | COUNT(9));
	}
	assert_int_equal(fake_count(f->handler, MESSAGE_INSPECT), 1);
	assert_int_equal(fake_connections(f->handler), 1);
}

/* Dies over the question; the next one answers everything. */
static void serve_until_asked(struct fake_peer *peer) {
	struct frame frame;
	if (peer->nth) {
		fake_serve_card(peer);
		return;
	}
	while (fake_read(peer, &frame) && frame.type != MESSAGE_INSPECT) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		answer_watch(peer, frame.serial, STATUS_OK);
	}
}

static void test_death_behind_a_heap(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_until_asked, NULL);
	fake_register("001-001", READER, 1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	for (uint16_t i = 0; i < 50; i++)
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, i);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH | COUNT(49));
	assert_int_equal(fake_connections(f->handler), 2);
}

static void unplug(struct fixture *f) {
	(void)f;
	fake_unregister("001-001");
}

/* PCSC-188, then PCSC-167, then PCSC-189 */
static void test_reader_vanishes(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	struct later l;
	later_start(&l, f, 100, unplug);
	assert_int_equal(wait_for(f, &e, 5000), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNK | UNA | CH);
	later_join(&l);
	e.dwCurrentState = e.dwEventState;
	assert_int_equal(wait_for(f, &e, 0), SCARD_E_UNKNOWN_READER);
	fake_register("001-001", READER, 2);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
}

static void replug(struct fixture *f) {
	(void)f;
	fake_register("001-001", READER, 5);
}

/* A replug between two looks is not slept through: the reader of this call has gone. */
static void test_replug_during_wait(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	struct later l;
	later_start(&l, f, 100, replug);
	assert_int_equal(wait_for(f, &e, 5000), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNK | UNA | CH);
	later_join(&l);
	e.dwCurrentState = e.dwEventState;
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
}

static void kill_and_restart(struct fixture *f) {
	fake_handler_stop(f->handler);
	f->handler = NULL;
	f->handler = fake_handler_start("001-001", NULL, NULL);
	fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, 40);
}

/* PCSC-209: no hang; the next handler's counter tells. The socket file may be refused for a moment in
 * between; the directory's change (the new socket) brings the watch back then. */
static void test_handler_dies(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE | COUNT(7) };
	struct later l;
	fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, 7);
	later_start(&l, f, 100, kill_and_restart);
	LONG rv = wait_for(f, &e, 20000);
	later_join(&l);
	assert_int_equal(rv, SCARD_S_SUCCESS);
	for (int i = 0; i < 10 && e.dwEventState != (PRE | CH | COUNT(40)); i++) {
		e.dwCurrentState = e.dwEventState;
		wait_for(f, &e, 1000);
	}
	assert_int_equal(e.dwEventState & PRE, PRE);
	assert_int_equal(e.dwEventState >> 16, 40);
}

/* Ends the first two connections as a handler does that exits in that moment. */
static void serve_after_two(struct fake_peer *peer) {
	struct frame frame;
	if (peer->nth == 0)
		return;
	if (peer->nth == 1 && fake_read(peer, &frame)) {
		fake_bye(peer, STATUS_IDLE);
		return;
	}
	fake_serve_card(peer);
}

static void test_watch_tries_again(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_after_two, NULL);
	fake_register("001-001", READER, 1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
	assert_int_equal(fake_connections(f->handler), 3);
}

static void serve_refusal(struct fake_peer *peer) {
	struct frame frame;
	if (fake_read(peer, &frame))
		fake_bye(peer, STATUS_REFUSED);
}

/* A refused user sees the reader, and that it cannot be used; nobody is hammered. */
static void test_refused(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_refusal, NULL);
	fake_register("001-001", READER, 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNA | CH);
	e.dwCurrentState = UNA;
	assert_int_equal(wait_for(f, &e, 100), SCARD_E_TIMEOUT);
	assert_in_range(fake_connections(f->handler), 1, 2);
}

static void end_all(struct fake_handler *handler) {
	pthread_mutex_lock(&handler->lock);
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++)
		if (handler->peers[i].used)
			shutdown(handler->peers[i].fd, SHUT_RDWR);
	pthread_mutex_unlock(&handler->lock);
}

static atomic_int n_ends;

/* Ends the first connections, `arg` says how, as a handler that crashes or refuses; then all is well. */
static void serve_later(struct fake_peer *peer) {
	struct frame frame;
	const uint16_t *bye = peer->handler->arg;
	if (n_ends-- <= 0) {
		fake_serve_card(peer);
	} else if (fake_read(peer, &frame) && *bye) {
		fake_bye(peer, *bye);
	}
}

/* Nothing tells that the handler is well again: a wait finds it out all the same, in this call or the next. */
static void test_down_for_a_while(void **state) {
	static const struct {
		uint16_t bye;
		int n_ends;
	} cases[] = { { STATUS_OK, 5 }, { STATUS_REFUSED, 1 }, { STATUS_FAILED, 1 } };
	struct fixture *f = *state;
	for (size_t i = 0; i < N_OF(cases); i++) {
		SCARD_READERSTATE e = { .szReader = READER };
		n_ends = cases[i].n_ends;
		f->handler = fake_handler_start("001-001", serve_later, (void *)&cases[i].bye);
		fake_register("001-001", READER, (unsigned)i + 1);
		assert_int_equal(wait_for(f, &e, INFINITE), SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, UNA | CH);
		e.dwCurrentState = e.dwEventState;
		int64_t start_ms = clock_ms();
		assert_int_equal(wait_for(f, &e, 5000), SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, PRE | CH);
		assert_in_range(clock_ms() - start_ms, 500, 2000);
		/* and down again */
		n_ends = cases[i].n_ends;
		end_all(f->handler);
		e.dwCurrentState = UNA;
		assert_int_equal(wait_for(f, &e, 5000), SCARD_S_SUCCESS);
		assert_int_equal(e.dwEventState, PRE | CH);
		fake_handler_stop(f->handler);
		f->handler = NULL;
		fake_unregister("001-001");
	}
}

/* It stays so: one more try for each call, and no more. */
static void test_down_for_good(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	uint16_t bye = STATUS_REFUSED;
	n_ends = 1000;
	f->handler = fake_handler_start("001-001", serve_later, &bye);
	fake_register("001-001", READER, 1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	e.dwCurrentState = e.dwEventState;
	assert_int_equal(wait_for(f, &e, 3500), SCARD_E_TIMEOUT);
	assert_int_equal(fake_connections(f->handler), 2);
	assert_int_equal(wait_for(f, &e, 3500), SCARD_E_TIMEOUT);
	assert_in_range(fake_connections(f->handler), 3, 4);
}

/* Nobody listens at the socket any more. */
static void test_stale_socket(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	fake_handler_stop(fake_handler_start("001-001", NULL, NULL));
	fake_register("001-001", READER, 1);
	int64_t start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNA | CH);
	assert_true(clock_ms() - start_ms < 1000);
}

/* Is told what it is while the card is still powering up, then the card. */
static void serve_slow(struct fake_peer *peer) {
	struct frame frame;
	struct fake_handler *handler = peer->handler;
	fake_read(peer, &frame);
	fake_welcome(peer, frame.serial, NULL);
	fake_read(peer, &frame);
	handler->state.presence = PRESENCE_UNKNOWN;
	handler->state.status = STATUS_STARTING;
	fake_state(peer);
	usleep(300000);
	handler->state.presence = PRESENCE_PRESENT;
	handler->state.status = STATUS_OK;
	fake_state(peer);
	fake_reply(peer, frame.serial, STATUS_OK, 1);
	fake_read(peer, &frame);
}

/* A cold start does not look like an empty reader, with timeout 0 neither. */
static void test_cold_start(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER };
	f->handler = fake_handler_start("001-001", serve_slow, NULL);
	fake_register("001-001", READER, 1);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, PRE | CH);
	assert_int_equal(e.cbAtr, 4);
}

static void serve_silence(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame))
		;
}

/* PCSC-212: a handler that hangs costs the first look its bound, and no other reader anything. */
static void test_hanging_handler(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER }, other = { .szReader = "Other 01 00" };
	f->handler = fake_handler_start("001-001", serve_silence, NULL);
	fake_register("001-001", READER, 1);
	struct fake_handler *second = fake_handler_start("001-002", NULL, NULL);
	fake_register("001-002", "Other 01 00", 2);
	int64_t start_ms = clock_ms();
	assert_int_equal(wait_for(f, &other, 0), SCARD_S_SUCCESS);
	assert_true(clock_ms() - start_ms < 1000);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, UNA | CH);
	assert_in_range(clock_ms() - start_ms, 3000, 7000);
	start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_true(clock_ms() - start_ms < 1000);
	fake_handler_stop(second);
}

static void cancel(struct fixture *f) {
	assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
}

/* PCSC-200, PCSC-201 */
static void test_cancel(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	struct later l;
	cancel(f);
	int64_t start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, 200), SCARD_E_TIMEOUT);
	assert_true(clock_ms() - start_ms >= 200);
	later_start(&l, f, 100, cancel);
	start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, INFINITE), SCARD_E_CANCELLED);
	assert_in_range(clock_ms() - start_ms, 100, 1000);
	assert_int_equal(e.dwEventState, PRE);
	later_join(&l);
	start_ms = clock_ms();
	assert_int_equal(wait_for(f, &e, 200), SCARD_E_TIMEOUT);
	assert_true(clock_ms() - start_ms >= 200);
}

struct storm {
	SCARDCONTEXT context;
	atomic_bool stop;
};

static void *storm_run(void *arg) {
	struct storm *s = arg;
	while (!s->stop) {
		SCardCancel(s->context);
		usleep(200);
	}
	return NULL;
}

/* PCSC-203: from entry to exit, a cancel ends the wait. */
static void test_cancel_storm(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	struct storm storm = { .context = f->context };
	pthread_t thread;
	pthread_create(&thread, NULL, storm_run, &storm);
	for (int i = 0; i < 300; i++)
		assert_int_equal(wait_for(f, &e, INFINITE), SCARD_E_CANCELLED);
	storm.stop = true;
	pthread_join(thread, NULL);
}

/* PCSC-192, PCSC-196, PCSC-197 */
static void test_pnp_look(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = "\\\\?pnp?\\NOTIFICATION" };
	assert_int_equal(wait_for(f, &e, 0), SCARD_E_TIMEOUT);
	assert_int_equal(e.dwEventState & 0xffff, 0);
	DWORD number = e.dwEventState >> 16;
	assert_in_range(number, 1, 0x7fff);
	e.dwCurrentState = e.dwEventState;
	fake_register("001-003", "Third 00 00", 3);
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, CH | COUNT(number + 1));
	e.dwCurrentState = e.dwEventState;
	fake_unregister("001-003");
	assert_int_equal(wait_for(f, &e, 0), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState, CH | COUNT(number + 2));
}

static void plug(struct fixture *f) {
	f->handler = fake_handler_start("001-001", NULL, NULL);
	fake_register("001-001", READER, 1);
}

/* PCSC-193, PCSC-194: in an empty directory, and one that goes empty */
static void test_pnp_wait(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = PNP };
	DWORD length = 0;
	struct later l;
	assert_int_equal(
		SCardListReaders(f->context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	later_start(&l, f, 100, plug);
	assert_int_equal(wait_for(f, &e, INFINITE), SCARD_S_SUCCESS);
	assert_int_equal(e.dwEventState & 0xffff, CH);
	later_join(&l);
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	later_start(&l, f, 100, unplug);
	assert_int_equal(wait_for(f, &e, INFINITE), SCARD_S_SUCCESS);
	later_join(&l);
	assert_int_equal(
		SCardListReaders(f->context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
}

/* PCSC-198, PCSC-190: either ends it; all are filled, only the changed one says so */
static void test_pnp_and_cards(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e[2] = {
		{ .szReader = PNP },
		{ .szReader = READER, .dwCurrentState = PRE },
	};
	struct later l;
	later_start(&l, f, 100, pull_card);
	assert_int_equal(SCardGetStatusChange(f->context, 5000, e, 2), SCARD_S_SUCCESS);
	later_join(&l);
	assert_int_equal(e[0].dwEventState & CH, 0);
	assert_int_equal(e[1].dwEventState, EMP | CH | COUNT(1));
	e[1].dwCurrentState = e[1].dwEventState;
	later_start(&l, f, 100, unplug);
	assert_int_equal(SCardGetStatusChange(f->context, 5000, e, 2), SCARD_S_SUCCESS);
	later_join(&l);
	assert_int_equal(e[0].dwEventState & CH, CH);
	assert_int_equal(e[1].dwEventState, UNK | UNA | CH);
}

struct waiter {
	pthread_t thread;
	SCARDCONTEXT context;
	LONG rv;
};

static void *waiter_run(void *arg) {
	struct waiter *w = arg;
	SCARD_READERSTATE e = { .szReader = PNP };
	w->rv = SCardGetStatusChange(w->context, 5000, &e, 1);
	return NULL;
}

/* One inotify descriptor, many contexts that wait: whoever reads it wakes the others. */
static void test_many_waiters(void **state) {
	struct waiter waiters[20];
	struct fixture *f = *state;
	for (size_t i = 0; i < N_OF(waiters); i++) {
		SCardEstablishContext(0, NULL, NULL, &waiters[i].context);
		pthread_create(&waiters[i].thread, NULL, waiter_run, &waiters[i]);
	}
	usleep(200000);
	int64_t start_ms = clock_ms();
	unplug(f);
	for (size_t i = 0; i < N_OF(waiters); i++) {
		pthread_join(waiters[i].thread, NULL);
		assert_int_equal(waiters[i].rv, SCARD_S_SUCCESS);
		assert_int_equal(SCardReleaseContext(waiters[i].context), SCARD_S_SUCCESS);
	}
	assert_true(clock_ms() - start_ms < 2000);
}

/* PCSC-205, PCSC-206: a wait delays nothing but another wait of its context. */
static void test_others_not_delayed(void **state) {
	struct fixture *f = *state;
	struct waiter w = { .context = f->context };
	DWORD length = 0;
	pthread_create(&w.thread, NULL, waiter_run, &w);
	usleep(100000);
	int64_t start_ms = clock_ms();
	assert_int_equal(SCardIsValidContext(f->context), SCARD_S_SUCCESS);
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(SCardCancel(f->context), SCARD_S_SUCCESS);
	pthread_join(w.thread, NULL);
	assert_int_equal(w.rv, SCARD_E_CANCELLED);
	assert_true(clock_ms() - start_ms < 500);
}

static void on_alarm(int signal) {
	(void)signal;
}

/* PCSC-207 */
static void test_signals(void **state) {
	struct fixture *f = *state;
	SCARD_READERSTATE e = { .szReader = READER, .dwCurrentState = PRE };
	struct sigaction action = { .sa_handler = on_alarm }, old;
	struct itimerval often = { .it_interval = { .tv_usec = 5000 },
		.it_value = { .tv_usec = 5000 } };
	struct itimerval never = { 0 };
	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	int64_t start_ms = clock_ms();
	LONG rv = wait_for(f, &e, 300);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	assert_int_equal(rv, SCARD_E_TIMEOUT);
	assert_in_range(clock_ms() - start_ms, 300, 1000);
}

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_checks),
		CASE(test_look_and_timeout),
		CASE(test_removal),
		CASE(test_pushed_while_away),
		CASE_BARE(test_look_after_a_heap),
		CASE_BARE(test_death_behind_a_heap),
		CASE(test_reader_vanishes),
		CASE(test_replug_during_wait),
		CASE(test_handler_dies),
		CASE_BARE(test_watch_tries_again),
		CASE_BARE(test_refused),
		CASE_BARE(test_down_for_a_while),
		CASE_BARE(test_down_for_good),
		CASE_BARE(test_stale_socket),
		CASE_BARE(test_cold_start),
		CASE_BARE(test_hanging_handler),
		CASE(test_cancel),
		CASE(test_cancel_storm),
		CASE_BARE(test_pnp_look),
		CASE_BARE(test_pnp_wait),
		CASE(test_pnp_and_cards),
		CASE(test_many_waiters),
		CASE(test_others_not_delayed),
		CASE(test_signals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
