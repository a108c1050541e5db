/* SPDX-License-Identifier: MIT */
/*
 * A session is one connection. It has at most one request under way. A request is tried at once, and
 * where the lock or the slot is not free it waits in the lease's queue and is tried again when
 * something was given back; every try looks at all conditions anew, in the order that PC/SC programs
 * know. So nothing has to be remembered about why it waited.
 *
 * A client may vanish while an operation of the slot runs for it: the session stays, marked as ended,
 * until the operation is over, and the driver is told that nobody waits for that. The table below says
 * which message is legal in which state.
 */
#include "ifdhandler/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "ifdhandler/command.h"
#include "ifdhandler/connect.h"

enum {
	/* A first answer waits so long for a reader that has just been started. */
	PATIENCE_MS = 3000,
};

uint64_t session_now_usec(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* ---- life ---- */

/* A parked connection at rest is no use of the reader; everything else is. */
static void use_update(struct session *s) {
	int counts = s->state != SESSION_PARKED || s->request.type;
	if (counts == s->counted)
		return;
	s->counted = counts;
	service_use(s->service, counts ? 1 : -1);
}

void session_change(struct session *s, enum session_state state) {
	s->state = state;
	use_update(s);
}

struct session *session_new(struct service *service, const struct session_client *client,
	const struct session_peer *peer) {
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->service = service;
	s->client = *client;
	s->peer = peer;
	s->since_usec = session_now_usec();
	s->next = service->sessions;
	if (s->next)
		s->next->prev = s;
	service->sessions = s;
	service->n_sessions++;
	use_update(s);
	return s;
}

static void session_free(struct session *s) {
	struct service *service = s->service;
	assert(!s->holder.share && !s->holder.waiting);
	if (s->prev)
		s->prev->next = s->next;
	else
		service->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	service->n_sessions--;
	service->n_asking -= s->request.type == MESSAGE_WATCH;
	if (s->counted)
		service_use(service, -1);
	sd_event_source_disable_unref(s->patience);
	if (s->data)
		explicit_bzero(s->data, s->data_size);
	free(s->data);
	free(s);
}

/* What follows when the client is gone and nothing runs for it any more. After an operation others must wait
 * until the slot has looked at the card's movements meanwhile: it calls for them itself. */
static void session_close(struct session *s, int after_operation) {
	struct service *service = s->service;
	unsigned slot = s->slot;
	int in_slot = s->state == SESSION_CARD || s->holder.waiting;
	if (s->state == SESSION_CARD)
		connect_abandon(s);
	else if (s->holder.waiting)
		lease_unwait(session_lease(s), &s->holder);
	session_free(s);
	if (in_slot && !after_operation)
		service_dispatch(service, slot);
}

void session_end(struct session *s, uint8_t *data, size_t size) {
	s->ended = 1;
	s->peer = NULL;
	s->data = data;
	s->data_size = size;
	if (s->running)
		slot_abandon(session_slot(s));
	else
		session_close(s, 0);
}

struct session *session_of(struct lease_holder *holder) {
	return (struct session *)(void *)((char *)holder - offsetof(struct session, holder));
}

struct slot *session_slot(const struct session *s) {
	return &s->service->slots[s->slot];
}

enum status session_health(const struct session *s) {
	const struct slot *slot = session_slot(s);
	if (!slot_is_known(slot))
		return STATUS_STARTING;
	return slot->presence == PRESENCE_UNKNOWN ? slot->status : STATUS_OK;
}

struct lease *session_lease(const struct session *s) {
	return &s->service->leases[s->slot];
}

void session_leave(struct session *s) {
	struct lease *lease = session_lease(s);
	lease_leave(lease, &s->holder);
	s->event = EVENT_NONE;
	s->raw = 0;
	s->dirty = 0;
	session_change(s, SESSION_PARKED);
	if (!lease->n_holders)
		slot_use(session_slot(s), 0);
	service_publish(s->service, s->slot, 0);
}

/* ---- states ---- */

void session_get_state(const struct session *s, unsigned number, struct message_state *ret) {
	const struct slot *slot = &s->service->slots[number];
	const struct lease *lease = &s->service->leases[number];
	int card = s->state == SESSION_CARD && s->slot == number;
	int present = slot->presence == PRESENCE_PRESENT;
	int locked = card && !lease_is_free_for(lease, &s->holder);
	*ret = (struct message_state){
		.slot = (uint8_t)number,
		.presence = (uint8_t)slot->presence,
		.flags = (uint16_t)((present && !slot->unpowered ? STATE_POWERED : 0) |
			(lease->n_holders ? STATE_IN_USE : 0) |
			(lease_is_exclusive(lease) ? STATE_EXCLUSIVE : 0) |
			(locked ? STATE_LOCKED_ELSEWHERE : 0)),
		.status = (uint16_t)(slot->presence == PRESENCE_UNKNOWN ? slot->status : STATUS_OK),
		.counter = slot->counter,
		.protocol = (uint8_t)(card && s->raw ? PROTOCOL_RAW : slot->protocol),
		.event = (uint8_t)(card ? s->event : EVENT_NONE),
		.tail = slot->atr,
		.tail_len = slot->atr_len,
	};
}

int session_mark(struct session *s, unsigned slot, int lock_only) {
	if (s->ended)
		return 0;
	int card = s->state == SESSION_CARD && s->slot == slot;
	/* A watch that waits for its first states gets each when it is known. */
	int watch = s->state == SESSION_WATCH || s->request.type == MESSAGE_WATCH;
	if (!card && (lock_only || !watch))
		return 0;
	s->dirty |= 1u << slot;
	return 1;
}

/* Takes the slots whose states are to be sent: none where the client knows them already. */
static uint32_t states_take(struct session *s) {
	uint32_t slots = s->dirty;
	struct message_state state;
	s->dirty = 0;
	if (!slots || s->state != SESSION_CARD)
		return slots;
	session_get_state(s, s->slot, &state);
	return service_told(&s->told, &state) ? 0 : slots;
}

void session_flush(struct session *s) {
	if (s->ended || s->replying)
		return;
	uint32_t slots = states_take(s);
	if (slots)
		s->peer->states(s->peer->userdata, slots);
}

/* ---- replies ---- */

void session_send(struct session *s, const struct message_reply *reply) {
	uint16_t serial = s->request.serial;
	const struct message_reply *said = s->request.silent ? NULL : reply;
	s->service->n_asking -= s->request.type == MESSAGE_WATCH;
	s->request = (struct session_request){ 0 };
	s->expired = 0;
	s->patience = sd_event_source_disable_unref(s->patience);
	if (s->state != SESSION_NEW)
		lease_unwait(session_lease(s), &s->holder);
	/* The others first; what concerns this client goes out together with its reply. */
	s->replying = 1;
	service_flush(s->service);
	s->replying = 0;
	s->peer->reply(s->peer->userdata, serial, said, states_take(s));
	use_update(s);
}

enum session_step session_reply(struct session *s, enum status status, uint32_t value) {
	struct message_reply reply = { .status = (uint16_t)status };
	if (status == STATUS_OK)
		reply.value = value;
	session_send(s, &reply);
	return STEP_DONE;
}

void session_run(struct session *s) {
	lease_unwait(session_lease(s), &s->holder);
	s->running = 1;
}

int session_resume(struct session *s) {
	s->running = 0;
	if (!s->ended)
		return 1;
	session_close(s, 1);
	return 0;
}

/* ---- frames ---- */

static int hello(struct session *s, const struct frame *frame) {
	struct message_hello m;
	if (message_hello_decode(frame, &m) < 0 || m.magic != WIRE_MAGIC)
		return -EBADMSG;
	if (m.version < 1)
		return -EPROTONOSUPPORT;
	s->version = m.version < WIRE_VERSION ? m.version : WIRE_VERSION;
	struct message_welcome welcome = { .version = s->version,
		.n_slots = (uint16_t)s->service->n_slots };
	char *text = NULL;
	s->flags = m.flags & HELLO_FLAGS;
	if (s->flags & HELLO_WANT_DESCRIPTION) {
		text = malloc(DESCRIPTION_MAX);
		int n = text ? description_format(s->service->description, text, DESCRIPTION_MAX)
			     : -ENOMEM;
		welcome.tail = (uint8_t *)text;
		welcome.tail_len = n > 0 ? (size_t)n : 0;
	}
	session_change(s, SESSION_PARKED);
	s->peer->welcome(s->peer->userdata, frame->serial, &welcome);
	free(text);
	return 0;
}

static void patience_end(struct session *s) {
	s->expired = 1;
	s->patience = sd_event_source_disable_unref(s->patience);
	if (s->request.type == MESSAGE_WATCH)
		session_try_watch(s);
	else
		service_dispatch(s->service, s->slot);
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	patience_end(userdata);
	return 0;
}

/* A wait for a reader that is starting has an end. */
static void patience_start(struct session *s) {
	if (!s->patience && !s->expired &&
		(s->request.type == MESSAGE_WATCH || s->request.type == MESSAGE_CONNECT) &&
		sd_event_add_time_relative(s->service->event, &s->patience, CLOCK_MONOTONIC,
			PATIENCE_MS * 1000ull, 10000, on_patience, s) < 0)
		patience_end(s);
}

int session_frame(struct session *s, const struct frame *frame) {
	assert(!s->request.type);
	if (s->state == SESSION_NEW)
		return frame->type == MESSAGE_HELLO ? hello(s, frame) : -EBADMSG;
	const struct command *command = command_find(frame->type);
	if (!command || !(command->states & (1u << s->state)))
		return -EBADMSG;
	s->request = (struct session_request){ 0 };
	if (command->parse(s, frame) < 0) {
		s->request = (struct session_request){ 0 };
		return -EBADMSG;
	}
	s->request.type = frame->type;
	s->request.serial = frame->serial;
	use_update(s);
	if (frame->type == MESSAGE_CONNECT && s->slot >= s->service->n_slots) {
		s->slot = 0;
		session_reply(s, STATUS_INVALID, 0);
		return 0;
	}
	if (frame->type == MESSAGE_WATCH) {
		s->first_told = 0;
		s->service->n_asking++;
		session_try_watch(s);
	} else {
		/* Behind those who wait already; the queue is looked through from its head. */
		lease_wait(session_lease(s), &s->holder);
		service_dispatch(s->service, s->slot);
	}
	if (s->request.type)
		patience_start(s);
	return 0;
}

int session_try(struct session *s) {
	return command_find(s->request.type)->try(s) != STEP_WAIT;
}

void session_try_watch(struct session *s) {
	if (s->request.type == MESSAGE_WATCH && !s->ended)
		session_try(s);
}
