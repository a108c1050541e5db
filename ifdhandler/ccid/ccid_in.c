/* SPDX-License-Identifier: MIT */
/*
 * Models what arrives on a bulk-IN endpoint as a row of CCID messages.
 *
 * The first transfer of a message asks for as much as the reader announces to send, so that one
 * transfer carries an answer. USB 2.0 5.8.3 lets the device end it by a short packet, or an empty
 * one behind full ones. Readers exist that leave the empty one out; then the transfer stays open
 * although the message is complete. Whoever drives this cancels it after a while and feeds what is
 * there; such a reader is remembered, and from then on asked packet by packet at first, which never
 * waits. What is missing then is asked for exactly, rounded up to whole packets.
 *
 * Between messages empty transfers, bytes that begin no answer, and zero padding are dropped.
 * Bytes behind a message are a message of their own only if they look like one.
 */
#include "ifdhandler/ccid/ccid_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/usb/usb.h"

/* Least first transfer: a whole short APDU's answer also where less is announced (CCID 1.10 5.1:
 * 271 for TPDU level); the announced length is known to be wrong at times. */
enum { FIRST_MIN = 512 };

static size_t round_up(const struct ccid_in *in, size_t n) {
	return (n + in->packet_size - 1) / in->packet_size * in->packet_size;
}

static size_t round_down(const struct ccid_in *in, size_t n) {
	return n / in->packet_size * in->packet_size;
}

int ccid_in_init(struct ccid_in *in, uint16_t packet_size, uint32_t message_length) {
	*in = (struct ccid_in){ .packet_size = packet_size };
	size_t first = message_length > USB_MAX_BULK ? USB_MAX_BULK : message_length;
	in->first = round_up(in, first < FIRST_MIN ? FIRST_MIN : first);
	if (in->first > USB_MAX_BULK)
		in->first = round_down(in, USB_MAX_BULK);
	in->size = in->first;
	in->buf = malloc(in->size);
	return in->buf ? 0 : -ENOMEM;
}

void ccid_in_done(struct ccid_in *in) {
	if (in->buf)
		explicit_bzero(in->buf, in->size);
	free(in->buf);
	*in = (struct ccid_in){ 0 };
}

/* Makes room for `room` bytes behind what is there; the old copy is wiped. */
static int make_room(struct ccid_in *in, size_t room) {
	if (in->start && in->start + in->len + room > in->size) {
		memmove(in->buf, in->buf + in->start, in->len);
		in->start = 0;
	}
	size_t need = in->start + in->len + room;
	if (need <= in->size)
		return 0;
	uint8_t *buf = malloc(need);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, in->buf + in->start, in->len);
	explicit_bzero(in->buf, in->size);
	free(in->buf);
	in->buf = buf;
	in->size = need;
	in->used = in->len;
	in->start = 0;
	return 0;
}

int ccid_in_want(struct ccid_in *in, uint8_t **ret_data, size_t *ret_len) {
	size_t n = in->unterminated || in->careful ? in->packet_size : in->first;
	uint64_t whole = ccid_msg_length(in->buf + in->start, in->len);
	if (whole > in->len)
		n = round_up(in, (size_t)(whole - in->len));
	else if (in->len > 0)
		n = in->packet_size;
	if (n > USB_MAX_BULK)
		n = round_down(in, USB_MAX_BULK);
	int r = make_room(in, n);
	if (r < 0)
		return r;
	*ret_data = in->buf + in->start + in->len;
	*ret_len = n;
	return 0;
}

void ccid_in_feed(struct ccid_in *in, size_t n, int whole) {
	in->len += n;
	if (in->used < in->start + in->len)
		in->used = in->start + in->len;
	uint64_t message = ccid_msg_length(in->buf + in->start, in->len);
	if (!whole && n > 0 && message == in->len && in->len % in->packet_size == 0)
		in->unterminated = 1;
	if (!whole)
		in->careful = 1;
}

static int begins_answer(const uint8_t *bytes) {
	return bytes[0] >= CCID_DATA_BLOCK && bytes[0] <= CCID_RATE_AND_CLOCK;
}

void ccid_in_reset(struct ccid_in *in) {
	explicit_bzero(in->buf, in->used);
	in->used = 0;
	in->start = 0;
	in->len = 0;
	in->careful = 0;
}

/* What lies behind a message: the begin of another one, or nothing. */
static void drop_padding(struct ccid_in *in) {
	if (in->len >= CCID_MSG_HEADER && begins_answer(in->buf + in->start))
		return;
	in->start = 0;
	in->len = 0;
}

int ccid_in_next(struct ccid_in *in, struct ccid_reply *ret_reply) {
	const uint8_t *bytes = in->buf + in->start;
	if (in->len > 0 && !begins_answer(bytes)) {
		ccid_in_reset(in);
		return 0;
	}
	uint64_t whole = ccid_msg_length(bytes, in->len);
	if (whole > CCID_MSG_MAX) {
		ccid_in_reset(in);
		return -EBADMSG;
	}
	if (whole == 0 || whole > in->len)
		return 0;
	int r = ccid_msg_decode(bytes, in->len, ret_reply);
	in->start += (size_t)whole;
	in->len -= (size_t)whole;
	in->careful = 0;
	drop_padding(in);
	return r < 0 ? r : 1;
}

int ccid_in_partial(const struct ccid_in *in) {
	return in->len > 0;
}
