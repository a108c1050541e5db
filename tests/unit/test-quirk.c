/* SPDX-License-Identifier: MIT */
/*
 * The table of devices: udev/71-ifdhandler.hwdb as udev matches it, with the versions on both sides
 * of every edge; and its words: each is known, and a test shows what it does. (Run in the top
 * directory.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fnmatch.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/quirk.h"

/* ---- the file ---- */

enum { MAX_ROWS = 256, MAX_KEYS = 12, LINE = 256 };

struct row {
	unsigned n_keys;
	char keys[MAX_KEYS][LINE];
	int has_reason;
	int is_ours; /* IFDHANDLER_DRIVER=ccid */
	char known[LINE];
	char suspend[4]; /* IFDHANDLER_AUTOSUSPEND */
};

struct table {
	unsigned n_rows;
	struct row rows[MAX_ROWS];
};

static void take_property(struct row *row, const char *line) {
	if (sscanf(line, " IFDHANDLER_KNOWN=%255[^\n]", row->known) == 1)
		return;
	if (sscanf(line, " IFDHANDLER_AUTOSUSPEND=%3[^\n]", row->suspend) == 1)
		return;
	assert_string_equal(line, " IFDHANDLER_DRIVER=ccid\n");
	row->is_ours = 1;
}

static int load(void **state) {
	struct table *t = calloc(1, sizeof(*t));
	FILE *f = fopen("udev/71-ifdhandler.hwdb", "re");
	char line[LINE];
	int reason = 0, open = 0;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct row *row = &t->rows[t->n_rows];
		if (line[0] == '#') {
			reason = 1;
			continue;
		}
		if (line[0] == '\n') {
			t->n_rows += (unsigned)open;
			assert_true(t->n_rows < MAX_ROWS);
			reason = open = 0;
			continue;
		}
		open = 1;
		row->has_reason = reason;
		if (line[0] == ' ') {
			take_property(row, line);
			continue;
		}
		assert_true(row->n_keys < MAX_KEYS);
		assert_int_equal(sscanf(line, "%255[^\n]", row->keys[row->n_keys++]), 1);
	}
	t->n_rows += (unsigned)open;
	(void)fclose(f);
	*state = t;
	return 0;
}

static int unload(void **state) {
	free(*state);
	return 0;
}

struct found {
	const char *known, *suspend;
	int is_ours;
};

/* hwdb(7): patterns as of fnmatch(3); of a property in several rows the last one counts. */
static struct found look_up(
	const struct table *t, unsigned vendor, unsigned product, unsigned version) {
	struct found found = { "", "", 0 };
	char key[64];
	(void)snprintf(key, sizeof(key), "ifdhandler:usb:%x/%x/%x", vendor, product, version);
	for (unsigned i = 0; i < t->n_rows; i++)
		for (unsigned k = 0; k < t->rows[i].n_keys; k++) {
			const struct row *row = &t->rows[i];
			if (fnmatch(row->keys[k], key, 0))
				continue;
			if (row->known[0])
				found.known = row->known;
			if (row->suspend[0])
				found.suspend = row->suspend;
			found.is_ours |= row->is_ours;
		}
	return found;
}

/* ---- rows ---- */

