/* SPDX-License-Identifier: MIT */
/* The command engine on a fake device, for its tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ifdhandler/ccid/ccid.h"
#include "tests/unit/fake-usb.h"

enum { OUT = 0x01, IN = 0x82, SHORT_USEC = 300000 };

/* One command and what came of it. */
struct asked {
	struct ccid_command command;
	int done; /* how often */
	int error;
	struct ccid_reply reply;
	uint8_t data[70000];
};

struct engine_bench {
	struct sd_event *event;
	struct fake_usb *fake;
	struct usb *usb;
	struct ccid_desc desc;
	struct ccid *ccid;
	int lost;
	/* What the device does next. */
	const uint8_t *answer; /* instead of a plain one; bSlot and bSeq are put in */
	size_t answer_len;
	unsigned n_ignore;     /* messages without an answer */
	unsigned n_extensions; /* time extensions first */
	uint8_t multiplier;
	unsigned n_busy; /* answers "slot busy" first */
	uint8_t busy_error;
	int control_result;     /* of class requests */
	struct usb_setup setup; /* the last one */
	struct asked asked[8];
};

/* For cmocka: one slot, two and eight slots of one interface, one slot of a device that takes ABORT, two
 * interfaces. */
int engine_setup(void **state);
int engine_setup_two_slots(void **state);
int engine_setup_eight_slots(void **state);
int engine_setup_abort(void **state);
int engine_setup_two_interfaces(void **state);
int engine_teardown(void **state);

/* Submits XfrBlock with this data as number `n`, for `slot`, with SHORT_USEC to answer. */
struct asked *engine_ask(
	struct engine_bench *b, unsigned n, unsigned slot, const uint8_t *data, size_t len);
/* Waits for its end: once, with `error`. */
void engine_ends_with(struct engine_bench *b, struct asked *a, int error, unsigned ms);
/* Sends 5 bytes and wants them back. */
void engine_check_alive(struct engine_bench *b);
