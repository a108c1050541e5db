/* SPDX-License-Identifier: MIT */
/* Bulk-IN transfers of one interface → whole CCID messages, whatever packets the reader cuts them
 * into. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ifdhandler/ccid/ccid_msg.h"

/* A null initializer is not valid: ccid_in_init. */
struct ccid_in {
	uint8_t *buf;
	size_t size;  /* of buf */
	size_t start; /* of the message being collected */
	size_t len;   /* bytes of it and behind it */
	size_t used;  /* bytes that were written since the last wipe */
	uint16_t packet_size;
	size_t first; /* what is asked for when a message may begin: a multiple of packet_size */
	/* Full packets are not followed by an empty one when a message ends with them. */
	int unterminated;
	/* Ask packet by packet until the message is complete. */
	int careful;
};

/* `packet_size`: of the endpoint, at least 1; `message_length`: announced, any value. 0 or -ENOMEM.
 * */
int ccid_in_init(struct ccid_in *in, uint16_t packet_size, uint32_t message_length);
/* Wipes and frees; also after a failed init. */
void ccid_in_done(struct ccid_in *in);

/* Where the next transfer goes and how long it is: always a multiple of the packet size, so that a
 * device can never send more than was asked for. 0 or -ENOMEM. */
int ccid_in_want(struct ccid_in *in, uint8_t **ret_data, size_t *ret_len);

/* `n` bytes came where ccid_in_want said. `whole`: the transfer ended by itself (a short packet, an
 * empty one, or full); 0: it was cancelled, so that a message complete now came without a
 * terminating packet. */
void ccid_in_feed(struct ccid_in *in, size_t n, int whole);

/* The next complete message: 1 and *ret_reply (its data stays until the transfer after), 0: more
 * bytes are needed, -EBADMSG: a message longer than any (everything is dropped). */
int ccid_in_next(struct ccid_in *in, struct ccid_reply *ret_reply);

/* Is a message begun, but not complete? */
int ccid_in_partial(const struct ccid_in *in);

/* Forgets what is there: nobody waits for an answer any more. Wipes. */
void ccid_in_reset(struct ccid_in *in);
