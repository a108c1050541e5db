/* SPDX-License-Identifier: MIT */
/*
 * A plain PC/SC program, linked with the library as others are: built several ways by library-abi.sh
 * (PIE or not, 32 bits) and traced by library-calls.sh. Every mode uses the first reader and its card.
 *
 *   once N      lists, connects, sends commands of up to N bytes, reads the state; says what it found
 *   loop N      N times connect, transmit, disconnect; and as many contexts with a watch
 *   calls       each call a few times, with its name written to descriptor -1 before and after
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/winscard.h"

static const BYTE select_mf[] = { 0x00, 0xa4, 0x00, 0x00, 0x02, 0x3f, 0x00 };

struct client {
	SCARDCONTEXT context;
	SCARDHANDLE card;
	DWORD protocol;
	char readers[4096];
};

static void check(LONG rv, const char *what) {
	if (rv == SCARD_S_SUCCESS)
		return;
	printf("%s: %s\n", what, pcsc_stringify_error(rv));
	exit(1);
}

static void begin(struct client *c) {
	DWORD len = sizeof(c->readers);
	check(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &c->context), "establish");
	check(SCardListReaders(c->context, NULL, c->readers, &len), "list");
}

static void open_card(struct client *c) {
	check(SCardConnect(c->context, c->readers, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &c->card,
		      &c->protocol),
		"connect");
}

static DWORD transmit(struct client *c, const BYTE *command, DWORD len) {
	static BYTE answer[MAX_BUFFER_SIZE_EXTENDED];
	DWORD n = sizeof(answer);
	const SCARD_IO_REQUEST *pci =
		c->protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
	SCARD_IO_REQUEST received = { 0 };
	check(SCardTransmit(c->card, pci, command, len, &received, answer, &n), "transmit");
	if (n < 2 || received.dwProtocol != c->protocol) {
		printf("transmit: %lu bytes by protocol %lu\n", (unsigned long)n,
			(unsigned long)received.dwProtocol);
		exit(1);
	}
	return n;
}

static DWORD status(struct client *c, BYTE *atr) {
	char name[MAX_READERNAME];
	DWORD name_len = sizeof(name), state, protocol, atr_len = MAX_ATR_SIZE;
	check(SCardStatus(c->card, name, &name_len, &state, &protocol, atr, &atr_len), "status");
	if (strcmp(name, c->readers) != 0 || protocol != c->protocol || !(state & SCARD_PRESENT)) {
		printf("status: %s, state %lx, protocol %lu\n", name, (unsigned long)state,
			(unsigned long)protocol);
		exit(1);
	}
	return atr_len;
}

static DWORD change(struct client *c) {
	SCARD_READERSTATE state = { .szReader = c->readers };
	check(SCardGetStatusChange(c->context, 0, &state, 1), "change");
	return state.dwEventState;
}

static DWORD list(struct client *c) {
	DWORD len = sizeof(c->readers);
	check(SCardListReaders(c->context, NULL, c->readers, &len), "list");
	return len;
}

/* The reader's features: the least that every reader has of SCardControl. */
static DWORD control(struct client *c) {
	BYTE answer[MAX_BUFFER_SIZE];
	DWORD n = 0;
	check(SCardControl(c->card, 0x42000d48, NULL, 0, answer, sizeof(answer), &n), "control");
	return n;
}

static int once(struct client *c, long n) {
	static BYTE command[MAX_BUFFER_SIZE_EXTENDED];
	BYTE atr[MAX_ATR_SIZE];
	begin(c);
	open_card(c);
	check(SCardBeginTransaction(c->card), "begin");
	transmit(c, select_mf, sizeof(select_mf));
	/* an instruction that no card knows, with long data: the answer is a status word */
	memcpy(command, "\x00\xfe\x00\x00\x00", 5);
	command[5] = (BYTE)(n >> 8);
	command[6] = (BYTE)n;
	if (n > 0)
		transmit(c, command, 7 + (DWORD)n);
	DWORD len = status(c, atr);
	DWORD state = change(c);
	control(c);
	check(SCardEndTransaction(c->card, SCARD_LEAVE_CARD), "end");
	check(SCardDisconnect(c->card, SCARD_RESET_CARD), "disconnect");
	check(SCardReleaseContext(c->context), "release");
	printf("%s: ATR %02x..%02x, %lu bytes, state %lx; long has %u bits, protocol objects %u bytes: %lu %lu "
	       "%lu\n",
		c->readers, atr[0], atr[len - 1], (unsigned long)len,
		(unsigned long)(state & 0xffff), 8 * (unsigned)sizeof(LONG),
		(unsigned)sizeof(g_rgSCardT0Pci), g_rgSCardT0Pci.dwProtocol,
		g_rgSCardT1Pci.dwProtocol, g_rgSCardRawPci.dwProtocol);
	return 0;
}

static int loop(struct client *c, long n) {
	begin(c);
	for (long i = 0; i < n; i++) {
		open_card(c);
		transmit(c, select_mf, sizeof(select_mf));
		check(SCardDisconnect(c->card, SCARD_LEAVE_CARD), "disconnect");
	}
	for (long i = 0; i < n / 10; i++) {
		struct client other = { 0 };
		begin(&other);
		change(&other);
		open_card(&other);
		if (i % 2)
			check(SCardDisconnect(other.card, SCARD_LEAVE_CARD), "disconnect");
		check(SCardReleaseContext(other.context), "release");
	}
	check(SCardReleaseContext(c->context), "release");
	return 0;
}

static void mark(const char *text) {
	ssize_t n = write(-1, text, strlen(text));
	(void)n;
}

static int calls(struct client *c) {
	BYTE atr[MAX_ATR_SIZE];
	begin(c);
	open_card(c);
	change(c);
	for (int i = 0; i < 3; i++) {
		mark("SCardTransmit");
		transmit(c, select_mf, sizeof(select_mf));
		mark("SCardControl");
		control(c);
		mark("SCardStatus");
		status(c, atr);
		mark("SCardListReaders");
		list(c);
		mark("SCardGetStatusChange");
		change(c);
		mark("SCardBeginTransaction");
		check(SCardBeginTransaction(c->card), "begin");
		mark("SCardEndTransaction");
		check(SCardEndTransaction(c->card, SCARD_LEAVE_CARD), "end");
		mark("SCardDisconnect");
		check(SCardDisconnect(c->card, SCARD_LEAVE_CARD), "disconnect");
		mark("SCardConnect");
		open_card(c);
		mark("end");
	}
	check(SCardReleaseContext(c->context), "release");
	return 0;
}

int main(int argc, char **argv) {
	static struct client c;
	const char *mode = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	if (n < 0 || n > 65535) {
		printf("a number up to 65535\n");
		return 2;
	}
	if (strcmp(mode, "once") == 0)
		return once(&c, n);
	if (strcmp(mode, "loop") == 0)
		return loop(&c, n);
	if (strcmp(mode, "calls") == 0)
		return calls(&c);
	printf("once, loop or calls\n");
	return 2;
}
