/* SPDX-License-Identifier: MIT */
/* The binary interface is the part of abi.c, a program that links nothing of the bed: what it says, in our words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/bed.h"

static void pass_on(char *line) {
	bool good = strncmp(line, "ok ", 3) == 0;
	char *text = strstr(line, " - ");
	if ((!good && strncmp(line, "not ok ", 7) != 0) || !text)
		return;
	char *why = strstr(text, " # SKIP ");
	if (!why) {
		ok(good, "%s", text + 3);
		return;
	}
	*why = 0;
	skip(text + 3, why + 8);
}

static void test_abi(void) {
	char program[512], command[1100], line[1024];
	bed_program("abi", program, sizeof(program));
	snprintf(command, sizeof(command), "'%s' '%s' 2>&1", program, bed_library());
	FILE *f = popen(command, "re");
	if (!f)
		die(program, NULL);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		pass_on(line);
	}
	int status = pclose(f);
	if (status != 0)
		printf("# abi: status %d\n", status);
}

/* One of the library with a sanitizer's runtime is not the one that is shipped. */
static void test_sanitized(void) {
	static const char why[] =
		"is of the library as it is shipped, not of one with a sanitizer's runtime";
	char text[16];
	for (unsigned n = 1; n <= 11; n++) {
		snprintf(text, sizeof(text), "PCSC-%u", n);
		skip(text, why);
	}
}

static void test(void) {
	const char *sanitize = getenv("SANITIZE");
	if (sanitize && *sanitize)
		test_sanitized();
	else
		test_abi();
}

static const struct test tests[] = { { "abi", test, 0 }, { 0 } };

const struct test_group group_abi = { "abi", NULL, tests };
