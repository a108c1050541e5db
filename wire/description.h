/* SPDX-License-Identifier: MIT */
/* INSTANCE.reader: the small text that makes a reader exist for clients. Read and written here only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	DESCRIPTION_MAX = 65536,    /* bytes of text; chosen: 256 slots of 128 bytes twice over */
	DESCRIPTION_MAX_NAME = 127, /* MAX_READERNAME of PC/SC less its NUL */
	DESCRIPTION_MAX_READERS = 256,
	DESCRIPTION_VERSION = 1,
};

/* One slot as applications see it. */
struct description_reader {
	unsigned slot;
	const char *name;
};

/* A whole description. Strings are borrowed from `text` after a parse, or the caller's own before a
 * format; NULL where not known. */
struct description {
	char *text;           /* owned by a parsed description, else NULL */
	const char *instance; /* "001-012" */
	const char *device;   /* "/dev/bus/usb/001/012" */
	const char *by_path;  /* udev's ID_PATH_TAG: the port */
	const char *id;       /* "08e6:3437" */
	const char *serial;
	const char *driver;    /* "ccid" */
	const char *error;     /* why the device cannot be used */
	const char *ignored;   /* why slots of it, or all, are not listed */
	uint64_t seq;          /* place in the list: readers are listed by it */
	uint64_t registered_s; /* CLOCK_BOOTTIME at registration, in seconds */
	struct description_reader *readers;
	size_t n_readers;
};

/* Parses `len` bytes of text (copied). Unknown keys are ignored, so that old programs read new
 * descriptions. 0; -EBADMSG (no text of this kind, another major version, control characters, no
 * reader and no reason for that, too many, a name or slot that is out of bounds); -ENOMEM. */
int description_parse(const char *text, size_t len, struct description *ret_description);

/* Reads and parses file `name` in directory `dirfd`: a regular file of at most DESCRIPTION_MAX bytes,
 * links not followed. As description_parse, or the errno of the failure. */
int description_read(int dirfd, const char *name, struct description *ret_description);

/* Writes `description` as text with NUL into `buf`. Control characters in values become '?'.
 * Returns the length without NUL, or -EMSGSIZE. */
int description_format(const struct description *description, char *buf, size_t size);

/* The name of slot `slot`, or NULL. */
const char *description_name(const struct description *description, unsigned slot);

/* Frees what a parse allocated; a zeroed description is allowed. */
void description_done(struct description *description);
