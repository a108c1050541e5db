/* SPDX-License-Identifier: MIT */
/* One connection: frames in pieces and in heaps, large answers, and every way in which it can end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/channel.h"
#include "client/clock.h"
#include "client/descriptor.h"
#include "test.h"
#include "wire/status.h"

struct pair {
	struct channel channel;
	int peer;
};

static int setup(void **state) {
	struct pair *p = calloc(1, sizeof(*p));
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p->channel = CHANNEL_CLOSED;
	p->channel.fd = descriptor_own(fds[0]);
	p->peer = fds[1];
	*state = p;
	return 0;
}

static int teardown(void **state) {
	struct pair *p = *state;
	channel_close(&p->channel);
	if (p->peer >= 0)
		close(p->peer);
	free(p);
	return 0;
}

static void push(struct pair *p, const struct bytes_writer *w) {
	assert_false(w->failed);
	size_t n = bytes_written(w);
	assert_int_equal(send(p->peer, w->start, n, 0), n);
}

static void put_welcome(struct bytes_writer *w, uint16_t n_slots) {
	struct message_welcome m = { .version = 1, .n_slots = n_slots };
	assert_int_equal(message_welcome_encode(w, 1, &m), 0);
}

static void put_state(struct bytes_writer *w, uint8_t slot, uint16_t counter) {
	static const uint8_t atr[] = { 0x3b, 0x00 };
	struct message_state m = {
		.slot = slot,
		.presence = PRESENCE_PRESENT,
		.counter = counter,
		.tail = atr,
		.tail_len = sizeof(atr),
	};
	assert_int_equal(message_state_encode(w, 0, &m), 0);
}

static void put_reply(struct bytes_writer *w, uint16_t serial, const void *data, size_t n) {
	struct message_reply m = { .status = STATUS_OK, .value = 7, .tail = data, .tail_len = n };
	assert_int_equal(message_reply_encode(w, serial, &m), 0);
}

/* What was pushed comes along with the answer and is applied before it. */
static void test_states_before_reply(void **state) {
	struct pair *p = *state;
	uint8_t room[512];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_reply reply;
	put_welcome(&w, 2);
	put_state(&w, 0, 3);
	put_state(&w, 1, 4);
	put_state(&w, 0, 5);
	put_reply(&w, 0, "abc", 3);
	put_state(&w, 1, 6);
	push(p, &w);
	assert_int_equal(channel_reply(&p->channel, &reply), 0);
	assert_int_equal(reply.value, 7);
	assert_int_equal(reply.tail_len, 3);
	assert_memory_equal(reply.tail, "abc", 3);
	assert_int_equal(channel_slot(&p->channel, 0).counter, 5);
	assert_int_equal(channel_slot(&p->channel, 1).counter, 4);
	assert_int_equal(channel_drain(&p->channel), 0);
	assert_int_equal(channel_slot(&p->channel, 1).counter, 6);
	assert_int_equal(channel_slot(&p->channel, 1).atr_len, 2);
	assert_false(channel_slot(&p->channel, 2).known);
}

static void test_one_byte_at_a_time(void **state) {
	struct pair *p = *state;
	uint8_t room[512];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	put_welcome(&w, 1);
	put_state(&w, 0, 9);
	size_t n = bytes_written(&w);
	for (size_t i = 0; i < n; i++) {
		assert_false(channel_slot(&p->channel, 0).known);
		assert_int_equal(send(p->peer, room + i, 1, 0), 1);
		assert_int_equal(channel_drain(&p->channel), 0);
	}
	assert_int_equal(channel_slot(&p->channel, 0).counter, 9);
}

/* An answer of 65,548 bytes grows the buffer and comes whole, whatever stood before it. */
static void test_longest_answer(void **state) {
	struct pair *p = *state;
	static uint8_t room[FRAME_MAX + 256], data[WIRE_MAX_DATA];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_reply reply;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	put_welcome(&w, 1);
	put_state(&w, 0, 1);
	put_reply(&w, 0, data, sizeof(data));
	push(p, &w);
	assert_int_equal(channel_reply(&p->channel, &reply), 0);
	assert_int_equal(reply.tail_len, sizeof(data));
	assert_memory_equal(reply.tail, data, sizeof(data));
	channel_wipe(&p->channel);
	for (size_t i = 0; i < p->channel.start; i++)
		assert_int_equal(p->channel.buf[i], 0);
}

/* A heap of states is told from a few. */
static void test_heap(void **state) {
	struct pair *p = *state;
	uint8_t room[1024];
	for (unsigned n = 0; n <= CHANNEL_HEAP + 1; n++) {
		struct bytes_writer w = bytes_writer(room, sizeof(room));
		if (n == 0)
			put_welcome(&w, 1);
		for (unsigned i = 0; i < n; i++)
			put_state(&w, 0, (uint16_t)(n + i));
		push(p, &w);
		assert_int_equal(channel_drain(&p->channel), n >= CHANNEL_HEAP);
	}
}

