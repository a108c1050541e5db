/* SPDX-License-Identifier: MIT */
/*
 * The socket does not block; every wait is a poll up to the caller's deadline. The handler is as
 * foreign as any peer: a frame is looked at only when it is whole, within the bounds of the buffer,
 * and a message that makes no sense ends the connection.
 */
#include "ctl/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/print.h"
#include "ctl/verb.h"
#include "wire/path.h"
#include "wire/status.h"

/* ---- life ---- */

/* A queue that is full keeps connect(2) waiting as long as SO_SNDTIMEO says; 0 would mean for
 * ever. */
static int connect_within(int fd, const struct sockaddr_un *address, int64_t deadline_ms) {
	int left = deadline_left(deadline_ms);
	struct timeval tv = { .tv_sec = left / 1000, .tv_usec = (left % 1000) * 1000 + 1 };
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int look_at_peer(struct peer *peer, const char *dir) {
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int r = path_peer_trusted(dir, peer->fd);
	if (r <= 0)
		return r < 0 ? r : -EPERM;
	if (getsockopt(peer->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	peer->pid = cred.pid;
	return 0;
}

int peer_open(const char *dir, const char *instance, int64_t deadline_ms, struct peer *ret_peer) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	*ret_peer = PEER_CLOSED;
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", dir, instance);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	struct peer peer = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	if (peer.fd < 0)
		return -errno;
	peer.buf = malloc(FRAME_MAX);
	int r = peer.buf ? connect_within(peer.fd, &address, deadline_ms) : -ENOMEM;
	if (r == 0)
		r = look_at_peer(&peer, dir);
	if (r < 0)
		peer_close(&peer);
	*ret_peer = peer;
	return r;
}

void peer_close(struct peer *peer) {
	if (peer->fd >= 0)
		close(peer->fd);
	if (peer->buf)
		explicit_bzero(peer->buf, FRAME_MAX);
	free(peer->buf);
	free(peer->states);
	/* why it ended is still to be told */
	peer->fd = -1;
	peer->buf = NULL;
	peer->states = NULL;
	peer->start = peer->len = 0;
	peer->n_slots = 0;
}

/* ---- waiting ---- */

static int wait_for(int fd, short events, int64_t deadline_ms) {
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, deadline_left(deadline_ms));
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int send_all(struct peer *peer, const uint8_t *data, size_t len, int64_t deadline_ms) {
	while (len) {
		ssize_t n = send(peer->fd, data, len, MSG_NOSIGNAL);
		if (n >= 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			int r = wait_for(peer->fd, POLLOUT, deadline_ms);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			/* a BYE that came before may say why: the receiver finds it */
			return 0;
		}
	}
	return 0;
}

/* ---- what arrives ---- */

static int apply_welcome(struct peer *peer, const struct frame *frame) {
	struct message_welcome m;
	if (peer->states || message_welcome_decode(frame, &m) < 0 || m.n_slots == 0 ||
		m.n_slots > WIRE_MAX_SLOTS || m.version == 0 || m.version > WIRE_VERSION)
		return -EBADMSG;
	peer->states = calloc(m.n_slots, sizeof(*peer->states));
	if (!peer->states)
		return -ENOMEM;
	peer->n_slots = m.n_slots;
	return 0;
}

static int apply_state(struct peer *peer, const struct frame *frame) {
	struct message_state m;
	if (!peer->states || message_state_decode(frame, &m) < 0)
		return -EBADMSG;
	if (m.slot >= peer->n_slots)
		return 0; /* a newer handler may have slots come and go */
	struct peer_state *state = &peer->states[m.slot];
	*state = (struct peer_state){
		.known = 1,
		.presence = m.presence,
		.flags = m.flags,
		.status = m.status,
		.counter = m.counter,
		.atr_len = (uint8_t)m.tail_len,
	};
	if (m.tail_len)
		memcpy(state->atr, m.tail, m.tail_len);
	return 0;
}

static int apply_bye(struct peer *peer, const struct frame *frame) {
	struct message_bye m;
	if (message_bye_decode(frame, &m) < 0)
		return -EBADMSG;
	peer->bye = m.status;
	snprintf(peer->bye_text, sizeof(peer->bye_text), "%.*s",
		(int)(m.tail_len < sizeof(peer->bye_text) ? m.tail_len : sizeof(peer->bye_text)),
		m.tail ? (const char *)m.tail : "");
	return 0;
}

/* The next whole frame, applied. Its type, 0 where more bytes are needed, or -EBADMSG. */
static int frame_take(struct peer *peer, struct frame *ret_frame) {
	struct frame frame;
	int n = frame_parse(peer->buf + peer->start, peer->len - peer->start, &frame);
	if (n <= 0)
		return n < 0 ? -EBADMSG : 0;
	peer->start += (size_t)n;
	int r = 0;
	switch (frame.type) {
	case MESSAGE_WELCOME: r = apply_welcome(peer, &frame); break;
	case MESSAGE_STATE: r = apply_state(peer, &frame); break;
	case MESSAGE_BYE: r = apply_bye(peer, &frame); break;
	case MESSAGE_REPLY: break;
	default: r = -EBADMSG;
	}
	if (r < 0)
		return r;
	*ret_frame = frame;
	return frame.type;
}

/* One recv. 1, 0 where nothing is there, -ECONNRESET at the end. */
static int receive(struct peer *peer) {
	size_t pending = peer->len - peer->start;
	if (peer->start) {
		memmove(peer->buf, peer->buf + peer->start, pending);
		explicit_bzero(peer->buf + pending, peer->len - pending);
		peer->start = 0;
		peer->len = pending;
	}
	/* a frame that frame_parse accepts fits, so there is room */
	ssize_t n = recv(peer->fd, peer->buf + peer->len, FRAME_MAX - peer->len, MSG_DONTWAIT);
	if (n > 0) {
		peer->len += (size_t)n;
		return 1;
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -ECONNRESET;
}

/* The next message of `type` (a REPLY: with our serial). */
static int await(struct peer *peer, uint16_t type, int64_t deadline_ms, struct frame *ret_frame) {
	for (;;) {
		int r = frame_take(peer, ret_frame);
		if (r == MESSAGE_BYE)
			return PEER_E_BYE;
		if (r < 0)
			return r;
		if (r == type && (r != MESSAGE_REPLY || ret_frame->serial == peer->serial))
			return 0;
		if (r > 0)
			continue;
		r = receive(peer);
		if (r == 0)
			r = wait_for(peer->fd, POLLIN, deadline_ms);
		if (r < 0)
			return r;
	}
}

int peer_take(struct peer *peer) {
	struct frame frame;
	int r;
	while ((r = frame_take(peer, &frame)) == 0) {
		r = receive(peer);
		if (r <= 0)
			break;
	}
	return r;
}

int peer_await_end(struct peer *peer, int64_t deadline_ms) {
	for (;;) {
		int r = peer_take(peer);
		if (r < 0)
			return 0;
		if (r == 0)
			r = wait_for(peer->fd, POLLIN, deadline_ms);
		if (r < 0)
			return r;
	}
}

/* ---- requests ---- */

static void hello_encode(struct peer *peer, uint16_t flags, struct bytes_writer *w) {
	struct message_hello hello = {
		.magic = WIRE_MAGIC, .version = WIRE_VERSION, .flags = flags
	};
	message_hello_encode(w, ++peer->serial, &hello);
}

int peer_hello(struct peer *peer, int64_t deadline_ms, struct description *ret_description) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct frame frame;
	struct message_welcome welcome;
	hello_encode(peer, ret_description ? HELLO_WANT_DESCRIPTION : 0, &w);
	int r = send_all(peer, room, bytes_written(&w), deadline_ms);
	if (r == 0)
		r = await(peer, MESSAGE_WELCOME, deadline_ms, &frame);
	if (r == 0 && ret_description)
		r = message_welcome_decode(&frame, &welcome);
	if (r == 0 && ret_description)
		r = description_parse(
			(const char *)welcome.tail, welcome.tail_len, ret_description);
	return r;
}

int peer_send_watch(struct peer *peer) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	hello_encode(peer, 0, &w);
	message_watch_encode(&w, ++peer->serial, &(struct message_watch){ 0 });
	return send_all(peer, room, bytes_written(&w), deadline_now());
}

static int await_reply(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply) {
	struct frame frame;
	int r = await(peer, MESSAGE_REPLY, deadline_ms, &frame);
	return r == 0 ? message_reply_decode(&frame, ret_reply) : r;
}

int peer_await_watch(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply) {
	return await_reply(peer, deadline_ms, ret_reply);
}

static int request(struct peer *peer, const struct bytes_writer *w, int64_t deadline_ms,
	struct message_reply *ret_reply) {
	int r = send_all(peer, w->start, bytes_written(w), deadline_ms);
	return r == 0 ? await_reply(peer, deadline_ms, ret_reply) : r;
}

int peer_watch(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	message_watch_encode(&w, ++peer->serial, &(struct message_watch){ 0 });
	return request(peer, &w, deadline_ms, ret_reply);
}

int peer_inspect(struct peer *peer, int64_t deadline_ms, struct message_reply *ret_reply) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	message_inspect_encode(&w, ++peer->serial, &(struct message_inspect){ 0 });
	return request(peer, &w, deadline_ms, ret_reply);
}

