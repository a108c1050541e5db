/* SPDX-License-Identifier: MIT */
/*
 * The blows of a storm: one to six things that go wrong, drawn from the seed. Mostly one fault of
 * the emulated reader (tests/model/README, "Faults"), at any command, else a card that moves, the
 * cable, or another program that has the reader for a while.
 */
#include <stdio.h>
#include <string.h>

#include "tests/storm/storm.h"
#include "tests/storm/virtual-time.h"

/* Faults, some with numbers of interest; "|" parts the choices of a kind. */
static const char *const faults[] = { "seq", "slot", "type|type=80|type=81|type=82|type=83|type=50",
	"status|status=40|status=41|status=42|status=1|status=2|status=3|status=80|status=c2",
	"error|error=fe|error=0", "chain|chain=0|chain=2|chain=3|chain=10|chain=77",
	"length|length=0|length=1|length=10|length=105|length=10100",
	"stale|stale=5|stale=10|stale=11|stale=40",
	"refuse|refuse=f2|refuse=fe|refuse=fd|refuse=fb|refuse=0|refuse=7|refuse=5|refuse=ef|refuse=c0",
	"drop", "deaf", "late=1|late=100|late=2900|late=3100|late=20000",
	"extend|extend=3|extend=50|extend=0", "cut=0|cut=1|cut=9|cut=10|cut=11|cut=64", "empty",
	"pad|pad=1|pad=54|pad=600", "surplus|surplus=10|surplus=54|surplus=600", "twin", "glue",
	"split=5:1|split=9:50|split=10:3000|split=64:20|split=11:0",
	"garbage=1|garbage=10|garbage=64|garbage=600", "zlp|zlp=3|zlp=60", "zlp-after", "stall-in",
	"stall-out", "nak-out", "error-in", "overflow", "vanish",
	"control-stall|control-stall=1|control-stall=3", "control-short=0|control-short=3",
	"control-hang|control-hang=3|control-hang=62",
	"interrupt-error|interrupt-error=3|interrupt-error=12", "interrupt-stall",
	"interrupt-silent", "t1-edc", "t1-ns", "t1-nad",
	"t1-pcb|t1-pcb=82|t1-pcb=e1|t1-pcb=c0|t1-pcb=e3", "t1-len", "t1-short",
	"t1-garbage|t1-garbage=3|t1-garbage=300", "t1-lose", "t1-deaf", "t1-parity", "t1-reject",
	"t1-wtx|t1-wtx=0|t1-wtx=255", "t1-ifs|t1-ifs=0|t1-ifs=255|t1-ifs=1", "t1-abort" };

static const char *const cards[] = { "A", "B", "C", "t0", "t1", "crc", "small", "big", "F", "G",
	"X", "s0", "s1", "t1,inf=3", "t1,count=1", "t1,pps=refuse", "t1,pps=silent",
	"t1,pps=wrongpck", "t1,volts=3", "D", "E" };

enum { N_FAULTS = sizeof(faults) / sizeof(*faults), N_CARDS = sizeof(cards) / sizeof(*cards) };

static const struct model_interface *interface_of(const struct storm *storm, unsigned slot) {
	for (size_t i = 0; i < storm->model->n_interfaces; i++) {
		const struct model_interface *itf = &storm->model->interfaces[i];
		if (!itf->ccid)
			continue;
		if (slot < itf->slots)
			return itf;
		slot -= itf->slots;
	}
	return NULL;
}

static const char *good_card(const struct storm *storm, unsigned slot) {
	const struct model_interface *itf = interface_of(storm, slot);
	return itf && itf->card[0] ? itf->card : "t1";
}

/* One of "a|b|c". */
static void choose_word(struct storm *storm, const char *words, char *ret, size_t size) {
	unsigned n = 1;
	for (const char *p = words; *p; p++)
		n += *p == '|';
	for (unsigned skip = storm_draw(storm, n); skip; skip--)
		words = strchr(words, '|') + 1;
	(void)snprintf(ret, size, "%.*s", (int)strcspn(words, "|"), words);
}

static void choose_fault(struct storm *storm, char *ret, size_t size) {
	static const char *const on[] = { "", " on=6f", " on=6f", " on=6f", " on=6f", " on=62",
		" on=63", " on=65", " on=61", " on=6c", " on=6b" };
	char word[32], slot[16] = "", skip[16] = "";
	const char *times[] = { "", "", "", "", "", " times=2", " times=3", " times=12",
		" times=0" };
	choose_word(storm, faults[storm_draw(storm, N_FAULTS)], word, sizeof(word));
	int is_card = strncmp(word, "t1-", 3) == 0;
	if (storm->n_slots > 1 && storm_draw(storm, 2))
		(void)snprintf(slot, sizeof(slot), " slot=%u", storm_draw(storm, storm->n_slots));
	if (storm_draw(storm, 3) == 0)
		(void)snprintf(skip, sizeof(skip), " skip=%u", storm_draw(storm, 6));
	(void)snprintf(ret, size, "fault %s%s%s%s%s", word,
		is_card ? "" : on[storm_draw(storm, 11)], slot, skip, times[storm_draw(storm, 9)]);
}

