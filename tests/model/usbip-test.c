/* SPDX-License-Identifier: MIT */
/*
 * usbip-test USBIP-READER: plays the kernel on the other end of a connection, and checks what comes
 * back.
 *
 * Enumerates as a kernel does, powers the card, exchanges APDUs, leaves a transfer hanging and
 * unlinks it, and finds that notifications come by themselves; does the same with a token, over
 * control transfers. Exits 0 if all was right.
 */
#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEADER = 48, MAX = 70000 };

struct kernel {
	int fd;
	uint32_t number;
	uint8_t data[MAX];
};

static void set_word(uint8_t *header, size_t i, uint32_t value) {
	value = htobe32(value);
	memcpy(header + 4 * i, &value, sizeof value);
}

static uint32_t word(const uint8_t *header, size_t i) {
	uint32_t value;
	memcpy(&value, header + 4 * i, sizeof value);
	return be32toh(value);
}

static void fail(const char *what, long value) {
	fprintf(stderr, "usbip-test: %s (%ld)\n", what, value);
	exit(1);
}

static void put(struct kernel *k, const void *data, size_t len) {
	if (len && send(k->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		fail("cannot send", errno);
}

static void get(struct kernel *k, uint8_t *buf, size_t len) {
	for (size_t off = 0; off < len;) {
		ssize_t n = recv(k->fd, buf + off, len - off, 0);
		if (n <= 0)
			fail("nothing comes", n ? errno : 0);
		off += (size_t)n;
	}
}

/* Submits; returns the number of the transfer. */
static uint32_t submit(struct kernel *k, uint32_t endpoint, int in, const uint8_t *setup,
	const void *data, size_t len) {
	uint8_t header[HEADER] = { 0 };
	set_word(header, 0, 1);
	set_word(header, 1, ++k->number);
	set_word(header, 2, 1);
	set_word(header, 3, in ? 1 : 0);
	set_word(header, 4, endpoint);
	set_word(header, 6, (uint32_t)len);
	if (setup)
		memcpy(header + 40, setup, 8);
	put(k, header, sizeof header);
	if (!in)
		put(k, data, len);
	return k->number;
}

/* The next answer must be that of `number`: returns its length or negative status; IN data go to
 * k->data. */
static int answer(struct kernel *k, uint32_t number, int in) {
	uint8_t header[HEADER];
	get(k, header, sizeof header);
	if (word(header, 0) != 3 || word(header, 1) != number)
		fail("answer to another transfer", word(header, 1));
	int status = (int)word(header, 5);
	uint32_t len = word(header, 6);
	if (len > MAX)
		fail("answer too long", len);
	if (in)
		get(k, k->data, len);
	return status ? status : (int)len;
}

static int control(struct kernel *k, const uint8_t *setup) {
	size_t len = setup[6] | (size_t)setup[7] << 8;
	int in = setup[0] & 0x80;
	return answer(k, submit(k, 0, in, setup, NULL, in ? len : 0), in);
}

static void enumerate(struct kernel *k) {
	static const uint8_t device[8] = { 0x80, 6, 0, 1, 0, 0, 18, 0 };
	static const uint8_t config[8] = { 0x80, 6, 0, 2, 0, 0, 0, 2 };
	static const uint8_t qualifier[8] = { 0x80, 6, 0, 6, 0, 0, 10, 0 };
	static const uint8_t configure[8] = { 0x00, 9, 1, 0, 0, 0, 0, 0 };
	static const uint8_t product[8] = { 0x80, 6, 2, 3, 9, 4, 255, 0 };
	if (control(k, device) != 18 || k->data[8] != 0x09 || k->data[9] != 0x12)
		fail("device descriptor", k->data[8]);
	if (control(k, config) != 93 || k->data[2] != 93)
		fail("configuration descriptor", k->data[2]);
	if (control(k, qualifier) != -EPIPE)
		fail("a full speed device has no qualifier", 0);
	if (control(k, configure) != 0)
		fail("SET_CONFIGURATION", 0);
	if (control(k, product) < 10 || k->data[2] != 'E')
		fail("product string", k->data[2]);
}

/* One CCID message and its answer. */
static int exchange(struct kernel *k, const uint8_t *message, size_t len) {
	uint32_t out = submit(k, 1, 0, NULL, message, len);
	if (answer(k, out, 0) != (int)len)
		fail("bulk-OUT", (long)len);
	return answer(k, submit(k, 2, 1, NULL, NULL, MAX), 1);
}

static void test_commands(struct kernel *k) {
	static const uint8_t on[10] = { 0x62, 0, 0, 0, 0, 0, 1 };
	static const uint8_t big[14] = { 0x6f, 4, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0xcb, 0xff, 0x00 };
	uint32_t interrupt = submit(k, 3, 1, NULL, NULL, 8);
	if (answer(k, interrupt, 1) != 2 || k->data[0] != 0x50 || k->data[1] != 3)
		fail("notification", k->data[1]);
	if (exchange(k, on, sizeof on) != 21 || k->data[0] != 0x80 || k->data[10] != 0x3b)
		fail("ATR", k->data[0]);
	if (exchange(k, big, sizeof big) != 10 + 0xff00 + 2 || k->data[10 + 250] != 250 ||
		k->data[10 + 0xff00] != 0x90)
		fail("long answer", k->data[0]);
}

/* Unlinks transfer `number`. */
static void take_back(struct kernel *k, uint32_t number) {
	uint8_t header[HEADER] = { 0 };
	set_word(header, 0, 2);
	set_word(header, 1, ++k->number);
	set_word(header, 5, number);
	put(k, header, sizeof header);
	get(k, header, sizeof header);
	if (word(header, 0) != 4 || word(header, 1) != k->number ||
		(int)word(header, 5) != -ECONNRESET)
		fail("unlink", (int)word(header, 5));
}

static void test_unlink(struct kernel *k) {
	uint8_t hang[14] = { 0x6f, 4, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0xee, 0, 0 };
	static const uint8_t status[10] = { 0x65, 0, 0, 0, 0, 0, 4 };
	if (answer(k, submit(k, 1, 0, NULL, hang, sizeof hang), 0) != sizeof hang)
		fail("bulk-OUT", 0);
	take_back(k, submit(k, 2, 1, NULL, NULL, MAX));
	if (exchange(k, status, sizeof status) != 10 || k->data[6] != 4)
		fail("after unlink", k->data[6]);
}

/* Requests of ICCD version B. */
static void test_token(struct kernel *k) {
	static const uint8_t configure[8] = { 0x00, 9, 1, 0, 0, 0, 0, 0 };
	static const uint8_t on[8] = { 0x21, 0x62, 1, 0, 0, 0, 0, 0 };
	static const uint8_t fetch[8] = { 0xa1, 0x6f, 0, 0, 0, 0, 34, 0 };
	static const uint8_t xfr[8] = { 0x21, 0x65, 0, 0, 0, 0, 4, 0 };
	static const uint8_t apdu[4] = { 0x00, 0xcb, 0, 5 };
	if (control(k, configure) || control(k, on) || control(k, fetch) != 12 ||
		k->data[1] != 0x3b)
		fail("ATR of the token", k->data[1]);
	if (answer(k, submit(k, 0, 0, xfr, apdu, sizeof apdu), 0) != sizeof apdu)
		fail("XFR_BLOCK", 0);
	if (control(k, fetch) != 8 || k->data[5] != 4 || k->data[6] != 0x90)
		fail("DATA_BLOCK", k->data[0]);
	if (control(k, fetch) != -EPIPE)
		fail("DATA_BLOCK without an answer", 0);
}

static void test_reader(struct kernel *k) {
	enumerate(k);
	test_commands(k);
	test_unlink(k);
}

/* Plays the kernel for one model. */
static void play(const char *program, const char *model, void (*test)(struct kernel *k)) {
	/* large */
	static struct kernel kernel;
	int pair[2];
	char number[16];
	const struct timeval limit = { .tv_sec = 10 };
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		fail("socketpair", errno);
	pid_t child = fork();
	if (!child) {
		close(pair[0]);
		snprintf(number, sizeof number, "%d", pair[1]);
		execl(program, program, "-m", model, "-f", number, (char *)NULL);
		_exit(127);
	}
	close(pair[1]);
	kernel.number = 0;
	kernel.fd = pair[0];
	setsockopt(kernel.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	test(&kernel);
	kill(child, SIGTERM);
	waitpid(child, NULL, 0);
	close(kernel.fd);
}

int main(int argc, char **argv) {
	if (argc != 2)
		return 2;
	play(argv[1], "generic-ext-apdu", test_reader);
	play(argv[1], "iccd-b-short", test_token);
	puts("usbip-test: all right");
	return 0;
}
