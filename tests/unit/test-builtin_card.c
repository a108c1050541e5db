/* SPDX-License-Identifier: MIT */
/* The builtin card: status words, security conditions, counters, and files that hang together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/virtual/builtin_card.h"
#include "ifdhandler/virtual/builtin_files.h"
#include "ifdhandler/virtual/builtin_pin.h"

#define SELECT_APP    "00A404000CA000000063504B43532D3135"
#define SELECT_SECRET "00A4080C0450154334"
#define SELECT_PLAIN  "00A4080C0450154333"
#define SELECT_SPACE  "00A4080C0450154340"
#define PIN           "313233343536FFFF"
#define PUK           "3132333435363738"
#define WRONG         "393939393939FFFF"
#define NEW           "34333231FFFFFFFF"
#define VERIFY        "0020000108"
#define CHANGE        "0024000110"
#define UNBLOCK       "002C000110"

static uint8_t answer[BUILTIN_CARD_MAX_ANSWER];
static size_t answer_len;

static int setup(void **state) {
	struct builtin_card *card = NULL;
	if (builtin_card_new(&card) < 0)
		return -1;
	*state = card;
	return 0;
}

static int teardown(void **state) {
	builtin_card_free(*state);
	return 0;
}

static size_t from_hex(const char *hex, uint8_t *out) {
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

/* Sends and keeps the answer; returns the status word. */
static unsigned send_bytes(struct builtin_card *card, const uint8_t *in, size_t len) {
	answer_len = builtin_card_apdu(card, in, len, answer, sizeof(answer));
	assert_in_range(answer_len, 2, sizeof(answer));
	answer_len -= 2;
	return (unsigned)answer[answer_len] << 8 | answer[answer_len + 1];
}

static unsigned send_hex(struct builtin_card *card, const char *hex) {
	uint8_t in[512];
	assert_true(strlen(hex) <= 2 * sizeof(in));
	return send_bytes(card, in, from_hex(hex, in));
}

static void expect(struct builtin_card *card, const char *command, unsigned sw) {
	unsigned got = send_hex(card, command);
	if (got != sw)
		fail_msg("%s: %04X, expected %04X", command, got, sw);
}

static void expect_data(struct builtin_card *card, const char *command, const char *data) {
	uint8_t expected[512];
	expect(card, command, 0x9000);
	assert_int_equal(answer_len, from_hex(data, expected));
	assert_memory_equal(answer, expected, answer_len);
}

static void atr_is_consistent(void **state) {
	(void)state;
	uint8_t check = 0;
	for (size_t i = 1; i < BUILTIN_CARD_ATR_LEN; i++)
		check ^= builtin_card_atr[i];
	assert_int_equal(check, 0); /* TCK, ISO/IEC 7816-3 8.2.5 */
}

static void selects_in_every_way(void **state) {
	struct builtin_card *card = *state;
	expect_data(card, "00A4000000",
		"6F0F8201388302"
		"3F00"
		"8603FFFFFF8A0105");
	expect_data(card, "00A40000023F0000", "6F0F82013883023F008603FFFFFF8A0105");
	expect_data(card, "00A40000022F0000",
		"6F16"
		"80020029"
		"820101"
		"83022F00"
		"86030FFFFF"
		"8A0105"
		"8801F0");
	expect_data(card, "00A40004022F0000",
		"6216"
		"80020029"
		"820101"
		"83022F00"
		"86030FFFFF"
		"8A0105"
		"8801F0");
	expect_data(card, SELECT_APP "00",
		"6F1D"
		"820138"
		"83025015"
		"8603FFFFFF"
		"8A0105"
		"840CA000000063504B43532D3135");
	expect(card, "00A4020C024333", 0x9000);       /* EF under the current DF */
	expect(card, "00A4030C", 0x9000);             /* parent of the DF: the MF */
	expect(card, "00A4010C025015", 0x9000);       /* child DF */
	expect(card, "00A4090C025031", 0x9000);       /* path from the current DF */
	expect(card, "00A4080C0450155032", 0x9000);   /* path from the MF */
	expect(card, "00A4040C05A000000063", 0x9000); /* name cut on the right */
	expect(card, "00A4000C022F00", 0x9000);       /* child of the parent */
	expect(card, "00A4000C025015", 0x9000);       /* from the MF */
	expect(card, "00A4000C023F00", 0x9000);       /* parent */
}

