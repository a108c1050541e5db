/* SPDX-License-Identifier: MIT */
/*
 * A card's power as its clients' connections decide it: sessions, slot and service together over a driver
 * that remembers what the card was asked (C cold, W warm, O off, 0 and 1 a protocol). The grace time
 * is a millisecond here; how long it is in the field is no matter of these rules.
 */
#include "tests/unit/test.h"

#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/session.h"
#include "tests/unit/fake-driver.h"

enum { GRACE_USEC = 1000 };

struct client {
	struct session *session;
	struct session_peer peer;
	uint8_t request[8]; /* as a connection's buffer: it lives until the reply */
	int outcome;        /* of the last request; -1: not answered */
};

static sd_event *event;
static struct service service;
static struct driver *driver;
static struct client a, b;

static void on_used(void *userdata, int used) {
	(void)userdata, (void)used;
}

static void on_stop(void *userdata, enum status reason) {
	(void)userdata, (void)reason;
}

static void on_gone(void *userdata) {
	(void)userdata;
}

static const struct service_host host = { .used = on_used, .stop = on_stop, .gone = on_gone };
static struct description_reader names[] = { { 0, "Fake 00 00" } };
static const struct description description = { .readers = names, .n_readers = 1 };
static const struct log quiet = { .max_priority = -1 };

static void states_got(void *userdata, uint32_t slots) {
	(void)userdata, (void)slots;
}

static void reply_got(
	void *userdata, uint16_t number, const struct message_reply *reply, uint32_t slots) {
	(void)number, (void)slots;
	struct client *client = userdata;
	client->outcome = reply->status;
}

static void welcome_got(void *userdata, uint16_t number, const struct message_welcome *welcome) {
	(void)userdata, (void)number, (void)welcome;
}

static int ask(struct client *client, uint16_t type, const void *body, size_t len) {
	memcpy(client->request, body, len);
	const struct frame frame = { .type = type, .body = client->request, .body_len = len };
	client->outcome = -1;
	assert_int_equal(session_frame(client->session, &frame), 0);
	return client->outcome;
}

static void client_new(struct client *client) {
	const struct session_client who = { .pid = 1, .admin = 1 };
	static const uint8_t hello[8] = { 'I', 'F', 'D', 'H', 1 };
	*client = (struct client){ .peer = { client, welcome_got, reply_got, states_got } };
	client->session = session_new(&service, &who, &client->peer);
	assert_non_null(client->session);
	ask(client, MESSAGE_HELLO, hello, sizeof(hello));
}

static void end(struct client *client) {
	session_end(client->session, NULL, 0);
	client->session = NULL;
}

static int connect_as(struct client *client, unsigned share, unsigned protocols) {
	uint8_t body[8] = { 0, (uint8_t)share, 0, 0, (uint8_t)protocols, 0, 0, 0 };
	return ask(client, MESSAGE_CONNECT, body, sizeof(body));
}

static int reconnect(struct client *client) {
	static const uint8_t body[8] = { SHARE_SHARED, 0, 0, 0, 3, 0, 0, 0 };
	return ask(client, MESSAGE_RECONNECT, body, sizeof(body));
}

static int leave(struct client *client) {
	return ask(client, MESSAGE_DISCONNECT, "", 1);
}

static void card(int in) {
	driver->host->presence(driver->host->userdata, 0, in, 0);
}

static void is_down(void) {
	for (int i = 0; i < 500 && service.slots[0].powered; i++)
		assert_true(sd_event_run(event, 10000) >= 0);
	assert_false(service.slots[0].powered);
}

/* For ever: no timer runs that could end it. */
static void stays_up(void) {
	assert_true(sd_event_run(event, 0) >= 0);
	assert_true(service.slots[0].powered);
	assert_false(service.slots[0].busy);
	assert_null(service.slots[0].grace);
}

static int setup(void **state) {
	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(service_init(&service, event, &quiet, &host, &description) >= 0);
	assert_int_equal(service_start(&service, &fake_driver_ops, NULL), 0);
	driver = fake_driver();
	service.slots[0].grace_usec = GRACE_USEC;
	client_new(&a);
	client_new(&b);
	driver->host->ready(driver->host->userdata);
	card(1);
	return 0;
}

static int teardown(void **state) {
	(void)state;
	struct client *all[] = { &a, &b };
	for (size_t i = 0; i < N_OF(all); i++)
		if (all[i]->session)
			end(all[i]);
	service_done(&service);
	sd_event_unref(event);
	return 0;
}

/* ---- who needs no power ---- */

/* PCSC-220 */
static void a_card_that_nobody_connects_to(void **state) {
	(void)state;
	is_down();
	assert_string_equal(fake_driver_calls(driver), "CO");
	struct message_state seen;
	session_get_state(a.session, 0, &seen);
	assert_int_equal(seen.presence, PRESENCE_PRESENT);
	assert_true(seen.flags & STATE_POWERED);
	assert_int_equal(seen.tail_len, 5);
}

/* PCSC-72 */
static void a_connect_powers_it_up_again(void **state) {
	(void)state;
	is_down();
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "COC1");
	stays_up();
	assert_int_equal(leave(&a), STATUS_OK);
	is_down();
	assert_string_equal(fake_driver_calls(driver), "O");
}

