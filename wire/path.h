/* SPDX-License-Identifier: MIT */
/* Where readers are found: the search path of directories, and which of them may be trusted. */
#pragma once

#include <stddef.h>

/* The system's directory of readers: trusted by its place. */
#define PATH_RUN "/run/ifdhandler"

enum {
	PATH_MAX_DIRS = 16,  /* chosen: more is a mistake in IFDHANDLER_PATH */
	PATH_MAX_NAME = 108, /* sun_path of unix(7) */
};

/* Directories in order; of equal reader names the one in the first directory counts. */
struct path_list {
	char *text; /* owned: holds the names */
	const char *dirs[PATH_MAX_DIRS];
	size_t n_dirs;
};

/*
 * The search path of this process: IFDHANDLER_PATH (colon separated, absolute names only; ignored
 * in set-user-ID programs), else PATH_RUN and, unless the effective user is root,
 * $XDG_RUNTIME_DIR/ifdhandler. 0 or -ENOMEM; free with path_list_done.
 */
int path_list_init(struct path_list *ret_list);
void path_list_done(struct path_list *list);

/*
 * Opens directory `dir` if readers in it may be trusted: PATH_RUN always; any other only if root or
 * the effective user owns it and nobody else can write to it. Returns a descriptor (close-on-exec),
 * -ENOENT where there is none, -EPERM where it may not be trusted, or another negative errno.
 */
int path_open(const char *dir);

/* May the process at the other end of `fd`, a connected socket found in `dir`, be trusted? 1 for
 * PATH_RUN, and where it runs as root or as the effective user; else 0; negative errno. */
int path_peer_trusted(const char *dir, int fd);

/* Where a user's own handlers live: $XDG_RUNTIME_DIR/ifdhandler, or PATH_RUN for root. Writes into
 * `buf`; 0, -ENOENT (no XDG_RUNTIME_DIR) or -ENAMETOOLONG. */
int path_own(char *buf, size_t size);
