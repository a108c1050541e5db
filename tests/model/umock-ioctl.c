/* SPDX-License-Identifier: MIT */
/*
 * usbfs' ioctls (linux/usbdevice_fs.h) for an emulated reader.
 *
 * They come on umockdev's thread, one at a time for each open node; all is done with the bed's lock
 * held and nothing ever blocks. A submitted transfer is kept until it is reaped, discarded, or its
 * client goes. Transfers of one endpoint are served in the order in which they came. "Can be
 * reaped" is POLLOUT on the node, as with usbfs: the node is a pty, whose output is stopped and
 * started.
 */
#include <errno.h>
#include <linux/usbdevice_fs.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tests/model/umock-device.h"

struct umock_urb {
	struct umock_urb *next;
	UMockdevIoctlData *data; /* struct usbdevfs_urb of the client */
	UMockdevIoctlClient *client;
	struct reader_urb urb;
};

/* What an ioctl returns: a result, or a negative errno. */
typedef long result;

static struct usbdevfs_urb *usb_of(const struct umock_urb *urb) {
	return (struct usbdevfs_urb *)(void *)urb->data->data;
}

static void append(struct umock_urb **list, struct umock_urb *urb) {
	while (*list)
		list = &(*list)->next;
	urb->next = NULL;
	*list = urb;
}

static void forget(struct umock_urb **at) {
	struct umock_urb *urb = *at;
	*at = urb->next;
	g_object_unref(urb->data);
	g_free(urb);
}

void umock_ioctl_ready(struct umock_device *device) {
	int ready = device->done != NULL;
	if (device->slave < 0 || ready == device->ready)
		return;
	tcflow(device->slave, ready ? TCOON : TCOOFF);
	device->ready = ready;
}

/* Moves a pending transfer to those that can be reaped. */
static void finish(struct umock_device *device, struct umock_urb **at, int status) {
	struct umock_urb *urb = *at;
	struct usbdevfs_urb *u = usb_of(urb);
	u->status = status;
	u->actual_length = (int)urb->urb.actual;
	*at = urb->next;
	append(&device->done, urb);
}

void umock_ioctl_end_all(struct umock_device *device, int status) {
	while (device->pending)
		finish(device, &device->pending, status);
	umock_ioctl_ready(device);
}

void umock_ioctl_pump(struct umock_device *device) {
	uint64_t now = bed_now();
	/* a bit for each endpoint address whose first transfer waits: those behind it wait, too */
	uint8_t waits[256] = { 0 };
	for (struct umock_urb **at = &device->pending; *at;) {
		struct umock_urb *urb = *at;
		/* a control transfer that waits does so until it is taken back */
		if (!(urb->urb.endpoint & 0x0f) || waits[urb->urb.endpoint]) {
			at = &urb->next;
			continue;
		}
		int r = reader_submit(device->device->reader, &urb->urb, now);
		if (r == READER_PENDING) {
			waits[urb->urb.endpoint] = 1;
			at = &urb->next;
			continue;
		}
		finish(device, at, r);
		/* what one endpoint took may be what another waits for */
		memset(waits, 0, sizeof waits);
		at = &device->pending;
	}
	umock_ioctl_ready(device);
}

/* Index of the interface that has this number or endpoint, or -1. */
static int interface_index(const struct umock_device *device, unsigned number) {
	const struct model *model = device->device->model;
	for (size_t i = 0; i < model->n_interfaces; i++)
		if (model->interfaces[i].number == number)
			return (int)i;
	return -1;
}

static int endpoint_index(const struct umock_device *device, uint8_t endpoint) {
	const struct model *model = device->device->model;
	for (size_t i = 0; i < model->n_interfaces; i++)
		for (size_t e = 0; e < model->interfaces[i].n_endpoints; e++)
			if (model->interfaces[i].endpoints[e].address == endpoint)
				return (int)i;
	return -1;
}

/* What the ioctl's argument points to; NULL when it cannot be had: no pointer, or the client has
 * just died. */
static UMockdevIoctlData *argument(UMockdevIoctlClient *client, size_t len) {
	UMockdevIoctlData *data =
		umockdev_ioctl_data_resolve(umockdev_ioctl_client_get_arg(client), 0, len, NULL);
	if (data && (size_t)data->data_len < len)
		g_clear_object(&data);
	return data;
}

/* A copy of it: 0 or -EFAULT. */
static result argument_copy(UMockdevIoctlClient *client, void *ret_value, size_t len) {
	UMockdevIoctlData *data = argument(client, len);
	if (!data)
		return -EFAULT;
	memcpy(ret_value, data->data, len);
	g_object_unref(data);
	return 0;
}

