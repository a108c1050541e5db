/* SPDX-License-Identifier: MIT */
/*
 * Preloaded before umockdev's library: reading an emulated USB node gives the device's descriptors,
 * as usbfs does.
 *
 * The emulation's nodes are pseudo terminals (their poll behaves as usbfs' does), which have no
 * descriptors to read; libusb_wrap_sys_device reads them. So read, pread and lseek on a descriptor
 * of a node are answered from sysfs' copy, which is opened beside it and closed with it.
 * Descriptors above MAX_FD are left alone.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { MAX_FD = 4096 };

/* Descriptor of the node to 1 + that of sysfs' file. A preloaded library has no other place for
 * it. */
static atomic_int shadows[MAX_FD];

#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

static int shadow_of(int fd) {
	int shadow = fd >= 0 && fd < MAX_FD ? atomic_load(&shadows[fd]) : 0;
	return shadow ? shadow - 1 : fd;
}

static int number_in(const char *directory, const char *name) {
	char path[512], text[16] = "";
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = NEXT(open)(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = NEXT(read)(fd, text, sizeof text - 1);
	NEXT(close)(fd);
	return n > 0 ? atoi(text) : -1;
}

/* If `fd` was just opened as a USB node: opens its descriptors, too. */
static void note(int fd, const char *path) {
	const char *node = strstr(path, "/dev/bus/usb/"), *root = getenv("UMOCKDEV_DIR");
	int bus, device;
	char text[512];
	glob_t found;
	if (fd < 0 || fd >= MAX_FD || !node || !root ||
		sscanf(node, "/dev/bus/usb/%d/%d", &bus, &device) != 2)
		return;
	snprintf(text, sizeof text, "%s/sys/bus/usb/devices/*", root);
	if (glob(text, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *directory = found.gl_pathv[i];
		if (number_in(directory, "busnum") != bus ||
			number_in(directory, "devnum") != device)
			continue;
		snprintf(text, sizeof text, "%s/descriptors", directory);
		atomic_store(&shadows[fd], 1 + NEXT(open)(text, O_RDONLY | O_CLOEXEC));
		break;
	}
	globfree(&found);
}

/* The mode is there only where a file may be made. */
#define MODE_ARGUMENT(flags)                                                        \
	va_list args;                                                               \
	va_start(args, flags);                                                      \
	mode_t mode = (flags) & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0; \
	va_end(args)

int open(const char *path, int flags, ...) {
	MODE_ARGUMENT(flags);
	int fd = NEXT(open)(path, flags, mode);
	note(fd, path);
	return fd;
}

int open64(const char *path, int flags, ...) {
	MODE_ARGUMENT(flags);
	int fd = NEXT(open64)(path, flags, mode);
	note(fd, path);
	return fd;
}

int openat(int dir, const char *path, int flags, ...) {
	MODE_ARGUMENT(flags);
	int fd = NEXT(openat)(dir, path, flags, mode);
	note(fd, path);
	return fd;
}

int openat64(int dir, const char *path, int flags, ...) {
	MODE_ARGUMENT(flags);
	int fd = NEXT(openat64)(dir, path, flags, mode);
	note(fd, path);
	return fd;
}

/* What open becomes with _FORTIFY_SOURCE and flags that are no constant. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

int __open_2(const char *path, int flags) {
	return open(path, flags);
}

int __open64_2(const char *path, int flags) {
	return open64(path, flags);
}

ssize_t read(int fd, void *buf, size_t n) {
	return NEXT(read)(shadow_of(fd), buf, n);
}

ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);

ssize_t __read_chk(int fd, void *buf, size_t n, size_t size) {
	return NEXT(__read_chk)(shadow_of(fd), buf, n, size);
}

ssize_t pread(int fd, void *buf, size_t n, off_t offset) {
	return NEXT(pread)(shadow_of(fd), buf, n, offset);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset) {
	return NEXT(pread64)(shadow_of(fd), buf, n, offset);
}

off_t lseek(int fd, off_t offset, int whence) {
	return NEXT(lseek)(shadow_of(fd), offset, whence);
}

off64_t lseek64(int fd, off64_t offset, int whence) {
	return NEXT(lseek64)(shadow_of(fd), offset, whence);
}

int close(int fd) {
	int shadow = fd >= 0 && fd < MAX_FD ? atomic_exchange(&shadows[fd], 0) : 0;
	if (shadow)
		NEXT(close)(shadow - 1);
	return NEXT(close)(fd);
}
