/* SPDX-License-Identifier: MIT */
/*
 * The whole CCID driver against a device that says anything, in virtual time. Byte 0 chooses the
 * exchange level and who negotiates, byte 1 slots, lengths and PIN pad, byte 2 the quirks, byte 3 the
 * protocol and the kind of device (one interface, two, a token); then one record for each thing that
 * happens:
 *
 *   00-7F n data  an answer to the last message with right numbers: first data byte is bStatus, the
 *                 second bError, the third byte 9; the low 3 bits of the record choose a type. To a
 *                 token's control request: the bytes as they are
 *   80-8F n       the right answer to the last message, one of several (n); 88-8F n x: with bit x wrong
 *   90-9F n data  a packet of n bytes as they are
 *   A0-BF n data  an interrupt packet
 *   C0-DF e       the endpoint's transfer (or a control request) ends with error e
 *   E0-EF op      another operation, for a slot of its own; E8-EF op n data: a control code
 *   F0-FF n       time passes, to the nth next timer
 *
 * Between records a program uses slot 0 as programs do. At the end of the records the device is mute,
 * and time passes until every operation has ended; then the plug is pulled. Wanted: each operation
 * ends exactly once, also when nothing comes any more; results make sense; all memory comes back.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "tests/storm/virtual-time.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/fake-usb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MAX_STEPS = 2000,
	/* Until all operations end without a device: each has some commands and their timeouts. */
	MAX_TIMERS = 100000,
	MAX_SLOTS = 8,
	SECOND_INTERFACE = 3, /* shift of its endpoints */
};

enum kind { ONE_INTERFACE, TWO_INTERFACES, TOKEN_A, TOKEN_B };

struct run {
	sd_event *event;
	struct fake_usb *fake;
	struct driver *driver;
	const uint8_t *data;
	size_t size;
	uint8_t last[300]; /* the host's last message, or its begin */
	size_t last_len;
	uint8_t t1_send;     /* N(S) of the card's next I-block */
	uint8_t stream[300]; /* character level: what the card has said, and how much was fetched */
	size_t stream_len, stream_off;
	uint8_t ins;
	uint8_t endpoint; /* and where it went */
	int ready, gone, is_character;
	int busy[MAX_SLOTS];
	unsigned n_ops, n_busy;
	unsigned jumps; /* to the next timer, as often */
	uint32_t protocol;
	uint8_t apdu[64], control[MAX_SLOTS][300];
};

struct client {
	struct run *run;
	unsigned slot;
};

static struct client clients[MAX_SLOTS];

static void check(int ok) {
	if (!ok)
		abort();
}

/* ---- the device ---- */

static void send_answer(struct run *run, uint8_t kind, const uint8_t *body, size_t n) {
	static const uint8_t types[8] = { 0x80, 0x80, 0x81, 0x82, 0x83, 0x84, 0x80, 0x6F };
	uint8_t a[300] = { 0 };
	uint8_t type = types[kind & 7];
	if ((kind & 0x40) && run->last[0] != CCID_XFR_BLOCK && run->last[0] != CCID_POWER_ON)
		type = 0x81;
	size_t len = n > 3 ? n - 3 : 0;
	a[0] = type;
	a[1] = (uint8_t)len;
	a[5] = run->last[5];
	a[6] = (uint8_t)(run->last[6] + (kind & 0x20 ? 1 : 0));
	memcpy(a + 7, body, n < 3 ? n : 3);
	memcpy(a + 10, body + 3, len);
	fake_usb_send(run->fake, (uint8_t)(run->endpoint + 0x81), a, 10 + len);
}

/* `n` bytes of the input, or as many as there are. */
static const uint8_t *take(struct run *run, size_t *n) {
	const uint8_t *bytes = run->data;
	*n = *n < run->size ? *n : run->size;
	run->data += *n;
	run->size -= *n;
	return bytes;
}

