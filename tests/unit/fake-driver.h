/* SPDX-License-Identifier: MIT */
/* A driver whose operations end when the test says so, and that remembers what it was asked. */
#pragma once

#include "ifdhandler/driver.h"

enum { FAKE_MAX_CALLS = 256 };

struct driver {
	const struct driver_host *host;
	unsigned n_slots;
	int hold;    /* operations wait for fake_driver_finish */
	int mute;    /* power-up finds a mute card */
	int stale;   /* watch says that what was told may be out of date */
	int watched; /* what watch was told last */
	int no_t0;   /* set_protocol refuses T=0 */
	int no_t1;   /* … T=1 */
	uint8_t atr[DRIVER_MAX_ATR];
	size_t atr_len;
	/* the operation that waits */
	driver_done_fn done;
	void *userdata;
	struct driver_result result;
	/* letters of what was asked: C cold, W warm, O off, 0 T=0, 1 T=1, X transmit, K control, A abandoned */
	char calls[FAKE_MAX_CALLS];
	unsigned n_calls;
};

extern const struct driver_ops fake_driver_ops;

/* The driver that fake_driver_ops.init made last. */
struct driver *fake_driver(void);
/* Ends the operation that waits. */
void fake_driver_finish(struct driver *driver);
/* What was asked since the last look. */
const char *fake_driver_calls(struct driver *driver);
