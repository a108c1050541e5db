/* SPDX-License-Identifier: MIT */
/*
 * Models the one USB device of this process, on usbfs, by libusb; nobody else includes libusb.
 *
 * The node is opened by us and handed to libusb (libusb_wrap_sys_device with device discovery off):
 * no scan of other devices, no netlink socket, no thread. libusb's descriptors are sources of the
 * event loop. Its transfers carry no time limit, so that it never needs a timer: deadlines belong
 * to the users of transfers.
 *
 * Ownership: a `struct request` lives from submit until the kernel gave the transfer back, then
 * `done` is called and nothing here refers to the user's transfer any more. At close what is still
 * under way is orphaned, cancelled and waited for; should the kernel keep it for more than 2 s,
 * libusb's context is leaked on purpose, because freeing it would be use after free.
 *
 * The handle is dead when the node reports an error condition or a call says that there is no device;
 * that is told once, from the loop, after all transfers have ended. At system suspend Linux ends the
 * transfers of all devices with ESHUTDOWN (usb_hcd_flush_endpoint), for which libusb says the same:
 * whether the device is still there is found out by opening it.
 */
#include "ifdhandler/usb/usb.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libusb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <unistd.h>

enum {
	/* The device descriptor and all configurations; see CCID_DESC_MAX_BYTES: chosen. */
	MAX_DESCRIPTORS = 65536,
	CLOSE_WAIT_USEC = 2000000,
};

/* A descriptor that libusb wants polled. */
struct watch {
	struct watch *next;
	int fd;
	sd_event_source *source;
};

/* A transfer that the kernel has. */
struct request {
	struct request *prev, *next;
	struct usb *usb;
	struct usb_transfer *owner; /* NULL: orphaned by close */
	struct libusb_transfer *transfer;
	uint8_t control[]; /* setup packet and data of a control transfer */
};

struct usb {
	struct sd_event *event;
	struct usb_host host;
	int fd;
	libusb_context *context;
	libusb_device_handle *handle;
	struct watch *watches;
	struct request *requests;
	sd_event_source *gone_source; /* on: `gone` is to be told */
	int is_gone;
	int is_closing;
	size_t n_descriptors;
	uint8_t *descriptors;
};

static int error_of(int libusb_error) {
	switch (libusb_error) {
	case LIBUSB_SUCCESS: return 0;
	case LIBUSB_ERROR_INVALID_PARAM: return -EINVAL;
	case LIBUSB_ERROR_ACCESS: return -EACCES;
	case LIBUSB_ERROR_NO_DEVICE: return -ENODEV;
	case LIBUSB_ERROR_NOT_FOUND: return -ENOENT;
	case LIBUSB_ERROR_BUSY: return -EBUSY;
	case LIBUSB_ERROR_TIMEOUT: return -ETIMEDOUT;
	case LIBUSB_ERROR_OVERFLOW: return -EOVERFLOW;
	case LIBUSB_ERROR_PIPE: return -EPIPE;
	case LIBUSB_ERROR_NO_MEM: return -ENOMEM;
	case LIBUSB_ERROR_NOT_SUPPORTED: return -EOPNOTSUPP;
	default: return -EIO;
	}
}

static int error_of_transfer(enum libusb_transfer_status status) {
	switch (status) {
	case LIBUSB_TRANSFER_COMPLETED: return 0;
	case LIBUSB_TRANSFER_CANCELLED: return -ECANCELED;
	case LIBUSB_TRANSFER_STALL: return -EPIPE;
	case LIBUSB_TRANSFER_OVERFLOW: return -EOVERFLOW;
	case LIBUSB_TRANSFER_NO_DEVICE: return -ENODEV;
	default: return -EIO;
	}
}

/* Notes that the device is gone; it is told from the loop. */
static void note_gone(struct usb *usb) {
	if (usb->is_gone || usb->is_closing)
		return;
	usb->is_gone = 1;
	(void)sd_event_source_set_enabled(usb->gone_source, SD_EVENT_ONESHOT);
}

static int checked(struct usb *usb, int libusb_error) {
	int r = error_of(libusb_error);
	if (r == -ENODEV)
		note_gone(usb);
	return r;
}

