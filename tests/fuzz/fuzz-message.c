/* SPDX-License-Identifier: MIT */
/* Any bytes as a stream of frames: each is decoded by every decoder; what is accepted encodes to the same bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/message.h"

static uint8_t again[FRAME_MAX];

#define MESSAGE(NAME, name, number, fields, max_tail)                                         \
	static void try_##name(const struct frame *frame, const uint8_t *bytes, size_t len) { \
		struct message_##name m;                                                      \
		if (message_##name##_decode(frame, &m) < 0)                                   \
			return;                                                               \
		assert(frame->type == MESSAGE_##NAME && m.tail_len <= (max_tail));            \
		struct bytes_writer w = bytes_writer(again, sizeof(again));                   \
		assert(message_##name##_encode(&w, frame->serial, &m) == 0);                  \
		assert(bytes_written(&w) == len && memcmp(again, bytes, len) == 0);           \
	}
#include "wire/messages.def"
#undef MESSAGE

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct frame frame;
	int n;
	while ((n = frame_parse(data, size, &frame)) > 0) {
		assert((size_t)n <= size && (size_t)n == FRAME_HEADER + frame.body_len);
#define MESSAGE(NAME, name, number, fields, max_tail) try_##name(&frame, data, (size_t)n);
#include "wire/messages.def"
#undef MESSAGE
		data += n;
		size -= (size_t)n;
	}
	return 0;
}
