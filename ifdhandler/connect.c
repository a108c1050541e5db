/* SPDX-License-Identifier: MIT */
/*
 * Connecting is: wait for the lock, power the card up where it is not, agree on a protocol, take a
 * share. Reconnecting is the same after a reset or without one. Each step that needs the card is an
 * operation of the slot; its callback starts the next. A reset that one client makes is an event for
 * all others, told before anything else can happen.
 */
#include "ifdhandler/connect.h"

enum {
	ANY_PROTOCOL = 0x1000, /* a retired "any" of PC/SC that programs still send */
	PROTOCOLS = PROTOCOL_T0 | PROTOCOL_T1 | PROTOCOL_RAW | ANY_PROTOCOL,
};

/* What CONNECT and RECONNECT check of their fields. */
static enum status check_fields(const struct session_request *request) {
	if (request->share != SHARE_DIRECT && !(request->number & PROTOCOLS))
		return STATUS_PROTO_MISMATCH;
	if (request->share < SHARE_EXCLUSIVE || request->share > SHARE_DIRECT)
		return STATUS_INVALID;
	return STATUS_OK;
}

/* The card was powered for a connect that failed: it is unused again. */
static void settle_use(struct session *s) {
	struct slot *slot = session_slot(s);
	slot_use(slot, session_lease(s)->n_holders != 0);
}

static uint32_t active_protocol(const struct session *s) {
	return s->raw ? PROTOCOL_RAW : session_slot(s)->protocol;
}

/* ---- CONNECT ---- */

static enum session_step join(struct session *s) {
	struct session_request request = s->request;
	if (lease_join(session_lease(s), &s->holder, request.share)) {
		settle_use(s);
		return session_reply(s, STATUS_SHARING, 0);
	}
	session_change(s, SESSION_CARD);
	s->event = EVENT_NONE;
	s->raw = (request.number & PROTOCOL_RAW) != 0;
	/* Nothing that a former connection was told counts: the first state is always sent. */
	s->told.state = (struct message_state){ .presence = 0xFF };
	settle_use(s);
	service_publish(s->service, s->slot, 0);
	return session_reply(s, STATUS_OK, active_protocol(s));
}

static void on_connect_protocol(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	if (!session_resume(s))
		return;
	if (result->status == STATUS_OK) {
		join(s);
		return;
	}
	settle_use(s);
	session_reply(s, result->status, 0);
}

static enum session_step connect_protocol(struct session *s) {
	if (s->request.number & PROTOCOL_RAW)
		return join(s);
	session_run(s);
	slot_negotiate(session_slot(s), s->request.number, on_connect_protocol, s);
	return STEP_RUNNING;
}

static void on_connect_power(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	if (!session_resume(s))
		return;
	if (result->status == STATUS_OK)
		connect_protocol(s);
	else
		session_reply(s, result->status, 0);
}

/* A shared connect to a card that has power and one of the protocols wanted asks nothing of the card:
 * programs that list readers do that to each, and a card that thinks for minutes must not hold
 * them up. */
static int is_agreed(const struct session *s) {
	const struct slot *slot = session_slot(s);
	uint32_t wanted = s->request.number;
	if (wanted & ANY_PROTOCOL)
		wanted |= PROTOCOL_T0 | PROTOCOL_T1;
	return s->request.share == SHARE_SHARED && slot->presence == PRESENCE_PRESENT &&
		slot->powered && !(wanted & PROTOCOL_RAW) && (wanted & slot->protocol);
}

