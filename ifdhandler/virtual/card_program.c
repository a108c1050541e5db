/* SPDX-License-Identifier: MIT */
/*
 * The connection to one card program, from accept to hang-up: writes a question as far as the
 * socket takes it, gathers the answer as it comes, and watches one deadline over both.
 *
 * Nothing in the protocol tells which question an answer belongs to. So whoever speaks unasked,
 * twice, or before the question is out is disconnected: the next answer could be taken for another
 * command's. Questions are wiped when they are written, answers when they are delivered.
 */
#include "ifdhandler/virtual/card_program.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "wire/bytes.h"

enum {
	MAX_CONTROLS = 3, /* off, on, ATR */
	MAX_TX = VPCD_MAX_FRAME + MAX_CONTROLS * (VPCD_HEADER + 1),
	/* A deadline need not be sharper. Chosen. */
	ACCURACY_US = 1000,
};

enum phase {
	PHASE_IDLE,
	PHASE_WRITING, /* a question without answer */
	PHASE_WAITING, /* for the answer; the question may still be going out */
	PHASE_WRITTEN, /* is told next */
};

struct card_program {
	struct card_program_host host;
	int fd;
	pid_t pid;
	sd_event_source *io, *deadline, *written;
	enum phase phase;
	size_t max_answer;
	size_t tx_len, tx_pos;
	uint8_t tx[MAX_TX];
	struct vpcd_rx rx;
};

static void end(struct card_program *p) {
	p->phase = PHASE_IDLE;
	sd_event_source_set_enabled(p->deadline, SD_EVENT_OFF);
}

/* The last thing that is done with `p`. */
static void lose(struct card_program *p, enum card_program_loss why) {
	end(p);
	sd_event_source_set_enabled(p->io, SD_EVENT_OFF);
	p->host.lost(p->host.userdata, why);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	lose(userdata, CARD_PROGRAM_LATE);
	return 0;
}

static int on_written(sd_event_source *source, void *userdata) {
	(void)source;
	struct card_program *p = userdata;
	end(p);
	p->host.written(p->host.userdata);
	return 0;
}

/* Writes what the socket takes. 0, or negative errno: the connection is broken. */
static int flush(struct card_program *p) {
	while (p->tx_pos < p->tx_len) {
		ssize_t n = send(p->fd, p->tx + p->tx_pos, p->tx_len - p->tx_pos,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return sd_event_source_set_io_events(p->io, EPOLLIN | EPOLLOUT);
		if (n < 0 && errno != EINTR)
			return -errno;
		p->tx_pos += n > 0 ? (size_t)n : 0;
	}
	explicit_bzero(p->tx, p->tx_len);
	p->tx_len = p->tx_pos = 0;
	if (p->phase == PHASE_WRITING) {
		p->phase = PHASE_WRITTEN;
		sd_event_source_set_enabled(p->written, SD_EVENT_ONESHOT);
	}
	return sd_event_source_set_io_events(p->io, EPOLLIN);
}

static void on_readable(struct card_program *p) {
	size_t size, len;
	const uint8_t *answer;
	uint8_t *room = vpcd_rx_room(&p->rx, &size);
	ssize_t n = recv(p->fd, room, size, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(p, CARD_PROGRAM_GONE);
		return;
	}
	vpcd_rx_grown(&p->rx, (size_t)n);
	if (p->phase != PHASE_WAITING || p->tx_len) {
		lose(p, CARD_PROGRAM_UNASKED);
		return;
	}
	int r = vpcd_rx_frame(&p->rx, p->max_answer, &answer, &len);
	if (r < 0) {
		lose(p, r == -EMSGSIZE ? CARD_PROGRAM_TOO_LONG : CARD_PROGRAM_TWICE);
	} else if (r > 0) {
		end(p);
		p->host.answered(p->host.userdata, answer, len);
		vpcd_rx_reset(&p->rx);
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
	(void)source, (void)fd;
	struct card_program *p = userdata;
	if ((events & EPOLLOUT) && flush(p) < 0)
		lose(p, CARD_PROGRAM_GONE);
	else if (events & ~(uint32_t)EPOLLOUT)
		on_readable(p);
	return 0;
}

static int add_sources(struct card_program *p, sd_event *event) {
	int r = sd_event_add_io(event, &p->io, p->fd, EPOLLIN, on_io, p);
	if (r >= 0)
		r = sd_event_add_time_relative(
			event, &p->deadline, CLOCK_MONOTONIC, 0, ACCURACY_US, on_deadline, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->deadline, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(event, &p->written, on_written, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->written, SD_EVENT_OFF);
	return r;
}

int card_program_new(struct sd_event *event, int fd, const struct card_program_host *host,
	struct card_program **ret_program) {
	static const int on = 1;
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	struct card_program *p = calloc(1, sizeof(*p));
	if (!p) {
		close(fd);
		return -ENOMEM;
	}
	p->fd = fd;
	p->host = *host;
	int r = add_sources(p, event);
	if (r < 0) {
		card_program_free(p);
		return r;
	}
	/* Questions go out in one piece. Fails on unix sockets only, which have no such delay. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		p->pid = peer.pid;
	*ret_program = p;
	return 0;
}

void card_program_free(struct card_program *p) {
	if (!p)
		return;
	/* Disabled before unref: one that is being dispatched lives on a little longer. */
	sd_event_source_disable_unref(p->io);
	sd_event_source_disable_unref(p->deadline);
	sd_event_source_disable_unref(p->written);
	close(p->fd);
	explicit_bzero(p, sizeof(*p));
	free(p);
}

struct bytes_writer card_program_question(struct card_program *p) {
	assert(p->phase == PHASE_IDLE && p->tx_len == 0);
	return bytes_writer(p->tx, sizeof(p->tx));
}

void card_program_ask(
	struct card_program *p, const struct bytes_writer *w, size_t max_answer, uint64_t usec) {
	assert(p->phase == PHASE_IDLE && !w->failed);
	p->tx_len = bytes_written(w);
	p->max_answer = max_answer;
	p->phase = max_answer ? PHASE_WAITING : PHASE_WRITING;
	/* Both fail for a fork or a broken clock only; then there would be no deadline. */
	int r = sd_event_source_set_time_relative(p->deadline, usec);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->deadline, SD_EVENT_ONESHOT);
	if (r >= 0)
		r = flush(p);
	if (r < 0) /* on_io meets the error again, and tells it from the loop */
		sd_event_source_set_io_events(p->io, EPOLLIN | EPOLLOUT);
}

pid_t card_program_pid(const struct card_program *p) {
	return p->pid;
}

const char *card_program_loss_text(enum card_program_loss why) {
	switch (why) {
	case CARD_PROGRAM_GONE: return "closed the connection";
	case CARD_PROGRAM_LATE: return "did not answer in time";
	case CARD_PROGRAM_UNASKED: return "spoke without being asked";
	case CARD_PROGRAM_TOO_LONG: return "gave too long an answer";
	case CARD_PROGRAM_TWICE: return "answered more than once";
	}
	return "failed";
}
