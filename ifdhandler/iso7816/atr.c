/* SPDX-License-Identifier: MIT */
/*
 * Answer-to-Reset.
 *
 * The chain of interface bytes is walked once, level by level. What a byte means depends on its
 * level (1 and 2: global, or for T=0) and from level 3 on only on the T of the TD byte before it,
 * so that bytes of T=15 or of another protocol are never taken for those of T=1. The first byte of
 * a kind counts.
 *
 * Values that the standard reserves are replaced by usable ones here, once; the bytes themselves
 * stay as they came.
 */
#include "ifdhandler/iso7816/atr.h"

#include <errno.h>
#include <string.h>

#include "wire/bytes.h"

enum {
	TS_DIRECT = 0x3b,
	TS_INVERSE = 0x3f,
	T_GLOBAL = 15, /* no protocol: global interface bytes follow (ISO/IEC 7816-3 8.2.3) */
	FD = 372,
	DEFAULT_WI = 10,   /* ISO/IEC 7816-3 10.2 */
	DEFAULT_IFSC = 32, /* 11.4.2 */
	MAX_IFSC = 254,
	DEFAULT_BWI = 4, /* 11.4.3 */
	MAX_BWI = 9,
	DEFAULT_CWI = 13,
	NO_GUARD = 255, /* TC1: 12 etu at T=0, 11 etu at T=1 (8.3) */
	/* atr_t0_ms never says less: as other drivers. */
	MIN_MS = 3000,
	/* What atr_t1_ms leaves to reader and bus: as other drivers. */
	READER_MS = 1000,
};

/* ISO/IEC 7816-3 table 7. */
static const uint16_t fi_table[16] = { 372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024,
	1536, 2048, 0, 0 };
/* ISO/IEC 7816-3 table 8. */
static const uint8_t di_table[16] = { 0, 1, 2, 4, 8, 16, 32, 64, 12, 20 };

/* Cards that need more time than their ATR says. */
static const struct patience {
	const char *why;
	uint8_t bwi, cwi;
	uint8_t len;
	uint8_t bytes[ATR_MAX_BYTES];
} patience_table[] = {
	{ "OpenPGP card 1.x and 2.0: on-board key generation", 7, 5, 20,
		{ 0x3b, 0xfa, 0x13, 0x00, 0xff, 0x81, 0x31, 0x80, 0x45, 0x00, 0x31, 0xc1, 0x73,
			0xc0, 0x01, 0x00, 0x00, 0x90, 0x00, 0xb1 } },
};

/* ---- interface bytes ---- */

/* One level: the bytes that its Y announces. */
struct level {
	unsigned i; /* 1 … */
	int t;      /* T of the TD before, -1 at level 1 */
	int has_ta, has_tb, has_tc;
	uint8_t ta, tb, tc;
};

/* The first TA, TB, TC for T=1 and the first TA for T=15 have been seen. */
struct seen {
	int ifsc, waiting, edc, class;
};

static void take_level_1(const struct level *level, struct atr *atr) {
	if (level->has_ta) {
		atr->has_ta1 = 1;
		atr->ta1 = level->ta;
	}
	if (level->has_tc)
		atr->extra_guard = level->tc;
}

static void take_level_2(const struct level *level, struct atr *atr) {
	if (level->has_ta) {
		atr->specific = 1;
		atr->specific_t = level->ta & 0x0f;
		atr->implicit = level->ta >> 4 & 1;
		atr->unchangeable = level->ta >> 7;
	}
	if (level->has_tc && level->tc)
		atr->wi = level->tc;
}

static void take_t1(const struct level *level, struct seen *seen, struct atr *atr) {
	if (level->has_ta && !seen->ifsc) {
		seen->ifsc = 1;
		if (level->ta)
			atr->ifsc = level->ta > MAX_IFSC ? MAX_IFSC : level->ta;
	}
	if (level->has_tb && !seen->waiting) {
		seen->waiting = 1;
		atr->bwi = level->tb >> 4 > MAX_BWI ? MAX_BWI : level->tb >> 4;
		atr->cwi = level->tb & 0x0f;
	}
	if (level->has_tc && !seen->edc) {
		seen->edc = 1;
		atr->crc = level->tc & 1;
	}
}

