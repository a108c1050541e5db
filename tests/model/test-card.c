/* SPDX-License-Identifier: MIT */
/*
 * Tests of the emulated cards themselves, what other tests stand on: blocks and TPDUs written out
 * as bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/model/card.h"
#include "tests/model/text.h"

/* Large, and every test uses it anew. */
static struct card_reply reply;

static struct card *new_card(const char *spec) {
	struct card *card = NULL;
	assert_int_equal(card_new(spec, &card), 0);
	card_power_on(card, 1, 0, &reply);
	return card;
}

/* Sends hex (with EDC added when `t1`), and compares the answer ("" for mute; "hang", "parity"). */
static void expect(struct card *card, const char *hex, const char *answer) {
	uint8_t bytes[600], want[600];
	size_t len, want_len;
	assert_int_equal(text_hex(hex, bytes, sizeof bytes - 2, &len), 0);
	if (card->protocol == 1)
		len += card_t1_edc(card->atr->crc, bytes, len, bytes + len);
	card_tpdu(card, bytes, len, &reply);
	if (!strcmp(answer, "")) {
		assert_int_equal(reply.outcome, CARD_MUTE);
		return;
	}
	assert_int_equal(reply.outcome, CARD_ANSWERS);
	assert_int_equal(text_hex(answer, want, sizeof want - 2, &want_len), 0);
	if (card->protocol == 1)
		want_len += card_t1_edc(card->atr->crc, want, want_len, want + want_len);
	assert_int_equal(reply.len, want_len);
	assert_memory_equal(reply.data, want, want_len);
}

static void order(struct card *card, enum card_fault_kind kind, unsigned arg) {
	const struct card_fault fault = { .kind = kind, .arg = arg, .times = 1 };
	assert_int_equal(card_fault(card, &fault), 0);
}

static void atrs(void **state) {
	(void)state;
	struct card *card = new_card("D");
	assert_int_equal(card->protocol, 1);
	assert_true(card->atr->specific);
	assert_int_equal(reply.len, 6);
	card_free(card);
	card = new_card("atr:3bf01200ff9181b17c451f0399");
	assert_int_equal(card->atr->ifsc, 0x7c);
	assert_int_equal(card->ta1, 0x12);
	card_free(card);
	card = new_card("B,atrlen=40");
	assert_int_equal(reply.len, 40);
	assert_int_equal(card->atr->offered, 3);
	assert_int_equal(card->protocol, 0);
	card_free(card);
	card = new_card("X");
	assert_int_equal(reply.outcome, CARD_MUTE);
	card_free(card);
	card = new_card("A,volts=3+1.8,warm=3b0100");
	assert_int_equal(reply.outcome, CARD_MUTE);
	card_power_on(card, 2, 0, &reply);
	assert_int_equal(reply.len, 4);
	card_power_on(card, 2, 1, &reply);
	assert_int_equal(reply.len, 3);
	card_free(card);
	assert_int_equal(card_new("nothing", &card), -EINVAL);
	assert_int_equal(card_new("A,pps=maybe", &card), -EINVAL);
}

static void edc_vectors(void **state) {
	(void)state;
	uint8_t edc[2];
	assert_int_equal(card_t1_edc(1, (const uint8_t *)"123456789", 9, edc), 2);
	assert_int_equal(edc[0] << 8 | edc[1], 0x6f91);
	const uint8_t ifs[4] = { 0x00, 0xc1, 0x01, 0xfe };
	assert_int_equal(card_t1_edc(0, ifs, 4, edc), 1);
	assert_int_equal(edc[0], 0x3e);
}

static void t1_plain(void **state) {
	(void)state;
	struct card *card = new_card("C");
	expect(card, "00c101fe", "00e101fe");
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	expect(card, "0040 05 00a4040000", "0040 02 9000");
	/* the card's last block again, and a block with the number before */
	expect(card, "009000", "0040 02 9000");
	expect(card, "0040 05 00a4040000", "008200");
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	card_free(card);
	card = new_card("crc");
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	card_free(card);
}

