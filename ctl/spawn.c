/* SPDX-License-Identifier: MIT */
/*
 * A handler tells that it is ready by sd_notify(3); we listen on a socket of our own, in the place
 * of systemd, and believe only what our child sends. A handler that dies before is seen by its
 * pidfd, and what it wrote to its log is shown.
 */
#include "ctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/print.h"
#include "ctl/verb.h"
#include "wire/path.h"

extern char **environ;

enum { MAX_PATH = 4096 };

int spawn_sibling(const char *name, const char *installed, char *buf, size_t size) {
	char self[MAX_PATH];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = 0;
		char *slash = strrchr(self, '/');
		int len = snprintf(buf, size, "%.*s%s", (int)(slash + 1 - self), self, name);
		if (len > 0 && (size_t)len < size && access(buf, F_OK) == 0)
			return 0;
	}
	int len = snprintf(buf, size, "%s", installed);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

/* ---- readiness ---- */

/* A datagram socket under a name of the kernel's choice; `name` becomes what NOTIFY_SOCKET
 * holds. */
static int notify_open(char *name, size_t size) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(address);
	int on = 1;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	/* unix(7): an abstract name follows a NUL; sd_notify(3) writes that as '@' */
	size_t name_len = len - offsetof(struct sockaddr_un, sun_path) - 1;
	snprintf(name, size, "NOTIFY_SOCKET=@%.*s", (int)name_len, address.sun_path + 1);
	return fd;
}

/* One datagram: 1 if it is the child's READY=1. */
static int notify_read(int fd, pid_t child) {
	char text[512];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct ucred cred = { 0 };
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return 0;
	text[n] = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (!c || c->cmsg_type != SCM_CREDENTIALS)
		return 0;
	memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	return cred.pid == child && (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1"));
}

/* 0 when the child is ready; -ECHILD when it has ended; -ETIMEDOUT. */
static int ready_wait(int notify, int pidfd, pid_t child, int64_t deadline_ms) {
	for (;;) {
		struct pollfd p[2] = {
			{ .fd = notify, .events = POLLIN },
			{ .fd = pidfd, .events = POLLIN },
		};
		int n = poll(p, 2, deadline_left(deadline_ms));
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[0].revents && notify_read(notify, child))
			return 0;
		if (n > 0 && p[1].revents)
			return -ECHILD;
	}
}

/* ---- starting ---- */

/* Our environment without what systemd gave us and a handler would take as meant for itself. */
static char **environment_make(char *notify) {
	static const char *const not_ours[] = { "NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_",
		"JOURNAL_STREAM=", "INVOCATION_ID=" };
	size_t n = 0, kept = 0;
	while (environ[n])
		n++;
	char **env = calloc(n + 2, sizeof(*env));
	for (size_t i = 0; env && i < n; i++) {
		int keep = 1;
		for (size_t k = 0; k < sizeof(not_ours) / sizeof(not_ours[0]); k++)
			keep &= strncmp(environ[i], not_ours[k], strlen(not_ours[k])) != 0;
		if (keep)
			env[kept++] = environ[i];
	}
	if (env && notify)
		env[kept] = notify;
	return env;
}

/* A process of its own: no terminal, no directory, no descriptors of ours. */
static int daemon_spawn(const char *const *argv, char **env, const char *log, pid_t *ret_pid) {
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	sigemptyset(&none);
	/* what a script left open; where the kernel cannot do it (before 5.11) it stays open */
	(void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	int r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(
			&actions, 2, log, O_WRONLY | O_APPEND | O_NOFOLLOW, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(&actions, "/");
	if (r == 0)
		r = posix_spawnattr_setflags(&attributes,
			(short)(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
				POSIX_SPAWN_SETSIGDEF));
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attributes, &all);
	if (r == 0)
		r = posix_spawn(
			ret_pid, argv[0], &actions, &attributes, (char **)(uintptr_t)argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static int log_make(const char *path) {
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* What the handler said before it ended: one error of ours. */
static int failure(const struct spawn_request *request, const char *log, pid_t pid) {
	char text[1024];
	int status = 0;
	(void)waitpid(pid, &status, 0);
	int fd = open(log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	unlink(log);
	text[n > 0 ? n : 0] = 0;
	if (text[0])
		return print_error(EXIT_FAILED, "%s does not start:\n%s", request->instance, text);
	if (WIFSIGNALED(status))
		return print_error(EXIT_FAILED, "%s does not start: its handler died of signal %d",
			request->instance, WTERMSIG(status));
	return print_error(EXIT_FAILED, "%s does not start: its handler ended with exit code %d",
		request->instance, WEXITSTATUS(status));
}

static void argv_make(const struct spawn_request *request, const char *program, const char *path,
	const char *argv[static 16]) {
	const char *const options[][2] = {
		{ "--socket", path },
		{ "--device", request->node },
		{ "--driver", request->driver },
		{ "--card", request->card },
		{ "--quirks", request->quirks },
	};
	size_t n = 0;
	argv[n++] = program;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i][1]) {
			argv[n++] = options[i][0];
			argv[n++] = options[i][1];
		}
	argv[n++] = request->instance;
	argv[n] = NULL;
}

/* Waits for the child and says what is wrong. */
static int child_wait(const struct spawn_request *request, const char *log, int notify, pid_t pid) {
	if (request->no_wait)
		return 0;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int r = pidfd < 0 ? -errno : ready_wait(notify, pidfd, pid, request->deadline_ms);
	if (pidfd >= 0)
		close(pidfd);
	if (r == 0)
		return 0;
	if (r == -ECHILD)
		return failure(request, log, pid);
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	unlink(log);
	return print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED,
		"%s does not start: its handler was not ready in time (%s)", request->instance,
		strerror(-r));
}

int spawn_handler(const struct spawn_request *request) {
	char program[MAX_PATH], path[PATH_MAX_NAME + 300], log[PATH_MAX_NAME + 300],
		notify_name[160];
	const char *argv[16];
	pid_t pid;
	snprintf(path, sizeof(path), "%s/%s.sock", request->dir, request->instance);
	snprintf(log, sizeof(log), "%s/.%s.log", request->dir, request->instance);
	if (strlen(path) + 4 >= PATH_MAX_NAME) /* the handler binds PATH.new first */
		return print_error(EXIT_USAGE, "%s: too long for a socket's name", path);
	if (spawn_sibling("ifdhandler", HANDLER_PATH, program, sizeof(program)) < 0)
		return print_error(EXIT_FAILED, "%s: too long", HANDLER_PATH);
	int notify = notify_open(notify_name, sizeof(notify_name));
	char **env = notify < 0 ? NULL : environment_make(notify_name);
	argv_make(request, program, path, argv);
	int r = notify < 0 ? notify : env ? log_make(log) : -ENOMEM;
	if (r == 0)
		r = daemon_spawn(argv, env, log, &pid);
	if (r < 0)
		r = print_error(r == -EACCES ? EXIT_REFUSED : EXIT_FAILED,
			"%s does not start (%s): %s", request->instance, program, strerror(-r));
	else
		r = child_wait(request, log, notify, pid);
	free(env);
	if (notify >= 0)
		close(notify);
	return r;
}

int spawn_command(const char *const *argv) {
	pid_t pid;
	int status;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}
