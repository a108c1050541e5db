/* SPDX-License-Identifier: MIT */
/* A context, and mostly a handle, against a scripted handler: what the tests of the library begin with. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/clock.h"
#include "client/winscard.h"
#include "fake-handler.h"
#include "test.h"

#define READER "Fake Reader 00 00"

/* What a test has in its hands. */
struct fixture {
	struct fake_handler *handler;
	SCARDCONTEXT context;
	SCARDHANDLE card;
	DWORD protocol;
};

static inline int setup_bare(void **state) {
	struct fixture *f = calloc(1, sizeof(*f));
	fake_directory_make();
	assert_int_equal(SCardEstablishContext(0, NULL, NULL, &f->context), SCARD_S_SUCCESS);
	*state = f;
	return 0;
}

static inline void start(struct fixture *f, fake_serve serve) {
	f->handler = fake_handler_start("001-001", serve, f);
	fake_register("001-001", READER, 1);
}

static inline LONG connect_shared(struct fixture *f) {
	return SCardConnect(
		f->context, READER, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &f->card, &f->protocol);
}

static inline int setup(void **state) {
	setup_bare(state);
	start(*state, NULL);
	assert_int_equal(connect_shared(*state), SCARD_S_SUCCESS);
	return 0;
}

static inline int teardown(void **state) {
	struct fixture *f = *state;
	SCardReleaseContext(f->context);
	if (f->handler)
		fake_handler_stop(f->handler);
	fake_directory_remove();
	free(f);
	return 0;
}

static inline LONG transmit(struct fixture *f) {
	BYTE answer[300];
	DWORD length = sizeof(answer);
	return SCardTransmit(
		f->card, SCARD_PCI_T0, (LPCBYTE) "\0\xa4\4\0", 4, NULL, answer, &length);
}

static inline LONG status(struct fixture *f) {
	return SCardStatus(f->card, NULL, NULL, NULL, NULL, NULL, NULL);
}

static inline LONG reconnect(struct fixture *f) {
	return SCardReconnect(
		f->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, SCARD_LEAVE_CARD, &f->protocol);
}
