/* SPDX-License-Identifier: MIT */
/*
 * What each request asks: its fields, the states in which it is legal, and one try of it. A try looks
 * at all conditions in the order that PC/SC programs know and replies, starts an operation of the
 * slot, or waits; what acts on the card at the beginning or end of a connection is connect.c's.
 */
#include "ifdhandler/command.h"

#include <errno.h>
#include <stdlib.h>

#include "ifdhandler/connect.h"
#include "ifdhandler/inspect.h"

enum { ANY_PROTOCOL = 0x1000 }; /* a retired "any" of PC/SC that programs still send */

/* The end of a request that ran one operation and hands out what it brought. */
static void on_data(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	if (!session_resume(s))
		return;
	struct message_reply reply = { .status = (uint16_t)result->status };
	if (result->status == STATUS_OK) {
		reply.tail = result->data;
		reply.tail_len = result->len;
		reply.value = s->request.number;
	}
	session_send(s, &reply);
}

/* ---- requests ---- */

static enum status event_status(const struct session *s) {
	switch (s->event) {
	case EVENT_RESET: return STATUS_CARD_RESET;
	case EVENT_REMOVED: return STATUS_CARD_REMOVED;
	default: return STATUS_OK;
	}
}

static int locked_elsewhere(const struct session *s) {
	return !lease_is_free_for(session_lease(s), &s->holder);
}

static enum session_step lock_wait(struct session *s) {
	return s->flags & HELLO_NO_BLOCKING ? session_reply(s, STATUS_SHARING, 0) : STEP_WAIT;
}

static enum session_step transmit_try(struct session *s) {
	struct slot *slot = session_slot(s);
	uint32_t active = s->raw ? PROTOCOL_RAW : slot->protocol;
	uint32_t protocol = s->request.number == ANY_PROTOCOL ? active : s->request.number;
	if (locked_elsewhere(s))
		return lock_wait(s);
	if (session_health(s))
		return session_reply(s, session_health(s), 0);
	if (s->event)
		return session_reply(s, event_status(s), 0);
	if (protocol != PROTOCOL_RAW && slot->presence == PRESENCE_ABSENT)
		return session_reply(s, STATUS_NO_CARD, 0);
	if (protocol != PROTOCOL_RAW && (protocol != active || !protocol))
		return session_reply(s, STATUS_PROTO_MISMATCH, 0);
	if (slot->busy)
		return STEP_WAIT;
	if (slot->presence == PRESENCE_PRESENT && !slot->powered)
		return session_reply(s, STATUS_CARD_MUTE, 0);
	s->request.number = protocol;
	session_run(s);
	slot_transmit(slot, protocol, &s->request.data, on_data, s);
	return STEP_RUNNING;
}

/* Ends the request with an outcome and, where that is OK, `len` bytes. */
static enum session_step reply_bytes(
	struct session *s, enum status status, const uint8_t *data, size_t len) {
	struct message_reply reply = { .status = (uint16_t)status };
	if (status == STATUS_OK) {
		reply.tail = data;
		reply.tail_len = len;
	}
	session_send(s, &reply);
	return STEP_DONE;
}

static enum session_step control_try(struct session *s) {
	struct slot *slot = session_slot(s);
	uint8_t answer[DRIVER_MAX_ATTRIB];
	size_t len = 0;
	if (locked_elsewhere(s))
		return session_reply(s, STATUS_SHARING, 0);
	if (session_health(s))
		return session_reply(s, session_health(s), 0);
	enum status status = slot_known(slot, s->request.number, answer, &len);
	if (status != STATUS_STARTING)
		return reply_bytes(s, status, answer, len);
	if (s->event && slot_is_for_card(slot, s->request.number))
		return session_reply(s, event_status(s), 0);
	if (slot->busy)
		return STEP_WAIT;
	session_run(s);
	slot_control(slot, s->request.number, &s->request.data, on_data, s);
	return STEP_RUNNING;
}

/* What both attribute requests check: STATUS_OK to go on. */
static enum status attrib_status(const struct session *s) {
	if (locked_elsewhere(s))
		return STATUS_SHARING;
	return session_health(s) ? session_health(s) : event_status(s);
}

static enum session_step get_attrib_try(struct session *s) {
	uint8_t value[DRIVER_MAX_ATTRIB];
	size_t len = 0;
	enum status status = attrib_status(s);
	if (status == STATUS_OK)
		status = slot_attrib(session_slot(s), s->request.number, value, &len);
	return reply_bytes(s, status, value, len);
}

static enum session_step set_attrib_try(struct session *s) {
	enum status status = attrib_status(s);
	return session_reply(s, status ? status : STATUS_UNSUPPORTED, 0);
}

static enum session_step sync_try(struct session *s) {
	return locked_elsewhere(s) ? lock_wait(s) : session_reply(s, STATUS_OK, 0);
}

static enum session_step begin_try(struct session *s) {
	if (session_health(s))
		return session_reply(s, session_health(s), 0);
	if (s->event)
		return session_reply(s, event_status(s), 0);
	/* Nor in the middle of another's command: commands that came earlier go first, and the owner of
	 * the lock finds the slot free whenever it goes. */
	if (locked_elsewhere(s) || session_slot(s)->busy)
		return STEP_WAIT;
	if (!s->holder.depth)
		s->locked_usec = session_now_usec();
	lease_begin(session_lease(s), &s->holder);
	service_publish(s->service, s->slot, 1);
	return session_reply(s, STATUS_OK, 0);
}

