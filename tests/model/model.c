/* SPDX-License-Identifier: MIT */
/*
 * Model files: lines key=value under [device] and [interface], '#' begins a comment line.
 *
 * The class descriptor is either given byte by byte (raw=) or built from fields over a plain
 * default; the behaviour is taken from it, and real_*= lines say where the reader does not do what
 * it announces.
 */
#include "tests/model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/text.h"

/* Numbers of the class descriptor by name: offset and size (CCID 1.10 5.1). */
static const struct field {
	const char *key;
	uint8_t offset, size;
} FIELDS[] = {
	{ "bcd_ccid", 2, 2 },
	{ "max_slot_index", 4, 1 },
	{ "volts", 5, 1 },
	{ "protocols", 6, 4 },
	{ "clock", 10, 4 },
	{ "max_clock", 14, 4 },
	{ "clocks", 18, 1 },
	{ "rate", 19, 4 },
	{ "max_rate", 23, 4 },
	{ "announced_rates", 27, 1 },
	{ "ifsd", 28, 4 },
	{ "synch", 32, 4 },
	{ "mechanical", 36, 4 },
	{ "features", 40, 4 },
	{ "message", 44, 4 },
	{ "get_response", 48, 1 },
	{ "envelope", 49, 1 },
	{ "lcd", 50, 2 },
	{ "pin", 52, 1 },
	{ "busy", 53, 1 },
};

/* One slot, three voltages, T=0 and T=1, 4 MHz, 9600 baud, IFSD 254, messages of 271 bytes. */
static const uint8_t PLAIN[MODEL_CCID_LENGTH] = { 54, 0x21, 0x10, 0x01, 0, 7, 3, 0, 0, 0, 0xa0,
	0x0f, 0, 0, 0xa0, 0x0f, 0, 0, 0, 0x80, 0x25, 0, 0, 0x40, 0x00, 0x05, 0, 0, 0xfe, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0x01, 0, 0, 0xff, 0xff, 0, 0, 0, 1 };

static uint32_t get32(const uint8_t *p) {
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int raw_set(struct model_raw *raw, const char *hex) {
	return text_hex(hex, raw->bytes, sizeof raw->bytes, &raw->len);
}

static int string_add(struct model *model, const char *text, uint8_t *ret_index) {
	size_t n = model->n_strings + 1;
	if (n >= MODEL_MAX_STRINGS || strlen(text) >= sizeof model->strings[0])
		return -EINVAL;
	strcpy(model->strings[n], text);
	model->n_strings = n;
	*ret_index = (uint8_t)n;
	return 0;
}

static int class_set(const char *value, struct model_class *ret_class) {
	char buf[16];
	if (strlen(value) >= sizeof buf)
		return -EINVAL;
	strcpy(buf, value);
	char *rest = buf;
	unsigned n[3];
	for (int i = 0; i < 3; i++) {
		const char *part = strsep(&rest, "/");
		if (!part || text_hex_number(part, 255, &n[i]))
			return -EINVAL;
	}
	*ret_class = (struct model_class){ (uint8_t)n[0], (uint8_t)n[1], (uint8_t)n[2] };
	return rest ? -EINVAL : 0;
}

/* "bulk-out 01 64", "bulk-in 82 64", "interrupt-in 83 8 16": type, address, packet size,
 * interval. */
static int endpoint_set(struct model_interface *itf, char *value) {
	unsigned address, packet, interval = 0;
	const char *type = text_word(&value), *a = text_word(&value), *p = text_word(&value);
	const char *i = text_word(&value);
	if (itf->n_endpoints == MODEL_MAX_ENDPOINTS || !type || !a || !p ||
		text_hex_number(a, 255, &address) || text_number(p, 1024, &packet) || !packet ||
		(i && text_number(i, 255, &interval)))
		return -EINVAL;
	struct model_endpoint *ep = &itf->endpoints[itf->n_endpoints++];
	*ep = (struct model_endpoint){ .address = (uint8_t)address,
		.packet = (uint16_t)packet,
		.interval = (uint8_t)interval };
	/* bmAttributes (USB 2.0 9.6.6): 2 bulk, 3 interrupt */
	ep->attributes = !strncmp(type, "interrupt", 9) ? 3 : 2;
	return 0;
}

static int rates_set(struct model_interface *itf, char *value) {
	for (const char *word; (word = text_word(&value));) {
		unsigned rate;
		if (itf->n_rates == MODEL_MAX_RATES || text_number(word, UINT32_MAX, &rate))
			return -EINVAL;
		itf->rates[itf->n_rates++] = rate;
	}
	return 0;
}

static int word_set(const char *value, const char *const *names, unsigned n, unsigned *ret_index) {
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(value, names[i])) {
			*ret_index = i;
			return 0;
		}
	return -EINVAL;
}

