/* SPDX-License-Identifier: MIT */
/* The inside of an emulated reader, shared by the files reader*.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/model/reader.h"

enum {
	/* dwMaxCCIDMessageLength that a model really has is at most this: a header, 65544 bytes,
	 * and room for what is too long. */
	READER_MAX_MESSAGE = 10 + CARD_MAX_APDU + 64,
	READER_MAX_FAULTS = 16,
	READER_MAX_TRACE = 8192,
	READER_MAX_VIOLATIONS = 64,
	READER_MAX_INTERRUPTS = 8,
	READER_HEADER = 10,
	/* Keys that a user may press in one script, and digits of one PIN. Chosen. */
	PIN_MAX_KEYS = 256,
	PIN_MAX_DIGITS = 32,
};

/* Message types (CCID 1.10 6). */
enum {
	MSG_SET_PARAMETERS = 0x61,
	MSG_POWER_ON = 0x62,
	MSG_POWER_OFF = 0x63,
	MSG_SLOT_STATUS = 0x65,
	MSG_SECURE = 0x69,
	MSG_T0APDU = 0x6a,
	MSG_ESCAPE = 0x6b,
	MSG_GET_PARAMETERS = 0x6c,
	MSG_RESET_PARAMETERS = 0x6d,
	MSG_CLOCK = 0x6e,
	MSG_XFR = 0x6f,
	MSG_MECHANICAL = 0x71,
	MSG_ABORT = 0x72,
	MSG_SET_RATE = 0x73,
	MSG_DATA = 0x80,
	MSG_STATUS = 0x81,
	MSG_PARAMETERS = 0x82,
	MSG_ESCAPE_ANSWER = 0x83,
};

/* Bits of dwFeatures (CCID 1.10 5.1). */
enum {
	FEATURE_AUTO_ACTIVATE = 0x04,
	FEATURE_AUTO_VOLTAGE = 0x08,
	FEATURE_AUTO_PARAMETERS = 0x40,
	FEATURE_AUTO_PPS = 0x80,
	FEATURE_AUTO_IFSD = 0x400,
	FEATURE_TPDU = 0x10000,
	FEATURE_SHORT = 0x20000,
	FEATURE_EXTENDED = 0x40000,
};

/* bError (CCID 1.10 6.2.6), and offsets of wrong fields. */
enum {
	ERROR_UNSUPPORTED = 0x00,
	ERROR_LENGTH = 0x01,
	ERROR_SLOT = 0x05,
	ERROR_FIRST_PARAMETER = 0x07,
	ERROR_LEVEL = 0x08,
	ERROR_STRUCTURE = 0x0a,
	ERROR_BUSY = 0xe0,
	ERROR_PIN_CANCELLED = 0xef,
	ERROR_PIN_TIMEOUT = 0xf0,
	ERROR_ATR_TCK = 0xf7,
	ERROR_ATR_TS = 0xf8,
	ERROR_PROTOCOL = 0xf6,
	ERROR_PARITY = 0xfd,
	ERROR_MUTE = 0xfe,
	ERROR_ABORTED = 0xff,
};

enum chunk_kind {
	CHUNK_DATA,
	CHUNK_EMPTY, /* a transfer of 0 bytes, or the end of one */
	CHUNK_STALL,
	CHUNK_ERROR,
	CHUNK_OVERFLOW,
};

/* Something that bulk-IN will bring at `due`; a list in that order. */
struct chunk {
	struct chunk *next;
	uint64_t due;
	uint64_t repeat_us; /* comes again this long after it was fetched; 0: once */
	enum chunk_kind kind;
	unsigned slot;
	int more; /* the transfer goes on with the next chunk */
	size_t len, off;
	uint8_t data[];
};

/* What a command is answered with. `data` is borrowed until the answer is queued. */
struct answer {
	uint8_t type, status, error, extra; /* extra: the byte at offset 9 */
	int silent;                         /* never */
	uint64_t delay_us;
	unsigned extensions;
	const uint64_t *signs; /* more extensions, this long after the command; borrowed */
	size_t n_signs;
	const uint8_t *data;
	size_t len;
};

/* A command under work. */
struct command {
	uint8_t type, slot, seq;
	const uint8_t *bytes; /* with header */
	size_t len;           /* of the data */
	const uint8_t *data;
	uint64_t now;
};

