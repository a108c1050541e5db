/* SPDX-License-Identifier: MIT */
/* Is a descriptor still the one that the library opened? Programs close all descriptors behind its back. */
#pragma once

#include <stdbool.h>

/* Makes a new descriptor, the result of a system call, the library's own: marked, and with a number that
 * nobody in the library takes for something else, so it may be another one than `fd`. The mark goes with the open file: a
 * forked child finds it, and a stranger's file of the same number does not have it. The descriptor, or a negative errno;
 * `fd` is closed then. */
int descriptor_own(int fd);

/* Does `fd` bear the mark, or could it not be given one? One system call. */
bool descriptor_is_ours(int fd);

/* Closes *fd if it is still ours, and makes it -1, which is allowed. */
void descriptor_close(int *fd);

/* Makes an eventfd of our own that does not block. The descriptor, or a negative errno. */
int descriptor_eventfd(void);

/* Wakes whoever polls that eventfd, if it is ours. */
void descriptor_wake(int fd);
