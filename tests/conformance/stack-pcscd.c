/* SPDX-License-Identifier: MIT */
/*
 * The distribution's pcscd as a stack: one for each test, in a mount namespace of the test's own, where
 * /run and the directory of drivers are empty but for what is made here. The readers are USB devices of pcscd-host's, their
 * driver is ifd-script.so: device 001/NNN finds its test at /run/devices/NNN, a link to the box's socket.
 */
#include "tests/conformance/card.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRIVERS  "/usr/lib/pcsc/drivers" /* built into pcscd 1.9.9 */
#define BUNDLE   "/run/drivers/ifd-script.bundle"
#define CONTENTS BUNDLE "/Contents"
#define LIBRARY  CONTENTS "/Linux/ifd-script.so"
#define DEVICES  "/run/devices"
#define CONFIG   "/run/reader.conf.d" /* nothing */

enum { MAX_BOXES = 128, FIRST_NUMBER = 2 /* the root hub has 1 */ };

static struct {
	const char *server;
	pid_t host, pcscd;
	FILE *to, *from;
	struct box *boxes[MAX_BOXES]; /* by device number; NULL: not plugged in */
	unsigned next;
} pcscd;

/* ---- the namespace ---- */

static const char plist[] =
	"<dict>\n"
	"<key>CFBundleExecutable</key>\n<string>ifd-script.so</string>\n"
	"<key>ifdVendorID</key>\n<array>\n<string>0x1209</string>\n</array>\n"
	"<key>ifdProductID</key>\n<array>\n<string>0x0001</string>\n</array>\n"
	"<key>ifdFriendlyName</key>\n<array>\n<string>Scripted Reader</string>\n</array>\n"
	"</dict>\n";

static void must(bool good, const char *what) {
	if (!good)
		die(what, strerror(errno));
}

static void make_namespace(void) {
	must(unshare(CLONE_NEWNS) == 0, "a mount namespace");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private mounts");
	must(mount("none", "/run", "tmpfs", 0, "mode=755") == 0, "/run");
	const char *const directories[] = { "/run/pcscd", DEVICES, CONFIG, "/run/drivers", BUNDLE,
		CONTENTS, CONTENTS "/Linux" };
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
		must(mkdir(directories[i], 0755) == 0, directories[i]);
}

static void make_bundle(void) {
	char driver[256];
	bed_program("ifd-script.so", driver, sizeof(driver));
	must(access(driver, R_OK) == 0, driver);
	must(symlink(driver, LIBRARY) == 0, LIBRARY);
	FILE *f = fopen(CONTENTS "/Info.plist", "we");
	must(f && fputs(plist, f) >= 0 && fclose(f) == 0, "Info.plist");
	must(mount("/run/drivers", DRIVERS, NULL, MS_BIND, NULL) == 0, DRIVERS);
}

/* ---- the host ---- */

/* One line of answer to one line. */
__attribute__((format(printf, 3, 4))) static void tell(
	char *ret, size_t size, const char *format, ...) {
	va_list args;
	va_start(args, format);
	vfprintf(pcscd.to, format, args);
	va_end(args);
	fflush(pcscd.to);
	if (!fgets(ret, (int)size, pcscd.from))
		die("pcscd-host", "has ended");
	ret[strcspn(ret, "\n")] = 0;
}

static _Noreturn void run_host(const int in[2], const int out[2]) {
	char path[256];
	bed_program("pcscd-host", path, sizeof(path));
	dup2(in[0], 0);
	dup2(out[1], 1);
	setenv("LD_PRELOAD", "libumockdev-preload.so.0", 1);
	setenv("TMPDIR", "/run", 1); /* goes with the namespace, however this ends */
	execl(path, path, bed_library(), pcscd.server, "--foreground", "--config", CONFIG, NULL);
	_exit(127);
}

