/* SPDX-License-Identifier: MIT */
/*
 * The whole service behind a real listening socket, with a driver that the test holds in its hand.
 * Clients are plain sockets that send bytes, well-formed or not, and look at what comes back.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ifdhandler/socket.h"
#include "tests/unit/fake-driver.h"

enum {
	TURNS = 200,        /* of the loop, at most, until something has happened */
	TURN_USEC = 50000,  /* … each */
	OTHER_USER = 65534, /* somebody who is not us */
};

static sd_event *event;
static struct service service;
static struct socket server;
static struct access access_rule;
static struct driver *driver;
static int used, stopped;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void on_used(void *userdata, int u) {
	(void)userdata;
	used = u;
}

static void on_stop(void *userdata, enum status reason) {
	(void)userdata;
	stopped = (int)reason;
}

static void on_gone(void *userdata) {
	(void)userdata;
}

static const struct service_host host = { .used = on_used, .stop = on_stop, .gone = on_gone };
static struct description_reader names[] = { { 0, "Fake 00 00" } };
static const struct description description = { .readers = names, .n_readers = 1 };
static const struct log quiet = { .max_priority = -1 };

static int setup(void **state) {
	(void)state;
	used = stopped = 0;
	assert_true(sd_event_new(&event) >= 0);
	assert_true(service_init(&service, event, &quiet, &host, &description) >= 0);
	assert_int_equal(service_start(&service, &fake_driver_ops, NULL), 0);
	driver = fake_driver();
	driver->host->ready(driver->host->userdata);
	driver->host->presence(driver->host->userdata, 0, 1, 0);
	fake_driver_calls(driver);
	access_rule = (struct access){ .own_only = 1, .own_uid = geteuid() };
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test-socket-%d", (int)getpid());
	unlink(address.sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t mask = umask(0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	umask(mask);
	assert_int_equal(listen(fd, 4096), 0);
	return socket_start(&server, fd, &service, &access_rule) < 0;
}

static int teardown(void **state) {
	(void)state;
	driver->hold = 0;
	socket_stop(&server, STATUS_STOPPED, "the test is over");
	service_done(&service);
	assert_int_equal(service.n_sessions, 0);
	sd_event_unref(event);
	return unlink(address.sun_path);
}

/* ---- clients ---- */

static int client_new(void) {
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All that can happen now has happened. */
static void settle(void) {
	while (sd_event_run(event, 0) > 0)
		;
}

static void turn(void) {
	assert_true(sd_event_run(event, TURN_USEC) >= 0);
}

static void send_bytes(int fd, const void *bytes, size_t len) {
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Appends a frame whose body is `len` bytes at `body`. */
static void put(struct bytes_writer *w, uint16_t type, const void *body, size_t len) {
	frame_header(w, type, 9, len);
	bytes_put_data(w, body, len);
	assert_false(w->failed);
}

static void send_frame(int fd, uint16_t type, const void *body, size_t len) {
	static uint8_t buf[FRAME_MAX];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	put(&w, type, body, len);
	send_bytes(fd, buf, bytes_written(&w));
}

/* Reads exactly `len` bytes while the loop runs; 0 at the end of the stream. */
static int recv_bytes(int fd, uint8_t *buf, size_t len) {
	for (int i = 0; len && i < TURNS;) {
		ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else {
			turn();
			i++;
		}
	}
	assert_int_equal(len, 0);
	return 1;
}

/* The next frame, or type 0 at the end. */
static struct frame recv_frame(int fd) {
	static uint8_t buf[FRAME_MAX];
	struct frame frame = { 0 };
	if (!recv_bytes(fd, buf, FRAME_HEADER))
		return frame;
	struct bytes_reader r = bytes_reader(buf, FRAME_HEADER);
	size_t len = bytes_get_u32(&r);
	assert_true(len <= FRAME_MAX_BODY);
	assert_int_equal(recv_bytes(fd, buf + FRAME_HEADER, len), 1);
	assert_int_equal(frame_parse(buf, FRAME_HEADER + len, &frame), FRAME_HEADER + len);
	return frame;
}

/* The next frame that is no state. */
static struct frame recv_answer(int fd) {
	struct frame frame;
	do
		frame = recv_frame(fd);
	while (frame.type == MESSAGE_STATE);
	return frame;
}

static unsigned recv_reply(int fd) {
	struct frame frame = recv_answer(fd);
	struct message_reply reply;
	assert_int_equal(message_reply_decode(&frame, &reply), 0);
	assert_int_equal(frame.serial, 9);
	return reply.status;
}

/* The last frame is a BYE with this reason and these words in it. */
static void recv_bye(int fd, unsigned status, const char *words) {
	struct frame frame = recv_answer(fd);
	struct message_bye bye;
	char text[1024];
	assert_int_equal(message_bye_decode(&frame, &bye), 0);
	assert_int_equal(bye.status, status);
	snprintf(text, sizeof(text), "%.*s", (int)bye.tail_len, (const char *)bye.tail);
	assert_non_null(strstr(text, words));
	assert_int_equal(recv_frame(fd).type, 0);
	close(fd);
}

static const uint8_t hello[] = { 'I', 'F', 'D', 'H', 1, 0, 0, 0 };
static const uint8_t shared[] = { 0, SHARE_SHARED, 0, 0, 3, 0, 0, 0 };
static const uint8_t command[] = { PROTOCOL_T1, 0, 0, 0, 0x00, 0xA4, 0x00, 0x00 };
static const uint8_t leave[] = { DISPOSITION_LEAVE };

static int client_greeted(void) {
	int fd = client_new();
	send_frame(fd, MESSAGE_HELLO, hello, sizeof(hello));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	return fd;
}

static int client_connected(void) {
	int fd = client_greeted();
	send_frame(fd, MESSAGE_CONNECT, shared, sizeof(shared));
	assert_int_equal(recv_reply(fd), STATUS_OK);
	return fd;
}

static unsigned ask(int fd, uint16_t type, const void *body, size_t len) {
	send_frame(fd, type, body, len);
	return recv_reply(fd);
}

/* Sends without waiting: the request is under way, or waits, when this returns. */
static void begin(int fd, uint16_t type, const void *body, size_t len) {
	send_frame(fd, type, body, len);
	settle();
}

static int has_input(int fd) {
	uint8_t byte;
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- frames ---- */

static void frames_may_come_byte_by_byte(void **state) {
	(void)state;
	uint8_t buf[64];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	put(&w, MESSAGE_HELLO, hello, sizeof(hello));
	put(&w, MESSAGE_CONNECT, shared, sizeof(shared));
	put(&w, MESSAGE_TRANSMIT, command, sizeof(command));
	int fd = client_new();
	for (size_t i = 0; i < bytes_written(&w); i++) {
		send_bytes(fd, buf + i, 1);
		settle();
	}
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	close(fd);
}

static void frames_may_come_all_at_once(void **state) {
	(void)state;
	uint8_t buf[512];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	put(&w, MESSAGE_HELLO, hello, sizeof(hello));
	put(&w, MESSAGE_CONNECT, shared, sizeof(shared));
	for (int i = 0; i < 20; i++)
		put(&w, MESSAGE_TRANSMIT, command, sizeof(command));
	put(&w, MESSAGE_DISCONNECT, leave, sizeof(leave));
	put(&w, MESSAGE_CONNECT, shared, sizeof(shared));
	int fd = client_new();
	send_bytes(fd, buf, bytes_written(&w));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	for (int i = 0; i < 23; i++)
		assert_int_equal(recv_reply(fd), STATUS_OK);
	settle();
	assert_false(has_input(fd));
	close(fd);
}

/* The second command, sent ahead, is neither lost nor begun before the first is answered. */
static void what_is_sent_ahead_waits(void **state) {
	(void)state;
	int fd = client_connected();
	fake_driver_calls(driver);
	driver->hold = 1;
	begin(fd, MESSAGE_TRANSMIT, command, sizeof(command));
	begin(fd, MESSAGE_TRANSMIT, command, sizeof(command));
	begin(fd, MESSAGE_DISCONNECT, leave, sizeof(leave));
	assert_string_equal(fake_driver_calls(driver), "X");
	fake_driver_finish(driver);
	settle();
	assert_string_equal(fake_driver_calls(driver), "X");
	assert_int_equal(recv_reply(fd), STATUS_OK);
	assert_false(has_input(fd));
	fake_driver_finish(driver);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	close(fd);
}

/* PCSC-129: the longest command and its answer, and what lies behind it in the stream. */
static void the_longest_command(void **state) {
	(void)state;
	static uint8_t body[4 + WIRE_MAX_DATA] = { PROTOCOL_T1 };
	static uint8_t stream[FRAME_MAX + 64];
	struct bytes_writer w = bytes_writer(stream, sizeof(stream));
	for (size_t i = 4; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	size_t len = sizeof(body) - 2; /* the fake's answer has two bytes more than the command */
	put(&w, MESSAGE_TRANSMIT, body, len);
	put(&w, MESSAGE_SYNC, NULL, 0);
	int fd = client_connected();
	for (size_t sent = 0; sent < bytes_written(&w);) {
		ssize_t n = send(fd, stream + sent, bytes_written(&w) - sent, MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		settle();
	}
	struct frame frame = recv_answer(fd);
	struct message_reply reply;
	assert_int_equal(message_reply_decode(&frame, &reply), 0);
	assert_int_equal(reply.tail_len, WIRE_MAX_DATA);
	assert_memory_equal(reply.tail, body + 4, len - 4);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	close(fd);
}

/* ---- how connections end ---- */

static void a_wrong_frame_is_told_and_ends(void **state) {
	(void)state;
	static const uint8_t version_0[] = { 'I', 'F', 'D', 'H', 0, 0, 0, 0 };
	static const uint8_t too_long[] = { 0x41, 0x00, 0x01, 0x00, 1, 0, 0, 0 };
	int fd = client_new();
	send_frame(fd, MESSAGE_CONNECT, shared, sizeof(shared));
	recv_bye(fd, STATUS_PROTOCOL, "not legal now");
	fd = client_new();
	send_frame(fd, MESSAGE_HELLO, version_0, sizeof(version_0));
	recv_bye(fd, STATUS_VERSION, "versions 1 and 2");
	fd = client_new();
	send_bytes(fd, too_long, sizeof(too_long));
	recv_bye(fd, STATUS_PROTOCOL, "longer than 65600");
	fd = client_connected();
	send_frame(fd, MESSAGE_TRANSMIT, "x", 1);
	recv_bye(fd, STATUS_PROTOCOL, "malformed");
	assert_int_equal(server.connections.n, 0);
	assert_int_equal(used, 0);
}

static void stopping_says_why(void **state) {
	(void)state;
	int fd = client_connected(), other = client_new();
	settle();
	socket_stop(&server, STATUS_READER_GONE, "unplugged");
	recv_bye(fd, STATUS_READER_GONE, "unplugged");
	recv_bye(other, STATUS_READER_GONE, "unplugged");
}

/* The driver ends a command that runs for a client who is gone already: nothing starts anew. */
static void stopping_in_the_middle_of_a_command(void **state) {
	(void)state;
	int fd = client_connected();
	assert_int_equal(ask(fd, MESSAGE_BEGIN, NULL, 0), STATUS_OK);
	driver->hold = 1;
	begin(fd, MESSAGE_TRANSMIT, command, sizeof(command));
	fake_driver_calls(driver);
	socket_stop(&server, STATUS_STOPPED, "stopped");
	assert_int_equal(service.n_sessions, 1);
	service_done(&service);
	assert_int_equal(service.n_sessions, 0);
	assert_string_equal(fake_driver_calls(driver), "A");
	close(fd);
}

static void a_client_that_hangs_up_gives_all_back(void **state) {
	(void)state;
	int fd = client_connected(), other = client_connected();
	assert_int_equal(ask(fd, MESSAGE_BEGIN, NULL, 0), STATUS_OK);
	begin(other, MESSAGE_TRANSMIT, command, sizeof(command));
	fake_driver_calls(driver);
	close(fd);
	assert_int_equal(recv_reply(other), STATUS_CARD_RESET);
	assert_string_equal(fake_driver_calls(driver), "W");
	close(other);
}

/* What was sent before a half-close is still answered. */
static void a_half_closed_client_gets_its_answer(void **state) {
	(void)state;
	int fd = client_connected();
	send_frame(fd, MESSAGE_TRANSMIT, command, sizeof(command));
	shutdown(fd, SHUT_WR);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	assert_int_equal(recv_frame(fd).type, 0);
	close(fd);
}

/* The descriptor lives on in another process: the owner's death counts. */
static void a_dead_owner_whose_descriptor_lives_on(void **state) {
	(void)state;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), go[2], status;
	uint8_t buf[64];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	put(&w, MESSAGE_HELLO, hello, sizeof(hello));
	put(&w, MESSAGE_CONNECT, shared, sizeof(shared));
	put(&w, MESSAGE_BEGIN, NULL, 0);
	assert_int_equal(pipe(go), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(1);
		_exit(read(go[0], &status, 1) != 1);
	}
	for (int i = 0; i < TURNS && !server.connections.n; i++)
		turn();
	send_bytes(fd, buf, bytes_written(&w));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	assert_int_equal(recv_reply(fd), STATUS_OK);
	fake_driver_calls(driver);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int i = 0; i < TURNS && server.connections.n; i++)
		turn();
	assert_int_equal(server.connections.n, 0);
	assert_string_equal(fake_driver_calls(driver), "W");
	close(fd);
	close(go[0]);
	close(go[1]);
}

/* ---- who does not read ---- */

/* Whoever asks and asks and never reads makes us hold one answer, and is heard again when he reads. */
static void answers_that_nobody_reads_do_not_pile_up(void **state) {
	(void)state;
	static uint8_t body[4 + 60000] = { PROTOCOL_T1 };
	int fd = client_connected();
	unsigned asked = 0, answered = 0;
	fake_driver_calls(driver);
	for (; asked < 30; asked++) {
		static uint8_t frame[FRAME_MAX];
		struct bytes_writer w = bytes_writer(frame, sizeof(frame));
		put(&w, MESSAGE_TRANSMIT, body, sizeof(body));
		for (size_t sent = 0; sent < bytes_written(&w);) {
			ssize_t n = send(fd, frame + sent, bytes_written(&w) - sent,
				MSG_NOSIGNAL | MSG_DONTWAIT);
			if (n < 0)
				goto full;
			sent += (size_t)n;
			settle();
		}
	}
full:
	/* Our own buffer is full as the handler does not read: it was stopped by what it could not send. */
	assert_true(asked < 30);
	unsigned served = (unsigned)strlen(fake_driver_calls(driver));
	assert_in_range(served, 1, 8);
	while (answered < served) {
		assert_int_equal(recv_reply(fd), STATUS_OK);
		answered++;
	}
	/* The rest goes on, as far as whole frames were sent. */
	for (; answered < asked; answered++)
		assert_int_equal(recv_reply(fd), STATUS_OK);
	close(fd);
}

/* The same with small requests that are in the handler's buffer already. */
static void small_requests_wait_for_a_reader_of_answers(void **state) {
	(void)state;
	int fd = client_greeted();
	unsigned n = 0, size = 0;
	while (size < 3000000 && n < 30000) {
		uint8_t buf[8 * 32];
		struct bytes_writer w = bytes_writer(buf, sizeof(buf));
		for (int i = 0; i < 32; i++)
			put(&w, MESSAGE_INSPECT, NULL, 0);
		if (send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(buf))
			break;
		settle();
		n += 32;
		size += 32 * 100;
	}
	assert_true(n < 30000);
	assert_int_equal(server.connections.n, 1);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(recv_reply(fd), STATUS_OK);
	settle();
	assert_false(has_input(fd));
	assert_int_equal(ask(fd, MESSAGE_INSPECT, NULL, 0), STATUS_OK);
	close(fd);
}

static void move_card(int in) {
	driver->host->presence(driver->host->userdata, 0, in, 0);
	fake_driver_calls(driver);
	settle();
}

/* A watch that is never read costs one buffer, loses old states and keeps the newest. */
static void a_watcher_that_never_reads(void **state) {
	(void)state;
	int fd = client_greeted();
	assert_int_equal(ask(fd, MESSAGE_WATCH, NULL, 0), STATUS_OK);
	for (int i = 0; i < 5000; i++)
		move_card(i & 1);
	assert_int_equal(server.connections.n, 1);
	assert_int_equal(service.slots[0].counter, 5000);
	struct message_state last = { 0 };
	unsigned n = 0;
	do {
		struct frame frame = recv_frame(fd);
		assert_int_equal(frame.type, MESSAGE_STATE);
		assert_int_equal(message_state_decode(&frame, &last), 0);
		n++;
		settle();
	} while (last.counter != 5000);
	assert_true(n < 5000);
	assert_int_equal(last.presence, PRESENCE_PRESENT);
	settle();
	assert_false(has_input(fd));
	assert_int_equal(ask(fd, MESSAGE_INSPECT, NULL, 0), STATUS_OK);
	close(fd);
}

static unsigned state_flags(int fd) {
	struct message_state state = { 0 };
	struct frame frame = recv_frame(fd);
	assert_int_equal(frame.type, MESSAGE_STATE);
	assert_int_equal(message_state_decode(&frame, &state), 0);
	return state.flags;
}

/* Most connects to a reader that is in use change nothing that a watch sees: then it is not woken. */
static void watches_hear_changes_only(void **state) {
	(void)state;
	int watch = client_greeted();
	assert_int_equal(ask(watch, MESSAGE_WATCH, NULL, 0), STATUS_OK);
	int first = client_connected();
	assert_true(state_flags(watch) & STATE_IN_USE);
	int second = client_connected();
	assert_int_equal(ask(second, MESSAGE_BEGIN, NULL, 0), STATUS_OK);
	assert_int_equal(ask(second, MESSAGE_END, leave, sizeof(leave)), STATUS_OK);
	assert_int_equal(ask(second, MESSAGE_DISCONNECT, leave, sizeof(leave)), STATUS_OK);
	settle();
	assert_false(has_input(watch));
	assert_int_equal(ask(first, MESSAGE_DISCONNECT, leave, sizeof(leave)), STATUS_OK);
	assert_false(state_flags(watch) & STATE_IN_USE);
	close(watch);
	close(first);
	close(second);
}

/* ---- queues ---- */

/* Who came first goes first: a BEGIN does not overtake a command that waits for the slot. */
static void begin_does_not_overtake(void **state) {
	(void)state;
	int a = client_connected(), b = client_connected(), c = client_connected();
	fake_driver_calls(driver);
	driver->hold = 1;
	begin(a, MESSAGE_TRANSMIT, command, sizeof(command));
	begin(b, MESSAGE_TRANSMIT, command, sizeof(command));
	begin(c, MESSAGE_BEGIN, NULL, 0);
	fake_driver_finish(driver);
	assert_int_equal(recv_reply(a), STATUS_OK);
	assert_string_equal(fake_driver_calls(driver), "XX");
	fake_driver_finish(driver);
	assert_int_equal(recv_reply(b), STATUS_OK);
	assert_int_equal(recv_reply(c), STATUS_OK);
	close(a);
	close(b);
	close(c);
}

/* The owner of the lock dies: the card is reset, whatever else was under way before. */
static void the_card_of_a_dead_owner_is_always_reset(void **state) {
	(void)state;
	int a = client_connected(), b = client_connected();
	driver->hold = 1;
	begin(b, MESSAGE_TRANSMIT, command, sizeof(command));
	begin(a, MESSAGE_BEGIN, NULL, 0);
	fake_driver_calls(driver);
	driver->hold = 0;
	fake_driver_finish(driver);
	assert_int_equal(recv_reply(b), STATUS_OK);
	assert_int_equal(recv_reply(a), STATUS_OK);
	close(a);
	for (int i = 0; i < TURNS && server.connections.n > 1; i++)
		turn();
	assert_string_equal(fake_driver_calls(driver), "W");
	assert_int_equal(ask(b, MESSAGE_TRANSMIT, command, sizeof(command)), STATUS_CARD_RESET);
	close(b);
}

/* ---- access and limits ---- */

/* A client of another user; skips where we may not be one. */
static int client_of(uid_t uid) {
	if (geteuid() != 0 || seteuid(uid) < 0)
		skip();
	int fd = client_new();
	assert_int_equal(seteuid(0), 0);
	return fd;
}

static void a_stranger_is_told_what_would_help(void **state) {
	(void)state;
	int fd = client_of(OTHER_USER);
	recv_bye(fd, STATUS_REFUSED, "serves user 0 only");
	access_rule = (struct access){ .group = (gid_t)-1, .seat.name = "seat-of-nobody" };
	recv_bye(client_of(OTHER_USER), STATUS_REFUSED, "usermod -aG smartcard");
	assert_int_equal(service.n_sessions, 0);
}

/* Nobody but root sees others, or stops the handler. */
static void a_user_sees_his_own_connections_only(void **state) {
	(void)state;
	uint8_t reason[2] = { STATUS_STOPPED, 0 };
	struct message_reply reply;
	access_rule = (struct access){ .own_only = 1, .own_uid = OTHER_USER };
	int root = client_connected(), fd = client_of(OTHER_USER);
	send_frame(fd, MESSAGE_HELLO, hello, sizeof(hello));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	send_frame(fd, MESSAGE_INSPECT, NULL, 0);
	struct frame frame = recv_answer(fd);
	assert_int_equal(message_reply_decode(&frame, &reply), 0);
	assert_null(memmem(reply.tail, reply.tail_len, "client=", 7));
	assert_non_null(memmem(reply.tail, reply.tail_len, "name=Fake 00 00\n", 16));
	assert_int_equal(ask(fd, MESSAGE_STOP, reason, 2), STATUS_REFUSED);
	assert_int_equal(stopped, 0);
	send_frame(root, MESSAGE_DISCONNECT, leave, sizeof(leave));
	assert_int_equal(recv_reply(root), STATUS_OK);
	assert_int_equal(ask(root, MESSAGE_STOP, reason, 2), STATUS_OK);
	assert_int_equal(stopped, STATUS_STOPPED);
	close(root);
	close(fd);
}

/* One user's connections leave room for the others'. */
static void one_user_cannot_take_all(void **state) {
	(void)state;
	int fds[SOCKET_MAX_PER_USER];
	/* Both ends and the owner's pidfd for each. */
	struct rlimit old, many = { .rlim_cur = 3 * SOCKET_MAX_PER_USER + 100 };
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	many.rlim_max = old.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &many) < 0)
		skip();
	access_rule = (struct access){ .own_only = 1, .own_uid = OTHER_USER };
	for (size_t i = 0; i < N_OF(fds); i++) {
		fds[i] = client_of(OTHER_USER);
		settle();
	}
	recv_bye(client_of(OTHER_USER), STATUS_LIMIT, "1024 connections");
	int root = client_connected();
	close(fds[0]);
	settle();
	fds[0] = client_of(OTHER_USER);
	send_frame(fds[0], MESSAGE_HELLO, hello, sizeof(hello));
	assert_int_equal(recv_frame(fds[0]).type, MESSAGE_WELCOME);
	close(root);
	for (size_t i = 0; i < N_OF(fds); i++)
		close(fds[i]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* Out of descriptors with nobody connected: accepting goes on by itself afterwards. */
static void a_shortage_of_descriptors_passes(void **state) {
	(void)state;
	struct rlimit old, none;
	int fd = client_new();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	turn(); /* the loop's own descriptors are there */
	close(fd);
	settle();
	fd = client_new();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	settle();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(server.connections.n, 0);
	send_frame(fd, MESSAGE_HELLO, hello, sizeof(hello));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	close(fd);
}

static void a_parked_connection_is_no_use_and_a_new_one_is(void **state) {
	(void)state;
	int fd = client_new();
	settle();
	assert_int_equal(used, 1);
	send_frame(fd, MESSAGE_HELLO, hello, sizeof(hello));
	assert_int_equal(recv_frame(fd).type, MESSAGE_WELCOME);
	assert_int_equal(used, 0);
	assert_false(socket_is_waiting(&server));
	int other = client_new();
	assert_true(socket_is_waiting(&server));
	close(fd);
	close(other);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(frames_may_come_byte_by_byte),
		CASE(frames_may_come_all_at_once),
		CASE(what_is_sent_ahead_waits),
		CASE(the_longest_command),
		CASE(a_wrong_frame_is_told_and_ends),
		CASE(stopping_says_why),
		CASE(stopping_in_the_middle_of_a_command),
		CASE(a_client_that_hangs_up_gives_all_back),
		CASE(a_half_closed_client_gets_its_answer),
		CASE(a_dead_owner_whose_descriptor_lives_on),
		CASE(answers_that_nobody_reads_do_not_pile_up),
		CASE(small_requests_wait_for_a_reader_of_answers),
		CASE(a_watcher_that_never_reads),
		CASE(watches_hear_changes_only),
		CASE(begin_does_not_overtake),
		CASE(the_card_of_a_dead_owner_is_always_reset),
		CASE(a_stranger_is_told_what_would_help),
		CASE(a_user_sees_his_own_connections_only),
		CASE(one_user_cannot_take_all),
		CASE(a_shortage_of_descriptors_passes),
		CASE(a_parked_connection_is_no_use_and_a_new_one_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
