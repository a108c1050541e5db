/* SPDX-License-Identifier: MIT */
/* What the administrator's environment says about readers' names: which are left out, what is added. */
#pragma once

#include "ifdhandler/identity.h"

/* Borrowed strings, NULL where there is none. */
struct filter {
	const char *
		ignore; /* parts of names with ':' between: a reader whose name has one is left out */
	const char *extend; /* stands behind each name, before number and slot */
};

/* PCSCLITE_FILTER_IGNORE_READER_NAMES and PCSCLITE_FILTER_EXTEND_READER_NAMES of this process. */
struct filter filter_environment(void);

/* Marks the interfaces of `identity` whose names (without extension and number) are to be left out,
 * with the reason in identity->ignored, and extends the names of the others. */
void filter_apply(const struct filter *filter, struct identity *identity);
