/* SPDX-License-Identifier: MIT */
/*
 * A line is a number and a key: the name without number, id, interface, serial number and port. Makers give
 * one serial number to many devices, and then the port tells them apart; a device without any is known by
 * its port alone. The last line of a key counts. The files live as long as the directory: until reboot.
 * Whoever owns the directory may have put something else in their place, and that is not waited for.
 */
#include "ifdhandler/numbers.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAX_BYTES =
		1 << 20, /* begun anew beyond; chosen: 5000 readers with two keys of 100 bytes */
	MAX_KEY = 512,
};

struct keys {
	char text[NUMBERS_N_KINDS][MAX_KEY]; /* "": there is no such key */
};

/* The name first: what is too long loses its end. */
static void key_make(const struct identity *identity, unsigned i, const char *serial,
	const char *place, char *key) {
	const struct identity_interface *interface = &identity->interfaces[i];
	snprintf(key, MAX_KEY, "%s:%s:%u:%s:%s", interface->base,
		identity->id[0] ? identity->id : identity->driver, interface->number, serial,
		place);
	for (char *p = key; *p; p++)
		if (*p <= ' ' || *p > '~')
			*p = '_';
}

static void keys_make(
	const char *instance, const struct identity *identity, unsigned i, struct keys *keys) {
	const char *serial = identity->serial ? identity->serial : "";
	const char *place = identity->by_path ? identity->by_path : serial[0] ? "" : instance;
	*keys = (struct keys){ 0 };
	if (place[0])
		key_make(identity, i, serial, place, keys->text[NUMBERS_SAME_PORT]);
	if (serial[0])
		key_make(identity, i, serial, "", keys->text[NUMBERS_SAME_SERIAL]);
}

/* A regular file, or -1. */
static int memory_open(int dirfd, const char *name, int flags) {
	int fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

static FILE *file_open(int dirfd) {
	int fd = memory_open(dirfd, ".numbers", O_RDONLY);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	if (fd >= 0 && !file)
		close(fd);
	return file;
}

void numbers_recall(int dirfd, const char *instance, const struct identity *identity, unsigned i,
	int ret[NUMBERS_N_KINDS]) {
	char line[MAX_KEY + 16], key[MAX_KEY];
	struct keys keys;
	int n;
	for (size_t k = 0; k < NUMBERS_N_KINDS; k++)
		ret[k] = -1;
	FILE *file = file_open(dirfd);
	if (!file)
		return;
	keys_make(instance, identity, i, &keys);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%d %511s", &n, key) != 2 || n < 0 || n > NAME_MAX_NUMBER)
			continue;
		for (size_t k = 0; k < NUMBERS_N_KINDS; k++)
			if (strcmp(key, keys.text[k]) == 0)
				ret[k] = n;
	}
	fclose(file);
}

void numbers_keep(
	int dirfd, const char *instance, const struct identity *identity, unsigned i, int number) {
	struct keys keys;
	int known[NUMBERS_N_KINDS];
	int fd = memory_open(dirfd, ".numbers", O_WRONLY | O_CREAT | O_APPEND);
	struct stat st;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > MAX_BYTES && ftruncate(fd, 0) < 0) {
		close(fd);
		return;
	}
	numbers_recall(dirfd, instance, identity, i, known);
	keys_make(instance, identity, i, &keys);
	for (size_t k = 0; k < NUMBERS_N_KINDS; k++)
		if (keys.text[k][0] && known[k] != number)
			dprintf(fd, "%d %s\n", number, keys.text[k]);
	close(fd);
}

/* ---- places ---- */

enum { PLACES_BYTES = 63 }; /* three numbers of 20 digits, each with a byte behind it */

void places_recall(int dirfd, struct places *ret_places) {
	char text[PLACES_BYTES + 1] = "";
	struct places p;
	int fd = memory_open(dirfd, ".places", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, PLACES_BYTES);
	if (fd >= 0)
		close(fd);
	*ret_places = (struct places){ 0 };
	if (n == PLACES_BYTES &&
		sscanf(text, "%20" SCNu64 " %20" SCNu64 " %20" SCNu64, &p.last, &p.base,
			&p.first_ms) == 3 &&
		p.base <= p.last && p.last <= PLACES_MAX)
		*ret_places = p;
}

void places_keep(int dirfd, const struct places *p) {
	int fd = memory_open(dirfd, ".places", O_WRONLY | O_CREAT);
	if (fd < 0)
		return;
	/* always as long: written over in one go */
	dprintf(fd, "%020" PRIu64 " %020" PRIu64 " %020" PRIu64 "\n", p->last, p->base,
		p->first_ms);
	close(fd);
}
