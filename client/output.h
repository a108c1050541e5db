/* SPDX-License-Identifier: MIT */
/* Outputs with a length in and out: size query, SCARD_AUTOALLOCATE, or the caller's own buffer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/api.h"

/*
 * Hands `n` bytes at `data` to a caller who gave `buffer` and `length`:
 * buffer NULL: the length only. *length SCARD_AUTOALLOCATE: a malloc'ed copy, its address to where
 * `buffer` points. Else a copy into the buffer, if it fits; with `cut` as much as fits.
 * *length becomes `n` in any case. SCARD_S_SUCCESS, SCARD_E_INSUFFICIENT_BUFFER, SCARD_E_NO_MEMORY, or
 * SCARD_E_INVALID_PARAMETER for SCARD_AUTOALLOCATE without a buffer. `length` NULL: nothing to do.
 */
LONG output_put(const void *data, size_t n, void *buffer, DWORD *length, bool cut);