static void select_refuses(void **state) {
	struct builtin_card *card = *state;
	expect(card, "00A4000C025031", 0x6A82);     /* not below the MF */
	expect(card, "00A4010C022F00", 0x6A82);     /* an EF where a DF was asked for */
	expect(card, "00A4020C025015", 0x6A82);     /* the other way round */
	expect(card, "00A4080C042F005031", 0x6A82); /* path through an EF */
	expect(card, "00A4040C06A00000006399", 0x6A82);
	expect(card, "00A4040C", 0x6A82);
	expect(card, "00A4000C033F0000", 0x6A87);
	expect(card, "00A4080C03501550", 0x6A87);
	expect(card, "00A4080C", 0x6A87);
	expect(card, "00A4030C023F00", 0x6A87);
	expect(card, "00A4050C023F00", 0x6A86);
	expect(card, "00A40002023F00", 0x6A86); /* next occurrence */
	expect(card, "00A40008023F00", 0x6A86); /* FMD */
	expect(card, "00A40000023F0008", 0x6C11);
	expect(card, "00A40000023F00", 0x9000); /* no Le: no FCI, and that is no error */
	assert_int_equal(answer_len, 0);
}

static void failed_select_changes_nothing(void **state) {
	struct builtin_card *card = *state;
	expect(card, SELECT_PLAIN, 0x9000);
	expect(card, "00A4000C029999", 0x6A82);
	expect(card, "00A4000002433401", 0x6C15); /* found, but Le is wrong */
	expect_data(card, "00B0000004", "54686973");
}

static void reads_binary(void **state) {
	struct builtin_card *card = *state;
	expect(card, "00B0000000", 0x6986);      /* no EF is selected */
	expect_data(card, "00B09E0002", "6127"); /* EF.DIR by its short identifier, 30 */
	expect_data(card, "00B0002502", "3F00"); /* which is selected now */
	expect(card, "00B0002503", 0x9000);
	expect(card, "00B0002510", 0x6282); /* the file ends before Le */
	assert_int_equal(answer_len, 4);
	expect(card, "00B0002500", 0x9000); /* Le 00: what there is */
	assert_int_equal(answer_len, 4);
	expect(card, "00B0002900", 0x6B00); /* behind the end */
	expect(card, "00B07FFF01", 0x6B00);
	expect(card, "00B000000000", 0x6700);
	expect(card, "00B00000", 0x6700); /* no Le */
	expect(card, "00B0000001AA01", 0x6700);
	expect(card, "00B09F0000", 0x6A82); /* no such short identifier */
	expect(card, "00B0BE0000", 0x6A86); /* RFU bits */
}

static void reads_a_certificate_in_one_extended_answer(void **state) {
	struct builtin_card *card = *state;
	expect(card, "00A4080C0450154331", 0x9000);
	expect(card,
		"00B00000"
		"000000",
		0x9000);
	size_t whole = answer_len;
	assert_true(whole > 256);
	assert_int_equal(((size_t)answer[2] << 8 | answer[3]) + 4, whole); /* 30 82 xx xx */
	expect(card,
		"00B00000"
		"000100",
		0x9000);
	assert_int_equal(answer_len, 256);
	expect(card,
		"00B00000"
		"00FFFF",
		0x6282);
	assert_int_equal(answer_len, whole);
	expect(card, "00B0000000", 0x9000);
	assert_int_equal(answer_len, 256);
}

static void keeps_to_a_small_buffer(void **state) {
	struct builtin_card *card = *state;
	const uint8_t read[] = { 0x00, 0xB0, 0x9E, 0x00, 0x00 };
	uint8_t out[8];
	memset(out, 0xEE, sizeof(out));
	assert_int_equal(builtin_card_apdu(card, read, sizeof(read), out, 7), 7);
	assert_int_equal(out[7], 0xEE);
	assert_int_equal(builtin_card_apdu(card, read, sizeof(read), out, 2), 2);
}

