/* SPDX-License-Identifier: MIT */
/* The listening socket: accept, access, limits. */
#pragma once

#include "ifdhandler/access.h"
#include "ifdhandler/connection.h"

enum {
	/* Connections to one handler; chosen well below LimitNOFILE of the unit (two descriptors each). */
	SOCKET_MAX_CONNECTIONS = 2048,
	/* … of them kept for administrators, who come to see who has all the others. */
	SOCKET_KEPT = 32,
	/* … of one user who is no administrator: half of them, so that others come in. Enough for 500
	 * programs with a card and a watch each (PC/SC programs know a limit of 200 for each reader), and
	 * few enough to be borne: whoever sends as much as he can and reads nothing costs a frame in, a
	 * frame out and the kernel's send buffer (208 KiB), 336 KiB in all; so many of them are 336 MiB,
	 * below MemoryMax of the unit. */
	SOCKET_MAX_PER_USER = 1024,
};

struct socket {
	struct service *service;
	struct access *access;
	int fd;
	struct sd_event_source *source;
	struct sd_event_source *pause; /* until accepting is tried again */
	struct connections connections;
	uint64_t
		refusal_usec; /* since when refusals are counted, of whom the last one was, how many */
	uid_t refusal_uid;
	unsigned n_refusals;
};

/* Starts to accept on `fd` (listening; owned from now on). 0 or negative errno. */
int socket_start(struct socket *socket, int fd, struct service *service, struct access *access);

/* Tells all clients why (BYE), ends their sessions, closes the socket. A zeroed one is allowed. */
void socket_stop(struct socket *socket, enum status reason, const char *text);

/* Is a client waiting to be accepted? */
int socket_is_waiting(const struct socket *socket);
