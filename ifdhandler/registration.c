/* SPDX-License-Identifier: MIT */
/*
 * A reader exists while its description does. Registration runs when the socket listens and before
 * any handler does; it claims each interface's number NN under the directory's lock: the one that the
 * same device had before (remembered in .numbers until reboot), else the smallest that no reader of
 * the same name uses. A description whose device node is gone uses nothing: its departure is on its way.
 */
#include "ifdhandler/registration.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ifdhandler/numbers.h"
#include "wire/description.h"
#include "wire/path.h"

enum {
	MAX_READERS = 65536, /* in one directory: more numbers than NN has, chosen */
};

static_assert((int)DESCRIPTION_MAX_NAME == (int)NAME_MAX_BYTES, "one limit of names");

/* All descriptions in the directory while the lock is held. */
struct census {
	struct description *all;
	size_t n;
	uint64_t last_seq;
	struct description own; /* the instance's own, if it is registered already */
};

int registration_lock(const char *dir) {
	char path[PATH_MAX_NAME + 8];
	int n = snprintf(path, sizeof(path), "%s/.lock", dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* Held for a few file operations; a holder that dies gives it back. */
	if (flock(fd, LOCK_EX) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* ---- census ---- */

static int is_description(const char *file, char *instance, size_t size) {
	static const char suffix[] = ".reader";
	size_t len = strlen(file), end = sizeof(suffix) - 1;
	if (len <= end || file[0] == '.' || strcmp(file + len - end, suffix) != 0 ||
		len - end >= size)
		return 0;
	memcpy(instance, file, len - end);
	instance[len - end] = 0;
	return 1;
}

static int census_add(struct census *census, struct description *d, int own) {
	if (d->seq > census->last_seq && d->seq <= PLACES_MAX)
		census->last_seq = d->seq;
	if (own) {
		census->own = *d;
		return 0;
	}
	if ((d->device && access(d->device, F_OK) < 0) || census->n >= MAX_READERS) {
		description_done(d);
		return 0;
	}
	struct description *all = reallocarray(census->all, census->n + 1, sizeof(*all));
	if (!all) {
		description_done(d);
		return -ENOMEM;
	}
	census->all = all;
	all[census->n++] = *d;
	return 0;
}

static void census_done(struct census *census) {
	for (size_t i = 0; i < census->n; i++)
		description_done(&census->all[i]);
	free(census->all);
	description_done(&census->own);
	*census = (struct census){ 0 };
}

static int census_take(struct census *census, int dirfd, const char *instance) {
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	int r = 0;
	struct dirent *entry;
	char name[256];
	while (r == 0 && (entry = readdir(d))) {
		struct description description;
		/* A file that is no description uses no number. */
		if (is_description(entry->d_name, name, sizeof(name)) &&
			description_read(dirfd, entry->d_name, &description) == 0)
			r = census_add(census, &description, strcmp(name, instance) == 0);
	}
	closedir(d);
	return r;
}

/* ---- numbers ---- */

/* A bit for each number. */
struct numbers_used {
	uint8_t bits[(NAME_MAX_NUMBER + 8) / 8];
};

static void used_add(struct numbers_used *used, int number) {
	used->bits[number / 8] |= (uint8_t)(1u << number % 8);
}

static int used_has(const struct numbers_used *used, int number) {
	return used->bits[number / 8] >> number % 8 & 1;
}

/* The numbers of other readers with the name of interface `i`, and of this device's interfaces before it. */
static void used_take(const struct census *census, const struct identity *identity, unsigned i,
	const int *numbers, struct numbers_used *used) {
	const char *base = identity->interfaces[i].base;
	*used = (struct numbers_used){ 0 };
	for (size_t d = 0; d < census->n; d++)
		for (size_t k = 0; k < census->all[d].n_readers; k++) {
			int number = name_number(census->all[d].readers[k].name, base);
			if (number >= 0)
				used_add(used, number);
		}
	for (unsigned k = 0; k < i; k++)
		if (!identity->interfaces[k].ignored &&
			strcmp(identity->interfaces[k].base, base) == 0)
			used_add(used, numbers[k]);
}

/* The number that interface `i` has in the description that is about to be replaced, or -1. */
static int own_number(const struct census *census, const struct identity *identity, unsigned i) {
	unsigned slot = 0;
	for (unsigned k = 0; k < i; k++)
		slot += identity->interfaces[k].n_slots;
	const char *name = description_name(&census->own, slot);
	return name ? name_number(name, identity->interfaces[i].base) : -1;
}

/* The number of interface `i`: the one it has, else its own from before, where that is free; else
 * the smallest free one. `numbers`: those of this device's interfaces before it. */
static int claim(const struct census *census, int dirfd, const char *instance,
	const struct identity *identity, unsigned i, const int *numbers) {
	struct numbers_used used;
	int wanted[1 + NUMBERS_N_KINDS];
	wanted[0] = own_number(census, identity, i);
	numbers_recall(dirfd, instance, identity, i, wanted + 1);
	used_take(census, identity, i, numbers, &used);
	int number = -1;
	for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]) && number < 0; k++)
		if (wanted[k] >= 0 && !used_has(&used, wanted[k]))
			number = wanted[k];
	for (int n = 0; n <= NAME_MAX_NUMBER && number < 0; n++)
		if (!used_has(&used, n))
			number = n;
	if (number < 0)
		return -ENOSPC;
	numbers_keep(dirfd, instance, identity, i, number);
	return number;
}

