/* SPDX-License-Identifier: MIT */
/*
 * The variables are pcscd's, and mean the same: parts are compared by case with the name that has no
 * number yet, and empty parts mean nothing. Each interface is a reader of its own to programs, so each
 * is left out or kept by itself.
 */
#include "ifdhandler/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IGNORE "PCSCLITE_FILTER_IGNORE_READER_NAMES"

struct filter filter_environment(void) {
	return (struct filter){
		.ignore = getenv("PCSCLITE_FILTER_IGNORE_READER_NAMES"),
		.extend = getenv("PCSCLITE_FILTER_EXTEND_READER_NAMES"),
	};
}

/* The first part of `list` that `name` has, its length in *ret_len; or NULL. */
static const char *part_in(const char *list, const char *name, size_t *ret_len) {
	for (;; list++) {
		size_t len = strcspn(list, ":");
		if (len && memmem(name, strlen(name), list, len)) {
			*ret_len = len;
			return list;
		}
		list += len;
		if (!*list)
			return NULL;
	}
}

/* Adds a sentence to the reasons, as far as there is room. The part is the administrator's own text. */
static void reason_add(struct identity *identity, const char *name, const char *part, size_t len) {
	size_t at = strlen(identity->ignored);
	snprintf(identity->ignored + at, sizeof(identity->ignored) - at,
		"%s%s (\"%.*s\" in " IGNORE ")", at ? ", " : "", name, (int)len, part);
	for (char *p = identity->ignored + at; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '.';
}

void filter_apply(const struct filter *filter, struct identity *identity) {
	for (unsigned i = 0; i < identity->n_interfaces; i++) {
		struct identity_interface *interface = &identity->interfaces[i];
		size_t len = 0;
		const char *part =
			filter->ignore ? part_in(filter->ignore, interface->base, &len) : NULL;
		if (part) {
			interface->ignored = 1;
			reason_add(identity, interface->base, part, len);
		} else if (filter->extend) {
			name_extend(interface->base, filter->extend);
		}
	}
}
