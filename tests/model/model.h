/* SPDX-License-Identifier: MIT */
/* A model file: what kind of reader it is, its descriptors, and how it behaves. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	/* Interfaces of one model, of whatever class. Chosen. */
	MODEL_MAX_INTERFACES = 8,
	MODEL_MAX_ENDPOINTS = 6,
	/* Bytes given in one line of hex. Chosen. */
	MODEL_MAX_RAW = 256,
	/* bNumDataRatesSupported is one byte (CCID 1.10 5.1); a reader may return more than it
	 * says. */
	MODEL_MAX_RATES = 512,
	MODEL_MAX_STRINGS = 16,
	MODEL_MAX_DESCRIPTORS = 4096,
	/* bDescriptorLength of the CCID class descriptor (CCID 1.10 5.1). */
	MODEL_CCID_LENGTH = 54,
};

/* What follows a bulk-IN message whose length is a multiple of the packet size. */
enum model_zlp {
	MODEL_ZLP_AUTO,   /* the transfer just ends */
	MODEL_ZLP_ALWAYS, /* an empty packet: the next transfer gets it when this one was full */
	MODEL_ZLP_NEVER,  /* nothing: a transfer that wanted more goes on waiting */
};

enum model_notify {
	MODEL_NOTIFY_INITIAL, /* changes, and the cards that are there at the start */
	MODEL_NOTIFY_CHANGES,
	MODEL_NOTIFY_NEVER,
};

struct model_endpoint {
	uint8_t address, attributes, interval;
	uint16_t packet;
};

/* bDeviceClass or bInterfaceClass and what refines it. */
struct model_class {
	uint8_t class, subclass, protocol;
};

struct model_raw {
	uint8_t bytes[MODEL_MAX_RAW];
	size_t len;
};

struct model_interface {
	uint8_t number, name;
	struct model_class class;
	struct model_raw before; /* put before the interface descriptor */
	struct model_raw class_descriptor;
	struct model_raw after; /* put after the class descriptor */
	int behind_endpoints;   /* class descriptor after the last endpoint */
	int ccid;               /* behaves as a CCID reader */
	size_t n_endpoints;
	struct model_endpoint endpoints[MODEL_MAX_ENDPOINTS];

	/* what the reader really does, whatever its descriptor says */
	uint32_t features, message_length, protocols;
	unsigned slots, busy, volts;
	unsigned announced_rates;
	uint32_t rates[MODEL_MAX_RATES];
	size_t n_rates;
	unsigned status_ms;  /* GetSlotStatus takes this long */
	unsigned latency_us; /* every answer takes this long */
	unsigned mute_ms;    /* until the reader gives a silent card up */
	int empty_fails;     /* GetSlotStatus fails with FEh while the slot is empty */
	int check_atr;       /* refuses ATRs with a bad TS or TCK */
	int busy_answers;    /* answers E0h while busy; otherwise drops what it was doing */
	int no_escape;
	enum model_zlp zlp;
	enum model_notify notify;
	char card[128]; /* in its slots at the start */
};

struct model {
	char name[64];
	uint16_t vid, pid, bcd, usb;
	struct model_class class;
	uint8_t packet0;
	char speed[8];                        /* as sysfs has it: 1.5, 12, 480 */
	char strings[MODEL_MAX_STRINGS][128]; /* by their index; 0 is unused */
	size_t n_strings;
	uint8_t manufacturer, product, serial; /* indexes, 0: none */
	size_t n_interfaces;
	struct model_interface interfaces[MODEL_MAX_INTERFACES];
	unsigned cut; /* bytes that are missing at the end of the descriptors */
	/* device descriptor and configuration, as sysfs' file has them */
	uint8_t descriptors[MODEL_MAX_DESCRIPTORS];
	size_t descriptors_len;
};

/* Reads `name`: a path, or a file in `dir` without its suffix. `number` replaces a '#' in the
 * serial. On failure says why on standard error: -EINVAL, -ENOENT, -ENOMEM. Free with free(). */
int model_load(const char *dir, const char *name, unsigned number, struct model **ret_model);
