/* SPDX-License-Identifier: MIT */
/*
 * A driver of the handler whose device is a test: everything that a device would be asked goes to the
 * socket that --card names ("PATH,SLOTS"), as script.h says. Attributes are asked for once, before the reader is
 * ready, because a driver answers those from what it knows. Replaces the table of drivers.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/driver.h"
#include "tests/conformance/script.h"

enum { MAX_SLOTS = 16 };

/* PC/SC part 3, 3.1.1 */
static const uint32_t tags[] = { 0x00010100, 0x00010102, 0x00010103, 0x00020110, 0x0007A007 };
enum { N_TAGS = sizeof(tags) / sizeof(tags[0]) };

struct attrib {
	uint32_t result;
	size_t len;
	uint8_t value[SCRIPT_MAX_ATTRIB];
};

struct script_slot {
	int in;
	int told;    /* the test has told of presence since it said that all is well */
	int powered; /* cold means: down first */
	enum script_op op;
	uint32_t protocol;
	driver_done_fn done; /* NULL: nothing under way */
	void *userdata;
	unsigned stale; /* answers to come for what was ended by trouble */
	unsigned n_attribs;
	struct attrib attribs[N_TAGS];
};

struct driver {
	const struct driver_config *config;
	struct driver_host host;
	int fd;
	sd_event_source *io;
	unsigned n_slots;
	int ready, trouble;
	struct script_slot slots[MAX_SLOTS];
	uint8_t packet[sizeof(struct script_message) + SCRIPT_MAX_DATA];
};

