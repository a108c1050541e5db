/* SPDX-License-Identifier: MIT */
/* Our stack: a handler with the driver `script` for each reader, in a directory of the test. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/card.h"

static const char *handler;

static void ours_begin(const char *directory, const char *server) {
	handler = server;
	if (access(handler, X_OK) < 0)
		die(handler, strerror(errno));
	setenv("IFDHANDLER_PATH", directory, 1);
}

static void log_path(const struct box *box, char *ret, size_t size) {
	snprintf(ret, size, "%s/%s.log", bed_directory(), box->instance);
}

/* Where the handler says what is wrong: shown where it ends badly, or if somebody looks for it. */
static void quiet(const struct box *box) {
	char path[128];
	if (getenv("CONFORMANCE_LOG"))
		return;
	log_path(box, path, sizeof(path));
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	close(fd);
}

static void show_log(const struct box *box) {
	char path[128], text[256];
	log_path(box, path, sizeof(path));
	FILE *f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f))
		printf("# %s", text);
	if (f)
		fclose(f);
}

static void spawn(struct box *box) {
	char sock[128], card[128];
	snprintf(sock, sizeof(sock), "%s/%s.sock", bed_directory(), box->instance);
	snprintf(card, sizeof(card), "%s,%u", box->script, box->n_slots);
	pid_t pid = fork();
	if (pid < 0)
		die("fork", strerror(errno));
	if (pid == 0) {
		quiet(box);
		const char *name = box->wanted_name[0] ? box->wanted_name : NULL;
		execl(handler, handler, "--socket", sock, "--driver", "script", "--card", card,
			box->instance, name ? "--name" : NULL, name, NULL);
		_exit(127);
	}
	box->pid = pid;
}

/* The names after "reader=SLOT " in the description, once all are there. */
static bool find_names(struct box *box) {
	char path[128], text[256];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/%s.reader", bed_directory(), box->instance);
	FILE *f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f)) {
		unsigned slot;
		int at = 0;
		if (sscanf(text, "reader=%u %n", &slot, &at) != 1 || slot >= BOX_MAX_SLOTS)
			continue;
		text[strcspn(text, "\n")] = 0;
		snprintf(box->names[slot], sizeof(box->names[slot]), "%.127s", text + at);
		n++;
	}
	if (f)
		fclose(f);
	return n == box->n_slots;
}

static bool answers(const struct box *box) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", bed_directory(),
		box->instance);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return good;
}

static void ours_plug(struct box *box) {
	int64_t end_ms = now_ms() + WAIT_MS;
	unsigned n = player_connections(box);
	spawn(box);
	while (player_connections(box) == n || !answers(box) || !find_names(box)) {
		if (waitpid(box->pid, NULL, WNOHANG) || now_ms() > end_ms)
			die(box->instance, "the handler does not start");
		pause_ms(5);
	}
}

/* The handler ends when its device goes. */
static void ours_unplug(struct box *box) {
	int64_t end_ms = now_ms() + WAIT_MS;
	if (box->activated) {
		kill(box->pid, SIGKILL);
		box_kill_activated(box);
	}
	player_hang_up(box);
	int status = 0;
	while (waitpid(box->pid, &status, WNOHANG) == 0) {
		if (now_ms() > end_ms)
			kill(box->pid, SIGKILL);
		pause_ms(2);
	}
	if (!box->activated && status != 0) {
		show_log(box);
		ok(false, "the handler of %s ends well when its device goes: %#x", box->instance,
			(unsigned)status);
	}
	box->pid = 0;
}

static pid_t ours_server_pid(const struct box *box) {
	return box->pid;
}

static void ours_killed(struct box *box) {
	waitpid(box->pid, NULL, 0);
	box->pid = 0;
}

static void ours_end(void) {
}

const struct stack stack_ours = {
	.name = "ours",
	.library = "libpcsclite.so.1",
	.server = "tests/ifdhandler-script",
	.traits = STACK_OWN_SERVERS | STACK_PLUGS | STACK_ACTIVATES,
	.begin = ours_begin,
	.plug = ours_plug,
	.unplug = ours_unplug,
	.server_pid = ours_server_pid,
	.killed = ours_killed,
	.restart = ours_plug,
	.end = ours_end,
};

/* ---- started by connections ---- */

/* Starts the handler with the socket as descriptor 3, the way sd_listen_fds(3) wants it. */
static _Noreturn void run_activated(const struct box *box, int listen_fd, const char *idle_s) {
	char pid[16], card[128];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(card, sizeof(card), "%s,%u", box->script, box->n_slots);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (listen_fd != 3)
		dup2(listen_fd, 3);
	else
		fcntl(3, F_SETFD, 0);
	quiet(box);
	execl(handler, handler, "--driver", "script", "--card", card, "--idle", idle_s,
		box->instance, NULL);
	_exit(127);
}

/* What systemd does for a socket unit, for ever. */
static _Noreturn void activate(const struct box *box, int listen_fd, const char *idle_s) {
	for (;;) {
		struct pollfd p = { .fd = listen_fd, .events = POLLIN };
		if (poll(&p, 1, -1) != 1)
			continue;
		pid_t pid = fork();
		if (pid == 0)
			run_activated(box, listen_fd, idle_s);
		*box->activated = pid;
		waitpid(pid, NULL, 0);
		*box->activated = 0;
	}
}

/* A description as --register writes it, of a reader that was plugged a minute ago. */
static void describe(struct box *box) {
	char path[128], temporary[128];
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	snprintf(box->name, sizeof(box->name), "Activated Reader (%s) 00 00", box->instance);
	snprintf(path, sizeof(path), "%s/%s.reader", bed_directory(), box->instance);
	snprintf(temporary, sizeof(temporary), "%s/%s.new", bed_directory(), box->instance);
	FILE *f = fopen(temporary, "we");
	fprintf(f, "version=1\ninstance=%s\ndriver=script\nseq=1\nregistered=%lld\nreader=0 %s\n",
		box->instance, (long long)now.tv_sec - 60, box->name);
	fclose(f);
	rename(temporary, path);
}

void box_start_activated(struct box *box, const char *instance, const char *idle_s) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (!box->player)
		box_make(box, instance, 1);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", bed_directory(),
		instance);
	box->activated = mmap(NULL, sizeof(*box->activated), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (box->activated == MAP_FAILED ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
		die(address.sun_path, "cannot listen");
	describe(box);
	box->pid = fork();
	if (box->pid == 0)
		activate(box, fd, idle_s);
	close(fd);
	box->plugged = true;
}

bool box_kill_activated(struct box *box) {
	pid_t pid = *box->activated;
	return pid > 0 && kill(pid, SIGKILL) == 0;
}
