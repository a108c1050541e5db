/* SPDX-License-Identifier: MIT */
/*
 * The cards of a box are a thread that answers its driver, and functions of the test which change what is
 * in the slots and tell the driver of it. An answer that takes its time waits while other slots are
 * answered; a card that is pulled meanwhile ends it.
 */
#include "tests/conformance/card.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

const struct atr atr_a = { "A", { 0x3b, 0x02, 0x14, 0x50 }, 4 };
const struct atr atr_b = { "B", { 0x3b, 0x80, 0x80, 0x01, 0x01 }, 5 };
const struct atr atr_c = { "C", { 0x3b, 0x80, 0x01, 0x81 }, 4 };
const struct atr atr_d = { "D", { 0x3b, 0x80, 0x91, 0x11, 0x01, 0x01 }, 6 };
const struct atr atr_e = { "E", { 0x3b, 0x80, 0x90, 0x10, 0x00 }, 5 };
const struct atr atr_f = { "F", { 0x3b, 0x80, 0x0f }, 3 };
const struct atr atr_g = { "G", { 0x00, 0x01, 0x02 }, 3 };
const struct atr atr_x = { "X", { 0 }, 0 };

enum {
	FEATURES = 0x42000D48,   /* CM_IOCTL_GET_FEATURE_REQUEST */
	PROPERTIES = 0x42330012, /* FEATURE_GET_TLV_PROPERTIES */
	PACKET_SIZE = sizeof(struct script_message) + SCRIPT_MAX_DATA,
};

/* An answer that is ready but not due. */
struct pending {
	bool waits;
	enum script_op op;
	int64_t due_ms;
	uint32_t result;
	size_t len;
	uint8_t *data;
};

struct player {
	struct box *box;
	pthread_t thread;
	pthread_mutex_t lock;
	int listen_fd, fd;
	unsigned n_connections;
	uint32_t trouble;
	struct pending pending[BOX_MAX_SLOTS];
	uint8_t packet[PACKET_SIZE];
	uint8_t answer[PACKET_SIZE];
};

static void say(
	struct player *p, uint32_t op, unsigned slot, uint32_t arg, const void *data, size_t len) {
	struct script_message message = { op, slot, arg };
	struct iovec iov[2] = { { &message, sizeof(message) }, { (void *)(uintptr_t)data, len } };
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = 2 };
	if (p->fd >= 0)
		(void)!sendmsg(p->fd, &header, MSG_NOSIGNAL);
}

/* ---- what a card answers ---- */

struct reply {
	uint32_t result;
	size_t len;
	unsigned delay_ms;
};

static size_t command_answer(const struct card *card, uint8_t *apdu, size_t n, unsigned *delay_ms) {
	size_t number = n >= 4 ? (size_t)(apdu[2] << 8 | apdu[3]) : 0;
	unsigned ins = n >= 4 && apdu[0] == 0x80 ? apdu[1] : 0;
	if (ins == 0x30) {
		memmove(apdu, apdu + 2, 2);
		return 2;
	}
	if (ins == 0x20)
		*delay_ms = (unsigned)number;
	if (ins == 0x40) {
		apdu[0] = (uint8_t)card->n_insertions;
		n = 1;
	}
	if (ins == 0x10 || ins == 0x11) {
		number += ins == 0x11 ? 65536 : 0;
		n = number - 2;
		for (size_t i = 0; i < n && i < SCRIPT_MAX_DATA; i++)
			apdu[i] = (uint8_t)i;
	}
	if (n > SCRIPT_MAX_DATA - 2)
		n = SCRIPT_MAX_DATA - 2;
	apdu[n] = 0x90;
	apdu[n + 1] = 0x00;
	return n + 2;
}

static void answer_power_up(struct card *card, struct reply *reply, uint8_t *data) {
	card->powered = false;
	card->protocol = 0;
	if (!card->in)
		reply->result = SCRIPT_ICC_NOT_PRESENT;
	else if (card->mute && reply->result == SCRIPT_OK)
		reply->result = SCRIPT_ERROR_POWER_ACTION;
	if (reply->result != SCRIPT_OK)
		return;
	card->powered = true;
	reply->len = card->atr->len;
	memcpy(data, card->atr->bytes, reply->len);
}