enum session_step connect_try(struct session *s) {
	struct slot *slot = session_slot(s);
	struct lease *lease = session_lease(s);
	enum status status = check_fields(&s->request);
	if (status)
		return session_reply(s, status, 0);
	if (session_health(s) == STATUS_STARTING && !s->expired)
		return STEP_WAIT;
	if (session_health(s))
		return session_reply(s, session_health(s), 0);
	if (lease_is_exclusive(lease))
		return session_reply(s, STATUS_SHARING, 0);
	if (!lease_is_free_for(lease, &s->holder))
		return STEP_WAIT;
	/* Does not need the card: no wait for a command of somebody else either. */
	if (s->request.share == SHARE_DIRECT || is_agreed(s))
		return join(s);
	if (slot->busy)
		return STEP_WAIT;
	if (slot->presence == PRESENCE_ABSENT)
		return session_reply(s, STATUS_NO_CARD, 0);
	if (slot->powered)
		return connect_protocol(s);
	session_run(s);
	slot_power_on(slot, DRIVER_COLD, on_connect_power, s);
	return STEP_RUNNING;
}

/* ---- RECONNECT ---- */

static void reconnected(struct session *s) {
	if (lease_change(session_lease(s), &s->holder, s->request.share)) {
		session_reply(s, STATUS_SHARING, 0);
		return;
	}
	s->event = EVENT_NONE;
	s->raw = (s->request.number & PROTOCOL_RAW) != 0;
	service_publish(s->service, s->slot, 0);
	unsigned slot = s->slot;
	struct service *service = s->service;
	session_reply(s, STATUS_OK, active_protocol(s));
	service_dispatch(service, slot);
}

static void on_reconnect_protocol(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	if (!session_resume(s))
		return;
	if (result->status == STATUS_OK)
		reconnected(s);
	else
		session_reply(s, result->status, 0);
}

static void reconnect_protocol(struct session *s) {
	if (s->request.share == SHARE_DIRECT || s->request.number & PROTOCOL_RAW) {
		reconnected(s);
		return;
	}
	session_run(s);
	slot_negotiate(session_slot(s), s->request.number, on_reconnect_protocol, s);
}

static void on_reconnect_power(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	if (!session_resume(s))
		return;
	if (result->status == STATUS_OK) {
		reconnect_protocol(s);
		return;
	}
	enum status status = result->status;
	session_reply(s, status == STATUS_CARD_MUTE ? STATUS_CARD_UNRESPONSIVE : status, 0);
}

static enum session_step reconnect_power(struct session *s, enum driver_reset how) {
	session_run(s);
	slot_power_on(session_slot(s), how, on_reconnect_power, s);
	return STEP_RUNNING;
}

/* The card as it is: powered where somebody took the power away, acknowledged as it stands. */
static enum session_step reconnect_leave(struct session *s) {
	struct slot *slot = session_slot(s);
	if (slot->presence == PRESENCE_MUTE)
		return session_reply(s, STATUS_CARD_UNRESPONSIVE, 0);
	if (!slot->powered && s->request.share != SHARE_DIRECT)
		return reconnect_power(s, DRIVER_COLD);
	reconnect_protocol(s);
	return STEP_RUNNING;
}

enum session_step connect_reconnect_try(struct session *s) {
	struct slot *slot = session_slot(s);
	struct lease *lease = session_lease(s);
	unsigned how = s->request.how;
	enum status status = how > DISPOSITION_UNPOWER ? STATUS_INVALID : check_fields(&s->request);
	if (status)
		return session_reply(s, status, 0);
	if (session_health(s))
		return session_reply(s, session_health(s), 0);
	int alone = s->request.share != SHARE_EXCLUSIVE || lease->n_holders == 1;
	if (!lease_is_free_for(lease, &s->holder) || !alone) {
		if (s->flags & HELLO_NO_BLOCKING)
			return session_reply(s, STATUS_SHARING, 0);
		return STEP_WAIT;
	}
	if (slot->busy)
		return STEP_WAIT;
	if (slot->presence == PRESENCE_ABSENT)
		return session_reply(s, STATUS_NO_CARD, 0);
	if (how == DISPOSITION_LEAVE)
		return reconnect_leave(s);
	service_card_event(s->service, s->slot, EVENT_RESET, NULL);
	return reconnect_power(s, how == DISPOSITION_RESET ? DRIVER_WARM : DRIVER_COLD);
}

