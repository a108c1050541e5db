/* SPDX-License-Identifier: MIT */
/*
 * Models messages of the USB class for smart card readers (CCID 1.10 chapter 6) as values.
 *
 * One encoder and one decoder for all of them: the header is written and checked in one place each,
 * before anybody sees a byte of the body. Slot and sequence number belong to the command engine;
 * here they are only carried. Multi-byte fields are little-endian.
 *
 * Can never happen: a reply whose data lies outside the bytes given, or whose type is a command's.
 */
#include "ifdhandler/ccid/ccid_msg.h"

#include <errno.h>
#include <string.h>

#include "wire/bytes.h"

struct ccid_request ccid_msg_plain(enum ccid_command_type type) {
	return (struct ccid_request){ .type = type };
}

struct ccid_request ccid_msg_power_on(uint8_t voltage) {
	return (struct ccid_request){ .type = CCID_POWER_ON, .specific = { voltage } };
}

struct ccid_request ccid_msg_xfr_block(
	uint8_t bwi, uint16_t level, const uint8_t *data, size_t len) {
	return (struct ccid_request){
		.type = CCID_XFR_BLOCK,
		.specific = { bwi, (uint8_t)level, (uint8_t)(level >> 8) },
		.data = data,
		.len = len,
	};
}

struct ccid_request ccid_msg_set_parameters(uint8_t protocol, const uint8_t *data, size_t len) {
	return (struct ccid_request){
		.type = CCID_SET_PARAMETERS, .specific = { protocol }, .data = data, .len = len
	};
}

struct ccid_request ccid_msg_escape(const uint8_t *data, size_t len) {
	return (struct ccid_request){ .type = CCID_ESCAPE, .data = data, .len = len };
}

struct ccid_request ccid_msg_secure(const uint8_t *data, size_t len) {
	return (struct ccid_request){ .type = CCID_SECURE, .data = data, .len = len };
}

size_t ccid_msg_encode(
	const struct ccid_request *request, uint8_t slot, uint8_t seq, uint8_t *buf, size_t size) {
	if (request->len > UINT32_MAX)
		return 0;
	struct bytes_writer w = bytes_writer(buf, size);
	bytes_put_u8(&w, (uint8_t)request->type);
	bytes_put_u32(&w, (uint32_t)request->len);
	bytes_put_u8(&w, slot);
	bytes_put_u8(&w, seq);
	bytes_put_data(&w, request->specific, sizeof(request->specific));
	bytes_put_data(&w, request->data, request->len);
	return w.failed ? 0 : bytes_written(&w);
}

uint64_t ccid_msg_length(const uint8_t *bytes, size_t len) {
	if (len < CCID_MSG_HEADER)
		return 0;
	struct bytes_reader r = bytes_reader(bytes + 1, 4);
	return (uint64_t)CCID_MSG_HEADER + bytes_get_u32(&r);
}

static enum ccid_icc icc_of(uint8_t status) {
	uint8_t icc = status & 3;
	return icc == 3 ? CCID_ICC_ABSENT : (enum ccid_icc)icc;
}

static enum ccid_outcome outcome_of(uint8_t status) {
	uint8_t outcome = status >> 6;
	return outcome == 3 ? CCID_FAILED : (enum ccid_outcome)outcome;
}

int ccid_msg_decode(const uint8_t *bytes, size_t len, struct ccid_reply *ret_reply) {
	uint64_t whole = ccid_msg_length(bytes, len);
	if (whole == 0 || whole > len || whole > CCID_MSG_MAX)
		return -EBADMSG;
	if (bytes[0] < CCID_DATA_BLOCK || bytes[0] > CCID_RATE_AND_CLOCK)
		return -EBADMSG;
	*ret_reply = (struct ccid_reply){
		.type = bytes[0],
		.slot = bytes[5],
		.seq = bytes[6],
		.icc = icc_of(bytes[7]),
		.outcome = outcome_of(bytes[7]),
		.error = bytes[8],
		.specific = bytes[9],
		.data = bytes + CCID_MSG_HEADER,
		.len = (size_t)whole - CCID_MSG_HEADER,
	};
	return 0;
}

/* CCID 1.10 table 6.1-1: which message answers which. */
static enum ccid_reply_type answer_of(enum ccid_command_type command) {
	switch (command) {
	case CCID_POWER_ON:
	case CCID_XFR_BLOCK:
	case CCID_SECURE: return CCID_DATA_BLOCK;
	case CCID_POWER_OFF:
	case CCID_GET_SLOT_STATUS:
	case CCID_CLOCK:
	case CCID_T0_APDU:
	case CCID_MECHANICAL:
	case CCID_ABORT: return CCID_SLOT_STATUS;
	case CCID_GET_PARAMETERS:
	case CCID_RESET_PARAMETERS:
	case CCID_SET_PARAMETERS: return CCID_PARAMETERS;
	case CCID_ESCAPE: return CCID_ESCAPE_REPLY;
	case CCID_SET_RATE_AND_CLOCK: return CCID_RATE_AND_CLOCK;
	}
	return CCID_SLOT_STATUS;
}

int ccid_msg_is_answer(const struct ccid_reply *reply, enum ccid_command_type command) {
	if (reply->type == answer_of(command))
		return 1;
	return reply->type == CCID_SLOT_STATUS && reply->outcome == CCID_FAILED;
}

int ccid_msg_slot_changed(const uint8_t *bytes, size_t len, unsigned slot) {
	enum { CHANGED = 2 }; /* CCID 1.10 6.3.1: bit 1 of each pair */
	size_t at = 1 + slot / 4;
	if (at >= len || bytes[0] != CCID_NOTIFY_SLOT_CHANGE)
		return 1;
	return bytes[at] >> (2 * (slot % 4)) & CHANGED;
}

const char *ccid_msg_error_text(uint8_t error) {
	switch (error) {
	case CCID_ERROR_UNSUPPORTED: return "command not supported";
	case CCID_ERROR_SLOT_BUSY: return "slot busy";
	case CCID_ERROR_PIN_CANCELLED: return "PIN entry cancelled";
	case CCID_ERROR_PIN_TIMEOUT: return "PIN entry timed out";
	case CCID_ERROR_BUSY_AUTO: return "busy with an automatic sequence";
	case CCID_ERROR_DEACTIVATED: return "card protocol deactivated";
	case CCID_ERROR_PROCEDURE_BYTE: return "procedure byte conflict";
	case CCID_ERROR_CLASS: return "class of the command not supported";
	case CCID_ERROR_PROTOCOL: return "card protocol not supported";
	case CCID_ERROR_BAD_TCK: return "check character of the ATR is wrong";
	case CCID_ERROR_BAD_TS: return "first character of the ATR is wrong";
	case CCID_ERROR_HARDWARE: return "hardware error";
	case CCID_ERROR_OVERRUN: return "overrun";
	case CCID_ERROR_PARITY: return "parity error";
	case CCID_ERROR_MUTE: return "card does not answer";
	case CCID_ERROR_ABORTED: return "command aborted";
	default: break;
	}
	if (error <= CCID_ERROR_INDEX_MAX)
		return "a field of the command is refused";
	return error >= 0x81 && error <= 0xc0 ? "error of the maker's own" : "reserved error";
}
