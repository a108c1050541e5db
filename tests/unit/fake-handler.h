/* SPDX-License-Identifier: MIT */
/* A handler to test the client library against: real sockets and descriptions, scripted behaviour. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "wire/message.h"
#include "wire/status.h"

struct fake_handler;

/* One accepted connection. */
struct fake_peer {
	struct fake_handler *handler;
	int fd;
	unsigned nth; /* 0 for the first connection to this handler */
	bool pushed;  /* gets every change of the state */
	pthread_t thread;
	bool used;
	uint8_t buf[2 * FRAME_MAX];
	size_t len;
	size_t taken; /* bytes of the frame that was read last */
};

/* Serves one connection on its own thread until it is done with it; it is closed then. */
typedef void (*fake_serve)(struct fake_peer *peer);

enum {
	FAKE_MAX_PEERS = 64,
};

/* One device with one reader, "Fake Reader 00 00" unless told otherwise. */
struct fake_handler {
	char instance[64];
	fake_serve serve;
	void *arg; /* the test's own */
	int listen_fd;
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest */
	struct message_state state;
	uint8_t atr[WIRE_MAX_ATR];
	unsigned n_connections;
	unsigned n_requests[256]; /* by message type */
	struct fake_peer peers[FAKE_MAX_PEERS];
};

/* Makes a directory for readers, and IFDHANDLER_PATH name it; takes it away with all its files. */
void fake_directory_make(void);
void fake_directory_remove(void);

/* Writes the description INSTANCE.reader into the directory, by rename; takes it away. */
void fake_register(const char *instance, const char *name, unsigned seq);
void fake_unregister(const char *instance);

/* Listens at INSTANCE.sock and serves connections with `serve` (NULL: fake_serve_card). The card is in,
 * with a T=0 ATR. Does not register. */
struct fake_handler *fake_handler_start(const char *instance, fake_serve serve, void *arg);

/* Closes everything, as a handler that is killed does; the socket's file stays. Frees. */
void fake_handler_stop(struct fake_handler *handler);

/* The behaviour of a good handler with one slot: answers everything; TRANSMIT's answer is the command
 * and 90 00. Ends with the connection. */
void fake_serve_card(struct fake_peer *peer);

/* Changes the slot's state and pushes it to all who hold a connection. */
void fake_change(struct fake_handler *handler, uint8_t presence, uint16_t flags, uint16_t counter);

/* How many frames of `type` have come; how many connections. */
unsigned fake_count(struct fake_handler *handler, uint8_t type);
unsigned fake_connections(struct fake_handler *handler);

/* For scripts: reads the next frame (false at the end), and sends frames. */
bool fake_read(struct fake_peer *peer, struct frame *ret_frame);
void fake_welcome(struct fake_peer *peer, uint16_t serial, const char *description);
void fake_state(struct fake_peer *peer);
void fake_reply(struct fake_peer *peer, uint16_t serial, uint16_t status, uint32_t value);
void fake_answer(struct fake_peer *peer, uint16_t serial, const void *data, size_t n);
void fake_bye(struct fake_peer *peer, uint16_t status);
