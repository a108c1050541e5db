/* SPDX-License-Identifier: MIT */
/*
 * A virtual reader of the system is a unit, ifdhandler-virtual@NAME; its card is set by a drop-in
 * for that one instance, in /run, gone at the next boot. A user's own is a handler that we start,
 * in $XDG_RUNTIME_DIR/ifdhandler, without any privilege.
 */
#include "ctl/attach_virtual.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/deadline.h"
#include "ctl/devices.h"
#include "ctl/peer.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/spawn.h"
#include "ctl/unit.h"

enum {
	ATTACH_MS = 10000, /* chosen: the job and a handler's start */
	LOOK_MS = 1000,    /* chosen: does somebody listen? */
	MAX_NAME = 32,     /* chosen: leaves room for the directory in a socket's address */
	MAX_CARD = 200,    /* chosen: unix: and the longest address of a socket */
};

int attach_is_served(const struct place *place, const char *instance) {
	struct peer peer;
	int r = place_has(place, instance)
		? peer_open(place->dir, instance, deadline_in(LOOK_MS), &peer)
		: -ENOENT;
	if (r == 0)
		peer_close(&peer);
	/* one that hangs has its socket, too */
	return r == 0 || r == -ETIMEDOUT;
}

/* Letters, digits and `more`, at most `max` of them, a letter or digit first. */
static int is_word(const char *word, const char *more, size_t max) {
	size_t i = 0;
	if (!isalnum((unsigned char)word[0]))
		return 0;
	for (; word[i]; i++)
		if (!isascii(word[i]) ||
			(!isalnum((unsigned char)word[i]) && !strchr(more, word[i])))
			return 0;
	return i <= max;
}

int attach_is_driver(const char *word) {
	return is_word(word, "_-", 31) && strcmp(word, "virtual") != 0;
}

/* ---- the card ---- */

/* builtin, unix:PATH with an absolute path, or tcp:PORT; nothing that a unit file would have to
 * escape. */
static int is_card(const char *card) {
	char *end;
	if (strcmp(card, "builtin") == 0)
		return 1;
	if (strncmp(card, "unix:/", 6) == 0)
		return is_word(card, ":/._-+@,", MAX_CARD);
	if (strncmp(card, "tcp:", 4) != 0 || !isdigit((unsigned char)card[4]))
		return 0;
	unsigned long port = strtoul(card + 4, &end, 10);
	return !*end && port >= 1 && port <= 65535;
}

/* ---- under systemd ---- */

/* The drop-in that gives one instance its card; without `card` one from before goes. 1 when units
 * have changed, 0 when not, or negative errno. */
static int card_write(const char *name, const char *card) {
	char dir[256], path[300];
	snprintf(dir, sizeof(dir), "/run/systemd/system/ifdhandler-virtual@%s.service.d", name);
	snprintf(path, sizeof(path), "%s/50-card.conf", dir);
	if (!card && unlink(path) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!card)
		return 1;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	FILE *file = fopen(path, "we");
	if (!file)
		return -errno;
	int n = fprintf(file,
		"# Made by reader-ctl attach virtual.\n[Service]\nEnvironment=IFDHANDLER_CARD=%s\n",
		card);
	int failed = fclose(file) != 0 || n < 0;
	return failed ? -EIO : 1;
}

static int start_unit(const struct place *place, const char *name, const char *card,
	struct unit_manager *manager, int64_t deadline_ms) {
	char unit[UNIT_MAX_NAME];
	snprintf(unit, sizeof(unit), "ifdhandler-virtual@%s.service", name);
	int r = card_write(name, card);
	if (r < 0)
		return print_error(
			EXIT_FAILED, "the card of %s cannot be set: %s", name, strerror(-r));
	if (r > 0)
		r = unit_reload(manager);
	if (r == 0)
		r = unit_start(manager, unit);
	if (r == 0)
		r = unit_wait(manager, deadline_ms);
	if (r == 0)
		r = place_wait_here(place, name, deadline_ms);
	if (r == 0)
		return 0;
	return print_error(r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED,
		"%s does not come up: %s; systemctl status %s says more", name,
		unit_problem(manager), unit);
}

static int start_managed(
	const struct place *place, const char *name, const char *card, int64_t deadline_ms) {
	struct unit_manager *manager;
	int r = unit_open(&manager);
	if (r < 0)
		return print_error(EXIT_FAILED, "systemd cannot be reached: %s", strerror(-r));
	r = start_unit(place, name, card, manager, deadline_ms);
	unit_close(manager);
	return r;
}

/* ---- all ---- */

/* The reader that has come, as applications see it. */
static int name_print(const struct place *place, const char *instance, int json) {
	struct readers readers;
	if (readers_load(READERS_LOOK_ONLY, &readers) < 0)
		return EXIT_FAILED;
	for (size_t i = 0; i < readers.n; i++) {
		const struct readers_device *device = &readers.devices[i];
		if (strcmp(device->dir, place->dir) != 0 || strcmp(device->instance, instance) != 0)
			continue;
		if (json) {
			struct print print = { .out = stdout };
			print_open(&print, NULL, '{');
			print_string(&print, "reader", readers_name(device));
			readers_print(&print, device);
			print_close(&print);
		} else {
			print_text(stdout, readers_name(device));
			putchar('\n');
		}
	}
	readers_done(&readers);
	return 0;
}

static int check(const struct arguments *arguments, char *instance, size_t size) {
	const char *name = arguments->n_words == 2 ? arguments->words[1] : "";
	if (!is_word(name, "._-", MAX_NAME))
		return print_error(EXIT_USAGE,
			"attach virtual NAME: a name is up to %d letters, digits, '.', '_' and '-'",
			MAX_NAME);
	if (devices_instance(name, instance, size) == 0)
		return print_error(
			EXIT_USAGE, "%s is the name of a USB device; choose another", name);
	if (arguments->card && !is_card(arguments->card))
		return print_error(EXIT_USAGE,
			"--card %s: a card is builtin, unix:/PATH (letters, digits and /._-+@,:) or tcp:PORT",
			arguments->card);
	return 0;
}

int attach_virtual(const struct arguments *arguments) {
	int64_t deadline_ms =
		deadline_in(arguments->timeout_ms < 0 ? ATTACH_MS : arguments->timeout_ms);
	struct place place;
	char instance[MAX_NAME + 1];
	int code = check(arguments, instance, sizeof(instance));
	if (code)
		return code;
	const char *name = arguments->words[1];
	code = place_init(&place);
	if (code == 0 && place_is_shut(&place))
		code = print_error(
			EXIT_TROUBLE, "readers are shut down; reader-ctl init brings them back");
	if (code == 0)
		code = place_make(&place);
	if (code)
		return code;
	if (attach_is_served(&place, name) && arguments->card)
		return print_error(EXIT_FAILED,
			"%s is there already; reader-ctl detach %s first, to give it another card",
			name, name);
	if (!attach_is_served(&place, name)) {
		const struct spawn_request request = {
			.dir = place.dir,
			.instance = name,
			.driver = "virtual",
			.card = arguments->card ? arguments->card : "builtin",
			.deadline_ms = deadline_ms,
		};
		code = place.managed ? start_managed(&place, name, arguments->card, deadline_ms)
				     : spawn_handler(&request);
	}
	return code ? code : name_print(&place, name, arguments->json);
}
