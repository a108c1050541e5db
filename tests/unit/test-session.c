/* SPDX-License-Identifier: MIT */
/*
 * Sessions, slot, lease and service together, over a driver that the test holds in its hand: who gets
 * which answer, in which order, and what the card was asked. Clients are structs that keep what they
 * were sent.
 */
#include "tests/unit/test.h"

#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/session.h"
#include "tests/unit/fake-driver.h"

struct client {
	struct session *session;
	struct session_peer peer;
	uint8_t request[16]; /* as a connection's buffer: it lives until the reply */
	int n_replies, n_silent;
	uint16_t version;
	struct message_reply reply; /* the last one */
	uint8_t data[64];           /* … and its first bytes */
	int n_states;
	struct message_state state; /* the last one */
	int states_before_reply;    /* states seen when the last reply came */
};

static sd_event *event;
static struct service service;
static struct driver *driver;
static struct client a, b, c;
static int used, stopped;
static uint16_t serial;

static void on_used(void *userdata, int u) {
	(void)userdata;
	used = u;
}

static void on_stop(void *userdata, enum status reason) {
	(void)userdata;
	stopped = (int)reason;
}

static void on_gone(void *userdata) {
	(void)userdata;
}

static const struct service_host host = { .used = on_used, .stop = on_stop, .gone = on_gone };
static struct description_reader names[] = { { 0, "Fake 00 00" } };
static const struct description description = { .readers = names, .n_readers = 1 };
static const struct log quiet = { .max_priority = -1 };

static void states_got(void *userdata, uint32_t slots) {
	struct client *client = userdata;
	if (!slots)
		return;
	session_get_state(client->session, 0, &client->state);
	client->n_states++;
}

static void reply_got(
	void *userdata, uint16_t number, const struct message_reply *reply, uint32_t slots) {
	struct client *client = userdata;
	assert_int_equal(number, serial);
	states_got(client, slots);
	if (!reply) {
		client->n_silent++;
		return;
	}
	client->n_replies++;
	client->reply = *reply;
	if (reply->tail_len)
		memcpy(client->data, reply->tail, reply->tail_len < 64 ? reply->tail_len : 64);
	client->states_before_reply = a.n_states + b.n_states + c.n_states;
}

static void welcome_got(void *userdata, uint16_t number, const struct message_welcome *welcome) {
	struct client *client = userdata;
	(void)number;
	assert_int_equal(welcome->version, client->version);
}

/* Sends a frame of `type` with `body`; every client uses the one serial. */
static int send(struct client *client, uint16_t type, const void *body, size_t len) {
	assert_true(len <= sizeof(client->request));
	if (len)
		memcpy(client->request, body, len);
	struct frame frame = {
		.type = type, .serial = serial, .body = client->request, .body_len = len
	};
	return session_frame(client->session, &frame);
}

static void client_of_version(struct client *client, uint16_t flags, uint8_t version) {
	struct session_client who = { .pid = 1, .uid = 0, .admin = 1 };
	uint8_t hello[8] = { 'I', 'F', 'D', 'H', version, 0, (uint8_t)flags, 0 };
	*client = (struct client){ .peer = { client, welcome_got, reply_got, states_got } };
	client->version = version < WIRE_VERSION ? version : WIRE_VERSION;
	client->session = session_new(&service, &who, &client->peer);
	assert_non_null(client->session);
	assert_int_equal(send(client, MESSAGE_HELLO, hello, sizeof(hello)), 0);
}

static void client_new(struct client *client, uint16_t flags) {
	client_of_version(client, flags, WIRE_VERSION + 1);
}

static void end(struct client *client) {
	session_end(client->session, NULL, 0);
	client->session = NULL;
}

/* The status of the reply that came; -1 where none did. */
static int status_of(struct client *client, int before) {
	return client->n_replies > before ? client->reply.status : -1;
}

static int ask(struct client *client, uint16_t type, const void *body, size_t len) {
	int before = client->n_replies;
	assert_int_equal(send(client, type, body, len), 0);
	return status_of(client, before);
}

static int connect_as(struct client *client, unsigned share, unsigned protocols) {
	uint8_t body[8] = { 0, (uint8_t)share, 0, 0, (uint8_t)protocols, 0, 0, 0 };
	return ask(client, MESSAGE_CONNECT, body, sizeof(body));
}

