/* SPDX-License-Identifier: MIT */
/* Inside of the command engine: one interface's transfers, and its way back into step. For ccid*.c
 * only. */
#pragma once

#include "ifdhandler/ccid/ccid.h"
#include "ifdhandler/ccid/ccid_in.h"

struct sd_event_source;

enum ccid_pipe_state {
	CCID_PIPE_UP,
	CCID_PIPE_GRACE,    /* a transfer error: is this an unplug? */
	CCID_PIPE_DRAINING, /* waiting for cancelled transfers */
	CCID_PIPE_PROBING,  /* halts are cleared, slot status is being asked */
	CCID_PIPE_DOWN,     /* given up */
};

struct ccid_endpoint0;

/* The bulk pair of one interface, or what a token has in its place. */
struct ccid_pipe {
	struct ccid *ccid;
	const struct ccid_interface *interface;
	unsigned first_slot;
	enum ccid_pipe_state state;
	struct usb_transfer out, in, control;
	struct ccid_endpoint0 *endpoint0; /* NULL: the bulk pair carries the commands */
	struct ccid_in assembler;
	uint8_t *out_buf;
	size_t out_size;
	struct ccid_command *sending; /* its message is on the way out */
	uint64_t write_until;         /* for `sending` */
	unsigned n_flying;            /* commands that expect an answer here */
	unsigned n_stale;
	unsigned n_overflows;
	uint64_t harvest_at; /* 0: the open transfer is not looked at */
	uint64_t grace_until;
	int error; /* why it is not up */
	struct ccid_command probe;
};

struct ccid_slot_line {
	struct ccid_pipe *pipe;
	struct ccid_command *current; /* sent, or pausing before another try */
	int resync;                   /* only `probe` may be sent */
	struct ccid_command probe;
};

struct ccid {
	struct ccid_config config;
	struct sd_event_source *timer;
	uint64_t armed_until; /* what the timer is set to, 0: off */
	uint8_t seq;
	int depth;      /* inside of an upcall: commands start when it is over */
	int stop_error; /* not 0: stopped */
	unsigned n_flying;
	struct ccid_command *queue;
	unsigned n_slots, n_pipes;
	struct ccid_slot_line slots[CCID_MAX_SLOTS];
	struct ccid_pipe pipes[CCID_MAX_INTERFACES];
};

/* Makes the pipe of one interface: 0 or -ENOMEM. */
int ccid_pipe_init(struct ccid_pipe *pipe, struct ccid *ccid,
	const struct ccid_interface *interface, unsigned first_slot);
void ccid_pipe_done(struct ccid_pipe *pipe);

/* Sends `command`, which has its number; an error has been dealt with when this returns. */
void ccid_pipe_send(struct ccid_pipe *pipe, struct ccid_command *command);
/* Posts a transfer for answers where one is expected and none is open. */
void ccid_pipe_listen(struct ccid_pipe *pipe);
/* Does what its times say is due, and lowers *next to the next of them. */
void ccid_pipe_tick(struct ccid_pipe *pipe, uint64_t now, uint64_t *next);
/* Something is wrong with the transfers: brings the pipe back into step, or gives the device up. */
void ccid_pipe_break(struct ccid_pipe *pipe, int error);
/* A transfer has ended while that was under way. */
void ccid_pipe_settle(struct ccid_pipe *pipe);

/* The end of a command under way or queued. */
void ccid_finish(
	struct ccid *ccid, struct ccid_command *command, const struct ccid_reply *reply, int error);
/* The command got no answer in time. */
void ccid_expire(struct ccid *ccid, struct ccid_command *command);
/* All commands under way on the pipe end with `error`. */
void ccid_fail_pipe(struct ccid_pipe *pipe, int error);
/* An answer arrived. */
void ccid_receive(struct ccid_pipe *pipe, const struct ccid_reply *reply);
/* The device is lost: stops, and tells. */
void ccid_give_up(struct ccid *ccid, int error);
/* Puts a command first in the queue. */
void ccid_push(struct ccid *ccid, struct ccid_command *command);
/* Starts what may start, listens where due, arms the timer; nothing while inside of an upcall. */
void ccid_pump(struct ccid *ccid);
