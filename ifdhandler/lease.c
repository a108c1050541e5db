/* SPDX-License-Identifier: MIT */
/*
 * The lock of a slot is owned by at most one connection and counted. An exclusive connection owns it
 * from the beginning, with a base that no end of a transaction takes away; otherwise it is owned
 * while transactions are open. Nothing here waits or calls anybody: session.c asks, and looks
 * through the queue again whenever something was given back.
 */
#include "ifdhandler/lease.h"

#include <assert.h>

void lease_init(struct lease *lease) {
	*lease = (struct lease){ 0 };
	lease->waiting_end = &lease->waiting;
}

static void owner_update(struct lease *lease, struct lease_holder *holder) {
	if (holder->share == SHARE_EXCLUSIVE || holder->depth)
		lease->owner = holder;
	else if (lease->owner == holder)
		lease->owner = NULL;
}

int lease_is_exclusive(const struct lease *lease) {
	return lease->owner && lease->owner->share == SHARE_EXCLUSIVE;
}

int lease_is_free_for(const struct lease *lease, const struct lease_holder *holder) {
	return !lease->owner || lease->owner == holder;
}

int lease_join(struct lease *lease, struct lease_holder *holder, unsigned share) {
	assert(!holder->share && share);
	if (lease_is_exclusive(lease) || (share == SHARE_EXCLUSIVE && lease->n_holders))
		return LEASE_E_SHARING;
	holder->share = share;
	holder->depth = 0;
	holder->next = lease->holders;
	lease->holders = holder;
	lease->n_holders++;
	owner_update(lease, holder);
	return 0;
}

int lease_change(struct lease *lease, struct lease_holder *holder, unsigned share) {
	assert(holder->share && share);
	if (share == SHARE_EXCLUSIVE && (lease->n_holders > 1 || !lease_is_free_for(lease, holder)))
		return LEASE_E_SHARING;
	holder->share = share;
	owner_update(lease, holder);
	return 0;
}

int lease_leave(struct lease *lease, struct lease_holder *holder) {
	lease_unwait(lease, holder);
	if (!holder->share)
		return 0;
	int owned = lease->owner == holder;
	struct lease_holder **h = &lease->holders;
	while (*h != holder)
		h = &(*h)->next;
	*h = holder->next;
	lease->n_holders--;
	holder->share = 0;
	holder->depth = 0;
	owner_update(lease, holder);
	return owned;
}

void lease_begin(struct lease *lease, struct lease_holder *holder) {
	assert(lease_is_free_for(lease, holder));
	holder->depth++;
	owner_update(lease, holder);
}

int lease_end(struct lease *lease, struct lease_holder *holder) {
	if (!holder->depth)
		return LEASE_E_NOT_TRANSACTED;
	holder->depth--;
	owner_update(lease, holder);
	return 0;
}

void lease_break(struct lease *lease) {
	if (!lease->owner)
		return;
	lease->owner->depth = 0;
	owner_update(lease, lease->owner);
}

void lease_wait(struct lease *lease, struct lease_holder *holder) {
	if (holder->waiting)
		return;
	holder->waiting = 1;
	holder->next_waiting = NULL;
	*lease->waiting_end = holder;
	lease->waiting_end = &holder->next_waiting;
}

void lease_unwait(struct lease *lease, struct lease_holder *holder) {
	if (!holder->waiting)
		return;
	struct lease_holder **h = &lease->waiting;
	while (*h != holder)
		h = &(*h)->next_waiting;
	*h = holder->next_waiting;
	if (!*h)
		lease->waiting_end = h;
	holder->waiting = 0;
	holder->next_waiting = NULL;
}