static int reconnect(struct client *client, unsigned share, unsigned how) {
	uint8_t body[8] = { (uint8_t)share, (uint8_t)how, 0, 0, 3, 0, 0, 0 };
	return ask(client, MESSAGE_RECONNECT, body, sizeof(body));
}

static int transmit(struct client *client, unsigned protocol) {
	uint8_t body[9] = { (uint8_t)protocol, 0, 0, 0, 0x00, 0xA4, 0x00, 0x00,
		(uint8_t)(client == &a         ? 0
				: client == &b ? 1
					       : 2) };
	return ask(client, MESSAGE_TRANSMIT, body, sizeof(body));
}

static int simple(struct client *client, uint16_t type) {
	return ask(client, type, NULL, 0);
}

static int dispose(struct client *client, uint16_t type, uint8_t how) {
	return ask(client, type, &how, 1);
}

static int setup(void **state) {
	(void)state;
	serial = 7;
	used = stopped = 0;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(service_init(&service, event, &quiet, &host, &description) >= 0);
	assert_int_equal(service_start(&service, &fake_driver_ops, NULL), 0);
	driver = fake_driver();
	client_new(&a, 0);
	client_new(&b, 0);
	client_new(&c, 0);
	return 0;
}

static int setup_with_card(void **state) {
	setup(state);
	driver->host->ready(driver->host->userdata);
	driver->host->presence(driver->host->userdata, 0, 1, 0);
	fake_driver_calls(driver);
	return 0;
}

static int teardown(void **state) {
	(void)state;
	struct client *all[] = { &a, &b, &c };
	for (size_t i = 0; i < N_OF(all); i++)
		if (all[i]->session)
			end(all[i]);
	service_done(&service);
	sd_event_unref(event);
	return 0;
}

static void card(int in) {
	driver->host->presence(driver->host->userdata, 0, in, 0);
}

/* ---- connecting ---- */

/* PCSC-66 */
static void connect_agrees_on_t1_first(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(a.reply.value, PROTOCOL_T1);
	assert_string_equal(fake_driver_calls(driver), "1");
	assert_int_equal(connect_as(&b, SHARE_SHARED, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(connect_as(&c, SHARE_SHARED, PROTOCOL_T1), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "");
}

static void connect_takes_t0_where_the_reader_cannot_do_t1(void **state) {
	(void)state;
	driver->no_t1 = 1;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(a.reply.value, PROTOCOL_T0);
	assert_string_equal(fake_driver_calls(driver), "10");
}

static void connect_checks_its_fields(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 0), STATUS_PROTO_MISMATCH);
	assert_int_equal(connect_as(&a, 0, 3), STATUS_INVALID);
	assert_int_equal(connect_as(&a, 4, 3), STATUS_INVALID);
	assert_int_equal(connect_as(&a, SHARE_DIRECT, 0), STATUS_OK);
}

/* A first connect waits for the first look at the card. */
static void connect_waits_for_a_starting_reader(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), -1);
	driver->host->ready(driver->host->userdata);
	assert_int_equal(a.n_replies, 0);
	card(1);
	assert_int_equal(a.n_replies, 1);
	assert_int_equal(a.reply.status, STATUS_OK);
	assert_int_equal(a.state.counter, 0);
}

static void connect_without_card_and_with_a_mute_one(void **state) {
	(void)state;
	driver->host->ready(driver->host->userdata);
	card(0);
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_NO_CARD);
	driver->mute = 1;
	card(1);
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_CARD_MUTE);
	assert_int_equal(connect_as(&a, SHARE_DIRECT, 0), STATUS_OK);
	assert_int_equal(a.state.presence, PRESENCE_MUTE);
}

static void connect_in_trouble_says_why(void **state) {
	(void)state;
	driver->host->trouble(driver->host->userdata, STATUS_READER_CLAIMED, "perhaps pcscd");
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_READER_CLAIMED);
	driver->host->ready(driver->host->userdata);
	card(1);
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
}

