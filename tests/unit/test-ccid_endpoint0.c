/* SPDX-License-Identifier: MIT */
/* Tokens without bulk endpoints in the CCID driver: times, ends, presence, beside other interfaces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "tests/unit/driver-bench.h"

enum {
	A = 1,
	B = 2,
	POWER_ON = 0x62,
	POWER_OFF = 0x63,
	XFR_BLOCK = 0x65,
	DATA_BLOCK = 0x6F,
	SLOT_STATUS = 0x81,
	GET_ICC_STATUS = 0xA0,
	MAX_LOG = 4096,
	FOREVER = 1000000,
};

/* A token, told to misbehave by setting fields. It echoes what comes behind the header. */
struct token {
	struct bench *bench;
	struct ccid *engine; /* of tests without a driver */
	struct ccid_desc desc;
	int version;
	uint8_t interface;
	int powered, active;
	int mute;            /* A: status 80h; B: no card. 2: until it is switched off */
	unsigned n_busy;     /* A: status answers 40h, B: polling answers, of the next commands */
	uint16_t pause;      /* B: what a polling answer asks for */
	uint8_t hang;        /* this request never ends */
	uint8_t stall;       /* this request is refused */
	const uint8_t *next; /* B: instead of the next answer; of A: of any request */
	int next_len;        /* -1: none */
	size_t room;         /* B: the response comes in parts of that many bytes */
	uint64_t busy_until;

	uint8_t command[70000];
	size_t command_len, sent;
	uint8_t response[70000];
	size_t response_len;
	unsigned n_requests;
	uint8_t log[MAX_LOG];
	int done, error;
	struct driver_result result;
	uint8_t data[70000];
};

/* ---- the token ---- */

static const uint8_t atr[] = { 0x3B, 0x80, 0x80, 0x01, 0x01 };

static int give(uint8_t *data, size_t room, const uint8_t *bytes, size_t len) {
	assert_true(room <= 4096);
	size_t n = len < room ? len : room;
	if (n)
		memcpy(data, bytes, n);
	return (int)n;
}

static int is_busy(struct token *t) {
	if (t->busy_until)
		return ccid_now() < t->busy_until;
	t->n_busy -= t->n_busy > 0 && t->n_busy < FOREVER;
	return t->n_busy > 0;
}

static int a_status(struct token *t, uint8_t *data, size_t len) {
	uint8_t status = 0;
	if (is_busy(t))
		status = 0x40;
	else if (t->mute)
		status = 0x80;
	else if (t->active && t->command_len == 5 && t->command[4] && t->command[1] == 0xA4)
		status = 0x10;
	else if (t->active)
		status = 0x20;
	return give(data, len, &status, 1);
}

static int a_request(struct token *t, const struct usb_setup *s, uint8_t *data, size_t len) {
	static const uint8_t sw[] = { 0x90, 0x00 };
	switch (s->request) {
	case POWER_ON: t->powered = !t->mute; return give(data, len, atr, sizeof(atr));
	case GET_ICC_STATUS: return a_status(t, data, len);
	case DATA_BLOCK: t->active = 0; return give(data, len, sw, sizeof(sw));
	default: return -EPIPE;
	}
}

static int b_answer(struct token *t, uint8_t *data, size_t len) {
	uint8_t polling[3] = { 0x80, (uint8_t)t->pause, (uint8_t)(t->pause >> 8) };
	if (is_busy(t))
		return give(data, len, polling, sizeof(polling));
	size_t n = t->response_len - t->sent;
	uint8_t *part = malloc(1 + n);
	if (n > t->room)
		n = t->room;
	int is_first = t->sent == 0, is_last = t->sent + n == t->response_len;
	part[0] = is_first ? (is_last ? 0 : 1) : (is_last ? 2 : 3);
	memcpy(part + 1, t->response + t->sent, n);
	t->sent += n;
	int r = give(data, len, part, 1 + n);
	free(part);
	return r;
}