static void take_global(const struct level *level, struct seen *seen, struct atr *atr) {
	if (!level->has_ta || seen->class)
		return;
	seen->class = 1;
	atr->clock_stop = level->ta >> 6;
	if (level->ta & 0x3f)
		atr->classes = level->ta & 0x3f;
}

static void take_level(const struct level *level, struct seen *seen, struct atr *atr) {
	if (level->i == 1)
		take_level_1(level, atr);
	else if (level->i == 2)
		take_level_2(level, atr);
	else if (level->t == 1)
		take_t1(level, seen, atr);
	else if (level->t == T_GLOBAL)
		take_global(level, seen, atr);
}

/* Walks TA1 … to the last TD. *ret_protocols: bit T for each TD, T=15 included. */
static int take_interface(
	struct bytes_reader *r, uint8_t y, struct atr *atr, uint16_t *ret_protocols) {
	struct seen seen = { 0 };
	struct level level = { .t = -1 };
	uint16_t protocols = 0;
	for (int more = 1; more;) {
		if (++level.i > ATR_MAX_LEVELS)
			return -EBADMSG;
		level.has_ta = y & 0x10;
		level.has_tb = y & 0x20;
		level.has_tc = y & 0x40;
		more = y & 0x80;
		level.ta = level.has_ta ? bytes_get_u8(r) : 0;
		level.tb = level.has_tb ? bytes_get_u8(r) : 0;
		level.tc = level.has_tc ? bytes_get_u8(r) : 0;
		take_level(&level, &seen, atr);
		if (!more)
			break;
		uint8_t td = bytes_get_u8(r);
		level.t = td & 0x0f;
		y = td & 0xf0;
		if (level.i == 1)
			atr->first_t = td & 0x0f;
		protocols |= (uint16_t)(1u << (td & 0x0f));
	}
	*ret_protocols = protocols ? protocols : 1;
	return r->failed ? -EBADMSG : 0;
}

/* The check byte is the XOR of all from T0 on (8.2.5), and is left out where only T=0 is named. */
static int take_tck(struct bytes_reader *r, uint16_t protocols, struct atr *atr) {
	if (protocols == 1) {
		atr->tck = ATR_TCK_NONE;
		return 0;
	}
	uint8_t sum = bytes_get_u8(r);
	if (r->failed)
		return -EBADMSG;
	for (const uint8_t *p = atr->bytes + 1; p < r->pos - 1; p++)
		sum ^= *p;
	atr->tck = sum ? ATR_TCK_WRONG : ATR_TCK_RIGHT;
	return 0;
}

static void be_patient(struct atr *atr) {
	for (size_t i = 0; i < sizeof(patience_table) / sizeof(patience_table[0]); i++) {
		const struct patience *p = &patience_table[i];
		if (atr->len != p->len || memcmp(atr->bytes, p->bytes, p->len) != 0)
			continue;
		atr->bwi = p->bwi;
		atr->cwi = p->cwi;
	}
}

int atr_parse(const uint8_t *bytes, size_t len, struct atr *ret_atr) {
	if (len < 2 || len > ATR_MAX_BYTES || (bytes[0] != TS_DIRECT && bytes[0] != TS_INVERSE))
		return -EBADMSG;
	struct atr atr = {
		.len = (uint8_t)len,
		.inverse = bytes[0] == TS_INVERSE,
		.ta1 = ATR_DEFAULT_SPEED,
		.wi = DEFAULT_WI,
		.ifsc = DEFAULT_IFSC,
		.bwi = DEFAULT_BWI,
		.cwi = DEFAULT_CWI,
		.classes = 1,
	};
	memcpy(atr.bytes, bytes, len);
	struct bytes_reader r = bytes_reader(atr.bytes + 2, len - 2);
	uint16_t protocols = 0;
	int result = take_interface(&r, bytes[1] & 0xf0, &atr, &protocols);
	if (result < 0)
		return result;
	atr.offered = protocols & (uint16_t) ~(1u << T_GLOBAL);
	atr.n_historical = bytes[1] & 0x0f;
	atr.historical = (uint8_t)(r.pos - atr.bytes);
	if (!bytes_take(&r, atr.n_historical))
		return -EBADMSG;
	result = take_tck(&r, protocols, &atr);
	if (result < 0)
		return result;
	be_patient(&atr);
	*ret_atr = atr;
	return 0;
}

