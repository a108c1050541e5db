/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl status: one reader in depth, or all. The handler is asked to watch first, because that
 * waits until it knows its card; then for its text. What systemd and /proc know is put beside it. A
 * reader whose handler cannot be asked is still shown, with the reason.
 */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "ctl/card.h"
#include "ctl/deadline.h"
#include "ctl/holders.h"
#include "ctl/inspection.h"
#include "ctl/peer.h"
#include "ctl/place.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/stop.h"
#include "ctl/unit.h"
#include "ctl/verb.h"
#include "wire/status.h"

enum {
	/* A handler that has just been started answers after 3 s at the latest
	 * (wire/PROTOCOL.md). */
	ANSWER_MS = 4000,
	LABEL_WIDTH = 16,
};

/* All that is said of one device. */
struct report {
	const struct readers_device *device;
	struct print *print; /* NULL: text for people */
	struct inspection inspection;
	int inspected;
	char unit[UNIT_MAX_NAME];
	struct unit_state state;
	int has_unit;
	pid_t handler; /* 0 = not known */
};

/* ---- pieces of text ---- */

static void label(const char *key, unsigned indent) {
	printf("%*s", (int)indent, "");
	print_padded(stdout, key, LABEL_WIDTH - 1);
	putchar(' ');
}

static void fact(const char *key, const char *value) {
	if (!value)
		return;
	label(key, 4);
	print_text(stdout, value);
	putchar('\n');
}

static int is_yes(const char *value) {
	return value && strcmp(value, "yes") == 0;
}

/* ---- device and unit ---- */

static void device_text(const struct report *report) {
	const struct description *d = &report->device->description;
	label("instance", 4);
	print_text(stdout, report->device->instance);
	const char *const facts[][2] = { { ", ", d->device }, { ", id ", d->id },
		{ ", serial ", d->serial }, { ", port ", d->by_path } };
	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		if (facts[i][1]) {
			fputs(facts[i][0], stdout);
			print_text(stdout, facts[i][1]);
		}
	putchar('\n');
	fact("driver", d->driver);
	fact("error", d->error);
	fact("not listed", d->ignored);
}

static void unit_text(const struct report *report) {
	const struct unit_state *s = &report->state;
	label("unit", 4);
	printf("%s %s (%s)", report->unit, s->active, s->sub);
	if (s->main_pid)
		printf(", pid %d", (int)s->main_pid);
	if (s->n_restarts)
		printf(", restarted %u times", s->n_restarts);
	if (s->result[0] && strcmp(s->result, "success") != 0)
		printf(", last result %s", s->result);
	if (s->masked)
		fputs(", masked for this life of the device", stdout);
	putchar('\n');
}

static void unit_json(const struct report *report) {
	const struct unit_state *s = &report->state;
	print_open(report->print, "unit", '{');
	print_string(report->print, "name", report->unit);
	print_string(report->print, "active", s->active);
	print_string(report->print, "sub", s->sub);
	print_string(report->print, "result", s->result);
	if (s->main_pid)
		print_number(report->print, "pid", s->main_pid);
	print_number(report->print, "restarts", s->n_restarts);
	print_flag(report->print, "masked", s->masked);
	print_close(report->print);
}

/* A reader of the system has a unit where systemd runs. After the handler was asked: that starts it. */
static void unit_look(struct report *report) {
	struct unit_manager *manager;
	struct place place;
	place_of(report->device->dir, &place);
	if (!place.managed || unit_open(&manager) < 0)
		return;
	stop_unit_name(report->device, "service", report->unit, sizeof(report->unit));
	report->has_unit = unit_get_state(manager, report->unit, &report->state) == 0;
	unit_close(manager);
}

/* ---- who has the device ---- */

static void holder_found(const struct holders_process *process, void *userdata) {
	const struct report *report = userdata;
	char user[64];
	holders_user(process->uid, user, sizeof(user));
	if (report->print) {
		print_open(report->print, NULL, '{');
		print_number(report->print, "pid", process->pid);
		print_string(report->print, "program", process->program);
		print_string(report->print, "user", user);
		print_close(report->print);
		return;
	}
	label("opened by", 4);
	print_text(stdout, process->program);
	printf(" (pid %d, %s)\n", (int)process->pid, user);
}

/* While the reader is in trouble, and as root: others cannot look. */
static void holders_report(struct report *report) {
	const char *node = report->device->description.device;
	pid_t own = report->state.main_pid ? report->state.main_pid : report->handler;
	if (!report->inspected || !inspection_get(report->inspection.sections, "trouble") || !node)
		return;
	if (geteuid() != 0) {
		if (!report->print)
			fact("opened by", "root can see that: sudo reader-ctl status");
		return;
	}
	if (report->print)
		print_open(report->print, "opened-by", '[');
	(void)holders_find(node, own, holder_found, report);
	if (report->print)
		print_close(report->print);
}

/* ---- clients ---- */

static double seconds(const char *text) {
	return text ? strtod(text, NULL) : 0;
}

