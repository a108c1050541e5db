/* SPDX-License-Identifier: MIT */
/*
 * A connection reads into its inbox and gives the session one frame at a time; while a request is under
 * way or its answer is not out nothing more is read, so a client can make us hold one request and one
 * answer. What cannot be sent at once is kept in its outbox: the rest of some states and one reply. States
 * are never queued: a slot is marked, and its newest state is encoded when there is room.
 *
 * A connection is taken apart by event callbacks (its own, or another's that reads the owner of a lock) or
 * by connection_close, never from within a session's call; a send that fails waits for the hang-up that
 * the event loop will tell.
 */
#include "ifdhandler/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/inbox.h"
#include "ifdhandler/outbox.h"

enum {
	STATE_SIZE = FRAME_HEADER + 14 + WIRE_MAX_ATR,
	WELCOME_SIZE = FRAME_HEADER + 4,
	HEAD_SIZE = WELCOME_SIZE + DRIVER_MAX_SLOTS * STATE_SIZE + FRAME_HEADER + 8,
	/* Of a dead client: a request that it had sent ahead, and some more. Its child may go on sending. */
	DEATH_READS = 8,
	/* Of one client before others have their turn; it needs two, HELLO and CONNECT. */
	MAX_FRAMES = 4,
};

struct connection {
	struct connection *next, *prev;
	struct connections *all;
	struct session *session;
	struct session_peer peer;
	int fd, pidfd;
	struct sd_event_source *io, *death, *deadline;
	uint32_t events; /* what `io` waits for */
	struct inbox in;
	size_t held; /* bytes at the start of `in` that the request under way uses */
	struct sd_event_source *more; /* there are frames in `in` that nobody looked at */
	struct outbox out;
	uint32_t states; /* slots whose state waits for room */
	uint8_t early
		[WELCOME_SIZE]; /* a WELCOME that goes out with the answer to what came with HELLO */
	size_t early_len;
};

static void connection_free(struct connection *c);
static void connection_fail(struct connection *c, int error);
static void held_drop(struct connection *c);
static void more_start(struct connection *c);

static struct sd_event *event_of(const struct connection *c) {
	return c->all->service->event;
}

static void events_set(struct connection *c, uint32_t events) {
	if (c->events == events)
		return;
	c->events = events;
	(void)sd_event_source_set_io_events(c->io, events);
}

/* What was sent is not out yet: the client has to read before it is heard again. */
static int is_unread(const struct connection *c) {
	return !outbox_is_empty(&c->out);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	connection_close(userdata, STATUS_PROTOCOL, "no HELLO within 10 seconds");
	return 0;
}

static void deadline_start(struct connection *c, uint64_t ms) {
	if (!c->deadline)
		(void)sd_event_add_time_relative(event_of(c), &c->deadline, CLOCK_MONOTONIC,
			ms * 1000, 1000000, on_deadline, c);
}

static void deadline_stop(struct connection *c) {
	c->deadline = sd_event_source_disable_unref(c->deadline);
}

/* ---- out ---- */

/* Sends, or keeps the rest. After an error nothing more can be said (out of memory: as if the client did
 * not read): a hang-up follows. */
static void out_send(struct connection *c, const struct iovec *iov, int n) {
	if (outbox_send(&c->out, c->fd, iov, n) < 0)
		shutdown(c->fd, SHUT_RDWR);
	else if (is_unread(c))
		events_set(c, c->events | EPOLLOUT);
}

static void put_states(struct connection *c, struct bytes_writer *w, uint32_t slots) {
	struct message_state state;
	for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++)
		if (slots & (1u << i)) {
			session_get_state(c->session, i, &state);
			message_state_encode(w, 0, &state);
		}
}

static void put_early(struct connection *c, struct bytes_writer *w) {
	bytes_put_data(w, c->early, c->early_len);
	c->early_len = 0;
}

