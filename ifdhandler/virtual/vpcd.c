/* SPDX-License-Identifier: MIT */
/*
 * Framing of the card programs' protocol: two bytes of length and as many of payload, both ways.
 * There is no request number in it: an answer belongs to the last question. So there is room for
 * exactly one frame here, and a byte behind it is an error, not the start of the next.
 */
#include "ifdhandler/virtual/vpcd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void vpcd_put(struct bytes_writer *w, const uint8_t *payload, size_t len) {
	if (len > VPCD_MAX_PAYLOAD) {
		w->failed = 1;
		return;
	}
	bytes_put_u8(w, (uint8_t)(len >> 8));
	bytes_put_u8(w, (uint8_t)len);
	bytes_put_data(w, payload, len);
}

void vpcd_put_control(struct bytes_writer *w, enum vpcd_control control) {
	uint8_t byte = (uint8_t)control;
	vpcd_put(w, &byte, 1);
}

uint8_t *vpcd_rx_room(struct vpcd_rx *rx, size_t *ret_size) {
	*ret_size = sizeof(rx->buf) - rx->len;
	return rx->buf + rx->len;
}

void vpcd_rx_grown(struct vpcd_rx *rx, size_t n) {
	assert(n <= sizeof(rx->buf) - rx->len);
	rx->len += n;
}

int vpcd_rx_frame(
	const struct vpcd_rx *rx, size_t max, const uint8_t **ret_payload, size_t *ret_len) {
	if (rx->len < VPCD_HEADER)
		return 0;
	size_t len = (size_t)rx->buf[0] << 8 | rx->buf[1];
	if (len > max)
		return -EMSGSIZE;
	if (rx->len > VPCD_HEADER + len)
		return -EPROTO;
	if (rx->len < VPCD_HEADER + len)
		return 0;
	*ret_payload = rx->buf + VPCD_HEADER;
	*ret_len = len;
	return 1;
}

void vpcd_rx_reset(struct vpcd_rx *rx) {
	explicit_bzero(rx->buf, rx->len);
	rx->len = 0;
}
