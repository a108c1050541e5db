/* SPDX-License-Identifier: MIT */
/*
 * Listing reads descriptions and asks nobody: a reader is listed from plug to unplug, whether its
 * handler runs, hangs or has died.
 */
#include <stdlib.h>
#include <string.h>

#include "client/handle.h"
#include "client/output.h"

/* All names, each with its NUL, and one more NUL. NULL without memory. */
static char *multi_string(const struct readers *readers, size_t *ret_len) {
	size_t len = 1;
	for (size_t i = 0; i < readers->n; i++)
		len += strlen(readers->items[i].name) + 1;
	char *text = malloc(len), *at = text;
	if (!text)
		return NULL;
	for (size_t i = 0; i < readers->n; i++)
		at = stpcpy(at, readers->items[i].name) + 1;
	*at = 0;
	*ret_len = len;
	return text;
}

static LONG list(char *buffer, DWORD *length) {
	size_t len;
	struct readers *readers = readers_get();
	if (!readers)
		return SCARD_E_NO_MEMORY;
	if (readers->n == 0) {
		readers_unref(readers);
		*length = 1;
		return SCARD_E_NO_READERS_AVAILABLE;
	}
	char *text = multi_string(readers, &len);
	readers_unref(readers);
	if (!text)
		return SCARD_E_NO_MEMORY;
	LONG rv = output_put(text, len, buffer, length, false);
	free(text);
	return rv;
}

LONG SCardListReaders(
	SCARDCONTEXT hContext, LPCSTR mszGroups, LPSTR mszReaders, LPDWORD pcchReaders) {
	(void)mszGroups;
	if (!pcchReaders)
		return SCARD_E_INVALID_PARAMETER;
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = list(mszReaders, pcchReaders);
	handle_context_leave(context);
	return rv;
}

LONG SCardListReaderGroups(SCARDCONTEXT hContext, LPSTR mszGroups, LPDWORD pcchGroups) {
	static const char groups[] = "SCard$DefaultReaders\0"; /* and the literal's own NUL */
	if (!pcchGroups)
		return SCARD_E_INVALID_PARAMETER;
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	LONG rv = output_put(groups, sizeof(groups), mszGroups, pcchGroups, false);
	handle_context_leave(context);
	return rv;
}

LONG SCardFreeMemory(SCARDCONTEXT hContext, LPCVOID pvMem) {
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	handle_context_leave(context);
	free((void *)(uintptr_t)pvMem);
	return SCARD_S_SUCCESS;
}
