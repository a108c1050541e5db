/* SPDX-License-Identifier: MIT */
/*
 * An IFDHandler 3.0 driver whose readers and cards are played by a test: it hands on what pcscd asks
 * (script.h) to a socket in the directory IFD_SCRIPT, named as the last part of the device's name: 002 for
 * usb:1209/0001:libudev:0:/dev/bus/usb/001/002. A test that gives a device no slots says that it is no reader.
 *
 * Movements are pushed, as by a reader with an interrupt endpoint. No removal is lost: pcscd's status loop
 * is told "absent" for one turn, even if a card is in again by the time it looks.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <ifdhandler.h>
#include <reader.h>

#include "tests/conformance/script.h"

enum {
	MAX_READERS = 256, /* numbers NN of names */
	MAX_SLOTS = 16,
	HELLO_MS = 10000, /* for the test to say what the reader is */
};

struct slot {
	pthread_mutex_t asking; /* attributes are set without pcscd's lock */
	bool told;              /* presence is known */
	bool present;
	bool was_out; /* and the status loop has not heard of it */
	bool is_out;  /* for one turn of the loop, which so hears of it */
	bool moved;   /* ends the wait for a movement */
	bool stopped; /* so does pcscd */
	bool answered;
	uint32_t result;
	UCHAR *answer; /* SCRIPT_MAX_DATA */
	size_t answer_len;
	UCHAR atr[MAX_ATR_SIZE];
	size_t atr_len;
};

struct reader {
	bool open;
	bool lost; /* the test has closed: the device is unplugged */
	int fd;
	unsigned n_slots; /* SLOTS_UNKNOWN at first */
	unsigned n_channels;
	bool in_trouble;
	RESPONSECODE trouble;
	pthread_t receiver;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct slot slots[MAX_SLOTS];
};

static const unsigned SLOTS_UNKNOWN = MAX_SLOTS + 1;
static struct reader readers[MAX_READERS];

static struct reader *reader_of(DWORD lun) {
	return &readers[lun >> 16 & 0xff];
}

static struct slot *slot_of(DWORD lun) {
	return &reader_of(lun)->slots[lun % MAX_SLOTS];
}

/* ---- what the test says ---- */

static void on_moved(struct slot *s, uint32_t how) {
	if (s->present && how != 1)
		s->was_out = true;
	s->present = how != 0;
	s->told = s->moved = true;
}

/* Until it is well and has said what is in the slots. */
static void on_trouble(struct reader *r, uint32_t result) {
	r->in_trouble = true;
	r->trouble = (RESPONSECODE)result;
	for (size_t i = 0; i < MAX_SLOTS; i++) {
		r->slots[i].told = false;
		r->slots[i].moved = true;
	}
}

static void on_answer(struct slot *s, uint32_t result, const UCHAR *data, size_t n) {
	s->answered = true;
	s->result = result;
	s->answer_len = n > SCRIPT_MAX_DATA ? SCRIPT_MAX_DATA : n;
	if (s->answer)
		memcpy(s->answer, data, s->answer_len);
}

static void on_message(
	struct reader *r, const struct script_message *m, const UCHAR *data, size_t n) {
	struct slot *s = &r->slots[m->slot % MAX_SLOTS];
	switch (m->op) {
	case SCRIPT_SLOTS: r->n_slots = m->arg > MAX_SLOTS ? MAX_SLOTS : m->arg; break;
	case SCRIPT_MOVED: on_moved(s, m->arg); break;
	case SCRIPT_TROUBLE: on_trouble(r, m->arg); break;
	case SCRIPT_WELL: r->in_trouble = false; break;
	case SCRIPT_ANSWER: on_answer(s, m->arg, data, n); break;
	default: break;
	}
}

