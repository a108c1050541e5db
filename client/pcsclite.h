/* SPDX-License-Identifier: MIT */
/* Constants and structures of the PC/SC API. Values and layouts are the ABI of libpcsclite.so.1. */
#ifndef __pcsclite_h__
#define __pcsclite_h__

#include <wintypes.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What SCardEstablishContext and SCardConnect give: positive, at most 31 bits; never 0 or -1. */
typedef LONG SCARDCONTEXT;
typedef SCARDCONTEXT *PSCARDCONTEXT;
typedef SCARDCONTEXT *LPSCARDCONTEXT;
typedef LONG SCARDHANDLE;
typedef SCARDHANDLE *PSCARDHANDLE;
typedef SCARDHANDLE *LPSCARDHANDLE;

#define MAX_ATR_SIZE 33 /* ISO/IEC 7816-3 8.2.1 */

/* One reader in a call of SCardGetStatusChange. */
typedef struct {
	const char *szReader;               /* its name, or "\\?PnP?\Notification" */
	void *pvUserData;                   /* the caller's own; not looked at */
	DWORD dwCurrentState;               /* in: what the caller takes for true */
	DWORD dwEventState;                 /* out: what is; counter in bits 16-31 */
	DWORD cbAtr;                        /* out: bytes in rgbAtr */
	unsigned char rgbAtr[MAX_ATR_SIZE]; /* out: answer to reset */
} SCARD_READERSTATE, *LPSCARD_READERSTATE;

/* Protocol control information: which protocol SCardTransmit is to use. */
typedef struct {
	unsigned long dwProtocol;  /* SCARD_PROTOCOL_T0, _T1, _RAW */
	unsigned long cbPciLength; /* size of this structure */
} SCARD_IO_REQUEST, *PSCARD_IO_REQUEST, *LPSCARD_IO_REQUEST;
typedef const SCARD_IO_REQUEST *LPCSCARD_IO_REQUEST;

extern const SCARD_IO_REQUEST g_rgSCardT0Pci, g_rgSCardT1Pci, g_rgSCardRawPci;
#define SCARD_PCI_T0  (&g_rgSCardT0Pci)
#define SCARD_PCI_T1  (&g_rgSCardT1Pci)
#define SCARD_PCI_RAW (&g_rgSCardRawPci)

/* Return codes. On 64-bit Linux they are positive numbers: compare with the macros, not with 0. */
#define SCARD_S_SUCCESS             ((LONG)0x00000000) /* success */
#define SCARD_F_INTERNAL_ERROR      ((LONG)0x80100001) /* an internal check failed */
#define SCARD_E_CANCELLED           ((LONG)0x80100002) /* ended by SCardCancel */
#define SCARD_E_INVALID_HANDLE      ((LONG)0x80100003) /* no such context or handle in this process */
#define SCARD_E_INVALID_PARAMETER   ((LONG)0x80100004) /* a pointer or length cannot be used */
#define SCARD_E_INVALID_TARGET      ((LONG)0x80100005) /* start-up information is missing or wrong */
#define SCARD_E_NO_MEMORY           ((LONG)0x80100006) /* out of memory */
#define SCARD_F_WAITED_TOO_LONG     ((LONG)0x80100007) /* an internal wait took too long */
#define SCARD_E_INSUFFICIENT_BUFFER ((LONG)0x80100008) /* the buffer is too small */
#define SCARD_E_UNKNOWN_READER      ((LONG)0x80100009) /* no reader of that name */
#define SCARD_E_TIMEOUT             ((LONG)0x8010000A) /* nothing happened in that time */
#define SCARD_E_SHARING_VIOLATION   ((LONG)0x8010000B) /* in use by another program */
#define SCARD_E_NO_SMARTCARD        ((LONG)0x8010000C) /* no card in the reader */
#define SCARD_E_UNKNOWN_CARD        ((LONG)0x8010000D) /* card is not known */
#define SCARD_E_CANT_DISPOSE        ((LONG)0x8010000E) /* card cannot be disposed of so */
#define SCARD_E_PROTO_MISMATCH \
	((LONG)0x8010000F)                   /* protocol is not offered, or not the active one */
#define SCARD_E_NOT_READY ((LONG)0x80100010) /* not ready for commands */
#define SCARD_E_INVALID_VALUE \
	((LONG)0x80100011) /* a value is out of range, or the handle's reader is gone */
