/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl list: the readers as applications see them, one on a line. Without -v this reads
 * descriptions and nothing else. With -v all handlers are asked at the same time, so that the whole
 * takes as long as the slowest, at most ANSWER_MS.
 */
#include <string.h>
#include <stdlib.h>

#include "ctl/card.h"
#include "ctl/deadline.h"
#include "ctl/peer.h"
#include "ctl/place.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/verb.h"
#include "wire/status.h"

enum {
	/* A handler that has just been started answers after 3 s at the latest
	 * (wire/PROTOCOL.md). */
	ANSWER_MS = 4000,
};

/* What a device's handler said; without -v nobody was asked. */
struct answer {
	struct peer peer;
	int r;
	uint16_t status;
};

static void answers_get(const struct readers *readers, struct answer *answers) {
	int64_t deadline_ms = deadline_in(ANSWER_MS);
	struct message_reply reply;
	for (size_t i = 0; i < readers->n; i++) {
		const struct readers_device *device = &readers->devices[i];
		struct answer *a = &answers[i];
		a->peer = PEER_CLOSED;
		if (readers_is_ignored(device))
			continue;
		a->r = peer_open(device->dir, device->instance, deadline_ms, &a->peer);
		if (a->r == 0)
			a->r = peer_send_watch(&a->peer);
	}
	for (size_t i = 0; i < readers->n; i++) {
		struct answer *a = &answers[i];
		if (readers_is_ignored(&readers->devices[i]))
			continue;
		if (a->r == 0)
			a->r = peer_await_watch(&a->peer, deadline_ms, &reply);
		if (a->r == 0)
			a->status = reply.status;
	}
}

/* In a word or two: the state of a slot, or why it is not known. */
static const char *answer_word(const struct answer *a, unsigned slot) {
	if (a->r == 0 && a->status == STATUS_OK && slot < a->peer.n_slots)
		return card_word(&a->peer.states[slot]);
	if (a->r == PEER_E_BYE)
		return status_text(a->peer.bye);
	return a->r < 0 ? "no answer" : status_text(a->status);
}

static const struct peer_state *answer_card(const struct answer *a, unsigned slot) {
	int known = a && a->r == 0 && a->status == STATUS_OK && slot < a->peer.n_slots &&
		a->peer.states[slot].atr_len;
	return known ? &a->peer.states[slot] : NULL;
}

static void slot_text(const struct readers_device *device, const struct description_reader *reader,
	const struct answer *a, size_t width) {
	char hex[CARD_MAX_HEX];
	const struct description *d = &device->description;
	const struct peer_state *card = answer_card(a, reader->slot);
	if (!a) {
		print_text(stdout, reader->name);
	} else {
		print_padded(stdout, reader->name, width + 2);
		print_padded(stdout, device->instance, 9);
		print_padded(stdout, d->driver ? d->driver : "-", 9);
		print_text(stdout, answer_word(a, reader->slot));
		printf("%s%s", card ? "  " : "", card ? card_atr(card, hex) : "");
	}
	if (d->error) {
		fputs(" (cannot be used: ", stdout);
		print_text(stdout, d->error);
		putchar(')');
	}
	putchar('\n');
}

static void slot_json(struct print *print, const struct readers_device *device,
	const struct description_reader *reader, const struct answer *a) {
	char hex[CARD_MAX_HEX];
	print_open(print, NULL, '{');
	print_string(print, "reader", reader->name);
	print_number(print, "slot", reader->slot);
	readers_print(print, device);
	if (a) {
		const struct peer_state *card = answer_card(a, reader->slot);
		print_string(print, "card", answer_word(a, reader->slot));
		print_string(print, "atr", card ? card_atr(card, hex) : NULL);
	}
	print_close(print);
}

/* Calls for each slot that applications see; a device without description counts as one slot. */
static void devices_print(const struct readers *readers, const struct answer *answers, size_t width,
	struct print *print) {
	for (size_t i = 0; i < readers->n; i++) {
		const struct readers_device *device = &readers->devices[i];
		const struct description_reader only = { .slot = 0, .name = device->instance };
		const struct description_reader *slots =
			device->known ? device->description.readers : &only;
		size_t n_slots = device->known ? device->description.n_readers : 1;
		for (size_t k = 0; k < n_slots; k++) {
			const struct answer *a = answers ? &answers[i] : NULL;
			if (readers_is_hidden(readers, device, slots[k].name))
				continue;
			if (print)
				slot_json(print, device, &slots[k], a);
			else
				slot_text(device, &slots[k], a, width);
		}
	}
}

static size_t longest_name(const struct readers *readers) {
	size_t longest = 0;
	for (size_t i = 0; i < readers->n; i++) {
		const struct description *d = &readers->devices[i].description;
		for (size_t k = 0; k < d->n_readers; k++)
			if (strlen(d->readers[k].name) > longest)
				longest = strlen(d->readers[k].name);
	}
	return longest;
}

/* Are there only readers that registration has left out? */
static int is_empty(const struct readers *readers) {
	for (size_t i = 0; i < readers->n; i++)
		if (!readers_is_ignored(&readers->devices[i]))
			return 0;
	return 1;
}

/* An empty list has a reason more often than not. */
static void say_why_empty(const struct readers *readers) {
	struct place place;
	struct readers detached;
	for (size_t i = 0; i < readers->n; i++)
		print_error(0, "reader %s is not listed: %s", readers->devices[i].instance,
			readers->devices[i].description.ignored);
	for (size_t i = 0; i < readers->path.n_dirs; i++) {
		place_of(readers->path.dirs[i], &place);
		if (place_is_shut(&place)) {
			print_error(0,
				"no readers: they are shut down; reader-ctl init brings them back");
			return;
		}
		if (readers_load_detached(place.dir, &detached) < 0)
			continue;
		for (size_t k = 0; k < detached.n; k++)
			print_error(0, "%s is detached; reader-ctl attach %s brings it back",
				readers_name(&detached.devices[k]), detached.devices[k].instance);
		readers_done(&detached);
	}
	print_error(0, "no readers");
}

int list_run(const struct arguments *arguments) {
	struct readers readers;
	struct answer *answers = NULL;
	if (readers_load(arguments->verbose ? READERS_ASK : READERS_LOOK_ONLY, &readers) < 0)
		return EXIT_FAILED;
	if (arguments->verbose) {
		answers = calloc(readers.n + 1, sizeof(*answers));
		if (!answers) {
			readers_done(&readers);
			return print_error(EXIT_FAILED, "out of memory");
		}
		answers_get(&readers, answers);
	}
	struct print print = { .out = stdout };
	if (arguments->json)
		print_open(&print, NULL, '[');
	devices_print(&readers, answers, longest_name(&readers), arguments->json ? &print : NULL);
	if (arguments->json)
		print_close(&print);
	else if (is_empty(&readers))
		say_why_empty(&readers);
	for (size_t i = 0; answers && i < readers.n; i++)
		peer_close(&answers[i].peer);
	free(answers);
	readers_done(&readers);
	return EXIT_OK;
}
