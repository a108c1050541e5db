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

static const char *const flag_words[] = {
	[QUIRK_VENDOR_CLASS] = "vendor-class",
	[QUIRK_NO_PINPAD] = "no-pinpad",
	[QUIRK_SHORT_CHAINS] = "short-chains",
	[QUIRK_AUTO_IFSD] = "auto-ifsd",
	[QUIRK_APDU_MODE] = "apdu-mode",
	[QUIRK_NO_PPS] = "no-pps",
	[QUIRK_NO_IFSD] = "no-ifsd",
	[QUIRK_NO_FULL_PACKETS] = "no-full-packets",
	[QUIRK_SLOW_SLOTS] = "slow-slots",
	[QUIRK_RESET_PARAMETERS] = "reset-parameters",
	[QUIRK_POWER_OFF_FIRST] = "power-off-first",
	[QUIRK_ABSENT_IF_MUTE] = "absent-if-mute",
	[QUIRK_EMV_ESCAPE] = "emv-escape",
	[QUIRK_ASCENDING] = "ascending",
	[QUIRK_STRICT_ATR] = "strict-atr",
	[QUIRK_POLL] = "poll",
	[QUIRK_MIRROR_PRESENCE] = "mirror-presence",
	[QUIRK_PARALLEL] = "parallel",
	[QUIRK_ABORT] = "abort",
	[QUIRK_RESET] = "reset",
	[QUIRK_ESCAPE] = "escape",
	[QUIRK_ESCAPE_INTERFACE] = "escape-interface",
	[QUIRK_GEMALTO] = "gemalto",
	[QUIRK_KOBIL_INFO] = "kobil-info",
	[QUIRK_MCT] = "mct",
	[QUIRK_PACE] = "pace",
	[QUIRK_PIN_STRINGS] = "pin-strings",
	[QUIRK_PIN_ONE_MESSAGE] = "pin-one-message",
	[QUIRK_PIN_ALL_INDEXES] = "pin-all-indexes",
	[QUIRK_PIN_NO_MESSAGE] = "pin-no-message",
	[QUIRK_PIN_SWAP_DIGITS] = "pin-swap-digits",
	[QUIRK_PIN_UNPADDED_ESCAPE] = "pin-unpadded-escape",
	[QUIRK_PIN_ZERO_INDEXES] = "pin-zero-indexes",
	[QUIRK_PIN_THREE_MESSAGES] = "pin-three-messages",
	[QUIRK_PIN_DEFAULT_MESSAGES] = "pin-default-messages",
	[QUIRK_PIN_HIDE_RETRIES] = "pin-hide-retries",
};

/* Words with a number, with the greatest that makes sense (times, chosen: ten minutes). */
static const struct {
	const char *word;
	size_t field;
	unsigned base;
	uint32_t max;
} number_words[] = {
	{ "ifsd=", offsetof(struct quirks, ifsd), 10, 254 },
	{ "max-rate=", offsetof(struct quirks, max_rate), 10, UINT32_MAX },
	{ "open-delay=", offsetof(struct quirks, open_delay_ms), 10, 60000 },
	{ "base-timeout=", offsetof(struct quirks, base_timeout_ms), 10, 600000 },
	{ "extra-timeout=", offsetof(struct quirks, extra_timeout_ms), 10, 600000 },
	{ "pin-delay=", offsetof(struct quirks, pin_delay_ms), 10, 10000 },
	{ "pin-min=", offsetof(struct quirks, pin_min), 10, UINT8_MAX },
	{ "pin-max=", offsetof(struct quirks, pin_max), 10, UINT8_MAX },
	{ "pin-validation=", offsetof(struct quirks, pin_validation), 10, 7 },
	{ "min-firmware=", offsetof(struct quirks, min_firmware), 16, UINT16_MAX },
	{ "slots=", offsetof(struct quirks, slots), 10, CCID_MAX_SLOTS },
};

static const char *const level_words[] = {
	[CCID_LEVEL_TPDU] = "level=tpdu",
	[CCID_LEVEL_SHORT] = "level=short",
	[CCID_LEVEL_EXTENDED] = "level=extended",
};

_Static_assert(sizeof(flag_words) / sizeof(flag_words[0]) == QUIRK_N_FLAGS, "a word for each flag");
_Static_assert(QUIRK_N_FLAGS <= 64, "bits of struct quirks.flags");

