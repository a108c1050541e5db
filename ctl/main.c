/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl VERB: prepares, lists, inspects, attaches, detaches and shuts down smart card readers.
 * A table of verbs says which options each takes and how many words; each verb is a file of its
 * name.
 *
 * Exit codes: 0 done; 1 it failed; 2 wrong usage; 3 no such reader, or several; 4 access refused; 5
 * the reader is in trouble; 6 it did not happen in time; 7 the card (none, mute, removed, in use).
 * run: the command's own, 126 where it cannot be run, 127 where it is not found. Every error is one
 * line on stderr that names the thing and what helps.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "ctl/print.h"
#include "ctl/verb.h"

/* Options, as bits of verb.accepts. */
enum {
	OPTION_JSON = 1 << 0,
	OPTION_VERBOSE = 1 << 1,
	OPTION_TIMEOUT = 1 << 2,
	OPTION_COUNT = 1 << 3,
	OPTION_INITIAL = 1 << 4,
	OPTION_CARD = 1 << 5,
	OPTION_DRIVER = 1 << 6,
	OPTION_EXCLUSIVE = 1 << 7,
	OPTION_PROTOCOL = 1 << 8,
	OPTION_HELP = 1 << 9,
	OPTION_VERSION = 1 << 10,
	OPTION_ALWAYS = OPTION_HELP | OPTION_VERSION,
};

static const struct verb {
	const char *name;
	int (*run)(const struct arguments *arguments);
	unsigned accepts;
	int min_words, max_words;
	int ends_options; /* what follows the first word is the word's own */
	const char *words, *does, *more;
} verbs[] = {
	{ "init", init_run, OPTION_TIMEOUT, 0, 0, 0, "", "bring up all readers that are plugged",
		"Makes the run directory, takes back a shutdown, and has udev look at all USB devices\n"
		"again: new rules and hwdb rows take effect. Without systemd it starts the handlers.\n" },
	{ "shutdown", shutdown_run, OPTION_TIMEOUT, 0, 0, 0, "",
		"take all readers down, until init",
		"Ends when sockets and descriptions are gone.\n" },
	{ "list", list_run, OPTION_JSON | OPTION_VERBOSE, 0, 0, 0, "",
		"readers as applications see them, one on a line",
		"Without -v nobody is asked and nothing is started.\n" },
	{ "status", status_run, OPTION_JSON, 0, 1000, 0, "[READER]...",
		"device, card, unit and clients: who holds my card?",
		"Root sees all clients, and who else has the device open; others see their own.\n" },
	{ "attach", attach_run, OPTION_JSON | OPTION_TIMEOUT | OPTION_CARD | OPTION_DRIVER, 1, 3, 0,
		"READER | virtual NAME | ID usb NODE", "bring back a detached reader, or make one",
		"READER may be a USB device that is not known as a reader: 001-012, its node, or its id\n"
		"as VVVV:PPPP; that holds until reboot. attach virtual NAME makes a reader without\n"
		"hardware, as root for all, else for yourself. ID is usb:VVVV/PPPP[/RRRR].\n" },
	{ "detach", detach_run, OPTION_TIMEOUT, 1, 1000, 0, "READER...",
		"leave a device to other programs, until attach or replug", "" },
	{ "monitor", monitor_run, OPTION_JSON | OPTION_TIMEOUT | OPTION_COUNT | OPTION_INITIAL, 0,
		0, 0, "", "readers and cards as they come and go",
		"Readers that are watched are in use: their handlers stay up. With --json every event\n"
		"is one line of JSON.\n" },
	{ "apdu", apdu_run, OPTION_JSON | OPTION_TIMEOUT | OPTION_EXCLUSIVE | OPTION_PROTOCOL, 2,
		100000, 0, "READER HEX...", "send commands to a card, print the answers",
		"HEX is one command, or - to read commands from standard input, one on a line: use that\n"
		"for secrets. Lines that begin with # are passed over.\n" },
	{ "run", run_run, 0, 1, 1 << 20, 1, "[--] COMMAND [ARGUMENT]...",
		"run a command with our libpcsclite.so.1", "" },
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static const struct option options[] = {
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "verbose", no_argument, NULL, OPTION_VERBOSE },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "count", required_argument, NULL, OPTION_COUNT },
	{ "initial", no_argument, NULL, OPTION_INITIAL },
	{ "card", required_argument, NULL, OPTION_CARD },
	{ "driver", required_argument, NULL, OPTION_DRIVER },
	{ "exclusive", no_argument, NULL, OPTION_EXCLUSIVE },
	{ "protocol", required_argument, NULL, OPTION_PROTOCOL },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static const struct option_help {
	unsigned option;
	const char *text;
} option_helps[] = {
	{ OPTION_JSON, "  --json             print JSON\n" },
	{ OPTION_VERBOSE, "  -v, --verbose      instance, driver, card and ATR, too\n" },
	{ OPTION_TIMEOUT, "  --timeout SECONDS  wait no longer\n" },
	{ OPTION_COUNT, "  --count N          end after N events\n" },
	{ OPTION_INITIAL,
		"  --initial          begin with the readers and cards that are there\n" },
	{ OPTION_CARD, "  --card CARD        the virtual card: builtin, unix:PATH or tcp:PORT\n" },
	{ OPTION_DRIVER,
		"  --driver NAME      driver of a device that is not known (default: ccid)\n" },
	{ OPTION_EXCLUSIVE, "  --exclusive        connect exclusively\n" },
	{ OPTION_PROTOCOL,
		"  --protocol P       T=0, T=1, raw or any (default: any of T=0 and T=1)\n" },
	{ OPTION_HELP, "  --help, --version\n" },
};

