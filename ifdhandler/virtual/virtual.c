/* SPDX-License-Identifier: MIT */
/*
 * A reader without a device. Its only slot takes one card at a time: a program that connects is
 * the card, from connect to disconnect, and speaks the protocol of vpcd.h; or the card is
 * builtin_card.c and always in.
 *
 * The program is hostile input. It gets a deadline for each operation; one that is late, says
 * something that it was not asked, or breaks the framing is disconnected, which is: the card is
 * taken out. A second program is turned away while a first is connected. Commands and answers are
 * wiped as soon as they have passed.
 *
 * What needs no answer of a program ends within the call that starts it: the builtin card's commands, and
 * whatever is known without a card.
 */
#include "ifdhandler/virtual/virtual.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/virtual/builtin_card.h"
#include "ifdhandler/virtual/card_program.h"
#include "ifdhandler/virtual/virtual_listen.h"
#include "ifdhandler/virtual/vpcd.h"

enum {
	/* Hang-ups are seen before new connections: a program that went and came is not refused. */
	PRIORITY_ACCEPT = SD_EVENT_PRIORITY_NORMAL + 1,
	/* A shorter command would be taken for a control byte or an empty frame. */
	MIN_COMMAND = 2,
	MIN_ANSWER = 2, /* SW1 SW2 */
	/* 4 + 3 + data + 2 fit in a frame: the data of the longest command. */
	MAX_DATA = VPCD_MAX_PAYLOAD - 9,
};

/* Control codes and features, PC/SC part 10, 2.2 and 2.3; the second number of the first is what
 * Windows programs (and remote desktops for them) use. */
#define CODE_GET_FEATURES         0x42000D48u
#define CODE_GET_FEATURES_WINDOWS 0x00313520u
#define CODE_GET_TLV_PROPERTIES   0x42330012u

/* Attributes, PC/SC part 3, 3.1.1 */
enum {
	ATTR_VENDOR_NAME = 0x00010100,
	ATTR_VENDOR_IFD_VERSION = 0x00010102,
	ATTR_VENDOR_IFD_SERIAL_NO = 0x00010103,
	ATTR_CHANNEL_ID = 0x00020110,
	ATTR_ICC_INTERFACE_STATUS = 0x00090301,
	ATTR_MAXINPUT = 0x0007A007,
};

enum phase {
	PHASE_IDLE,
	PHASE_OFF,    /* waits until it is written: it has no answer */
	PHASE_ATR,    /* waits for the ATR */
	PHASE_ANSWER, /* waits for a response APDU */
};

struct driver {
	const struct driver_config *config;
	struct driver_host host;
	uint64_t timeout_us; /* one APDU */
	int ready;
	int powered;

	struct builtin_card *builtin; /* NULL: the card is a program */
	struct virtual_listen listen;
	struct card_program *program; /* NULL: none is connected */
	const char *dropped;          /* why we disconnected the last one, or NULL */

	sd_event *event; /* borrowed */
	sd_event_source *start, *pause;
	sd_event_source *accept[VIRTUAL_MAX_LISTENERS];

	enum phase phase; /* of the one operation under way */
	driver_done_fn done;
	void *userdata;

	/* Of the builtin card, BUILTIN_CARD_MAX_ANSWER bytes. Not cleared: only what answers have
	 * reached is memory. */
	uint8_t *answer;
};

static void begin(struct driver *d, enum phase phase, driver_done_fn done, void *userdata) {
	assert(d->phase == PHASE_IDLE);
	d->phase = phase;
	d->done = done;
	d->userdata = userdata;
}

/* Ends the operation under way; the next one may begin before this returns. */
static void complete(struct driver *d, const struct driver_result *result) {
	driver_done_fn done = d->done;
	assert(d->phase != PHASE_IDLE);
	d->phase = PHASE_IDLE;
	d->done = NULL;
	done(d->userdata, result);
}

/* The builtin card needs no time. */
static void builtin_transmit(
	struct driver *d, const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	size_t len = builtin_card_apdu(
		d->builtin, apdu->data, apdu->len, d->answer, BUILTIN_CARD_MAX_ANSWER);
	done(userdata, &(struct driver_result){ .data = d->answer, .len = len });
	explicit_bzero(d->answer, len);
}

/* Takes the card out: `status` for the operation under way, `why` for people (NULL: it went by
 * itself). */
static void drop(struct driver *d, enum status status, const char *why) {
	card_program_free(d->program);
	d->program = NULL;
	d->powered = 0;
	d->dropped = why;
	if (d->phase != PHASE_IDLE)
		complete(d, &(struct driver_result){ .status = status });
	d->host.presence(d->host.userdata, 0, 0, 0);
}

