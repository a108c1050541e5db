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
#include <time.h>
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

/* What token("Token", "S1", NULL) is remembered by. */
#define KEY "Token:1234:5678:0:S1:"

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

static off_t size_of(const char *name) {
	struct stat st;
	return fstatat(dirfd_, name, &st, 0) == 0 ? st.st_size : -1;
}

static int truncate_file(const char *name, off_t size) {
	int fd = openat(dirfd_, name, O_WRONLY);
	int r = ftruncate(fd, size);
	close(fd);
	return r;
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
	assert_true(d.seq > 0);
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

/* Makers give one serial number to many devices: each keeps its own by its port. */
static void clones_are_told_apart_by_port(void **state) {
	(void)state;
	struct identity one = token("Token", "1", "port1"), two = token("Token", "1", "port2");
	add("001-002", &one);
	add("001-003", &two);
	take_away("001-002");
	take_away("001-003");
	add("001-004", &one);
	is_named("001-004", 0, "Token 00 00");
	add("001-005", &two);
	is_named("001-005", 0, "Token 01 00");
	take_away("001-004");
	take_away("001-005");
	add("001-006", &two);
	is_named("001-006", 0, "Token 01 00");
	add("001-007", &one);
	is_named("001-007", 0, "Token 00 00");
}

/* Without a serial number it is the port that has the number. */
static void equal_devices_keep_the_numbers_of_their_ports(void **state) {
	(void)state;
	struct identity one = token("Token", NULL, "port1"), two = token("Token", NULL, "port2");
	struct identity third = token("Token", NULL, "port3");
	add("001-002", &one);
	add("001-003", &two);
	take_away("001-002");
	take_away("001-003");
	add("001-004", &two);
	is_named("001-004", 0, "Token 01 00");
	add("001-005", &third);
	is_named("001-005", 0, "Token 00 00");
	add("001-006", &one);
	is_named("001-006", 0, "Token 02 00");
}

/* An own name begins to count for itself: "Desk" is 00 whatever number the reader had before. */
static void a_new_name_has_a_number_of_its_own(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL), two = token("Token", "S2", NULL);
	add("001-002", &one);
	add("001-003", &two);
	struct identity desk = token("Desk", "S2", NULL);
	add("001-003", &desk);
	is_named("001-003", 0, "Desk 00 00");
	add("001-003", &two);
	is_named("001-003", 0, "Token 01 00");
}

/* PCSC-215 */
static void three_hundred_equal_devices(void **state) {
	(void)state;
	struct identity one = token("Token", NULL, NULL);
	char instance[16], name[32];
	for (unsigned i = 0; i < 300; i++) {
		snprintf(instance, sizeof(instance), "001-%03u", i);
		add(instance, &one);
	}
	for (unsigned i = 0; i < 300; i++) {
		snprintf(instance, sizeof(instance), "001-%03u", i);
		snprintf(name, sizeof(name), "Token %02X 00", i);
		is_named(instance, 0, name);
	}
	take_away("001-100");
	take_away("001-290");
	add("002-001", &one);
	is_named("002-001", 0, "Token 64 00");
	add("002-002", &one);
	is_named("002-002", 0, "Token 122 00");
}

/* ---- places in the list ---- */

static uint64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A device in port 1 to 3 of a bus, plugged at that time. */
static struct identity in_port(unsigned port, uint64_t plugged_ms) {
	static const char *const ports[] = { "port1", "port2", "port3" };
	struct identity identity = token("Token", NULL, ports[port - 1]);
	identity.port = 1ull << 30 | (uint64_t)port << 25;
	identity.plugged_ms = plugged_ms;
	return identity;
}

static uint64_t seq_of(const char *instance) {
	struct description d = description_of(instance);
	uint64_t seq = d.seq;
	description_done(&d);
	return seq;
}

