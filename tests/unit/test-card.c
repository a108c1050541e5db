/* SPDX-License-Identifier: MIT */
/* The library's functions against a scripted handler: parameters, connections that end in every way, fork. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/winscard.h"
#include "client/reader.h"
#include "fake-handler.h"
#include "test.h"

#define READER "Fake Reader 00 00"

struct fixture {
	struct fake_handler *handler;
	SCARDCONTEXT context;
	SCARDHANDLE card;
	DWORD protocol;
};

static int setup_bare(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	fake_directory_make();
	assert_int_equal(SCardEstablishContext(0, NULL, NULL, &f->context), SCARD_S_SUCCESS);
	*state = f;
	return 0;
}

static void start(struct fixture *f, fake_serve serve) {
	f->handler = fake_handler_start("001-001", serve, f);
	fake_register("001-001", READER, 1);
}

static LONG connect_shared(struct fixture *f) {
	return SCardConnect(f->context, READER, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &f->card,
		&f->protocol);
}

static int setup(void **state) {
	setup_bare(state);
	start(*state, NULL);
	assert_int_equal(connect_shared(*state), SCARD_S_SUCCESS);
	return 0;
}

static int teardown(void **state) {
	struct fixture *f = *state;
	SCardReleaseContext(f->context);
	if (f->handler)
		fake_handler_stop(f->handler);
	fake_directory_remove();
	free(f);
	return 0;
}

static LONG transmit(struct fixture *f) {
	BYTE answer[300];
	DWORD length = sizeof(answer);
	return SCardTransmit(
		f->card, SCARD_PCI_T0, (LPCBYTE) "\0\xa4\4\0", 4, NULL, answer, &length);
}

static LONG status(struct fixture *f) {
	return SCardStatus(f->card, NULL, NULL, NULL, NULL, NULL, NULL);
}

static LONG reconnect(struct fixture *f) {
	return SCardReconnect(f->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD,
		&f->protocol);
}

/* PCSC-12 to PCSC-16 */
static void test_context(void **state) {
	(void)state;
	SCARDCONTEXT context = -1;
	for (DWORD scope = 0; scope <= 3; scope++) {
		assert_int_equal(SCardEstablishContext(scope, NULL, NULL, &context), SCARD_S_SUCCESS);
		assert_in_range(context, 1, 0x7fffffff);
		assert_int_equal(SCardIsValidContext(context), SCARD_S_SUCCESS);
		assert_int_equal(SCardIsValidContext(context + 1), SCARD_E_INVALID_HANDLE);
		assert_int_equal(SCardReleaseContext(context), SCARD_S_SUCCESS);
		assert_int_equal(SCardReleaseContext(context), SCARD_E_INVALID_HANDLE);
		assert_int_equal(SCardIsValidContext(context), SCARD_E_INVALID_HANDLE);
	}
	assert_int_equal(SCardEstablishContext(4, NULL, NULL, &context), SCARD_E_INVALID_VALUE);
	assert_int_equal(context, 0);
	assert_int_equal(SCardEstablishContext(0, NULL, NULL, NULL), SCARD_E_INVALID_PARAMETER);
}

/* PCSC-17: what each function documents, before there is any context */
static void test_before_any_context(void **state) {
	(void)state;
	DWORD length = 0;
	assert_int_equal(SCardReleaseContext(5), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardIsValidContext(5), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardListReaders(5, NULL, NULL, &length), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardCancel(5), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardBeginTransaction(5), SCARD_E_INVALID_HANDLE);
}

static void *establish_run(void *arg) {
	for (int i = 0; i < 10; i++) {
		SCARDCONTEXT context;
		assert_int_equal(SCardEstablishContext(0, NULL, NULL, &context), SCARD_S_SUCCESS);
		assert_int_equal(SCardReleaseContext(context), SCARD_S_SUCCESS);
	}
	return arg;
}

/* PCSC-18 */
static void test_many_threads_establish(void **state) {
	(void)state;
	pthread_t threads[100];
	for (size_t i = 0; i < N_OF(threads); i++)
		pthread_create(&threads[i], NULL, establish_run, NULL);
	for (size_t i = 0; i < N_OF(threads); i++)
		pthread_join(threads[i], NULL);
}

