/* SPDX-License-Identifier: MIT */
/* Models the lines about a reader that people see in its status: what it announces, what is known of
 * it, what is in force. */
#include <stdarg.h>
#include <stdio.h>

#include "ifdhandler/ccid/ccid_driver.h"

struct text {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void line(struct text *t, const char *format, ...) {
	va_list args;
	va_start(args, format);
	int n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < t->size - t->len)
		t->len += (size_t)n;
	else
		t->buf[t->len] = '\0'; /* whole lines only */
}

static void describe_card(const struct ccid_slot *slot, struct text *t) {
	if (slot->powered && slot->voltage)
		line(t, "voltage=%s\n",
			slot->voltage == 1           ? "5 V"
				: slot->voltage == 2 ? "3 V"
						     : "1.8 V");
	if (slot->protocol == PROTOCOL_NONE)
		return;
	line(t, "protocol=T=%u\n", slot->protocol == PROTOCOL_T1);
	line(t, "speed=%u bit/s\n", atr_rate(slot->plan.speed, slot->interface->default_khz));
}

/* What is there to enter a PIN with, and to say so. */
static void describe_keys(const struct ccid_slot *slot, struct text *t) {
	static const char *const pads[] = { "no", "verify", "modify", "verify and modify" };
	const struct ccid_interface *i = slot->interface;
	line(t, "pin-pad=%s\n", pads[ccid_secure_support(slot)]);
	if (ccid_pace_support(slot))
		line(t, "pace=yes\n");
	/* wLcdLayout (CCID 1.10 5.1): lines, characters */
	if (i->lcd_layout)
		line(t, "display=%u lines of %u\n", i->lcd_layout >> 8, i->lcd_layout & 0xff);
	if (slot->driver->told.firmware[0])
		line(t, "firmware-name=%s\n", slot->driver->told.firmware);
}

size_t ccid_describe(const struct ccid_slot *slot, char *buf, size_t size) {
	const struct driver *driver = slot->driver;
	const struct ccid_interface *i = slot->interface;
	struct text t = { .buf = buf, .size = size };
	char quirks[1024], advice[96];
	buf[0] = '\0';
	line(&t, "usb-id=%04x:%04x\n", driver->desc.vendor, driver->desc.product);
	line(&t, "firmware=%x.%02x\n", driver->desc.bcd_device >> 8,
		driver->desc.bcd_device & 0xff);
	line(&t, "interface=%u\n", i->number);
	if (i->transport != CCID_BULK)
		line(&t, "transport=ICCD version %c\n", i->transport == CCID_ICCD_A ? 'A' : 'B');
	line(&t, "exchange-level=%s\n", ccid_desc_level_name(i->level));
	line(&t, "features=%08x\n", i->features);
	line(&t, "message-length=%u\n", i->message_length);
	line(&t, "max-ifsd=%u\n", i->max_ifsd);
	describe_keys(slot, &t);
	line(&t, "max-speed=%u bit/s\n", i->max_rate);
	int polled = driver->bells[i - driver->desc.interfaces].polled ||
		quirk_has(&driver->quirks, QUIRK_POLL);
	line(&t, "presence=%s\n", polled ? "polled" : "interrupt");
	if (quirk_describe(&driver->quirks, quirks, sizeof(quirks)))
		line(&t, "quirks=%s\n", quirks);
	if (quirk_advice(&driver->quirks, &driver->desc, advice, sizeof(advice)))
		line(&t, "advice=%s\n", advice);
	if (driver->quirks.unknown[0])
		line(&t, "unknown-quirk=%s\n", driver->quirks.unknown);
	describe_card(slot, &t);
	return t.len;
}