int peer_stop(
	struct peer *peer, uint16_t reason, int64_t deadline_ms, struct message_reply *ret_reply) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	message_stop_encode(&w, ++peer->serial, &(struct message_stop){ .reason = reason });
	return request(peer, &w, deadline_ms, ret_reply);
}

int peer_connect(struct peer *peer, const struct message_connect *connect_message,
	int64_t deadline_ms, struct message_reply *ret_reply) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	message_connect_encode(&w, ++peer->serial, connect_message);
	return request(peer, &w, deadline_ms, ret_reply);
}

int peer_transmit(struct peer *peer, const struct message_transmit *transmit, int64_t deadline_ms,
	struct message_reply *ret_reply) {
	size_t size = FRAME_HEADER + 4 + transmit->tail_len;
	uint8_t *room = malloc(size);
	if (!room)
		return -ENOMEM;
	struct bytes_writer w = bytes_writer(room, size);
	int r = message_transmit_encode(&w, ++peer->serial, transmit);
	if (r == 0)
		r = request(peer, &w, deadline_ms, ret_reply);
	explicit_bzero(room, size);
	free(room);
	return r;
}

int peer_disconnect(struct peer *peer, int64_t deadline_ms) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_reply reply;
	message_disconnect_encode(&w, ++peer->serial,
		&(struct message_disconnect){ .disposition = DISPOSITION_LEAVE });
	return request(peer, &w, deadline_ms, &reply);
}