/* PCSC-73 */
static void a_connect_within_the_grace_time_finds_the_card_as_it_was(void **state) {
	(void)state;
	service.slots[0].grace_usec = 60 * 1000000;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(leave(&a), STATUS_OK);
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "C1");
}

/* PCSC-74, C7: a failed connect is no use of the card. */
static void a_connect_that_fails_for_its_protocol(void **state) {
	(void)state;
	memcpy(driver->atr, "\x3B\x80\x01\x81", 4); /* T=1 only */
	driver->atr_len = 4;
	is_down();
	fake_driver_calls(driver);
	assert_int_equal(connect_as(&a, SHARE_SHARED, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	is_down();
	assert_string_equal(fake_driver_calls(driver), "CO");
}

/* The client that had the card powered up is gone before it was. */
static void a_connect_whose_client_dies(void **state) {
	(void)state;
	is_down();
	fake_driver_calls(driver);
	driver->hold = 1;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), -1);
	end(&a);
	driver->hold = 0;
	fake_driver_finish(driver);
	is_down();
	assert_string_equal(fake_driver_calls(driver), "CAO");
}

static void the_death_of_the_last_client(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	end(&a);
	is_down();
	assert_string_equal(fake_driver_calls(driver), "C1O");
}

/* PCSC-65, C8 */
static void a_card_that_does_not_answer_any_more(void **state) {
	(void)state;
	is_down();
	driver->mute = 1;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_CARD_MUTE);
	assert_int_equal(service.slots[0].presence, PRESENCE_MUTE);
	driver->mute = 0;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
}

/* ---- who does ---- */

/* PCSC-221 */
static void a_connection_that_asks_nothing(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	stays_up();
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(leave(&a), STATUS_OK);
	stays_up();
	assert_string_equal(fake_driver_calls(driver), "C1");
}

/* PCSC-222 */
static void removed_inserted_and_reconnected(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	card(0);
	card(1);
	assert_int_equal(reconnect(&a), STATUS_OK);
	stays_up();
	assert_string_equal(fake_driver_calls(driver), "C1C1");
	assert_int_equal(leave(&a), STATUS_OK);
	is_down();
}

/* PCSC-223 */
static void a_direct_connection_keeps_the_power(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_DIRECT, 0), STATUS_OK);
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(leave(&b), STATUS_OK);
	stays_up();
	assert_int_equal(leave(&a), STATUS_OK);
	is_down();
	assert_string_equal(fake_driver_calls(driver), "C1O");
}

static void a_direct_connection_powers_nothing(void **state) {
	(void)state;
	is_down();
	fake_driver_calls(driver);
	assert_int_equal(connect_as(&a, SHARE_DIRECT, 0), STATUS_OK);
	assert_true(sd_event_run(event, 0) >= 0);
	assert_string_equal(fake_driver_calls(driver), "");
	assert_false(service.slots[0].powered);
}

static void a_grace_time_of_0_keeps_the_power(void **state) {
	(void)state;
	is_down();
	service.slots[0].grace_usec = 0;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(leave(&a), STATUS_OK);
	stays_up();
	card(0);
	card(1);
	stays_up();
	assert_string_equal(fake_driver_calls(driver), "COC1C");
}

/* ---- slots that are not listed ---- */

static void a_slot_that_is_not_listed_is_left_alone(void **state) {
	(void)state;
	static const struct description left_out = { .ignored = "Fake (why)" };
	end(&a);
	end(&b);
	service_done(&service);
	assert_true(service_init(&service, event, &quiet, &host, &left_out) >= 0);
	assert_int_equal(service_start(&service, &fake_driver_ops, NULL), 0);
	driver = fake_driver();
	client_new(&a);
	driver->host->ready(driver->host->userdata);
	card(1);
	assert_string_equal(fake_driver_calls(driver), "");
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_READER_DETACHED);
	assert_int_equal(connect_as(&a, SHARE_DIRECT, 0), STATUS_READER_DETACHED);
	assert_int_equal(ask(&a, MESSAGE_WATCH, "", 0), STATUS_OK);
	driver->host->trouble(driver->host->userdata, STATUS_READER_MUTE, NULL);
	assert_int_equal(service.slots[0].status, STATUS_READER_DETACHED);
	driver->host->ready(driver->host->userdata);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(a_card_that_nobody_connects_to),
		CASE(a_connect_powers_it_up_again),
		CASE(a_connect_within_the_grace_time_finds_the_card_as_it_was),
		CASE(a_connect_that_fails_for_its_protocol),
		CASE(a_connect_whose_client_dies),
		CASE(the_death_of_the_last_client),
		CASE(a_card_that_does_not_answer_any_more),
		CASE(a_connection_that_asks_nothing),
		CASE(removed_inserted_and_reconnected),
		CASE(a_direct_connection_keeps_the_power),
		CASE(a_direct_connection_powers_nothing),
		CASE(a_grace_time_of_0_keeps_the_power),
		CASE(a_slot_that_is_not_listed_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
