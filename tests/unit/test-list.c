/* SPDX-License-Identifier: MIT */
/* Contexts, the list of readers and where it comes from, phrases. */
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "client-fixture.h"

/* PCSC-12 to PCSC-16 */
static void test_context(void **state) {
	(void)state;
	SCARDCONTEXT context = -1;
	for (DWORD scope = 0; scope <= 3; scope++) {
		assert_int_equal(
			SCardEstablishContext(scope, NULL, NULL, &context), SCARD_S_SUCCESS);
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
	assert_int_equal(
		SCardListReaders(f->context, NULL, buffer, &length), SCARD_E_INSUFFICIENT_BUFFER);
	assert_int_equal(length, sizeof(want));
	assert_int_equal(buffer[0], 'x');
	assert_int_equal(SCardListReaders(f->context, (LPCSTR)8, buffer, &length), SCARD_S_SUCCESS);
	assert_memory_equal(buffer, want, sizeof(want));
	length = SCARD_AUTOALLOCATE;
	assert_int_equal(
		SCardListReaders(f->context, NULL, (LPSTR)&allocated, &length), SCARD_S_SUCCESS);
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

/* Number `i` of 997, in an order that is none. */
static unsigned shuffled(unsigned i) {
	return i * 619 % 997;
}

/* Are the readers `first`, `first` + `step` … of 997 listed, in this order, and no others? */
static void assert_every(SCARDCONTEXT context, unsigned first, unsigned step) {
	char *text, name[32];
	DWORD length = SCARD_AUTOALLOCATE;
	assert_int_equal(SCardListReaders(context, NULL, (LPSTR)&text, &length), SCARD_S_SUCCESS);
	const char *at = text;
	for (unsigned i = first; i < 997; i += step) {
		snprintf(name, sizeof(name), "Reader %u 00 00", i);
		assert_string_equal(at, name);
		at += strlen(at) + 1;
	}
	assert_int_equal(*at, 0);
	SCardFreeMemory(context, text);
}

/* Many that come and go in any order are listed by their numbers, and each is found by its name. */
static void test_many(void **state) {
	struct fixture *f = *state;
	char instance[16], name[32];
	for (unsigned i = 0; i < 997; i++) {
		snprintf(instance, sizeof(instance), "i%u", shuffled(shuffled(i)));
		snprintf(name, sizeof(name), "Reader %u 00 00", shuffled(i));
		fake_register(instance, name, shuffled(i) + 1);
		if (i == 500) /* so that the rest is put between these */
			assert_int_equal(SCardListReaders(f->context, NULL, NULL, &(DWORD){ 0 }),
				SCARD_S_SUCCESS);
	}
	assert_every(f->context, 0, 1);
	SCARD_READERSTATE pnp = { .szReader = "\\\\?PnP?\\Notification" };
	assert_int_equal(SCardGetStatusChange(f->context, 0, &pnp, 1), SCARD_E_TIMEOUT);
	DWORD number = pnp.dwEventState >> 16;
	for (unsigned i = 0; i < 997; i++) {
		snprintf(name, sizeof(name), "Reader %u 00 00", i);
		SCARD_READERSTATE found = { .szReader = name,
			.dwCurrentState = SCARD_STATE_IGNORE };
		SCARD_READERSTATE both[2] = { found, pnp };
		assert_int_equal(SCardGetStatusChange(f->context, 0, both, 2), SCARD_E_TIMEOUT);
	}
	for (unsigned i = 0; i < 997; i++)
		if (i % 3 != 2) {
			snprintf(instance, sizeof(instance), "i%u", shuffled(i));
			fake_unregister(instance);
		}
	assert_every(f->context, 2, 3);
	pnp.dwCurrentState = pnp.dwEventState;
	assert_int_equal(SCardGetStatusChange(f->context, 0, &pnp, 1), SCARD_S_SUCCESS);
	assert_int_equal(pnp.dwEventState >> 16, number + 997 - 332);
	SCARD_READERSTATE gone[2] = {
		{ .szReader = "Reader 0 00 00", .dwCurrentState = SCARD_STATE_IGNORE }, pnp
	};
	assert_int_equal(SCardGetStatusChange(f->context, 0, gone, 2), SCARD_E_UNKNOWN_READER);
}

/* Out of descriptors the list is not known, which is not the same as empty; nothing is forgotten. */
static void test_without_descriptors(void **state) {
	struct fixture *f = *state;
	char name[64];
	DWORD length = sizeof(name);
	struct rlimit old, none;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	fake_register("x", READER, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	LONG first = SCardListReaders(f->context, NULL, name, &length);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(first, SCARD_E_NO_MEMORY);
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_string_equal(name, READER);
	fake_unregister("x");
	fake_register("y", "Another 00 00", 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	length = sizeof(name);
	LONG later = SCardListReaders(f->context, NULL, name, &length);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(later, SCARD_E_NO_MEMORY);
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_string_equal(name, "Another 00 00");
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
	assert_int_equal(
		SCardListReaderGroups(f->context, buffer, &length), SCARD_E_INSUFFICIENT_BUFFER);
	length = SCARD_AUTOALLOCATE;
	assert_int_equal(
		SCardListReaderGroups(f->context, (LPSTR)&allocated, &length), SCARD_S_SUCCESS);
	assert_int_equal(SCardFreeMemory(0, allocated), SCARD_E_INVALID_HANDLE);
	assert_int_equal(SCardFreeMemory(f->context, allocated), SCARD_S_SUCCESS);
	assert_int_equal(SCardFreeMemory(f->context, NULL), SCARD_S_SUCCESS);
	assert_int_equal(SCardListReaderGroups(f->context, NULL, NULL), SCARD_E_INVALID_PARAMETER);
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

static void serve_nothing(struct fake_peer *peer) {
	struct frame frame;
	while (fake_read(peer, &frame))
		;
}

/* Ever so many of them that do not answer cost one second together, once. */
static void test_silent_sockets(void **state) {
	struct fixture *f = *state;
	struct fake_handler *silent[8];
	char name[64];
	DWORD length = sizeof(name);
	for (size_t i = 0; i < N_OF(silent); i++) {
		snprintf(name, sizeof(name), "silent-%zu", i);
		silent[i] = fake_handler_start(name, serve_nothing, NULL);
	}
	f->handler = fake_handler_start("far", serve_description, NULL);
	sleep(1); /* the time that a socket has to get its description */
	int64_t start_ms = clock_ms();
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_string_equal(name, "Far Reader 00 00");
	assert_in_range(clock_ms() - start_ms, 900, 4000);
	start_ms = clock_ms();
	assert_int_equal(SCardListReaders(f->context, NULL, name, &length), SCARD_S_SUCCESS);
	assert_in_range(clock_ms() - start_ms, 0, 500);
	for (size_t i = 0; i < N_OF(silent); i++) {
		assert_int_equal(fake_connections(silent[i]), 1);
		fake_handler_stop(silent[i]);
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
		assert_non_null(
			strstr(pcsc_stringify_error((LONG)(int)0x80100003), "0xFFFFFFFF80100003"));
	for (LONG code = 0; code < 0x10000; code++)
		assert_in_range(strlen(pcsc_stringify_error((LONG)(0x80100000 + code))), 1, 74);
}

int main(void) {
#define CASE(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_BARE(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_any_context),
		cmocka_unit_test(test_context),
		cmocka_unit_test(test_many_threads_establish),
		CASE_BARE(test_list),
		CASE_BARE(test_many),
		CASE_BARE(test_without_descriptors),
		CASE_BARE(test_groups_and_memory),
		CASE_BARE(test_directories),
		CASE_BARE(test_directory_appears),
		CASE_BARE(test_forwarded_socket),
		CASE_BARE(test_silent_sockets),
		cmocka_unit_test(test_phrases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
