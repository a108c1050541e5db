/* SPDX-License-Identifier: MIT */
/* Readers' names: the format that programs know (PCSC-213 to PCSC-218). */
#include "tests/unit/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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

static void ccid_34_foreign_bytes_become_dots(void **state) {
	(void)state;
	check(&(struct name_parts){ "A", "B", "M\xc3\xbcller\n\x1b[31m", NULL },
		"A B [M..ller..[31m]");
}

static void serial_is_not_repeated(void **state) {
	(void)state;
	check(&(struct name_parts){ "A", "B", "CCID 4711", "4711" }, "A B [CCID 4711]");
	check(&(struct name_parts){ "A", "B", "CCID 4711", " 4711 " }, "A B [CCID 4711]");
	check(&(struct name_parts){ "A", "B", "CCID 471", "4711" }, "A B [CCID 471] (4711)");
}

/* Devices whose strings were never filled in have blanks there. */
static void ccid_34_blanks_are_nothing(void **state) {
	(void)state;
	check(&(struct name_parts){ "  ", " ", "   ", " " }, "Smart Card Reader");
	check(&(struct name_parts){ " A ", "  B C ", " D ", " E " }, "A B C [D] (E)");
	assert_true(name_is_blank(NULL) && name_is_blank("") && name_is_blank("  "));
	assert_false(name_is_blank(" x"));
}

static void odd_characters_stay(void **state) {
	(void)state;
	check(&(struct name_parts){ NULL, "\"R\" 'x' a=b:c\\ [d] (e)", "[i]", "(s)" },
		"\"R\" 'x' a=b:c\\ [d] (e) [[i]] ((s))");
}

