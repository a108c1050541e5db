/* SPDX-License-Identifier: MIT */
/* A directory of readers as the verbs change it: who starts and stops there, its flags, waiting
 * for it. */
#pragma once

#include <stdint.h>

#include "wire/description.h"
#include "wire/path.h"

struct place {
	char dir[PATH_MAX_NAME];
	int managed; /* systemd starts and stops its readers; else we do */
};

/* Where this user's readers are made: the first directory of IFDHANDLER_PATH, else /run/ifdhandler
 * for root and $XDG_RUNTIME_DIR/ifdhandler for others. 0, or an exit code after saying why. */
int place_init(struct place *ret_place);

/* The place of a reader that was found in `dir`. */
void place_of(const char *dir, struct place *ret_place);

/* May this process start and stop readers there? 0, or EXIT_REFUSED after saying what would allow
 * `what` ("detach"). */
int place_may_change(const struct place *place, const char *what);

/* Makes the directory and detached/ in it. 0, or an exit code after saying why. */
int place_make(const struct place *place);

/* The flag of `shutdown`: while it is there systemd starts no reader. set: 0 or an exit code. */
int place_is_shut(const struct place *place);
int place_set_shut(const struct place *place, int shut);

/* The note that a reader is detached, with what it was (NULL: not known). set: 0 or an exit
 * code. */
int place_is_detached(const struct place *place, const char *instance);
int place_set_detached(
	const struct place *place, const char *instance, const struct description *description);
void place_clear_detached(const struct place *place, const char *instance);

/* Is a reader of that instance here (both files); is nothing of it here? */
int place_has(const struct place *place, const char *instance);
int place_lacks(const struct place *place, const char *instance);

/* Waits until `done` holds; it is asked after every change of the directory. 0, -ETIMEDOUT, or
 * another negative errno. */
typedef int (*place_condition)(const struct place *place, void *userdata);
int place_wait(
	const struct place *place, place_condition done, void *userdata, int64_t deadline_ms);

/* place_wait for one instance (place_has, place_lacks). */
int place_wait_here(const struct place *place, const char *instance, int64_t deadline_ms);
int place_wait_gone(const struct place *place, const char *instance, int64_t deadline_ms);
