/* SPDX-License-Identifier: MIT */
/*
 * A context is a number in this process and nothing outside it: no server is asked, no file is
 * touched, so establishing one cannot fail for want of a service.
 */
#include "client/handle.h"

LONG SCardEstablishContext(
	DWORD dwScope, LPCVOID pvReserved1, LPCVOID pvReserved2, LPSCARDCONTEXT phContext) {
	(void)pvReserved1;
	(void)pvReserved2;
	if (!phContext)
		return SCARD_E_INVALID_PARAMETER;
	*phContext = 0;
	if (dwScope > SCARD_SCOPE_GLOBAL)
		return SCARD_E_INVALID_VALUE;
	struct context *context = handle_context_new();
	if (!context)
		return SCARD_E_NO_MEMORY;
	*phContext = context->id;
	return SCARD_S_SUCCESS;
}

LONG SCardReleaseContext(SCARDCONTEXT hContext) {
	return handle_context_release(hContext) ? SCARD_S_SUCCESS : SCARD_E_INVALID_HANDLE;
}

LONG SCardIsValidContext(SCARDCONTEXT hContext) {
	struct context *context = handle_context_enter(hContext);
	if (!context)
		return SCARD_E_INVALID_HANDLE;
	handle_context_leave(context);
	return SCARD_S_SUCCESS;
}

LONG SCardCancel(SCARDCONTEXT hContext) {
	return handle_cancel(hContext) ? SCARD_S_SUCCESS : SCARD_E_INVALID_HANDLE;
}