/* What a device gets: ids, versions "from-to", words in any order. */
static const struct expected {
	uint16_t vendor, product, from, to;
	const char *words;
} table[] = {
	/* interfaces of vendor class */
	{ 0x046a, 0x003e, 0, 0xffff, "vendor-class pin-zero-indexes pin-max=25 pin-validation=2" },
	{ 0x04e6, 0x511a, 0, 0xffff, "vendor-class" },
	{ 0x04e6, 0x5120, 0, 0xffff, "vendor-class slots=1" },
	{ 0x04e6, 0x5121, 0, 0xffff, "vendor-class slots=1" },
	{ 0x04e6, 0x512b, 0, 0xffff, "vendor-class" },
	{ 0x04e6, 0x512c, 0, 0xffff, "vendor-class" },
	{ 0x04e6, 0x5291, 0, 0x0111, "vendor-class min-firmware=112" },
	{ 0x04e6, 0x5291, 0x0112, 0xffff, "" },
	{ 0x04e6, 0x5292, 0, 0xffff, "vendor-class" },
	{ 0x076b, 0x532a, 0, 0xffff, "vendor-class" },
	{ 0x076b, 0x5340, 0, 0xffff, "vendor-class" },
	{ 0x08e6, 0x1359, 0, 0xffff, "vendor-class gemalto" },
	{ 0x08e6, 0x2202, 0, 0xffff, "vendor-class gemalto" },
	{ 0x08e6, 0xace0, 0, 0xffff, "vendor-class gemalto" },
	{ 0x0973, 0x0003, 0, 0xffff, "vendor-class" },
	{ 0x09be, 0x0002, 0, 0xffff, "vendor-class ifsd=254" },
	{ 0x0c4b, 0x0300, 0, 0xffff, "" },
	{ 0x0c4b, 0x0500, 0, 0xffff, "" },
	{ 0x1a74, 0x6354, 0, 0xffff, "vendor-class" },
	{ 0x1a74, 0x6356, 0, 0xffff, "vendor-class" },
	{ 0x1db2, 0x0600, 0, 0xffff, "vendor-class" },
	{ 0x1db2, 0x0604, 0, 0xffff, "vendor-class" },
	/* no PIN pad, or another exchange level */
	{ 0x03f0, 0x0036, 0, 0xffff, "no-pinpad min-firmware=124" },
	{ 0x03f0, 0x1024, 0, 0xffff, "no-pinpad" },
	{ 0x04f2, 0x1469, 0, 0xffff, "no-pinpad" },
	{ 0x0bf8, 0x1017, 0, 0xffff, "no-pinpad" },
	{ 0x0783, 0x0006, 0, 0xffff, "no-pinpad" },
	{ 0x25dd, 0x3111, 0x0111, 0x0111, "no-pinpad" },
	{ 0x25dd, 0x3111, 0, 0x0110, "" },
	{ 0x25dd, 0x3111, 0x0112, 0xffff, "" },
	{ 0x046a, 0x00a7, 0, 0xffff, "short-chains no-pinpad" },
	{ 0x076b, 0x3031, 0, 0xffff, "short-chains no-pinpad" },
	{ 0x076b, 0x3a21, 0, 0xffff, "short-chains no-pinpad" },
	{ 0x076b, 0x6632, 0, 0xffff, "short-chains no-pinpad" },
	{ 0x0bf8, 0x1024, 0, 0xffff, "short-chains no-pinpad" },
	{ 0x046a, 0x00a1, 0, 0x00ff, "pin-default-messages pin-max=32" },
	{ 0x046a, 0x00a1, 0x0100, 0x0100, "short-chains pin-default-messages pin-max=32" },
	{ 0x046a, 0x00a1, 0x0101, 0xffff, "pin-default-messages pin-max=32" },
	{ 0x2f7c, 0x6007, 0, 0xffff, "short-chains" },
	{ 0x0d46, 0x3010, 0, 0xffff, "level=short mct" },
	/* stuck when they send n × 64 bytes */
	{ 0x04e6, 0x5111, 0, 0x061f, "vendor-class slots=1 ifsd=48 min-firmware=620" },
	{ 0x04e6, 0x5111, 0x0620, 0xffff, "vendor-class slots=1" },
	{ 0x04e6, 0x5115, 0, 0x0513, "ifsd=48" },
	{ 0x04e6, 0x5115, 0x0514, 0xffff, "" },
	{ 0x04e6, 0x5117, 0, 0x0521, "ifsd=48" },
	{ 0x04e6, 0x5117, 0x0522, 0xffff, "" },
	{ 0x04e6, 0xe001, 0, 0x0515, "ifsd=48 min-firmware=516" },
	{ 0x04e6, 0xe001, 0x0516, 0xffff, "" },
	{ 0x04e6, 0xe003, 0, 0x0503,
		"vendor-class poll abort pin-unpadded-escape pin-zero-indexes ifsd=48 "
		"min-firmware=510" },
	{ 0x04e6, 0xe003, 0x0504, 0xffff,
		"vendor-class poll abort pin-unpadded-escape pin-zero-indexes min-firmware=510" },
	/* power, presence, speed, time */
	{ 0x0424, 0x1202, 0, 0xffff, "power-off-first" },
	{ 0x046a, 0x0005, 0, 0xffff, "emv-escape" },
	{ 0x0529, 0x0620, 0, 0x0011, "" },
	{ 0x0529, 0x0620, 0x0012, 0x0013, "auto-ifsd" },
	{ 0x0529, 0x0620, 0x0014, 0xffff, "" },
	{ 0x058f, 0x9540, 0, 0xffff, "max-rate=200000 reset-parameters" },
	{ 0x08e6, 0x3437, 0, 0xffff, "gemalto" },
	{ 0x08e6, 0x3438, 0, 0xffff, "gemalto" },
	{ 0x08e6, 0x3479, 0, 0xffff, "gemalto slow-slots" },
	{ 0x08e6, 0x3480, 0, 0x01ff, "gemalto absent-if-mute slow-slots" },
	{ 0x08e6, 0x3480, 0x0200, 0xffff, "gemalto" },
	{ 0x08e6, 0x34d2, 0, 0xffff, "gemalto extra-timeout=300000" },
	{ 0x08e6, 0x4433, 0, 0xffff, "gemalto emv-escape" },
	{ 0x08e6, 0x5503, 0, 0xffff, "gemalto escape-interface" },
	{ 0x08e6, 0x5504, 0, 0xffff, "gemalto" },
	{ 0x0b0c, 0x0050, 0, 0x0100, "auto-ifsd min-firmware=101" },
	{ 0x0b0c, 0x0050, 0x0101, 0xffff, "" },
	{ 0x0b81, 0x0200, 0, 0xffff, "open-delay=1000 base-timeout=60000" },
	{ 0x0b97, 0x7762, 0, 0xffff, "no-pps max-rate=9600 no-full-packets" },
	{ 0x0b97, 0x7772, 0, 0xffff, "no-pps max-rate=9600 no-full-packets" },
	{ 0x0d46, 0x301d, 0, 0xffff, "power-off-first kobil-info" },
	/* commands */
	{ 0x0d46, 0x4289, 0, 0xffff, "mct" },
	{ 0x076b, 0x5427, 0, 0xffff, "escape" },
	/* PIN pads */
	{ 0x046a, 0x0010, 0, 0xffff, "pin-three-messages" },
	{ 0x076b, 0x3821, 0, 0xffff, "pin-min=1 pin-max=31" },
	{ 0x08e6, 0x3478, 0, 0x00ff, "gemalto pin-strings pin-one-message pin-validation=2" },
	{ 0x08e6, 0x3478, 0x0100, 0x0100,
		"gemalto pin-strings pin-one-message pin-min=4 pin-max=8 pin-validation=2" },
	{ 0x08e6, 0x3478, 0x0101, 0xffff, "gemalto pin-strings pin-one-message pin-validation=2" },
	{ 0x0982, 0x0008, 0, 0xffff,
		"pin-strings pin-one-message pin-all-indexes pin-hide-retries pin-min=4 pin-max=8 "
		"pin-validation=2" },
	{ 0x413c, 0x2100, 0, 0xffff, "vendor-class pin-no-message pin-delay=250 pin-swap-digits" },
	{ 0x413c, 0x2101, 0, 0xffff, "pin-no-message pin-delay=250" },
	/* firmware that is too old */
	{ 0x058f, 0x9520, 0, 0xffff, "min-firmware=102" },
	{ 0x062d, 0x0001, 0, 0xffff, "min-firmware=102" },
	{ 0x072f, 0x2200, 0, 0xffff, "min-firmware=206" },
	{ 0x08c3, 0x0401, 0, 0xffff, "min-firmware=5000" },
	{ 0x08c3, 0x0402, 0, 0xffff, "min-firmware=5000" },
	{ 0x09c3, 0x0008, 0, 0xffff, "min-firmware=203" },
	{ 0x0d46, 0x3001, 0, 0xffff, "min-firmware=37" },
	{ 0x0d46, 0x3002, 0, 0xffff, "min-firmware=37" },
	{ 0x0dc3, 0x0900, 0, 0xffff, "min-firmware=200" },
	{ 0x0dc3, 0x1004, 0, 0xffff, "min-firmware=502" },
	{ 0x0dc3, 0x1102, 0, 0xffff, "min-firmware=607" },
	/* only kept awake */
	{ 0x0783, 0x0003, 0, 0xffff, "" },
};

