/* SPDX-License-Identifier: MIT */
/*
 * The library is a guest: it is silent unless PCSCLITE_DEBUG is set, and then writes whole lines to
 * stderr, never to stdout. The variable is read for each message, so there is no state; messages
 * are rare (the reasons of failures), never one for each command.
 */
#include "client/debug.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void debug_log(enum debug_level level, const char *format, ...) {
	const char *wanted = secure_getenv("PCSCLITE_DEBUG");
	if (!wanted || (int)level < atoi(wanted))
		return;
	int saved_errno = errno;
	char text[512]; /* chosen: a reader's name and a sentence */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "libpcsclite: %s\n", text);
	errno = saved_errno;
}
