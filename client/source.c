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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/channel.h"
#include "client/clock.h"
#include "client/debug.h"
#include "wire/path.h"

enum {
	ASK_MS = 1000, /* chosen: a forwarded socket's round trip and the start of its handler */
};

static uint64_t stamp_of(const struct stat *st) {
	uint64_t time_ns =
		(uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec;
	return time_ns ^ ((uint64_t)st->st_ino << 40) ^ (uint64_t)st->st_dev;
}

static struct source *source_find(struct source *list, const char *dir, const char *instance) {
	for (; list; list = list->next)
		if (list->dir == dir && strcmp(list->instance, instance) == 0)
			return list;
	return NULL;
}

static struct source *source_add(struct source **list, const char *dir, const char *instance) {
	struct source *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->instance = strdup(instance);
	if (!s->instance) {
		free(s);
		return NULL;
	}
	s->dir = dir;
	s->next = *list;
	*list = s;
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

/* The file NAME belongs to `s` and is what its description comes from: reads it if it is new. */
static void source_look(struct source *s, int dirfd, const char *name, bool socket_only) {
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	s->seen = true;
	uint64_t stamp = stamp_of(&st);
	if (stamp == s->stamp && socket_only == s->socket_only)
		return;
	s->stamp = stamp;
	s->changed_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
	if (socket_only) {
		source_forget(s);
	} else {
		struct description d;
		int r = description_read(dirfd, name, &d);
		if (r == 0)
			source_take(s, &d);
		else
			source_forget(s);
		if (r < 0)
			debug_log(DEBUG_ERROR, "%s/%s: %s", s->dir, name, strerror(-r));
	}
	s->socket_only = socket_only;
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

/* One pass over the directory, for files of one kind. Descriptions come first: they win. */
static int scan_kind(struct source **list, DIR *d, const char *dir, bool sockets) {
	char instance[PATH_MAX_NAME];
	struct dirent *entry;
	rewinddir(d);
	while ((entry = readdir(d))) {
		if (!instance_of(entry->d_name, sockets ? ".sock" : ".reader", instance))
			continue;
		struct source *s = source_find(*list, dir, instance);
		if (s && s->seen)
			continue;
		if (!s)
			s = source_add(list, dir, instance);
		if (!s)
			return -ENOMEM;
		source_look(s, dirfd(d), entry->d_name, sockets);
	}
	return 0;
}

int source_scan(struct source **list, int dirfd, const char *dir, size_t dir_index) {
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		return r == -ENOMEM ? r : 0;
	}
	int r = scan_kind(list, d, dir, false);
	if (r == 0)
		r = scan_kind(list, d, dir, true);
	for (struct source *s = *list; s; s = s->next)
		if (s->dir == dir)
			s->dir_index = dir_index;
	closedir(d);
	return r;
}

static void source_free_one(struct source *s) {
	description_done(&s->description);
	free(s->instance);
	free(s);
}

void source_sweep(struct source **list) {
	while (*list) {
		struct source *s = *list;
		if (s->seen) {
			s->seen = false;
			list = &s->next;
		} else {
			*list = s->next;
			source_free_one(s);
		}
	}
}

void source_free(struct source *list) {
	while (list) {
		struct source *next = list->next;
		source_free_one(list);
		list = next;
	}
}

int source_ask(const char *dir, const char *instance, struct description *ret_description) {
	int64_t deadline = clock_ms() + ASK_MS;
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct channel channel;
	struct frame frame;
	struct message_welcome welcome;
	int r = channel_open(dir, instance, deadline, &channel);
	if (r < 0)
		return r;
	channel_hello(&channel, HELLO_WANT_DESCRIPTION, &w);
	r = channel_send_tail(&channel, &w, NULL, 0);
	if (r == 0)
		r = channel_await(&channel, MESSAGE_WELCOME, deadline, &frame);
	if (r == 0)
		r = message_welcome_decode(&frame, &welcome);
	if (r == 0 && welcome.tail_len == 0)
		r = -EBADMSG;
	if (r == 0)
		r = description_parse(
			(const char *)welcome.tail, welcome.tail_len, ret_description);
	channel_close(&channel);
	return r;
}
