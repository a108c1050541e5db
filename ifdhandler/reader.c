/* SPDX-License-Identifier: MIT */
/*
 * One reader from options to service. Under systemd the socket is listening already and the reader is
 * registered; we serve until nobody has used us for the idle time, or the device goes. Started by
 * hand (--socket) we make both ourselves: bind under another name, listen, rename into place, then
 * register; and take both away at the end.
 *
 * The exit for idleness never loses a client: whoever connects while we end stays in the socket's
 * queue, which systemd keeps, and is served by the next start.
 */
#include "ifdhandler/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "ifdhandler/filter.h"
#include "ifdhandler/registration.h"
#include "wire/path.h"

enum {
	DEFAULT_IDLE_S = 60,
	MAX_SECONDS = 86400, /* chosen: a day */
	/* A restart must not show counters that clients know: they begin at the seconds since
	 * registration less this, so that the first start after a plug begins at 0. */
	COUNTER_HEAD_START_S = 10,
	/* How long an end may take: less than systemd waits for it (TimeoutStopSec in the unit). Chosen. */
	END_USEC = 1500000,
};

struct reader {
	const struct reader_options *options;
	struct sd_event *event;
	struct log log;
	struct device device;
	struct identity identity;
	struct description description;
	struct access access;
	struct service service;
	struct service_host host;
	struct driver_config config;
	struct socket socket;
	struct sd_event_source *idle, *term, *interrupt;
	struct sd_event_source *last; /* what comes before the end of the loop */
	char node[64];
	char dir[PATH_MAX_NAME]; /* directory of the socket that we made, or of systemd's */
	long grace_s;            /* as options and properties have it; -1: nobody said anything */
	int own_files;           /* socket and description are ours to remove */
	enum status end;         /* what clients are told at the end */
};

/* ---- ending ---- */

/* Nobody can come any more, and who is here is told. */
static void reader_withdraw(struct reader *r) {
	/* While we listen nobody else takes the names: they are ours to remove until the last is gone. */
	if (r->own_files) {
		(void)registration_remove(r->dir, r->options->instance, &r->log);
		unlink(r->options->socket);
	}
	r->own_files = 0;
	socket_stop(&r->socket, r->end, status_text(r->end));
}

static int on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct reader *r = userdata;
	return sd_event_exit(r->event, 0);
}

static void on_rested(void *userdata) {
	struct reader *r = userdata;
	(void)sd_event_exit(r->event, 0);
}

static int on_end(sd_event_source *source, void *userdata) {
	(void)source;
	struct reader *r = userdata;
	reader_withdraw(r);
	if (!service_rest(&r->service))
		return sd_event_exit(r->event, 0);
	r->last = sd_event_source_disable_unref(r->last);
	return sd_event_add_time_relative(
		r->event, &r->last, CLOCK_MONOTONIC, END_USEC, 0, on_overdue, r);
}

/* Whoever asks for the end may be in the middle of something, so all that belongs to it comes later: the
 * cards lose their power, unless they or the time are gone. */
static void reader_end(struct reader *r, enum status reason) {
	int again = r->last != NULL;
	if (!again) {
		r->end = reason;
		(void)sd_notify(0, "STOPPING=1");
	}
	if (again || reason == STATUS_READER_GONE ||
		sd_event_add_defer(r->event, &r->last, on_end, r) < 0)
		(void)sd_event_exit(r->event, 0);
	else /* before anybody else comes: he is the next handler's */
		(void)sd_event_source_set_priority(r->last, SD_EVENT_PRIORITY_IMPORTANT);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
	(void)source, (void)info;
	reader_end(userdata, STATUS_STOPPED);
	return 0;
}

static void on_gone(void *userdata) {
	reader_end(userdata, STATUS_READER_GONE);
}

static void on_stop(void *userdata, enum status reason) {
	reader_end(userdata, reason);
}

/* ---- idleness ---- */

