/* SPDX-License-Identifier: MIT */
/*
 * Listing is reading directories: nothing is started and nobody is waited for, unless the caller
 * wants sockets without a description to be asked. A word is tried as each kind of handle in turn,
 * from the exact ones to a part of a name; more than one fit of the same kind is an error that
 * lists them, never a guess.
 */
#include "ctl/readers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/peer.h"
#include "ctl/print.h"
#include "ctl/verb.h"

enum {
	MAX_DEVICES = 4096, /* chosen: what somebody else's directory can make us hold */
	ASK_MS = 1000, /* chosen: a forwarded socket's round trip and the start of its handler */
	/* A socket so young may be about to get its description, and must not be woken before:
	 * chosen. */
	YOUNG_S = 1,
};

/* ---- loading ---- */

/* Is `file` INSTANCE followed by `suffix`, short enough for a socket's address? */
static int instance_of(const char *file, const char *suffix, char *instance) {
	size_t len = strlen(file), suffix_len = strlen(suffix);
	if (file[0] == '.' || len <= suffix_len || len >= PATH_MAX_NAME ||
		strcmp(file + len - suffix_len, suffix) != 0)
		return 0;
	memcpy(instance, file, len - suffix_len);
	instance[len - suffix_len] = 0;
	return 1;
}

static int device_add(struct readers *readers, size_t dir_index, const char *instance,
	struct readers_device **ret_device) {
	if (readers->n >= MAX_DEVICES)
		return -E2BIG;
	struct readers_device *devices =
		reallocarray(readers->devices, readers->n + 1, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	readers->devices = devices;
	struct readers_device *device = &devices[readers->n++];
	*device = (struct readers_device){ .dir = readers->path.dirs[dir_index],
		.dir_index = dir_index };
	memcpy(device->instance, instance, strlen(instance) + 1);
	*ret_device = device;
	return 0;
}

static int is_listed(const struct readers *readers, size_t dir_index, const char *instance) {
	for (size_t i = 0; i < readers->n; i++)
		if (readers->devices[i].dir_index == dir_index &&
			strcmp(readers->devices[i].instance, instance) == 0)
			return 1;
	return 0;
}

int readers_load_detached(const char *dir, struct readers *ret_readers) {
	struct readers readers = { .path = { .dirs = { dir }, .n_dirs = 1 } };
	struct readers_device *device;
	struct dirent *entry;
	char path[PATH_MAX_NAME + 16];
	snprintf(path, sizeof(path), "%s/detached", dir);
	DIR *d = opendir(path);
	int r = d || errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	while (r == 0 && d && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= PATH_MAX_NAME)
			continue;
		r = device_add(&readers, 0, entry->d_name, &device);
		if (r == 0)
			device->known = description_read(
						dirfd(d), entry->d_name, &device->description) == 0;
	}
	if (d)
		closedir(d);
	if (r < 0)
		readers_done(&readers);
	else
		*ret_readers = readers;
	return r;
}

static int description_load(struct readers *readers, size_t dir_index, int dirfd, const char *file,
	const char *instance) {
	struct description description;
	struct readers_device *device;
	int r = description_read(dirfd, file, &description);
	if (r == -ENOENT) /* it went between */
		return 0;
	if (r < 0) {
		print_error(0, "%s/%s cannot be used: %s", readers->path.dirs[dir_index], file,
			strerror(-r));
		return 0;
	}
	r = device_add(readers, dir_index, instance, &device);
	if (r < 0) {
		description_done(&description);
		return r;
	}
	device->description = description;
	device->known = 1;
	return 0;
}

static void device_ask(struct readers_device *device) {
	int64_t deadline = deadline_in(ASK_MS);
	struct peer peer;
	if (peer_open(device->dir, device->instance, deadline, &peer) == 0)
		device->known = peer_hello(&peer, deadline, &device->description) == 0;
	peer_close(&peer);
}