static int say(struct driver *d, uint32_t op, unsigned slot, uint32_t arg,
	const struct driver_bytes *data) {
	struct script_message message = { op, slot, arg };
	struct iovec iov[2] = { { &message, sizeof(message) } };
	if (data && data->len) {
		iov[1].iov_base = (void *)(uintptr_t)data->data;
		iov[1].iov_len = data->len;
	}
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = 2 };
	return sendmsg(d->fd, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* ---- results ---- */

static enum status status_of_power(uint32_t result) {
	switch (result) {
	case SCRIPT_OK: return STATUS_OK;
	case SCRIPT_ICC_NOT_PRESENT: return STATUS_NO_CARD;
	case SCRIPT_NO_SUCH_DEVICE: return STATUS_READER_GONE;
	default: return STATUS_CARD_MUTE;
	}
}

static enum status status_of_protocol(uint32_t result) {
	switch (result) {
	case SCRIPT_OK: return STATUS_OK;
	case SCRIPT_ERROR_NOT_SUPPORTED:
	case SCRIPT_PROTOCOL_NOT_SUPPORTED: return STATUS_PROTO_MISMATCH;
	case SCRIPT_NOT_SUPPORTED: return STATUS_UNSUPPORTED;
	default: return STATUS_CARD_UNRESPONSIVE;
	}
}

static enum status status_of_exchange(uint32_t result) {
	switch (result) {
	case SCRIPT_OK: return STATUS_OK;
	case SCRIPT_ICC_NOT_PRESENT: return STATUS_NO_CARD;
	case SCRIPT_NO_SUCH_DEVICE: return STATUS_READER_GONE;
	case SCRIPT_RESPONSE_TIMEOUT: return STATUS_EXCHANGE_TIMEOUT;
	default: return STATUS_EXCHANGE_FAILED;
	}
}

static enum status status_of_control(uint32_t result) {
	switch (result) {
	case SCRIPT_OK: return STATUS_OK;
	case SCRIPT_ERROR_NOT_SUPPORTED:
	case SCRIPT_NOT_SUPPORTED: return STATUS_UNSUPPORTED;
	case SCRIPT_NO_SUCH_DEVICE: return STATUS_READER_GONE;
	default: return STATUS_EXCHANGE_FAILED;
	}
}

static enum status status_of(enum script_op op, uint32_t result) {
	switch (op) {
	case SCRIPT_POWER_UP:
	case SCRIPT_RESET: return status_of_power(result);
	case SCRIPT_PROTOCOL: return status_of_protocol(result);
	case SCRIPT_TRANSMIT: return status_of_exchange(result);
	case SCRIPT_CONTROL: return status_of_control(result);
	default: return STATUS_OK;
	}
}

/* ---- operations ---- */

static void end(struct script_slot *s, const struct driver_result *result) {
	driver_done_fn done = s->done;
	s->done = NULL;
	if (done)
		done(s->userdata, result);
}

static void ask(struct driver *d, unsigned slot, enum script_op op, uint32_t arg,
	const struct driver_bytes *data, driver_done_fn done, void *userdata) {
	struct script_slot *s = &d->slots[slot];
	s->op = op;
	s->protocol = arg;
	s->done = done;
	s->userdata = userdata;
	if (d->trouble)
		end(s, &(struct driver_result){ .status = STATUS_READER_MUTE });
	else if (say(d, op, slot, arg, data) < 0)
		end(s, &(struct driver_result){ .status = STATUS_READER_GONE });
}

static void answered(
	struct driver *d, unsigned slot, uint32_t arg, const uint8_t *data, size_t len) {
	struct script_slot *s = &d->slots[slot];
	struct driver_result result = { .status = status_of(s->op, arg) };
	if (s->op == SCRIPT_POWER_DOWN)
		s->powered = 0;
	if (s->op == SCRIPT_POWER_UP || s->op == SCRIPT_RESET)
		s->powered = result.status == STATUS_OK;
	if (s->op == SCRIPT_PROTOCOL)
		result.protocol = s->protocol;
	if (result.status == STATUS_OK) {
		result.data = data;
		result.len = len;
	}
	end(s, &result);
}

static void script_power_on(struct driver *d, unsigned slot, enum driver_reset how,
	driver_done_fn done, void *userdata) {
	struct script_slot *s = &d->slots[slot];
	if (how == DRIVER_COLD && s->powered && !d->trouble) {
		/* both are on their way at once: the test answers in order */
		ask(d, slot, SCRIPT_POWER_DOWN, 0, NULL, NULL, NULL);
		s->stale++;
	}
	ask(d, slot, how == DRIVER_COLD ? SCRIPT_POWER_UP : SCRIPT_RESET, 0, NULL, done, userdata);
}

static void script_power_off(struct driver *d, unsigned slot, driver_done_fn done, void *userdata) {
	ask(d, slot, SCRIPT_POWER_DOWN, 0, NULL, done, userdata);
}

static void script_set_protocol(
	struct driver *d, unsigned slot, uint32_t protocols, driver_done_fn done, void *userdata) {
	uint32_t protocol = protocols & PROTOCOL_T1 ? PROTOCOL_T1 : protocols;
	ask(d, slot, SCRIPT_PROTOCOL, protocol, NULL, done, userdata);
}

static void script_transmit(struct driver *d, unsigned slot, uint32_t protocol,
	const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	ask(d, slot, SCRIPT_TRANSMIT, protocol, apdu, done, userdata);
}

static void script_control(struct driver *d, unsigned slot, uint32_t code,
	const struct driver_bytes *in, driver_done_fn done, void *userdata) {
	ask(d, slot, SCRIPT_CONTROL, code, in, done, userdata);
}

static enum status script_known(
	struct driver *d, unsigned slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot, (void)code, (void)buf, (void)ret_len;
	return STATUS_STARTING;
}

static enum status script_get_attrib(
	struct driver *d, unsigned slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	for (unsigned i = 0; i < N_TAGS; i++) {
		const struct attrib *attrib = &d->slots[slot].attribs[i];
		if (tags[i] != tag || attrib->result != SCRIPT_OK)
			continue;
		memcpy(buf, attrib->value, attrib->len);
		*ret_len = attrib->len;
		return STATUS_OK;
	}
	return STATUS_UNSUPPORTED;
}

static size_t script_describe(const struct driver *d, unsigned slot, char *buf, size_t size) {
	int n = snprintf(buf, size, "exchange=straight\nslots=%u\nslot=%u\n", d->n_slots, slot);
	return n < 0 || size == 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

/* ---- what the test says ---- */

static void take_attrib(struct script_slot *s, uint32_t result, const uint8_t *data, size_t len) {
	struct attrib *attrib = &s->attribs[s->n_attribs++];
	attrib->result = len > sizeof(attrib->value) ? SCRIPT_ERROR_TAG : result;
	attrib->len = len > sizeof(attrib->value) ? 0 : len;
	if (attrib->len)
		memcpy(attrib->value, data, attrib->len);
}

static void ask_attribs(struct driver *d) {
	for (unsigned slot = 0; slot < d->n_slots; slot++)
		for (unsigned i = 0; i < N_TAGS; i++)
			(void)say(d, SCRIPT_GET_ATTRIB, slot, tags[i], NULL);
}

/* Ready, once all is known of all slots. */
static void look(struct driver *d) {
	for (unsigned i = 0; i < d->n_slots; i++)
		if (!d->slots[i].told || d->slots[i].n_attribs < N_TAGS)
			return;
	d->ready = 1;
	d->host.ready(d->host.userdata);
	for (unsigned i = 0; i < d->n_slots; i++)
		d->host.presence(d->host.userdata, i, d->slots[i].in, 0);
}

static void moved(struct driver *d, unsigned slot, uint32_t how) {
	struct script_slot *s = &d->slots[slot];
	s->in = how != 0;
	s->told = 1;
	s->powered = 0;
	if (d->ready)
		d->host.presence(d->host.userdata, slot, s->in, how == 2);
	else if (!d->trouble)
		look(d);
}

static void trouble(struct driver *d) {
	d->trouble = 1;
	d->ready = 0;
	for (unsigned i = 0; i < d->n_slots; i++) {
		struct script_slot *s = &d->slots[i];
		s->told = 0;
		s->powered = 0;
		s->stale += s->done != NULL;
		end(s, &(struct driver_result){ .status = STATUS_READER_MUTE });
	}
	d->host.trouble(d->host.userdata, STATUS_READER_MUTE, "as the test says");
}

static void take(
	struct driver *d, const struct script_message *m, const uint8_t *data, size_t len) {
	if (m->op == SCRIPT_SLOTS) {
		d->n_slots = m->arg < MAX_SLOTS ? m->arg : MAX_SLOTS;
		ask_attribs(d);
		return;
	}
	if (m->slot >= d->n_slots)
		return;
	struct script_slot *s = &d->slots[m->slot];
	switch (m->op) {
	case SCRIPT_MOVED: moved(d, m->slot, m->arg); break;
	case SCRIPT_TROUBLE: trouble(d); break;
	case SCRIPT_WELL: d->trouble = 0; break;
	case SCRIPT_ANSWER:
		if (s->n_attribs < N_TAGS) {
			take_attrib(s, m->arg, data, len);
			look(d);
		} else if (s->stale) {
			s->stale--;
		} else {
			answered(d, m->slot, m->arg, data, len);
		}
		break;
	default: break;
	}
}

/* The test has pulled the plug. */
static void unplugged(struct driver *d) {
	d->io = sd_event_source_disable_unref(d->io);
	for (unsigned i = 0; i < d->n_slots; i++)
		end(&d->slots[i], &(struct driver_result){ .status = STATUS_READER_GONE });
	d->host.gone(d->host.userdata);
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
	(void)source, (void)events;
	struct driver *d = userdata;
	struct script_message message;
	ssize_t n = recv(fd, d->packet, sizeof(d->packet), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < (ssize_t)sizeof(message)) {
		unplugged(d);
		return 0;
	}
	memcpy(&message, d->packet, sizeof(message));
	take(d, &message, d->packet + sizeof(message), (size_t)n - sizeof(message));
	return 0;
}

/* ---- life ---- */

/* "PATH,SLOTS" */
static unsigned script_card_slots(const char *card) {
	const char *comma = card ? strrchr(card, ',') : NULL;
	unsigned long n = comma ? strtoul(comma + 1, NULL, 10) : 1;
	return n >= 1 && n <= MAX_SLOTS ? (unsigned)n : 1;
}

static int connect_to(const char *card) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *comma = card ? strrchr(card, ',') : NULL;
	if (!comma || (size_t)(comma - card) >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, card, (size_t)(comma - card));
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -errno;
	}
	return fd < 0 ? -errno : fd;
}

