/* SPDX-License-Identifier: MIT */
/* The protocol between a virtual reader and the program that is its card, as vsmartcard's vpcd and
 * vpicc speak it: frames, and nothing that reads or writes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "wire/bytes.h"

enum {
	VPCD_HEADER = 2,          /* length of the payload, big-endian */
	VPCD_MAX_PAYLOAD = 65535, /* what fits in it */
	VPCD_MAX_FRAME = VPCD_HEADER + VPCD_MAX_PAYLOAD,
};

/* From the reader a payload of one byte is one of these; every other length is a command APDU. The
 * card answers VPCD_ATR with its ATR and an APDU with a response APDU; it says nothing else. */
enum vpcd_control {
	VPCD_OFF = 0,
	VPCD_ON = 1,
	VPCD_RESET = 2,
	VPCD_ATR = 4,
};

/* Appends a frame with `len` bytes; where they are more than VPCD_MAX_PAYLOAD, `w` fails. */
void vpcd_put(struct bytes_writer *w, const uint8_t *payload, size_t len);

/* Appends a frame with one control byte. */
void vpcd_put_control(struct bytes_writer *w, enum vpcd_control control);

/* What has come in of one frame. Zero is empty. */
struct vpcd_rx {
	size_t len;
	uint8_t buf[VPCD_MAX_FRAME];
};

/* Where to put bytes that come in and how many (*ret_size; 0 only when a frame is complete); tell
 * vpcd_rx_grown how many they were. */
uint8_t *vpcd_rx_room(struct vpcd_rx *rx, size_t *ret_size);
void vpcd_rx_grown(struct vpcd_rx *rx, size_t n);

/* 1: a frame is complete: *ret_payload (within `rx`) and *ret_len. 0: more has to come.
 * -EMSGSIZE: its header says more than `max` bytes. -EPROTO: bytes follow it, and nobody asked for
 * a second one. */
int vpcd_rx_frame(
	const struct vpcd_rx *rx, size_t max, const uint8_t **ret_payload, size_t *ret_len);

/* Wipes what has come in. */
void vpcd_rx_reset(struct vpcd_rx *rx);
