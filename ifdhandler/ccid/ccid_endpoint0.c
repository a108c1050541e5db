/* SPDX-License-Identifier: MIT */
/*
 * Models a token's endpoint 0 as the engine's other way to an interface: one command at a time, each
 * a row of control transfers with waits in between (iccd.c says which), under the command's one
 * deadline. The ladder that brings a device back into step is the pipe's (ccid_pipe.c): the status
 * that is asked on it makes iccd.c switch the token off first.
 *
 * Can never happen: two transfers at the same time; a wait that nobody can end.
 */
#include "ifdhandler/ccid/ccid_endpoint0.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void on_transfer(struct usb_transfer *transfer, void *userdata);

int ccid_endpoint0_init(struct ccid_pipe *pipe) {
	pipe->endpoint0 = calloc(1, sizeof(*pipe->endpoint0));
	if (!pipe->endpoint0)
		return -ENOMEM;
	iccd_init(&pipe->endpoint0->iccd, pipe->interface->transport, pipe->interface->number);
	pipe->control.done = on_transfer;
	return 0;
}

void ccid_endpoint0_done(struct ccid_pipe *pipe) {
	explicit_bzero(pipe->endpoint0, sizeof(*pipe->endpoint0));
	free(pipe->endpoint0);
	pipe->endpoint0 = NULL;
}

void ccid_endpoint0_drop(struct ccid_pipe *pipe) {
	pipe->endpoint0->ask_at = 0;
	iccd_rest(&pipe->endpoint0->iccd);
}

/* The command that is with the token. */
static struct ccid_command *current(const struct ccid_pipe *pipe) {
	struct ccid_command *c = pipe->ccid->slots[pipe->first_slot].current;
	return c && (c->state == CCID_WAITING || c->state == CCID_EXPIRED) ? c : NULL;
}

static void control(struct ccid_pipe *pipe, const struct iccd_action *action) {
	const struct ccid_config *c = &pipe->ccid->config;
	struct ccid_endpoint0 *e = pipe->endpoint0;
	int is_out = action->setup.request_type == ICCD_TO_TOKEN;
	if (is_out && action->len)
		memcpy(e->out, action->data, action->len);
	e->write_until = is_out ? ccid_now() + CCID_WRITE_USEC : 0;
	pipe->control.setup = action->setup;
	pipe->control.data = is_out ? e->out : e->in;
	pipe->control.len = action->len;
	int r = c->ops->submit(c->usb, &pipe->control);
	if (r < 0 && is_out)
		explicit_bzero(e->out, action->len);
	if (r < 0 && r != -ENODEV) /* that is told by usb, too */
		ccid_pipe_break(pipe, r);
}

static void answer(
	struct ccid_pipe *pipe, const struct ccid_command *command, struct ccid_reply *reply) {
	reply->seq = command->seq;
	ccid_receive(pipe, reply);
	iccd_rest(&pipe->endpoint0->iccd);
}

static void act(
	struct ccid_pipe *pipe, const struct ccid_command *command, struct iccd_action *action) {
	switch (action->verb) {
	case ICCD_CONTROL: control(pipe, action); break;
	case ICCD_WAIT:
		pipe->endpoint0->ask_at = ccid_now() + action->wait_ms * UINT64_C(1000);
		break;
	case ICCD_REPLY: answer(pipe, command, &action->reply); break;
	case ICCD_FAIL: ccid_pipe_break(pipe, action->error); break;
	}
}

void ccid_endpoint0_send(struct ccid_pipe *pipe, struct ccid_command *command) {
	struct iccd_action action;
	command->state = CCID_WAITING;
	pipe->endpoint0->ask_at = 0;
	iccd_start(&pipe->endpoint0->iccd, &command->request, &action);
	act(pipe, command, &action);
}

/* A transfer of a command that goes on, or whose time was over meanwhile. */
static void take(struct ccid_pipe *pipe, const struct usb_transfer *t) {
	struct iccd *iccd = &pipe->endpoint0->iccd;
	struct ccid_command *command = current(pipe);
	int is_in = t->setup.request_type == ICCD_FROM_TOKEN;
	struct iccd_action action = { .verb = ICCD_FAIL, .error = t->error };
	if (!command)
		return;
	if (t->error == -EPIPE)
		iccd_stalled(iccd, &action);
	else if (t->error == 0)
		iccd_ended(iccd, t->data, is_in ? t->actual : 0, &action);
	else if (t->error == -ECANCELED)
		action.error = -ETIMEDOUT;
	if (command->state == CCID_EXPIRED && action.verb != ICCD_REPLY) {
		ccid_endpoint0_drop(pipe);
		ccid_expire(pipe->ccid, command);
		return;
	}
	act(pipe, command, &action);
}

static void on_transfer(struct usb_transfer *transfer, void *userdata) {
	struct ccid_pipe *pipe = userdata;
	struct ccid_endpoint0 *e = pipe->endpoint0;
	struct ccid *ccid = pipe->ccid;
	size_t n_in = transfer->setup.request_type == ICCD_FROM_TOKEN ? transfer->actual : 0;
	if (!n_in)
		explicit_bzero(e->out, transfer->len);
	ccid->depth++;
	if (ccid->stop_error || transfer->error == -ENODEV)
		;
	else if (pipe->state == CCID_PIPE_GRACE || pipe->state == CCID_PIPE_DRAINING)
		ccid_pipe_settle(pipe);
	else
		take(pipe, transfer);
	explicit_bzero(e->in, n_in);
	ccid->depth--;
	ccid_pump(ccid);
}

static void lower(uint64_t *next, uint64_t t) {
	if (t < *next)
		*next = t;
}

void ccid_endpoint0_tick(struct ccid_pipe *pipe, uint64_t now, uint64_t *next) {
	const struct ccid_config *c = &pipe->ccid->config;
	struct ccid_endpoint0 *e = pipe->endpoint0;
	struct ccid_command *command = current(pipe);
	if (pipe->control.pending && e->write_until) {
		if (e->write_until <= now)
			c->ops->cancel(c->usb, &pipe->control);
		else
			lower(next, e->write_until);
	}
	if (!e->ask_at || !command)
		return;
	if (e->ask_at > now) {
		lower(next, e->ask_at);
		return;
	}
	struct iccd_action action;
	e->ask_at = 0;
	iccd_waited(&e->iccd, &action);
	act(pipe, command, &action);
}