static void t1_chaining(void **state) {
	(void)state;
	struct card *card = new_card("small,inf=3");
	/* echo of 4 bytes in two parts; more than IFSC is refused */
	expect(card, "0000 11 00ec0000040102030405060708090a0b0c0d0e", "008200");
	expect(card, "0020 07 00ec0000040102", "009000");
	expect(card, "0040 02 0304", "0020 03 010203");
	/* asks for the same, then for the next */
	expect(card, "008000", "0020 03 010203");
	expect(card, "009000", "0040 03 049000");
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	card_free(card);
}

static void t1_requests(void **state) {
	(void)state;
	struct card *card = new_card("C");
	expect(card, "0000 04 00ed0002", "00c30101");
	expect(card, "00e30101", "00c30101");
	assert_int_equal(reply.delay_us, CARD_TICK_US);
	/* a wrong response: the request comes again */
	expect(card, "00e30102", "00c30101");
	expect(card, "00e30101", "0000 02 9000");
	order(card, CARD_FAULT_IFS, 16);
	expect(card, "0040 05 00a4040000", "00c10110");
	expect(card, "00e10110", "0040 02 9000");
	assert_int_equal(card->t1.ifsc, 16);
	order(card, CARD_FAULT_ABORT, 0);
	expect(card, "0020 05 00a4040000", "00c200");
	expect(card, "00e200", "009000");
	expect(card, "0040 05 00a4040000", "0000 02 9000");
	expect(card, "00c000", "00e000");
	assert_int_equal(card->t1.ifsc, 32);
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	expect(card, "00c30101", "009200");
	card_free(card);
}

static void t1_mistakes(void **state) {
	(void)state;
	struct card *card = new_card("C");
	static const uint8_t select[] = { 0, 0, 5, 0, 0xa4, 4, 0, 0, 0xa5 };
	order(card, CARD_FAULT_REJECT, 0);
	expect(card, "0000 05 00a4040000", "008100");
	order(card, CARD_FAULT_EDC, 0);
	card_tpdu(card, select, sizeof select, &reply);
	assert_int_equal(reply.data[5], 0x92 ^ 1);
	/* the repetition is right */
	expect(card, "008100", "0000 02 9000");
	order(card, CARD_FAULT_PCB, 0xc4);
	expect(card, "008100", "00c4 02 9000");
	order(card, CARD_FAULT_LOSE, 0);
	expect(card, "008100", "");
	order(card, CARD_FAULT_PARITY, 0);
	card_tpdu(card, (const uint8_t[]){ 0, 0x81, 0, 0x81 }, 4, &reply);
	assert_int_equal(reply.outcome, CARD_PARITY);
	order(card, CARD_FAULT_DEAF, 0);
	expect(card, "0040 05 00a4040000", "");
	expect(card, "0040 05 00a4040000", "0040 02 9000");
	/* a bad EDC from the host */
	card_tpdu(card, select, 8, &reply);
	assert_int_equal(reply.data[1] & 0x8f, 0x82);
	card_free(card);
}

static void t0(void **state) {
	(void)state;
	struct card *card = new_card("A");
	expect(card, "00a40400", "9000");
	expect(card, "00a4040002 3f00", "9000");
	expect(card, "00cb000404", "00010203 9000");
	expect(card, "00cb000400", "6c04");
	expect(card, "00ec000002 aabb", "6102");
	expect(card, "00c0000001", "aa 6101");
	expect(card, "00c0000005", "6c01");
	expect(card, "00c0000001", "bb 9000");
	expect(card, "00e70120", "6100");
	card_tpdu(card, (const uint8_t[]){ 0, 0xc0, 0, 0, 0 }, 5, &reply);
	assert_int_equal(reply.len, 258);
	assert_int_equal(reply.data[257], 0x20);
	expect(card, "00e6 6a82", "6a82");
	expect(card, "00ef0000", "");
	expect(card, "80a40400", "6e00");
	expect(card, "00e40000", "9000");
	expect(card, "00a40400", "");
	card_free(card);
}