/* A T=1 block of the card, without its EDC, for the one at `b` (ISO/IEC 7816-3 11.3): its length. */
static size_t right_block(struct run *run, const uint8_t *b, uint8_t n, uint8_t *ret_block) {
	static const uint8_t answer[] = { 0x90, 0x00 };
	uint8_t pcb = b[1], len = 0;
	if ((pcb & 0xC0) == 0xC0) { /* S: a request is answered in kind */
		ret_block[1] = pcb | 0x20;
		len = b[2] ? 1 : 0;
		ret_block[3] = b[3];
	} else if (!(pcb & 0x80) && pcb & 0x20) { /* I, and more follows: R */
		ret_block[1] = (uint8_t)(0x80 | (pcb & 0x40 ? 0 : 0x10));
	} else if (n >> 4 == 5) { /* S(WTX), S(IFS), S(ABORT) request */
		ret_block[1] = (uint8_t)(0xC1 + n % 3);
		len = n % 3 == 1 ? 0 : 1;
		ret_block[3] = n;
	} else { /* I, sometimes the first of several */
		ret_block[1] = (uint8_t)(run->t1_send << 6 | (n & 0x40 ? 0x20 : 0));
		run->t1_send ^= 1;
		len = sizeof(answer);
		memcpy(ret_block + 3, answer, sizeof(answer));
	}
	ret_block[0] = 0;
	ret_block[2] = len;
	return 3u + len;
}

static size_t right_message(struct run *run, uint8_t n, uint8_t *ret_data) {
	const uint8_t *data = run->last + 10;
	size_t len = run->last_len - 10;
	if (len >= 3 && data[0] == 0xFF && data[1] < 0x80) { /* PPS */
		memcpy(ret_data, data, len < 6 ? len : 6);
		return len < 6 ? len : 6;
	}
	if (run->protocol == PROTOCOL_T1 && len >= 4 && data[2] + 4u == len) {
		size_t size = right_block(run, data, n, ret_data);
		ret_data[size] = 0;
		for (size_t i = 0; i < size; i++)
			ret_data[size] ^= ret_data[i];
		return size + 1;
	}
	size_t size = n & 0x20 ? n : 0;
	memset(ret_data, n, size);
	ret_data[size] = 0x90;
	ret_data[size + 1] = 0x00;
	return size + 2;
}

/* Character level: the host says how many bytes it wants (CCID 1.10 6.1.4). At T=0 (ISO/IEC 7816-3
 * 10.3.3) one is a procedure byte, more are data and SW1 SW2. */
static size_t right_characters(struct run *run, uint8_t n, size_t wanted, uint8_t *ret_data) {
	size_t len = run->last_len - 10;
	if (run->protocol == PROTOCOL_T1) {
		if (len) {
			run->stream_len = right_message(run, n, run->stream);
			run->stream_off = 0;
		}
		size_t left = run->stream_len - run->stream_off;
		left = left < wanted ? left : wanted;
		memcpy(ret_data, run->stream + run->stream_off, left);
		run->stream_off += left;
		return left;
	}
	if (len == 5)
		run->ins = run->last[11];
	wanted = wanted < 260 ? wanted : 260;
	memset(ret_data, n, wanted);
	if (wanted == 1)
		ret_data[0] = (n & 0x30) == 0x30 ? 0x60
			: (n & 0x30) == 0x20     ? (uint8_t)~run->ins
			: n & 0x40               ? 0x90
						 : run->ins;
	else if (wanted >= 2)
		ret_data[wanted - 2] = 0x90;
	return wanted;
}

static size_t right_exchange(struct run *run, uint8_t n, uint8_t *ret_data) {
	size_t wanted = (size_t)(run->last[8] | run->last[9] << 8);
	if (run->is_character && wanted)
		return right_characters(run, n, wanted, ret_data);
	return right_message(run, n, ret_data);
}

