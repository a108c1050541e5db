/* SPDX-License-Identifier: MIT */
/*
 * Models a token whose card is built in and that has no bulk endpoints (ICCD 1.0), seen from above
 * as a reader with one slot: CCID commands become a plan of operations, and these become requests on
 * endpoint 0 in the words of the token's version (iccd_a.c, iccd_b.c).
 *
 *   power on         off, on                   (a token has no warm reset)
 *   power off        off
 *   status           status; off instead where a command has not come to its end; off, on, off the
 *                    first time, which brings any token to where it can be understood
 *   XfrBlock         exchange
 *   all others       refused: there are no parameters, no vendor commands, no PIN pad
 *
 * Pure: no I/O, no clock but "wait so many milliseconds, then ask again"; the one who waits has the
 * deadline. A command that ends otherwise than by its answer leaves a token in mid-sentence: it is
 * switched off before the next one, and without power no exchange begins.
 *
 * Can never happen: a request of more than ICCD_MAX_DATA bytes, two requests without a look at the
 * answer to the first, an endless row of requests without a wait.
 */
#include "ifdhandler/ccid/iccd.h"

#include <errno.h>
#include <string.h>

void iccd_init(struct iccd *iccd, enum ccid_transport transport, uint8_t interface) {
	*iccd = (struct iccd){ .transport = transport, .interface = interface };
}

void iccd_rest(struct iccd *iccd) {
	if (iccd->step != ICCD_IDLE) {
		iccd->condition = ICCD_DIRTY;
		iccd->powered = 0;
	}
	iccd->step = ICCD_IDLE;
	iccd->command = (struct ccid_request){ 0 };
	explicit_bzero(iccd->response, iccd->response_len);
	explicit_bzero(iccd->header, sizeof(iccd->header));
	iccd->response_len = 0;
}

/* ---- requests ---- */

void iccd_ask(struct iccd *iccd, enum iccd_step step, uint8_t request, size_t len,
	struct iccd_action *ret_action) {
	iccd->step = step;
	iccd->asked = (struct usb_setup){ ICCD_FROM_TOKEN, request, 0, iccd->interface };
	iccd->asked_len = len;
	*ret_action =
		(struct iccd_action){ .verb = ICCD_CONTROL, .setup = iccd->asked, .len = len };
}

void iccd_tell(struct iccd *iccd, enum iccd_step step, uint8_t request, uint16_t value,
	const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	iccd->step = step;
	*ret_action = (struct iccd_action){
		.verb = ICCD_CONTROL,
		.setup = { ICCD_TO_TOKEN, request, value, iccd->interface },
		.data = data,
		.len = len,
	};
}

void iccd_wait(unsigned ms, struct iccd_action *ret_action) {
	*ret_action = (struct iccd_action){ .verb = ICCD_WAIT, .wait_ms = ms };
}

/* ---- operations ---- */

static void begin(struct iccd *iccd, struct iccd_action *ret_action) {
	enum iccd_op op = iccd->plan[iccd->at];
	iccd->n_stalls = 0;
	if (iccd->transport == CCID_ICCD_A)
		iccd_a_begin(iccd, op, ret_action);
	else
		iccd_b_begin(iccd, op, ret_action);
}

/* Only the last operation's outcome counts; those before it were worth a try. */
static int go_on(struct iccd *iccd, struct iccd_action *ret_action) {
	if (iccd->at + 1 >= iccd->n_plan)
		return 0;
	iccd->at++;
	begin(iccd, ret_action);
	return 1;
}

void iccd_reply(struct iccd *iccd, const struct ccid_reply *reply, struct iccd_action *ret_action) {
	if (go_on(iccd, ret_action))
		return;
	iccd->step = ICCD_IDLE;
	*ret_action = (struct iccd_action){ .verb = ICCD_REPLY, .reply = *reply };
}

void iccd_fail(struct iccd *iccd, int error, struct iccd_action *ret_action) {
	if (go_on(iccd, ret_action))
		return;
	iccd_rest(iccd);
	*ret_action = (struct iccd_action){ .verb = ICCD_FAIL, .error = error };
}

void iccd_reply_status(struct iccd *iccd, enum ccid_icc icc, struct iccd_action *ret_action) {
	struct ccid_reply reply = { .type = CCID_SLOT_STATUS, .icc = icc };
	iccd->absent = icc == CCID_ICC_ABSENT;
	if (icc != CCID_ICC_ACTIVE)
		iccd->powered = 0;
	iccd_reply(iccd, &reply, ret_action);
}

void iccd_reply_data(struct iccd *iccd, uint8_t chain, const uint8_t *data, size_t len,
	struct iccd_action *ret_action) {
	struct ccid_reply reply = {
		.type = CCID_DATA_BLOCK, .specific = chain, .data = data, .len = len
	};
	iccd_reply(iccd, &reply, ret_action);
}

