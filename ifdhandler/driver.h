/* SPDX-License-Identifier: MIT */
/* What every driver offers to slot.c, and what it may tell its host: the handler's only vtable. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "wire/status.h"

struct driver;
struct sd_event;

enum {
	/* Slots of one device over all its interfaces. bMaxSlotIndex is one byte (CCID 5.1), known
	 * devices have at most 8 in total; chosen: 32. */
	DRIVER_MAX_SLOTS = 32,
	/* 4 + 3 + 65536 + 3 + 2: the longest extended command or answer that PC/SC carries. */
	DRIVER_MAX_APDU = 65548,
	/* ISO/IEC 7816-3 8.2.1: TS and at most 32 characters. */
	DRIVER_MAX_ATR = 33,
	/* Attributes are at most this long (as PC/SC programs know it: MAX_BUFFER_SIZE). */
	DRIVER_MAX_ATTRIB = 264,
};

/* Protocols as bits, the same on the wire and in PC/SC. */
enum {
	PROTOCOL_NONE = 0,
	PROTOCOL_T0 = 1,
	PROTOCOL_T1 = 2,
	PROTOCOL_RAW = 4,
};

enum driver_reset {
	DRIVER_COLD, /* power down where needed, then up */
	DRIVER_WARM, /* warm reset where the reader can, else cold */
};

struct driver_bytes {
	const uint8_t *data;
	size_t len;
};

/* How an operation ended. `data` (the ATR, the response APDU, the answer to a control code) belongs
 * to the driver and is valid only during the call. `protocol` after set_protocol: what is in force. */
struct driver_result {
	enum status status;
	uint32_t protocol;
	const uint8_t *data;
	size_t len;
};

/* Called exactly once for each operation, also when the device vanishes in the middle; possibly
 * before the operation's own function returns: the caller touches nothing after it. */
typedef void (*driver_done_fn)(void *userdata, const struct driver_result *result);

/* What happened to a card between two looks at it. */
enum driver_change {
	DRIVER_CARD_SAME,
	DRIVER_CARD_SWAPPED, /* out and in again: perhaps another one */
	DRIVER_CARD_RESET, /* nobody knows what it is in the middle of: it must be powered up anew */
};

/* What a driver may tell its host at any time from the event loop, but never from within init.
 * Before the first `ready` or `trouble` the device is "starting". */
struct driver_host {
	void *userdata;
	/* The device answers; presence of each slot follows at once. May come again after trouble. */
	void (*ready)(void *userdata);
	/* The device cannot be used now, for the reason `why` (STATUS_READER_…); `detail` is a phrase
	 * for the journal ("perhaps pcscd (pid 712)"), or NULL. The driver
	 * goes on trying by itself. Operations under way have been completed before. */
	void (*trouble)(void *userdata, enum status why, const char *detail);
	/* What people should know of a device that works, a phrase for the journal. NULL: nobody reads it. */
	void (*advice)(void *userdata, const char *text);
	/* The device is unplugged: for good. The driver completes what is under way first and calls
	 * nothing more afterwards. */
	void (*gone)(void *userdata);
	/* A card is in slot `slot` or not. Called for changes, and again with the same value where
	 * something else happened to the card (`change`). */
	void (*presence)(void *userdata, unsigned slot, int present, enum driver_change change);
};

/* What the handler was told about the device: borrowed strings, NULL where unknown. */
struct driver_config {
	const char *node;         /* /dev/bus/usb/001/012, /dev/ttyUSB0; NULL for virtual readers */
	const char *name;         /* reader's name for messages */
	const char *manufacturer; /* USB strings, for attributes; NULL where the device has none */
	const char *product;
	const char *serial;
	const char *quirks; /* what is odd about the device: words separated by blanks */
	const char *card;   /* virtual: "builtin", "unix:PATH", "tcp:PORT"; NULL otherwise */
	int card_fd;        /* virtual: a listening socket inherited for the card, or -1 */
};

/*
 * One value per driver. Operations of one slot never overlap: slot.c starts the next one after
 * `done` of the one before. Different slots may overlap; a driver whose device cannot do that
 * queues them itself. Every operation ends within a deadline of the driver's own; `abandon` makes that
 * a short one, and `free` ends all (with STATUS_READER_GONE) at once.
 */
struct driver_ops {
	const char *name; /* "ccid" */

	/* Readers without a device: how many slots the reader has whose card is `card` (--card; may be
	 * NULL), at least 1. NULL for a driver that needs a device. */
	unsigned (*card_slots)(const char *card);