static int on_gone(sd_event_source *source, void *userdata) {
	(void)source;
	struct usb *usb = userdata;
	usb->host.gone(usb->host.userdata);
	return 0;
}

static void handle_events(struct usb *usb, struct timeval wait) {
	(void)libusb_handle_events_timeout_completed(usb->context, &wait, NULL);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
	(void)source;
	struct usb *usb = userdata;
	handle_events(usb, (struct timeval){ 0 });
	/* usbfs: the device was disconnected (devio.c: usbdev_poll). libusb ends all transfers,
	 * but tells nothing where there are none. */
	if (fd == usb->fd && (revents & (EPOLLERR | EPOLLHUP)))
		note_gone(usb);
	return 0;
}

static void drop_watch(struct watch *watch) {
	sd_event_source_disable_unref(watch->source);
	free(watch);
}

static int add_watch(struct usb *usb, int fd, short events) {
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	/* POLLIN and POLLOUT are EPOLLIN and EPOLLOUT on Linux. */
	int r = sd_event_add_io(usb->event, &watch->source, fd, (uint32_t)events, on_io, usb);
	if (r < 0) {
		free(watch);
		return r;
	}
	watch->fd = fd;
	watch->next = usb->watches;
	usb->watches = watch;
	return 0;
}

static void LIBUSB_CALL on_pollfd_added(int fd, short events, void *userdata) {
	(void)add_watch(userdata, fd, events);
}

static void LIBUSB_CALL on_pollfd_removed(int fd, void *userdata) {
	struct usb *usb = userdata;
	for (struct watch **at = &usb->watches; *at; at = &(*at)->next)
		if ((*at)->fd == fd) {
			struct watch *watch = *at;
			*at = watch->next;
			drop_watch(watch);
			return;
		}
}

static int watch_all(struct usb *usb) {
	const struct libusb_pollfd **fds = libusb_get_pollfds(usb->context);
	if (!fds)
		return -ENOMEM;
	int r = 0;
	for (size_t i = 0; fds[i] && r >= 0; i++)
		r = add_watch(usb, fds[i]->fd, fds[i]->events);
	libusb_free_pollfds(fds);
	if (r >= 0)
		libusb_set_pollfd_notifiers(usb->context, on_pollfd_added, on_pollfd_removed, usb);
	return r;
}

/* usbfs gives the device descriptor in the machine's byte order (devio.c: usbdev_read), the rest as
 * the device sent it. */
static void to_little_endian(uint8_t *device, size_t len) {
	static const uint8_t fields[] = { 2, 8, 10, 12 }; /* USB 2.0 table 9-8 */
	for (size_t i = 0; i < sizeof(fields) && fields[i] + 2u <= len; i++) {
		uint16_t value;
		memcpy(&value, device + fields[i], sizeof(value));
		value = htole16(value);
		memcpy(device + fields[i], &value, sizeof(value));
	}
}

static int read_descriptors(struct usb *usb) {
	usb->descriptors = malloc(MAX_DESCRIPTORS);
	if (!usb->descriptors)
		return -ENOMEM;
	if (lseek(usb->fd, 0, SEEK_SET) < 0)
		return -errno;
	while (usb->n_descriptors < MAX_DESCRIPTORS) {
		ssize_t n = read(usb->fd, usb->descriptors + usb->n_descriptors,
			MAX_DESCRIPTORS - usb->n_descriptors);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		usb->n_descriptors += (size_t)n;
	}
	to_little_endian(usb->descriptors, usb->n_descriptors);
	/* They stay as long as the device: a few hundred bytes mostly. */
	uint8_t *exact = realloc(usb->descriptors, usb->n_descriptors + 1);
	if (exact)
		usb->descriptors = exact;
	return 0;
}

static void usb_close(struct usb *usb);

