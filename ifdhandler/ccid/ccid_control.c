/* SPDX-License-Identifier: MIT */
/*
 * Models control codes (PC/SC part 10): what the reader can do beside carrying APDUs, and who does it.
 * A program asks for the list and gets the code of each feature; a code whose feature is not on the list
 * is refused, whoever knows it by heart.
 */
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"
#include "ifdhandler/usb/usb_path.h"
#include "wire/bytes.h"

/* SCARD_CTL_CODE(n) is 42000000h + n; 42330000h + tag is how features are called. */
enum {
	CODE_ESCAPE = 0x42000001,
	CODE_GET_FEATURES = 0x42000d48,
	CODE_GET_FEATURES_WINDOWS = 0x00313520, /* the same, as remote desktops pass it on */
	CODE_USB_PATH = 0x42000e11,
	CODE_FEATURE = 0x42330000,
};

/* PC/SC part 10 2.2; the first two and those with APP_ID are known as PPDUs only. */
enum {
	FEATURE_VERIFY_PIN_START = 0x01,
	FEATURE_MODIFY_PIN_START = 0x03,
	FEATURE_VERIFY_PIN_DIRECT = 0x06,
	FEATURE_MODIFY_PIN_DIRECT = 0x07,
	FEATURE_MCT_READER_DIRECT = 0x08,
	FEATURE_IFD_PIN_PROPERTIES = 0x0a,
	FEATURE_VERIFY_PIN_DIRECT_APP_ID = 0x0d,
	FEATURE_MODIFY_PIN_DIRECT_APP_ID = 0x0e,
	FEATURE_GET_TLV_PROPERTIES = 0x12,
	FEATURE_CCID_ESC_COMMAND = 0x13,
	FEATURE_EXECUTE_PACE = 0x20,
};

enum {
	/* Commands of secure readers: secoder info, select application, application active, data
	 * confirmation, process authentication token. */
	MCT_LEN = 5,
	MCT_CLASS = 0x20,
	MCT_FIRST = 0x70,
	MCT_LAST = 0x74,
	/* Some wait for a key: as for PINs. */
	MCT_USEC = 90000000,
};

/* ---- features ---- */

static int can_verify(const struct ccid_slot *slot) {
	return (ccid_secure_support(slot) & 1u << PIN_VERIFY) != 0;
}

static int can_modify(const struct ccid_slot *slot) {
	return (ccid_secure_support(slot) & 1u << PIN_MODIFY) != 0;
}

static int has_pin_pad(const struct ccid_slot *slot) {
	return ccid_secure_support(slot) != 0;
}

static int has_mct(const struct ccid_slot *slot) {
	return quirk_has(&slot->driver->quirks, QUIRK_MCT);
}

static int has_properties(const struct ccid_slot *slot) {
	(void)slot;
	return 1;
}

/* Programs that find it here think that all commands are allowed. */
static int has_escape(const struct ccid_slot *slot) {
	return quirk_has(&slot->driver->quirks, QUIRK_ESCAPE);
}

/* In the order in which programs have always seen them. */
static const struct feature {
	uint8_t tag;
	uint32_t code;
	int (*is_offered)(const struct ccid_slot *slot);
} features[] = {
	{ FEATURE_VERIFY_PIN_DIRECT, CODE_FEATURE + FEATURE_VERIFY_PIN_DIRECT, can_verify },
	{ FEATURE_MODIFY_PIN_DIRECT, CODE_FEATURE + FEATURE_MODIFY_PIN_DIRECT, can_modify },
	{ FEATURE_IFD_PIN_PROPERTIES, CODE_FEATURE + FEATURE_IFD_PIN_PROPERTIES, has_pin_pad },
	{ FEATURE_MCT_READER_DIRECT, CODE_FEATURE + FEATURE_MCT_READER_DIRECT, has_mct },
	{ FEATURE_GET_TLV_PROPERTIES, CODE_FEATURE + FEATURE_GET_TLV_PROPERTIES, has_properties },
	{ FEATURE_CCID_ESC_COMMAND, CODE_ESCAPE, has_escape },
	{ FEATURE_EXECUTE_PACE, CODE_FEATURE + FEATURE_EXECUTE_PACE, ccid_pace_support },
};

enum { N_FEATURES = sizeof(features) / sizeof(features[0]) };

/* The feature that this code calls, 0: none that the reader has. */
static uint8_t called(const struct ccid_slot *slot, uint32_t code) {
	for (unsigned i = 0; i < N_FEATURES; i++)
		if (features[i].code == code && features[i].is_offered(slot))
			return features[i].tag;
	return 0;
}

/* Tag, length 4, code in big-endian order (part 10 2.2). */
static void put_features(struct bytes_writer *w, const struct ccid_slot *slot) {
	for (unsigned i = 0; i < N_FEATURES; i++) {
		if (!features[i].is_offered(slot))
			continue;
		bytes_put_u8(w, features[i].tag);
		bytes_put_u8(w, 4);
		for (unsigned k = 0; k < 4; k++)
			bytes_put_u8(w, (uint8_t)(features[i].code >> (24 - 8 * k)));
	}
}

/* ---- what needs no device ---- */

