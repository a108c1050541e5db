/* SPDX-License-Identifier: MIT */
/* Any bytes as an ATR: what is accepted keeps to the ranges that atr.h promises, and times are
 * times. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/iso7816/atr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

static void check_times(const struct atr *atr) {
	static const uint32_t clocks[] = { 0, 1, 1000, 4000, 20000, UINT32_MAX };
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		check(atr_t0_ms(atr, atr->ta1, clocks[i]) >= 3000);
		uint32_t part = atr_t1_ms(atr, atr->ta1, clocks[i], 4);
		uint32_t whole = atr_t1_ms(atr, atr->ta1, clocks[i], ATR_T1_WHOLE_BLOCK);
		check(part >= 1000 && part <= whole);
		check(atr_bwt_ms(atr, atr->ta1, clocks[i]) <= whole);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct atr atr;
	memset(&atr, 0x5a, sizeof(atr));
	struct atr before = atr;
	if (atr_parse(data, size, &atr) < 0) {
		check(memcmp(&atr, &before, sizeof(atr)) == 0);
		return 0;
	}
	check(size >= 2 && size <= ATR_MAX_BYTES && atr.len == size);
	check(memcmp(atr.bytes, data, size) == 0);
	check(atr.historical + atr.n_historical + (atr.tck != ATR_TCK_NONE) <= atr.len);
	check(atr.n_historical == (data[1] & 0x0f) && atr.inverse == (data[0] == 0x3f));
	check(atr.has_ta1 == (data[1] >> 4 & 1));
	check(atr.ifsc >= 1 && atr.ifsc <= 254 && atr.bwi <= 9 && atr.cwi <= 15 && atr.wi >= 1);
	check(atr.crc <= 1 && atr.clock_stop <= 3 && atr.classes >= 1 && atr.classes <= 0x3f);
	check(atr.first_t == 15 || (atr.offered >> atr.first_t & 1));
	uint32_t protocols = atr_protocols(&atr);
	check((protocols & ~(uint32_t)(ATR_T0 | ATR_T1)) == 0);
	check(!atr.specific || (protocols & (protocols - 1)) == 0);
	check(protocols || atr.specific || atr.first_t > 1);
	check_times(&atr);
	return 0;
}
