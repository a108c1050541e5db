/* SPDX-License-Identifier: MIT */
/* One connected card program: questions out, one answer each in, with deadlines; on sd-event. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ifdhandler/virtual/vpcd.h"

struct card_program;
struct sd_event;

enum card_program_loss {
	CARD_PROGRAM_GONE,     /* it closed the connection */
	CARD_PROGRAM_LATE,     /* no answer in time, or it did not read the question */
	CARD_PROGRAM_UNASKED,  /* it spoke without being asked */
	CARD_PROGRAM_TOO_LONG, /* an answer longer than was allowed */
	CARD_PROGRAM_TWICE,    /* more than one answer */
};

/* Called from the event loop only. */
struct card_program_host {
	void *userdata;
	/* The answer to what was asked; `answer` is valid (and wiped) until this returns. The next
	 * question may be asked from here; the program must not be freed from here. */
	void (*answered)(void *userdata, const uint8_t *answer, size_t len);
	/* A question that has no answer is written. */
	void (*written)(void *userdata);
	/* The connection is of no use any more: free it, also from here. Nothing follows. */
	void (*lost)(void *userdata, enum card_program_loss why);
};

/* Makes a program of the connected, non-blocking stream socket `fd`, which it owns from now on,
 * also on failure. `host` is copied. 0 or negative errno. */
int card_program_new(struct sd_event *event, int fd, const struct card_program_host *host,
	struct card_program **ret_program);

/* Wipes, closes and frees it without any call; NULL is allowed. */
void card_program_free(struct card_program *program);

/* Where the next question is to be written: empty, with room for one APDU and some controls. */
struct bytes_writer card_program_question(struct card_program *program);

/* Sends the question that is in `w` (from card_program_question). At most `max_answer` bytes are
 * taken as an answer; 0: there is no answer, `written` ends it. After `usec` microseconds without
 * end the program is lost. One question at a time. Nothing is called back before this returns. */
void card_program_ask(struct card_program *program, const struct bytes_writer *w, size_t max_answer,
	uint64_t usec);

/* Its process, where the kernel knows (unix sockets); else 0. */
pid_t card_program_pid(const struct card_program *program);

/* A phrase for people: "did not answer in time". */
const char *card_program_loss_text(enum card_program_loss why);