/* PCSC-31 to PCSC-39 */
static void test_list(void **state) {
	struct fixture *f = *state;
	char buffer[64], *allocated;
	DWORD length = 99;
	assert_int_equal(
		SCardListReaders(f->context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	assert_int_equal(length, 1);
	fake_register("b", "Second 01 00", 7);
	fake_register("a", "Third 02 00", 9);
	fake_register("c", "First 00 00", 3);
	static const char want[] = "First 00 00\0Second 01 00\0Third 02 00\0";
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(length, sizeof(want));
	memset(buffer, 'x', sizeof(buffer));
	length = sizeof(want) - 1;
	assert_int_equal(SCardListReaders(f->context, NULL, buffer, &length),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(length, sizeof(want));
	assert_int_equal(buffer[0], 'x');
	assert_int_equal(SCardListReaders(f->context, (LPCSTR)8, buffer, &length), SCARD_S_SUCCESS);
	assert_memory_equal(buffer, want, sizeof(want));
	length = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardListReaders(f->context, NULL, (LPSTR)&allocated, &length),
		SCARD_S_SUCCESS);
	assert_memory_equal(allocated, want, sizeof(want));
	assert_int_equal(SCardFreeMemory(f->context, allocated), SCARD_S_SUCCESS);
	length = SCARD_AUTOALLOCATE;
	assert_int_equal(
		SCardListReaders(f->context, NULL, NULL, &length), SCARD_E_INVALID_PARAMETER);
	length = 0xffffffff;
	if (sizeof(length) > 4)
		assert_int_equal(
			SCardListReaders(f->context, NULL, buffer, &length), SCARD_S_SUCCESS);
	assert_int_equal(SCardListReaders(0, NULL, NULL, NULL), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardListReaders(0, NULL, NULL, &length), SCARD_E_INVALID_HANDLE);
	fake_unregister("c");
	assert_int_equal(SCardListReaders(f->context, NULL, buffer, &length), SCARD_S_SUCCESS);
	assert_string_equal(buffer, "Second 01 00");
}

/* PCSC-40 to PCSC-42 */
static void test_groups_and_memory(void **state) {
	struct fixture *f = *state;
	char buffer[22], *allocated;
	DWORD length = 0;
	assert_int_equal(SCardListReaderGroups(f->context, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(length, 22);
	assert_int_equal(SCardListReaderGroups(f->context, buffer, &length), SCARD_S_SUCCESS);
	assert_memory_equal(buffer, "SCard$DefaultReaders\0", 22);
	length = 21;
	assert_int_equal(SCardListReaderGroups(f->context, buffer, &length),
		SCARD_E_INSUFFICIENT_BUFFER);
	length = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardListReaderGroups(f->context, (LPSTR)&allocated, &length),
		SCARD_S_SUCCESS);
	assert_int_equal(SCardFreeMemory(0, allocated), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardFreeMemory(f->context, allocated), SCARD_S_SUCCESS);
	assert_int_equal(SCardFreeMemory(f->context, NULL), SCARD_S_SUCCESS);
	assert_int_equal(
		SCardListReaderGroups(f->context, NULL, NULL), SCARD_E_INVALID_PARAMETER);
}

/* Of equal names in two directories the first counts; a directory that others may write to does not. */
static void test_directories(void **state) {
	(void)state;
	char first[64], second[] = "/tmp/second-readers-XXXXXX", path[160], text[256];
	DWORD length = sizeof(text);
	SCARDCONTEXT context;
	fake_register("x", "Same 00 00", 5);
	snprintf(first, sizeof(first), "%s", getenv("IFDHANDLER_PATH"));
	assert_non_null(mkdtemp(second));
	snprintf(path, sizeof(path), "%s:%s", second, first);
	setenv("IFDHANDLER_PATH", second, 1);
	snprintf(path, sizeof(path), "%s/y.reader", second);
	FILE *file = fopen(path, "w");
	fputs("version=1\nseq=1\nreader=0 Same 00 00\nreader=1 Other 00 01\n", file);
	fclose(file);
	snprintf(path, sizeof(path), "%s:/nonexistent/dir:%s", first, second);
	setenv("IFDHANDLER_PATH", path, 1);
	SCardReleaseContext(((struct fixture *)*state)->context);
	SCardEstablishContext(0, NULL, NULL, &context);
	assert_int_equal(SCardListReaders(context, NULL, text, &length), SCARD_S_SUCCESS);
	/* seq 1 before seq 5: "Same" is the first directory's, and so comes second */
	assert_memory_equal(text, "Other 00 01\0Same 00 00\0", length);
	assert_int_equal(chmod(second, 0777), 0);
	length = sizeof(text);
	assert_int_equal(SCardListReaders(context, NULL, text, &length), SCARD_S_SUCCESS);
	assert_memory_equal(text, "Same 00 00\0", length);
	SCardReleaseContext(context);
	snprintf(path, sizeof(path), "%s/y.reader", second);
	unlink(path);
	rmdir(second);
	setenv("IFDHANDLER_PATH", first, 1);
}

/* The directory is made after the first look. */
static void test_directory_appears(void **state) {
	struct fixture *f = *state;
	char path[128], base[64];
	DWORD length;
	SCARDCONTEXT context;
	snprintf(base, sizeof(base), "%s", getenv("IFDHANDLER_PATH"));
	snprintf(path, sizeof(path), "%s/a/b", base);
	SCardReleaseContext(f->context);
	setenv("IFDHANDLER_PATH", path, 1);
	SCardEstablishContext(0, NULL, NULL, &context);
	assert_int_equal(
		SCardListReaders(context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	snprintf(path, sizeof(path), "%s/a", base);
	mkdir(path, 0755);
	assert_int_equal(
		SCardListReaders(context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	snprintf(path, sizeof(path), "%s/a/b", base);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/a/b/x.reader", base);
	FILE *file = fopen(path, "w");
	fputs("version=1\nseq=1\nreader=0 " READER "\n", file);
	fclose(file);
	assert_int_equal(SCardListReaders(context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(length, sizeof(READER) + 1);
	unlink(path);
	assert_int_equal(
		SCardListReaders(context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	snprintf(path, sizeof(path), "%s/a/b", base);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/a", base);
	rmdir(path);
	SCardReleaseContext(context);
	setenv("IFDHANDLER_PATH", base, 1);
}

static void serve_description(struct fake_peer *peer) {
	struct frame frame;
	struct message_hello hello;
	while (fake_read(peer, &frame) && frame.type == MESSAGE_HELLO) {
		assert_int_equal(message_hello_decode(&frame, &hello), 0);
		fake_welcome(peer, frame.serial,
			hello.flags & HELLO_WANT_DESCRIPTION
				? "version=1\nreader=0 Far Reader 00 00\n"
				: NULL);
	}
}

/* A socket without a description is asked for it, once, and not in its first second. */
static void test_forwarded_socket(void **state) {
	struct fixture *f = *state;
	char name[64];
	DWORD length = sizeof(name);
	f->handler = fake_handler_start("far", serve_description, NULL);
	assert_int_equal(
		SCardListReaders(f->context, NULL, NULL, &length), SCARD_E_NO_READERS_AVAILABLE);
	assert_int_equal(fake_connections(f->handler), 0);
	SCARD_READERSTATE pnp = { .szReader = "\\\\?PnP?\\Notification" };
	assert_int_equal(SCardGetStatusChange(f->context, 5000, &pnp, 1), SCARD_S_SUCCESS);
	length = sizeof(name);
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_string_equal(name, "Far Reader 00 00");
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_int_equal(fake_connections(f->handler), 1);
}

/* PCSC-45 to PCSC-50 */
static void test_connect_checks(void **state) {
	struct fixture *f = *state;
	char name[140];
	SCARDHANDLE card = 5;
	DWORD active = 5;
	assert_int_equal(SCardConnect(0, READER, 2, 3, NULL, &active), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardConnect(0, READER, 2, 3, &card, NULL), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(card, 5);
	assert_int_equal(SCardConnect(0, NULL, 2, 3, &card, &active), SCARD_E_UNKNOWN_READER);
	assert_int_equal(card, 0);
	assert_int_equal(active, 5);
	memset(name, 'n', sizeof(name));
	name[129] = 0;
	assert_int_equal(
		SCardConnect(f->context, name, 2, 3, &card, &active), SCARD_E_INVALID_VALUE);
	name[128] = 0;
	assert_int_equal(
		SCardConnect(f->context, name, 2, 3, &card, &active), SCARD_E_UNKNOWN_READER);
	assert_int_equal(SCardConnect(0, READER, 2, 3, &card, &active), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardConnect(f->context, "fake reader 00 00", 2, 3, &card, &active),
		SCARD_E_UNKNOWN_READER);
	assert_int_equal(active, 0);
	assert_int_equal(
		SCardConnect(f->context, "Nobody", 2, 0, &card, &active), SCARD_E_PROTO_MISMATCH);
	assert_int_equal(
		SCardConnect(f->context, "Nobody", 9, 8, &card, &active), SCARD_E_PROTO_MISMATCH);
	assert_int_equal(
		SCardConnect(f->context, READER, 0, 3, &card, &active), SCARD_E_INVALID_VALUE);
	assert_int_equal(
		SCardConnect(f->context, READER, 4, 3, &card, &active), SCARD_E_INVALID_VALUE);
}

/* A connect on what the last disconnect gave back; one that has died meanwhile is replaced. */
static void test_parked(void **state) {
	struct fixture *f = *state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
		assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	}
	assert_int_equal(fake_connections(f->handler), 1);
	assert_int_equal(SCardDisconnect(f->card, SCARD_LEAVE_CARD), SCARD_S_SUCCESS);
	fake_handler_stop(f->handler);
	start(f, NULL);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(fake_connections(f->handler), 1);
}

static void serve_fourth(struct fake_peer *peer) {
	struct frame frame;
	if (peer->nth == 0)
		return; /* killed */
	if (peer->nth == 1 && fake_read(peer, &frame)) {
		fake_bye(peer, STATUS_IDLE);
		return;
	}
	if (peer->nth == 2 && fake_read(peer, &frame)) { /* killed in the middle of it */
		fake_welcome(peer, frame.serial, NULL);
		fake_read(peer, &frame);
		return;
	}
	fake_serve_card(peer);
}

/* Whoever connects while handlers end is served all the same. */
static void test_connect_tries_again(void **state) {
	struct fixture *f = *state;
	start(f, serve_fourth);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(f->protocol, 1);
	assert_int_equal(fake_connections(f->handler), 4);
}

static void serve_nobody(struct fake_peer *peer) {
	struct frame frame;
	fake_read(peer, &frame);
}

static void test_connect_gives_up(void **state) {
	struct fixture *f = *state;
	start(f, serve_nobody);
	assert_int_equal(connect_shared(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(f->card, 0);
	assert_int_equal(fake_connections(f->handler), 5);
}

static uint16_t bye_status;

static void serve_bye(struct fake_peer *peer) {
	struct frame frame;
	if (fake_read(peer, &frame))
		fake_bye(peer, bye_status);
}

/* PCSC-75, and the other reasons of a handler that answers */
static void test_connect_refused(void **state) {
	static const struct {
		uint16_t bye;
		LONG rv;
	} cases[] = {
		{ STATUS_REFUSED, SCARD_W_SECURITY_VIOLATION },
		{ STATUS_LIMIT, SCARD_E_NO_MEMORY },
		{ STATUS_READER_GONE, SCARD_E_READER_UNAVAILABLE },
		{ STATUS_READER_DETACHED, SCARD_E_READER_UNAVAILABLE },
	};
	struct fixture *f = *state;
	start(f, serve_bye);
	for (unsigned i = 0; i < N_OF(cases); i++) {
		bye_status = cases[i].bye;
		assert_int_equal(connect_shared(f), cases[i].rv);
		assert_int_equal(fake_connections(f->handler), i + 1);
	}
}

/* PCSC-121, PCSC-122, PCSC-130, PCSC-133 */
static void test_transmit_checks(void **state) {
	struct fixture *f = *state;
	static BYTE big[65549];
	BYTE b[16] = { 0 };
	SCARD_IO_REQUEST pci = { .dwProtocol = 1 }, got = { 0 };
	DWORD n = sizeof(b);
	assert_int_equal(SCardTransmit(0, NULL, b, 4, NULL, b, &n), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardTransmit(0, &pci, NULL, 4, NULL, b, &n), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardTransmit(0, &pci, b, 4, NULL, NULL, &n), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardTransmit(0, &pci, b, 4, NULL, b, NULL), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(n, sizeof(b));
	assert_int_equal(SCardTransmit(0, &pci, b, 4, NULL, b, &n), SCARD_E_INVALID_HANDLE);
	assert_int_equal(n, 0);
	n = sizeof(b);
	assert_int_equal(SCardTransmit(f->card, &pci, big, sizeof(big), NULL, b, &n),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(n, sizeof(b));
	assert_int_equal(fake_count(f->handler, MESSAGE_TRANSMIT), 0);
	assert_int_equal(SCardTransmit(f->card, &pci, b, 4, &got, b, &n), SCARD_S_SUCCESS);
	assert_int_equal(got.dwProtocol, 1);
	assert_int_equal(got.cbPciLength, sizeof(SCARD_IO_REQUEST));
}

/* PCSC-125 to PCSC-129: every size, both buffers the same memory, each command sent once */
static void test_transmit_sizes(void **state) {
	struct fixture *f = *state;
	static const DWORD sizes[] = { 0, 1, 2, 5, 260, 261, 2040, 4096, 65544, 65546 };
	static BYTE buffer[70000];
	for (size_t i = 0; i < N_OF(sizes); i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			buffer[k] = (BYTE)(k * 13 + i);
		DWORD n = sizeof(buffer);
		assert_int_equal(SCardTransmit(f->card, SCARD_PCI_T0, buffer, sizes[i], NULL,
					 buffer, &n),
			SCARD_S_SUCCESS);
		assert_int_equal(n, sizes[i] + 2);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(buffer[k], (BYTE)(k * 13 + i));
		assert_int_equal(buffer[sizes[i]], 0x90);
	}
	assert_int_equal(fake_count(f->handler, MESSAGE_TRANSMIT), N_OF(sizes));
	BYTE small[4] = { 1, 2, 3, 4 };
	DWORD n = 1;
	assert_int_equal(SCardTransmit(f->card, SCARD_PCI_T0, buffer, 0, NULL, small, &n),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(n, 2);
	n = 258;
	memset(buffer, 0x55, 300);
	assert_int_equal(SCardTransmit(f->card, SCARD_PCI_T0, buffer, 298, NULL, buffer, &n),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(n, 300);
	assert_int_equal(buffer[0], 0x55);
	assert_int_equal(buffer[257], 0x55);
	assert_int_equal(fake_count(f->handler, MESSAGE_TRANSMIT), N_OF(sizes) + 2);
}

/* PCSC-138 to PCSC-142: from what was pushed, asking nobody */
static void test_status(void **state) {
	struct fixture *f = *state;
	char name[64], *name_block;
	BYTE atr[33], *atr_block;
	DWORD n_name = sizeof(name), state_bits, protocol, n_atr = sizeof(atr);
	f->handler->state.protocol = 1;
	fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED | STATE_IN_USE, 6);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardStatus(f->card, name, &n_name, &state_bits, &protocol, atr, &n_atr),
		SCARD_S_SUCCESS);
	assert_string_equal(name, READER);
	assert_int_equal(n_name, sizeof(READER));
	assert_int_equal(state_bits, 6 << 16 | 0x34);
	assert_int_equal(protocol, 1);
	assert_int_equal(n_atr, 4);
	assert_memory_equal(atr, "\x3b\x02\x14\x50", 4);
	n_name = n_atr = 77777;
	assert_int_equal(SCardStatus(f->card, NULL, &n_name, NULL, NULL, NULL, &n_atr),
		SCARD_S_SUCCESS);
	assert_int_equal(n_name, sizeof(READER));
	assert_int_equal(n_atr, 4);
	n_name = 5;
	n_atr = 2;
	protocol = state_bits = 0;
	memset(name, 'x', sizeof(name));
	assert_int_equal(SCardStatus(f->card, name, &n_name, &state_bits, &protocol, atr, &n_atr),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_memory_equal(name, "Fake x", 6);
	assert_int_equal(n_name, sizeof(READER));
	assert_int_equal(n_atr, 4);
	assert_int_equal(state_bits, 6 << 16 | 0x34);
	assert_int_equal(protocol, 1);
	n_name = n_atr = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardStatus(f->card, (LPSTR)&name_block, &n_name, NULL, NULL,
				 (LPBYTE)&atr_block, &n_atr),
		SCARD_S_SUCCESS);
	assert_string_equal(name_block, READER);
	assert_memory_equal(atr_block, "\x3b\x02\x14\x50", 4);
	SCardFreeMemory(f->context, name_block);
	SCardFreeMemory(f->context, atr_block);
	n_name = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardStatus(f->card, NULL, &n_name, &state_bits, NULL, NULL, NULL),
		SCARD_E_INVALID_PARAMETER);
	assert_int_equal(state_bits, 6 << 16 | 0x34);
	n_name = state_bits = protocol = n_atr = 5;
	assert_int_equal(SCardStatus(0, name, &n_name, &state_bits, &protocol, atr, &n_atr),
		SCARD_E_INVALID_HANDLE);
	assert_int_equal(n_name + state_bits + protocol + n_atr, 0);
}

/* PCSC-143, PCSC-144, the state after an unpower, and trouble */
static void test_status_bits(void **state) {
	struct fixture *f = *state;
	DWORD bits, n_atr = 0;
	fake_change(f->handler, PRESENCE_ABSENT, 0, 0);
	assert_int_equal(
		SCardStatus(f->card, NULL, NULL, &bits, NULL, NULL, &n_atr), SCARD_S_SUCCESS);
	assert_int_equal(bits, 0x02);
	assert_int_equal(n_atr, 0);
	fake_change(f->handler, PRESENCE_MUTE, 0, 0);
	assert_int_equal(
		SCardStatus(f->card, NULL, NULL, &bits, NULL, NULL, &n_atr), SCARD_S_SUCCESS);
	assert_int_equal(bits, 0x0c);
	fake_change(f->handler, PRESENCE_PRESENT, 0, 0);
	assert_int_equal(
		SCardStatus(f->card, NULL, NULL, &bits, NULL, NULL, &n_atr), SCARD_S_SUCCESS);
	assert_int_equal(bits, 0x04);
	fake_change(f->handler, PRESENCE_UNKNOWN, 0, 0);
	assert_int_equal(status(f), SCARD_E_READER_UNAVAILABLE);
	f->handler->state.event = EVENT_REMOVED;
	fake_change(f->handler, PRESENCE_ABSENT, 0, 0);
	bits = 5;
	assert_int_equal(
		SCardStatus(f->card, NULL, NULL, &bits, NULL, NULL, NULL), SCARD_W_REMOVED_CARD);
	assert_int_equal(bits, 0);
	f->handler->state.event = EVENT_RESET;
	fake_change(f->handler, PRESENCE_PRESENT, 0, 0);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(fake_count(f->handler, MESSAGE_SYNC), 0);
	f->handler->state.event = EVENT_NONE;
	fake_change(f->handler, PRESENCE_PRESENT, STATE_LOCKED_ELSEWHERE, 0);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
	assert_int_equal(fake_count(f->handler, MESSAGE_SYNC), 1);
}

/* PCSC-157, PCSC-158, PCSC-160 */
static void test_attributes(void **state) {
	struct fixture *f = *state;
	BYTE value[300], *block;
	DWORD n = sizeof(value);
	assert_int_equal(SCardGetAttrib(0, 1, value, NULL), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardSetAttrib(0, 1, NULL, 4), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardSetAttrib(0, 1, value, 0), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(SCardGetAttrib(0, 1, value, &n), SCARD_E_INVALID_HANDLE);
	assert_int_equal(
		SCardSetAttrib(f->card, 1, value, 265), SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, value, &n),
		SCARD_S_SUCCESS);
	assert_int_equal(n, sizeof(READER));
	assert_string_equal(value, READER);
	n = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, (LPBYTE)&block, &n),
		SCARD_S_SUCCESS);
	assert_string_equal(block, READER);
	SCardFreeMemory(f->context, block);
	n = 4;
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, value, &n),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(n, sizeof(READER));
	fake_change(f->handler, PRESENCE_PRESENT, STATE_LOCKED_ELSEWHERE, 0);
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, NULL, &n),
		SCARD_E_SHARING_VIOLATION);
}

/* PCSC-153, PCSC-154 */
static void test_control(void **state) {
	struct fixture *f = *state;
	DWORD n = 5;
	assert_int_equal(
		SCardControl(f->card, 1, NULL, 5, NULL, 0, &n), SCARD_E_INVALID_PARAMETER);
	assert_int_equal(n, 0);
	assert_int_equal(SCardControl(f->card, 1, NULL, 0, NULL, 0, NULL), SCARD_S_SUCCESS);
	assert_int_equal(SCardControl(0, 1, NULL, 0, NULL, 0, &n), SCARD_E_INVALID_HANDLE);
}

/* PCSC-94, PCSC-95, PCSC-29 */
static void test_disconnect(void **state) {
	struct fixture *f = *state;
	assert_int_equal(SCardDisconnect(f->card, 4), SCARD_E_INVALID_VALUE);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardDisconnect(0, 0), SCARD_E_INVALID_HANDLE);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_E_INVALID_HANDLE);
}

/* PCSC-211, PCSC-210: the handler is killed; the context lives on, the handle says "was reset". */
static void test_handler_dies(void **state) {
	struct fixture *f = *state;
	fake_handler_stop(f->handler);
	f->handler = fake_handler_start("001-001", NULL, NULL);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_W_RESET_CARD);
	assert_int_equal(SCardEndTransaction(f->card, 0), SCARD_W_RESET_CARD);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(f->protocol, 1);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	fake_handler_stop(f->handler);
	f->handler = NULL;
	assert_int_equal(reconnect(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(SCardDisconnect(f->card, SCARD_RESET_CARD), SCARD_S_SUCCESS);
}

static void serve_until_transmit(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_TRANSMIT || frame.type == MESSAGE_BEGIN)
			return;
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
}

/* PCSC-208: the command may have been done, or not. */
static void test_handler_dies_in_flight(void **state) {
	struct fixture *f = *state;
	start(f, serve_until_transmit);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_E_NOT_TRANSACTED);
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_W_RESET_CARD);
}

static void everybody_bye(struct fake_handler *handler, uint16_t status) {
	for (size_t i = 0; i < FAKE_MAX_PEERS; i++)
		if (handler->peers[i].pushed)
			fake_bye(&handler->peers[i], status);
}

/* PCSC-92, PCSC-103, PCSC-146: unplugged, and back */
static void test_reader_gone(void **state) {
	struct fixture *f = *state;
	everybody_bye(f->handler, STATUS_READER_GONE);
	fake_handler_stop(f->handler);
	fake_unregister("001-001");
	f->handler = NULL;
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(status(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardEndTransaction(f->card, 0), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardControl(f->card, 1, NULL, 0, NULL, 0, NULL), SCARD_E_INVALID_VALUE);
	assert_int_equal(reconnect(f), SCARD_E_INVALID_VALUE);
	f->handler = fake_handler_start("001-001", NULL, NULL);
	fake_register("001-001", READER, 2);
	assert_int_equal(status(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(SCardDisconnect(f->card, SCARD_UNPOWER_CARD), SCARD_S_SUCCESS);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_E_INVALID_HANDLE);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
}

/* The same without a last word of the handler: the description tells. */
static void test_reader_gone_silently(void **state) {
	struct fixture *f = *state;
	fake_handler_stop(f->handler);
	f->handler = NULL;
	assert_int_equal(transmit(f), SCARD_W_RESET_CARD);
	fake_unregister("001-001");
	assert_int_equal(transmit(f), SCARD_E_INVALID_VALUE);
	assert_int_equal(status(f), SCARD_E_READER_UNAVAILABLE);
	assert_int_equal(SCardDisconnect(f->card, 0), SCARD_S_SUCCESS);
}

static int in_child(struct fixture *f) {
	DWORD length = 0;
	SCARDCONTEXT own;
	if (SCardListReaders(f->context, NULL, NULL, &length) != SCARD_E_INVALID_HANDLE)
		return 1;
	if (transmit(f) != SCARD_E_INVALID_HANDLE || SCardDisconnect(f->card, 0) != SCARD_E_INVALID_HANDLE)
		return 2;
	if (SCardEstablishContext(0, NULL, NULL, &own) != SCARD_S_SUCCESS)
		return 3;
	f->context = own;
	if (connect_shared(f) != SCARD_S_SUCCESS || transmit(f) != SCARD_S_SUCCESS)
		return 4;
	return SCardReleaseContext(own) == SCARD_S_SUCCESS ? 0 : 5;
}

/* PCSC-21, PCSC-22 */
static void test_fork(void **state) {
	struct fixture *f = *state;
	int result;
	pid_t pid = fork();
	if (pid == 0)
		_exit(in_child(f));
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	assert_int_equal(transmit(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardIsValidContext(f->context), SCARD_S_SUCCESS);
}

static void *fork_storm_run(void *arg) {
	struct fixture *f = arg;
	for (int i = 0; i < 2000; i++)
		if (transmit(f) != SCARD_S_SUCCESS)
			return f;
	return NULL;
}

/* The same while another thread is inside all the time. */
static void test_fork_in_the_middle(void **state) {
	struct fixture *f = *state;
	pthread_t thread;
	void *failed;
	int result;
	pthread_create(&thread, NULL, fork_storm_run, f);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			SCARDCONTEXT own;
			alarm(5);
			if (transmit(f) != SCARD_E_INVALID_HANDLE)
				_exit(1);
			_exit(SCardEstablishContext(0, NULL, NULL, &own) != SCARD_S_SUCCESS);
		}
		waitpid(pid, &result, 0);
		assert_int_equal(result, 0);
	}
	pthread_join(thread, &failed);
	assert_null(failed);
}

static pthread_mutex_t lock_of_card = PTHREAD_MUTEX_INITIALIZER;

/* BEGIN takes a real lock, given back when the connection ends. */
static void serve_transactions(struct fake_peer *peer) {
	struct frame frame;
	bool owner = false;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		if (frame.type == MESSAGE_BEGIN)
			owner = pthread_mutex_lock(&lock_of_card) == 0;
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
	if (owner)
		pthread_mutex_unlock(&lock_of_card);
}

struct beginner {
	pthread_t thread;
	SCARDHANDLE card;
	LONG rv;
};

static void *begin_run(void *arg) {
	struct beginner *b = arg;
	b->rv = SCardBeginTransaction(b->card);
	return NULL;
}

/* PCSC-118: one handle of a context waits for another one of the same context, and nobody stands
 * still: other calls go on, and a release ends both. */
static void test_wait_within_context(void **state) {
	struct fixture *f = *state;
	struct beginner b;
	DWORD length = 0, active;
	start(f, serve_transactions);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardBeginTransaction(f->card), SCARD_S_SUCCESS);
	assert_int_equal(SCardConnect(f->context, READER, 2, 3, &b.card, &active), SCARD_S_SUCCESS);
	pthread_create(&b.thread, NULL, begin_run, &b);
	usleep(100000);
	assert_int_equal(SCardListReaders(f->context, NULL, NULL, &length), SCARD_S_SUCCESS);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
	assert_int_equal(SCardReleaseContext(f->context), SCARD_S_SUCCESS);
	pthread_join(b.thread, NULL);
	assert_int_equal(b.rv, SCARD_S_SUCCESS);
}

struct worker {
	pthread_t thread;
	struct fixture fixture;
	int failed;
};

static void *work_run(void *arg) {
	struct worker *w = arg;
	SCardEstablishContext(0, NULL, NULL, &w->fixture.context);
	for (int i = 0; i < 10; i++) {
		w->failed += connect_shared(&w->fixture) != SCARD_S_SUCCESS;
		w->failed += transmit(&w->fixture) != SCARD_S_SUCCESS;
		w->failed += SCardDisconnect(w->fixture.card, 0) != SCARD_S_SUCCESS;
	}
	SCardReleaseContext(w->fixture.context);
	return NULL;
}

/* PCSC-19 */
static void test_many_threads_connect(void **state) {
	(void)state;
	static struct worker workers[10];
	for (size_t i = 0; i < N_OF(workers); i++)
		pthread_create(&workers[i].thread, NULL, work_run, &workers[i]);
	for (size_t i = 0; i < N_OF(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].failed, 0);
	}
}

static void test_phrases(void **state) {
	(void)state;
	assert_string_not_equal(pcsc_stringify_error(SCARD_S_SUCCESS), "");
	char *text = strdup(pcsc_stringify_error(SCARD_E_NO_SMARTCARD));
	assert_string_not_equal(text, pcsc_stringify_error(SCARD_E_TIMEOUT));
	free(text);
	assert_non_null(strstr(pcsc_stringify_error(0x12345), "0x00012345"));
	if (sizeof(LONG) > 4)
		assert_non_null(strstr(pcsc_stringify_error((LONG)(int)0x80100003), "0xFFFFFFFF80100003"));
	for (LONG code = 0; code < 0x10000; code++)
		assert_in_range(strlen(pcsc_stringify_error((LONG)(0x80100000 + code))), 1, 74);
}

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_any_context), cmocka_unit_test(test_context),
		cmocka_unit_test(test_many_threads_establish), CASE_BARE(test_list),
		CASE_BARE(test_groups_and_memory), CASE_BARE(test_directories),
		CASE_BARE(test_directory_appears), CASE_BARE(test_forwarded_socket),
		CASE(test_connect_checks), CASE(test_parked), CASE_BARE(test_connect_tries_again),
		CASE_BARE(test_connect_gives_up), CASE_BARE(test_connect_refused),
		CASE(test_transmit_checks), CASE(test_transmit_sizes), CASE(test_status),
		CASE(test_status_bits), CASE(test_attributes), CASE(test_control),
		CASE(test_disconnect), CASE(test_handler_dies),
		CASE_BARE(test_handler_dies_in_flight), CASE(test_reader_gone),
		CASE(test_reader_gone_silently), CASE(test_fork), CASE(test_fork_in_the_middle),
		CASE_BARE(test_wait_within_context), CASE(test_many_threads_connect),
		cmocka_unit_test(test_phrases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