static enum session_step end_try(struct session *s) {
	if (s->request.how > DISPOSITION_EJECT)
		return session_reply(s, STATUS_INVALID, 0);
	/* Who does not wait for an answer has not seen the event, and will not end it once more. */
	if (s->event && !s->request.silent)
		return session_reply(s, event_status(s), 0);
	if (locked_elsewhere(s))
		return session_reply(s, STATUS_SHARING, 0);
	return connect_end_transaction(s);
}

static enum session_step watch_try(struct session *s) {
	struct service *service = s->service;
	int all = s->expired || service_known(service);
	for (unsigned i = 0; i < service->n_slots; i++)
		if ((all || slot_is_known(&service->slots[i])) && !(s->first_told & 1u << i)) {
			s->first_told |= 1u << i;
			s->dirty |= 1u << i;
			service->dirty = 1;
		}
	if (!all)
		return STEP_WAIT;
	session_change(s, SESSION_WATCH);
	return session_reply(s, STATUS_OK, service->n_slots);
}

static enum session_step inspect_try(struct session *s) {
	char *text = malloc(WIRE_MAX_TEXT);
	if (!text)
		return session_reply(s, STATUS_NO_MEMORY, 0);
	struct message_reply reply = { .status = STATUS_OK, .tail = (uint8_t *)text };
	reply.tail_len = inspect_text(s, text, WIRE_MAX_TEXT);
	session_send(s, &reply);
	free(text);
	return STEP_DONE;
}

static enum session_step stop_try(struct session *s) {
	struct service *service = s->service;
	enum status reason = s->request.number == STATUS_READER_DETACHED ? STATUS_READER_DETACHED
									 : STATUS_STOPPED;
	if (!s->client.admin)
		return session_reply(s, STATUS_REFUSED, 0);
	session_reply(s, STATUS_OK, 0);
	service->host->stop(service->host->userdata, reason);
	return STEP_DONE;
}

/* ---- messages ---- */

static int parse_connect(struct session *s, const struct frame *frame) {
	struct message_connect m;
	if (message_connect_decode(frame, &m) < 0)
		return -EBADMSG;
	s->slot = m.slot < DRIVER_MAX_SLOTS ? m.slot : DRIVER_MAX_SLOTS - 1;
	s->request.share = m.share;
	s->request.number = m.protocols;
	return 0;
}

static int parse_reconnect(struct session *s, const struct frame *frame) {
	struct message_reconnect m;
	if (message_reconnect_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.share = m.share;
	s->request.how = m.initialization;
	s->request.number = m.protocols;
	return 0;
}

static int parse_disconnect(struct session *s, const struct frame *frame) {
	struct message_disconnect m;
	if (message_disconnect_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.how = m.disposition;
	return 0;
}

static int parse_end(struct session *s, const struct frame *frame) {
	struct message_end m;
	if (message_end_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.silent =
		m.disposition == DISPOSITION_SILENT && s->version >= WIRE_VERSION_SILENT;
	s->request.how = s->request.silent ? DISPOSITION_LEAVE : m.disposition;
	return 0;
}

static int parse_transmit(struct session *s, const struct frame *frame) {
	struct message_transmit m;
	if (message_transmit_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.number = m.protocol;
	s->request.data = (struct driver_bytes){ m.tail, m.tail_len };
	return 0;
}

static int parse_control(struct session *s, const struct frame *frame) {
	struct message_control m;
	if (message_control_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.number = m.code;
	s->request.data = (struct driver_bytes){ m.tail, m.tail_len };
	return 0;
}

static int parse_get_attrib(struct session *s, const struct frame *frame) {
	struct message_get_attrib m;
	if (message_get_attrib_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.number = m.tag;
	return 0;
}

static int parse_set_attrib(struct session *s, const struct frame *frame) {
	struct message_set_attrib m;
	return message_set_attrib_decode(frame, &m) < 0 ? -EBADMSG : ((void)s, 0);
}

static int parse_stop(struct session *s, const struct frame *frame) {
	struct message_stop m;
	if (message_stop_decode(frame, &m) < 0)
		return -EBADMSG;
	s->request.number = m.reason;
	return 0;
}

static int parse_empty(struct session *s, const struct frame *frame) {
	(void)s;
	return frame->body_len ? -EBADMSG : 0;
}

enum {
	IN_PARKED = 1 << SESSION_PARKED,
	IN_WATCH = 1 << SESSION_WATCH,
	IN_CARD = 1 << SESSION_CARD,
};

static const struct command commands[] = {
	{ MESSAGE_CONNECT, IN_PARKED, parse_connect, connect_try },
	{ MESSAGE_WATCH, IN_PARKED, parse_empty, watch_try },
	{ MESSAGE_INSPECT, IN_PARKED | IN_WATCH, parse_empty, inspect_try },
	{ MESSAGE_STOP, IN_PARKED | IN_WATCH, parse_stop, stop_try },
	{ MESSAGE_RECONNECT, IN_CARD, parse_reconnect, connect_reconnect_try },
	{ MESSAGE_DISCONNECT, IN_CARD, parse_disconnect, connect_disconnect_try },
	{ MESSAGE_BEGIN, IN_CARD, parse_empty, begin_try },
	{ MESSAGE_END, IN_CARD, parse_end, end_try },
	{ MESSAGE_TRANSMIT, IN_CARD, parse_transmit, transmit_try },
	{ MESSAGE_CONTROL, IN_CARD, parse_control, control_try },
	{ MESSAGE_GET_ATTRIB, IN_CARD, parse_get_attrib, get_attrib_try },
	{ MESSAGE_SET_ATTRIB, IN_CARD, parse_set_attrib, set_attrib_try },
	{ MESSAGE_SYNC, IN_CARD, parse_empty, sync_try },
};

const struct command *command_find(uint16_t type) {
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].type == type)
			return &commands[i];
	return NULL;
}
