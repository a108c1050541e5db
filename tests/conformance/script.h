/* SPDX-License-Identifier: MIT */
/*
 * What a scripted reader and the test that plays it say to each other. The reader is a driver: of the
 * handler (driver-script.c) or of pcscd (ifd-script.c). The test listens on a unix socket
 * of type SOCK_SEQPACKET; a driver connects, for each reader once, and asks for everything that it would
 * ask a device; the test answers, and tells of movements unasked. Thus one card, with one
 * memory of what was done to it, can be put behind two stacks. Both ends are on one machine: native byte order.
 */
#pragma once

#include <stdint.h>

enum {
	SCRIPT_MAX_DATA = 65548, /* the longest command or answer that PC/SC carries */
	SCRIPT_MAX_ATTRIB = 264,
};

/* Driver to test: `op` for `slot`. The test answers each but HELLO with SCRIPT_ANSWER, in order per slot;
 * it may take its time for one slot while it answers another. */
enum script_op {
	SCRIPT_HELLO,    /* first, after connecting; data: what the test needs to tell the driver's
			   * readers apart (instance or device name). The test says SCRIPT_SLOTS, then the presence of
			   * each slot by SCRIPT_MOVED. */
	SCRIPT_PRESENCE, /* is a card in? result: 615 yes, 616 no, 0 yes, anything else: error */
	SCRIPT_POWER_UP, /* cold; data of the answer: ATR */
	SCRIPT_RESET,    /* warm; data of the answer: ATR */
	SCRIPT_POWER_DOWN,
	SCRIPT_PROTOCOL,   /* arg: 1 T=0, 2 T=1 (bit values) */
	SCRIPT_TRANSMIT,   /* arg: protocol as bit value; data: command; of the answer: response */
	SCRIPT_CONTROL,    /* arg: code; data in and out */
	SCRIPT_GET_ATTRIB, /* arg: tag; data of the answer: value */
	SCRIPT_SET_ATTRIB, /* arg: tag; data: value */

	/* Test to driver. */
	SCRIPT_ANSWER = 0x100, /* arg: one of enum script_result; data */
	SCRIPT_SLOTS,          /* arg: number of slots, 1 … 16 */
	SCRIPT_MOVED,          /* arg: 1 a card is in, 0 none, 2 was out and is in again */
	SCRIPT_TROUBLE,        /* arg: result that a presence query gives from now on (612 …) */
	SCRIPT_WELL,           /* the trouble is over; SCRIPT_MOVED for each slot follows */
};

/* Results are those of IFDHandler 3.0, so that pcscd's driver hands them through. */
enum script_result {
	SCRIPT_OK = 0,
	SCRIPT_ERROR_TAG = 600,
	SCRIPT_ERROR_SET_FAILURE = 601,
	SCRIPT_ERROR_PTS_FAILURE = 605,
	SCRIPT_ERROR_NOT_SUPPORTED = 606,
	SCRIPT_PROTOCOL_NOT_SUPPORTED = 607,
	SCRIPT_ERROR_POWER_ACTION = 608,
	SCRIPT_COMMUNICATION_ERROR = 612,
	SCRIPT_RESPONSE_TIMEOUT = 613,
	SCRIPT_NOT_SUPPORTED = 614,
	SCRIPT_ICC_PRESENT = 615,
	SCRIPT_ICC_NOT_PRESENT = 616,
	SCRIPT_NO_SUCH_DEVICE = 617,
	SCRIPT_ERROR_INSUFFICIENT_BUFFER = 618,
};

/* One packet; data follows, its length is the packet's rest. */
struct script_message {
	uint32_t op;
	uint32_t slot;
	uint32_t arg;
};
