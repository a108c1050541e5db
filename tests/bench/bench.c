/* SPDX-License-Identifier: MIT */
/*
 * bench MEASUREMENT [OPTION]... NAME=LIBRARY...: measures any libpcsclite.so.1, found by path, on the readers that it
 * shows. bench.h says what it prints; bench.py starts the readers and makes tables. Nothing fails because it is slow.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

static const struct {
	const char *name;
	void (*measure)(struct plan *plan);
} measurements[] = {
	{ "calls", calls_measure },
	{ "clients", clients_measure },
	{ "handover", handover_measure },
	{ "insertion", insertion_measure },
	{ "list", list_measure },
	{ "memory", memory_measure },
	{ "idle", idle_measure },
};

enum { N_MEASUREMENTS = sizeof(measurements) / sizeof(measurements[0]) };

_Noreturn static void usage(void) {
	fputs("Usage: bench MEASUREMENT [OPTION]... NAME=LIBRARY...\n\n"
	      "Measurements: calls clients handover insertion list memory idle\n"
	      "  --cpu N      everything on CPU N (the handlers are for you to pin)\n"
	      "  --rounds N   default 100\n"
	      "  --batch N    calls of one kind in a round, default 100\n"
	      "  --seconds N  of a measurement by the clock, default 1\n",
		stderr);
	exit(2);
}

static void stack_add(struct plan *plan, char *text) {
	char *path = strchr(text, '=');
	if (!path || plan->n_stacks == MAX_STACKS)
		usage();
	*path = 0;
	plan->stacks[plan->n_stacks++] = (struct stack){ .name = text, .path = path + 1 };
}

int main(int argc, char **argv) {
	static const struct option options[] = {
		{ "cpu", required_argument, NULL, 'c' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "batch", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct plan plan = { .cpu = -1, .rounds = 100, .batch = 100, .seconds = 1 };
	size_t m = 0;
	int c;
	while (argc > 1 && m < N_MEASUREMENTS && strcmp(measurements[m].name, argv[1]) != 0)
		m++;
	if (argc < 2 || m == N_MEASUREMENTS)
		usage();
	optind = 2;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c': plan.cpu = atoi(optarg); break;
		case 'r': plan.rounds = atoi(optarg); break;
		case 'b': plan.batch = atoi(optarg); break;
		case 's': plan.seconds = atof(optarg); break;
		default: usage();
		}
	}
	if (plan.rounds < 1 || plan.batch < 1 || plan.seconds <= 0 || optind == argc)
		usage();
	while (optind < argc)
		stack_add(&plan, argv[optind++]);
	pin(plan.cpu);
	measurements[m].measure(&plan);
	return 0;
}
