/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of anything: byte 0 is the configuration that is active, byte 1 the flags, the rest
 * what the device sent. Wanted: numbers that nobody further up stumbles over, also after the quirks
 * that an administrator may set.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/quirk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
	if (!ok)
		abort();
}

static void check_token(const struct ccid_interface *i) {
	check(i->bulk_in.address == 0 && i->bulk_out.address == 0);
	check(i->n_slots == 1 && i->n_rates == 0 && i->pin_support == 0);
}

static void check_bulk(const struct ccid_interface *i) {
	check(i->bulk_in.address & 0x80 && !(i->bulk_out.address & 0x80));
	check(i->bulk_out.address != 0 && i->bulk_in.packet_size > 0);
	check(i->bulk_in.packet_size < 2048 && i->bulk_out.packet_size > 0);
}

static void check_interface(const struct ccid_interface *i) {
	if (i->transport == CCID_BULK)
		check_bulk(i);
	else
		check_token(i);
	check(ccid_desc_exchange_length(i) >= 15);
	check(i->interrupt_in.address == 0 ||
		(i->interrupt_in.packet_size > 0 && i->interrupt_in.packet_size < 2048));
	check(i->n_slots > 0 && (i->n_busy == 1 || i->n_busy == i->n_slots));
	check(i->voltages > 0 && i->voltages < 8 && i->protocols > 0 && i->protocols < 4);
	check(i->max_ifsd >= 32 && i->max_ifsd <= 254);
	check(i->default_khz > 0 && i->default_khz <= 100000);
	check(i->message_length >= 15);
	check(ccid_desc_level_name(i->level)[0] != '\0');
}

static void check_desc(const struct ccid_desc *desc) {
	unsigned n_slots = 0;
	check(desc->n_interfaces <= CCID_MAX_INTERFACES);
	for (unsigned i = 0; i < desc->n_interfaces; i++) {
		check_interface(&desc->interfaces[i]);
		n_slots += desc->interfaces[i].n_slots;
	}
	check(n_slots == desc->n_slots && n_slots <= CCID_MAX_SLOTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size < 2)
		return 0;
	struct ccid_desc desc;
	enum ccid_desc_result r = ccid_desc_parse(data + 2, size - 2, data[0], data[1] & 1, &desc);
	check((r == CCID_DESC_OK) == (desc.n_interfaces > 0));
	check(ccid_desc_text(r)[0] != '\0');
	check_desc(&desc);

	/* The same bytes as the text of a property. */
	char words[200], text[256];
	size_t n = size < sizeof(words) ? size : sizeof(words) - 1;
	memcpy(words, data, n);
	words[n] = '\0';
	struct quirks quirks;
	quirk_parse(words, &quirks);
	check(quirk_describe(&quirks, text, sizeof(text)) < sizeof(text));
	quirk_apply(&quirks, &desc);
	check_desc(&desc);
	return 0;
}
