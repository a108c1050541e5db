/* SPDX-License-Identifier: MIT */
/*
 * Models the bulk endpoint pair of one interface: one message out at a time, answers in as they
 * come, and the ladder that brings both ends back into step when a transfer goes wrong.
 *
 * An answer is listened for from the moment its command is sent, and only then: at rest no transfer
 * is open. A message is one transfer without a terminating empty packet: readers count dwLength.
 *
 * The ladder (each step only if the one before did not help): end the open transfers; clear the
 * halts and toggles of both endpoints and ask for slot status; give the device up, so that it is
 * opened anew. Commands that were under way have failed by then: none is ever sent twice behind
 * its user's back.
 *
 * A token without bulk endpoints has a row of control transfers in the place of messages
 * (ccid_endpoint0.c), and the same ladder.
 *
 * Can never happen: a transfer submitted while it is under way; an answer given to a command that
 * was not yet sent when the bytes arrived.
 */
#include "ifdhandler/ccid/ccid_pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_endpoint0.h"

/* CCID 1.10 5.3.1: class request to an interface. */
enum { ABORT_REQUEST_TYPE = 0x21, ABORT_REQUEST = 1 };

static void on_out(struct usb_transfer *transfer, void *userdata);
static void on_in(struct usb_transfer *transfer, void *userdata);
static void on_control(struct usb_transfer *transfer, void *userdata);

int ccid_pipe_init(struct ccid_pipe *pipe, struct ccid *ccid,
	const struct ccid_interface *interface, unsigned first_slot) {
	*pipe = (struct ccid_pipe){
		.ccid = ccid,
		.interface = interface,
		.first_slot = first_slot,
		.out = { .kind = USB_BULK,
			.endpoint = interface->bulk_out.address,
			.done = on_out,
			.userdata = pipe },
		.in = { .kind = USB_BULK,
			.endpoint = interface->bulk_in.address,
			.done = on_in,
			.userdata = pipe },
		.control = { .kind = USB_CONTROL, .done = on_control, .userdata = pipe },
	};
	if (interface->transport != CCID_BULK)
		return ccid_endpoint0_init(pipe);
	return ccid_in_init(
		&pipe->assembler, interface->bulk_in.packet_size, interface->message_length);
}

void ccid_pipe_done(struct ccid_pipe *pipe) {
	if (!pipe->ccid)
		return;
	if (pipe->endpoint0)
		ccid_endpoint0_done(pipe);
	ccid_in_done(&pipe->assembler);
	if (pipe->out_buf)
		explicit_bzero(pipe->out_buf, pipe->out_size);
	free(pipe->out_buf);
	pipe->out_buf = NULL;
}

static int is_quiet(const struct ccid_pipe *pipe) {
	return !pipe->in.pending && !pipe->out.pending && !pipe->control.pending;
}

/* ---- ladder ---- */

static void on_probe(void *userdata, const struct ccid_reply *reply, int error) {
	struct ccid_pipe *pipe = userdata;
	if (pipe->state != CCID_PIPE_PROBING)
		return;
	if (!reply) {
		ccid_give_up(pipe->ccid, error);
		return;
	}
	pipe->state = CCID_PIPE_UP;
}

static void clear_halts(struct ccid_pipe *pipe) {
	const struct ccid_config *c = &pipe->ccid->config;
	if (pipe->endpoint0)
		return; /* no halt: the next request ends it (USB 2.0 8.5.3.4) */
	/* A device that refuses this shows in the probe whether it is in step. */
	(void)c->ops->clear_halt(c->usb, pipe->in.endpoint);
	(void)c->ops->clear_halt(c->usb, pipe->out.endpoint);
}

/* All transfers have ended: the commands fail, and the device is asked whether it follows again. */
static void probe(struct ccid_pipe *pipe) {
	if (!pipe->endpoint0)
		ccid_in_reset(&pipe->assembler);
	ccid_fail_pipe(pipe, pipe->error);
	if (pipe->ccid->stop_error)
		return;
	if (pipe->n_overflows >= CCID_MAX_OVERFLOWS) {
		ccid_give_up(pipe->ccid, pipe->error);
		return;
	}
	clear_halts(pipe);
	pipe->state = CCID_PIPE_PROBING;
	pipe->n_stale = 0;
	pipe->probe = (struct ccid_command){
		.request = ccid_msg_plain(CCID_GET_SLOT_STATUS),
		.slot = pipe->first_slot,
		.timeout_usec = CCID_PROBE_AGAIN_USEC,
		.bare = 1,
		.done = on_probe,
		.userdata = pipe,
	};
	ccid_push(pipe->ccid, &pipe->probe);
}

void ccid_pipe_settle(struct ccid_pipe *pipe) {
	if (pipe->state == CCID_PIPE_DRAINING && is_quiet(pipe))
		probe(pipe);
}

