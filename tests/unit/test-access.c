/* SPDX-License-Identifier: MIT */
/* The rule of access over real sockets, whose ends have the credentials that the kernel says. */
#include "tests/unit/test.h"

#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ifdhandler/access.h"

enum { NOBODY = 65534, GROUP = 54321 };

static char reason[256];

/* A rule that lets in members of GROUP; nobody sits at its seat. */
static struct access grouped(void) {
	return (struct access){ .group = GROUP, .seat.name = "seat-of-nobody" };
}

static int check(struct access *access, int fd, uid_t uid, gid_t gid) {
	memset(reason, 0, sizeof(reason));
	return access_check(access, fd, uid, gid, reason, sizeof(reason));
}

/* A connected socket whose peer has the groups `groups`; skips where we may not choose them. */
static int peer_with_groups(const gid_t *groups, size_t n) {
	gid_t own[256];
	int fds[2], n_own = getgroups(256, own);
	if (geteuid() != 0 || n_own < 0 || setgroups(n, groups) < 0)
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(setgroups((size_t)n_own, own), 0);
	close(fds[1]);
	return fds[0];
}

static void root_may(void **state) {
	(void)state;
	struct access access = {
		.own_only = 1, .own_uid = 1000, .group = (gid_t)-1, .seat.name = "x"
	};
	assert_int_equal(check(&access, -1, 0, 0), 1);
	access.own_only = 0;
	assert_int_equal(check(&access, -1, 0, 0), 1);
}

static void a_users_own_handler_serves_him_only(void **state) {
	(void)state;
	struct access access = grouped();
	access.own_only = 1;
	access.own_uid = 1000;
	assert_int_equal(check(&access, -1, 1000, 1000), 1);
	assert_int_equal(check(&access, -1, 1001, GROUP), 0);
	assert_string_equal(reason, "this reader serves user 1000 only, who started its handler");
}

/* Who runs a handler of the system's has no right from that: the uid is the reader's, not a person's. */
static void the_systems_handler_knows_no_own_user(void **state) {
	(void)state;
	struct access access = grouped();
	access.own_uid = 1000;
	assert_int_equal(check(&access, -1, 1000, 1000), 0);
}

static void members_of_the_group_may(void **state) {
	(void)state;
	struct access access = grouped();
	assert_int_equal(check(&access, -1, NOBODY, GROUP), 1);
	static const gid_t member[] = { 7, GROUP, 9 }, other[] = { 7, 8, 9 };
	int fd = peer_with_groups(member, N_OF(member));
	assert_int_equal(check(&access, fd, NOBODY, NOBODY), 1);
	close(fd);
	fd = peer_with_groups(other, N_OF(other));
	assert_int_equal(check(&access, fd, NOBODY, NOBODY), 0);
	close(fd);
	fd = peer_with_groups(NULL, 0);
	assert_int_equal(check(&access, fd, NOBODY, NOBODY), 0);
	close(fd);
}

/* More groups than the first look has room for. */
static void a_member_of_many_groups(void **state) {
	(void)state;
	struct access access = grouped();
	gid_t groups[2000];
	for (size_t i = 0; i < N_OF(groups); i++)
		groups[i] = (gid_t)(1000 + i);
	int fd = peer_with_groups(groups, N_OF(groups));
	assert_int_equal(check(&access, fd, NOBODY, NOBODY), 0);
	close(fd);
	groups[N_OF(groups) - 1] = GROUP;
	fd = peer_with_groups(groups, N_OF(groups));
	assert_int_equal(check(&access, fd, NOBODY, NOBODY), 1);
	close(fd);
}

/* (gid_t)-1 stands for "no such group" and is nobody's. */
static void without_the_group_nobody_is_a_member(void **state) {
	(void)state;
	struct access access = grouped();
	access.group = (gid_t)-1;
	assert_int_equal(check(&access, -1, NOBODY, (gid_t)-1), 0);
}

static void what_cannot_be_found_out_is_no(void **state) {
	(void)state;
	struct access access = grouped();
	assert_int_equal(check(&access, -1, NOBODY, NOBODY), 0);
	access.seat.name = "../seat0";
	assert_int_equal(check(&access, -1, NOBODY, NOBODY), 0);
}

static void a_refusal_says_what_would_allow_it(void **state) {
	(void)state;
	struct access access = grouped();
	assert_int_equal(check(&access, -1, NOBODY, NOBODY), 0);
	assert_non_null(strstr(reason, "user 65534 has no active session on seat-of-nobody"));
	assert_non_null(strstr(reason, "usermod -aG smartcard USER"));
	char small[8];
	assert_int_equal(access_check(&access, -1, NOBODY, NOBODY, small, sizeof(small)), 0);
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

static void the_standing_rule(void **state) {
	(void)state;
	struct access access;
	struct group *group = getgrnam("smartcard");
	gid_t gid = group ? group->gr_gid : (gid_t)-1;
	access_init(&access, 0, NULL);
	assert_int_equal(access.group, gid);
	assert_string_equal(access.seat.name, "seat0");
	assert_int_equal(access.own_uid, geteuid());
	access_init(&access, 1, "seat1");
	assert_true(access.own_only);
	assert_string_equal(access.seat.name, "seat1");
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_may),
		cmocka_unit_test(a_users_own_handler_serves_him_only),
		cmocka_unit_test(the_systems_handler_knows_no_own_user),
		cmocka_unit_test(members_of_the_group_may),
		cmocka_unit_test(a_member_of_many_groups),
		cmocka_unit_test(without_the_group_nobody_is_a_member),
		cmocka_unit_test(what_cannot_be_found_out_is_no),
		cmocka_unit_test(a_refusal_says_what_would_allow_it),
		cmocka_unit_test(the_standing_rule),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