/* ---- errors ---- */

static int status_code(uint16_t status) {
	if (status_is_reader_trouble(status))
		return EXIT_TROUBLE;
	switch (status) {
	case STATUS_SHARING:
	case STATUS_PROTO_MISMATCH:
	case STATUS_NO_CARD:
	case STATUS_CARD_REMOVED:
	case STATUS_CARD_RESET:
	case STATUS_CARD_MUTE:
	case STATUS_CARD_UNRESPONSIVE: return EXIT_CARD;
	case STATUS_EXCHANGE_TIMEOUT: return EXIT_TIMEOUT;
	case STATUS_REFUSED: return EXIT_REFUSED;
	default: return EXIT_FAILED;
	}
}

static const char *status_remedy(uint16_t status) {
	switch (status) {
	case STATUS_SHARING:
	case STATUS_READER_CLAIMED: return "; reader-ctl status shows by whom";
	case STATUS_NO_CARD: return "; insert one";
	case STATUS_CARD_MUTE: return "; is it the right way round, and clean?";
	case STATUS_READER_DETACHED: return "; reader-ctl attach brings it back";
	case STATUS_READER_MUTE: return "; pull it and plug it in again";
	case STATUS_STOPPED:
	case STATUS_IDLE: return "; try again";
	case STATUS_VERSION: return "; reader-ctl and ifdhandler are of different releases";
	default: return "";
	}
}

static int errno_error(const char *name, int r) {
	switch (-r) {
	case ENOENT:
		return print_error(
			EXIT_TROUBLE, "%s: it has no socket; was it just unplugged?", name);
	case ECONNREFUSED:
		return print_error(EXIT_TROUBLE,
			"%s: nobody listens on its socket; its handler has died: reader-ctl init starts it again",
			name);
	case ETIMEDOUT:
		return print_error(EXIT_TIMEOUT,
			"%s: its handler does not answer in time; if that lasts, reader-ctl detach and attach start it anew",
			name);
	case ECONNRESET:
		return print_error(EXIT_TROUBLE,
			"%s: its handler ended without a word; see journalctl IFDHANDLER_INSTANCE=",
			name);
	case EPERM:
		return print_error(EXIT_REFUSED,
			"%s: its socket belongs to another user than you and root: not used", name);
	case EACCES:
		return print_error(
			EXIT_REFUSED, "%s: the directory of its socket is closed to you", name);
	case EBADMSG: return print_error(EXIT_FAILED, "%s: its handler speaks nonsense", name);
	default: return print_error(EXIT_FAILED, "%s: %s", name, strerror(-r));
	}
}

int peer_error(const struct peer *peer, const char *name, int r, uint16_t status) {
	if (r < 0)
		return errno_error(name, r);
	if (r == 0)
		return print_error(status_code(status), "%s: %s%s", name, status_text(status),
			status_remedy(status));
	if (peer->bye_text[0] && strcmp(peer->bye_text, status_text(peer->bye)) != 0)
		return print_error(status_code(peer->bye), "%s: %s: %s%s", name,
			status_text(peer->bye), peer->bye_text, status_remedy(peer->bye));
	return print_error(status_code(peer->bye), "%s: %s%s", name, status_text(peer->bye),
		status_remedy(peer->bye));
}
