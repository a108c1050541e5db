/* SPDX-License-Identifier: MIT */
/* Sharing, exclusiveness, transactions and the queue. */
#include "tests/unit/test.h"

#include "ifdhandler/lease.h"

static struct lease lease;
static struct lease_holder a, b, c;

static int setup(void **state) {
	(void)state;
	lease_init(&lease);
	a = b = c = (struct lease_holder){ 0 };
	return 0;
}

static void shared_connections_live_together(void **state) {
	(void)state;
	assert_int_equal(lease_join(&lease, &a, SHARE_SHARED), 0);
	assert_int_equal(lease_join(&lease, &b, SHARE_DIRECT), 0);
	assert_int_equal(lease.n_holders, 2);
	assert_true(lease_is_free_for(&lease, &a) && lease_is_free_for(&lease, &b));
	assert_int_equal(lease_leave(&lease, &a), 0);
	assert_int_equal(lease.n_holders, 1);
}

/* PCSC-81, PCSC-82 */
static void exclusive_wants_to_be_alone(void **state) {
	(void)state;
	assert_int_equal(lease_join(&lease, &a, SHARE_SHARED), 0);
	assert_int_equal(lease_join(&lease, &b, SHARE_EXCLUSIVE), LEASE_E_SHARING);
	lease_leave(&lease, &a);
	assert_int_equal(lease_join(&lease, &b, SHARE_EXCLUSIVE), 0);
	assert_int_equal(lease_join(&lease, &a, SHARE_SHARED), LEASE_E_SHARING);
	assert_int_equal(lease_join(&lease, &c, SHARE_DIRECT), LEASE_E_SHARING);
	assert_false(lease_is_free_for(&lease, &a));
}

/* PCSC-105, PCSC-106 */
static void transactions_are_counted(void **state) {
	(void)state;
	lease_join(&lease, &a, SHARE_SHARED);
	lease_join(&lease, &b, SHARE_SHARED);
	lease_begin(&lease, &a);
	lease_begin(&lease, &a);
	assert_false(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_end(&lease, &a), 0);
	assert_false(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_end(&lease, &a), 0);
	assert_true(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_end(&lease, &a), LEASE_E_NOT_TRANSACTED);
}

/* PCSC-111 */
static void exclusive_owns_the_lock_from_the_beginning(void **state) {
	(void)state;
	lease_join(&lease, &a, SHARE_EXCLUSIVE);
	assert_int_equal(lease_end(&lease, &a), LEASE_E_NOT_TRANSACTED);
	lease_begin(&lease, &a);
	assert_int_equal(lease_end(&lease, &a), 0);
	assert_false(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_leave(&lease, &a), 1);
	assert_true(lease_is_free_for(&lease, &b));
}

static void going_down_from_exclusive_keeps_open_transactions_only(void **state) {
	(void)state;
	lease_join(&lease, &a, SHARE_EXCLUSIVE);
	lease_begin(&lease, &a);
	assert_int_equal(lease_change(&lease, &a, SHARE_SHARED), 0);
	assert_false(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_end(&lease, &a), 0);
	assert_true(lease_is_free_for(&lease, &b));
}

static void upgrade_needs_to_be_alone(void **state) {
	(void)state;
	lease_join(&lease, &a, SHARE_SHARED);
	lease_join(&lease, &b, SHARE_SHARED);
	assert_int_equal(lease_change(&lease, &a, SHARE_EXCLUSIVE), LEASE_E_SHARING);
	lease_leave(&lease, &b);
	assert_int_equal(lease_change(&lease, &a, SHARE_EXCLUSIVE), 0);
	assert_true(lease_is_exclusive(&lease));
}

/* PCSC-112: the card is pulled */
static void a_removed_card_breaks_the_lock(void **state) {
	(void)state;
	lease_join(&lease, &a, SHARE_SHARED);
	lease_join(&lease, &b, SHARE_SHARED);
	lease_begin(&lease, &a);
	lease_break(&lease);
	assert_true(lease_is_free_for(&lease, &b));
	assert_int_equal(lease_end(&lease, &a), LEASE_E_NOT_TRANSACTED);
	lease_break(&lease);
}

/* PCSC-120 */
static void who_waits_keeps_the_order(void **state) {
	(void)state;
	lease_wait(&lease, &a);
	lease_wait(&lease, &b);
	lease_wait(&lease, &c);
	lease_wait(&lease, &a);
	assert_ptr_equal(lease.waiting, &a);
	lease_unwait(&lease, &b);
	assert_ptr_equal(a.next_waiting, &c);
	lease_unwait(&lease, &c);
	lease_wait(&lease, &b);
	assert_ptr_equal(a.next_waiting, &b);
	lease_unwait(&lease, &a);
	lease_unwait(&lease, &a);
	assert_ptr_equal(lease.waiting, &b);
	lease_leave(&lease, &b);
	assert_null(lease.waiting);
	lease_wait(&lease, &c);
	assert_ptr_equal(lease.waiting, &c);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(shared_connections_live_together, setup),
		cmocka_unit_test_setup(exclusive_wants_to_be_alone, setup),
		cmocka_unit_test_setup(transactions_are_counted, setup),
		cmocka_unit_test_setup(exclusive_owns_the_lock_from_the_beginning, setup),
		cmocka_unit_test_setup(
			going_down_from_exclusive_keeps_open_transactions_only, setup),
		cmocka_unit_test_setup(upgrade_needs_to_be_alone, setup),
		cmocka_unit_test_setup(a_removed_card_breaks_the_lock, setup),
		cmocka_unit_test_setup(who_waits_keeps_the_order, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
