/* SPDX-License-Identifier: MIT */
/* Requests that begin, renew or end a card connection, and with it act on the card. */
#pragma once

#include "ifdhandler/session.h"

/* One try of each request: as session_try. */
enum session_step connect_try(struct session *session);
enum session_step connect_reconnect_try(struct session *session);
enum session_step connect_disconnect_try(struct session *session);

/* END, after session.c has checked disposition, event and lock. */
enum session_step connect_end_transaction(struct session *session);

/* The client of a card connection is gone without saying goodbye: gives all back, and resets the card
 * where the client held the lock and knew the card's state. */
void connect_abandon(struct session *session);