/* ---- description ---- */

static int file_write(int dirfd, const char *name, const char *text, size_t len) {
	char temp[320];
	snprintf(temp, sizeof(temp), ".%s.new", name);
	unlinkat(dirfd, temp, 0);
	int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, text, len);
	int r = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
	if (r == 0 && fchmod(fd, 0644) < 0)
		r = -errno;
	close(fd);
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

static uint64_t boottime_s(void) {
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec;
}

/* The names of interface `i`, whose slots begin at `first`, into `d`; `names` holds them. */
static void readers_add(struct description *d, char (*names)[NAME_MAX_BYTES + 1],
	const struct identity_interface *interface, unsigned number, unsigned first) {
	for (unsigned slot = 0; slot < interface->n_slots && d->n_readers < DESCRIPTION_MAX_READERS;
		slot++) {
		char *name = names[d->n_readers];
		name_format(interface->base, number, slot, name);
		d->readers[d->n_readers++] =
			(struct description_reader){ .slot = first + slot, .name = name };
	}
}

/* Numbers claimed, names made. Slots that are not listed are counted all the same: they have numbers of
 * their own on the wire. */
static int readers_make(const struct census *census, int dirfd, const char *instance,
	const struct identity *identity, char (*names)[NAME_MAX_BYTES + 1], struct description *d) {
	int numbers[IDENTITY_MAX_INTERFACES];
	unsigned first = 0;
	for (unsigned i = 0; i < identity->n_interfaces; i++) {
		const struct identity_interface *interface = &identity->interfaces[i];
		if (!interface->ignored) {
			numbers[i] = claim(census, dirfd, instance, identity, i, numbers);
			if (numbers[i] < 0)
				return numbers[i];
			readers_add(d, names, interface, (unsigned)numbers[i], first);
		}
		first += interface->n_slots;
	}
	return 0;
}

/* ---- places in the list ---- */

static uint64_t monotonic_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A device that was plugged before the round began (as all are at boot) stands by port, whichever is
 * registered first, and whenever; all others are counted from behind the last port. */
static uint64_t place_take(const struct places *places, const struct identity *identity) {
	uint64_t behind = places->base + DEVICE_MAX_PORT;
	if (identity->port && identity->plugged_ms && identity->plugged_ms <= places->first_ms)
		return places->base + identity->port;
	return (places->last > behind ? places->last : behind) + 1;
}

