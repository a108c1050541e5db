/* SPDX-License-Identifier: MIT */
/*
 * The bed of the conformance tests: a libpcsclite.so.1 by dlopen, a stack behind it (ours, or the
 * distribution's pcscd), readers whose cards the test plays itself, and lines of TAP that name the lines of
 * the checklist (lines.def). All tests are one program, conformance; each test is run in a process of its own, with
 * readers and a directory of its own, several at once: main.c. Nothing here knows which stack it is but
 * stack-*.c; a test that only makes sense for some asks for a trait.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/winscard.h"
#include "client/reader.h"
#include "tests/conformance/script.h"

/* ---- the library under test ---- */

struct pcsc {
	void *library;
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardReleaseContext) release;
	__typeof__(&SCardIsValidContext) is_valid;
	__typeof__(&SCardConnect) connect;
	__typeof__(&SCardReconnect) reconnect;
	__typeof__(&SCardDisconnect) disconnect;
	__typeof__(&SCardBeginTransaction) begin;
	__typeof__(&SCardEndTransaction) end;
	__typeof__(&SCardStatus) status;
	__typeof__(&SCardGetStatusChange) change;
	__typeof__(&SCardControl) control;
	__typeof__(&SCardTransmit) transmit;
	__typeof__(&SCardListReaderGroups) groups;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardFreeMemory) free;
	__typeof__(&SCardCancel) cancel;
	__typeof__(&SCardGetAttrib) get_attrib;
	__typeof__(&SCardSetAttrib) set_attrib;
	__typeof__(&pcsc_stringify_error) stringify;
	const SCARD_IO_REQUEST *t0;
	const SCARD_IO_REQUEST *t1;
	const SCARD_IO_REQUEST *raw;
};
extern struct pcsc pc;

/* ---- lines ---- */

/* One line of TAP for each number that `text` begins with: "PCSC-71 PCSC-73 connected again" is two, "PCSC-C15
 * …" is of the list of defects. What follows them is the detail. Returns `good`. */
__attribute__((format(printf, 2, 3))) bool ok(bool good, const char *text, ...);
/* The same for a return code; says what came instead. */
__attribute__((format(printf, 3, 4))) bool code(LONG got, LONG want, const char *text, ...);
/* Lines that cannot be tested here, and why. */
void skip(const char *text, const char *why);
/* The test has nothing more to say, here: tidies up and ends its process. */
_Noreturn void bed_leave(void);
/* The test cannot go on: one failed line, and the end of its process. */
_Noreturn void die(const char *what, const char *why);

/* ---- tests ---- */

enum {
	TEST_LONG = 1 << 0, /* waits most of the time: begins first, beside all others */
};

struct test {
	const char *name;
	void (*run)(void);
	unsigned flags;
};

/* A file of tests; `tests` ends with a zero. `setup` runs in each test's process before it; NULL: nothing. */
struct test_group {
	const char *name;
	void (*setup)(void);
	const struct test *tests;
};
extern const struct test_group group_abi, group_bare, group_core, group_power, group_exchange,
	group_share, group_queue, group_change, group_state, group_loss, group_restart, group_names,
	group_long;

/* ---- readers and cards ---- */

/* The ATRs of the checklist. */
struct atr {
	const char *name;
	uint8_t bytes[33];
	size_t len;
};
extern const struct atr atr_a; /* T=0 */
extern const struct atr atr_b; /* T=0 first, T=1 too */
extern const struct atr atr_c; /* T=1 */
extern const struct atr atr_d; /* specific mode, T=1 */
extern const struct atr atr_e; /* specific mode, T=0 */
extern const struct atr atr_f; /* T=15 only */
extern const struct atr atr_g; /* no ATR at all */
extern const struct atr atr_x; /* mute */

enum {
	BOX_MAX_SLOTS = 4,
	CARD_MAX_RULES = 4,
	BOX_ECHO = 0x42000063, /* SCARD_CTL_CODE(99): a control code whose answer is the command */
};

/* What the card does otherwise than usual: `op` (with argument `arg`; 0: any) is answered by `result`
 * (SCRIPT_OK: as usual) after `delay_ms`. Holds for the next `times` of them; 0: until the rules are cleared. */
