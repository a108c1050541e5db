/* SPDX-License-Identifier: MIT */
/* Has anything changed in the directories of readers? By inotify, or by their time stamps. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "wire/path.h"

/* The watches on one search path. */
struct dirwatch {
	int fd;     /* inotify, or negative */
	bool blind; /* no inotify, or not for every directory: compare time stamps, too */
	struct dirwatch_dir {
		int wd; /* on the directory itself, or -1 */
		int up; /* on its nearest ancestor that exists, while it does not; or -1 */
		struct stat st;
	} dirs[PATH_MAX_DIRS];
};

/* Nothing is watched yet. */
void dirwatch_init(struct dirwatch *watch);

/* Watches all directories of `path`, existing or not. To be called before the directories are read,
 * again each time: what happens after it is noticed. */
void dirwatch_arm(struct dirwatch *watch, const struct path_list *path);

/* Did anything happen since dirwatch_arm that may concern readers? Never waits. */
bool dirwatch_changed(struct dirwatch *watch, const struct path_list *path);

/* Closes the descriptor; then as after dirwatch_init. */
void dirwatch_done(struct dirwatch *watch);
