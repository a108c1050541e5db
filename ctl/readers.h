/* SPDX-License-Identifier: MIT */
/* The readers that there are: descriptions in the search path, and which of them is meant by a
 * word. */
#pragma once

#include "wire/description.h"
#include "wire/path.h"

/* One device. */
struct readers_device {
	const char *dir; /* borrowed from the search path */
	size_t dir_index;
	char instance[PATH_MAX_NAME]; /* of the file's name: DIR/INSTANCE.sock is its socket */
	struct description description;
	int known; /* there is a description; else only a socket (forwarded, say) */
};

struct readers {
	struct path_list path;
	struct readers_device *devices; /* as applications list them: by registration */
	size_t n;
};

/* Whether sockets without a description are asked for it (1 s for each at most). */
enum readers_asking { READERS_LOOK_ONLY, READERS_ASK };

/* Reads all descriptions; says on stderr which directories may not be used. 0 or negative errno. */
int readers_load(enum readers_asking asking, struct readers *ret_readers);
void readers_done(struct readers *readers);

/* The readers that are detached: what detach noted in DIR/detached. `dir` is borrowed. Those whose
 * flag was set in another way are known by their instance only. 0 or negative errno. */
int readers_load_detached(const char *dir, struct readers *ret_readers);

/* The name of the device's first reader, or its instance where it has none that is known. Never
 * NULL. */
const char *readers_name(const struct readers_device *device);

/* Has registration left all of the device out of the list? Then nobody need ask its handler. */
int readers_is_ignored(const struct readers_device *device);

/* Writes what the description tells of the device as members of the JSON object that is open. */
struct print;
void readers_print(struct print *print, const struct readers_device *device);

/* Is `name` of `device` hidden from applications, because a directory before has the same? */
int readers_is_hidden(
	const struct readers *readers, const struct readers_device *device, const char *name);

/* A word may mean one slot or a whole device. */
enum readers_scope { READERS_SLOT, READERS_DEVICE };

/*
 * Finds what `word` means: a name as applications see it, an instance (001-012), a node
 * (/dev/bus/usb/001/012, ttyUSB0), a port, a serial number, an id (08e6:3437), or a part of a name
 * in any case: the first of these that fits anything at all, if it fits one only. With
 * READERS_DEVICE several slots of one device are one. ret_slot may be NULL. 0, or an exit code
 * after saying why on stderr.
 */
int readers_find(const struct readers *readers, const char *word, enum readers_scope scope,
	const struct readers_device **ret_device, unsigned *ret_slot);

/* As readers_find, but silent: 0, READERS_E_NONE or READERS_E_SEVERAL. */
enum { READERS_E_NONE = 1, READERS_E_SEVERAL = 2 };
int readers_search(const struct readers *readers, const char *word, enum readers_scope scope,
	const struct readers_device **ret_device, unsigned *ret_slot);