static void answer_protocol(struct card *card, struct reply *reply, uint32_t protocol) {
	if (!card->in)
		reply->result = SCRIPT_ICC_NOT_PRESENT;
	else if (!card->powered)
		card->n_wrong++;
	if (reply->result == SCRIPT_OK)
		card->protocol = protocol;
}

static void answer_command(struct card *card, struct reply *reply, uint8_t *data, size_t n) {
	unsigned delay_ms = 0;
	if (!card->in) {
		reply->result = SCRIPT_ICC_NOT_PRESENT;
		return;
	}
	if (!card->powered) {
		card->n_wrong++;
		reply->result = SCRIPT_COMMUNICATION_ERROR;
		return;
	}
	size_t len = command_answer(card, data, n, &delay_ms);
	if (reply->result == SCRIPT_OK)
		reply->len = len;
	reply->delay_ms += delay_ms;
}

/* PC/SC part 10, 2.2: tag, 4, code in big-endian; then its one feature: wLcdLayout and dwMaxAPDUDataSize. */
static void answer_control(struct reply *reply, uint8_t *data, size_t n, uint32_t code) {
	static const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	static const uint8_t properties[] = { 0x01, 2, 0, 0, 0x0a, 4, 0, 0, 1, 0 };
	if (reply->result != SCRIPT_OK)
		return;
	if (code == FEATURES) {
		memcpy(data, features, reply->len = sizeof(features));
	} else if (code == PROPERTIES) {
		memcpy(data, properties, reply->len = sizeof(properties));
	} else if (code == BOX_ECHO) {
		reply->len = n;
	} else {
		reply->result = SCRIPT_NOT_SUPPORTED;
	}
}

static void answer_attrib(
	const struct card *card, struct reply *reply, uint8_t *data, uint32_t tag) {
	static const uint32_t version = 0x01020003, channel = 0x00200107, max_input = 65548;
	const void *value = NULL;
	switch (tag) {
	case SCARD_ATTR_VENDOR_NAME:
		value = "Test Bed";
		reply->len = sizeof("Test Bed");
		break;
	case SCARD_ATTR_VENDOR_IFD_VERSION: value = &version; break;
	case SCARD_ATTR_CHANNEL_ID: value = &channel; break;
	case SCARD_ATTR_MAXINPUT: value = &max_input; break;
	case SCARD_ATTR_ATR_STRING:
		if (!card->atr)
			return;
		value = card->atr->bytes;
		reply->len = card->atr->len;
		break;
	default: reply->result = SCRIPT_ERROR_TAG; return;
	}
	if (!reply->len)
		reply->len = sizeof(uint32_t);
	memcpy(data, value, reply->len);
}

/* The first rule for this request, used up once more. */
static void apply_rules(struct card *card, const struct script_message *m, struct reply *reply) {
	for (size_t i = 0; i < card->n_rules; i++) {
		struct rule *rule = &card->rules[i];
		if (rule->op != m->op || (rule->arg && rule->arg != m->arg))
			continue;
		reply->result = rule->result;
		reply->delay_ms = rule->delay_ms;
		if (rule->times && --rule->times == 0) {
			card->n_rules--;
			memmove(rule, rule + 1, (card->n_rules - i) * sizeof(*rule));
		}
		return;
	}
}

static uint32_t presence(const struct player *p, const struct card *card) {
	if (p->trouble)
		return p->trouble;
	if (!card->in)
		return SCRIPT_ICC_NOT_PRESENT;
	return card->n_insertions % 2 ? SCRIPT_ICC_PRESENT : SCRIPT_OK;
}

/* `data` holds the request's bytes and then the answer's. */
static void compute(struct player *p, const struct script_message *m, uint8_t *data, size_t n,
	struct reply *reply) {
	struct card *card = &p->box->cards[m->slot];
	apply_rules(card, m, reply);
	switch (m->op) {
	case SCRIPT_PRESENCE: reply->result = presence(p, card); break;
	case SCRIPT_POWER_UP:
		card->n_on++;
		answer_power_up(card, reply, data);
		break;
	case SCRIPT_RESET:
		card->n_reset++;
		answer_power_up(card, reply, data);
		break;
	case SCRIPT_POWER_DOWN:
		card->n_off++;
		card->powered = false;
		break;
	case SCRIPT_PROTOCOL:
		card->n_protocol++;
		answer_protocol(card, reply, m->arg);
		break;
	case SCRIPT_TRANSMIT:
		card->n_commands++;
		answer_command(card, reply, data, n);
		break;
	case SCRIPT_CONTROL:
		card->n_control++;
		answer_control(reply, data, n, m->arg);
		break;
	case SCRIPT_GET_ATTRIB: answer_attrib(card, reply, data, m->arg); break;
	default: reply->result = SCRIPT_ERROR_TAG; break;
	}
}