/* PCSC-81, PCSC-82, PCSC-83 */
static void exclusive_is_alone(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_EXCLUSIVE, 3), STATUS_OK);
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_SHARING);
	assert_int_equal(connect_as(&b, SHARE_DIRECT, 0), STATUS_SHARING);
	assert_int_equal(dispose(&a, MESSAGE_DISCONNECT, 0), STATUS_OK);
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(connect_as(&a, SHARE_EXCLUSIVE, 3), STATUS_SHARING);
}

/* Raw is a connection's own affair: the others keep their protocol. */
static void raw_leaves_the_others_alone(void **state) {
	(void)state;
	assert_int_equal(connect_as(&a, SHARE_SHARED, 7), STATUS_OK);
	assert_int_equal(a.reply.value, PROTOCOL_RAW);
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(b.reply.value, PROTOCOL_T1);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(transmit(&a, PROTOCOL_RAW), STATUS_OK);
	assert_int_equal(a.state.protocol, PROTOCOL_RAW);
}

/* ---- exchange ---- */

/* PCSC-122, PCSC-123, PCSC-124 */
static void transmit_checks_the_protocol(void **state) {
	(void)state;
	uint8_t any[8] = { 0x00, 0x10, 0, 0, 1, 2, 3, 4 };
	connect_as(&a, SHARE_SHARED, 3);
	assert_int_equal(transmit(&a, PROTOCOL_T0), STATUS_PROTO_MISMATCH);
	assert_int_equal(transmit(&a, 0), STATUS_PROTO_MISMATCH);
	assert_int_equal(transmit(&a, 3), STATUS_PROTO_MISMATCH);
	assert_int_equal(ask(&a, MESSAGE_TRANSMIT, any, sizeof(any)), STATUS_OK);
	assert_int_equal(a.reply.value, PROTOCOL_T1);
	assert_memory_equal(a.data, "\x01\x02\x03\x04\x90\x00", 6);
}

/* PCSC-136 */
static void transmit_without_a_card(void **state) {
	(void)state;
	driver->host->ready(driver->host->userdata);
	card(0);
	connect_as(&a, SHARE_DIRECT, 0);
	assert_int_equal(transmit(&a, PROTOCOL_T0), STATUS_NO_CARD);
}

/* Two clients without transactions: one command after the other, each its own answer. */
static void commands_of_two_clients_do_not_mix(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	driver->hold = 1;
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	assert_int_equal(transmit(&b, PROTOCOL_T1), -1);
	fake_driver_finish(driver);
	assert_int_equal(a.reply.status, STATUS_OK);
	assert_int_equal(a.data[4], 0);
	fake_driver_finish(driver);
	assert_int_equal(b.reply.status, STATUS_OK);
	assert_int_equal(b.data[4], 1);
}

/* Programs connect directly to every reader and ask for its features when they list: a command of somebody
 * else that takes for ever must not hold them up. */
static void a_hung_command_holds_up_no_listing(void **state) {
	(void)state;
	uint8_t known[4] = { 1 }, foreign[4] = { 2 }, device[4] = { 3 };
	connect_as(&a, SHARE_SHARED, 3);
	driver->hold = 1;
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	assert_int_equal(connect_as(&b, SHARE_DIRECT, 0), STATUS_OK);
	assert_int_equal(ask(&b, MESSAGE_CONTROL, known, 4), STATUS_OK);
	assert_memory_equal(b.data, "known", 5);
	assert_int_equal(ask(&b, MESSAGE_CONTROL, foreign, 4), STATUS_UNSUPPORTED);
	assert_int_equal(ask(&b, MESSAGE_CONTROL, device, 4), -1);
	assert_int_equal(connect_as(&c, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(c.reply.value, PROTOCOL_T1);
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_int_equal(b.reply.status, STATUS_OK);
}

/* A PIN must not go to a card that was reset, or to another one, before its user has heard of that; what is
 * for the reader alone goes on. */
static void control_of_the_card_after_a_reset(void **state) {
	(void)state;
	uint8_t for_reader[4] = { 3 }, for_card[4] = { 4 };
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_card, 4), STATUS_OK);
	assert_int_equal(reconnect(&b, SHARE_SHARED, DISPOSITION_RESET), STATUS_OK);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_reader, 4), STATUS_OK);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_card, 4), STATUS_CARD_RESET);
	assert_int_equal(ask(&b, MESSAGE_CONTROL, for_card, 4), STATUS_OK);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_card, 4), STATUS_OK);
	card(0);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_reader, 4), STATUS_OK);
	assert_int_equal(ask(&a, MESSAGE_CONTROL, for_card, 4), STATUS_CARD_REMOVED);
}