static int is_young(int fd, const char *file) {
	struct stat st;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return fstatat(fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		(st.st_ctim.tv_sec <= now.tv_sec && now.tv_sec - st.st_ctim.tv_sec <= YOUNG_S);
}

static int socket_load(struct readers *readers, size_t dir_index, int fd, const char *file,
	const char *instance, enum readers_asking asking) {
	struct readers_device *device;
	if (is_listed(readers, dir_index, instance) || is_young(fd, file))
		return 0;
	int r = device_add(readers, dir_index, instance, &device);
	if (r == 0 && asking == READERS_ASK)
		device_ask(device);
	return r;
}

/* Descriptions first: a socket beside one needs no asking. */
static int dir_load(struct readers *readers, size_t dir_index, DIR *d, enum readers_asking asking) {
	char instance[PATH_MAX_NAME];
	struct dirent *entry;
	int r = 0;
	while (r == 0 && (entry = readdir(d)))
		if (instance_of(entry->d_name, ".reader", instance))
			r = description_load(readers, dir_index, dirfd(d), entry->d_name, instance);
	rewinddir(d);
	while (r == 0 && (entry = readdir(d)))
		if (instance_of(entry->d_name, ".sock", instance))
			r = socket_load(
				readers, dir_index, dirfd(d), entry->d_name, instance, asking);
	return r;
}

static int dir_open(const char *name, DIR **ret_dir) {
	int fd = path_open(name);
	if (fd == -EPERM)
		print_error(0,
			"%s is not used: its owner is neither you nor root, or others may write to it",
			name);
	else if (fd < 0 && fd != -ENOENT)
		print_error(0, "%s: %s", name, strerror(-fd));
	if (fd < 0)
		return 0;
	*ret_dir = fdopendir(fd);
	if (*ret_dir)
		return 1;
	close(fd);
	return -ENOMEM;
}

/* As client programs sort: by registration, then directory, then instance. */
static int compare(const void *a, const void *b) {
	const struct readers_device *x = a, *y = b;
	if (x->description.seq != y->description.seq)
		return x->description.seq < y->description.seq ? -1 : 1;
	if (x->dir_index != y->dir_index)
		return x->dir_index < y->dir_index ? -1 : 1;
	return strcmp(x->instance, y->instance);
}

int readers_load(enum readers_asking asking, struct readers *ret_readers) {
	struct readers readers = { 0 };
	int r = path_list_init(&readers.path);
	for (size_t i = 0; r == 0 && i < readers.path.n_dirs; i++) {
		DIR *d;
		r = dir_open(readers.path.dirs[i], &d);
		if (r <= 0)
			continue;
		r = dir_load(&readers, i, d, asking);
		closedir(d);
	}
	if (r < 0) {
		readers_done(&readers);
		print_error(0, "cannot list readers: %s", strerror(-r));
		return r;
	}
	if (readers.n)
		qsort(readers.devices, readers.n, sizeof(*readers.devices), compare);
	*ret_readers = readers;
	return 0;
}

void readers_done(struct readers *readers) {
	for (size_t i = 0; i < readers->n; i++)
		description_done(&readers->devices[i].description);
	free(readers->devices);
	path_list_done(&readers->path);
	*readers = (struct readers){ 0 };
}

const char *readers_name(const struct readers_device *device) {
	const struct description *d = &device->description;
	return d->n_readers ? d->readers[0].name : device->instance;
}

int readers_is_ignored(const struct readers_device *device) {
	return device->known && !device->description.n_readers;
}

void readers_print(struct print *print, const struct readers_device *device) {
	const struct description *d = &device->description;
	print_string(print, "instance", device->instance);
	print_string(print, "directory", device->dir);
	print_string(print, "device", d->device);
	print_string(print, "id", d->id);
	print_string(print, "serial", d->serial);
	print_string(print, "port", d->by_path);
	print_string(print, "driver", d->driver);
	print_string(print, "error", d->error);
	print_string(print, "ignored", d->ignored);
}

int readers_is_hidden(
	const struct readers *readers, const struct readers_device *device, const char *name) {
	for (size_t i = 0; i < readers->n; i++) {
		const struct readers_device *other = &readers->devices[i];
		for (size_t k = 0;
			other->dir_index < device->dir_index && k < other->description.n_readers;
			k++)
			if (strcmp(other->description.readers[k].name, name) == 0)
				return 1;
	}
	return 0;
}

/* ---- searching ---- */

/* The kinds of handle, in the order in which they are tried. */
enum kind {
	KIND_NAME,
	KIND_INSTANCE,
	KIND_NODE,
	KIND_PORT,
	KIND_SERIAL,
	KIND_ID,
	KIND_PART,
	N_KINDS
};

static int equals(const char *value, const char *word) {
	return value && strcmp(value, word) == 0;
}

/* A node by its whole path, or by what follows /dev/. */
static int is_node(const char *device, const char *word) {
	static const char dev[] = "/dev/";
	return equals(device, word) ||
		(device && strncmp(device, dev, sizeof(dev) - 1) == 0 &&
			strcmp(device + sizeof(dev) - 1, word) == 0);
}

static int device_fits(const struct readers_device *device, enum kind kind, const char *word) {
	const struct description *d = &device->description;
	switch (kind) {
	case KIND_INSTANCE: return equals(device->instance, word);
	case KIND_NODE: return is_node(d->device, word);
	case KIND_PORT: return equals(d->by_path, word);
	case KIND_SERIAL: return equals(d->serial, word);
	case KIND_ID: return d->id && strcasecmp(d->id, word) == 0;
	default: return 0;
	}
}

/* What was found so far. */
struct search {
	enum readers_scope scope;
	const struct readers_device *device;
	unsigned slot;
	int several;
	/* names of what fits, one on a line, for the error */
	char names[2048];
	size_t names_len;
};

static void search_add(
	struct search *s, const struct readers_device *device, unsigned slot, const char *name) {
	if (s->device && (s->device != device || s->scope == READERS_SLOT))
		s->several = 1;
	if (!s->device) {
		s->device = device;
		s->slot = slot;
	}
	size_t room = sizeof(s->names) - s->names_len;
	int n = snprintf(s->names + s->names_len, room, "\n    %s (%s)", name, device->instance);
	if (n > 0 && (size_t)n < room)
		s->names_len += (size_t)n;
	else
		s->names[s->names_len] = 0;
}

static void search_names(
	struct search *s, const struct readers_device *device, enum kind kind, const char *word) {
	const struct description *d = &device->description;
	for (size_t i = 0; i < d->n_readers; i++) {
		const char *name = d->readers[i].name;
		if (kind == KIND_NAME ? strcmp(name, word) == 0 : strcasestr(name, word) != NULL)
			search_add(s, device, d->readers[i].slot, name);
	}
}

/* A device stands for its slots. One that has none that is known is there all the same. */
static void search_device(struct search *s, const struct readers_device *device) {
	const struct description *d = &device->description;
	if (!d->n_readers)
		search_add(s, device, 0, device->instance);
	for (size_t i = 0; i < d->n_readers; i++)
		search_add(s, device, d->readers[i].slot, d->readers[i].name);
}

static void search_run(struct search *s, const struct readers *readers, const char *word) {
	for (int kind = 0; kind < N_KINDS && !s->device; kind++)
		for (size_t i = 0; i < readers->n; i++) {
			const struct readers_device *device = &readers->devices[i];
			if (kind == KIND_NAME || kind == KIND_PART)
				search_names(s, device, (enum kind)kind, word);
			else if (device_fits(device, (enum kind)kind, word))
				search_device(s, device);
			/* a name is looked up as applications do: the first directory's counts */
			if (kind == KIND_NAME && s->device)
				break;
		}
}

static int search_result(
	const struct search *s, const struct readers_device **ret_device, unsigned *ret_slot) {
	if (!s->device)
		return READERS_E_NONE;
	if (s->several)
		return READERS_E_SEVERAL;
	*ret_device = s->device;
	if (ret_slot)
		*ret_slot = s->slot;
	return 0;
}

int readers_search(const struct readers *readers, const char *word, enum readers_scope scope,
	const struct readers_device **ret_device, unsigned *ret_slot) {
	struct search s = { .scope = scope };
	if (word[0])
		search_run(&s, readers, word);
	return search_result(&s, ret_device, ret_slot);
}

int readers_find(const struct readers *readers, const char *word, enum readers_scope scope,
	const struct readers_device **ret_device, unsigned *ret_slot) {
	struct search s = { .scope = scope };
	if (word[0])
		search_run(&s, readers, word);
	switch (search_result(&s, ret_device, ret_slot)) {
	case 0:
		if (scope == READERS_DEVICE || !readers_is_ignored(s.device))
			return 0;
		return print_error(EXIT_NO_READER, "reader %s is not listed: %s",
			s.device->instance, s.device->description.ignored);
	case READERS_E_SEVERAL:
		return print_error(EXIT_NO_READER,
			"\"%s\" fits several readers; give the whole name or the instance:%s", word,
			s.names);
	default:
		return print_error(EXIT_NO_READER,
			"no reader matches \"%s\"; reader-ctl list shows them", word);
	}
}
