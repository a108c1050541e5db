/* SPDX-License-Identifier: MIT */
/*
 * library-dlopen LIBRARY N [live]: a program that loads the library, uses the first reader and unloads it again, N times;
 * `live`: with the context, the watch and the card as they are. Then it forks: the child loads the library, too.
 * Says how many descriptors and mappings it had after the third time and after the last.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/winscard.h"

struct functions {
	LONG (*establish)(DWORD, LPCVOID, LPCVOID, LPSCARDCONTEXT);
	LONG (*release)(SCARDCONTEXT);
	LONG (*list)(SCARDCONTEXT, LPCSTR, LPSTR, LPDWORD);
	LONG (*connect)(SCARDCONTEXT, LPCSTR, DWORD, DWORD, LPSCARDHANDLE, LPDWORD);
	LONG (*disconnect)(SCARDHANDLE, DWORD);
	LONG (*change)(SCARDCONTEXT, DWORD, SCARD_READERSTATE *, DWORD);
};

static void *need(void *p) {
	if (p)
		return p;
	printf("%s\n", dlerror());
	exit(1);
}

static void find(void *library, struct functions *f) {
	/* POSIX wants a function's address to fit in void *; ISO C does not know the conversion */
	*(void **)&f->establish = need(dlsym(library, "SCardEstablishContext"));
	*(void **)&f->release = need(dlsym(library, "SCardReleaseContext"));
	*(void **)&f->list = need(dlsym(library, "SCardListReaders"));
	*(void **)&f->connect = need(dlsym(library, "SCardConnect"));
	*(void **)&f->disconnect = need(dlsym(library, "SCardDisconnect"));
	*(void **)&f->change = need(dlsym(library, "SCardGetStatusChange"));
}

static LONG use(const struct functions *f, bool live) {
	SCARDCONTEXT context;
	SCARDHANDLE card;
	char readers[4096];
	DWORD len = sizeof(readers), protocol;
	SCARD_READERSTATE state = { .szReader = readers };
	LONG rv = f->establish(SCARD_SCOPE_USER, NULL, NULL, &context);
	if (rv == SCARD_S_SUCCESS)
		rv = f->list(context, NULL, readers, &len);
	if (rv == SCARD_S_SUCCESS)
		rv = f->change(context, 0, &state, 1);
	if (rv == SCARD_S_SUCCESS)
		rv = f->connect(
			context, readers, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card, &protocol);
	if (live)
		return rv;
	if (rv == SCARD_S_SUCCESS)
		rv = f->disconnect(card, SCARD_LEAVE_CARD);
	return rv == SCARD_S_SUCCESS ? f->release(context) : rv;
}

static int count_descriptors(void) {
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Lines of /proc/self/maps, and those that name `library`. */
static int count_mappings(const char *library, int *ret_named) {
	FILE *f = fopen("/proc/self/maps", "re");
	char line[4400];
	int n = 0;
	*ret_named = 0;
	while (f && fgets(line, sizeof(line), f)) {
		n++;
		*ret_named += strstr(line, library) != NULL;
	}
	if (f)
		fclose(f);
	return n;
}

/* Loads, uses and unloads the library. */
static LONG round_trip(const char *path, bool live) {
	struct functions f;
	void *library = need(dlopen(path, RTLD_NOW | RTLD_LOCAL));
	find(library, &f);
	LONG rv = use(&f, live);
	dlclose(library);
	return rv;
}

/* The same in a forked child, which inherits what was left. */
static int in_child(const char *path) {
	int status = -1;
	pid_t pid = fork();
	if (pid == 0)
		_exit(round_trip(path, false) == SCARD_S_SUCCESS ? 0 : 1);
	waitpid(pid, &status, 0);
	return status;
}

int main(int argc, char **argv) {
	long n = argc >= 3 ? strtol(argv[2], NULL, 10) : 0;
	bool live = argc > 3 && strcmp(argv[3], "live") == 0;
	for (long i = 1; i <= n; i++) {
		int named;
		LONG rv = round_trip(argv[1], live);
		if (rv != SCARD_S_SUCCESS) {
			printf("round %ld: %#lx\n", i, (unsigned long)rv);
			return 1;
		}
		if (i == 3 || i == n) {
			int mappings = count_mappings(argv[1], &named);
			printf("%d descriptors, %d mappings, %d of the library\n",
				count_descriptors(), mappings, named);
		}
	}
	return live ? in_child(argv[1]) : 0;
}