static int b_request(struct token *t, const struct usb_setup *s, uint8_t *data, size_t len) {
	uint8_t status[3] = { 0x81, t->mute ? 2 : !t->powered, 0 };
	switch (s->request) {
	case POWER_ON:
		assert_int_equal(s->value, 1);
		t->powered = 1;
		memcpy(t->response, atr, sizeof(atr));
		t->response_len = sizeof(atr);
		t->sent = 0;
		return 0;
	case SLOT_STATUS: return give(data, len, status, sizeof(status));
	case DATA_BLOCK: return b_answer(t, data, len);
	default: return -EPIPE;
	}
}

/* The command or a part of it; its response is its data and 9000. */
static void take_command(
	struct token *t, const struct usb_setup *s, const uint8_t *data, size_t len) {
	uint8_t level = (uint8_t)(s->value >> 8);
	if (t->version == B && level == 0x10)
		return;
	if (t->version == A ? !t->active : level == 0 || level == 1)
		t->command_len = 0;
	t->active = 1;
	memcpy(t->command + t->command_len, data, len);
	t->command_len += len;
	size_t head = t->command_len > 7 && t->command[4] == 0 ? 7 : 5;
	size_t n = t->command_len > head ? t->command_len - head : 0;
	memcpy(t->response, t->command + head, n);
	memcpy(t->response + n, "\x90\x00", 2);
	t->response_len = n + 2;
	t->sent = 0;
	if (t->version == B && (level == 1 || level == 3)) {
		static const uint8_t more[] = { 0x10 };
		t->next = more;
		t->next_len = 1;
	}
}

static int token(struct fake_usb *fake, const struct usb_setup *s, uint8_t *data, size_t len) {
	struct token *t = fake->userdata;
	assert_int_equal(s->index, t->interface);
	assert_true(len <= 4096);
	if (t->n_requests < MAX_LOG)
		t->log[t->n_requests] = s->request;
	t->n_requests++;
	if (t->hang == s->request)
		return FAKE_HANGS;
	if (t->stall == s->request)
		return -EPIPE;
	if (s->request == DATA_BLOCK && t->next_len >= 0) {
		size_t n = (size_t)t->next_len;
		t->next_len = -1;
		return give(data, len, t->next, n);
	}
	switch (s->request) {
	case XFR_BLOCK: take_command(t, s, data, len); return (int)len;
	case POWER_OFF:
		t->powered = 0;
		t->active = 0;
		t->mute = t->mute == 2 ? 0 : t->mute;
		return 0;
	default: break;
	}
	return t->version == A ? a_request(t, s, data, len) : b_request(t, s, data, len);
}

/* ---- the host ---- */

static struct token *token_new(int version) {
	struct token *t = calloc(1, sizeof(*t));
	uint8_t class[54];
	t->bench = bench_new(0, 271);
	t->version = version;
	t->room = sizeof(t->response);
	t->next_len = -1;
	t->pause = 1;
	desc_class(class, version == A ? 0x840 : 0x40840, 271);
	desc_device(&t->bench->descriptors, 0x23A0, 2);
	desc_configuration(&t->bench->descriptors, 1, 1);
	desc_interface(&t->bench->descriptors, 0, 0, 0x0b, (uint8_t)version);
	desc_add(&t->bench->descriptors, class, sizeof(class));
	t->bench->fake->n_descriptors = t->bench->descriptors.len;
	t->bench->fake->on_control = token;
	t->bench->fake->on_message = NULL;
	t->bench->fake->userdata = t;
	return t;
}

static void token_free(struct token *t) {
	bench_free(t->bench);
	free(t);
}

static uint32_t protocol_of(const struct token *t) {
	return t->version == A ? PROTOCOL_T0 : PROTOCOL_T1;
}

