/* SPDX-License-Identifier: MIT */
/*
 * bench LIBRARY: median and 99th percentile of PC/SC calls on the first reader, in microseconds and as
 * multiples of the floor: one byte there and one back between two processes over a unix socket.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/winscard.h"

enum { ROUNDS = 20000 };

static struct {
	__typeof__(&SCardEstablishContext) establish;
	__typeof__(&SCardReleaseContext) release;
	__typeof__(&SCardListReaders) list;
	__typeof__(&SCardConnect) connect;
	__typeof__(&SCardDisconnect) disconnect;
	__typeof__(&SCardBeginTransaction) begin;
	__typeof__(&SCardEndTransaction) end;
	__typeof__(&SCardTransmit) transmit;
	__typeof__(&SCardStatus) status;
	__typeof__(&SCardGetStatusChange) change;
} pc;

static SCARDCONTEXT context;
static SCARDHANDLE card;
static DWORD protocol;
static char reader[256];
static int pair[2];
static double floor_us;

static double now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(const char *name, LONG (*call)(void)) {
	static double took[ROUNDS];
	for (int i = -100; i < ROUNDS; i++) {
		double start = now_us();
		LONG rv = call();
		if (rv != SCARD_S_SUCCESS && rv != SCARD_E_TIMEOUT) {
			fprintf(stderr, "%s: %lx\n", name, (unsigned long)rv);
			exit(1);
		}
		if (i >= 0)
			took[i] = now_us() - start;
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	double median = took[ROUNDS / 2], p99 = took[ROUNDS * 99 / 100];
	if (floor_us == 0)
		floor_us = median;
	printf("  %-26s %9.2f us  p99 %9.2f us  %6.2f x floor\n", name, median, p99,
		median / floor_us);
}

static LONG ping(void) {
	char c = 'x';
	return send(pair[0], &c, 1, 0) == 1 && recv(pair[0], &c, 1, 0) == 1 ? SCARD_S_SUCCESS : 1;
}

static void echo(void) {
	char c;
	close(pair[0]);
	while (recv(pair[1], &c, 1, 0) == 1)
		if (send(pair[1], &c, 1, 0) != 1)
			break;
	_exit(0);
}

static LONG call_list(void) {
	char names[4096];
	DWORD len = sizeof(names);
	return pc.list(context, NULL, names, &len);
}

static LONG call_connect(void) {
	SCARDHANDLE h;
	DWORD active;
	LONG rv = pc.connect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &h, &active);
	return rv == SCARD_S_SUCCESS ? pc.disconnect(h, SCARD_LEAVE_CARD) : rv;
}

static LONG call_transmit(void) {
	static const unsigned char apdu[] = { 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00 };
	unsigned char answer[264];
	DWORD len = sizeof(answer);
	SCARD_IO_REQUEST pci = { protocol, sizeof(pci) };
	return pc.transmit(card, &pci, apdu, sizeof(apdu), NULL, answer, &len);
}

static LONG call_transaction(void) {
	LONG rv = pc.begin(card);
	return rv == SCARD_S_SUCCESS ? pc.end(card, SCARD_LEAVE_CARD) : rv;
}

static LONG call_status(void) {
	DWORD state, active;
	return pc.status(card, NULL, NULL, &state, &active, NULL, NULL);
}

static LONG call_change(void) {
	SCARD_READERSTATE state = { .szReader = reader, .dwCurrentState = SCARD_STATE_PRESENT };
	return pc.change(context, 0, &state, 1);
}

static void load(const char *path) {
	void *library = dlopen(path, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*(void **)&pc.establish = dlsym(library, "SCardEstablishContext");
	*(void **)&pc.release = dlsym(library, "SCardReleaseContext");
	*(void **)&pc.list = dlsym(library, "SCardListReaders");
	*(void **)&pc.connect = dlsym(library, "SCardConnect");
	*(void **)&pc.disconnect = dlsym(library, "SCardDisconnect");
	*(void **)&pc.begin = dlsym(library, "SCardBeginTransaction");
	*(void **)&pc.end = dlsym(library, "SCardEndTransaction");
	*(void **)&pc.transmit = dlsym(library, "SCardTransmit");
	*(void **)&pc.status = dlsym(library, "SCardStatus");
	*(void **)&pc.change = dlsym(library, "SCardGetStatusChange");
}

int main(int argc, char **argv) {
	DWORD len = sizeof(reader);
	load(argc > 1 ? argv[1] : "libpcsclite.so.1");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0)
		echo();
	close(pair[1]);
	measure("bare socket round trip", ping);
	close(pair[0]);
	waitpid(child, NULL, 0);
	if (pc.establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) ||
		pc.list(context, NULL, reader, &len) ||
		pc.connect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_ANY, &card,
			&protocol)) {
		fputs("bench: no reader with a card\n", stderr);
		return 1;
	}
	measure("SCardListReaders", call_list);
	measure("SCardStatus", call_status);
	measure("SCardGetStatusChange(0)", call_change);
	measure("SCardTransmit", call_transmit);
	measure("Begin + EndTransaction", call_transaction);
	measure("Connect + Disconnect", call_connect);
	pc.disconnect(card, SCARD_LEAVE_CARD);
	return pc.release(context) != SCARD_S_SUCCESS;
}