/* Of a card without power: one source for what is told of its presence, and that is its status. */
static enum ccid_icc unpowered(const struct iccd *iccd) {
	return iccd->absent ? CCID_ICC_ABSENT : CCID_ICC_INACTIVE;
}

void iccd_reply_mute(struct iccd *iccd, struct iccd_action *ret_action) {
	struct ccid_reply reply = {
		.type = CCID_DATA_BLOCK,
		.icc = unpowered(iccd),
		.outcome = CCID_FAILED,
		.error = CCID_ERROR_MUTE,
	};
	iccd->condition = ICCD_DIRTY;
	iccd->powered = 0;
	iccd_reply(iccd, &reply, ret_action);
}

/* ---- commands ---- */

/* An answer that needs no token. */
static void refuse(struct iccd *iccd, uint8_t error, struct iccd_action *ret_action) {
	iccd->step = ICCD_IDLE;
	*ret_action = (struct iccd_action){
		.verb = ICCD_REPLY,
		.reply = {
			.type = CCID_SLOT_STATUS,
			.icc = iccd->powered ? CCID_ICC_ACTIVE : unpowered(iccd),
			.outcome = CCID_FAILED,
			.error = error,
		},
	};
}

static void plan(
	struct iccd *iccd, const enum iccd_op *ops, unsigned n, struct iccd_action *ret_action) {
	memcpy(iccd->plan, ops, n * sizeof(ops[0]));
	iccd->n_plan = n;
	iccd->at = 0;
	/* Clean from now on, unless this does not come to its end. */
	iccd->condition = ICCD_CLEAN;
	begin(iccd, ret_action);
}

static void start_status(struct iccd *iccd, struct iccd_action *ret_action) {
	static const enum iccd_op look[] = { ICCD_OP_STATUS };
	static const enum iccd_op wake_up[] = { ICCD_OP_OFF, ICCD_OP_ON, ICCD_OP_OFF };
	if (iccd->condition == ICCD_FRESH)
		plan(iccd, wake_up, 3, ret_action);
	else
		plan(iccd, iccd->condition == ICCD_DIRTY ? wake_up : look, 1, ret_action);
}

static void start_xfr(struct iccd *iccd, struct iccd_action *ret_action) {
	static const enum iccd_op ops[] = { ICCD_OP_XFR };
	size_t min = iccd->transport == CCID_ICCD_A ? ICCD_HEADER - 1 : 0;
	if (!iccd->powered)
		refuse(iccd, CCID_ERROR_DEACTIVATED, ret_action);
	else if (iccd->command.len < min || iccd->command.len > ICCD_MAX_DATA)
		refuse(iccd, CCID_ERROR_LENGTH, ret_action);
	else
		plan(iccd, ops, 1, ret_action);
}

void iccd_start(
	struct iccd *iccd, const struct ccid_request *request, struct iccd_action *ret_action) {
	static const enum iccd_op on[] = { ICCD_OP_OFF, ICCD_OP_ON };
	iccd_rest(iccd);
	iccd->command = *request;
	switch (request->type) {
	case CCID_POWER_ON: plan(iccd, on, 2, ret_action); break;
	case CCID_POWER_OFF: plan(iccd, on, 1, ret_action); break;
	/* Switching off is what a token has for an abort. */
	case CCID_ABORT:
	case CCID_GET_SLOT_STATUS: start_status(iccd, ret_action); break;
	case CCID_XFR_BLOCK: start_xfr(iccd, ret_action); break;
	default: refuse(iccd, CCID_ERROR_UNSUPPORTED, ret_action); break;
	}
}

/* ---- events ---- */

void iccd_ended(
	struct iccd *iccd, const uint8_t *data, size_t len, struct iccd_action *ret_action) {
	if (iccd->transport == CCID_ICCD_A)
		iccd_a_ended(iccd, data, len, ret_action);
	else
		iccd_b_ended(iccd, data, len, ret_action);
}

void iccd_stalled(struct iccd *iccd, struct iccd_action *ret_action) {
	switch (iccd->step) {
	/* Nothing to switch off, maybe: its status will tell. */
	case ICCD_OFF: iccd_ended(iccd, NULL, 0, ret_action); break;
	case ICCD_ON: iccd_reply_mute(iccd, ret_action); break;
	default:
		if (iccd->transport == CCID_ICCD_B)
			iccd_b_stalled(iccd, ret_action);
		else
			iccd_fail(iccd, -EPIPE, ret_action);
		break;
	}
}

void iccd_waited(struct iccd *iccd, struct iccd_action *ret_action) {
	iccd_ask(iccd, iccd->step, iccd->asked.request, iccd->asked_len, ret_action);
}
