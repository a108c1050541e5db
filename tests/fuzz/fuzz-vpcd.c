/* SPDX-License-Identifier: MIT */
/*
 * Frames from a hostile card program. The first two bytes choose the longest answer that is taken
 * and the size of the pieces in which the rest comes in; whatever the pieces are, the outcome must
 * be the one that the whole stream has.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/virtual/vpcd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

/* What must come out, said in another way: of the first `len` bytes of the stream. */
static int reference(const uint8_t *in, size_t len, size_t max) {
	size_t said = len < 2 ? 0 : (size_t)in[0] * 256 + in[1];
	if (len < 2)
		return 0;
	if (said > max)
		return -EMSGSIZE;
	return len == said + 2 ? 1 : len < said + 2 ? 0 : -EPROTO;
}

static void check_round_trip(const uint8_t *payload, size_t len) {
	static uint8_t out[VPCD_MAX_FRAME];
	struct bytes_writer w = bytes_writer(out, sizeof(out));
	vpcd_put(&w, payload, len);
	check(!w.failed && bytes_written(&w) == len + VPCD_HEADER);
	check(len == 0 || memcmp(out + VPCD_HEADER, payload, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct vpcd_rx rx;
	if (size < 2)
		return 0;
	size_t max = data[0] == 0xFF ? VPCD_MAX_PAYLOAD : data[0];
	size_t piece = data[1] + 1u;
	const uint8_t *in = data + 2;
	size_t len = size - 2, at = 0;
	int r = 0;
	while (r == 0 && at < len) {
		size_t room, n = len - at < piece ? len - at : piece;
		uint8_t *p = vpcd_rx_room(&rx, &room);
		check(room > 0); /* or it would have been complete */
		n = n < room ? n : room;
		memcpy(p, in + at, n);
		vpcd_rx_grown(&rx, n);
		at += n;
		const uint8_t *payload = NULL;
		size_t got = SIZE_MAX;
		r = vpcd_rx_frame(&rx, max, &payload, &got);
		check(r == reference(in, at, max));
		if (r == 1) {
			check(got == at - VPCD_HEADER && got <= max);
			check(got == 0 || memcmp(payload, in + VPCD_HEADER, got) == 0);
			check_round_trip(payload, got);
		} else {
			check(!payload && got == SIZE_MAX);
		}
	}
	vpcd_rx_reset(&rx);
	return 0;
}
