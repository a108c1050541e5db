/* SPDX-License-Identifier: MIT */
/*
 * Models the descriptors of one USB device as a chain of items (length, type, body) and picks out
 * the smart card interfaces. Pure: the bytes come from whoever has them, and may be anything.
 *
 * An interface is taken from its descriptor to the next interface descriptor, whatever lies in
 * between: products put the class descriptor behind the last endpoint, and foreign items (an
 * association of the next function, SuperSpeed companions) are skipped. Only alternate setting 0
 * counts. Numbers that no reader can mean (no voltage, no protocol, a clock of 1 GHz) are replaced
 * by what such products turned out to need, so that nobody further up divides by zero or loops.
 *
 * A token whose card is built in may have no bulk endpoints: it announces how it is driven by
 * requests on endpoint 0 (ICCD 1.0). That is believed only where there is no pair of them.
 *
 * Can never happen: a read beyond the given length, a bulk interface without both endpoints or with
 * a packet size of 0, a token of several slots, more than CCID_MAX_SLOTS slots in total.
 */
#include "ifdhandler/ccid/ccid_desc.h"

#include <string.h>

enum {
	/* USB 2.0 table 9-5 and 9.6: descriptor types and their least lengths. */
	TYPE_DEVICE = 1,
	TYPE_CONFIGURATION = 2,
	TYPE_INTERFACE = 4,
	TYPE_ENDPOINT = 5,
	DEVICE_LENGTH = 18,
	CONFIGURATION_LENGTH = 9,
	INTERFACE_LENGTH = 9,
	ENDPOINT_LENGTH = 7,
	/* CCID 1.10 5.1: type 21h, 54 bytes; firmware older than the standard says FFh. */
	TYPE_CCID = 0x21,
	TYPE_CCID_OLD = 0xff,
	CCID_LENGTH = 54,
	CLASS_SMART_CARD = 0x0b,
	CLASS_VENDOR = 0xff,
	/* 10 bytes of header and 5 of the shortest command with a body. */
	MESSAGE_LENGTH_MIN = 15,
	/* ICCD 1.0 4.3: bInterfaceProtocol of tokens without bulk endpoints. */
	PROTOCOL_ICCD_A = 1,
	PROTOCOL_ICCD_B = 2,
	/* ICCD 1.0 4.4: what every token announces, parameters that need no negotiation. */
	TOKEN_FEATURES = CCID_FEATURE_AUTO_PARAMETERS | CCID_FEATURE_TOKEN,
	PROTOCOL_BIT_T0 = 1,
	PROTOCOL_BIT_T1 = 2,
	/* A T=0 command of 5 + 255 bytes goes to a token of version A whatever it announces: in two
	 * requests, each of which is short enough for any. */
	TOKEN_TPDU_LENGTH = 10 + 260,
	/* One request on endpoint 0 moves so much (usb.h: USB_MAX_CONTROL), seen as a message. */
	TOKEN_MAX_LENGTH = 10 + 4096,
	/* ISO/IEC 7816-3 8.1 allows a card up to 20 MHz; beyond 100 MHz it is no clock at all. */
	CLOCK_MAX_KHZ = 100000,
	CLOCK_USUAL_KHZ = 4000,
	/* ISO/IEC 7816-3 11.4.2: IFSD starts at 32, 254 is the most. */
	IFSD_MIN = 32,
	IFSD_MAX = 254,
};

/* A bounded run of descriptor items. */
struct area {
	const uint8_t *pos;
	const uint8_t *end;
};

/* One interface while its items pass by. */
struct candidate {
	int open; /* an interface of alternate setting 0 is being looked at */
	uint8_t class;
	int n_class; /* class descriptors that were too short */
	const uint8_t *ccid;
	struct ccid_interface interface;
};

