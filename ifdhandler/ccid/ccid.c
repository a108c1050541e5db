/* SPDX-License-Identifier: MIT */
/*
 * Models a device as a server of commands: each slot works on one command at a time, a device on as
 * many as it announces, and a device with several interfaces on one altogether (some dead-lock
 * otherwise). Commands wait in one queue, first come first served among those that may run.
 *
 * An answer belongs to the command with its slot and its sequence number; everything else is stale
 * or foreign and passed over, a few at most. The sequence number counts over the whole device,
 * because readers exist that ignore a command with the number of the one before, whatever its slot.
 * A time extension moves the command's one deadline, here and nowhere else. A slot that is busy is
 * asked again a few times: nothing reached the card.
 *
 * A command without an answer ends when its time is over. The slot then is out of step: before
 * anything else it is asked for its status (or told to abort, where the device is known to take
 * that), and if that gets no answer either, the pipe's ladder follows (ccid_pipe.c).
 *
 * Upcalls never nest into sending: commands submitted inside of one start when it is over, so an
 * answer that is already here cannot be taken for theirs.
 */
#include "ifdhandler/ccid/ccid.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "ifdhandler/ccid/ccid_pipe.h"

/* How exact deadlines are kept: chosen, so that the kernel may join wake-ups. */
enum { ACCURACY_USEC = 10000 };

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

