/* SPDX-License-Identifier: MIT */
/* Which processes have a device node open: what only root can find out. */
#pragma once

#include <sys/types.h>

/* One process. */
struct holders_process {
	pid_t pid;
	uid_t uid;
	char program[16]; /* TASK_COMM_LEN of the kernel */
};

/* Calls `found` for each process but `except` that has `node` open. Looks into /proc/PID/fd; what
 * may not be read is passed over. 0 or negative errno. */
int holders_find(const char *node, pid_t except,
	void (*found)(const struct holders_process *process, void *userdata), void *userdata);

/* The program's name and owner of `pid`: 0, or -ESRCH. */
int holders_look(pid_t pid, struct holders_process *ret_process);

/* The name of user `uid` into `buf`, the number where there is no name. Returns `buf`. */
const char *holders_user(uid_t uid, char *buf, size_t size);