static void *receive(void *arg) {
	static const size_t size = sizeof(struct script_message) + SCRIPT_MAX_DATA;
	struct reader *r = arg;
	UCHAR *packet = malloc(size);
	struct script_message m;
	ssize_t n;
	while (packet && (n = recv(r->fd, packet, size, 0)) >= (ssize_t)sizeof(m)) {
		memcpy(&m, packet, sizeof(m));
		pthread_mutex_lock(&r->lock);
		on_message(r, &m, packet + sizeof(m), (size_t)n - sizeof(m));
		pthread_cond_broadcast(&r->changed);
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_lock(&r->lock);
	r->lost = true;
	for (size_t i = 0; i < MAX_SLOTS; i++)
		r->slots[i].moved = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	free(packet);
	return NULL;
}

/* ---- what the test is asked ---- */

static bool say(struct reader *r, struct script_message m, const void *data, size_t n) {
	struct iovec iov[] = { { &m, sizeof(m) }, { (void *)data, n } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = n ? 2 : 1 };
	return sendmsg(r->fd, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof(m) + n);
}

static void wait_answer(struct reader *r, struct slot *s) {
	pthread_mutex_lock(&r->lock);
	while (!s->answered && !r->lost)
		pthread_cond_wait(&r->changed, &r->lock);
	if (!s->answered) {
		s->result = IFD_NO_SUCH_DEVICE;
		s->answer_len = 0;
	}
	pthread_mutex_unlock(&r->lock);
}

/* Asks and gives the result; the answer's data go to `out`, which has room for *length. */
static RESPONSECODE ask(
	DWORD lun, uint32_t op, DWORD arg, const void *data, size_t n, UCHAR *out, DWORD *length) {
	struct reader *r = reader_of(lun);
	struct slot *s = slot_of(lun);
	DWORD room = length ? *length : 0;
	pthread_mutex_lock(&s->asking);
	s->answered = false;
	struct script_message m = { op, (uint32_t)(lun % MAX_SLOTS), (uint32_t)arg };
	RESPONSECODE rv = IFD_NO_SUCH_DEVICE;
	size_t got = 0;
	if (say(r, m, data, n)) {
		wait_answer(r, s);
		rv = (RESPONSECODE)s->result;
		got = s->answer_len;
	}
	if (rv == IFD_SUCCESS && length && got > room)
		rv = IFD_ERROR_INSUFFICIENT_BUFFER;
	if (length)
		*length = rv == IFD_SUCCESS ? got : 0;
	if (length && rv == IFD_SUCCESS && got)
		memcpy(out, s->answer, got);
	pthread_mutex_unlock(&s->asking);
	return rv;
}

/* ---- channels ---- */

/* What follows the last slash or colon. */
static const char *last_part(const char *device) {
	size_t n = strlen(device);
	while (n && device[n - 1] != '/' && device[n - 1] != ':')
		n--;
	return device + n;
}

static bool reach(struct reader *r, const char *device) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *directory = getenv("IFD_SCRIPT");
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		directory ? directory : ".", last_part(device));
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return false;
	r->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int size = 4 * SCRIPT_MAX_DATA; /* a packet is sent in one piece or not at all */
	setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return r->fd >= 0 && connect(r->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool all_told(const struct reader *r) {
	if (r->n_slots == SLOTS_UNKNOWN)
		return false;
	for (size_t i = 0; i < r->n_slots; i++)
		if (!r->slots[i].told && !r->in_trouble)
			return false;
	return true;
}

static struct timespec deadline(int ms) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

static bool wait_told(struct reader *r) {
	struct timespec end = deadline(HELLO_MS);
	pthread_mutex_lock(&r->lock);
	while (!all_told(r) && !r->lost &&
		pthread_cond_timedwait(&r->changed, &r->lock, &end) != ETIMEDOUT)
		;
	bool told = all_told(r);
	pthread_mutex_unlock(&r->lock);
	return told;
}

static void reader_init(struct reader *r) {
	pthread_condattr_t monotonic;
	*r = (struct reader){ .fd = -1, .n_slots = SLOTS_UNKNOWN };
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&r->lock, NULL);
	for (size_t i = 0; i < MAX_SLOTS; i++) {
		pthread_mutex_init(&r->slots[i].asking, NULL);
		r->slots[i].answer = malloc(SCRIPT_MAX_DATA);
	}
}

