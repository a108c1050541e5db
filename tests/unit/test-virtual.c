/* SPDX-License-Identifier: MIT */
/*
 * The virtual reader over real sockets: this process is the host, the loop and the card program.
 * Writes and reads of the program's side are small enough for the socket's buffers, so one thread
 * is enough: do something, turn the loop until it has been noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/driver.h"
#include "ifdhandler/virtual/virtual_listen.h"

enum {
	TURN_US = 2000000, /* longer than anything that is expected here takes */
	IDLE_US = 20000,   /* long enough for what must not happen */
	MAX_LOG = 64,
};

/* One reader and all that it told. */
struct bench {
	sd_event *event;
	struct driver *driver;
	struct driver_config config;
	struct driver_host host;
	char dir[32];
	char card[80];
	char log[MAX_LOG]; /* R ready, + in, - out, d done */
	size_t n_log;
	unsigned n_done;
	enum status status;
	uint32_t protocol;
	size_t len;
	uint8_t data[65540];
};

static void note(struct bench *b, char c) {
	assert_true(b->n_log < MAX_LOG - 1);
	b->log[b->n_log++] = c;
}

static void on_ready(void *userdata) {
	note(userdata, 'R');
}

static void on_trouble(void *userdata, enum status why, const char *detail) {
	(void)userdata;
	fail_msg("trouble %d: %s", (int)why, detail ? detail : "");
}

static void on_gone(void *userdata) {
	(void)userdata;
	fail_msg("a virtual reader is never unplugged");
}

static void on_presence(void *userdata, unsigned slot, int present, enum driver_change change) {
	assert_int_equal(slot, 0);
	assert_int_equal(change, DRIVER_CARD_SAME);
	note(userdata, present ? '+' : '-');
}

static void on_done(void *userdata, const struct driver_result *result) {
	struct bench *b = userdata;
	assert_true(result->len <= sizeof(b->data));
	b->n_done++;
	b->status = result->status;
	b->protocol = result->protocol;
	b->len = result->len;
	if (result->len)
		memcpy(b->data, result->data, result->len);
	note(b, 'd');
}

static void turn(struct bench *b, uint64_t usec) {
	int r = sd_event_run(b->event, usec);
	assert_true(r >= 0);
}

static void idle(struct bench *b) {
	while (sd_event_run(b->event, IDLE_US) > 0)
		;
}

/* Turns the loop until everything in `log` has happened, and checks that it is just that. */
static void expect(struct bench *b, const char *log) {
	for (int i = 0; i < 10000 && b->n_log < strlen(log); i++)
		turn(b, TURN_US);
	b->log[b->n_log] = '\0';
	assert_string_equal(b->log, log);
	b->n_log = 0;
}

