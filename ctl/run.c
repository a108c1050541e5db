/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl run: a command that finds our libpcsclite.so.1 before the distribution's, without
 * anything being installed for others. Programs that load it by name (dlopen) are served, too;
 * those with set-user-ID are not, as the dynamic linker (ld.so(8)) ignores the variable there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/print.h"
#include "ctl/spawn.h"
#include "ctl/verb.h"

#define LIBRARY "libpcsclite.so.1"

int run_run(const struct arguments *arguments) {
	char path[4096], value[16384];
	const char *before = getenv("LD_LIBRARY_PATH");
	if (spawn_sibling(LIBRARY, LIBRARY_DIR "/" LIBRARY, path, sizeof(path)) < 0 ||
		access(path, R_OK) < 0)
		return print_error(EXIT_CANNOT_RUN,
			"our library is not at %s: %s; is ifdhandler installed?",
			LIBRARY_DIR "/" LIBRARY, strerror(errno));
	*strrchr(path, '/') = 0;
	int n = before && before[0] ? snprintf(value, sizeof(value), "%s:%s", path, before)
				    : snprintf(value, sizeof(value), "%s", path);
	if (n < 0 || (size_t)n >= sizeof(value) || setenv("LD_LIBRARY_PATH", value, 1) < 0)
		return print_error(EXIT_CANNOT_RUN, "LD_LIBRARY_PATH is too long");
	execvp(arguments->words[0], arguments->words);
	int error = errno;
	return print_error(error == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN, "%s: %s",
		arguments->words[0], strerror(error));
}
