/* SPDX-License-Identifier: MIT */
/*
 * Registration in a directory of its own: names and numbers, what is kept and what is remembered,
 * the links by port, and how all of it goes again.
 */
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ifdhandler/registration.h"
#include "wire/description.h"

static char dir[] = "/tmp/registration-XXXXXX";
static int dirfd_;
static struct log quiet = { .max_priority = -1 };

static void empty(int fd) {
	DIR *d = fdopendir(fd);
	struct dirent *entry;
	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), entry->d_name, 0) == 0)
			continue;
		empty(openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY));
		assert_int_equal(unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR), 0);
	}
	closedir(d);
}

static int setup(void **state) {
	(void)state;
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int teardown(void **state) {
	(void)state;
	empty(dirfd_);
	return rmdir(dir);
}

/* One interface with one slot. The node is one that exists, as for a device that is plugged. */
static struct identity token(const char *base, const char *serial, const char *port) {
	struct identity identity = { .device = "/dev/null",
		.by_path = port,
		.id = "1234:5678",
		.serial = serial,
		.driver = "ccid",
		.n_interfaces = 1 };
	identity.interfaces[0].n_slots = 1;
	snprintf(identity.interfaces[0].base, sizeof(identity.interfaces[0].base), "%s", base);
	return identity;
}

static void touch(const char *instance, const char *suffix) {
	char name[64];
	snprintf(name, sizeof(name), "%s.%s", instance, suffix);
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void add(const char *instance, const struct identity *identity) {
	assert_int_equal(registration_add(dir, instance, identity, &quiet), 0);
}

static void take_away(const char *instance) {
	assert_int_equal(registration_remove(dir, instance, &quiet), 0);
}

static struct description description_of(const char *instance) {
	char file[64];
	struct description d = { 0 };
	snprintf(file, sizeof(file), "%s.reader", instance);
	assert_int_equal(description_read(dirfd_, file, &d), 0);
	return d;
}

static void is_named(const char *instance, unsigned slot, const char *name) {
	struct description d = description_of(instance);
	assert_string_equal(description_name(&d, slot), name);
	description_done(&d);
}

static ino_t inode(const char *name) {
	struct stat st;
	return fstatat(dirfd_, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static unsigned count(const char *name) {
	int fd = openat(dirfd_, name, O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(fd);
	unsigned n = 0;
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* ---- descriptions ---- */

static void a_description_says_what_is_known(void **state) {
	(void)state;
	struct identity identity = token("Maker Token", "S1", "pci-0_1");
	identity.error = "wrong";
	add("001-002", &identity);
	struct description d = description_of("001-002");
	assert_string_equal(d.instance, "001-002");
	assert_string_equal(d.device, "/dev/null");
	assert_string_equal(d.by_path, "pci-0_1");
	assert_string_equal(d.id, "1234:5678");
	assert_string_equal(d.serial, "S1");
	assert_string_equal(d.driver, "ccid");
	assert_string_equal(d.error, "wrong");
	assert_int_equal(d.seq, 1);
	assert_string_equal(description_name(&d, 0), "Maker Token 00 00");
	description_done(&d);
	struct stat st;
	assert_int_equal(fstatat(dirfd_, "001-002.reader", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(inode(".001-002.reader.new"), 0);
}

/* Bytes of a device cannot make lines. */
static void a_serial_cannot_forge_a_key(void **state) {
	(void)state;
	struct identity identity = token("Token", "S1\nerror=no\nreader=7 Evil", NULL);
	add("001-002", &identity);
	struct description d = description_of("001-002");
	assert_string_equal(d.serial, "S1?error=no?reader=7 Evil");
	assert_null(d.error);
	assert_int_equal(d.n_readers, 1);
	description_done(&d);
}

/* PCSC-216 */
static void slots_share_a_number_and_interfaces_have_their_own(void **state) {
	(void)state;
	struct identity identity = token("Double", NULL, NULL);
	identity.interfaces[1] = identity.interfaces[0];
	identity.interfaces[1].number = 1;
	identity.interfaces[1].n_slots = 3;
	identity.n_interfaces = 2;
	add("001-002", &identity);
	is_named("001-002", 0, "Double 00 00");
	is_named("001-002", 1, "Double 01 00");
	is_named("001-002", 3, "Double 01 02");
	add("001-002", &identity);
	is_named("001-002", 0, "Double 00 00");
	is_named("001-002", 3, "Double 01 02");
}

/* ---- numbers ---- */

/* PCSC-215 */
static void equal_devices_have_different_numbers(void **state) {
	(void)state;
	struct identity one = token("Token", NULL, "port1"), two = token("Token", NULL, "port2");
	struct identity other = token("Other", NULL, "port3");
	add("001-002", &one);
	add("001-003", &two);
	add("001-004", &other);
	is_named("001-002", 0, "Token 00 00");
	is_named("001-003", 0, "Token 01 00");
	is_named("001-004", 0, "Other 00 00");
	struct description d = description_of("001-004");
	assert_int_equal(d.seq, 3);
	description_done(&d);
}

/* PCSC-219: by serial at another port, or by port. */
static void a_number_is_remembered(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", "port1"), two = token("Token", "S2", "port2");
	add("001-002", &one);
	add("001-003", &two);
	take_away("001-002");
	take_away("001-003");
	two.by_path = "port9";
	add("001-005", &two);
	is_named("001-005", 0, "Token 01 00");
	add("001-006", &one);
	is_named("001-006", 0, "Token 00 00");
}

/* Clones with one serial share what is remembered, but who is plugged keeps his number. */
static void registering_again_keeps_the_number(void **state) {
	(void)state;
	struct identity clone = token("Token", "1", NULL);
	add("001-002", &clone);
	add("001-003", &clone);
	add("001-004", &clone);
	is_named("001-004", 0, "Token 02 00");
	struct description before = description_of("001-003");
	take_away("001-002");
	add("001-003", &clone);
	is_named("001-003", 0, "Token 01 00");
	add("001-004", &clone);
	is_named("001-004", 0, "Token 02 00");
	struct description after = description_of("001-003");
	assert_int_equal(before.seq, after.seq);
	assert_int_equal(before.registered_s, after.registered_s);
	description_done(&before);
	description_done(&after);
}

static void a_device_that_is_gone_uses_no_number(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL), two = token("Token", "S2", NULL);
	one.device = "/dev/bus/usb/999/999";
	add("001-002", &one);
	add("001-003", &two);
	is_named("001-003", 0, "Token 00 00");
}

static void what_is_no_description_uses_no_number(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL);
	touch("001-008", "reader");
	assert_int_equal(mkfifoat(dirfd_, "001-009.reader", 0600), 0);
	assert_int_equal(symlinkat("/dev/zero", dirfd_, "001-010.reader"), 0);
	add("001-002", &one);
	is_named("001-002", 0, "Token 00 00");
}

static void memory_that_cannot_be_read_is_none(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL);
	int fd = openat(dirfd_, ".numbers", O_WRONLY | O_CREAT, 0600);
	dprintf(fd, "1234:5678:S1:0 99999999\n1234:5678:S1:0 -4\n1234:5678:S1:0\n%02000d\n", 7);
	close(fd);
	add("001-002", &one);
	is_named("001-002", 0, "Token 00 00");
}

/* PCSC-213, PCSC-214 */
static void more_than_two_digits(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL);
	int fd = openat(dirfd_, ".numbers", O_WRONLY | O_CREAT, 0600);
	dprintf(fd, "1234:5678:S1:0 4660\n");
	close(fd);
	add("001-002", &one);
	is_named("001-002", 0, "Token 1234 00");
	take_away("001-002");
	add("001-002", &one);
	is_named("001-002", 0, "Token 1234 00");
}

/* ---- by port ---- */

static void links_are_the_files_themselves(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", "port1");
	touch("001-002", "sock");
	add("001-002", &one);
	assert_int_equal(inode("by-path/port1/reader.sock"), inode("001-002.sock"));
	assert_int_equal(inode("by-path/port1/reader.reader"), inode("001-002.reader"));
	add("001-002", &one);
	assert_int_equal(inode("by-path/port1/reader.reader"), inode("001-002.reader"));
	assert_int_equal(count("by-path/port1"), 2);
	take_away("001-002");
	assert_int_equal(count("by-path/port1"), 0);
	assert_int_equal(inode("001-002.reader"), 0);
	assert_int_not_equal(inode("001-002.sock"), 0);
}

/* The next life at the same port comes before the last one is cleaned up. */
static void links_of_the_next_life_stay(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", "port1");
	touch("001-002", "sock");
	add("001-002", &one);
	touch("001-003", "sock");
	add("001-003", &one);
	take_away("001-002");
	assert_int_equal(inode("by-path/port1/reader.sock"), inode("001-003.sock"));
	assert_int_equal(inode("by-path/port1/reader.reader"), inode("001-003.reader"));
	assert_int_equal(unlinkat(dirfd_, "001-003.sock", 0), 0);
	take_away("001-003");
	assert_int_equal(count("by-path/port1"), 0);
}

static void a_port_cannot_lead_elsewhere(void **state) {
	(void)state;
	static const char *const ports[] = { "..", "../x", "a/b", ".hidden" };
	touch("001-002", "sock");
	for (size_t i = 0; i < N_OF(ports); i++) {
		struct identity one = token("Token", "S1", ports[i]);
		add("001-002", &one);
		assert_int_equal(faccessat(dirfd_, "by-path", F_OK, 0), -1);
		assert_int_equal(inode("reader.sock"), 0);
		take_away("001-002");
	}
	struct identity one = token("Token", "S1", "port1");
	assert_int_equal(mkdirat(dirfd_, "by-path", 0700), 0);
	assert_int_equal(symlinkat("/tmp", dirfd_, "by-path/port1"), 0);
	add("001-002", &one);
	assert_int_equal(access("/tmp/reader.reader", F_OK), -1);
}

/* ---- taking away, errors ---- */

static void taking_away_what_is_not_there(void **state) {
	(void)state;
	assert_int_equal(registration_remove(dir, "001-002", &quiet), 0);
	assert_int_equal(registration_remove("/nonexistent", "001-002", &quiet), 0);
	touch("001-002", "reader");
	take_away("001-002");
	assert_int_equal(inode("001-002.reader"), 0);
}

static void errors_leave_nothing(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL);
	assert_int_equal(registration_add("/nonexistent", "001-002", &one, &quiet), -ENOENT);
	assert_int_equal(mkdirat(dirfd_, "001-002.reader", 0700), 0);
	assert_int_equal(registration_add(dir, "001-002", &one, &quiet), -EISDIR);
	assert_int_equal(inode(".001-002.reader.new"), 0);
	char path[PATH_MAX + 1];
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[PATH_MAX] = 0;
	assert_int_equal(registration_lock(path), -ENAMETOOLONG);
}

/* A lock that somebody has led elsewhere is not followed. */
static void the_lock_is_a_file_of_its_own(void **state) {
	(void)state;
	assert_int_equal(symlinkat("/tmp/registration-lock", dirfd_, ".lock"), 0);
	assert_int_equal(registration_lock(dir), -ELOOP);
	assert_int_equal(access("/tmp/registration-lock", F_OK), -1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(a_description_says_what_is_known),
		CASE(a_serial_cannot_forge_a_key),
		CASE(slots_share_a_number_and_interfaces_have_their_own),
		CASE(equal_devices_have_different_numbers),
		CASE(a_number_is_remembered),
		CASE(registering_again_keeps_the_number),
		CASE(a_device_that_is_gone_uses_no_number),
		CASE(what_is_no_description_uses_no_number),
		CASE(memory_that_cannot_be_read_is_none),
		CASE(more_than_two_digits),
		CASE(links_are_the_files_themselves),
		CASE(links_of_the_next_life_stay),
		CASE(a_port_cannot_lead_elsewhere),
		CASE(taking_away_what_is_not_there),
		CASE(errors_leave_nothing),
		CASE(the_lock_is_a_file_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