/* ---- DISCONNECT, END ---- */

static void disconnected(struct session *s) {
	struct service *service = s->service;
	unsigned slot = s->slot;
	session_leave(s);
	session_reply(s, STATUS_OK, 0);
	service_dispatch(service, slot);
}

/* A reset or power-down at the end that fails is not told: the state of the slot tells it. */
static void on_disconnect(void *userdata, const struct driver_result *result) {
	(void)result;
	struct session *s = userdata;
	if (session_resume(s))
		disconnected(s);
}

enum session_step connect_disconnect_try(struct session *s) {
	struct slot *slot = session_slot(s);
	unsigned how = s->request.how;
	if (how > DISPOSITION_EJECT)
		return session_reply(s, STATUS_INVALID, 0);
	if (how == DISPOSITION_LEAVE) {
		disconnected(s);
		return STEP_DONE;
	}
	if (!lease_is_free_for(session_lease(s), &s->holder) || slot->busy)
		return STEP_WAIT;
	/* No reader of ours can eject; the wait is what programs know. */
	if (!slot_has_card(slot) || how == DISPOSITION_EJECT) {
		disconnected(s);
		return STEP_DONE;
	}
	service_card_event(s->service, s->slot, EVENT_RESET, s);
	session_run(s);
	if (how == DISPOSITION_RESET)
		slot_power_on(slot, DRIVER_WARM, on_disconnect, s);
	else
		slot_power_off(slot, on_disconnect, s);
	return STEP_RUNNING;
}

static enum session_step transaction_ended(struct session *s, enum status status) {
	struct service *service = s->service;
	unsigned slot = s->slot;
	lease_end(session_lease(s), &s->holder);
	service_publish(service, slot, 1);
	session_reply(s, status, 0);
	service_dispatch(service, slot);
	return STEP_DONE;
}

static void on_end_reset(void *userdata, const struct driver_result *result) {
	struct session *s = userdata;
	enum status status = result->status;
	if (!session_resume(s))
		return;
	if (status == STATUS_NO_CARD)
		status = STATUS_CARD_REMOVED;
	else if (status != STATUS_OK && !status_is_reader_trouble(status))
		status = STATUS_EXCHANGE_FAILED;
	transaction_ended(s, status);
}

enum session_step connect_end_transaction(struct session *s) {
	struct slot *slot = session_slot(s);
	unsigned how = s->request.how;
	if (!s->holder.depth)
		return session_reply(s, STATUS_NOT_TRANSACTED, 0);
	if (how == DISPOSITION_EJECT)
		return transaction_ended(s, STATUS_UNSUPPORTED);
	if (how == DISPOSITION_LEAVE || !slot_has_card(slot))
		return transaction_ended(s, STATUS_OK);
	if (slot->busy)
		return STEP_WAIT;
	/* The caller is told, too: programs reconnect or disconnect after such an end. */
	service_card_event(s->service, s->slot, EVENT_RESET, NULL);
	session_run(s);
	slot_power_on(slot, how == DISPOSITION_RESET ? DRIVER_WARM : DRIVER_COLD, on_end_reset, s);
	return STEP_RUNNING;
}

/* ---- gone without goodbye ---- */

static void on_abandoned(void *userdata, const struct driver_result *result) {
	(void)userdata, (void)result;
}

void connect_abandon(struct session *s) {
	struct service *service = s->service;
	struct slot *slot = session_slot(s);
	unsigned number = s->slot;
	int reset = session_lease(s)->owner == &s->holder && !s->event && slot_has_card(slot);
	session_leave(s);
	if (!reset)
		return;
	/* Begun before anybody else may go on: nobody meets what the owner had verified. */
	service_card_event(service, number, EVENT_RESET, NULL);
	if (!slot->busy)
		slot_power_on(slot, DRIVER_WARM, on_abandoned, NULL);
}
