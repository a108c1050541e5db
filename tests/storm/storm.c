/* SPDX-License-Identifier: MIT */
/*
 * The fault storm: seeded sequences of faults over the emulated readers, against the real slots and
 * the real driver, in virtual time; each seed does the same each time.
 *
 *   storm [-v] [SEED [N]]     without arguments: the 10000 seeds of the test, by model
 *
 * Of every seed: each operation ends once, and in time; an answer is the right one, or there is none;
 * the host keeps the rules; once the faults are over, every slot gives a right answer within a bound;
 * and when nobody uses the reader any more, nothing is sent to it, and nothing is left of it.
 */
#include "tests/storm/storm.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "tests/storm/virtual-time.h"

enum {
	N_SEEDS = 10000,
	MAX_STEPS = 1000000, /* of one seed: chosen, far beyond what one needs */
	/* Until all operations of a storm have ended. */
	STORM_S = 200000,
	/* From the end of the faults to a right answer in every slot: a reader that was given up is
	 * tried again after 10 s at most, and may be slow to begin with (3 s, twice 1 s). */
	RECOVERY_S = 20,
	QUIET_S = 30, /* the grace time of cards, and what is left of commands */
	IDLE_S = 100,
};

static const char *const models[] = { "generic-ext-apdu", "generic-short-apdu", "generic-tpdu",
	"generic-tpdu-autopps", "tpdu-auto-parameters", "tpdu-no-interrupt", "character",
	"ext-apdu-chaining", "ext-apdu-64", "two-slots", "eight-slots", "two-interfaces",
	"zlp-always", "zlp-never", "low-packets", "behind-endpoints", "gempc-twin", "gempc-433",
	"scr3310", "lying-descriptor", "iccd-a", "iccd-a-egate", "iccd-b-ext", "iccd-b-interrupt",
	"pinpad-tpdu" };

/* What has been done, to see that a storm is one. */
struct totals {
	unsigned long ops, right, failed, blows;
};

enum { N_MODELS = sizeof(models) / sizeof(*models) };

unsigned storm_draw(struct storm *storm, unsigned n) {
	storm->chance = storm->chance * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((storm->chance >> 33) % n);
}

void storm_wrong(struct storm *storm, const char *format, ...) {
	va_list args;
	char text[sizeof(storm->wrong)];
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	storm_say(storm, "WRONG: %s", text);
	if (!storm->wrong[0])
		memcpy(storm->wrong, text, sizeof(text));
}

