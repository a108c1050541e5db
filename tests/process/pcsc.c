/* SPDX-License-Identifier: MIT */
/*
 * The bed of the conformance programs. Each handler is a process with the driver `virtual`, whose
 * card is a thread here: it counts resets and commands, and is put in and taken out by connecting and
 * disconnecting. Everything lives in a directory of its own, so programs can run side by side.
 */
#include "tests/process/pcsc.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wire/path.h"

struct pcsc pc;

const struct atr atr_a = { "A", { 0x3b, 0x02, 0x14, 0x50 }, 4 };
const struct atr atr_b = { "B", { 0x3b, 0x80, 0x80, 0x01, 0x01 }, 5 };
const struct atr atr_c = { "C", { 0x3b, 0x80, 0x01, 0x81 }, 4 };
const struct atr atr_d = { "D", { 0x3b, 0x80, 0x91, 0x11, 0x01, 0x01 }, 6 };
const struct atr atr_e = { "E", { 0x3b, 0x80, 0x90, 0x10, 0x00 }, 5 };
const struct atr atr_f = { "F", { 0x3b, 0x80, 0x0f }, 3 };
const struct atr atr_g = { "G", { 0x00, 0x01, 0x02 }, 3 };
const struct atr atr_x = { "X", { 0 }, 0 };

enum {
	MAX_BOXES = 64,
	WAIT_MS = 10000, /* for anything that ought to happen at once, on a loaded machine */
};

static struct {
	char directory[64];
	const char *handler;
	unsigned n;
	unsigned n_failed;
	struct box *boxes[MAX_BOXES];
	size_t n_boxes;
	SCARDCONTEXT context; /* for settling */
} bed;

static void die(const char *what, const char *why) {
	printf("Bail out! %s: %s\n", what, why ? why : "failed");
	exit(1);
}

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
}

static void start(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_DFL); /* the library must not need it ignored */
	bed.handler = argc > 2 ? argv[2] : "build/ifdhandler";
	if (access(bed.handler, X_OK) < 0)
		die(bed.handler, "not there");
	load(argc > 1 ? argv[1] : "build/libpcsclite.so.1");
}

void pcsc_start(int argc, char **argv) {
	start(argc, argv);
	strcpy(bed.directory, "/tmp/pcsc-test-XXXXXX");
	if (!mkdtemp(bed.directory))
		die("mkdtemp", NULL);
	setenv("IFDHANDLER_PATH", bed.directory, 1);
}

bool pcsc_start_private(int argc, char **argv) {
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", "/run", "tmpfs", 0, "mode=755") < 0)
		return false;
	strcpy(bed.directory, PATH_RUN);
	if (mkdir(bed.directory, 0755) < 0)
		die(bed.directory, NULL);
	unsetenv("IFDHANDLER_PATH");
	start(argc, argv);
	return true;
}

const char *pcsc_directory(void) {
	return bed.directory;
}

