/* SPDX-License-Identifier: MIT */
/* Who may have claimed the reader: programs known to do so that are running now. */
#pragma once

#include <stddef.h>

/* Writes a phrase for the journal ("perhaps pcscd (pid 712)") into
 * `buf`, cut at `size` (at least 1). What cannot be read in /proc is passed over. */
void claimant_describe(char *buf, size_t size);