static size_t right_data(struct run *run, uint8_t n, uint8_t *ret_data) {
	static const struct {
		uint8_t len, bytes[16];
	} atrs[] = { { 5, { 0x3B, 0x80, 0x80, 0x01, 0x01 } }, { 4, { 0x3B, 0x80, 0x01, 0x81 } },
		{ 4, { 0x3B, 0x02, 0x14, 0x50 } }, { 5, { 0x3B, 0x12, 0x13, 0x14, 0x50 } },
		{ 11, { 0x3B, 0x95, 0x13, 0x81, 0x01, 0x80, 0x73, 0xFF, 0x01, 0x00, 0x0B } },
		{ 6, { 0x3B, 0x80, 0x91, 0x11, 0x01, 0x01 } }, { 2, { 0x3F, 0x00 } },
		{ 5, { 0x3B, 0x80, 0x80, 0x01, 0x02 } } };
	static const uint8_t parameters[2][7] = { { 0x11, 0, 0, 10, 0 },
		{ 0x11, 0x10, 0, 0x4D, 0, 0x20, 0 } };
	switch (run->last[0]) {
	case CCID_POWER_ON:
		run->t1_send = 0;
		memcpy(ret_data, atrs[n & 7].bytes, atrs[n & 7].len);
		return atrs[n & 7].len;
	case CCID_XFR_BLOCK: return right_exchange(run, n, ret_data);
	case CCID_SECURE: ret_data[0] = 0x90, ret_data[1] = 0; return 2;
	case CCID_GET_PARAMETERS:
	case CCID_SET_PARAMETERS:
		memcpy(ret_data, parameters[run->last[7] & 1], 7);
		return run->last[7] & 1 ? 7 : 5;
	case CCID_ESCAPE: memset(ret_data, n, n & 63); return n & 63;
	default: return 0;
	}
}

static void right_answer(struct run *run, uint8_t kind, uint8_t n) {
	uint8_t a[350] = { 0 };
	static const struct {
		uint8_t command, answer;
	} types[] = { { CCID_POWER_ON, 0x80 }, { CCID_XFR_BLOCK, 0x80 }, { CCID_SECURE, 0x80 },
		{ CCID_GET_PARAMETERS, 0x82 }, { CCID_SET_PARAMETERS, 0x82 },
		{ CCID_ESCAPE, 0x83 } };
	a[0] = 0x81;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].command == run->last[0])
			a[0] = types[i].answer;
	size_t len = right_data(run, n, a + 10);
	a[1] = (uint8_t)len;
	a[5] = run->last[5];
	a[6] = run->last[6];
	if (run->last[0] == CCID_GET_PARAMETERS || run->last[0] == CCID_SET_PARAMETERS)
		a[9] = run->last[0] == CCID_SET_PARAMETERS ? run->last[7]
							   : run->protocol == PROTOCOL_T1;
	size_t one = 1;
	const uint8_t *bit = kind & 8 ? take(run, &one) : run->data;
	if (kind & 8 && one)
		a[*bit / 8 % (10 + len)] ^= (uint8_t)(1u << (*bit & 7));
	fake_usb_send(run->fake, (uint8_t)(run->endpoint + 0x81), a, 10 + len);
}

static void next_op(struct run *run);
static void other_op(struct run *run, uint8_t kind, uint8_t op);

/* To the next timer; 0: there is none. */
static int pass_time(const struct run *run) {
	uint64_t due = virtual_due(run->event);
	if (due == UINT64_MAX)
		return 0;
	virtual_advance(due);
	return 1;
}

