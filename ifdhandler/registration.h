/* SPDX-License-Identifier: MIT */
/* Makes a reader exist for clients, and lets it cease: numbers, description, by-path links. */
#pragma once

#include "ifdhandler/identity.h"
#include "ifdhandler/log.h"

/*
 * Registers `identity` as `instance` in directory `dir`, where INSTANCE.sock listens already: claims
 * a number for each interface, writes INSTANCE.reader, and links both into by-path/ where the port
 * is known. Registering again replaces the description and keeps seq and numbers.
 * Logs the arrival. 0 or negative errno.
 */
int registration_add(
	const char *dir, const char *instance, const struct identity *identity, struct log *log);

/* Takes INSTANCE.reader away, and its links in by-path/ if they are still its own. Logs the departure.
 * 0, also where nothing was registered; or negative errno. */
int registration_remove(const char *dir, const char *instance, struct log *log);

/* Takes the lock under which directories of readers are changed. A descriptor to be closed, or
 * negative errno. */
int registration_lock(const char *dir);