enum fault_kind {
	FAULT_NONE,
	FAULT_SEQ,
	FAULT_SLOT,
	FAULT_TYPE,
	FAULT_STATUS,
	FAULT_ERROR,
	FAULT_CHAIN,
	FAULT_LENGTH,
	FAULT_STALE,
	FAULT_REFUSE,
	FAULT_DROP,
	FAULT_DEAF,
	FAULT_LATE,
	FAULT_EXTEND,
	FAULT_CUT,
	FAULT_EMPTY,
	FAULT_PAD,
	FAULT_SURPLUS,
	FAULT_TWIN,
	FAULT_GLUE,
	FAULT_SPLIT,
	FAULT_GARBAGE,
	FAULT_ZLP,
	FAULT_ZLP_AFTER,
	FAULT_STALL_IN,
	FAULT_STALL_OUT,
	FAULT_NAK_OUT,
	FAULT_ERROR_IN,
	FAULT_OVERFLOW,
	FAULT_VANISH,
	FAULT_CONTROL_STALL,
	FAULT_CONTROL_SHORT,
	FAULT_CONTROL_HANG,
	/* at once */
	FAULT_INTERRUPT_ERROR,
	FAULT_INTERRUPT_STALL,
	FAULT_INTERRUPT_SILENT,
	/* and the card's, CARD_FAULT_… added */
	FAULT_CARD,
};

struct fault {
	enum fault_kind kind;
	unsigned arg, arg2;
	int on;   /* bMessageType, -1: any */
	int slot; /* -1: any */
	unsigned skip, times;
	int strikes; /* for the command under work */
};

struct reader_slot {
	struct card *card;
	int powered;
	int lost; /* the card has moved since the host last switched it */
	unsigned protocol;
	uint8_t params[7];
	int settled; /* parameters were set or a PPS has been seen: what follows is traffic */
	uint64_t busy_until;               /* 0: idle; UINT64_MAX: hangs */
	uint8_t pending_type, pending_seq; /* the command it is busy with */
	int abort_seq;                     /* control half of an ABORT has come, -1: not */
	size_t command_len;                /* parts of a command so far, while `collecting` */
	int collecting;
	size_t answer_off; /* of `reply`, while handing it out in parts */
	int handing_out;
	uint8_t command[CARD_MAX_APDU + 64];
	struct card_reply reply;
	/* character level: bytes that the card has sent and nobody has fetched; T=0: command so
	 * far */
	size_t stream_len, stream_off, header_len;
	uint8_t stream[CARD_MAX_REPLY + 8];
	uint8_t header[5 + 255];
};

/* A token on control transfers (ICCD 1.0): what its next answer is. */
enum iccd_step {
	ICCD_IDLE,
	ICCD_COMMAND, /* version A: waits for the command's data */
	ICCD_DATA,    /* the answer can be fetched */
	ICCD_STATUS,  /* version A: the status word can be fetched */
	ICCD_MORE,    /* version B: part of a command taken */
	ICCD_FAILED,  /* version B: `error` says why */
};

/* What an ordered fault without on= waits for. */
enum iccd_draws {
	ICCD_DRAWS_NAMED,   /* nothing: has to be named */
	ICCD_DRAWS_COMMAND, /* those of time and of refusal */
	ICCD_DRAWS_ANSWER,  /* all others */
};

struct iccd {
	enum iccd_step step;
	uint8_t error;
	uint64_t ready_at; /* of the answer; UINT64_MAX: never */
	uint64_t ask_at;   /* not to be asked before this, as told */
};

struct reader_interface {
	const struct model_interface *model;
	struct model_interface own; /* where Escape commands may change something */
	struct iccd iccd;
	unsigned first_slot;
	int last_seq;
	size_t rx_len;
	int rx_drop; /* rest of a transfer that is not wanted */
	uint8_t rx[READER_MAX_MESSAGE];
	struct chunk *in;
	int halted_in, halted_out, halted_interrupt;
	int nak_out;
	unsigned changed; /* bits of slots, not yet notified */
	int notify;
	int interrupt_errors, interrupt_silent;
	struct model_raw last_escape; /* the command before this one, where it was an Escape */
	uint64_t last_at;             /* when the last command came */
	size_t n_interrupts;
	struct model_raw interrupts[READER_MAX_INTERRUPTS];
};

