/* SPDX-License-Identifier: MIT */
/* Inside of the CCID driver: the device and its slots. For ccid_*.c only; others use driver_ccid.
 * */
#pragma once

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/ccid/ccid.h"
#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/driver.h"
#include "ifdhandler/ccid/exchange.h"
#include "ifdhandler/iso7816/pps.h"
#include "ifdhandler/ccid/quirk.h"
#include "ifdhandler/usb/usb.h"

struct ccid_slot;
struct sd_event_source;

enum {
	/* Presence and closing, whatever the card's own times are; as other drivers wait. */
	CCID_STATUS_USEC = 3000000,
	CCID_POWER_OFF_USEC = 3000000,
	/* An ATR may last (9600 + 12) × 33 etu (ISO/IEC 7816-3 8.1): 29 s at 4 MHz. */
	CCID_POWER_ON_USEC = 60000000,
	/* A reader may run the whole PPS inside of SetParameters: chosen. */
	CCID_PARAMETERS_USEC = 10000000,
	CCID_ESCAPE_USEC = 30000000,
	/* GET_DATA_RATES: tables of up to 255 entries (bNumDataRatesSupported). */
	CCID_MAX_RATES = 255,
	CCID_RATES_USEC = 1000000,
	/* wMaxPacketSize is at most 2047 with its upper bits cut. */
	CCID_MAX_NOTICE = 2048,
};

/* The next thing to do with the answer to a slot's command; reply NULL: `error` says why. */
typedef void (*ccid_step_fn)(struct ccid_slot *slot, const struct ccid_reply *reply, int error);

struct ccid_slot {
	struct driver *driver;
	unsigned index; /* over all interfaces */
	unsigned local; /* within its interface */
	const struct ccid_interface *interface;

	/* What is known of the card. */
	int known;   /* `present` has been told */
	int present; /* the last that was told */
	int powered; /* power-on has succeeded, nothing has taken it away since */
	int unclean; /* may have power although we did not give it */
	int moved;   /* the reader told of a change that the slot's status cannot show */
	int watched;
	int again;       /* something moved while its status was being asked: ask once more */
	int retell;      /* presence is to be told at the next look, whatever it is */
	uint8_t voltage; /* bPowerSelect that worked */
	uint8_t atr_bytes[DRIVER_MAX_ATR];
	size_t atr_len;
	struct atr atr;
	int atr_usable;
	uint32_t protocol;    /* in force: PROTOCOL_NONE until set_protocol */
	struct pps_plan plan; /* speed in force */
	int no_ifsd;          /* the card did not survive its negotiation */

	/* The operation under way. */
	int busy;
	driver_done_fn done;
	void *userdata;
	ccid_step_fn step;
	struct ccid_command command;
	enum driver_reset reset; /* power_on: as asked */
	unsigned n_voltages;     /* power_on: tried */
	int escaped;             /* power_on: left EMV mode once */
	uint32_t wanted;         /* set_protocol */
	void (*powered_up)(struct ccid_slot *slot, enum status status); /* who asked for power */
	uint64_t began;                                                 /* transmit */
	uint64_t card_usec;       /* transmit: the card's time for one answer */
	uint8_t scratch[512];     /* what is being sent, or a result, built here */
	struct exchange exchange; /* of APDUs */

	/* Presence, beside operations. */
	struct ccid_command status;
	unsigned n_probes; /* while opening */
};

/* The interrupt endpoint of one interface. */
struct ccid_bell {
	struct driver *driver;
	const struct ccid_interface *interface;
	unsigned first_slot;
	struct usb_transfer transfer;
	struct sd_event_source *retry;
	unsigned n_errors; /* in a row */
	int polled;        /* no endpoint, or it does not work: slots are asked */
	uint8_t *buf;      /* CCID_MAX_NOTICE bytes */
};

enum ccid_phase {
	CCID_OPENING,
	CCID_READY,
	CCID_TROUBLED, /* waiting to try again, or for ever */
	CCID_GONE,
};

struct ccid_rates {
	unsigned n;
	uint32_t rates[CCID_MAX_RATES];
};

struct driver {
	const struct driver_config *config;
	struct sd_event *event;
	struct driver_host host;
	const struct usb_ops *ops;
	struct quirks quirks;

