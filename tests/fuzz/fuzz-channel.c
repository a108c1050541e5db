/* SPDX-License-Identifier: MIT */
/* Whatever a handler may send: the client's side of a connection neither crashes nor waits for ever. */
#include <sys/socket.h>
#include <unistd.h>

#include "client/channel.h"
#include "client/clock.h"
#include "client/descriptor.h"

enum {
	MAX_BYTES = 100000, /* below what a socket holds without a reader */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct channel channel = CHANNEL_CLOSED;
	struct frame frame;
	struct message_reply reply;
	int fds[2];
	if (size > MAX_BYTES || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 0;
	channel.fd = descriptor_own(fds[0]);
	channel.serial = size ? data[0] : 0;
	size_t half = size / 2; /* in two pieces: frames are cut somewhere */
	if (send(fds[1], data, half, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)half)
		channel_drain(&channel);
	send(fds[1], data + half, size - half, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fds[1]);
	channel_await(&channel, MESSAGE_WELCOME, clock_ms() + 1000, &frame);
	channel_reply(&channel, &reply);
	channel_drain(&channel);
	for (unsigned slot = 0; slot <= WIRE_MAX_SLOTS; slot++)
		if (channel_slot(&channel, slot).atr_len > WIRE_MAX_ATR)
			__builtin_trap();
	channel_close(&channel);
	return 0;
}