static void idle_start(struct reader *r);

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
	(void)source, (void)usec;
	struct reader *r = userdata;
	r->idle = sd_event_source_disable_unref(r->idle);
	if (r->service.n_users)
		return 0;
	if (socket_is_waiting(&r->socket))
		idle_start(r);
	else
		reader_end(r, STATUS_IDLE);
	return 0;
}

/* With the handler a card loses its power: where a grace time was asked for, no end comes before it. */
static long idle_seconds(const struct reader *r) {
	long s = r->options->idle_s;
	if (s < 0)
		s = r->options->socket ? 0 : DEFAULT_IDLE_S;
	if (r->grace_s == 0)
		return 0;
	return s && r->grace_s > s ? r->grace_s : s;
}

static void idle_start(struct reader *r) {
	long s = idle_seconds(r);
	if (s && !r->idle)
		(void)sd_event_add_time_relative(r->event, &r->idle, CLOCK_MONOTONIC,
			(uint64_t)s * 1000000, 100000, on_idle, r);
}

static void on_used(void *userdata, int used) {
	struct reader *r = userdata;
	if (used)
		r->idle = sd_event_source_disable_unref(r->idle);
	else
		idle_start(r);
}

/* ---- the listening socket ---- */

static void usage_log(struct reader *r, const char *what, int error) {
	log_line(&r->log, LOG_ERR, "%s: %s", what, strerror(-error));
}

/* The directory part of `path` into r->dir. */
static int dir_of(struct reader *r, const char *path) {
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	if (!slash || path[0] != '/' || len >= sizeof(r->dir))
		return -EINVAL;
	memcpy(r->dir, path, len);
	r->dir[len] = 0;
	return 0;
}

