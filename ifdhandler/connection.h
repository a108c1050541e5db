/* SPDX-License-Identifier: MIT */
/* One connected client: frames in and out, deadlines, and the end. */
#pragma once

#include "ifdhandler/session.h"

struct connection;

enum {
	CONNECTION_HELLO_MS = 10000,  /* a client says hello within this time */
	CONNECTION_UNREAD_MS = 30000, /* one that does not read its answer for so long is dropped */
};

/* All connections of a handler. The caller sets service, freed and userdata. */
struct connections {
	struct service *service;
	struct connection *first;
	unsigned n;
	/* A connection is gone, and its descriptors with it. */
	void (*freed)(void *userdata);
	void *userdata;
};

/* Serves `client` on `fd` (connected, owned from now on). A client that cannot be served for lack of
 * memory is told and closed. */
void connection_new(struct connections *all, int fd, const struct session_client *client);

/* Tells the client why (BYE) and ends its session. */
void connection_close(struct connection *connection, enum status reason, const char *text);

/* Sends BYE on a descriptor that will not become a connection; it stays open. */
void connection_refuse(int fd, enum status reason, const char *text);

/* How many connections user `uid` has. */
unsigned connection_count(const struct connections *all, uid_t uid);
