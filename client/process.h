/* SPDX-License-Identifier: MIT */
/* Which process are we in: notices a fork, without a handler of it. */
#pragma once

/* Calls `reset` once in each process that uses the library, before anything else: in the first one
 * and again in each forked child. Every exported function passes here; without a fork that is one
 * load and no system call. Threads that come meanwhile wait for the reset. */
void process_enter(void (*reset)(void));