/* ---- the thread ---- */

static void answer_later(struct player *p, const struct script_message *m,
	const struct reply *reply, const uint8_t *data) {
	struct pending *pending = &p->pending[m->slot];
	*pending = (struct pending){ .waits = true,
		.op = m->op,
		.due_ms = now_ms() + reply->delay_ms,
		.result = reply->result,
		.len = reply->len,
		.data = malloc(reply->len + 1) };
	if (!pending->data)
		abort();
	memcpy(pending->data, data, reply->len);
}

static void pending_end(struct player *p, unsigned slot, uint32_t result, bool data) {
	struct pending *pending = &p->pending[slot];
	if (!pending->waits)
		return;
	pending->waits = false;
	say(p, SCRIPT_ANSWER, slot, result, pending->data, data ? pending->len : 0);
	free(pending->data);
}

static void hello(struct player *p) {
	p->n_connections++;
	say(p, SCRIPT_SLOTS, 0, p->box->n_slots, NULL, 0);
	for (unsigned i = 0; i < p->box->n_slots; i++)
		say(p, SCRIPT_MOVED, i, p->box->cards[i].in, NULL, 0);
	if (p->trouble)
		say(p, SCRIPT_TROUBLE, 0, p->trouble, NULL, 0);
}

static void take(struct player *p, const struct script_message *m, size_t n) {
	struct reply reply = { .result = SCRIPT_OK };
	if (m->op == SCRIPT_HELLO) {
		hello(p);
		return;
	}
	if (m->slot >= p->box->n_slots)
		return;
	if (p->pending[m->slot].waits) {
		/* no driver may ask a slot for two things at once */
		p->box->cards[m->slot].n_wrong++;
		pending_end(p, m->slot, SCRIPT_COMMUNICATION_ERROR, false);
	}
	memcpy(p->answer, p->packet + sizeof(*m), n);
	compute(p, m, p->answer, n, &reply);
	if (reply.delay_ms)
		answer_later(p, m, &reply, p->answer);
	else
		say(p, SCRIPT_ANSWER, m->slot, reply.result, p->answer, reply.len);
}

static void drop(struct player *p) {
	close(p->fd);
	p->fd = -1;
	for (unsigned i = 0; i < BOX_MAX_SLOTS; i++) {
		if (p->pending[i].waits)
			free(p->pending[i].data);
		p->pending[i].waits = false;
		p->box->cards[i].powered = false; /* the device's power went, or it is about to */
	}
}

static void receive(struct player *p) {
	struct script_message m;
	ssize_t n = recv(p->fd, p->packet, sizeof(p->packet), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < (ssize_t)sizeof(m)) {
		drop(p);
		return;
	}
	memcpy(&m, p->packet, sizeof(m));
	take(p, &m, (size_t)n - sizeof(m));
}

static void accept_one(struct player *p) {
	int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (p->fd >= 0)
		drop(p);
	p->fd = fd;
}

/* Tells what is due; milliseconds to the next one. */
static int answers_due(struct player *p) {
	int64_t now = now_ms(), least = 50; /* a test may make an answer wait while we poll */
	for (unsigned i = 0; i < BOX_MAX_SLOTS; i++) {
		struct pending *pending = &p->pending[i];
		if (pending->waits && pending->due_ms <= now)
			pending_end(p, i, pending->result, true);
		else if (pending->waits && pending->due_ms - now < least)
			least = pending->due_ms - now;
	}
	return (int)least;
}

