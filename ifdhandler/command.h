/* SPDX-License-Identifier: MIT */
/* The requests of clients: the table of what is legal when, and who does it. */
#pragma once

#include "ifdhandler/session.h"

struct command {
	uint16_t type;
	unsigned states;
	int (*parse)(struct session *s, const struct frame *frame);
	enum session_step (*try)(struct session *s);
};

/* The command of message `type`; NULL where that is no request. */
const struct command *command_find(uint16_t type);
