/* SPDX-License-Identifier: MIT */
/*
 * The answer to a command is the command itself and 90 00, so that a test sees whose data came back.
 */
#include "tests/unit/fake-driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct driver the_driver;
static uint8_t answer[DRIVER_MAX_APDU + 2];
static char looked_at[FAKE_MAX_CALLS];

struct driver *fake_driver(void) {
	return &the_driver;
}

static int fake_init(const struct driver_config *config, struct sd_event *event,
	const struct driver_host *host, struct driver **ret_driver) {
	(void)config, (void)event;
	static const uint8_t atr[] = { 0x3B, 0x80, 0x80, 0x01, 0x01 }; /* T=0 and T=1 */
	the_driver = (struct driver){ .host = host, .n_slots = 1, .atr_len = sizeof(atr) };
	memcpy(the_driver.atr, atr, sizeof(atr));
	*ret_driver = &the_driver;
	return 0;
}

static void fake_free(struct driver *d) {
	if (!d || !d->done)
		return;
	d->result = (struct driver_result){ .status = STATUS_READER_GONE };
	fake_driver_finish(d);
}

static unsigned fake_n_slots(const struct driver *d) {
	return d->n_slots;
}

void fake_driver_finish(struct driver *d) {
	driver_done_fn done = d->done;
	struct driver_result result = d->result;
	assert(done);
	d->done = NULL;
	done(d->userdata, &result);
}

static void begin(struct driver *d, char call, const struct driver_result *result,
	driver_done_fn done, void *userdata) {
	assert(!d->done && d->n_calls + 1 < FAKE_MAX_CALLS);
	d->calls[d->n_calls++] = call;
	d->done = done;
	d->userdata = userdata;
	d->result = *result;
	if (!d->hold)
		fake_driver_finish(d);
}

const char *fake_driver_calls(struct driver *d) {
	memcpy(looked_at, d->calls, sizeof(looked_at));
	memset(d->calls, 0, sizeof(d->calls));
	d->n_calls = 0;
	return looked_at;
}

static void fake_power_on(struct driver *d, unsigned slot, enum driver_reset how,
	driver_done_fn done, void *userdata) {
	(void)slot;
	struct driver_result result = { .data = d->atr, .len = d->atr_len };
	if (d->mute)
		result = (struct driver_result){ .status = STATUS_CARD_MUTE };
	begin(d, how == DRIVER_COLD ? 'C' : 'W', &result, done, userdata);
}

static void fake_power_off(struct driver *d, unsigned slot, driver_done_fn done, void *userdata) {
	(void)slot;
	begin(d, 'O', &(struct driver_result){ .status = STATUS_OK }, done, userdata);
}

static void fake_set_protocol(
	struct driver *d, unsigned slot, uint32_t protocols, driver_done_fn done, void *userdata) {
	(void)slot;
	int t1 = (protocols & PROTOCOL_T1) != 0;
	enum status status = (t1 ? d->no_t1 : d->no_t0) ? STATUS_PROTO_MISMATCH : STATUS_OK;
	begin(d, t1 ? '1' : '0', &(struct driver_result){ .status = status }, done, userdata);
}

static void echo(struct driver *d, char call, const struct driver_bytes *in, driver_done_fn done,
	void *userdata) {
	if (in->len)
		memcpy(answer, in->data, in->len);
	memcpy(answer + in->len, "\x90\x00", 2);
	begin(d, call, &(struct driver_result){ .data = answer, .len = in->len + 2 }, done,
		userdata);
}

static void fake_transmit(struct driver *d, unsigned slot, uint32_t protocol,
	const struct driver_bytes *apdu, driver_done_fn done, void *userdata) {
	(void)slot, (void)protocol;
	echo(d, 'X', apdu, done, userdata);
}

/* Code 1 is known without the device, 2 is not known at all. */
static enum status fake_known(
	struct driver *d, unsigned slot, uint32_t code, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot;
	if (code == 2)
		return STATUS_UNSUPPORTED;
	if (code != 1)
		return STATUS_STARTING;
	memcpy(buf, "known", 5);
	*ret_len = 5;
	return STATUS_OK;
}

/* Code 4 is. */
static int fake_is_for_card(const struct driver *d, unsigned slot, uint32_t code) {
	(void)d, (void)slot;
	return code == 4;
}

static void fake_control(struct driver *d, unsigned slot, uint32_t code,
	const struct driver_bytes *in, driver_done_fn done, void *userdata) {
	(void)slot, (void)code;
	echo(d, 'K', in, done, userdata);
}

static enum status fake_get_attrib(
	struct driver *d, unsigned slot, uint32_t tag, uint8_t *buf, size_t *ret_len) {
	(void)d, (void)slot;
	if (tag != 0x00010100)
		return STATUS_UNSUPPORTED;
	memcpy(buf, "Fake", 5);
	*ret_len = 5;
	return STATUS_OK;
}

static void fake_abandon(struct driver *d, unsigned slot) {
	(void)slot;
	d->calls[d->n_calls++ % (FAKE_MAX_CALLS - 1)] = 'A';
}

static int fake_watch(struct driver *d, unsigned slot, int on) {
	(void)slot;
	int news = on && !d->watched;
	d->watched = on;
	return news && d->stale;
}

static size_t fake_describe(const struct driver *d, unsigned slot, char *buf, size_t size) {
	(void)d, (void)slot;
	buf[0] = 0;
	return size ? 0 : 0;
}

const struct driver_ops fake_driver_ops = {
	.name = "fake",
	.init = fake_init,
	.free = fake_free,
	.n_slots = fake_n_slots,
	.power_on = fake_power_on,
	.power_off = fake_power_off,
	.set_protocol = fake_set_protocol,
	.transmit = fake_transmit,
	.known = fake_known,
	.is_for_card = fake_is_for_card,
	.control = fake_control,
	.get_attrib = fake_get_attrib,
	.describe = fake_describe,
	.abandon = fake_abandon,
	.watch = fake_watch,
};
