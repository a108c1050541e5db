/* SPDX-License-Identifier: MIT */
/*
 * The directory is the only truth: a reader is there when its files are, and gone when they are. So
 * whatever a verb starts or stops, it waits for the directory (inotify) and for nothing else.
 */
#include "ctl/place.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/print.h"
#include "ctl/unit.h"
#include "ctl/verb.h"

enum { MAX_FILE = PATH_MAX_NAME + 300 };

void place_of(const char *dir, struct place *ret_place) {
	*ret_place = (struct place){ .managed = strcmp(dir, PATH_RUN) == 0 && unit_is_booted() };
	snprintf(ret_place->dir, sizeof(ret_place->dir), "%s", dir);
}

int place_init(struct place *ret_place) {
	struct path_list path;
	char own[PATH_MAX_NAME];
	int r = 0;
	if (!secure_getenv("IFDHANDLER_PATH")) {
		r = path_own(own, sizeof(own));
	} else if ((r = path_list_init(&path)) == 0) {
		r = path.n_dirs && strlen(path.dirs[0]) < sizeof(own) ? 0 : -EINVAL;
		if (r == 0)
			snprintf(own, sizeof(own), "%s", path.dirs[0]);
		path_list_done(&path);
	}
	if (r == -ENOENT)
		return print_error(EXIT_FAILED,
			"there is no place for readers of your own: XDG_RUNTIME_DIR is not set; "
			"log in, set it, or set IFDHANDLER_PATH to a directory that is yours");
	if (r < 0)
		return print_error(EXIT_FAILED,
			"IFDHANDLER_PATH and XDG_RUNTIME_DIR must name absolute directories of less than %d bytes",
			PATH_MAX_NAME);
	place_of(own, ret_place);
	return 0;
}

int place_may_change(const struct place *place, const char *what) {
	if (geteuid() == 0 || strcmp(place->dir, PATH_RUN) != 0)
		return 0;
	return print_error(
		EXIT_REFUSED, "%s: readers in %s are root's: use sudo", what, place->dir);
}

static void file_of(const struct place *place, const char *format, const char *name, char *buf) {
	char *end = buf + snprintf(buf, MAX_FILE, "%s/", place->dir);
	if (strcmp(format, "detached") == 0)
		snprintf(end, MAX_FILE - PATH_MAX_NAME, "detached/%s", name);
	else
		snprintf(end, MAX_FILE - PATH_MAX_NAME, "%s%s", name, format);
}

static int dir_make(const char *path, mode_t mode) {
	struct stat st;
	if (mkdir(path, mode) == 0)
		/* whatever the umask: clients of all users must be able to look */
		return chmod(path, mode) < 0 ? -errno : 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int place_make(const struct place *place) {
	char path[MAX_FILE];
	/* a user's own directory is nobody else's business */
	mode_t mode = geteuid() == 0 ? 0755 : 0700;
	int r = dir_make(place->dir, mode);
	file_of(place, "detached", "", path);
	if (r == 0)
		r = dir_make(path, mode);
	if (r == -EACCES || r == -EPERM || r == -EROFS)
		return print_error(EXIT_REFUSED, "%s cannot be made: %s", place->dir, strerror(-r));
	return r < 0 ? print_error(EXIT_FAILED, "%s cannot be made: %s", place->dir, strerror(-r))
		     : 0;
}

/* ---- flags ---- */

/* Writes a whole file under another name first. */
static int file_write(const char *path, const char *text, size_t len) {
	char temp[MAX_FILE + 8];
	/* in front of the name, so that nobody takes it for a reader or an instance */
	const char *slash = strrchr(path, '/');
	snprintf(temp, sizeof(temp), "%.*s.%s.new", (int)(slash + 1 - path), path, slash + 1);
	unlink(temp);
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	ssize_t n = len ? write(fd, text, len) : 0;
	int r = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
	close(fd);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temp);
	return r;
}

int place_is_shut(const struct place *place) {
	char path[MAX_FILE];
	file_of(place, "", "shutdown", path);
	return access(path, F_OK) == 0;
}

int place_set_shut(const struct place *place, int shut) {
	char path[MAX_FILE];
	file_of(place, "", "shutdown", path);
	int r = 0;
	if (shut)
		r = file_write(path, "", 0);
	else if (unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	return r < 0 ? print_error(r == -EACCES ? EXIT_REFUSED : EXIT_FAILED, "%s: %s", path,
			       strerror(-r))
		     : 0;
}

int place_is_detached(const struct place *place, const char *instance) {
	char path[MAX_FILE];
	file_of(place, "detached", instance, path);
	return access(path, F_OK) == 0;
}

int place_set_detached(
	const struct place *place, const char *instance, const struct description *description) {
	char path[MAX_FILE];
	char *text = malloc(DESCRIPTION_MAX + 1);
	int len = text && description ? description_format(description, text, DESCRIPTION_MAX + 1)
				      : 0;
	file_of(place, "detached", instance, path);
	int r = file_write(path, text, len > 0 ? (size_t)len : 0);
	free(text);
	return r < 0 ? print_error(EXIT_FAILED, "%s: %s", path, strerror(-r)) : 0;
}

void place_clear_detached(const struct place *place, const char *instance) {
	char path[MAX_FILE];
	file_of(place, "detached", instance, path);
	unlink(path);
}

/* ---- waiting ---- */

static int exists(const struct place *place, const char *instance, const char *suffix) {
	char path[MAX_FILE];
	file_of(place, suffix, instance, path);
	return access(path, F_OK) == 0;
}

int place_has(const struct place *place, const char *instance) {
	return exists(place, instance, ".sock") && exists(place, instance, ".reader");
}

int place_lacks(const struct place *place, const char *instance) {
	return !exists(place, instance, ".sock") && !exists(place, instance, ".reader");
}

static void drain(int fd) {
	char events[4096];
	while (read(fd, events, sizeof(events)) > 0)
		;
}

int place_wait(
	const struct place *place, place_condition done, void *userdata, int64_t deadline_ms) {
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int r = fd < 0 ? -errno : 0;
	if (r == 0 &&
		inotify_add_watch(
			fd, place->dir, IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM) < 0)
		r = -errno;
	/* asked after the watch is there, so that no change is missed; and once where none can be
	 * had */
	while (!done(place, userdata)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int n = r < 0 ? -1 : poll(&p, 1, deadline_left(deadline_ms));
		if (r == 0 && n == 0)
			r = -ETIMEDOUT;
		else if (r == 0 && n < 0 && errno != EINTR)
			r = -errno;
		if (r < 0)
			break;
		drain(fd);
	}
	int is_done = r < 0 && done(place, userdata);
	if (fd >= 0)
		close(fd);
	return is_done ? 0 : r;
}

static int is_here(const struct place *place, void *instance) {
	return place_has(place, instance);
}

static int is_gone(const struct place *place, void *instance) {
	return place_lacks(place, instance);
}

int place_wait_here(const struct place *place, const char *instance, int64_t deadline_ms) {
	return place_wait(place, is_here, (char *)(uintptr_t)instance, deadline_ms);
}

int place_wait_gone(const struct place *place, const char *instance, int64_t deadline_ms) {
	return place_wait(place, is_gone, (char *)(uintptr_t)instance, deadline_ms);
}
