/* SPDX-License-Identifier: MIT */
/*
 * The loop of a front end: control sockets, the program under test, and time.
 *
 * Time is never polled: the loop sleeps until the first reader has something due, a client's wait
 * is over, or something happens. A front end may serve transfers on a thread of its own: everything
 * of a reader is touched with `lock` held, and bed_moved wakes the loop only when it would
 * otherwise sleep too long. Plugging and unplugging happen on the loop's thread alone.
 */
#include "tests/model/bed.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/model/text.h"

uint64_t bed_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void ending_signals(sigset_t *ret_signals) {
	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGTERM);
	sigaddset(ret_signals, SIGINT);
	sigaddset(ret_signals, SIGHUP);
}

void bed_init(struct bed *bed, const struct bed_ops *ops, const char *model_dir) {
	memset(bed, 0, sizeof *bed);
	bed->ops = ops;
	bed->model_dir = model_dir;
	pthread_mutex_init(&bed->lock, NULL);
	/* before a front end starts a thread: signals are taken by the loop alone */
	sigset_t signals;
	ending_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	bed->listen_fd = bed->wake_fd = bed->signal_fd = bed->program_fd = -1;
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++)
		bed->clients[i].in = bed->clients[i].out = -1;
}

static int add_device(struct bed *bed, const char *model) {
	if (bed->n_devices == BED_MAX_DEVICES)
		return -ENOSPC;
	struct bed_device *device = &bed->devices[bed->n_devices];
	device->number = bed->n_devices;
	device->fd = -1;
	strcpy(device->node, "-");
	int r = model_load(bed->model_dir, model, device->number, &device->model);
	if (r)
		return r;
	bed->n_devices++;
	snprintf(device->name, sizeof device->name, "reader %u", device->number);
	r = reader_new(device->model, &device->reader);
	if (r)
		return r;
	for (size_t i = 0, slot = 0; i < device->model->n_interfaces; i++) {
		const struct model_interface *itf = &device->model->interfaces[i];
		for (unsigned s = 0; itf->ccid && s < itf->slots && slot < READER_MAX_SLOTS;
			s++, slot++)
			strcpy(device->cards[slot], itf->card);
	}
	return 0;
}

static int add_card(struct bed_device *device, const char *spec) {
	unsigned slot = device->n_cards++;
	if (slot >= reader_n_slots(device->reader) || strlen(spec) >= sizeof device->cards[0])
		return -EINVAL;
	if (!strcmp(spec, "none"))
		device->empty[slot] = 1;
	else
		strcpy(device->cards[slot], spec);
	return 0;
}

int bed_option(struct bed *bed, int option, const char *argument) {
	struct bed_device *last = bed->n_devices ? &bed->devices[bed->n_devices - 1] : NULL;
	switch (option) {
	case 'm': return add_device(bed, argument);
	case 'c': return last ? add_card(last, argument) : -EINVAL;
	case 'p':
		if (!last || last->n_properties == BED_MAX_PROPERTIES || !strchr(argument, '='))
			return -EINVAL;
		last->properties[last->n_properties++] = argument;
		return 0;
	case 'u':
		if (!last)
			return -EINVAL;
		last->absent = 1;
		return 0;
	case 's':
		if (strlen(argument) >= sizeof bed->socket_path)
			return -ENAMETOOLONG;
		strcpy(bed->socket_path, argument);
		return 0;
	case 'i': bed->use_stdin = 1; return 0;
	case 'v': bed->verbose = 1; return 0;
	default: return -ENOENT;
	}
}

static int listen_start(struct bed *bed) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (!*bed->socket_path) {
		strcpy(bed->own_dir, "/tmp/reader-model.XXXXXX");
		if (!mkdtemp(bed->own_dir)) {
			*bed->own_dir = 0;
			return -errno;
		}
		snprintf(bed->socket_path, sizeof bed->socket_path, "%s/control", bed->own_dir);
	}
	memcpy(address.sun_path, bed->socket_path, sizeof bed->socket_path);
	unlink(bed->socket_path);
	bed->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bed->listen_fd < 0 ||
		bind(bed->listen_fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
		listen(bed->listen_fd, BED_MAX_CLIENTS) < 0)
		return -errno;
	return 0;
}