static void start_host(void) {
	int in[2], out[2];
	must(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
	pcscd.host = fork();
	must(pcscd.host >= 0, "fork");
	if (pcscd.host == 0)
		run_host(in, out);
	close(in[0]);
	close(out[1]);
	pcscd.to = fdopen(in[1], "we");
	pcscd.from = fdopen(out[0], "re");
	must(pcscd.to && pcscd.from, "fdopen");
}

static void start(void) {
	char answer[32];
	tell(answer, sizeof(answer), "start\n");
	pcscd.pcscd = (pid_t)strtol(answer, NULL, 10);
}

static void begin(const char *directory, const char *server) {
	(void)directory;
	pcscd.server = server;
	make_namespace();
	make_bundle();
	setenv("IFD_SCRIPT", DEVICES, 1);
	start_host();
	start();
}

static void end(void) {
	if (!pcscd.to)
		return;
	fputs("quit\n", pcscd.to); /* forked clients may hold the other end of the pipe */
	fclose(pcscd.to);
	fclose(pcscd.from);
	pcscd.to = NULL;
	waitpid(pcscd.host, NULL, 0);
}

/* ---- readers ---- */

/* "NAME\tNAME" */
static void take_names(struct box *box, char *names) {
	char *rest = names, *name;
	for (unsigned i = 0; i < box->n_slots; i++) {
		name = strsep(&rest, "\t");
		if (!name || !*name)
			die(box->instance, "is not listed");
		snprintf(box->names[i], sizeof(box->names[i]), "%s", name);
	}
}

static void plug(struct box *box) {
	char link[64], names[1024];
	unsigned number = FIRST_NUMBER + pcscd.next++ % (MAX_BOXES - FIRST_NUMBER);
	pcscd.boxes[number] = box;
	snprintf(link, sizeof(link), DEVICES "/%03u", number);
	unlink(link);
	must(symlink(box->script, link) == 0, link);
	bool wanted = box->wanted_name[0];
	tell(names, sizeof(names), "plug %u %u %s%s%s\n", number, box->n_slots, wanted ? "[" : "",
		wanted ? box->wanted_name : box->instance, wanted ? "]" : "");
	take_names(box, names);
}

/* What is under way ends with an error, as at a real plug, where udev's word comes a moment later. Here it comes first: a status
 * loop that finds its device dead sleeps for 1.4 s before it hears that it is gone. */
static void unplug(struct box *box) {
	char answer[32];
	for (unsigned i = 0; i < MAX_BOXES; i++) {
		if (pcscd.boxes[i] != box)
			continue;
		pcscd.boxes[i] = NULL;
		tell(answer, sizeof(answer), "unplug %u\n", i);
		player_hang_up(box);
		tell(answer, sizeof(answer), "find 0 %s\n", box->instance);
	}
}

static pid_t server_pid(const struct box *box) {
	(void)box;
	return pcscd.pcscd;
}

static void killed(struct box *box) {
	char answer[32];
	(void)box;
	tell(answer, sizeof(answer), "reap\n");
}

/* All readers are served again, and not necessarily with their former numbers. Those with a wanted name are not found
 * again: nothing but the number tells them apart. */
static void restart(struct box *box) {
	char names[1024];
	(void)box;
	start();
	for (unsigned i = 0; i < MAX_BOXES; i++) {
		if (!pcscd.boxes[i] || pcscd.boxes[i]->wanted_name[0])
			continue;
		tell(names, sizeof(names), "find %u %s\n", pcscd.boxes[i]->n_slots,
			pcscd.boxes[i]->instance);
		take_names(pcscd.boxes[i], names);
	}
}

const struct stack stack_pcscd = {
	.name = "pcscd",
	.library = "/usr/lib/x86_64-linux-gnu/libpcsclite.so.1",
	.server = "/usr/sbin/pcscd",
	.traits = STACK_PLUGS,
	.begin = begin,
	.plug = plug,
	.unplug = unplug,
	.server_pid = server_pid,
	.killed = killed,
	.restart = restart,
	.end = end,
};
