/* SPDX-License-Identifier: MIT */
/* What main.c gives each verb, and the exit codes that they share. */
#pragma once

#include <stdint.h>

/* Exit codes: part of the interface, explained to users by `reader-ctl --help`. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_READER = 3, /* no reader is called so, or several are */
	EXIT_REFUSED = 4,
	EXIT_TROUBLE = 5, /* the reader cannot be used: claimed, mute, broken, gone, shut down */
	EXIT_TIMEOUT = 6,
	EXIT_CARD = 7,         /* no card, a mute one, or it was removed, reset, or is in use */
	EXIT_CANNOT_RUN = 126, /* run: as env(1) and the shell have it */
	EXIT_NO_COMMAND = 127,
};

/* The command line. Strings are borrowed from argv. */
struct arguments {
	int json, verbose, exclusive, initial;
	const char *card;   /* attach virtual: what the card is, or NULL */
	const char *driver; /* attach: driver of a device that no row knows, or NULL */
	unsigned protocols; /* apdu: a mask of the wire's protocols; 0 = not given */
	long count;         /* monitor: end after so many events; 0 = not given */
	int64_t timeout_ms; /* -1 = not given */
	int n_words;
	char **words; /* what follows the verb and is no option; NULL at the end */
};

/* One for each file of that name: does its work, says what is wrong on stderr, returns an exit
 * code. */
int init_run(const struct arguments *arguments);
int shutdown_run(const struct arguments *arguments);
int list_run(const struct arguments *arguments);
int status_run(const struct arguments *arguments);
int attach_run(const struct arguments *arguments);
int detach_run(const struct arguments *arguments);
int monitor_run(const struct arguments *arguments);
int apdu_run(const struct arguments *arguments);
int run_run(const struct arguments *arguments);
