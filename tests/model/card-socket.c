/* SPDX-License-Identifier: MIT */
/*
 * A card simulator in another process, behind a unix socket.
 *
 * Each message is a length of two bytes, big-endian, and that many bytes: one byte is an order
 * (off, on, reset, give the ATR), more are a command APDU. Only the ATR and APDUs are answered. The
 * simulator has five seconds for each answer; then, or when it goes, the card is mute. The socket's
 * end belongs to the card.
 */
#include "tests/model/card.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { GIVE_ATR = 4 };

struct card_socket {
	int fd; /* -1 once the other side has gone or kept us waiting */
};

static void hang_up(struct card_socket *s) {
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int put(struct card_socket *s, const uint8_t *data, size_t len) {
	uint8_t frame[2 + CARD_MAX_APDU] = { (uint8_t)(len >> 8), (uint8_t)len };
	if (s->fd < 0)
		return -EPIPE;
	if (len > 0xffff || len > CARD_MAX_APDU)
		return -EMSGSIZE;
	memcpy(frame + 2, data, len);
	for (size_t off = 0; off < 2 + len;) {
		ssize_t n = send(s->fd, frame + off, 2 + len - off, MSG_NOSIGNAL);
		if (n < 0) {
			hang_up(s);
			return -EIO;
		}
		off += (size_t)n;
	}
	return 0;
}

static int get_bytes(struct card_socket *s, uint8_t *buf, size_t len) {
	while (len) {
		ssize_t n = recv(s->fd, buf, len, 0);
		if (n <= 0) {
			hang_up(s);
			return -EIO;
		}
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int get(struct card_socket *s, uint8_t *buf, size_t size) {
	uint8_t head[2];
	if (s->fd < 0 || get_bytes(s, head, sizeof head))
		return -EIO;
	size_t len = (size_t)head[0] << 8 | head[1];
	if (len > size) {
		hang_up(s);
		return -EMSGSIZE;
	}
	return get_bytes(s, buf, len) ? -EIO : (int)len;
}

static size_t socket_power(void *userdata, int what, uint8_t *ret_atr, size_t size) {
	struct card_socket *s = userdata;
	const uint8_t order = (uint8_t)what, ask = GIVE_ATR;
	if (put(s, &order, 1) || what == CARD_POWER_OFF || put(s, &ask, 1))
		return 0;
	int n = get(s, ret_atr, size);
	return n < 0 ? 0 : (size_t)n;
}

static int socket_apdu(
	void *userdata, const uint8_t *apdu, size_t len, uint8_t *ret_answer, size_t size) {
	struct card_socket *s = userdata;
	int r = len < 2 ? -EINVAL : put(s, apdu, len);
	return r ? r : get(s, ret_answer, size);
}

static void socket_free(void *userdata) {
	hang_up(userdata);
	free(userdata);
}

int card_socket_open(const char *path, struct card_backend *ret_backend) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = 5 }; /* chosen */
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	struct card_socket *s = malloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || connect(s->fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
		setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
		setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) {
		int r = -errno;
		socket_free(s);
		return r;
	}
	*ret_backend = (struct card_backend){
		.userdata = s, .power = socket_power, .apdu = socket_apdu, .free = socket_free
	};
	return 0;
}