/* Does somebody listen on `address`? */
static int is_served(const struct sockaddr_un *address) {
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 1;
	int r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	int served = r == 0 || (errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return served;
}

static int address_set(struct sockaddr_un *address, const char *path, const char *suffix) {
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(address->sun_path, sizeof(address->sun_path), "%s%s", path, suffix);
	return n < 0 || (size_t)n >= sizeof(address->sun_path) ? -ENAMETOOLONG : 0;
}

/* Binds under another name, listens, and renames into place: whoever sees the name is served. */
static int listen_on(const struct sockaddr_un *address, const struct sockaddr_un *temp) {
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(temp->sun_path);
	int r = 0;
	/* Mode 0666 from the beginning: a chmod by name may meet what somebody has put there instead. */
	mode_t mask = umask(0111);
	if (bind(fd, (const struct sockaddr *)temp, sizeof(*temp)) < 0)
		r = -errno;
	umask(mask);
	if (r == 0 && (listen(fd, SOMAXCONN) < 0 || rename(temp->sun_path, address->sun_path) < 0))
		r = -errno;
	if (r < 0) {
		unlink(temp->sun_path);
		close(fd);
		return r;
	}
	return fd;
}

static int socket_make(struct reader *r, const char *path) {
	struct sockaddr_un address, temp;
	int error = dir_of(r, path);
	if (error == 0)
		error = address_set(&address, path, "");
	if (error == 0)
		error = address_set(&temp, path, ".new");
	if (error < 0)
		return error;
	if (mkdir(r->dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	int lock = registration_lock(r->dir);
	if (lock < 0)
		return lock;
	int fd = is_served(&address) ? -EADDRINUSE : listen_on(&address, &temp);
	close(lock);
	r->own_files = fd >= 0;
	return fd;
}

/* Systemd's socket, or one of our own. A descriptor or negative errno. */
static int socket_get(struct reader *r) {
	if (r->options->socket)
		return socket_make(r, r->options->socket);
	int n = sd_listen_fds(1);
	if (n < 0)
		return n;
	if (n == 0)
		return -ENOTCONN;
	if (sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
		return -EPROTOTYPE;
	snprintf(r->dir, sizeof(r->dir), "%s", PATH_RUN);
	return SD_LISTEN_FDS_START;
}

/* ---- what the reader is ---- */

static const struct driver_ops *driver_find(const char *name) {
	for (size_t i = 0; drivers[i]; i++)
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	return NULL;
}

/* Fills in node, device and identity. A device that udev does not know still has its node. */
static int identify(struct reader *r) {
	const struct reader_options *o = r->options;
	const struct driver_ops *ops = o->driver ? driver_find(o->driver) : NULL;
	if (ops && ops->card_slots) {
		identity_virtual(&r->identity, o->instance, o->name);
		r->identity.driver = ops->name;
		r->identity.interfaces[0].n_slots = ops->card_slots(o->card);
		return 0;
	}
	if (o->node)
		snprintf(r->node, sizeof(r->node), "%s", o->node);
	else if (device_node(o->instance, r->node, sizeof(r->node)) < 0)
		return -EINVAL;
	int error = device_init(&r->device, r->node);
	if (error == -ENODEV) {
		r->device = (struct device){ .node = strdup(r->node) };
		if (!r->device.node)
			return -ENOMEM;
	} else if (error < 0) {
		return error;
	}
	if (!name_is_blank(o->name)) {
		free(r->device.name);
		r->device.name = strdup(o->name);
	}
	identity_usb(&r->identity, &r->device);
	return 0;
}

/* Into the directory, with the names as this process' environment wants them. */
static int enlist(struct reader *r, const char *dir) {
	const struct filter filter = filter_environment();
	filter_apply(&filter, &r->identity);
	return registration_add(dir, r->options->instance, &r->identity, &r->log);
}

/* The description gives the names; made by the socket unit, or by us for a socket of our own. */
static int describe(struct reader *r) {
	char file[300];
	int error;
	if (r->own_files) {
		error = enlist(r, r->dir);
		if (error < 0)
			return error;
	}
	snprintf(file, sizeof(file), "%s.reader", r->options->instance);
	int dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = dirfd < 0 ? -errno : description_read(dirfd, file, &r->description);
	if (dirfd >= 0)
		close(dirfd);
	return error;
}

static uint16_t first_counter(const struct description *description) {
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	uint64_t age = (uint64_t)t.tv_sec - description->registered_s;
	if ((uint64_t)t.tv_sec < description->registered_s + COUNTER_HEAD_START_S)
		return 0;
	return (uint16_t)(age - COUNTER_HEAD_START_S);
}

/* ---- building ---- */

static int signals_start(struct reader *r) {
	int error = sd_event_add_signal(
		r->event, &r->term, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, on_signal, r);
	if (error >= 0)
		error = sd_event_add_signal(
			r->event, &r->interrupt, SIGINT | SD_EVENT_SIGNAL_PROCMASK, on_signal, r);
	return error;
}

static int driver_start(struct reader *r) {
	const char *name = r->options->driver ? r->options->driver : r->identity.driver;
	const struct driver_ops *ops = driver_find(name);
	if (!ops) {
		log_line(&r->log, LOG_ERR, "there is no driver called %s", name);
		return -ENOENT;
	}
	r->config = (struct driver_config){
		.node = r->identity.device,
		.name = r->log.reader,
		.manufacturer = r->device.manufacturer,
		.product = r->device.product,
		.serial = r->device.serial,
		.quirks = r->options->quirks ? r->options->quirks : r->device.quirks,
		.card = r->options->card,
		.card_fd = -1,
	};
	return service_start(&r->service, ops, &r->config);
}

/* The option, else the property; a property that says nothing is told once for each start. */
static long grace_get(const struct reader *r) {
	const char *property = r->device.grace;
	char shown[32];
	if (r->options->grace_s >= 0 || !property)
		return r->options->grace_s;
	long s = reader_seconds(property);
	if (s >= 0)
		return s;
	snprintf(shown, sizeof(shown), "%s", property);
	for (char *p = shown; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	log_line(&r->log, LOG_WARNING,
		"IFDHANDLER_GRACE=%s is not used: it is no number of seconds from 0 to 86400",
		shown);
	return -1;
}

static int service_build(struct reader *r) {
	r->host = (struct service_host){ .userdata = r,
		.used = on_used,
		.stop = on_stop,
		.gone = on_gone,
		.rested = on_rested };
	int error = service_init(&r->service, r->event, &r->log, &r->host, &r->description);
	if (error < 0)
		return error;
	if (!r->own_files)
		service_set_counter(&r->service, first_counter(&r->description));
	r->grace_s = grace_get(r);
	if (r->grace_s >= 0)
		for (unsigned i = 0; i < DRIVER_MAX_SLOTS; i++)
			r->service.slots[i].grace_usec = (uint64_t)r->grace_s * 1000000;
	/* A device of which nothing is listed is left alone. */
	return r->description.n_readers ? driver_start(r) : 0;
}

static int build(struct reader *r) {
	/* Before anything is made: whoever is told to end takes his files away. */
	int error = signals_start(r);
	if (error >= 0)
		error = identify(r);
	if (error < 0) {
		usage_log(r, r->options->instance, error);
		return error;
	}
	int fd = socket_get(r);
	if (fd < 0) {
		usage_log(
			r, r->options->socket ? r->options->socket : "no socket from systemd", fd);
		return fd;
	}
	error = describe(r);
	if (error < 0) {
		usage_log(r, "description", error);
		close(fd);
		return error;
	}
	/* Who registers as the thousandth has read a thousand descriptions: 320 KiB that would stay (measured). */
	(void)malloc_trim(0);
	r->log.reader = r->description.n_readers ? r->description.readers[0].name : NULL;
	/* Root's and systemd's handlers decide by group and seat; a user's own serves that user. */
	access_init(&r->access, r->own_files && geteuid() != 0, r->device.seat);
	error = service_build(r);
	if (error >= 0)
		error = socket_start(&r->socket, fd, &r->service, &r->access);
	else
		close(fd);
	if (error < 0)
		usage_log(r, "start", error);
	return error;
}

int reader_new(
	const struct reader_options *options, struct sd_event *event, struct reader **ret_reader) {
	struct reader *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->options = options;
	r->event = event;
	r->grace_s = -1;
	r->end = STATUS_STOPPED;
	log_init(&r->log, options->debug);
	r->log.instance = options->instance;
	int error = build(r);
	if (error < 0) {
		reader_free(r);
		return error;
	}
	idle_start(r);
	(void)sd_event_set_watchdog(event, 1);
	(void)sd_notifyf(
		0, "READY=1\nSTATUS=%s", r->log.reader ? r->log.reader : r->description.ignored);
	*ret_reader = r;
	return 0;
}

void reader_free(struct reader *r) {
	if (!r)
		return;
	reader_withdraw(r);
	access_done(&r->access);
	service_done(&r->service);
	sd_event_source_disable_unref(r->idle);
	sd_event_source_disable_unref(r->last);
	sd_event_source_disable_unref(r->term);
	sd_event_source_disable_unref(r->interrupt);
	description_done(&r->description);
	device_done(&r->device);
	free(r);
}

long reader_seconds(const char *text) {
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	/* strtol passes over blanks and a sign */
	return errno || *end || text[0] < '0' || text[0] > '9' || n > MAX_SECONDS ? -1 : n;
}

/* ---- registration only ---- */

int reader_register(const struct reader_options *options) {
	struct reader r = { .options = options };
	log_init(&r.log, options->debug);
	r.log.instance = options->instance;
	int error = identify(&r);
	if (error == 0)
		error = enlist(&r, PATH_RUN);
	if (error < 0)
		usage_log(&r, options->instance, error);
	device_done(&r.device);
	return error;
}

int reader_unregister(const struct reader_options *options) {
	struct log log;
	log_init(&log, options->debug);
	log.instance = options->instance;
	int error = registration_remove(PATH_RUN, options->instance, &log);
	if (error < 0)
		log_line(&log, LOG_ERR, "%s: %s", options->instance, strerror(-error));
	return error;
}
