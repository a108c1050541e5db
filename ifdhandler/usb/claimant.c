/* SPDX-License-Identifier: MIT */
/*
 * The kernel does not say who owns a claimed interface, and only root can look into other
 * processes' descriptors. So this names candidates: running programs that are known to claim
 * readers, and a kernel driver that does. A look at /proc when a claim has failed, at no other
 * time.
 */
#include "ifdhandler/usb/claimant.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/* linux/sched.h TASK_COMM_LEN is 16; the file adds a newline. */
	COMM_SIZE = 18,
	MAX_NAMED = 4, /* more than that help nobody: chosen */
};

/* Reads the begin of a small file: its length, -1 if it cannot be read. */
static ssize_t read_file(const char *path, char *buf, size_t size) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buf, size - 1);
	(void)close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

static void add(char *buf, size_t size, const char *text) {
	size_t len = strlen(buf);
	(void)snprintf(buf + len, size - len, "%s", text);
}

/* The older project's program of our name is told apart by the way it was started. */
static int is_our_program(const char *pid) {
	char path[64], theirs[256], ours[256];
	(void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	if (read_file(path, theirs, sizeof(theirs)) <= 0 ||
		read_file("/proc/self/cmdline", ours, sizeof(ours)) <= 0)
		return 1;
	return strcmp(theirs, ours) == 0; /* argv[0] of both ends with NUL */
}

static int claims_readers(const char *pid, const char *comm) {
	static const char *const known[] = { "pcscd", "scdaemon", "openct-control", "ifdproxy" };
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(comm, known[i]) == 0)
			return 1;
	return strcmp(comm, "ifdhandler") == 0 && !is_our_program(pid);
}

/* A candidate among the processes: its name without the newline, or 0. */
static int look_at(const char *pid, char comm[COMM_SIZE]) {
	char path[64];
	if (!isdigit((unsigned char)pid[0]) || strtol(pid, NULL, 10) == (long)getpid())
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	if (read_file(path, comm, COMM_SIZE) <= 0)
		return 0;
	comm[strcspn(comm, "\n")] = '\0';
	return claims_readers(pid, comm);
}

static unsigned add_processes(char *buf, size_t size) {
	DIR *proc = opendir("/proc");
	unsigned n = 0;
	for (struct dirent *e; proc && n < MAX_NAMED && (e = readdir(proc));) {
		char comm[COMM_SIZE], text[64];
		if (!look_at(e->d_name, comm))
			continue;
		(void)snprintf(text, sizeof(text), "%s%s (pid %.20s)", n++ ? ", " : "perhaps ",
			comm, e->d_name);
		add(buf, size, text);
	}
	if (proc)
		(void)closedir(proc);
	return n;
}

/* The kernel's NFC driver takes some readers that have an NFC chip inside. */
static int has_nfc_driver(void) {
	return access("/sys/bus/usb/drivers/pn533_usb", F_OK) == 0;
}

void claimant_describe(char *buf, size_t size) {
	buf[0] = '\0';
	unsigned n = add_processes(buf, size);
	if (has_nfc_driver()) {
		add(buf, size, n ? ", " : "perhaps ");
		add(buf, size, "the kernel's driver pn533_usb");
		n++;
	}
	if (n == 0)
		add(buf, size, "none that is known to do so is running");
}
