/* SPDX-License-Identifier: MIT */
/*
 * Models what a row of the device table says about one device. Which device has which fault is
 * data (udev's hwdb, where an administrator can add a row); code asks for a fault by name and never
 * for a product. The two tables here are the whole vocabulary.
 *
 * Can never happen: a quirk that makes a descriptor less safe than ccid_desc left it.
 */
#include "ifdhandler/ccid/quirk.h"

#include <stdio.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_desc.h"

static const struct {
	const char *word;
	enum quirk_flag flag;
} flag_words[] = {
	{ "vendor-class", QUIRK_VENDOR_CLASS },
	{ "no-pinpad", QUIRK_NO_PINPAD },
	{ "no-pps", QUIRK_NO_PPS },
	{ "no-ifsd", QUIRK_NO_IFSD },
	{ "power-off-first", QUIRK_POWER_OFF_FIRST },
	{ "absent-if-mute", QUIRK_ABSENT_IF_MUTE },
	{ "emv-escape", QUIRK_EMV_ESCAPE },
	{ "no-full-packets", QUIRK_NO_FULL_PACKETS },
	{ "poll", QUIRK_POLL },
	{ "parallel", QUIRK_PARALLEL },
	{ "abort", QUIRK_ABORT },
	{ "reset", QUIRK_RESET },
	{ "slow-slots", QUIRK_SLOW_SLOTS },
	{ "escape", QUIRK_ESCAPE },
};

/* Words with a number, with the greatest that makes sense: ten minutes, a byte, any rate. */
static const struct {
	const char *word;
	size_t field;
	uint32_t max;
} number_words[] = {
	{ "ifsd=", offsetof(struct quirks, ifsd), 254 },
	{ "max-rate=", offsetof(struct quirks, max_rate), UINT32_MAX },
	{ "open-delay=", offsetof(struct quirks, open_delay_ms), 60000 },
	{ "base-timeout=", offsetof(struct quirks, base_timeout_ms), 600000 },
	{ "extra-timeout=", offsetof(struct quirks, extra_timeout_ms), 600000 },
	{ "slots=", offsetof(struct quirks, slots), CCID_MAX_SLOTS },
};

static const char *const level_words[] = {
	[CCID_LEVEL_TPDU] = "level=tpdu",
	[CCID_LEVEL_SHORT] = "level=short",
	[CCID_LEVEL_EXTENDED] = "level=extended",
};

enum {
	N_FLAGS = sizeof(flag_words) / sizeof(flag_words[0]),
	N_NUMBERS = sizeof(number_words) / sizeof(number_words[0]),
	N_LEVELS = sizeof(level_words) / sizeof(level_words[0]),
	MAX_INTERFACE = 31, /* bits of hidden_interfaces; the kernel's USB_MAXINTERFACES is 32 */
};

struct word {
	const char *text;
	size_t len;
};

static int word_is(struct word word, const char *text) {
	return strlen(text) == word.len && memcmp(word.text, text, word.len) == 0;
}

/* `prefix` and then a decimal number of 0 … max. */
static int word_number(struct word word, const char *prefix, uint32_t max, uint32_t *ret_number) {
	size_t skip = strlen(prefix);
	if (word.len <= skip || word.len > skip + 10 || memcmp(word.text, prefix, skip) != 0)
		return 0;
	uint64_t n = 0;
	for (size_t i = skip; i < word.len; i++) {
		if (word.text[i] < '0' || word.text[i] > '9')
			return 0;
		n = n * 10 + (uint64_t)(word.text[i] - '0');
	}
	if (n > max)
		return 0;
	*ret_number = (uint32_t)n;
	return 1;
}

static uint32_t *number_field(struct quirks *quirks, size_t field) {
	return (uint32_t *)(void *)((char *)quirks + field);
}

