/* SPDX-License-Identifier: MIT */
/*
 * A description is lines of key=value, the first of them `version=1`; `reader=SLOT NAME` occurs once
 * for every slot that is listed. Values run to the end of the line and hold no control characters, so there is
 * nothing to escape. A table names the plain keys once for both directions.
 */
#include "wire/description.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct text_key {
	const char *key;
	size_t offset;
} text_keys[] = {
	{ "instance", offsetof(struct description, instance) },
	{ "device", offsetof(struct description, device) },
	{ "by-path", offsetof(struct description, by_path) },
	{ "id", offsetof(struct description, id) },
	{ "serial", offsetof(struct description, serial) },
	{ "driver", offsetof(struct description, driver) },
	{ "error", offsetof(struct description, error) },
	{ "ignored", offsetof(struct description, ignored) },
};

static const struct number_key {
	const char *key;
	size_t offset;
} number_keys[] = {
	{ "seq", offsetof(struct description, seq) },
	{ "registered", offsetof(struct description, registered_s) },
};

enum {
	N_TEXT_KEYS = sizeof(text_keys) / sizeof(text_keys[0]),
	N_NUMBER_KEYS = sizeof(number_keys) / sizeof(number_keys[0]),
};

static const char **text_field(const struct description *d, size_t i) {
	return (const char **)(void *)((char *)(uintptr_t)d + text_keys[i].offset);
}

static uint64_t *number_field(const struct description *d, size_t i) {
	return (uint64_t *)(void *)((char *)(uintptr_t)d + number_keys[i].offset);
}

/* A decimal number that fills `s` up to `end`. 0 or -EBADMSG. */
static int number_parse(const char *s, const char *end, uint64_t max, uint64_t *ret) {
	uint64_t v = 0;
	if (s == end)
		return -EBADMSG;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9' || v > (max - (uint64_t)(*s - '0')) / 10)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*ret = v;
	return 0;
}

static int reader_parse(struct description *d, const char *value) {
	const char *blank = strchr(value, ' ');
	uint64_t slot;
	if (!blank || number_parse(value, blank, DESCRIPTION_MAX_READERS - 1, &slot) < 0)
		return -EBADMSG;
	size_t len = strlen(blank + 1);
	if (len == 0 || len > DESCRIPTION_MAX_NAME || d->n_readers >= DESCRIPTION_MAX_READERS ||
		description_name(d, (unsigned)slot))
		return -EBADMSG;
	struct description_reader *readers =
		reallocarray(d->readers, d->n_readers + 1, sizeof(*readers));
	if (!readers)
		return -ENOMEM;
	d->readers = readers;
	readers[d->n_readers++] =
		(struct description_reader){ .slot = (unsigned)slot, .name = blank + 1 };
	return 0;
}

static int line_parse(struct description *d, char *line) {
	char *value = strchr(line, '=');
	if (!value)
		return -EBADMSG;
	*value++ = 0;
	if (strcmp(line, "reader") == 0)
		return reader_parse(d, value);
	for (size_t i = 0; i < N_TEXT_KEYS; i++)
		if (strcmp(line, text_keys[i].key) == 0)
			*text_field(d, i) = value;
	for (size_t i = 0; i < N_NUMBER_KEYS; i++)
		if (strcmp(line, number_keys[i].key) == 0)
			return number_parse(
				value, value + strlen(value), UINT64_MAX, number_field(d, i));
	return 0;
}

static int text_parse(struct description *d) {
	static const char first[] = "version=1";
	char *save = NULL;
	char *line = strtok_r(d->text, "\n", &save);
	if (!line || strcmp(line, first) != 0)
		return -EBADMSG;
	while ((line = strtok_r(NULL, "\n", &save))) {
		int r = line_parse(d, line);
		if (r < 0)
			return r;
	}
	return d->n_readers || d->ignored ? 0 : -EBADMSG;
}

int description_parse(const char *text, size_t len, struct description *ret_description) {
	struct description d = { 0 };
	if (len > DESCRIPTION_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' && text[i] != '\n')
			return -EBADMSG;
	d.text = strndup(text, len);
	if (!d.text)
		return -ENOMEM;
	int r = text_parse(&d);
	if (r < 0) {
		description_done(&d);
		return r;
	}
	*ret_description = d;
	return 0;
}

/* Reads up to `size` bytes; the length, or negative errno. */
static ssize_t read_all(int fd, char *buf, size_t size) {
	size_t len = 0;
	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int description_read(int dirfd, const char *name, struct description *ret_description) {
	/* O_NONBLOCK: a FIFO planted under this name must not hold us up */
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	struct stat st;
	char *buf = NULL;
	int r;
	if (fstat(fd, &st) < 0) {
		r = -errno;
	} else if (!S_ISREG(st.st_mode) || st.st_size > DESCRIPTION_MAX) {
		r = -EBADMSG;
	} else if (!(buf = malloc((size_t)st.st_size + 1))) {
		r = -ENOMEM;
	} else {
		ssize_t n = read_all(fd, buf, (size_t)st.st_size);
		r = n < 0 ? (int)n : description_parse(buf, (size_t)n, ret_description);
	}
	free(buf);
	close(fd);
	return r;
}

/* Appends "key=value\n" with control characters replaced; keeps counting when the room is used up. */
static void line_format(char *buf, size_t size, size_t *len, const char *line) {
	for (const char *s = line; *s; s++) {
		if (*len + 1 < size)
			buf[*len] = (unsigned char)*s < ' ' ? '?' : *s;
		++*len;
	}
	if (*len + 1 < size)
		buf[*len] = '\n';
	++*len;
}

int description_format(const struct description *description, char *buf, size_t size) {
	char line[4096]; /* chosen: values are names, ids and paths */
	size_t len = 0;
	line_format(buf, size, &len, "version=1");
	for (size_t i = 0; i < N_TEXT_KEYS; i++) {
		const char *value = *text_field(description, i);
		if (!value)
			continue;
		snprintf(line, sizeof(line), "%s=%s", text_keys[i].key, value);
		line_format(buf, size, &len, line);
	}
	for (size_t i = 0; i < N_NUMBER_KEYS; i++) {
		snprintf(line, sizeof(line), "%s=%llu", number_keys[i].key,
			(unsigned long long)*number_field(description, i));
		line_format(buf, size, &len, line);
	}
	for (size_t i = 0; i < description->n_readers; i++) {
		snprintf(line, sizeof(line), "reader=%u %s", description->readers[i].slot,
			description->readers[i].name);
		line_format(buf, size, &len, line);
	}
	if (len >= size || len > DESCRIPTION_MAX)
		return -EMSGSIZE;
	buf[len] = 0;
	return (int)len;
}

const char *description_name(const struct description *description, unsigned slot) {
	for (size_t i = 0; i < description->n_readers; i++)
		if (description->readers[i].slot == slot)
			return description->readers[i].name;
	return NULL;
}

void description_done(struct description *description) {
	free(description->text);
	free(description->readers);
	*description = (struct description){ 0 };
}
