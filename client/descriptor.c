/* SPDX-License-Identifier: MIT */
/*
 * A program may close descriptors that are not its own: daemons close all that they have inherited, and
 * then open files that get our numbers. A PIN must not be written to such a file, and it must not be
 * closed when we give up a connection that we believe to have.
 *
 * So each of our open files bears a mark: the signal of F_SETSIG, which means nothing without O_ASYNC, is 0
 * for everybody else, survives fork and cannot be had by another file. A look at it costs 0.15 µs
 * where a round trip to a handler costs 10. An inode's number would not do: all eventfds and
 * inotify descriptors share one.
 *
 * A sandbox may refuse to mark. Then a file without a mark is believed to be ours for as long as we know its number to be in
 * use, as in any program that trusts its numbers.
 *
 * Where one of our numbers was closed and is then given to ourselves, two parts of the library would take it for
 * theirs, both with good reason. So the numbers in use are known, and the second one gets another.
 */
#include "client/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	MARK = 59,         /* chosen: a signal number that programs hardly ask O_ASYNC to send */
	MAX_KNOWN = 65536, /* chosen: 8 KiB; whether higher numbers are in use is not known */
	WORD = 32,
};

/* One bit for each number that is in use, and for each whose file could not be marked. Without a lock, which a fork could
 * leave locked. */
static _Atomic uint32_t in_use[MAX_KNOWN / WORD];
static _Atomic uint32_t unmarked[MAX_KNOWN / WORD];
static atomic_bool any_unmarked; /* for the numbers that have no bit */

/* False if it is in use already. */
static bool number_take(int fd) {
	uint32_t bit = UINT32_C(1) << fd % WORD;
	return fd >= MAX_KNOWN || !(atomic_fetch_or(&in_use[fd / WORD], bit) & bit);
}

static void number_give(int fd) {
	uint32_t bit = UINT32_C(1) << fd % WORD;
	if (fd >= MAX_KNOWN)
		return;
	atomic_fetch_and(&unmarked[fd / WORD], ~bit);
	atomic_fetch_and(&in_use[fd / WORD], ~bit);
}

static void number_unmarked(int fd) {
	atomic_store(&any_unmarked, true);
	if (fd < MAX_KNOWN)
		atomic_fetch_or(&unmarked[fd / WORD], UINT32_C(1) << fd % WORD);
}

static bool is_unmarked(int fd) {
	if (fd < 0 || fd >= MAX_KNOWN)
		return fd >= 0 && any_unmarked;
	return unmarked[fd / WORD] & UINT32_C(1) << fd % WORD;
}

int descriptor_own(int fd) {
	if (fd < 0)
		return -errno;
	bool marked = fcntl(fd, F_SETSIG, MARK) == 0;
	int r = !marked && errno == ENOMEM ? -ENOMEM : 0;
	while (r == 0 && !number_take(fd)) {
		int next = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
		r = next < 0 ? -errno : 0;
		close(fd);
		fd = next;
	}
	if (r == 0 && !marked)
		number_unmarked(fd);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

bool descriptor_is_ours(int fd) {
	int mark = fcntl(fd, F_GETSIG);
	if (mark < 0)
		return errno != EBADF;
	return mark == MARK || (mark == 0 && is_unmarked(fd));
}

void descriptor_close(int *fd) {
	int old = *fd;
	/* first: a child that is forked between the two must not take the next file of this number for ours */
	*fd = -1;
	if (old < 0)
		return;
	if (descriptor_is_ours(old))
		close(old);
	number_give(old);
}

int descriptor_eventfd(void) {
	return descriptor_own(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void descriptor_wake(int fd) {
	if (descriptor_is_ours(fd))
		eventfd_write(fd, 1);
}