static int field_set(struct model_interface *itf, const char *key, unsigned value) {
	for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
		const struct field *f = &FIELDS[i];
		if (strcmp(key, f->key) != 0)
			continue;
		if (f->size < 4 && value >> (8 * f->size))
			return -EINVAL;
		for (size_t b = 0; b < f->size; b++)
			itf->class_descriptor.bytes[f->offset + b] = (uint8_t)(value >> (8 * b));
		return 0;
	}
	return -ENOENT;
}

/* Numbers about the behaviour. */
static int behaviour_set(struct model_interface *itf, const char *key, unsigned n) {
	const struct {
		const char *key;
		unsigned *value;
	} numbers[] = { { "real_features", &itf->features },
		{ "real_message", &itf->message_length }, { "real_protocols", &itf->protocols },
		{ "real_slots", &itf->slots }, { "real_busy", &itf->busy },
		{ "real_volts", &itf->volts }, { "status_ms", &itf->status_ms },
		{ "latency_us", &itf->latency_us }, { "mute_ms", &itf->mute_ms },
		{ "part", &itf->part }, { "poll_ms", &itf->poll_ms },
		{ "poll_units", &itf->poll_units }, { "pin_validation", &itf->pin.validation },
		{ "pin_settle_ms", &itf->pin.settle_ms },
		{ "pin_timeout_s", &itf->pin.timeout_s } };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!strcmp(key, numbers[i].key)) {
			*numbers[i].value = n;
			return 0;
		}
	const struct {
		const char *key;
		int *value;
	} flags[] = { { "behind_endpoints", &itf->behind_endpoints },
		{ "empty_fails", &itf->empty_fails }, { "check_atr", &itf->check_atr },
		{ "busy_answers", &itf->busy_answers }, { "no_escape", &itf->no_escape },
		{ "pin_all_indexes", &itf->pin.all_indexes }, { "pin_swapped", &itf->pin.swapped },
		{ "pin_key_extension", &itf->pin.key_extension } };
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (!strcmp(key, flags[i].key)) {
			*flags[i].value = n != 0;
			return 0;
		}
	return -ENOENT;
}

static int interface_number(struct model_interface *itf, const char *key, const char *value) {
	unsigned n;
	if (text_number(value, UINT32_MAX, &n))
		return -EINVAL;
	if (!strcmp(key, "number")) {
		itf->number = (uint8_t)n;
		return n > 255 ? -EINVAL : 0;
	}
	int r = behaviour_set(itf, key, n);
	return r == -ENOENT ? field_set(itf, key, n) : r;
}

/* REQUEST[..]:ANSWER, REQUEST[..]:fail[=ERROR], each with @FEATURES behind it: hexadecimal. */
static int escape_set(struct model_interface *itf, char *value) {
	struct model_escape escape = { 0 };
	unsigned n = 0;
	char *level = value;
	strsep(&level, "@");
	char *answer = value;
	strsep(&answer, ":");
	if (!answer || itf->n_escapes == MODEL_MAX_ESCAPES)
		return -EINVAL;
	size_t len = strlen(value);
	if (len >= 2 && !strcmp(value + len - 2, "..")) {
		escape.prefix = 1;
		value[len - 2] = 0;
	}
	if (level && text_hex_number(level, UINT32_MAX, &escape.features))
		return -EINVAL;
	escape.sets_level = level != NULL;
	escape.fails = !strncmp(answer, "fail", 4);
	if (escape.fails && answer[4] && (answer[4] != '=' || text_hex_number(answer + 5, 255, &n)))
		return -EINVAL;
	escape.error = (uint8_t)n;
	if (raw_set(&escape.request, value) || (!escape.fails && raw_set(&escape.answer, answer)))
		return -EINVAL;
	itf->escapes[itf->n_escapes++] = escape;
	return 0;
}

