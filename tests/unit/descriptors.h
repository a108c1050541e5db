/* SPDX-License-Identifier: MIT */
/* Builds USB descriptors of readers for tests, item by item. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct descriptors {
	size_t len;
	size_t configuration; /* where wTotalLength is to be set */
	uint8_t bytes[2048];
};

static inline void desc_add(struct descriptors *d, const uint8_t *item, size_t len) {
	memcpy(d->bytes + d->len, item, len);
	d->len += len;
	if (d->configuration) {
		size_t total = d->len - d->configuration;
		d->bytes[d->configuration + 2] = (uint8_t)total;
		d->bytes[d->configuration + 3] = (uint8_t)(total >> 8);
	}
}

static inline void desc_device(struct descriptors *d, uint16_t vendor, uint16_t product) {
	uint8_t item[18] = { 18, 1, 0, 2, 0, 0, 0, 64, (uint8_t)vendor, (uint8_t)(vendor >> 8),
		(uint8_t)product, (uint8_t)(product >> 8), 0x34, 0x12, 1, 2, 3, 1 };
	*d = (struct descriptors){ 0 };
	desc_add(d, item, sizeof(item));
}

static inline void desc_configuration(struct descriptors *d, uint8_t value, uint8_t n_interfaces) {
	uint8_t item[9] = { 9, 2, 0, 0, n_interfaces, value, 0, 0x80, 50 };
	d->configuration = d->len;
	desc_add(d, item, sizeof(item));
}

static inline void desc_interface(
	struct descriptors *d, uint8_t number, uint8_t alternate, uint8_t class, uint8_t protocol) {
	uint8_t item[9] = { 9, 4, number, alternate, 3, class, 0, protocol, 5 };
	desc_add(d, item, sizeof(item));
}

static inline void desc_endpoint(
	struct descriptors *d, uint8_t address, uint8_t attributes, uint16_t size) {
	uint8_t item[7] = { 7, 5, address, attributes, (uint8_t)size, (uint8_t)(size >> 8), 16 };
	desc_add(d, item, sizeof(item));
}

/* Bulk-OUT 1, bulk-IN 2, interrupt-IN 3, shifted by `base`. */
static inline void desc_endpoints(struct descriptors *d, uint8_t base, int interrupt) {
	desc_endpoint(d, (uint8_t)(base + 1), 2, 64);
	desc_endpoint(d, (uint8_t)(base + 0x82), 2, 64);
	if (interrupt)
		desc_endpoint(d, (uint8_t)(base + 0x83), 3, 8);
}

/* A class descriptor to be changed by the caller: TPDU level, 5 V, both protocols, 271 bytes. */
static inline void desc_class(uint8_t item[54], uint32_t features, uint32_t message_length) {
	static const uint8_t usual[54] = { 54, 0x21, 0x10, 0x01, 0, 1, 3, 0, 0, 0, 0xa0, 0x0f, 0, 0,
		0xa0, 0x0f, 0, 0, 0, 0, 0x2a, 0, 0, 0x16, 0x40, 0x05, 0, 0, 0xfe, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 1 };
	memcpy(item, usual, sizeof(usual));
	for (unsigned i = 0; i < 4; i++) {
		item[40 + i] = (uint8_t)(features >> (8 * i));
		item[44 + i] = (uint8_t)(message_length >> (8 * i));
	}
}

/* A reader with one interface. */
static inline void desc_reader(struct descriptors *d, const uint8_t class[54], int interrupt) {
	desc_device(d, 0x08e6, 0x3437);
	desc_configuration(d, 1, 1);
	desc_interface(d, 0, 0, 0x0b, 0);
	desc_add(d, class, 54);
	desc_endpoints(d, 0, interrupt);
}