static void on_lost(void *userdata, enum card_program_loss why) {
	struct driver *d = userdata;
	enum status status = STATUS_EXCHANGE_FAILED;
	if (why == CARD_PROGRAM_GONE)
		status = STATUS_CARD_REMOVED;
	else if (why == CARD_PROGRAM_LATE)
		status = d->phase == PHASE_ATR ? STATUS_CARD_MUTE : STATUS_EXCHANGE_TIMEOUT;
	drop(d, status, why == CARD_PROGRAM_GONE ? NULL : card_program_loss_text(why));
}

static void on_written(void *userdata) {
	complete(userdata, &(struct driver_result){ .status = STATUS_OK });
}

/* An ATR or an answer. Empty or without status word is no answer, but the program lives. */
static void on_answered(void *userdata, const uint8_t *answer, size_t len) {
	struct driver *d = userdata;
	struct driver_result result = { .status = STATUS_OK, .data = answer, .len = len };
	if (d->phase == PHASE_ATR && len == 0)
		result = (struct driver_result){ .status = STATUS_CARD_MUTE };
	else if (d->phase == PHASE_ANSWER && len < MIN_ANSWER)
		result = (struct driver_result){ .status = STATUS_EXCHANGE_FAILED };
	if (d->phase == PHASE_ATR)
		d->powered = result.status == STATUS_OK;
	complete(d, &result);
}

static void insert(struct driver *d, int fd) {
	const struct card_program_host host = {
		.userdata = d, .answered = on_answered, .written = on_written, .lost = on_lost
	};
	if (card_program_new(d->event, fd, &host, &d->program) >= 0)
		d->host.presence(d->host.userdata, 0, 1, 0);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct driver *d = userdata;
	for (unsigned i = 0; i < d->listen.n; i++)
		sd_event_source_set_enabled(d->accept[i], SD_EVENT_ON);
	return 0;
}

/* No descriptor or memory for a connection that waits: asking again at once would burn time. */
static void pause_accepting(struct driver *d) {
	uint64_t usec = VIRTUAL_ACCEPT_PAUSE_S * UINT64_C(1000000);
	if (sd_event_source_set_time_relative(d->pause, usec) < 0 ||
		sd_event_source_set_enabled(d->pause, SD_EVENT_ONESHOT) < 0)
		return;
	for (unsigned i = 0; i < d->listen.n; i++)
		sd_event_source_set_enabled(d->accept[i], SD_EVENT_OFF);
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata) {
	(void)source, (void)events;
	struct driver *d = userdata;
	int program = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (program >= 0 && d->program)
		close(program);
	else if (program >= 0)
		insert(d, program);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		pause_accepting(d);
	return 0;
}

static int on_start(sd_event_source *source, void *userdata) {
	(void)source;
	struct driver *d = userdata;
	d->ready = 1;
	d->host.ready(d->host.userdata);
	d->host.presence(d->host.userdata, 0, d->builtin != NULL, 0);
	return on_pause_over(NULL, 0, d);
}

static int add_sources(struct driver *d) {
	int r = sd_event_add_defer(d->event, &d->start, on_start, d);
	if (r >= 0)
		r = sd_event_add_time_relative(
			d->event, &d->pause, CLOCK_MONOTONIC, 0, 0, on_pause_over, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->pause, SD_EVENT_OFF);
	for (unsigned i = 0; r >= 0 && i < d->listen.n; i++) {
		r = sd_event_add_io(
			d->event, &d->accept[i], d->listen.fds[i], EPOLLIN, on_accept, d);
		if (r >= 0)
			r = sd_event_source_set_enabled(d->accept[i], SD_EVENT_OFF);
		if (r >= 0)
			r = sd_event_source_set_priority(d->accept[i], PRIORITY_ACCEPT);
	}
	return r;
}

/* The word card-timeout=SECONDS in `quirks`; anything else there is not for us. */
static uint64_t parse_timeout(const char *quirks) {
	static const char word[] = "card-timeout=";
	unsigned long seconds = VIRTUAL_TIMEOUT_S;
	for (const char *p = quirks; p && *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, word, sizeof(word) - 1) != 0)
			continue;
		const char *digits = p + sizeof(word) - 1;
		size_t n = strspn(digits, "0123456789");
		unsigned long value = n >= 1 && n <= 4 ? strtoul(digits, NULL, 10) : 0;
		if ((digits[n] == ' ' || digits[n] == '\0') && value >= 1 &&
			value <= VIRTUAL_MAX_TIMEOUT_S)
			seconds = value;
	}
	return seconds * UINT64_C(1000000);
}