static void private_object_needs_the_pin(void **state) {
	struct builtin_card *card = *state;
	expect(card, SELECT_SECRET, 0x9000);
	expect(card, "00B0000000", 0x6982);
	assert_int_equal(answer_len, 0);
	expect(card, VERIFY WRONG, 0x63C2);
	expect(card, "00B0000000", 0x6982);
	expect(card, VERIFY PIN, 0x9000);
	expect_data(card, "00B0000003", "596F75");
	expect(card, "0020FF01", 0x9000); /* back to not verified */
	expect(card, "00B0000000", 0x6982);
	expect(card, "002000010A" PIN "FFFF", 0x6700);
	expect(card, "0020000106313233343536", 0x9000); /* padding is the card's */
	expect(card, "002E0000", 0x9000);
	expect(card, "00B0000000", 0x6982);
	expect(card, VERIFY PIN, 0x9000);
	expect(card, VERIFY WRONG, 0x63C2); /* a wrong one takes it away again */
	expect(card, "00B0000000", 0x6982);
}

static void puk_opens_no_file(void **state) {
	struct builtin_card *card = *state;
	expect(card, SELECT_SECRET, 0x9000);
	expect(card, "0020000208" PUK, 0x9000);
	expect(card, "00B0000000", 0x6982);
}

static void tries_are_counted_across_resets(void **state) {
	struct builtin_card *card = *state;
	expect(card, "00200001", 0x63C3);
	expect(card, VERIFY WRONG, 0x63C2);
	builtin_card_reset(card);
	expect(card, "00200001", 0x63C2);
	expect(card,
		"0020000104"
		"31323334",
		0x63C1);
	builtin_card_reset(card);
	expect(card, VERIFY PIN, 0x9000);
	expect(card, "00200001", 0x9000); /* verified */
	builtin_card_reset(card);
	expect(card, "00200001", 0x63C3); /* not verified, but all tries are back */
}

static void three_wrong_block_for_good(void **state) {
	struct builtin_card *card = *state;
	expect(card, VERIFY WRONG, 0x63C2);
	expect(card, VERIFY WRONG, 0x63C1);
	expect(card, VERIFY WRONG, 0x63C0);
	expect(card, VERIFY PIN, 0x6983);
	expect(card, "00200001", 0x6983);
	builtin_card_reset(card);
	expect(card, VERIFY PIN, 0x6983);
	expect(card, CHANGE PIN NEW, 0x6983);
	expect(card, SELECT_SECRET, 0x9000);
	expect(card, "00B0000000", 0x6982);
	expect(card, UNBLOCK WRONG NEW, 0x63C9);
	expect(card, "00200001", 0x6983);
	expect(card, UNBLOCK PUK NEW, 0x9000);
	expect(card, "00200001", 0x63C3);
	expect(card, "00B0000000", 0x6982); /* unblocked is not verified */
	expect(card, "00200002", 0x63CA);   /* nor is the PUK */
	expect(card, VERIFY PIN, 0x63C2);
	expect(card, VERIFY NEW, 0x9000);
}

static void puk_can_be_blocked(void **state) {
	struct builtin_card *card = *state;
	for (unsigned left = 10; left-- > 0;)
		expect(card, UNBLOCK WRONG NEW, 0x63C0 | left);
	expect(card, UNBLOCK PUK NEW, 0x6983);
	expect(card, VERIFY PIN, 0x9000); /* the PIN is another matter */
}

static void unblock_can_keep_the_pin(void **state) {
	struct builtin_card *card = *state;
	expect(card, VERIFY WRONG, 0x63C2);
	expect(card, "002C010108" PUK, 0x9000);
	expect(card, "00200001", 0x63C3);
	expect(card, VERIFY PIN, 0x9000);
}

