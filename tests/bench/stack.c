/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"

void die(const char *what, LONG rv) {
	fflush(stdout);
	if (rv)
		fprintf(stderr, "bench: %s: %lx\n", what, (unsigned long)rv);
	else
		fprintf(stderr, "bench: %s\n", what);
	_exit(1);
}

void want(const char *what, LONG rv) {
	if (rv != SCARD_S_SUCCESS)
		die(what, rv);
}

static void *symbol(void *library, const char *name) {
	void *p = dlsym(library, name);
	if (!p)
		die(dlerror(), 0);
	return p;
}

void stack_load(struct stack *s) {
	void *library = dlopen(s->path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		die(dlerror(), 0);
	*(void **)&s->establish = symbol(library, "SCardEstablishContext");
	*(void **)&s->release = symbol(library, "SCardReleaseContext");
	*(void **)&s->is_valid = symbol(library, "SCardIsValidContext");
	*(void **)&s->list = symbol(library, "SCardListReaders");
	*(void **)&s->groups = symbol(library, "SCardListReaderGroups");
	*(void **)&s->connect = symbol(library, "SCardConnect");
	*(void **)&s->reconnect = symbol(library, "SCardReconnect");
	*(void **)&s->disconnect = symbol(library, "SCardDisconnect");
	*(void **)&s->begin = symbol(library, "SCardBeginTransaction");
	*(void **)&s->end = symbol(library, "SCardEndTransaction");
	*(void **)&s->transmit = symbol(library, "SCardTransmit");
	*(void **)&s->control = symbol(library, "SCardControl");
	*(void **)&s->get_attrib = symbol(library, "SCardGetAttrib");
	*(void **)&s->status = symbol(library, "SCardStatus");
	*(void **)&s->change = symbol(library, "SCardGetStatusChange");
	*(void **)&s->cancel = symbol(library, "SCardCancel");
}

void stack_open(struct stack *s) {
	DWORD len = 0;
	want("SCardEstablishContext", s->establish(SCARD_SCOPE_SYSTEM, NULL, NULL, &s->context));
	want("SCardListReaders", s->list(s->context, NULL, NULL, &len));
	s->names = calloc(1, len + 1);
	if (!s->names)
		die("no memory", 0);
	want("SCardListReaders", s->list(s->context, NULL, s->names, &len));
	s->n_readers = 0;
	for (const char *p = s->names; *p && s->n_readers < MAX_READERS; p += strlen(p) + 1)
		s->readers[s->n_readers++] = p;
	if (!s->n_readers)
		die("there is no reader", 0);
}

void stack_connect(struct stack *s, size_t i, DWORD share) {
	DWORD protocols = share == SCARD_SHARE_DIRECT ? 0 : SCARD_PROTOCOL_ANY;
	want("SCardConnect",
		s->connect(s->context, s->readers[i], share, protocols, &s->card, &s->protocol));
}

LONG stack_transmit(struct stack *s, size_t answer) {
	static unsigned char buffer[LARGE + 2];
	const unsigned char apdu[] = { 0x80, 0x10, (unsigned char)(answer >> 8),
		(unsigned char)answer };
	DWORD len = sizeof(buffer);
	SCARD_IO_REQUEST pci = { s->protocol, sizeof(pci) };
	LONG rv = s->transmit(s->card, &pci, apdu, sizeof(apdu), NULL, buffer, &len);
	if (rv == SCARD_S_SUCCESS && (len != answer || buffer[len - 2] != 0x90))
		die("the card gave a wrong answer", 0);
	return rv;
}