static int make_bench(void **state) {
	struct bench *b = calloc(1, sizeof(*b));
	if (!b || sd_event_new(&b->event) < 0)
		return -1;
	strcpy(b->dir, "/tmp/test-virtual.XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	snprintf(b->card, sizeof(b->card), "unix:%s/card", b->dir);
	b->config = (struct driver_config){ .card = b->card, .card_fd = -1 };
	b->host = (struct driver_host){ .userdata = b,
		.ready = on_ready,
		.trouble = on_trouble,
		.gone = on_gone,
		.presence = on_presence };
	*state = b;
	return 0;
}

static int free_bench(void **state) {
	struct bench *b = *state;
	driver_virtual.free(b->driver);
	sd_event_unref(b->event);
	int r = rmdir(b->dir); /* fails if a socket was left */
	free(b);
	return r;
}

/* A started reader of the configured kind. */
static void start(struct bench *b, const char *log) {
	assert_int_equal(driver_virtual.init(&b->config, b->event, &b->host, &b->driver), 0);
	assert_int_equal(b->n_log, 0);
	assert_int_equal(driver_virtual.n_slots(b->driver), 0);
	expect(b, log);
	assert_int_equal(driver_virtual.n_slots(b->driver), 1);
}

static int connect_unix(const struct bench *b) {
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/card", b->dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int insert(struct bench *b) {
	int fd = connect_unix(b);
	expect(b, "+");
	return fd;
}

/* The program reads exactly these bytes next. */
static void program_reads(int fd, const void *expected, size_t len) {
	uint8_t buf[64];
	assert_true(len <= sizeof(buf));
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
	assert_memory_equal(buf, expected, len);
	assert_int_equal(recv(fd, buf, 1, MSG_DONTWAIT), -1);
}

static void program_writes(int fd, const void *data, size_t len) {
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* What was sent before may still be read. */
static int program_is_disconnected(int fd) {
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[64];
	ssize_t n = 1;
	while (n > 0 && poll(&p, 1, TURN_US / 1000) == 1)
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	return n <= 0;
}

static void power_on(struct bench *b, enum driver_reset how) {
	driver_virtual.power_on(b->driver, 0, how, on_done, b);
}

static void transmit(struct bench *b, const struct driver_bytes *apdu) {
	driver_virtual.transmit(b->driver, 0, PROTOCOL_T1, apdu, on_done, b);
}

static void transmit_status(struct bench *b, const struct driver_bytes *apdu, enum status status) {
	transmit(b, apdu);
	expect(b, "d");
	assert_int_equal(b->status, status);
	assert_int_equal(b->len, 0);
}

static const struct driver_bytes select_mf = { (const uint8_t *)"\x00\xA4\x00\x0C\x02\x3F\x00", 7 };

/* A program that is connected and powered. */
static int powered(struct bench *b) {
	start(b, "R-");
	int fd = insert(b);
	power_on(b, DRIVER_COLD);
	program_reads(fd, "\0\1\0\0\1\1\0\1\4", 9);
	program_writes(fd, "\0\2\x3B\0", 4);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	return fd;
}

/* Where sockets come from */

static void refuses_wrong_configurations(void **state) {
	struct bench *b = *state;
	static const char *const cards[] = { NULL, "", "built-in", "unix:", "tcp:", "tcp:0",
		"tcp:65536", "tcp:99999999999999999999", "tcp:80x", "tcp:-1", "tcp: 80",
		"builtin " };
	for (size_t i = 0; i < sizeof(cards) / sizeof(cards[0]); i++) {
		b->config.card = cards[i];
		assert_int_equal(
			driver_virtual.init(&b->config, b->event, &b->host, &b->driver), -EINVAL);
	}
	char name[200] = "unix:/";
	memset(name + 6, 'x', sizeof(name) - 7);
	b->config.card = name;
	assert_int_equal(
		driver_virtual.init(&b->config, b->event, &b->host, &b->driver), -ENAMETOOLONG);
	b->config.card = "builtin";
	b->config.card_fd = 0;
	assert_int_equal(driver_virtual.init(&b->config, b->event, &b->host, &b->driver), -EINVAL);
	assert_null(b->driver);
}

static void socket_is_its_owners_and_goes_with_it(void **state) {
	struct bench *b = *state;
	struct stat st;
	mode_t mask = umask(0);
	start(b, "R-");
	assert_int_equal(umask(mask), 0); /* left as it was */
	assert_int_equal(lstat(b->card + 5, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	driver_virtual.free(b->driver);
	b->driver = NULL;
	assert_int_equal(lstat(b->card + 5, &st), -1);
}

static void replaces_a_socket_that_nobody_has(void **state) {
	struct bench *b = *state;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strcpy(a.sun_path, b->card + 5);
	int old = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(old, (struct sockaddr *)&a, sizeof(a)), 0);
	close(old);
	start(b, "R-");
	close(insert(b));
	expect(b, "-");
}

static void leaves_a_socket_in_use_alone(void **state) {
	struct bench *b = *state;
	struct virtual_listen owner, other;
	struct stat before, after;
	assert_int_equal(virtual_listen_open(&owner, b->card, -1), 0);
	assert_int_equal(lstat(b->card + 5, &before), 0);
	assert_int_equal(virtual_listen_open(&other, b->card, -1), -EADDRINUSE);
	assert_int_equal(lstat(b->card + 5, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	/* nor was the owner disturbed by a connection */
	assert_int_equal(accept(owner.fds[0], NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	virtual_listen_close(&owner);
}

static void leaves_other_files_alone(void **state) {
	struct bench *b = *state;
	struct virtual_listen l;
	int fd = open(b->card + 5, O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(virtual_listen_open(&l, b->card, -1), -EADDRINUSE);
	assert_int_equal(unlink(b->card + 5), 0);
	/* a file that somebody put in the socket's place meanwhile stays, too */
	assert_int_equal(virtual_listen_open(&l, b->card, -1), 0);
	assert_int_equal(unlink(b->card + 5), 0);
	fd = open(b->card + 5, O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	virtual_listen_close(&l);
	assert_int_equal(unlink(b->card + 5), 0);
}

/* A listening TCP socket on 127.0.0.1; its port is what the kernel chose. */
static int listen_tcp(uint16_t *ret_port, int buffer) {
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (buffer)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static int connect_tcp(uint16_t port, int buffer) {
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (buffer)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void listens_on_loopback_only(void **state) {
	struct bench *b = *state;
	uint16_t port;
	close(listen_tcp(&port, 0));
	snprintf(b->card, sizeof(b->card), "tcp:%u", port);
	start(b, "R-");
	int fd = connect_tcp(port, 0);
	expect(b, "+");
	close(fd);
	expect(b, "-");
	driver_virtual.free(b->driver);
	b->driver = NULL;

	struct virtual_listen l;
	assert_int_equal(virtual_listen_open(&l, b->card, -1), 0);
	for (unsigned i = 0; i < l.n; i++) {
		struct sockaddr_in6 a;
		socklen_t len = sizeof(a);
		assert_int_equal(getsockname(l.fds[i], (struct sockaddr *)&a, &len), 0);
		if (a.sin6_family == AF_INET)
			assert_int_equal(((struct sockaddr_in *)&a)->sin_addr.s_addr,
				htonl(INADDR_LOOPBACK));
		else
			assert_true(IN6_IS_ADDR_LOOPBACK(&a.sin6_addr));
	}
	struct virtual_listen second;
	assert_int_equal(virtual_listen_open(&second, b->card, -1), -EADDRINUSE);
	virtual_listen_close(&l);
}

static void takes_an_inherited_socket(void **state) {
	struct bench *b = *state;
	uint16_t port;
	int fd = listen_tcp(&port, 0);
	b->config.card = NULL;
	b->config.card_fd = fd;
	start(b, "R-");
	int program = connect_tcp(port, 0);
	expect(b, "+");
	driver_virtual.free(b->driver);
	b->driver = NULL;
	close(program);
	assert_true(fcntl(fd, F_GETFD) >= 0); /* it stays the caller's */
	close(fd);

	struct virtual_listen l;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(virtual_listen_open(&l, NULL, fd), -EINVAL); /* not listening */
	close(fd);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(virtual_listen_open(&l, NULL, fd), -ENOTSOCK);
	close(fd);
}

/* Cards come and go */

static void connect_and_disconnect_are_presence(void **state) {
	struct bench *b = *state;
	start(b, "R-");
	for (int i = 0; i < 3; i++) {
		int fd = insert(b);
		close(fd);
		expect(b, "-");
	}
}

static void turns_a_second_program_away(void **state) {
	struct bench *b = *state;
	int first = powered(b);
	int second = connect_unix(b);
	idle(b);
	assert_int_equal(b->n_log, 0);
	assert_true(program_is_disconnected(second));
	close(second);
	transmit(b, &select_mf); /* the first one is not disturbed */
	program_reads(first, "\0\7\x00\xA4\x00\x0C\x02\x3F\x00", 9);
	program_writes(first, "\0\2\x90\x00", 4);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	close(first);
	expect(b, "-");
	close(insert(b));
	expect(b, "-");
}

static void a_program_that_went_and_came_is_let_in(void **state) {
	struct bench *b = *state;
	start(b, "R-");
	int first = insert(b);
	close(first);
	int second = connect_unix(b); /* both events wait for the loop */
	expect(b, "-+");
	close(second);
	expect(b, "-");
}

static void empty_reader_has_no_card(void **state) {
	struct bench *b = *state;
	start(b, "R-");
	power_on(b, DRIVER_COLD);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_NO_CARD);
	transmit_status(b, &select_mf, STATUS_NO_CARD);
	driver_virtual.set_protocol(b->driver, 0, PROTOCOL_T1, on_done, b);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_NO_CARD);
	driver_virtual.power_off(b->driver, 0, on_done, b);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
}

/* Operations */

static void cold_is_off_on_atr_and_warm_is_reset_atr(void **state) {
	struct bench *b = *state;
	start(b, "R-");
	int fd = insert(b);
	power_on(b, DRIVER_COLD);
	program_reads(fd, "\0\1\0\0\1\1\0\1\4", 9);
	program_writes(fd, "\0\5\x3B\x02\x41\x42\x43", 7);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 5);
	assert_memory_equal(b->data, "\x3B\x02\x41\x42\x43", 5);
	power_on(b, DRIVER_WARM);
	program_reads(fd, "\0\1\2\0\1\4", 6);
	program_writes(fd, "\0\2\x3B\0", 4);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 2);
	close(fd);
	expect(b, "-");
}

static void power_off_needs_no_answer(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	driver_virtual.power_off(b->driver, 0, on_done, b);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	program_reads(fd, "\0\1\0", 3);
	transmit_status(b, &select_mf, STATUS_CARD_UNRESPONSIVE);
	close(fd);
	expect(b, "-");
}

static void protocols_just_succeed(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	const struct {
		uint32_t protocol;
		enum status status;
		uint32_t in_force;
	} cases[] = { { PROTOCOL_T0, STATUS_OK, PROTOCOL_T0 },
		{ PROTOCOL_T1, STATUS_OK, PROTOCOL_T1 }, { PROTOCOL_RAW, STATUS_PROTO_MISMATCH, 0 },
		{ PROTOCOL_T0 | PROTOCOL_T1, STATUS_OK, PROTOCOL_T1 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		driver_virtual.set_protocol(b->driver, 0, cases[i].protocol, on_done, b);
		expect(b, "d");
		assert_int_equal(b->status, cases[i].status);
		if (b->status == STATUS_OK)
			assert_int_equal(b->protocol, cases[i].in_force);
	}
	close(fd);
	expect(b, "-");
}

static void answers_may_come_in_pieces(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	transmit(b, &select_mf);
	for (const char *p = "\0\3\xAA\x90\x00", *end = p + 5; p < end; p++) {
		idle(b);
		assert_int_equal(b->n_log, 0);
		program_writes(fd, p, 1);
	}
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 3);
	assert_memory_equal(b->data, "\xAA\x90\x00", 3);
	close(fd);
	expect(b, "-");
}

static void carries_the_longest_frames(void **state) {
	struct bench *b = *state;
	static uint8_t command[65536], frame[65537];
	struct driver_bytes apdu = { command, 65535 };
	int fd = powered(b);
	command[0] = 0x12;
	command[65534] = 0x34;
	transmit(b, &apdu);
	for (size_t got = 0; got < 65537;) {
		ssize_t n = recv(fd, frame + got, sizeof(frame) - got, MSG_DONTWAIT);
		if (n > 0)
			got += (size_t)n;
		else
			turn(b, TURN_US);
	}
	assert_memory_equal(frame, "\xFF\xFF\x12", 3);
	assert_int_equal(frame[65536], 0x34);
	frame[2] = 0x56;
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (size_t sent = 0; sent < 65537;) {
		ssize_t n = send(fd, frame + sent, sizeof(frame) - sent, MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		turn(b, TURN_US);
	}
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 65535);
	assert_int_equal(b->data[0], 0x56);
	assert_int_equal(b->data[65534], 0x34);

	apdu.len = 65536;
	transmit_status(b, &apdu, STATUS_TOO_LONG);
	apdu.len = 1; /* would be a control byte */
	transmit_status(b, &apdu, STATUS_INVALID);
	apdu.len = 0;
	transmit_status(b, &apdu, STATUS_INVALID);
	idle(b);
	assert_int_equal(recv(fd, frame, 1, MSG_DONTWAIT), -1); /* nothing was sent */
	close(fd);
	expect(b, "-");
}

/* With small buffers a long command goes out bit by bit, as the program reads. */
static void waits_for_a_slow_reader(void **state) {
	struct bench *b = *state;
	static uint8_t command[60000];
	struct driver_bytes apdu = { command, sizeof(command) };
	uint16_t port;
	uint8_t piece[1000];
	b->config.card_fd = listen_tcp(&port, 4096);
	start(b, "R-");
	int fd = connect_tcp(port, 4096);
	expect(b, "+");
	power_on(b, DRIVER_COLD);
	program_reads(fd, "\0\1\0\0\1\1\0\1\4", 9);
	program_writes(fd, "\0\2\x3B\0", 4);
	expect(b, "d");

	transmit(b, &apdu);
	size_t got = 0;
	idle(b);
	int queued = 0;
	while (got < sizeof(command) + 2) {
		ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (n > 0)
			got += (size_t)n;
		else
			turn(b, TURN_US), queued = 1;
	}
	assert_int_equal(got, sizeof(command) + 2);
	assert_true(queued); /* it did not all fit at once, or this test shows nothing */
	program_writes(fd, "\0\2\x90\x00", 4);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	close(fd);
	expect(b, "-");
	close(b->config.card_fd);
}

/* What a program may do wrong */

static void disconnects(struct bench *b, int fd, const char *log, enum status status) {
	expect(b, log);
	if (strchr(log, 'd'))
		assert_int_equal(b->status, status);
	assert_true(program_is_disconnected(fd));
	close(fd);
	close(insert(b)); /* the reader is as good as new */
	expect(b, "-");
}

static void going_in_mid_exchange_is_removal(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	transmit(b, &select_mf);
	program_reads(fd, "\0\7\x00\xA4\x00\x0C\x02\x3F\x00", 9);
	program_writes(fd, "\0\7\xAA", 3);
	close(fd);
	expect(b, "d-"); /* the operation first, then presence */
	assert_int_equal(b->status, STATUS_CARD_REMOVED);
	transmit_status(b, &select_mf, STATUS_NO_CARD);
}

static void writing_to_a_closed_program_kills_nobody(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	close(fd);
	transmit(b, &select_mf); /* SIGPIPE would end this test */
	expect(b, "d-");
	assert_int_equal(b->status, STATUS_CARD_REMOVED);
}

static void speaking_unasked_disconnects(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	program_writes(fd, "\0\2\x90\x00", 4);
	disconnects(b, fd, "-", STATUS_OK);
}

static void answering_twice_disconnects(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	transmit(b, &select_mf);
	program_writes(fd, "\0\2\x90\x00\0\2\x90\x00", 8);
	disconnects(b, fd, "d-", STATUS_EXCHANGE_FAILED);
}

static void answering_before_the_question_is_out_disconnects(void **state) {
	struct bench *b = *state;
	static uint8_t command[65535];
	struct driver_bytes apdu = { command, sizeof(command) };
	uint16_t port;
	b->config.card_fd = listen_tcp(&port, 4096);
	start(b, "R-");
	int fd = connect_tcp(port, 4096);
	expect(b, "+");
	power_on(b, DRIVER_COLD);
	program_reads(fd, "\0\1\0\0\1\1\0\1\4", 9);
	program_writes(fd, "\0\2\x3B\0", 4);
	expect(b, "d");
	transmit(b, &apdu);
	program_writes(fd, "\0\2\x90\x00", 4);
	expect(b, "d-");
	assert_int_equal(b->status, STATUS_EXCHANGE_FAILED);
	close(fd);
	close(b->config.card_fd);
}

static void an_atr_has_at_most_33_bytes(void **state) {
	struct bench *b = *state;
	uint8_t frame[36] = { 0, 34, 0x3B };
	start(b, "R-");
	int fd = insert(b);
	power_on(b, DRIVER_COLD);
	frame[1] = 33;
	program_reads(fd, "\0\1\0\0\1\1\0\1\4", 9);
	program_writes(fd, frame, 35);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 33);
	power_on(b, DRIVER_WARM);
	frame[1] = 34;
	program_writes(fd, frame, 36);
	disconnects(b, fd, "d-", STATUS_EXCHANGE_FAILED);
}

static void an_empty_atr_is_a_mute_card(void **state) {
	struct bench *b = *state;
	start(b, "R-");
	int fd = insert(b);
	power_on(b, DRIVER_COLD);
	program_writes(fd, "\0\0", 2);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_CARD_MUTE);
	transmit_status(b, &select_mf, STATUS_CARD_UNRESPONSIVE);
	power_on(b, DRIVER_WARM); /* it may do better next time */
	program_writes(fd, "\0\2\x3B\0", 4);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	close(fd);
	expect(b, "-");
}

static void an_answer_has_a_status_word(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	transmit(b, &select_mf);
	program_writes(fd, "\0\1\x90", 3);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_EXCHANGE_FAILED);
	transmit(b, &select_mf);
	program_writes(fd, "\0\0", 2);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_EXCHANGE_FAILED);
	close(fd);
	expect(b, "-");
}

static void silence_ends_at_the_deadline(void **state) {
	struct bench *b = *state;
	b->config.quirks = "other card-timeout=1 more";
	int fd = powered(b);
	transmit(b, &select_mf);
	program_reads(fd, "\0\7\x00\xA4\x00\x0C\x02\x3F\x00", 9);
	disconnects(b, fd, "d-", STATUS_EXCHANGE_TIMEOUT);
	fd = insert(b);
	power_on(b, DRIVER_COLD);
	disconnects(b, fd, "d-", STATUS_CARD_MUTE);
}

static void no_deadline_hits_an_idle_program(void **state) {
	struct bench *b = *state;
	b->config.quirks = "card-timeout=1";
	int fd = powered(b);
	for (int i = 0; i < 3; i++)
		turn(b, 500000);
	assert_int_equal(b->n_log, 0);
	close(fd);
	expect(b, "-");
}

static void describes_itself(void **state) {
	struct bench *b = *state;
	char text[256], expected[256];
	b->config.quirks = "card-timeout=99999 card-timeout=7 card-timeout=8x card-timeout=0";
	start(b, "R-");
	snprintf(expected, sizeof(expected),
		"exchange=straight\ncard=%s\ncard-program=none\ncard-timeout=7\n", b->card);
	size_t n = driver_virtual.describe(b->driver, 0, text, sizeof(text));
	assert_string_equal(text, expected);
	assert_int_equal(n, strlen(text));
	int fd = insert(b);
	driver_virtual.describe(b->driver, 0, text, sizeof(text));
	snprintf(expected, sizeof(expected), "card-program=pid %d\n", (int)getpid());
	assert_non_null(strstr(text, expected));
	program_writes(fd, "x", 1);
	expect(b, "-");
	close(fd);
	driver_virtual.describe(b->driver, 0, text, sizeof(text));
	assert_non_null(strstr(text, "card-dropped=spoke without being asked\n"));
	for (size_t size = 1; size < 100; size++) {
		memset(text, 'x', sizeof(text));
		n = driver_virtual.describe(b->driver, 0, text, size);
		assert_true(n < size);
		assert_int_equal(n, strlen(text));
	}
}

/* Without a descriptor for it a program waits outside, and the loop rests meanwhile. */
static void want_of_descriptors_is_no_busy_loop(void **state) {
	struct bench *b = *state;
	struct rlimit limit, low;
	int taken[64], n = 0, turns = 0;
	start(b, "R-");
	int fd = connect_unix(b);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 64 && (taken[n] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0)
		n++;
	while (sd_event_run(b->event, IDLE_US) > 0)
		assert_true(turns++ < 3);
	while (n > 0)
		close(taken[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(turns, 1);
	expect(b, "+");
	close(fd);
	expect(b, "-");
}

/* The rest */

static void free_ends_what_is_under_way(void **state) {
	struct bench *b = *state;
	int fd = powered(b);
	transmit(b, &select_mf);
	driver_virtual.free(b->driver);
	b->driver = NULL;
	expect(b, "d");
	assert_int_equal(b->status, STATUS_READER_GONE);
	idle(b);
	assert_int_equal(b->n_log, 0);
	close(fd);
}

static void free_before_the_start_is_fine(void **state) {
	struct bench *b = *state;
	assert_int_equal(driver_virtual.init(&b->config, b->event, &b->host, &b->driver), 0);
	driver_virtual.free(b->driver);
	b->driver = NULL;
	idle(b);
	assert_int_equal(b->n_log, 0);
	driver_virtual.free(NULL);
}

/* Codes are answered from what is known, during an operation, too; the card's program is never asked. */
static void control(struct bench *b, uint32_t code) {
	b->status = driver_virtual.known(b->driver, 0, code, b->data, &b->len);
}

static void offers_tlv_properties(void **state) {
	struct bench *b = *state;
	const uint8_t features[] = { 0x12, 4, 0x42, 0x33, 0x00, 0x12 };
	unsigned seen = 0;
	start(b, "R-");
	control(b, 0x42000D48);
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, sizeof(features));
	assert_memory_equal(b->data, features, sizeof(features));
	control(b, 0x00313520);
	assert_int_equal(b->len, sizeof(features));
	assert_memory_equal(b->data, features, sizeof(features));
	control(b, 0x42330012);
	assert_int_equal(b->status, STATUS_OK);
	for (size_t i = 0; i < b->len; i += 2u + b->data[i + 1]) {
		assert_true(i + 2 + b->data[i + 1] <= b->len);
		seen |= 1u << b->data[i];
		if (b->data[i] == 0x0A) /* extended length: more than 256 */
			assert_memory_equal(b->data + i + 1, "\4\xF6\xFF\0\0", 5);
	}
	assert_int_equal(seen, 1u << 1 | 1u << 3 | 1u << 9 | 1u << 0xA | 1u << 0xB | 1u << 0xC);
	control(b, 0x42000001);
	assert_int_equal(b->status, STATUS_UNSUPPORTED);
}

static void attribute(struct bench *b, uint32_t tag, const void *expected, size_t expected_len) {
	uint8_t buf[DRIVER_MAX_ATTRIB];
	size_t len = 999;
	assert_int_equal(driver_virtual.get_attrib(b->driver, 0, tag, buf, &len), STATUS_OK);
	assert_int_equal(len, expected_len);
	if (len)
		assert_memory_equal(buf, expected, len);
}

static void has_attributes(void **state) {
	struct bench *b = *state;
	uint8_t buf[DRIVER_MAX_ATTRIB];
	size_t len = 999;
	uint32_t number;
	char name[400];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	int fd = powered(b);
	attribute(b, 0x00010100, "ifdhandler", 11);
	attribute(b, 0x00010103, NULL, 0);
	attribute(b, 0x00010102, (number = 0x01000000, &number), 4);
	attribute(b, 0x00020110, (number = 0x00F00000, &number), 4);
	attribute(b, 0x0007A007, (number = 65535, &number), 4);
	attribute(b, 0x00090301, "\1", 1);
	b->config.manufacturer = name;
	b->config.serial = "77";
	attribute(b, 0x00010103, "77", 3);
	assert_int_equal(driver_virtual.get_attrib(b->driver, 0, 0x00010100, buf, &len), STATUS_OK);
	assert_int_equal(len, DRIVER_MAX_ATTRIB); /* cut, with its NUL */
	assert_int_equal(buf[len - 1], 0);
	assert_int_equal(
		driver_virtual.get_attrib(b->driver, 0, 0x00090303, buf, &len), STATUS_UNSUPPORTED);
	close(fd);
	expect(b, "-");
	attribute(b, 0x00090301, "\0", 1);
}

static void builtin_is_always_in(void **state) {
	struct bench *b = *state;
	const struct driver_bytes read = { (const uint8_t *)"\x00\xB0\x9E\x00\x02", 5 };
	char text[64];
	b->config.card = "builtin";
	start(b, "R+");
	transmit_status(b, &read, STATUS_CARD_UNRESPONSIVE); /* not powered yet */
	power_on(b, DRIVER_COLD);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 15);
	transmit(b, &read);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 4);
	assert_memory_equal(b->data, "\x61\x27\x90\x00", 4);
	driver_virtual.describe(b->driver, 0, text, sizeof(text));
	assert_string_equal(text, "exchange=straight\ncard=builtin\n");
	driver_virtual.power_off(b->driver, 0, on_done, b);
	expect(b, "d");
	transmit_status(b, &read, STATUS_CARD_UNRESPONSIVE);
}

static void verify(struct bench *b, const char *pin, const char *sw) {
	uint8_t command[13] = { 0x00, 0x20, 0x00, 0x01, 8 };
	memcpy(command + 5, pin, 8);
	const struct driver_bytes apdu = { command, sizeof(command) };
	transmit(b, &apdu);
	expect(b, "d");
	assert_int_equal(b->status, STATUS_OK);
	assert_int_equal(b->len, 2);
	assert_memory_equal(b->data, sw, 2);
}

static void builtin_forgets_the_pin_but_not_the_tries(void **state) {
	struct bench *b = *state;
	const struct driver_bytes query = { (const uint8_t *)"\x00\x20\x00\x01", 4 };
	b->config.card = "builtin";
	start(b, "R+");
	power_on(b, DRIVER_COLD);
	expect(b, "d");
	verify(b, "123456\xFF\xFF", "\x90\x00");
	transmit(b, &query);
	expect(b, "d");
	assert_memory_equal(b->data, "\x90\x00", 2);
	power_on(b, DRIVER_WARM);
	expect(b, "d");
	transmit(b, &query);
	expect(b, "d");
	assert_memory_equal(b->data, "\x63\xC3", 2);
	verify(b, "123456\xFF\xFF", "\x90\x00");
	driver_virtual.power_off(b->driver, 0, on_done, b);
	expect(b, "d");
	power_on(b, DRIVER_COLD);
	expect(b, "d");
	transmit(b, &query);
	expect(b, "d");
	assert_memory_equal(b->data, "\x63\xC3", 2);
	verify(b, "999999\xFF\xFF", "\x63\xC2");
	power_on(b, DRIVER_COLD);
	expect(b, "d");
	transmit(b, &query);
	expect(b, "d");
	assert_memory_equal(b->data, "\x63\xC2", 2);
}

/* Commands one after the other, each started from the one before: slot.c starts a few so (power, protocol,
 * command). */
struct chain {
	struct bench *bench;
	unsigned left;
};

static void on_link(void *userdata, const struct driver_result *result) {
	struct chain *c = userdata;
	assert_int_equal(result->status, STATUS_OK);
	if (c->left-- > 0)
		driver_virtual.transmit(c->bench->driver, 0, PROTOCOL_T1, &select_mf, on_link, c);
}

static void next_operation_may_start_from_done(void **state) {
	struct bench *b = *state;
	struct chain c = { b, 10 };
	b->config.card = "builtin";
	start(b, "R+");
	driver_virtual.power_on(b->driver, 0, DRIVER_COLD, on_link, &c);
	for (int i = 0; i < 2000 && c.left != UINT32_MAX; i++)
		turn(b, TURN_US);
	assert_int_equal(c.left, UINT32_MAX);
}

#define BENCH_TEST(f) cmocka_unit_test_setup_teardown(f, make_bench, free_bench)

int main(void) {
	const struct CMUnitTest tests[] = {
		BENCH_TEST(refuses_wrong_configurations),
		BENCH_TEST(socket_is_its_owners_and_goes_with_it),
		BENCH_TEST(replaces_a_socket_that_nobody_has),
		BENCH_TEST(leaves_a_socket_in_use_alone),
		BENCH_TEST(leaves_other_files_alone),
		BENCH_TEST(listens_on_loopback_only),
		BENCH_TEST(takes_an_inherited_socket),
		BENCH_TEST(connect_and_disconnect_are_presence),
		BENCH_TEST(turns_a_second_program_away),
		BENCH_TEST(a_program_that_went_and_came_is_let_in),
		BENCH_TEST(empty_reader_has_no_card),
		BENCH_TEST(cold_is_off_on_atr_and_warm_is_reset_atr),
		BENCH_TEST(power_off_needs_no_answer),
		BENCH_TEST(protocols_just_succeed),
		BENCH_TEST(answers_may_come_in_pieces),
		BENCH_TEST(carries_the_longest_frames),
		BENCH_TEST(waits_for_a_slow_reader),
		BENCH_TEST(going_in_mid_exchange_is_removal),
		BENCH_TEST(writing_to_a_closed_program_kills_nobody),
		BENCH_TEST(speaking_unasked_disconnects),
		BENCH_TEST(answering_twice_disconnects),
		BENCH_TEST(answering_before_the_question_is_out_disconnects),
		BENCH_TEST(an_atr_has_at_most_33_bytes),
		BENCH_TEST(an_empty_atr_is_a_mute_card),
		BENCH_TEST(an_answer_has_a_status_word),
		BENCH_TEST(silence_ends_at_the_deadline),
		BENCH_TEST(no_deadline_hits_an_idle_program),
		BENCH_TEST(describes_itself),
		BENCH_TEST(want_of_descriptors_is_no_busy_loop),
		BENCH_TEST(free_ends_what_is_under_way),
		BENCH_TEST(free_before_the_start_is_fine),
		BENCH_TEST(offers_tlv_properties),
		BENCH_TEST(has_attributes),
		BENCH_TEST(builtin_is_always_in),
		BENCH_TEST(builtin_forgets_the_pin_but_not_the_tries),
		BENCH_TEST(next_operation_may_start_from_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