static void pps(void **state) {
	static const uint8_t request[4] = { 0xff, 0x11, 0x13, 0xfd };
	static const struct {
		const char *spec;
		size_t len;
		int dead;
		unsigned ta1;
	} cases[] = { { "t1", 4, 0, 0x13 }, { "t1,pps=nopps1", 3, 0, 0x11 },
		{ "t1,pps=refuse", 4, 1, 0x11 }, { "t1,pps=longer", 5, 1, 0x11 },
		{ "t1,pps=wrongt", 4, 1, 0x11 }, { "t1,pps=wrongpck", 4, 1, 0x11 },
		{ "t1,pps=empty", 0, 1, 0x11 } };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct card *card = new_card(cases[i].spec);
		card_pps_request(card, request, sizeof request, &reply);
		assert_int_equal(reply.outcome, CARD_ANSWERS);
		assert_int_equal(reply.len, cases[i].len);
		assert_int_equal(card->dead, cases[i].dead);
		assert_int_equal(card->ta1, cases[i].ta1);
		card_free(card);
	}
	struct card *card = new_card("B");
	card_pps_request(card, (const uint8_t[]){ 0xff, 0x01, 0xfe }, 3, &reply);
	assert_int_equal(card->protocol, 1);
	expect(card, "0000 05 00a4040000", "0000 02 9000");
	card_free(card);
	card = new_card("D");
	card_pps_request(card, request, sizeof request, &reply);
	assert_int_equal(reply.outcome, CARD_MUTE);
	card_free(card);
}

/* A card simulator with an ATR of two bytes, which answers each APDU with it turned round, until
 * it is asked to end. */
static void simulate(int listener) {
	uint8_t frame[302];
	int fd = accept(listener, NULL, NULL);
	while (recv(fd, frame, 2, MSG_WAITALL) == 2) {
		size_t len = frame[1];
		if (recv(fd, frame + 2, len, MSG_WAITALL) != (ssize_t)len)
			break;
		if (len == 1 && frame[2] != 4)
			continue;
		if (len == 1) {
			send(fd, "\0\2\x3b\0", 4, 0);
			continue;
		}
		for (size_t i = 0; i < len / 2; i++) {
			uint8_t byte = frame[2 + i];
			frame[2 + i] = frame[1 + len - i];
			frame[1 + len - i] = byte;
		}
		send(fd, frame, 2 + len, 0);
		if (frame[2] == 0xff)
			break;
	}
	_exit(0);
}

static void simulator(void **state) {
	(void)state;
	char directory[] = "/tmp/test-card.XXXXXX", spec[128];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	assert_non_null(mkdtemp(directory));
	snprintf(address.sun_path, sizeof address.sun_path, "%s/card", directory);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(listener, 1), 0);
	pid_t child = fork();
	if (!child)
		simulate(listener);
	snprintf(spec, sizeof spec, "unix:%s", address.sun_path);
	struct card *card = new_card(spec);
	assert_int_equal(reply.len, 2);
	card_apdu(card, (const uint8_t[]){ 0x00, 0xa4, 0x04, 0x01 }, 4, &reply);
	assert_int_equal(reply.len, 4);
	assert_memory_equal(reply.data, ((const uint8_t[]){ 0x01, 0x04, 0xa4, 0x00 }), 4);
	/* over T=0 it is a card like any other: three bytes of data for a header that wants one */
	expect(card, "00b2010201", "01 6102");
	/* the simulator goes: mute */
	card_apdu(card, (const uint8_t[]){ 0x01, 0x04, 0xa4, 0xff }, 4, &reply);
	assert_int_equal(reply.outcome, CARD_ANSWERS);
	card_apdu(card, (const uint8_t[]){ 0x00, 0xa4, 0x04, 0x00 }, 4, &reply);
	assert_int_equal(reply.outcome, CARD_MUTE);
	card_free(card);
	waitpid(child, NULL, 0);
	close(listener);
	unlink(address.sun_path);
	rmdir(directory);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(atrs), cmocka_unit_test(edc_vectors),
		cmocka_unit_test(t1_plain), cmocka_unit_test(t1_chaining),
		cmocka_unit_test(t1_requests), cmocka_unit_test(t1_mistakes), cmocka_unit_test(t0),
		cmocka_unit_test(pps), cmocka_unit_test(simulator) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
