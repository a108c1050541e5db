/* SPDX-License-Identifier: MIT */
/*
 * Who holds my card? The handler knows without asking anybody: its sessions. The text is one line
 * per fact, key=value, in the order device, slot, its clients; nothing of what a card was sent is in it.
 */
#include "ifdhandler/inspect.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ifdhandler/program.h"

struct text {
	char *buf;
	size_t size, len;
};

/* Appends one line, or nothing where it does not fit. */
__attribute__((format(printf, 2, 3))) static void line(struct text *t, const char *format, ...) {
	size_t room = t->size - t->len;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(t->buf + t->len, room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n + 1 >= room) {
		t->buf[t->len] = 0;
		return;
	}
	t->len += (size_t)n;
	t->buf[t->len++] = '\n';
	t->buf[t->len] = 0;
}

static double age(uint64_t since_usec) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9 - (double)since_usec / 1e6;
}

static const char *presence_name(const struct slot *slot) {
	switch (slot->presence) {
	case PRESENCE_ABSENT: return "absent";
	case PRESENCE_PRESENT: return "present";
	case PRESENCE_MUTE: return "mute";
	default: return "unknown";
	}
}

static const char *share_name(unsigned share) {
	switch (share) {
	case 0: return "watching";
	case SHARE_EXCLUSIVE: return "exclusive";
	case SHARE_DIRECT: return "direct";
	default: return "shared";
	}
}

static void client_text(struct text *t, const struct session *s) {
	char program[PROGRAM_NAME_SIZE] = "?";
	if (!s->ended) /* else the number may be another's by now */
		program_name(s->client.pid, program);
	line(t, "client=%d", (int)s->client.pid);
	line(t, "uid=%u", (unsigned)s->client.uid);
	line(t, "program=%s", program);
	line(t, "share=%s", share_name(s->holder.share));
	line(t, "age=%.1f", age(s->since_usec));
	line(t, "transactions=%u", s->holder.depth);
	if (s->holder.depth)
		line(t, "transaction-age=%.1f", age(s->locked_usec));
	if (s->holder.waiting)
		line(t, "waiting=%s", message_name(s->request.type));
	else if (s->running)
		line(t, "running=%s", message_name(s->request.type));
}

static void slot_text(struct text *t, const struct service *service, unsigned number) {
	const struct slot *slot = &service->slots[number];
	char hex[3 * DRIVER_MAX_ATR + 1] = "";
	for (size_t i = 0; i < slot->atr_len; i++)
		snprintf(hex + 3 * i, 4, "%02X ", slot->atr[i]);
	if (slot->atr_len)
		hex[3 * slot->atr_len - 1] = 0;
	line(t, "slot=%u", number);
	line(t, "name=%s", service_name(service, number));
	line(t, "card=%s", presence_name(slot));
	if (slot->presence == PRESENCE_UNKNOWN)
		line(t, "trouble=%s", status_text(slot->status));
	if (slot->atr_len)
		line(t, "atr=%s", hex);
	line(t, "powered=%s", slot->powered ? "yes" : "no");
	line(t, "protocol=%s",
		slot->protocol == PROTOCOL_T0           ? "T=0"
			: slot->protocol == PROTOCOL_T1 ? "T=1"
							: "none");
	line(t, "events=%u", slot->counter);
	line(t, "grace=%u", (unsigned)(slot->grace_usec / 1000000));
	char *at = t->buf + t->len;
	size_t room = t->size - t->len;
	if (service->driver && service->ops->describe && room > 1)
		t->len += service->ops->describe(service->driver, number, at, room);
}

/* Is `s` a client of slot `number` that `asker` may know of? */
static int is_shown(const struct session *s, unsigned number, const struct session *asker) {
	int here = s->state == SESSION_WATCH || (s->state == SESSION_CARD && s->slot == number);
	return here && s != asker && (asker->client.admin || s->client.uid == asker->client.uid);
}

/* Who holds the card comes first: what does not fit is left out. */
static void clients_text(struct text *t, const struct session *asker, unsigned number) {
	const struct service *service = asker->service;
	const struct lease_holder *owner = service->leases[number].owner;
	for (int turn = 0; turn < 3; turn++)
		for (const struct session *s = service->sessions; s; s = s->next) {
			int rank = &s->holder == owner ? 0 : s->state == SESSION_CARD ? 1 : 2;
			if (rank == turn && is_shown(s, number, asker))
				client_text(t, s);
		}
}

size_t inspect_text(const struct session *asker, char *buf, size_t size) {
	const struct service *service = asker->service;
	struct text t = { buf, size, 0 };
	buf[0] = 0;
	line(&t, "driver=%s", service->ops ? service->ops->name : "none");
	line(&t, "connections=%u", service->n_sessions);
	if (service->trouble) {
		line(&t, "trouble=%s", status_text(service->trouble));
		line(&t, "detail=%s", service->detail);
	}
	for (unsigned i = 0; i < service->n_slots; i++) {
		if (service_is_ignored(service, i))
			continue;
		slot_text(&t, service, i);
		clients_text(&t, asker, i);
	}
	return t.len;
}
