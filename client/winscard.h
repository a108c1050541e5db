/* SPDX-License-Identifier: MIT */
/*
 * The functions of the PC/SC API.
 *
 * Common to all: they return SCARD_S_SUCCESS or another code of pcsclite.h. Any thread may use any
 * context and any handle of its process. Calls on one handle are done one after the other, and so
 * are the status waits of one context; nothing else waits for anything else. A child process made
 * by fork must establish contexts of its own: inherited ones are SCARD_E_INVALID_HANDLE there.
 *
 * There is no central service that could be down: contexts always work, and a reader that is
 * unplugged, or whose handler has died, touches only the handles on that reader. A handle whose
 * handler died answers SCARD_W_RESET_CARD until SCardReconnect. A handle whose reader was unplugged
 * answers SCARD_E_INVALID_VALUE (SCardStatus: SCARD_E_READER_UNAVAILABLE), and SCardDisconnect
 * succeeds.
 *
 * Handles in general: SCARD_E_INVALID_HANDLE for one that is not of this process or was given back;
 * SCARD_W_RESET_CARD and SCARD_W_REMOVED_CARD, again and again until SCardReconnect, after somebody
 * reset the card or took it out; SCARD_E_READER_UNAVAILABLE while the reader is in trouble.
 *
 * Buffers with a length in and out: a NULL buffer asks for the length only. SCARD_AUTOALLOCATE as
 * the length makes the library allocate: the buffer is then the address of a pointer, and the block
 * is given back with SCardFreeMemory. Too small: SCARD_E_INSUFFICIENT_BUFFER with the length needed.
 */
#ifndef __winscard_h__
#define __winscard_h__

#include <pcsclite.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PCSC_API
#define PCSC_API
#endif

/*
 * Makes a context. Touches neither readers nor files.
 * dwScope: SCARD_SCOPE_USER, _TERMINAL, _SYSTEM or _GLOBAL, all the same; else SCARD_E_INVALID_VALUE.
 * pvReserved1, pvReserved2: not looked at.
 * phContext: the new context, 0 on failure. NULL is SCARD_E_INVALID_PARAMETER.
 */
PCSC_API LONG SCardEstablishContext(
	DWORD dwScope, LPCVOID pvReserved1, LPCVOID pvReserved2, LPSCARDCONTEXT phContext);

/*
 * Gives a context back, with all its handles: their cards are left as they are, but reset where the
 * handle was exclusive or in a transaction. Waits for calls that are inside the context.
 */
PCSC_API LONG SCardReleaseContext(SCARDCONTEXT hContext);

/* Is this a context of this process? Success or SCARD_E_INVALID_HANDLE. */
PCSC_API LONG SCardIsValidContext(SCARDCONTEXT hContext);

/*
 * Connects to the reader named szReader.
 * dwShareMode: SCARD_SHARE_SHARED, _EXCLUSIVE, or _DIRECT (the reader, card or not; shared with others).
 * dwPreferredProtocols: mask of SCARD_PROTOCOL_T0, _T1, _RAW; may be 0 with SCARD_SHARE_DIRECT.
 * phCard: the new handle, 0 on failure. pdwActiveProtocol: the protocol in use.
 * Waits while another handle is in a transaction. SCARD_E_UNKNOWN_READER; SCARD_E_NO_SMARTCARD;
 * SCARD_W_UNPOWERED_CARD for a card that does not answer to reset; SCARD_E_PROTO_MISMATCH;
 * SCARD_E_SHARING_VIOLATION if somebody is connected exclusively, or exclusive is wanted and
 * somebody is connected; SCARD_E_READER_UNAVAILABLE; SCARD_W_SECURITY_VIOLATION if this user may not.
 */
PCSC_API LONG SCardConnect(SCARDCONTEXT hContext, LPCSTR szReader, DWORD dwShareMode,
	DWORD dwPreferredProtocols, LPSCARDHANDLE phCard, LPDWORD pdwActiveProtocol);

/*
 * Acknowledges a reset or a change of the card, changes share mode and protocol, or resets the card.
 * dwInitialization: SCARD_LEAVE_CARD, SCARD_RESET_CARD (warm) or SCARD_UNPOWER_CARD (down and up).
 * pdwActiveProtocol: the protocol in use, 0 on failure; NULL is SCARD_E_INVALID_PARAMETER.
 * An open transaction stays open. Waits while another handle is in a transaction, and, for exclusive
 * mode, until it is the only one. SCARD_W_UNRESPONSIVE_CARD for a card that does not answer.
 */
PCSC_API LONG SCardReconnect(SCARDHANDLE hCard, DWORD dwShareMode, DWORD dwPreferredProtocols,
	DWORD dwInitialization, LPDWORD pdwActiveProtocol);

/*
 * Gives a handle back, with its transactions.
 * dwDisposition: SCARD_LEAVE_CARD; SCARD_RESET_CARD, SCARD_UNPOWER_CARD or SCARD_EJECT_CARD, which wait
 * for another handle's transaction. Anything else is SCARD_E_INVALID_VALUE, and the handle stays.
 * Never fails because of the card or the reader.
 */
PCSC_API LONG SCardDisconnect(SCARDHANDLE hCard, DWORD dwDisposition);

/*
 * Begins a transaction: until its end other handles wait. Transactions of one handle may be nested.
 * Waits without limit, first come first served, while another handle has one.
 */
PCSC_API LONG SCardBeginTransaction(SCARDHANDLE hCard);

