/* SPDX-License-Identifier: MIT */
/* Driver `virtual`: a reader without a device; its card is a program that connects, or built in. */
#pragma once

#include "ifdhandler/driver.h"

/*
 * The driver itself is `driver_virtual` (driver.h). What it takes from struct driver_config:
 *   card     "builtin", "unix:PATH" or "tcp:PORT" (see virtual_listen_open)
 *   card_fd  an inherited listening socket instead of the last two, or -1
 *   quirks   the word "card-timeout=SECONDS" (1 to 3600): how long a program may take for one APDU
 *   manufacturer, serial: for attributes
 * `init` fails with -EINVAL for a card that is none of these or for "builtin" with a socket, and
 * with virtual_listen_open's errors. `free` must not be called from an upcall or a `done`.
 */

enum {
	/* One APDU. Chosen: key generation in a card program written in Python or Java takes tens
	 * of seconds. */
	VIRTUAL_TIMEOUT_S = 60,
	VIRTUAL_MAX_TIMEOUT_S = 3600,
	/* Power-up and ATR. Chosen: longer than any start of a program that is already connected. */
	VIRTUAL_POWER_TIMEOUT_S = 10,
	/* After accept failed for want of descriptors or memory. Chosen. */
	VIRTUAL_ACCEPT_PAUSE_S = 1,
};