static struct token *token_powered(int version) {
	struct token *t = token_new(version);
	bench_start_ready(t->bench);
	assert_int_equal(bench_power(t->bench, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(t->bench->result.len, sizeof(atr));
	assert_memory_equal(t->bench->data, atr, sizeof(atr));
	assert_int_equal(bench_protocol(t->bench, 0, protocol_of(t)), STATUS_OK);
	return t;
}

static void on_done(void *userdata, const struct driver_result *result) {
	struct token *t = userdata;
	t->done++;
	t->result = *result;
	if (result->data)
		memcpy(t->data, result->data, result->len);
}

static void send_apdu(struct token *t, const uint8_t *apdu, size_t len) {
	struct driver_bytes bytes = { apdu, len };
	t->done = 0;
	driver_ccid.transmit(t->bench->driver, 0, protocol_of(t), &bytes, on_done, t);
}

static enum status ends(struct token *t, unsigned ms) {
	assert_true(fake_run(t->bench->event, &t->done, ms));
	assert_int_equal(t->done, 1);
	return t->result.status;
}

static const uint8_t select_mf[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };

static void works(struct token *t) {
	send_apdu(t, select_mf, sizeof(select_mf));
	assert_int_equal(ends(t, 5000), STATUS_OK);
	assert_int_equal(t->result.len, t->version == A ? 2 : 4);
	assert_memory_equal(t->data + t->result.len - 2, "\x90\x00", 2);
	assert_memory_equal(t->command, select_mf, sizeof(select_mf));
}

/* What programs do after an exchange that went wrong. */
static void works_after_reset(struct token *t) {
	assert_int_equal(bench_power(t->bench, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_protocol(t->bench, 0, protocol_of(t)), STATUS_OK);
	works(t);
}

static uint64_t ms_since(uint64_t began) {
	return (ccid_now() - began) / 1000;
}

/* ---- in order ---- */

static void ccid_149_a_opens_and_works(void **state) {
	(void)state;
	static const uint8_t opening[] = { POWER_OFF, GET_ICC_STATUS, POWER_ON, GET_ICC_STATUS,
		POWER_OFF, GET_ICC_STATUS };
	struct token *t = token_powered(A);
	assert_memory_equal(t->log, opening, sizeof(opening));
	works(t);
	/* Off and on, whatever kind of reset is asked for. */
	t->n_requests = 0;
	assert_int_equal(bench_power(t->bench, 0, DRIVER_WARM), STATUS_OK);
	assert_memory_equal(t->log, opening, 4);
	/* Another protocol than its own: T=0 TPDUs are all that it takes. */
	assert_int_equal(bench_protocol(t->bench, 0, PROTOCOL_T1), STATUS_PROTO_MISMATCH);
	assert_int_equal(bench_protocol(t->bench, 0, PROTOCOL_T0), STATUS_OK);
	driver_ccid.power_off(t->bench->driver, 0, bench_done, t->bench);
	assert_int_equal(bench_wait_done(t->bench, 1000), STATUS_OK);
	assert_false(t->powered);
	token_free(t);
}

static void ccid_149_b_opens_and_works(void **state) {
	(void)state;
	static const uint8_t opening[] = { POWER_OFF, SLOT_STATUS, POWER_ON, DATA_BLOCK, POWER_OFF,
		SLOT_STATUS };
	struct token *t = token_powered(B);
	assert_memory_equal(t->log, opening, sizeof(opening));
	works(t);
	/* No vendor commands, whoever allows them. */
	assert_int_equal(bench_control(t->bench, 0x42000001, select_mf, 2), STATUS_UNSUPPORTED);
	works(t);
	token_free(t);
}

/* The lengths at which commands are cut, and a response in many parts. */
static void ccid_149_b_chains(void **state) {
	(void)state;
	static const size_t lengths[] = { 249, 254, 255, 261, 262, 522, 523, 5000, 65535 };
	struct token *t = token_powered(B);
	uint8_t *apdu = calloc(1, 7 + 65535);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t n = lengths[i];
		apdu[1] = 0xEC;
		apdu[5] = (uint8_t)(n >> 8);
		apdu[6] = (uint8_t)n;
		for (size_t k = 0; k < n; k++)
			apdu[7 + k] = (uint8_t)(k % 251);
		t->room = i % 2 ? 4095 : 100;
		send_apdu(t, apdu, 7 + n);
		assert_int_equal(ends(t, 20000), STATUS_OK);
		assert_int_equal(t->command_len, 7 + n);
		assert_memory_equal(t->command, apdu, 7 + n);
		assert_int_equal(t->result.len, n + 2);
		assert_memory_equal(t->data, apdu + 7, n);
	}
	free(apdu);
	token_free(t);
}

/* ---- waits ---- */

static void ccid_149_b_polling_waits_50_ms(void **state) {
	(void)state;
	struct token *t = token_powered(B);
	t->n_busy = 2;
	t->pause = 5;
	uint64_t began = ccid_now();
	works(t);
	assert_in_range(ms_since(began), 50, 2000);
	token_free(t);
}

static void ccid_149_a_busy_for_2_s(void **state) {
	(void)state;
	struct token *t = token_powered(A);
	uint64_t began = ccid_now();
	t->busy_until = began + 2000000;
	t->n_requests = 0;
	works(t);
	assert_in_range(ms_since(began), 2000, 4000);
	/* Not oftener than every 10 ms. */
	assert_in_range(t->n_requests, 10, 206);
	token_free(t);
}

/* ---- the engine by itself, whose commands have short deadlines here ---- */

struct asked {
	struct ccid_command command;
	int done, error;
	struct ccid_reply reply;
};

static void on_answer(void *userdata, const struct ccid_reply *reply, int error) {
	struct asked *a = userdata;
	a->done++;
	a->error = error;
	if (reply)
		a->reply = *reply;
}

static void on_lost(void *userdata, int error) {
	(void)error;
	((struct token *)userdata)->error++;
}

static struct token *engine_new(int version) {
	struct token *t = token_new(version);
	struct usb *usb = fake_usb_open(t->bench->fake);
	assert_int_equal(ccid_desc_parse(t->bench->descriptors.bytes, t->bench->descriptors.len, 1,
				 0, &t->desc),
		CCID_DESC_OK);
	struct ccid_config config = {
		.ops = &fake_usb_ops,
		.usb = usb,
		.event = t->bench->event,
		.desc = &t->desc,
		.userdata = t,
		.lost = on_lost,
	};
	assert_int_equal(ccid_new(&config, &t->engine), 0);
	return t;
}

static void engine_free(struct token *t) {
	ccid_stop(t->engine, -ENODEV);
	fake_usb_ops.close((struct usb *)(void *)t->bench->fake);
	ccid_free(t->engine);
	fake_usb_free(t->bench->fake);
	sd_event_unref(t->bench->event);
	free(t->bench);
	free(t);
}

static void begin(
	struct token *t, struct asked *a, const struct ccid_request *request, uint64_t ms) {
	*a = (struct asked){
		.command = {
			.request = *request,
			.timeout_usec = ms * 1000,
			.done = on_answer,
			.userdata = a,
		},
	};
	ccid_submit(t->engine, &a->command);
}

static struct asked ask(struct token *t, const struct ccid_request *request, uint64_t ms) {
	static struct asked a; /* NOLINT: outlives a command that does not end */
	begin(t, &a, request, ms);
	assert_true(fake_run(t->bench->event, &a.done, (unsigned)ms + 2000));
	assert_int_equal(a.done, 1);
	return a;
}

static void engine_works(struct token *t) {
	struct ccid_request on = ccid_msg_power_on(1);
	struct ccid_request xfr = ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf));
	struct asked a = ask(t, &on, 1000);
	assert_int_equal(a.error, 0);
	assert_int_equal(a.reply.outcome, CCID_DONE);
	a = ask(t, &xfr, 1000);
	assert_int_equal(a.error, 0);
	assert_int_equal(a.reply.outcome, CCID_DONE);
}

