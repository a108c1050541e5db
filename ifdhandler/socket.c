/* SPDX-License-Identifier: MIT */
/*
 * The listening socket: who may come in, and how many. Access is decided before a byte is read; a client
 * that is refused is told what would allow it. Without descriptors accepting pauses, and goes on when
 * a connection ends or a second has passed.
 */
#include "ifdhandler/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/program.h"

enum {
	REFUSAL_LOG_USEC = 60 * 1000000, /* a refused user who tries on is one line a minute */
	REFUSAL_LOG_MAX = 10, /* and several who take turns are no more than so many. Chosen */
	ACCEPT_PAUSE_USEC = 1000000, /* chosen: without descriptors or memory a try each second */
};

static void refusal_log(struct socket *s, const struct session_client *client, const char *reason) {
	uint64_t now = 0;
	(void)sd_event_now(s->service->event, CLOCK_MONOTONIC, &now);
	if (!s->refusal_usec || now - s->refusal_usec >= REFUSAL_LOG_USEC) {
		s->refusal_usec = now;
		s->n_refusals = 0;
	}
	if (s->n_refusals && (s->refusal_uid == client->uid || s->n_refusals == REFUSAL_LOG_MAX))
		return;
	s->n_refusals++;
	char program[PROGRAM_NAME_SIZE];
	s->refusal_uid = client->uid;
	program_name(client->pid, program);
	log_line(s->service->log, LOG_NOTICE, "%s: refused %s (pid %d): %s",
		service_name(s->service, 0), program, (int)client->pid, reason);
}

/* Does nobody go without because of this one more? A sentence if so. */
static const char *limit_text(const struct socket *s, const struct session_client *client) {
	unsigned kept = client->admin ? 0 : SOCKET_KEPT;
	if (s->connections.n >= SOCKET_MAX_CONNECTIONS - kept)
		return "this reader has 2048 connections";
	if (!client->admin && connection_count(&s->connections, client->uid) >= SOCKET_MAX_PER_USER)
		return "this user has 1024 connections to this reader";
	return NULL;
}

static void client_accept(struct socket *s, int fd) {
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char reason[256];
	const char *limit;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
		close(fd);
		return;
	}
	struct session_client client = { .pid = cred.pid, .uid = cred.uid };
	client.admin = cred.uid == 0 || cred.uid == geteuid();
	if (!access_check(s->access, fd, cred.uid, cred.gid, reason, sizeof(reason))) {
		refusal_log(s, &client, reason);
		connection_refuse(fd, STATUS_REFUSED, reason);
		close(fd);
	} else if ((limit = limit_text(s, &client))) {
		connection_refuse(fd, STATUS_LIMIT, limit);
		close(fd);
	} else {
		connection_new(&s->connections, fd, &client);
	}
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct socket *s = userdata;
	s->pause = sd_event_source_disable_unref(s->pause);
	(void)sd_event_source_set_enabled(s->source, SD_EVENT_ON);
	return 0;
}

/* No descriptor or memory for whoever waits: asking again at once would burn time, and never again
 * would lose them, as the shortage may be another's. */
static void accept_pause(struct socket *s) {
	if (!s->pause &&
		sd_event_add_time_relative(s->service->event, &s->pause, CLOCK_MONOTONIC,
			ACCEPT_PAUSE_USEC, 0, on_pause_over, s) < 0)
		return;
	(void)sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
}

static int on_accept(sd_event_source *source, int listener, uint32_t revents, void *userdata) {
	(void)source, (void)revents;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		client_accept(userdata, fd);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
		accept_pause(userdata);
	return 0;
}

/* Where accepting pauses for lack of descriptors, there are some now. */
static void on_freed(void *userdata) {
	struct socket *s = userdata;
	if (s->source)
		(void)sd_event_source_set_enabled(s->source, SD_EVENT_ON);
}

int socket_start(struct socket *socket, int fd, struct service *service, struct access *access) {
	*socket = (struct socket){ .service = service, .access = access, .fd = fd };
	socket->connections =
		(struct connections){ .service = service, .freed = on_freed, .userdata = socket };
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return sd_event_add_io(service->event, &socket->source, fd, EPOLLIN, on_accept, socket);
}

void socket_stop(struct socket *socket, enum status reason, const char *text) {
	if (!socket->service)
		return;
	socket->source = sd_event_source_disable_unref(socket->source);
	socket->pause = sd_event_source_disable_unref(socket->pause);
	while (socket->connections.first)
		connection_close(socket->connections.first, reason, text);
	close(socket->fd);
	*socket = (struct socket){ 0 };
}

int socket_is_waiting(const struct socket *socket) {
	struct pollfd p = { .fd = socket->fd, .events = POLLIN };
	return poll(&p, 1, 0) > 0;
}
