/* SPDX-License-Identifier: MIT */
/* What is done with a handle, against a live handler: transmit, status, control, attributes, from many threads. */
#include <stdio.h>
#include <string.h>

#include "tests/process/pcsc.h"

static struct box r;
static SCARDCONTEXT h1, h2;

/* A command whose answer has `n` bytes, into a buffer of `room`. */
static LONG fetch(SCARDHANDLE a, unsigned n, BYTE *buffer, DWORD *room) {
	const BYTE command[] = { 0x80, 0x10, (BYTE)(n >> 8), (BYTE)n };
	return pc.transmit(a, pc.t1, command, sizeof(command), NULL, buffer, room);
}

static void test_transmit(void) {
	static BYTE buffer[70000], big[65544];
	SCARD_IO_REQUEST pci = { 0 }, got = { 0 };
	LONG rv;
	box_insert(&r, &atr_c);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	for (DWORD protocol = 0; protocol <= 3; protocol++) {
		DWORD n = sizeof(buffer);
		if (protocol == SCARD_PROTOCOL_T1)
			continue;
		pci.dwProtocol = protocol;
		code(pc.transmit(a, &pci, (LPCBYTE) "\0\xa4\4\0", 4, NULL, buffer, &n),
			SCARD_E_PROTO_MISMATCH, "PCSC-123 PCI %lu on a T=1 connection", protocol);
		ok(n == 0, "PCSC-123 length 0");
	}
	DWORD n = sizeof(buffer);
	pci.dwProtocol = 0x1000;
	code(pc.transmit(a, &pci, (LPCBYTE) "\0\xa4\4\0", 4, &got, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-124 PCSC-133 PCI 0x1000, length 0 in it");
	ok(got.dwProtocol == SCARD_PROTOCOL_T1 && got.cbPciLength == sizeof(got),
		"PCSC-133 the receive PCI names the protocol");
	n = 2;
	code(fetch(a, 2, buffer, &n), SCARD_S_SUCCESS, "PCSC-125 2 bytes into 2");
	unsigned commands = r.card.n_commands;
	memset(buffer, 0x5a, sizeof(buffer));
	n = 258;
	code(fetch(a, 300, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER, "PCSC-126 300 into 258");
	ok(n == 300 && buffer[0] == 0x5a, "PCSC-126 length needed, buffer untouched");
	ok(r.card.n_commands == commands + 1, "PCSC-126 the card saw it once");
	n = 1;
	code(fetch(a, 2, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER, "PCSC-127 2 bytes into 1");
	ok(n == 2, "PCSC-127 length needed");
	n = 70000;
	code(fetch(a, 60000, buffer, &n), SCARD_S_SUCCESS, "PCSC-128 a large buffer");
	ok(n == 60000 && buffer[59997] == (BYTE)59997, "PCSC-128 comes whole");
	n = sizeof(buffer);
	memcpy(big, "\0\xd6\0\0\0", 5);
	code(pc.transmit(a, pc.t1, big, 65535, NULL, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-129 the longest command of this reader");
	ok(n == 65535, "PCSC-129 and its answer: %lu", n);
	n = sizeof(buffer);
	code(pc.transmit(a, pc.t1, (LPCBYTE) "\0\xb0", 2, NULL, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-131 a command of two bytes");
	static const BYTE sw[][4] = { { 0x80, 0x30, 0x61, 0x10 }, { 0x80, 0x30, 0x6c, 0x10 } };
	for (size_t i = 0; i < 2; i++) {
		commands = r.card.n_commands;
		n = sizeof(buffer);
		pc.transmit(a, pc.t1, sw[i], 4, NULL, buffer, &n);
		ok(n == 2 && memcmp(buffer, sw[i] + 2, 2) == 0, "PCSC-132 status words unchanged");
		ok(r.card.n_commands == commands + 1, "PCSC-132 no command of our own");
	}
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static LONG pull(void *box) {
	card_remove(box);
	return 0;
}

static void test_pulled_in_exchange(void) {
	LONG rv;
	struct async later;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	async_start(&later, 200, pull, &r);
	rv = card_send_bytes(a, "\x80\x20\x01\xf4", 4);
	ok(rv == SCARD_E_NO_SMARTCARD || rv == SCARD_E_NOT_TRANSACTED || rv == SCARD_W_REMOVED_CARD,
		"PCSC-134 pulled in the middle: %#lx", (unsigned long)rv);
	async_join(&later);
	pause_ms(100);
	code(card_send(a), SCARD_W_REMOVED_CARD, "PCSC-134 then it is gone");
	code(do_status(&a), SCARD_W_REMOVED_CARD, "PCSC-134 for the status, too");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_status(void) {
	char name[128];
	BYTE atr[33];
	DWORD n_name = sizeof(name), bits, protocol, n_atr = sizeof(atr);
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.status(a, NULL, NULL, NULL, NULL, NULL, NULL), SCARD_S_SUCCESS, "PCSC-138");
	code(pc.status(a, name, &n_name, &bits, &protocol, atr, &n_atr), SCARD_S_SUCCESS,
		"PCSC-139 status");
	ok((bits & 0xffff) == 0x34 && protocol == 1, "PCSC-139 state and protocol");
	ok(n_atr == 4 && memcmp(atr, atr_a.bytes, 4) == 0, "PCSC-139 ATR");
	ok(strcmp(name, r.name) == 0 && n_name == strlen(name) + 1, "PCSC-139 name");
	SCARD_READERSTATE state = { .szReader = r.name };
	pc.change(h1, 0, &state, 1);
	ok(bits >> 16 == state.dwEventState >> 16, "PCSC-145 the same counter");
	size_t len = strlen(r.name);
	ok(len > 6 && r.name[len - 6] == ' ' && r.name[len - 3] == ' ', "PCSC-213 %s", r.name);
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static void test_control(void) {
	BYTE got[512];
	DWORD n = 0;
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_S_SUCCESS, "PCSC-147 features");
	bool good = n && n % 6 == 0, escape = false;
	for (DWORD i = 0; i + 6 <= n; i += 6) {
		good = good && got[i + 1] == 4 && got[i + 2] == 0x42;
		escape = escape || got[i] == FEATURE_CCID_ESC_COMMAND;
	}
	ok(good, "PCSC-147 is a list of tag, 4 and a big-endian code");
	ok(!escape, "PCSC-155 no escape unless the administrator allows it");
	DWORD all = n;
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, 3, &n),
		SCARD_E_INSUFFICIENT_BUFFER, "PCSC-148 room for 3 bytes");
	ok(n == all, "PCSC-148 length needed");
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), NULL),
		SCARD_S_SUCCESS, "PCSC-153 no length wanted");
	code(pc.control(a, 0x12345678, NULL, 0, got, sizeof(got), &n), SCARD_E_UNSUPPORTED_FEATURE,
		"PCSC-150 unknown code");
	SCARDHANDLE b = card_open(h2, &r, SCARD_SHARE_SHARED, &rv);
	pc.disconnect(b, SCARD_RESET_CARD);
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_S_SUCCESS, "PCSC-151 after a reset");
	box_remove(&r);
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, got, sizeof(got), &n),
		SCARD_S_SUCCESS, "PCSC-151 after a removal");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_attributes(void) {
	static const DWORD numeric[] = { SCARD_ATTR_VENDOR_IFD_VERSION, SCARD_ATTR_MAXINPUT,
		SCARD_ATTR_CHANNEL_ID };
	BYTE got[512];
	DWORD n = 0;
	LONG rv;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	code(pc.get_attrib(a, SCARD_ATTR_ATR_STRING, NULL, &n), SCARD_S_SUCCESS, "PCSC-156 query");
	ok(n == 4, "PCSC-156 4 bytes");
	code(pc.get_attrib(a, SCARD_ATTR_ATR_STRING, got, &n), SCARD_S_SUCCESS, "PCSC-156 exact");
	ok(n == 4 && memcmp(got, atr_a.bytes, 4) == 0, "PCSC-156 the ATR");
	n = 2;
	code(pc.get_attrib(a, SCARD_ATTR_ATR_STRING, got, &n), SCARD_E_INSUFFICIENT_BUFFER,
		"PCSC-156 into 2 bytes");
	ok(n == 4, "PCSC-156 length needed");
	n = sizeof(got);
	code(pc.get_attrib(a, SCARD_ATTR_VENDOR_NAME, got, &n), SCARD_S_SUCCESS,
		"PCSC-157 more than 264 bytes of room");
	n = sizeof(got);
	code(pc.get_attrib(a, SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, got, &n), SCARD_S_SUCCESS,
		"PCSC-158 friendly name");
	ok(strcmp((char *)got, r.name) == 0 && n == strlen(r.name) + 1, "PCSC-158 is the name");
	n = sizeof(got);
	code(pc.get_attrib(a, 0x0badcafe, got, &n), SCARD_E_UNSUPPORTED_FEATURE,
		"PCSC-159 unknown tag");
	for (size_t i = 0; i < 3; i++) {
		n = sizeof(got);
		code(pc.get_attrib(a, numeric[i], got, &n), SCARD_S_SUCCESS, "PCSC-161 %#lx",
			numeric[i]);
		ok(n == 4, "PCSC-161 has 4 bytes");
	}
	code(pc.set_attrib(a, SCARD_ATTR_MAXINPUT, (LPCBYTE) "abcd", 4),
		SCARD_E_UNSUPPORTED_FEATURE, "PCSC-162 set");
	pc.disconnect(a, SCARD_LEAVE_CARD);
	box_remove(&r);
}

static LONG open_close_ten(void *failures) {
	SCARDCONTEXT context = context_new();
	for (int i = 0; i < 10; i++) {
		LONG rv;
		SCARDHANDLE card = card_open(context, &r, SCARD_SHARE_SHARED, &rv);
		if (rv != SCARD_S_SUCCESS || card_send(card) != SCARD_S_SUCCESS ||
			pc.disconnect(card, SCARD_LEAVE_CARD) != SCARD_S_SUCCESS)
			++*(atomic_uint *)failures;
	}
	return pc.release(context);
}

static void test_threads(void) {
	struct async threads[10];
	atomic_uint failures = 0;
	box_insert(&r, &atr_a);
	for (size_t i = 0; i < 10; i++)
		async_start(&threads[i], 0, open_close_ten, &failures);
	for (size_t i = 0; i < 10; i++)
		async_join(&threads[i]);
	ok(failures == 0, "PCSC-19 ten threads connect and disconnect ten times");
	LONG rv;
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	struct async other;
	async_start(&other, 0, do_disconnect, &a);
	code(async_join(&other), SCARD_S_SUCCESS, "PCSC-30 disconnect by another thread");
	box_remove(&r);
}

int main(int argc, char **argv) {
	pcsc_start(argc, argv);
	box_start(&r, "exchange", NULL);
	h1 = context_new();
	h2 = context_new();
	test_transmit();
	test_pulled_in_exchange();
	test_status();
	test_control();
	test_attributes();
	test_threads();
	pc.release(h1);
	pc.release(h2);
	return pcsc_finish();
}