static void states_send(struct connection *c, uint32_t slots) {
	uint8_t head[HEAD_SIZE];
	struct bytes_writer w = bytes_writer(head, sizeof(head));
	put_early(c, &w);
	put_states(c, &w, slots);
	out_send(c, &(struct iovec){ head, bytes_written(&w) }, 1);
}

/* The kernel calls a socket writable while a quarter of its buffer is in use at most. */
static int has_room(const struct connection *c) {
	struct pollfd p = { .fd = c->fd, .events = POLLOUT };
	return poll(&p, 1, 0) == 1;
}

/* Whoever does not read has old states in the socket, a quarter of its buffer full; the newest ones wait
 * here until there is room. */
static void peer_states(void *userdata, uint32_t slots) {
	struct connection *c = userdata;
	if (is_unread(c) || c->states || !has_room(c)) {
		c->states |= slots;
		events_set(c, c->events | EPOLLOUT);
	} else {
		states_send(c, slots);
	}
}

/* An answer that nobody reads has a deadline; states that nobody reads have none: they cost nothing. */
static void answer_send(struct connection *c, const struct iovec *iov, int n) {
	out_send(c, iov, n);
	if (is_unread(c))
		deadline_start(c, CONNECTION_UNREAD_MS);
}

/* WELCOME is for a client that waits: nothing that came with its HELLO was answered at once. */
static void early_send(struct connection *c) {
	if (c->early_len)
		answer_send(c, &(struct iovec){ c->early, c->early_len }, 1);
	c->early_len = 0;
}

static void reply_send(
	struct connection *c, uint16_t serial, const struct message_reply *reply, uint32_t slots) {
	uint8_t head[HEAD_SIZE];
	struct bytes_writer w = bytes_writer(head, sizeof(head));
	put_early(c, &w);
	put_states(c, &w, c->states | slots);
	c->states = 0;
	frame_header(&w, MESSAGE_REPLY, serial, 8 + reply->tail_len);
	bytes_put_u16(&w, reply->status);
	bytes_put_u16(&w, 0);
	bytes_put_u32(&w, reply->value);
	struct iovec iov[2] = {
		{ head, bytes_written(&w) },
		{ (void *)(uintptr_t)reply->tail, reply->tail_len },
	};
	answer_send(c, iov, reply->tail_len ? 2 : 1);
}

static void peer_reply(
	void *userdata, uint16_t serial, const struct message_reply *reply, uint32_t slots) {
	struct connection *c = userdata;
	if (reply)
		reply_send(c, serial, reply, slots);
	else if (slots)
		peer_states(c, slots);
	events_set(c, c->events | EPOLLIN);
	held_drop(c);
}

static void peer_welcome(void *userdata, uint16_t serial, const struct message_welcome *welcome) {
	struct connection *c = userdata;
	struct bytes_writer w = bytes_writer(c->early, sizeof(c->early));
	deadline_stop(c);
	frame_header(&w, MESSAGE_WELCOME, serial, 4 + welcome->tail_len);
	bytes_put_u16(&w, welcome->version);
	bytes_put_u16(&w, welcome->n_slots);
	c->early_len = bytes_written(&w);
	if (!welcome->tail_len)
		return; /* frames_take sends it, at the latest */
	struct iovec iov[2] = {
		{ c->early, c->early_len },
		{ (void *)(uintptr_t)welcome->tail, welcome->tail_len },
	};
	c->early_len = 0;
	answer_send(c, iov, 2);
}

