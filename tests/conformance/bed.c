/* SPDX-License-Identifier: MIT */
/* The bed: the library by dlopen, readers over the stack, lines, time and threads. */
#include "tests/conformance/bed.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/card.h"
#include "tests/conformance/lines.h"
#include "tests/conformance/run.h"

struct pcsc pc;
const struct stack *stack;

enum { MAX_BOXES = 16 };

static struct {
	char directory[96];
	char made[96]; /* the one in /tmp, also after bed_private_run */
	const char *library, *server;
	struct box *boxes[MAX_BOXES];
	size_t n_boxes;
	SCARDCONTEXT context; /* for settling */
	pid_t pid;            /* whose test this is: clients are forked off it */
} bed;

/* ---- the library ---- */

static void *symbol(const char *name) {
	void *p = dlsym(pc.library, name);
	if (!p)
		die(name, dlerror());
	return p;
}

static void load(const char *path) {
	pc.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!pc.library)
		die(path, dlerror());
	/* POSIX wants a function's address to fit in void *; ISO C does not know the conversion */
	*(void **)&pc.establish = symbol("SCardEstablishContext");
	*(void **)&pc.release = symbol("SCardReleaseContext");
	*(void **)&pc.is_valid = symbol("SCardIsValidContext");
	*(void **)&pc.connect = symbol("SCardConnect");
	*(void **)&pc.reconnect = symbol("SCardReconnect");
	*(void **)&pc.disconnect = symbol("SCardDisconnect");
	*(void **)&pc.begin = symbol("SCardBeginTransaction");
	*(void **)&pc.end = symbol("SCardEndTransaction");
	*(void **)&pc.status = symbol("SCardStatus");
	*(void **)&pc.change = symbol("SCardGetStatusChange");
	*(void **)&pc.control = symbol("SCardControl");
	*(void **)&pc.transmit = symbol("SCardTransmit");
	*(void **)&pc.groups = symbol("SCardListReaderGroups");
	*(void **)&pc.list = symbol("SCardListReaders");
	*(void **)&pc.free = symbol("SCardFreeMemory");
	*(void **)&pc.cancel = symbol("SCardCancel");
	*(void **)&pc.get_attrib = symbol("SCardGetAttrib");
	*(void **)&pc.set_attrib = symbol("SCardSetAttrib");
	*(void **)&pc.stringify = symbol("pcsc_stringify_error");
	pc.t0 = symbol("g_rgSCardT0Pci");
	pc.t1 = symbol("g_rgSCardT1Pci");
	pc.raw = symbol("g_rgSCardRawPci");
}

const char *bed_directory(void) {
	return bed.directory;
}

const char *bed_library(void) {
	return bed.library;
}

void bed_program(const char *name, char *ret, size_t size) {
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	snprintf(ret, size, "%.*s/%s", slash ? (int)(slash - self) : 0, self, name);
}

bool bed_private_run(void) {
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", "/run", "tmpfs", 0, "mode=755") < 0)
		return false;
	strcpy(bed.directory, "/run/ifdhandler");
	if (mkdir(bed.directory, 0755) < 0)
		die(bed.directory, strerror(errno));
	unsetenv("IFDHANDLER_PATH");
	return true;
}

void bed_begin(const char *library, const char *server, const char *directory) {
	bed.library = library;
	bed.server = server;
	bed.pid = getpid();
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_DFL); /* the library must not need it ignored */
	snprintf(bed.directory, sizeof(bed.directory), "%s", directory);
	if (mkdir(bed.directory, 0755) < 0)
		die(directory, strerror(errno));
	strcpy(bed.made, bed.directory);
	stack->begin(bed.directory, bed.server);
	load(bed.library);
}

