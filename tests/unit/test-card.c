/* SPDX-License-Identifier: MIT */
/* The library's functions on a handle: parameters, sizes, what is told from what was pushed. */
#include <pthread.h>
#include <stdatomic.h>

#include "client/reader.h"
#include "client-fixture.h"

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
		assert_int_equal(
			SCardTransmit(f->card, SCARD_PCI_T0, buffer, sizes[i], NULL, buffer, &n),
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
	assert_int_equal(
		SCardStatus(f->card, NULL, &n_name, NULL, NULL, NULL, &n_atr), SCARD_S_SUCCESS);
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

/* Keeps the newest state back until it is asked anything, as a handler does when too much is unread. */
static void serve_late(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		if (frame.type == MESSAGE_GET_ATTRIB)
			peer->handler->state.event = EVENT_RESET;
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
}

/* Whoever has not looked for long is not told old news; whoever looks often asks nobody. */
static void test_status_after_a_heap(void **state) {
	struct fixture *f = *state;
	start(f, serve_late);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	for (uint16_t i = 0; i < 100; i++) {
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, i);
		assert_int_equal(status(f), SCARD_S_SUCCESS);
	}
	assert_int_equal(fake_count(f->handler, MESSAGE_GET_ATTRIB), 0);
	for (uint16_t i = 0; i < 50; i++)
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, i);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(fake_count(f->handler, MESSAGE_GET_ATTRIB), 1);
}

/* The handler dies over the question. */
static void serve_until_asked(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame) && frame.type != MESSAGE_GET_ATTRIB) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		fake_state(peer);
		fake_reply(peer, frame.serial, STATUS_OK, 1);
	}
}

static void test_death_behind_a_heap(void **state) {
	struct fixture *f = *state;
	start(f, serve_until_asked);
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	for (uint16_t i = 0; i < 50; i++)
		fake_change(f->handler, PRESENCE_PRESENT, STATE_POWERED, i);
	assert_int_equal(status(f), SCARD_W_RESET_CARD);
	assert_int_equal(reconnect(f), SCARD_S_SUCCESS);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
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
	assert_int_equal(SCardSetAttrib(f->card, 1, value, 265), SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, value, &n),
		SCARD_S_SUCCESS);
	assert_int_equal(n, sizeof(READER));
	assert_string_equal(value, READER);
	n = SCARD_AUTOALLOCATE;
	assert_int_equal(
		SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, (LPBYTE)&block, &n),
		SCARD_S_SUCCESS);
	assert_string_equal(block, READER);
	SCardFreeMemory(f->context, block);
	n = 4;
	assert_int_equal(SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_SYSTEM_NAME_A, value, &n),
		SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(n, sizeof(READER));
	assert_int_equal(fake_count(f->handler, MESSAGE_GET_ATTRIB), 0);
}

static atomic_bool locked;

/* Refuses what does not wait for a lock while there is one; it may be given back without a word. */
static void serve_locked(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame)) {
		if (frame.type == MESSAGE_HELLO) {
			fake_welcome(peer, frame.serial, NULL);
			continue;
		}
		bool refused = frame.type == MESSAGE_GET_ATTRIB || frame.type == MESSAGE_SYNC;
		if (frame.type == MESSAGE_CONNECT)
			fake_state(peer);
		fake_reply(peer, frame.serial, refused && locked ? STATUS_SHARING : STATUS_OK, 1);
	}
}

static LONG friendly_name(struct fixture *f) {
	BYTE value[300];
	DWORD n = sizeof(value);
	return SCardGetAttrib(f->card, SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, value, &n);
}

/* That the card is locked was pushed; that it is free again the handler has not even read yet. Only it knows. */
static void test_lock_given_back(void **state) {
	struct fixture *f = *state;
	setenv("PCSCLITE_NO_BLOCKING", "1", 1);
	SCardReleaseContext(f->context);
	SCardEstablishContext(0, NULL, NULL, &f->context);
	unsetenv("PCSCLITE_NO_BLOCKING");
	start(f, serve_locked);
	f->handler->state.flags |= STATE_LOCKED_ELSEWHERE;
	assert_int_equal(connect_shared(f), SCARD_S_SUCCESS);
	locked = true;
	assert_int_equal(friendly_name(f), SCARD_E_SHARING_VIOLATION);
	assert_int_equal(status(f), SCARD_E_SHARING_VIOLATION);
	locked = false;
	assert_int_equal(friendly_name(f), SCARD_S_SUCCESS);
	assert_int_equal(status(f), SCARD_S_SUCCESS);
}

/* PCSC-153, PCSC-154 */
static void test_control(void **state) {
	struct fixture *f = *state;
	DWORD n = 5;
	assert_int_equal(SCardControl(f->card, 1, NULL, 5, NULL, 0, &n), SCARD_E_INVALID_PARAMETER);
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

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_connect_checks),
		CASE(test_transmit_checks),
		CASE(test_transmit_sizes),
		CASE(test_status),
		CASE(test_status_bits),
		CASE_BARE(test_status_after_a_heap),
		CASE_BARE(test_death_behind_a_heap),
		CASE(test_attributes),
		CASE_BARE(test_lock_given_back),
		CASE(test_control),
		CASE(test_disconnect),
		CASE(test_many_threads_connect),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
