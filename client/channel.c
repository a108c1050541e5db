/* SPDX-License-Identifier: MIT */
/*
 * A request is one sendmsg, its answer normally one recv: the socket blocks, and what the handler
 * has pushed meanwhile comes along in the same bytes. Reading what has been pushed without asking is
 * recv with MSG_DONTWAIT. The handler is not trusted with our memory: lengths are checked before
 * anything is stored, and a frame that makes no sense ends the connection.
 *
 * Only the owner of a channel touches it, one thread at a time (client/handle.h).
 */
#include "client/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/debug.h"
#include "client/descriptor.h"
#include "wire/path.h"
#include "wire/status.h"

enum {
	ROOM = 2048,     /* chosen: a short answer with several STATEs before it */
	GREET_MS = 5000, /* chosen: a handler's event loop on a busy machine, or the start of one */
};

static int address_set(struct sockaddr_un *address, const char *dir, const char *instance) {
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.sock", dir, instance);
	return n < 0 || (size_t)n >= sizeof(address->sun_path) ? -ENAMETOOLONG : 0;
}

/* A recv that waits gives up after CHANNEL_SILENCE_MS. */
static int limit_receive(int fd) {
	struct timeval tv = { .tv_sec = CHANNEL_SILENCE_MS / 1000 };
	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

static int limit_send(int fd, int64_t deadline_ms) {
	int left = clock_left(deadline_ms);
	struct timeval tv = { .tv_sec = left / 1000, .tv_usec = (left % 1000) * 1000 };
	if (left == 0)
		return -EAGAIN; /* as connect says it; 0 would mean for ever */
	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

/* connect(2) to a full queue waits as long as SO_SNDTIMEO says, and anew after each signal. */
static int connect_within(int fd, const struct sockaddr_un *address, int64_t deadline_ms) {
	do {
		int r = deadline_ms == CLOCK_NEVER ? 0 : limit_send(fd, deadline_ms);
		if (r < 0)
			return r;
		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
			return 0;
	} while (errno == EINTR);
	return -errno;
}

int channel_open(
	const char *dir, const char *instance, int64_t deadline_ms, struct channel *ret_channel) {
	struct sockaddr_un address;
	int type = SOCK_STREAM | SOCK_CLOEXEC | (deadline_ms == CLOCK_NEVER ? SOCK_NONBLOCK : 0);
	*ret_channel = CHANNEL_CLOSED;
	int r = address_set(&address, dir, instance);
	if (r < 0)
		return r;
	int fd = descriptor_own(socket(AF_UNIX, type, 0));
	if (fd < 0)
		return fd;
	if (deadline_ms != CLOCK_NEVER)
		r = limit_receive(fd);
	if (r == 0)
		r = connect_within(fd, &address, deadline_ms);
	if (r == 0 && path_peer_trusted(dir, fd) <= 0)
		r = CHANNEL_UNTRUSTED;
	if (r < 0) {
		debug_log(DEBUG_INFO, "%s: %s", address.sun_path, strerror(-r));
		descriptor_close(&fd);
		return r;
	}
	ret_channel->fd = fd;
	return 0;
}

void channel_close(struct channel *channel) {
	descriptor_close(&channel->fd);
	if (channel->buf)
		explicit_bzero(channel->buf, channel->len);
	free(channel->buf);
	free(channel->states);
	*channel = CHANNEL_CLOSED;
}

bool channel_end(struct channel *channel) {
	return channel->fd >= 0 && descriptor_is_ours(channel->fd) &&
		shutdown(channel->fd, SHUT_WR) == 0;
}

void channel_finish(struct channel *channel, int64_t deadline_ms) {
	struct frame frame;
	if (channel_end(channel))
		while (clock_left(deadline_ms) &&
			channel_await(channel, MESSAGE_REPLY, deadline_ms, &frame) == 0)
			;
	channel_close(channel);
}

void channel_hello(struct channel *channel, uint16_t flags, struct bytes_writer *w) {
	struct message_hello hello = {
		.magic = WIRE_MAGIC,
		.version = WIRE_VERSION,
		.flags = flags,
	};
	message_hello_encode(w, channel_serial(channel), &hello);
}

uint16_t channel_serial(struct channel *channel) {
	return ++channel->serial;
}

static void parts_advance(struct msghdr *message, size_t n) {
	while (message->msg_iovlen && n >= message->msg_iov->iov_len) {
		n -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen) {
		message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + n;
		message->msg_iov->iov_len -= n;
	}
}

/* Waits until something can be sent or received. 0, CHANNEL_TIMEOUT or CHANNEL_LOST. */
static int wait_ready(int fd, short events, int64_t deadline_ms) {
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, clock_left(deadline_ms));
		if (n > 0)
			return 0;
		if (n == 0)
			return CHANNEL_TIMEOUT;
		if (errno != EINTR)
			return CHANNEL_LOST;
	}
}

