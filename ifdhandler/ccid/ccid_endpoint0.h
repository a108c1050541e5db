/* SPDX-License-Identifier: MIT */
/* Inside of the command engine: a token without bulk endpoints, in the place of a pipe's pair of
 * them. For ccid*.c only. */
#pragma once

#include <stdint.h>

#include "ifdhandler/ccid/ccid_pipe.h"
#include "ifdhandler/ccid/iccd.h"

/* Uses the pipe's control transfer. */
struct ccid_endpoint0 {
	struct iccd iccd;
	uint64_t ask_at;      /* 0: nothing is waited for */
	uint64_t write_until; /* 0: the token may take its time */
	uint8_t out[ICCD_MAX_DATA], in[ICCD_MAX_DATA];
};

/* Makes pipe->endpoint0: 0 or -ENOMEM. */
int ccid_endpoint0_init(struct ccid_pipe *pipe);
void ccid_endpoint0_done(struct ccid_pipe *pipe);

/* As ccid_pipe_send. */
void ccid_endpoint0_send(struct ccid_pipe *pipe, struct ccid_command *command);
/* As ccid_pipe_tick, of a pipe that is up. */
void ccid_endpoint0_tick(struct ccid_pipe *pipe, uint64_t now, uint64_t *next);
/* The command under way is given up. */
void ccid_endpoint0_drop(struct ccid_pipe *pipe);
