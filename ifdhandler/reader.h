/* SPDX-License-Identifier: MIT */
/* The whole: device, driver, service and socket of one reader, built in order and taken down in reverse. */
#pragma once

#include "ifdhandler/service.h"
#include "ifdhandler/socket.h"

/* What main read from the command line. Strings are borrowed. */
struct reader_options {
	const char *instance;
	const char *socket; /* path to listen on; NULL: the socket comes from systemd */
	const char *node;   /* device node; NULL: made from the instance */
	const char *driver; /* NULL: what udev's property says, else ccid */
	const char *name;   /* own name of the reader, or NULL */
	const char *quirks;
	const char *card; /* virtual: what the card is */
	long idle_s; /* unused for so long: exit; 0 = never; -1 = 60 under systemd, else never */
	long grace_s; /* card powered down so long after its last use; 0 = never; -1: what udev's property
		       * says, else 5 */
	int debug;
};

struct reader;

/* A number of seconds from 0 to 86400 that is all of `text`, or -1. */
long reader_seconds(const char *text);

/* Builds everything and starts to serve. `event` outlives the reader. 0 or negative errno, which has
 * been said on stderr or in the journal. */
int reader_new(
	const struct reader_options *options, struct sd_event *event, struct reader **ret_reader);

/* Tells clients, gives the device back, takes away what --socket made. NULL is allowed. */
void reader_free(struct reader *reader);

/* Registers (or takes away) the description of `options->instance` in the system's directory without
 * touching the device: what the socket unit calls. 0 or negative errno. */
int reader_register(const struct reader_options *options);
int reader_unregister(const struct reader_options *options);
