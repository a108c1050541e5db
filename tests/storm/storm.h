/* SPDX-License-Identifier: MIT */
/* One storm: an emulated reader, the driver and its slots, programs that use them, and blows. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "ifdhandler/slot.h"
#include "tests/model/reader.h"
#include "tests/storm/virtual-usb.h"

struct storm;

enum {
	STORM_MAX_BLOWS = 12,
	STORM_MAX_DATA = 2048,
};

/* What a program on one slot is doing. */
enum client_does {
	CLIENT_RESTS,
	CLIENT_POWERS,
	CLIENT_NEGOTIATES,
	CLIENT_TRANSMITS,
	CLIENT_CONTROLS,
	CLIENT_UNPOWERS,
};

struct client {
	struct storm *storm;
	struct slot *slot;
	enum client_does does;
	unsigned todo;    /* operations it still wants to try */
	uint64_t next_at; /* and the next not before */
	uint64_t began;
	int connected, watches;
	int wants_reset; /* before it connects again */
	uint32_t protocol;
	int any_answer; /* the command may end with any answer, or with none */
	uint8_t command[STORM_MAX_DATA + 16], expect[STORM_MAX_DATA + 16];
	size_t command_len, expect_len;
	unsigned n_right, n_failed; /* since these were set to 0 */
	unsigned all_right, all_failed;
	uint64_t abandoned_at; /* nobody waits any more; 0: somebody does */
};

/* Something that befalls the reader. */
struct blow {
	unsigned after_op; /* once so many operations have begun … */
	uint64_t delay;    /* … and then so long, microseconds */
	uint64_t at;       /* known then; 0 before */
	char what[80]; /* "fault …", "out 0", "in 0 CARD", "swap 0 CARD", "unplug MS", "claim", … */
};

struct storm {
	uint64_t seed, chance;
	int verbose;
	const char *model_name;
	const struct model *model;
	struct sd_event *event;
	struct reader *reader;
	struct virtual_usb *usb;
	struct driver_config config;
	struct driver *driver;
	struct slot_host slot_host;
	struct slot slots[READER_MAX_SLOTS];
	struct client clients[READER_MAX_SLOTS];
	unsigned n_slots;
	int is_good[READER_MAX_SLOTS]; /* a working card is in */
	int ready, gone;
	uint64_t replug_at; /* 0: not unplugged */
	unsigned n_ops;     /* begun, by all */
	unsigned n_struck;  /* blows */
	unsigned n_nonce;
	struct blow blows[STORM_MAX_BLOWS];
	unsigned n_blows;
	int is_token;       /* ICCD */
	int spoils_content; /* a fault changes bytes that nothing protects */
	int lies;           /* the model takes shorter messages than it announces */
	int spoils_length;  /* a fault makes answers look shorter than they are: nothing can tell */
	int extends;        /* a fault makes the reader ask for more and more time */
	unsigned excuses;   /* what broken rules are the reader's own doing: a bit for each */
	unsigned long steps;
	char wrong[256]; /* the first thing that was not as it must be; "" */
};

/* Any number below `n`. */
unsigned storm_draw(struct storm *storm, unsigned n);
/* Notes what is wrong; the first one counts. */
void storm_wrong(struct storm *storm, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* To standard error, with the virtual time, if somebody wants to see. */
void storm_say(const struct storm *storm, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* storm-blow.c: makes the blows of this seed; strikes with one. */
void blow_choose(struct storm *storm);
void blow_strike(struct storm *storm, const char *what);
/* A working card is in the slot, be it the one that is there. */
void blow_put_good_card(struct storm *storm, unsigned slot);
/* Has one of the blows made the host break this rule? */
int blow_excuses(const struct storm *storm, const char *violation);

/* storm-client.c: what programs do; 1: something was begun. */
int client_step(struct client *client);
/* Nothing but a right answer is wanted; n_right tells. */
int client_recover(struct client *client);
/* Gives the card back, and looks away. */
void client_let_go(struct client *client);
/* Its program dies while it waits. */
void client_die(struct client *client);
/* The slot was lost (EVENT_…). */
void client_lost(struct client *client);
