/* SPDX-License-Identifier: MIT */
/*
 * conformance [OPTION]... [GROUP | GROUP.TEST]...: runs the tests, each in a process of its own, several at once, and
 * prints what they say as one stream of TAP. After a whole run every line of the checklist must have been named.
 *
 *   --stack NAME      ours (default) or pcscd
 *   --library PATH    the libpcsclite.so.1 to load
 *   --server PATH     the stack's program
 *   --jobs N          how many at once (those that only wait come on top)
 *   --results FILE    "71 M pass" for each line: pass, fail, skip, later, elsewhere or none
 *   --list            names the tests
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/bed.h"
#include "tests/conformance/lines.h"
#include "tests/conformance/run.h"

enum { MAX_TESTS = 256, LIMIT_S = 90, LONG_LIMIT_S = 200 };

static const struct test_group *const groups[] = { &group_abi, &group_bare, &group_core,
	&group_power, &group_exchange, &group_share, &group_queue, &group_change, &group_state,
	&group_loss, &group_restart, &group_names, &group_long };

enum verdict { NONE, PASS, SKIPPED, FAIL };

struct job {
	const struct test_group *group;
	const struct test *test;
	pid_t pid;
	int fd;
	int64_t end_ms;
	char *out;
	size_t len;
};

static struct {
	const char *library, *server, *results;
	char directory[32];
	unsigned jobs;
	struct job tests[MAX_TESTS];
	size_t n_tests;
	unsigned n_lines, n_failed;
	enum verdict lines[LINES_MAX + 1], defects[LINES_MAX_DEFECT + 1];
	bool whole; /* no selection */
} run = { .jobs = 4 };

static volatile sig_atomic_t interrupted;

/* ---- which tests ---- */

static bool is_wanted(const struct test_group *group, const struct test *test, char **names) {
	size_t len = strlen(group->name);
	if (!*names)
		return true;
	for (; *names; names++) {
		if (strncmp(*names, group->name, len) != 0)
			continue;
		if (!(*names)[len] ||
			((*names)[len] == '.' && !strcmp(*names + len + 1, test->name)))
			return true;
	}
	return false;
}

/* Those that take long come first. */
static void choose(char **names) {
	for (int pass = 0; pass < 2; pass++)
		for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
			for (const struct test *t = groups[g]->tests; t->name; t++) {
				bool first = (t->flags & TEST_LONG) != 0;
				if (first == (pass == 0) && is_wanted(groups[g], t, names) &&
					run.n_tests < MAX_TESTS)
					run.tests[run.n_tests++] = (struct job){
						.group = groups[g], .test = t, .fd = -1
					};
			}
	run.whole = !*names;
}

/* ---- one test ---- */

static void job_directory(const struct job *job, char *ret, size_t size) {
	snprintf(ret, size, "%s/%s.%s", run.directory, job->group->name, job->test->name);
}

static _Noreturn void test_process(const struct job *job, int fd) {
	setpgid(0, 0);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	dup2(fd, 1);
	dup2(fd, 2);
	close(fd);
	char directory[96];
	job_directory(job, directory, sizeof(directory));
	bed_begin(run.library, run.server, directory);
	if (job->group->setup)
		job->group->setup();
	job->test->run();
	bed_end();
	fflush(stdout);
	exit(0); /* not _exit: a sanitizer wants to have its say */
}

static void job_start(struct job *job) {
	int fds[2];
	fflush(stdout);
	if (pipe2(fds, O_CLOEXEC) < 0 || (job->pid = fork()) < 0) {
		perror("conformance");
		exit(1);
	}
	if (job->pid == 0) {
		close(fds[0]);
		test_process(job, fds[1]);
	}
	setpgid(job->pid, job->pid);
	close(fds[1]);
	job->fd = fds[0];
	job->end_ms = now_ms() + 1000 * (job->test->flags & TEST_LONG ? LONG_LIMIT_S : LIMIT_S);
}

static void job_read(struct job *job) {
	char buffer[4096];
	ssize_t n = read(job->fd, buffer, sizeof(buffer));
	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		close(job->fd);
		job->fd = -1;
		return;
	}
	job->out = realloc(job->out, job->len + (size_t)n + 1);
	if (!job->out)
		abort();
	memcpy(job->out + job->len, buffer, (size_t)n);
	job->len += (size_t)n;
	job->out[job->len] = 0;
}

/* ---- what it said ---- */

static void note(const char *text, enum verdict verdict) {
	bool defect = text[0] == 'C';
	unsigned long n = strtoul(text + defect, NULL, 10);
	enum verdict *at = NULL;
	if (defect && n <= LINES_MAX_DEFECT)
		at = &run.defects[n];
	else if (!defect && n <= LINES_MAX)
		at = &run.lines[n];
	if (at && verdict > *at)
		*at = verdict;
	if (at && verdict == PASS && *at == SKIPPED)
		*at = PASS; /* what is tested in part is not skipped */
}

