/* SPDX-License-Identifier: MIT */
/* What one client has sent and nobody has answered: a buffer that grows to the frame it holds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct inbox {
	uint8_t *data;
	size_t len, size;
};

/* 0 or -ENOMEM. */
int inbox_init(struct inbox *inbox);

/* Reads `fd` once, without waiting. 1: something was read; 0: nothing there, or no room; -ECONNRESET: the
 * peer is gone; -EMSGSIZE: its frame is longer than any may be; -ENOMEM. */
int inbox_read(struct inbox *inbox, int fd);

/* Takes `n` bytes (at most len) off the start: what they carried is wiped. */
void inbox_drop(struct inbox *inbox, size_t n);
