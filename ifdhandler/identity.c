/* SPDX-License-Identifier: MIT */
/*
 * Names are made here, before the handler runs, from what the kernel read at enumeration. A device
 * with descriptors that cannot be parsed still becomes a reader, with the reason in its description:
 * an administrator sees it in the list instead of wondering where it is.
 */
#include "ifdhandler/identity.h"

#include <stdio.h>
#include <stdlib.h>

#include "ifdhandler/ccid/ccid_desc.h"
#include "ifdhandler/ccid/quirk.h"

static void interface_add(struct identity *identity, unsigned number, unsigned n_slots,
	const struct name_parts *parts) {
	struct identity_interface *i = &identity->interfaces[identity->n_interfaces++];
	i->number = number;
	i->n_slots = n_slots;
	name_base(parts, i->base);
}

static void ccid_interfaces(struct identity *identity, const struct device *device,
	const struct ccid_desc *desc, struct name_parts parts) {
	for (unsigned i = 0; i < desc->n_interfaces && i < IDENTITY_MAX_INTERFACES; i++) {
		const struct ccid_interface *ccid = &desc->interfaces[i];
		char *interface = device_interface_attribute(device, ccid->number, "interface");
		parts.interface = interface;
		/* An own name tells interfaces apart only where there are several. */
		if (!name_is_blank(device->name) && desc->n_interfaces == 1)
			parts.interface = NULL;
		interface_add(identity, ccid->number, ccid->n_slots, &parts);
		free(interface);
	}
}

void identity_usb(struct identity *identity, const struct device *device) {
	*identity = (struct identity){
		.device = device->node,
		.by_path = device->by_path,
		.serial = device->serial,
		.driver = device->driver ? device->driver : "ccid",
		.port = device->port,
		.plugged_ms = device->plugged_ms,
	};
	if (device->vendor_id && device->product_id)
		snprintf(identity->id, sizeof(identity->id), "%.4s:%.4s", device->vendor_id,
			device->product_id);
	struct name_parts parts = {
		.manufacturer = device->manufacturer ? device->manufacturer : device->vendor_name,
		.product = device->product ? device->product : device->model_name,
		.serial = device->serial,
	};
	if (!name_is_blank(device->name))
		parts = (struct name_parts){ .product = device->name };
	uint8_t *bytes = malloc(CCID_DESC_MAX_BYTES);
	long len = bytes ? device_descriptors(device, bytes, CCID_DESC_MAX_BYTES) : -1;
	struct ccid_desc desc;
	struct quirks quirks;
	quirk_parse(device->quirks, &quirks);
	unsigned flags = quirk_has(&quirks, QUIRK_VENDOR_CLASS) ? CCID_DESC_VENDOR_CLASS : 0;
	enum ccid_desc_result result = ccid_desc_parse(
		bytes, len > 0 ? (size_t)len : 0, device->configuration, flags, &desc);
	free(bytes);
	/* The same corrections as the driver makes, or names and slots would not fit each other. */
	if (result == CCID_DESC_OK)
		quirk_apply(&quirks, &desc);
	if (result == CCID_DESC_OK)
		ccid_interfaces(identity, device, &desc, parts);
	else
		identity->error = ccid_desc_text(result);
	if (!identity->n_interfaces)
		interface_add(identity, 0, 1, &parts);
}

void identity_virtual(struct identity *identity, const char *instance, const char *name) {
	*identity = (struct identity){ .driver = "virtual" };
	struct name_parts parts = { .product = name };
	if (name_is_blank(name))
		parts = (struct name_parts){ .product = "Virtual PCD", .serial = instance };
	interface_add(identity, 0, 1, &parts);
}