static void say(bool good, const char *text, const char *where) {
	run.n_lines++;
	run.n_failed += !good;
	printf("%s %u - %s%s%s%s\n", good ? "ok" : "not ok", run.n_lines, text, *where ? " (" : "",
		where, *where ? ")" : "");
}

static unsigned take_line(const char *line, const char *where) {
	bool good = strncmp(line, "ok - ", 5) == 0;
	if (!good && strncmp(line, "not ok - ", 9) != 0) {
		printf("# %s: %s\n", where, line);
		return 0;
	}
	const char *text = line + (good ? 5 : 9);
	bool skipped = strstr(text, "# SKIP") != NULL;
	if (strncmp(text, "PCSC-", 5) == 0)
		note(text + 5, !good ? FAIL : skipped ? SKIPPED : PASS);
	say(good, text, skipped ? "" : where);
	return 1;
}

static void job_report(struct job *job, int status, bool late) {
	char where[128], text[400];
	const char *last = "";
	unsigned n = 0, failed = run.n_failed;
	snprintf(where, sizeof(where), "%s.%s", job->group->name, job->test->name);
	for (char *line = job->out; line && *line;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = 0;
		unsigned taken = take_line(line, where);
		n += taken;
		last = taken ? line : last;
		line = end ? end + 1 : NULL;
	}
	if (late) {
		snprintf(text, sizeof(text), "did not end; the last line was: %.300s", last);
		say(false, text, where);
	} else if (status != 0 && run.n_failed == failed) {
		snprintf(text, sizeof(text), "ended with %s %d",
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		say(false, text, where);
	} else if (n == 0) {
		say(false, "said nothing", where);
	}
	free(job->out);
	job->out = NULL;
}

/* Ends a test that has said all, or is late. True if it is over. */
static bool job_reap(struct job *job) {
	int status = 0;
	bool late = now_ms() > job->end_ms || interrupted;
	if (!late && waitpid(job->pid, &status, WNOHANG) != job->pid)
		return false;
	if (late) {
		kill(-job->pid, SIGKILL);
		waitpid(job->pid, &status, 0);
	}
	kill(-job->pid, SIGKILL); /* what it left behind */
	while (job->fd >= 0) {
		struct pollfd p = { job->fd, POLLIN, 0 };
		if (poll(&p, 1, 100) <= 0)
			break; /* somebody outside the group holds the other end */
		job_read(job);
	}
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	job->pid = 0;
	char directory[96];
	job_directory(job, directory, sizeof(directory));
	directory_remove(directory); /* of a test that could not */
	job_report(job, status, late);
	return true;
}

/* ---- all ---- */

static void run_all(void) {
	struct pollfd fds[MAX_TESTS];
	size_t next = 0, n_done = 0;
	unsigned n_short = 0;
	while (n_done < run.n_tests) {
		while (next < run.n_tests && !interrupted) {
			bool is_long = (run.tests[next].test->flags & TEST_LONG) != 0;
			if (!is_long && n_short >= run.jobs)
				break;
			n_short += !is_long;
			job_start(&run.tests[next++]);
		}
		for (size_t i = 0; i < next; i++)
			fds[i] = (struct pollfd){ run.tests[i].fd, POLLIN, 0 };
		poll(fds, next, 20);
		for (size_t i = 0; i < next; i++) {
			struct job *job = &run.tests[i];
			if (job->fd >= 0 && fds[i].revents)
				job_read(job);
			if (job->pid && job_reap(job)) {
				n_done++;
				n_short -= !(job->test->flags & TEST_LONG);
			}
		}
		if (interrupted && n_done == next)
			break;
	}
}

static const char *result_of(const struct line *line, enum verdict verdict) {
	static const char *const names[] = { "none", "pass", "skip", "fail" };
	if (verdict == NONE && line_later(line))
		return "later";
	return verdict == NONE && line_elsewhere(line) ? "elsewhere" : names[verdict];
}

/* Does that test, of our own stack and below the current directory, name the line? */
static bool is_elsewhere(const struct line *line, const char *file) {
	char name[32], text[1024];
	bool found = false;
	snprintf(name, sizeof(name), "PCSC-%u ", line->number);
	FILE *f = fopen(file, "re");
	while (f && fgets(text, sizeof(text), f))
		found = found || strstr(text, name);
	if (f)
		fclose(f);
	return found;
}

/* A test cannot be forgotten. */
static void check_coverage(const struct line *line, enum verdict verdict) {
	char text[256];
	const char *later = line_later(line), *file = line_elsewhere(line);
	if (verdict != NONE)
		return;
	if (file) {
		snprintf(text, sizeof(text), "PCSC-%u [%s] %s: see %s", line->number,
			line_class(line), line_text(line), file);
		say(is_elsewhere(line, file), text, "");
		return;
	}
	snprintf(text, sizeof(text), "PCSC-%s%u [%s] %s: %s%s", line->defect ? "C" : "",
		line->number, line_class(line), line_text(line),
		later ? "# SKIP later: " : "there is no test", later ? later : "");
	say(later != NULL, text, "");
}

static void coverage(void) {
	for (unsigned n = 1; n <= LINES_MAX; n++)
		check_coverage(&(struct line){ n, false }, run.lines[n]);
	for (unsigned n = 1; n <= LINES_MAX_DEFECT; n++)
		check_coverage(&(struct line){ n, true }, run.defects[n]);
}

static void count_class(const char *class) {
	unsigned counts[4] = { 0 }, later = 0, elsewhere = 0;
	for (unsigned n = 1; n <= LINES_MAX; n++) {
		struct line line = { n, false };
		if (strcmp(line_class(&line), class) != 0)
			continue;
		if (run.lines[n] == NONE && line_later(&line))
			later++;
		else if (run.lines[n] == NONE && line_elsewhere(&line))
			elsewhere++;
		else
			counts[run.lines[n]]++;
	}
	printf("# class %s: %u hold, %u do not, %u skipped, %u later, %u elsewhere, %u not run\n",
		class, counts[PASS], counts[FAIL], counts[SKIPPED], later, elsewhere, counts[NONE]);
}

static void write_results(const char *path) {
	FILE *f = fopen(path, "we");
	if (!f) {
		perror(path);
		run.n_failed++;
		return;
	}
	for (unsigned n = 1; n <= LINES_MAX; n++) {
		struct line line = { n, false };
		fprintf(f, "%u %s %s\n", n, line_class(&line), result_of(&line, run.lines[n]));
	}
	for (unsigned n = 1; n <= LINES_MAX_DEFECT; n++)
		fprintf(f, "C%u C %s\n", n, result_of(&(struct line){ n, true }, run.defects[n]));
	fclose(f);
}

static void on_interrupt(int signal) {
	(void)signal;
	interrupted = 1;
}

/* ---- options ---- */

/* Beside us: build/tests/conformance has build/NAME for its library. */
static char *beside(const char *name) {
	char self[512], path[1024];
	if (name[0] == '/')
		return strdup(name);
	bed_program("", self, sizeof(self));
	snprintf(path, sizeof(path), "%s../%s", self, name);
	char *found = realpath(path, NULL);
	return found ? found : strdup(path);
}

static const struct stack *stack_find(const char *name) {
	static const struct stack *const stacks[] = { &stack_ours, &stack_pcscd };
	for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++)
		if (strcmp(stacks[i]->name, name) == 0)
			return stacks[i];
	fprintf(stderr, "conformance: there is no stack called %s\n", name);
	exit(2);
}