static void *player_run(void *arg) {
	struct player *p = arg;
	for (;;) {
		pthread_mutex_lock(&p->lock);
		int timeout = answers_due(p);
		struct pollfd fds[2] = { { p->listen_fd, POLLIN, 0 }, { p->fd, POLLIN, 0 } };
		pthread_mutex_unlock(&p->lock);
		if (poll(fds, 2, timeout) <= 0)
			continue;
		pthread_mutex_lock(&p->lock);
		if (fds[1].revents && p->fd == fds[1].fd && p->fd >= 0)
			receive(p);
		if (fds[0].revents)
			accept_one(p);
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

void player_start(struct box *box) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct player *p = calloc(1, sizeof(*p));
	if (!p)
		die("calloc", NULL);
	p->box = box;
	p->fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", box->script);
	p->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (p->listen_fd < 0 ||
		bind(p->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(p->listen_fd, 8) < 0)
		die(box->script, strerror(errno));
	box->player = p;
	if (pthread_create(&p->thread, NULL, player_run, p) != 0)
		die("pthread_create", NULL);
}

void player_hang_up(struct box *box) {
	struct player *p = box->player;
	pthread_mutex_lock(&p->lock);
	if (p->fd >= 0) {
		shutdown(p->fd, SHUT_RDWR); /* a forked child may hold a copy */
		drop(p);
	}
	pthread_mutex_unlock(&p->lock);
}

unsigned player_connections(struct box *box) {
	pthread_mutex_lock(&box->player->lock);
	unsigned n = box->player->n_connections;
	pthread_mutex_unlock(&box->player->lock);
	return n;
}

/* ---- what the test does ---- */

static void put_in(struct card *card, const struct atr *atr) {
	card->atr = atr;
	card->mute = atr->len == 0;
	card->in = true;
	card->powered = false;
	card->n_insertions++;
}

void card_insert(struct box *box, unsigned slot, const struct atr *atr) {
	struct player *p = box->player;
	pthread_mutex_lock(&p->lock);
	put_in(&box->cards[slot], atr);
	if (!p->trouble)
		say(p, SCRIPT_MOVED, slot, 1, NULL, 0);
	pthread_mutex_unlock(&p->lock);
}

static void take_out(struct player *p, unsigned slot) {
	struct card *card = &p->box->cards[slot];
	card->in = false;
	card->powered = false;
	pending_end(p, slot, SCRIPT_ICC_NOT_PRESENT, false);
}

void card_remove(struct box *box, unsigned slot) {
	struct player *p = box->player;
	pthread_mutex_lock(&p->lock);
	take_out(p, slot);
	if (!p->trouble)
		say(p, SCRIPT_MOVED, slot, 0, NULL, 0);
	pthread_mutex_unlock(&p->lock);
}

void card_swap(struct box *box, unsigned slot, const struct atr *atr) {
	struct player *p = box->player;
	pthread_mutex_lock(&p->lock);
	take_out(p, slot);
	put_in(&box->cards[slot], atr);
	say(p, SCRIPT_MOVED, slot, 2, NULL, 0);
	pthread_mutex_unlock(&p->lock);
}

void card_set_mute(struct box *box, unsigned slot, bool mute) {
	pthread_mutex_lock(&box->player->lock);
	box->cards[slot].mute = mute;
	pthread_mutex_unlock(&box->player->lock);
}

void card_rule(struct box *box, unsigned slot, const struct rule *rule) {
	struct card *card = &box->cards[slot];
	pthread_mutex_lock(&box->player->lock);
	bool room = card->n_rules < CARD_MAX_RULES;
	if (room)
		card->rules[card->n_rules++] = *rule;
	pthread_mutex_unlock(&box->player->lock);
	if (!room)
		die(box->instance, "too many rules");
}

void card_rules_clear(struct box *box, unsigned slot) {
	pthread_mutex_lock(&box->player->lock);
	box->cards[slot].n_rules = 0;
	pthread_mutex_unlock(&box->player->lock);
}

void box_trouble(struct box *box, uint32_t result) {
	struct player *p = box->player;
	pthread_mutex_lock(&p->lock);
	p->trouble = result;
	if (result) {
		for (unsigned i = 0; i < box->n_slots; i++)
			pending_end(p, i, result, false);
		say(p, SCRIPT_TROUBLE, 0, result, NULL, 0);
	} else {
		say(p, SCRIPT_WELL, 0, 0, NULL, 0);
		for (unsigned i = 0; i < box->n_slots; i++)
			say(p, SCRIPT_MOVED, i, box->cards[i].in, NULL, 0);
	}
	pthread_mutex_unlock(&p->lock);
}