/* The place in the list: the one that it has, else one that was not given since boot, unless to this device
 * in an earlier second of this plugging, which `registered` tells apart. */
static uint64_t seq_of(const struct census *census, int dirfd, const struct identity *identity) {
	struct places places;
	uint64_t now = monotonic_ms();
	if (census->own.seq)
		return census->own.seq;
	places_recall(dirfd, &places);
	if (census->last_seq > places.last)
		places.last = census->last_seq;
	if (!census->n || !places.first_ms || places.first_ms > now) {
		places.base = places.last;
		places.first_ms = now;
	}
	uint64_t seq = place_take(&places, identity);
	if (seq > places.last)
		places.last = seq;
	places_keep(dirfd, &places);
	return seq;
}

/* A place by port may be given again. In the second in which the reader was registered its next life would
 * be the same to a client: the round is over, and the next place is above all. */
static void place_leave(int dirfd, const struct description *d) {
	struct places places;
	if (d->registered_s != boottime_s())
		return;
	places_recall(dirfd, &places);
	if (d->seq > places.base && d->seq <= places.base + DEVICE_MAX_PORT) {
		places.first_ms = 0;
		places_keep(dirfd, &places);
	}
}

/* The description as text. */
static int compose(struct census *census, int dirfd, const char *instance,
	const struct identity *identity, char *text) {
	struct description_reader readers[DESCRIPTION_MAX_READERS];
	char(*names)[NAME_MAX_BYTES + 1] = calloc(DESCRIPTION_MAX_READERS, sizeof(*names));
	struct description d = {
		.instance = instance,
		.device = identity->device,
		.by_path = identity->by_path,
		.id = identity->id[0] ? identity->id : NULL,
		.serial = identity->serial,
		.driver = identity->driver,
		.error = identity->error,
		.ignored = identity->ignored[0] ? identity->ignored : NULL,
		.seq = seq_of(census, dirfd, identity),
		.registered_s = census->own.seq ? census->own.registered_s : boottime_s(),
		.readers = readers,
	};
	int r = names ? readers_make(census, dirfd, instance, identity, names, &d) : -ENOMEM;
	if (r == 0)
		r = description_format(&d, text, DESCRIPTION_MAX + 1);
	free(names);
	return r;
}

/* ---- by-path ---- */

