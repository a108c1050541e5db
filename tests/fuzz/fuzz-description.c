/* SPDX-License-Identifier: MIT */
/* Any bytes as a description: what is accepted can be written and read again, and is the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/description.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static char text[2 * DESCRIPTION_MAX];
	struct description d, again;
	if (description_parse((const char *)data, size, &d) < 0)
		return 0;
	assert((d.n_readers || d.ignored) && d.n_readers <= DESCRIPTION_MAX_READERS);
	int n = description_format(&d, text, sizeof(text));
	/* Long values are cut to a line's room and keys are added: only then may it differ. */
	if (n > 0 && size < 4096) {
		assert(description_parse(text, (size_t)n, &again) == 0);
		assert(again.n_readers == d.n_readers && again.seq == d.seq);
		for (size_t i = 0; i < d.n_readers; i++)
			assert(strcmp(again.readers[i].name, d.readers[i].name) == 0);
		description_done(&again);
	}
	description_done(&d);
	return 0;
}