enum { N_EXPECTED = sizeof(table) / sizeof(table[0]) };

static void canonical(const char *words, char *buf, size_t size) {
	struct quirks q;
	quirk_parse(words, &q);
	assert_string_equal(q.unknown, "");
	(void)quirk_describe(&q, buf, size);
}

static void check_one(const struct table *t, const struct expected *e, unsigned version) {
	char found[512], wanted[512];
	struct found f = look_up(t, e->vendor, e->product, version);
	canonical(f.known, found, sizeof(found));
	canonical(e->words, wanted, sizeof(wanted));
	if (strcmp(found, wanted))
		fail_msg("%04x:%04x %04x: \"%s\", not \"%s\"", e->vendor, e->product, version,
			found, wanted);
	/* Who has interfaces of vendor class is named as ours, or udev would pass it over; others
	 * are found by their class, and an id that lies is none. */
	assert_int_equal(f.is_ours, strstr(e->words, "vendor-class") != NULL);
}

static int is_known(unsigned vendor, unsigned product) {
	for (unsigned i = 0; i < N_EXPECTED; i++)
		if (table[i].vendor == vendor && table[i].product == product)
			return 1;
	return 0;
}

static void rows(void **state) {
	const struct table *t = *state;
	for (unsigned i = 0; i < N_EXPECTED; i++) {
		const struct expected *e = &table[i];
		check_one(t, e, e->from);
		check_one(t, e, e->to);
		/* No edge is beyond 7.00. */
		for (unsigned v = e->from; v < e->to && v < 0x700; v++)
			check_one(t, e, v);
		for (unsigned v = 0x700; v < e->to; v += 0x111)
			check_one(t, e, v);
	}
}

