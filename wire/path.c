/* SPDX-License-Identifier: MIT */
/*
 * Programs of other users must not be led to a planted reader that asks for their PIN. So the
 * environment counts only where the kernel says that the caller chose it (secure_getenv), root looks
 * at the system's directory alone unless told otherwise, and a directory outside /run counts only if
 * nobody but its trusted owner can put a socket there.
 */
#include "wire/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void list_add(struct path_list *list, const char *dir) {
	if (dir[0] == '/' && list->n_dirs < PATH_MAX_DIRS)
		list->dirs[list->n_dirs++] = dir;
}

int path_list_init(struct path_list *ret_list) {
	struct path_list list = { 0 };
	const char *given = secure_getenv("IFDHANDLER_PATH");
	const char *runtime = geteuid() == 0 ? NULL : secure_getenv("XDG_RUNTIME_DIR");
	int r;
	if (given)
		r = asprintf(&list.text, "%s", given);
	else if (runtime && runtime[0] == '/')
		r = asprintf(&list.text, PATH_RUN ":%s/ifdhandler", runtime);
	else
		r = asprintf(&list.text, PATH_RUN);
	if (r < 0)
		return -ENOMEM;
	char *save = NULL;
	for (char *dir = strtok_r(list.text, ":", &save); dir; dir = strtok_r(NULL, ":", &save))
		list_add(&list, dir);
	*ret_list = list;
	return 0;
}

void path_list_done(struct path_list *list) {
	free(list->text);
	*list = (struct path_list){ 0 };
}

int path_open(const char *dir) {
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat st;
	int r = 0;
	if (strcmp(dir, PATH_RUN) != 0) {
		if (fstat(fd, &st) < 0)
			r = -errno;
		else if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022))
			r = -EPERM;
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int path_peer_trusted(const char *dir, int fd) {
	struct ucred peer;
	socklen_t len = sizeof(peer);
	if (strcmp(dir, PATH_RUN) == 0)
		return 1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid();
}

int path_own(char *buf, size_t size) {
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	int n;
	if (geteuid() == 0)
		n = snprintf(buf, size, PATH_RUN);
	else if (runtime && runtime[0] == '/')
		n = snprintf(buf, size, "%s/ifdhandler", runtime);
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
