/* SPDX-License-Identifier: MIT */
/* Readers' names: the format that programs know (PCSC-213 to PCSC-218). */
#include "tests/unit/test.h"

#include <string.h>

#include "ifdhandler/name.h"

static void check(const struct name_parts *parts, const char *want) {
	char base[NAME_MAX_BASE + 1];
	name_base(parts, base);
	assert_string_equal(base, want);
}

static void parts_have_an_order(void **state) {
	(void)state;
	check(&(struct name_parts){ "SCM", "SCR 3310", "CCID Interface", "21120842" },
		"SCM SCR 3310 [CCID Interface] (21120842)");
	check(&(struct name_parts){ NULL, "Reader", NULL, NULL }, "Reader");
	check(&(struct name_parts){ "", "", "", "" }, "Smart Card Reader");
	check(&(struct name_parts){ "Yubico", "Yubico YubiKey", NULL, NULL }, "Yubico YubiKey");
}

static void foreign_bytes_become_dots(void **state) {
	(void)state;
	check(&(struct name_parts){ "A", "B", "M\xc3\xbcller\n\x1b[31m", NULL },
		"A B [M..ller..[31m]");
}

static void serial_is_not_repeated(void **state) {
	(void)state;
	check(&(struct name_parts){ "A", "B", "CCID 4711", "4711" }, "A B [CCID 4711]");
}

static void long_parts_are_cut_and_the_ending_kept(void **state) {
	(void)state;
	char part[256], base[NAME_MAX_BASE + 1], name[NAME_MAX_BYTES + 1];
	memset(part, 'x', sizeof(part) - 1);
	part[sizeof(part) - 1] = 0;
	name_base(&(struct name_parts){ part, part + 1, part, part }, base);
	assert_int_equal(strlen(base), NAME_MAX_BASE);
	name_format(base, 0xFFFF, 31, name);
	assert_true(strlen(name) <= NAME_MAX_BYTES);
	assert_string_equal(name + strlen(name) - 8, " FFFF 1F");
}

static void numbers_have_two_upper_case_digits(void **state) {
	(void)state;
	char name[NAME_MAX_BYTES + 1];
	name_format("A B", 0, 0, name);
	assert_string_equal(name, "A B 00 00");
	name_format("A B", 0xAB, 0x1F, name);
	assert_string_equal(name, "A B AB 1F");
	name_format("A B", 0x123, 0, name);
	assert_string_equal(name, "A B 123 00");
}

static void a_number_is_read_back(void **state) {
	(void)state;
	assert_int_equal(name_number("A B 00 00", "A B"), 0);
	assert_int_equal(name_number("A B AB 1F", "A B"), 0xAB);
	assert_int_equal(name_number("A B 123 00", "A B"), 0x123);
	assert_int_equal(name_number("A B C 00 00", "A B"), -1);
	assert_int_equal(name_number("A B 1 00", "A B"), -1);
	assert_int_equal(name_number("A B 00", "A B"), -1);
	assert_int_equal(name_number("A BC 00 00", "A B"), -1);
	assert_int_equal(name_number("", "A B"), -1);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_have_an_order),
		cmocka_unit_test(foreign_bytes_become_dots),
		cmocka_unit_test(serial_is_not_repeated),
		cmocka_unit_test(long_parts_are_cut_and_the_ending_kept),
		cmocka_unit_test(numbers_have_two_upper_case_digits),
		cmocka_unit_test(a_number_is_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