static void options(int argc, char **argv) {
	static const struct option known[] = {
		{ "stack", required_argument, NULL, 's' },
		{ "library", required_argument, NULL, 'l' },
		{ "server", required_argument, NULL, 'd' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "results", required_argument, NULL, 'r' },
		{ "list", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	int c;
	bool list = false;
	stack = &stack_ours;
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c) {
		case 's': stack = stack_find(optarg); break;
		case 'l': run.library = realpath(optarg, NULL); break;
		case 'd': run.server = realpath(optarg, NULL); break;
		case 'j': run.jobs = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': run.results = optarg; break;
		case 'n': list = true; break;
		default: exit(2);
		}
	choose(argv + optind);
	if (!run.library)
		run.library = beside(stack->library);
	if (!run.server)
		run.server = beside(stack->server);
	for (size_t i = 0; list && i < run.n_tests; i++)
		printf("%s.%s\n", run.tests[i].group->name, run.tests[i].test->name);
	if (list)
		exit(0);
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	options(argc, argv);
	signal(SIGTERM, on_interrupt);
	signal(SIGINT, on_interrupt);
	signal(SIGHUP, on_interrupt);
	strcpy(run.directory, "/tmp/conformance-XXXXXX");
	if (!mkdtemp(run.directory) || chmod(run.directory, 0755) < 0) {
		perror(run.directory);
		return 1;
	}
	run_all();
	rmdir(run.directory);
	if (run.whole && !interrupted)
		coverage();
	printf("1..%u\n", run.n_lines);
	static const char *const classes[] = { "M", "S", "N" };
	for (size_t i = 0; i < 3 && run.whole; i++)
		count_class(classes[i]);
	if (run.results)
		write_results(run.results);
	return run.n_failed || interrupted || !run.n_lines ? 1 : 0;
}
