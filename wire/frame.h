/* SPDX-License-Identifier: MIT */
/* Frames on the stream: length, message type, serial, body. */
#pragma once

#include "wire/bytes.h"

enum {
	FRAME_HEADER = 8, /* u32 length of the body, u16 type, u16 serial */
	FRAME_MAX_BODY = 65548 + 52 /* WIRE_MAX_DATA and room for fields: 65600 */,
	FRAME_MAX = FRAME_HEADER + FRAME_MAX_BODY,
};

struct frame {
	uint16_t type;
	uint16_t serial;
	const uint8_t *body; /* borrowed from the buffer that was parsed */
	size_t body_len;
};

/* Looks for one whole frame at the start of `buf`. Returns its size in bytes with *ret_frame set;
 * 0 when more bytes are needed; -EMSGSIZE when the header announces more than FRAME_MAX_BODY. */
int frame_parse(const uint8_t *buf, size_t len, struct frame *ret_frame);

/* Writes the header for a body of `body_len` bytes (at most FRAME_MAX_BODY) into 8 bytes at `w`. */
void frame_header(struct bytes_writer *w, uint16_t type, uint16_t serial, size_t body_len);