static void changes_the_pin(void **state) {
	struct builtin_card *card = *state;
	expect(card, CHANGE WRONG NEW, 0x63C2);
	expect(card, CHANGE PIN NEW, 0x9000);
	expect(card, VERIFY PIN, 0x63C2);
	expect(card, VERIFY NEW, 0x9000);
	builtin_card_reset(card);
	expect(card, VERIFY NEW, 0x9000);
	expect(card, "0024000210" PUK WRONG, 0x9000);
	expect(card, UNBLOCK PUK PIN, 0x63C9);
	expect(card, UNBLOCK WRONG PIN, 0x9000);
}

static void refuses_improper_pins_without_counting(void **state) {
	struct builtin_card *card = *state;
	expect(card, CHANGE PIN "313233FFFFFFFFFF", 0x6A80); /* too short */
	expect(card, CHANGE PIN "31323334FF353637", 0x6A80); /* FF inside */
	expect(card, CHANGE PIN "4142434445464748", 0x6A80); /* letters */
	expect(card, UNBLOCK WRONG "FFFFFFFFFFFFFFFF", 0x6A80);
	expect(card, "002400010831323334FFFFFFFF", 0x6700);
	expect(card, "0024010108" NEW, 0x6A86);
	expect(card, "002C0001083132333435363738", 0x6700);
	expect(card, "002C020108" NEW, 0x6A86);
	expect(card, "002C000210" PUK NEW, 0x6A88);
	expect(card, "0020000308" PIN, 0x6A88);
	expect(card, "0020000008" PIN, 0x6A88);
	expect(card, "0020010108" PIN, 0x6A86);
	expect(card, "00200001", 0x63C3);
	expect(card, VERIFY PIN, 0x9000);
}

static void scratch_file_is_written_after_the_pin(void **state) {
	struct builtin_card *card = *state;
	uint8_t big[7 + BUILTIN_SCRATCH_SIZE + 1] = { 0x00, 0xD6, 0x00, 0x00, 0x00,
		BUILTIN_SCRATCH_SIZE >> 8, BUILTIN_SCRATCH_SIZE & 0xFF };
	for (size_t i = 0; i < BUILTIN_SCRATCH_SIZE; i++)
		big[7 + i] = (uint8_t)(i * 7 + 1);
	expect(card, "00D6000001AA", 0x6986);
	expect(card, SELECT_SPACE, 0x9000);
	expect(card, "00D6000001AA", 0x6982);
	expect_data(card, "00B0000002", "0000");
	expect(card, VERIFY PIN, 0x9000);
	assert_int_equal(send_bytes(card, big, sizeof(big) - 1), 0x9000);
	builtin_card_reset(card);
	expect(card, SELECT_SPACE, 0x9000);
	expect(card,
		"00B00000"
		"000000",
		0x9000);
	assert_int_equal(answer_len, BUILTIN_SCRATCH_SIZE);
	assert_memory_equal(answer, big + 7, BUILTIN_SCRATCH_SIZE);
}

static void update_refuses(void **state) {
	struct builtin_card *card = *state;
	uint8_t big[7 + BUILTIN_SCRATCH_SIZE + 1] = { 0x00, 0xD6, 0x00, 0x00, 0x00,
		(BUILTIN_SCRATCH_SIZE + 1) >> 8, (BUILTIN_SCRATCH_SIZE + 1) & 0xFF };
	expect(card, VERIFY PIN, 0x9000);
	expect(card, SELECT_PLAIN, 0x9000);
	expect(card, "00D6000001AA", 0x6982); /* never */
	expect(card, SELECT_SPACE, 0x9000);
	assert_int_equal(send_bytes(card, big, sizeof(big)), 0x6A84);
	expect(card, "00D603FF02AAAA", 0x6A84);
	expect(card, "00D6040001AA", 0x6B00);
	expect(card, "00D60000", 0x6700);
	expect(card, "00D6000001AA00", 0x6700);
	expect(card, "00D603FF01AA", 0x9000);
	expect_data(card, "00B003FE02", "00AA");
}

