/* SPDX-License-Identifier: MIT */
/* Who plays the cards of a box: one thread and one socket. For bed.c. */
#pragma once

#include "tests/conformance/bed.h"

/* Listens on box->script. */
void player_start(struct box *box);
/* Closes the connection of the driver, which takes it as unplugged; a next one is welcome. */
void player_hang_up(struct box *box);
/* How many drivers have said hello. */
unsigned player_connections(struct box *box);