int pcsc_finish(void) {
	for (size_t i = 0; i < bed.n_boxes; i++)
		if (bed.boxes[i]->pid)
			box_stop(bed.boxes[i]);
	if (bed.context)
		pc.release(bed.context);
	DIR *d = opendir(bed.directory);
	struct dirent *entry;
	while (d && (entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
	rmdir(bed.directory);
	printf("1..%u\n", bed.n);
	return bed.n_failed ? 1 : 0;
}

static bool line(bool good, const char *text, va_list args) {
	bed.n++;
	bed.n_failed += !good;
	printf("%s %u - ", good ? "ok" : "not ok", bed.n);
	vprintf(text, args);
	return good;
}

bool ok(bool good, const char *text, ...) {
	va_list args;
	va_start(args, text);
	line(good, text, args);
	va_end(args);
	putchar('\n');
	return good;
}

bool code(LONG got, LONG want, const char *text, ...) {
	va_list args;
	va_start(args, text);
	line(got == want, text, args);
	va_end(args);
	if (got != want)
		printf(": %#lx, not %#lx", (unsigned long)got, (unsigned long)want);
	putchar('\n');
	return got == want;
}

void skip(const char *text, const char *why) {
	printf("ok %u - %s # SKIP %s\n", ++bed.n, text, why);
}

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

/* ---- cards ---- */

static bool read_all(int fd, void *buf, size_t n) {
	for (uint8_t *at = buf; n;) {
		ssize_t got = recv(fd, at, n, 0);
		if (got <= 0)
			return false;
		at += got;
		n -= (size_t)got;
	}
	return true;
}

static bool reply(int fd, const uint8_t *data, size_t n) {
	uint8_t header[2] = { (uint8_t)(n >> 8), (uint8_t)n };
	return send(fd, header, 2, MSG_NOSIGNAL | MSG_MORE) == 2 &&
		(n == 0 || send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static size_t answer(uint8_t *apdu, size_t n) {
	size_t number = n >= 4 ? (size_t)(apdu[2] << 8 | apdu[3]) : 0;
	if (n >= 4 && apdu[0] == 0x80 && apdu[1] == 0x30) {
		memmove(apdu, apdu + 2, 2);
		return 2;
	}
	if (n >= 4 && apdu[0] == 0x80 && apdu[1] == 0x20)
		pause_ms((unsigned)number);
	if (n >= 4 && apdu[0] == 0x80 && apdu[1] == 0x10) {
		for (size_t i = 0; i < number; i++)
			apdu[i] = (uint8_t)i;
		n = number - 2;
	}
	if (n > 65533)
		n = 65533;
	apdu[n] = 0x90;
	apdu[n + 1] = 0x00;
	return n + 2;
}

static void *card_run(void *arg) {
	struct card *card = arg;
	static __thread uint8_t apdu[65536 + 8];
	uint8_t header[2];
	while (read_all(card->fd, header, 2)) {
		size_t n = (size_t)(header[0] << 8 | header[1]);
		if (!read_all(card->fd, apdu, n))
			break;
		if (n == 1 && apdu[0] == 4) {
			reply(card->fd, card->atr, card->atr_len);
		} else if (n == 1) {
			atomic_uint *counts[] = { &card->n_off, &card->n_on, &card->n_reset };
			if (apdu[0] < 3)
				++*counts[apdu[0]];
		} else {
			card->n_commands++;
			reply(card->fd, apdu, answer(apdu, n));
		}
	}
	return NULL;
}

void card_insert(struct box *box, const struct atr *atr) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct card *card = &box->card;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.card", bed.directory,
		box->instance);
	*card = (struct card){ .atr = atr->bytes, .atr_len = atr->len };
	card->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int64_t end_ms = now_ms() + WAIT_MS;
	while (connect(card->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (now_ms() > end_ms)
			die(address.sun_path, "cannot put the card in");
		pause_ms(10); /* the handler may still be starting */
	}
	pthread_create(&card->thread, NULL, card_run, card);
}

void card_remove(struct box *box) {
	struct card *card = &box->card;
	if (card->fd < 0)
		return;
	shutdown(card->fd, SHUT_RDWR); /* a forked child may hold a copy */
	pthread_join(card->thread, NULL);
	close(card->fd);
	card->fd = -1;
}

/* Waits until the library sees one of `bits`. */
static void settle(struct box *box, DWORD bits) {
	if (!bed.context && pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &bed.context))
		die("SCardEstablishContext", NULL);
	SCARD_READERSTATE state = { .szReader = box->name };
	int64_t end_ms = now_ms() + WAIT_MS;
	do {
		pc.change(bed.context, 200, &state, 1);
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
	card_insert(box, atr);
	settle(box, SCARD_STATE_PRESENT);
}

void box_remove(struct box *box) {
	card_remove(box);
	settle(box, SCARD_STATE_EMPTY);
}

/* ---- readers ---- */

static void spawn(struct box *box, const char *grace_s) {
	char sock[128], card[128];
	snprintf(sock, sizeof(sock), "%s/%s.sock", bed.directory, box->instance);
	snprintf(card, sizeof(card), "unix:%s/%s.card", bed.directory, box->instance);
	pid_t pid = fork();
	if (pid < 0)
		die("fork", NULL);
	if (pid == 0) {
		if (!getenv("PCSC_TEST_LOG") && !freopen("/dev/null", "w", stderr))
			_exit(126);
		dup2(2, 1);
		execl(bed.handler, bed.handler, "--socket", sock, "--driver", "virtual", "--card",
			card, grace_s ? "--grace" : box->instance, grace_s, box->instance, NULL);
		_exit(127);
	}
	box->pid = pid;
}

/* The name after "reader=0 " in the description, once there is one. */
static bool find_name(struct box *box) {
	char path[128], text[256];
	bool found = false;
	snprintf(path, sizeof(path), "%s/%s.reader", bed.directory, box->instance);
	FILE *f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f)) {
		if (strncmp(text, "reader=0 ", 9) != 0)
			continue;
		text[strcspn(text, "\n")] = 0;
		snprintf(box->name, sizeof(box->name), "%.127s", text + 9);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static bool answers(const struct box *box) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", bed.directory,
		box->instance);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return good;
}

static void wait_ready(struct box *box) {
	int64_t end_ms = now_ms() + WAIT_MS;
	while (!answers(box) || !find_name(box)) {
		if (waitpid(box->pid, NULL, WNOHANG) || now_ms() > end_ms)
			die(box->instance, "the handler does not start");
		pause_ms(10);
	}
}

void box_start(struct box *box, const char *instance, const char *grace_s) {
	*box = (struct box){ .card.fd = -1 };
	snprintf(box->instance, sizeof(box->instance), "%s", instance);
	spawn(box, grace_s);
	wait_ready(box);
	for (size_t i = 0; i < bed.n_boxes; i++)
		if (bed.boxes[i] == box)
			return;
	if (bed.n_boxes == MAX_BOXES)
		die(instance, "too many readers");
	bed.boxes[bed.n_boxes++] = box;
}

/* Starts the handler with the socket as descriptor 3, the way sd_listen_fds(3) wants it. */
static _Noreturn void run_activated(const struct box *box, int listen_fd, const char *idle_s) {
	char pid[16];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (listen_fd != 3)
		dup2(listen_fd, 3);
	else
		fcntl(3, F_SETFD, 0);
	if (!getenv("PCSC_TEST_LOG") && freopen("/dev/null", "w", stderr))
		dup2(2, 1);
	execl(bed.handler, bed.handler, "--driver", "virtual", "--card", "builtin", "--idle",
		idle_s, box->instance, NULL);
	_exit(127);
}

/* What systemd does for a socket unit, for ever. */
static _Noreturn void activate(const struct box *box, int listen_fd, const char *idle_s) {
	signal(SIGTERM, SIG_DFL);
	for (;;) {
		struct pollfd p = { .fd = listen_fd, .events = POLLIN };
		if (poll(&p, 1, -1) != 1)
			continue;
		pid_t pid = fork();
		if (pid == 0)
			run_activated(box, listen_fd, idle_s);
		*box->activated = pid;
		waitpid(pid, NULL, 0);
		*box->activated = 0;
	}
}

/* A description as --register writes it. */
static void describe(struct box *box) {
	char path[128], temporary[128];
	snprintf(box->name, sizeof(box->name), "Activated Reader (%s) 00 00", box->instance);
	snprintf(path, sizeof(path), "%s/%s.reader", bed.directory, box->instance);
	snprintf(temporary, sizeof(temporary), "%s/%s.new", bed.directory, box->instance);
	FILE *f = fopen(temporary, "we");
	fprintf(f, "version=1\ninstance=%s\ndriver=virtual\nseq=1\nregistered=1\nreader=0 %s\n",
		box->instance, box->name);
	fclose(f);
	rename(temporary, path);
}

void box_start_activated(struct box *box, const char *instance, const char *idle_s) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	*box = (struct box){ .card.fd = -1 };
	snprintf(box->instance, sizeof(box->instance), "%s", instance);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", bed.directory, instance);
	box->activated = mmap(NULL, sizeof(*box->activated), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (box->activated == MAP_FAILED ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
		die(address.sun_path, "cannot listen");
	describe(box);
	box->pid = fork();
	if (box->pid == 0)
		activate(box, fd, idle_s);
	close(fd);
	bed.boxes[bed.n_boxes++] = box;
}

bool box_kill_activated(struct box *box) {
	pid_t pid = *box->activated;
	return pid > 0 && kill(pid, SIGKILL) == 0;
}

void box_restart(struct box *box) {
	spawn(box, NULL);
	wait_ready(box);
}

static void end(struct box *box, int signal) {
	card_remove(box);
	kill(box->pid, signal);
	if (box->activated)
		box_kill_activated(box);
	waitpid(box->pid, NULL, 0);
	box->pid = 0;
}

void box_kill(struct box *box) {
	kill(box->pid, SIGKILL); /* before the card: its removal must not be seen */
	end(box, SIGKILL);
}

void box_stop(struct box *box) {
	end(box, SIGTERM);
}

/* ---- shorthands ---- */

static void *async_run(void *arg) {
	struct async *a = arg;
	if (a->delay_ms)
		pause_ms(a->delay_ms);
	int64_t start_ms = now_ms();
	a->rv = a->function(a->arg);
	a->end_ms = now_ms();
	a->took_ms = a->end_ms - start_ms;
	return NULL;
}

void async_start(struct async *a, unsigned delay_ms, LONG (*function)(void *arg), void *arg) {
	*a = (struct async){ .delay_ms = delay_ms, .function = function, .arg = arg };
	if (pthread_create(&a->thread, NULL, async_run, a) != 0)
		die("pthread_create", NULL);
}

LONG async_join(struct async *a) {
	pthread_join(a->thread, NULL);
	return a->rv;
}

SCARDCONTEXT context_new(void) {
	SCARDCONTEXT context = 0;
	if (pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
		die("SCardEstablishContext", NULL);
	return context;
}

SCARDHANDLE card_open(SCARDCONTEXT context, const struct box *box, DWORD share, LONG *ret_rv) {
	SCARDHANDLE card = 0;
	DWORD protocol;
	LONG rv = pc.connect(context, box->name, share, SCARD_PROTOCOL_ANY, &card, &protocol);
	if (ret_rv)
		*ret_rv = rv;
	return rv == SCARD_S_SUCCESS ? card : 0;
}

LONG card_send_bytes(SCARDHANDLE card, const void *command, size_t n) {
	BYTE got[300];
	DWORD length = sizeof(got), protocol = 0;
	SCARD_IO_REQUEST pci = { .cbPciLength = sizeof(pci) };
	LONG rv = pc.status(card, NULL, NULL, NULL, &protocol, NULL, NULL);
	if (rv != SCARD_S_SUCCESS)
		protocol = SCARD_PROTOCOL_T0;
	pci.dwProtocol = protocol;
	return pc.transmit(card, &pci, command, n, NULL, got, &length);
}

/* With the retired value for "whichever is active": no SCardStatus is needed. */
LONG card_send(SCARDHANDLE card) {
	static const BYTE command[] = { 0x00, 0xa4, 0x04, 0x00 };
	static const SCARD_IO_REQUEST pci = { 0x1000, sizeof(pci) };
	BYTE got[300];
	DWORD length = sizeof(got);
	return pc.transmit(card, &pci, command, sizeof(command), NULL, got, &length);
}

LONG card_state(SCARDHANDLE card, DWORD *ret_state) {
	return pc.status(card, NULL, NULL, ret_state, NULL, NULL, NULL);
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
