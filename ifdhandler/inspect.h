/* SPDX-License-Identifier: MIT */
/* The text that INSPECT answers: reader, slots and clients, for people and reader-ctl. */
#pragma once

#include "ifdhandler/session.h"

/* Writes lines key=value into `buf`: the device, then each slot ("slot=N" begins it), then each
 * client of it ("client=PID"), who asks excepted. Others than administrators see their own clients
 * only. Returns the length, at most `size` - 1; a text that is too long ends after a whole line. */
size_t inspect_text(const struct session *asker, char *buf, size_t size);