static void neighbours_get_nothing(void **state) {
	const struct table *t = *state;
	for (unsigned i = 0; i < N_EXPECTED; i++)
		for (int d = -1; d <= 1; d += 2) {
			unsigned vendor = table[i].vendor, product = table[i].product;
			unsigned beside = (product + (unsigned)d) & 0xffff;
			struct expected other = { (uint16_t)vendor, (uint16_t)beside, 0, 0,
				vendor == 0x08e6 ? "gemalto" : "" };
			if (!is_known(vendor, beside))
				check_one(t, &other, 0x0100);
			other = (struct expected){ (uint16_t)(vendor + (unsigned)d),
				(uint16_t)product, 0, 0, "" };
			if (other.vendor != 0x08e6 && !is_known(other.vendor, product))
				check_one(t, &other, 0x0100);
		}
}

/* Each key of the file hits something of the table: no row is without its test. */
static void every_key_is_expected(void **state) {
	const struct table *t = *state;
	assert_true(t->n_rows > 40);
	for (unsigned i = 0; i < t->n_rows; i++)
		for (unsigned k = 0; k < t->rows[i].n_keys; k++) {
			const struct row *row = &t->rows[i];
			unsigned vendor, product;
			char rest[32];
			assert_true(row->has_reason);
			assert_true(row->known[0] || row->suspend[0]);
			if (strcmp(row->keys[k], "ifdhandler:usb:8e6/*") == 0)
				continue;
			assert_int_equal(sscanf(row->keys[k], "ifdhandler:usb:%x/%x/%31s", &vendor,
						 &product, rest),
				3);
			if (!is_known(vendor, product))
				fail_msg("%s is not tested", row->keys[k]);
			/* As the kernel writes it: no zeros in front. */
			char key[64];
			(void)snprintf(
				key, sizeof(key), "ifdhandler:usb:%x/%x/%s", vendor, product, rest);
			assert_string_equal(key, row->keys[k]);
		}
}