/* ---- help ---- */

static void help_all(FILE *out) {
	fputs("Usage: reader-ctl VERB [OPTION]... [WORD]...\n"
	      "Prepares, lists, inspects, attaches, detaches and shuts down smart card readers.\n\n",
		out);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(out, "  %-9s %s\n", verbs[i].name, verbs[i].does);
	fputs("\nreader-ctl VERB --help says more. READER is a name or a part of it that fits one\n"
	      "reader only, an instance (001-012), a node, a serial number, an id (VVVV:PPPP).\n\n"
	      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such reader, 4 access refused,\n"
	      "5 reader in trouble, 6 not in time, 7 no card, or it is mute, removed or in use.\n",
		out);
}

static void help_verb(const struct verb *verb, FILE *out) {
	fprintf(out, "Usage: reader-ctl %s%s%s%s\n", verb->name,
		verb->accepts ? " [OPTION]..." : "", verb->words[0] ? " " : "", verb->words);
	fprintf(out, "%c%s.\n%s\n", verb->does[0] & ~0x20, verb->does + 1, verb->more);
	for (size_t i = 0; i < sizeof(option_helps) / sizeof(option_helps[0]); i++)
		if ((verb->accepts | OPTION_HELP) & option_helps[i].option)
			fputs(option_helps[i].text, out);
}

/* ---- options ---- */

/* A number from 1 (or 0 for seconds) up; -1 after saying what is wrong. */
static long number(const char *option, const char *text, long least) {
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno || *end || end == text || n < least || n > 1000000000) {
		print_error(0, "%s %s: give a number from %ld to 1000000000", option, text, least);
		return -1;
	}
	return n;
}

/* Milliseconds of "2.5". */
static int64_t milliseconds(const char *text) {
	char *end;
	errno = 0;
	double s = strtod(text, &end);
	if (errno || *end || end == text || !(s >= 0 && s <= 1000000)) {
		print_error(0, "--timeout %s: give seconds from 0 to 1000000", text);
		return -1;
	}
	return (int64_t)(s * 1000);
}

/* The wire's mask; 0 after saying what is wrong. */
static unsigned protocols(const char *text) {
	static const struct {
		const char *word;
		unsigned mask;
	} words[] = { { "T=0", 1 }, { "t0", 1 }, { "0", 1 }, { "T=1", 2 }, { "t1", 2 }, { "1", 2 },
		{ "raw", 4 }, { "any", 3 } };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i].word) == 0)
			return words[i].mask;
	print_error(0, "--protocol %s: give T=0, T=1, raw or any", text);
	return 0;
}