/* Bytes that a PIN pad insists on, hexadecimal. -ENOENT: no such key. */
static int pin_set(struct model_interface *itf, const char *key, const char *value) {
	unsigned n = 0;
	if (!strcmp(key, "pin_case1_escape"))
		return raw_set(&itf->pin.case1_escape, value);
	int *number = !strcmp(key, "pin_verify_number") ? &itf->pin.verify_number
		: !strcmp(key, "pin_modify_number")     ? &itf->pin.modify_number
		: !strcmp(key, "pin_pace")              ? &itf->pin.pace
							: NULL;
	if (!number)
		return -ENOENT;
	int r = text_hex_number(value, 255, &n);
	*number = (int)n;
	return r;
}

static int interface_key(struct model *model, const char *key, char *value) {
	static const char *const zlp[] = { "auto", "always", "never" };
	static const char *const notify[] = { "initial", "changes", "never" };
	struct model_interface *itf = &model->interfaces[model->n_interfaces - 1];
	unsigned n = 0;
	int r;
	if (!strcmp(key, "class")) {
		r = class_set(value, &itf->class);
		/* what is no reader has no class descriptor of ours */
		itf->ccid = itf->class.class == 0x0b || itf->class.class == 0xff;
		if (!itf->ccid)
			itf->class_descriptor.len = 0;
		return r;
	}
	if (!strcmp(key, "name"))
		return string_add(model, value, &itf->name);
	if (!strcmp(key, "raw"))
		return raw_set(&itf->class_descriptor, value);
	if (!strcmp(key, "before"))
		return raw_set(&itf->before, value);
	if (!strcmp(key, "after"))
		return raw_set(&itf->after, value);
	if (!strcmp(key, "endpoint"))
		return endpoint_set(itf, value);
	if (!strcmp(key, "rates"))
		return rates_set(itf, value);
	if (!strcmp(key, "card")) {
		r = snprintf(itf->card, sizeof itf->card, "%s", value);
		return r < 0 || (size_t)r >= sizeof itf->card ? -EINVAL : 0;
	}
	if (!strcmp(key, "zlp")) {
		r = word_set(value, zlp, 3, &n);
		itf->zlp = (enum model_zlp)n;
		return r;
	}
	if (!strcmp(key, "notify")) {
		r = word_set(value, notify, 3, &n);
		itf->notify = (enum model_notify)n;
		return r;
	}
	if (!strcmp(key, "escape"))
		return escape_set(itf, value);
	r = pin_set(itf, key, value);
	return r == -ENOENT ? interface_number(itf, key, value) : r;
}

static int serial_set(struct model *model, const char *value, unsigned number) {
	char text[128];
	const char *hash = strchr(value, '#');
	int n = hash ? snprintf(text, sizeof text, "%.*s%03u%s", (int)(hash - value), value, number,
			       hash + 1)
		     : snprintf(text, sizeof text, "%s", value);
	if (n < 0 || (size_t)n >= sizeof text)
		return -EINVAL;
	return string_add(model, text, &model->serial);
}

