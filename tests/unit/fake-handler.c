/* SPDX-License-Identifier: MIT */
/*
 * A thread accepts, and each connection has a thread of its own that runs the test's script. Files
 * are made the way a handler without systemd makes them: the socket first, then the description, by
 * rename.
 */
#include "fake-handler.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/fake-readers-XXXXXX";

void fake_directory_make(void) {
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	if (!mkdtemp(directory))
		abort();
	setenv("IFDHANDLER_PATH", directory, 1);
}

void fake_directory_remove(void) {
	DIR *d = opendir(directory);
	struct dirent *entry;
	while ((entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	rmdir(directory);
}

static void path_of(const char *instance, const char *suffix, char *buf, size_t size) {
	snprintf(buf, size, "%s/%s%s", directory, instance, suffix);
}

void fake_register(const char *instance, const char *name, unsigned seq) {
	char path[108], temporary[108];
	path_of(instance, ".reader", path, sizeof(path));
	path_of(instance, ".new", temporary, sizeof(temporary));
	FILE *f = fopen(temporary, "w");
	fprintf(f, "version=1\ninstance=%s\nseq=%u\nregistered=%u\nreader=0 %s\n", instance, seq,
		seq, name);
	fclose(f);
	rename(temporary, path);
}

void fake_unregister(const char *instance) {
	char path[108];
	path_of(instance, ".reader", path, sizeof(path));
	unlink(path);
}

static void *peer_run(void *arg) {
	struct fake_peer *peer = arg;
	peer->handler->serve(peer);
	pthread_mutex_lock(&peer->handler->lock);
	peer->pushed = false;
	shutdown(peer->fd, SHUT_RDWR);
	pthread_mutex_unlock(&peer->handler->lock);
	return NULL;
}

static void *accept_run(void *arg) {
	struct fake_handler *handler = arg;
	int fd;
	while ((fd = accept4(handler->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		pthread_mutex_lock(&handler->lock);
		assert(handler->n_connections < FAKE_MAX_PEERS);
		struct fake_peer *peer = &handler->peers[handler->n_connections];
		peer->handler = handler;
		peer->fd = fd;
		peer->nth = handler->n_connections++;
		peer->used = pthread_create(&peer->thread, NULL, peer_run, peer) == 0;
		pthread_mutex_unlock(&handler->lock);
	}
	return NULL;
}

struct fake_handler *fake_handler_start(const char *instance, fake_serve serve, void *arg) {
	static const uint8_t atr[] = { 0x3b, 0x02, 0x14, 0x50 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fake_handler *handler = calloc(1, sizeof(*handler));
	path_of(instance, ".sock", address.sun_path, sizeof(address.sun_path));
	snprintf(handler->instance, sizeof(handler->instance), "%s", instance);
	handler->serve = serve ? serve : fake_serve_card;
	handler->arg = arg;
	memcpy(handler->atr, atr, sizeof(atr));
	handler->state = (struct message_state){
		.presence = PRESENCE_PRESENT,
		.flags = STATE_POWERED,
		.tail = handler->atr,
		.tail_len = sizeof(atr),
	};
	pthread_mutex_init(&handler->lock, NULL);
	unlink(address.sun_path);
	handler->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(handler->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(handler->listen_fd, 16) < 0 ||
		pthread_create(&handler->thread, NULL, accept_run, handler) != 0)
		abort();
	return handler;
}

void fake_handler_stop(struct fake_handler *handler) {
	shutdown(handler->listen_fd, SHUT_RDWR);
	pthread_join(handler->thread, NULL);
	close(handler->listen_fd);
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++) {
		struct fake_peer *peer = &handler->peers[i];
		if (!peer->used)
			continue;
		shutdown(peer->fd, SHUT_RDWR);
		pthread_join(peer->thread, NULL);
		close(peer->fd);
	}
	pthread_mutex_destroy(&handler->lock);
	free(handler);
}

bool fake_read(struct fake_peer *peer, struct frame *ret_frame) {
	memmove(peer->buf, peer->buf + peer->taken, peer->len - peer->taken);
	peer->len -= peer->taken;
	peer->taken = 0;
	for (;;) {
		int n = frame_parse(peer->buf, peer->len, ret_frame);
		if (n > 0) {
			peer->taken = (size_t)n;
			pthread_mutex_lock(&peer->handler->lock);
			peer->handler->n_requests[ret_frame->type & 0xff]++;
			pthread_mutex_unlock(&peer->handler->lock);
			return true;
		}
		ssize_t got =
			recv(peer->fd, peer->buf + peer->len, sizeof(peer->buf) - peer->len, 0);
		if (got <= 0)
			return false;
		peer->len += (size_t)got;
	}
}

static void send_all(struct fake_peer *peer, const struct bytes_writer *w) {
	const uint8_t *at = w->start;
	while (at < w->pos) {
		ssize_t n = send(peer->fd, at, (size_t)(w->pos - at), MSG_NOSIGNAL);
		if (n <= 0)
			return;
		at += n;
	}
}

void fake_welcome(struct fake_peer *peer, uint16_t serial, const char *description) {
	uint8_t room[4096];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_welcome m = {
		.version = WIRE_VERSION,
		.n_slots = 1,
		.tail = (const uint8_t *)description,
		.tail_len = description ? strlen(description) : 0,
	};
	message_welcome_encode(&w, serial, &m);
	send_all(peer, &w);
}

void fake_state(struct fake_peer *peer) {
	uint8_t room[128];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	pthread_mutex_lock(&peer->handler->lock);
	message_state_encode(&w, 0, &peer->handler->state);
	send_all(peer, &w);
	peer->pushed = true;
	pthread_mutex_unlock(&peer->handler->lock);
}

void fake_reply(struct fake_peer *peer, uint16_t serial, uint16_t status, uint32_t value) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_reply m = { .status = status, .value = value };
	message_reply_encode(&w, serial, &m);
	send_all(peer, &w);
}

void fake_answer(struct fake_peer *peer, uint16_t serial, const void *data, size_t n) {
	uint8_t *room = malloc(FRAME_MAX);
	struct bytes_writer w = bytes_writer(room, FRAME_MAX);
	struct message_reply m = { .value = 1, .tail = data, .tail_len = n };
	message_reply_encode(&w, serial, &m);
	send_all(peer, &w);
	free(room);
}

void fake_bye(struct fake_peer *peer, uint16_t status) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_bye m = { .status = status };
	message_bye_encode(&w, 0, &m);
	send_all(peer, &w);
}

static void echo(struct fake_peer *peer, const struct frame *frame) {
	struct message_transmit m;
	static const uint8_t sw[] = { 0x90, 0x00 };
	uint8_t *answer = malloc(FRAME_MAX);
	if (message_transmit_decode(frame, &m) == 0) {
		size_t n = m.tail_len < WIRE_MAX_DATA - 2 ? m.tail_len : WIRE_MAX_DATA - 2;
		if (n)
			memcpy(answer, m.tail, n);
		memcpy(answer + n, sw, sizeof(sw));
		fake_answer(peer, frame->serial, answer, n + 2);
	}
	free(answer);
}

void fake_serve_card(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		switch (frame.type) {
		case MESSAGE_HELLO: fake_welcome(peer, frame.serial, NULL); break;
		case MESSAGE_CONNECT:
		case MESSAGE_WATCH:
			fake_state(peer);
			fake_reply(peer, frame.serial, STATUS_OK, 1);
			break;
		case MESSAGE_DISCONNECT:
			pthread_mutex_lock(&peer->handler->lock);
			peer->pushed = false;
			pthread_mutex_unlock(&peer->handler->lock);
			fake_reply(peer, frame.serial, STATUS_OK, 0);
			break;
		case MESSAGE_TRANSMIT: echo(peer, &frame); break;
		default: fake_reply(peer, frame.serial, STATUS_OK, 1);
		}
	}
}

void fake_change(struct fake_handler *handler, uint8_t presence, uint16_t flags, uint16_t counter) {
	uint8_t room[128];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	pthread_mutex_lock(&handler->lock);
	handler->state.presence = presence;
	handler->state.flags = flags;
	handler->state.counter = counter;
	handler->state.tail_len = presence == PRESENCE_PRESENT ? 4 : 0;
	message_state_encode(&w, 0, &handler->state);
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++)
		if (handler->peers[i].pushed)
			send_all(&handler->peers[i], &w);
	pthread_mutex_unlock(&handler->lock);
}

unsigned fake_count(struct fake_handler *handler, uint8_t type) {
	pthread_mutex_lock(&handler->lock);
	unsigned n = handler->n_requests[type];
	pthread_mutex_unlock(&handler->lock);
	return n;
}

unsigned fake_connections(struct fake_handler *handler) {
	pthread_mutex_lock(&handler->lock);
	unsigned n = handler->n_connections;
	pthread_mutex_unlock(&handler->lock);
	return n;
}
