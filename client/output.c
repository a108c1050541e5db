/* SPDX-License-Identifier: MIT */
/*
 * The one implementation of the API's three ways to get a value out. Blocks come from malloc: there
 * are programs that give them to free and not to SCardFreeMemory. A block is handed out on success
 * only.
 */
#include "client/output.h"

#include <stdlib.h>
#include <string.h>

static LONG put_allocated(const void *data, size_t n, void *buffer) {
	void *block = malloc(n ? n : 1);
	if (!block)
		return SCARD_E_NO_MEMORY;
	if (n)
		memcpy(block, data, n);
	memcpy(buffer, &block, sizeof(block)); /* no pointer type is known here */
	return SCARD_S_SUCCESS;
}

LONG output_put(const void *data, size_t n, void *buffer, DWORD *length, bool cut) {
	if (!length)
		return SCARD_S_SUCCESS;
	DWORD room = *length;
	*length = n;
	if (room == SCARD_AUTOALLOCATE)
		return buffer ? put_allocated(data, n, buffer) : SCARD_E_INVALID_PARAMETER;
	if (!buffer)
		return SCARD_S_SUCCESS;
	bool fits = n <= room;
	if (n && (fits || cut))
		memcpy(buffer, data, fits ? n : room);
	return fits ? SCARD_S_SUCCESS : SCARD_E_INSUFFICIENT_BUFFER;
}
