/* SPDX-License-Identifier: MIT */
/*
 * ifdhandler INSTANCE: serves one smart card reader. systemd starts it for a device that is plugged
 * (ifdhandler@001-012.service) and hands it the listening socket; by hand it makes its own (--socket).
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "ifdhandler/reader.h"

enum { EXIT_USAGE = 2 };

enum mode { MODE_SERVE, MODE_REGISTER, MODE_UNREGISTER, MODE_DONE };

static void usage(FILE *out) {
	fputs("Usage: ifdhandler [OPTION]... [INSTANCE]\n"
	      "Serves one smart card reader on a unix socket.\n\n"
	      "INSTANCE is BUS-DEVICE of a USB reader as lsusb shows it (001-012), or any name.\n\n"
	      "  --socket PATH    listen on PATH (default: the socket that systemd passes)\n"
	      "  --device NODE    device node (default: /dev/bus/usb/BUS/DEVICE)\n"
	      "  --driver NAME    ccid or virtual (default: udev's IFDHANDLER_DRIVER, else ccid)\n"
	      "  --card CARD      card of a virtual reader: builtin, unix:PATH or tcp:PORT\n"
	      "  --name NAME      own name of the reader\n"
	      "  --quirks WORDS   quirk flags of the device\n"
	      "  --idle SECONDS   exit after so long without use, 0 = never\n"
	      "                   (default: 60 under systemd, never with --socket)\n"
	      "  --grace SECONDS  power an unused card down after so long, 0 = never\n"
	      "                   (default: udev's IFDHANDLER_GRACE, else 5)\n"
	      "  --register       write the description of INSTANCE and exit\n"
	      "  --unregister     take it away and exit\n"
	      "  --debug          log more\n"
	      "  --help, --version\n",
		out);
}

/* A number of seconds; -1 for anything else, said on stderr. */
static long seconds(const char *option, const char *text) {
	long n = reader_seconds(text);
	if (n < 0)
		fprintf(stderr, "ifdhandler: %s %s: give a number of seconds from 0 to 86400\n",
			option, text);
	return n;
}

/* Options into *o. MODE_… or -EINVAL, said on stderr. */
static int parse(int argc, char **argv, struct reader_options *o) {
	enum {
		OPT_SOCKET = 256,
		OPT_DEVICE,
		OPT_DRIVER,
		OPT_CARD,
		OPT_NAME,
		OPT_QUIRKS,
		OPT_IDLE,
		OPT_GRACE,
		OPT_REGISTER,
		OPT_UNREGISTER,
		OPT_DEBUG,
		OPT_HELP,
		OPT_VERSION
	};
	static const struct option options[] = {
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "device", required_argument, NULL, OPT_DEVICE },
		{ "driver", required_argument, NULL, OPT_DRIVER },
		{ "card", required_argument, NULL, OPT_CARD },
		{ "name", required_argument, NULL, OPT_NAME },
		{ "quirks", required_argument, NULL, OPT_QUIRKS },
		{ "idle", required_argument, NULL, OPT_IDLE },
		{ "grace", required_argument, NULL, OPT_GRACE },
		{ "register", no_argument, NULL, OPT_REGISTER },
		{ "unregister", no_argument, NULL, OPT_UNREGISTER },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	enum mode mode = MODE_SERVE;
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET: o->socket = optarg; break;
		case OPT_DEVICE: o->node = optarg; break;
		case OPT_DRIVER: o->driver = optarg; break;
		case OPT_CARD: o->card = optarg; break;
		case OPT_NAME: o->name = optarg; break;
		case OPT_QUIRKS: o->quirks = optarg; break;
		case OPT_IDLE: o->idle_s = seconds("--idle", optarg); break;
		case OPT_GRACE: o->grace_s = seconds("--grace", optarg); break;
		case OPT_REGISTER: mode = MODE_REGISTER; break;
		case OPT_UNREGISTER: mode = MODE_UNREGISTER; break;
		case OPT_DEBUG: o->debug = 1; break;
		case OPT_HELP: usage(stdout); return MODE_DONE;
		case OPT_VERSION: puts("ifdhandler " PACKAGE_VERSION); return MODE_DONE;
		default: return -EINVAL;
		}
		if ((c == OPT_IDLE && o->idle_s < 0) || (c == OPT_GRACE && o->grace_s < 0))
			return -EINVAL;
	}
	if (optind < argc)
		o->instance = argv[optind++];
	if (optind == argc)
		return (int)mode;
	fprintf(stderr, "ifdhandler: too many arguments: %s\n", argv[optind]);
	return -EINVAL;
}

/* Without INSTANCE the name of the socket's file without .sock is it. `buf` holds it. */
static int instance_set(struct reader_options *o, char *buf, size_t size) {
	const char *base = o->socket ? strrchr(o->socket, '/') : NULL;
	if (!o->instance && base) {
		snprintf(buf, size, "%s", base + 1);
		char *suffix = strstr(buf, ".sock");
		if (suffix && !suffix[5])
			*suffix = 0;
		o->instance = buf;
	}
	if (o->instance && o->instance[0] && o->instance[0] != '.' && !strchr(o->instance, '/') &&
		strlen(o->instance) < 100)
		return 0;
	fputs("ifdhandler: give the instance: BUS-DEVICE of a USB reader (001-012), or a name\n",
		stderr);
	return -EINVAL;
}

static int serve(const struct reader_options *options) {
	struct sd_event *event;
	struct reader *reader;
	int r = sd_event_default(&event);
	if (r < 0) {
		fprintf(stderr, "ifdhandler: no event loop: %s\n", strerror(-r));
		return r;
	}
	r = reader_new(options, event, &reader);
	if (r >= 0) {
		r = sd_event_loop(event);
		reader_free(reader);
	}
	sd_event_unref(event);
	return r;
}

int main(int argc, char **argv) {
	struct reader_options options = { .idle_s = -1, .grace_s = -1 };
	char instance[256];
	int r = parse(argc, argv, &options);
	if (r == MODE_DONE)
		return EXIT_SUCCESS;
	if (r < 0 || instance_set(&options, instance, sizeof(instance)) < 0) {
		fputs("ifdhandler --help says more\n", stderr);
		return EXIT_USAGE;
	}
	if (r == MODE_REGISTER)
		r = reader_register(&options);
	else if (r == MODE_UNREGISTER)
		r = reader_unregister(&options);
	else
		r = serve(&options);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