struct rule {
	enum script_op op;
	uint32_t arg;
	uint32_t result;
	unsigned times;
	unsigned delay_ms;
};

/*
 * A slot, and the card that is in it or not. Answers a command with the command and 90 00, but 80 10 HI LO with
 * HI*256+LO bytes in all, 80 11 HI LO with 65,536 more; 80 20 HI LO like others, after as many milliseconds; 80 30 S1
 * S2 with S1 S2; 80 40 .. .. with the ordinal of its insertion, one byte, and 90 00. Presence is told by 615 at odd
 * insertions, by 0 at even ones. The counters never go back.
 */
struct card {
	atomic_uint n_on;    /* cold */
	atomic_uint n_reset; /* warm */
	atomic_uint n_off;
	atomic_uint n_protocol; /* choices of a protocol (PPS) */
	atomic_uint n_commands;
	atomic_uint n_control;
	atomic_uint n_wrong; /* protocol or command without power, or two operations at once */
	atomic_bool in, powered;
	atomic_uint protocol; /* last choice since the last power-up */

	/* for card.c */
	const struct atr *atr;
	bool mute;
	struct rule rules[CARD_MAX_RULES];
	size_t n_rules;
	unsigned n_insertions;
};

/* A reader. One slot unless it was started with more: `name` and `card` are the first one's. */
struct box {
	char instance[32];
	union {
		char name[128]; /* as the library lists it */
		char names[BOX_MAX_SLOTS][128];
	};
	union {
		struct card card;
		struct card cards[BOX_MAX_SLOTS];
	};
	unsigned n_slots;
	char wanted_name
		[160]; /* set before box_make: its name before number and slot; empty: as the stack likes */
	char script[108];      /* where the driver connects to: a SOCK_SEQPACKET socket */
	struct player *player; /* card.c's */
	pid_t pid;             /* the stack's: of the reader's own server, or 0 */
	bool plugged;
	atomic_int *activated; /* stack-ours.c's */
};

/* Plugs a reader and waits until it is served and `names` are known; `box` stays until the test's end. */
void box_start(struct box *box, const char *instance);
void box_start_slots(struct box *box, const char *instance, unsigned n_slots);
/* The two halves: the place for cards, which may be filled before the reader is plugged in. */
void box_make(struct box *box, const char *instance, unsigned n_slots);
void box_plug(struct box *box);
/* Unplugs: the reader is gone for the library when this returns; its cards stay where they are. */
void box_stop(struct box *box);
/* kill -9 of who serves the reader; starts the server anew. */
void box_kill(struct box *box);
void box_restart(struct box *box);
/* Stops and continues the server with signals. */
void box_freeze(struct box *box);
void box_thaw(struct box *box);

/* Puts a card in and waits until the library sees it; takes it out likewise. */
void box_insert(struct box *box, const struct atr *atr);
void box_remove(struct box *box);
/* Without waiting. */
void card_insert(struct box *box, unsigned slot, const struct atr *atr);
void card_remove(struct box *box, unsigned slot);
/* Out and in again between two looks. */
void card_swap(struct box *box, unsigned slot, const struct atr *atr);
/* The card that is in does not answer to reset from now on, or does again. */
void card_set_mute(struct box *box, unsigned slot, bool mute);
void card_rule(struct box *box, unsigned slot, const struct rule *rule);
void card_rules_clear(struct box *box, unsigned slot);
/* The reader answers each query of presence with `result` (612 …); 0: it is well again. */
void box_trouble(struct box *box, uint32_t result);

/* ---- the stack ---- */

enum {
	STACK_OWN_SERVERS = 1 << 0, /* a reader's server is a process of its own */
	STACK_PLUGS = 1 << 1,       /* readers can be plugged and unplugged while it runs */
	STACK_ACTIVATES = 1 << 2,   /* box_start_activated */
};

struct stack {
	const char *name;
	const char *library; /* as the build or the distribution has them */
	const char *server;
	unsigned traits;
	/* In each test's process, before the library is loaded: `directory` is new and empty. */
	void (*begin)(const char *directory, const char *server);
	/* The driver connects to box->script; ends with box->names filled in. */
	void (*plug)(struct box *box);
	void (*unplug)(struct box *box);
	/* Who serves the reader, for signals. */
	pid_t (*server_pid)(const struct box *box);
	/* After a kill -9: waits for the end; starts again. */
	void (*killed)(struct box *box);
	void (*restart)(struct box *box);
	/* The end of the test: nothing of it stays. Readers may still be plugged. */
	void (*end)(void);
};
extern const struct stack stack_ours, stack_pcscd;
extern const struct stack *stack;