/* ---- transactions ---- */

/* PCSC-107, PCSC-108, PCSC-109 */
static void a_transaction_makes_others_wait(void **state) {
	(void)state;
	uint8_t code[4] = { 0 };
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	connect_as(&c, SHARE_SHARED, 3);
	assert_int_equal(simple(&a, MESSAGE_BEGIN), STATUS_OK);
	assert_true(b.state.flags & STATE_LOCKED_ELSEWHERE);
	assert_false(a.state.flags & STATE_LOCKED_ELSEWHERE);
	assert_int_equal(ask(&b, MESSAGE_CONTROL, code, 4), STATUS_SHARING);
	assert_int_equal(ask(&b, MESSAGE_GET_ATTRIB, code, 4), STATUS_SHARING);
	assert_int_equal(dispose(&b, MESSAGE_END, DISPOSITION_UNPOWER), STATUS_SHARING);
	assert_int_equal(transmit(&b, PROTOCOL_T1), -1);
	assert_int_equal(simple(&c, MESSAGE_SYNC), -1);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(b.reply.status, STATUS_OK);
	assert_int_equal(c.reply.status, STATUS_OK);
	assert_int_equal(b.state.event, EVENT_NONE);
}

/* PCSC-110 */
static void no_blocking_fails_at_once_but_for_begin(void **state) {
	(void)state;
	end(&b);
	client_new(&b, HELLO_NO_BLOCKING);
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_SHARING);
	assert_int_equal(simple(&b, MESSAGE_SYNC), STATUS_SHARING);
	assert_int_equal(reconnect(&b, SHARE_SHARED, 0), STATUS_SHARING);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), -1);
	dispose(&a, MESSAGE_END, 0);
	assert_int_equal(b.reply.status, STATUS_OK);
}

static void a_silent_end_has_no_reply(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), -1);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_SILENT), -1);
	assert_int_equal(a.n_silent, 1);
	assert_int_equal(b.reply.status, STATUS_OK);
	/* nor has one that cannot be: another's lock, none at all */
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_SILENT), -1);
	assert_int_equal(dispose(&b, MESSAGE_END, DISPOSITION_SILENT), -1);
	assert_int_equal(dispose(&b, MESSAGE_END, DISPOSITION_SILENT), -1);
	assert_int_equal(simple(&a, MESSAGE_BEGIN), STATUS_OK);
}

/* The client says END before it has read of the trouble, and will not say it again. */
static void a_silent_end_counts_in_spite_of_an_event(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	assert_int_equal(simple(&a, MESSAGE_BEGIN), STATUS_OK);
	driver->host->trouble(driver->host->userdata, STATUS_READER_CLAIMED, NULL);
	driver->host->ready(driver->host->userdata);
	card(1);
	assert_int_equal(a.session->event, EVENT_RESET);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_SILENT), -1);
	assert_int_equal(a.session->event, EVENT_RESET);
	assert_int_equal(reconnect(&a, SHARE_SHARED, 0), STATUS_OK);
	assert_int_equal(reconnect(&b, SHARE_SHARED, 0), STATUS_OK);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), STATUS_OK);
}

static void a_watch_tells_each_slot_when_it_is_known(void **state) {
	(void)state;
	driver->n_slots = 2;
	driver->host->ready(driver->host->userdata);
	card(0); /* slot 1 is not known yet */
	assert_int_equal(simple(&a, MESSAGE_WATCH), -1);
	service_flush(&service);
	assert_int_equal(a.n_states, 1);
	assert_int_equal(a.state.presence, PRESENCE_ABSENT);
	driver->host->presence(driver->host->userdata, 1, 0, 0);
	service_flush(&service);
	assert_int_equal(a.reply.status, STATUS_OK);
	assert_int_equal(a.n_states, 2);
}