static result claim(struct umock_device *device, UMockdevIoctlClient *client, unsigned number) {
	int i = interface_index(device, number);
	if (i < 0)
		return -ENOENT;
	if (device->foreign || (device->owners[i] && device->owners[i] != client))
		return -EBUSY;
	device->owners[i] = client;
	reader_count(device->device->reader, COUNT_CLAIMS);
	return 0;
}

static result release(struct umock_device *device, UMockdevIoctlClient *client, unsigned number) {
	int i = interface_index(device, number);
	if (i < 0 || device->owners[i] != client)
		return -EINVAL;
	device->owners[i] = NULL;
	/* usbfs kills the transfers of the interface's endpoints */
	for (struct umock_urb **at = &device->pending; *at;)
		if (endpoint_index(device, (*at)->urb.endpoint) == i)
			finish(device, at, -ENOENT);
		else
			at = &(*at)->next;
	umock_ioctl_ready(device);
	return 0;
}

static result get_driver(struct umock_device *device, UMockdevIoctlClient *client) {
	struct usbdevfs_getdriver *driver;
	UMockdevIoctlData *data = argument(client, sizeof *driver);
	if (!data)
		return -EFAULT;
	driver = (struct usbdevfs_getdriver *)(void *)data->data;
	int i = interface_index(device, driver->interface);
	result r = i >= 0 && (device->foreign || device->owners[i]) ? 0 : -ENODATA;
	if (!r)
		strcpy(driver->driver, "usbfs");
	g_object_unref(data);
	return r;
}

static result connect_info(struct umock_device *device, UMockdevIoctlClient *client) {
	struct usbdevfs_connectinfo *info;
	UMockdevIoctlData *data = argument(client, sizeof *info);
	if (!data)
		return -EFAULT;
	info = (struct usbdevfs_connectinfo *)(void *)data->data;
	info->devnum = device->address;
	info->slow = !strcmp(device->device->model->speed, "1.5");
	g_object_unref(data);
	return 0;
}

static result capabilities(UMockdevIoctlClient *client) {
	const uint32_t caps = USBDEVFS_CAP_ZERO_PACKET | USBDEVFS_CAP_NO_PACKET_SIZE_LIM |
		USBDEVFS_CAP_REAP_AFTER_DISCONNECT;
	UMockdevIoctlData *data = argument(client, sizeof caps);
	if (!data)
		return -EFAULT;
	memcpy(data->data, &caps, sizeof caps);
	g_object_unref(data);
	return 0;
}

static result speed(const struct umock_device *device) {
	const char *s = device->device->model->speed;
	/* linux/usb/ch9.h: 1 low, 2 full, 3 high */
	return !strcmp(s, "1.5") ? 1 : !strcmp(s, "480") ? 3 : 2;
}

static result control(struct umock_device *device, UMockdevIoctlClient *client) {
	struct usbdevfs_ctrltransfer *t;
	UMockdevIoctlData *bytes = NULL, *data = argument(client, sizeof *t);
	if (!data)
		return -EFAULT;
	t = (struct usbdevfs_ctrltransfer *)(void *)data->data;
	const uint8_t setup[8] = { t->bRequestType, t->bRequest, (uint8_t)t->wValue,
		(uint8_t)(t->wValue >> 8), (uint8_t)t->wIndex, (uint8_t)(t->wIndex >> 8),
		(uint8_t)t->wLength, (uint8_t)(t->wLength >> 8) };
	if (t->wLength)
		bytes = umockdev_ioctl_data_resolve(data,
			G_STRUCT_OFFSET(struct usbdevfs_ctrltransfer, data), t->wLength, NULL);
	result r = t->wLength && !bytes
		? -EFAULT
		: reader_control(device->device->reader, setup, bytes ? bytes->data : NULL,
			  t->wLength, bed_now());
	g_clear_object(&bytes);
	g_object_unref(data);
	/* nobody takes this one back: its timeout would */
	return r == -EINPROGRESS ? -ETIMEDOUT : r;
}

static result set_interface(struct umock_device *device, UMockdevIoctlClient *client) {
	struct usbdevfs_setinterface request;
	if (argument_copy(client, &request, sizeof request))
		return -EFAULT;
	int i = interface_index(device, request.interface);
	if (i < 0 || request.altsetting)
		return -EINVAL;
	reader_set_interface(device->device->reader, request.interface, bed_now());
	return 0;
}