static void kept_awake(void **state) {
	const struct table *t = *state;
	for (unsigned i = 0; i < N_EXPECTED; i++) {
		unsigned vendor = table[i].vendor, product = table[i].product;
		int bad = (vendor == 0x0783 && product == 0x0003) ||
			(vendor == 0x058f && product == 0x9520);
		assert_string_equal(look_up(t, vendor, product, 0x0100).suspend, bad ? "0" : "");
	}
}

/* ---- words ---- */

/* Where the effect of each word is shown. */
static const struct {
	const char *word, *file, *test;
} proofs[] = {
	{ "vendor-class", "tests/unit/test-ccid_quirk.c", "vendor_class" },
	{ "no-pinpad", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "short-chains", "tests/unit/test-quirk.c", "short_chains" },
	{ "auto-ifsd", "tests/unit/test-ccid_quirk.c", "block_size" },
	{ "no-pps", "tests/unit/test-ccid_quirk.c", "no_pps" },
	{ "no-ifsd", "tests/unit/test-ccid_quirk.c", "block_size" },
	{ "no-full-packets", "tests/unit/test-ccid_quirk.c", "no_full_packets" },
	{ "slow-slots", "tests/unit/test-ccid_quirk.c", "slow_slots" },
	{ "reset-parameters", "tests/unit/test-ccid_quirk.c", "reset_parameters" },
	{ "power-off-first", "tests/unit/test-ccid_quirk.c", "power_off_first" },
	{ "absent-if-mute", "tests/unit/test-ccid_power.c", "absent_if_mute" },
	{ "emv-escape", "tests/unit/test-ccid_power.c", "emv_mode" },
	{ "poll", "tests/unit/test-ccid_quirk.c", "poll_beside_the_bell" },
	{ "mirror-presence", "tests/unit/test-ccid_quirk.c", "mirror_presence" },
	{ "parallel", "tests/unit/test-ccid_quirk.c", "parallel" },
	{ "abort", "tests/unit/test-ccid_quirk.c", "abort_request" },
	{ "reset", "tests/unit/test-ccid_quirk.c", "reset_of_the_port" },
	{ "level=tpdu", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "level=short", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "level=extended", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "ifsd=", "tests/unit/test-ccid_quirk.c", "block_size" },
	{ "max-rate=", "tests/unit/test-ccid_quirk.c", "max_rate" },
	{ "open-delay=", "tests/unit/test-ccid_quirk.c", "times" },
	{ "base-timeout=", "tests/unit/test-ccid_quirk.c", "times" },
	{ "extra-timeout=", "tests/unit/test-ccid_quirk.c", "times" },
	{ "min-firmware=", "tests/unit/test-ccid_quirk.c", "min_firmware" },
	{ "slots=", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "hide-interface=", "tests/unit/test-quirk.c", "the_descriptor_is_corrected" },
	{ "ascending", "tests/unit/test-ccid_power.c", "upwards" },
	{ "strict-atr", "tests/unit/test-ccid_power.c", "wrong_check_byte" },
	{ "escape", "tests/unit/test-ccid_control.c", "escape_where_allowed" },
	{ "gemalto", "tests/unit/test-ccid_secure.c", "modify_for_gemalto" },
	{ "pin-one-message", "tests/unit/test-pin.c", "verify_rules" },
	{ "pin-no-message", "tests/unit/test-pin.c", "verify_rules" },
	{ "pin-swap-digits", "tests/unit/test-pin.c", "verify_rules" },
	{ "pin-all-indexes", "tests/unit/test-pin.c", "modify_all_indexes" },
	{ "pin-three-messages", "tests/unit/test-pin.c", "modify_three_messages" },
	{ "pin-zero-indexes", "tests/unit/test-pin.c", "modify_other_rules" },
	{ "pin-default-messages", "tests/unit/test-pin.c", "modify_other_rules" },
	{ "pin-unpadded-escape", "tests/unit/test-ccid_secure.c", "vendor_commands_before_secure" },
	{ "pin-hide-retries", "tests/unit/test-ccid_secure.c", "vendor_commands_before_secure" },
	{ "pin-delay=", "tests/unit/test-ccid_secure.c", "rest_before_secure" },
	{ "escape-interface", "tests/unit/test-ccid_control.c", "escape_where_allowed" },
	{ "apdu-mode", "tests/unit/test-ccid_setup.c", "apdu_mode" },
	{ "kobil-info", "tests/unit/test-ccid_control.c", "kobil_info" },
	{ "mct", "tests/unit/test-ccid_control.c", "mct" },
	{ "pace", "tests/unit/test-ccid_control.c", "pace" },
	{ "pin-strings", "tests/unit/test-ccid_setup.c", "texts_of_the_display" },
	{ "pin-min=", "tests/unit/test-ccid_control.c", "tlv_of_plain_readers" },
	{ "pin-max=", "tests/unit/test-ccid_control.c", "tlv_of_pin_pads" },
	{ "pin-validation=", "tests/unit/test-ccid_control.c", "tlv_of_pin_pads" },
};

