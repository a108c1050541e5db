/* SPDX-License-Identifier: MIT */
/* Who may use a reader: decided by the peer's credentials as the kernel gives them. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "ifdhandler/seat.h"

/* The rule of one reader. */
struct access {
	int own_only; /* a handler that a user started serves that user (and root) only */
	uid_t own_uid;
	gid_t group;      /* members may use it; (gid_t)-1: there is no such group */
	struct seat seat; /* users with an active session there may */
};

/* The standing rule: root, the user who runs the handler (`own_only`: nobody else), members of group
 * `smartcard`, users with an active session on `seat` (NULL: seat0). Looks the group up once. */
void access_init(struct access *access, int own_only, const char *seat);
void access_done(struct access *access);

/* May the process at the other end of `fd` (its SO_PEERCRED: `uid`, `gid`) use the reader? 1, or 0 with
 * a sentence in `reason` that says what would allow it. Whatever cannot be found out counts as no. */
int access_check(struct access *access, int fd, uid_t uid, gid_t gid, char *reason, size_t size);