static void version_1_knows_no_silent_end(void **state) {
	(void)state;
	end(&a);
	client_of_version(&a, 0, 1);
	connect_as(&a, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_SILENT), STATUS_INVALID);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_LEAVE), STATUS_OK);
}

/* PCSC-120 */
static void waiters_are_served_in_order(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	connect_as(&c, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(simple(&c, MESSAGE_BEGIN), -1);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), -1);
	dispose(&a, MESSAGE_END, 0);
	assert_int_equal(c.reply.status, STATUS_OK);
	assert_true(b.session->holder.waiting);
	dispose(&c, MESSAGE_END, 0);
	assert_false(b.session->holder.waiting);
}

/* PCSC-113, PCSC-114 */
static void end_with_reset_is_an_event_for_all(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_RESET), STATUS_NOT_TRANSACTED);
	assert_string_equal(fake_driver_calls(driver), "1");
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(dispose(&a, MESSAGE_END, DISPOSITION_RESET), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "W");
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_RESET);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_CARD_RESET);
	assert_int_equal(reconnect(&b, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_RESET);
}

/* PCSC-119: the owner dies in the middle of a transaction */
static void a_dead_owner_leaves_a_reset_card(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), -1);
	fake_driver_calls(driver);
	end(&a);
	assert_string_equal(fake_driver_calls(driver), "W");
	assert_int_equal(b.reply.status, STATUS_CARD_RESET);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), STATUS_CARD_RESET);
}

/* Nobody may meet the card between the owner's death and its reset. */
static void a_waiting_reconnect_comes_after_the_reset(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(reconnect(&b, SHARE_SHARED, DISPOSITION_LEAVE), -1);
	fake_driver_calls(driver);
	driver->hold = 1;
	end(&a);
	assert_true(b.session->holder.waiting);
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_string_equal(fake_driver_calls(driver), "W1");
	assert_int_equal(b.reply.status, STATUS_OK);
}

/* The client goes while its command runs: the buffer lives on, the next one gets its own answer. */
static void a_client_that_dies_in_a_command(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	driver->hold = 1;
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	assert_int_equal(transmit(&b, PROTOCOL_T1), -1);
	end(&a);
	assert_int_equal(service.n_sessions, 3);
	fake_driver_finish(driver);
	assert_int_equal(service.n_sessions, 2);
	fake_driver_finish(driver);
	assert_int_equal(b.reply.status, STATUS_OK);
	assert_int_equal(b.data[4], 1);
}

/* ---- movements ---- */

/* PCSC-112, PCSC-117 */
static void a_pulled_card_is_an_event_and_frees_the_lock(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(simple(&b, MESSAGE_BEGIN), -1);
	card(0);
	assert_int_equal(b.reply.status, STATUS_CARD_REMOVED);
	assert_int_equal(dispose(&a, MESSAGE_END, 0), STATUS_CARD_REMOVED);
	card(1);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_REMOVED);
	assert_int_equal(a.state.counter, 2);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_OK);
}

/* PCSC-134 */
static void a_card_pulled_in_a_command(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	driver->hold = 1;
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	card(0);
	driver->result = (struct driver_result){ .status = STATUS_NO_CARD };
	fake_driver_finish(driver);
	assert_int_equal(a.reply.status, STATUS_NO_CARD);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_REMOVED);
}

/* A client that dies in a command: nobody waits for that any more, and what it does to the card is told
 * to the others before they go on. */