static result set_configuration(struct umock_device *device, UMockdevIoctlClient *client) {
	unsigned number;
	if (argument_copy(client, &number, sizeof number))
		return -EFAULT;
	const uint8_t setup[8] = { 0x00, 0x09, (uint8_t)number };
	for (int i = 0; i < MODEL_MAX_INTERFACES; i++)
		if (device->owners[i])
			return -EBUSY;
	return reader_control(device->device->reader, setup, NULL, 0, bed_now());
}

static result disconnect_claim(struct umock_device *device, UMockdevIoctlClient *client) {
	struct usbdevfs_disconnect_claim request;
	result r = argument_copy(client, &request, sizeof request);
	return r ? r : claim(device, client, request.interface);
}

/* A transfer on an interface of somebody else; one on an unclaimed interface claims it, as usbfs
 * does. */
static result check_owner(
	struct umock_device *device, UMockdevIoctlClient *client, uint8_t endpoint) {
	int i = endpoint_index(device, endpoint);
	if (i < 0)
		return -ENOENT;
	return device->owners[i] == client
		? 0
		: claim(device, client, device->device->model->interfaces[i].number);
}

/* A control transfer is over at once, or never. */
static void submit_control(struct umock_device *device, struct umock_urb *urb) {
	uint8_t *b = urb->urb.data;
	int n = urb->urb.size < 8
		? -EINVAL
		: reader_control(device->device->reader, b, b + 8, urb->urb.size - 8, bed_now());
	usb_of(urb)->status = n < 0 ? n : 0;
	usb_of(urb)->actual_length = n < 0 ? 0 : n;
	append(n == -EINPROGRESS ? &device->pending : &device->done, urb);
	umock_ioctl_ready(device);
}

static result submit(struct umock_device *device, UMockdevIoctlClient *client) {
	UMockdevIoctlData *bytes = NULL, *data = argument(client, sizeof(struct usbdevfs_urb));
	if (!data)
		return -EFAULT;
	struct usbdevfs_urb *u = (struct usbdevfs_urb *)(void *)data->data;
	result r =
		u->type == USBDEVFS_URB_TYPE_CONTROL ? 0 : check_owner(device, client, u->endpoint);
	if (!r && u->buffer_length < 0)
		r = -EINVAL;
	if (!r && u->buffer_length)
		bytes = umockdev_ioctl_data_resolve(data,
			G_STRUCT_OFFSET(struct usbdevfs_urb, buffer), (size_t)u->buffer_length,
			NULL);
	if (!r && u->buffer_length && !bytes)
		r = -EFAULT;
	g_clear_object(&bytes);
	if (r) {
		g_object_unref(data);
		return r;
	}
	struct umock_urb *urb = g_new0(struct umock_urb, 1);
	urb->data = data;
	urb->client = client;
	urb->urb = (struct reader_urb){
		.endpoint = u->endpoint, .data = u->buffer, .size = (size_t)u->buffer_length
	};
	reader_count(device->device->reader, COUNT_SUBMITS);
	if (u->type == USBDEVFS_URB_TYPE_CONTROL) {
		submit_control(device, urb);
		return 0;
	}
	int zero_packet = (u->flags & USBDEVFS_URB_ZERO_PACKET) && !(u->endpoint & 0x80) &&
		u->buffer_length && u->buffer_length % 64 == 0;
	append(&device->pending, urb);
	umock_ioctl_pump(device);
	struct reader_urb empty = { .endpoint = urb->urb.endpoint };
	if (zero_packet)
		reader_submit(device->device->reader, &empty, bed_now());
	return 0;
}

static result discard(struct umock_device *device, UMockdevIoctlClient *client) {
	gulong address;
	memcpy(&address, umockdev_ioctl_client_get_arg(client)->data, sizeof address);
	reader_count(device->device->reader, COUNT_DISCARDS);
	for (struct umock_urb **at = &device->pending; *at; at = &(*at)->next)
		if ((*at)->client == client && (*at)->data->client_addr == address) {
			finish(device, at, -ENOENT);
			umock_ioctl_ready(device);
			return 0;
		}
	return -EINVAL;
}

/* What a client remembers: the life of the device that it has opened. */
static const char LIFE[] = "life";

static int is_dead(const struct umock_device *device, UMockdevIoctlClient *client) {
	return !device->device->plugged ||
		GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(client), LIFE)) != device->life;
}

