/* SPDX-License-Identifier: MIT */
/* Conformance programs: a libpcsclite.so.1 by dlopen, live handlers with scripted cards, TAP output. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/winscard.h"
#include "client/reader.h"

/* The functions of the library under test. */
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
};
extern struct pcsc pc;

/* A card: a program of vsmartcard's protocol that connects to a virtual reader. Answers a command
 * with the command and 90 00, but 80 10 HI LO with HI*256+LO bytes in all; 80 20 HI LO like others, after
 * as many milliseconds; 80 30 S1 S2 with S1 S2. */
struct card {
	int fd; /* -1: not in a reader */
	pthread_t thread;
	const uint8_t *atr;
	size_t atr_len; /* 0: mute */
	atomic_uint n_on;
	atomic_uint n_reset;
	atomic_uint n_off;
	atomic_uint n_commands;
};

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

/* A reader with its handler. */
struct box {
	char instance[32];
	char name[128];        /* as the library lists it */
	pid_t pid;             /* of the handler, or of what starts it */
	atomic_int *activated; /* the handler's process id where it is started by connections */
	struct card card;
};

/* Opens library argv[1] and remembers handler argv[2] (defaults: build/), makes a directory for
 * readers. Leaves the process with a message if something is missing. */
void pcsc_start(int argc, char **argv);

/* The same with a /run of our own, so that /run/ifdhandler is the directory. False, and nothing done,
 * where that is not permitted. */
bool pcsc_start_private(int argc, char **argv);

/* Stops all handlers, takes the directory away, prints the plan. The exit status. */
int pcsc_finish(void);

/* The directory of readers. */
const char *pcsc_directory(void);

/* One line of TAP. `text` begins with the numbers of the checklist ("PCSC-105 ..."). */
__attribute__((format(printf, 2, 3))) bool ok(bool good, const char *text, ...);

/* The same for a return code; says what came instead. */
__attribute__((format(printf, 3, 4))) bool code(LONG got, LONG want, const char *text, ...);

/* A line that cannot be tested here, and why. */
void skip(const char *text, const char *why);

/* Starts a handler for a virtual reader without a card; `box` stays until pcsc_finish. `grace_s` NULL: its default. */
void box_start(struct box *box, const char *instance, const char *grace_s);

/* The same with the builtin card, and as systemd does it: the socket is ours and stays, each handler is
 * started by a connection and ends when it was not used for `idle_s`. */
void box_start_activated(struct box *box, const char *instance, const char *idle_s);

/* Kills the handler of such a reader; false if none runs. */
bool box_kill_activated(struct box *box);

/* The same reader again, after box_kill. */
void box_restart(struct box *box);

/* kill -9: socket and description stay. */
void box_kill(struct box *box);

/* Unplugs: the handler ends and takes the description away. */
void box_stop(struct box *box);

/* Puts a card in and waits until the library sees it; takes it out likewise. */
void box_insert(struct box *box, const struct atr *atr);
void box_remove(struct box *box);

/* Without waiting. */
void card_insert(struct box *box, const struct atr *atr);
void card_remove(struct box *box);

/* Milliseconds of CLOCK_MONOTONIC; a pause. */
int64_t now_ms(void);
void pause_ms(unsigned ms);

/* A call on another thread, after a while. */
struct async {
	pthread_t thread;
	unsigned delay_ms;
	LONG (*function)(void *arg);
	void *arg;
	LONG rv;
	int64_t took_ms; /* from the call, without the delay */
	int64_t end_ms;
};
void async_start(struct async *a, unsigned delay_ms, LONG (*function)(void *arg), void *arg);
LONG async_join(struct async *a);

/* Shorthands: a new context; a connection, 0 on failure with *ret_rv (may be NULL); a command. */
SCARDCONTEXT context_new(void);
SCARDHANDLE card_open(SCARDCONTEXT context, const struct box *box, DWORD share, LONG *ret_rv);
LONG card_send(SCARDHANDLE card);
LONG card_send_bytes(SCARDHANDLE card, const void *command, size_t n);
LONG card_state(SCARDHANDLE card, DWORD *ret_state);

/* Shorthands for async_start: `arg` points to a SCARDHANDLE. */
LONG do_send(void *arg);
LONG do_begin(void *arg);
LONG do_end(void *arg);
LONG do_status(void *arg);
LONG do_disconnect(void *arg);
LONG do_disconnect_reset(void *arg);
