/* SPDX-License-Identifier: MIT */
/* What all clients of one reader share: its slots, who uses them, and what they are told. */
#pragma once

#include "ifdhandler/lease.h"
#include "ifdhandler/log.h"
#include "ifdhandler/slot.h"
#include "wire/description.h"

struct session;

/* What the service asks of the process around it (reader.c). */
struct service_host {
	void *userdata;
	/* Somebody uses the reader now (connected, watching, or saying hello), or nobody does. */
	void (*used)(void *userdata, int used);
	/* A client that may do so asked the handler to end; the reason is what others are told. */
	void (*stop)(void *userdata, enum status reason);
	/* The device was unplugged. */
	void (*gone)(void *userdata);
	/* What service_rest began is over. */
	void (*rested)(void *userdata);
};

/* A slot's state as it was told last. */
struct service_told {
	struct message_state state; /* but for the tail */
	uint8_t atr[WIRE_MAX_ATR];
};

struct service {
	struct sd_event *event;
	struct sd_event_source *flusher;
	const struct service_host *host;
	const struct log *log;
	const struct description *description;
	const struct driver_ops *ops;
	struct driver *driver;
	struct driver_host driver_host;
	struct slot_host slot_host;
	struct slot slots[DRIVER_MAX_SLOTS];
	struct lease leases[DRIVER_MAX_SLOTS];
	struct service_told told[DRIVER_MAX_SLOTS]; /* to watches: all see the same */
	int resting;          /* service_rest was called, and `rested` not yet */
	uint32_t dispatching; /* slots whose queue is being looked through */
	unsigned n_slots;
	struct session *sessions;
	unsigned n_sessions;
	unsigned n_users;  /* sessions that keep the handler up */
	unsigned n_asking; /* sessions whose WATCH waits for first states */
	int dirty;         /* some session has states to be sent */
	enum status trouble;
	char detail[256]; /* the driver's words about it */
};

/* Prepares a service; slots are "starting". 0 or negative errno. */
int service_init(struct service *service, struct sd_event *event, const struct log *log,
	const struct service_host *host, const struct description *description);
/* Makes the driver and starts it. 0 or negative errno. */
int service_start(
	struct service *service, const struct driver_ops *ops, const struct driver_config *config);
/* Takes the power from all cards, at the end; all sessions are gone before. 1: `rested` follows, in seconds
 * unless the reader hangs; 0: there is nothing to do. */
int service_rest(struct service *service);
/* Ends the driver and frees what is held; all sessions are gone before. */
void service_done(struct service *service);

/* All event counters begin at `counter` (after a start that was not the plug). */
void service_set_counter(struct service *service, uint16_t counter);

/* A slot's state may be different for all who see it (`lock_only`: for its card connections only). */
void service_publish(struct service *service, unsigned slot, int lock_only);
/* Is `state` what was told already? Remembers it if not. */
int service_told(struct service_told *told, const struct message_state *state);
/* Sends what has been published. Before every reply; the event loop does it otherwise. */
void service_flush(struct service *service);

/* Looks through the slot's queue: whoever can go on, does. */
void service_dispatch(struct service *service, unsigned slot);

/* Something happened to the card: told to all connections of the slot but `except` (NULL: all). */
void service_card_event(
	struct service *service, unsigned slot, unsigned event, const struct session *except);

/* Is the state of every slot known (or its trouble)? */
int service_known(const struct service *service);

/* Counts users up or down. */
void service_use(struct service *service, int change);

/* Is `slot` one that registration has left out of the list? Its driver is not listened to. */
int service_is_ignored(const struct service *service, unsigned slot);

/* The name that applications know for `slot`. Never NULL. */
const char *service_name(const struct service *service, unsigned slot);