/* What the user does: a digit, or o(k), x (cancel), t(imeout), c(lear), b(ack), `ms` after the
 * last key. */
struct reader_key {
	char code;
	unsigned ms;
};

struct reader {
	const struct model *model;
	const char *verbose;
	struct reader_interface interfaces[MODEL_MAX_INTERFACES];
	unsigned n_slots;
	struct reader_slot *slots; /* n_slots */
	uint8_t configuration;
	uint64_t vanish_at;
	struct fault faults[READER_MAX_FAULTS];
	struct reader_key keys[PIN_MAX_KEYS];
	size_t n_keys, key_pos;
	uint64_t pressed[PIN_MAX_KEYS]; /* when, since the Secure under work came */
	size_t n_pressed;
	unsigned long counts[N_COUNTS];
	size_t n_trace, trace_pos;
	char *trace[READER_MAX_TRACE];
	size_t n_violations;
	char *violations[READER_MAX_VIOLATIONS];
};

/* reader.c */
/* Notes what the host did wrong. */
void reader_violation(struct reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* `direction`: '>', '<', '!' or 'c'. */
void reader_trace(struct reader *reader, char direction, const uint8_t *bytes, size_t len);
/* Adds to what bulk-IN brings. -ENOMEM ends the program: nothing to test then. */
struct chunk *reader_queue(struct reader_interface *itf, enum chunk_kind kind, uint64_t due,
	const uint8_t *bytes, size_t len);
/* Forgets what was not yet due of `slot`'s answer. */
void reader_unqueue(struct reader_interface *itf, unsigned slot, uint64_t now);
/* Interface that has the slot. */
struct reader_interface *reader_interface_of(struct reader *reader, unsigned slot);

/* reader-ccid.c: one whole message has come; and what XfrBlock and the rest do with the slot */
void ccid_message(struct reader *reader, struct reader_interface *itf, uint64_t now);
void ccid_reset_slot(struct reader_slot *slot);
/* Queues the answer, as the faults that strike will have it. */
void ccid_answer(struct reader *reader, struct reader_interface *itf, const struct command *command,
	const struct answer *answer);
/* bmICCStatus of the slot: 0 active, 1 inactive, 2 absent. */
uint8_t ccid_icc(const struct reader_slot *slot);

/* reader-exchange.c: XfrBlock; parameters in force for `protocol` */
void exchange_xfr(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *ret_answer);
/* One APDU to the card, its answer in slot->reply as the short level has it. */
void exchange_apdu(const struct model_interface *model, struct reader_slot *slot,
	const uint8_t *data, size_t len);
void exchange_defaults(struct reader_slot *slot, unsigned protocol, uint8_t ta1);

/* The same with a command that the reader itself has made up, after `prologue` (NAD, PCB, LEN) where
 * it is to be a block of T=1. */
void exchange_secured(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const uint8_t *prologue, const uint8_t *apdu, size_t len, struct answer *ret_answer);
int exchange_is_t1_tpdu(const struct model_interface *model, const struct reader_slot *slot);

/* XfrBlock at character level: `command` has the expected number of bytes at offset 8. */
void exchange_character(struct reader *reader, struct reader_interface *itf,
	struct reader_slot *slot, const struct command *command, struct answer *ret_answer);

/* reader-secure.c */
void secure_message(struct reader *reader, struct reader_interface *itf, struct reader_slot *slot,
	const struct command *command, struct answer *answer);

/* reader-iccd.c: a class request to a token; what reader_control returns */
int iccd_request(struct reader *reader, struct reader_interface *itf, const uint8_t *setup,
	uint8_t *data, size_t size, uint64_t now);
void iccd_reset(struct reader_interface *itf);

/* reader-fault.c */
/* Marks the faults that strike this class request to a token. */
void fault_match_request(
	struct reader *reader, uint8_t request, unsigned slot, enum iccd_draws draws);
/* Marks the faults that strike this command. */
void fault_match(struct reader *reader, uint8_t type, unsigned slot);
/* Whether a fault of this kind strikes the command under work. */
int fault_strikes(
	struct reader *reader, enum fault_kind kind, unsigned *ret_arg, unsigned *ret_arg2);
/* A fault of control requests: taken at once. */
int fault_control(struct reader *reader, enum fault_kind kind, unsigned request, unsigned *ret_arg);
