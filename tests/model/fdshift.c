/* SPDX-License-Identifier: MIT */
/*
 * Preloaded before umockdev's library: no two processes have uevent sockets of the same number.
 *
 * umockdev names the place where a process receives uevents after the number of its descriptor, in
 * a directory that all processes of one emulation share; the second process with the same number
 * would take the place of the first. So a uevent socket's number is claimed by an abstract socket,
 * which goes with the process; a number that another process has claimed is passed over.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Numbers tried. The limit of open files is 1024 for most processes (RLIMIT_NOFILE). */
enum { MAX_FD = 1024 };

/* Claims of this process live as long as it does. A preloaded library has no other place for
 * them. */
static atomic_bool claimed[MAX_FD];

typedef int (*socket_fn)(int domain, int type, int protocol);

static int claim(socket_fn next, int number) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *root = getenv("UMOCKDEV_DIR");
	if (number >= MAX_FD || atomic_load(&claimed[number]))
		return 1;
	/* abstract: the name begins with a zero byte (unix(7)) */
	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%.80s/uevents/%d",
		root ? root : "", number);
	int fd = next(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	/* out of the way of low numbers, which programs expect for themselves */
	int high = fcntl(fd, F_DUPFD_CLOEXEC, MAX_FD / 2);
	if (high >= 0) {
		close(fd);
		fd = high;
	}
	if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return 0;
	}
	atomic_store(&claimed[number], 1);
	return 1;
}

int socket(int domain, int type, int protocol) {
	socket_fn next = (socket_fn)dlsym(RTLD_NEXT, "socket");
	if (domain != AF_NETLINK || protocol != NETLINK_KOBJECT_UEVENT)
		return next(domain, type, protocol);
	int taken[MAX_FD], n = 0, fd;
	while ((fd = next(domain, type, protocol)) >= 0 && n < MAX_FD && !claim(next, fd))
		taken[n++] = fd;
	while (n)
		close(taken[--n]);
	return fd;
}