static void memory_write(const char *file, const char *text) {
	int fd = openat(dirfd_, file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* As at boot: in whatever order they come, the list is that of the ports. */
static void ports_are_listed_in_their_order(void **state) {
	(void)state;
	static const unsigned orders[][3] = { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 },
		{ 3, 1, 2 }, { 3, 2, 1 } };
	static const char *const instances[] = { "001-009", "001-008", "001-007" };
	uint64_t before = 0;
	for (size_t i = 0; i < N_OF(orders); i++) {
		for (size_t k = 0; k < 3; k++) {
			struct identity identity = in_port(orders[i][k], 1);
			add(instances[orders[i][k] - 1], &identity);
		}
		uint64_t seq = before;
		for (size_t k = 0; k < 3; k++) {
			assert_true(seq_of(instances[k]) > seq);
			seq = seq_of(instances[k]);
			take_away(instances[k]);
		}
		before = seq;
	}
}

/* Nobody knows whether an equal device will ever be registered: no number is left for one. */
static void numbers_are_for_those_who_come(void **state) {
	(void)state;
	struct identity one = in_port(1, 1), two = in_port(2, 1);
	add("001-003", &two);
	is_named("001-003", 0, "Token 00 00");
	add("001-002", &one);
	is_named("001-002", 0, "Token 01 00");
	assert_true(seq_of("001-002") < seq_of("001-003"));
	take_away("001-002");
	take_away("001-003");
	add("001-004", &one);
	is_named("001-004", 0, "Token 01 00");
}

/* Whatever comes without a port, or was plugged when there were readers already, is counted. */
static void what_is_counted_stands_behind_all_ports(void **state) {
	(void)state;
	struct identity virtual = token("Virtual", NULL, NULL), other = token("Other", NULL, NULL);
	struct identity one = in_port(1, 1), third = in_port(3, 1);
	struct identity late = in_port(2, now_ms() + 3600000);
	add("virtual", &virtual);
	add("001-004", &third);
	add("001-003", &late);
	add("001-002", &one);
	add("other", &other);
	static const char *const want[] = { "001-002", "001-004", "virtual", "001-003", "other" };
	for (size_t i = 0; i + 1 < N_OF(want); i++)
		assert_true(seq_of(want[i]) < seq_of(want[i + 1]));
}

/* The last port that a bus can have is not taken for the first that is counted. */
static void the_last_port_is_before_the_first_that_is_counted(void **state) {
	(void)state;
	struct identity last = in_port(1, 1), virtual = token("Virtual", NULL, NULL);
	last.port = DEVICE_MAX_PORT;
	add("001-002", &last);
	add("virtual", &virtual);
	assert_true(seq_of("001-002") < seq_of("virtual"));
}

/* With what was plugged before: taken away and registered again it has its place by port again. */
static void registered_again_by_port(void **state) {
	(void)state;
	struct identity one = in_port(1, 1), two = in_port(2, 1), third = in_port(3, 1);
	add("001-002", &one);
	add("001-003", &two);
	add("001-004", &third);
	char text[128];
	snprintf(text, sizeof(text), "version=1\nseq=%ju\nregistered=0\nreader=0 Token 01 00\n",
		(uintmax_t)seq_of("001-003"));
	memory_write("001-003.reader", text); /* long ago */
	take_away("001-003");
	add("001-003", &two);
	assert_true(seq_of("001-002") < seq_of("001-003"));
	assert_true(seq_of("001-003") < seq_of("001-004"));
}

/* Registers and takes away again five times: no two lives are alike, however fast it goes. */
static void lives_differ(const char *instance, const struct identity *identity) {
	struct description before = { 0 };
	for (unsigned i = 0; i < 5; i++) {
		add(instance, identity);
		struct description d = description_of(instance);
		assert_true(d.seq > before.seq || d.registered_s > before.registered_s);
		description_done(&before);
		before = d;
		take_away(instance);
	}
	description_done(&before);
}

static void no_two_lives_are_alike(void **state) {
	(void)state;
	struct identity one = in_port(1, 1), two = in_port(2, 1);
	struct identity a = token("A", NULL, NULL), b = token("B", NULL, NULL);
	lives_differ("001-002", &one); /* the only one */
	add("001-003", &two);
	lives_differ("001-002", &one);
	add("a", &a);
	lives_differ("b", &b);
	/* pulled and plugged in again before the former life was tidied up */
	struct identity again = in_port(2, now_ms() + 1);
	add("001-009", &again);
	assert_true(seq_of("001-009") > seq_of("a"));
}

/* Lost, overwritten, or of another boot: places are above those that are there all the same. */
static void places_that_cannot_be_believed(void **state) {
	(void)state;
	static const char *const texts[] = { "", "x", "1 2", "5 9 1\n",
		"18446744073709551615 0 1\n", "7 3 18446744073709551615\n", "-1 -1 -1\n" };
	struct identity one = in_port(1, 1), a = token("A", NULL, NULL), b = token("B", NULL, NULL);
	add("a", &a);
	for (size_t i = 0; i < N_OF(texts); i++) {
		memory_write(".places", texts[i]);
		add("b", &b);
		assert_true(seq_of("b") > seq_of("a"));
		add("001-002", &one);
		assert_true(seq_of("001-002") != seq_of("a") && seq_of("001-002") != 0);
		assert_true(seq_of("001-002") < seq_of("b") || seq_of("001-002") > seq_of("a"));
		take_away("001-002");
		take_away("b");
	}
	/* nor is a place that nobody has counted to */
	memory_write("c.reader", "version=1\nseq=18446744073709551615\nreader=0 C\n");
	add("b", &b);
	assert_true(seq_of("b") != 0);
}

/* Names that are too long to differ are told apart by their numbers. */
static void names_that_are_cut_alike(void **state) {
	(void)state;
	char product[200];
	memset(product, 'x', sizeof(product) - 1);
	product[sizeof(product) - 1] = 0;
	struct identity one = token("", "S1", NULL), two = token("", "S2", NULL);
	name_base(
		&(struct name_parts){ .product = product, .serial = "S1" }, one.interfaces[0].base);
	name_base(
		&(struct name_parts){ .product = product, .serial = "S2" }, two.interfaces[0].base);
	add("001-002", &one);
	add("001-003", &two);
	struct description a = description_of("001-002"), b = description_of("001-003");
	assert_string_equal(description_name(&a, 0) + NAME_MAX_BASE, " 00 00");
	assert_string_equal(description_name(&b, 0) + NAME_MAX_BASE, " 01 00");
	description_done(&a);
	description_done(&b);
}

static void the_memory_is_begun_anew_when_it_is_long(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL), two = token("Token", "S2", NULL);
	add("001-002", &one);
	add("001-003", &two);
	take_away("001-002");
	take_away("001-003");
	assert_int_equal(truncate_file(".numbers", 1 << 21), 0);
	add("001-004", &two);
	is_named("001-004", 0, "Token 01 00");
	struct identity other = token("Other", NULL, "port1");
	add("001-005", &other);
	assert_true(size_of(".numbers") < 256);
}

