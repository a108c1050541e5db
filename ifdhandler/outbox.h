/* SPDX-License-Identifier: MIT */
/* What one client was told and has not read yet. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A null initializer is an empty one. */
struct outbox {
	uint8_t *data;
	size_t off, len; /* to be sent: off to len */
};

static inline int outbox_is_empty(const struct outbox *outbox) {
	return outbox->off == outbox->len;
}

/* Sends `iov` on `fd` behind what is here already; what does not go out at once is copied. 0, or negative:
 * the peer is gone, or -ENOMEM: nothing more can be said to it. */
int outbox_send(struct outbox *outbox, int fd, const struct iovec *iov, int n);

/* Sends what is here, as far as the socket takes it. As outbox_send. */
int outbox_flush(struct outbox *outbox, int fd);

/* Forgets all: it is wiped. */
void outbox_clear(struct outbox *outbox);