void directory_remove(const char *path) {
	DIR *d = opendir(path);
	struct dirent *entry;
	while (d && (entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

/* In no test may a card be asked for what it cannot do. */
static void check_cards(const struct box *box) {
	for (unsigned i = 0; i < box->n_slots; i++)
		if (box->cards[i].n_wrong)
			ok(false,
				"PCSC-C13 %s, slot %u: %u times asked without power, or two things at once",
				box->instance, i, box->cards[i].n_wrong);
}

void bed_end(void) {
	for (size_t i = 0; i < bed.n_boxes; i++) {
		check_cards(bed.boxes[i]);
		if (bed.boxes[i]->plugged)
			stack->unplug(bed.boxes[i]);
	}
	stack->end();
	directory_remove(bed.directory);
	directory_remove(bed.made);
}

_Noreturn void bed_leave(void) {
	bed_end();
	fflush(stdout);
	exit(0);
}

/* ---- lines ---- */

/* Prints one line for the number at `text`; returns what follows the number, NULL if there is none. */
static const char *line_number(const char *text, struct line *ret) {
	static const char prefix[] = "PCSC-";
	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	text += sizeof(prefix) - 1;
	ret->defect = *text == 'C';
	char *end;
	ret->number = (unsigned)strtoul(text + ret->defect, &end, 10);
	return *end == ' ' ? end + 1 : end;
}

static void print_line(const char *verdict, const struct line *line, const char *detail) {
	const char *separator = *detail ? ": " : "";
	printf("%s - PCSC-%s%u [%s] %s%s%s\n", verdict, line->defect ? "C" : "", line->number,
		line_class(line), line_text(line), separator, detail);
}

static void print_lines(const char *verdict, const char *text) {
	struct line lines[8];
	size_t n = 0;
	const char *next;
	while (n < 8 && (next = line_number(text, &lines[n]))) {
		text = next;
		n++;
	}
	if (n == 0)
		printf("%s - %s\n", verdict, text);
	for (size_t i = 0; i < n; i++)
		print_line(verdict, &lines[i], text);
	fflush(stdout);
}

bool ok(bool good, const char *text, ...) {
	char buffer[512];
	va_list args;
	va_start(args, text);
	vsnprintf(buffer, sizeof(buffer), text, args);
	va_end(args);
	print_lines(good ? "ok" : "not ok", buffer);
	return good;
}

bool code(LONG got, LONG want, const char *text, ...) {
	char buffer[512];
	va_list args;
	va_start(args, text);
	int n = vsnprintf(buffer, sizeof(buffer), text, args);
	va_end(args);
	if (got != want && n >= 0 && (size_t)n < sizeof(buffer))
		snprintf(buffer + n, sizeof(buffer) - (size_t)n, ": %#lx, not %#lx",
			(unsigned long)got, (unsigned long)want);
	print_lines(got == want ? "ok" : "not ok", buffer);
	return got == want;
}

void skip(const char *text, const char *why) {
	char buffer[512];
	snprintf(buffer, sizeof(buffer), "%s# SKIP %s", text, why);
	/* a blank between the text and the reason, whether there is a text or not */
	char *mark = strstr(buffer, "# SKIP");
	if (mark && mark > buffer && mark[-1] != ' ')
		snprintf(buffer, sizeof(buffer), "%s # SKIP %s", text, why);
	print_lines("ok", buffer);
}

_Noreturn void die(const char *what, const char *why) {
	printf("not ok - %s: %s\n", what, why ? why : "failed");
	fflush(stdout);
	if (getpid() == bed.pid && bed.directory[0])
		bed_end();
	_exit(1);
}

/* ---- time and threads ---- */

int64_t now_ms(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void pause_ms(unsigned ms) {
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	while (nanosleep(&ts, &ts) < 0)
		;
}

bool wait_count_for(const atomic_uint *counter, unsigned least, unsigned limit_ms) {
	int64_t end_ms = now_ms() + limit_ms;
	while (*counter < least && now_ms() < end_ms)
		pause_ms(5);
	return *counter >= least;
}

bool wait_count(const atomic_uint *counter, unsigned least) {
	return wait_count_for(counter, least, WAIT_MS);
}

bool count_becomes(const atomic_uint *counter, unsigned want) {
	return wait_count(counter, want) && *counter == want;
}

static void *async_run(void *arg) {
	struct async *a = arg;
	if (a->delay_ms)
		pause_ms(a->delay_ms);
	int64_t start_ms = now_ms();
	a->calls = gettid();
	a->rv = a->function(a->arg);
	a->end_ms = now_ms();
	a->took_ms = a->end_ms - start_ms;
	a->done = true;
	return NULL;
}

void async_start(struct async *a, unsigned delay_ms, LONG (*function)(void *arg), void *arg) {
	memset(a, 0, sizeof(*a));
	a->delay_ms = delay_ms;
	a->function = function;
	a->arg = arg;
	if (pthread_create(&a->thread, NULL, async_run, a) != 0)
		die("pthread_create", NULL);
}

LONG async_join(struct async *a) {
	pthread_join(a->thread, NULL);
	return a->rv;
}

/* The state of a thread as proc(5) has it, behind the name in parentheses. */
static char thread_state(pid_t tid) {
	char path[64], text[256] = "";
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	FILE *f = fopen(path, "re");
	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	char *end = strrchr(text, ')');
	return end && end[1] ? end[2] : 'X';
}

void async_sleeps(struct async *a) {
	int64_t end_ms = now_ms() + WAIT_MS;
	while (!a->done && (!a->calls || thread_state(a->calls) != 'S') && now_ms() < end_ms)
		pause_ms(1);
}

bool async_ends(struct async *a, unsigned ms) {
	int64_t end_ms = now_ms() + ms;
	while (!a->done && now_ms() < end_ms)
		pause_ms(5);
	return a->done;
}

/* ---- clients ---- */

static _Noreturn void client_run(int fd, LONG (*run)(int what)) {
	int what;
	while (recv(fd, &what, sizeof(what), 0) == sizeof(what)) {
		LONG rv = run(what);
		if (send(fd, &rv, sizeof(rv), MSG_NOSIGNAL) != sizeof(rv))
			break;
	}
	_exit(0);
}

void client_start(struct client *client, LONG (*run)(int what)) {
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		die("socketpair", strerror(errno));
	client->pid = fork();
	if (client->pid < 0)
		die("fork", strerror(errno));
	if (client->pid == 0) {
		close(fds[0]);
		client_run(fds[1], run);
	}
	close(fds[1]);
	client->fd = fds[0];
}

void client_ask(struct client *client, int what) {
	(void)!send(client->fd, &what, sizeof(what), MSG_NOSIGNAL);
}

bool client_answers(struct client *client, unsigned ms) {
	struct pollfd p = { client->fd, POLLIN, 0 };
	return poll(&p, 1, (int)ms) == 1;
}

LONG client_answer(struct client *client) {
	LONG rv;
	return recv(client->fd, &rv, sizeof(rv), 0) == sizeof(rv) ? rv : -1;
}

LONG client_do(struct client *client, int what) {
	client_ask(client, what);
	return client_answer(client);
}

void client_kill(struct client *client) {
	kill(client->pid, SIGKILL);
	waitpid(client->pid, NULL, 0);
	close(client->fd);
}

/* ---- readers ---- */

static SCARDCONTEXT settling(void) {
	if (!bed.context && pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &bed.context))
		die("SCardEstablishContext", NULL);
	return bed.context;
}

/* Waits until the library sees one of `bits` of slot 0. */
static void settle(struct box *box, DWORD bits) {
	SCARD_READERSTATE state = { .szReader = box->name };
	SCARDCONTEXT context = settling();
	int64_t end_ms = now_ms() + WAIT_MS;
	do {
		LONG rv = pc.change(context, 200, &state, 1);
		if (rv != SCARD_S_SUCCESS && rv != SCARD_E_TIMEOUT) {
			/* it may have died with the server */
			pc.release(context);
			bed.context = 0;
			context = settling();
		}
		state.dwCurrentState = state.dwEventState;
	} while (!(state.dwEventState & bits) && now_ms() < end_ms);
	if (!(state.dwEventState & bits))
		die(box->name, "does not become what it should");
	/* Others may be told a moment later than we: a round trip on a new connection comes after it. */
	SCARDCONTEXT barrier = context_new();
	state.dwCurrentState = SCARD_STATE_UNAWARE;
	pc.change(barrier, 0, &state, 1);
	pc.release(barrier);
}

void box_insert(struct box *box, const struct atr *atr) {
	card_insert(box, 0, atr);
	settle(box, SCARD_STATE_PRESENT);
}

void box_remove(struct box *box) {
	card_remove(box, 0);
	settle(box, SCARD_STATE_EMPTY);
}

void box_make(struct box *box, const char *instance, unsigned n_slots) {
	snprintf(box->instance, sizeof(box->instance), "%s", instance);
	box->n_slots = n_slots;
	snprintf(box->script, sizeof(box->script), "%s/%s.script", bed.directory, instance);
	if (bed.n_boxes == MAX_BOXES)
		die(instance, "too many readers");
	bed.boxes[bed.n_boxes++] = box;
	player_start(box);
}

/* A card that is put in from now on comes after the first look, and counts; one that was in is its test's matter. */
void box_plug(struct box *box) {
	stack->plug(box);
	box->plugged = true;
	for (unsigned i = 0; i < box->n_slots; i++)
		if (box->cards[i].in)
			return;
	DWORD event;
	SCARDCONTEXT context = context_new();
	reader_wait(context, box->name, SCARD_STATE_UNAWARE, 0, &event);
	pc.release(context);
}

void box_start_slots(struct box *box, const char *instance, unsigned n_slots) {
	if (!box->player)
		box_make(box, instance, n_slots);
	box_plug(box);
}

void box_start(struct box *box, const char *instance) {
	box_start_slots(box, instance, 1);
}

void box_stop(struct box *box) {
	box->plugged = false;
	stack->unplug(box);
}

void box_kill(struct box *box) {
	kill(stack->server_pid(box), SIGKILL);
	stack->killed(box);
}

void box_restart(struct box *box) {
	stack->restart(box);
}

void box_freeze(struct box *box) {
	kill(stack->server_pid(box), SIGSTOP);
}

void box_thaw(struct box *box) {
	kill(stack->server_pid(box), SIGCONT);
}

/* ---- shorthands ---- */

SCARDCONTEXT context_new(void) {
	SCARDCONTEXT context = 0;
	if (pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
		die("SCardEstablishContext", NULL);
	return context;
}

LONG card_open_protocols(SCARDCONTEXT context, const struct box *box, DWORD share, DWORD protocols,
	SCARDHANDLE *ret_card, DWORD *ret_active) {
	return pc.connect(context, box->name, share, protocols, ret_card, ret_active);
}

SCARDHANDLE card_open(SCARDCONTEXT context, const struct box *box, DWORD share, LONG *ret_rv) {
	SCARDHANDLE card = 0;
	DWORD protocol;
	LONG rv = pc.connect(context, box->name, share, SCARD_PROTOCOL_ANY, &card, &protocol);
	if (ret_rv)
		*ret_rv = rv;
	return rv == SCARD_S_SUCCESS ? card : 0;
}

/* With the retired value for "whichever is active": no SCardStatus is needed. */
LONG card_send_bytes(SCARDHANDLE card, const void *command, size_t n) {
	static const SCARD_IO_REQUEST pci = { 0x1000, sizeof(pci) };
	BYTE got[300];
	DWORD length = sizeof(got);
	return pc.transmit(card, &pci, command, n, NULL, got, &length);
}

LONG card_send(SCARDHANDLE card) {
	return card_send_bytes(card, "\0\xa4\4\0", 4);
}

LONG card_state(SCARDHANDLE card, DWORD *ret_state) {
	return pc.status(card, NULL, NULL, ret_state, NULL, NULL, NULL);
}

LONG card_reconnect(SCARDHANDLE card, DWORD share, DWORD how) {
	DWORD active;
	return pc.reconnect(card, share, SCARD_PROTOCOL_ANY, how, &active);
}

LONG reader_wait(
	SCARDCONTEXT context, const char *name, DWORD claim, DWORD timeout, DWORD *ret_event) {
	SCARD_READERSTATE s = { .szReader = name, .dwCurrentState = claim };
	LONG rv = pc.change(context, timeout, &s, 1);
	*ret_event = s.dwEventState;
	return rv;
}

DWORD reader_look(const char *name) {
	DWORD event;
	reader_wait(settling(), name, SCARD_STATE_UNAWARE, 0, &event);
	return event;
}

LONG do_send(void *arg) {
	return card_send(*(SCARDHANDLE *)arg);
}

LONG do_begin(void *arg) {
	return pc.begin(*(SCARDHANDLE *)arg);
}

LONG do_end(void *arg) {
	return pc.end(*(SCARDHANDLE *)arg, SCARD_LEAVE_CARD);
}

LONG do_status(void *arg) {
	DWORD state;
	return card_state(*(SCARDHANDLE *)arg, &state);
}

LONG do_disconnect(void *arg) {
	return pc.disconnect(*(SCARDHANDLE *)arg, SCARD_LEAVE_CARD);
}

LONG do_disconnect_reset(void *arg) {
	return pc.disconnect(*(SCARDHANDLE *)arg, SCARD_RESET_CARD);
}