uint32_t atr_protocols(const struct atr *atr) {
	if (atr->specific)
		return (1u << atr->specific_t) & (ATR_T0 | ATR_T1);
	return atr->first_t <= 1 ? atr->offered & (ATR_T0 | ATR_T1) : 0;
}

/* ---- speed and time ---- */

unsigned atr_fi(uint8_t speed) {
	return fi_table[speed >> 4];
}

unsigned atr_di(uint8_t speed) {
	return di_table[speed & 0x0f];
}

uint32_t atr_rate(uint8_t speed, uint32_t clock_khz) {
	uint64_t f = atr_fi(speed), d = atr_di(speed);
	if (!f || !d) {
		f = FD;
		d = 1;
	}
	uint64_t rate = (uint64_t)clock_khz * 1000 * d / f;
	return rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate;
}

/*
 * Times are kept as fractions: one unit is 1 / (D × clock) milliseconds, so that one etu is F
 * units. The longest, 260 work waiting times of WI = 255 at F = 2048 and D = 64, is 8.4e12 units.
 */
struct units {
	uint64_t f, d;
	uint64_t per_ms;
};

/* Are speed and clock known? */
static int units_of(uint8_t speed, uint32_t clock_khz, struct units *ret_units) {
	uint64_t f = atr_fi(speed), d = atr_di(speed);
	*ret_units = (struct units){ .f = f, .d = d, .per_ms = d * clock_khz };
	return ret_units->per_ms && f;
}

/* To the nearest millisecond. */
static uint32_t to_ms(const struct units *u, uint64_t units) {
	uint64_t ms = (units + u->per_ms / 2) / u->per_ms;
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* From character to character towards the card, in units. */
static uint64_t guard_time(const struct atr *atr, const struct units *u, unsigned t) {
	if (atr->extra_guard == NO_GUARD)
		return (t == 1 ? 11 : 12) * u->f;
	return (12u + atr->extra_guard) * u->f;
}

static uint64_t block_waiting_time(const struct atr *atr, const struct units *u) {
	return 11 * u->f + ((uint64_t)960 * FD << atr->bwi) * u->d;
}

uint32_t atr_t0_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz) {
	struct units u;
	if (!units_of(speed, clock_khz, &u))
		return ATR_UNKNOWN_MS;
	uint64_t egt = guard_time(atr, &u, 0);
	uint64_t wwt = (uint64_t)960 * atr->wi * u.f * u.d;
	/* Header and data to the card and some procedure bytes, or the header and data from it. */
	uint32_t out = to_ms(&u, 261 * egt + 6 * wwt);
	uint32_t in = to_ms(&u, 5 * egt + 260 * wwt);
	uint32_t ms = in > out ? in : out;
	return ms < MIN_MS ? MIN_MS : ms;
}

uint32_t atr_t1_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz, unsigned n_chars) {
	struct units u;
	if (!units_of(speed, clock_khz, &u))
		return ATR_UNKNOWN_MS;
	if (n_chars > ATR_T1_WHOLE_BLOCK)
		n_chars = ATR_T1_WHOLE_BLOCK;
	uint64_t cwt = (11 + (1ull << atr->cwi)) * u.f;
	uint64_t units = n_chars * (guard_time(atr, &u, 1) + cwt) + block_waiting_time(atr, &u);
	return to_ms(&u, units + READER_MS * u.per_ms);
}

uint32_t atr_bwt_ms(const struct atr *atr, uint8_t speed, uint32_t clock_khz) {
	struct units u;
	if (!units_of(speed, clock_khz, &u))
		return ATR_UNKNOWN_MS;
	return to_ms(&u, block_waiting_time(atr, &u) + u.per_ms / 2);
}
