/* SPDX-License-Identifier: MIT */
/*
 * Access by credentials of the peer: uid and groups as the kernel recorded them when it connected
 * (never by pid, which may be another process by now; never by name service, which may block). The
 * seat is asked of logind by uid.
 */
#include "ifdhandler/access.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCESS_GROUP "smartcard"

enum { MAX_GROUPS = 65536 }; /* NGROUPS_MAX of the kernel */

void access_init(struct access *access, int own_only, const char *seat) {
	/* Not asked for nothing: name service modules cost 44 KiB of each handler's memory (measured). */
	struct group *group = own_only ? NULL : getgrnam(ACCESS_GROUP);
	*access = (struct access){
		.own_only = own_only,
		.own_uid = geteuid(),
		.group = group ? group->gr_gid : (gid_t)-1,
		.seat = { .name = seat ? seat : "seat0" },
	};
}

void access_done(struct access *access) {
	seat_done(&access->seat);
}

/* Is the peer a member of `group`? The kernel says how long the list is when it does not fit. */
static int peer_in_group(int fd, gid_t group) {
	gid_t few[32], *groups = few;
	socklen_t len = sizeof(few);
	int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len);
	if (r < 0 && len > sizeof(few) && len <= MAX_GROUPS * sizeof(gid_t)) {
		groups = malloc(len);
		if (!groups)
			return 0;
		r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len);
	}
	int found = 0;
	for (size_t i = 0; r == 0 && i < len / sizeof(gid_t); i++)
		found |= groups[i] == group;
	if (groups != few)
		free(groups);
	return found;
}

int access_check(struct access *access, int fd, uid_t uid, gid_t gid, char *reason, size_t size) {
	if (uid == 0 || (access->own_only && uid == access->own_uid))
		return 1;
	if (access->own_only) {
		snprintf(reason, size, "this reader serves user %u only, who started its handler",
			(unsigned)access->own_uid);
		return 0;
	}
	if (access->group != (gid_t)-1 &&
		(gid == access->group || peer_in_group(fd, access->group)))
		return 1;
	if (seat_has(&access->seat, uid))
		return 1;
	snprintf(reason, size,
		"user %u has no active session on %s and is not in group " ACCESS_GROUP
		"; an administrator allows it with: usermod -aG " ACCESS_GROUP " USER",
		(unsigned)uid, access->seat.name);
	return 0;
}
