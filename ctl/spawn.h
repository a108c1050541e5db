/* SPDX-License-Identifier: MIT */
/* Starting handlers without systemd, and other programs that have to end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct spawn_request {
	const char *dir, *instance;
	const char *node, *driver, *card, *quirks; /* NULL: the handler's own choice */
	int no_wait;                               /* return as soon as it runs */
	int64_t deadline_ms;
};

/* Starts a handler that stays: its own session, its log in DIR/.INSTANCE.log. Returns when it is
 * ready, its socket listening and its description written. 0, or an exit code after saying why. */
int spawn_handler(const struct spawn_request *request);

/* Runs a program of the PATH to its end. 0, or negative errno; -EIO when it failed. */
int spawn_command(const char *const *argv);

/* The file `name` beside our own program (a build tree), else `installed`. 0 or -ENAMETOOLONG. */
int spawn_sibling(const char *name, const char *installed, char *buf, size_t size);
