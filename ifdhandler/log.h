/* SPDX-License-Identifier: MIT */
/* One line to the journal (or stderr) with structured fields; errno is kept. */
#pragma once

#include <syslog.h>

/* What every line carries. Borrowed strings, NULL where unknown; set once in main. */
struct log {
	const char *instance; /* IFDHANDLER_INSTANCE= */
	const char *reader;   /* READER= */
	int to_stderr;        /* no journal: a terminal, a container */
	int max_priority;     /* lines of higher number (less weight) are dropped */
};

/* Decides between journal and stderr and takes the level: LOG_NOTICE unless `debug`. */
void log_init(struct log *log, int debug);

/* Logs one line at `priority` (LOG_ERR … LOG_DEBUG). Never give it APDUs, PINs or answers. */
__attribute__((format(printf, 3, 4))) void log_line(
	const struct log *log, int priority, const char *format, ...);