static void reader_close(struct reader *r) {
	if (r->open) {
		shutdown(r->fd, SHUT_RDWR);
		pthread_join(r->receiver, NULL);
	}
	if (r->fd >= 0)
		close(r->fd);
	for (size_t i = 0; i < MAX_SLOTS; i++)
		free(r->slots[i].answer);
	r->open = false;
}

static RESPONSECODE reader_open(struct reader *r, const char *device) {
	struct script_message hello = { .op = SCRIPT_HELLO };
	reader_init(r);
	r->open = reach(r, device) && say(r, hello, device, strlen(device)) &&
		pthread_create(&r->receiver, NULL, receive, r) == 0;
	if (r->open && wait_told(r) && r->n_slots > 0)
		return IFD_SUCCESS;
	RESPONSECODE rv = r->n_slots == 0 ? IFD_NO_SUCH_DEVICE : IFD_COMMUNICATION_ERROR;
	reader_close(r);
	return rv;
}

/* Once for each slot, the first one first. */
RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName) {
	struct reader *r = reader_of(Lun);
	RESPONSECODE rv = r->open ? IFD_SUCCESS : reader_open(r, DeviceName);
	r->n_channels += rv == IFD_SUCCESS;
	return rv;
}

RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel) {
	char device[16];
	snprintf(device, sizeof(device), "%lu", Channel);
	return IFDHCreateChannelByName(Lun, device);
}

RESPONSECODE IFDHCloseChannel(DWORD Lun) {
	struct reader *r = reader_of(Lun);
	if (r->open && --r->n_channels == 0)
		reader_close(r);
	return IFD_SUCCESS;
}

/* ---- movements ---- */

/* One turn of pcscd's status loop begins with the end of a wait. In it presence is asked once for the loop itself, and
 * before it or after it for powering the card down or up. */
static RESPONSECODE wait_movement(DWORD lun, int timeout_ms) {
	struct reader *r = reader_of(lun);
	struct slot *s = slot_of(lun);
	struct timespec end = deadline(timeout_ms);
	pthread_mutex_lock(&r->lock);
	s->moved = s->moved || (s->is_out && s->present); /* it has to come again */
	s->is_out = false;
	while (!s->moved && !s->stopped &&
		pthread_cond_timedwait(&r->changed, &r->lock, &end) != ETIMEDOUT)
		;
	s->is_out = s->was_out;
	s->moved = s->stopped = s->was_out = false;
	RESPONSECODE rv = r->lost ? IFD_NO_SUCH_DEVICE : IFD_SUCCESS;
	pthread_mutex_unlock(&r->lock);
	return rv;
}

static RESPONSECODE stop_waiting(DWORD lun) {
	struct reader *r = reader_of(lun);
	pthread_mutex_lock(&r->lock);
	slot_of(lun)->stopped = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return IFD_SUCCESS;
}

static RESPONSECODE presence(const struct slot *s) {
	return s->present && !s->was_out && !s->is_out ? IFD_ICC_PRESENT : IFD_ICC_NOT_PRESENT;
}

RESPONSECODE IFDHICCPresence(DWORD Lun) {
	struct reader *r = reader_of(Lun);
	pthread_mutex_lock(&r->lock);
	RESPONSECODE rv = IFD_NO_SUCH_DEVICE;
	if (!r->lost)
		rv = slot_of(Lun)->told ? presence(slot_of(Lun)) : r->trouble;
	pthread_mutex_unlock(&r->lock);
	return rv;
}

/* ---- cards ---- */

RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength) {
	struct slot *s = slot_of(Lun);
	*AtrLength = s->atr_len = 0;
	if (Action == IFD_POWER_DOWN)
		return ask(Lun, SCRIPT_POWER_DOWN, 0, NULL, 0, NULL, NULL);
	DWORD n = sizeof(s->atr);
	RESPONSECODE rv = ask(
		Lun, Action == IFD_RESET ? SCRIPT_RESET : SCRIPT_POWER_UP, 0, NULL, 0, s->atr, &n);
	if (rv != IFD_SUCCESS)
		return rv;
	s->atr_len = *AtrLength = n;
	memcpy(Atr, s->atr, n);
	return IFD_SUCCESS;
}

RESPONSECODE IFDHSetProtocolParameters(
	DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1, UCHAR PTS2, UCHAR PTS3) {
	(void)Flags, (void)PTS1, (void)PTS2, (void)PTS3;
	return ask(Lun, SCRIPT_PROTOCOL, Protocol, NULL, 0, NULL, NULL);
}

/* The header has a number for T=0 and T=1, but a bit for RAW. */
static uint32_t protocol_bit(DWORD protocol) {
	return protocol == SCARD_PROTOCOL_RAW ? SCARD_PROTOCOL_RAW : 1u << (protocol & 7);
}

RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer, DWORD TxLength,
	PUCHAR RxBuffer, PDWORD RxLength, PSCARD_IO_HEADER RecvPci) {
	(void)RecvPci;
	return ask(Lun, SCRIPT_TRANSMIT, protocol_bit(SendPci.Protocol), TxBuffer, TxLength,
		RxBuffer, RxLength);
}

RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength,
	PUCHAR RxBuffer, DWORD RxLength, LPDWORD pdwBytesReturned) {
	*pdwBytesReturned = RxLength;
	return ask(
		Lun, SCRIPT_CONTROL, dwControlCode, TxBuffer, TxLength, RxBuffer, pdwBytesReturned);
}

/* ---- capabilities ---- */

static RESPONSECODE put(const void *value, size_t n, PDWORD length, PUCHAR ret) {
	if (*length < n)
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	memcpy(ret, value, n);
	*length = n;
	return IFD_SUCCESS;
}

/* After an error pcscd may fill in what it knows itself, in the room that is told there. */
static RESPONSECODE get_attrib(DWORD lun, DWORD tag, PDWORD length, PUCHAR ret) {
	DWORD n = *length;
	RESPONSECODE rv = ask(lun, SCRIPT_GET_ATTRIB, tag, NULL, 0, ret, &n);
	if (rv == IFD_SUCCESS)
		*length = n;
	return rv;
}

RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value) {
	RESPONSECODE (*const wait)(DWORD, int) = wait_movement;
	RESPONSECODE (*const stop)(DWORD) = stop_waiting;
	const struct slot *s = slot_of(Lun);
	const UCHAR one = 1, many = MAX_READERS - 1, n_slots = (UCHAR)reader_of(Lun)->n_slots;
	switch (Tag) {
	case TAG_IFD_ATR:
	case SCARD_ATTR_ATR_STRING: return put(s->atr, s->atr_len, Length, Value);
	case TAG_IFD_THREAD_SAFE:
	case TAG_IFD_SLOT_THREAD_SAFE: return put(&one, 1, Length, Value);
	case TAG_IFD_SLOTS_NUMBER: return put(&n_slots, 1, Length, Value);
	case TAG_IFD_SIMULTANEOUS_ACCESS: return put(&many, 1, Length, Value);
	case TAG_IFD_POLLING_THREAD_WITH_TIMEOUT: return put(&wait, sizeof(wait), Length, Value);
	case TAG_IFD_STOP_POLLING_THREAD: return put(&stop, sizeof(stop), Length, Value);
	case TAG_IFD_POLLING_THREAD:
	case TAG_IFD_POLLING_THREAD_KILLABLE:
	case TAG_IFD_DEVICE_REMOVED: return IFD_ERROR_TAG;
	default: return get_attrib(Lun, Tag, Length, Value);
	}
}

RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value) {
	return ask(Lun, SCRIPT_SET_ATTRIB, Tag, Value, Length, NULL, NULL);
}
