/* SPDX-License-Identifier: MIT */
/*
 * A hostile client: any bytes as frames to two sessions in turn, over a driver that answers at once.
 * Nothing may crash or leak, and at the end nobody holds anything.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/session.h"
#include "tests/unit/fake-driver.h"

static void on_used(void *userdata, int used) {
	(void)userdata, (void)used;
}

static void on_stop(void *userdata, enum status reason) {
	(void)userdata, (void)reason;
}

static void on_gone(void *userdata) {
	(void)userdata;
}

static void welcome(void *userdata, uint16_t serial, const struct message_welcome *m) {
	(void)userdata, (void)serial, (void)m;
}

static void reply(void *userdata, uint16_t serial, const struct message_reply *m, uint32_t slots) {
	(void)userdata, (void)serial, (void)slots;
	assert(!m || m->tail_len <= DRIVER_MAX_APDU + 2); /* none: an END that wants no answer */
}

static void states(void *userdata, uint32_t slots) {
	(void)userdata, (void)slots;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static const struct service_host host = {
		.used = on_used, .stop = on_stop, .gone = on_gone
	};
	static struct description_reader names[] = { { 0, "Fake 00 00" } };
	static const struct description description = { .readers = names, .n_readers = 1 };
	static const struct log quiet = { .max_priority = -1 };
	static const struct session_peer peer = { NULL, welcome, reply, states };
	static struct service service;
	struct session_client who = { .uid = 0, .admin = size & 1 };
	struct session *sessions[2];
	struct frame frame;
	sd_event *event;
	int n;
	assert(sd_event_new(&event) >= 0);
	assert(service_init(&service, event, &quiet, &host, &description) >= 0);
	assert(service_start(&service, &fake_driver_ops, NULL) == 0);
	struct driver *driver = fake_driver();
	driver->host->ready(driver->host->userdata);
	driver->host->presence(driver->host->userdata, 0, 1, 0);
	for (int i = 0; i < 2; i++)
		assert((sessions[i] = session_new(&service, &who, &peer)));
	for (int i = 0; (n = frame_parse(data, size, &frame)) > 0; i ^= 1) {
		if (!session_is_busy(sessions[i]))
			session_frame(sessions[i], &frame);
		if (frame.type == 0x7F00)
			driver->host->presence(driver->host->userdata, 0, frame.serial & 1, 0);
		fake_driver_calls(driver);
		data += n;
		size -= (size_t)n;
	}
	for (int i = 0; i < 2; i++)
		session_end(sessions[i], NULL, 0);
	assert(!service.sessions && !service.leases[0].holders && !service.leases[0].owner);
	service_done(&service);
	sd_event_unref(event);
	return 0;
}