/* Programs expect the NUL. */
static enum status give_usb_path(const struct ccid_slot *slot, uint8_t *buf, size_t *ret_len) {
	const struct driver *driver = slot->driver;
	int len = usb_path_describe(driver->config->node, driver->desc.configuration,
		slot->interface->number, (char *)buf, DRIVER_MAX_ATTRIB);
	if (len < 0)
		return STATUS_UNSUPPORTED;
	*ret_len = (size_t)len + 1;
	return STATUS_OK;
}

static enum status known_feature(
	const struct ccid_slot *slot, uint8_t feature, struct bytes_writer *w) {
	switch (feature) {
	case FEATURE_IFD_PIN_PROPERTIES: ccid_property_put_pin(slot, w); break;
	case FEATURE_GET_TLV_PROPERTIES: ccid_property_put_tlv(slot, w); break;
	case 0: return STATUS_UNSUPPORTED;
	default: return STATUS_STARTING;
	}
	return STATUS_OK;
}

enum status ccid_known(const struct ccid_slot *slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	struct bytes_writer w = bytes_writer(buf, DRIVER_MAX_ATTRIB);
	enum status status = STATUS_OK;
	switch (code) {
	case CODE_GET_FEATURES:
	case CODE_GET_FEATURES_WINDOWS: put_features(&w, slot); break;
	case CODE_USB_PATH: return give_usb_path(slot, buf, ret_len);
	case CODE_ESCAPE: return STATUS_STARTING; /* what is allowed depends on the command */
	default: status = known_feature(slot, called(slot, code), &w); break;
	}
	*ret_len = bytes_written(&w);
	return status;
}

/* ---- features in an APDU's clothes (part 10 2.6.9) ---- */

/* FFh C2h 01h, tag, Lc, data. */
enum { PPDU_TAG = 3, PPDU_LC = 4, PPDU_DATA = 5 };

int ccid_is_ppdu(const struct driver_bytes *apdu) {
	static const uint8_t head[] = { 0xff, 0xc2, 0x01 };
	return apdu->len >= sizeof(head) && memcmp(apdu->data, head, sizeof(head)) == 0;
}

/* The structure of a PIN command, with the same checks as by its code. */
static enum status check_pin(
	const struct ccid_slot *slot, enum pin_operation op, const struct driver_bytes *apdu) {
	if (apdu->len < PPDU_DATA || apdu->data[PPDU_LC] > apdu->len - PPDU_DATA)
		return STATUS_INVALID;
	return ccid_secure_check(slot, op, apdu->data + PPDU_DATA, apdu->data[PPDU_LC]);
}

enum status ccid_check_ppdu(const struct ccid_slot *slot, const struct driver_bytes *apdu) {
	switch (ccid_is_ppdu(apdu) && apdu->len > PPDU_TAG ? apdu->data[PPDU_TAG] : 0) {
	case FEATURE_VERIFY_PIN_START:
	case FEATURE_VERIFY_PIN_DIRECT: return check_pin(slot, PIN_VERIFY, apdu);
	case FEATURE_MODIFY_PIN_START:
	case FEATURE_MODIFY_PIN_DIRECT: return check_pin(slot, PIN_MODIFY, apdu);
	/* Where the command is in these we do not look. */
	case FEATURE_VERIFY_PIN_DIRECT_APP_ID:
	case FEATURE_MODIFY_PIN_DIRECT_APP_ID: return STATUS_UNSUPPORTED;
	case FEATURE_CCID_ESC_COMMAND: return has_escape(slot) ? STATUS_OK : STATUS_UNSUPPORTED;
	default: return STATUS_OK;
	}
}

/* ---- what the device does ---- */

int ccid_is_for_card(const struct ccid_slot *slot, uint32_t code) {
	uint8_t feature = called(slot, code);
	return feature == FEATURE_VERIFY_PIN_DIRECT || feature == FEATURE_MODIFY_PIN_DIRECT ||
		feature == FEATURE_EXECUTE_PACE;
}

static void mct(struct ccid_slot *slot, const struct driver_bytes *in) {
	const uint8_t *b = in->data;
	if (in->len < MCT_LEN || b[0] != MCT_CLASS || b[1] < MCT_FIRST || b[1] > MCT_LAST || b[2] ||
		b[3] || b[4])
		ccid_slot_fail(slot, STATUS_INVALID);
	else
		ccid_escape(slot, in, MCT_USEC);
}

static void escape(struct ccid_slot *slot, const struct driver_bytes *in) {
	if (ccid_escape_allowed(slot, in))
		ccid_escape(slot, in, CCID_ESCAPE_USEC);
	else
		ccid_slot_fail(slot, STATUS_UNSUPPORTED);
}

void ccid_control(struct ccid_slot *slot, uint32_t code, const struct driver_bytes *in) {
	if (code == CODE_ESCAPE) {
		escape(slot, in);
		return;
	}
	switch (called(slot, code)) {
	case FEATURE_VERIFY_PIN_DIRECT: ccid_secure(slot, PIN_VERIFY, in); break;
	case FEATURE_MODIFY_PIN_DIRECT: ccid_secure(slot, PIN_MODIFY, in); break;
	case FEATURE_MCT_READER_DIRECT: mct(slot, in); break;
	case FEATURE_EXECUTE_PACE: ccid_pace(slot, in); break;
	default: ccid_slot_fail(slot, STATUS_UNSUPPORTED); break;
	}
}