/* ---- what is not listed ---- */

static void slots_that_are_not_listed_keep_their_places(void **state) {
	(void)state;
	struct identity identity = token("R [SAM]", NULL, "port1");
	identity.interfaces[1] = identity.interfaces[0];
	identity.interfaces[1].number = 1;
	identity.interfaces[1].n_slots = 2;
	strcpy(identity.interfaces[1].base, "R [PICC]");
	identity.n_interfaces = 2;
	identity.interfaces[0].ignored = 1;
	strcpy(identity.ignored, "R [SAM] (because)");
	add("001-002", &identity);
	struct description d = description_of("001-002");
	assert_int_equal(d.n_readers, 2);
	assert_null(description_name(&d, 0));
	assert_string_equal(description_name(&d, 1), "R [PICC] 00 00");
	assert_string_equal(description_name(&d, 2), "R [PICC] 00 01");
	assert_string_equal(d.ignored, "R [SAM] (because)");
	description_done(&d);
	/* listed again: the others keep their names */
	identity.interfaces[0].ignored = 0;
	identity.ignored[0] = 0;
	add("001-002", &identity);
	is_named("001-002", 0, "R [SAM] 00 00");
	is_named("001-002", 2, "R [PICC] 00 01");
}

static void a_device_of_which_nothing_is_listed(void **state) {
	(void)state;
	struct identity identity = token("Token", "S1", "port1");
	struct identity other = token("Token", "S2", "port2");
	touch("001-002", "sock");
	add("001-002", &identity);
	struct description d = description_of("001-002");
	uint64_t seq = d.seq;
	description_done(&d);
	identity.interfaces[0].ignored = 1;
	strcpy(identity.ignored, "Token (because)");
	add("001-002", &identity);
	d = description_of("001-002");
	assert_int_equal(d.n_readers, 0);
	assert_string_equal(d.ignored, "Token (because)");
	assert_int_equal(d.seq, seq);
	description_done(&d);
	/* it uses no number, and comes back with the one that it had, where that is free */
	add("001-003", &other);
	is_named("001-003", 0, "Token 00 00");
	take_away("001-003");
	identity.interfaces[0].ignored = 0;
	identity.ignored[0] = 0;
	add("001-002", &identity);
	is_named("001-002", 0, "Token 00 00");
	take_away("001-002");
	assert_int_equal(inode("001-002.reader"), 0);
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
	dprintf(fd, "99999999 " KEY "\n-4 " KEY "\n" KEY "\n%02000d\n5", 7);
	close(fd);
	add("001-002", &one);
	is_named("001-002", 0, "Token 00 00");
}

