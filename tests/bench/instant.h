/* SPDX-License-Identifier: MIT */
/* What the instantly answering drivers, of the handler and of pcscd, and the programs that measure agree on. */
#pragma once

enum {
	/* Control code (PC/SC part 10, 2.1: SCARD_CTL_CODE of a private function) that moves the card: input
	 * one byte, 1 in, 0 out; output 8 bytes, when that was by CLOCK_MONOTONIC, in nanoseconds. */
	INSTANT_MOVE = 0x42000000 + 3901,
	INSTANT_MAX_ANSWER = 65536, /* 80 10 HI LO asks for HI*256+LO bytes */
};