/* Busy without an end, one way or the other: the command ends at its deadline, and the token is
 * switched off. */
static void endless(int version, uint16_t pause) {
	struct ccid_request xfr = ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf));
	struct token *t = engine_new(version);
	engine_works(t);
	t->n_busy = FOREVER;
	t->pause = pause;
	uint64_t began = ccid_now();
	struct asked a = ask(t, &xfr, 300);
	assert_int_equal(a.error, -ETIMEDOUT);
	assert_in_range(ms_since(began), 300, 1500);
	t->n_busy = 0;
	fake_run_for(t->bench->event, 50);
	assert_false(t->powered);
	assert_int_equal(t->error, 0);
	engine_works(t);
	engine_free(t);
}

static void ccid_149_a_busy_forever(void **state) {
	(void)state;
	endless(A, 0);
}

static void ccid_149_b_polling_forever(void **state) {
	(void)state;
	endless(B, 5);
	endless(B, 0);
	endless(B, 0xFFFF); /* longer than the deadline is away */
}

static unsigned n_pending(const struct token *t) {
	unsigned n = 0;
	for (unsigned i = 0; i < FAKE_MAX_PENDING; i++)
		n += t->bench->fake->pending[i] != NULL;
	return n;
}

/* A request that never ends is taken back at the deadline. */
static void ccid_149_hanging_request(void **state) {
	(void)state;
	static const struct {
		int version;
		uint8_t request;
	} cases[] = {
		{ A, XFR_BLOCK },
		{ A, DATA_BLOCK },
		{ A, GET_ICC_STATUS },
		{ B, XFR_BLOCK },
		{ B, DATA_BLOCK },
	};
	struct ccid_request xfr = ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf));
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct token *t = engine_new(cases[i].version);
		engine_works(t);
		t->hang = cases[i].request;
		assert_int_equal(ask(t, &xfr, 100).error, -ETIMEDOUT);
		fake_run_for(t->bench->event, 20);
		/* What follows asks for the status, too. */
		assert_true(n_pending(t) == 0 || cases[i].request == GET_ICC_STATUS);
		t->hang = 0;
		fake_usb_kick(t->bench->fake);
		fake_run_for(t->bench->event, 50);
		engine_works(t);
		assert_int_equal(t->error, 0);
		engine_free(t);
	}
}