int bed_plug(struct bed *bed, struct bed_device *device) {
	if (device->plugged)
		return -EALREADY;
	pthread_mutex_lock(&bed->lock);
	reader_plugged(device->reader, bed_now());
	device->plugged = 1;
	pthread_mutex_unlock(&bed->lock);
	int r = bed->ops->plug(bed, device);
	if (r)
		device->plugged = 0;
	return r;
}

void bed_unplug(struct bed *bed, struct bed_device *device) {
	if (!device->plugged)
		return;
	bed->ops->unplug(bed, device);
	device->plugged = 0;
	strcpy(device->node, "-");
}

static int fill_slots(struct bed_device *device) {
	for (unsigned s = 0; s < reader_n_slots(device->reader); s++) {
		if (device->empty[s] || !strcmp(device->cards[s], "none"))
			continue;
		int r = control_card(device, s, device->cards[s], 0);
		if (r) {
			fprintf(stderr, "%s, slot %u: card %s: %s\n", device->name, s,
				device->cards[s], strerror(-r));
			return r;
		}
	}
	return 0;
}

int bed_start(struct bed *bed) {
	sigset_t signals;
	ending_signals(&signals);
	bed->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	bed->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = bed->signal_fd < 0 || bed->wake_fd < 0 ? -errno : listen_start(bed);
	if (r)
		fprintf(stderr, "control socket %s: %s\n", bed->socket_path, strerror(-r));
	for (unsigned i = 0; !r && i < bed->n_devices; i++) {
		struct bed_device *device = &bed->devices[i];
		if (bed->verbose)
			reader_verbose(device->reader, device->name);
		r = fill_slots(device);
		if (!r && !device->absent)
			r = bed_plug(bed, device);
		if (r)
			fprintf(stderr, "%s: %s\n", device->name, strerror(-r));
	}
	return r;
}

static uint64_t device_due(const struct bed_device *device, uint64_t now) {
	return device->plugged ? reader_due(device->reader, now) : UINT64_MAX;
}

void bed_moved(struct bed *bed, const struct bed_device *device) {
	const uint64_t one = 1;
	if (!bed->n_waiting && device_due(device, bed_now()) >= bed->asleep_until)
		return;
	if (write(bed->wake_fd, &one, sizeof one) < 0)
		return; /* it is full: the loop will look anyway */
}

/* Serves what is due. Returns when to look again. */
static uint64_t look(struct bed *bed, uint64_t now) {
	uint64_t due = UINT64_MAX;
	for (unsigned i = 0; i < bed->n_devices; i++) {
		struct bed_device *device = &bed->devices[i];
		if (!device->plugged)
			continue;
		if (reader_vanishes(device->reader) <= now) {
			bed_unplug(bed, device);
			continue;
		}
		pthread_mutex_lock(&bed->lock);
		bed->ops->pump(bed, device);
		uint64_t d = device_due(device, now);
		pthread_mutex_unlock(&bed->lock);
		due = d < due ? d : due;
	}
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++) {
		struct bed_client *client = &bed->clients[i];
		if (client->waiting)
			control_wait(bed, client, now);
		if (client->waiting && client->until < due)
			due = client->until;
	}
	return due;
}

static void client_close(struct bed_client *client) {
	/* standard input has standard output as its other half */
	if (client->in == client->out)
		close(client->in);
	client->in = client->out = -1;
	client->len = 0;
	client->waiting = 0;
}

