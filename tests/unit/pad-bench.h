/* SPDX-License-Identifier: MIT */
/* The driver's bench with a reader whose answers to Escape, Secure and, if wanted, XfrBlock are
 * written down by the test. */
#pragma once

#include "tests/unit/driver-bench.h"

enum { PAD_MAX_ANSWERS = 32 };

/* What comes back for one message. */
struct pad_answer {
	uint8_t status, error; /* 80h: a time extension, the next answer follows at once */
	const uint8_t *data;
	size_t len;
	size_t lie;        /* more than 0: dwLength says so many bytes */
	int silent;        /* nothing comes */
	uint8_t copy[400]; /* what pad_say was given */
};

struct pad {
	struct bench *b;
	int blocks; /* XfrBlock is answered from the list, too */
	struct pad_answer answers[PAD_MAX_ANSWERS];
	unsigned n, at;
	uint32_t seed; /* not 0: answers are made up from it, and the list is not used */
};

/* A reader with bPINSupport `pin` and these quirks, not started. Ends with pad_free. */
struct pad *pad_new(uint32_t features, uint8_t pin, const char *quirks);
void pad_free(struct pad *pad);
/* Started, with power; `protocol` in force unless it is 0. */
struct pad *pad_ready(uint32_t features, uint8_t pin, const char *quirks, uint32_t protocol);

/* Adds an answer: data of a success, or an error. */
void pad_say(struct pad *pad, const uint8_t *data, size_t len);
void pad_refuse(struct pad *pad, uint8_t error);
void pad_extend(struct pad *pad, uint8_t multiplier);

/* Message `i` from the end (0: the last): its type must be so, its data is this. */
void pad_assert_sent(
	const struct pad *pad, unsigned i, uint8_t type, const uint8_t *data, size_t len);
