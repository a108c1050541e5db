/* SPDX-License-Identifier: MIT */
/* Bounded little-endian cursors: put and get with a sticky error, so that a codec checks once, at the end. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Reads from `pos` to `end`. After an attempt to read beyond, `failed` stays set and all values are 0. */
struct bytes_reader {
	const uint8_t *pos;
	const uint8_t *end;
	int failed;
};

/* Writes from `start`; `failed` stays set once something did not fit. */
struct bytes_writer {
	uint8_t *start;
	uint8_t *pos;
	uint8_t *end;
	int failed;
};

static inline struct bytes_reader bytes_reader(const void *data, size_t len) {
	const uint8_t *p = data;
	return (struct bytes_reader){ .pos = p, .end = p + len };
}

static inline struct bytes_writer bytes_writer(void *buf, size_t size) {
	uint8_t *p = buf;
	return (struct bytes_writer){ .start = p, .pos = p, .end = p + size };
}

static inline size_t bytes_left(const struct bytes_reader *r) {
	return r->failed ? 0 : (size_t)(r->end - r->pos);
}

static inline size_t bytes_written(const struct bytes_writer *w) {
	return (size_t)(w->pos - w->start);
}

/* The next `n` bytes, or NULL (and failed) where there are fewer. */
static inline const uint8_t *bytes_take(struct bytes_reader *r, size_t n) {
	if (bytes_left(r) < n) {
		r->failed = 1;
		return NULL;
	}
	const uint8_t *p = r->pos;
	r->pos += n;
	return p;
}

/* Room for `n` bytes, or NULL (and failed) where there is less. */
static inline uint8_t *bytes_room(struct bytes_writer *w, size_t n) {
	if (w->failed || (size_t)(w->end - w->pos) < n) {
		w->failed = 1;
		return NULL;
	}
	uint8_t *p = w->pos;
	w->pos += n;
	return p;
}

static inline uint64_t bytes_get(struct bytes_reader *r, size_t n) {
	const uint8_t *p = bytes_take(r, n);
	uint64_t v = 0;
	for (size_t i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline void bytes_put(struct bytes_writer *w, uint64_t v, size_t n) {
	uint8_t *p = bytes_room(w, n);
	for (size_t i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint8_t bytes_get_u8(struct bytes_reader *r) {
	return (uint8_t)bytes_get(r, 1);
}

static inline uint16_t bytes_get_u16(struct bytes_reader *r) {
	return (uint16_t)bytes_get(r, 2);
}

static inline uint32_t bytes_get_u32(struct bytes_reader *r) {
	return (uint32_t)bytes_get(r, 4);
}

static inline void bytes_put_u8(struct bytes_writer *w, uint8_t v) {
	bytes_put(w, v, 1);
}

static inline void bytes_put_u16(struct bytes_writer *w, uint16_t v) {
	bytes_put(w, v, 2);
}

static inline void bytes_put_u32(struct bytes_writer *w, uint32_t v) {
	bytes_put(w, v, 4);
}

static inline void bytes_put_data(struct bytes_writer *w, const void *data, size_t n) {
	uint8_t *p = bytes_room(w, n);
	if (p && n)
		memcpy(p, data, n);
}
