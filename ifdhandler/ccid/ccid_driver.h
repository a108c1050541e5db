/* SPDX-License-Identifier: MIT */
/* Inside of the CCID driver: the device and its slots. For ccid_*.c only; others use driver_ccid.
 * */
#pragma once

#include "ifdhandler/iso7816/atr.h"
#include "ifdhandler/ccid/ccid.h"
#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/driver.h"
#include "ifdhandler/ccid/exchange.h"
#include "ifdhandler/ccid/pin.h"
#include "ifdhandler/iso7816/pps.h"
#include "ifdhandler/ccid/quirk.h"
#include "ifdhandler/usb/usb.h"

struct bytes_writer;
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
	/* Nobody waits for the exchange any more: chosen, most are over by then. */
	CCID_ABANDON_USEC = 2000000,
	/* GET_DATA_RATES: tables of up to 255 entries (bNumDataRatesSupported). */
	CCID_MAX_RATES = 255,
	CCID_RATES_USEC = 1000000,
	/* Gemalto's feature block: its length, and what is where in it. */
	CCID_TOLD_FEATURES = 21,
	CCID_TOLD_VALIDATION = 3,
	CCID_TOLD_ABILITIES = 8,
	CCID_TOLD_MESSAGE_NUMBERS = 1 << 2, /* indexes of messages are as in the standard */
	CCID_TOLD_PPDU_BY_TRANSMIT = 1 << 3,
	CCID_TOLD_MIN_PIN = 13,
	CCID_TOLD_MAX_PIN = 14,
	/* As much of the firmware's name as is kept (chosen; it also has to fit in one property of 255
	 * bytes). */
	CCID_MAX_FIRMWARE = 63,
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
	int mute; /* did not answer when it was opened, nor since: not there, or as good as that */
	int watched;
	int again;   /* something moved while its status was being asked: ask once more */
	int retell;  /* presence is to be told at the next look, whatever it is */
	int doubted; /* a command's "no card" has been looked into, and nothing has confirmed it */
	uint8_t voltage; /* bPowerSelect that worked */
	uint8_t atr_bytes[DRIVER_MAX_ATR];
	size_t atr_len;
	struct atr atr;
	int atr_usable;
	uint32_t protocol;    /* in force: PROTOCOL_NONE until set_protocol */
	struct pps_plan plan; /* speed in force */
	int no_ifsd;          /* the card did not survive its negotiation: until it is taken out */
	int warned;           /* people have been told that its ATR is wrong: likewise */
	unsigned n_mute;      /* commands in a row that it did not answer */

	/* The operation under way. */
	int busy;
	driver_done_fn done;
	void *userdata;
	ccid_step_fn step;
	struct ccid_command command;
	int yields;       /* it may be abandoned: power-ups are not, the card counts as mute then */
	unsigned n_asked; /* its commands until now */
	uint64_t give_up_at;     /* it was abandoned, and ends then at the latest; 0: it was not */
	enum driver_reset reset; /* power_on: as asked */
	unsigned n_voltages;     /* power_on: tried */
	int escaped;             /* power_on: left EMV mode once */
	uint32_t wanted;         /* set_protocol */
	uint32_t acceptable;     /* set_protocol: `wanted`, and what will do as well */
	int no_pps;              /* set_protocol: one has failed */
	enum status verdict;     /* set_protocol: what is told after a last reset */
	void (*powered_up)(struct ccid_slot *slot, enum status status); /* who asked for power */
	uint64_t began;                                                 /* transmit */
	uint64_t least_usec;      /* transmit: any answer may take that */
	uint8_t scratch[512];     /* what is being sent, or a result, built here */
	struct exchange exchange; /* of APDUs */
	struct pin_request pin;   /* PIN entry: what the reader is asked for */
	uint8_t *lent;            /* a longer command, for the time of the operation */
	size_t lent_len;

	/* Presence, beside operations. */
	uint64_t heard; /* when the device last told the slot's status, or was last asked for it */
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
	int warned;        /* of a hardware error */
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

	/* As some readers tell: by vendor commands, when the device is opened. */
	struct ccid_told {
		uint8_t features[CCID_TOLD_FEATURES];
		int has_features;
		char firmware[CCID_MAX_FIRMWARE + 1]; /* printable; "": not known */
	} told;

	/* Opening. */
	void (*on_setup)(struct driver *driver);
	unsigned setup_step;
	struct ccid_slot *setup_slot;
	struct ccid_command setup;
	struct sd_event_source *timer; /* next try, or a step of opening that lasts too long */
	void (*on_time)(struct driver *driver);
	unsigned n_failed;  /* opens that failed in a row */
	uint64_t wait_usec; /* until the next one */
	uint64_t cut_at;    /* when the handle was last taken away, 0: never */
	int reopening;      /* the device was lost before: recovery steps are allowed */
	unsigned at;        /* interface or slot being asked */
	unsigned n_awake;   /* interfaces that answer */
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
/* The same, after a rest of the slot: for readers that need one. */
void ccid_slot_ask_after(struct ccid_slot *slot, uint64_t delay_usec,
	const struct ccid_request *request, uint64_t timeout_usec, ccid_step_fn step);
