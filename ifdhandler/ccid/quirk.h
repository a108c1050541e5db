/* SPDX-License-Identifier: MIT */
/* What is known to be odd about a device: the words of its IFDHANDLER_QUIRKS property, parsed once.
 * */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ccid_desc;

/* Words without a value, as bits of struct quirks.flags. */
enum quirk_flag {
	QUIRK_VENDOR_CLASS = 1 << 0,    /* vendor-class: interfaces of class FFh are CCID, too */
	QUIRK_NO_PINPAD = 1 << 1,       /* no-pinpad: bPINSupport is not true */
	QUIRK_NO_PPS = 1 << 2,          /* no-pps: the card stays at its first speed and protocol */
	QUIRK_NO_IFSD = 1 << 3,         /* no-ifsd: no block size negotiation */
	QUIRK_POWER_OFF_FIRST = 1 << 4, /* power-off-first: before each power-up */
	QUIRK_ABSENT_IF_MUTE = 1 << 5,  /* absent-if-mute: says "present" always */
	QUIRK_EMV_ESCAPE = 1 << 6,      /* emv-escape: leave EMV mode when it refuses an ATR */
	QUIRK_NO_FULL_PACKETS = 1 << 7, /* no-full-packets: cannot answer with n × 64 bytes */
	QUIRK_POLL = 1 << 8,            /* poll: its interrupt endpoint misses movements */
	QUIRK_PARALLEL = 1 << 9,        /* parallel: interfaces may work at the same time */
	QUIRK_ABORT = 1 << 10,          /* abort: takes the ABORT request */
	QUIRK_RESET = 1 << 11,          /* reset: a port reset revives it */
	QUIRK_SLOW_SLOTS = 1 << 12,     /* slow-slots: other slots than the first know few speeds */
	QUIRK_ESCAPE = 1 << 13,         /* escape: programs may send vendor commands */
};

struct quirks {
	unsigned flags;
	unsigned level;    /* level=tpdu|short|extended: 1 + enum ccid_level, 0: as announced */
	uint32_t ifsd;     /* ifsd=N: at most, bytes; 0: no limit */
	uint32_t max_rate; /* max-rate=N: at most, bit/s; 0: no limit */
	uint32_t open_delay_ms;     /* open-delay=MS: before the first command */
	uint32_t base_timeout_ms;   /* base-timeout=MS: every answer may take at least that */
	uint32_t extra_timeout_ms;  /* extra-timeout=MS: on top for the card's commands */
	uint32_t slots;             /* slots=N: per interface at most; 0: as announced */
	uint32_t hidden_interfaces; /* hide-interface=N, may be repeated: bit N */
	char unknown[32]; /* the first word that means nothing, cut; "" if there is none */
};

/* Parses words separated by blanks; NULL is like "". Words that mean nothing are left out, and the
 * first of them is kept for people to see. */
void quirk_parse(const char *words, struct quirks *ret_quirks);

static inline int quirk_has(const struct quirks *quirks, enum quirk_flag flag) {
	return (quirks->flags & (unsigned)flag) != 0;
}

/* Corrects what the descriptors say: level, block size, speed, slots, interfaces, PIN pad. */
void quirk_apply(const struct quirks *quirks, struct ccid_desc *desc);

/* Writes the words in force into `buf`, cut at `size` (at least 1), with NUL; returns the length.
 * */
size_t quirk_describe(const struct quirks *quirks, char *buf, size_t size);