static int device_key(struct model *model, const char *key, const char *value, unsigned number) {
	const struct {
		const char *key;
		uint16_t *value;
	} ids[] = { { "vid", &model->vid }, { "pid", &model->pid }, { "bcd", &model->bcd },
		{ "usb", &model->usb } };
	unsigned n = 0;
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		if (!strcmp(key, ids[i].key)) {
			int r = text_hex_number(value, 0xffff, &n);
			*ids[i].value = (uint16_t)n;
			return r;
		}
	if (!strcmp(key, "manufacturer"))
		return string_add(model, value, &model->manufacturer);
	if (!strcmp(key, "product"))
		return string_add(model, value, &model->product);
	if (!strcmp(key, "serial"))
		return serial_set(model, value, number);
	if (!strcmp(key, "class"))
		return class_set(value, &model->class);
	if (!strcmp(key, "cut"))
		return text_number(value, MODEL_MAX_DESCRIPTORS, &model->cut);
	if (!strcmp(key, "packet0")) {
		int r = text_number(value, 64, &n);
		model->packet0 = (uint8_t)n;
		return r;
	}
	if (strcmp(key, "speed") != 0 || strlen(value) >= sizeof model->speed)
		return -EINVAL;
	strcpy(model->speed, value);
	return 0;
}

/* The behaviour as announced, before the lines that follow may say otherwise. */
static void take_announced(struct model_interface *itf) {
	const uint8_t *d = itf->class_descriptor.bytes;
	int bulk = 0;
	for (size_t i = 0; i < itf->n_endpoints; i++)
		bulk |= itf->endpoints[i].attributes == 2;
	/* a bulk pair makes it CCID, whatever bInterfaceProtocol says */
	if (itf->ccid && !bulk && (itf->class.protocol == 1 || itf->class.protocol == 2))
		itf->transport = itf->class.protocol == 1 ? MODEL_ICCD_A : MODEL_ICCD_B;
	if (!itf->ccid || itf->class_descriptor.len < MODEL_CCID_LENGTH)
		return;
	itf->announced_rates = d[27];
	itf->pin.support = d[52];
	if (!itf->slots)
		itf->slots = d[4] + 1u;
	if (!itf->volts)
		itf->volts = d[5] & 7 ? d[5] & 7 : 7;
	if (!itf->protocols)
		itf->protocols = get32(d + 6) & 3;
	if (itf->features == UINT32_MAX)
		itf->features = get32(d + 40);
	if (!itf->message_length)
		itf->message_length = get32(d + 44);
	if (!itf->busy)
		itf->busy = d[53] ? d[53] : 1;
}

struct writer {
	uint8_t *buf;
	size_t len;
	int full;
};

static void put(struct writer *w, const void *bytes, size_t n) {
	if (w->full || n > MODEL_MAX_DESCRIPTORS - w->len) {
		w->full = 1;
		return;
	}
	if (n)
		memcpy(w->buf + w->len, bytes, n);
	w->len += n;
}

static void put_interface(struct writer *w, const struct model_interface *itf) {
	const uint8_t head[9] = { 9, 4, itf->number, 0, (uint8_t)itf->n_endpoints, itf->class.class,
		itf->class.subclass, itf->class.protocol, itf->name };
	put(w, itf->before.bytes, itf->before.len);
	put(w, head, sizeof head);
	if (!itf->behind_endpoints)
		put(w, itf->class_descriptor.bytes, itf->class_descriptor.len);
	if (!itf->behind_endpoints)
		put(w, itf->after.bytes, itf->after.len);
	for (size_t i = 0; i < itf->n_endpoints; i++) {
		const struct model_endpoint *ep = &itf->endpoints[i];
		const uint8_t bytes[7] = { 7, 5, ep->address, ep->attributes, (uint8_t)ep->packet,
			(uint8_t)(ep->packet >> 8), ep->interval };
		put(w, bytes, sizeof bytes);
	}
	if (itf->behind_endpoints) {
		put(w, itf->class_descriptor.bytes, itf->class_descriptor.len);
		put(w, itf->after.bytes, itf->after.len);
	}
}