static int start(struct usb *usb, const char *node) {
	usb->fd = open(node, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (usb->fd < 0)
		return -errno;
	int r = read_descriptors(usb);
	if (r < 0)
		return r;
	/* For the context to come: otherwise it opens netlink and starts a thread. */
	(void)libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
	r = error_of(libusb_init(&usb->context));
	if (r < 0)
		return r;
	r = error_of(libusb_wrap_sys_device(usb->context, usb->fd, &usb->handle));
	if (r < 0)
		return r;
	r = watch_all(usb);
	if (r < 0)
		return r;
	r = sd_event_add_defer(usb->event, &usb->gone_source, on_gone, usb);
	return r < 0 ? r : sd_event_source_set_enabled(usb->gone_source, SD_EVENT_OFF);
}

static int usb_open(const char *node, struct sd_event *event, const struct usb_host *host,
	struct usb **ret_usb) {
	struct usb *usb = calloc(1, sizeof(*usb));
	if (!usb)
		return -ENOMEM;
	usb->event = event;
	usb->host = *host;
	int r = start(usb, node);
	if (r < 0) {
		usb_close(usb);
		return r;
	}
	*ret_usb = usb;
	return 0;
}

/* usbfs refuses to open what is being unplugged from the first moment on, before the node goes
 * (devio.c: usbdev_open). */
static int usb_exists(const char *node) {
	int fd = open(node, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

static uint64_t now_usec(void) {
	struct timespec t = { 0 };
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Takes the orphans back from the kernel: 1 when all have come. */
static int collect(struct usb *usb) {
	uint64_t end = now_usec() + CLOSE_WAIT_USEC;
	for (struct request *r = usb->requests; r; r = r->next) {
		r->owner = NULL;
		(void)libusb_cancel_transfer(r->transfer);
	}
	while (usb->requests) {
		if (now_usec() >= end)
			return 0;
		handle_events(usb, (struct timeval){ .tv_usec = 100000 });
	}
	return 1;
}

static void usb_close(struct usb *usb) {
	if (!usb)
		return;
	usb->is_closing = 1;
	int clean = 1;
	if (usb->context) {
		clean = collect(usb);
		libusb_set_pollfd_notifiers(usb->context, NULL, NULL, NULL);
	}
	while (usb->watches) {
		struct watch *watch = usb->watches;
		usb->watches = watch->next;
		drop_watch(watch);
	}
	sd_event_source_disable_unref(usb->gone_source);
	if (clean && usb->handle)
		libusb_close(usb->handle);
	if (clean && usb->context)
		libusb_exit(usb->context);
	if (usb->fd >= 0)
		(void)close(usb->fd);
	free(usb->descriptors);
	if (clean)
		free(usb);
}

static void usb_descriptors(const struct usb *usb, const uint8_t **ret_bytes, size_t *ret_len) {
	*ret_bytes = usb->descriptors;
	*ret_len = usb->n_descriptors;
}

static int usb_configuration(struct usb *usb, unsigned *ret_value) {
	int value = 0;
	int r = checked(usb, libusb_get_configuration(usb->handle, &value));
	if (r < 0)
		return r;
	*ret_value = value > 0 && value <= UINT8_MAX ? (unsigned)value : 0;
	return 0;
}

static int usb_configure(struct usb *usb, unsigned value) {
	return checked(usb, libusb_set_configuration(usb->handle, (int)value));
}

static int usb_claim(struct usb *usb, uint8_t interface) {
	return checked(usb, libusb_claim_interface(usb->handle, interface));
}

static int usb_release(struct usb *usb, uint8_t interface) {
	return checked(usb, libusb_release_interface(usb->handle, interface));
}

static int usb_set_interface(struct usb *usb, uint8_t interface) {
	return checked(usb, libusb_set_interface_alt_setting(usb->handle, interface, 0));
}

static int usb_clear_halt(struct usb *usb, uint8_t endpoint) {
	return checked(usb, libusb_clear_halt(usb->handle, endpoint));
}

static int usb_reset(struct usb *usb) {
	int r = libusb_reset_device(usb->handle);
	/* "Not found": it came back as something else and is enumerated anew. */
	return checked(usb, r == LIBUSB_ERROR_NOT_FOUND ? LIBUSB_ERROR_NO_DEVICE : r);
}

/* Commands to tokens go as control transfers: nothing of them stays in memory. */
static void free_request(struct request *r) {
	if (r->transfer->type == LIBUSB_TRANSFER_TYPE_CONTROL)
		explicit_bzero(r->control, (size_t)r->transfer->length);
	if (r->prev)
		r->prev->next = r->next;
	else if (r->usb->requests == r)
		r->usb->requests = r->next;
	if (r->next)
		r->next->prev = r->prev;
	libusb_free_transfer(r->transfer);
	free(r);
}

static void LIBUSB_CALL on_done(struct libusb_transfer *transfer) {
	struct request *r = transfer->user_data;
	struct usb_transfer *owner = r->owner;
	if (owner) {
		owner->error = error_of_transfer(transfer->status);
		owner->actual = transfer->actual_length > 0 ? (size_t)transfer->actual_length : 0;
		if (owner->actual > owner->len)
			owner->actual = owner->len;
		owner->pending = NULL;
		if (owner->error == -ENODEV)
			note_gone(r->usb);
		if (owner->kind == USB_CONTROL && owner->actual &&
			(owner->setup.request_type & LIBUSB_ENDPOINT_IN))
			memcpy(owner->data, r->control + LIBUSB_CONTROL_SETUP_SIZE, owner->actual);
	}
	free_request(r);
	if (owner)
		owner->done(owner, owner->userdata);
}

/* Everything in `transfer` has been checked to fit an int. */
static void fill(struct usb *usb, struct usb_transfer *t, struct request *r) {
	if (t->kind == USB_CONTROL) {
		libusb_fill_control_setup(r->control, t->setup.request_type, t->setup.request,
			t->setup.value, t->setup.index, (uint16_t)t->len);
		if (t->len && !(t->setup.request_type & LIBUSB_ENDPOINT_IN))
			memcpy(r->control + LIBUSB_CONTROL_SETUP_SIZE, t->data, t->len);
		libusb_fill_control_transfer(r->transfer, usb->handle, r->control, on_done, r, 0);
	} else if (t->kind == USB_BULK) {
		libusb_fill_bulk_transfer(
			r->transfer, usb->handle, t->endpoint, t->data, (int)t->len, on_done, r, 0);
	} else {
		libusb_fill_interrupt_transfer(
			r->transfer, usb->handle, t->endpoint, t->data, (int)t->len, on_done, r, 0);
	}
}

static int usb_submit(struct usb *usb, struct usb_transfer *transfer) {
	assert(!transfer->pending);
	if (usb->is_gone)
		return -ENODEV;
	size_t control =
		transfer->kind == USB_CONTROL ? LIBUSB_CONTROL_SETUP_SIZE + transfer->len : 0;
	if (transfer->len > INT32_MAX || (control && transfer->len > USB_MAX_CONTROL))
		return -EINVAL;
	struct request *r = calloc(1, sizeof(*r) + control);
	if (!r)
		return -ENOMEM;
	r->usb = usb;
	r->owner = transfer;
	r->transfer = libusb_alloc_transfer(0);
	if (!r->transfer) {
		free(r);
		return -ENOMEM;
	}
	fill(usb, transfer, r);
	int error = checked(usb, libusb_submit_transfer(r->transfer));
	if (error < 0) {
		free_request(r);
		return error;
	}
	r->next = usb->requests;
	if (r->next)
		r->next->prev = r;
	usb->requests = r;
	transfer->pending = r;
	return 0;
}

static void usb_cancel(struct usb *usb, struct usb_transfer *transfer) {
	(void)usb;
	struct request *r = transfer->pending;
	if (r)
		(void)libusb_cancel_transfer(r->transfer);
}

const struct usb_ops usb_libusb = {
	.open = usb_open,
	.exists = usb_exists,
	.close = usb_close,
	.descriptors = usb_descriptors,
	.configuration = usb_configuration,
	.configure = usb_configure,
	.claim = usb_claim,
	.release = usb_release,
	.set_interface = usb_set_interface,
	.clear_halt = usb_clear_halt,
	.reset = usb_reset,
	.submit = usb_submit,
	.cancel = usb_cancel,
};
