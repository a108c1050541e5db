/* SPDX-License-Identifier: MIT */
/* The search path from the environment, and which directories and listeners are trusted. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/path.h"

static char dir[] = "/tmp/path-XXXXXX";

static int setup(void **state) {
	(void)state;
	unsetenv("IFDHANDLER_PATH");
	unsetenv("XDG_RUNTIME_DIR");
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	return mkdtemp(dir) ? 0 : 1;
}

static int teardown(void **state) {
	(void)state;
	return rmdir(dir);
}

/* The list as one string, joined with '|'. */
static const char *joined(void) {
	static char text[4096];
	struct path_list list;
	assert_int_equal(path_list_init(&list), 0);
	text[0] = 0;
	for (size_t i = 0; i < list.n_dirs; i++) {
		strcat(text, list.dirs[i]);
		strcat(text, "|");
	}
	path_list_done(&list);
	assert_int_equal(list.n_dirs, 0);
	return text;
}

/* ---- the list ---- */

static void without_environment_it_is_the_system_directory(void **state) {
	(void)state;
	assert_string_equal(joined(), PATH_RUN "|");
}

static void a_user_has_a_directory_of_his_own(void **state) {
	(void)state;
	uid_t uid = geteuid();
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	if (uid == 0)
		assert_string_equal(joined(), PATH_RUN "|");
	if (uid == 0 && seteuid(65534) < 0)
		skip();
	assert_string_equal(joined(), PATH_RUN "|/run/user/7/ifdhandler|");
	setenv("XDG_RUNTIME_DIR", "run/user/7", 1);
	assert_string_equal(joined(), PATH_RUN "|");
	assert_int_equal(seteuid(uid), 0);
}

static void given_directories_count_alone(void **state) {
	(void)state;
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	setenv("IFDHANDLER_PATH", "/a:relative::/b/c:./d:/e", 1);
	assert_string_equal(joined(), "/a|/b/c|/e|");
	setenv("IFDHANDLER_PATH", "", 1);
	assert_string_equal(joined(), "");
}

static void the_list_has_an_end(void **state) {
	(void)state;
	char text[4 * (PATH_MAX_DIRS + 4) + 1] = "";
	struct path_list list;
	for (unsigned i = 0; i < PATH_MAX_DIRS + 4; i++)
		snprintf(text + 4 * i, 5, "/%02u:", i % 100);
	setenv("IFDHANDLER_PATH", text, 1);
	assert_int_equal(path_list_init(&list), 0);
	assert_int_equal(list.n_dirs, PATH_MAX_DIRS);
	assert_string_equal(list.dirs[PATH_MAX_DIRS - 1], "/15");
	path_list_done(&list);
}

static void where_own_handlers_live(void **state) {
	(void)state;
	char buf[PATH_MAX_NAME];
	uid_t uid = geteuid();
	if (uid == 0) {
		assert_int_equal(path_own(buf, sizeof(buf)), 0);
		assert_string_equal(buf, PATH_RUN);
		assert_int_equal(path_own(buf, sizeof(PATH_RUN) - 1), -ENAMETOOLONG);
		if (seteuid(65534) < 0)
			skip();
	}
	assert_int_equal(path_own(buf, sizeof(buf)), -ENOENT);
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	assert_int_equal(path_own(buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/run/user/7/ifdhandler");
	assert_int_equal(seteuid(uid), 0);
}

/* ---- trust ---- */

static int opens(const char *name) {
	int fd = path_open(name);
	if (fd < 0)
		return fd;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	return 0;
}

static void a_directory_that_others_can_write_is_not_trusted(void **state) {
	(void)state;
	assert_int_equal(opens(dir), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(opens(dir), 0);
	assert_int_equal(chmod(dir, 0775), 0);
	assert_int_equal(opens(dir), -EPERM);
	assert_int_equal(chmod(dir, 0702), 0);
	assert_int_equal(opens(dir), -EPERM);
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(opens(dir), -EPERM);
	assert_int_equal(opens("/nonexistent"), -ENOENT);
	assert_int_equal(opens("/dev/null"), -ENOTDIR);
}

static void a_directory_of_another_user_is_not_trusted(void **state) {
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(dir, 65534, (gid_t)-1), 0);
	assert_int_equal(opens(dir), -EPERM);
	if (seteuid(65534) < 0)
		skip();
	int own = opens(dir), roots = opens("/usr");
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(own, 0);
	assert_int_equal(roots, 0);
}

static void a_listener_is_trusted_by_its_user(void **state) {
	(void)state;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(path_peer_trusted(dir, fds[0]), 1);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(path_peer_trusted(PATH_RUN, -1), 1);
	assert_int_equal(path_peer_trusted(dir, -1), -EBADF);
	if (geteuid() != 0 || seteuid(65534) < 0)
		skip();
	int r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, 0);
	assert_int_equal(path_peer_trusted(dir, fds[0]), 0);
	assert_int_equal(path_peer_trusted(PATH_RUN, fds[0]), 1);
	close(fds[0]);
	close(fds[1]);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(without_environment_it_is_the_system_directory),
		CASE(a_user_has_a_directory_of_his_own),
		CASE(given_directories_count_alone),
		CASE(the_list_has_an_end),
		CASE(where_own_handlers_live),
		CASE(a_directory_that_others_can_write_is_not_trusted),
		CASE(a_directory_of_another_user_is_not_trusted),
		CASE(a_listener_is_trusted_by_its_user),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
