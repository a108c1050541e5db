/* SPDX-License-Identifier: MIT */
/*
 * Commands to the emulation, one a line (README, "Commands").
 *
 * Every command is answered by lines of text and then "ok" or "error: …". Only `wait` and `sleep`
 * leave the client without an answer for a while; the loop comes back to them. Text is gathered
 * while the lock is held, and written after.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/model/bed.h"
#include "tests/model/text.h"

/* A command under work; `rest` are the words not yet looked at. */
struct call {
	struct bed *bed;
	struct bed_client *client;
	struct bed_device *device;
	char *rest;
	FILE *out;
};

int control_card(struct bed_device *device, unsigned slot, const char *spec, uint64_t now) {
	struct card *card = NULL;
	if (slot >= reader_n_slots(device->reader))
		return -EINVAL;
	int r = strcmp(spec, "none") != 0 ? card_new(spec, &card) : 0;
	if (r)
		return r;
	if (card && spec != device->cards[slot]) {
		if (strlen(spec) >= sizeof device->cards[slot]) {
			card_free(card);
			return -EINVAL;
		}
		strcpy(device->cards[slot], spec);
	}
	return reader_card(device->reader, slot, card, now);
}

static int number_word(struct call *call, unsigned max, unsigned *ret_value) {
	const char *word = text_word(&call->rest);
	return word ? text_number(word, max, ret_value) : -EINVAL;
}

static int call_plug(struct call *call) {
	int r = bed_plug(call->bed, call->device);
	if (!r)
		fprintf(call->out, "node=%s\n", call->device->node);
	return r;
}

static int call_unplug(struct call *call) {
	if (!call->device->plugged)
		return -EALREADY;
	bed_unplug(call->bed, call->device);
	return 0;
}

static int call_node(struct call *call) {
	if (call->device->plugged && call->bed->ops->node)
		call->bed->ops->node(call->bed, call->device);
	fprintf(call->out, "node=%s\n", call->device->node);
	return 0;
}

static int call_card(struct call *call) {
	struct bed_device *device = call->device;
	unsigned slot;
	if (number_word(call, READER_MAX_SLOTS - 1, &slot) ||
		slot >= reader_n_slots(device->reader))
		return -EINVAL;
	const char *how = text_word(&call->rest), *spec = text_word(&call->rest);
	if (!how)
		return -EINVAL;
	uint64_t now = bed_now();
	int in = reader_card_in(device->reader, slot) != NULL;
	if (!strcmp(how, "out"))
		return control_card(device, slot, "none", now);
	if (strcmp(how, "in") != 0 && strcmp(how, "swap") != 0)
		return -EINVAL;
	if (!spec && in && !strcmp(how, "in"))
		return 0;
	int r = control_card(device, slot, spec ? spec : device->cards[slot], now);
	return r;
}

static int call_fault(struct call *call) {
	return reader_fault(call->device->reader, call->rest, bed_now());
}

static int call_pin(struct call *call) {
	return reader_pin(call->device->reader, call->rest);
}

/* What the card got of a PIN: nobody else may have seen it. */
static int call_seen(struct call *call) {
	unsigned slot;
	if (number_word(call, READER_MAX_SLOTS - 1, &slot))
		return -EINVAL;
	const struct card *card = reader_card_in(call->device->reader, slot);
	if (!card)
		return -ENOENT;
	fprintf(call->out, "commands=%u\ntries=%u\napdu=", card->pin.n_seen, card->pin.tries);
	for (size_t i = 0; i < card->pin.seen_len; i++)
		fprintf(call->out, "%02x", card->pin.seen[i]);
	fprintf(call->out, "%s\n", card->pin.seen_len ? "" : "-");
	return 0;
}

static int call_faults(struct call *call) {
	const char *word = text_word(&call->rest);
	if (!word || strcmp(word, "clear") != 0)
		return -EINVAL;
	reader_faults_clear(call->device->reader);
	return 0;
}

static int call_interrupt(struct call *call) {
	uint8_t bytes[MODEL_MAX_RAW];
	size_t len;
	unsigned slot;
	if (number_word(call, READER_MAX_SLOTS - 1, &slot) ||
		text_hex(call->rest, bytes, sizeof bytes, &len))
		return -EINVAL;
	return reader_interrupt(call->device->reader, slot, bytes, len, bed_now());
}

static int call_claim(struct call *call) {
	const char *word = text_word(&call->rest);
	if (!word || (strcmp(word, "on") != 0 && strcmp(word, "off") != 0))
		return -EINVAL;
	if (!call->bed->ops->claim)
		return -ENOTSUP;
	return call->bed->ops->claim(call->bed, call->device, !strcmp(word, "on"));
}

static int resume(struct call *call, int dead) {
	if (!call->bed->ops->resume)
		return -ENOTSUP;
	if (!call->device->plugged)
		return -ENODEV;
	return call->bed->ops->resume(call->bed, call->device, dead);
}

static int call_resume(struct call *call) {
	return resume(call, 0);
}

static int call_nodev(struct call *call) {
	return resume(call, 1);
}

static int call_count(struct call *call) {
	char buf[64];
	const char *name, *word = text_word(&call->rest);
	unsigned long value;
	struct reader *reader = call->device->reader;
	if (word && strcmp(word, "reset") != 0)
		return -EINVAL;
	for (size_t i = 0; (name = reader_counter_name(reader, i, buf, sizeof buf)); i++)
		if (!reader_counter(reader, name, &value))
			fprintf(call->out, "%s=%lu\n", name, value);
	if (word)
		reader_counters_reset(reader);
	return 0;
}

