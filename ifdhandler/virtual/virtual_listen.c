/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets for card programs. Whoever can connect is the card, so a unix socket is its
 * owner's only, and TCP never leaves the machine (any local user can connect there: it is for
 * programs that know nothing else). A socket that is in use is never taken away from its owner:
 * whether it is, is found out without connecting to it, for that would be inserting a card.
 */
#include "ifdhandler/virtual/virtual_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* Only one card is in at a time; others are turned away at once. */
	BACKLOG = 8,
};

/* Adds a new socket bound to `address` and listening. 0 or negative errno. */
static int add(struct virtual_listen *l, const void *address, socklen_t len) {
	const struct sockaddr *a = address;
	static const int on = 1;
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (a->sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, a, len) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	l->fds[l->n++] = fd;
	return 0;
}

/* Is the socket at `address` left over from a process that is gone? A connect with another type of
 * socket is refused if nobody has it, fails with EPROTOTYPE if somebody has, and never succeeds in
 * disturbing a stream socket. */
static int is_left_over(const struct sockaddr_un *address) {
	struct stat st;
	if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	int r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	int refused = r < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int add_unix(struct virtual_listen *l, const char *path) {
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	if (path[0] == '\0')
		return -EINVAL;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path));

	/* The handler has one thread: nobody else makes a file meanwhile. */
	mode_t mask = umask(0177);
	int r = add(l, &a, sizeof(a));
	if (r == -EADDRINUSE && is_left_over(&a) && unlink(a.sun_path) == 0)
		r = add(l, &a, sizeof(a));
	umask(mask);
	if (r < 0)
		return r;
	if (lstat(a.sun_path, &st) == 0) {
		l->file = a;
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	return 0;
}

static int add_tcp(struct virtual_listen *l, const char *text) {
	size_t digits = strspn(text, "0123456789");
	unsigned long port = digits >= 1 && digits <= 5 ? strtoul(text, NULL, 10) : 0;
	if (text[digits] != '\0' || port < 1 || port > UINT16_MAX)
		return -EINVAL;
	struct sockaddr_in v4 = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };

	int r = add(l, &v4, sizeof(v4));
	if (r < 0 && r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL)
		return r;
	int r6 = add(l, &v6, sizeof(v6));
	if (r6 < 0 && r6 != -EAFNOSUPPORT && r6 != -EADDRNOTAVAIL)
		return r6;
	return l->n ? 0 : r;
}

static int add_inherited(struct virtual_listen *l, int fd) {
	int listening = 0, type = 0;
	socklen_t len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -errno;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	if (!listening || type != SOCK_STREAM)
		return -EINVAL;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	l->inherited = 1;
	l->fds[l->n++] = fd;
	return 0;
}

int virtual_listen_open(struct virtual_listen *ret_listen, const char *card, int inherited_fd) {
	struct virtual_listen l = { 0 };
	int r = -EINVAL;
	if (inherited_fd >= 0)
		r = add_inherited(&l, inherited_fd);
	else if (card && strncmp(card, "unix:", 5) == 0)
		r = add_unix(&l, card + 5);
	else if (card && strncmp(card, "tcp:", 4) == 0)
		r = add_tcp(&l, card + 4);
	if (r < 0) {
		virtual_listen_close(&l);
		return r;
	}
	*ret_listen = l;
	return 0;
}

void virtual_listen_close(struct virtual_listen *listen) {
	struct stat st;
	if (listen->file.sun_path[0] && lstat(listen->file.sun_path, &st) == 0 &&
		st.st_dev == listen->dev && st.st_ino == listen->ino)
		unlink(listen->file.sun_path);
	for (unsigned i = 0; i < listen->n && !listen->inherited; i++)
		close(listen->fds[i]);
	*listen = (struct virtual_listen){ 0 };
}
