/* SPDX-License-Identifier: MIT */
/*
 * Models the bytes that came from one client, from its first unanswered frame on. The buffer holds a
 * short APDU; a longer frame gets room as soon as its header says so, and gives it back when it is
 * answered.
 *
 * Can never happen: room for a frame longer than the wire allows; a byte that was dropped and is
 * still in memory.
 */
#include "ifdhandler/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/bytes.h"
#include "wire/frame.h"

/* Holds a short APDU (261 bytes) and its header; larger frames get their own size. */
enum { USUAL_SIZE = 512 };

int inbox_init(struct inbox *inbox) {
	*inbox = (struct inbox){ .data = malloc(USUAL_SIZE), .size = USUAL_SIZE };
	return inbox->data ? 0 : -ENOMEM;
}

/* Makes room for the whole frame whose header is in the buffer. */
static int reserve(struct inbox *inbox) {
	if (inbox->len < FRAME_HEADER)
		return 0;
	struct bytes_reader r = bytes_reader(inbox->data, inbox->len);
	size_t size = FRAME_HEADER + (size_t)bytes_get_u32(&r);
	if (size > FRAME_MAX)
		return -EMSGSIZE;
	if (size <= inbox->size)
		return 0;
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	memcpy(data, inbox->data, inbox->len);
	explicit_bzero(inbox->data, inbox->size);
	free(inbox->data);
	inbox->data = data;
	inbox->size = size;
	return 0;
}

int inbox_read(struct inbox *inbox, int fd) {
	int r = reserve(inbox);
	if (r < 0)
		return r;
	size_t room = inbox->size - inbox->len;
	if (room == 0)
		return 0;
	ssize_t n = recv(fd, inbox->data + inbox->len, room, MSG_DONTWAIT);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	inbox->len += (size_t)n;
	r = reserve(inbox);
	return r < 0 ? r : 1;
}

void inbox_drop(struct inbox *inbox, size_t n) {
	memmove(inbox->data, inbox->data + n, inbox->len - n);
	inbox->len -= n;
	explicit_bzero(inbox->data + inbox->len, inbox->size - inbox->len);
	if (inbox->size <= USUAL_SIZE || inbox->len > USUAL_SIZE)
		return;
	uint8_t *data = realloc(inbox->data, USUAL_SIZE);
	if (data) {
		inbox->data = data;
		inbox->size = USUAL_SIZE;
	}
}
