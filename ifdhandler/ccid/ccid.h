/* SPDX-License-Identifier: MIT */
/* The command engine of one device: CCID commands in, checked answers out, and the device kept in
 * step. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/ccid_msg.h"
#include "ifdhandler/usb/usb.h"

struct ccid;
struct ccid_command;
struct sd_event;

enum {
	/* A device that does not take a message within that time is stuck; as other drivers wait.
	 * */
	CCID_WRITE_USEC = 5000000,
	/* One time extension is worth at most that: chosen, ten minutes. */
	CCID_MAX_EXTENSION_USEC = 600000000,
	/* One command, and one APDU, with all extensions: chosen. Generating the longest keys takes
	 * cards some minutes; beyond that nothing is to be hoped for. */
	CCID_MAX_TOTAL_USEC = 1200000000,
	/* Answers to other commands that are passed over while one waits: chosen. */
	CCID_MAX_STALE = 10,
	/* "Slot busy" and "busy with automatic sequence" (CCID 1.10 table 6.2-2): tries and pauses,
	 * chosen. */
	CCID_MAX_BUSY_TRIES = 20,
	CCID_SLOT_BUSY_USEC = 50000,
	CCID_AUTO_BUSY_USEC = 100000,
	/* An answer of whole packets may stay in an open transfer: looked at after that time.
	 * Chosen long: a host controller may lose what arrives while the transfer is taken back,
	 * and a reader that leaves the empty packet out pays for it once. */
	CCID_HARVEST_USEC = 1500000,
	/* Slot status asked to find out whether the device is in step again. */
	CCID_PROBE_USEC = 3000000,
	CCID_PROBE_AGAIN_USEC = 1000000,
	CCID_ABORT_USEC = 5000000,
	/* A transfer error is often the first sign of an unplug: wait for that news so long. */
	CCID_GRACE_USEC = 1000000,
	/* Babble that often in a row: close the device and open it again. */
	CCID_MAX_OVERFLOWS = 3,
};

/* The end of a command: `error` 0 and the final answer (done or failed, never an extension; its
 * data is valid during the call only), or `reply` NULL and: -ETIMEDOUT no answer in time; -ENODEV
 * unplugged or stopped; other negative errno: the exchange was disturbed. May submit again; must
 * not free the engine. */
typedef void (*ccid_done_fn)(void *userdata, const struct ccid_reply *reply, int error);

/* A command belongs to its user, who fills in the first part and keeps it (and the request's data)
 * in place until `done`. A null initializer is a command at rest. */
struct ccid_command {
	struct ccid_request request;
	unsigned slot; /* counted over all interfaces */
	/* From sending to the answer; a time extension begins a new span of that length times its
	 * multiplier. */
	uint64_t timeout_usec;
	uint64_t delay_usec; /* the slot rests so long before the command is sent */
	int bare;            /* nothing is done about a missing answer: the user does it */
	ccid_done_fn done;
	void *userdata;

	/* The engine's. */
	enum ccid_state {
		CCID_AT_REST,
		CCID_QUEUED,
		CCID_SENDING,
		CCID_WAITING,
		CCID_EXPIRED, /* out of time, but the open transfer may hold the answer */
		CCID_PAUSING, /* the slot was busy, or is to rest; sent at `deadline` */
	} state;
	uint8_t seq;
	unsigned n_tries;
	uint64_t began;
	uint64_t deadline;
	int extended; /* the device has asked for time */
	int hurried;  /* and gets none any more */
	struct ccid_command *next;
};

struct ccid_config {
	const struct usb_ops *ops;
	struct usb *usb; /* its interfaces are claimed */
	struct sd_event *event;
	const struct ccid_desc *desc; /* outlives the engine */
	int parallel;                 /* several interfaces may work at the same time */
	int abort;                    /* the device takes ABORT */
	void *userdata;
	/* The device is out of step for good: open it anew. All commands have ended; no more are
	 * accepted. Told from within a transfer's end, where the device cannot be closed. */
	void (*lost)(void *userdata, int error);
};

/* 0 or -ENOMEM. */
int ccid_new(const struct ccid_config *config, struct ccid **ret_ccid);
/* After ccid_stop and after the device is closed (transfers are gone). NULL is allowed. */
void ccid_free(struct ccid *ccid);

/* Queues a command. Those of one slot run in this order, one at a time; of several slots as the
 * device allows. `done` is called exactly once, possibly before this returns. */
void ccid_submit(struct ccid *ccid, struct ccid_command *command);

/* Commands under way and to come end with `error`; the device is not spoken to any more. */
void ccid_stop(struct ccid *ccid, int error);

/* Has ccid_stop been called, or the device been given up? */
int ccid_is_stopped(const struct ccid *ccid);

/* The command need not be waited for longer than `usec` from now, whatever time the device asks for:
 * its card or its client is gone. One that is queued has that time when it is sent; a message that is
 * on its way out goes all the way; at rest: nothing. */
void ccid_hurry(struct ccid *ccid, struct ccid_command *command, uint64_t usec);

/* Takes back a command that is not with the device: it has not been sent, or was not taken yet. It ends with
 * -ECANCELED. 0: it is at rest, or too late. */
int ccid_withdraw(struct ccid *ccid, struct ccid_command *command);

/* Clears halts and toggles of the slot's interface where no command is under way on it. */
void ccid_clear_halts(struct ccid *ccid, unsigned slot);

static inline int ccid_is_at_rest(const struct ccid_command *command) {
	return command->state == CCID_AT_REST;
}

/* Monotonic time in microseconds: the clock of all deadlines. */
uint64_t ccid_now(void);
