/* SPDX-License-Identifier: MIT */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

double now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

void pin(int cpu) {
	cpu_set_t set;
	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity", 0);
}

void *shared(size_t size) {
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap", 0);
	return p;
}

pid_t spawn(void) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		die("fork", 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

void reap(pid_t pid) {
	int status;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		die("a measuring process has failed", 0);
}

struct samples samples_new(int rounds, int batch) {
	size_t n = (size_t)rounds * (size_t)batch;
	return (struct samples){ .rounds = rounds,
		.batch = batch,
		.took = shared(n * sizeof(double)),
		.floor = shared(n * sizeof(double)) };
}

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double quantile(const double *values, size_t n, double q) {
	double *sorted = calloc(n, sizeof(*sorted));
	if (!sorted)
		die("no memory", 0);
	memcpy(sorted, values, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare);
	size_t i = (size_t)((double)n * q);
	double value = sorted[i < n ? i : n - 1];
	free(sorted);
	return value;
}

/* The median over the rounds of one round's medians' ratio: a machine that becomes slower or
 * faster between two rounds does not matter. */
static double ratio(const struct samples *s) {
	double *ratios = calloc((size_t)s->rounds, sizeof(*ratios));
	size_t batch = (size_t)s->batch;
	if (!ratios)
		die("no memory", 0);
	for (size_t r = 0; r < (size_t)s->rounds; r++)
		ratios[r] = quantile(s->took + r * batch, batch, 0.5) /
			quantile(s->floor + r * batch, batch, 0.5);
	double median = quantile(ratios, (size_t)s->rounds, 0.5);
	free(ratios);
	return median;
}

void samples_print(const struct samples *s, const char *stack, const char *name) {
	size_t n = (size_t)s->rounds * (size_t)s->batch;
	printf("time\t%s\t%s\t%.3f\t%.3f\t%.3f\n", stack, name, quantile(s->took, n, 0.5),
		quantile(s->took, n, 0.99), ratio(s));
}

void samples_print_floor(const struct samples *s, const char *name) {
	size_t n = (size_t)s->rounds * (size_t)s->batch;
	printf("time\tfloor\t%s\t%.3f\t%.3f\t1\n", name, quantile(s->floor, n, 0.5),
		quantile(s->floor, n, 0.99));
}
