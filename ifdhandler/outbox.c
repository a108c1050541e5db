/* SPDX-License-Identifier: MIT */
/*
 * Models the bytes that a client's socket did not take: the rest of one message, and what was said after
 * it. There is nothing here while clients read. How much there may be is for the caller to bound: it hears
 * no client that has not read its answer.
 *
 * Can never happen: bytes out of order; a byte that was sent and is still in memory when all is out.
 */
#include "ifdhandler/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static size_t total(const struct iovec *iov, int n) {
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

/* Keeps what comes after the first `sent` bytes of `iov`. */
static int keep(struct outbox *outbox, const struct iovec *iov, int n, size_t sent) {
	size_t at = outbox->len - outbox->off;
	uint8_t *data = malloc(at + total(iov, n) - sent);
	if (!data)
		return -ENOMEM;
	if (at)
		memcpy(data, outbox->data + outbox->off, at);
	for (int i = 0; i < n; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
		size_t len = iov[i].iov_len - skip;
		sent -= skip;
		if (len)
			memcpy(data + at, (const uint8_t *)iov[i].iov_base + skip, len);
		at += len;
	}
	outbox_clear(outbox);
	*outbox = (struct outbox){ .data = data, .len = at };
	return 0;
}

int outbox_send(struct outbox *outbox, int fd, const struct iovec *iov, int n) {
	if (!outbox_is_empty(outbox))
		return keep(outbox, iov, n, 0);
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	if (sent < 0)
		sent = 0;
	return (size_t)sent < total(iov, n) ? keep(outbox, iov, n, (size_t)sent) : 0;
}

int outbox_flush(struct outbox *outbox, int fd) {
	while (!outbox_is_empty(outbox)) {
		ssize_t n = send(fd, outbox->data + outbox->off, outbox->len - outbox->off,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		outbox->off += (size_t)n;
	}
	outbox_clear(outbox);
	return 0;
}

void outbox_clear(struct outbox *outbox) {
	if (outbox->data)
		explicit_bzero(outbox->data, outbox->len);
	free(outbox->data);
	*outbox = (struct outbox){ 0 };
}
