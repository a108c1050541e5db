/* SPDX-License-Identifier: MIT */
/* The files of the builtin card, as a table: which there are, what is in them, who may do what. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	BUILTIN_N_FILES = 15,
	/* The scratch file. Chosen: needs extended length to be read or written at once. */
	BUILTIN_SCRATCH_SIZE = 1024,
};

/* Who may read or update; the numbers are those of MyEID's security attributes. */
enum builtin_access {
	BUILTIN_ALWAYS = 0,
	BUILTIN_PIN = 1, /* after VERIFY of reference 1 */
	BUILTIN_NEVER = 15,
};

struct builtin_file {
	uint16_t id;
	uint8_t parent; /* index of the DF that it is in; the MF (index 0) is in itself */
	uint8_t sfi;    /* short identifier, 0: none */
	uint8_t is_df;
	enum builtin_access read;
	enum builtin_access update;
	const uint8_t *data; /* NULL for a DF and for the scratch file */
	size_t size;         /* 0 for a DF */
	const uint8_t *aid;  /* DF name, or NULL */
	size_t aid_len;
};

extern const struct builtin_file builtin_files[BUILTIN_N_FILES];