/* Who owns the directory may plant what he likes there: nobody waits for it with the lock held. */
static void memory_that_is_no_file_is_none(void **state) {
	(void)state;
	static const char *const files[] = { ".numbers", ".places" };
	struct identity one = token("Token", "S1", NULL);
	char c;
	for (size_t i = 0; i < N_OF(files); i++) {
		unlinkat(dirfd_, files[i], 0);
		assert_int_equal(mkfifoat(dirfd_, files[i], 0600), 0);
		alarm(10);
		add("001-002", &one);
		is_named("001-002", 0, "Token 00 00");
		take_away("001-002");
		/* nor is anything told to whoever reads it */
		int fd = openat(dirfd_, files[i], O_RDONLY | O_NONBLOCK);
		add("001-002", &one);
		alarm(0);
		assert_int_equal(read(fd, &c, 1), 0);
		close(fd);
		take_away("001-002");
		assert_int_equal(unlinkat(dirfd_, files[i], 0), 0);
		assert_int_equal(symlinkat("/tmp/registration-memory", dirfd_, files[i]), 0);
		add("001-002", &one);
		assert_int_equal(access("/tmp/registration-memory", F_OK), -1);
		take_away("001-002");
	}
}

/* PCSC-213, PCSC-214 */
static void more_than_two_digits(void **state) {
	(void)state;
	struct identity one = token("Token", "S1", NULL);
	int fd = openat(dirfd_, ".numbers", O_WRONLY | O_CREAT, 0600);
	dprintf(fd, "4660 " KEY "\n");
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
		CASE(clones_are_told_apart_by_port),
		CASE(equal_devices_keep_the_numbers_of_their_ports),
		CASE(a_new_name_has_a_number_of_its_own),
		CASE(three_hundred_equal_devices),
		CASE(ports_are_listed_in_their_order),
		CASE(numbers_are_for_those_who_come),
		CASE(what_is_counted_stands_behind_all_ports),
		CASE(the_last_port_is_before_the_first_that_is_counted),
		CASE(registered_again_by_port),
		CASE(no_two_lives_are_alike),
		CASE(places_that_cannot_be_believed),
		CASE(names_that_are_cut_alike),
		CASE(the_memory_is_begun_anew_when_it_is_long),
		CASE(slots_that_are_not_listed_keep_their_places),
		CASE(a_device_of_which_nothing_is_listed),
		CASE(a_device_that_is_gone_uses_no_number),
		CASE(what_is_no_description_uses_no_number),
		CASE(memory_that_cannot_be_read_is_none),
		CASE(memory_that_is_no_file_is_none),
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