uint64_t ccid_now(void) {
	struct timespec t = { 0 };
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- life ---- */

static int add_interface(struct ccid *ccid, const struct ccid_interface *interface) {
	struct ccid_pipe *pipe = &ccid->pipes[ccid->n_pipes++];
	int r = ccid_pipe_init(pipe, ccid, interface, ccid->n_slots);
	for (unsigned i = 0; i < interface->n_slots && ccid->n_slots < CCID_MAX_SLOTS; i++)
		ccid->slots[ccid->n_slots++].pipe = pipe;
	return r;
}

int ccid_new(const struct ccid_config *config, struct ccid **ret_ccid) {
	struct ccid *ccid = calloc(1, sizeof(*ccid));
	if (!ccid)
		return -ENOMEM;
	ccid->config = *config;
	/* Anywhere: the reader may still hold an answer to the command that the last owner sent. */
	ccid->seq = (uint8_t)(ccid_now() >> 6);
	int r = 0;
	for (unsigned i = 0; i < config->desc->n_interfaces && r == 0; i++)
		r = add_interface(ccid, &config->desc->interfaces[i]);
	if (r == 0)
		r = sd_event_add_time(config->event, &ccid->timer, CLOCK_MONOTONIC, 0,
			ACCURACY_USEC, on_timer, ccid);
	if (r >= 0)
		r = sd_event_source_set_enabled(ccid->timer, SD_EVENT_OFF);
	if (r < 0) {
		ccid_free(ccid);
		return r;
	}
	*ret_ccid = ccid;
	return 0;
}

void ccid_free(struct ccid *ccid) {
	if (!ccid)
		return;
	sd_event_source_disable_unref(ccid->timer);
	for (unsigned i = 0; i < ccid->n_pipes; i++)
		ccid_pipe_done(&ccid->pipes[i]);
	free(ccid);
}

/* ---- queue ---- */

static struct ccid_slot_line *line_of(struct ccid *ccid, const struct ccid_command *command) {
	assert(command->slot < ccid->n_slots);
	return &ccid->slots[command->slot];
}

void ccid_push(struct ccid *ccid, struct ccid_command *command) {
	command->state = CCID_QUEUED;
	command->n_tries = 0;
	command->hurried = 0;
	command->next = ccid->queue;
	ccid->queue = command;
}

void ccid_submit(struct ccid *ccid, struct ccid_command *command) {
	assert(command->state == CCID_AT_REST);
	(void)line_of(ccid, command);
	if (ccid->stop_error) {
		command->done(command->userdata, NULL, ccid->stop_error);
		return;
	}
	command->state = CCID_QUEUED;
	command->n_tries = 0;
	command->hurried = 0;
	command->next = NULL;
	struct ccid_command **at = &ccid->queue;
	while (*at)
		at = &(*at)->next;
	*at = command;
	ccid_pump(ccid);
}

static void unqueue(struct ccid *ccid, struct ccid_command *command) {
	for (struct ccid_command **at = &ccid->queue; *at; at = &(*at)->next)
		if (*at == command) {
			*at = command->next;
			command->next = NULL;
			return;
		}
}

static int expects_answer(const struct ccid_command *command) {
	return command->state == CCID_SENDING || command->state == CCID_WAITING ||
		command->state == CCID_EXPIRED;
}

/* The command is not with the device any more. */
static void land(struct ccid *ccid, struct ccid_command *command) {
	struct ccid_pipe *pipe = line_of(ccid, command)->pipe;
	if (!expects_answer(command))
		return;
	ccid->n_flying--;
	pipe->n_flying--;
}

void ccid_finish(struct ccid *ccid, struct ccid_command *command, const struct ccid_reply *reply,
	int error) {
	struct ccid_slot_line *line = line_of(ccid, command);
	land(ccid, command);
	unqueue(ccid, command);
	if (line->current == command)
		line->current = NULL;
	if (line->pipe->sending == command)
		line->pipe->sending = NULL;
	command->state = CCID_AT_REST;
	ccid->depth++;
	command->done(command->userdata, reply, error);
	ccid->depth--;
}

/* May the command be sent now? */
static int may_start(const struct ccid *ccid, const struct ccid_command *command) {
	const struct ccid_slot_line *line = &ccid->slots[command->slot];
	const struct ccid_pipe *pipe = line->pipe;
	if (line->current || pipe->sending || pipe->out.pending || pipe->control.pending)
		return 0;
	if (pipe->n_flying >= pipe->interface->n_busy)
		return 0;
	if (ccid->n_pipes > 1 && !ccid->config.parallel && ccid->n_flying > 0)
		return 0;
	if (pipe->state == CCID_PIPE_PROBING)
		return command == &pipe->probe;
	return pipe->state == CCID_PIPE_UP && (!line->resync || command == &line->probe);
}

static void start(struct ccid *ccid, struct ccid_command *command) {
	struct ccid_slot_line *line = line_of(ccid, command);
	unqueue(ccid, command);
	if (command->delay_usec) {
		command->deadline = ccid_now() + command->delay_usec;
		command->delay_usec = 0;
		command->state = CCID_PAUSING;
		line->current = command;
		return;
	}
	command->seq = ccid->seq++;
	command->began = ccid_now();
	command->deadline = command->began + command->timeout_usec;
	command->extended = 0;
	command->state = CCID_SENDING;
	line->current = command;
	line->pipe->n_flying++;
	ccid->n_flying++;
	ccid_pipe_send(line->pipe, command);
}

static struct ccid_command *next_to_start(const struct ccid *ccid) {
	for (struct ccid_command *c = ccid->queue; c; c = c->next)
		if (may_start(ccid, c))
			return c;
	return NULL;
}

/* ---- time ---- */

static void lower(uint64_t *next, uint64_t t) {
	if (t < *next)
		*next = t;
}

/* A command whose time is over: the open transfer is ended first, it may hold the answer. */
static void overdue(struct ccid *ccid, struct ccid_command *command) {
	const struct ccid_config *c = &ccid->config;
	struct ccid_pipe *pipe = line_of(ccid, command)->pipe;
	command->state = CCID_EXPIRED;
	if (pipe->in.pending)
		c->ops->cancel(c->usb, &pipe->in);
	else if (pipe->control.pending)
		c->ops->cancel(c->usb, &pipe->control);
	else
		ccid_expire(ccid, command);
}

static void tick(struct ccid *ccid, struct ccid_command *command, uint64_t now, uint64_t *next) {
	if (command->state != CCID_WAITING && command->state != CCID_PAUSING)
		return;
	if (command->deadline > now) {
		lower(next, command->deadline);
	} else if (command->state == CCID_WAITING) {
		overdue(ccid, command);
	} else {
		line_of(ccid, command)->current = NULL;
		command->state = CCID_QUEUED;
		command->next = ccid->queue;
		ccid->queue = command;
	}
}

/* Does what is due; the next time at which something is, or UINT64_MAX. */
static uint64_t tick_all(struct ccid *ccid) {
	uint64_t now = ccid_now(), next = UINT64_MAX;
	ccid->depth++;
	for (unsigned i = 0; i < ccid->n_pipes && !ccid->stop_error; i++)
		ccid_pipe_tick(&ccid->pipes[i], now, &next);
	for (unsigned i = 0; i < ccid->n_slots && !ccid->stop_error; i++) {
		const struct ccid_pipe *pipe = ccid->slots[i].pipe;
		int up = pipe->state == CCID_PIPE_UP || pipe->state == CCID_PIPE_PROBING;
		if (ccid->slots[i].current && up)
			tick(ccid, ccid->slots[i].current, now, &next);
	}
	ccid->depth--;
	return ccid->stop_error ? UINT64_MAX : next;
}

/* The timer is only ever moved forward: exchanges that end in time cost no call of the kernel. */
static void arm(struct ccid *ccid, uint64_t next) {
	if (next == UINT64_MAX || (ccid->armed_until && ccid->armed_until <= next))
		return;
	ccid->armed_until = next;
	(void)sd_event_source_set_time(ccid->timer, next);
	(void)sd_event_source_set_enabled(ccid->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct ccid *ccid = userdata;
	ccid->armed_until = 0;
	(void)tick_all(ccid);
	ccid_pump(ccid);
	return 0;
}

void ccid_pump(struct ccid *ccid) {
	if (ccid->depth)
		return;
	uint64_t next;
	/* What becomes due meanwhile may let other commands start. */
	do {
		ccid->depth++;
		for (struct ccid_command *c; !ccid->stop_error && (c = next_to_start(ccid));)
			start(ccid, c);
		for (unsigned i = 0; i < ccid->n_pipes && !ccid->stop_error; i++)
			ccid_pipe_listen(&ccid->pipes[i]);
		ccid->depth--;
		next = tick_all(ccid);
	} while (!ccid->stop_error && next_to_start(ccid));
	arm(ccid, next);
}

void ccid_hurry(struct ccid *ccid, struct ccid_command *command, uint64_t usec) {
	if (ccid_is_at_rest(command))
		return;
	command->hurried = 1;
	lower(&command->timeout_usec, usec);
	if (expects_answer(command))
		lower(&command->deadline, ccid_now() + usec);
	ccid_pump(ccid);
}

int ccid_withdraw(struct ccid *ccid, struct ccid_command *command) {
	if (command->state != CCID_QUEUED && command->state != CCID_PAUSING)
		return 0;
	ccid_finish(ccid, command, NULL, -ECANCELED);
	ccid_pump(ccid);
	return 1;
}

/* ---- answers ---- */

static void on_resync(void *userdata, const struct ccid_reply *reply, int error) {
	struct ccid_slot_line *line = userdata;
	line->resync = 0;
	if (!reply)
		ccid_pipe_break(line->pipe, error);
}

/* Before the slot's next command: is it in step? */
static void resync(struct ccid *ccid, unsigned slot) {
	struct ccid_slot_line *line = &ccid->slots[slot];
	int abort = ccid->config.abort;
	line->resync = 1;
	line->probe = (struct ccid_command){
		.request = ccid_msg_plain(abort ? CCID_ABORT : CCID_GET_SLOT_STATUS),
		.slot = slot,
		.timeout_usec = abort ? CCID_ABORT_USEC : CCID_PROBE_USEC,
		.bare = 1,
		.done = on_resync,
		.userdata = line,
	};
	ccid_push(ccid, &line->probe);
}

void ccid_expire(struct ccid *ccid, struct ccid_command *command) {
	if (!command->bare)
		resync(ccid, command->slot);
	ccid_finish(ccid, command, NULL, -ETIMEDOUT);
}

static struct ccid_command *find(struct ccid_pipe *pipe, const struct ccid_reply *reply) {
	if (reply->slot >= pipe->interface->n_slots)
		return NULL;
	struct ccid_command *c = pipe->ccid->slots[pipe->first_slot + reply->slot].current;
	if (!c || !expects_answer(c) || c->seq != reply->seq)
		return NULL;
	/* Time extensions come in whatever type the firmware thinks of. */
	int fits = reply->outcome == CCID_EXTENSION || ccid_msg_is_answer(reply, c->request.type);
	return fits ? c : NULL;
}

static void extend(struct ccid_command *command, uint8_t multiplier) {
	uint64_t span = command->timeout_usec * (multiplier ? multiplier : 1);
	if (span > CCID_MAX_EXTENSION_USEC)
		span = CCID_MAX_EXTENSION_USEC;
	command->extended = 1;
	if (command->hurried) {
		if (command->state == CCID_SENDING)
			command->state = CCID_WAITING;
		return;
	}
	command->state = CCID_WAITING;
	command->deadline = ccid_now() + span;
	lower(&command->deadline, command->began + CCID_MAX_TOTAL_USEC);
}

/* How long to wait before another try, 0: the answer stands. */
static uint64_t pause_of(const struct ccid_command *command, const struct ccid_reply *reply) {
	if (reply->outcome != CCID_FAILED || command->n_tries >= CCID_MAX_BUSY_TRIES)
		return 0;
	if (reply->error == CCID_ERROR_SLOT_BUSY)
		return CCID_SLOT_BUSY_USEC;
	return reply->error == CCID_ERROR_BUSY_AUTO ? CCID_AUTO_BUSY_USEC : 0;
}

void ccid_receive(struct ccid_pipe *pipe, const struct ccid_reply *reply) {
	struct ccid *ccid = pipe->ccid;
	struct ccid_command *command = find(pipe, reply);
	if (!command) {
		/* Time extensions of a command that an earlier owner left behind come as long as that
		 * command lasts; they do no harm. */
		pipe->n_stale += reply->outcome != CCID_EXTENSION;
		if (pipe->n_stale > CCID_MAX_STALE)
			ccid_pipe_break(pipe, -EBADMSG);
		return;
	}
	pipe->n_stale = 0;
	/* The ladder's own question says nothing about what babbled. */
	if (!command->bare)
		pipe->n_overflows = 0;
	if (reply->outcome == CCID_EXTENSION) {
		extend(command, reply->error);
		return;
	}
	uint64_t pause = pause_of(command, reply);
	if (!pause) {
		ccid_finish(ccid, command, reply, 0);
		return;
	}
	land(ccid, command);
	if (pipe->sending == command)
		pipe->sending = NULL;
	command->n_tries++;
	command->state = CCID_PAUSING;
	command->deadline = ccid_now() + pause;
}

/* ---- ends ---- */

void ccid_fail_pipe(struct ccid_pipe *pipe, int error) {
	struct ccid *ccid = pipe->ccid;
	for (unsigned i = 0; i < pipe->interface->n_slots && !ccid->stop_error; i++) {
		struct ccid_command *command = ccid->slots[pipe->first_slot + i].current;
		if (command && expects_answer(command))
			ccid_finish(ccid, command, NULL, error);
	}
}

void ccid_stop(struct ccid *ccid, int error) {
	if (ccid->stop_error)
		return;
	ccid->stop_error = error;
	for (unsigned i = 0; i < ccid->n_pipes; i++)
		ccid->pipes[i].state = CCID_PIPE_DOWN;
	for (unsigned i = 0; i < ccid->n_slots; i++)
		if (ccid->slots[i].current)
			ccid_finish(ccid, ccid->slots[i].current, NULL, error);
	while (ccid->queue)
		ccid_finish(ccid, ccid->queue, NULL, error);
	(void)sd_event_source_set_enabled(ccid->timer, SD_EVENT_OFF);
}

int ccid_is_stopped(const struct ccid *ccid) {
	return ccid->stop_error != 0;
}

void ccid_give_up(struct ccid *ccid, int error) {
	if (ccid->stop_error)
		return;
	ccid_stop(ccid, error);
	ccid->config.lost(ccid->config.userdata, error);
}

void ccid_clear_halts(struct ccid *ccid, unsigned slot) {
	const struct ccid_config *c = &ccid->config;
	struct ccid_pipe *pipe = ccid->slots[slot].pipe;
	if (pipe->endpoint0)
		return; /* has no halt that lasts */
	if (ccid->stop_error || pipe->n_flying > 0 || pipe->in.pending || pipe->out.pending)
		return;
	ccid_in_reset(&pipe->assembler);
	(void)c->ops->clear_halt(c->usb, pipe->in.endpoint);
	(void)c->ops->clear_halt(c->usb, pipe->out.endpoint);
}
