/* SPDX-License-Identifier: MIT */
/* What is done with contexts and handles: lists, transmit, status, control, attributes, from many threads. */
#include <stdio.h>
#include <string.h>

#include "tests/conformance/bed.h"

static struct box r;
static SCARDCONTEXT h1, h2;

/* A command whose answer has `n` bytes, into a buffer of `room`. */
static LONG fetch(SCARDHANDLE a, unsigned n, BYTE *buffer, DWORD *room) {
	const BYTE command[] = { 0x80, 0x10, (BYTE)(n >> 8), (BYTE)n };
	return pc.transmit(a, pc.t1, command, sizeof(command), NULL, buffer, room);
}

static void test_protocols(void) {
	BYTE buffer[300];
	SCARD_IO_REQUEST pci = { 0 }, got = { 0 };
	box_insert(&r, &atr_c);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	for (DWORD protocol = 0; protocol <= 3; protocol++) {
		DWORD n = sizeof(buffer);
		if (protocol == SCARD_PROTOCOL_T1)
			continue;
		pci.dwProtocol = protocol;
		code(pc.transmit(a, &pci, (LPCBYTE) "\0\xa4\4\0", 4, NULL, buffer, &n),
			SCARD_E_PROTO_MISMATCH, "PCSC-123 PCI %lu on a T=1 connection", protocol);
		ok(n == 0, "PCSC-123 PCI %lu: length %lu", protocol, n);
	}
	DWORD n = sizeof(buffer);
	pci.dwProtocol = 0x1000;
	code(pc.transmit(a, &pci, (LPCBYTE) "\0\xa4\4\0", 4, &got, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-124 PCSC-133 PCI 1000h, with a length of 0");
	if (stack->traits &
		STACK_OWN_SERVERS) /* others leave it to the driver, and nobody reads it */
		ok(got.dwProtocol == SCARD_PROTOCOL_T1 && got.cbPciLength == sizeof(got),
			"the receive PCI names the protocol: %lu", got.dwProtocol);
	n = sizeof(buffer);
	code(pc.transmit(a, pc.t1, (LPCBYTE) "\0\xa4\4\0", 4, NULL, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-133 no receive PCI");
	code(pc.transmit(a, NULL, buffer, 4, NULL, buffer, &n), SCARD_E_INVALID_PARAMETER,
		"PCSC-121 no PCI");
	code(pc.transmit(a, pc.t1, NULL, 4, NULL, buffer, &n), SCARD_E_INVALID_PARAMETER,
		"PCSC-121 no command");
	code(pc.transmit(a, pc.t1, buffer, 4, NULL, NULL, &n), SCARD_E_INVALID_PARAMETER,
		"PCSC-121 no buffer");
	code(pc.transmit(a, pc.t1, buffer, 4, NULL, buffer, NULL), SCARD_E_INVALID_PARAMETER,
		"PCSC-121 no length");
	code(pc.transmit(0, NULL, NULL, 4, NULL, NULL, NULL), SCARD_E_INVALID_PARAMETER,
		"PCSC-121 before the handle is looked at");
	n = sizeof(buffer);
	code(pc.transmit(a + 1, pc.t1, (LPCBYTE) "\0\xa4\4\0", 4, NULL, buffer, &n),
		SCARD_E_INVALID_HANDLE, "PCSC-122 another handle");
	ok(n == 0, "PCSC-122 length %lu", n);
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_lengths(void) {
	static BYTE buffer[70000];
	box_insert(&r, &atr_c);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	DWORD n = 2;
	code(fetch(a, 2, buffer, &n), SCARD_S_SUCCESS, "PCSC-125 2 bytes into 2");
	ok(n == 2 && memcmp(buffer, "\x90\0", 2) == 0, "PCSC-125 length %lu", n);
	unsigned commands = r.card.n_commands;
	memset(buffer, 0x5a, sizeof(buffer));
	n = 258;
	code(fetch(a, 300, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER, "PCSC-126 300 into 258");
	ok(n == 300 && buffer[0] == 0x5a, "PCSC-126 length %lu, buffer untouched", n);
	ok(r.card.n_commands == commands + 1, "PCSC-126 the card saw it once");
	for (DWORD room = 0; room < 2; room++) {
		n = room;
		code(fetch(a, 2, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER,
			"PCSC-127 2 bytes into %lu", room);
		ok(n == 2, "PCSC-127 length %lu", n);
	}
	n = 70000;
	code(fetch(a, 60000, buffer, &n), SCARD_S_SUCCESS, "PCSC-128 room for 70,000");
	ok(n == 60000 && buffer[59997] == (BYTE)59997, "PCSC-128 comes whole: %lu", n);
	for (DWORD len = 1; len <= 3; len++) {
		n = sizeof(buffer);
		code(pc.transmit(a, pc.t1, (LPCBYTE) "\x12\x34\x56", len, NULL, buffer, &n),
			SCARD_S_SUCCESS, "PCSC-131 %lu bytes", len);
		ok(n == len + 2 && memcmp(buffer, "\x12\x34\x56", len) == 0,
			"PCSC-131 %lu bytes came to the driver", n - 2);
	}
	static const BYTE sw[][4] = { { 0x80, 0x30, 0x61, 0x10 }, { 0x80, 0x30, 0x6c, 0x10 } };
	for (size_t i = 0; i < 2; i++) {
		commands = r.card.n_commands;
		n = sizeof(buffer);
		pc.transmit(a, pc.t1, sw[i], 4, NULL, buffer, &n);
		ok(n == 2 && memcmp(buffer, sw[i] + 2, 2) == 0, "PCSC-132 %02x %02x came back",
			buffer[0], buffer[1]);
		ok(r.card.n_commands == commands + 1, "PCSC-132 one command");
	}
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

/* The longest extended command: 4 + 3 + 65,535 + 2 bytes; and the longest answer to one. */
static void test_extended(void) {
	static BYTE command[65549], buffer[70000];
	box_insert(&r, &atr_c);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	unsigned commands = r.card.n_commands;
	memcpy(command, "\x80\x11\0\2\0\xff\xff", 7);
	DWORD n = sizeof(buffer);
	code(pc.transmit(a, pc.t1, command, 65544, NULL, buffer, &n), SCARD_S_SUCCESS,
		"PCSC-129 transmit");
	ok(n == 65538 && buffer[65535] == (BYTE)65535 && buffer[65536] == 0x90,
		"PCSC-129 %lu bytes came back", n);
	n = sizeof(buffer);
	code(pc.transmit(a, pc.t1, command, 65549, NULL, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER,
		"PCSC-130 65,549 bytes");
	ok(r.card.n_commands == commands + 1, "PCSC-130 never reached the card");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-130 and did no harm");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_driver_errors(void) {
	static const uint32_t results[] = { 612, 613, 614 };
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	for (size_t i = 0; i < 3; i++) {
		BYTE got[16];
		DWORD n = sizeof(got);
		card_rule(&r, 0,
			&(struct rule){ .op = SCRIPT_TRANSMIT, .result = results[i], .times = 1 });
		code(pc.transmit(a, pc.t0, (LPCBYTE) "\0\xa4\4\0", 4, NULL, got, &n),
			SCARD_E_NOT_TRANSACTED, "PCSC-135 the driver says %u", results[i]);
		ok(n == 0, "PCSC-135 length %lu", n);
		code(card_send(a), SCARD_S_SUCCESS, "PCSC-135 after %u all is well", results[i]);
	}
	card_rule(&r, 0, &(struct rule){ .op = SCRIPT_TRANSMIT, .result = 616, .times = 1 });
	code(card_send(a), SCARD_E_NO_SMARTCARD, "PCSC-C15 a command that says so");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-C15 the next one finds it");
	ok(reader_look(r.name) & SCARD_STATE_PRESENT, "PCSC-C15 the state");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static LONG pull(void *box) {
	card_remove(box, 0);
	return 0;
}

static void test_pulled_in_exchange(void) {
	LONG rv;
	struct async later;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, &rv);
	async_start(&later, 300, pull, &r);
	rv = card_send_bytes(a, "\x80\x20\x27\x10", 4);
	ok(rv == SCARD_E_NO_SMARTCARD || rv == SCARD_E_NOT_TRANSACTED,
		"PCSC-134 pulled in the middle: %#lx", (unsigned long)rv);
	async_join(&later);
	int64_t end_ms = now_ms() + WAIT_MS;
	while (do_status(&a) == SCARD_S_SUCCESS && now_ms() < end_ms)
		pause_ms(10);
	code(card_send(a), SCARD_W_REMOVED_CARD, "PCSC-134 then it is gone");
	code(do_status(&a), SCARD_W_REMOVED_CARD, "PCSC-134 for the status, too");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_status(void) {
	char name[128];
	BYTE atr[33];
	DWORD n_name = sizeof(name), bits, protocol, n_atr = sizeof(atr);
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(pc.status(a, NULL, NULL, NULL, NULL, NULL, NULL), SCARD_S_SUCCESS, "PCSC-138");
	code(pc.status(a, name, &n_name, &bits, &protocol, atr, &n_atr), SCARD_S_SUCCESS,
		"PCSC-139 status");
	ok((bits & 0xffff) == (SCARD_PRESENT | SCARD_POWERED | SCARD_NEGOTIABLE) && protocol == 1,
		"PCSC-139 state %#lx, protocol %lu", bits, protocol);
	ok(n_atr == 4 && memcmp(atr, atr_a.bytes, 4) == 0, "PCSC-139 ATR");
	ok(strcmp(name, r.name) == 0 && n_name == strlen(name) + 1, "PCSC-139 name");
	ok(bits >> 16 == reader_look(r.name) >> 16, "PCSC-145 counter %lu", bits >> 16);
	const DWORD all = n_name;
	static const DWORD lengths[] = { 0, 1, 77, 0xffffffff };
	for (size_t i = 0; i < 4; i++) {
		n_name = n_atr = lengths[i];
		code(pc.status(a, NULL, &n_name, NULL, NULL, NULL, &n_atr), SCARD_S_SUCCESS,
			"PCSC-140 lengths %lu", lengths[i]);
		ok(n_name == all && n_atr == 4, "PCSC-140 needed: %lu and %lu", n_name, n_atr);
	}
	n_name = 5;
	n_atr = 2;
	bits = protocol = 0;
	code(pc.status(a, name, &n_name, &bits, &protocol, atr, &n_atr),
		SCARD_E_INSUFFICIENT_BUFFER, "PCSC-141 5 and 2 bytes");
	ok(n_name == all && n_atr == 4, "PCSC-141 needed: %lu and %lu", n_name, n_atr);
	ok((bits & 0xffff) == 0x34 && protocol == 1, "PCSC-141 state %#lx, protocol %lu", bits,
		protocol);
	char *own_name = NULL;
	BYTE *own_atr = NULL;
	n_name = n_atr = SCARD_AUTOALLOCATE;
	code(pc.status(a, (LPSTR)&own_name, &n_name, NULL, NULL, (LPBYTE)&own_atr, &n_atr),
		SCARD_S_SUCCESS, "PCSC-142 allocated");
	ok(own_name && strcmp(own_name, r.name) == 0 && own_atr &&
			memcmp(own_atr, atr_a.bytes, 4) == 0,
		"PCSC-142 what they are");
	code(pc.free(h1, own_name), SCARD_S_SUCCESS, "PCSC-142 the name is freed");
	code(pc.free(h1, own_atr), SCARD_S_SUCCESS, "PCSC-142 the ATR is freed");
	pc.disconnect(a, SCARD_LEAVE_CARD);
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
		SCARD_S_SUCCESS, "PCSC-153 features");
	code(pc.control(a, BOX_ECHO, NULL, 0, NULL, 0, NULL), SCARD_S_SUCCESS,
		"PCSC-153 nothing in, nothing out");
	n = 5;
	code(pc.control(a, BOX_ECHO, NULL, 0, NULL, 0, &n), SCARD_S_SUCCESS, "PCSC-153 length");
	ok(n == 0, "PCSC-153 length %lu", n);
	static BYTE large[65549 + 100];
	n = 0;
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, large, sizeof(large), &n),
		SCARD_S_SUCCESS, "PCSC-149 room for %zu", sizeof(large));
	ok(n == all, "PCSC-149 %lu bytes came", n);
	static BYTE command[65548];
	for (size_t i = 0; i < sizeof(command); i++)
		command[i] = (BYTE)(i * 7);
	code(pc.control(a, BOX_ECHO, command, sizeof(command), large, sizeof(large), &n),
		SCARD_S_SUCCESS, "PCSC-149 %zu bytes there and back", sizeof(command));
	ok(n == sizeof(command) && memcmp(command, large, n) == 0, "PCSC-149 %lu bytes came", n);
	unsigned controls = r.card.n_control;
	n = 0;
	code(pc.control(a, BOX_ECHO, command, 100, large, 99, &n), SCARD_E_INSUFFICIENT_BUFFER,
		"PCSC-148 100 bytes into 99");
	ok(n == 100 && r.card.n_control == controls + 1, "PCSC-148 length %lu, asked once", n);
	code(pc.control(a, 0x42000001, (LPCBYTE) "\2", 1, got, sizeof(got), &n),
		SCARD_E_UNSUPPORTED_FEATURE, "PCSC-155 nor the code for it");
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

static void test_attribute_parameters(void) {
	BYTE got[300], *own = (BYTE *)1;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(pc.get_attrib(a, SCARD_ATTR_ATR_STRING, got, NULL), SCARD_E_INVALID_PARAMETER,
		"PCSC-160 get without length");
	code(pc.set_attrib(a, SCARD_ATTR_MAXINPUT, NULL, 4), SCARD_E_INVALID_PARAMETER,
		"PCSC-160 set without value");
	code(pc.set_attrib(a, SCARD_ATTR_MAXINPUT, got, 0), SCARD_E_INVALID_PARAMETER,
		"PCSC-160 set no bytes");
	DWORD n = 265;
	code(pc.get_attrib(a, SCARD_ATTR_VENDOR_NAME, got, &n), SCARD_S_SUCCESS,
		"PCSC-157 PCSC-C17 room for 265");
	ok(n == 9 && strcmp((char *)got, "Test Bed") == 0, "PCSC-157 PCSC-C17 the value");
	n = SCARD_AUTOALLOCATE;
	code(pc.get_attrib(a, SCARD_ATTR_VENDOR_NAME, (LPBYTE)&own, &n), SCARD_S_SUCCESS,
		"PCSC-157 allocated");
	ok(n == 9 && strcmp((char *)own, "Test Bed") == 0, "PCSC-157 the value");
	pc.free(h1, own);
	own = (BYTE *)1;
	n = SCARD_AUTOALLOCATE;
	code(pc.get_attrib(a, 0x0badcafe, (LPBYTE)&own, &n), SCARD_E_UNSUPPORTED_FEATURE,
		"PCSC-C17 an unknown one, to be allocated");
	ok(own == (BYTE *)1 || own == NULL, "PCSC-C17 is not");
	pc.disconnect(a, SCARD_LEAVE_CARD);
}

static void test_control_without_command(void) {
	BYTE got[512];
	DWORD n = 0;
	box_insert(&r, &atr_a);
	SCARDHANDLE a = card_open(h1, &r, SCARD_SHARE_SHARED, NULL);
	code(pc.control(a, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 5, got, sizeof(got), &n),
		SCARD_E_INVALID_PARAMETER, "PCSC-154 PCSC-C16 no command, length 5");
	code(card_send(a), SCARD_S_SUCCESS, "PCSC-154 PCSC-C16 the context still works");
}

static void test_attributes(void) {
	static const DWORD numeric[] = { SCARD_ATTR_VENDOR_IFD_VERSION, SCARD_ATTR_MAXINPUT,
		SCARD_ATTR_CHANNEL_ID };
	BYTE got[264]; /* more is another line */
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
	n = sizeof(got);
	code(pc.get_attrib(a, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, got, &n), SCARD_S_SUCCESS,
		"PCSC-158 system name");
	ok(strcmp((char *)got, r.name) == 0 && n == strlen(r.name) + 1, "PCSC-158 is the name");
	n = sizeof(got);
	pc.get_attrib(a, SCARD_ATTR_VENDOR_IFD_VERSION, got, &n);
	ok(memcmp(got, &(uint32_t){ 0x01020003 }, 4) == 0, "PCSC-161 in host order");
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

/* ---- contexts and lists ---- */

static void test_contexts(void) {
	SCARDCONTEXT context = 77;
	for (DWORD scope = 0; scope <= 3; scope++) {
		code(pc.establish(scope, NULL, NULL, &context), SCARD_S_SUCCESS,
			"PCSC-12 scope %lu", scope);
		ok(context > 0 && context <= 0x7fffffff, "PCSC-12 context %#lx", context);
		code(pc.release(context), SCARD_S_SUCCESS, "PCSC-12 release");
	}
	context = 77;
	code(pc.establish(4, NULL, NULL, &context), SCARD_E_INVALID_VALUE, "PCSC-13 scope 4");
	ok(context == 0, "PCSC-13 context %#lx", context);
	code(pc.establish(0, NULL, NULL, NULL), SCARD_E_INVALID_PARAMETER, "PCSC-14");
	context = context_new();
	code(pc.is_valid(context), SCARD_S_SUCCESS, "PCSC-15 a live one");
	code(pc.is_valid(context + 1), SCARD_E_INVALID_HANDLE, "PCSC-15 the next number");
	code(pc.is_valid(0), SCARD_E_INVALID_HANDLE, "PCSC-15 context 0");
	code(pc.release(context), SCARD_S_SUCCESS, "PCSC-16 once");
	code(pc.release(context), SCARD_E_INVALID_HANDLE, "PCSC-16 twice");
	code(pc.is_valid(context), SCARD_E_INVALID_HANDLE, "PCSC-15 a released one");
}

/* In a process that has never had a context. */
static LONG before_any(int what) {
	DWORD n = 0;
	switch (what) {
	case 0: return pc.release(1);
	case 1: return pc.is_valid(1);
	case 2: return pc.list(1, NULL, NULL, &n);
	default: return pc.cancel(1);
	}
}

static void test_before_any(void) {
	static const char *const names[] = { "release", "is valid", "list", "cancel" };
	struct client client;
	client_start(&client, before_any);
	for (int i = 0; i < 4; i++)
		code(client_do(&client, i), SCARD_E_INVALID_HANDLE, "PCSC-17 %s", names[i]);
	client_kill(&client);
}

static LONG establish_ten(void *failures) {
	for (int i = 0; i < 10; i++) {
		SCARDCONTEXT context;
		if (pc.establish(0, NULL, NULL, &context) || pc.release(context))
			++*(atomic_uint *)failures;
	}
	return 0;
}

static void test_many_contexts(void) {
	static struct async threads[100];
	atomic_uint failures = 0;
	for (size_t i = 0; i < 100; i++)
		async_start(&threads[i], 0, establish_ten, &failures);
	for (size_t i = 0; i < 100; i++)
		async_join(&threads[i]);
	ok(failures == 0, "PCSC-18 %u failures", failures);
}

static void test_no_reader(void) {
	SCARDCONTEXT context = context_new();
	DWORD n = 77;
	code(pc.list(context, NULL, NULL, &n), SCARD_E_NO_READERS_AVAILABLE, "PCSC-31 size");
	ok(n == 1, "PCSC-31 length %lu", n);
	char buffer[10];
	n = sizeof(buffer);
	code(pc.list(context, NULL, buffer, &n), SCARD_E_NO_READERS_AVAILABLE, "PCSC-31 list");
	ok(n == 1, "PCSC-31 length %lu", n);
	pc.release(context);
}

/* Page 0 is never there: who looks at it dies. */
static LONG list_garbage(int what) {
	DWORD n = 0;
	(void)what;
	return pc.list(context_new(), (LPCSTR)(uintptr_t)16, NULL, &n);
}

static LONG groups_null(int what) {
	(void)what;
	return pc.groups(context_new(), NULL, NULL);
}

static void test_lists(void) {
	static struct box q;
	static char buffer[1000];
	box_start(&q, "second");
	const DWORD all = (DWORD)(strlen(r.name) + strlen(q.name) + 3);
	DWORD n = 0;
	code(pc.list(h1, NULL, NULL, &n), SCARD_S_SUCCESS, "PCSC-32");
	ok(n == all, "PCSC-32 %lu bytes for two readers, not %lu", n, all);
	memset(buffer, 'x', sizeof(buffer));
	n = all - 1;
	code(pc.list(h1, NULL, buffer, &n), SCARD_E_INSUFFICIENT_BUFFER, "PCSC-33 %lu bytes", n);
	ok(n == all && buffer[0] == 'x', "PCSC-33 length %lu, untouched", n);
	code(pc.list(h1, NULL, buffer, &n), SCARD_S_SUCCESS, "PCSC-34 %lu bytes", n);
	ok(n == all && !buffer[all - 1] && !buffer[all - 2] && buffer[all] == 'x',
		"PCSC-34 two NULs, and no more");
	ok(strcmp(buffer, r.name) == 0 && strcmp(buffer + strlen(r.name) + 1, q.name) == 0,
		"PCSC-34 in the order of their arrival");
	char *own = NULL;
	n = SCARD_AUTOALLOCATE;
	code(pc.list(h1, NULL, (LPSTR)&own, &n), SCARD_S_SUCCESS, "PCSC-35 list");
	ok(own && n == all && memcmp(own, buffer, all) == 0, "PCSC-35 the same list");
	code(pc.free(h1, own), SCARD_S_SUCCESS, "PCSC-35 free");
	n = SCARD_AUTOALLOCATE;
	code(pc.list(h1, NULL, NULL, &n), SCARD_E_INVALID_PARAMETER, "PCSC-36");
	n = 0xffffffff;
	code(pc.list(h1, NULL, buffer, &n), SCARD_S_SUCCESS, "PCSC-37");
	ok(n == all, "PCSC-37 length %lu", n);
	code(pc.list(0, NULL, NULL, NULL), SCARD_E_INVALID_PARAMETER, "PCSC-38");
	n = 0;
	code(pc.list(h1 + 1, NULL, NULL, &n), SCARD_E_INVALID_HANDLE, "PCSC-15 list");
	struct client client;
	client_start(&client, list_garbage);
	code(client_do(&client, 0), SCARD_S_SUCCESS, "PCSC-39 groups at address 16");
	client_kill(&client);
}

static void test_groups(void) {
	static const char want[] = "SCard$DefaultReaders\0";
	char buffer[30];
	DWORD n = 0;
	code(pc.groups(h1, NULL, &n), SCARD_S_SUCCESS, "PCSC-40 size");
	ok(n == 22, "PCSC-40 %lu bytes", n);
	code(pc.groups(h1, buffer, &n), SCARD_S_SUCCESS, "PCSC-40 exact buffer");
	ok(n == 22 && memcmp(buffer, want, 22) == 0, "PCSC-40 its name and two NULs");
	char *own = NULL;
	n = SCARD_AUTOALLOCATE;
	code(pc.groups(h1, (LPSTR)&own, &n), SCARD_S_SUCCESS, "PCSC-40 allocated");
	ok(own && n == 22 && memcmp(own, want, 22) == 0, "PCSC-40 its name and two NULs");
	code(pc.free(h1 + 1, own), SCARD_E_INVALID_HANDLE, "PCSC-42 another context");
	code(pc.free(h1, own), SCARD_S_SUCCESS, "PCSC-42 the memory");
	code(pc.free(h1, NULL), SCARD_S_SUCCESS, "PCSC-42 nothing");
	struct client client;
	client_start(&client, groups_null);
	code(client_do(&client, 0), SCARD_E_INVALID_PARAMETER, "PCSC-41 PCSC-C6");
	client_kill(&client);
}

static void setup(void) {
	box_start(&r, "exchange");
	h1 = context_new();
	h2 = context_new();
}

static const struct test tests[] = {
	{ "contexts", test_contexts, 0 },
	{ "many_contexts", test_many_contexts, 0 },
	{ "lists", test_lists, 0 },
	{ "groups", test_groups, 0 },
	{ "protocols", test_protocols, 0 },
	{ "lengths", test_lengths, 0 },
	{ "extended", test_extended, 0 },
	{ "driver_errors", test_driver_errors, 0 },
	{ "pulled_in_exchange", test_pulled_in_exchange, 0 },
	{ "status", test_status, 0 },
	{ "control", test_control, 0 },
	{ "control_without_command", test_control_without_command, 0 },
	{ "attribute_parameters", test_attribute_parameters, 0 },
	{ "attributes", test_attributes, 0 },
	{ "threads", test_threads, 0 },
	{ 0 },
};

const struct test_group group_exchange = { "exchange", setup, tests };

/* Without any reader. */
static const struct test bare_tests[] = {
	{ "before_any", test_before_any, 0 },
	{ "no_reader", test_no_reader, 0 },
	{ 0 },
};

const struct test_group group_bare = { "bare", NULL, bare_tests };
