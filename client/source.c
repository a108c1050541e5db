/* SPDX-License-Identifier: MIT */
/*
 * A look at a directory costs one stat for each instance; a description is read only when its inode
 * or its time has changed (it is always replaced whole, by rename). A description that cannot be read
 * makes no reader. Everything in a directory is somebody else's: names are bounded, links are not
 * followed, and a socket is asked only after the peer's user was found to be root or ourselves.
 */
#include "client/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/debug.h"

enum {
	ASK_MS = 1000, /* chosen: a forwarded socket's round trip and the start of its handler */
};

bool source_is_shortage(int error) {
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

static uint64_t stamp_of(const struct stat *st) {
	uint64_t time_ns =
		(uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec;
	return time_ns ^ ((uint64_t)st->st_ino << 40) ^ (uint64_t)st->st_dev;
}

/* The first place in the list whose instance is not before that one. */
static size_t position(const struct source_list *list, size_t dir_index, const char *instance) {
	size_t low = 0, high = list->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct source *s = list->items[middle];
		bool before = s->dir_index != dir_index ? s->dir_index < dir_index
							: strcmp(s->instance, instance) < 0;
		if (before)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct source *source_find(const struct source_list *list, size_t dir_index, const char *instance) {
	size_t i = position(list, dir_index, instance);
	struct source *s = i < list->n ? list->items[i] : NULL;
	return s && s->dir_index == dir_index && strcmp(s->instance, instance) == 0 ? s : NULL;
}

static void source_free(struct source *s) {
	description_done(&s->description);
	free(s->instance);
	free(s);
}

static int list_grow(struct source_list *list) {
	size_t size = list->size ? list->size * 2 : 16;
	struct source **items = reallocarray(list->items, size, sizeof(*items));
	if (!items)
		return -ENOMEM;
	list->items = items;
	list->size = size;
	return 0;
}

/* A new instance in its place. NULL without memory. */
static struct source *source_add(
	struct source_list *list, const char *dir, size_t dir_index, const char *instance) {
	if (list->n == list->size && list_grow(list) < 0)
		return NULL;
	struct source *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->dir = dir;
	s->dir_index = dir_index;
	s->instance = strdup(instance);
	if (!s->instance) {
		source_free(s);
		return NULL;
	}
	size_t i = position(list, dir_index, instance);
	memmove(&list->items[i + 1], &list->items[i], (list->n - i) * sizeof(*list->items));
	list->items[i] = s;
	list->n++;
	return s;
}

/* A description in place of the former one is the same life if it tells of the same registration. */
static void source_take(struct source *s, struct description *d) {
	if (!s->known || s->description.seq != d->seq ||
		s->description.registered_s != d->registered_s)
		s->life = 0; /* numbered by readers.c */
	description_done(&s->description);
	s->description = *d;
	s->known = true;
}

static void source_forget(struct source *s) {
	description_done(&s->description);
	s->known = false;
	s->asked = false;
}

/* Reads the description in NAME. 0, also for one that makes no reader; or a shortage. */
static int source_read(struct source *s, int dirfd, const char *name) {
	struct description d;
	int r = description_read(dirfd, name, &d);
	if (r == 0) {
		source_take(s, &d);
		return 0;
	}
	debug_log(DEBUG_ERROR, "%s/%s: %s", s->dir, name, strerror(-r));
	if (source_is_shortage(r))
		return r;
	source_forget(s);
	return 0;
}

/* The file NAME belongs to `s` and is what its description comes from: reads it if it is new. 0, or a
 * shortage: then it will be looked at again. */
static int source_look(struct source *s, int dirfd, const char *name, bool socket_only) {
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	s->seen = true;
	uint64_t stamp = stamp_of(&st);
	if (stamp == s->stamp && socket_only == s->socket_only)
		return 0;
	int r = 0;
	if (socket_only)
		source_forget(s);
	else
		r = source_read(s, dirfd, name);
	if (r < 0)
		return r;
	s->stamp = stamp;
	s->changed_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
	s->socket_only = socket_only;
	return 0;
}

/* Is `name` INSTANCE followed by `suffix`, short enough for a socket's address? */
static bool instance_of(const char *name, const char *suffix, char *ret_instance) {
	size_t len = strlen(name), suffix_len = strlen(suffix);
	if (name[0] == '.' || len <= suffix_len || len >= PATH_MAX_NAME ||
		strcmp(name + len - suffix_len, suffix) != 0)
		return false;
	memcpy(ret_instance, name, len - suffix_len);
	ret_instance[len - suffix_len] = 0;
	return true;
}

/* The instance's source, made if it is new. NULL without memory. */
static struct source *source_get(
	struct source_list *list, const char *dir, size_t dir_index, const char *instance) {
	struct source *s = source_find(list, dir_index, instance);
	return s ? s : source_add(list, dir, dir_index, instance);
}

/* One pass over the directory: reads descriptions, and notes sockets. */
static int scan_entries(struct source_list *list, DIR *d, const char *dir, size_t dir_index) {
	char instance[PATH_MAX_NAME];
	struct dirent *entry;
	int r = 0;
	while (r == 0 && (entry = readdir(d))) {
		bool reader = instance_of(entry->d_name, ".reader", instance);
		if (!reader && !instance_of(entry->d_name, ".sock", instance))
			continue;
		struct source *s = source_get(list, dir, dir_index, instance);
		if (!s)
			return -ENOMEM;
		if (reader)
			r = source_look(s, dirfd(d), entry->d_name, false);
		else
			s->listens = true;
	}
	return r;
}

/* Sockets that have no description beside them. */
static void scan_sockets(struct source_list *list, int dirfd, size_t dir_index) {
	char name[PATH_MAX_NAME];
	for (size_t i = 0; i < list->n; i++) {
		struct source *s = list->items[i];
		if (s->dir_index != dir_index)
			continue;
		if (s->listens && !s->seen) {
			snprintf(name, sizeof(name), "%s.sock", s->instance);
			(void)source_look(s, dirfd, name, true); /* reads nothing */
		}
		s->listens = false;
	}
}

int source_scan(struct source_list *list, int dirfd, const char *dir, size_t dir_index) {
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		return source_is_shortage(r) ? r : 0;
	}
	for (size_t i = 0; i < list->n; i++) /* a look that failed may have left marks */
		if (list->items[i]->dir_index == dir_index)
			list->items[i]->seen = false;
	int r = scan_entries(list, d, dir, dir_index);
	scan_sockets(list, fd, dir_index);
	closedir(d);
	return r;
}

void source_sweep(struct source_list *list) {
	size_t kept = 0;
	for (size_t i = 0; i < list->n; i++) {
		struct source *s = list->items[i];
		if (s->seen) {
			s->seen = false;
			list->items[kept++] = s;
		} else {
			source_free(s);
		}
	}
	list->n = kept;
}

void source_done(struct source_list *list) {
	for (size_t i = 0; i < list->n; i++)
		source_free(list->items[i]);
	free(list->items);
	*list = (struct source_list){ 0 };
}

int source_ask(struct source_question *question, const char *dir) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct channel *channel = &question->channel;
	question->description = (struct description){ 0 };
	int r = channel_open(dir, question->instance, CLOCK_NEVER, channel);
	if (r < 0)
		return source_is_shortage(r) ? r : 0;
	channel_hello(channel, HELLO_WANT_DESCRIPTION, &w);
	if (channel_send_tail(channel, &w, NULL, 0) < 0)
		channel_close(channel);
	return 0;
}

static void take_welcome(struct source_question *question, const struct frame *frame) {
	struct message_welcome welcome;
	if (message_welcome_decode(frame, &welcome) == 0 && welcome.tail_len)
		(void)description_parse(
			(const char *)welcome.tail, welcome.tail_len, &question->description);
}

/* Takes what has come. The first frame is the answer, or there is none. */
static void hear(struct source_question *question) {
	struct frame frame;
	int r;
	do
		r = channel_next(&question->channel, &frame);
	while (r == 0 && (r = channel_receive(&question->channel, false)) > 0);
	if (r == 0)
		return;
	if (r == MESSAGE_WELCOME)
		take_welcome(question, &frame);
	channel_close(&question->channel);
}

void source_hear(struct source_question *questions, size_t n) {
	int64_t deadline = clock_ms() + ASK_MS;
	struct pollfd fds[SOURCE_MAX_QUESTIONS];
	for (;;) {
		size_t n_open = 0;
		for (size_t i = 0; i < n; i++) {
			fds[i] = (struct pollfd){ .fd = questions[i].channel.fd, .events = POLLIN };
			n_open += fds[i].fd >= 0;
		}
		int left = clock_left(deadline);
		if (n_open == 0 || left == 0)
			break;
		int ready = poll(fds, n, left);
		for (size_t i = 0; ready > 0 && i < n; i++)
			if (fds[i].revents)
				hear(&questions[i]);
	}
	for (size_t i = 0; i < n; i++)
		channel_close(&questions[i].channel);
}
