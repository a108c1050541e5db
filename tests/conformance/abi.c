/* SPDX-License-Identifier: MIT */
/*
 * The binary interface: symbols, sizes, offsets, values, loading and unloading, and what a
 * set-user-ID program does not listen to. Run: abi [LIBRARY]. Needs no handler; the lines that need
 * binutils, a compiler or root are skipped without.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/winscard.h"
#include "client/reader.h"

static unsigned n_tests, n_failed;
static const char *library;

__attribute__((format(printf, 2, 3))) static void ok(bool good, const char *text, ...) {
	va_list args;
	printf("%s %u - ", good ? "ok" : "not ok", ++n_tests);
	va_start(args, text);
	vprintf(text, args);
	va_end(args);
	putchar('\n');
	n_failed += !good;
}

static void skip(const char *text, const char *why) {
	printf("ok %u - %s # SKIP %s\n", ++n_tests, text, why);
}

/* All that a shell command prints, or NULL if it fails. Freed by the caller. */
__attribute__((format(printf, 1, 2))) static char *output_of(const char *format, ...) {
	char command[1024], *text = calloc(1, 65536);
	va_list args;
	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	FILE *f = popen(command, "re");
	size_t n = f && text ? fread(text, 1, 65535, f) : 0;
	if (!f || pclose(f) != 0 || n == 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void test_symbols(void) {
	static const char want[] =
		"SCardBeginTransaction\nSCardCancel\nSCardConnect\nSCardControl\nSCardDisconnect\n"
		"SCardEndTransaction\nSCardEstablishContext\nSCardFreeMemory\nSCardGetAttrib\n"
		"SCardGetStatusChange\nSCardIsValidContext\nSCardListReaderGroups\nSCardListReaders\n"
		"SCardReconnect\nSCardReleaseContext\nSCardSetAttrib\nSCardStatus\nSCardTransmit\n"
		"g_rgSCardRawPci\ng_rgSCardT0Pci\ng_rgSCardT1Pci\npcsc_stringify_error\n";
	char *text = output_of(
		"nm -D --defined-only '%s' 2>&1 | sed 's/.* //' | LC_ALL=C sort", library);
	if (!text) {
		skip("PCSC-1 symbols", "no nm");
		return;
	}
	ok(strcmp(text, want) == 0, "PCSC-1 exactly the 22 symbols, without versions");
	free(text);
	text = output_of("readelf -d '%s'", library);
	ok(text && strstr(text, "Library soname: [libpcsclite.so.1]"), "PCSC-1 soname");
	static const char label[] = "Shared library: [";
	bool clean = text != NULL;
	for (const char *s = text; s && (s = strstr(s, label)); s += sizeof(label) - 1) {
		const char *name = s + sizeof(label) - 1;
		/* the dynamic loader is part of the C library: it finds thread-local variables */
		clean = clean &&
			(!strncmp(name, "libc.so.", 8) || !strncmp(name, "ld-", 3) ||
				!strncmp(name, "ld64.so.", 8));
	}
	ok(clean, "PCSC-1 needs the C library only");
	free(text);
}

/* Integers as wide as a pointer; the packed structures are the same everywhere. */
static void test_layout(void) {
	const size_t w = sizeof(void *);
	ok(sizeof(DWORD) == w && sizeof(LONG) == w && sizeof(SCARDHANDLE) == w &&
			sizeof(SCARDCONTEXT) == w,
		"PCSC-2 widths");
	ok(sizeof(SCARD_IO_REQUEST) == 2 * w && sizeof(BOOL) == 2 && sizeof(WORD) == 2,
		"PCSC-2 SCARD_IO_REQUEST");
	ok(sizeof(SCARD_READERSTATE) == (w == 8 ? 80 : 56), "PCSC-2 SCARD_READERSTATE");
	ok(offsetof(SCARD_READERSTATE, szReader) == 0 &&
			offsetof(SCARD_READERSTATE, pvUserData) == w &&
			offsetof(SCARD_READERSTATE, dwCurrentState) == 2 * w &&
			offsetof(SCARD_READERSTATE, dwEventState) == 3 * w &&
			offsetof(SCARD_READERSTATE, cbAtr) == 4 * w &&
			offsetof(SCARD_READERSTATE, rgbAtr) == 5 * w,
		"PCSC-3 its offsets");
	ok(sizeof(PCSC_TLV_STRUCTURE) == 6 && offsetof(PCSC_TLV_STRUCTURE, value) == 2,
		"PCSC-4 PCSC_TLV_STRUCTURE");
	ok(sizeof(PIN_VERIFY_STRUCTURE) == 19 &&
			offsetof(PIN_VERIFY_STRUCTURE, wPINMaxExtraDigit) == 5 &&
			offsetof(PIN_VERIFY_STRUCTURE, bEntryValidationCondition) == 7 &&
			offsetof(PIN_VERIFY_STRUCTURE, wLangId) == 9 &&
			offsetof(PIN_VERIFY_STRUCTURE, bMsgIndex) == 11 &&
			offsetof(PIN_VERIFY_STRUCTURE, bTeoPrologue) == 12 &&
			offsetof(PIN_VERIFY_STRUCTURE, ulDataLength) == 15 &&
			offsetof(PIN_VERIFY_STRUCTURE, abData) == 19,
		"PCSC-4 PIN_VERIFY_STRUCTURE");
	ok(sizeof(PIN_MODIFY_STRUCTURE) == 24 &&
			offsetof(PIN_MODIFY_STRUCTURE, bInsertionOffsetOld) == 5 &&
			offsetof(PIN_MODIFY_STRUCTURE, wPINMaxExtraDigit) == 7 &&
			offsetof(PIN_MODIFY_STRUCTURE, bConfirmPIN) == 9 &&
			offsetof(PIN_MODIFY_STRUCTURE, wLangId) == 12 &&
			offsetof(PIN_MODIFY_STRUCTURE, bMsgIndex3) == 16 &&
			offsetof(PIN_MODIFY_STRUCTURE, bTeoPrologue) == 17 &&
			offsetof(PIN_MODIFY_STRUCTURE, ulDataLength) == 20 &&
			offsetof(PIN_MODIFY_STRUCTURE, abData) == 24,
		"PCSC-4 PIN_MODIFY_STRUCTURE");
	ok(sizeof(PIN_PROPERTIES_STRUCTURE) == 4 &&
			offsetof(PIN_PROPERTIES_STRUCTURE, bTimeOut2) == 3,
		"PCSC-4 PIN_PROPERTIES_STRUCTURE");
}

/* A macro and the number that programs have compiled in. */
struct constant {
	const char *name;
	unsigned long value;
	unsigned long want;
};

#define C(name, number) \
	{ #name, (unsigned long)(name), (number) }
#define R(name, number) \
	{ #name, (unsigned long)(name), (unsigned long)(LONG)(number) }

static const struct constant constants[] = {
	R(SCARD_S_SUCCESS, 0),
	R(SCARD_F_INTERNAL_ERROR, 0x80100001),
	R(SCARD_E_CANCELLED, 0x80100002),
	R(SCARD_E_INVALID_HANDLE, 0x80100003),
	R(SCARD_E_INVALID_PARAMETER, 0x80100004),
	R(SCARD_E_INVALID_TARGET, 0x80100005),
	R(SCARD_E_NO_MEMORY, 0x80100006),
	R(SCARD_F_WAITED_TOO_LONG, 0x80100007),
	R(SCARD_E_INSUFFICIENT_BUFFER, 0x80100008),
	R(SCARD_E_UNKNOWN_READER, 0x80100009),
	R(SCARD_E_TIMEOUT, 0x8010000A),
	R(SCARD_E_SHARING_VIOLATION, 0x8010000B),
	R(SCARD_E_NO_SMARTCARD, 0x8010000C),
	R(SCARD_E_UNKNOWN_CARD, 0x8010000D),
	R(SCARD_E_CANT_DISPOSE, 0x8010000E),
	R(SCARD_E_PROTO_MISMATCH, 0x8010000F),
	R(SCARD_E_NOT_READY, 0x80100010),
	R(SCARD_E_INVALID_VALUE, 0x80100011),
	R(SCARD_E_SYSTEM_CANCELLED, 0x80100012),
	R(SCARD_F_COMM_ERROR, 0x80100013),
	R(SCARD_F_UNKNOWN_ERROR, 0x80100014),
	R(SCARD_E_INVALID_ATR, 0x80100015),
	R(SCARD_E_NOT_TRANSACTED, 0x80100016),
	R(SCARD_E_READER_UNAVAILABLE, 0x80100017),
	R(SCARD_P_SHUTDOWN, 0x80100018),
	R(SCARD_E_PCI_TOO_SMALL, 0x80100019),
	R(SCARD_E_READER_UNSUPPORTED, 0x8010001A),
	R(SCARD_E_DUPLICATE_READER, 0x8010001B),
	R(SCARD_E_CARD_UNSUPPORTED, 0x8010001C),
	R(SCARD_E_NO_SERVICE, 0x8010001D),
	R(SCARD_E_SERVICE_STOPPED, 0x8010001E),
	R(SCARD_E_UNEXPECTED, 0x8010001F),
	R(SCARD_E_UNSUPPORTED_FEATURE, 0x8010001F),
	R(SCARD_E_ICC_INSTALLATION, 0x80100020),
	R(SCARD_E_ICC_CREATEORDER, 0x80100021),
	R(SCARD_E_DIR_NOT_FOUND, 0x80100023),
	R(SCARD_E_FILE_NOT_FOUND, 0x80100024),
	R(SCARD_E_NO_DIR, 0x80100025),
	R(SCARD_E_NO_FILE, 0x80100026),
	R(SCARD_E_NO_ACCESS, 0x80100027),
	R(SCARD_E_WRITE_TOO_MANY, 0x80100028),
	R(SCARD_E_BAD_SEEK, 0x80100029),
	R(SCARD_E_INVALID_CHV, 0x8010002A),
	R(SCARD_E_UNKNOWN_RES_MNG, 0x8010002B),
	R(SCARD_E_UNKNOWN_RES_MSG, 0x8010002B),
	R(SCARD_E_NO_SUCH_CERTIFICATE, 0x8010002C),
	R(SCARD_E_CERTIFICATE_UNAVAILABLE, 0x8010002D),
	R(SCARD_E_NO_READERS_AVAILABLE, 0x8010002E),
	R(SCARD_E_COMM_DATA_LOST, 0x8010002F),
	R(SCARD_E_NO_KEY_CONTAINER, 0x80100030),
	R(SCARD_E_SERVER_TOO_BUSY, 0x80100031),
	R(SCARD_W_UNSUPPORTED_CARD, 0x80100065),
	R(SCARD_W_UNRESPONSIVE_CARD, 0x80100066),
	R(SCARD_W_UNPOWERED_CARD, 0x80100067),
	R(SCARD_W_RESET_CARD, 0x80100068),
	R(SCARD_W_REMOVED_CARD, 0x80100069),
	R(SCARD_W_SECURITY_VIOLATION, 0x8010006A),
	R(SCARD_W_WRONG_CHV, 0x8010006B),
	R(SCARD_W_CHV_BLOCKED, 0x8010006C),
	R(SCARD_W_EOF, 0x8010006D),
	R(SCARD_W_CANCELLED_BY_USER, 0x8010006E),
	R(SCARD_W_CARD_NOT_AUTHENTICATED, 0x8010006F),
	C(SCARD_SCOPE_USER, 0),
	C(SCARD_SCOPE_TERMINAL, 1),
	C(SCARD_SCOPE_SYSTEM, 2),
	C(SCARD_SCOPE_GLOBAL, 3),
	C(SCARD_SHARE_EXCLUSIVE, 1),
	C(SCARD_SHARE_SHARED, 2),
	C(SCARD_SHARE_DIRECT, 3),
	C(SCARD_PROTOCOL_UNDEFINED, 0),
	C(SCARD_PROTOCOL_UNSET, 0),
	C(SCARD_PROTOCOL_T0, 1),
	C(SCARD_PROTOCOL_T1, 2),
	C(SCARD_PROTOCOL_RAW, 4),
	C(SCARD_PROTOCOL_T15, 8),
	C(SCARD_PROTOCOL_ANY, 3),
	C(SCARD_LEAVE_CARD, 0),
	C(SCARD_RESET_CARD, 1),
	C(SCARD_UNPOWER_CARD, 2),
	C(SCARD_EJECT_CARD, 3),
	C(SCARD_UNKNOWN, 1),
	C(SCARD_ABSENT, 2),
	C(SCARD_PRESENT, 4),
	C(SCARD_SWALLOWED, 8),
	C(SCARD_POWERED, 0x10),
	C(SCARD_NEGOTIABLE, 0x20),
	C(SCARD_SPECIFIC, 0x40),
	C(SCARD_STATE_UNAWARE, 0),
	C(SCARD_STATE_IGNORE, 1),
	C(SCARD_STATE_CHANGED, 2),
	C(SCARD_STATE_UNKNOWN, 4),
	C(SCARD_STATE_UNAVAILABLE, 8),
	C(SCARD_STATE_EMPTY, 0x10),
	C(SCARD_STATE_PRESENT, 0x20),
	C(SCARD_STATE_ATRMATCH, 0x40),
	C(SCARD_STATE_EXCLUSIVE, 0x80),
	C(SCARD_STATE_INUSE, 0x100),
	C(SCARD_STATE_MUTE, 0x200),
	C(SCARD_STATE_UNPOWERED, 0x400),
	C(SCARD_AUTOALLOCATE, (unsigned long)-1),
	C(INFINITE, 0xFFFFFFFF),
	C(MAX_ATR_SIZE, 33),
	C(SCARD_ATR_LENGTH, 33),
	C(MAX_READERNAME, 128),
	C(MAX_BUFFER_SIZE, 264),
	C(MAX_BUFFER_SIZE_EXTENDED, 65548),
	C(PCSCLITE_MAX_READERS_CONTEXTS, 16),
	C(SCARD_ATTR_VENDOR_NAME, 0x00010100),
	C(SCARD_ATTR_VENDOR_IFD_TYPE, 0x00010101),
	C(SCARD_ATTR_VENDOR_IFD_VERSION, 0x00010102),
	C(SCARD_ATTR_VENDOR_IFD_SERIAL_NO, 0x00010103),
	C(SCARD_ATTR_CHANNEL_ID, 0x00020110),
	C(SCARD_ATTR_ASYNC_PROTOCOL_TYPES, 0x00030120),
	C(SCARD_ATTR_DEFAULT_CLK, 0x00030121),
	C(SCARD_ATTR_MAX_CLK, 0x00030122),
	C(SCARD_ATTR_DEFAULT_DATA_RATE, 0x00030123),
	C(SCARD_ATTR_MAX_DATA_RATE, 0x00030124),
	C(SCARD_ATTR_MAX_IFSD, 0x00030125),
	C(SCARD_ATTR_SYNC_PROTOCOL_TYPES, 0x00030126),
	C(SCARD_ATTR_POWER_MGMT_SUPPORT, 0x00040131),
	C(SCARD_ATTR_USER_TO_CARD_AUTH_DEVICE, 0x00050140),
	C(SCARD_ATTR_USER_AUTH_INPUT_DEVICE, 0x00050142),
	C(SCARD_ATTR_CHARACTERISTICS, 0x00060150),
	C(SCARD_ATTR_CURRENT_PROTOCOL_TYPE, 0x00080201),
	C(SCARD_ATTR_CURRENT_CLK, 0x00080202),
	C(SCARD_ATTR_CURRENT_F, 0x00080203),
	C(SCARD_ATTR_CURRENT_D, 0x00080204),
	C(SCARD_ATTR_CURRENT_N, 0x00080205),
	C(SCARD_ATTR_CURRENT_W, 0x00080206),
	C(SCARD_ATTR_CURRENT_IFSC, 0x00080207),
	C(SCARD_ATTR_CURRENT_IFSD, 0x00080208),
	C(SCARD_ATTR_CURRENT_BWT, 0x00080209),
	C(SCARD_ATTR_CURRENT_CWT, 0x0008020A),
	C(SCARD_ATTR_CURRENT_EBC_ENCODING, 0x0008020B),
	C(SCARD_ATTR_EXTENDED_BWT, 0x0008020C),
	C(SCARD_ATTR_ICC_PRESENCE, 0x00090300),
	C(SCARD_ATTR_ICC_INTERFACE_STATUS, 0x00090301),
	C(SCARD_ATTR_CURRENT_IO_STATE, 0x00090302),
	C(SCARD_ATTR_ATR_STRING, 0x00090303),
	C(SCARD_ATTR_ICC_TYPE_PER_ATR, 0x00090304),
	C(SCARD_ATTR_ESC_RESET, 0x0007A000),
	C(SCARD_ATTR_ESC_CANCEL, 0x0007A003),
	C(SCARD_ATTR_ESC_AUTHREQUEST, 0x0007A005),
	C(SCARD_ATTR_MAXINPUT, 0x0007A007),
	C(SCARD_ATTR_DEVICE_UNIT, 0x7FFF0001),
	C(SCARD_ATTR_DEVICE_IN_USE, 0x7FFF0002),
	C(SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, 0x7FFF0003),
	C(SCARD_ATTR_DEVICE_SYSTEM_NAME_A, 0x7FFF0004),
	C(SCARD_ATTR_DEVICE_FRIENDLY_NAME_W, 0x7FFF0005),
	C(SCARD_ATTR_DEVICE_SYSTEM_NAME_W, 0x7FFF0006),
	C(SCARD_ATTR_SUPRESS_T1_IFS_REQUEST, 0x7FFF0007),
	C(SCARD_ATTR_DEVICE_FRIENDLY_NAME, 0x7FFF0003),
	C(SCARD_ATTR_DEVICE_SYSTEM_NAME, 0x7FFF0004),
	C(CM_IOCTL_GET_FEATURE_REQUEST, 0x42000D48),
	C(FEATURE_VERIFY_PIN_START, 0x01),
	C(FEATURE_VERIFY_PIN_FINISH, 0x02),
	C(FEATURE_MODIFY_PIN_START, 0x03),
	C(FEATURE_MODIFY_PIN_FINISH, 0x04),
	C(FEATURE_GET_KEY_PRESSED, 0x05),
	C(FEATURE_VERIFY_PIN_DIRECT, 0x06),
	C(FEATURE_MODIFY_PIN_DIRECT, 0x07),
	C(FEATURE_MCT_READER_DIRECT, 0x08),
	C(FEATURE_MCT_UNIVERSAL, 0x09),
	C(FEATURE_IFD_PIN_PROPERTIES, 0x0A),
	C(FEATURE_ABORT, 0x0B),
	C(FEATURE_SET_SPE_MESSAGE, 0x0C),
	C(FEATURE_VERIFY_PIN_DIRECT_APP_ID, 0x0D),
	C(FEATURE_MODIFY_PIN_DIRECT_APP_ID, 0x0E),
	C(FEATURE_WRITE_DISPLAY, 0x0F),
	C(FEATURE_GET_KEY, 0x10),
	C(FEATURE_IFD_DISPLAY_PROPERTIES, 0x11),
	C(FEATURE_GET_TLV_PROPERTIES, 0x12),
	C(FEATURE_CCID_ESC_COMMAND, 0x13),
	C(FEATURE_EXECUTE_PACE, 0x20),
	C(PCSCv2_PART10_PROPERTY_wLcdLayout, 1),
	C(PCSCv2_PART10_PROPERTY_bEntryValidationCondition, 2),
	C(PCSCv2_PART10_PROPERTY_bTimeOut2, 3),
	C(PCSCv2_PART10_PROPERTY_wLcdMaxCharacters, 4),
	C(PCSCv2_PART10_PROPERTY_wLcdMaxLines, 5),
	C(PCSCv2_PART10_PROPERTY_bMinPINSize, 6),
	C(PCSCv2_PART10_PROPERTY_bMaxPINSize, 7),
	C(PCSCv2_PART10_PROPERTY_sFirmwareID, 8),
	C(PCSCv2_PART10_PROPERTY_bPPDUSupport, 9),
	C(PCSCv2_PART10_PROPERTY_dwMaxAPDUDataSize, 10),
	C(PCSCv2_PART10_PROPERTY_wIdVendor, 11),
	C(PCSCv2_PART10_PROPERTY_wIdProduct, 12),
	C(HOST_TO_CCID_16(0x1234), 0x1234),
	C(HOST_TO_CCID_32(0x12345678), 0x12345678),
};

static void test_constants(void) {
	unsigned wrong = 0;
	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
		if (constants[i].value == constants[i].want)
			continue;
		wrong++;
		printf("# %s is %#lx\n", constants[i].name, constants[i].value);
	}
	ok(wrong == 0, "PCSC-7 %zu constants", sizeof(constants) / sizeof(constants[0]));
}

static void test_pci(void *lib) {
	static const char *const names[] = { "g_rgSCardT0Pci", "g_rgSCardT1Pci",
		"g_rgSCardRawPci" };
	for (unsigned i = 0; i < 3; i++) {
		const SCARD_IO_REQUEST *pci = dlsym(lib, names[i]);
		ok(pci && pci->dwProtocol == 1ul << i && pci->cbPciLength == sizeof(*pci),
			"PCSC-5 %s", names[i]);
	}
}

/* Programs that are not position independent copy the objects: their size must be right. */
static void test_linked(void) {
	char directory[] = "/tmp/pcsc-abi-XXXXXX", source[64];
	if (!mkdtemp(directory))
		return ok(false, "PCSC-5 mkdtemp");
	snprintf(source, sizeof(source), "%s/x.c", directory);
	FILE *f = fopen(source, "we");
	fputs("#include <stdio.h>\n#include <winscard.h>\n#include <reader.h>\n"
	      "int main(void) { SCARDCONTEXT c = 0; LONG rv = SCardEstablishContext(0, 0, 0, &c);\n"
	      "printf(\"%lu %lu %ld\\n\", SCARD_PCI_T1->dwProtocol, g_rgSCardRawPci.cbPciLength, rv);\n"
	      "return (int)SCardReleaseContext(c); }\n",
		f);
	fclose(f);
	char want[32];
	snprintf(want, sizeof(want), "2 %zu 0\n", sizeof(SCARD_IO_REQUEST));
	static const char *const modes[] = { "-std=c89 -no-pie", "-std=gnu17", "-x c++" };
	for (size_t i = 0; i < 3; i++) {
		char *text =
			output_of("cd %s && cc %s %s -o x -I'%s/client' x.c -x none '%s' 2>&1 && "
				  "LD_LIBRARY_PATH=\"$(dirname '%s')\" ./x",
				directory, sizeof(long) == 4 ? "-m32" : "", modes[i], getenv("PWD"),
				library, library);
		if (text && strstr(text, "not found"))
			skip("PCSC-5 linked program", "no compiler");
		else
			ok(text && strcmp(text, want) == 0, "PCSC-5 a program built with %s",
				modes[i]);
		free(text);
	}
	char *rest = output_of("rm -r %s; echo", directory);
	free(rest);
}

/* A program as one has it that was built where pcsc-lite 1.9.9 is: its headers, and no header of ours. */
static void test_old_headers(void) {
	static const char headers[] = "/usr/include/PCSC";
	char directory[] = "/tmp/pcsc-old-XXXXXX", source[64];
	char *version =
		output_of("sed -n 's/.*PCSCLITE_VERSION_NUMBER[^\"]*\"\\([^\"]*\\)\".*/\\1/p' "
			  "%s/pcsclite.h 2>/dev/null | tr -d '\\n'",
			headers);
	if (!version || sizeof(long) == 4) {
		skip("PCSC-8", "libpcsclite-dev is not installed");
		free(version);
		return;
	}
	if (!mkdtemp(directory))
		return ok(false, "PCSC-8 mkdtemp");
	snprintf(source, sizeof(source), "%s/x.c", directory);
	FILE *f = fopen(source, "we");
	fputs("#include <stdio.h>\n#include <winscard.h>\n"
	      "int main(void) { SCARDCONTEXT c = 0; DWORD n = 0; LONG rv[6];\n"
	      "SCARD_READERSTATE s = { .szReader = \"\\\\\\\\?PnP?\\\\Notification\", .cbAtr = 5 };\n"
	      "rv[0] = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &c);\n"
	      "rv[1] = SCardListReaders(c, NULL, NULL, &n);\n"
	      "rv[2] = SCardGetStatusChange(c, 0, &s, 1);\n"
	      "rv[3] = SCardTransmit(7, SCARD_PCI_T0, (LPCBYTE)\"\", 0, NULL, (LPBYTE)&c, &n);\n"
	      "rv[4] = SCardReleaseContext(c); rv[5] = SCardIsValidContext(c);\n"
	      "if (rv[1] == SCARD_E_NO_READERS_AVAILABLE) rv[1] = 0;\n"
	      "printf(\"%d %d %d %d %d %d %lu %s\\n\", rv[0] == SCARD_S_SUCCESS, rv[1] == 0,\n"
	      "rv[2] == SCARD_E_TIMEOUT && !(s.dwEventState & SCARD_STATE_UNKNOWN),\n"
	      "rv[3] == SCARD_E_INVALID_HANDLE && n == 0, rv[4] == SCARD_S_SUCCESS,\n"
	      "rv[5] == SCARD_E_INVALID_HANDLE, (unsigned long)s.cbAtr,\n"
	      "pcsc_stringify_error(SCARD_S_SUCCESS)[0] ? \"text\" : \"\"); return 0; }\n",
		f);
	fclose(f);
	char *text = output_of("cd %s && cc -o x -I%s x.c '%s' 2>&1 && "
			       "LD_BIND_NOW=1 LD_LIBRARY_PATH=\"$(dirname '%s')\" ./x 2>&1",
		directory, headers, library, library);
	bool good = text && strcmp(text, "1 1 1 1 1 1 5 text\n") == 0;
	if (text && strstr(text, "not found"))
		skip("PCSC-8 a program", "no compiler");
	else
		ok(good, "PCSC-8 a program built with the headers of %s", version);
	if (!good)
		printf("# %s\n", text ? text : "failed");
	free(text);
	free(version);
	free(output_of("rm -r %s; echo", directory));
}

/* Programs of the distribution: built with its headers, and linked with or looking for its library. */
static void test_old_programs(void) {
	static const char *const programs[][2] = { { "pcsc_scan", "pcsc_scan -r" },
		{ "opensc-tool", "opensc-tool --list-readers" } };
	for (size_t i = 0; i < 2; i++) {
		char *path = output_of("command -v %s", programs[i][0]);
		if (!path) {
			skip("PCSC-8 a program of the distribution", "is not installed");
			continue;
		}
		free(path);
		char *text =
			output_of("LD_BIND_NOW=1 LD_DEBUG=libs LD_LIBRARY_PATH=\"$(dirname '%s')\" "
				  "timeout 20 %s 2>&1 </dev/null; echo status $?",
				library, programs[i][1]);
		char loaded[1100];
		char *slash = strrchr(
			library, '/'); /* the file may be called otherwise than it is asked for */
		snprintf(loaded, sizeof(loaded), "calling init: %.*s/libpcsclite.so.1",
			(int)(slash - library), library);
		ok(text && strstr(text, loaded) && !strstr(text, "symbol lookup error") &&
				!strstr(text, "status 12"),
			"PCSC-8 %s", programs[i][1]);
		free(text);
	}
}

/* As installed below a prefix of its own. */
static void test_pkg_config(void) {
	char directory[] = "/tmp/pcsc-pc-XXXXXX";
	char *found = output_of("command -v pkg-config");
	free(found);
	if (!found) {
		skip("PCSC-10", "no pkg-config");
		return;
	}
	if (!mkdtemp(directory))
		return ok(false, "PCSC-10 mkdtemp");
	char *text = output_of(
		"cd %s && mkdir ifdhandler && ln -s '%s/client' ifdhandler/PCSC && "
		"sed -e \"s|@prefix@|$PWD|; s|@libdir@|$(dirname '%s')|; s|@includedir@|$PWD|\" "
		"'%s/client/client.pc.in' > libpcsclite.pc && "
		"printf '#include <winscard.h>\\nint main(void) { return MAX_READERNAME != 128; }\\n' > x.c && "
		"export PKG_CONFIG_PATH=. && cc $(pkg-config --cflags libpcsclite) x.c -o x "
		"$(pkg-config --libs libpcsclite) && LD_LIBRARY_PATH=\"$(dirname '%s')\" ./x && "
		"pkg-config --atleast-version=1.9.9 libpcsclite && "
		"pkg-config --variable=usbdropdir libpcsclite && "
		"pkg-config --variable=serialconfdir libpcsclite",
		directory, getenv("PWD"), library, getenv("PWD"), library);
	ok(text && strcmp(text, "/usr/lib/pcsc/drivers\n/etc/reader.conf.d\n") == 0,
		"PCSC-10 flags, version and variables");
	free(text);
	free(output_of("rm -r %s; echo", directory));
}

static unsigned count_entries(const char *path) {
	unsigned n = 0;
	DIR *d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static unsigned count_lines(const char *path) {
	unsigned n = 0;
	int c;
	FILE *f = fopen(path, "re");
	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* Loads, uses and unloads the library. */
static bool load_once(void) {
	void *lib = dlopen(library, RTLD_LAZY);
	if (!lib)
		return false;
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardReleaseContext) release;
	*(void **)&establish = dlsym(lib, "SCardEstablishContext");
	*(void **)&list = dlsym(lib, "SCardListReaders");
	*(void **)&release = dlsym(lib, "SCardReleaseContext");
	SCARDCONTEXT context;
	DWORD n = 0;
	bool good = establish(0, NULL, NULL, &context) == SCARD_S_SUCCESS &&
		list(context, NULL, NULL, &n) != SCARD_E_INVALID_HANDLE &&
		release(context) == SCARD_S_SUCCESS;
	return dlclose(lib) == 0 && good;
}

static void test_unload(void) {
	bool good = load_once();
	unsigned fds = count_entries("/proc/self/fd"), maps = count_lines("/proc/self/maps");
	for (int i = 0; i < 100; i++)
		good = load_once() && good;
	ok(good, "PCSC-9 loaded and unloaded 100 times");
	ok(count_entries("/proc/self/fd") == fds, "PCSC-9 no descriptor stays");
	ok(count_lines("/proc/self/maps") <= maps + 2, "PCSC-9 no mapping stays");
}

static void test_codes(void *lib) {
	__typeof__(&SCardReleaseContext) release;
	*(void **)&release = dlsym(lib, "SCardReleaseContext");
	LONG rv = release(12345);
	ok(rv == SCARD_E_INVALID_HANDLE && (sizeof(LONG) == 4 || rv > 0),
		"PCSC-6 codes are not sign-extended");
}

/* The part that runs set-user-ID: does it believe the environment? */
static int list_planted(void) {
	void *lib = dlopen(library, RTLD_NOW);
	if (!lib)
		return 2;
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardListReaders) list;
	*(void **)&establish = dlsym(lib, "SCardEstablishContext");
	*(void **)&list = dlsym(lib, "SCardListReaders");
	SCARDCONTEXT context;
	char *names = NULL;
	DWORD n = SCARD_AUTOALLOCATE;
	if (establish(0, NULL, NULL, &context) != SCARD_S_SUCCESS)
		return 3;
	if (list(context, NULL, (LPSTR)&names, &n) != SCARD_S_SUCCESS)
		return 0;
	for (const char *s = names; *s; s += strlen(s) + 1)
		if (strcmp(s, "Planted 00 00") == 0)
			return 1;
	return 0;
}

enum { LOUD = 0x100 };

/* Runs `program` as `uid` with the environment of an attacker; its exit status, and LOUD for output. */
static int run_as(const char *program, uid_t uid) {
	int status = -1, fds[2];
	char byte;
	if (pipe(fds) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		setenv("PCSCLITE_DEBUG", "0", 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		if (setgid(uid) < 0 || setuid(uid) < 0)
			_exit(99);
		execl(program, program, "--list-planted", library, NULL);
		_exit(98);
	}
	close(fds[1]);
	bool silent = true;
	while (read(fds[0], &byte, 1) == 1)
		silent = false;
	close(fds[0]);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status) | (silent ? 0 : LOUD);
}

static void test_set_user_id(const char *self) {
	char directory[] = "/tmp/pcsc-suid-XXXXXX";
	struct statvfs fs;
	if (getuid() != 0 || statvfs("/tmp", &fs) < 0 || (fs.f_flag & ST_NOSUID)) {
		skip("PCSC-11 set-user-ID", "needs root and a /tmp with suid");
		return;
	}
	if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
		return ok(false, "PCSC-11 mkdtemp");
	char *text = output_of(
		"cd %s && cp '%s' plain && cp '%s' lib.so && cp plain suid && "
		"chown 65534 . && chmod 755 plain lib.so && chmod 4755 suid && "
		"printf 'version=1\\nseq=1\\nreader=0 Planted 00 00\\n' > x.reader && pwd",
		directory, self, library);
	char path[64], lib[64];
	snprintf(lib, sizeof(lib), "%s/lib.so", directory);
	library = lib;
	setenv("IFDHANDLER_PATH", directory, 1);
	setenv("PCSCLITE_CSOCK_NAME", "/nonexistent", 1);
	snprintf(path, sizeof(path), "%s/plain", directory);
	int plain = run_as(path, 65534);
	/* it sees the planted reader, or finds no server where it is told to look */
	ok(text && ((plain & 0xff) == 1 || (plain & 0xff) == 3),
		"PCSC-11 the environment counts for a plain program: %#x", plain);
	snprintf(path, sizeof(path), "%s/suid", directory);
	int suid = run_as(path, 65534);
	ok(suid == 0, "PCSC-11 and not for a set-user-ID one, which is silent, too: %#x", suid);
	free(text);
	free(output_of("rm -r %s; echo", directory));
}

int main(int argc, char **argv) {
	char self[4096], given[4096];
	if (argc > 2 && strcmp(argv[1], "--list-planted") == 0) {
		library = argv[2];
		return list_planted();
	}
	library = realpath(argc > 1 ? argv[1] : "build/libpcsclite.so.1", given);
	if (!library || !realpath("/proc/self/exe", self)) {
		printf("Bail out! no library\n");
		return 1;
	}
	test_symbols();
	test_layout();
	test_constants();
	test_unload();
	void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	ok(lib != NULL, "PCSC-9 RTLD_NOW");
	if (lib) {
		test_pci(lib);
		test_codes(lib);
	}
	test_linked();
	test_old_headers();
	test_old_programs();
	test_pkg_config();
	test_set_user_id(self);
	printf("1..%u\n", n_tests);
	return n_failed ? 1 : 0;
}