static void gives_challenges(void **state) {
	struct builtin_card *card = *state;
	uint8_t first[16];
	expect(card, "0084000010", 0x9000);
	assert_int_equal(answer_len, 16);
	memcpy(first, answer, 16);
	expect(card, "0084000010", 0x9000);
	assert_memory_not_equal(answer, first, 16);
	expect(card, "0084000000", 0x9000);
	assert_int_equal(answer_len, 256);
	expect(card,
		"00840000"
		"000000",
		0x9000);
	assert_int_equal(answer_len, 65536);
	expect(card, "00840000", 0x6700);
	expect(card, "0084000001AA10", 0x6700);
	expect(card, "0084010010", 0x6A86);
}

static void gives_myeid_data_objects(void **state) {
	struct builtin_card *card = *state;
	expect_data(card, "00CA01A014",
		"0000000000040000"
		"49464448303030303031"
		"0000");
	expect_data(card, "00CA01AA00", "0100000000000000000000");
	expect_data(card, "00CA01A100", "2F002F015015");
	expect(card, SELECT_APP, 0x9000);
	expect(card, "00CA01A100", 0x9000);
	assert_int_equal(answer_len, 2 * 11);
	expect(card, "00CA01A013", 0x6C14);
	expect(card, "00CA01A0", 0x6700);
	expect(card, "00CA01A200", 0x6A88);
	expect(card, "00CA00A000", 0x6A88);
}

static void refuses_classes_and_instructions(void **state) {
	struct builtin_card *card = *state;
	expect(card, "80A4000C023F00", 0x6E00);
	expect(card, "FFFFFFFF", 0x6E00);
	expect(card, "20A4000C023F00", 0x6E00);
	expect(card, "01A4000C023F00", 0x6881); /* channel 1 */
	expect(card, "40A4000C023F00", 0x6881); /* channel 4 */
	expect(card, "0CA4000C023F00", 0x6882); /* secure messaging */
	expect(card, "10A4000C023F00", 0x6884); /* chaining */
	expect(card, "00000000", 0x6D00);
	expect(card, "002A9E9A00", 0x6D00); /* no private key, no signature */
	expect(card,
		"00880000"
		"08" PIN,
		0x6D00);
}

static void refuses_wrong_lengths(void **state) {
	struct builtin_card *card = *state;
	expect(card, "", 0x6700);
	expect(card, "00A400", 0x6700);
	expect(card, "00A4000C033F00", 0x6700);         /* Lc says more */
	expect(card, "00A4000C023F000000", 0x6700);     /* two bytes of Le with one of Lc */
	expect(card, "00A4000C0000", 0x6700);           /* half of an extended Le */
	expect(card, "00A4000C0000023F", 0x6700);       /* extended Lc says more */
	expect(card, "00A4000C0000023F0000", 0x6700);   /* one byte of Le with three of Lc */
	expect(card, "00A4000C00000000", 0x6700);       /* extended Lc 0 */
	expect(card, "00A4000C0000023F00", 0x9000);     /* case 3 extended */
	expect(card, "00A400000000023F000000", 0x9000); /* case 4 extended */
	assert_int_equal(answer_len, 17);
}

static void reset_forgets_the_selection(void **state) {
	struct builtin_card *card = *state;
	expect(card, SELECT_PLAIN, 0x9000);
	builtin_card_reset(card);
	expect(card, "00B0000000", 0x6986);
	expect_data(card, "00CA01A100", "2F002F015015");
}

static void files_hang_together(void **state) {
	(void)state;
	assert_int_equal(builtin_files[0].id, 0x3F00);
	for (int i = 0; i < BUILTIN_N_FILES; i++) {
		const struct builtin_file *f = &builtin_files[i];
		assert_in_range(f->parent, 0, i ? i - 1 : 0);
		assert_true(builtin_files[f->parent].is_df);
		assert_true(f->sfi < 31);
		assert_true(f->is_df ? !f->data && !f->size : f->size > 0);
		assert_true(f->data || f->is_df || f->size == BUILTIN_SCRATCH_SIZE);
		/* sizes are read as signed by some programs */
		assert_true(f->size <= INT16_MAX);
		for (int j = 1; j < i; j++)
			assert_false(builtin_files[j].parent == f->parent &&
				builtin_files[j].id == f->id);
	}
}

