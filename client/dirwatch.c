/* SPDX-License-Identifier: MIT */
/*
 * One inotify descriptor serves the whole process: the kernel allows 128 of them to a user. A
 * directory that does not exist yet is waited for in its nearest ancestor that does. Where inotify
 * cannot be had, a directory counts as changed when its inode or time stamps differ, or are so
 * young that a further change may bear the same stamp.
 */
#include "client/dirwatch.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "client/debug.h"
#include "client/descriptor.h"

enum {
	STAMP_GRAIN_MS = 20, /* two ticks of the slowest kernel clock, CONFIG_HZ=100 */
	ARM_TRIES = 8,       /* chosen: somebody makes and removes directories all the time */
};

static const uint32_t events = IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
	IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
static const uint32_t events_up =
	IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD;

void dirwatch_init(struct dirwatch *watch) {
	*watch = (struct dirwatch){ .fd = -1 };
	for (size_t i = 0; i < PATH_MAX_DIRS; i++)
		watch->dirs[i] = (struct dirwatch_dir){ .wd = -1, .up = -1 };
}

void dirwatch_done(struct dirwatch *watch) {
	descriptor_close(&watch->fd);
	dirwatch_init(watch);
}

/* Watches the nearest existing ancestor of `dir`. The watch, or -1. */
static int watch_up(int fd, const char *dir) {
	char up[4096]; /* PATH_MAX */
	size_t len = strlen(dir);
	if (len >= sizeof(up))
		return -1;
	memcpy(up, dir, len + 1);
	for (;;) {
		char *slash = strrchr(up, '/');
		if (!slash)
			return -1;
		slash[slash == up] = 0;
		int wd = inotify_add_watch(fd, up, events_up);
		if (wd >= 0 || (errno != ENOENT && errno != ENOTDIR) || slash == up)
			return wd;
	}
}

static bool watch_in_use(const struct dirwatch *watch, int wd) {
	for (size_t i = 0; i < PATH_MAX_DIRS; i++)
		if (watch->dirs[i].wd == wd || watch->dirs[i].up == wd)
			return true;
	return false;
}

/* Forgets an ancestor: it has more to tell than we want to hear. */
static void drop_up(struct dirwatch *watch, struct dirwatch_dir *d) {
	int up = d->up;
	d->up = -1;
	if (up >= 0 && !watch_in_use(watch, up))
		inotify_rm_watch(watch->fd, up);
}

static void arm_dir(struct dirwatch *watch, struct dirwatch_dir *d, const char *dir) {
	int up = -1;
	for (int i = 0; i < ARM_TRIES; i++) {
		d->wd = inotify_add_watch(watch->fd, dir, events);
		if (d->wd >= 0) {
			drop_up(watch, d);
			return;
		}
		if (errno != ENOENT && errno != ENOTDIR)
			break;
		/* it may have been made before we watched its ancestor: once more, until it stays so */
		int before = up;
		up = watch_up(watch->fd, dir);
		if (up < 0)
			break;
		if (d->up >= 0 && d->up != up)
			drop_up(watch, d);
		d->up = up;
		if (up == before)
			return;
	}
	/* EACCES: nobody has readers for us there; other causes: look at the time stamps */
	if (errno != EACCES)
		watch->blind = true;
}

void dirwatch_arm(struct dirwatch *watch, const struct path_list *path) {
	if (watch->fd < 0)
		watch->fd = descriptor_own(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	if (watch->fd < 0)
		debug_log(DEBUG_INFO, "inotify: %s", strerror(-watch->fd));
	watch->blind = watch->fd < 0;
	for (size_t i = 0; i < path->n_dirs; i++) {
		struct dirwatch_dir *d = &watch->dirs[i];
		if (watch->fd >= 0)
			arm_dir(watch, d, path->dirs[i]);
		if (stat(path->dirs[i], &d->st) < 0)
			d->st = (struct stat){ 0 };
	}
}

static bool ends_with(const char *name, const char *suffix) {
	size_t len = strlen(name), suffix_len = strlen(suffix);
	return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

static bool matters(const struct dirwatch *watch, const struct inotify_event *e) {
	if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT | IN_Q_OVERFLOW))
		return true;
	for (size_t i = 0; i < PATH_MAX_DIRS; i++)
		if (watch->dirs[i].up == e->wd)
			return true;
	if (e->len == 0)
		return true; /* the directory's own attributes: it may be trusted now */
	return !(e->mask & IN_ATTRIB) &&
		(ends_with(e->name, ".reader") || ends_with(e->name, ".sock"));
}

static bool drain(struct dirwatch *watch) {
	alignas(struct inotify_event) char buf[4096];
	bool changed = false;
	ssize_t n;
	while ((n = read(watch->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n;) {
			const struct inotify_event *e = (const void *)(buf + i);
			changed |= matters(watch, e);
			i += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	return changed;
}

static bool same_time(const struct timespec *a, const struct timespec *b) {
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool stamp_changed(const struct dirwatch_dir *d, const char *dir) {
	struct stat st;
	struct timespec now;
	if (stat(dir, &st) < 0)
		return d->st.st_ino != 0;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age_ms = (now.tv_sec - st.st_mtim.tv_sec) * 1000 +
		(now.tv_nsec - st.st_mtim.tv_nsec) / 1000000;
	return st.st_ino != d->st.st_ino || st.st_dev != d->st.st_dev ||
		!same_time(&st.st_mtim, &d->st.st_mtim) ||
		!same_time(&st.st_ctim, &d->st.st_ctim) || age_ms < STAMP_GRAIN_MS;
}

/* Has somebody closed the descriptor behind our back? Then nothing is watched any more. */
static bool is_lost(struct dirwatch *watch) {
	if (watch->fd < 0 || descriptor_is_ours(watch->fd))
		return false;
	dirwatch_done(watch);
	return true;
}

bool dirwatch_changed(struct dirwatch *watch, const struct path_list *path) {
	if (is_lost(watch))
		return true;
	bool changed = watch->fd >= 0 && drain(watch);
	for (size_t i = 0; watch->blind && i < path->n_dirs; i++)
		changed |= stamp_changed(&watch->dirs[i], path->dirs[i]);
	return changed;
}