static uint16_t le16(const uint8_t *p) {
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p) {
	return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

/* The next item that lies wholly in the area, or NULL at its end or where the chain is broken. */
static const uint8_t *next_item(struct area *a) {
	size_t left = (size_t)(a->end - a->pos);
	if (left < 2 || a->pos[0] < 2 || a->pos[0] > left)
		return NULL;
	const uint8_t *item = a->pos;
	a->pos += item[0];
	return item;
}

static enum ccid_level level_of(uint32_t features) {
	if (features & CCID_FEATURE_EXTENDED_APDU)
		return CCID_LEVEL_EXTENDED;
	if (features & CCID_FEATURE_SHORT_APDU)
		return CCID_LEVEL_SHORT;
	return features & CCID_FEATURE_TPDU ? CCID_LEVEL_TPDU : CCID_LEVEL_CHARACTER;
}

static uint16_t clamp_ifsd(uint32_t ifsd) {
	if (ifsd < IFSD_MIN)
		return IFSD_MIN;
	return ifsd > IFSD_MAX ? IFSD_MAX : (uint16_t)ifsd;
}

static uint32_t plausible_khz(uint32_t khz) {
	return khz == 0 || khz > CLOCK_MAX_KHZ ? CLOCK_USUAL_KHZ : khz;
}

/* The 54 bytes of the class descriptor, offsets as in CCID 1.10 table 5.1-1. */
static void decode_class(const uint8_t *d, struct ccid_interface *i) {
	i->bcd_ccid = le16(d + 2);
	unsigned announced = d[4] + 1u;
	i->n_slots = announced > CCID_MAX_SLOTS ? CCID_MAX_SLOTS : (uint8_t)announced;
	/* Only a reader that says "all of them" does work on several slots at once. */
	i->n_busy = d[53] == announced ? i->n_slots : 1;
	i->voltages = d[5] & 7;
	if (i->voltages == 0)
		i->voltages = 1;
	i->protocols = d[6] & 3;
	if (i->protocols == 0)
		i->protocols = 3;
	i->default_khz = plausible_khz(le32(d + 10));
	i->max_khz = le32(d + 14);
	i->n_clocks = d[18];
	i->default_rate = le32(d + 19);
	i->max_rate = le32(d + 23);
	i->n_rates = d[27];
	i->max_ifsd = clamp_ifsd(le32(d + 28));
	i->features = le32(d + 40);
	i->level = level_of(i->features);
	i->message_length = le32(d + 44);
	i->lcd_layout = le16(d + 50);
	i->pin_support = d[52];
}

static void see_endpoint(const uint8_t *item, struct ccid_interface *i) {
	enum { TRANSFER_TYPE = 3, BULK = 2, INTERRUPT = 3, IN = 0x80 }; /* USB 2.0 table 9-13 */
	struct ccid_endpoint e = { .address = item[2], .packet_size = le16(item + 4) & 0x7ff };
	int in = e.address & IN;
	struct ccid_endpoint *where = NULL;
	if ((item[3] & TRANSFER_TYPE) == BULK)
		where = in ? &i->bulk_in : &i->bulk_out;
	else if ((item[3] & TRANSFER_TYPE) == INTERRUPT && in)
		where = &i->interrupt_in;
	if (where && where->address == 0 && e.packet_size > 0 && (e.address & 0x0f))
		*where = e;
}

static void see_item(const uint8_t *item, struct candidate *c) {
	if (item[1] == TYPE_ENDPOINT && item[0] >= ENDPOINT_LENGTH)
		see_endpoint(item, &c->interface);
	if ((item[1] != TYPE_CCID && item[1] != TYPE_CCID_OLD) || c->ccid)
		return;
	if (item[0] >= CCID_LENGTH)
		c->ccid = item;
	else
		c->n_class++;
}

/* No pair of bulk endpoints: a token, or nothing that can be used. */
static int become_token(struct ccid_interface *i) {
	if (i->protocol != PROTOCOL_ICCD_A && i->protocol != PROTOCOL_ICCD_B)
		return 0;
	i->transport = i->protocol == PROTOCOL_ICCD_A ? CCID_ICCD_A : CCID_ICCD_B;
	i->bulk_in = (struct ccid_endpoint){ 0 };
	i->bulk_out = (struct ccid_endpoint){ 0 };
	/* What the class has no request for, whatever the descriptor says. */
	i->n_slots = 1;
	i->n_busy = 1;
	i->voltages = 1;
	i->n_clocks = 0;
	i->n_rates = 0;
	i->pin_support = 0;
	i->features |= TOKEN_FEATURES;
	/* dwProtocols tells how APDUs look there, not what the card says in its ATR; whole APDUs look
	 * the same for both. */
	if (i->transport == CCID_ICCD_A)
		i->protocols = PROTOCOL_BIT_T0;
	else if (i->level != CCID_LEVEL_CHARACTER)
		i->protocols = PROTOCOL_BIT_T0 | PROTOCOL_BIT_T1;
	return 1;
}

static enum ccid_desc_result judge(struct candidate *c) {
	if (!c->ccid)
		return c->n_class ? CCID_DESC_SHORT_CLASS : CCID_DESC_NO_CLASS;
	struct ccid_interface *i = &c->interface;
	decode_class(c->ccid, i);
	if ((i->bulk_in.address == 0 || i->bulk_out.address == 0) && !become_token(i))
		return CCID_DESC_NO_ENDPOINTS;
	return i->message_length < MESSAGE_LENGTH_MIN ? CCID_DESC_MESSAGE_LENGTH : CCID_DESC_OK;
}

static int is_ours(const struct candidate *c, unsigned flags) {
	if (!c->open)
		return 0;
	if (c->class == CLASS_SMART_CARD)
		return 1;
	return c->class == CLASS_VENDOR && (flags & CCID_DESC_VENDOR_CLASS) && c->ccid;
}

static int is_known(const struct ccid_desc *desc, uint8_t number) {
	for (unsigned i = 0; i < desc->n_interfaces; i++)
		if (desc->interfaces[i].number == number)
			return 1;
	return 0;
}

/* All items of an interface have passed: keep it if it is usable, else remember the first defect.
 * */
static void close_candidate(struct candidate *c, unsigned flags, struct ccid_desc *desc,
	enum ccid_desc_result *defect) {
	if (!is_ours(c, flags) || is_known(desc, c->interface.number))
		return;
	enum ccid_desc_result r = judge(c);
	if (r != CCID_DESC_OK) {
		if (*defect == CCID_DESC_NO_INTERFACE)
			*defect = r;
		return;
	}
	unsigned left = CCID_MAX_SLOTS - desc->n_slots;
	if (desc->n_interfaces == CCID_MAX_INTERFACES || left == 0)
		return;
	if (c->interface.n_slots > left) {
		c->interface.n_slots = (uint8_t)left;
		c->interface.n_busy = 1;
	}
	desc->interfaces[desc->n_interfaces++] = c->interface;
	desc->n_slots += c->interface.n_slots;
}

static void open_candidate(const uint8_t *item, struct candidate *ret_candidate) {
	*ret_candidate = (struct candidate){
		.open = item[3] == 0,
		.class = item[5],
		.interface = {
			.number = item[2],
			.vendor_class = item[5] == CLASS_VENDOR,
			.protocol = item[7],
			.name = item[8],
		},
	};
}

static enum ccid_desc_result parse_configuration(
	struct area area, unsigned flags, struct ccid_desc *desc) {
	enum ccid_desc_result defect = CCID_DESC_NO_INTERFACE;
	struct candidate candidate = { .open = 0 };
	for (const uint8_t *item; (item = next_item(&area));) {
		if (item[1] != TYPE_INTERFACE || item[0] < INTERFACE_LENGTH) {
			see_item(item, &candidate);
			continue;
		}
		close_candidate(&candidate, flags, desc, &defect);
		open_candidate(item, &candidate);
	}
	close_candidate(&candidate, flags, desc, &defect);
	return desc->n_interfaces ? CCID_DESC_OK : defect;
}

/* The area of configuration `value` (0: the first one) behind its own descriptor. */
static int find_configuration(
	struct area all, unsigned value, struct ccid_desc *desc, struct area *ret_area) {
	for (;;) {
		const uint8_t *start = all.pos;
		const uint8_t *item = next_item(&all);
		if (!item || item[1] != TYPE_CONFIGURATION || item[0] < CONFIGURATION_LENGTH)
			return 0;
		size_t total = le16(item + 2);
		size_t left = (size_t)(all.end - start);
		if (total < item[0])
			total = item[0];
		if (total > left)
			total = left;
		if (value == 0 || item[5] == value) {
			desc->n_all_interfaces = item[4];
			desc->configuration = item[5];
			*ret_area = (struct area){ .pos = all.pos, .end = start + total };
			return 1;
		}
		all.pos = start + total;
	}
}

enum ccid_desc_result ccid_desc_parse(const uint8_t *bytes, size_t len, unsigned configuration,
	unsigned flags, struct ccid_desc *ret_desc) {
	struct ccid_desc *desc = ret_desc;
	memset(desc, 0, sizeof(*desc));
	if (len == 0)
		return CCID_DESC_TRUNCATED;
	struct area all = { .pos = bytes, .end = bytes + len };
	const uint8_t *d = next_item(&all);
	if (!d || d[1] != TYPE_DEVICE || d[0] < DEVICE_LENGTH)
		return CCID_DESC_TRUNCATED;
	desc->vendor = le16(d + 8);
	desc->product = le16(d + 10);
	desc->bcd_device = le16(d + 12);
	desc->manufacturer_name = d[14];
	desc->product_name = d[15];
	desc->serial_name = d[16];
	struct area area;
	if (!find_configuration(all, configuration, desc, &area))
		return CCID_DESC_NO_CONFIGURATION;
	return parse_configuration(area, flags, desc);
}

enum ccid_level ccid_desc_exchange_level(const struct ccid_interface *interface) {
	if (interface->transport == CCID_ICCD_A)
		return CCID_LEVEL_TPDU;
	/* Version B chains short APDUs, too: a part is less than the longest of them. */
	if (interface->transport == CCID_ICCD_B && interface->level != CCID_LEVEL_CHARACTER)
		return CCID_LEVEL_EXTENDED;
	return interface->level;
}

uint32_t ccid_desc_exchange_length(const struct ccid_interface *interface) {
	uint32_t length = interface->message_length;
	if (interface->transport == CCID_ICCD_A && length < TOKEN_TPDU_LENGTH)
		return TOKEN_TPDU_LENGTH;
	if (interface->transport == CCID_ICCD_B && length > TOKEN_MAX_LENGTH)
		return TOKEN_MAX_LENGTH;
	return length;
}

const char *ccid_desc_text(enum ccid_desc_result result) {
	switch (result) {
	case CCID_DESC_OK: return "usable";
	case CCID_DESC_TRUNCATED: return "no whole device descriptor";
	case CCID_DESC_NO_CONFIGURATION: return "no descriptor of the active configuration";
	case CCID_DESC_NO_INTERFACE: return "no smart card interface";
	case CCID_DESC_NO_CLASS: return "smart card interface without a CCID class descriptor";
	case CCID_DESC_SHORT_CLASS: return "CCID class descriptor is shorter than 54 bytes";
	case CCID_DESC_NO_ENDPOINTS: return "no pair of bulk endpoints";
	case CCID_DESC_MESSAGE_LENGTH: return "dwMaxCCIDMessageLength is too small";
	}
	return "unknown defect";
}

const char *ccid_desc_level_name(enum ccid_level level) {
	switch (level) {
	case CCID_LEVEL_CHARACTER: return "character";
	case CCID_LEVEL_TPDU: return "TPDU";
	case CCID_LEVEL_SHORT: return "short APDU";
	case CCID_LEVEL_EXTENDED: return "extended APDU";
	}
	return "unknown";
}