static void ccid_62_a_client_that_goes_in_a_command(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	driver->hold = 1;
	fake_driver_calls(driver);
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	assert_int_equal(transmit(&b, PROTOCOL_T1), -1);
	end(&a);
	assert_string_equal(fake_driver_calls(driver), "XA");
	driver->host->presence(driver->host->userdata, 0, 1, 1);
	driver->result = (struct driver_result){ .status = STATUS_EXCHANGE_TIMEOUT };
	fake_driver_finish(driver);
	assert_string_equal(fake_driver_calls(driver), "C");
	fake_driver_finish(driver);
	assert_int_equal(b.reply.status, STATUS_CARD_REMOVED);
	assert_string_equal(fake_driver_calls(driver), "");
	driver->hold = 0;
	assert_int_equal(reconnect(&b, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_OK);
}

/* It held the lock, so the card is to be reset for two reasons: once will do. */
static void an_owner_that_dies_in_a_command(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	driver->hold = 1;
	assert_int_equal(transmit(&a, PROTOCOL_T1), -1);
	assert_int_equal(transmit(&b, PROTOCOL_T1), -1);
	fake_driver_calls(driver);
	end(&a);
	driver->host->presence(driver->host->userdata, 0, 1, DRIVER_CARD_RESET);
	driver->result = (struct driver_result){ .status = STATUS_EXCHANGE_TIMEOUT };
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_string_equal(fake_driver_calls(driver), "AW");
	assert_int_equal(b.reply.status, STATUS_CARD_RESET);
	assert_int_equal(reconnect(&b, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_OK);
}

static void a_swapped_card_is_a_removal(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	driver->host->presence(driver->host->userdata, 0, 1, 1);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_REMOVED);
	assert_int_equal(service.slots[0].counter, 2);
}

/* An arrival is published when the ATR is known, not before. */
static void a_watcher_sees_the_atr_with_the_card(void **state) {
	(void)state;
	driver->host->ready(driver->host->userdata);
	card(0);
	assert_int_equal(simple(&a, MESSAGE_WATCH), STATUS_OK);
	assert_int_equal(a.state.presence, PRESENCE_ABSENT);
	int before = a.n_states;
	driver->hold = 1;
	card(1);
	service_flush(&service);
	assert_int_equal(a.n_states, before);
	fake_driver_finish(driver);
	service_flush(&service);
	assert_int_equal(a.n_states, before + 1);
	assert_int_equal(a.state.presence, PRESENCE_PRESENT);
	assert_int_equal(a.state.tail_len, 5);
}

/* Changes reach the others before the answer reaches the one who made them. */
static void states_go_out_before_the_reply(void **state) {
	(void)state;
	assert_int_equal(simple(&a, MESSAGE_WATCH), STATUS_OK);
	int before = a.n_states;
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(a.n_states, before + 1);
	assert_true(a.state.flags & STATE_IN_USE);
	assert_int_equal(b.states_before_reply, a.n_states + b.n_states + c.n_states);
}

static void a_lock_is_no_news_for_a_watcher(void **state) {
	(void)state;
	simple(&a, MESSAGE_WATCH);
	connect_as(&b, SHARE_SHARED, 3);
	int before = a.n_states;
	simple(&b, MESSAGE_BEGIN);
	dispose(&b, MESSAGE_END, 0);
	service_flush(&service);
	assert_int_equal(a.n_states, before);
}

/* Readers that must be asked are asked only while somebody is there: what was known before counts only
 * after a new look. */
static void after_a_pause_the_first_look_counts(void **state) {
	(void)state;
	driver->stale = 1;
	assert_int_equal(driver->watched, 0);
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), -1);
	assert_int_equal(driver->watched, 1);
	card(0);
	assert_int_equal(a.reply.status, STATUS_NO_CARD);
	assert_int_equal(driver->watched, 0);
	assert_int_equal(simple(&b, MESSAGE_WATCH), -1);
	card(1);
	assert_int_equal(b.reply.status, STATUS_OK);
	assert_int_equal(connect_as(&a, SHARE_SHARED, 3), STATUS_OK);
	assert_int_equal(driver->watched, 1);
}

static void trouble_takes_the_card_and_gives_it_back(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	driver->host->trouble(driver->host->userdata, STATUS_READER_MUTE, NULL);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_READER_MUTE);
	driver->host->ready(driver->host->userdata);
	card(1);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_CARD_RESET);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_OK);
}

/* ---- reconnecting and disconnecting ---- */

static void reconnect_with_reset_tells_the_others_only(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	fake_driver_calls(driver);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_RESET), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "W1");
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(transmit(&b, PROTOCOL_T1), STATUS_CARD_RESET);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_EJECT), STATUS_INVALID);
}

/* Reset once, when exclusiveness is there; not at every try. */
static void reconnect_exclusive_waits_until_alone(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	fake_driver_calls(driver);
	assert_int_equal(reconnect(&a, SHARE_EXCLUSIVE, DISPOSITION_RESET), -1);
	assert_string_equal(fake_driver_calls(driver), "");
	assert_int_equal(dispose(&b, MESSAGE_DISCONNECT, 0), STATUS_OK);
	assert_int_equal(a.reply.status, STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "W1");
	assert_int_equal(connect_as(&b, SHARE_SHARED, 3), STATUS_SHARING);
}