/*
 * Ends a transaction and does dwDisposition to the card (SCARD_LEAVE_CARD, SCARD_RESET_CARD,
 * SCARD_UNPOWER_CARD, SCARD_EJECT_CARD). SCARD_E_NOT_TRANSACTED if none is open;
 * SCARD_E_SHARING_VIOLATION if another handle has one.
 */
PCSC_API LONG SCardEndTransaction(SCARDHANDLE hCard, DWORD dwDisposition);

/*
 * The state of reader and card. Any pointer may be NULL.
 * szReaderName, pcchReaderLen: the reader's name, NUL counted.
 * pdwState: mask of SCARD_ABSENT, _PRESENT, _SWALLOWED, _POWERED, _NEGOTIABLE; counter of insertions
 * and removals in bits 16-31. pdwProtocol: the active protocol. pbAtr, pcbAtrLen: answer to reset.
 * Waits while another handle is in a transaction.
 */
PCSC_API LONG SCardStatus(SCARDHANDLE hCard, LPSTR szReaderName, LPDWORD pcchReaderLen,
	LPDWORD pdwState, LPDWORD pdwProtocol, LPBYTE pbAtr, LPDWORD pcbAtrLen);

/*
 * Waits until one of cReaders readers differs from what its entry takes for true.
 * dwTimeout: milliseconds; 0 only looks; INFINITE.
 * Success: at least one entry has SCARD_STATE_CHANGED. SCARD_E_TIMEOUT and SCARD_E_CANCELLED: none, but
 * all are filled with what is. SCARD_E_UNKNOWN_READER at once if a name does not exist. A reader that
 * disappears during the wait has SCARD_STATE_UNKNOWN. The name "\\?PnP?\Notification", in any case,
 * stands for the arrival and departure of readers.
 */
PCSC_API LONG SCardGetStatusChange(
	SCARDCONTEXT hContext, DWORD dwTimeout, SCARD_READERSTATE *rgReaderStates, DWORD cReaders);

/*
 * Sends a control code to the reader's driver. No card is needed, and resets do not matter.
 * pbSendBuffer, cbSendLength: input, at most MAX_BUFFER_SIZE_EXTENDED bytes; NULL with 0.
 * pbRecvBuffer, cbRecvLength: room for the answer; lpBytesReturned (or NULL): its length.
 * SCARD_E_UNSUPPORTED_FEATURE for an unknown code; SCARD_E_SHARING_VIOLATION at once while another
 * handle is in a transaction; SCARD_E_INSUFFICIENT_BUFFER: done, but the answer does not fit.
 */
PCSC_API LONG SCardControl(SCARDHANDLE hCard, DWORD dwControlCode, LPCVOID pbSendBuffer,
	DWORD cbSendLength, LPVOID pbRecvBuffer, DWORD cbRecvLength, LPDWORD lpBytesReturned);

/*
 * Sends a command to the card, as it is, and waits for the answer, without limit.
 * pioSendPci: SCARD_PCI_T0, SCARD_PCI_T1 or SCARD_PCI_RAW; must name the active protocol or RAW.
 * pioRecvPci: gets the protocol of the answer; may be NULL. pcbRecvLength: in: room in pbRecvBuffer,
 * out: length of the answer, 0 on failure. The two buffers may be the same.
 * SCARD_E_INSUFFICIENT_BUFFER: the card has done the command, but the answer does not fit; nothing
 * is copied. SCARD_E_NOT_TRANSACTED: the exchange failed. Waits for another handle's transaction.
 */
PCSC_API LONG SCardTransmit(SCARDHANDLE hCard, const SCARD_IO_REQUEST *pioSendPci,
	LPCBYTE pbSendBuffer, DWORD cbSendLength, SCARD_IO_REQUEST *pioRecvPci, LPBYTE pbRecvBuffer,
	LPDWORD pcbRecvLength);

/* The groups of readers, as a multi-string: always the one "SCard$DefaultReaders". */
PCSC_API LONG SCardListReaderGroups(SCARDCONTEXT hContext, LPSTR mszGroups, LPDWORD pcchGroups);

/*
 * The names of all readers, as a multi-string, in order of their arrival. mszGroups is not looked at.
 * SCARD_E_NO_READERS_AVAILABLE if there is none.
 */
PCSC_API LONG SCardListReaders(
	SCARDCONTEXT hContext, LPCSTR mszGroups, LPSTR mszReaders, LPDWORD pcchReaders);

/* Frees a block that SCARD_AUTOALLOCATE gave. NULL is allowed. */
PCSC_API LONG SCardFreeMemory(SCARDCONTEXT hContext, LPCVOID pvMem);

/*
 * Ends the SCardGetStatusChange that is inside this context, with SCARD_E_CANCELLED. Success also when
 * there is none; it is not remembered then. Never waits.
 */
PCSC_API LONG SCardCancel(SCARDCONTEXT hContext);

/*
 * Reads attribute dwAttrId of the reader (reader.h). SCARD_E_UNSUPPORTED_FEATURE for one that it does
 * not have; SCARD_E_SHARING_VIOLATION at once while another handle is in a transaction. Too small
 * a buffer gets as much as fits.
 */
PCSC_API LONG SCardGetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPBYTE pbAttr, LPDWORD pcbAttrLen);

/* Writes an attribute, 1 to MAX_BUFFER_SIZE bytes. Results as for SCardGetAttrib. */
PCSC_API LONG SCardSetAttrib(SCARDHANDLE hCard, DWORD dwAttrId, LPCBYTE pbAttr, DWORD cbAttrLen);

#ifdef __cplusplus
}
#endif

#endif
