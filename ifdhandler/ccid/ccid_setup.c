/* SPDX-License-Identifier: MIT */
/*
 * Models what some readers must be told or asked once after opening, by vendor commands (quirks): which
 * features and firmware they have, the texts of a PIN pad without any, a better exchange level. One
 * after the other, each with a deadline; a reader that refuses, or answers nonsense, is used without.
 */
#include <errno.h>
#include <string.h>

#include "ifdhandler/ccid/ccid_driver.h"

enum {
	TEXT_LEN = 16, /* of the one line of the display */
	N_TEXTS = 10,
	/* The firmware is still at its self-test when USB is up: as other drivers wait. */
	STRINGS_DELAY_USEC = 1000000,
};

static const uint8_t tell_features[] = { 0x6a };
static const uint8_t tell_firmware[] = { 0x02 };
static const uint8_t apdu_mode[] = { 0x1f, 0x02 };

/* "Load strings" of GemPC Pinpad and VEGA-ALPHA: header, then the texts in ASCII. The star is replaced
 * by a number. */
#define STRINGS_HEADER "\xb2\xa0\x00\x4d\x4c"
static const char strings[] = STRINGS_HEADER "Enter PIN       "
					     "New PIN         "
					     "Confirm PIN     "
					     "PIN correct     "
					     "PIN wrong!      "
					     "Time is over    "
					     "* tries left    "
					     "Insert card     "
					     "Card error      "
					     "PIN blocked     ";

_Static_assert(
	sizeof(strings) == sizeof(STRINGS_HEADER) + N_TEXTS * TEXT_LEN, "a text is too long");

static void on_features(struct driver *driver, const struct ccid_reply *reply) {
	struct ccid_told *told = &driver->told;
	if (reply->len != sizeof(told->features))
		return;
	memcpy(told->features, reply->data, sizeof(told->features));
	told->has_features = 1;
}

/* A text of the device: people will read it, and it goes into lines. */
static void on_firmware(struct driver *driver, const struct ccid_reply *reply) {
	char *text = driver->told.firmware;
	size_t len = 0;
	while (len < reply->len && len < CCID_MAX_FIRMWARE && reply->data[len]) {
		uint8_t c = reply->data[len];
		text[len++] = c >= ' ' && c <= '~' ? (char)c : '?';
	}
	text[len] = '\0';
}

static void on_apdu_mode(struct driver *driver, const struct ccid_reply *reply) {
	(void)reply;
	struct ccid_interface *i =
		&driver->desc.interfaces[driver->setup_slot->interface - driver->desc.interfaces];
	i->level = CCID_LEVEL_SHORT;
	i->features &= ~(uint32_t)(CCID_FEATURE_TPDU | CCID_FEATURE_EXTENDED_APDU);
	i->features |= CCID_FEATURE_SHORT_APDU;
}

static const struct step {
	enum quirk_flag quirk;
	const void *data;
	size_t len;
	uint64_t delay_usec;
	/* The reader did what it was asked; NULL: nothing follows from it. */
	void (*answered)(struct driver *driver, const struct ccid_reply *reply);
} steps[] = {
	{ QUIRK_GEMALTO, tell_features, sizeof(tell_features), 0, on_features },
	{ QUIRK_GEMALTO, tell_firmware, sizeof(tell_firmware), 0, on_firmware },
	{ QUIRK_PIN_STRINGS, strings, sizeof(strings) - 1, STRINGS_DELAY_USEC, NULL },
	{ QUIRK_APDU_MODE, apdu_mode, sizeof(apdu_mode), 0, on_apdu_mode },
};

enum { N_STEPS = sizeof(steps) / sizeof(steps[0]) };

static void next(struct driver *driver);

static void on_step(void *userdata, const struct ccid_reply *reply, int error) {
	struct driver *driver = userdata;
	const struct step *step = &steps[driver->setup_step];
	if (driver->phase == CCID_GONE || error == -ENODEV || ccid_is_stopped(driver->ccid))
		return;
	if (reply && reply->outcome == CCID_DONE && step->answered)
		step->answered(driver, reply);
	driver->setup_step++;
	next(driver);
}

static void next(struct driver *driver) {
	while (driver->setup_step < N_STEPS &&
		!quirk_has(&driver->quirks, steps[driver->setup_step].quirk))
		driver->setup_step++;
	if (driver->setup_step == N_STEPS) {
		driver->on_setup(driver);
		return;
	}
	const struct step *step = &steps[driver->setup_step];
	driver->setup = (struct ccid_command){
		.request = ccid_msg_escape(step->data, step->len),
		.slot = driver->setup_slot->index,
		.timeout_usec = CCID_STATUS_USEC,
		.delay_usec = step->delay_usec,
		.bare = 1, /* silence is a refusal, too */
		.done = on_step,
		.userdata = driver,
	};
	ccid_submit(driver->ccid, &driver->setup);
}

void ccid_setup(struct driver *driver, void (*done)(struct driver *driver)) {
	driver->on_setup = done;
	driver->setup_step = 0;
	driver->setup_slot = &driver->slots[0];
	memset(&driver->told, 0, sizeof(driver->told));
	next(driver);
}