/* The next record of the input; 0 at its end. */
static int step(struct run *run) {
	static const int errors[4] = { -EPIPE, -EOVERFLOW, -EIO, -EPIPE };
	if (run->size < 2)
		return 0;
	uint8_t kind = run->data[0], n = run->data[1];
	size_t len = n;
	run->data += 2;
	run->size -= 2;
	uint8_t in = (uint8_t)(run->endpoint + 0x81), interrupt = (uint8_t)(run->endpoint + 0x82);
	if (kind >= 0xF0) {
		run->jumps = 1 + (n & 7); /* not in the middle of something */
		return 1;
	}
	if (kind >= 0xE0) {
		other_op(run, kind, n);
		return 1;
	}
	if (kind >= 0xC0) {
		fake_usb_error(run->fake, kind & 1 ? interrupt : in, errors[n & 3]);
		return 1;
	}
	if (kind >= 0x80 && kind < 0x90) {
		right_answer(run, kind, n);
		return 1;
	}
	const uint8_t *bytes = take(run, &len);
	if (kind >= 0xA0)
		fake_usb_packet(run->fake, interrupt, bytes, len > 8 ? 8 : len);
	else if (kind >= 0x80)
		fake_usb_packet(run->fake, in, bytes, len > FAKE_PACKET ? FAKE_PACKET : len);
	else
		send_answer(run, kind, bytes, len);
	return 1;
}

static void on_message(struct fake_usb *fake, uint8_t endpoint, const uint8_t *m, size_t len) {
	struct run *run = fake->userdata;
	check(len >= 10 && ccid_msg_length(m, 10) == len);
	run->last_len = len < sizeof(run->last) ? len : sizeof(run->last);
	memcpy(run->last, m, run->last_len);
	run->endpoint = endpoint;
	(void)step(run);
}

static int on_control(
	struct fake_usb *fake, const struct usb_setup *setup, uint8_t *data, size_t len) {
	struct run *run = fake->userdata;
	check(len <= USB_MAX_CONTROL);
	if (run->size < 2 || (run->data[0] >= 0xC0 && run->data[0] < 0xE0)) {
		size_t skipped = 2;
		(void)take(run, &skipped);
		return -EPIPE;
	}
	if (!(setup->request_type & 0x80))
		return (int)len;
	size_t n = run->data[1];
	run->data += 2;
	run->size -= 2;
	n = n < len ? n : len;
	const uint8_t *bytes = take(run, &n);
	if (n)
		memcpy(data, bytes, n);
	return (int)n;
}

/* ---- the host ---- */

static void on_ready(void *userdata) {
	((struct run *)userdata)->ready = 1;
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	struct run *run = userdata;
	(void)detail;
	check(!run->gone && !run->n_busy && status_is_reader_trouble((uint16_t)why));
}

static void on_gone(void *userdata) {
	struct run *run = userdata;
	check(!run->gone && !run->n_busy);
	run->gone = 1;
}

static void on_presence(void *userdata, unsigned slot, int present, enum driver_change change) {
	struct run *run = userdata;
	(void)present, (void)change;
	check(!run->gone && run->ready && slot < driver_ccid.n_slots(run->driver));
}

static void on_done(void *userdata, const struct driver_result *result) {
	struct client *client = userdata;
	unsigned sum = 0;
	check(client->run->busy[client->slot] == 1);
	client->run->busy[client->slot] = 0;
	client->run->n_busy--;
	check(result->len == 0 || result->data != NULL);
	check(result->len <= 66000);
	for (size_t i = 0; i < result->len; i++)
		sum += result->data[i];
	check(sum <= result->len * 255);
}

/* The client of the slot, busy from now on; NULL: not now. */
static struct client *begin(struct run *run, unsigned slot) {
	if (run->gone || !run->ready || slot >= MAX_SLOTS ||
		slot >= driver_ccid.n_slots(run->driver) || run->busy[slot])
		return NULL;
	run->busy[slot] = 1;
	run->n_busy++;
	clients[slot] = (struct client){ run, slot };
	return &clients[slot];
}

/* A command of that length: case 1, 2, or 3 (ISO/IEC 7816-3 12.1). */
static struct driver_bytes command(struct run *run, size_t len) {
	run->apdu[1] = 0xA4;
	run->apdu[4] = (uint8_t)(len > 5 ? len - 5 : 0x10);
	return (struct driver_bytes){ run->apdu, len };
}