static void virtual_free(struct driver *d) {
	if (!d)
		return;
	if (d->phase != PHASE_IDLE)
		complete(d, &(struct driver_result){ .status = STATUS_READER_GONE });
	sd_event_source_unref(d->start);
	sd_event_source_unref(d->pause);
	for (unsigned i = 0; i < VIRTUAL_MAX_LISTENERS; i++)
		sd_event_source_unref(d->accept[i]);
	card_program_free(d->program);
	virtual_listen_close(&d->listen);
	builtin_card_free(d->builtin);
	free(d->answer);
	explicit_bzero(d, sizeof(*d));
	free(d);
}

static int builtin_init(struct driver *d) {
	d->answer = malloc(BUILTIN_CARD_MAX_ANSWER);
	return d->answer ? builtin_card_new(&d->builtin) : -ENOMEM;
}

static int virtual_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, struct driver **ret_driver) {
	int builtin = config->card && strcmp(config->card, "builtin") == 0;
	if (builtin && config->card_fd >= 0)
		return -EINVAL;
	struct driver *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->config = config;
	d->event = event;
	d->host = *host;
	d->timeout_us = parse_timeout(config->quirks);
	int r = builtin ? builtin_init(d)
			: virtual_listen_open(&d->listen, config->card, config->card_fd);
	if (r >= 0)
		r = add_sources(d);
	if (r < 0) {
		virtual_free(d);
		return r;
	}
	*ret_driver = d;
	return 0;
}

static unsigned virtual_card_slots(const char *card) {
	(void)card;
	return 1;
}

static unsigned virtual_n_slots(const struct driver *d) {
	return d->ready ? 1 : 0;
}

static void virtual_power_on(struct driver *d, unsigned slot, enum driver_reset how,
	driver_done_fn done, void *userdata) {
	(void)slot;
	if (d->builtin) {
		builtin_card_reset(d->builtin);
		d->powered = 1;
		done(userdata,
			&(struct driver_result){
				.data = builtin_card_atr, .len = BUILTIN_CARD_ATR_LEN });
		return;
	}
	if (!d->program) {
		done(userdata, &(struct driver_result){ .status = STATUS_NO_CARD });
		return;
	}
	uint64_t usec = VIRTUAL_POWER_TIMEOUT_S * UINT64_C(1000000);
	struct bytes_writer w = card_program_question(d->program);
	if (how == DRIVER_COLD) {
		vpcd_put_control(&w, VPCD_OFF);
		vpcd_put_control(&w, VPCD_ON);
	} else {
		vpcd_put_control(&w, VPCD_RESET);
	}
	vpcd_put_control(&w, VPCD_ATR);
	d->powered = 0;
	begin(d, PHASE_ATR, done, userdata);
	card_program_ask(
		d->program, &w, DRIVER_MAX_ATR, usec < d->timeout_us ? usec : d->timeout_us);
}

static void virtual_power_off(
	struct driver *d, unsigned slot, driver_done_fn done, void *userdata) {
	(void)slot;
	d->powered = 0;
	if (d->builtin)
		builtin_card_reset(d->builtin);
	if (!d->program) {
		done(userdata, &(struct driver_result){ .status = STATUS_OK });
		return;
	}
	struct bytes_writer w = card_program_question(d->program);
	vpcd_put_control(&w, VPCD_OFF);
	begin(d, PHASE_OFF, done, userdata);
	card_program_ask(d->program, &w, 0, d->timeout_us);
}

/* There is no transmission protocol between here and the card: any of the two will do. */
static void virtual_set_protocol(
	struct driver *d, unsigned slot, uint32_t protocols, driver_done_fn done, void *userdata) {
	(void)slot;
	uint32_t protocol = protocols & PROTOCOL_T1 ? PROTOCOL_T1 : protocols & PROTOCOL_T0;
	struct driver_result result = { .status = STATUS_OK, .protocol = protocol };
	if (!protocol)
		result = (struct driver_result){ .status = STATUS_PROTO_MISMATCH };
	else if (!d->builtin && !d->program)
		result = (struct driver_result){ .status = STATUS_NO_CARD };
	done(userdata, &result);
}

static void virtual_transmit(struct driver *d, unsigned slot, uint32_t protocol,
	const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	(void)slot, (void)protocol;
	enum status status = STATUS_OK;
	if (!d->builtin && !d->program)
		status = STATUS_NO_CARD;
	else if (!d->powered)
		status = STATUS_CARD_UNRESPONSIVE;
	else if (apdu->len < MIN_COMMAND)
		status = STATUS_INVALID;
	else if (apdu->len > VPCD_MAX_PAYLOAD)
		status = STATUS_TOO_LONG;
	if (status != STATUS_OK) {
		done(userdata, &(struct driver_result){ .status = status });
		return;
	}
	if (d->builtin) {
		builtin_transmit(d, apdu, done, userdata);
		return;
	}
	struct bytes_writer w = card_program_question(d->program);
	vpcd_put(&w, apdu->data, apdu->len);
	begin(d, PHASE_ANSWER, done, userdata);
	card_program_ask(d->program, &w, VPCD_MAX_PAYLOAD, d->timeout_us);
}