enum { N_PROOFS = sizeof(proofs) / sizeof(proofs[0]) };

/* The test's name may begin with the numbers of what it proves besides. */
static void check_proof(const char *word, const char *file, const char *test) {
	char line[512], head[96], end[96];
	int found = 0, run = 0, used = 0;
	FILE *f = fopen(file, "re");
	if (!f)
		fail_msg("there is no %s", file);
	(void)snprintf(head, sizeof(head), "%s(void **state)", test);
	(void)snprintf(end, sizeof(end), "%s)", test);
	while (f && fgets(line, sizeof(line), f)) {
		found |= strncmp(line, "static void ", 12) == 0 && strstr(line, head);
		run |= strstr(line, "unit_test") && strstr(line, end);
		used |= strstr(line, word) != NULL;
	}
	if (f)
		(void)fclose(f);
	if (!found || !run || !used)
		fail_msg("%s has no test %s of %s", file, test, word);
}

/* Does the driver know it? A word with a number is tried with 1. */
static void check_word(const char *word) {
	char with[64], text[256];
	struct quirks q;
	size_t len = strlen(word);
	(void)snprintf(with, sizeof(with), "%s%s", word, word[len - 1] == '=' ? "1" : "");
	quirk_parse(with, &q);
	assert_string_equal(q.unknown, "");
	(void)quirk_describe(&q, text, sizeof(text));
	assert_string_equal(text, with);
	/* And taken back. */
	(void)snprintf(with, sizeof(with), "%s%s -%.*s", word, word[len - 1] == '=' ? "1" : "",
		(int)strcspn(word, "="), word);
	quirk_parse(with, &q);
	assert_string_equal(q.unknown, "");
	assert_int_equal(quirk_describe(&q, text, sizeof(text)), 0);
}

static void every_word_has_a_proof(void **state) {
	(void)state;
	uint64_t flags = 0;
	for (unsigned i = 0; i < N_PROOFS; i++) {
		struct quirks q;
		check_word(proofs[i].word);
		check_proof(proofs[i].word, proofs[i].file, proofs[i].test);
		quirk_parse(proofs[i].word, &q);
		flags |= q.flags;
	}
	for (unsigned i = 0; i < QUIRK_N_FLAGS; i++) {
		struct quirks q = { .flags = UINT64_C(1) << i };
		char word[64];
		(void)quirk_describe(&q, word, sizeof(word));
		if (!(flags >> i & 1))
			fail_msg("no test shows what %s does", word);
	}
}

/* Those with a number: of our rows. */
static void every_word_of_a_row_has_a_proof(void **state) {
	const struct table *t = *state;
	for (unsigned i = 0; i < t->n_rows; i++) {
		char copy[LINE], *rest = copy;
		(void)snprintf(copy, sizeof(copy), "%s", t->rows[i].known);
		for (char *word; (word = strtok_r(rest, " ", &rest));) {
			size_t len = strcspn(word, "=");
			len += word[len] == '=' && strncmp(word, "level=", 6) != 0;
			unsigned n = 0;
			while (n < N_PROOFS && strncmp(proofs[n].word, word, len) != 0)
				n++;
			if (n == N_PROOFS)
				fail_msg("no test shows what %s does", word);
		}
	}
}

