/* SPDX-License-Identifier: MIT */
/* What SCardGetStatusChange reports and calls changed, as a table. */
#include "client/change.h"
#include "test.h"

/* Short names for the table. */
enum {
	CH = SCARD_STATE_CHANGED,
	UNK = SCARD_STATE_UNKNOWN,
	UNA = SCARD_STATE_UNAVAILABLE,
	EMP = SCARD_STATE_EMPTY,
	PRE = SCARD_STATE_PRESENT,
	EXC = SCARD_STATE_EXCLUSIVE,
	INU = SCARD_STATE_INUSE,
	MUT = SCARD_STATE_MUTE,
};

#define COUNT(n) ((DWORD)(n) << 16)

static const struct change_situation empty = { .counter = 0 };
static const struct change_situation empty_5 = { .counter = 5 };
static const struct change_situation empty_exclusive = { .exclusive = true, .in_use = true };
static const struct change_situation card = { .present = true };
static const struct change_situation card_7 = { .present = true, .counter = 7 };
static const struct change_situation card_in_use = { .present = true, .in_use = true };
static const struct change_situation card_exclusive = {
	.present = true, .in_use = true, .exclusive = true
};
static const struct change_situation mute = { .present = true, .mute = true };
static const struct change_situation mute_in_use = {
	.present = true, .mute = true, .in_use = true
};
static const struct change_situation unavailable = { .unavailable = true, .counter = 9 };
static const struct change_situation vanished = { .vanished = true };

static const struct {
	DWORD claim;
	const struct change_situation *now;
	DWORD event;
} rows[] = {
	/* PCSC-169: who claims nothing is told at once */
	{ 0, &empty, EMP | CH },
	{ 0, &card, PRE | CH },
	{ 0, &card_7, PRE | CH | COUNT(7) },
	{ 0, &unavailable, UNA | CH },
	/* PCSC-170: a claim that holds */
	{ EMP, &empty, EMP },
	{ PRE, &card, PRE },
	{ PRE | COUNT(7), &card_7, PRE | COUNT(7) },
	{ UNA, &unavailable, UNA },
	/* PCSC-172, PCSC-173: card in, card out */
	{ EMP, &card, PRE | CH },
	{ PRE, &empty, EMP | CH },
	{ PRE | MUT, &empty, EMP | CH },
	/* PCSC-174: what was reported can be fed back as it is */
	{ PRE | CH | COUNT(7), &card_7, PRE | COUNT(7) },
	{ EMP | CH | COUNT(5), &empty_5, EMP | COUNT(5) },
	/* PCSC-175: the counter tells of what nobody has seen; 0 does not compare */
	{ PRE | COUNT(5), &card_7, PRE | CH | COUNT(7) },
	{ PRE, &card_7, PRE | COUNT(7) },
	{ PRE | COUNT(7), &card, PRE | CH },
	/* PCSC-180 to PCSC-184: sharing is compared only where it is claimed */
	{ PRE, &card_in_use, PRE | INU },
	{ PRE, &card_exclusive, PRE | EXC },
	{ PRE | INU, &card_in_use, PRE | INU },
	{ PRE | INU, &card, PRE | CH },
	{ PRE | INU, &card_exclusive, PRE | EXC | CH },
	{ PRE | EXC, &card_exclusive, PRE | EXC },
	{ PRE | EXC, &card, PRE | CH },
	{ PRE | EXC, &card_in_use, PRE | INU | CH },
	{ EMP, &empty_exclusive, EMP | EXC },
	{ EMP | EXC, &empty_exclusive, EMP | EXC },
	{ EMP | EXC, &empty, EMP | CH },
	/* PCSC-185: mute cards */
	{ EMP, &mute, PRE | MUT | CH },
	{ PRE, &mute, PRE | MUT | CH },
	{ PRE | MUT, &mute, PRE | MUT },
	{ PRE | MUT, &mute_in_use, PRE | MUT | INU },
	{ PRE | MUT, &card, PRE | CH },
	/* PCSC-187: trouble comes and goes */
	{ PRE, &unavailable, UNA | CH },
	{ UNA | CH, &unavailable, UNA },
	{ UNA, &card, PRE | CH },
	{ UNA, &empty, EMP | CH },
	/* PCSC-188, PCSC-189: readers go and come back */
	{ 0, &vanished, UNK | UNA | CH },
	{ PRE, &vanished, UNK | UNA | CH },
	{ UNK, &vanished, UNK | UNA },
	{ UNK | UNA, &card, PRE | CH },
	{ UNK, &unavailable, UNA | CH },
	/* a claim of neither waits past a card that is there */
	{ CH, &card, PRE },
	{ CH, &empty, EMP },
	{ CH, &mute, PRE | MUT | CH },
};

static void test_comparison(void **state) {
	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++) {
		DWORD event = change_event(rows[i].claim, rows[i].now);
		if (event != rows[i].event)
			fail_msg("row %zu: claim %#lx gives %#lx, not %#lx", i, rows[i].claim,
				event, rows[i].event);
	}
}

/* PCSC-191 */
static void test_never_set(void **state) {
	(void)state;
	for (size_t i = 0; i < N_OF(rows); i++)
		assert_int_equal(change_event(rows[i].claim, rows[i].now) &
				(SCARD_STATE_ATRMATCH | SCARD_STATE_UNPOWERED),
			0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comparison),
		cmocka_unit_test(test_never_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