/* Runs whole lines until one waits. */
static void client_lines(struct bed *bed, struct bed_client *client) {
	for (char *end; !client->waiting && (end = memchr(client->line, '\n', client->len));) {
		char line[BED_MAX_LINE];
		size_t n = (size_t)(end - client->line);
		memcpy(line, client->line, n);
		line[n] = 0;
		client->len -= n + 1;
		memmove(client->line, end + 1, client->len);
		control_line(bed, client, line);
	}
	if (client->len == sizeof client->line)
		client_close(client);
}

static void client_read(struct bed *bed, struct bed_client *client) {
	ssize_t n = read(client->in, client->line + client->len, sizeof client->line - client->len);
	if (n <= 0) {
		client_close(client);
		return;
	}
	client->len += (size_t)n;
	client_lines(bed, client);
}

static void client_add(struct bed *bed, int in, int out) {
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++)
		if (bed->clients[i].in < 0) {
			bed->clients[i].in = in;
			bed->clients[i].out = out;
			return;
		}
	close(in);
}

static void program_start(struct bed *bed, char **program) {
	pid_t parent = getpid();
	char nodes[BED_MAX_DEVICES * 32] = "";
	for (unsigned i = 0; i < bed->n_devices; i++) {
		size_t n = strlen(nodes);
		snprintf(nodes + n, sizeof nodes - n, "%s%s", i ? " " : "", bed->devices[i].node);
	}
	bed->program = fork();
	if (bed->program) {
		if (bed->program < 0)
			return;
		/* both sides do it: whoever comes first */
		setpgid(bed->program, bed->program);
		bed->program_group = bed->program;
		bed->program_fd = (int)syscall(SYS_pidfd_open, bed->program, 0);
		return;
	}
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(BED_USAGE);
	if (bed->use_stdin && !freopen("/dev/null", "r", stdin))
		_exit(BED_USAGE);
	setenv("MODEL_CONTROL", bed->socket_path, 1);
	setenv("MODEL_NODES", nodes, 1);
	if (bed->ops->child)
		bed->ops->child(bed);
	execvp(program[0], program);
	fprintf(stderr, "%s: %m\n", program[0]);
	_exit(127); /* as shells say "not found" */
}

static void program_ended(struct bed *bed) {
	int status;
	if (waitpid(bed->program, &status, WNOHANG) != bed->program)
		return;
	bed->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	bed->program = 0;
	bed->quit = 1;
}

static void take_signal(struct bed *bed) {
	struct signalfd_siginfo info;
	if (read(bed->signal_fd, &info, sizeof info) == sizeof info) {
		bed->exit_code = 128 + (int)info.ssi_signo;
		bed->quit = 1;
	}
}

static void take_events(struct bed *bed, const struct pollfd *fds) {
	uint64_t count;
	const struct pollfd *p = fds;
	if (p++->revents && read(bed->wake_fd, &count, sizeof count) < 0)
		return;
	if (p++->revents)
		take_signal(bed);
	if (p++->revents)
		program_ended(bed);
	if (p++->revents) {
		int fd = accept4(bed->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			client_add(bed, fd, fd);
	}
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++, p++)
		if (p->revents && p->fd >= 0)
			client_read(bed, &bed->clients[i]);
	for (unsigned i = 0; i < bed->n_devices; i++, p++)
		if (p->revents && p->fd >= 0 && p->fd == bed->devices[i].fd)
			bed->ops->ready(bed, &bed->devices[i]);
}