#define SCARD_E_SYSTEM_CANCELLED ((LONG)0x80100012) /* ended by the system */
#define SCARD_F_COMM_ERROR       ((LONG)0x80100013) /* internal communication failed */
#define SCARD_F_UNKNOWN_ERROR    ((LONG)0x80100014) /* unknown internal error */
#define SCARD_E_INVALID_ATR      ((LONG)0x80100015) /* not an answer to reset */
#define SCARD_E_NOT_TRANSACTED \
	((LONG)0x80100016) /* no transaction is open, or the exchange failed */
#define SCARD_E_READER_UNAVAILABLE ((LONG)0x80100017) /* reader cannot be used now */
#define SCARD_P_SHUTDOWN           ((LONG)0x80100018) /* shutting down */
#define SCARD_E_PCI_TOO_SMALL      ((LONG)0x80100019) /* receive PCI is too small */
#define SCARD_E_READER_UNSUPPORTED ((LONG)0x8010001A) /* reader does not meet the demands */
#define SCARD_E_DUPLICATE_READER   ((LONG)0x8010001B) /* reader's name is taken */
#define SCARD_E_CARD_UNSUPPORTED   ((LONG)0x8010001C) /* card does not meet the demands */
#define SCARD_E_NO_SERVICE         ((LONG)0x8010001D) /* smart card service is not running */
#define SCARD_E_SERVICE_STOPPED \
	((LONG)0x8010001E) /* smart card service has ended, or speaks another version */
#define SCARD_E_UNEXPECTED              ((LONG)0x8010001F) /* same number as the next */
#define SCARD_E_UNSUPPORTED_FEATURE     ((LONG)0x8010001F) /* reader or driver does not do that */
#define SCARD_E_ICC_INSTALLATION        ((LONG)0x80100020) /* no primary provider for the card */
#define SCARD_E_ICC_CREATEORDER         ((LONG)0x80100021) /* order of creation is not supported */
#define SCARD_E_DIR_NOT_FOUND           ((LONG)0x80100023) /* directory on the card not found */
#define SCARD_E_FILE_NOT_FOUND          ((LONG)0x80100024) /* file on the card not found */
#define SCARD_E_NO_DIR                  ((LONG)0x80100025) /* not a directory */
#define SCARD_E_NO_FILE                 ((LONG)0x80100026) /* not a file */
#define SCARD_E_NO_ACCESS               ((LONG)0x80100027) /* access to the file is denied */
#define SCARD_E_WRITE_TOO_MANY          ((LONG)0x80100028) /* no room on the card */
#define SCARD_E_BAD_SEEK                ((LONG)0x80100029) /* position cannot be set */
#define SCARD_E_INVALID_CHV             ((LONG)0x8010002A) /* PIN is wrong */
#define SCARD_E_UNKNOWN_RES_MNG         ((LONG)0x8010002B) /* unknown answer of a layer below */
#define SCARD_E_UNKNOWN_RES_MSG         ((LONG)0x8010002B) /* other spelling of the same */
#define SCARD_E_NO_SUCH_CERTIFICATE     ((LONG)0x8010002C) /* certificate does not exist */
#define SCARD_E_CERTIFICATE_UNAVAILABLE ((LONG)0x8010002D) /* certificate cannot be had */
#define SCARD_E_NO_READERS_AVAILABLE    ((LONG)0x8010002E) /* no reader at all */
#define SCARD_E_COMM_DATA_LOST          ((LONG)0x8010002F) /* data were lost on the way */
#define SCARD_E_NO_KEY_CONTAINER        ((LONG)0x80100030) /* key container does not exist */
#define SCARD_E_SERVER_TOO_BUSY         ((LONG)0x80100031) /* too busy */
#define SCARD_W_UNSUPPORTED_CARD        ((LONG)0x80100065) /* ATR conflicts with the configuration */
#define SCARD_W_UNRESPONSIVE_CARD       ((LONG)0x80100066) /* card does not answer */
#define SCARD_W_UNPOWERED_CARD \
	((LONG)0x80100067) /* card has no power, or did not answer to reset */