/* Answers by itself: the transfer's memory goes back to the client with the answer. */
static void reap(struct umock_device *device, UMockdevIoctlClient *client) {
	struct umock_urb **at = &device->done;
	while (*at && (*at)->client != client)
		at = &(*at)->next;
	if (!*at) {
		reader_count(device->device->reader, COUNT_EMPTY_REAPS);
		umockdev_ioctl_client_complete(
			client, -1, is_dead(device, client) ? ENODEV : EAGAIN);
		return;
	}
	UMockdevIoctlData *pointer = argument(client, sizeof(void *));
	if (!pointer) {
		umockdev_ioctl_client_complete(client, -1, EFAULT);
		return;
	}
	UMockdevIoctlData *data = g_object_ref((*at)->data);
	forget(at);
	reader_count(device->device->reader, COUNT_REAPS);
	umockdev_ioctl_data_set_ptr(pointer, 0, data);
	umock_ioctl_ready(device);
	umockdev_ioctl_client_complete(client, 0, 0);
	g_object_unref(pointer);
	g_object_unref(data);
}

static result handle(struct umock_device *device, UMockdevIoctlClient *client, gulong request) {
	unsigned number = 0;
	int numbered = request == USBDEVFS_CLAIMINTERFACE || request == USBDEVFS_RELEASEINTERFACE ||
		request == USBDEVFS_CLEAR_HALT;
	if (is_dead(device, client))
		return -ENODEV;
	if (numbered && argument_copy(client, &number, sizeof number))
		return -EFAULT;
	switch (request) {
	case USBDEVFS_GET_CAPABILITIES: return capabilities(client);
	case USBDEVFS_GETDRIVER: return get_driver(device, client);
	case USBDEVFS_CLAIMINTERFACE: return claim(device, client, number);
	case USBDEVFS_RELEASEINTERFACE: return release(device, client, number);
	case USBDEVFS_DISCONNECT_CLAIM: return disconnect_claim(device, client);
	case USBDEVFS_GET_SPEED: return speed(device);
	case USBDEVFS_CONNECTINFO: return connect_info(device, client);
	case USBDEVFS_CONTROL: return control(device, client);
	case USBDEVFS_SETINTERFACE: return set_interface(device, client);
	case USBDEVFS_SETCONFIGURATION: return set_configuration(device, client);
	case USBDEVFS_RESET: reader_reset(device->device->reader, bed_now()); return 0;
	case USBDEVFS_CLEAR_HALT:
		reader_clear_halt(device->device->reader, (uint8_t)number);
		return 0;
	case USBDEVFS_SUBMITURB: return submit(device, client);
	case USBDEVFS_DISCARDURB: return discard(device, client);
	default: return -ENOTTY;
	}
}

static gboolean on_ioctl(
	UMockdevIoctlBase *base, UMockdevIoctlClient *client, struct umock_device *device) {
	(void)base;
	gulong request = umockdev_ioctl_client_get_request(client);
	pthread_mutex_lock(&device->umock->bed->lock);
	if (request == USBDEVFS_REAPURB || request == USBDEVFS_REAPURBNDELAY) {
		reap(device, client);
	} else {
		result r = handle(device, client, request);
		umockdev_ioctl_client_complete(client, r < 0 ? -1 : r, r < 0 ? (int)-r : 0);
	}
	bed_moved(device->umock->bed, device->device);
	pthread_mutex_unlock(&device->umock->bed->lock);
	return TRUE;
}

/* The client has closed the node: nothing of it stays. */
static void on_gone(gpointer userdata, GObject *client_object) {
	struct umock_device *device = userdata;
	/* it is being taken apart: only its address is of use */
	const void *client = client_object;
	pthread_mutex_lock(&device->umock->bed->lock);
	struct umock_urb **lists[2] = { &device->pending, &device->done };
	for (int i = 0; i < 2; i++)
		for (struct umock_urb **at = lists[i]; *at;)
			if ((*at)->client == client)
				forget(at);
			else
				at = &(*at)->next;
	for (int i = 0; i < MODEL_MAX_INTERFACES; i++)
		if (device->owners[i] == client)
			device->owners[i] = NULL;
	umock_ioctl_ready(device);
	pthread_mutex_unlock(&device->umock->bed->lock);
}

static void on_connected(
	UMockdevIoctlBase *base, UMockdevIoctlClient *client, struct umock_device *device) {
	(void)base;
	/* umockdev 0.17 declares a signal for a client's end, but sends none */
	g_object_weak_ref(G_OBJECT(client), on_gone, device);
	pthread_mutex_lock(&device->umock->bed->lock);
	g_object_set_data(G_OBJECT(client), LIFE, GUINT_TO_POINTER(device->life));
	reader_count(device->device->reader, COUNT_OPENS);
	pthread_mutex_unlock(&device->umock->bed->lock);
}

void umock_ioctl_connect(struct umock_device *device) {
	g_signal_connect_after(device->handler, "handle-ioctl", G_CALLBACK(on_ioctl), device);
	g_signal_connect(device->handler, "client-connected", G_CALLBACK(on_connected), device);
}