/* Without waiting: SO_SNDTIMEO is for connect. */
static int send_parts(int fd, struct msghdr *message) {
	int64_t deadline_ms = CLOCK_NEVER;
	while (message->msg_iovlen) {
		ssize_t sent = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			parts_advance(message, (size_t)sent);
			deadline_ms = CLOCK_NEVER;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return CHANNEL_UNSENT;
		if (deadline_ms == CLOCK_NEVER)
			deadline_ms = clock_ms() + CHANNEL_ROOM_MS;
		int r = wait_ready(fd, POLLOUT, deadline_ms);
		if (r < 0)
			return r == CHANNEL_TIMEOUT ? r : CHANNEL_UNSENT;
	}
	return 0;
}

int channel_send(struct channel *channel, const struct iovec *parts, size_t n) {
	struct iovec left[2];
	size_t n_left = n < 2 ? n : 2;
	memcpy(left, parts, n_left * sizeof(*parts));
	struct msghdr message = { .msg_iov = left, .msg_iovlen = n_left };
	if (!descriptor_is_ours(channel->fd))
		return CHANNEL_UNSENT;
	int r = send_parts(channel->fd, &message);
	if (r == CHANNEL_UNSENT)
		channel_drain(channel); /* a BYE may say why */
	return r;
}

int channel_send_tail(
	struct channel *channel, struct bytes_writer *head, const void *data, size_t n) {
	size_t head_len = bytes_written(head);
	if (n > WIRE_MAX_DATA)
		return -EMSGSIZE;
	struct bytes_reader r = bytes_reader(head->start, head_len);
	bytes_get_u32(&r);
	uint16_t type = bytes_get_u16(&r);
	struct bytes_writer w = bytes_writer(head->start, FRAME_HEADER);
	frame_header(&w, type, channel->serial, head_len - FRAME_HEADER + n);
	struct iovec parts[2] = {
		{ .iov_base = head->start, .iov_len = head_len },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = n },
	};
	return channel_send(channel, parts, n ? 2 : 1);
}

static int apply_state(struct channel *channel, const struct frame *frame) {
	struct message_state m;
	if (!channel->states || message_state_decode(frame, &m) < 0)
		return CHANNEL_LOST;
	if (m.slot >= channel->n_slots)
		return 0; /* a newer handler may have slots come and go: not ours to judge */
	struct channel_state *state = &channel->states[m.slot];
	*state = (struct channel_state){
		.known = true,
		.presence = m.presence,
		.flags = m.flags,
		.status = m.status,
		.counter = m.counter,
		.protocol = m.protocol,
		.event = m.event,
		.atr_len = (uint8_t)m.tail_len,
	};
	if (m.tail_len)
		memcpy(state->atr, m.tail, m.tail_len);
	return 0;
}

static int apply_welcome(struct channel *channel, const struct frame *frame) {
	struct message_welcome m;
	if (channel->states || message_welcome_decode(frame, &m) < 0 || m.n_slots == 0 ||
		m.n_slots > WIRE_MAX_SLOTS || m.version == 0 || m.version > WIRE_VERSION)
		return CHANNEL_LOST;
	channel->states = calloc(m.n_slots, sizeof(*channel->states));
	if (!channel->states)
		return CHANNEL_LOST;
	channel->n_slots = m.n_slots;
	channel->version = m.version;
	return 0;
}

static int apply_bye(struct channel *channel, const struct frame *frame) {
	struct message_bye m;
	if (message_bye_decode(frame, &m) == 0) {
		channel->bye = m.status;
		debug_log(DEBUG_INFO, "handler ends the connection: %s: %.*s",
			status_text(m.status), (int)(m.tail_len < 400 ? m.tail_len : 400),
			m.tail ? (const char *)m.tail : "");
	}
	return CHANNEL_LOST;
}

static int apply(struct channel *channel, const struct frame *frame) {
	switch (frame->type) {
	case MESSAGE_WELCOME: return apply_welcome(channel, frame);
	case MESSAGE_STATE: return apply_state(channel, frame);
	case MESSAGE_REPLY: return 0;
	case MESSAGE_BYE: return apply_bye(channel, frame);
	default: return CHANNEL_LOST;
	}
}