/* A token that does not even say its status is given up, for the device to be opened anew. */
static void ccid_149_lost_token(void **state) {
	(void)state;
	struct ccid_request xfr = ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf));
	struct token *t = engine_new(B);
	engine_works(t);
	t->stall = DATA_BLOCK;
	assert_int_equal(ask(t, &xfr, 1000).error, -EPIPE);
	fake_run_for(t->bench->event, 50);
	assert_int_equal(t->error, 0);
	t->stall = 0;
	engine_works(t);
	t->stall = DATA_BLOCK;
	t->next_len = -1;
	struct asked a;
	begin(t, &a, &xfr, 1000);
	fake_run_for(t->bench->event, 15);
	t->stall = SLOT_STATUS;
	t->next_len = 0;
	assert_true(fake_run(t->bench->event, &a.done, 1000));
	assert_int_equal(a.error, -EBADMSG);
	assert_true(fake_run(t->bench->event, &t->error, 1000));
	assert_true(ccid_is_stopped(t->engine));
	engine_free(t);
}

static void ccid_149_stop_ends_every_wait(void **state) {
	(void)state;
	struct ccid_request xfr = ccid_msg_xfr_block(0, 0, select_mf, sizeof(select_mf));
	for (int step = 0; step < 3; step++) {
		struct token *t = engine_new(step == 2 ? A : B);
		struct asked a;
		engine_works(t);
		t->pause = 500;
		if (step == 0)
			t->hang = DATA_BLOCK;
		else
			t->n_busy = FOREVER;
		begin(t, &a, &xfr, 60000);
		fake_run_for(t->bench->event, 30);
		assert_int_equal(a.done, 0);
		ccid_stop(t->engine, -ENODEV);
		assert_int_equal(a.done, 1);
		assert_int_equal(a.error, -ENODEV);
		fake_run_for(t->bench->event, 30);
		engine_free(t);
	}
}

/* ---- what goes wrong, seen by the driver ---- */

static void fails_and_recovers(int version, const uint8_t *answer, int len, enum status status) {
	struct token *t = token_powered(version);
	t->next = answer;
	t->next_len = len;
	send_apdu(t, select_mf, sizeof(select_mf));
	assert_int_equal(ends(t, 2000), status);
	works_after_reset(t);
	assert_int_equal(t->bench->troubles, 0);
	token_free(t);
}