static void wait_events(struct bed *bed, uint64_t due) {
	struct pollfd fds[4 + BED_MAX_CLIENTS + BED_MAX_DEVICES];
	nfds_t n = 0;
	const int own[4] = { bed->wake_fd, bed->signal_fd, bed->program_fd, bed->listen_fd };
	for (unsigned i = 0; i < 4; i++)
		fds[n++] = (struct pollfd){ .fd = own[i], .events = POLLIN };
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++) {
		const struct bed_client *client = &bed->clients[i];
		fds[n++] = (struct pollfd){ .fd = client->waiting ? -1 : client->in,
			.events = POLLIN };
	}
	for (unsigned i = 0; i < bed->n_devices; i++)
		fds[n++] = (struct pollfd){ .fd = bed->devices[i].fd, .events = POLLIN };
	uint64_t now = due == UINT64_MAX || !due ? 0 : bed_now();
	struct timespec left = { 0 };
	if (due > now) {
		left.tv_sec = (time_t)((due - now) / 1000000);
		left.tv_nsec = (long)((due - now) % 1000000 * 1000);
	}
	if (ppoll(fds, n, due == UINT64_MAX ? NULL : &left, NULL) > 0)
		take_events(bed, fds);
}

/* Nothing of the program may outlive the bed: its process group is asked to go, and after two
 * seconds (chosen) made to. */
static void program_stop(struct bed *bed) {
	if (!bed->program_group)
		return;
	kill(-bed->program_group, SIGTERM);
	struct pollfd p = { .fd = bed->program_fd, .events = POLLIN };
	if (bed->program && poll(&p, 1, 2000) <= 0)
		kill(-bed->program_group, SIGKILL);
	if (bed->program)
		waitpid(bed->program, NULL, 0);
	bed->program = bed->program_group = 0;
}

/* From here on bed_moved wakes the loop; what moved between the look and now is seen here.
 * Returns `due`, or 0. */
static uint64_t fall_asleep(struct bed *bed, uint64_t due, uint64_t now) {
	pthread_mutex_lock(&bed->lock);
	bed->asleep_until = due;
	bed->n_waiting = 0;
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++) {
		const struct bed_client *client = &bed->clients[i];
		unsigned long value;
		if (!client->waiting || !*client->counter)
			continue;
		bed->n_waiting++;
		if (!reader_counter(client->device->reader, client->counter, &value) &&
			value >= client->value)
			due = 0;
	}
	for (unsigned i = 0; i < bed->n_devices; i++)
		if (device_due(&bed->devices[i], now) < due)
			due = 0;
	pthread_mutex_unlock(&bed->lock);
	return due;
}

int bed_run(struct bed *bed, char **program) {
	if (bed->use_stdin)
		client_add(bed, STDIN_FILENO, STDOUT_FILENO);
	if (program && *program)
		program_start(bed, program);
	if (bed->program < 0 || (bed->program > 0 && bed->program_fd < 0)) {
		perror("cannot start the program");
		return BED_USAGE;
	}
	while (!bed->quit) {
		pthread_mutex_lock(&bed->lock);
		bed->asleep_until = 0; /* whatever moves from now on is seen */
		pthread_mutex_unlock(&bed->lock);
		uint64_t now = bed_now(), due = look(bed, now);
		for (unsigned i = 0; i < BED_MAX_CLIENTS; i++)
			if (bed->clients[i].in >= 0)
				client_lines(bed, &bed->clients[i]);
		if (bed->quit)
			break;
		wait_events(bed, fall_asleep(bed, due, now));
	}
	program_stop(bed);
	return bed->exit_code;
}

void bed_free(struct bed *bed) {
	for (unsigned i = 0; i < bed->n_devices; i++)
		bed_unplug(bed, &bed->devices[i]);
	for (unsigned i = 0; i < bed->n_devices; i++) {
		reader_free(bed->devices[i].reader);
		free(bed->devices[i].model);
	}
	for (unsigned i = 0; i < BED_MAX_CLIENTS; i++)
		if (bed->clients[i].in >= 0)
			client_close(&bed->clients[i]);
	const int fds[] = { bed->listen_fd, bed->wake_fd, bed->signal_fd, bed->program_fd };
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (bed->listen_fd >= 0)
		unlink(bed->socket_path);
	if (*bed->own_dir)
		rmdir(bed->own_dir);
	pthread_mutex_destroy(&bed->lock);
}
