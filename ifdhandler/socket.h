/* SPDX-License-Identifier: MIT */
/* The listening socket and its connections: accept, frames in and out, limits. */
#pragma once

#include "ifdhandler/access.h"
#include "ifdhandler/session.h"

struct connection;

enum {
	/* Connections to one handler; chosen well below LimitNOFILE of the unit (two descriptors each). */
	SOCKET_MAX_CONNECTIONS = 2048,
	/* … of one user who is no administrator: whoever sends as much as he can and reads nothing costs
	 * a frame in, a frame out and the kernel's send buffer (208 KiB), 336 KiB in all; so many of them
	 * are 84 MiB, below MemoryMax of the unit. PC/SC programs know a limit of 200 for each reader. */
	SOCKET_MAX_PER_USER = 1024,
	SOCKET_HELLO_MS = 10000, /* a client says hello within this time */
	SOCKET_UNREAD_MS =
		30000, /* a client that does not read its answer for so long is dropped */
};

struct socket {
	struct service *service;
	const struct access *access;
	int fd;
	struct sd_event_source *source;
	struct sd_event_source *pause; /* until accepting is tried again */
	struct connection *connections;
	unsigned n_connections;
	uint64_t refusal_usec; /* when a refusal was last logged, and of whom */
	uid_t refusal_uid;
};

/* Starts to accept on `fd` (listening; owned from now on). 0 or negative errno. */
int socket_start(
	struct socket *socket, int fd, struct service *service, const struct access *access);

/* Tells all clients why (BYE), ends their sessions, closes the socket. A zeroed one is allowed. */
void socket_stop(struct socket *socket, enum status reason, const char *text);

/* Is a client waiting to be accepted? */
int socket_is_waiting(const struct socket *socket);
