/* SPDX-License-Identifier: MIT */
/*
 * Bulk-IN of anything: bytes 0 and 1 are the packet size, bytes 2 and 3 the announced message
 * length, then transfers: a byte that says how much of what was asked for comes (255: all), one
 * that says whether it ended by itself, and so many bytes. Wanted: messages that lie within what
 * came, and memory that does not grow beyond one message.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

static unsigned sum(const uint8_t *bytes, size_t len) {
	unsigned s = 0;
	for (size_t i = 0; i < len; i++)
		s += bytes[i];
	return s;
}

static void check_reply(const struct ccid_reply *reply) {
	check(reply->type >= CCID_DATA_BLOCK && reply->type <= CCID_RATE_AND_CLOCK);
	check(reply->len <= CCID_MSG_MAX - CCID_MSG_HEADER);
	check(reply->icc <= CCID_ICC_ABSENT && reply->outcome <= CCID_EXTENSION);
	check(sum(reply->data, reply->len) <= 255 * reply->len);
	check(ccid_msg_error_text(reply->error)[0] != '\0');
	for (unsigned command = 0x60; command < 0x74; command++)
		(void)ccid_msg_is_answer(reply, (enum ccid_command_type)command);
}

static void take_all(struct ccid_in *in) {
	struct ccid_reply reply;
	int r;
	while ((r = ccid_in_next(in, &reply)) > 0)
		check_reply(&reply);
}

static void run(struct ccid_in *in, const uint8_t *data, size_t size) {
	while (size >= 2) {
		uint8_t *to;
		size_t room;
		check(ccid_in_want(in, &to, &room) == 0);
		check(room > 0 && room % in->packet_size == 0 && in->size <= CCID_MSG_MAX + 32768);
		size_t n = data[0] == 255 ? room : data[0];
		int whole = data[1] & 1;
		int reset = data[1] == 0xAA;
		data += 2;
		size -= 2;
		if (n > room)
			n = room;
		memset(to, 0, n);
		size_t have = n < size ? n : size;
		memcpy(to, data, have);
		data += have;
		size -= have;
		ccid_in_feed(in, n, whole);
		take_all(in);
		if (reset)
			ccid_in_reset(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size < 4)
		return 0;
	struct ccid_in in;
	uint16_t packet_size = (uint16_t)(1 + (data[0] | data[1] << 8) % 1024);
	uint32_t message_length = (uint32_t)(data[2] | data[3] << 8);
	check(ccid_in_init(&in, packet_size, message_length) == 0);
	run(&in, data + 4, size - 4);
	ccid_in_done(&in);
	(void)ccid_msg_slot_changed(data, size, data[0]);

	/* What is encoded has the length that it says. */
	uint8_t buf[300];
	struct ccid_request request = ccid_msg_xfr_block(data[0], data[1], data, size);
	size_t len = ccid_msg_encode(&request, data[2], data[3], buf, sizeof(buf));
	check(len == (size + 10 <= sizeof(buf) ? size + 10 : 0));
	check(len == 0 || ccid_msg_length(buf, len) == len);
	return 0;
}
