/* SPDX-License-Identifier: MIT */
/* Emulated readers by number, the program that runs against them, and the commands that move
 * them. */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "tests/model/reader.h"

enum {
	/* vhci_hcd takes 120 devices; readers at once, chosen. */
	BED_MAX_DEVICES = 128,
	BED_MAX_CLIENTS = 16,
	BED_MAX_PROPERTIES = 16,
	/* Longest command line. Chosen: a fault or an interrupt message in hex fits many times. */
	BED_MAX_LINE = 2048,
	/* Exit status for wrong usage, beyond what programs use. */
	BED_USAGE = 125,
};

struct bed;

struct bed_device {
	unsigned number;
	char name[96];
	struct model *model;
	struct reader *reader;
	char cards[READER_MAX_SLOTS][256]; /* last card of each slot, as text; "" for none so far */
	int empty[READER_MAX_SLOTS];       /* nothing in the slot at the start */
	unsigned n_cards;                  /* given by -c */
	const char *properties[BED_MAX_PROPERTIES];
	unsigned n_properties;
	int absent; /* not plugged in at the start */
	int plugged;
	int fd; /* front end: something to poll, or -1 */
	char node[64];
	void *front;
};

/* What carries the transfers. Called without the lock held, except `pump`. */
struct bed_ops {
	/* 0 or negative errno; sets `node`, and `fd` if there is one. */
	int (*plug)(struct bed *bed, struct bed_device *device);
	void (*unplug)(struct bed *bed, struct bed_device *device);
	/* Asks the reader again for all transfers that wait. With the lock held. */
	void (*pump)(struct bed *bed, struct bed_device *device);
	/* Something has come on `fd`. NULL where there is none. */
	void (*ready)(struct bed *bed, struct bed_device *device);
	/* Another program claims all interfaces, or lets go. NULL: cannot be. */
	int (*claim)(struct bed *bed, struct bed_device *device, int on);
	/* The system slept: transfers end, claims and the cards' power are lost. `dead`: who has the
	 * node open must open it anew. With the lock held. NULL: cannot be. */
	int (*resume)(struct bed *bed, struct bed_device *device, int dead);
	/* Brings `node` up to date where it is not known when plugging. NULL: it is. */
	void (*node)(struct bed *bed, struct bed_device *device);
	/* In the program's process, before exec: environment. NULL: nothing. */
	void (*child)(struct bed *bed);
};

struct bed_client {
	int in, out; /* -1, -1: free */
	char line[BED_MAX_LINE];
	size_t len;
	/* a command that waits: until a counter has a value, or just until a time */
	int waiting;
	struct bed_device *device;
	char counter[64];
	unsigned long value;
	uint64_t until;
};

struct bed {
	const struct bed_ops *ops;
	void *front;
	pthread_mutex_t lock; /* over readers and front ends' transfers */
	struct bed_device devices[BED_MAX_DEVICES];
	unsigned n_devices;
	struct bed_client clients[BED_MAX_CLIENTS];
	int verbose, use_stdin;
	const char *model_dir;
	char socket_path[108]; /* sun_path */
	char own_dir[64];      /* made for the socket, removed at the end; "" otherwise */
	int listen_fd, wake_fd, signal_fd, program_fd;
	pid_t program, program_group; /* 0: none, or ended */
	int exit_code;
	int quit;
	uint64_t asleep_until; /* the loop looks again then, unless woken */
	unsigned n_waiting;    /* clients that wait for a counter */
};

/* Options common to all front ends, for getopt; bed_option returns 0, -EINVAL or -ENOENT (not
 * ours). */
#define BED_OPTIONS "m:c:p:us:iv"
void bed_init(struct bed *bed, const struct bed_ops *ops, const char *model_dir);
int bed_option(struct bed *bed, int option, const char *argument);
/* Makes the readers with their cards, plugs them in, opens the control socket. Negative errno,
 * said on standard error. */
int bed_start(struct bed *bed);
/* Runs `program` (NULL-terminated; NULL: none) and commands until the end. Returns the exit
 * status. */
int bed_run(struct bed *bed, char **program);
/* Unplugs and frees all. */
void bed_free(struct bed *bed);

/* Microseconds of CLOCK_MONOTONIC. */
uint64_t bed_now(void);
/* With the lock held, after transfers have moved: lets the loop look again where that is needed. */
void bed_moved(struct bed *bed, const struct bed_device *device);

/* Plugs or unplugs: also what plugging means to the reader. */
int bed_plug(struct bed *bed, struct bed_device *device);
void bed_unplug(struct bed *bed, struct bed_device *device);

/* bed-control.c: runs one command line and writes its answer, or leaves the client waiting. */
void control_line(struct bed *bed, struct bed_client *client, char *line);
/* Ends the client's wait if what it waits for is there, or its time is over. */
void control_wait(struct bed *bed, struct bed_client *client, uint64_t now);
/* A card in the slot as the text says; "none": none. */
int control_card(struct bed_device *device, unsigned slot, const char *spec, uint64_t now);