static void ccid_149_wrong_answers(void **state) {
	(void)state;
	static const uint8_t status[] = { 0x40, 0x40, 0xFB }, mute[] = { 0x40, 0x40, 0xFE };
	static const uint8_t unknown[] = { 0x77, 0x90, 0x00 }, one_sw[] = { 0x00, 0x90 };
	fails_and_recovers(B, NULL, 0, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(B, status, 2, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(B, status, 3, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(B, mute, 3, STATUS_CARD_UNRESPONSIVE);
	fails_and_recovers(B, unknown, 3, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(B, one_sw, 2, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(B, one_sw, 1, STATUS_CARD_UNRESPONSIVE);
	fails_and_recovers(A, NULL, 0, STATUS_EXCHANGE_FAILED);
	fails_and_recovers(A, one_sw, 1, STATUS_EXCHANGE_FAILED);
}

/* A refused request: the card's state is unknown, it counts as changed and is switched off. */
static void ccid_149_refused_request(void **state) {
	(void)state;
	for (int version = A; version <= B; version++) {
		struct token *t = token_powered(version);
		t->stall = XFR_BLOCK;
		send_apdu(t, select_mf, sizeof(select_mf));
		assert_int_equal(ends(t, 2000), STATUS_EXCHANGE_FAILED);
		t->stall = 0;
		fake_run_for(t->bench->event, 50);
		assert_false(t->powered);
		assert_int_equal(t->bench->swapped[0], 1);
		works_after_reset(t);
		t->stall = POWER_ON;
		assert_int_equal(bench_power(t->bench, 0, DRIVER_COLD), STATUS_CARD_MUTE);
		t->stall = 0;
		works_after_reset(t);
		token_free(t);
	}
}

/* Unplugged while a request hangs, and while nothing is under way but a wait. */
static void ccid_149_150_unplug(void **state) {
	(void)state;
	for (int step = 0; step < 4; step++) {
		struct token *t = token_powered(step % 2 ? A : B);
		t->pause = 500;
		if (step < 2)
			t->hang = t->version == A ? GET_ICC_STATUS : DATA_BLOCK;
		else
			t->n_busy = FOREVER;
		send_apdu(t, select_mf, sizeof(select_mf));
		fake_run_for(t->bench->event, 30);
		assert_int_equal(t->done, 0);
		uint64_t began = ccid_now();
		fake_usb_unplug(t->bench->fake);
		assert_int_equal(ends(t, 2000), STATUS_READER_GONE);
		assert_true(fake_run(t->bench->event, &t->bench->gone, 1000));
		assert_in_range(ms_since(began), 0, 1000);
		token_free(t);
	}
	/* Closed in the midst of it. */
	struct token *t = token_powered(B);
	t->hang = DATA_BLOCK;
	send_apdu(t, select_mf, sizeof(select_mf));
	fake_run_for(t->bench->event, 30);
	token_free(t);
}

/* ---- presence ---- */

static void ccid_149_presence(void **state) {
	(void)state;
	for (int version = A; version <= B; version++) {
		struct token *t = token_new(version);
		bench_start_ready(t->bench);
		assert_int_equal(t->bench->present[0], 1);
		/* Nobody looks: nothing is asked. */
		t->n_requests = 0;
		fake_run_for(t->bench->event, 550); /* readers: 500 ms at most */
		assert_int_equal(t->n_requests, 0);
		/* Somebody does: asked at once, and then every 5 s. */
		t->mute = 1;
		(void)driver_ccid.watch(t->bench->driver, 0, 1);
		fake_run_for(t->bench->event, 550); /* readers: 500 ms at most */
		assert_int_equal(t->bench->present[0], 0);
		assert_int_equal(t->n_requests, 1);
		t->mute = 0;
		(void)driver_ccid.watch(t->bench->driver, 0, 0);
		(void)driver_ccid.watch(t->bench->driver, 0, 1);
		fake_run_for(t->bench->event, 50);
		assert_int_equal(t->bench->present[0], 1);
		works_after_reset(t);
		token_free(t);
	}
}

/* A card that falls silent is taken for removed; switched off it may come back. */
static void ccid_149_a_mute_in_exchange(void **state) {
	(void)state;
	struct token *t = token_powered(A);
	t->mute = 2;
	send_apdu(t, select_mf, sizeof(select_mf));
	assert_int_equal(ends(t, 2000), STATUS_CARD_REMOVED);
	fake_run_for(t->bench->event, 50);
	assert_int_equal(t->bench->present[0], 1);
	works_after_reset(t);
	token_free(t);
}

/* ---- beside others ---- */

static int token_beside(
	struct fake_usb *fake, const struct usb_setup *s, uint8_t *data, size_t len) {
	struct bench *b = fake->userdata;
	fake->userdata = (void *)(uintptr_t)b->rates; /* the token is there, see below */
	int r = token(fake, s, data, len);
	fake->userdata = b;
	return r;
}

/* One reader with bulk endpoints and one token in the same device. */
static void ccid_149_reader_and_token(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PARAMETERS, 271);
	struct token *t = calloc(1, sizeof(*t));
	t->version = B;
	t->interface = 1;
	t->room = sizeof(t->response);
	t->next_len = -1;
	uint8_t class[54];
	desc_class(class, 0x20840, 261);
	desc_interface(&b->descriptors, 1, 0, 0x0b, B);
	desc_add(&b->descriptors, class, sizeof(class));
	b->fake->n_descriptors = b->descriptors.len;
	b->fake->on_control = token_beside;
	b->rates = (const uint8_t *)t;
	bench_start_ready(b);
	assert_int_equal(driver_ccid.n_slots(b->driver), 2);
	for (unsigned slot = 0; slot < 2; slot++) {
		assert_int_equal(b->present[slot], 1);
		assert_int_equal(bench_power(b, slot, DRIVER_COLD), STATUS_OK);
		assert_int_equal(bench_protocol(b, slot, PROTOCOL_T0), STATUS_OK);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(bench_transmit(b, i % 2, PROTOCOL_T0), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_XFR_BLOCK), 2);
	assert_int_equal(t->command_len, 7);
	/* Out of step in one, the other goes on. */
	t->stall = XFR_BLOCK;
	assert_int_equal(bench_transmit(b, 1, PROTOCOL_T0), STATUS_EXCHANGE_FAILED);
	assert_int_equal(bench_transmit(b, 0, PROTOCOL_T0), STATUS_OK);
	t->stall = 0;
	assert_int_equal(bench_power(b, 1, DRIVER_COLD), STATUS_OK);
	bench_free(b);
	free(t);
}

/* Says that it is a token of version A, but has a pair of bulk endpoints: a reader (09C3:0008). */
static void ccid_149_token_with_bulk_endpoints(void **state) {
	(void)state;
	struct bench *b = bench_new(CCID_FEATURE_SHORT_APDU | CCID_FEATURE_AUTO_PARAMETERS, 271);
	b->descriptors.bytes[18 + 9 + 6] = 1;
	b->descriptors.bytes[18 + 9 + 7] = 1;
	bench_start_ready(b);
	assert_int_equal(bench_power(b, 0, DRIVER_COLD), STATUS_OK);
	assert_int_equal(bench_n_sent(b, CCID_POWER_ON), 1);
	assert_int_equal(b->fake->n_controls, 0);
	bench_free(b);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ccid_149_a_opens_and_works),
		cmocka_unit_test(ccid_149_b_opens_and_works),
		cmocka_unit_test(ccid_149_b_chains),
		cmocka_unit_test(ccid_149_b_polling_waits_50_ms),
		cmocka_unit_test(ccid_149_a_busy_for_2_s),
		cmocka_unit_test(ccid_149_a_busy_forever),
		cmocka_unit_test(ccid_149_b_polling_forever),
		cmocka_unit_test(ccid_149_hanging_request),
		cmocka_unit_test(ccid_149_lost_token),
		cmocka_unit_test(ccid_149_stop_ends_every_wait),
		cmocka_unit_test(ccid_149_wrong_answers),
		cmocka_unit_test(ccid_149_refused_request),
		cmocka_unit_test(ccid_149_150_unplug),
		cmocka_unit_test(ccid_149_presence),
		cmocka_unit_test(ccid_149_a_mute_in_exchange),
		cmocka_unit_test(ccid_149_reader_and_token),
		cmocka_unit_test(ccid_149_token_with_bulk_endpoints),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
