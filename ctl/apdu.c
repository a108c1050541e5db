/* SPDX-License-Identifier: MIT */
/*
 * reader-ctl apdu: commands to a card, answers as hexadecimal lines. Everything is read and checked
 * before the first byte goes to the card. Commands and answers may hold secrets: they are never
 * part of an error, and wiped after use; with "-" they are not on the command line either, where
 * other users can read them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/deadline.h"
#include "ctl/peer.h"
#include "ctl/print.h"
#include "ctl/readers.h"
#include "ctl/verb.h"
#include "wire/status.h"

enum {
	/* chosen: a command that makes an RSA key takes a minute or two on slow cards */
	ANSWER_MS = 180000,
	/* chosen: how long another program's transaction is waited for */
	CONNECT_MS = 10000,
	SHOWN = 32,      /* chosen: of a wrong command in an error */
	MIN_COMMAND = 4, /* CLA INS P1 P2 (ISO/IEC 7816-4 5.1) */
	ANY_PROTOCOL = 0x1000,
	PROTOCOL_RAW_BIT = 4,
};

struct command {
	uint8_t *bytes;
	size_t len;
};

struct commands {
	struct command *all;
	size_t n;
};

/* ---- reading ---- */

static int digit(char c) {
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal digits with blanks or colons between bytes. The number of bytes, -EINVAL for anything
 * else, with the column of what is wrong. */
static long hex_parse(const char *text, uint8_t *bytes, size_t *ret_column) {
	size_t n = 0;
	const char *s = text;
	while (*s) {
		if (strchr(" \t\r\n:", *s)) {
			s++;
			continue;
		}
		int high = digit(s[0]), low = high < 0 ? -1 : digit(s[1]);
		if (low < 0) {
			*ret_column = (size_t)(s - text) + (high < 0 ? 1 : 2);
			return -EINVAL;
		}
		bytes[n++] = (uint8_t)(high << 4 | low);
		s += 2;
	}
	return (long)n;
}

/* Adds one command. `where` names it in errors ("line 3"). 0 or an exit code. What came from
 * standard input is not repeated in an error; what is on the command line everybody can read
 * there. */
static int command_add(struct commands *commands, const char *text, const char *where) {
	size_t column = 0, size = strlen(text) / 2 + 1;
	uint8_t *bytes = malloc(size);
	struct command *all = reallocarray(commands->all, commands->n + 1, sizeof(*all));
	if (all)
		commands->all = all;
	if (!bytes || !all) {
		free(bytes);
		return print_error(EXIT_FAILED, "out of memory");
	}
	long n = hex_parse(text, bytes, &column);
	if (n >= MIN_COMMAND && n <= WIRE_MAX_DATA) {
		all[commands->n++] = (struct command){ bytes, (size_t)n };
		return 0;
	}
	explicit_bzero(bytes, size);
	free(bytes);
	if (n < 0)
		return print_error(EXIT_USAGE,
			"%s: character %zu: a command is pairs of hexadecimal digits, like 00A4040000",
			where, column);
	return print_error(EXIT_USAGE,
		"%s: a command has %d to %d bytes (CLA INS P1 P2 ...), not %ld", where, MIN_COMMAND,
		WIRE_MAX_DATA, n);
}

static int is_empty(const char *line) {
	line += strspn(line, " \t\r\n");
	return !*line || *line == '#';
}

static int stdin_read(struct commands *commands) {
	char *line = NULL, where[32];
	size_t size = 0;
	int r = 0;
	for (unsigned number = 1; r == 0 && getline(&line, &size, stdin) >= 0; number++) {
		snprintf(where, sizeof(where), "line %u", number);
		if (!is_empty(line))
			r = command_add(commands, line, where);
	}
	if (r == 0 && ferror(stdin))
		r = print_error(EXIT_FAILED, "standard input: %s", strerror(errno));
	if (line)
		explicit_bzero(line, size);
	free(line);
	return r;
}

static int commands_read(struct commands *commands, char **words, int n_words) {
	char where[SHOWN + 8];
	int r = 0;
	for (int i = 0; r == 0 && i < n_words; i++) {
		snprintf(where, sizeof(where), "%.*s%s", SHOWN, words[i],
			strlen(words[i]) > SHOWN ? "..." : "");
		r = strcmp(words[i], "-") == 0 ? stdin_read(commands)
					       : command_add(commands, words[i], where);
	}
	return r;
}

static void commands_done(struct commands *commands) {
	for (size_t i = 0; i < commands->n; i++) {
		explicit_bzero(commands->all[i].bytes, commands->all[i].len);
		free(commands->all[i].bytes);
	}
	free(commands->all);
}

/* ---- sending ---- */

static int answer_print(const struct message_reply *reply, struct print *print) {
	size_t size = 2 * reply->tail_len + 4;
	char *hex = malloc(size);
	if (!hex)
		return print_error(EXIT_FAILED, "out of memory");
	print_hex(reply->tail, reply->tail_len, 0, hex, size);
	if (print && reply->tail_len >= 2) {
		print_open(print, NULL, '{');
		print_string(print, "sw", hex + 2 * (reply->tail_len - 2));
		hex[2 * (reply->tail_len - 2)] = 0;
		print_string(print, "data", hex);
		print_close(print);
	} else if (print) {
		print_open(print, NULL, '{');
		print_string(print, "data", hex);
		print_close(print);
	} else {
		puts(hex);
		fflush(stdout);
	}
	explicit_bzero(hex, size);
	free(hex);
	return 0;
}

static int commands_send(struct peer *peer, const char *name, const struct commands *commands,
	const struct arguments *arguments) {
	struct print print = { .out = stdout };
	struct message_reply reply = { 0 };
	int64_t limit_ms = arguments->timeout_ms < 0 ? ANSWER_MS : arguments->timeout_ms;
	int code = 0;
	if (arguments->json)
		print_open(&print, NULL, '[');
	for (size_t i = 0; code == 0 && i < commands->n; i++) {
		const struct message_transmit transmit = {
			/* the handler answers for the protocol that CONNECT has made active */
			.protocol = arguments->protocols == PROTOCOL_RAW_BIT ? PROTOCOL_RAW_BIT
									     : ANY_PROTOCOL,
			.tail = commands->all[i].bytes,
			.tail_len = commands->all[i].len,
		};
		int r = peer_transmit(peer, &transmit, deadline_in(limit_ms), &reply);
		if (r == 0 && reply.status == STATUS_OK)
			code = answer_print(&reply, arguments->json ? &print : NULL);
		else
			code = peer_error(peer, name, r, reply.status);
	}
	if (arguments->json)
		print_close(&print);
	return code;
}

static int session_run(const struct readers_device *device, unsigned slot,
	const struct commands *commands, const struct arguments *arguments) {
	const char *known = description_name(&device->description, slot);
	const char *name = known ? known : device->instance;
	const struct message_connect connect = {
		.slot = (uint8_t)slot,
		.share = arguments->exclusive ? SHARE_EXCLUSIVE : SHARE_SHARED,
		.protocols = arguments->protocols ? arguments->protocols : 3, /* T=0 or T=1 */
	};
	struct message_reply reply = { 0 };
	struct peer peer;
	int64_t deadline_ms =
		deadline_in(arguments->timeout_ms < 0 ? CONNECT_MS : arguments->timeout_ms);
	int r = peer_open(device->dir, device->instance, deadline_ms, &peer);
	if (r == 0)
		r = peer_hello(&peer, deadline_ms, NULL);
	int greeted = r == 0;
	if (r == 0)
		r = peer_connect(&peer, &connect, deadline_ms, &reply);
	/* a handler that said hello and then nothing waits for the lock */
	if (greeted && r == -ETIMEDOUT)
		r = print_error(EXIT_TIMEOUT,
			"%s: another program's transaction did not end in time; reader-ctl status shows whose",
			name);
	else if (r != 0 || reply.status != STATUS_OK) {
		r = peer_error(&peer, name, r, reply.status);
	} else {
		r = commands_send(&peer, name, commands, arguments);
		if (r == 0)
			(void)peer_disconnect(&peer, deadline_in(CONNECT_MS));
	}
	peer_close(&peer);
	return r;
}

int apdu_run(const struct arguments *arguments) {
	const struct readers_device *device;
	struct commands commands = { 0 };
	struct readers readers;
	unsigned slot;
	if (readers_load(READERS_ASK, &readers) < 0)
		return EXIT_FAILED;
	int r = readers_find(&readers, arguments->words[0], READERS_SLOT, &device, &slot);
	if (r == 0)
		r = commands_read(&commands, arguments->words + 1, arguments->n_words - 1);
	if (r == 0)
		r = session_run(device, slot, &commands, arguments);
	commands_done(&commands);
	readers_done(&readers);
	return r;
}