static void words(void **state) {
	(void)state;
	struct quirks q;
	quirk_parse(NULL, &q);
	assert_int_equal(q.flags, 0);
	assert_string_equal(q.unknown, "");
	quirk_parse(" no-pps  level=short ifsd=48 max-rate=9600 bogus slots=1 hide-interface=2 "
		    "hide-interface=0 extra-timeout=300000 ifsd=255 ifsd=x level= min-firmware=5fG "
		    "min-firmware=20A",
		&q);
	assert_true(quirk_has(&q, QUIRK_NO_PPS));
	assert_false(quirk_has(&q, QUIRK_POLL));
	assert_int_equal(q.level, 1 + CCID_LEVEL_SHORT);
	assert_int_equal(q.ifsd, 48);
	assert_int_equal(q.max_rate, 9600);
	assert_int_equal(q.slots, 1);
	assert_int_equal(q.extra_timeout_ms, 300000);
	assert_int_equal(q.min_firmware, 0x20a);
	assert_int_equal(q.hidden_interfaces, 5);
	assert_string_equal(q.unknown, "bogus");
	char text[256];
	size_t len = quirk_describe(&q, text, sizeof(text));
	assert_string_equal(text,
		"no-pps level=short ifsd=48 max-rate=9600 extra-timeout=300000 "
		"min-firmware=20a slots=1 hide-interface=0 hide-interface=2");
	assert_int_equal(len, strlen(text));
	assert_int_equal(quirk_describe(&q, text, 8), 7);
	struct quirks again;
	(void)quirk_describe(&q, text, sizeof(text));
	quirk_parse(text, &again);
	assert_int_equal(again.hidden_interfaces, q.hidden_interfaces);
	assert_int_equal(again.flags, q.flags);
}

/* An administrator's words come after ours: they add, win, and take back. */
static void words_are_taken_back(void **state) {
	(void)state;
	static const struct {
		const char *words, *left, *unknown;
	} cases[] = {
		{ "vendor-class ifsd=48 ifsd=100", "vendor-class ifsd=100", "" },
		{ "vendor-class poll -poll escape", "vendor-class escape", "" },
		{ "vendor-class ifsd=48 -ifsd", "vendor-class", "" },
		{ "level=short hide-interface=1 -level -hide-interface", "", "" },
		{ "vendor-class poll ifsd=48 -all reset", "reset", "" },
		{ "poll -pol -ifsd= -", "poll", "-pol" },
		{ "-poll", "", "" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct quirks q;
		char text[256];
		quirk_parse(cases[i].words, &q);
		(void)quirk_describe(&q, text, sizeof(text));
		assert_string_equal(text, cases[i].left);
		assert_string_equal(q.unknown, cases[i].unknown);
	}
}

/* ---- effects on what the descriptors say ---- */

static struct ccid_desc a_reader(uint32_t level_bit, enum ccid_level level) {
	struct ccid_desc desc = { .bcd_device = 0x0509, .n_interfaces = 2, .n_slots = 5 };
	for (unsigned i = 0; i < 2; i++)
		desc.interfaces[i] = (struct ccid_interface){
			.number = (uint8_t)i,
			.n_slots = i ? 2 : 3,
			.n_busy = i ? 2 : 3,
			.pin_support = 3,
			.features = level_bit | CCID_FEATURE_AUTO_PPS,
			.level = level,
			.max_ifsd = 32,
			.max_rate = 344086,
			.message_length = 271,
		};
	return desc;
}

static void the_descriptor_is_corrected(void **state) {
	(void)state;
	static const struct {
		const char *words;
		enum ccid_level level;
		uint32_t bit;
	} levels[] = {
		{ "level=tpdu", CCID_LEVEL_TPDU, CCID_FEATURE_TPDU },
		{ "level=short", CCID_LEVEL_SHORT, CCID_FEATURE_SHORT_APDU },
		{ "level=extended", CCID_LEVEL_EXTENDED, CCID_FEATURE_EXTENDED_APDU },
		{ "", CCID_LEVEL_SHORT, CCID_FEATURE_SHORT_APDU },
	};
	struct quirks q;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		struct ccid_desc desc = a_reader(CCID_FEATURE_SHORT_APDU, CCID_LEVEL_SHORT);
		quirk_parse(levels[i].words, &q);
		quirk_apply(&q, &desc);
		assert_int_equal(desc.interfaces[1].level, levels[i].level);
		assert_int_equal(
			desc.interfaces[1].features, levels[i].bit | CCID_FEATURE_AUTO_PPS);
		assert_int_equal(desc.interfaces[1].pin_support, 3);
		assert_int_equal(desc.n_slots, 5);
	}
	struct ccid_desc desc = a_reader(CCID_FEATURE_SHORT_APDU, CCID_LEVEL_SHORT);
	quirk_parse("no-pinpad slots=1 ifsd=254 max-rate=9600 auto-ifsd hide-interface=0", &q);
	quirk_apply(&q, &desc);
	const struct ccid_interface *i = &desc.interfaces[0];
	assert_int_equal(desc.n_interfaces, 1);
	assert_int_equal(desc.n_slots, 1);
	assert_int_equal(i->number, 1);
	assert_int_equal(i->n_slots, 1);
	assert_int_equal(i->n_busy, 1);
	assert_int_equal(i->pin_support, 0);
	assert_int_equal(i->max_ifsd, 254);
	assert_int_equal(i->max_rate, 9600);
	assert_true(i->features & CCID_FEATURE_AUTO_IFSD);
	quirk_parse("ifsd=5", &q);
	quirk_apply(&q, &desc);
	assert_int_equal(i->max_ifsd, 32);
	quirk_parse("hide-interface=1", &q);
	quirk_apply(&q, &desc);
	assert_int_equal(desc.n_interfaces, 0);
	assert_int_equal(desc.n_slots, 0);
}

