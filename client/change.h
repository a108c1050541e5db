/* SPDX-License-Identifier: MIT */
/* What SCardGetStatusChange reports of a reader, and when that counts as changed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/api.h"

/* A reader as it is now. */
struct change_situation {
	bool vanished;    /* during this call; then the rest does not matter */
	bool unavailable; /* its card cannot be asked for */
	bool present;
	bool mute; /* present, and does not answer to reset */
	bool in_use;
	bool exclusive;
	uint16_t counter;
};

/* dwEventState for a reader in this situation, for a caller that takes `claim` (dwCurrentState) for
 * true: with SCARD_STATE_CHANGED where the claim is wrong. Only what is claimed is compared: a
 * connection that appears is no change for a caller that claimed none. */
DWORD change_event(DWORD claim, const struct change_situation *now);