static void choose_blow(struct storm *storm, struct blow *blow) {
	/* From microseconds to seconds, as likely in each decade. */
	static const unsigned delays[] = { 0, 100, 1000, 10000, 100000, 1000000, 5000000 };
	unsigned most = delays[storm_draw(storm, 7)];
	blow->after_op = storm_draw(storm, 4 * storm->n_slots + 8);
	blow->delay = most ? storm_draw(storm, most) : 0;
	unsigned slot = storm_draw(storm, storm->n_slots), what = storm_draw(storm, 21);
	const char *card = cards[storm_draw(storm, N_CARDS)];
	const size_t size = sizeof(blow->what);
	if (what < 14)
		choose_fault(storm, blow->what, size);
	else if (what == 20)
		(void)snprintf(blow->what, size, "die %u", slot);
	else if (what < 16)
		(void)snprintf(blow->what, size, "out %u", slot);
	else if (what == 16)
		(void)snprintf(blow->what, size, "in %u %s", slot, card);
	else if (what == 17)
		(void)snprintf(blow->what, size, "swap %u %s", slot, card);
	else if (what == 18)
		(void)snprintf(blow->what, size, "unplug %u", storm_draw(storm, 3) * 100);
	else
		(void)snprintf(blow->what, size,
			storm_draw(storm, 2)           ? "ring %u"
				: storm_draw(storm, 2) ? "claim"
						       : "suspend",
			slot);
}

void blow_choose(struct storm *storm) {
	storm->n_blows = 1 + storm_draw(storm, 6);
	for (unsigned i = 0; i < storm->n_blows; i++)
		choose_blow(storm, &storm->blows[i]);
}

static void put_card(struct storm *storm, unsigned slot, const char *spec) {
	struct card *card = NULL;
	if (spec && card_new(spec, &card) < 0)
		storm_wrong(storm, "card %s", spec);
	storm->is_good[slot] = 0;
	(void)reader_card(storm->reader, slot, card, virtual_now());
}

static void ring(struct storm *storm, unsigned slot) {
	uint8_t bytes[8];
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)storm_draw(storm, 256);
	if (storm_draw(storm, 2))
		bytes[0] = 0x50;
	(void)reader_interrupt(storm->reader, slot, bytes, 1 + storm_draw(storm, 8), virtual_now());
}

void blow_put_good_card(struct storm *storm, unsigned slot) {
	if (!storm->is_good[slot] || storm_draw(storm, 2))
		put_card(storm, slot, good_card(storm, slot));
	storm->is_good[slot] = 1;
}

/* What is the reader's own doing, by the faults that make it so. */
static const struct {
	const char *violation, *faults[6];
} excuses[] = {
	/* CCID 1.10 4.2: a reader that negotiates may be told another protocol that the card offers */
	{ "SetParameters to a reader that negotiates", { "" } },
	{ "wLevelParameter", { "chain", "status", "length", "refuse" } },
	/* it said that it could not change what it was told */
	{ "reader at T=", { "refuse", "error", "status", "chain" } },
	/* it works on a command that it did not answer, and that is given up */
	{ "more than", { "deaf", "drop", "vanish", "extend", "status" } },
	/* the card of a token has moved, or the token has lost its place */
	{ "request 6f: nothing to fetch", { "" } },
	{ "request 62: busy", { "" } },
	{ "power-on of a card that has power", { "" } },
};

enum { N_EXCUSES = sizeof(excuses) / sizeof(*excuses) };

static int is_one_of(const char *fault, const char *const *prefixes, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (prefixes[i] && strncmp(fault, prefixes[i], strlen(prefixes[i])) == 0)
			return 1;
	return 0;
}

int blow_excuses(const struct storm *storm, const char *violation) {
	for (unsigned i = 0; i < N_EXCUSES; i++)
		if (strncmp(violation, excuses[i].violation, strlen(excuses[i].violation)) == 0)
			return !excuses[i].faults[0][0] || (storm->excuses >> i & 1);
	return 0;
}

static void note(struct storm *storm, const char *fault) {
	static const char *const lengths[] = { "length", "chain", "refuse=ef", "empty" };
	static const char *const extensions[] = { "extend", "status", "t1-wtx", "t1-pcb", "late" };
	/* A token's answers have no header that could tell (ICCD 1.0 6.2, 7.2). */
	static const char *const contents[] = { "type", "status", "error", "chain", "slot", "seq",
		"surplus", "pad", "garbage", "glue", "stale", "length", "empty", "cut", "refuse" };
	storm->spoils_length |= is_one_of(fault, lengths, 4);
	storm->spoils_content |= storm->is_token && is_one_of(fault, contents, 15);
	storm->extends |= is_one_of(fault, extensions, 5);
	for (unsigned i = 0; i < N_EXCUSES; i++)
		storm->excuses |= (unsigned)is_one_of(fault, excuses[i].faults, 6) << i;
}

void blow_strike(struct storm *storm, const char *what) {
	char text[80];
	unsigned slot = 0, at = 0;
	(void)snprintf(text, sizeof(text), "%s", what);
	storm_say(storm, "blow: %s", what);
	storm->n_struck++;
	if (sscanf(what, "fault %n", &at) == 0 && at && strncmp(what, "fault", 5) == 0) {
		note(storm, text + 6);
		(void)reader_fault(storm->reader, text + 6, virtual_now());
	} else if (sscanf(what, "out %u", &slot) == 1) {
		put_card(storm, slot, NULL);
	} else if (sscanf(what, "in %u %n", &slot, &at) == 1) {
		if (!reader_card_in(storm->reader, slot))
			put_card(storm, slot, text + at);
	} else if (sscanf(what, "swap %u %n", &slot, &at) == 1) {
		put_card(storm, slot, text + at);
	} else if (sscanf(what, "unplug %u", &slot) == 1) {
		virtual_usb_unplug(storm->usb);
		storm->replug_at = virtual_now() + slot * 1000 + 1;
	} else if (sscanf(what, "ring %u", &slot) == 1) {
		ring(storm, slot);
	} else if (sscanf(what, "die %u", &slot) == 1) {
		client_die(&storm->clients[slot]);
	} else if (strcmp(what, "suspend") == 0) {
		virtual_usb_suspend(storm->usb);
	} else if (strcmp(what, "claim") == 0) {
		virtual_usb_claim(storm->usb, 1);
	}
}