void connection_refuse(int fd, enum status reason, const char *text) {
	uint8_t buf[1024]; /* chosen: a sentence or two */
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	size_t len = strlen(text);
	struct message_bye bye = { .status = (uint16_t)reason,
		.tail = (const uint8_t *)text,
		.tail_len = len > 900 ? 900 : len };
	message_bye_encode(&w, 0, &bye);
	(void)send(fd, buf, bytes_written(&w), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Says why and takes the connection apart. After the rest of another frame a BYE cannot be told
 * from it: the client then sees the end only. */
void connection_close(struct connection *c, enum status reason, const char *text) {
	if (!is_unread(c))
		connection_refuse(c->fd, reason, text);
	connection_free(c);
}

static int on_writable(struct connection *c) {
	int r = outbox_flush(&c->out, c->fd);
	if (r < 0 || is_unread(c))
		return r;
	if (c->session->state != SESSION_NEW) /* which has a deadline of its own */
		deadline_stop(c);
	events_set(c, (c->events | EPOLLIN) & ~(uint32_t)EPOLLOUT);
	uint32_t slots = c->states;
	c->states = 0;
	if (slots)
		states_send(c, slots);
	more_start(c);
	return 0;
}

/* ---- in ---- */

/* The first frame in the buffer stays there while its request is under way. */
static int frames_do(struct connection *c) {
	struct frame frame;
	for (int i = 0; !session_is_busy(c->session) && !is_unread(c); i++) {
		if (i == MAX_FRAMES) {
			more_start(c);
			return 0;
		}
		int size = frame_parse(c->in.data, c->in.len, &frame);
		if (size <= 0)
			return size;
		int r = session_frame(c->session, &frame);
		if (r < 0)
			return r;
		if (session_is_busy(c->session))
			c->held = (size_t)size;
		else
			inbox_drop(&c->in, (size_t)size);
	}
	return 0;
}

static int frames_take(struct connection *c) {
	int r = frames_do(c);
	early_send(c);
	return r;
}

static int on_more(sd_event_source *source, void *userdata) {
	(void)source;
	struct connection *c = userdata;
	c->more = sd_event_source_disable_unref(c->more);
	int r = frames_take(c);
	if (r < 0)
		connection_fail(c, r);
	return 0;
}

/* What is in the buffer already is looked at in the loop's next turn; where that cannot be had the
 * client is cut off, or it would wait for ever. */
static void more_start(struct connection *c) {
	if (c->in.len > c->held && !c->more &&
		sd_event_add_defer(event_of(c), &c->more, on_more, c) < 0)
		shutdown(c->fd, SHUT_RDWR);
}

/* The request is answered: it goes, and what was sent behind it is next. */
static void held_drop(struct connection *c) {
	if (!c->held)
		return;
	inbox_drop(&c->in, c->held);
	c->held = 0;
	more_start(c);
}

static const char *close_text(int error) {
	switch (error) {
	case -EMSGSIZE: return "a frame is longer than 65600 bytes";
	case -EPROTONOSUPPORT: return "this handler speaks versions 1 and 2 of the protocol";
	default: return "a message is malformed or not legal now";
	}
}

/* Reads once. 1: there may be more, 0: not now, negative: as inbox_read. */
static int receive(struct connection *c) {
	if (session_is_busy(c->session) || is_unread(c)) {
		/* Sent ahead: left to the kernel until the answer is out. */
		events_set(c, c->events & ~(uint32_t)EPOLLIN);
		return 0;
	}
	return inbox_read(&c->in, c->fd);
}

/* Reads once and does what was asked. As receive. */
static int receive_and_do(struct connection *c) {
	int n = receive(c);
	int r = n < 0 ? n : frames_take(c);
	return r < 0 ? r : n;
}

/* Whoever owns a lock may have given it back before `c` asked, and the loop looks at sockets in any
 * order: a client does not wait for the answer to END, but may tell another that it is done. */
static void owners_read(const struct connection *c) {
	const struct service *service = c->all->service;
	for (unsigned i = 0; i < service->n_slots; i++) {
		struct lease_holder *holder = service->leases[i].owner;
		struct session *s = holder ? session_of(holder) : NULL;
		if (!s || s->ended || s == c->session)
			continue;
		struct connection *owner = s->peer->userdata;
		int r = receive_and_do(owner);
		if (r < 0)
			connection_fail(owner, r);
	}
}

/* What was sent before this was read is done before it. */
static int on_readable(struct connection *c) {
	int n = receive(c);
	if (n > 0)
		owners_read(c);
	return n < 0 ? n : frames_take(c);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
	(void)source, (void)fd;
	struct connection *c = userdata;
	int r = 0;
	if (revents & EPOLLOUT)
		r = on_writable(c);
	if (r == 0 && (revents & EPOLLIN))
		r = on_readable(c);
	/* After a hang-up what was sent before it still counts, unless an answer is due that nobody reads. */
	if (r >= 0 && (revents & (EPOLLHUP | EPOLLERR)) &&
		(!(revents & EPOLLIN) || session_is_busy(c->session)))
		r = -ECONNRESET;
	if (r < 0)
		connection_fail(c, r);
	return 0;
}

/* The peer is gone, or is told what it did wrong. */
static void connection_fail(struct connection *c, int error) {
	if (error == -EPROTONOSUPPORT)
		connection_close(c, STATUS_VERSION, close_text(error));
	else if (error == -EBADMSG || error == -EMSGSIZE)
		connection_close(c, STATUS_PROTOCOL, close_text(error));
	else
		connection_free(c);
}

static int on_death(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
	(void)source, (void)fd, (void)revents;
	struct connection *c = userdata;
	/* What it sent before it died still counts: END makes the difference of a card reset. */
	for (int i = 0; i < DEATH_READS && receive_and_do(c) > 0; i++)
		;
	connection_free(c);
	return 0;
}

/* ---- life ---- */

static void connection_free(struct connection *c) {
	struct connections *all = c->all;
	if (c->prev)
		c->prev->next = c->next;
	else
		all->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	all->n--;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->death);
	sd_event_source_disable_unref(c->deadline);
	sd_event_source_disable_unref(c->more);
	if (c->pidfd >= 0)
		close(c->pidfd);
	close(c->fd);
	outbox_clear(&c->out);
	if (c->session)
		session_end(c->session, c->in.data, c->in.size);
	else
		free(c->in.data);
	free(c);
	all->freed(all->userdata);
}

static int connection_sources(struct connection *c) {
	c->events = EPOLLIN;
	int r = sd_event_add_io(event_of(c), &c->io, c->fd, c->events, on_io, c);
	if (r < 0)
		return r;
	/* A child that inherited the descriptor must not keep a dead owner's lock: its pid is watched. */
	c->pidfd = (int)syscall(SYS_pidfd_open, c->session->client.pid, 0);
	if (c->pidfd < 0 && errno == ESRCH)
		return -ESRCH;
	if (c->pidfd >= 0)
		r = sd_event_add_io(event_of(c), &c->death, c->pidfd, EPOLLIN, on_death, c);
	return r;
}

void connection_new(struct connections *all, int fd, const struct session_client *client) {
	struct connection *c = calloc(1, sizeof(*c));
	if (!c || inbox_init(&c->in) < 0) {
		free(c);
		close(fd);
		return;
	}
	c->all = all;
	c->fd = fd;
	c->pidfd = -1;
	c->peer = (struct session_peer){
		.userdata = c, .welcome = peer_welcome, .reply = peer_reply, .states = peer_states
	};
	c->next = all->first;
	if (c->next)
		c->next->prev = c;
	all->first = c;
	all->n++;
	c->session = session_new(all->service, client, &c->peer);
	if (!c->session || connection_sources(c) < 0) {
		connection_close(c, STATUS_NO_MEMORY, "out of memory");
		return;
	}
	/* Its first words are mostly here already: that saves a turn of the loop, and a deadline. */
	int r = on_readable(c);
	if (r < 0)
		connection_fail(c, r);
	else if (c->session->state == SESSION_NEW)
		deadline_start(c, CONNECTION_HELLO_MS);
}

unsigned connection_count(const struct connections *all, uid_t uid) {
	unsigned n = 0;
	for (const struct connection *c = all->first; c; c = c->next)
		n += c->session && c->session->client.uid == uid;
	return n;
}