static int call_trace(struct call *call) {
	for (const char *line; (line = reader_trace_next(call->device->reader));)
		fprintf(call->out, "%s\n", line);
	return 0;
}

static int call_violations(struct call *call) {
	const char *line;
	for (size_t i = 0; (line = reader_violation_line(call->device->reader, i)); i++)
		fprintf(call->out, "%s\n", line);
	return 0;
}

/* EINPROGRESS: the client waits. */
static int call_wait(struct call *call) {
	struct bed_client *client = call->client;
	const char *key = text_word(&call->rest);
	unsigned value, ms = 5000; /* chosen */
	unsigned long now_is;
	if (!key || number_word(call, UINT32_MAX, &value))
		return -EINVAL;
	const char *limit = text_word(&call->rest);
	if ((limit && text_number(limit, UINT32_MAX, &ms)) || strlen(key) >= sizeof client->counter)
		return -EINVAL;
	int r = reader_counter(call->device->reader, key, &now_is);
	if (r || now_is >= value)
		return r;
	strcpy(client->counter, key);
	client->device = call->device;
	client->value = value;
	client->until = bed_now() + (uint64_t)ms * 1000;
	client->waiting = 1;
	return -EINPROGRESS;
}

static int call_sleep(struct call *call) {
	struct bed_client *client = call->client;
	unsigned ms;
	if (number_word(call, UINT32_MAX, &ms))
		return -EINVAL;
	*client->counter = 0;
	client->until = bed_now() + (uint64_t)ms * 1000;
	client->waiting = 1;
	return -EINPROGRESS;
}

static int call_quit(struct call *call) {
	call->bed->quit = 1;
	return 0;
}

/* `unlocked`: takes the lock itself. */
static const struct {
	const char *name;
	int (*run)(struct call *call);
	int needs_device, unlocked;
} CALLS[] = {
	{ "plug", call_plug, 1, 1 },
	{ "unplug", call_unplug, 1, 1 },
	{ "node", call_node, 1, 1 },
	{ "card", call_card, 1, 0 },
	{ "fault", call_fault, 1, 0 },
	{ "faults", call_faults, 1, 0 },
	{ "pin", call_pin, 1, 0 },
	{ "seen", call_seen, 1, 0 },
	{ "interrupt", call_interrupt, 1, 0 },
	{ "claim", call_claim, 1, 0 },
	{ "resume", call_resume, 1, 0 },
	{ "nodev", call_nodev, 1, 0 },
	{ "count", call_count, 1, 0 },
	{ "wait", call_wait, 1, 0 },
	{ "trace", call_trace, 1, 0 },
	{ "violations", call_violations, 1, 0 },
	{ "sleep", call_sleep, 0, 0 },
	{ "quit", call_quit, 0, 1 },
};

static int run(struct call *call, const char *name) {
	for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
		if (strcmp(name, CALLS[i].name) != 0)
			continue;
		unsigned number;
		if (CALLS[i].needs_device) {
			if (number_word(call, BED_MAX_DEVICES, &number) ||
				number >= call->bed->n_devices)
				return -ENODEV;
			call->device = &call->bed->devices[number];
		}
		if (CALLS[i].unlocked)
			return CALLS[i].run(call);
		pthread_mutex_lock(&call->bed->lock);
		int r = CALLS[i].run(call);
		if (call->device && call->device->plugged)
			call->bed->ops->pump(call->bed, call->device);
		pthread_mutex_unlock(&call->bed->lock);
		return r;
	}
	return -EINVAL;
}

static void answer(const struct bed_client *client, const char *text, size_t len) {
	while (len) {
		ssize_t n = write(client->out, text, len);
		if (n <= 0)
			return; /* gone: reading will tell */
		text += n;
		len -= (size_t)n;
	}
}

static void answer_result(const struct bed_client *client, int r) {
	char line[128];
	int n = r ? snprintf(line, sizeof line, "error: %s\n", strerror(-r))
		  : snprintf(line, sizeof line, "ok\n");
	answer(client, line, (size_t)n);
}

void control_line(struct bed *bed, struct bed_client *client, char *line) {
	char *text = NULL;
	size_t len = 0;
	char *rest = line;
	const char *name = text_word(&rest);
	if (!name || *name == '#')
		return;
	struct call call = {
		.bed = bed, .client = client, .rest = rest, .out = open_memstream(&text, &len)
	};
	if (!call.out) {
		answer_result(client, -ENOMEM);
		return;
	}
	int r = run(&call, name);
	fclose(call.out);
	answer(client, text, len);
	free(text);
	if (r != -EINPROGRESS)
		answer_result(client, r);
}

void control_wait(struct bed *bed, struct bed_client *client, uint64_t now) {
	unsigned long value = 0;
	int reached = 0;
	if (*client->counter) {
		pthread_mutex_lock(&bed->lock);
		reached = !reader_counter(client->device->reader, client->counter, &value) &&
			value >= client->value;
		pthread_mutex_unlock(&bed->lock);
	}
	if (!reached && now < client->until)
		return;
	client->waiting = 0;
	answer_result(client, reached || !*client->counter ? 0 : -ETIMEDOUT);
}
