/* SPDX-License-Identifier: MIT */
/*
 * The service owns the driver, the slots and the list of sessions. Changes are collected: a session
 * is marked, and its states are sent before the next reply to anybody, or before the event loop looks
 * for what comes next. So one request makes one state, and no client ever has an answer before the others
 * have been sent what it changed.
 */
#include "ifdhandler/service.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ifdhandler/session.h"

static void on_rest(void *userdata, const struct driver_result *result) {
	(void)userdata, (void)result;
}

static void on_changed(void *userdata, struct slot *slot) {
	service_publish(userdata, slot->number, 0);
	service_dispatch(userdata, slot->number);
}

static void on_lost(void *userdata, struct slot *slot, unsigned event) {
	struct service *service = userdata;
	if (event == EVENT_REMOVED)
		lease_break(&service->leases[slot->number]);
	service_card_event(service, slot->number, event, NULL);
}

/* A card that keeps its power keeps what was verified, too, for whoever opens the reader next. */
static int rest(struct slot *slot) {
	if (!slot->busy && slot->powered)
		slot_power_off(slot, on_rest, NULL);
	return slot->busy;
}

static int is_resting(const struct service *service) {
	for (unsigned i = 0; i < service->n_slots; i++)
		if (service->slots[i].busy)
			return 1;
	return 0;
}

static void on_idle(void *userdata, struct slot *slot) {
	struct service *service = userdata;
	service_dispatch(service, slot->number);
	if (!service->resting || rest(slot) || is_resting(service))
		return;
	service->resting = 0;
	service->host->rested(service->host->userdata);
}

static void watch_set(struct service *service, int on);

static void on_ready(void *userdata) {
	struct service *service = userdata;
	unsigned n = service->ops->n_slots(service->driver);
	if (service->trouble)
		log_line(service->log, LOG_NOTICE, "%s works again", service_name(service, 0));
	service->trouble = STATUS_OK;
	service->detail[0] = 0;
	service->n_slots = n > DRIVER_MAX_SLOTS ? DRIVER_MAX_SLOTS : n;
	if (service->n_users)
		watch_set(service, 1);
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	struct service *service = userdata;
	/* What registration said already of the descriptors is not said again. */
	int said = why == STATUS_READER_BROKEN && service->description->error;
	if (service->trouble != why && !said) {
		const char *name = service_name(service, 0);
		if (detail)
			log_line(service->log, LOG_WARNING, "%s: %s: %s", name, status_text(why),
				detail);
		else
			log_line(service->log, LOG_WARNING, "%s: %s", name, status_text(why));
	}
	service->trouble = why;
	snprintf(service->detail, sizeof(service->detail), "%s", detail ? detail : "");
	for (unsigned i = 0; i < service->n_slots; i++)
		if (!service_is_ignored(service, i))
			slot_trouble(&service->slots[i], why);
}

static void on_advice(void *userdata, const char *text) {
	struct service *service = userdata;
	log_line(service->log, LOG_WARNING, "%s: %s", service_name(service, 0), text);
}

static void on_gone(void *userdata) {
	struct service *service = userdata;
	service->host->gone(service->host->userdata);
}

static void on_presence(void *userdata, unsigned slot, int present, enum driver_change change) {
	struct service *service = userdata;
	if (slot < service->n_slots && !service_is_ignored(service, slot))
		slot_presence(&service->slots[slot], present, change);
}

static int on_prepare(sd_event_source *source, void *userdata) {
	(void)source;
	service_flush(userdata);
	return 0;
}

static int on_never(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec, (void)userdata;
	return 0;
}

/* Flushes before each turn of the loop. A timer that never comes carries the call: unlike a deferred or
 * a post source it does not cost a turn of its own, half a microsecond of every command. */
static int flusher_start(struct service *service) {
	int r = sd_event_add_time(service->event, &service->flusher, CLOCK_MONOTONIC, UINT64_MAX, 0,
		on_never, service);
	return r < 0 ? r : sd_event_source_set_prepare(service->flusher, on_prepare);
}

int service_init(struct service *service, struct sd_event *event, const struct log *log,
	const struct service_host *host, const struct description *description) {
	*service = (struct service){
		.event = event,
		.host = host,
		.log = log,
		.description = description,
		.n_slots = 1,
	};
	service->slot_host = (struct slot_host){
		.userdata = service, .changed = on_changed, .lost = on_lost, .idle = on_idle
	};
	service->driver_host = (struct driver_host){
		.userdata = service,
		.ready = on_ready,
		.trouble = on_trouble,
		.advice = on_advice,
		.gone = on_gone,
		.presence = on_presence,
	};
	for (size_t i = 0; i < description->n_readers; i++)
		if (description->readers[i].slot >= service->n_slots &&
			description->readers[i].slot < DRIVER_MAX_SLOTS)
			service->n_slots = description->readers[i].slot + 1;
	for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++) {
		slot_init(&service->slots[i], i, event, &service->slot_host);
		lease_init(&service->leases[i]);
		if (service_is_ignored(service, i))
			slot_trouble(&service->slots[i], STATUS_READER_DETACHED);
	}
	return flusher_start(service);
}

