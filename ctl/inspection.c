/* SPDX-License-Identifier: MIT */
/* Lines of key=value; `slot` begins a slot and `client` a client of the slot before it. Keys that
 * we do not know are kept: a newer handler or another driver has more to say, and it is shown as
 * it is. */
#include "ctl/inspection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void section_begin(
	struct inspection *in, enum inspection_kind kind, const struct inspection_fact *facts) {
	in->sections[in->n_sections++] =
		(struct inspection_section){ .kind = kind, .facts = facts };
}

static void lines_parse(struct inspection *in) {
	struct inspection_fact *fact = in->facts;
	char *save = NULL;
	section_begin(in, INSPECTION_READER, fact);
	for (char *line = strtok_r(in->text, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');
		if (!value || fact == in->facts + INSPECTION_MAX_FACTS)
			continue;
		*value++ = 0;
		int is_slot = strcmp(line, "slot") == 0, is_client = strcmp(line, "client") == 0;
		if ((is_slot || is_client) && in->n_sections == INSPECTION_MAX_SECTIONS)
			return;
		if (is_slot || is_client)
			section_begin(in, is_slot ? INSPECTION_SLOT : INSPECTION_CLIENT, fact);
		*fact++ = (struct inspection_fact){ line, value };
		in->sections[in->n_sections - 1].n_facts++;
	}
}

int inspection_parse(const void *text, size_t len, struct inspection *ret_inspection) {
	struct inspection in = {
		.text = malloc(len + 1),
		.facts = calloc(INSPECTION_MAX_FACTS, sizeof(*in.facts)),
		.sections = calloc(INSPECTION_MAX_SECTIONS, sizeof(*in.sections)),
	};
	if (!in.text || !in.facts || !in.sections) {
		inspection_done(&in);
		return -ENOMEM;
	}
	if (len)
		memcpy(in.text, text, len);
	in.text[len] = 0;
	lines_parse(&in);
	*ret_inspection = in;
	return 0;
}

void inspection_done(struct inspection *in) {
	free(in->text);
	free(in->facts);
	free(in->sections);
	*in = (struct inspection){ 0 };
}

const char *inspection_get(const struct inspection_section *section, const char *key) {
	for (size_t i = 0; i < section->n_facts; i++)
		if (strcmp(section->facts[i].key, key) == 0)
			return section->facts[i].value;
	return NULL;
}