enum {
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

/* `text` without the = at its end. */
static int word_names(struct word word, const char *text) {
	return strlen(text) == word.len + 1 && memcmp(word.text, text, word.len) == 0;
}

/* The value of a digit, at least 16 if `c` is none. */
static unsigned digit(char c) {
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
	return p ? (unsigned)(p - digits) : 16;
}

/* `prefix` and then a number of 0 … max. */
static int word_number(
	struct word word, const char *prefix, unsigned base, uint32_t max, uint32_t *ret_number) {
	size_t skip = strlen(prefix);
	if (word.len <= skip || word.len > skip + 10 || memcmp(word.text, prefix, skip) != 0)
		return 0;
	uint64_t n = 0;
	for (size_t i = skip; i < word.len; i++) {
		if (digit(word.text[i]) >= base)
			return 0;
		n = n * base + digit(word.text[i]);
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
	for (unsigned i = 0; i < QUIRK_N_FLAGS; i++)
		if (word_is(word, flag_words[i])) {
			quirks->flags |= UINT64_C(1) << i;
			return 1;
		}
	for (unsigned i = 0; i < N_LEVELS; i++)
		if (level_words[i] && word_is(word, level_words[i])) {
			quirks->level = 1 + i;
			return 1;
		}
	for (size_t i = 0; i < N_NUMBERS; i++)
		if (word_number(word, number_words[i].word, number_words[i].base,
			    number_words[i].max, number_field(quirks, number_words[i].field)))
			return 1;
	uint32_t interface;
	if (!word_number(word, "hide-interface=", 10, MAX_INTERFACE, &interface))
		return 0;
	quirks->hidden_interfaces |= UINT32_C(1) << interface;
	return 1;
}

/* A word that is taken back: its name, without a number. */
static int drop_word(struct quirks *quirks, struct word word) {
	static const struct quirks none;
	if (word_is(word, "all")) {
		*quirks = none;
		return 1;
	}
	for (unsigned i = 0; i < QUIRK_N_FLAGS; i++)
		if (word_is(word, flag_words[i])) {
			quirks->flags &= ~(UINT64_C(1) << i);
			return 1;
		}
	for (size_t i = 0; i < N_NUMBERS; i++)
		if (word_names(word, number_words[i].word)) {
			*number_field(quirks, number_words[i].field) = 0;
			return 1;
		}
	if (word_names(word, "level="))
		quirks->level = 0;
	else if (word_names(word, "hide-interface="))
		quirks->hidden_interfaces = 0;
	else
		return 0;
	return 1;
}

void quirk_parse(const char *words, struct quirks *ret_quirks) {
	struct quirks *quirks = ret_quirks;
	*quirks = (struct quirks){ 0 };
	static const char blanks[] = " \t\n,";
	for (const char *p = words ? words : ""; *(p += strspn(p, blanks));) {
		struct word word = { .text = p, .len = strcspn(p, blanks) };
		struct word rest = { .text = p + 1, .len = word.len - 1 };
		int known = *p == '-' ? drop_word(quirks, rest) : take_word(quirks, word);
		if (!known && !quirks->unknown[0])
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
	if (quirk_has(quirks, QUIRK_SHORT_CHAINS) && i->level == CCID_LEVEL_SHORT)
		apply_level(1 + CCID_LEVEL_EXTENDED, i);
	if (quirk_has(quirks, QUIRK_AUTO_IFSD))
		i->features |= CCID_FEATURE_AUTO_IFSD;
	if (quirks->ifsd)
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

size_t quirk_advice(
	const struct quirks *quirks, const struct ccid_desc *desc, char *buf, size_t size) {
	unsigned has = desc->bcd_device, wants = quirks->min_firmware;
	buf[0] = '\0';
	if (has < wants)
		(void)snprintf(buf, size,
			"firmware %x.%02x is older than %x.%02x, the first that is known to work well",
			has >> 8, has & 0xff, wants >> 8, wants & 0xff);
	return strlen(buf);
}

static void add(char *buf, size_t size, const char *word) {
	size_t len = strlen(buf);
	(void)snprintf(buf + len, size - len, "%s%s", len ? " " : "", word);
}

size_t quirk_describe(const struct quirks *quirks, char *buf, size_t size) {
	char word[32];
	buf[0] = '\0';
	for (unsigned i = 0; i < QUIRK_N_FLAGS; i++)
		if (quirk_has(quirks, (enum quirk_flag)i))
			add(buf, size, flag_words[i]);
	if (quirks->level)
		add(buf, size, level_words[quirks->level - 1]);
	for (size_t i = 0; i < N_NUMBERS; i++) {
		uint32_t n = *(const uint32_t *)(const void *)((const char *)quirks +
			number_words[i].field);
		(void)snprintf(word, sizeof(word), number_words[i].base == 16 ? "%s%x" : "%s%u",
			number_words[i].word, n);
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