void ccid_pipe_break(struct ccid_pipe *pipe, int error) {
	if (pipe->state == CCID_PIPE_PROBING) {
		ccid_give_up(pipe->ccid, error);
		return;
	}
	if (pipe->state != CCID_PIPE_UP)
		return;
	pipe->error = error;
	pipe->state = error == -EIO ? CCID_PIPE_GRACE : CCID_PIPE_DRAINING;
	pipe->grace_until = ccid_now() + CCID_GRACE_USEC;
	pipe->n_overflows += error == -EOVERFLOW;
	pipe->harvest_at = 0;
	if (pipe->endpoint0)
		ccid_endpoint0_drop(pipe);
	const struct ccid_config *c = &pipe->ccid->config;
	c->ops->cancel(c->usb, &pipe->in);
	c->ops->cancel(c->usb, &pipe->out);
	c->ops->cancel(c->usb, &pipe->control);
	ccid_pipe_settle(pipe);
}

/* ---- out ---- */

static int encode(struct ccid_pipe *pipe, struct ccid_command *command) {
	size_t need = CCID_MSG_HEADER + command->request.len;
	if (need > pipe->out_size) {
		uint8_t *buf = malloc(need);
		if (!buf)
			return -ENOMEM;
		free(pipe->out_buf); /* wiped when its message was out */
		pipe->out_buf = buf;
		pipe->out_size = need;
	}
	pipe->out.data = pipe->out_buf;
	pipe->out.len =
		ccid_msg_encode(&command->request, (uint8_t)(command->slot - pipe->first_slot),
			command->seq, pipe->out_buf, pipe->out_size);
	return pipe->out.len ? 0 : -EMSGSIZE;
}

static void send_bulk(struct ccid_pipe *pipe, struct ccid_command *command) {
	const struct ccid_config *c = &pipe->ccid->config;
	int r = encode(pipe, command);
	if (r == 0)
		r = c->ops->submit(c->usb, &pipe->out);
	if (r == 0)
		return;
	pipe->sending = NULL;
	/* Nothing went out, and for want of memory, or unplugged, only this command is hurt. Anything
	 * else is trouble with the endpoint: halted, or lost to another program. */
	if (r == -ENOMEM || r == -EMSGSIZE || r == -EINVAL || r == -ENODEV)
		ccid_finish(pipe->ccid, command, NULL, r);
	else
		ccid_pipe_break(pipe, r);
}

/* The control half of an abort has the same number as the bulk half (CCID 1.10 5.3.1). */
static int send_abort(struct ccid_pipe *pipe, const struct ccid_command *command) {
	const struct ccid_config *c = &pipe->ccid->config;
	uint16_t slot = (uint16_t)(command->slot - pipe->first_slot);
	pipe->control.setup = (struct usb_setup){
		.request_type = ABORT_REQUEST_TYPE,
		.request = ABORT_REQUEST,
		.value = (uint16_t)(command->seq << 8 | slot),
		.index = pipe->interface->number,
	};
	return c->ops->submit(c->usb, &pipe->control);
}

void ccid_pipe_send(struct ccid_pipe *pipe, struct ccid_command *command) {
	if (pipe->endpoint0) {
		ccid_endpoint0_send(pipe, command);
		return;
	}
	pipe->sending = command;
	pipe->write_until = ccid_now() + CCID_WRITE_USEC;
	if (command->request.type == CCID_ABORT) {
		if (send_abort(pipe, command) == 0)
			return;
		command->request = ccid_msg_plain(CCID_GET_SLOT_STATUS);
	}
	send_bulk(pipe, command);
}

static void on_control(struct usb_transfer *transfer, void *userdata) {
	struct ccid_pipe *pipe = userdata;
	struct ccid *ccid = pipe->ccid;
	struct ccid_command *command = pipe->sending;
	ccid->depth++;
	if (ccid->stop_error || pipe->state != CCID_PIPE_UP) {
		ccid_pipe_settle(pipe);
	} else if (command) {
		/* A device that refuses does not know ABORT: asking for its status will do. */
		if (transfer->error)
			command->request = ccid_msg_plain(CCID_GET_SLOT_STATUS);
		send_bulk(pipe, command);
	}
	ccid->depth--;
	ccid_pump(ccid);
}

static void on_out(struct usb_transfer *transfer, void *userdata) {
	struct ccid_pipe *pipe = userdata;
	struct ccid *ccid = pipe->ccid;
	struct ccid_command *command = pipe->sending;
	explicit_bzero(transfer->data, transfer->len);
	pipe->sending = NULL;
	ccid->depth++;
	int error = transfer->error;
	if (error == 0 && transfer->actual != transfer->len)
		error = -EIO;
	if (ccid->stop_error || error == -ENODEV)
		;
	else if (pipe->state == CCID_PIPE_GRACE || pipe->state == CCID_PIPE_DRAINING)
		ccid_pipe_settle(pipe);
	else if (error)
		ccid_pipe_break(pipe, error == -ECANCELED ? -ETIMEDOUT : error);
	else if (command && command->state == CCID_SENDING)
		command->state = CCID_WAITING;
	ccid->depth--;
	ccid_pump(ccid);
}