static void ccid_34_long_parts_are_cut_and_the_ending_kept(void **state) {
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

/* A cut that ends behind a blank leaves one blank before the number. */
static void a_cut_leaves_no_blank(void **state) {
	(void)state;
	char part[NAME_MAX_BASE + 2], base[NAME_MAX_BASE + 1];
	memset(part, 'x', sizeof(part));
	part[NAME_MAX_BASE - 1] = ' ';
	part[NAME_MAX_BASE + 1] = 0;
	name_base(&(struct name_parts){ .product = part }, base);
	assert_int_equal(strlen(base), NAME_MAX_BASE - 1);
}

static void an_extension_stands_as_it_is(void **state) {
	(void)state;
	char base[NAME_MAX_BASE + 1] = "Reader";
	name_extend(base, " at host");
	assert_string_equal(base, "Reader at host");
	name_extend(base, "-\xc3\xbc\n");
	assert_string_equal(base, "Reader at host-...");
	name_extend(base, "");
	assert_string_equal(base, "Reader at host-...");
}

/* What does not fit is taken from the name, so that the extension and the ending stay. */
static void an_extension_is_kept_when_a_name_is_cut(void **state) {
	(void)state;
	char part[200], base[NAME_MAX_BASE + 1], name[NAME_MAX_BYTES + 1];
	memset(part, 'x', sizeof(part) - 1);
	part[sizeof(part) - 1] = 0;
	name_base(&(struct name_parts){ .product = part }, base);
	name_extend(base, " at host");
	assert_int_equal(strlen(base), NAME_MAX_BASE);
	assert_string_equal(base + NAME_MAX_BASE - 9, "x at host");
	name_format(base, 1, 0, name);
	assert_string_equal(name + strlen(name) - 14, " at host 01 00");
	name_base(&(struct name_parts){ .product = "Reader" }, base);
	name_extend(base, part);
	assert_int_equal(strlen(base), strlen("Reader") + NAME_MAX_EXTENSION);
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

/* What strtoul would take for a number, and what belongs to another name. */
static void a_number_is_read_strictly(void **state) {
	(void)state;
	static const char *const others[] = { "A B +1 00", "A B 0x1 00", "A B -1 00", "A B  01 00",
		"A B ab 00", "A B 01 0", "A B 01 000", "A B 01  00", "A B 01 00 ", "A B 01 0g",
		"A B 10000 00", "A B 00 00 00", "A B", "A B " };
	for (size_t i = 0; i < N_OF(others); i++)
		assert_int_equal(name_number(others[i], "A B"), -1);
	assert_int_equal(name_number("A B  01 00", "A B "), 1);
	assert_int_equal(name_number("A B 00 00 00", "A B 00"), 0);
}

/* ---- any strings of a device ---- */

enum { MAX_STRING = 140 };

/* Bytes as devices send them: letters, blanks, brackets, digits that look like an ending, anything. */
static const char *any_string(char *buf) {
	static const char likely[] = "Aa 0F[]()\"'=:. ";
	size_t len = (size_t)rand() % (rand() % 4 ? 12 : MAX_STRING);
	for (size_t i = 0; i < len; i++) {
		buf[i] = likely[(size_t)rand() % (sizeof(likely) - 1)];
		if (rand() % 8 == 0)
			buf[i] = (char)(1 + rand() % 255);
	}
	buf[len] = 0;
	return rand() % 8 ? buf : NULL;
}

static void any_base(char *base) {
	char strings[5][MAX_STRING];
	const struct name_parts parts = { any_string(strings[0]), any_string(strings[1]),
		any_string(strings[2]), any_string(strings[3]) };
	name_base(&parts, base);
	if (rand() % 2) {
		const char *extension = any_string(strings[4]);
		name_extend(base, extension ? extension : "");
	}
}

/* PCSC-213, in the words of the checklist. */
static void is_valid(const char *name) {
	size_t len = strlen(name);
	assert_true(len > 6 && len <= NAME_MAX_BYTES);
	for (size_t i = 0; i < len; i++)
		assert_true(name[i] >= ' ' && name[i] <= '~');
	const char *end = name + len - 6;
	assert_true(end[0] == ' ' || isxdigit((unsigned char)end[0]));
	assert_true(isxdigit((unsigned char)end[1]) && isxdigit((unsigned char)end[2]));
	assert_true(end[3] == ' ' && isxdigit((unsigned char)end[4]) &&
		isxdigit((unsigned char)end[5]));
	for (const char *p = end; *p; p++)
		assert_false(islower((unsigned char)*p));
}

static void any_strings_give_a_valid_name_of_its_own(void **state) {
	(void)state;
	char base[2][NAME_MAX_BASE + 1], name[2][NAME_MAX_BYTES + 1];
	unsigned number[2], slot[2];
	srand(1);
	for (int n = 0; n < 200000; n++) {
		for (size_t i = 0; i < 2; i++) {
			any_base(base[i]);
			/* one name that may look like the beginning or the end of the other */
			if (i && n % 4 == 0)
				snprintf(base[1], sizeof(base[1]), "%.*s", rand() % NAME_MAX_BASE,
					name[0]);
			if (name_is_blank(base[i]))
				strcpy(base[i], "x");
			number[i] = (unsigned)(rand() % 8 ? rand() % 3 : rand() % 0x10000);
			slot[i] = (unsigned)rand() % 32;
			name_format(base[i], number[i], slot[i], name[i]);
			is_valid(name[i]);
			assert_int_equal(name_number(name[i], base[i]), number[i]);
		}
		int same = strcmp(base[0], base[1]) == 0 && number[0] == number[1] &&
			slot[0] == slot[1];
		assert_int_equal(strcmp(name[0], name[1]) == 0, same);
		if (strcmp(base[0], base[1]) != 0)
			assert_int_equal(name_number(name[0], base[1]), -1);
	}
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_have_an_order),
		cmocka_unit_test(ccid_34_foreign_bytes_become_dots),
		cmocka_unit_test(serial_is_not_repeated),
		cmocka_unit_test(ccid_34_blanks_are_nothing),
		cmocka_unit_test(odd_characters_stay),
		cmocka_unit_test(a_cut_leaves_no_blank),
		cmocka_unit_test(an_extension_stands_as_it_is),
		cmocka_unit_test(an_extension_is_kept_when_a_name_is_cut),
		cmocka_unit_test(a_number_is_read_strictly),
		cmocka_unit_test(any_strings_give_a_valid_name_of_its_own),
		cmocka_unit_test(ccid_34_long_parts_are_cut_and_the_ending_kept),
		cmocka_unit_test(numbers_have_two_upper_case_digits),
		cmocka_unit_test(a_number_is_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
