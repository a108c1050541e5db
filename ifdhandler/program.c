/* SPDX-License-Identifier: MIT */
/* A process gives itself its name: for eyes only, and nothing that a terminal could take for a command. */
#include "ifdhandler/program.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void program_name(pid_t pid, char name[static PROGRAM_NAME_SIZE]) {
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, name, PROGRAM_NAME_SIZE - 1);
	if (fd >= 0)
		close(fd);
	name[n > 0 ? n : 0] = 0;
	for (char *p = name; *p; p++)
		if (*p < ' ' || *p > '~') /* also what only some terminals take for control */
			*p = *p == '\n' && !p[1] ? 0 : '?';
	if (!name[0])
		snprintf(name, PROGRAM_NAME_SIZE, "?");
}
