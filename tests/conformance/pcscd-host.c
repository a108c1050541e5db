/* SPDX-License-Identifier: MIT */
/*
 * pcscd-host LIBRARY OPTION...: runs a pcscd with USB devices of umockdev's, and does what the
 * lines of its standard input say, each with a line of answer. Debian's pcscd learns of
 * plugging from udev only, so this is how readers come and go for it. Runs with umockdev's library preloaded, as its child
 * does. The bundle for the devices' id (1209:0001) is where pcscd looks for it.
 *
 *   start                    starts pcscd; its process id, once it serves
 *   reap                     "ended", when pcscd has
 *   plug NUMBER N SERIAL     a device with N slots; the names of its readers, with tabs between, once the library lists them
 *                            (empty: it does not). "[TEXT]" in place of a serial number is an interface string
 *   find N SERIAL            the same for a device that is plugged in
 *   unplug NUMBER            "announced"; `find 0 SERIAL` waits until the library lists none
 *   quit                     ends it, and pcscd (as the end of the input does)
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <umockdev.h>
#include <unistd.h>

#include "client/winscard.h"

#define COMM "/run/pcscd/pcscd.comm"
#define PID  "/run/pcscd/pcscd.pid"

enum { WAIT_MS = 15000, LOOK_MS = 10 };

static struct {
	UMockdevTestbed *testbed;
	char **options;
	pid_t pcscd;
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardReleaseContext) release;
} host;

static void look_again(void) {
	nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
}

/* ---- pcscd ---- */

static _Noreturn void run_pcscd(void) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!freopen("/dev/null", "r", stdin))
		_exit(126);
	if (!getenv("CONFORMANCE_LOG") && !freopen("/dev/null", "w", stderr))
		_exit(126);
	dup2(2, 1);
	execv(host.options[0], host.options);
	_exit(127);
}

static bool serves(void) {
	SCARDCONTEXT context;
	if (host.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
		return false;
	host.release(context);
	return true;
}

static void start(void) {
	unlink(COMM); /* of one that was killed */
	unlink(PID);
	host.pcscd = fork();
	if (host.pcscd == 0)
		run_pcscd();
	for (int ms = 0; !serves() && ms < WAIT_MS; ms += LOOK_MS)
		look_again();
	printf("%d\n", (int)host.pcscd);
}

static void reap(void) {
	if (host.pcscd > 0)
		waitpid(host.pcscd, NULL, 0);
	host.pcscd = 0;
	puts("ended");
}

/* ---- what the library lists ---- */

/* All names, NULL for none. */
static char *list(void) {
	SCARDCONTEXT context;
	char *names = NULL;
	DWORD length = SCARD_AUTOALLOCATE;
	if (host.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
		return NULL;
	if (host.list(context, NULL, (LPSTR)&names, &length) != SCARD_S_SUCCESS)
		names = NULL;
	host.release(context);
	return names;
}

static bool is_among(const char *name, const char *names) {
	for (; names && *names; names += strlen(names) + 1)
		if (strcmp(name, names) == 0)
			return true;
	return false;
}

/* The names that contain `part` (NULL: any) and are not among `before`, with tabs between; how many? */
static unsigned find(const char *part, const char *before, char *ret, size_t size) {
	char *names = list();
	unsigned n = 0;
	*ret = 0;
	for (const char *name = names; name && *name; name += strlen(name) + 1) {
		size_t used = strlen(ret);
		if ((part && !strstr(name, part)) || is_among(name, before))
			continue;
		snprintf(ret + used, size - used, "%s%s", n ? "\t" : "", name);
		n++;
	}
	free(names);
	return n;
}

/* Says them, once there are `n`. */
static void say_names(const char *part, const char *before, unsigned n) {
	char names[4096];
	bool there = false;
	for (int ms = 0; ms < WAIT_MS && !there; ms += LOOK_MS) {
		there = find(part, before, names, sizeof(names)) == n;
		if (!there)
			look_again();
	}
	puts(there ? names : "");
}

static void say_names_of(const char *serial, unsigned n) {
	char part[300];
	snprintf(part, sizeof(part), "(%s) ", serial);
	say_names(part, NULL, n);
}

/* ---- devices ---- */

static void add(const char *text) {
	GError *error = NULL;
	if (umockdev_testbed_add_from_string(host.testbed, text, &error))
		return;
	fprintf(stderr, "umockdev: %s\n", error->message);
	g_error_free(error);
}

static void plug(unsigned number, unsigned n, const char *serial) {
	char text[1024], attribute[300];
	char *before = list();
	bool interface = serial[0] == '[';
	snprintf(attribute, sizeof(attribute), "A: %s=%.*s\\n\n",
		interface ? "interface" : "serial", (int)strlen(serial) - 2 * interface,
		serial + interface);
	snprintf(text, sizeof(text),
		"P: /devices/usb1/1-%u\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nE: BUSNUM=001\n"
		"E: DEVNUM=%03u\nE: DEVNAME=/dev/bus/usb/001/%03u\nA: idVendor=1209\\n\nA: idProduct=0001\\n\n%s",
		number, number, number, interface ? "" : attribute);
	add(text);
	snprintf(text, sizeof(text),
		"P: /devices/usb1/1-%u/1-%u:1.0\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\n"
		"E: PRODUCT=1209/1/0\nA: bInterfaceNumber=00\\n\n%s",
		number, number, interface ? attribute : "");
	add(text);
	say_names(NULL, before, n);
	free(before);
}

static void remove_path(const char *path) {
	umockdev_testbed_uevent(host.testbed, path, "remove");
	umockdev_testbed_remove_device(host.testbed, path);
}

static void unplug(unsigned number) {
	char path[128];
	snprintf(path, sizeof(path), "/sys/devices/usb1/1-%u/1-%u:1.0", number, number);
	remove_path(path);
	snprintf(path, sizeof(path), "/sys/devices/usb1/1-%u", number);
	remove_path(path);
	puts("announced");
}

/* ---- what it is told ---- */

static void obey(const char *line) {
	unsigned number, n;
	char serial[256];
	if (strcmp(line, "start\n") == 0)
		start();
	else if (strcmp(line, "reap\n") == 0)
		reap();
	else if (sscanf(line, "plug %u %u %255[^\n]", &number, &n, serial) == 3)
		plug(number, n, serial);
	else if (sscanf(line, "find %u %255[^\n]", &n, serial) == 2)
		say_names_of(serial, n);
	else if (sscanf(line, "unplug %u", &number) == 1)
		unplug(number);
	else
		puts("");
	fflush(stdout);
}

static bool load(const char *path) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return false;
	}
	*(void **)&host.establish = dlsym(library, "SCardEstablishContext");
	*(void **)&host.list = dlsym(library, "SCardListReaders");
	*(void **)&host.release = dlsym(library, "SCardReleaseContext");
	return host.establish && host.list && host.release;
}

int main(int argc, char **argv) {
	char line[512];
	if (argc < 3 || !load(argv[1]))
		return 2;
	host.options = argv + 2;
	host.testbed = umockdev_testbed_new();
	while (fgets(line, sizeof(line), stdin) && strcmp(line, "quit\n") != 0)
		obey(line);
	if (host.pcscd > 0) {
		kill(host.pcscd, SIGKILL);
		reap();
	}
	g_object_unref(host.testbed);
	return 0;
}