void storm_say(const struct storm *storm, const char *format, ...) {
	va_list args;
	if (!storm->verbose)
		return;
	uint64_t now = virtual_now();
	(void)fprintf(stderr, "%llu.%06llu ", (unsigned long long)now / 1000000,
		(unsigned long long)now % 1000000);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

/* ---- the handler's side ---- */

static void on_ready(void *userdata) {
	struct storm *storm = userdata;
	storm_say(storm, "ready");
	storm->ready = 1;
	if (storm->gone || driver_ccid.n_slots(storm->driver) != storm->n_slots)
		storm_wrong(storm, "ready with %u slots", driver_ccid.n_slots(storm->driver));
	for (unsigned i = 0; i < storm->n_slots; i++)
		if (storm->clients[i].watches && driver_ccid.watch(storm->driver, i, 1))
			slot_look(&storm->slots[i]);
}

static void trouble_all(struct storm *storm, enum status why) {
	for (unsigned i = 0; i < storm->n_slots; i++) {
		if (storm->clients[i].does != CLIENT_RESTS)
			storm_wrong(storm, "slot %u: trouble before its operation has ended", i);
		slot_trouble(&storm->slots[i], why);
	}
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	struct storm *storm = userdata;
	storm_say(storm, "trouble: %s (%s)", status_name(why), detail ? detail : "");
	if (storm->gone)
		storm_wrong(storm, "trouble after gone");
	trouble_all(storm, why);
}

static void on_gone(void *userdata) {
	struct storm *storm = userdata;
	storm_say(storm, "gone");
	if (storm->gone)
		storm_wrong(storm, "gone twice");
	storm->gone = 1;
	trouble_all(storm, STATUS_READER_GONE);
	if (!storm->replug_at)
		storm->replug_at = virtual_now() + 1 + storm_draw(storm, 300000);
}

static void on_presence(void *userdata, unsigned slot, int present, enum driver_change change) {
	struct storm *storm = userdata;
	storm_say(storm, "slot %u: %s%s", slot, present ? "in" : "out",
		change == DRIVER_CARD_SAME            ? ""
			: change == DRIVER_CARD_RESET ? ", reset"
						      : ", swapped");
	if (storm->gone || !storm->ready || slot >= storm->n_slots) {
		storm_wrong(storm, "presence of slot %u out of turn", slot);
		return;
	}
	slot_presence(&storm->slots[slot], present, change);
}

static void on_changed(void *userdata, struct slot *slot) {
	(void)userdata, (void)slot;
}

static void on_lost(void *userdata, struct slot *slot, unsigned event) {
	struct storm *storm = userdata;
	(void)event;
	client_lost(&storm->clients[slot->number]);
}

static void on_idle(void *userdata, struct slot *slot) {
	struct storm *storm = userdata;
	/* Sometimes the next one begins at once, as a session's queue does. */
	if (storm_draw(storm, 2))
		(void)client_step(&storm->clients[slot->number]);
}

static void start(struct storm *storm) {
	struct driver_host host = { .userdata = storm,
		.ready = on_ready,
		.trouble = on_trouble,
		.gone = on_gone,
		.presence = on_presence };
	storm->gone = storm->ready = 0;
	storm->replug_at = 0;
	for (unsigned i = 0; i < storm->n_slots; i++)
		slot_init(&storm->slots[i], i, storm->event, &storm->slot_host);
	if (ccid_driver_init(
		    &storm->config, storm->event, &host, &virtual_usb_ops, &storm->driver) < 0)
		abort();
	for (unsigned i = 0; i < storm->n_slots; i++) {
		slot_attach(&storm->slots[i], &driver_ccid, storm->driver);
		storm->clients[i].slot = &storm->slots[i];
		storm->clients[i].storm = storm;
		storm->clients[i].connected = storm->clients[i].watches = 0;
	}
}

static void stop(struct storm *storm) {
	driver_ccid.free(storm->driver);
	storm->driver = NULL;
	for (unsigned i = 0; i < storm->n_slots; i++) {
		slot_done(&storm->slots[i]);
		if (storm->clients[i].does != CLIENT_RESTS)
			storm_wrong(storm, "slot %u: an operation without an end", i);
	}
	if (virtual_n_sources(storm->event) || virtual_usb_is_open(storm->usb))
		storm_wrong(storm, "something is left behind");
}

/* The cable goes in again: a new life, and a new handler. */
static void replug(struct storm *storm) {
	storm_say(storm, "replug");
	stop(storm);
	virtual_usb_plug(storm->usb);
	start(storm);
}

/* ---- time ---- */

static uint64_t lower(uint64_t a, uint64_t b) {
	return a < b ? a : b;
}

/* Strikes with what is due; when the next is. */
static uint64_t blows_due(struct storm *storm) {
	uint64_t now = virtual_now(), due = UINT64_MAX;
	for (unsigned i = 0; i < storm->n_blows; i++) {
		struct blow *blow = &storm->blows[i];
		if (!blow->what[0] || storm->n_ops < blow->after_op)
			continue;
		if (!blow->at)
			blow->at = now + blow->delay;
		if (blow->at <= now) {
			blow_strike(storm, blow->what);
			blow->what[0] = '\0';
		} else {
			due = lower(due, blow->at);
		}
	}
	return due;
}

/* One thing that is to be done now: 1; or when the next is. */
static int step(struct storm *storm, int (*act)(struct client *client), uint64_t *ret_due) {
	uint64_t now = virtual_now(), due = blows_due(storm);
	if (virtual_usb_pump(storm->usb) || virtual_fire(storm->event))
		return 1;
	if (storm->gone && storm->replug_at <= now) {
		replug(storm);
		return 1;
	}
	for (unsigned i = 0; act && i < storm->n_slots; i++) {
		if (act(&storm->clients[i]))
			return 1;
		if (storm->clients[i].next_at > now)
			due = lower(due, storm->clients[i].next_at);
	}
	due = lower(due, virtual_usb_due(storm->usb));
	due = lower(due, virtual_due(storm->event));
	*ret_due = storm->gone ? lower(due, storm->replug_at) : due;
	return 0;
}

/* Until it is over, or so many seconds later: is it over? */
static int run(struct storm *storm, int (*act)(struct client *client),
	int (*is_over)(const struct storm *storm), uint64_t seconds) {
	uint64_t end = virtual_now() + seconds * 1000000, due = 0;
	while (!storm->wrong[0] && !(is_over && is_over(storm))) {
		if (++storm->steps > MAX_STEPS) {
			storm_wrong(storm, "goes round and round");
			break;
		}
		if (step(storm, act, &due))
			continue;
		if (due >= end) {
			virtual_advance(end);
			break;
		}
		virtual_advance(due);
	}
	return is_over && is_over(storm);
}

/* ---- one seed ---- */

static int is_spent(const struct storm *storm) {
	for (unsigned i = 0; i < storm->n_slots; i++)
		if (storm->clients[i].todo || storm->clients[i].does != CLIENT_RESTS)
			return 0;
	return 1;
}

static int is_well(const struct storm *storm) {
	for (unsigned i = 0; i < storm->n_slots; i++)
		if (!storm->clients[i].n_right)
			return 0;
	return 1;
}

static void heal(struct storm *storm) {
	storm_say(storm, "the faults are over");
	storm->n_blows = 0;
	reader_faults_clear(storm->reader);
	virtual_usb_claim(storm->usb, 0);
	for (unsigned i = 0; i < storm->n_slots; i++) {
		blow_put_good_card(storm, i);
		storm->clients[i].n_right = storm->clients[i].n_failed = 0;
		storm->clients[i].next_at = 0;
	}
}

static void judge_recovery(struct storm *storm, uint64_t began) {
	if (is_well(storm) || storm->wrong[0])
		return;
	for (unsigned i = 0; i < storm->n_slots; i++)
		if (!storm->clients[i].n_right) {
			storm_wrong(storm,
				"slot %u: no right answer %llu s after the faults (%u failed)", i,
				(unsigned long long)(virtual_now() - began) / 1000000,
				storm->clients[i].n_failed);
			return;
		}
}

/* Nobody uses the reader: it is left alone. */
static void judge_rest(struct storm *storm) {
	for (unsigned i = 0; i < storm->n_slots; i++) {
		client_let_go(&storm->clients[i]);
	}
	(void)run(storm, NULL, NULL, QUIET_S);
	unsigned long before = virtual_usb_n_submits(storm->usb);
	(void)run(storm, NULL, NULL, IDLE_S);
	unsigned long n = virtual_usb_n_submits(storm->usb) - before;
	if (n)
		storm_wrong(storm, "%lu transfers to a reader that nobody uses", n);
}

static void judge_host(struct storm *storm) {
	const char *line;
	for (size_t i = 0; (line = reader_violation_line(storm->reader, i)); i++)
		if (!blow_excuses(storm, line)) {
			storm_wrong(storm, "violation: %s", line);
			return;
		}
}

static void play(struct storm *storm) {
	start(storm);
	for (unsigned i = 0; i < storm->n_slots; i++)
		storm->clients[i].todo = 4 + storm_draw(storm, 16);
	if (!run(storm, client_step, is_spent, STORM_S) && !storm->wrong[0])
		storm_wrong(storm, "the operations do not end");
	heal(storm);
	uint64_t began = virtual_now();
	(void)run(storm, client_recover, is_well, RECOVERY_S);
	judge_recovery(storm, began);
	storm_say(
		storm, "recovery took %llu ms", (unsigned long long)(virtual_now() - began) / 1000);
	if (!storm->wrong[0])
		judge_rest(storm);
	judge_host(storm);
	for (unsigned i = 0; i < storm->n_slots; i++)
		storm->clients[i].todo = 0;
	stop(storm);
}

static const char *choose_quirks(struct storm *storm) {
	static const char *const quirks[] = { "", "", "", "", "", "abort", "poll", "escape",
		"parallel", "reset", "no-ifsd", "no-pps", "power-off-first", "absent-if-mute",
		"slow-slots", "no-full-packets" };
	if (strcmp(storm->model_name, "iccd-a-egate") == 0)
		return "vendor-class";
	return quirks[storm_draw(storm, 16)];
}

/* What was wrong, or "": in `ret_wrong`. */
static void run_seed(uint64_t seed, const struct model *model, int verbose, char *ret_wrong,
	size_t size, struct totals *ret_totals) {
	static struct storm storm;
	storm = (struct storm){ .seed = seed,
		.chance = seed * 0x9E3779B97F4A7C15u + 1,
		.verbose = verbose,
		.model_name = models[seed % N_MODELS],
		.model = model,
		.config = { .node = "/dev/bus/usb/001/002", .card_fd = -1 } };
	storm.slot_host = (struct slot_host){ &storm, on_changed, on_lost, on_idle };
	storm.is_token = strncmp(storm.model_name, "iccd", 4) == 0;
	storm.lies = strcmp(storm.model_name, "lying-descriptor") == 0;
	virtual_begin(seed);
	if (reader_new(model, &storm.reader) < 0 || sd_event_new(&storm.event) < 0)
		abort();
	if (verbose)
		reader_verbose(storm.reader, storm.model_name);
	storm.n_slots = reader_n_slots(storm.reader);
	storm.config.quirks = choose_quirks(&storm);
	storm_say(&storm, "seed %llu: %s, quirks %s", (unsigned long long)seed, storm.model_name,
		storm.config.quirks);
	for (unsigned i = 0; i < storm.n_slots; i++)
		blow_put_good_card(&storm, i);
	storm.usb = virtual_usb_new(model, storm.reader, seed, verbose);
	blow_choose(&storm);
	play(&storm);
	virtual_usb_free(storm.usb);
	sd_event_unref(storm.event);
	reader_free(storm.reader);
	(void)snprintf(ret_wrong, size, "%s", storm.wrong);
	for (unsigned i = 0; i < storm.n_slots; i++) {
		ret_totals->right += storm.clients[i].all_right;
		ret_totals->failed += storm.clients[i].all_failed;
	}
	ret_totals->ops += storm.n_ops;
	ret_totals->blows += storm.n_struck;
}

/* Seeds of one model: how many failed. */
static unsigned run_model(unsigned which, unsigned n, unsigned *ret_failed, struct totals *totals) {
	struct model *model;
	char wrong[256];
	*ret_failed = 0;
	if (model_load(MODEL_DIR, models[which], 0, &model) < 0)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t seed = (uint64_t)i * N_MODELS + which;
		run_seed(seed, model, 0, wrong, sizeof(wrong), totals);
		if (wrong[0] && ++*ret_failed <= 20)
			printf("# tests/storm: seed %llu (%s): %s\n", (unsigned long long)seed,
				models[which], wrong);
	}
	free(model);
	return n;
}