static int take_word(struct quirks *quirks, struct word word) {
	for (size_t i = 0; i < N_FLAGS; i++)
		if (word_is(word, flag_words[i].word)) {
			quirks->flags |= (unsigned)flag_words[i].flag;
			return 1;
		}
	for (unsigned i = 0; i < N_LEVELS; i++)
		if (level_words[i] && word_is(word, level_words[i])) {
			quirks->level = 1 + i;
			return 1;
		}
	for (size_t i = 0; i < N_NUMBERS; i++)
		if (word_number(word, number_words[i].word, number_words[i].max,
			    number_field(quirks, number_words[i].field)))
			return 1;
	uint32_t interface;
	if (!word_number(word, "hide-interface=", MAX_INTERFACE, &interface))
		return 0;
	quirks->hidden_interfaces |= UINT32_C(1) << interface;
	return 1;
}

void quirk_parse(const char *words, struct quirks *ret_quirks) {
	struct quirks *quirks = ret_quirks;
	*quirks = (struct quirks){ 0 };
	static const char blanks[] = " \t\n,";
	for (const char *p = words ? words : ""; *(p += strspn(p, blanks));) {
		struct word word = { .text = p, .len = strcspn(p, blanks) };
		if (!take_word(quirks, word) && !quirks->unknown[0])
			(void)snprintf(quirks->unknown, sizeof(quirks->unknown), "%.*s",
				(int)(word.len < 31 ? word.len : 31), word.text);
		p += word.len;
	}
}

static void apply_level(unsigned level, struct ccid_interface *i) {
	static const uint32_t bits[] = {
		[CCID_LEVEL_TPDU] = CCID_FEATURE_TPDU,
		[CCID_LEVEL_SHORT] = CCID_FEATURE_SHORT_APDU,
		[CCID_LEVEL_EXTENDED] = CCID_FEATURE_EXTENDED_APDU,
	};
	i->level = (enum ccid_level)(level - 1);
	i->features &= ~(
		uint32_t)(CCID_FEATURE_TPDU | CCID_FEATURE_SHORT_APDU | CCID_FEATURE_EXTENDED_APDU);
	i->features |= bits[i->level];
}

static void apply(const struct quirks *quirks, struct ccid_interface *i) {
	if (quirks->level)
		apply_level(quirks->level, i);
	if (quirks->ifsd && i->max_ifsd > quirks->ifsd)
		i->max_ifsd = quirks->ifsd < 32 ? 32 : (uint16_t)quirks->ifsd;
	if (quirks->max_rate && i->max_rate > quirks->max_rate)
		i->max_rate = quirks->max_rate;
	if (quirks->slots && i->n_slots > quirks->slots) {
		i->n_slots = (uint8_t)quirks->slots;
		i->n_busy = 1;
	}
	if (quirk_has(quirks, QUIRK_NO_PINPAD))
		i->pin_support = 0;
}

void quirk_apply(const struct quirks *quirks, struct ccid_desc *desc) {
	unsigned kept = 0;
	desc->n_slots = 0;
	for (unsigned n = 0; n < desc->n_interfaces; n++) {
		struct ccid_interface *i = &desc->interfaces[n];
		if (i->number <= MAX_INTERFACE && quirks->hidden_interfaces >> i->number & 1)
			continue;
		apply(quirks, i);
		desc->interfaces[kept] = *i;
		desc->n_slots += desc->interfaces[kept++].n_slots;
	}
	desc->n_interfaces = kept;
}

static void add(char *buf, size_t size, const char *word) {
	size_t len = strlen(buf);
	(void)snprintf(buf + len, size - len, "%s%s", len ? " " : "", word);
}

size_t quirk_describe(const struct quirks *quirks, char *buf, size_t size) {
	char word[32];
	buf[0] = '\0';
	for (size_t i = 0; i < N_FLAGS; i++)
		if (quirk_has(quirks, flag_words[i].flag))
			add(buf, size, flag_words[i].word);
	if (quirks->level)
		add(buf, size, level_words[quirks->level - 1]);
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint32_t n = *(const uint32_t *)(const void *)((const char *)quirks +
			number_words[i].field);
		(void)snprintf(word, sizeof(word), "%s%u", number_words[i].word, n);
		if (n)
			add(buf, size, word);
	}
	for (unsigned i = 0; i <= MAX_INTERFACE; i++)
		if (quirks->hidden_interfaces >> i & 1) {
			(void)snprintf(word, sizeof(word), "hide-interface=%u", i);
			add(buf, size, word);
		}
	return strlen(buf);
}