static void script_free(struct driver *d) {
	if (!d)
		return;
	for (unsigned i = 0; i < d->n_slots; i++)
		end(&d->slots[i], &(struct driver_result){ .status = STATUS_READER_GONE });
	sd_event_source_disable_unref(d->io);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}

static int script_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, struct driver **ret_driver) {
	struct driver *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->config = config;
	d->host = *host;
	d->fd = connect_to(config->card);
	int r = d->fd < 0 ? d->fd : sd_event_add_io(event, &d->io, d->fd, EPOLLIN, on_readable, d);
	if (r >= 0)
		r = say(d, SCRIPT_HELLO, 0, 0,
			&(struct driver_bytes){
				(const uint8_t *)config->name, strlen(config->name) });
	if (r < 0) {
		script_free(d);
		return r;
	}
	*ret_driver = d;
	return 0;
}

static unsigned script_n_slots(const struct driver *d) {
	return d->n_slots;
}

static const struct driver_ops driver_script = {
	.name = "script",
	.card_slots = script_card_slots,
	.init = script_init,
	.free = script_free,
	.n_slots = script_n_slots,
	.power_on = script_power_on,
	.power_off = script_power_off,
	.set_protocol = script_set_protocol,
	.transmit = script_transmit,
	.known = script_known,
	.control = script_control,
	.get_attrib = script_get_attrib,
	.describe = script_describe,
};

const struct driver_ops *const drivers[] = { &driver_ccid, &driver_virtual, &driver_script, NULL };