static enum status virtual_known(
	struct driver *d, unsigned slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot;
	/* tag 12 (GET_TLV_PROPERTIES), length, code in big-endian */
	static const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	/* tag, length, value in little-endian: wLcdLayout (none), bTimeOut2 (no), bPPDUSupport (no),
	 * wIdVendor, wIdProduct (no USB device), dwMaxAPDUDataSize */
	static const uint8_t properties[] = { 0x01, 2, 0, 0, 0x03, 1, 0, 0x09, 1, 0, 0x0B, 2, 0, 0,
		0x0C, 2, 0, 0, 0x0A, 4, MAX_DATA & 0xFF, MAX_DATA >> 8, 0, 0 };
	struct driver_bytes answer = { NULL, 0 };
	if (code == CODE_GET_FEATURES || code == CODE_GET_FEATURES_WINDOWS)
		answer = (struct driver_bytes){ features, sizeof(features) };
	else if (code == CODE_GET_TLV_PROPERTIES)
		answer = (struct driver_bytes){ properties, sizeof(properties) };
	if (!answer.data)
		return STATUS_UNSUPPORTED;
	memcpy(buf, answer.data, answer.len);
	*ret_len = answer.len;
	return STATUS_OK;
}

/* Nothing is asked of the card's program: virtual_known knows all there is. */
static void virtual_control(struct driver *d, unsigned slot, uint32_t code,
	const struct driver_bytes *in, driver_done_fn done, void *userdata) {
	(void)d, (void)slot, (void)code, (void)in;
	struct driver_result result = { .status = STATUS_UNSUPPORTED };
	done(userdata, &result);
}

static enum status give_text(const char *text, uint8_t *buf, size_t *ret_len) {
	size_t len = text ? strnlen(text, DRIVER_MAX_ATTRIB - 1) : 0;
	if (text) {
		memcpy(buf, text, len);
		buf[len++] = 0;
	}
	*ret_len = len;
	return STATUS_OK;
}

/* Four bytes in host order, as programs on this machine expect them. */
static enum status give_number(uint32_t number, uint8_t *buf, size_t *ret_len) {
	memcpy(buf, &number, sizeof(number));
	*ret_len = sizeof(number);
	return STATUS_OK;
}

static enum status virtual_get_attrib(
	struct driver *d, unsigned slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	(void)slot;
	const char *vendor = d->config->manufacturer;
	switch (tag) {
	case ATTR_VENDOR_NAME: return give_text(vendor ? vendor : "ifdhandler", buf, ret_len);
	case ATTR_VENDOR_IFD_SERIAL_NO: return give_text(d->config->serial, buf, ret_len);
	case ATTR_VENDOR_IFD_VERSION: return give_number(0x01000000, buf, ret_len); /* 1.0.0 */
	case ATTR_CHANNEL_ID: return give_number(0x00F00000, buf, ret_len); /* vendor-defined */
	case ATTR_MAXINPUT: return give_number(VPCD_MAX_PAYLOAD, buf, ret_len);
	case ATTR_ICC_INTERFACE_STATUS:
		buf[0] = d->powered ? 1 : 0;
		*ret_len = 1;
		return STATUS_OK;
	default: return STATUS_UNSUPPORTED;
	}
}

static size_t virtual_describe(const struct driver *d, unsigned slot, char *buf, size_t size) {
	(void)slot;
	const char *card = d->config->card_fd >= 0 ? "inherited" : d->config->card;
	char program[32] = "none";
	pid_t pid = d->program ? card_program_pid(d->program) : 0;
	if (d->program)
		snprintf(program, sizeof(program), pid ? "pid %d" : "connected", (int)pid);
	int n = snprintf(buf, size, "exchange=straight\ncard=%s\n", card);
	if (!d->builtin && n >= 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n,
			"card-program=%s\ncard-timeout=%llu\n%s%s%s", program,
			(unsigned long long)(d->timeout_us / 1000000),
			d->dropped ? "card-dropped=" : "", d->dropped ? d->dropped : "",
			d->dropped ? "\n" : "");
	if (n < 0 || size == 0)
		return 0;
	return (size_t)n < size ? (size_t)n : size - 1;
}

const struct driver_ops driver_virtual = {
	.name = "virtual",
	.card_slots = virtual_card_slots,
	.init = virtual_init,
	.free = virtual_free,
	.n_slots = virtual_n_slots,
	.power_on = virtual_power_on,
	.power_off = virtual_power_off,
	.set_protocol = virtual_set_protocol,
	.transmit = virtual_transmit,
	.known = virtual_known,
	.control = virtual_control,
	.get_attrib = virtual_get_attrib,
	.describe = virtual_describe,
};