#define SCARD_W_RESET_CARD             ((LONG)0x80100068) /* card was reset: SCardReconnect */
#define SCARD_W_REMOVED_CARD           ((LONG)0x80100069) /* card was taken out: SCardReconnect */
#define SCARD_W_SECURITY_VIOLATION     ((LONG)0x8010006A) /* access refused */
#define SCARD_W_WRONG_CHV              ((LONG)0x8010006B) /* wrong PIN */
#define SCARD_W_CHV_BLOCKED            ((LONG)0x8010006C) /* PIN is blocked */
#define SCARD_W_EOF                    ((LONG)0x8010006D) /* end of the file */
#define SCARD_W_CANCELLED_BY_USER      ((LONG)0x8010006E) /* the user gave up */
#define SCARD_W_CARD_NOT_AUTHENTICATED ((LONG)0x8010006F) /* no PIN was given */

#define SCARD_AUTOALLOCATE (DWORD)(-1) /* as a length: the library allocates; see SCardFreeMemory */

/* Scope of a context: all mean the same here. */
#define SCARD_SCOPE_USER     0x0000
#define SCARD_SCOPE_TERMINAL 0x0001
#define SCARD_SCOPE_SYSTEM   0x0002
#define SCARD_SCOPE_GLOBAL   0x0003

/* Protocols: a mask in requests, one bit in answers. */
#define SCARD_PROTOCOL_UNDEFINED 0x0000
#define SCARD_PROTOCOL_UNSET     SCARD_PROTOCOL_UNDEFINED
#define SCARD_PROTOCOL_T0        0x0001
#define SCARD_PROTOCOL_T1        0x0002
#define SCARD_PROTOCOL_RAW       0x0004 /* bytes as they are */
#define SCARD_PROTOCOL_T15       0x0008
#define SCARD_PROTOCOL_ANY       (SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)

/* Share mode. */
#define SCARD_SHARE_EXCLUSIVE 0x0001 /* nobody else while this handle lives */
#define SCARD_SHARE_SHARED    0x0002 /* with others */
#define SCARD_SHARE_DIRECT    0x0003 /* the reader, with or without a card; shared */

/* What becomes of the card. */
#define SCARD_LEAVE_CARD   0x0000
#define SCARD_RESET_CARD   0x0001 /* warm reset */
#define SCARD_UNPOWER_CARD 0x0002 /* power down */
#define SCARD_EJECT_CARD   0x0003

/* State of the card as SCardStatus tells it: a mask, counter in bits 16-31. */
#define SCARD_UNKNOWN    0x0001
#define SCARD_ABSENT     0x0002
#define SCARD_PRESENT    0x0004
#define SCARD_SWALLOWED  0x0008 /* does not answer to reset */
#define SCARD_POWERED    0x0010
#define SCARD_NEGOTIABLE 0x0020
#define SCARD_SPECIFIC   0x0040

/* State of the reader as SCardGetStatusChange tells it: other numbers than the ones above. */
#define SCARD_STATE_UNAWARE     0x0000 /* the caller knows nothing: tell at once */
#define SCARD_STATE_IGNORE      0x0001 /* leave this entry out */
#define SCARD_STATE_CHANGED     0x0002 /* differs from what the caller took for true */
#define SCARD_STATE_UNKNOWN     0x0004 /* the reader has gone */
#define SCARD_STATE_UNAVAILABLE 0x0008 /* the reader cannot be used */
#define SCARD_STATE_EMPTY       0x0010
#define SCARD_STATE_PRESENT     0x0020
#define SCARD_STATE_ATRMATCH    0x0040
#define SCARD_STATE_EXCLUSIVE   0x0080 /* somebody is connected exclusively */
#define SCARD_STATE_INUSE       0x0100 /* somebody is connected */
#define SCARD_STATE_MUTE        0x0200 /* the card does not answer to reset */
#define SCARD_STATE_UNPOWERED   0x0400

#ifndef INFINITE
#define INFINITE 0xFFFFFFFF /* as a timeout: no limit */
#endif

#define PCSCLITE_VERSION_NUMBER       "2.5.1" /* the level of the API, not of this package */
#define PCSCLITE_MAX_READERS_CONTEXTS 16      /* programs size arrays by it; not a limit of ours */
#define MAX_READERNAME                128     /* NUL included */
#define SCARD_ATR_LENGTH              MAX_ATR_SIZE
#define MAX_BUFFER_SIZE               264                         /* short APDUs */
#define MAX_BUFFER_SIZE_EXTENDED      (4 + 3 + (1 << 16) + 3 + 2) /* extended APDUs */

/*
 * A short English phrase for a return code. Never NULL. The string belongs to the calling thread
 * and is overwritten by its next call.
 */
const char *pcsc_stringify_error(const LONG code);

#ifdef __cplusplus
}
#endif

#endif
