/* SPDX-License-Identifier: MIT */
/*
 * Lines go to the journal with READER= and IFDHANDLER_INSTANCE= as fields, so that an administrator
 * filters by field and not by phrase; where no journal listens, to stderr.
 */
#include "ifdhandler/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

void log_init(struct log *log, int debug) {
	log->to_stderr =
		!getenv("JOURNAL_STREAM") || access("/run/systemd/journal/socket", W_OK) < 0;
	log->max_priority = debug ? LOG_DEBUG : LOG_NOTICE;
}

void log_line(const struct log *log, int priority, const char *format, ...) {
	if (priority > log->max_priority)
		return;
	int saved = errno;
	char text[1024]; /* chosen: a sentence and two names */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (log->to_stderr)
		fprintf(stderr, "ifdhandler: %s\n", text);
	else
		sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", priority,
			"SYSLOG_IDENTIFIER=ifdhandler", "READER=%s", log->reader ? log->reader : "",
			"IFDHANDLER_INSTANCE=%s", log->instance ? log->instance : "", NULL);
	errno = saved;
}
