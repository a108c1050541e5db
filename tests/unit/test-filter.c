/* SPDX-License-Identifier: MIT */
/* Which readers the environment leaves out of the list, and what it adds to names (C18). */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/filter.h"

/* A device with an interface of each name. */
static struct identity device(const char *first, const char *second) {
	struct identity identity = { .driver = "ccid", .n_interfaces = second ? 2 : 1 };
	const char *const names[] = { first, second };
	for (unsigned i = 0; i < identity.n_interfaces; i++) {
		identity.interfaces[i].number = i;
		identity.interfaces[i].n_slots = 1;
		snprintf(identity.interfaces[i].base, sizeof(identity.interfaces[i].base), "%s",
			names[i]);
	}
	return identity;
}

static int is_ignored(const char *list, const char *name) {
	struct identity identity = device(name, NULL);
	filter_apply(&(struct filter){ .ignore = list }, &identity);
	assert_int_equal(identity.interfaces[0].ignored != 0, identity.ignored[0] != 0);
	return identity.interfaces[0].ignored;
}

static void without_variables_nothing_changes(void **state) {
	(void)state;
	unsetenv("PCSCLITE_FILTER_IGNORE_READER_NAMES");
	unsetenv("PCSCLITE_FILTER_EXTEND_READER_NAMES");
	const struct filter filter = filter_environment();
	struct identity identity = device("Maker Reader", NULL);
	filter_apply(&filter, &identity);
	assert_string_equal(identity.interfaces[0].base, "Maker Reader");
	assert_false(identity.interfaces[0].ignored);
	assert_string_equal(identity.ignored, "");
}

static void the_environment_is_read(void **state) {
	(void)state;
	setenv("PCSCLITE_FILTER_IGNORE_READER_NAMES", "SAM", 1);
	setenv("PCSCLITE_FILTER_EXTEND_READER_NAMES", " at desk", 1);
	const struct filter filter = filter_environment();
	struct identity identity = device("R [PICC]", "R [SAM]");
	filter_apply(&filter, &identity);
	assert_string_equal(identity.interfaces[0].base, "R [PICC] at desk");
	assert_false(identity.interfaces[0].ignored);
	assert_true(identity.interfaces[1].ignored);
	unsetenv("PCSCLITE_FILTER_IGNORE_READER_NAMES");
	unsetenv("PCSCLITE_FILTER_EXTEND_READER_NAMES");
}

static void parts_are_compared_by_case(void **state) {
	(void)state;
	assert_true(is_ignored("Reader", "Maker Reader (1)"));
	assert_true(is_ignored("Maker Reader (1)", "Maker Reader (1)"));
	assert_true(is_ignored("x:(1)", "Maker Reader (1)"));
	assert_true(is_ignored("x::(1):", "Maker Reader (1)"));
	assert_false(is_ignored("reader", "Maker Reader (1)"));
	assert_false(is_ignored("Maker Reader (1) 00 00", "Maker Reader (1)"));
}

static void empty_parts_mean_nothing(void **state) {
	(void)state;
	assert_false(is_ignored("", "Reader"));
	assert_false(is_ignored(":", "Reader"));
	assert_false(is_ignored(":::", "Reader"));
	assert_false(is_ignored("::x::", "Reader"));
	/* a blank is a part like any other */
	assert_true(is_ignored(" ", "Maker Reader"));
}

static void what_is_added_is_not_searched(void **state) {
	(void)state;
	struct identity identity = device("Reader", NULL);
	filter_apply(&(struct filter){ "host", " at host" }, &identity);
	assert_false(identity.interfaces[0].ignored);
	assert_string_equal(identity.interfaces[0].base, "Reader at host");
}

static void the_reason_names_reader_and_part(void **state) {
	(void)state;
	struct identity identity = device("R [PICC]", "R [SAM]");
	filter_apply(&(struct filter){ .ignore = "x:SAM\nreader=1 Evil:PICC" }, &identity);
	assert_string_equal(
		identity.ignored, "R [PICC] (\"PICC\" in PCSCLITE_FILTER_IGNORE_READER_NAMES)");
	identity = device("R [PICC]", "R [SAM]");
	filter_apply(&(struct filter){ .ignore = "R" }, &identity);
	assert_string_equal(identity.ignored,
		"R [PICC] (\"R\" in PCSCLITE_FILTER_IGNORE_READER_NAMES), "
		"R [SAM] (\"R\" in PCSCLITE_FILTER_IGNORE_READER_NAMES)");
}

static void reasons_have_an_end(void **state) {
	(void)state;
	struct identity identity = { .n_interfaces = IDENTITY_MAX_INTERFACES };
	char list[NAME_MAX_BASE + 1];
	memset(list, 'x', NAME_MAX_BASE);
	list[NAME_MAX_BASE] = 0;
	for (unsigned i = 0; i < IDENTITY_MAX_INTERFACES; i++)
		strcpy(identity.interfaces[i].base, list);
	filter_apply(&(struct filter){ .ignore = list }, &identity);
	assert_int_equal(strlen(identity.ignored), IDENTITY_MAX_IGNORED - 1);
	assert_true(identity.interfaces[IDENTITY_MAX_INTERFACES - 1].ignored);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_variables_nothing_changes),
		cmocka_unit_test(the_environment_is_read),
		cmocka_unit_test(parts_are_compared_by_case),
		cmocka_unit_test(empty_parts_mean_nothing),
		cmocka_unit_test(what_is_added_is_not_searched),
		cmocka_unit_test(the_reason_names_reader_and_part),
		cmocka_unit_test(reasons_have_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