static void next_op(struct run *run) {
	struct client *c = begin(run, 0);
	if (!c)
		return;
	struct driver_bytes apdu = command(run, 4 + run->n_ops % 60);
	switch (run->n_ops++) {
	case 0: driver_ccid.power_on(run->driver, 0, DRIVER_COLD, on_done, c); break;
	case 1: driver_ccid.set_protocol(run->driver, 0, run->protocol, on_done, c); break;
	case 9: driver_ccid.power_on(run->driver, 0, DRIVER_WARM, on_done, c); break;
	case 10:
		driver_ccid.set_protocol(run->driver, 0, PROTOCOL_T0 | PROTOCOL_T1, on_done, c);
		break;
	case 12: driver_ccid.control(run->driver, 0, 0x42000001, &apdu, on_done, c); break;
	case 14: driver_ccid.power_off(run->driver, 0, on_done, c); break;
	default:
		driver_ccid.transmit(run->driver, 0, run->n_ops > 10 ? PROTOCOL_T0 : run->protocol,
			&apdu, on_done, c);
		break;
	}
}

static void without_io(struct run *run, unsigned slot, uint8_t op) {
	uint8_t buf[DRIVER_MAX_ATTRIB];
	char text[1024];
	size_t len = 0;
	if (slot >= driver_ccid.n_slots(run->driver))
		return;
	static const uint32_t codes[] = { 0x42000d48, 0x00313520, 0x42000e11, 0x42330012,
		0x4233000a };
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		(void)driver_ccid.known(run->driver, slot, codes[i], buf, &len);
	static const uint32_t groups[] = { 0x00010100, 0x00020110, 0x00030120, 0x00060150,
		0x0007a000, 0x00080200, 0x00090300 };
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		(void)driver_ccid.get_attrib(run->driver, slot, groups[i] + (op >> 3), buf, &len);
	(void)driver_ccid.describe(run->driver, slot, text, sizeof(text));
	(void)driver_ccid.watch(run->driver, slot, op & 1);
	driver_ccid.abandon(run->driver, slot);
}

/* A control code of PC/SC part 10, with what comes from the input. */
static void control_op(struct run *run, unsigned slot, uint8_t op) {
	size_t n = run->size ? run->data[0] : 0, one = 1;
	(void)take(run, &one);
	const uint8_t *bytes = take(run, &n);
	struct client *c = begin(run, slot);
	if (!c)
		return;
	if (n)
		memcpy(run->control[slot], bytes, n);
	struct driver_bytes in = { run->control[slot], n };
	driver_ccid.control(run->driver, slot, 0x42330000u + (op & 0x3F), &in, on_done, c);
}

static void other_op(struct run *run, uint8_t kind, uint8_t op) {
	unsigned slot = kind & 7u;
	if (kind & 8) {
		control_op(run, slot & 3, op);
		return;
	}
	if ((op & 7) == 7) {
		without_io(run, slot, op);
		return;
	}
	struct client *c = begin(run, slot);
	if (!c)
		return;
	if (run->n_busy == 1) /* else another one holds it */
		(void)command(run, op % 60u);
	struct driver_bytes apdu = { run->apdu, op % 60u };
	switch (op & 7) {
	case 0: driver_ccid.power_on(run->driver, slot, DRIVER_COLD, on_done, c); break;
	case 1: driver_ccid.power_on(run->driver, slot, DRIVER_WARM, on_done, c); break;
	case 2: driver_ccid.set_protocol(run->driver, slot, PROTOCOL_T1, on_done, c); break;
	case 3: driver_ccid.set_protocol(run->driver, slot, 3, on_done, c); break;
	case 4: driver_ccid.power_off(run->driver, slot, on_done, c); break;
	case 5: driver_ccid.transmit(run->driver, slot, PROTOCOL_RAW, &apdu, on_done, c); break;
	default: driver_ccid.transmit(run->driver, slot, PROTOCOL_T1, &apdu, on_done, c); break;
	}
}

/* ---- one input ---- */

