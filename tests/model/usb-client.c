/* SPDX-License-Identifier: MIT */
/*
 * usb-client NODE [STEP...]: a small libusb program that does with a reader what a handler does.
 *
 * It opens the node itself, hands it to libusb without any device discovery, keeps an interrupt
 * transfer under way, and makes asynchronous bulk transfers. Steps, in order: on (power up), xfr=N
 * (N APDUs), big=N (an answer of N bytes), notify (waits for a slot change), hang (a command that
 * is never answered; ends with the device), sleep (the same, but the device works on), pin (VERIFY
 * at the PIN pad), token (power-up and an APDU over control transfers), token-hang (a control
 * transfer that ends with the device). NODE "any" finds the reader by libusb's own bus scan
 * instead. Prints what comes, and exits 0 if all went well.
 */
#include <errno.h>
#include <fcntl.h>
#include <libusb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 5000, /* chosen */
	MAX_MESSAGE = 10 + 65538,
};

struct client {
	libusb_context *context;
	libusb_device_handle *handle;
	int number; /* bInterfaceNumber */
	uint8_t out, in, interrupt;
	uint8_t protocol; /* bInterfaceProtocol */
	uint8_t seq;
	int changes;        /* notifications seen */
	int interrupt_over; /* the interrupt transfer has ended: its status + 1 */
	uint8_t change[16];
	uint8_t answer[MAX_MESSAGE];
	int answer_len;
};

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void LIBUSB_CALL on_bulk(struct libusb_transfer *transfer) {
	*(int *)transfer->user_data = 1;
}

static void LIBUSB_CALL on_interrupt(struct libusb_transfer *transfer) {
	struct client *client = transfer->user_data;
	if (transfer->status != LIBUSB_TRANSFER_COMPLETED) {
		client->interrupt_over = (int)transfer->status + 1;
		return;
	}
	client->changes++;
	printf("notification of %d bytes: %02x %02x\n", transfer->actual_length, client->change[0],
		client->change[1]);
	if (libusb_submit_transfer(transfer))
		client->interrupt_over = LIBUSB_TRANSFER_ERROR + 1;
}

/* One transfer, to its end. Returns the bytes moved or minus (100 + the transfer's status). */
static int transfer(struct client *client, uint8_t endpoint, uint8_t *data, int len) {
	int done = 0;
	struct libusb_transfer *t = libusb_alloc_transfer(0);
	if (!t)
		return -ENOMEM;
	libusb_fill_bulk_transfer(
		t, client->handle, endpoint, data, len, on_bulk, &done, TIMEOUT_MS);
	int r = libusb_submit_transfer(t);
	while (!r && !done)
		r = libusb_handle_events_completed(client->context, &done);
	if (!r)
		r = t->status ? -100 - (int)t->status : t->actual_length;
	libusb_free_transfer(t);
	return r;
}

/* One command and its answer. 0, or a negative number. */
static int command(
	struct client *client, uint8_t type, uint8_t parameter, const uint8_t *data, size_t len) {
	uint8_t message[300] = { type, (uint8_t)len, (uint8_t)(len >> 8), 0, 0, 0, ++client->seq,
		parameter };
	if (len)
		memcpy(message + 10, data, len);
	int r = transfer(client, client->out, message, (int)(10 + len));
	if (r < 0)
		return r;
	do {
		r = transfer(client, client->in, client->answer, sizeof client->answer);
	} while (r >= 10 && (client->answer[7] & 0xc0) == 0x80);
	client->answer_len = r;
	if (r < 0)
		return r;
	return r < 10 || client->answer[6] != client->seq || client->answer[7] ? -EPROTO : 0;
}

static int find_reader(struct client *client) {
	struct libusb_config_descriptor *config;
	int r = libusb_get_active_config_descriptor(libusb_get_device(client->handle), &config);
	if (r)
		return r;
	r = -ENODEV;
	for (int i = 0; i < config->bNumInterfaces && r; i++) {
		const struct libusb_interface_descriptor *itf = config->interface[i].altsetting;
		if (itf->bInterfaceClass != 0x0b)
			continue;
		client->number = itf->bInterfaceNumber;
		client->protocol = itf->bInterfaceProtocol;
		for (int e = 0; e < itf->bNumEndpoints; e++) {
			const struct libusb_endpoint_descriptor *ep = &itf->endpoint[e];
			if ((ep->bmAttributes & 3) == LIBUSB_TRANSFER_TYPE_INTERRUPT)
				client->interrupt = ep->bEndpointAddress;
			else if (ep->bEndpointAddress & 0x80)
				client->in = ep->bEndpointAddress;
			else
				client->out = ep->bEndpointAddress;
		}
		printf("interface %d: out %02x in %02x interrupt %02x, %d bytes extra\n",
			client->number, client->out, client->in, client->interrupt,
			itf->extra_length);
		r = 0;
	}
	libusb_free_config_descriptor(config);
	return r;
}

