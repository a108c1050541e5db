/* SPDX-License-Identifier: MIT */
/* From a device to readers: a directory as sysfs would show it, and what becomes of its names. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ifdhandler/identity.h"
#include "tests/unit/descriptors.h"

enum { MAX_INTERFACES = 4 };

static char sysfs[32], syspath[64];
static struct identity identity;

static void path_of(char *path, size_t size, unsigned interface, const char *file) {
	snprintf(path, size, "%s/1-1:1.%u%s", syspath, interface, file);
}

static int setup(void **state) {
	(void)state;
	strcpy(sysfs, "/tmp/test-identity-XXXXXX");
	assert_non_null(mkdtemp(sysfs));
	snprintf(syspath, sizeof(syspath), "%s/1-1", sysfs);
	return mkdir(syspath, 0700);
}

static int teardown(void **state) {
	(void)state;
	char path[128];
	for (unsigned i = 0; i < MAX_INTERFACES; i++) {
		path_of(path, sizeof(path), i, "/interface");
		unlink(path);
		path_of(path, sizeof(path), i, "");
		rmdir(path);
	}
	snprintf(path, sizeof(path), "%s/descriptors", syspath);
	unlink(path);
	rmdir(syspath);
	return rmdir(sysfs);
}

static void file_write(const char *path, const void *bytes, size_t len) {
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

/* A device with interfaces of so many slots, each with a name, as sysfs has it, or NULL. */
static void plugged(unsigned n, const uint8_t *n_slots, const char *const *names) {
	char path[128];
	struct descriptors d;
	desc_device(&d, 0x08e6, 0x3437);
	desc_configuration(&d, 1, (uint8_t)n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t class[54];
		desc_class(class, 0x00010000, 271);
		class[4] = (uint8_t)(n_slots[i] - 1);
		desc_interface(&d, (uint8_t)i, 0, 0x0b, 0);
		desc_add(&d, class, sizeof(class));
		desc_endpoints(&d, (uint8_t)(4 * i), 1);
		path_of(path, sizeof(path), i, "");
		assert_int_equal(mkdir(path, 0700), 0);
		path_of(path, sizeof(path), i, "/interface");
		if (names[i])
			file_write(path, names[i], strlen(names[i]));
	}
	snprintf(path, sizeof(path), "%s/descriptors", syspath);
	file_write(path, d.bytes, d.len);
}

static char vendor_id[] = "08e6", product_id[] = "3437";
static char vendor[] = "Maker", product[] = "Reader", serial[] = "S1";

static struct device maker(void) {
	return (struct device){
		.syspath = syspath,
		.vendor_id = vendor_id,
		.product_id = product_id,
		.manufacturer = vendor,
		.product = product,
		.serial = serial,
		.configuration = 1,
	};
}

static void is_base(unsigned i, const char *want) {
	assert_string_equal(identity.interfaces[i].base, want);
}

static void one_interface(void **state) {
	(void)state;
	plugged(1, (uint8_t[]){ 1 }, (const char *[]){ "CCID Interface\n" });
	struct device device = maker();
	identity_usb(&identity, &device);
	assert_int_equal(identity.n_interfaces, 1);
	is_base(0, "Maker Reader [CCID Interface] (S1)");
	assert_string_equal(identity.id, "08e6:3437");
	assert_null(identity.error);
}

static void each_interface_is_a_reader(void **state) {
	(void)state;
	plugged(3, (uint8_t[]){ 1, 3, 1 },
		(const char *[]){ "PICC (S1)\n", "M\xc3\xbcller\n", NULL });
	struct device device = maker();
	identity_usb(&identity, &device);
	assert_int_equal(identity.n_interfaces, 3);
	is_base(0, "Maker Reader [PICC (S1)]");
	is_base(1, "Maker Reader [M..ller] (S1)");
	is_base(2, "Maker Reader (S1)");
	assert_int_equal(identity.interfaces[1].n_slots, 3);
	assert_int_equal(identity.interfaces[2].number, 2);
}

static void an_own_name_takes_the_place_of_the_devices(void **state) {
	(void)state;
	plugged(1, (uint8_t[]){ 2 }, (const char *[]){ "CCID Interface\n" });
	struct device device = maker();
	device.name = (char[]){ "Desk 3" };
	identity_usb(&identity, &device);
	is_base(0, "Desk 3");
	assert_int_equal(identity.interfaces[0].n_slots, 2);
	assert_string_equal(identity.serial, "S1");
	device.name = (char[]){ "a\nreader=9 b=\x1b[2J" };
	identity_usb(&identity, &device);
	is_base(0, "a.reader=9 b=.[2J");
	device.name = (char[]){ "   " };
	identity_usb(&identity, &device);
	is_base(0, "Maker Reader [CCID Interface] (S1)");
}

static void an_own_name_with_several_interfaces(void **state) {
	(void)state;
	plugged(2, (uint8_t[]){ 1, 1 }, (const char *[]){ "PICC\n", NULL });
	struct device device = maker();
	device.name = (char[]){ "Desk 3" };
	identity_usb(&identity, &device);
	is_base(0, "Desk 3 [PICC]");
	is_base(1, "Desk 3");
}

static void a_device_without_strings(void **state) {
	(void)state;
	plugged(1, (uint8_t[]){ 1 }, (const char *[]){ "  \n" });
	struct device device = { .syspath = syspath, .configuration = 1 };
	identity_usb(&identity, &device);
	is_base(0, "Smart Card Reader");
	device.vendor_name = (char[]){ "Maker Ltd." };
	device.model_name = (char[]){ "Model 1" };
	identity_usb(&identity, &device);
	is_base(0, "Maker Ltd. Model 1");
}

static void a_device_that_cannot_be_used_has_a_name(void **state) {
	(void)state;
	struct device device = maker();
	identity_usb(&identity, &device);
	assert_non_null(identity.error);
	assert_int_equal(identity.n_interfaces, 1);
	is_base(0, "Maker Reader (S1)");
	device.name = (char[]){ "Desk 3" };
	identity_usb(&identity, &device);
	is_base(0, "Desk 3");
}

static void virtual_readers_have_the_name_that_programs_know(void **state) {
	(void)state;
	identity_virtual(&identity, "demo", NULL);
	is_base(0, "Virtual PCD (demo)");
	identity_virtual(&identity, "demo", " ");
	is_base(0, "Virtual PCD (demo)");
	identity_virtual(&identity, "demo", "Desk 3");
	is_base(0, "Desk 3");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		CASE(one_interface),
		CASE(each_interface_is_a_reader),
		CASE(an_own_name_takes_the_place_of_the_devices),
		CASE(an_own_name_with_several_interfaces),
		CASE(a_device_without_strings),
		CASE(a_device_that_cannot_be_used_has_a_name),
		CASE(virtual_readers_have_the_name_that_programs_know),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