static void describe(const uint8_t *data, struct descriptors *d) {
	static const uint32_t levels[4] = { 0, CCID_FEATURE_TPDU, CCID_FEATURE_SHORT_APDU,
		CCID_FEATURE_EXTENDED_APDU };
	uint8_t class[54];
	enum kind kind = (enum kind)(data[3] >> 1 & 3);
	int interrupt = !(data[2] & 0x80);
	desc_class(class, levels[data[0] & 3] | (uint32_t)(data[0] & 0xFC), data[1] & 1 ? 64 : 271);
	class[4] = data[1] >> 1 & 3;
	class[52] =
		(uint8_t)((data[1] & 8 ? 3 : 0) | (data[1] & 0x10 ? 0x30 : 0)); /* PIN pad, PACE */
	class[53] = data[1] >> 3 & 3;
	class[27] = data[1] >> 5;
	if (kind == ONE_INTERFACE) {
		desc_reader(d, class, interrupt);
		return;
	}
	desc_device(d, 0x08e6, 0x3437);
	desc_configuration(d, 1, kind == TWO_INTERFACES ? 2 : 1);
	desc_interface(d, 0, 0, 0x0b, (uint8_t)(kind == TOKEN_A ? 1 : kind == TOKEN_B ? 2 : 0));
	desc_add(d, class, 54);
	if (kind != TWO_INTERFACES)
		return;
	desc_endpoints(d, 0, interrupt);
	desc_interface(d, 1, 0, 0x0b, 0);
	desc_add(d, class, 54);
	desc_endpoints(d, SECOND_INTERFACE, interrupt);
}

/* Time passes, and nothing else happens. */
static void await_the_end(struct run *run) {
	for (unsigned i = 0; run->n_busy; i++) {
		check(i < MAX_TIMERS);
		if (!virtual_fire(run->event))
			check(pass_time(run));
	}
}

static void go(struct run *run) {
	for (unsigned i = 0; i < MAX_STEPS && !run->gone; i++) {
		next_op(run);
		if (virtual_fire(run->event))
			continue;
		if (run->jumps && run->jumps-- && pass_time(run))
			continue;
		/* Nothing to do at once: the next record, or the end. */
		if (!step(run))
			break;
	}
	run->size = 0;
	await_the_end(run);
	fake_usb_unplug(run->fake);
	for (unsigned i = 0; i < MAX_STEPS && !run->gone && run->fake->is_open; i++)
		(void)virtual_fire(run->event);
	check(run->gone || !run->fake->is_open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static const char *const quirks[] = { NULL, "abort",
		"escape emv-escape pin-strings gemalto", "no-pps parallel",
		"no-ifsd slow-slots ascending",
		"power-off-first absent-if-mute strict-atr mct pace",
		"level=extended poll reset-parameters", "no-full-packets apdu-mode kobil-info" };
	if (size < 4)
		return 0;
	static struct descriptors descriptors;
	describe(data, &descriptors);
	struct run run = { .data = data + 4,
		.size = size - 4,
		.endpoint = 1,
		.is_character = (data[0] & 3) == 0,
		.protocol = data[3] & 1 ? PROTOCOL_T1 : PROTOCOL_T0 };
	struct driver_config config = {
		.node = "/dev/bus/usb/001/002", .quirks = quirks[data[2] & 7], .card_fd = -1
	};
	struct driver_host host = { .userdata = &run,
		.ready = on_ready,
		.trouble = on_trouble,
		.gone = on_gone,
		.presence = on_presence };
	virtual_begin(size);
	check(sd_event_new(&run.event) == 0);
	run.fake = fake_usb_new(run.event, descriptors.bytes, descriptors.len);
	run.fake->on_message = on_message;
	run.fake->on_control = on_control;
	run.fake->userdata = &run;
	check(ccid_driver_init(&config, run.event, &host, &fake_usb_ops, &run.driver) == 0);
	go(&run);
	driver_ccid.free(run.driver);
	check(!run.n_busy && !run.fake->is_open);
	fake_usb_free(run.fake);
	check(virtual_n_sources(run.event) == 0);
	sd_event_unref(run.event);
	return 0;
}
