/* SPDX-License-Identifier: MIT */
/* USB descriptors of a smart card reader as plain numbers: which interfaces are CCID, and what they
 * can do. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	/* Readers with up to five CCID interfaces exist; chosen: 16. The kernel's limit is 32
	 * (USB_MAXINTERFACES). */
	CCID_MAX_INTERFACES = 16,
	/* Slots of all interfaces together; what is beyond is left out. As driver.h has it. */
	CCID_MAX_SLOTS = 32,
	/* usbfs and sysfs give at most a device descriptor and each configuration's 65535 bytes
	 * (wTotalLength, USB 2.0 9.6.3). Chosen: eight configurations' worth is never reached. */
	CCID_DESC_MAX_BYTES = 65536,
};

/* What ccid_desc_parse found. Names what kept a device from being used. */
enum ccid_desc_result {
	CCID_DESC_OK = 0,
	CCID_DESC_TRUNCATED,        /* no whole device descriptor */
	CCID_DESC_NO_CONFIGURATION, /* the active configuration is not among the descriptors */
	CCID_DESC_NO_INTERFACE,     /* no smart card interface in it */
	CCID_DESC_NO_CLASS,         /* such an interface, but no CCID class descriptor in it */
	CCID_DESC_SHORT_CLASS,      /* a class descriptor of less than 54 bytes */
	CCID_DESC_NO_ENDPOINTS,     /* no pair of bulk endpoints */
	CCID_DESC_MESSAGE_LENGTH,   /* dwMaxCCIDMessageLength leaves no room for a command */
};

/* Options of ccid_desc_parse, as bits. */
enum {
	/* Accept interfaces of vendor class (FFh) that carry a CCID class descriptor: for products
	 * known to be like that, a random vendor's interface may carry 54 such bytes too. */
	CCID_DESC_VENDOR_CLASS = 1,
};

/* Bits of dwFeatures (CCID 1.10 5.1) that a driver acts upon. */
enum {
	CCID_FEATURE_AUTO_CONFIG = 0x02,
	CCID_FEATURE_AUTO_ACTIVATE = 0x04,
	CCID_FEATURE_AUTO_VOLTAGE = 0x08,
	CCID_FEATURE_AUTO_CLOCK = 0x10,
	CCID_FEATURE_AUTO_BAUD = 0x20,
	CCID_FEATURE_AUTO_PARAMETERS = 0x40,
	CCID_FEATURE_AUTO_PPS = 0x80,
	CCID_FEATURE_AUTO_IFSD = 0x400,
	CCID_FEATURE_TOKEN = 0x800,
	CCID_FEATURE_TPDU = 0x10000,
	CCID_FEATURE_SHORT_APDU = 0x20000,
	CCID_FEATURE_EXTENDED_APDU = 0x40000,
};

/* Exchange level: the highest that dwFeatures announces. */
enum ccid_level {
	CCID_LEVEL_CHARACTER,
	CCID_LEVEL_TPDU,
	CCID_LEVEL_SHORT,
	CCID_LEVEL_EXTENDED,
};

/* What carries commands to an interface. */
enum ccid_transport {
	CCID_BULK,   /* messages on a pair of bulk endpoints (CCID 1.10) */
	CCID_ICCD_A, /* requests on endpoint 0, one T=0 TPDU at a time (ICCD 1.0, version A) */
	CCID_ICCD_B, /* requests on endpoint 0 with chaining (ICCD 1.0, version B) */
};

/* An endpoint: address with its direction bit, 0 where there is none. */
struct ccid_endpoint {
	uint8_t address;
	uint16_t packet_size; /* wMaxPacketSize, bits 10-0, at least 1 */
};

/* One CCID interface, numbers made safe for use; `features` and the like as announced. */
struct ccid_interface {
	uint8_t number;       /* bInterfaceNumber: for claim and wIndex */
	uint8_t name;         /* iInterface: index of its string, 0: none */
	uint8_t vendor_class; /* its class is FFh */
	uint8_t protocol;     /* bInterfaceProtocol as announced */
	enum ccid_transport transport;
	struct ccid_endpoint bulk_in, bulk_out, interrupt_in; /* bulk: of CCID_BULK */

	uint8_t n_slots;         /* 1 … CCID_MAX_SLOTS */
	uint8_t n_busy;          /* commands that may be under way at once: 1 or n_slots */
	uint8_t voltages;        /* bit 0: 5 V, 1: 3 V, 2: 1.8 V; never 0 */
	uint8_t protocols;       /* bit 0: T=0, 1: T=1; never 0 */
	uint8_t n_clocks;        /* bNumClockSupported */
	uint8_t n_rates;         /* bNumDataRatesSupported */
	uint8_t pin_support;     /* bPINSupport */
	uint16_t bcd_ccid;       /* bcdCCID: information only */
	uint16_t lcd_layout;     /* wLcdLayout */
	uint16_t max_ifsd;       /* 32 … 254 */
	uint32_t default_khz;    /* dwDefaultClock, plausible */
	uint32_t max_khz;        /* dwMaximumClock as announced */
	uint32_t default_rate;   /* dwDataRate, bit/s, as announced */
	uint32_t max_rate;       /* dwMaxDataRate, bit/s, as announced */
	uint32_t features;       /* dwFeatures */
	uint32_t message_length; /* dwMaxCCIDMessageLength as announced, at least 15 */
	enum ccid_level level;
};

/* A device: who it says it is, and its CCID interfaces in the order of the configuration. */
struct ccid_desc {
	uint16_t vendor, product, bcd_device;
	uint8_t manufacturer_name, product_name, serial_name; /* indexes of strings, 0: none */
	uint8_t configuration;                                /* bConfigurationValue looked at */
	uint8_t n_all_interfaces; /* bNumInterfaces: 1 means that nothing else lives there */
	unsigned n_interfaces;
	unsigned n_slots; /* of all interfaces together */
	struct ccid_interface interfaces[CCID_MAX_INTERFACES];
};

/*
 * Reads concatenated descriptors (device, then every configuration), as sysfs' file `descriptors`
 * and reading a usbfs node give them, fields in little-endian order. Any bytes are allowed; no byte
 * beyond `len` is read. `configuration` is the active bConfigurationValue; 0 takes the first one.
 * `flags`: CCID_DESC_…. *ret_desc is always written: the device's ids and strings as far as they
 * are there, and 0 interfaces when the result is not CCID_DESC_OK. Where several smart card
 * interfaces exist, the usable ones are given; the result names the first defect only if none is
 * usable.
 */
enum ccid_desc_result ccid_desc_parse(const uint8_t *bytes, size_t len, unsigned configuration,
	unsigned flags, struct ccid_desc *ret_desc);

/* The exchange level at which APDUs are given to the interface, and the length of a message there,
 * header included: as announced, but for tokens without messages. */
enum ccid_level ccid_desc_exchange_level(const struct ccid_interface *interface);
uint32_t ccid_desc_exchange_length(const struct ccid_interface *interface);

/* A phrase for people that says what is wrong; static, never NULL. */
const char *ccid_desc_text(enum ccid_desc_result result);

/* "TPDU", "short APDU", …; static, never NULL. */
const char *ccid_desc_level_name(enum ccid_level level);