static const struct builtin_file *file(unsigned id) {
	for (int i = 0; i < BUILTIN_N_FILES; i++)
		if (builtin_files[i].id == id)
			return &builtin_files[i];
	fail_msg("no file %04X", id);
	return NULL;
}

/* Walks DER objects one behind the other; every path in them (an OCTET STRING 3F005015xxxx) must
 * name a file. Returns how many paths there were. */
static unsigned check_paths(const uint8_t *p, size_t len) {
	unsigned paths = 0;
	while (len) {
		assert_true(len >= 2);
		size_t head = 2, n = p[1];
		if (n == 0x82) {
			assert_true(len >= 4);
			n = (size_t)p[2] << 8 | p[3];
			head = 4;
		}
		assert_true(n < 0x80 || head == 4);
		assert_true(n <= len - head);
		if (p[0] & 0x20)
			paths += check_paths(p + head, n);
		else if (p[0] == 0x04 && n == 6 && memcmp(p + head, "\x3F\x00\x50\x15", 4) == 0)
			paths += file((unsigned)p[head + 4] << 8 | p[head + 5])->size > 0;
		p += head + n;
		len -= head + n;
	}
	return paths;
}

static void directories_are_der_and_name_files(void **state) {
	(void)state;
	const struct {
		unsigned id, paths;
	} directories[] = { { 0x5031, 4 }, { 0x5032, 0 }, { 0x4401, 0 }, { 0x4402, 1 },
		{ 0x4403, 1 }, { 0x4404, 2 }, { 0x4331, 0 }, { 0x4332, 0 } };
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		const struct builtin_file *f = file(directories[i].id);
		assert_int_equal(check_paths(f->data, f->size), directories[i].paths);
	}
}

static void certificate_has_the_public_key(void **state) {
	(void)state;
	const struct builtin_file *cert = file(0x4331), *key = file(0x4332);
	assert_non_null(memmem(cert->data, cert->size, key->data, key->size));
}

static void only_the_secret_is_secret(void **state) {
	(void)state;
	for (int i = 0; i < BUILTIN_N_FILES; i++) {
		const struct builtin_file *f = &builtin_files[i];
		assert_int_equal(f->read, f->id == 0x4334 ? BUILTIN_PIN : BUILTIN_ALWAYS);
		assert_int_equal(f->update, f->id == 0x4340 ? BUILTIN_PIN : BUILTIN_NEVER);
	}
}

#define CARD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
		CARD_TEST(atr_is_consistent),
		CARD_TEST(selects_in_every_way),
		CARD_TEST(select_refuses),
		CARD_TEST(failed_select_changes_nothing),
		CARD_TEST(reads_binary),
		CARD_TEST(reads_a_certificate_in_one_extended_answer),
		CARD_TEST(keeps_to_a_small_buffer),
		CARD_TEST(private_object_needs_the_pin),
		CARD_TEST(puk_opens_no_file),
		CARD_TEST(tries_are_counted_across_resets),
		CARD_TEST(three_wrong_block_for_good),
		CARD_TEST(puk_can_be_blocked),
		CARD_TEST(unblock_can_keep_the_pin),
		CARD_TEST(changes_the_pin),
		CARD_TEST(refuses_improper_pins_without_counting),
		CARD_TEST(scratch_file_is_written_after_the_pin),
		CARD_TEST(update_refuses),
		CARD_TEST(gives_challenges),
		CARD_TEST(gives_myeid_data_objects),
		CARD_TEST(refuses_classes_and_instructions),
		CARD_TEST(refuses_wrong_lengths),
		CARD_TEST(reset_forgets_the_selection),
		cmocka_unit_test(files_hang_together),
		cmocka_unit_test(directories_are_der_and_name_files),
		cmocka_unit_test(certificate_has_the_public_key),
		cmocka_unit_test(only_the_secret_is_secret),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
