/* SPDX-License-Identifier: MIT */
#include "tests/conformance/lines.h"

#include <stddef.h>

struct entry {
	const char *class, *text, *later, *elsewhere;
};

static const struct entry entries[LINES_MAX + 1] = {
#define LINE(number, class, text)            [number] = { #class, text, NULL, NULL },
#define LATER(number, class, text, why)      [number] = { #class, text, why, NULL },
#define ELSEWHERE(number, class, text, file) [number] = { #class, text, NULL, file },
#define DEFECT(number, text)
#define DEFECT_LATER(number, text, why)
#include "tests/conformance/lines.def"
#undef LINE
#undef LATER
#undef ELSEWHERE
#undef DEFECT
#undef DEFECT_LATER
};

static const struct entry defects[LINES_MAX_DEFECT + 1] = {
#define LINE(number, class, text)
#define LATER(number, class, text, why)
#define ELSEWHERE(number, class, text, file)
#define DEFECT(number, text)            [number] = { "C", text, NULL, NULL },
#define DEFECT_LATER(number, text, why) [number] = { "C", text, why, NULL },
#include "tests/conformance/lines.def"
};

static const struct entry *find(const struct line *line) {
	static const struct entry none = { "?", "not in the checklist", NULL, NULL };
	const struct entry *entry = &none;
	if (line->defect && line->number <= LINES_MAX_DEFECT)
		entry = &defects[line->number];
	else if (!line->defect && line->number <= LINES_MAX)
		entry = &entries[line->number];
	return entry->text ? entry : &none;
}

const char *line_class(const struct line *line) {
	return find(line)->class;
}

const char *line_text(const struct line *line) {
	return find(line)->text;
}

const char *line_later(const struct line *line) {
	return find(line)->later;
}

const char *line_elsewhere(const struct line *line) {
	return find(line)->elsewhere;
}
