/* SPDX-License-Identifier: MIT */
/* Tokens without bulk endpoints (ICCD 1.0): a CCID command → requests on endpoint 0, one after the
 * other, → its answer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/ccid_msg.h"
#include "ifdhandler/usb/usb.h"

enum {
	/* Data of one request, either way. */
	ICCD_MAX_DATA = USB_MAX_CONTROL,
	/* ISO/IEC 7816-3 8.2.1: the longest ATR. */
	ICCD_MAX_ATR = 33,
	/* ICCD 1.0 6.2.2: the unit of a polling answer, and where it says nothing. Also of version
	 * A's busy bit: chosen. */
	ICCD_POLL_MS = 10,
	/* A polling answer may ask for 655 s; chosen: a token is looked at that often at least. */
	ICCD_MAX_WAIT_MS = 5000,
	/* A refused DATA_BLOCK is tried so many times more (version B): chosen. */
	ICCD_MAX_STALLS = 3,
	/* 256 bytes and SW1 SW2. */
	ICCD_MAX_RESPONSE = 258,
	ICCD_HEADER = 5, /* CLA INS P1 P2 P3 */
};

enum iccd_verb {
	ICCD_CONTROL, /* make the request `setup`: iccd_ended or iccd_stalled */
	ICCD_WAIT,    /* let `wait_ms` pass: iccd_waited */
	ICCD_REPLY,   /* `reply` is the command's answer */
	ICCD_FAIL,    /* there is none: `error` */
};

struct iccd_action {
	enum iccd_verb verb;
	struct usb_setup setup;
	const uint8_t *data; /* what goes to the token, NULL where it is to answer */
	size_t len;          /* wLength: at most ICCD_MAX_DATA */
	unsigned wait_ms;    /* 1 … ICCD_MAX_WAIT_MS */
	/* Its data is in the bytes that were fed last, or in struct iccd: valid until the next call.
	 * bSlot and bSeq are 0: there are none. */
	struct ccid_reply reply;
	int error; /* negative errno */
};

/* What a command consists of. */
enum iccd_op {
	ICCD_OP_OFF, /* switches the card off, and asks for its status */
	ICCD_OP_ON,
	ICCD_OP_STATUS,
	ICCD_OP_XFR,
};

/* The request that is under way. */
enum iccd_step {
	ICCD_IDLE,
	ICCD_OFF,
	ICCD_STATUS,
	ICCD_ON,
	ICCD_ON_STATUS,   /* A: may still be busy */
	ICCD_ATR,         /* version B: DATA_BLOCK after power-on */
	ICCD_XFR,         /* a command, version A: its header */
	ICCD_XFR_STATUS,  /* A: what next? */
	ICCD_DATA_OUT,    /* A: the rest of the command */
	ICCD_DATA,        /* response data; B: any answer */
	ICCD_DATA_STATUS, /* A: are SW1 SW2 there? */
	ICCD_SW,          /* A: SW1 SW2 */
	ICCD_MORE_XFR,    /* B, character level: asks for more than 255 bytes */
};

enum iccd_condition {
	ICCD_FRESH, /* just found: may be in any state */
	ICCD_DIRTY, /* a command was not brought to its end: must be switched off first */
	ICCD_CLEAN,
};

/* One token. The fields are iccd*.c's own. */
struct iccd {
	enum ccid_transport transport;
	uint8_t interface;
	enum iccd_condition condition;
	int powered;
	int absent; /* its status said so, the last time */

	struct ccid_request command;
	enum iccd_op plan[3];
	unsigned n_plan, at;
	enum iccd_step step;
	unsigned n_stalls;
	/* The last request that the token was to answer: asked again after a wait. */
	struct usb_setup asked;
	size_t asked_len;
	uint8_t header[ICCD_HEADER];
	size_t more; /* bytes to be asked for beyond what one request can name */
	size_t response_len;
	uint8_t response[ICCD_MAX_RESPONSE];
};

/* `transport`: CCID_ICCD_A or CCID_ICCD_B. */
void iccd_init(struct iccd *iccd, enum ccid_transport transport, uint8_t interface);

/* Begins a command; its data is borrowed until REPLY or FAIL. One that is under way is given up, and
 * the token is switched off before anything else. */
void iccd_start(
	struct iccd *iccd, const struct ccid_request *request, struct iccd_action *ret_action);

/* The request is done; `len` bytes came, at most as many as were asked for (none to a request that
 * had data). */
void iccd_ended(struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action);
/* The token refused it. */
void iccd_stalled(struct iccd *iccd, struct iccd_action *ret_action);
/* The time has passed. */
void iccd_waited(struct iccd *iccd, struct iccd_action *ret_action);

/* Nothing of the last command is needed any more; one under way is given up. Wipes. */
void iccd_rest(struct iccd *iccd);

/* ---- for iccd*.c ---- */

/* ICCD 1.0 5.2 and 6.2: bmRequestType and bRequest. */
enum {
	ICCD_TO_TOKEN = 0x21,
	ICCD_FROM_TOKEN = 0xa1,
	ICCD_POWER_ON = 0x62,
	ICCD_POWER_OFF = 0x63,
	ICCD_XFR_BLOCK = 0x65,
	ICCD_DATA_BLOCK = 0x6f,
	ICCD_SLOT_STATUS = 0x81,
	ICCD_GET_ICC_STATUS = 0xa0,
};

/* Makes a request that the token answers, or one that it takes. */
void iccd_ask(struct iccd *iccd, enum iccd_step step, uint8_t request, size_t len,
	struct iccd_action *ret_action);
void iccd_tell(struct iccd *iccd, enum iccd_step step, uint8_t request, uint16_t value,
	const uint8_t *data, size_t len, struct iccd_action *ret_action);
void iccd_wait(unsigned ms, struct iccd_action *ret_action);
/* The operation's end: `reply` counts if it is the last of the command. */
void iccd_reply(struct iccd *iccd, const struct ccid_reply *reply, struct iccd_action *ret_action);
void iccd_fail(struct iccd *iccd, int error, struct iccd_action *ret_action);
/* The same in usual words: slot status; the response; the card says nothing. */
void iccd_reply_status(struct iccd *iccd, enum ccid_icc icc, struct iccd_action *ret_action);
void iccd_reply_data(struct iccd *iccd, uint8_t chain, const uint8_t *data, size_t len,
	struct iccd_action *ret_action);
void iccd_reply_mute(struct iccd *iccd, struct iccd_action *ret_action);

void iccd_a_begin(struct iccd *iccd, enum iccd_op op, struct iccd_action *ret_action);
void iccd_a_ended(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action);
void iccd_b_begin(struct iccd *iccd, enum iccd_op op, struct iccd_action *ret_action);
void iccd_b_ended(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action);
void iccd_b_stalled(struct iccd *iccd, struct iccd_action *ret_action);