static int build_descriptors(struct model *model) {
	struct writer w = { .buf = model->descriptors };
	const uint8_t device[18] = { 18, 1, (uint8_t)model->usb, (uint8_t)(model->usb >> 8),
		model->class.class, model->class.subclass, model->class.protocol, model->packet0,
		(uint8_t)model->vid, (uint8_t)(model->vid >> 8), (uint8_t)model->pid,
		(uint8_t)(model->pid >> 8), (uint8_t)model->bcd, (uint8_t)(model->bcd >> 8),
		model->manufacturer, model->product, model->serial, 1 };
	/* bus-powered, 100 mA (USB 2.0 9.6.3) */
	const uint8_t config[9] = { 9, 2, 0, 0, (uint8_t)model->n_interfaces, 1, 0, 0x80, 50 };
	put(&w, device, sizeof device);
	put(&w, config, sizeof config);
	for (size_t i = 0; i < model->n_interfaces; i++)
		put_interface(&w, &model->interfaces[i]);
	if (w.full || model->cut > w.len - 27)
		return -EINVAL;
	w.len -= model->cut;
	size_t total = w.len - 18;
	model->descriptors[20] = (uint8_t)total;
	model->descriptors[21] = (uint8_t)(total >> 8);
	model->descriptors_len = w.len;
	return 0;
}

static int interface_begin(struct model *model) {
	if (model->n_interfaces == MODEL_MAX_INTERFACES)
		return -EINVAL;
	struct model_interface *itf = &model->interfaces[model->n_interfaces];
	itf->number = (uint8_t)model->n_interfaces++;
	itf->class.class = 0x0b;
	itf->ccid = 1;
	itf->features = UINT32_MAX; /* not told yet */
	itf->pin = (struct model_pin){ .verify_number = -1,
		.modify_number = -1,
		.validation = 7,
		.timeout_s = 30, /* chosen */
		.pace = -1 };
	memcpy(itf->class_descriptor.bytes, PLAIN, sizeof PLAIN);
	itf->class_descriptor.len = sizeof PLAIN;
	strcpy(itf->card, "t1");
	return 0;
}

static int read_line(struct model *model, char *line, unsigned number) {
	line[strcspn(line, "\r\n")] = 0;
	char *key = line + strspn(line, " \t");
	if (!*key || *key == '#')
		return 0;
	if (!strcmp(key, "[device]"))
		return 0;
	if (!strcmp(key, "[interface]"))
		return interface_begin(model);
	char *value = strchr(key, '=');
	if (!value)
		return -EINVAL;
	*value++ = 0;
	return model->n_interfaces ? interface_key(model, key, value)
				   : device_key(model, key, value, number);
}

static int read_file(struct model *model, FILE *file, const char *path, unsigned number) {
	char line[4096];
	for (unsigned n = 1; fgets(line, sizeof line, file); n++) {
		int r = read_line(model, line, number);
		if (r) {
			fprintf(stderr, "%s:%u: not understood\n", path, n);
			return -EINVAL;
		}
	}
	for (size_t i = 0; i < model->n_interfaces; i++)
		take_announced(&model->interfaces[i]);
	if (ferror(file) || build_descriptors(model)) {
		fprintf(stderr, "%s: no model\n", path);
		return -EINVAL;
	}
	return 0;
}

int model_load(const char *dir, const char *name, unsigned number, struct model **ret_model) {
	char path[512];
	int n = strchr(name, '/') ? snprintf(path, sizeof path, "%s", name)
				  : snprintf(path, sizeof path, "%s/%s.model", dir, name);
	if (n < 0 || (size_t)n >= sizeof path)
		return -ENAMETOOLONG;
	FILE *file = fopen(path, "re");
	if (!file) {
		int r = -errno;
		fprintf(stderr, "%s: %m\n", path);
		return r;
	}
	struct model *model = calloc(1, sizeof *model);
	int r = model ? 0 : -ENOMEM;
	if (model) {
		snprintf(model->name, sizeof model->name, "%.60s", name);
		model->usb = 0x0200;
		model->bcd = 0x0100;
		model->packet0 = 64;
		strcpy(model->speed, "12");
		r = read_file(model, file, path, number);
	}
	fclose(file);
	if (r) {
		free(model);
		return r;
	}
	*ret_model = model;
	return 0;
}
