/* SPDX-License-Identifier: MIT */
/* What is known to be odd about a device: the words of its IFDHANDLER_QUIRKS property, parsed once.
 * */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ccid_desc;

/* Words without a value: numbers of bits in struct quirks.flags. */
enum quirk_flag {
	/* What the device is. */
	QUIRK_VENDOR_CLASS, /* vendor-class: interfaces of class FFh are CCID, too */
	QUIRK_NO_PINPAD,    /* no-pinpad: bPINSupport is not true */
	QUIRK_SHORT_CHAINS, /* short-chains: extended level where short APDUs are announced */
	QUIRK_AUTO_IFSD, /* auto-ifsd: negotiates the block size by itself, but does not say so */
	QUIRK_APDU_MODE, /* apdu-mode: a vendor command makes it a reader of short APDUs */

	/* Speed and blocks. */
	QUIRK_NO_PPS,          /* no-pps: the card stays at its first speed and protocol */
	QUIRK_NO_IFSD,         /* no-ifsd: no block size negotiation */
	QUIRK_NO_FULL_PACKETS, /* no-full-packets: cannot answer with n × 64 bytes */
	QUIRK_SLOW_SLOTS,      /* slow-slots: other slots than the first know few speeds */
	QUIRK_RESET_PARAMETERS, /* reset-parameters: refuses T=1 for some cards, and works with them */

	/* Power and presence. */
	QUIRK_POWER_OFF_FIRST, /* power-off-first: before each power-up */
	QUIRK_ABSENT_IF_MUTE,  /* absent-if-mute: says "present" always */
	QUIRK_EMV_ESCAPE,      /* emv-escape: leave EMV mode when it refuses an ATR */
	QUIRK_ASCENDING,       /* ascending: 1.8 V first, then what the card says it is made for */
	QUIRK_STRICT_ATR,      /* strict-atr: a card whose ATR has a wrong check byte is mute */
	QUIRK_POLL,            /* poll: its interrupt endpoint misses movements */
	QUIRK_MIRROR_PRESENCE, /* mirror-presence: interfaces without interrupt endpoint see no card */

	/* Commands and recovery. */
	QUIRK_PARALLEL, /* parallel: interfaces may work at the same time */
	QUIRK_ABORT,    /* abort: takes the ABORT request */
	QUIRK_RESET,    /* reset: a port reset revives it */

	/* Vendor commands. */
	QUIRK_ESCAPE,           /* escape: programs may send vendor commands */
	QUIRK_ESCAPE_INTERFACE, /* escape-interface: programs may switch its interface */
	QUIRK_GEMALTO,          /* gemalto: tells firmware and features by vendor commands */
	QUIRK_KOBIL_INFO,       /* kobil-info: the driver answers pseudo-APDUs about the reader */
	QUIRK_MCT,              /* mct: MCT commands */
	QUIRK_PACE,             /* pace: PACE at the reader */

	/* PIN pads. */
	QUIRK_PIN_STRINGS,         /* pin-strings: has no texts until they are loaded */
	QUIRK_PIN_ONE_MESSAGE,     /* pin-one-message: verify has one text, OK ends the entry */
	QUIRK_PIN_ALL_INDEXES,     /* pin-all-indexes: modify has three indexes in any case */
	QUIRK_PIN_NO_MESSAGE,      /* pin-no-message: verify has no text */
	QUIRK_PIN_SWAP_DIGITS,     /* pin-swap-digits: least and most digits change places */
	QUIRK_PIN_UNPADDED_ESCAPE, /* pin-unpadded-escape: a vendor command for PINs without block */
	QUIRK_PIN_ZERO_INDEXES,    /* pin-zero-indexes: modify has three indexes of 0 */
	QUIRK_PIN_THREE_MESSAGES,  /* pin-three-messages: modify has three texts */
	QUIRK_PIN_DEFAULT_MESSAGES, /* pin-default-messages: modify's texts are the reader's */
	QUIRK_PIN_HIDE_RETRIES,     /* pin-hide-retries: stop it from showing the retry counter */
	QUIRK_N_FLAGS,
};

struct quirks {
	uint64_t flags;    /* bit N: enum quirk_flag N */
	unsigned level;    /* level=tpdu|short|extended: 1 + enum ccid_level, 0: as announced */
	uint32_t ifsd;     /* ifsd=N: bytes; 0: as announced */
	uint32_t max_rate; /* max-rate=N: at most, bit/s; 0: no limit */
	uint32_t open_delay_ms;     /* open-delay=MS: before the first command */
	uint32_t base_timeout_ms;   /* base-timeout=MS: every answer may take at least that */
	uint32_t extra_timeout_ms;  /* extra-timeout=MS: on top for the card's commands */
	uint32_t pin_delay_ms;      /* pin-delay=MS: before a PIN command */
	uint32_t pin_min, pin_max;  /* pin-min=N, pin-max=N: digits, for programs; 0: not known */
	uint32_t pin_validation;    /* pin-validation=N: bEntryValidationCondition; 0: not known */
	uint32_t min_firmware;      /* min-firmware=HEX: bcdDevice of the first good one; 0: any */
	uint32_t slots;             /* slots=N: per interface at most; 0: as announced */
	uint32_t hidden_interfaces; /* hide-interface=N, may be repeated: bit N */
	char unknown[32]; /* the first word that means nothing, cut; "" if there is none */
};

/* Parses words separated by blanks; NULL is like "". "-WORD" takes a word before it away, "-all"
 * all of them; of a word that comes twice with a number the last one counts. Words that mean nothing
 * are left out, and the first of them is kept for people to see. */
void quirk_parse(const char *words, struct quirks *ret_quirks);

static inline int quirk_has(const struct quirks *quirks, enum quirk_flag flag) {
	return quirks->flags >> flag & 1;
}

/* Corrects what the descriptors say: level, block size, speed, slots, interfaces, PIN pad. */
void quirk_apply(const struct quirks *quirks, struct ccid_desc *desc);

/* What people should know about this very device, into `buf`: 0 if there is nothing. */
size_t quirk_advice(
	const struct quirks *quirks, const struct ccid_desc *desc, char *buf, size_t size);

/* Writes the words in force into `buf`, cut at `size` (at least 1), with NUL; returns the length.
 * */
size_t quirk_describe(const struct quirks *quirks, char *buf, size_t size);