/* By the node alone, as a handler that may open nothing else. */
static int open_node(struct client *client, const char *node) {
	libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
	int r = libusb_init(&client->context);
	int fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("%s: %m\n", node);
		return -errno;
	}
	return r ? r : libusb_wrap_sys_device(client->context, fd, &client->handle);
}

/* By libusb's own list: the first device with a reader. */
static int open_any(struct client *client) {
	libusb_device **list;
	int r = libusb_init(&client->context);
	if (r)
		return r;
	ssize_t n = libusb_get_device_list(client->context, &list);
	printf("%zd devices\n", n);
	r = -ENODEV;
	for (ssize_t i = 0; i < n && r; i++) {
		if (libusb_open(list[i], &client->handle))
			continue;
		r = find_reader(client);
		if (r)
			libusb_close(client->handle);
	}
	if (n >= 0)
		libusb_free_device_list(list, 1);
	return r;
}

static int start_interrupt(struct client *client) {
	if (!client->interrupt) {
		client->interrupt_over = 1;
		return 0;
	}
	struct libusb_transfer *t = libusb_alloc_transfer(0);
	if (!t)
		return -ENOMEM;
	libusb_fill_interrupt_transfer(
		t, client->handle, client->interrupt, client->change, 8, on_interrupt, client, 0);
	return libusb_submit_transfer(t);
}

static int step_on(struct client *client) {
	/* bPowerSelect: automatic where the reader does it, else 5 V */
	int r = command(client, 0x62, 0, NULL, 0);
	if (r == -EPROTO)
		r = command(client, 0x62, 1, NULL, 0);
	printf("ATR");
	for (int i = 10; !r && i < client->answer_len; i++)
		printf(" %02x", client->answer[i]);
	printf("\n");
	return r;
}

static int step_xfr(struct client *client, int n) {
	static const uint8_t select[5] = { 0x00, 0xa4, 0x04, 0x00, 0x00 };
	double start = now();
	for (int i = 0; i < n; i++) {
		int r = command(client, 0x6f, 0, select, sizeof select);
		if (r || client->answer_len != 12 || client->answer[10] != 0x90) {
			printf("APDU %d: %d, %d bytes\n", i, r, client->answer_len);
			return r ? r : -EPROTO;
		}
	}
	printf("%d APDUs, %.3f ms each\n", n, (now() - start) * 1e3 / n);
	return 0;
}

static int step_big(struct client *client, int n) {
	const uint8_t get[4] = { 0x00, 0xcb, (uint8_t)(n >> 8), (uint8_t)n };
	int r = command(client, 0x6f, 0, get, sizeof get);
	int right = !r && client->answer_len == 12 + n && client->answer[10 + n] == 0x90;
	for (int i = 0; right && i < n; i++)
		right = client->answer[10 + i] == i % 251;
	printf("answer of %d bytes: %s\n", client->answer_len, right ? "right" : "wrong");
	return right ? 0 : r ? r : -EPROTO;
}

static int step_notify(struct client *client) {
	double end = now() + TIMEOUT_MS / 1e3;
	while (!client->changes && now() < end) {
		struct timeval slice = { .tv_usec = 100000 };
		int r = libusb_handle_events_timeout(client->context, &slice);
		if (r)
			return r;
	}
	if (!client->changes)
		return -ETIMEDOUT;
	client->changes--;
	return 0;
}

/* Ends well when the device goes. */
static int step_hang(struct client *client) {
	static const uint8_t hang[4] = { 0x00, 0xee, 0x00, 0x00 };
	double start = now();
	int r = command(client, 0x6f, 0, hang, sizeof hang);
	printf("transfer under way ended with %d after %.3f s\n", r, now() - start);
	double end = now() + 1;
	while (!client->interrupt_over && now() < end) {
		struct timeval slice = { .tv_usec = 100000 };
		libusb_handle_events_timeout(client->context, &slice);
	}
	uint8_t byte = 0;
	int after = transfer(client, client->out, &byte, 1);
	printf("interrupt ended with %d, new transfer: %d\n", client->interrupt_over - 1, after);
	/* gone while it was under way, or before it could be submitted */
	int gone = r == -100 - LIBUSB_TRANSFER_NO_DEVICE || r == LIBUSB_ERROR_NO_DEVICE;
	return gone && after == LIBUSB_ERROR_NO_DEVICE ? 0 : -EPROTO;
}