/* The test's directory. */
const char *bed_directory(void);
/* The path of the library; of a program built beside this one. */
const char *bed_library(void);
void bed_program(const char *name, char *ret, size_t size);
/* Lets a test's /run be its own, so that /run/ifdhandler is. False where that is not permitted. To be called
 * first in a test, before a reader is started. */
bool bed_private_run(void);

/* For stack_ours: with the socket ours as systemd's would be: each handler is started by a connection and ends when it
 * was not used for `idle_s`. */
void box_start_activated(struct box *box, const char *instance, const char *idle_s);
/* Kills the handler of such a reader; false if none runs. */
bool box_kill_activated(struct box *box);

/* ---- time and threads ---- */

enum { WAIT_MS = 15000 }; /* for anything that ought to happen at once, on a loaded machine */

/* Milliseconds of CLOCK_MONOTONIC; a pause. */
int64_t now_ms(void);
void pause_ms(unsigned ms);
/* Waits until *counter is at least `least`, for at most WAIT_MS (or `limit_ms`). Did it come? */
bool wait_count(const atomic_uint *counter, unsigned least);
bool wait_count_for(const atomic_uint *counter, unsigned least, unsigned limit_ms);

/* Waits for it to be as large, and looks whether it is not larger. */
bool count_becomes(const atomic_uint *counter, unsigned want);

/* A call on another thread, after a while. */
struct async {
	pthread_t thread;
	unsigned delay_ms;
	LONG (*function)(void *arg);
	void *arg;
	LONG rv;
	atomic_int calls; /* its thread, once it is about to call */
	atomic_bool done;
	int64_t took_ms; /* from the call, without the delay */
	int64_t end_ms;
};
void async_start(struct async *a, unsigned delay_ms, LONG (*function)(void *arg), void *arg);
LONG async_join(struct async *a);
/* Waits until it sleeps inside the call, or has returned. */
void async_sleeps(struct async *a);
/* Has it returned within `ms`? */
bool async_ends(struct async *a, unsigned ms);

/* A client in a process of its own, told what to do by bytes: `run` is called for each in turn, and what it returns is
 * the answer. A child that dies answers -1. */
struct client {
	pid_t pid;
	int fd;
};
void client_start(struct client *client, LONG (*run)(int what));
LONG client_do(struct client *client, int what);
/* Asked now, answered later. */
void client_ask(struct client *client, int what);
bool client_answers(struct client *client, unsigned ms);
LONG client_answer(struct client *client);
void client_kill(struct client *client);

/* ---- shorthands ---- */

/* A new context; a connection, 0 on failure with *ret_rv (may be NULL). */
SCARDCONTEXT context_new(void);
SCARDHANDLE card_open(SCARDCONTEXT context, const struct box *box, DWORD share, LONG *ret_rv);
LONG card_open_protocols(SCARDCONTEXT context, const struct box *box, DWORD share, DWORD protocols,
	SCARDHANDLE *ret_card, DWORD *ret_active);
/* Commands, with whichever protocol is active. */
LONG card_send(SCARDHANDLE card);
LONG card_send_bytes(SCARDHANDLE card, const void *command, size_t n);
LONG card_state(SCARDHANDLE card, DWORD *ret_state);
LONG card_reconnect(SCARDHANDLE card, DWORD share, DWORD how);
/* The event state of a reader now, or after a wait on `context`. */
DWORD reader_look(const char *name);
LONG reader_wait(
	SCARDCONTEXT context, const char *name, DWORD claim, DWORD timeout, DWORD *ret_event);

/* For async_start: `arg` points to a SCARDHANDLE. */
LONG do_send(void *arg);
LONG do_begin(void *arg);
LONG do_end(void *arg);
LONG do_status(void *arg);
LONG do_disconnect(void *arg);
LONG do_disconnect_reset(void *arg);
