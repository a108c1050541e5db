/* SPDX-License-Identifier: MIT */
/* Codecs and framing: every message survives the way there and back, and nothing but it is accepted. */
#include "tests/unit/test.h"

#include <string.h>

#include "wire/message.h"
#include "wire/status.h"

enum { GUARD = 4 };

/* One case for each message of the list: fields filled with different numbers, the longest tail. */
#define FIELD(type, field)                             \
	m.field = (FIELD_##type)(seed += 0x5A5A5A5Bu); \
	n_bytes += sizeof(FIELD_##type);
#define MESSAGE(NAME, name, number, fields, max_tail)                                    \
	static void round_trip_##name(void **state) {                                    \
		(void)state;                                                             \
		static uint8_t tail[(max_tail) + GUARD], buf[FRAME_MAX + GUARD];         \
		struct message_##name m = { .tail = tail, .tail_len = (max_tail) }, got; \
		uint32_t seed = (number);                                                \
		size_t n_bytes = 0;                                                      \
		struct frame frame;                                                      \
		memset(tail, 0xA7, sizeof(tail));                                        \
		fields struct bytes_writer w = bytes_writer(buf, sizeof(buf));           \
		assert_int_equal(message_##name##_encode(&w, 0x1234, &m), 0);            \
		size_t len = bytes_written(&w);                                          \
		assert_int_equal(len, FRAME_HEADER + n_bytes + (max_tail));              \
		assert_int_equal(frame_parse(buf, len - 1, &frame), 0);                  \
		assert_int_equal(frame_parse(buf, len, &frame), (int)len);               \
		assert_int_equal(frame.type, number);                                    \
		assert_int_equal(frame.serial, 0x1234 + (seed & 0));                     \
		assert_int_equal(message_##name##_decode(&frame, &got), 0);              \
		check_##name(&m, &got);                                                  \
		refuse_##name(frame, n_bytes);                                           \
		m.tail_len++;                                                            \
		assert_int_equal(message_##name##_encode(&w, 1, &m), -EMSGSIZE);         \
		assert_int_equal(bytes_written(&w), len);                                \
	}

/* What was decoded is what was encoded; a body of any wrong size or type is refused. */
#define CHECK_FIELD(type, field) assert_int_equal(got->field, m->field);
#define CHECK_MESSAGE(name, fields, max_tail)                                              \
	static void check_##name(                                                          \
		const struct message_##name *m, const struct message_##name *got) {        \
		fields assert_int_equal(got->tail_len, m->tail_len);                       \
		assert_true((got->tail != NULL) == ((max_tail) != 0));                     \
		if (max_tail)                                                              \
			assert_memory_equal(got->tail, m->tail, m->tail_len);              \
	}                                                                                  \
	static void refuse_##name(struct frame frame, size_t n_bytes) {                    \
		struct message_##name got;                                                 \
		size_t whole = frame.body_len;                                             \
		for (frame.body_len = 0; frame.body_len < n_bytes; frame.body_len++)       \
			assert_int_equal(message_##name##_decode(&frame, &got), -EBADMSG); \
		frame.body_len = whole + 1;                                                \
		assert_int_equal(message_##name##_decode(&frame, &got), -EBADMSG);         \
		frame.body_len = whole;                                                    \
		frame.type ^= 0x40;                                                        \
		assert_int_equal(message_##name##_decode(&frame, &got), -EBADMSG);         \
	}

#pragma push_macro("FIELD")
#pragma push_macro("MESSAGE")
#undef FIELD
#undef MESSAGE
#define FIELD                                         CHECK_FIELD
#define MESSAGE(NAME, name, number, fields, max_tail) CHECK_MESSAGE(name, fields, max_tail)
#include "wire/messages.def"
#pragma pop_macro("MESSAGE")
#pragma pop_macro("FIELD")
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

static void frame_too_long_is_refused_by_its_header(void **state) {
	(void)state;
	static const uint8_t huge[] = { 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0 };
	static const uint8_t one_more[] = { 0x41, 0x00, 0x01, 0x00, 7, 0, 0, 0 };
	static const uint8_t longest[] = { 0x40, 0x00, 0x01, 0x00, 7, 0, 0, 0 };
	struct frame frame;
	assert_int_equal(frame_parse(huge, sizeof(huge), &frame), -EMSGSIZE);
	assert_int_equal(frame_parse(one_more, sizeof(one_more), &frame), -EMSGSIZE);
	assert_int_equal(frame_parse(longest, sizeof(longest), &frame), 0);
}

static void frame_needs_its_whole_header(void **state) {
	(void)state;
	static const uint8_t header[FRAME_HEADER] = { 0, 0, 0, 0, 5, 0, 9, 0 };
	struct frame frame;
	for (size_t n = 0; n < sizeof(header); n++)
		assert_int_equal(frame_parse(header, n, &frame), 0);
	assert_int_equal(frame_parse(header, sizeof(header), &frame), FRAME_HEADER);
	assert_int_equal(frame.type, MESSAGE_BEGIN);
	assert_int_equal(frame.serial, 9);
	assert_int_equal(frame.body_len, 0);
}

static void fields_are_little_endian(void **state) {
	(void)state;
	uint8_t buf[64];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	struct message_hello hello = { .magic = WIRE_MAGIC, .version = 1, .flags = 2 };
	static const uint8_t want[] = { 8, 0, 0, 0, 1, 0, 7, 0, 'I', 'F', 'D', 'H', 1, 0, 2, 0 };
	assert_int_equal(message_hello_encode(&w, 7, &hello), 0);
	assert_int_equal(bytes_written(&w), sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void encoder_leaves_a_full_buffer_as_it_was(void **state) {
	(void)state;
	uint8_t buf[20];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	struct message_hello hello = { .magic = WIRE_MAGIC };
	assert_int_equal(message_hello_encode(&w, 1, &hello), 0);
	assert_int_equal(message_hello_encode(&w, 2, &hello), -EMSGSIZE);
	assert_int_equal(bytes_written(&w), 16);
	assert_int_equal(w.failed, 0);
}

static void cursors_fail_for_good(void **state) {
	(void)state;
	uint8_t bytes[3] = { 1, 2, 3 };
	struct bytes_reader r = bytes_reader(bytes, sizeof(bytes));
	assert_int_equal(bytes_get_u16(&r), 0x0201);
	assert_int_equal(bytes_get_u16(&r), 0);
	assert_int_equal(r.failed, 1);
	assert_int_equal(bytes_get_u8(&r), 0);
	assert_int_equal(bytes_left(&r), 0);
	struct bytes_writer w = bytes_writer(bytes, sizeof(bytes));
	bytes_put_u32(&w, 7);
	bytes_put_u8(&w, 7);
	assert_int_equal(w.failed, 1);
	assert_int_equal(bytes_written(&w), 0);
}

static void names_of_messages_and_outcomes(void **state) {
	(void)state;
	assert_string_equal(message_name(MESSAGE_TRANSMIT), "TRANSMIT");
	assert_null(message_name(0x7777));
	assert_string_equal(status_name(STATUS_READER_CLAIMED), "READER_CLAIMED");
	assert_string_equal(status_text(STATUS_READER_CLAIMED), "claimed by another program");
	assert_string_equal(status_name(9999), "UNKNOWN");
	/* the values that programs compare with: exactly 32 bits, never sign-extended (PCSC-6) */
	assert_true(status_scard(STATUS_CARD_REMOVED) == 0x80100069u);
	assert_true(status_scard(STATUS_REFUSED) == 0x8010006Au);
	assert_true(status_scard(9999) == 0x80100001u);
	assert_true(status_scard(STATUS_OK) == 0);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
#define MESSAGE(NAME, name, number, fields, max_tail) cmocka_unit_test(round_trip_##name),
#include "wire/messages.def"
#undef MESSAGE
		cmocka_unit_test(frame_too_long_is_refused_by_its_header),
		cmocka_unit_test(frame_needs_its_whole_header),
		cmocka_unit_test(fields_are_little_endian),
		cmocka_unit_test(encoder_leaves_a_full_buffer_as_it_was),
		cmocka_unit_test(cursors_fail_for_good),
		cmocka_unit_test(names_of_messages_and_outcomes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
