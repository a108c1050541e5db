/* SPDX-License-Identifier: MIT */
/*
 * USB/IP on the device's side: submitted transfers come with a number, and are answered with it.
 *
 * Every PDU begins with a header of 48 bytes, big-endian; bytes of an OUT transfer follow the
 * request, those of an IN transfer the answer. The other side is the kernel or our own test: PDUs
 * come whole, so reading may block for the rest of one. Transfers of one endpoint are served in the
 * order in which they came.
 */
#include "tests/model/usbip.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	CMD_SUBMIT = 1,
	CMD_UNLINK = 2,
	RET_SUBMIT = 3,
	RET_UNLINK = 4,
	HEADER = 48,
	/* Flags of a transfer as the kernel has them (linux/usb.h). */
	SHORT_NOT_OK = 0x0001,
	ZERO_PACKET = 0x0040,
	/* usbfs takes at most this much at once (usbfs_memory_mb). Chosen below it. */
	MAX_TRANSFER = 1 << 20,
};

/* A transfer that waits. */
struct transfer {
	struct transfer *next;
	uint32_t number;
	uint32_t flags;
	struct reader_urb urb;
	uint8_t data[];
};

struct usbip {
	struct bed_device *device;
	int fd;
	struct transfer *pending;
};

int usbip_new(struct bed_device *device, int fd, struct usbip **ret_usbip) {
	struct usbip *usbip = calloc(1, sizeof *usbip);
	if (!usbip)
		return -ENOMEM;
	usbip->device = device;
	usbip->fd = fd;
	*ret_usbip = usbip;
	return 0;
}

void usbip_free(struct usbip *usbip) {
	if (!usbip)
		return;
	for (struct transfer *next, *t = usbip->pending; t; t = next) {
		next = t->next;
		free(t);
	}
	close(usbip->fd);
	free(usbip);
}

static uint32_t word(const uint8_t *header, size_t i) {
	uint32_t value;
	memcpy(&value, header + 4 * i, sizeof value);
	return be32toh(value);
}

static void set_word(uint8_t *header, size_t i, uint32_t value) {
	value = htobe32(value);
	memcpy(header + 4 * i, &value, sizeof value);
}

static int receive_all(const struct usbip *usbip, uint8_t *buf, size_t len) {
	while (len) {
		ssize_t n = recv(usbip->fd, buf, len, 0);
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A header and what follows it, at once: the other side is woken once. */
static void send_pdu(
	const struct usbip *usbip, const uint8_t *header, const uint8_t *data, size_t len) {
	struct iovec parts[2] = { { .iov_base = (void *)(uintptr_t)header, .iov_len = HEADER },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	while (parts[0].iov_len || parts[1].iov_len) {
		ssize_t n = sendmsg(usbip->fd, &message, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* gone: receiving will tell */
		for (int i = 0; i < 2; i++) {
			size_t part = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;
			parts[i].iov_base = (uint8_t *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
}

/* Words 0-4 are the same in all PDUs: command, number, device, direction, endpoint. */
static void answer_submit(
	const struct usbip *usbip, const struct transfer *t, int status, const uint8_t *data) {
	uint8_t header[HEADER] = { 0 };
	int in = t->urb.endpoint & 0x80;
	set_word(header, 0, RET_SUBMIT);
	set_word(header, 1, t->number);
	set_word(header, 5, (uint32_t)status);
	set_word(header, 6, (uint32_t)t->urb.actual);
	send_pdu(usbip, header, data, in ? t->urb.actual : 0);
}

/* The transfer at *at has ended. */
static void finish(struct usbip *usbip, struct transfer **at, int status) {
	struct transfer *t = *at;
	*at = t->next;
	if (!status && (t->flags & SHORT_NOT_OK) && t->urb.actual < t->urb.size)
		status = -EREMOTEIO;
	answer_submit(usbip, t, status, t->data);
	struct reader_urb empty = { .endpoint = t->urb.endpoint };
	/* full speed: packets of 64 bytes */
	if (!(t->urb.endpoint & 0x80) && (t->flags & ZERO_PACKET) && t->urb.size &&
		t->urb.size % 64 == 0)
		reader_submit(usbip->device->reader, &empty, bed_now());
	free(t);
}

void usbip_pump(struct usbip *usbip) {
	uint64_t now = bed_now();
	uint8_t waits[256] = { 0 };
	for (struct transfer **at = &usbip->pending; *at;) {
		struct transfer *t = *at;
		/* a control transfer that waits does so until it is unlinked */
		if (!(t->urb.endpoint & 0x0f) || waits[t->urb.endpoint]) {
			at = &t->next;
			continue;
		}
		int r = reader_submit(usbip->device->reader, &t->urb, now);
		if (r == READER_PENDING) {
			waits[t->urb.endpoint] = 1;
			at = &t->next;
			continue;
		}
		finish(usbip, at, r);
		/* what one endpoint took may be what another waits for */
		memset(waits, 0, sizeof waits);
		at = &usbip->pending;
	}
}

static void wait_transfer(struct usbip *usbip, struct transfer *t) {
	struct transfer **at = &usbip->pending;
	while (*at)
		at = &(*at)->next;
	*at = t;
}

static void control(struct usbip *usbip, struct transfer *t, const uint8_t *setup) {
	int n = reader_control(usbip->device->reader, setup, t->data, t->urb.size, bed_now());
	if (n == -EINPROGRESS) {
		wait_transfer(usbip, t);
		return;
	}
	t->urb.actual = n < 0 ? 0 : (size_t)n;
	answer_submit(usbip, t, n < 0 ? n : 0, t->data);
	free(t);
}

static int submit(struct usbip *usbip, const uint8_t *header) {
	uint32_t in = word(header, 3), endpoint = word(header, 4), len = word(header, 6);
	if (in > 1 || endpoint > 15 || len > MAX_TRANSFER)
		return -EPROTO;
	struct transfer *t = calloc(1, sizeof *t + len);
	if (!t)
		return -ENOMEM;
	t->number = word(header, 1);
	t->flags = word(header, 5);
	t->urb = (struct reader_urb){
		.endpoint = (uint8_t)(endpoint | (in ? 0x80 : 0)), .data = t->data, .size = len
	};
	int r = in ? 0 : receive_all(usbip, t->data, len);
	if (r) {
		free(t);
		return r;
	}
	reader_count(usbip->device->reader, COUNT_SUBMITS);
	if (!endpoint) {
		control(usbip, t, header + 40);
		return 0;
	}
	wait_transfer(usbip, t);
	usbip_pump(usbip);
	return 0;
}

static int unlink_transfer(struct usbip *usbip, const uint8_t *header) {
	uint8_t answer[HEADER] = { 0 };
	uint32_t number = word(header, 5);
	reader_count(usbip->device->reader, COUNT_DISCARDS);
	set_word(answer, 0, RET_UNLINK);
	set_word(answer, 1, word(header, 1));
	for (struct transfer **at = &usbip->pending; *at; at = &(*at)->next)
		if ((*at)->number == number) {
			struct transfer *t = *at;
			*at = t->next;
			free(t);
			set_word(answer, 5, (uint32_t)-ECONNRESET);
			break;
		}
	send_pdu(usbip, answer, NULL, 0);
	return 0;
}

int usbip_receive(struct usbip *usbip) {
	uint8_t header[HEADER];
	int r = receive_all(usbip, header, sizeof header);
	if (r)
		return r;
	switch (word(header, 0)) {
	case CMD_SUBMIT: return submit(usbip, header);
	case CMD_UNLINK: return unlink_transfer(usbip, header);
	default: return -EPROTO;
	}
}
