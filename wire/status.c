/* SPDX-License-Identifier: MIT */
/*
 * Names, phrases and PC/SC values of our outcomes: the one place where SCARD_ numbers meet them.
 * The values are those of the PC/SC API (winscard.h); they are repeated here because the handler
 * and other languages' clients link this file without any PC/SC header.
 */
#include "wire/status.h"

enum {
	SCARD_S_SUCCESS = 0,
};
#define SCARD_F_INTERNAL_ERROR      0x80100001u
#define SCARD_E_INVALID_VALUE       0x80100011u
#define SCARD_E_NO_MEMORY           0x80100006u
#define SCARD_E_SHARING_VIOLATION   0x8010000Bu
#define SCARD_E_NO_SMARTCARD        0x8010000Cu
#define SCARD_E_PROTO_MISMATCH      0x8010000Fu
#define SCARD_E_NOT_TRANSACTED      0x80100016u
#define SCARD_E_READER_UNAVAILABLE  0x80100017u
#define SCARD_E_SERVICE_STOPPED     0x8010001Eu
#define SCARD_E_UNSUPPORTED_FEATURE 0x8010001Fu
#define SCARD_W_UNRESPONSIVE_CARD   0x80100066u
#define SCARD_W_UNPOWERED_CARD      0x80100067u
#define SCARD_W_RESET_CARD          0x80100068u
#define SCARD_W_REMOVED_CARD        0x80100069u
#define SCARD_W_SECURITY_VIOLATION  0x8010006Au

const char *status_text(unsigned status) {
	switch (status) {
#define STATUS(name, number, text, scard) \
	case number:                      \
		return text;
#include "wire/status.def"
#undef STATUS
	default: return "unknown outcome";
	}
}

const char *status_name(unsigned status) {
	switch (status) {
#define STATUS(name, number, text, scard) \
	case number:                      \
		return #name;
#include "wire/status.def"
#undef STATUS
	default: return "UNKNOWN";
	}
}

uint32_t status_scard(unsigned status) {
	switch (status) {
#define STATUS(name, number, text, scard) \
	case number:                      \
		return scard;
#include "wire/status.def"
#undef STATUS
	default: return SCARD_F_INTERNAL_ERROR;
	}
}
