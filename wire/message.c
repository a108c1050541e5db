/* SPDX-License-Identifier: MIT */
/*
 * The codecs, expanded from wire/messages.def: nobody writes an offset by hand. A decoder accepts
 * exactly the fields and at most the tail that the list allows; a body with bytes left over is wrong.
 */
#include "wire/message.h"

static int tail_decode(
	struct bytes_reader *r, size_t max, const uint8_t **ret_tail, size_t *ret_len) {
	size_t len = bytes_left(r);
	if (r->failed || len > max)
		return -EBADMSG;
	*ret_tail = len ? bytes_take(r, len) : NULL;
	*ret_len = len;
	return 0;
}

/* Fills in the header of the frame that began at `start`, or takes the whole frame back. */
static int frame_close(struct bytes_writer *w, uint8_t *start, uint16_t type, uint16_t serial) {
	size_t size = (size_t)(w->pos - start);
	if (w->failed || size > FRAME_MAX) {
		w->pos = start;
		w->failed = 0;
		return -EMSGSIZE;
	}
	struct bytes_writer header = bytes_writer(start, FRAME_HEADER);
	frame_header(&header, type, serial, size - FRAME_HEADER);
	return 0;
}

#define FIELD(type, name) m.name = bytes_get_##type(&r);
#define MESSAGE(NAME, name, number, fields, max_tail)                                          \
	int message_##name##_decode(const struct frame *frame, struct message_##name *ret) {   \
		struct bytes_reader r = bytes_reader(frame->body, frame->body_len);            \
		struct message_##name m;                                                       \
		if (frame->type != MESSAGE_##NAME)                                             \
			return -EBADMSG;                                                       \
		fields if (tail_decode(&r, (max_tail), &m.tail, &m.tail_len)) return -EBADMSG; \
		*ret = m;                                                                      \
		return 0;                                                                      \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

#define FIELD(type, name) bytes_put_##type(w, m->name);
#define MESSAGE(NAME, name, number, fields, max_tail)                                      \
	int message_##name##_encode(                                                       \
		struct bytes_writer *w, uint16_t serial, const struct message_##name *m) { \
		uint8_t *start = w->pos;                                                   \
		if (w->failed || m->tail_len > (max_tail))                                 \
			return -EMSGSIZE;                                                  \
		bytes_room(w, FRAME_HEADER);                                               \
		fields bytes_put_data(w, m->tail, m->tail_len);                            \
		return frame_close(w, start, MESSAGE_##NAME, serial);                      \
	}
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD

const char *message_name(uint16_t type) {
	switch (type) {
#define MESSAGE(NAME, name, number, fields, max_tail) \
	case number:                                  \
		return #NAME;
#include "wire/messages.def"
#undef MESSAGE
	default: return NULL;
	}
}
