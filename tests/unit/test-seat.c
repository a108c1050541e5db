/* SPDX-License-Identifier: MIT */
/* The seat's user is remembered, and a change is never missed: against files as logind writes them, in a /run of our own. */
#include "tests/unit/test.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ifdhandler/seat.h"

enum { ALICE = 1000, BOB = 1001 };

/* A /run of our own, with logind's folder or without. */
static void private_run(int logind) {
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", "/run", "tmpfs", 0, "mode=755") < 0)
		skip();
	if (logind) {
		assert_int_equal(mkdir("/run/systemd", 0755), 0);
		assert_int_equal(mkdir("/run/systemd/seats", 0755), 0);
	}
}

/* As logind does it: a new file in the place of the old one. */
static void active(unsigned uid) {
	FILE *f = fopen("/run/systemd/seats/.new", "we");
	assert_non_null(f);
	fprintf(f, "IS_SEAT0=1\nACTIVE=1\nACTIVE_UID=%u\nUIDS=%u\n", uid, uid);
	fclose(f);
	assert_int_equal(rename("/run/systemd/seats/.new", "/run/systemd/seats/seat0"), 0);
}

static void a_switch_is_seen_by_the_next_question(void **state) {
	(void)state;
	private_run(1);
	struct seat seat = { .name = "seat0" };
	assert_int_equal(seat_has(&seat, ALICE), 0);
	for (int i = 0; i < 100; i++) {
		active(ALICE);
		assert_int_equal(seat_has(&seat, ALICE), 1);
		assert_int_equal(seat_has(&seat, ALICE), 1);
		assert_int_equal(seat_has(&seat, BOB), 0);
		assert_int_equal(seat_has(&seat, BOB), 0);
		active(BOB);
		assert_int_equal(seat_has(&seat, BOB), 1);
		assert_int_equal(seat_has(&seat, ALICE), 0);
	}
	unlink("/run/systemd/seats/seat0");
	assert_int_equal(seat_has(&seat, BOB), 0);
	seat_done(&seat);
}

static void the_answer_is_remembered(void **state) {
	(void)state;
	private_run(1);
	active(ALICE);
	struct seat seat = { .name = "seat0" };
	assert_int_equal(seat_has(&seat, ALICE), 1);
	assert_int_equal(seat.is_known, 1);
	seat.is_active = 2; /* a mark of ours: the file would say 1 */
	assert_int_equal(seat_has(&seat, ALICE), 2);
	active(ALICE);
	assert_int_equal(seat_has(&seat, ALICE), 1);
	seat_done(&seat);
}

static void without_logind_nobody_sits_there(void **state) {
	(void)state;
	private_run(0);
	struct seat seat = { .name = "seat0" };
	assert_int_equal(seat_has(&seat, ALICE), 0);
	assert_int_equal(seat_has(&seat, ALICE), 0);
	assert_int_equal(mkdir("/run/systemd", 0755), 0);
	assert_int_equal(mkdir("/run/systemd/seats", 0755), 0);
	active(ALICE);
	assert_int_equal(seat_has(&seat, ALICE), 1);
	seat_done(&seat);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_switch_is_seen_by_the_next_question),
		cmocka_unit_test(the_answer_is_remembered),
		cmocka_unit_test(without_logind_nobody_sits_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
