/* SPDX-License-Identifier: MIT */
/* Descriptions: what a program in another language reads, and what a hostile file cannot do. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/description.h"

static const char text[] = "version=1\n"
			   "instance=001-012\n"
			   "device=/dev/bus/usb/001/012\n"
			   "by-path=pci-0000_00_14_0-usb-0_2\n"
			   "id=08e6:3437\n"
			   "serial=X=1 2\n"
			   "driver=ccid\n"
			   "future=whatever\n"
			   "seq=17\n"
			   "registered=123456\n"
			   "reader=0 Gemalto PC Twin Reader 00 00\n"
			   "reader=1 Gemalto PC Twin Reader 00 01\n";

static void all_keys_are_read(void **state) {
	(void)state;
	struct description d;
	assert_int_equal(description_parse(text, strlen(text), &d), 0);
	assert_string_equal(d.instance, "001-012");
	assert_string_equal(d.device, "/dev/bus/usb/001/012");
	assert_string_equal(d.serial, "X=1 2");
	assert_null(d.error);
	assert_true(d.seq == 17 && d.registered_s == 123456);
	assert_int_equal(d.n_readers, 2);
	assert_string_equal(description_name(&d, 1), "Gemalto PC Twin Reader 00 01");
	assert_null(description_name(&d, 2));
	description_done(&d);
}

static void formatted_and_parsed_is_the_same(void **state) {
	(void)state;
	char buf[1024];
	struct description d, again;
	assert_int_equal(description_parse(text, strlen(text), &d), 0);
	d.error = "broken\nreader=5 planted";
	int n = description_format(&d, buf, sizeof(buf));
	assert_true(n > 0 && buf[n] == 0);
	assert_int_equal(description_parse(buf, (size_t)n, &again), 0);
	assert_int_equal(again.n_readers, 2);
	assert_string_equal(again.error, "broken?reader=5 planted");
	for (size_t size = 0; size <= (size_t)n; size++)
		assert_int_equal(description_format(&d, buf, size), -EMSGSIZE);
	description_done(&d);
	description_done(&again);
}

static void a_device_of_which_nothing_is_listed(void **state) {
	(void)state;
	static const char left_out[] = "version=1\ninstance=001-012\nignored=Token (why)\nseq=4\n";
	char buf[256];
	struct description d;
	assert_int_equal(description_parse(left_out, strlen(left_out), &d), 0);
	assert_int_equal(d.n_readers, 0);
	assert_string_equal(d.ignored, "Token (why)");
	assert_null(description_name(&d, 0));
	int n = description_format(&d, buf, sizeof(buf));
	assert_true(n > 0 && strstr(buf, "\nignored=Token (why)\n"));
	description_done(&d);
	assert_int_equal(description_parse(buf, (size_t)n, &d), 0);
	description_done(&d);
}

static void nonsense_is_refused(void **state) {
	(void)state;
	static const char *const wrong[] = {
		"",
		"\n\n",
		"version=2\nreader=0 A 00 00\n",
		"reader=0 A 00 00\n",
		"version=1\n",
		"version=1\nno equals\nreader=0 A\n",
		"version=1\nreader=0\n",
		"version=1\nreader=0 \n",
		"version=1\nreader=256 A\n",
		"version=1\nreader=-1 A\n",
		"version=1\nreader=x A\n",
		"version=1\nreader=0 A\nreader=0 B\n",
		"version=1\nseq=99999999999999999999999\nreader=0 A\n",
		"version=1\nreader=0 A\033[2J\n",
	};
	struct description d;
	for (size_t i = 0; i < N_OF(wrong); i++)
		assert_int_equal(description_parse(wrong[i], strlen(wrong[i]), &d), -EBADMSG);
}

/* PCSC-213: names have at most 127 bytes */
static void a_name_has_a_longest_length(void **state) {
	(void)state;
	char buf[256] = "version=1\nreader=0 ";
	size_t start = strlen(buf);
	struct description d;
	memset(buf + start, 'N', 127);
	assert_int_equal(description_parse(buf, start + 127, &d), 0);
	description_done(&d);
	memset(buf + start, 'N', 128);
	assert_int_equal(description_parse(buf, start + 128, &d), -EBADMSG);
}

static void only_regular_files_are_read(void **state) {
	(void)state;
	char dir[] = "/tmp/test-description-XXXXXX", path[64], link[64], fifo[64];
	struct description d;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a.reader", dir);
	snprintf(link, sizeof(link), "%s/b.reader", dir);
	snprintf(fifo, sizeof(fifo), "%s/c.reader", dir);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(description_read(fd, "a.reader", &d), 0);
	description_done(&d);
	assert_int_equal(description_read(fd, "b.reader", &d), -ELOOP);
	assert_int_equal(description_read(fd, "c.reader", &d), -EBADMSG);
	assert_int_equal(description_read(fd, "none", &d), -ENOENT);
	assert_int_equal(truncate(path, 1 << 20), 0);
	assert_int_equal(description_read(fd, "a.reader", &d), -EBADMSG);
	close(fd);
	unlink(path), unlink(link), unlink(fifo), rmdir(dir);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_keys_are_read),
		cmocka_unit_test(formatted_and_parsed_is_the_same),
		cmocka_unit_test(a_device_of_which_nothing_is_listed),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(a_name_has_a_longest_length),
		cmocka_unit_test(only_regular_files_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