/* The same id with other descriptors keeps what those say. */
static void short_chains(void **state) {
	(void)state;
	static const struct {
		uint32_t bit;
		enum ccid_level announced, used;
	} cases[] = {
		{ CCID_FEATURE_SHORT_APDU, CCID_LEVEL_SHORT, CCID_LEVEL_EXTENDED },
		{ CCID_FEATURE_EXTENDED_APDU, CCID_LEVEL_EXTENDED, CCID_LEVEL_EXTENDED },
		{ CCID_FEATURE_TPDU, CCID_LEVEL_TPDU, CCID_LEVEL_TPDU },
		{ 0, CCID_LEVEL_CHARACTER, CCID_LEVEL_CHARACTER },
	};
	struct quirks q;
	quirk_parse("short-chains", &q);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ccid_desc desc = a_reader(cases[i].bit, cases[i].announced);
		quirk_apply(&q, &desc);
		assert_int_equal(desc.interfaces[0].level, cases[i].used);
	}
}

static void advice(void **state) {
	(void)state;
	struct ccid_desc desc = a_reader(CCID_FEATURE_TPDU, CCID_LEVEL_TPDU);
	struct quirks q;
	char text[96];
	quirk_parse("min-firmware=510", &q);
	assert_true(quirk_advice(&q, &desc, text, sizeof(text)) > 0);
	assert_string_equal(
		text, "firmware 5.09 is older than 5.10, the first that is known to work well");
	quirk_parse("min-firmware=509", &q);
	assert_int_equal(quirk_advice(&q, &desc, text, sizeof(text)), 0);
	quirk_parse("poll", &q);
	assert_int_equal(quirk_advice(&q, &desc, text, sizeof(text)), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows),
		cmocka_unit_test(neighbours_get_nothing),
		cmocka_unit_test(every_key_is_expected),
		cmocka_unit_test(kept_awake),
		cmocka_unit_test(every_word_has_a_proof),
		cmocka_unit_test(every_word_of_a_row_has_a_proof),
		cmocka_unit_test(words),
		cmocka_unit_test(words_are_taken_back),
		cmocka_unit_test(the_descriptor_is_corrected),
		cmocka_unit_test(short_chains),
		cmocka_unit_test(advice),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
