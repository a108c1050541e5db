/* SPDX-License-Identifier: MIT */
/* Where card programs of a virtual reader connect: a unix socket, a loopback port, or inherited. */
#pragma once

#include <sys/types.h>
#include <sys/un.h>

enum {
	VIRTUAL_MAX_LISTENERS = 2, /* 127.0.0.1 and ::1 */
};

struct virtual_listen {
	int fds[VIRTUAL_MAX_LISTENERS];
	unsigned n;
	int inherited;           /* the descriptor is the caller's: not closed here */
	struct sockaddr_un file; /* sun_path is empty where there is no file of ours */
	dev_t dev;               /* of that file, so that no other is ever removed */
	ino_t ino;
};

/*
 * Opens the sockets, listening and non-blocking. `card` is "unix:PATH" (a file with mode 0600; one
 * that nobody listens on any more is replaced) or "tcp:PORT" (1 to 65535, loopback only; where one
 * of IPv4 and IPv6 is not available, the other alone). With `inherited_fd` not -1 that listening
 * stream socket is used, stays the caller's, and `card` counts for nothing (NULL is allowed).
 * 0, or negative errno: -EINVAL for another `card`, -EADDRINUSE where somebody listens already or
 * PATH is something else than a socket. To be closed in any case of success.
 */
int virtual_listen_open(struct virtual_listen *ret_listen, const char *card, int inherited_fd);

/* Closes and removes what was made; `listen` is empty afterwards. */
void virtual_listen_close(struct virtual_listen *listen);