/* VERIFY at the PIN pad: 4 to 8 digits, ASCII (CCID 1.10 6.1.11.1). */
static int step_pin(struct client *client) {
	static const uint8_t verify[] = { 0x00, 30, 0x82, 8, 0, 8, 4, 2, 1, 0x09, 0x04, 0, 0, 0, 0,
		0x00, 0x20, 0x00, 0x01, 8, 255, 255, 255, 255, 255, 255, 255, 255 };
	int r = command(client, 0x69, 0, verify, sizeof verify);
	printf("PIN: %d, %02x\n", r, client->answer[10]);
	return r ? r : client->answer[10] == 0x90 ? 0 : -EPROTO;
}

static int is_gone(int r) {
	return r == -100 - LIBUSB_TRANSFER_NO_DEVICE || r == LIBUSB_ERROR_NO_DEVICE;
}

/* The system sleeps and wakes: transfers end, and then the device works again. */
static int step_sleep(struct client *client) {
	static const uint8_t hang[4] = { 0x00, 0xee, 0x00, 0x00 };
	int r = command(client, 0x6f, 0, hang, sizeof hang);
	printf("transfer under way ended with %d\n", r);
	return is_gone(r) ? 0 : -EPROTO;
}

/* A class request to a token; negative: libusb's error. */
static int request(struct client *client, unsigned request, unsigned value, const uint8_t *data,
	unsigned len) {
	int r = libusb_control_transfer(client->handle, (uint8_t)(request >> 8), (uint8_t)request,
		(uint16_t)value, (uint16_t)client->number,
		data ? (uint8_t *)(uintptr_t)data : client->answer, (uint16_t)len, TIMEOUT_MS);
	if (r < 0)
		printf("request %04x: %d\n", request, r);
	return r;
}

/* DATA_BLOCK until it is no polling answer, which says how long to wait in 10 ms. */
static int fetch(struct client *client, unsigned len) {
	int r;
	while ((r = request(client, 0xa16f, 0, NULL, len)) == 3 && client->answer[0] == 0x80) {
		const struct timespec told = { .tv_nsec = client->answer[1] * 10000000L };
		nanosleep(&told, NULL);
	}
	return r;
}

static int step_token(struct client *client) {
	static const uint8_t select[5] = { 0x00, 0xa4, 0x04, 0x00, 0x00 };
	int b = client->protocol == 2;
	int r = request(client, 0x2163, 0, NULL, 0);
	if (r >= 0)
		r = b ? request(client, 0x2162, 1, NULL, 0) : request(client, 0xa162, 0, NULL, 33);
	if (r >= 0 && b)
		r = fetch(client, 34);
	printf("ATR %02x\n", client->answer[b ? 1 : 0]);
	if (r >= 0)
		r = request(client, 0x2165, 0, select, sizeof select);
	if (r >= 0)
		r = b ? fetch(client, 300) : request(client, 0xa1a0, 0, NULL, 1);
	if (r >= 0 && !b)
		r = request(client, 0xa16f, 0, NULL, 2);
	return r == (b ? 3 : 2) && client->answer[b ? 1 : 0] == 0x90 ? 0 : -EPROTO;
}

static int step_token_hang(struct client *client) {
	int r = request(client, 0xa181, 0, NULL, 3);
	return r == LIBUSB_ERROR_NO_DEVICE ? 0 : -EPROTO;
}

static int run_step(struct client *client, const char *step) {
	if (!strcmp(step, "on"))
		return step_on(client);
	if (!strncmp(step, "xfr=", 4))
		return step_xfr(client, atoi(step + 4));
	if (!strncmp(step, "big=", 4))
		return step_big(client, atoi(step + 4));
	if (!strcmp(step, "notify"))
		return step_notify(client);
	if (!strcmp(step, "hang"))
		return step_hang(client);
	if (!strcmp(step, "pin"))
		return step_pin(client);
	if (!strcmp(step, "sleep"))
		return step_sleep(client);
	if (!strcmp(step, "token"))
		return step_token(client);
	if (!strcmp(step, "token-hang"))
		return step_token_hang(client);
	printf("no such step\n");
	return -EINVAL;
}

int main(int argc, char **argv) {
	static struct client client;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		fprintf(stderr,
			"usage: usb-client NODE [on] [xfr=N] [big=N] [notify] [hang] [pin] [sleep] [token] [token-hang]\n");
		return 2;
	}
	int r = !strcmp(argv[1], "any") ? open_any(&client) : open_node(&client, argv[1]);
	if (!r && strcmp(argv[1], "any") != 0)
		r = find_reader(&client);
	if (!r)
		r = libusb_claim_interface(client.handle, client.number);
	if (!r)
		r = start_interrupt(&client);
	if (r)
		printf("cannot start: %d\n", r);
	for (int i = 2; i < argc && !r; i++) {
		r = run_step(&client, argv[i]);
		if (r)
			printf("%s: %d\n", argv[i], r);
	}
	/* transfers go with the process */
	return r ? 1 : 0;
}
