/* SPDX-License-Identifier: MIT */
/* Who may use a slot: shared and exclusive connections, the lock of transactions, and who waits (pure). */
#pragma once

#include <stddef.h>

#include "wire/message.h"

/* One connection's part in a lease; embedded in the session. Zeroed = takes no part. */
struct lease_holder {
	struct lease_holder *next; /* in the list of holders */
	unsigned share;            /* SHARE_…; 0 = not connected */
	unsigned depth;            /* transactions begun and not ended */
	struct lease_holder *next_waiting;
	int waiting;
};

/* One slot's lease. Zeroed = nobody. */
struct lease {
	struct lease_holder *holders;
	struct lease_holder *owner; /* holds the lock: exclusive, or inside a transaction */
	struct lease_holder *waiting, **waiting_end;
	unsigned n_holders;
};

void lease_init(struct lease *lease);

/* Connects `holder`: 0, or LEASE_E_SHARING: somebody is exclusive, or exclusiveness is wanted and
 * others are connected. The caller has waited for the lock (lease_is_free_for). */
enum { LEASE_E_SHARING = 1, LEASE_E_NOT_TRANSACTED = 2 };
int lease_join(struct lease *lease, struct lease_holder *holder, unsigned share);

/* Changes the share mode of a connected holder; locks of transactions stay. 0 or LEASE_E_SHARING. */
int lease_change(struct lease *lease, struct lease_holder *holder, unsigned share);

/* Ends the connection and all its locks; also takes it out of the queue. Returns 1 if it owned the lock. */
int lease_leave(struct lease *lease, struct lease_holder *holder);

/* Is somebody connected exclusively? */
int lease_is_exclusive(const struct lease *lease);

/* May `holder` touch the card: is the lock free, or its own? */
int lease_is_free_for(const struct lease *lease, const struct lease_holder *holder);

/* One transaction more or less. begin: the caller has checked lease_is_free_for. end:
 * 0 or LEASE_E_NOT_TRANSACTED. */
void lease_begin(struct lease *lease, struct lease_holder *holder);
int lease_end(struct lease *lease, struct lease_holder *holder);

/* Takes the lock away from whoever owns it, transactions included: the card is gone. An exclusive
 * connection keeps its base. */
void lease_break(struct lease *lease);

/* The queue of those who wait: first come, first served. Both are idempotent. */
void lease_wait(struct lease *lease, struct lease_holder *holder);
void lease_unwait(struct lease *lease, struct lease_holder *holder);