/* The outcome of a command without an answer. */
enum status ccid_status_of_error(const struct ccid_slot *slot, int error);
/* The card's protocol and parameters are void: it has lost power, or will. */
void ccid_slot_forget(struct ccid_slot *slot);
/* It may be another card than the one that something was learnt of. */
void ccid_slot_renew(struct ccid_slot *slot);
/* Nothing is known of the card any more (no answer in time): it is to be powered up anew. */
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

/* The same as a warm reset, of a card that has power. */
void ccid_power_warm(
	struct ccid_slot *slot, void (*powered_up)(struct ccid_slot *slot, enum status status));

/* ---- ccid_protocol.c ---- */

void ccid_set_protocol(struct ccid_slot *slot, uint32_t protocols);
/* How long the card may take for the command or block that the exchange is about to send, from its ATR:
 * microseconds. */
uint64_t ccid_card_timeout(const struct ccid_slot *slot, uint32_t protocol);

/* ---- ccid_transmit.c ---- */

void ccid_transmit(struct ccid_slot *slot, uint32_t protocol, const struct driver_bytes *apdu);
/* Does what the slot's exchange wants next, until it ends: ends the operation then. */
void ccid_transmit_next(struct ccid_slot *slot, enum exchange_action action);

/* ---- ccid_info.c ---- */

/* Commands in an APDU's clothes that the driver answers in the reader's place: 1, and the operation has
 * ended; else 0. */
int ccid_info_answer(struct ccid_slot *slot, const struct driver_bytes *apdu);

/* ---- ccid_secure.c ---- */

/* What PIN entry at the keys may do here: bits of bPINSupport (CCID 1.10 5.1), 0 for none. */
unsigned ccid_secure_support(const struct ccid_slot *slot);
/* Starts FEATURE_VERIFY_PIN_DIRECT or FEATURE_MODIFY_PIN_DIRECT, where that is supported. */
void ccid_secure(struct ccid_slot *slot, enum pin_operation op, const struct driver_bytes *in);
/* Does this structure make sense, and its command take a PIN? */
enum status ccid_secure_check(
	const struct ccid_slot *slot, enum pin_operation op, const uint8_t *in, size_t len);
/* For the Secure message: how long it may take, and the rest that the reader needs before it. */
uint64_t ccid_secure_timeout(const struct ccid_slot *slot);
uint64_t ccid_secure_delay(const struct ccid_slot *slot);

/* ---- ccid_pace.c ---- */

/* Is there FEATURE_EXECUTE_PACE? */
int ccid_pace_support(const struct ccid_slot *slot);
/* Starts it, where it is supported. */
void ccid_pace(struct ccid_slot *slot, const struct driver_bytes *in);

/* ---- ccid_setup.c ---- */

/* What some readers must be told or asked before they can be used; then calls `done`, possibly at once,
 * or never where the device is lost meanwhile. */
void ccid_setup(struct driver *driver, void (*done)(struct driver *driver));

/* ---- ccid_presence.c ---- */

/* Listens to the interrupt endpoints, for the life of `driver->usb`. */
void ccid_presence_start(struct driver *driver);
void ccid_presence_stop(struct driver *driver);
/* What any answer says about the card: tells the host of changes. */
void ccid_presence_see(struct ccid_slot *slot, enum ccid_icc icc);
/* The same for a slot that sees no card by itself (mirror-presence). */
enum ccid_icc ccid_presence_truth(const struct ccid_slot *slot, enum ccid_icc icc);
int ccid_presence_is_mirrored(const struct ccid_slot *slot);
/* Asks for the slot's status, unless that is under way. */
void ccid_presence_ask(struct ccid_slot *slot);
/* Nothing was heard of a slot for so long that it would have been asked if somebody had watched it. */
int ccid_presence_is_old(const struct ccid_slot *slot);
/* Starts or stops asking again and again, as the slots' users need it. */
void ccid_presence_poll(struct driver *driver);

/* ---- ccid_escape.c ---- */

/* May programs send this vendor command? */
int ccid_escape_allowed(const struct ccid_slot *slot, const struct driver_bytes *in);
/* Sends a vendor command for a program; the answer is the operation's. */
void ccid_escape(struct ccid_slot *slot, const struct driver_bytes *in, uint64_t timeout_usec);

/* ---- ccid_property.c ---- */

/* What FEATURE_GET_TLV_PROPERTIES and FEATURE_IFD_PIN_PROPERTIES tell. */
void ccid_property_put_tlv(const struct ccid_slot *slot, struct bytes_writer *w);
void ccid_property_put_pin(const struct ccid_slot *slot, struct bytes_writer *w);

/* ---- ccid_control.c ---- */

/* Control codes that need no device: as driver_ops.known. */
enum status ccid_known(const struct ccid_slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len);
/* As driver_ops.is_for_card. */
int ccid_is_for_card(const struct ccid_slot *slot, uint32_t code);
void ccid_control(struct ccid_slot *slot, uint32_t code, const struct driver_bytes *in);
/* Features also go to the reader in an APDU's clothes. Is it such a command, and may it go? */
int ccid_is_ppdu(const struct driver_bytes *apdu);
enum status ccid_check_ppdu(const struct ccid_slot *slot, const struct driver_bytes *apdu);

/* ---- ccid_attrib.c ---- */

enum status ccid_get_attrib(
	const struct ccid_slot *slot, uint32_t tag, uint8_t *buf, size_t *ret_len);

/* ---- ccid_describe.c ---- */

size_t ccid_describe(const struct ccid_slot *slot, char *buf, size_t size);