static void reconnect_leave_powers_an_unpowered_card(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	connect_as(&b, SHARE_SHARED, 3);
	assert_int_equal(dispose(&b, MESSAGE_DISCONNECT, DISPOSITION_UNPOWER), STATUS_OK);
	assert_false(a.state.flags & STATE_POWERED);
	assert_int_equal(a.state.event, EVENT_RESET);
	fake_driver_calls(driver);
	assert_int_equal(reconnect(&a, SHARE_SHARED, DISPOSITION_LEAVE), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "C1");
}

static void disconnect_refuses_a_wrong_disposition_and_lives_on(void **state) {
	(void)state;
	connect_as(&a, SHARE_SHARED, 3);
	assert_int_equal(dispose(&a, MESSAGE_DISCONNECT, 9), STATUS_INVALID);
	assert_int_equal(transmit(&a, PROTOCOL_T1), STATUS_OK);
	assert_int_equal(dispose(&a, MESSAGE_END, 9), STATUS_INVALID);
}

/* ---- legality and use ---- */

static void messages_out_of_place_are_refused(void **state) {
	(void)state;
	assert_int_equal(send(&a, MESSAGE_BEGIN, NULL, 0), -EBADMSG);
	assert_int_equal(send(&a, MESSAGE_HELLO, "IFDH\1\0\0\0", 8), -EBADMSG);
	assert_int_equal(send(&a, MESSAGE_REPLY, "\0\0\0\0\0\0\0\0", 8), -EBADMSG);
	assert_int_equal(send(&a, 0x7777, NULL, 0), -EBADMSG);
	connect_as(&a, SHARE_SHARED, 3);
	assert_int_equal(send(&a, MESSAGE_WATCH, NULL, 0), -EBADMSG);
	assert_int_equal(send(&a, MESSAGE_BEGIN, "x", 1), -EBADMSG);
	assert_int_equal(send(&a, MESSAGE_TRANSMIT, "x", 1), -EBADMSG);
}

static void hello_is_checked(void **state) {
	(void)state;
	struct session_client who = { .uid = 1 };
	a.peer = (struct session_peer){ &a, welcome_got, reply_got, states_got };
	struct session *s = session_new(&service, &who, &a.peer);
	struct frame frame = {
		.type = MESSAGE_HELLO, .body = (const uint8_t *)"IFDX\1\0\0\0", .body_len = 8
	};
	assert_int_equal(session_frame(s, &frame), -EBADMSG);
	frame.body = (const uint8_t *)"IFDH\0\0\0\0";
	assert_int_equal(session_frame(s, &frame), -EPROTONOSUPPORT);
	frame.type = MESSAGE_WATCH;
	assert_int_equal(session_frame(s, &frame), -EBADMSG);
	session_end(s, NULL, 0);
}

static void a_parked_connection_is_no_use(void **state) {
	(void)state;
	assert_int_equal(used, 0);
	connect_as(&a, SHARE_SHARED, 3);
	assert_int_equal(used, 1);
	dispose(&a, MESSAGE_DISCONNECT, 0);
	assert_int_equal(used, 0);
	simple(&b, MESSAGE_WATCH);
	assert_int_equal(used, 1);
	end(&b);
	assert_int_equal(used, 0);
}

static void only_admins_stop_the_handler(void **state) {
	(void)state;
	uint8_t reason[2] = { STATUS_READER_DETACHED, 0 };
	a.session->client.admin = 0;
	assert_int_equal(ask(&a, MESSAGE_STOP, reason, 2), STATUS_REFUSED);
	assert_int_equal(stopped, 0);
	assert_int_equal(ask(&b, MESSAGE_STOP, reason, 2), STATUS_OK);
	assert_int_equal(stopped, STATUS_READER_DETACHED);
}

