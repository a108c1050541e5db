/* SPDX-License-Identifier: MIT */
/*
 * A frame is a header of eight bytes and a body. The length is checked before anything of the body
 * is read or stored, so a peer can never make us hold more than FRAME_MAX bytes.
 */
#include "wire/frame.h"

int frame_parse(const uint8_t *buf, size_t len, struct frame *ret_frame) {
	if (len < FRAME_HEADER)
		return 0;
	struct bytes_reader r = bytes_reader(buf, len);
	uint32_t body_len = bytes_get_u32(&r);
	uint16_t type = bytes_get_u16(&r);
	uint16_t serial = bytes_get_u16(&r);
	if (body_len > FRAME_MAX_BODY)
		return -EMSGSIZE;
	const uint8_t *body = bytes_take(&r, body_len);
	if (!body)
		return 0;
	*ret_frame = (struct frame){
		.type = type, .serial = serial, .body = body, .body_len = body_len
	};
	return (int)(FRAME_HEADER + body_len);
}

void frame_header(struct bytes_writer *w, uint16_t type, uint16_t serial, size_t body_len) {
	bytes_put_u32(w, (uint32_t)body_len);
	bytes_put_u16(w, type);
	bytes_put_u16(w, serial);
}
