/* SPDX-License-Identifier: MIT */
/*
 * The floor: what two processes need for one question and one answer over a unix socket, and nothing else. They block
 * in recv; no poll, no framing.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

static void send_all(int fd, const void *data, size_t len) {
	if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("send", 0);
}

/* 0 at the end. */
static size_t receive(int fd, void *data, size_t len) {
	size_t got = 0;
	while (got < len) {
		ssize_t n = recv(fd, (char *)data + got, len - got, 0);
		if (n <= 0)
			return 0;
		got += (size_t)n;
	}
	return got;
}

static void answer(int fd) {
	static char large[LARGE];
	char c;
	while (receive(fd, &c, 1))
		send_all(fd, large, c == 'L' ? sizeof(large) : 1);
}

/* One connection after the other, until it is killed. */
_Noreturn static void serve(int listener) {
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept", 0);
		answer(fd);
		close(fd);
	}
}

static struct sockaddr_un address(const struct echo *echo, socklen_t *ret_len) {
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(echo->address);
	memcpy(a.sun_path + 1, echo->address, n); /* in the abstract name space */
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	return a;
}

void echo_start(struct echo *echo) {
	int pair[2];
	socklen_t len;
	snprintf(echo->address, sizeof(echo->address), "bench-%d", (int)getpid());
	struct sockaddr_un a = address(echo, &len);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
		bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, 8) < 0)
		die("sockets of the floor", 0);
	echo->pid = spawn();
	if (echo->pid == 0) {
		close(pair[0]);
		answer(pair[1]);
		_exit(0);
	}
	echo->server = spawn();
	if (echo->server == 0) {
		close(pair[0]);
		close(pair[1]);
		serve(listener);
	}
	close(pair[1]);
	close(listener);
	echo->fd = pair[0];
}

void echo_stop(struct echo *echo) {
	close(echo->fd);
	reap(echo->pid);
	kill(echo->server, SIGKILL);
	waitpid(echo->server, NULL, 0);
}

void echo_ping(struct echo *echo) {
	char c = 'x';
	send_all(echo->fd, &c, 1);
	if (!receive(echo->fd, &c, 1))
		die("the floor's process has ended", 0);
}

void echo_large(struct echo *echo) {
	static char large[LARGE];
	send_all(echo->fd, "L", 1);
	if (!receive(echo->fd, large, sizeof(large)))
		die("the floor's process has ended", 0);
}

void echo_connection(struct echo *echo) {
	socklen_t len;
	struct sockaddr_un a = address(echo, &len);
	char c = 'x';
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, len) < 0)
		die("connect to the floor's process", 0);
	for (int i = 0; i < 2; i++) {
		send_all(fd, &c, 1);
		if (!receive(fd, &c, 1))
			die("the floor's process has ended", 0);
	}
	close(fd);
}