static void inspect_names_the_holder(void **state) {
	(void)state;
	char *text;
	connect_as(&a, SHARE_SHARED, 3);
	simple(&a, MESSAGE_BEGIN);
	assert_int_equal(simple(&b, MESSAGE_INSPECT), STATUS_OK);
	text = (char *)b.data;
	assert_memory_equal(text, "driver=fake\n", 12);
	assert_true(b.reply.tail_len > 100);
}

static void attributes(void **state) {
	(void)state;
	uint8_t atr[4] = { 0x03, 0x03, 0x09, 0x00 }, vendor[4] = { 0x00, 0x01, 0x01, 0x00 };
	uint8_t other[4] = { 0x99 };
	connect_as(&a, SHARE_SHARED, 3);
	assert_int_equal(ask(&a, MESSAGE_GET_ATTRIB, atr, 4), STATUS_OK);
	assert_int_equal(a.reply.tail_len, 5);
	assert_int_equal(ask(&a, MESSAGE_GET_ATTRIB, vendor, 4), STATUS_OK);
	assert_memory_equal(a.data, "Fake", 5);
	assert_int_equal(ask(&a, MESSAGE_GET_ATTRIB, other, 4), STATUS_UNSUPPORTED);
	assert_int_equal(ask(&a, MESSAGE_SET_ATTRIB, atr, 4), STATUS_UNSUPPORTED);
}

int main(void) {
#define CASE(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define WITH_CARD(name) cmocka_unit_test_setup_teardown(name, setup_with_card, teardown)
	static const struct CMUnitTest tests[] = {
		WITH_CARD(connect_agrees_on_t1_first),
		WITH_CARD(connect_takes_t0_where_the_reader_cannot_do_t1),
		WITH_CARD(connect_checks_its_fields),
		CASE(connect_waits_for_a_starting_reader),
		CASE(connect_without_card_and_with_a_mute_one),
		CASE(connect_in_trouble_says_why),
		WITH_CARD(exclusive_is_alone),
		WITH_CARD(raw_leaves_the_others_alone),
		WITH_CARD(transmit_checks_the_protocol),
		CASE(transmit_without_a_card),
		WITH_CARD(commands_of_two_clients_do_not_mix),
		WITH_CARD(a_hung_command_holds_up_no_listing),
		WITH_CARD(control_of_the_card_after_a_reset),
		WITH_CARD(a_transaction_makes_others_wait),
		WITH_CARD(no_blocking_fails_at_once_but_for_begin),
		WITH_CARD(a_silent_end_has_no_reply),
		WITH_CARD(a_silent_end_counts_in_spite_of_an_event),
		CASE(a_watch_tells_each_slot_when_it_is_known),
		WITH_CARD(version_1_knows_no_silent_end),
		WITH_CARD(waiters_are_served_in_order),
		WITH_CARD(end_with_reset_is_an_event_for_all),
		WITH_CARD(a_dead_owner_leaves_a_reset_card),
		WITH_CARD(a_waiting_reconnect_comes_after_the_reset),
		WITH_CARD(an_owner_that_dies_in_a_command),
		WITH_CARD(a_client_that_dies_in_a_command),
		WITH_CARD(a_pulled_card_is_an_event_and_frees_the_lock),
		WITH_CARD(a_card_pulled_in_a_command),
		WITH_CARD(ccid_62_a_client_that_goes_in_a_command),
		WITH_CARD(a_swapped_card_is_a_removal),
		CASE(a_watcher_sees_the_atr_with_the_card),
		WITH_CARD(states_go_out_before_the_reply),
		WITH_CARD(a_lock_is_no_news_for_a_watcher),
		WITH_CARD(after_a_pause_the_first_look_counts),
		WITH_CARD(trouble_takes_the_card_and_gives_it_back),
		WITH_CARD(reconnect_with_reset_tells_the_others_only),
		WITH_CARD(reconnect_exclusive_waits_until_alone),
		WITH_CARD(reconnect_leave_powers_an_unpowered_card),
		WITH_CARD(disconnect_refuses_a_wrong_disposition_and_lives_on),
		WITH_CARD(messages_out_of_place_are_refused),
		WITH_CARD(hello_is_checked),
		WITH_CARD(a_parked_connection_is_no_use),
		WITH_CARD(only_admins_stop_the_handler),
		WITH_CARD(inspect_names_the_holder),
		WITH_CARD(attributes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