/* A port's directory outlives the reader: it may be mounted into a container. */
static int by_path_open(int dirfd, const char *by_path, int make) {
	char path[300];
	if (by_path[0] == '.' || strchr(by_path, '/') ||
		snprintf(path, sizeof(path), "by-path/%s", by_path) >= (int)sizeof(path))
		return -EINVAL;
	if (make &&
		((mkdirat(dirfd, "by-path", 0755) < 0 && errno != EEXIST) ||
			(mkdirat(dirfd, path, 0755) < 0 && errno != EEXIST)))
		return -errno;
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static void by_path_link(int dirfd, const char *instance, const char *suffix, int portfd) {
	char from[300], to[32];
	snprintf(from, sizeof(from), "%s.%s", instance, suffix);
	snprintf(to, sizeof(to), "reader.%s", suffix);
	unlinkat(portfd, ".new", 0);
	if (linkat(dirfd, from, portfd, ".new", 0) < 0 || renameat(portfd, ".new", portfd, to) < 0)
		unlinkat(portfd, ".new", 0);
	/* rename of two links to one file does nothing and leaves both */
	unlinkat(portfd, ".new", 0);
}

static void by_path_unlink(int dirfd, const char *instance, const char *suffix, int portfd) {
	char from[300], to[32];
	struct stat own, linked;
	snprintf(from, sizeof(from), "%s.%s", instance, suffix);
	snprintf(to, sizeof(to), "reader.%s", suffix);
	if (fstatat(portfd, to, &linked, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	/* The socket's own name may be gone already: a link nobody else shares is nobody's. */
	int have_own = fstatat(dirfd, from, &own, AT_SYMLINK_NOFOLLOW) == 0;
	if (have_own ? own.st_ino == linked.st_ino : linked.st_nlink == 1)
		unlinkat(portfd, to, 0);
}

static void by_path_each(int dirfd, const char *instance, const char *by_path, int add) {
	int portfd = by_path ? by_path_open(dirfd, by_path, add) : -1;
	static const char *const suffixes[] = { "sock", "reader" };
	if (portfd < 0)
		return;
	for (size_t i = 0; i < 2; i++) {
		if (add)
			by_path_link(dirfd, instance, suffixes[i], portfd);
		else
			by_path_unlink(dirfd, instance, suffixes[i], portfd);
	}
	close(portfd);
}

/* ---- both ways ---- */

static void arrival_log(const struct description *d, struct log *log) {
	const char *name = d->n_readers ? d->readers[0].name : NULL;
	log->reader = name;
	if (name)
		log_line(log, LOG_NOTICE, "%s is here%s%s", name,
			d->error ? ", but cannot be used: " : "", d->error ? d->error : "");
	if (d->ignored)
		log_line(log, LOG_NOTICE, "not listed: %s", d->ignored);
	log->reader = NULL;
}

static int add_locked(
	int dirfd, const char *instance, const struct identity *identity, struct log *log) {
	struct census census = { 0 };
	char file[300];
	snprintf(file, sizeof(file), "%s.reader", instance);
	char *text = malloc(DESCRIPTION_MAX + 1);
	int r = text ? census_take(&census, dirfd, instance) : -ENOMEM;
	if (r == 0)
		r = compose(&census, dirfd, instance, identity, text);
	if (r > 0)
		r = file_write(dirfd, file, text, (size_t)r);
	if (r == 0)
		by_path_each(dirfd, instance, identity->by_path, 1);
	struct description d;
	if (r == 0 && !census.own.seq && description_read(dirfd, file, &d) == 0) {
		arrival_log(&d, log);
		description_done(&d);
	}
	census_done(&census);
	free(text);
	return r;
}

static int remove_locked(int dirfd, const char *instance, struct log *log) {
	char file[300];
	struct description d;
	snprintf(file, sizeof(file), "%s.reader", instance);
	int r = description_read(dirfd, file, &d);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return unlinkat(dirfd, file, 0) < 0 ? -errno : 0;
	by_path_each(dirfd, instance, d.by_path, 0);
	r = unlinkat(dirfd, file, 0) < 0 ? -errno : 0;
	place_leave(dirfd, &d);
	if (d.n_readers) {
		log->reader = d.readers[0].name;
		log_line(log, LOG_NOTICE, "%s is gone", d.readers[0].name);
		log->reader = NULL;
	}
	description_done(&d);
	return r;
}

/* Opens and locks the directory: *ret_lock is to be closed after. A descriptor or negative errno. */
static int dir_open(const char *dir, int *ret_lock) {
	int lock = registration_lock(dir);
	if (lock < 0)
		return lock;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int r = -errno;
		close(lock);
		return r;
	}
	*ret_lock = lock;
	return fd;
}

int registration_add(
	const char *dir, const char *instance, const struct identity *identity, struct log *log) {
	int lock = -1, dirfd = dir_open(dir, &lock);
	if (dirfd < 0)
		return dirfd;
	int r = add_locked(dirfd, instance, identity, log);
	close(dirfd);
	close(lock);
	return r;
}

int registration_remove(const char *dir, const char *instance, struct log *log) {
	int lock = -1, dirfd = dir_open(dir, &lock);
	if (dirfd < 0)
		return dirfd == -ENOENT ? 0 : dirfd;
	int r = remove_locked(dirfd, instance, log);
	close(dirfd);
	close(lock);
	return r;
}