int channel_next(struct channel *channel, struct frame *ret_frame) {
	struct frame frame;
	if (channel->start == channel->len)
		return 0;
	int n = frame_parse(channel->buf + channel->start, channel->len - channel->start, &frame);
	if (n == 0)
		return 0;
	if (n < 0)
		return CHANNEL_LOST;
	channel->start += (size_t)n;
	int r = apply(channel, &frame);
	if (r < 0)
		return r;
	*ret_frame = frame;
	return frame.type;
}

/* Makes room for the frame that has begun to arrive, without leaving a copy of it behind. */
static int make_room(struct channel *channel) {
	size_t pending = channel->len - channel->start, need = ROOM;
	if (pending >= FRAME_HEADER) { /* then channel_next has looked at the length */
		struct bytes_reader r = bytes_reader(channel->buf + channel->start, 4);
		need = FRAME_HEADER + bytes_get_u32(&r);
	}
	if (need <= channel->size) {
		memmove(channel->buf, channel->buf + channel->start, pending);
		explicit_bzero(channel->buf + pending, channel->len - pending);
	} else {
		uint8_t *buf = malloc(need);
		if (!buf)
			return -ENOMEM;
		if (pending)
			memcpy(buf, channel->buf + channel->start, pending);
		if (channel->buf)
			explicit_bzero(channel->buf, channel->len);
		free(channel->buf);
		channel->buf = buf;
		channel->size = need;
	}
	channel->start = 0;
	channel->len = pending;
	return 0;
}

int channel_receive(struct channel *channel, bool wait) {
	if (make_room(channel) < 0)
		return CHANNEL_LOST;
	for (;;) {
		ssize_t n = recv(channel->fd, channel->buf + channel->len,
			channel->size - channel->len, wait ? 0 : MSG_DONTWAIT);
		if (n > 0) {
			channel->len += (size_t)n;
			return 1;
		}
		if (n < 0 && errno == EAGAIN)
			return wait ? CHANNEL_TIMEOUT : 0;
		if (n == 0 || errno != EINTR)
			return CHANNEL_LOST;
	}
}

int channel_drain(struct channel *channel) {
	struct frame frame;
	unsigned n_states = 0;
	int r;
	if (channel->fd < 0 || !descriptor_is_ours(channel->fd))
		return CHANNEL_LOST;
	do {
		while ((r = channel_next(channel, &frame)) > 0)
			n_states += r == MESSAGE_STATE;
		if (r == 0)
			r = channel_receive(channel, false);
	} while (r > 0);
	channel_wipe(channel);
	return r < 0 ? r : n_states >= CHANNEL_HEAP;
}

int channel_await(
	struct channel *channel, uint16_t type, int64_t deadline_ms, struct frame *ret_frame) {
	for (;;) {
		int r = channel_next(channel, ret_frame);
		if (r < 0)
			return r;
		if (r == type && (type != MESSAGE_REPLY || ret_frame->serial == channel->serial))
			return 0;
		if (r > 0)
			continue;
		if (deadline_ms != CLOCK_NEVER)
			r = wait_ready(channel->fd, POLLIN, deadline_ms);
		if (r == 0)
			r = channel_receive(channel, true);
		if (r < 0)
			return r;
	}
}

int channel_reply(struct channel *channel, struct message_reply *ret_reply) {
	struct frame frame;
	int r = channel_await(channel, MESSAGE_REPLY, CLOCK_NEVER, &frame);
	if (r < 0)
		return r;
	return message_reply_decode(&frame, ret_reply) < 0 ? CHANNEL_LOST : 0;
}

bool channel_greets(const char *dir, const char *instance) {
	int64_t deadline_ms = clock_ms() + GREET_MS;
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct channel channel;
	struct frame frame;
	int r = channel_open(dir, instance, deadline_ms, &channel);
	if (r == 0) {
		channel_hello(&channel, 0, &w);
		r = channel_send_tail(&channel, &w, NULL, 0);
	}
	if (r == 0)
		r = channel_await(&channel, MESSAGE_WELCOME, deadline_ms, &frame);
	channel_close(&channel);
	return r != CHANNEL_TIMEOUT && r != -EAGAIN;
}

void channel_wipe(struct channel *channel) {
	if (channel->buf)
		explicit_bzero(channel->buf, channel->start);
}

struct channel_state channel_slot(const struct channel *channel, unsigned slot) {
	if (slot >= channel->n_slots)
		return (struct channel_state){ 0 };
	return channel->states[slot];
}
