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
	MODEL_MAX_RAW = 512,
	/* bNumDataRatesSupported is one byte (CCID 1.10 5.1); a reader may return more than it
	 * says. */
	MODEL_MAX_RATES = 512,
	MODEL_MAX_STRINGS = 16,
	/* Escape commands that a model knows an answer to. Chosen. */
	MODEL_MAX_ESCAPES = 24,
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

/* How class messages travel (bInterfaceProtocol, where there is no bulk pair). */
enum model_transport {
	MODEL_BULK,
	MODEL_ICCD_A, /* control transfers, T=0 byte by byte */
	MODEL_ICCD_B, /* control transfers, APDUs */
};

/* A scripted answer to an Escape command. */
struct model_escape {
	struct model_raw request, answer;
	int prefix; /* more may follow the request */
	int fails;  /* answered with failure and `error` */
	uint8_t error;
	int sets_level; /* dwFeatures is `features` from now on */
	uint32_t features;
};

/* What a product's PIN pad wants, beyond what CCID says. */
struct model_pin {
	uint8_t support; /* bPINSupport */
	int all_indexes; /* modification: three bMsgIndex bytes whatever bNumberMessage is */
	int swapped;     /* takes the minimum before the maximum */
	int verify_number, modify_number; /* the only bNumberMessage that it understands, -1: any */
	unsigned validation;              /* bits of bEntryValidationCondition that it can do */
	unsigned settle_ms;               /* rest that it wants before Secure */
	unsigned timeout_s;               /* where bTimeOut is 0 */
	int key_extension;                /* a time extension with each key */
	struct model_raw case1_escape;    /* must come right before a template without Lc */
	int pace;                         /* bitmap of PACE capabilities, -1: none */
};

struct model_interface {
	uint8_t number, name;
	struct model_class class;
	struct model_raw before; /* put before the interface descriptor */
	struct model_raw class_descriptor;
	struct model_raw after; /* put after the class descriptor */
	int behind_endpoints;   /* class descriptor after the last endpoint */
	int ccid;               /* behaves as a CCID reader */
	enum model_transport transport;
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
	size_t n_escapes;
	struct model_escape escapes[MODEL_MAX_ESCAPES];
	struct model_pin pin;
	unsigned part;       /* ICCD version B: longest part of an answer, 0: by the level */
	unsigned poll_ms;    /* ICCD: every command takes this long */
	unsigned poll_units; /* ICCD version B: wait told in polling answers, in 10 ms */
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