/* ---- in ---- */

void ccid_pipe_listen(struct ccid_pipe *pipe) {
	int up = pipe->state == CCID_PIPE_UP || pipe->state == CCID_PIPE_PROBING;
	if (pipe->endpoint0)
		return;
	if (!up || pipe->in.pending || pipe->n_flying == 0)
		return;
	int r = ccid_in_want(&pipe->assembler, &pipe->in.data, &pipe->in.len);
	const struct ccid_config *c = &pipe->ccid->config;
	if (r == 0)
		r = c->ops->submit(c->usb, &pipe->in);
	if (r == -ENODEV)
		return; /* told by usb, too */
	if (r < 0) {
		ccid_pipe_break(pipe, r);
		return;
	}
	int open_ended = pipe->in.len > pipe->interface->bulk_in.packet_size;
	int begun = ccid_in_partial(&pipe->assembler);
	pipe->harvest_at = open_ended && !begun ? ccid_now() + CCID_HARVEST_USEC : 0;
}

/* All messages that are there are given out before a new command can be sent. */
static void receive_all(struct ccid_pipe *pipe) {
	struct ccid_reply reply;
	int r;
	do {
		r = ccid_in_next(&pipe->assembler, &reply);
		if (r > 0)
			ccid_receive(pipe, &reply);
		else if (r < 0)
			ccid_pipe_break(pipe, r);
	} while (r > 0 && !pipe->ccid->stop_error &&
		(pipe->state == CCID_PIPE_UP || pipe->state == CCID_PIPE_PROBING));
}

/* Commands whose time was over before the open transfer was ended, and that it did not answer. */
static void expire_all(struct ccid_pipe *pipe) {
	struct ccid *ccid = pipe->ccid;
	for (unsigned i = 0; i < pipe->interface->n_slots && !ccid->stop_error; i++) {
		struct ccid_command *command = ccid->slots[pipe->first_slot + i].current;
		if (command && command->state == CCID_EXPIRED)
			ccid_expire(ccid, command);
	}
}

static void on_in(struct usb_transfer *transfer, void *userdata) {
	struct ccid_pipe *pipe = userdata;
	struct ccid *ccid = pipe->ccid;
	int error = transfer->error;
	pipe->harvest_at = 0;
	ccid->depth++;
	if (ccid->stop_error || error == -ENODEV) {
		;
	} else if (pipe->state == CCID_PIPE_GRACE || pipe->state == CCID_PIPE_DRAINING) {
		ccid_pipe_settle(pipe);
	} else {
		ccid_in_feed(&pipe->assembler, transfer->actual, error == 0);
		receive_all(pipe);
		if (error && error != -ECANCELED)
			ccid_pipe_break(pipe, error);
		expire_all(pipe);
		if (pipe->n_flying == 0)
			ccid_in_reset(&pipe->assembler);
	}
	ccid->depth--;
	ccid_pump(ccid);
}

/* ---- time ---- */

static void lower(uint64_t *next, uint64_t t) {
	if (t < *next)
		*next = t;
}

static void tick_sending(struct ccid_pipe *pipe, uint64_t now, uint64_t *next) {
	const struct ccid_config *c = &pipe->ccid->config;
	uint64_t until = pipe->write_until;
	/* Nobody is in such a hurry that other slots should suffer from half a message. */
	if (pipe->sending && !pipe->sending->hurried)
		lower(&until, pipe->sending->deadline);
	if (until > now) {
		lower(next, until);
		return;
	}
	c->ops->cancel(c->usb, pipe->control.pending ? &pipe->control : &pipe->out);
}

void ccid_pipe_tick(struct ccid_pipe *pipe, uint64_t now, uint64_t *next) {
	const struct ccid_config *c = &pipe->ccid->config;
	if (pipe->state == CCID_PIPE_GRACE && pipe->grace_until <= now) {
		pipe->state = CCID_PIPE_DRAINING;
		ccid_pipe_settle(pipe);
	}
	if (pipe->state == CCID_PIPE_GRACE)
		lower(next, pipe->grace_until);
	if (pipe->state != CCID_PIPE_UP && pipe->state != CCID_PIPE_PROBING)
		return;
	if (pipe->endpoint0) {
		ccid_endpoint0_tick(pipe, now, next);
		return;
	}
	if (pipe->harvest_at && pipe->harvest_at <= now) {
		pipe->harvest_at = 0;
		c->ops->cancel(c->usb, &pipe->in);
	}
	if (pipe->harvest_at)
		lower(next, pipe->harvest_at);
	/* Also of a message whose answer was faster than the news that it is out. */
	if (pipe->sending || pipe->out.pending)
		tick_sending(pipe, now, next);
}