/* The command goes out in one piece behind its fields, not copied. */
static void test_send_tail(void **state) {
	struct pair *p = *state;
	uint8_t room[32], got[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_transmit m = { .protocol = 2 };
	message_transmit_encode(&w, channel_serial(&p->channel), &m);
	assert_int_equal(channel_send_tail(&p->channel, &w, "\0\xa4\4\0", 4), 0);
	ssize_t n = recv(p->peer, got, sizeof(got), 0);
	struct frame frame;
	assert_int_equal(frame_parse(got, (size_t)n, &frame), n);
	assert_int_equal(message_transmit_decode(&frame, &m), 0);
	assert_int_equal(frame.serial, 1);
	assert_int_equal(m.protocol, 2);
	assert_int_equal(m.tail_len, 4);
	assert_memory_equal(m.tail, "\0\xa4\4\0", 4);
	w = bytes_writer(room, sizeof(room));
	message_transmit_encode(&w, 1, &m);
	assert_int_equal(
		channel_send_tail(&p->channel, &w, got, (size_t)WIRE_MAX_DATA + 1), -EMSGSIZE);
}

static void test_end_without_bye(void **state) {
	struct pair *p = *state;
	struct message_reply reply;
	close(p->peer);
	p->peer = -1;
	assert_int_equal(channel_reply(&p->channel, &reply), CHANNEL_LOST);
	assert_int_equal(channel_drain(&p->channel), CHANNEL_LOST);
	assert_int_equal(p->channel.bye, STATUS_OK);
}

/* The reason is found though the request cannot be sent any more. */
static void test_bye_before_request(void **state) {
	struct pair *p = *state;
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct message_bye bye = { .status = STATUS_READER_GONE };
	message_bye_encode(&w, 0, &bye);
	push(p, &w);
	close(p->peer);
	p->peer = -1;
	w = bytes_writer(room, sizeof(room));
	channel_hello(&p->channel, 0, &w);
	assert_int_equal(channel_send_tail(&p->channel, &w, NULL, 0), CHANNEL_UNSENT);
	assert_int_equal(p->channel.bye, STATUS_READER_GONE);
}

/* Pushes raw bytes and expects the connection to be given up. */
static void refused(struct pair *p, const uint8_t *bytes, size_t n) {
	struct message_reply reply;
	assert_int_equal(send(p->peer, bytes, n, 0), n);
	assert_int_equal(channel_reply(&p->channel, &reply), CHANNEL_LOST);
}

static void test_frame_too_long(void **state) {
	static const uint8_t bytes[] = { 0x41, 0x00, 0x01, 0x00, 0x82, 0, 0, 0 };
	refused(*state, bytes, sizeof(bytes));
}

/* Half a header that announces 4 GB: nothing is allocated for it. */
static void test_half_a_long_header(void **state) {
	struct pair *p = *state;
	assert_int_equal(send(p->peer, "\xff\xff\xff\xff", 4, 0), 4);
	assert_int_equal(channel_drain(&p->channel), 0);
	assert_true(p->channel.size < FRAME_MAX);
	refused(p, (const uint8_t *)"\x82\0\0\0", 4);
	assert_true(p->channel.size < FRAME_MAX);
}

static void test_unknown_type(void **state) {
	static const uint8_t bytes[] = { 0, 0, 0, 0, 0x7f, 0, 0, 0 };
	refused(*state, bytes, sizeof(bytes));
}

static void test_state_before_welcome(void **state) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	put_state(&w, 0, 1);
	refused(*state, room, bytes_written(&w));
}

static void test_two_welcomes(void **state) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	put_welcome(&w, 1);
	put_welcome(&w, 2);
	refused(*state, room, bytes_written(&w));
}

static void test_no_slots(void **state) {
	uint8_t room[64];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	put_welcome(&w, 0);
	refused(*state, room, bytes_written(&w));
}

/* A slot beyond those that were welcomed touches nothing, and nobody is hurt. */
static void test_unknown_slot(void **state) {
	struct pair *p = *state;
	uint8_t room[128];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	put_welcome(&w, 1);
	put_state(&w, 200, 1);
	push(p, &w);
	assert_int_equal(channel_drain(&p->channel), 0);
	assert_false(channel_slot(&p->channel, 200).known);
}

/* An answer to another request is not taken for ours. */
static void test_wrong_serial(void **state) {
	struct pair *p = *state;
	uint8_t room[128];
	struct bytes_writer w = bytes_writer(room, sizeof(room));
	struct frame frame;
	p->channel.serial = 8;
	put_reply(&w, 7, "old", 3);
	put_reply(&w, 8, "new", 3);
	push(p, &w);
	assert_int_equal(channel_await(&p->channel, MESSAGE_REPLY, CLOCK_NEVER, &frame), 0);
	assert_memory_equal(frame.body + frame.body_len - 3, "new", 3);
}

static void test_deadline(void **state) {
	struct pair *p = *state;
	struct frame frame;
	int64_t start_ms = clock_ms();
	assert_int_equal(channel_await(&p->channel, MESSAGE_WELCOME, start_ms + 50, &frame),
		CHANNEL_TIMEOUT);
	assert_true(clock_ms() - start_ms >= 50);
}

/* Nobody reads, nobody closes: finish gives up in time. */
static void test_finish_is_bounded(void **state) {
	struct pair *p = *state;
	int64_t start_ms = clock_ms();
	channel_finish(&p->channel, start_ms + 50);
	assert_int_equal(p->channel.fd, -1);
	assert_true(clock_ms() - start_ms < 2000);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_states_before_reply),
		CASE(test_one_byte_at_a_time),
		CASE(test_longest_answer),
		CASE(test_heap),
		CASE(test_send_tail),
		CASE(test_end_without_bye),
		CASE(test_bye_before_request),
		CASE(test_frame_too_long),
		CASE(test_half_a_long_header),
		CASE(test_unknown_type),
		CASE(test_state_before_welcome),
		CASE(test_two_welcomes),
		CASE(test_no_slots),
		CASE(test_unknown_slot),
		CASE(test_wrong_serial),
		CASE(test_deadline),
		CASE(test_finish_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