/* The unit that a client runs in: the desktop's name for an application. Freed by the caller. */
static char *client_unit(const struct inspection_section *client) {
	char *unit = NULL;
	long pid = strtol(client->facts[0].value, NULL, 10);
	if (pid > 0 &&
		(sd_pid_get_user_unit((pid_t)pid, &unit) >= 0 ||
			sd_pid_get_unit((pid_t)pid, &unit) >= 0))
		return unit;
	return NULL;
}

static void client_user(const struct inspection_section *client, char *buf, size_t size) {
	const char *uid = inspection_get(client, "uid");
	char *end;
	unsigned long number = uid ? strtoul(uid, &end, 10) : 0;
	if (uid && *uid && !*end)
		holders_user((uid_t)number, buf, size);
	else
		snprintf(buf, size, "?");
}

static void client_text(const struct inspection_section *client) {
	const char *program = inspection_get(client, "program");
	const char *share = inspection_get(client, "share");
	const char *depth = inspection_get(client, "transactions");
	const char *waiting = inspection_get(client, "waiting");
	const char *running = inspection_get(client, "running");
	char user[64], *unit = client_unit(client);
	client_user(client, user, sizeof(user));
	label("client", 4);
	print_text(stdout, program ? program : "?");
	fputs(" (pid ", stdout);
	print_text(stdout, client->facts[0].value);
	printf(", %s", user);
	if (unit) {
		fputs(", ", stdout);
		print_text(stdout, unit);
	}
	fputs(") ", stdout);
	print_text(stdout, share ? share : "?");
	printf(" for %.1f s", seconds(inspection_get(client, "age")));
	if (depth && strcmp(depth, "0") != 0)
		printf(", in a transaction for %.1f s",
			seconds(inspection_get(client, "transaction-age")));
	if (waiting || running) {
		fputs(waiting ? ", waits for the card with " : ", runs ", stdout);
		print_text(stdout, waiting ? waiting : running);
	}
	putchar('\n');
	free(unit);
}

/* Facts as the handler has them: numbers stay text, so that nothing is lost. */
static void facts_json(struct print *print, const struct inspection_section *section) {
	for (size_t i = 0; i < section->n_facts; i++) {
		const char *key = section->facts[i].key;
		int is_first = inspection_get(section, key) == section->facts[i].value;
		/* a key of the driver's own that was there before would make the object
		 * ambiguous */
		char again[64];
		snprintf(again, sizeof(again), "driver-%s", key);
		print_string(print, is_first ? key : again, section->facts[i].value);
	}
}

static void client_json(struct print *print, const struct inspection_section *client) {
	char user[64], *unit = client_unit(client);
	client_user(client, user, sizeof(user));
	print_open(print, NULL, '{');
	facts_json(print, client);
	print_string(print, "user", user);
	print_string(print, "unit", unit);
	print_close(print);
	free(unit);
}

/* ---- slots ---- */

/* The facts that slot_text puts in words of its own. */
static int is_told(const struct inspection_section *slot, const struct inspection_fact *f) {
	static const char *const told[] = { "slot", "name", "card", "trouble", "atr", "powered",
		"protocol", "events", "grace" };
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (strcmp(f->key, told[i]) == 0)
			return inspection_get(slot, f->key) == f->value;
	return 0;
}

/* What becomes of the card's power when nobody uses it. */
static void grace_text(const char *grace) {
	if (!grace)
		return;
	label("power", 4);
	if (strcmp(grace, "0") == 0) {
		puts("kept, however long nobody uses the card");
		return;
	}
	fputs("off ", stdout);
	print_text(stdout, grace);
	puts(" s after the last use");
}

static void slot_text(const struct inspection_section *slot, int heading) {
	const char *card = inspection_get(slot, "card"), *atr = inspection_get(slot, "atr");
	const char *trouble = inspection_get(slot, "trouble");
	const char *protocol = inspection_get(slot, "protocol");
	uint8_t bytes[WIRE_MAX_ATR];
	if (heading) {
		fputs("  ", stdout);
		print_text(stdout, inspection_get(slot, "name"));
		putchar('\n');
	}
	label("card", 4);
	print_text(stdout, trouble ? trouble : card);
	if (is_yes(inspection_get(slot, "powered"))) {
		fputs(", powered", stdout);
		if (protocol && strcmp(protocol, "none") != 0) {
			fputs(", ", stdout);
			print_text(stdout, protocol);
		}
	}
	putchar('\n');
	fact("ATR", atr);
	size_t len = atr ? card_atr_bytes(atr, bytes) : 0;
	if (len)
		card_explain(stdout, bytes, len, 4 + LABEL_WIDTH);
	grace_text(inspection_get(slot, "grace"));
	for (size_t i = 0; i < slot->n_facts; i++)
		if (!is_told(slot, &slot->facts[i]))
			fact(slot->facts[i].key, slot->facts[i].value);
}