	enum ccid_phase phase;
	enum status trouble; /* what operations are answered unless CCID_READY */
	struct usb *usb;
	struct ccid_desc desc;
	struct ccid *ccid;
	unsigned n_slots; /* constant from the first ready on */
	struct ccid_slot *slots;
	unsigned n_made; /* slots allocated, with the first descriptors that could be used */
	struct ccid_bell bells[CCID_MAX_INTERFACES];
	/* For CCID_MAX_INTERFACES interfaces. Not cleared: what interfaces that are there use is memory, the rest
	 * (46 KiB of 48, mostly) is none. */
	uint8_t *notices;
	struct ccid_rates *rates; /* as told when the device was opened */

	/* Opening. */
	struct sd_event_source *timer; /* next try, or a step of opening that lasts too long */
	void (*on_time)(struct driver *driver);
	unsigned n_failed; /* opens that failed in a row */
	int reopening;     /* the device was lost before: recovery steps are allowed */
	unsigned at;       /* interface or slot being asked */
	unsigned n_awake;  /* interfaces that answer */
	struct usb_transfer control;
	uint8_t control_data[4 * CCID_MAX_RATES];

	struct sd_event_source *poll;
};

/* ---- ccid_driver.c ---- */

/* As driver_ccid.init, on any USB implementation. */
int ccid_driver_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, const struct usb_ops *ops, struct driver **ret_driver);

/* The end of the slot's operation. Nothing of the operation is touched afterwards. */
void ccid_slot_end(struct ccid_slot *slot, const struct driver_result *result);
void ccid_slot_fail(struct ccid_slot *slot, enum status status);
/* Sends a command of the operation; `step` goes on. Its data stays in place until then. */
void ccid_slot_ask(struct ccid_slot *slot, const struct ccid_request *request,
	uint64_t timeout_usec, ccid_step_fn step);
/* The outcome of a command without an answer. */
enum status ccid_status_of_error(const struct ccid_slot *slot, int error);
/* The card's protocol and parameters are void: it has lost power, or will. */
void ccid_slot_forget(struct ccid_slot *slot);
/* Nothing is known of the card any more (no answer in time): it is treated as taken out and put in.
 * */
void ccid_slot_lose(struct ccid_slot *slot);

/* ---- ccid_open.c ---- */

/* Opens the device from the loop; what comes of it is told to the host. 0 or negative errno. */
int ccid_open(struct driver *driver);
/* Ends everything towards the device; operations under way end with READER_GONE or as `error` says.
 * Not from within a transfer's end. */
void ccid_close(struct driver *driver, int error);
/* The device is out of step for good: trouble now, another open soon. */
void ccid_lost(void *userdata, int error);

/* ---- ccid_power.c ---- */

void ccid_power_on(struct ccid_slot *slot, enum driver_reset how);
void ccid_power_off(struct ccid_slot *slot);
/* Powers the card up as part of another operation; `powered_up` goes on. */
void ccid_power_cycle(
	struct ccid_slot *slot, void (*powered_up)(struct ccid_slot *slot, enum status status));

/* ---- ccid_protocol.c ---- */

void ccid_set_protocol(struct ccid_slot *slot, uint32_t protocol);
/* How long the card may take for a block or command, from its ATR: microseconds. */
uint64_t ccid_card_timeout(const struct ccid_slot *slot, uint32_t protocol);

/* ---- ccid_transmit.c ---- */

void ccid_transmit(struct ccid_slot *slot, uint32_t protocol, const struct driver_bytes *apdu);

/* ---- ccid_presence.c ---- */

/* Listens to the interrupt endpoints, for the life of `driver->usb`. */
void ccid_presence_start(struct driver *driver);
void ccid_presence_stop(struct driver *driver);
/* What any answer says about the card: tells the host of changes. */
void ccid_presence_see(struct ccid_slot *slot, enum ccid_icc icc);
/* Asks for the slot's status, unless that is under way. */
void ccid_presence_ask(struct ccid_slot *slot);
/* Starts or stops asking again and again, as the slots' users need it. */
void ccid_presence_poll(struct driver *driver);

/* ---- ccid_control.c ---- */

/* Control codes that need no device: as driver_ops.known. */
enum status ccid_known(const struct ccid_slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len);
void ccid_control(struct ccid_slot *slot, uint32_t code, const struct driver_bytes *in);
enum status ccid_get_attrib(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len);
size_t ccid_describe(const struct ccid_slot *slot, char *buf, size_t size);
