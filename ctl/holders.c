/* SPDX-License-Identifier: MIT */
/*
 * The kernel does not tell who claimed a USB interface, but a claim needs the node to be open. The
 * comparison is by device number, so that a process in another mount namespace (a container, a
 * sandbox) is found under whatever name it opened the node.
 */
#include "ctl/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int holders_look(pid_t pid, struct holders_process *ret_process) {
	char path[64];
	struct stat st;
	struct holders_process process = { .pid = pid };
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &st) < 0)
		return -ESRCH;
	process.uid = st.st_uid;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, process.program, sizeof(process.program) - 1);
	if (fd >= 0)
		close(fd);
	process.program[n > 0 ? n : 0] = 0;
	process.program[strcspn(process.program, "\n")] = 0;
	*ret_process = process;
	return 0;
}

/* Is one of the descriptors of `pid` the device? */
static int has_open(const char *pid, dev_t device) {
	char path[64];
	struct dirent *entry;
	struct stat st;
	int found = 0;
	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	DIR *d = opendir(path);
	while (d && !found && (entry = readdir(d)))
		found = entry->d_name[0] != '.' && fstatat(dirfd(d), entry->d_name, &st, 0) == 0 &&
			S_ISCHR(st.st_mode) && st.st_rdev == device;
	if (d)
		closedir(d);
	return found;
}

int holders_find(const char *node, pid_t except,
	void (*found)(const struct holders_process *process, void *userdata), void *userdata) {
	struct stat st;
	if (stat(node, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENOTTY;
	DIR *proc = opendir("/proc");
	if (!proc)
		return -errno;
	struct dirent *entry;
	while ((entry = readdir(proc))) {
		struct holders_process process;
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid != except && pid != getpid() && has_open(entry->d_name, st.st_rdev) &&
			holders_look(pid, &process) == 0)
			found(&process, userdata);
	}
	closedir(proc);
	return 0;
}

const char *holders_user(uid_t uid, char *buf, size_t size) {
	const struct passwd *user = getpwuid(uid);
	if (user)
		snprintf(buf, size, "%s", user->pw_name);
	else
		snprintf(buf, size, "%u", (unsigned)uid);
	return buf;
}