int service_start(
	struct service *service, const struct driver_ops *ops, const struct driver_config *config) {
	service->ops = ops;
	int r = ops->init(config, service->event, &service->driver_host, &service->driver);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++)
		slot_attach(&service->slots[i], ops, service->driver);
	return 0;
}

int service_rest(struct service *service) {
	for (unsigned i = 0; i < service->n_slots; i++)
		(void)rest(&service->slots[i]);
	service->resting = is_resting(service);
	return service->resting;
}

void service_done(struct service *service) {
	/* What the driver's end brings back must not start anything anew. */
	for (unsigned i = 0; service->ops && i < DRIVER_MAX_SLOTS; i++)
		slot_trouble(&service->slots[i], STATUS_READER_GONE);
	if (service->ops)
		service->ops->free(service->driver);
	service->driver = NULL;
	for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++)
		slot_done(&service->slots[i]);
	sd_event_source_disable_unref(service->flusher);
	service->flusher = NULL;
}

void service_set_counter(struct service *service, uint16_t counter) {
	for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++)
		service->slots[i].counter = counter;
}

int service_told(struct service_told *told, const struct message_state *state) {
	const struct message_state *last = &told->state;
	if (last->presence == state->presence && last->flags == state->flags &&
		last->status == state->status && last->counter == state->counter &&
		last->protocol == state->protocol && last->event == state->event &&
		last->tail_len == state->tail_len &&
		memcmp(told->atr, state->tail, state->tail_len) == 0)
		return 1;
	told->state = *state;
	memcpy(told->atr, state->tail, state->tail_len);
	return 0;
}

/* Do watches know the slot's state? Most connects to a reader that is in use change nothing for them, and
 * each of them would be woken for it. */
static int watches_know(struct service *service, unsigned slot) {
	const struct session watch = { .service = service, .state = SESSION_WATCH };
	struct message_state state;
	session_get_state(&watch, slot, &state);
	return service_told(&service->told[slot], &state);
}

void service_publish(struct service *service, unsigned slot, int lock_only) {
	lock_only = lock_only || watches_know(service, slot);
	for (struct session *s = service->sessions; s; s = s->next)
		service->dirty |= session_mark(s, slot, lock_only);
}

void service_flush(struct service *service) {
	if (!service->dirty)
		return;
	service->dirty = 0;
	for (struct session *s = service->sessions; s; s = s->next)
		session_flush(s);
}

/* The queue is looked through from its head until nobody in it can go on. A session that goes on may
 * finish at once, change what the others wait for, and call us again: hence the mark. */
void service_dispatch(struct service *service, unsigned slot) {
	uint32_t mark = 1u << slot;
	if (service->dispatching & mark)
		return;
	service->dispatching |= mark;
	struct lease_holder *holder = service->leases[slot].waiting;
	while (holder) {
		if (session_try(session_of(holder)))
			holder = service->leases[slot].waiting;
		else
			holder = holder->next_waiting;
	}
	service->dispatching &= ~mark;
	for (struct session *s = service->n_asking ? service->sessions : NULL; s; s = s->next)
		session_try_watch(s);
}

void service_card_event(
	struct service *service, unsigned slot, unsigned event, const struct session *except) {
	for (struct session *s = service->sessions; s; s = s->next)
		if (s != except && s->state == SESSION_CARD && s->slot == slot)
			s->event = event;
	service_publish(service, slot, 1);
}

int service_known(const struct service *service) {
	for (unsigned i = 0; i < service->n_slots; i++)
		if (!slot_is_known(&service->slots[i]))
			return 0;
	return 1;
}

/* Readers that must be asked are asked only while somebody is there to whom it matters. */
static void watch_set(struct service *service, int on) {
	if (!service->driver || !service->ops->watch)
		return;
	for (unsigned i = 0; i < service->n_slots; i++)
		if (service->ops->watch(service->driver, i, on) && !service_is_ignored(service, i))
			slot_look(&service->slots[i]);
}

void service_use(struct service *service, int change) {
	unsigned before = service->n_users;
	service->n_users += (unsigned)change;
	if (!before == !service->n_users)
		return;
	watch_set(service, service->n_users != 0);
	service->host->used(service->host->userdata, service->n_users != 0);
}

int service_is_ignored(const struct service *service, unsigned slot) {
	const struct description *d = service->description;
	return d->ignored && !description_name(d, slot);
}

const char *service_name(const struct service *service, unsigned slot) {
	const char *name = description_name(service->description, slot);
	return name ? name : "reader";
}
