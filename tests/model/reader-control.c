/* SPDX-License-Identifier: MIT */
/* Control requests of an emulated reader: the standard ones (USB 2.0 9.4) and the class's (CCID
 * 1.10 5.3). */
#include <errno.h>
#include <string.h>

#include "tests/model/reader-state.h"

/* bmRequestType and bRequest as one number. */
enum {
	GET_STATUS_DEVICE = 0x8000,
	GET_STATUS_INTERFACE = 0x8100,
	GET_STATUS_ENDPOINT = 0x8200,
	CLEAR_FEATURE_DEVICE = 0x0001,
	CLEAR_FEATURE_ENDPOINT = 0x0201,
	SET_FEATURE_DEVICE = 0x0003,
	SET_FEATURE_ENDPOINT = 0x0203,
	GET_DESCRIPTOR = 0x8006,
	GET_CONFIGURATION = 0x8008,
	SET_CONFIGURATION = 0x0009,
	GET_INTERFACE = 0x810a,
	SET_INTERFACE = 0x010b,
	CCID_ABORT = 0x2101,
	CCID_GET_CLOCKS = 0xa102,
	CCID_GET_RATES = 0xa103,
};

static int give(uint8_t *data, size_t size, const uint8_t *bytes, size_t len) {
	size_t n = len < size ? len : size;
	if (n)
		memcpy(data, bytes, n);
	return (int)n;
}

static int give_string(const struct reader *reader, unsigned index, uint8_t *data, size_t size) {
	static const uint8_t languages[4] = { 4, 3, 0x09, 0x04 }; /* US English */
	uint8_t bytes[255];
	size_t len = 2;
	if (!index)
		return give(data, size, languages, sizeof languages);
	if (index > reader->model->n_strings)
		return -EPIPE;
	for (const char *s = reader->model->strings[index]; *s && len + 2 <= sizeof bytes; s++) {
		bytes[len++] = (uint8_t)*s;
		bytes[len++] = 0;
	}
	bytes[0] = (uint8_t)len;
	bytes[1] = 3;
	return give(data, size, bytes, len);
}

static int give_descriptor(
	struct reader *reader, const uint8_t *setup, uint8_t *data, size_t size) {
	const struct model *model = reader->model;
	switch (setup[3]) {
	case 1: return give(data, size, model->descriptors, 18);
	case 2: return give(data, size, model->descriptors + 18, model->descriptors_len - 18);
	case 3: return give_string(reader, setup[2], data, size);
	default: return -EPIPE; /* no device qualifier: full speed only */
	}
}

static struct reader_interface *class_interface(struct reader *reader, const uint8_t *setup) {
	for (size_t i = 0; i < reader->model->n_interfaces; i++) {
		struct reader_interface *itf = &reader->interfaces[i];
		if (itf->model->ccid && itf->model->number == setup[4] && !setup[5])
			return itf;
	}
	return NULL;
}

static int give_rates(
	struct reader *reader, const struct reader_interface *itf, uint8_t *data, size_t size) {
	uint8_t bytes[MODEL_MAX_RATES * 4];
	const struct model_interface *model = itf->model;
	if (!model->announced_rates)
		reader_violation(reader, "GET_DATA_RATES though none are announced");
	if (!model->n_rates)
		return -EPIPE;
	for (size_t i = 0; i < model->n_rates; i++)
		for (size_t b = 0; b < 4; b++)
			bytes[4 * i + b] = (uint8_t)(model->rates[i] >> (8 * b));
	return give(data, size, bytes, 4 * model->n_rates);
}

/* The first half of an ABORT (CCID 1.10 5.3.1): from now on the slot takes nothing but the other
 * half. */
static int take_abort(struct reader *reader, struct reader_interface *itf, const uint8_t *setup) {
	if (setup[2] >= itf->model->slots)
		return -EPIPE;
	reader->slots[itf->first_slot + setup[2]].abort_seq = setup[3];
	return 0;
}

static int class_request(
	struct reader *reader, const uint8_t *setup, uint8_t *data, size_t size, uint64_t now) {
	struct reader_interface *itf = class_interface(reader, setup);
	unsigned arg;
	reader_trace(reader, 'c', setup, 8);
	if (!itf) {
		reader_violation(reader, "class request %02x to interface %u", setup[1],
			setup[4] | (unsigned)setup[5] << 8);
		return -EPIPE;
	}
	if (fault_control(reader, FAULT_CONTROL_HANG, setup[1], &arg))
		return -EINPROGRESS;
	if (fault_control(reader, FAULT_CONTROL_STALL, setup[1], &arg))
		return -EPIPE;
	if (fault_control(reader, FAULT_CONTROL_SHORT, setup[1], &arg)) {
		size_t n = arg < size ? arg : size;
		memset(data, 0x2a, n);
		return (int)n;
	}
	if (itf->model->transport != MODEL_BULK)
		return iccd_request(reader, itf, setup, data, size, now);
	switch (setup[0] << 8 | setup[1]) {
	case CCID_ABORT: return take_abort(reader, itf, setup);
	case CCID_GET_CLOCKS: return give(data, size, itf->model->class_descriptor.bytes + 10, 4);
	case CCID_GET_RATES: return give_rates(reader, itf, data, size);
	default: return -EPIPE;
	}
}

static int endpoint_feature(struct reader *reader, const uint8_t *setup) {
	/* ENDPOINT_HALT is the only one */
	if (setup[2] || setup[3])
		return -EPIPE;
	reader_clear_halt(reader, setup[4]);
	return 0;
}

int reader_control(
	struct reader *reader, const uint8_t *setup, uint8_t *data, size_t size, uint64_t now) {
	static const uint8_t zero[2] = { 0, 0 };
	size_t length = setup[6] | (size_t)setup[7] << 8;
	if (length < size)
		size = length;
	reader_count(reader, COUNT_CONTROL);
	if ((setup[0] & 0x60) == 0x20)
		return class_request(reader, setup, data, size, now);
	switch (setup[0] << 8 | setup[1]) {
	case GET_DESCRIPTOR: return give_descriptor(reader, setup, data, size);
	case GET_CONFIGURATION: return give(data, size, &reader->configuration, 1);
	case GET_INTERFACE: return give(data, size, zero, 1);
	case GET_STATUS_DEVICE:
	case GET_STATUS_INTERFACE:
	case GET_STATUS_ENDPOINT: return give(data, size, zero, 2);
	case SET_CONFIGURATION:
		reader_count(reader, COUNT_SET_CONFIGURATION);
		reader_plugged(reader, now);
		reader->configuration = setup[2];
		return 0;
	case SET_INTERFACE: reader_set_interface(reader, setup[4], now); return 0;
	case CLEAR_FEATURE_ENDPOINT: return endpoint_feature(reader, setup);
	case CLEAR_FEATURE_DEVICE:
	case SET_FEATURE_DEVICE:
	case SET_FEATURE_ENDPOINT: return 0;
	default: return -EPIPE;
	}
}