/* One option into *a. 0 or -EINVAL. */
static int option_set(int option, struct arguments *a) {
	switch (option) {
	case OPTION_JSON: a->json = 1; break;
	case OPTION_VERBOSE: a->verbose = 1; break;
	case OPTION_INITIAL: a->initial = 1; break;
	case OPTION_EXCLUSIVE: a->exclusive = 1; break;
	case OPTION_CARD: a->card = optarg; break;
	case OPTION_DRIVER: a->driver = optarg; break;
	case OPTION_TIMEOUT:
		a->timeout_ms = milliseconds(optarg);
		return a->timeout_ms < 0 ? -EINVAL : 0;
	case OPTION_COUNT:
		a->count = number("--count", optarg, 1);
		return a->count < 0 ? -EINVAL : 0;
	case OPTION_PROTOCOL: a->protocols = protocols(optarg); return a->protocols ? 0 : -EINVAL;
	}
	return 0;
}

static const char *option_name(int option) {
	for (size_t i = 0; options[i].name; i++)
		if (options[i].val == option)
			return options[i].name;
	return "?";
}

/* Options of `verb`, or those before it (NULL). 0 to go on; else main's result less 1, negative. */
static int options_parse(int argc, char **argv, const struct verb *verb, struct arguments *a) {
	const char *letters = !verb || verb->ends_options ? "+:vh" : ":vh";
	unsigned accepts = verb ? verb->accepts | OPTION_ALWAYS : OPTION_JSON | OPTION_ALWAYS;
	int c;
	while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		c = c == 'v' ? OPTION_VERBOSE : c == 'h' ? OPTION_HELP : c;
		if (c == '?' || c == ':') {
			print_error(0, "%s: %s", argv[optind - 1],
				c == '?' ? "there is no such option" : "this option needs a value");
			return -EINVAL;
		}
		if (!(accepts & (unsigned)c)) {
			print_error(0, "%s takes no option --%s",
				verb ? verb->name : "what comes before the verb", option_name(c));
			return -EINVAL;
		}
		if (c == OPTION_HELP && verb)
			help_verb(verb, stdout);
		else if (c == OPTION_HELP)
			help_all(stdout);
		else if (c == OPTION_VERSION)
			puts("reader-ctl " PACKAGE_VERSION);
		if (c == OPTION_HELP || c == OPTION_VERSION)
			return 1;
		if (option_set(c, a) < 0)
			return -EINVAL;
	}
	return 0;
}

static const struct verb *verb_find(const char *name) {
	for (size_t i = 0; i < N_VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static int usage_error(const struct verb *verb) {
	return print_error(EXIT_USAGE, "reader-ctl %s%s--help says more", verb ? verb->name : "",
		verb ? " " : "");
}

/* The verb's own options and words. The exit code. */
static int verb_main(const struct verb *verb, int argc, char **argv, struct arguments *a) {
	optind = 0; /* getopt(3): a new scan of another vector */
	int r = options_parse(argc, argv, verb, a);
	if (r != 0)
		return r > 0 ? EXIT_OK : usage_error(verb);
	if (a->json && !(verb->accepts & OPTION_JSON)) {
		print_error(0, "%s takes no option --json", verb->name);
		return usage_error(verb);
	}
	a->words = argv + optind;
	a->n_words = argc - optind;
	if (a->n_words >= verb->min_words && a->n_words <= verb->max_words)
		return verb->run(a);
	print_error(
		0, "%s: too %s words", verb->name, a->n_words < verb->min_words ? "few" : "many");
	return usage_error(verb);
}

int main(int argc, char **argv) {
	struct arguments a = { .timeout_ms = -1 };
	int r = options_parse(argc, argv, NULL, &a);
	if (r != 0)
		return r > 0 ? EXIT_OK : usage_error(NULL);
	if (optind == argc) {
		help_all(stderr);
		return EXIT_USAGE;
	}
	const struct verb *verb = verb_find(argv[optind]);
	if (!verb) {
		print_error(0, "there is no verb \"%s\"", argv[optind]);
		return usage_error(NULL);
	}
	r = verb_main(verb, argc - optind, argv + optind, &a);
	if (fflush(stdout) != 0 || ferror(stdout))
		return print_error(EXIT_FAILED, "standard output: %s", strerror(errno));
	return r;
}