	/* Makes a driver for `config` on `event` (not started: no upcall before the loop runs).
	 * Both arguments outlive it. Trouble with the device is told by upcall and is no failure.
	 * 0 or negative errno (no memory, wrong configuration). */
	int (*init)(const struct driver_config *config, struct sd_event *event,
		const struct driver_host *host, struct driver **ret_driver);
	/* Ends operations under way, releases the device. NULL is allowed. */
	void (*free)(struct driver *driver);

	/* Number of slots as known now (0 before the first `ready`, constant afterwards). */
	unsigned (*n_slots)(const struct driver *driver);

	/* Power up or reset; result: the ATR, STATUS_NO_CARD, STATUS_CARD_MUTE … */
	void (*power_on)(struct driver *driver, unsigned slot, enum driver_reset how,
		driver_done_fn done, void *userdata);
	void (*power_off)(
		struct driver *driver, unsigned slot, driver_done_fn done, void *userdata);
	/* Makes PROTOCOL_T0 or PROTOCOL_T1 the card's protocol: PPS and parameters where the reader
	 * does not do it. Both bits: T=1, unless the reader has settled for T=0 already (result->protocol
	 * says so where it is set). STATUS_PROTO_MISMATCH: the reader cannot do that protocol;
	 * STATUS_UNSUPPORTED: it lets nobody choose, and the card speaks what its ATR offers first;
	 * STATUS_CARD_UNRESPONSIVE: card did not survive. */
	void (*set_protocol)(struct driver *driver, unsigned slot, uint32_t protocols,
		driver_done_fn done, void *userdata);
	/* One command APDU (or any bytes with PROTOCOL_RAW), at most DRIVER_MAX_APDU bytes; `apdu`
	 * stays valid until done. */
	void (*transmit)(struct driver *driver, unsigned slot, uint32_t protocol,
		const struct driver_bytes *apdu, driver_done_fn done, void *userdata);
	/* SCardControl, answered from what is known, at any time, also during an operation: programs ask
	 * for features when they list readers, and must not wait for another's command. Writes at
	 * most DRIVER_MAX_ATTRIB bytes into `buf`. STATUS_OK and *ret_len; STATUS_STARTING where the device must be
	 * asked (`control` does); STATUS_UNSUPPORTED for codes that it does not know. */
	enum status (*known)(
		struct driver *driver, unsigned slot, uint32_t code, uint8_t *buf, size_t *ret_len);
	/* Does this code send a command to the card (PIN entry), so that its caller must have heard of the
	 * card's resets, as for `transmit`? NULL where none does. */
	int (*is_for_card)(const struct driver *driver, unsigned slot, uint32_t code);
	/* SCardControl: `code` as on the wire. STATUS_UNSUPPORTED for codes that it does not know. */
	void (*control)(struct driver *driver, unsigned slot, uint32_t code,
		const struct driver_bytes *in, driver_done_fn done, void *userdata);

	/* Reads attribute `tag` (SCARD_ATTR_ number) into `buf` of DRIVER_MAX_ATTRIB bytes, from what
	 * is known without I/O: STATUS_OK and *ret_len, or STATUS_UNSUPPORTED. ATR, presence and
	 * names are answered by slot.c and never reach this. */
	enum status (*get_attrib)(
		struct driver *driver, unsigned slot, uint32_t tag, uint8_t *buf, size_t *ret_len);
	/* Lines key=value for `reader-ctl status` (exchange level, firmware, quirks in force, …):
	 * writes at most `size` bytes with NUL, returns the length without it. */
	size_t (*describe)(const struct driver *driver, unsigned slot, char *buf, size_t size);
	/* Nobody waits any more for what `transmit` or `control` does in this slot: it may end early, and
	 * what is left of it is cleared away before the next operation. Other operations go on. NULL
	 * where all are short. */
	void (*abandon)(struct driver *driver, unsigned slot);
	/* Somebody watches for card movements in this slot or nobody does: readers are asked for them
	 * only while watched. 1: what was told of the slot may be out of date, and
	 * `presence` follows in any case, also with the same value; else 0. NULL where it makes no
	 * difference. */
	int (*watch)(struct driver *driver, unsigned slot, int on);
};

extern const struct driver_ops driver_ccid;
extern const struct driver_ops driver_virtual;

/* All that this handler has, then NULL (drivers.c). */
extern const struct driver_ops *const drivers[];