static int run_some(uint64_t seed, uint64_t n, int verbose) {
	struct totals totals = { 0 };
	unsigned n_failed = 0;
	for (; n; n--, seed++) {
		struct model *model;
		char wrong[256];
		if (model_load(MODEL_DIR, models[seed % N_MODELS], 0, &model) < 0)
			return 2;
		run_seed(seed, model, verbose, wrong, sizeof(wrong), &totals);
		free(model);
		if (wrong[0])
			printf("seed %llu (%s): %s\n", (unsigned long long)seed,
				models[seed % N_MODELS], wrong);
		n_failed += wrong[0] != 0;
	}
	return n_failed != 0;
}

int main(int argc, char **argv) {
	int verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	argc -= verbose, argv += verbose;
	if (argc > 1)
		return run_some(strtoull(argv[1], NULL, 10),
			argc > 2 ? strtoull(argv[2], NULL, 10) : 1, verbose);
	unsigned n_bad = 0;
	struct totals totals = { 0 };
	for (unsigned i = 0; i < N_MODELS; i++) {
		unsigned n_failed, n = run_model(i, N_SEEDS / N_MODELS, &n_failed, &totals);
		n_bad += n_failed || !n;
		printf("%s %u - fault storm: %s, %u sequences, %u failed\n",
			n_failed || !n ? "not ok" : "ok", i + 1, models[i], n, n_failed);
		(void)fflush(stdout);
	}
	printf("# %lu operations, %lu right answers, %lu errors, %lu blows\n", totals.ops,
		totals.right, totals.failed, totals.blows);
	printf("1..%u\n", N_MODELS);
	return n_bad != 0;
}