static void slot_json(struct print *print, const struct inspection *in, size_t at) {
	const struct inspection_section *slot = &in->sections[at];
	const char *atr = inspection_get(slot, "atr");
	uint8_t bytes[WIRE_MAX_ATR];
	size_t len = atr ? card_atr_bytes(atr, bytes) : 0;
	print_open(print, NULL, '{');
	facts_json(print, slot);
	if (len) {
		print_open(print, "atr-explained", '{');
		card_explain_json(print, bytes, len);
		print_close(print);
	}
	print_open(print, "clients", '[');
	for (at++; at < in->n_sections && in->sections[at].kind == INSPECTION_CLIENT; at++)
		client_json(print, &in->sections[at]);
	print_close(print);
	print_close(print);
}

static void sections_report(const struct report *report) {
	const struct inspection *in = &report->inspection;
	int several = report->device->description.n_readers > 1;
	if (report->print)
		print_open(report->print, "slots", '[');
	else
		fact("trouble", inspection_get(in->sections, "detail"));
	for (size_t i = 1; i < in->n_sections; i++) {
		int is_slot = in->sections[i].kind == INSPECTION_SLOT;
		if (!report->print && is_slot)
			slot_text(&in->sections[i], several);
		else if (!report->print)
			client_text(&in->sections[i]);
		else if (is_slot)
			slot_json(report->print, in, i);
	}
	if (report->print)
		print_close(report->print);
}

/* ---- one device ---- */

/* Asks the handler. 0, or the exit code after saying why. */
static int handler_ask(struct report *report) {
	const struct readers_device *device = report->device;
	int64_t deadline_ms = deadline_in(ANSWER_MS);
	struct message_reply reply = { 0 };
	struct peer peer;
	int r = peer_open(device->dir, device->instance, deadline_ms, &peer);
	if (r == 0)
		r = peer_hello(&peer, deadline_ms, NULL);
	if (r == 0)
		r = peer_watch(&peer, deadline_ms, &reply);
	/* trouble of the reader is what INSPECT tells of */
	if (r == 0)
		r = peer_inspect(&peer, deadline_ms, &reply);
	report->handler = peer.pid;
	if (r == 0 && reply.status == STATUS_OK)
		r = inspection_parse(reply.tail, reply.tail_len, &report->inspection);
	if (r != 0 || reply.status != STATUS_OK) {
		r = peer_error(&peer, readers_name(device), r, reply.status);
	} else {
		report->inspected = 1;
		r = inspection_get(report->inspection.sections, "trouble") ? EXIT_TROUBLE : 0;
	}
	peer_close(&peer);
	return r;
}

static void report_print(struct report *report) {
	const struct description *d = &report->device->description;
	if (report->print) {
		print_open(report->print, NULL, '{');
		print_string(report->print, "reader", readers_name(report->device));
		readers_print(report->print, report->device);
		if (report->has_unit)
			unit_json(report);
		print_flag(report->print, "answered", report->inspected);
		if (report->inspected) {
			print_open(report->print, "handler", '{');
			facts_json(report->print, report->inspection.sections);
			print_close(report->print);
		}
		holders_report(report);
		if (report->inspected)
			sections_report(report);
		print_close(report->print);
		return;
	}
	print_text(stdout, readers_name(report->device));
	if (d->n_readers > 1)
		printf(" and %zu more slots", d->n_readers - 1);
	putchar('\n');
	device_text(report);
	if (report->has_unit)
		unit_text(report);
	holders_report(report);
	if (report->inspected)
		sections_report(report);
}

static int device_report(const struct readers_device *device, struct print *print) {
	struct report report = { .device = device, .print = print };
	int r = readers_is_ignored(device) ? 0 : handler_ask(&report);
	unit_look(&report);
	report_print(&report);
	if (report.inspected)
		inspection_done(&report.inspection);
	return r;
}

static int devices_report(
	const struct readers *readers, const struct arguments *arguments, struct print *print) {
	const struct readers_device *device;
	int worst = EXIT_OK;
	for (int i = 0; i < arguments->n_words; i++) {
		int r = readers_find(readers, arguments->words[i], READERS_DEVICE, &device, NULL);
		if (r == 0)
			r = device_report(device, print);
		worst = worst ? worst : r;
	}
	for (size_t i = 0; arguments->n_words == 0 && i < readers->n; i++) {
		int r = device_report(&readers->devices[i], print);
		worst = worst ? worst : r;
	}
	return worst;
}

static void detached_report(const struct readers *readers) {
	struct readers detached;
	for (size_t i = 0; i < readers->path.n_dirs; i++) {
		if (readers_load_detached(readers->path.dirs[i], &detached) < 0)
			continue;
		for (size_t k = 0; k < detached.n; k++) {
			print_text(stdout, readers_name(&detached.devices[k]));
			printf("\n    detached        reader-ctl attach %s brings it back\n",
				detached.devices[k].instance);
		}
		readers_done(&detached);
	}
}

int status_run(const struct arguments *arguments) {
	struct readers readers;
	struct print print = { .out = stdout };
	if (readers_load(READERS_ASK, &readers) < 0)
		return EXIT_FAILED;
	if (arguments->json)
		print_open(&print, NULL, '[');
	int r = devices_report(&readers, arguments, arguments->json ? &print : NULL);
	if (arguments->json)
		print_close(&print);
	else if (!arguments->n_words)
		detached_report(&readers);
	readers_done(&readers);
	return r;
}
