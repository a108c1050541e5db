/* SPDX-License-Identifier: MIT */
/* The checklist (lines.def): what a number stands for. */
#pragma once

#include <stdbool.h>

enum { LINES_MAX = 230, LINES_MAX_DEFECT = 24 };

/* Line `number` of the checklist, or of the list of defects that are not to be copied. */
struct line {
	unsigned number;
	bool defect;
};

/* "M" must hold, "S" should, "N" is wanted where pcsc-lite does otherwise; "C" a defect of pcsc-lite; "?" none. */
const char *line_class(const struct line *line);
const char *line_text(const struct line *line);
/* The file of a test beside these that names it; NULL where it is one of these. */
const char *line_elsewhere(const struct line *line);
/* Why it is not tested yet; NULL where it is to be tested. */
const char *line_later(const struct line *line);
