/* SPDX-License-Identifier: MIT */
/* What a client's program is called. */
#pragma once

#include <sys/types.h>

enum { PROGRAM_NAME_SIZE = 16 }; /* TASK_COMM_LEN of the kernel */

/* The name of process `pid` as the kernel has it now, in printable ASCII; "?" where there is none (it has
 * ended, or is hidden). Reads /proc: for people, not for every connection. */
void program_name(pid_t pid, char name[static PROGRAM_NAME_SIZE]);
