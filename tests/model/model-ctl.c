/* SPDX-License-Identifier: MIT */
/* model-ctl [-s SOCKET] COMMAND...: sends one command to the emulation and prints its answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int usage(void) {
	fprintf(stderr,
		"usage: model-ctl [-s SOCKET] COMMAND...   (SOCKET: default $MODEL_CONTROL)\n");
	return 2;
}

static FILE *reach(const char *path) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		return NULL;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
		fprintf(stderr, "model-ctl: %s: %m\n", path);
		return NULL;
	}
	return fdopen(fd, "r+");
}

int main(int argc, char **argv) {
	const char *path = getenv("MODEL_CONTROL");
	for (int c; (c = getopt(argc, argv, "+s:")) != -1;) {
		if (c != 's')
			return usage();
		path = optarg;
	}
	if (!path || optind == argc)
		return usage();
	FILE *f = reach(path);
	if (!f)
		return 2;
	for (int i = optind; i < argc; i++)
		fprintf(f, "%s%c", argv[i], i + 1 < argc ? ' ' : '\n');
	fflush(f);
	/* the longest line is a traced message */
	char line[4096];
	int r = 2;
	while (r == 2 && fgets(line, sizeof line, f)) {
		if (!strcmp(line, "ok\n")) {
			r = 0;
		} else if (!strncmp(line, "error: ", 7)) {
			fprintf(stderr, "model-ctl: %s", line + 7);
			r = 1;
		} else {
			fputs(line, stdout);
		}
	}
	fclose(f);
	return r;
}
